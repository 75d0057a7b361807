//! What a card that is made now is granted: where its member works, and where he has been placed ahead, each for its time.

use std::collections::BTreeSet;

use warifu_ledger::Id;
use warifu_ledger::statement::Millis;

use crate::desk::{Book, Desk};

/// A unit, and from when until when it is the member's: at once and without end where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) unit: Id,
    pub(super) starts_at: Option<Millis>,
    pub(super) expires_at: Option<Millis>,
}

impl Span {
    /// At once, and without end.
    pub(super) fn open(unit: Id) -> Self {
        Self { unit, starts_at: None, expires_at: None }
    }
}

/// Where the member is placed from later instants on, in their order.
fn ahead(book: &Book, member: &Id) -> Vec<(Millis, BTreeSet<Id>)> {
    let now = book.now();
    let Some(found) = book.state.member(member) else { return Vec::new() };
    let later = found
        .placements
        .iter()
        .filter(|(from, _)| **from > now && found.ends_at.is_none_or(|end| **from < end));
    // What is closed by then, or now, takes no grant.
    let open = |units: &BTreeSet<Id>, from: Millis| {
        let closed = |unit: &Id, at| book.state.unit_is_closed(unit, at);
        units.iter().filter(|unit| !closed(unit, now) && !closed(unit, from)).copied().collect()
    };
    later.map(|(from, units)| (*from, open(units, *from))).collect()
}

/// What a member's new card is granted, who has `units` from now on and then what the ledger has placed ahead.
pub(super) fn spans(book: &Book, member: &Id, units: &BTreeSet<Id>) -> Vec<Span> {
    spans_of(units, &ahead(book, member))
}

fn spans_of(now: &BTreeSet<Id>, ahead: &[(Millis, BTreeSet<Id>)]) -> Vec<Span> {
    let all: BTreeSet<Id> = ahead.iter().flat_map(|(_, units)| units).chain(now).copied().collect();
    let mut spans = Vec::new();
    for unit in all {
        let mut running = now.contains(&unit).then_some(Span::open(unit));
        for (from, units) in ahead {
            match (running, units.contains(&unit)) {
                (Some(span), false) => {
                    spans.push(Span { expires_at: Some(*from), ..span });
                    running = None;
                }
                (None, true) => running = Some(Span { starts_at: Some(*from), ..Span::open(unit) }),
                (Some(_), true) | (None, false) => {}
            }
        }
        spans.extend(running);
    }
    spans
}

impl Desk<'_> {
    /// Says where the member is placed ahead.
    pub(super) fn tell_of_places_ahead(&self, book: &Book, member: &Id) {
        for (from, units) in ahead(book, member) {
            let units: Vec<String> = units.iter().map(|unit| book.unit_name(unit)).collect();
            let values = [("from", book.zone().minute(from)), ("units", units.join(self.screen.separator()))];
            self.screen.say_with("card-issue-ahead", &values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(numbers: &[u8]) -> BTreeSet<Id> {
        numbers.iter().map(|number| Id([*number; 16])).collect()
    }

    fn span(number: u8, starts_at: Option<Millis>, expires_at: Option<Millis>) -> Span {
        Span { unit: Id([number; 16]), starts_at, expires_at }
    }

    #[test]
    fn a_card_gets_what_is_placed_ahead_each_for_its_time() {
        let none: [(Millis, BTreeSet<Id>); 0] = [];
        assert_eq!(spans_of(&units(&[1, 2]), &none), [span(1, None, None), span(2, None, None)]);
        // From 10 on another unit beside one that stays.
        assert_eq!(
            spans_of(&units(&[1, 2]), &[(10, units(&[2, 3]))]),
            [span(1, None, Some(10)), span(2, None, None), span(3, Some(10), None)]
        );
        // Elsewhere for a while, and back.
        assert_eq!(
            spans_of(&units(&[1]), &[(10, units(&[2])), (20, units(&[1]))]),
            [span(1, None, Some(10)), span(1, Some(20), None), span(2, Some(10), Some(20))]
        );
        assert_eq!(spans_of(&units(&[]), &[(10, units(&[1])), (20, units(&[1]))]), [span(1, Some(10), None)]);
        assert_eq!(spans_of(&units(&[1]), &[(10, units(&[]))]), [span(1, None, Some(10))]);
    }
}
