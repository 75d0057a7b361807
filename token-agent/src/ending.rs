//! What ends soon for a card, so that its member hears of it before it happens. Days are counted by the site's time: this PC's
//! clock may be wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use warifu_api::wire::agent::{CardEnd, Ending};
use warifu_texts::day::{Near, Zone};

use crate::session::Session;
use crate::site::Link;

/// What ends soon for the cards whose PIN was entered, the first to end first.
pub(crate) fn of_all(sessions: &[Arc<Session>], zone: &Zone) -> Vec<CardEnd> {
    let mut ends = Vec::new();
    for session in sessions {
        let link = session.unlocked().and_then(|unlocked| unlocked.sites.current());
        ends.extend(link.into_iter().flat_map(|link| of_card(session, &link, zone)));
    }
    ends.sort_by_key(|end| end.ends_at);
    ends
}

/// What ends within 30 days: all that the card opens, and its certificate if that ends before.
fn of_card(session: &Session, link: &Link, zone: &Zone) -> Vec<CardEnd> {
    let now = link.site_time();
    let end = |what, ends_at| CardEnd {
        serial: session.serial,
        what,
        last_day: zone.last_day_before(ends_at),
        days_left: zone.days_left(ends_at, now),
        ends_at,
        news: false,
    };
    let access = [(Ending::Contract, link.me.contract_ends_at), (Ending::LastDay, link.me.member_ends_at)];
    let access = access.into_iter().filter_map(|(what, at)| Some((what, at?))).min_by_key(|(_, at)| *at);
    let certificate = session.facts().certificate_says.map(|says| (Ending::Certificate, says.not_after));
    let certificate = certificate.filter(|(_, at)| access.is_none_or(|(_, first)| at < &first));
    let soon = |end: &CardEnd| Near::of(end.days_left).is_some();
    certificate.into_iter().chain(access).map(|(what, at)| end(what, at)).filter(soon).collect()
}

/// What members were told of last, by their cards.
#[derive(Default)]
pub(crate) struct Told(Mutex<BTreeMap<u32, Vec<CardEnd>>>);

impl Told {
    /// Marks what a card's member has not been told today, and remembers that it is told now.
    pub(crate) fn note(&self, serial: u32, ends: &mut [CardEnd]) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_card: Vec<CardEnd> = ends.iter().filter(|end| end.serial == serial).cloned().collect();
        // Another day has another number of days left.
        let before = told.insert(serial, of_card).unwrap_or_default();
        for end in ends.iter_mut().filter(|end| end.serial == serial) {
            end.news = !before.contains(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(days_left: u64) -> CardEnd {
        CardEnd {
            serial: 1,
            what: Ending::Contract,
            last_day: "2027-03-31".to_owned(),
            days_left,
            ends_at: 9,
            news: false,
        }
    }

    #[test]
    fn a_member_is_told_once_a_day() {
        let told = Told::default();
        let news = |serial, days_left| {
            let mut ends = [end(days_left)];
            told.note(serial, &mut ends);
            ends[0].news
        };
        assert!(news(1, 7));
        assert!(!news(1, 7));
        assert!(!news(2, 6), "it is about another card");
        assert!(news(1, 6), "the next day");
        assert!(!news(1, 6));
    }
}
