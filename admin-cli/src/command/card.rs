//! `card`.

use warifu_ledger::Id;
use warifu_ledger::state::CardStatus;
use warifu_ledger::statement::Act;

use super::end_access;
use crate::args::Card;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::screen::Table;

pub(super) async fn run(desk: &mut Desk<'_>, command: Card) -> Result<(), Fault> {
    match command {
        Card::Inspect => {
            let columns =
                ["column-reader", "column-serial", "column-firmware", "column-tries", "column-shares"];
            let mut table = Table::new(desk.screen, &columns);
            for card in desk.cards().await? {
                table.row([
                    card.reader,
                    card.serial.to_string(),
                    card.firmware,
                    card.tries_left.to_string(),
                    if card.keys.is_some() {
                        card.shares.to_string()
                    } else {
                        desk.screen.text("new-card", &[])
                    },
                ]);
            }
            table.show(desk.screen);
            Ok(())
        }
        Card::Suspend { member, watch } => {
            let book = desk.book().await?;
            let acts = cards_of(&book, &member, CardStatus::Live)?
                .into_iter()
                .map(|card| Act::CardSuspended { card })
                .collect();
            desk.screen.say_with("card-suspend-preview", &[("name", member)]);
            end_access(desk, &book, acts, vec![], watch).await
        }
        Card::Resume { member, watch } => {
            let book = desk.book().await?;
            let acts = cards_of(&book, &member, CardStatus::Suspended)?
                .into_iter()
                .map(|card| Act::CardResumed { card })
                .collect();
            desk.screen.say_with("card-resume-preview", &[("name", member)]);
            end_access(desk, &book, acts, vec![], watch).await
        }
    }
}

/// The member's cards in this state; at least one.
fn cards_of(book: &Book, label: &str, status: CardStatus) -> Result<Vec<Id>, Fault> {
    let member = book.member(label)?;
    let cards: Vec<Id> = book
        .state
        .cards()
        .filter(|(_, card)| card.card.member == member && card.status == status)
        .map(|(id, _)| *id)
        .collect();
    if cards.is_empty() {
        return Err(Fault::UnknownLabel { kind: "card", label: label.to_owned() });
    }
    Ok(cards)
}
