//! `expiring`: what ends soon: contracts, members' last days, certificates of the cards in the readers. Whoever comes to the desk
//! is told of it as well.

use serde::Serialize;
use warifu_api::wire::agent::CardInReader;
use warifu_ledger::Id;
use warifu_ledger::statement::Millis;
use warifu_texts::day::{Near, said};

use crate::day::iso;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::screen::List;

/// How many of them are told of at the desk.
const TOLD: usize = 3;

/// What ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    Contract,
    Member,
    Certificate,
}

impl What {
    fn key(self) -> &'static str {
        match self {
            Self::Contract => "ends-contract",
            Self::Member => "ends-member",
            Self::Certificate => "ends-certificate",
        }
    }
}

/// What ends soon, for programs.
#[derive(Serialize)]
struct Ending {
    what: What,
    /// The contract, the member, or the card.
    id: Id,
    /// The contract's, or the member's.
    label: String,
    name: String,
    /// In the organization's zone; that day included.
    last_day: String,
    ends_at: Millis,
    ends_at_iso: Option<String>,
    /// Days until then, today among them: 1 on the last day.
    days_left: u64,
    /// Members whose access ends with it.
    members: usize,
}

/// What ends within so many days, the next first.
fn ending(book: &Book, cards: &[CardInReader], days: u64) -> Vec<Ending> {
    let (now, zone, state) = (book.now(), book.zone(), &book.state);
    let end = |what, id, record: &Id, ends_at, members| Ending {
        what,
        id,
        label: book.label(record),
        name: book.name(record),
        last_day: zone.last_day_before(ends_at),
        ends_at,
        ends_at_iso: iso(ends_at),
        days_left: zone.days_left(ends_at, now),
        members,
    };
    let running = state.contracts().filter(|(id, _)| !state.contract_is_over(id, now));
    let contracts = running.map(|(id, contract)| {
        let members = state.members_of_contract(*id).filter(|member| !state.member_is_over(member, now));
        end(What::Contract, *id, &contract.name, contract.ends_at, members.count())
    });
    let living = state.members().filter(|(id, _)| !state.member_is_over(id, now));
    let members =
        living.filter_map(|(id, found)| Some(end(What::Member, *id, &found.name.record, found.ends_at?, 1)));
    // What is on a card only the card says: the kms has a newer one long before this one ends.
    let certificates = cards.iter().filter_map(|card| {
        let ends_at = card.certificate.as_ref()?.not_after;
        let (id, found) = book.card_in(card)?;
        Some(end(What::Certificate, id, &found.card.name.record, ends_at, 0))
    });
    let soon = |end: &Ending| (1..=days).contains(&end.days_left);
    let mut found: Vec<Ending> = contracts.chain(members).chain(certificates).filter(soon).collect();
    found.sort_by_key(|end| (end.ends_at, end.what, end.id));
    found
}

pub(super) async fn list(desk: &mut Desk<'_>, days: u64) -> Result<(), Fault> {
    let book = desk.book().await?;
    let columns =
        ["column-kind", "column-label", "column-name", "column-ends", "column-days-left", "column-people"];
    let mut list = List::new(desk.screen, &columns);
    for row in ending(&book, &desk.cards().await?, days) {
        let cells = [
            desk.screen.text(row.what.key(), &[]),
            row.label.clone(),
            row.name.clone(),
            row.last_day.clone(),
            row.days_left.to_string(),
            row.members.to_string(),
        ];
        list.row(cells, &row)?;
    }
    list.show(desk.screen);
    Ok(())
}

impl Desk<'_> {
    /// Whoever comes to the desk is told what ends within 30 days, the more sharply the nearer it is.
    pub(crate) async fn tell_of_ends(&self, book: &Book) -> Result<(), Fault> {
        if self.screen.is_for_programs() {
            return Ok(());
        }
        let ends = ending(book, &self.cards().await?, 30);
        for end in ends.iter().take(TOLD) {
            let Some(near) = Near::of(end.days_left) else { continue };
            let last_day = said(&end.last_day, self.screen.texts().language());
            let values =
                [("name", end.name.clone()), ("last_day", last_day), ("days", end.days_left.to_string())];
            self.screen.say_with(&format!("{}-{}", end.what.key(), near.suffix()), &values);
        }
        if let Some(more) = ends.len().checked_sub(TOLD).filter(|more| *more > 0) {
            self.screen.say_with("ends-more", &[("more", more.to_string())]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use warifu_texts::Language;

    use super::*;
    use crate::message::Words;

    #[test]
    fn every_end_has_words_at_every_stage_in_both_languages() {
        for language in [Language::Japanese, Language::English] {
            let words = Words::load(language).unwrap();
            for what in [What::Contract, What::Member, What::Certificate] {
                assert!(words.admin().has(what.key()));
                for near in [Near::Month, Near::Week, Near::Today] {
                    assert!(words.admin().has(&format!("{}-{}", what.key(), near.suffix())));
                }
            }
        }
    }
}
