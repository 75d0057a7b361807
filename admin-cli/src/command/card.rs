//! `card`.

use serde::Serialize;
use serde_json::json;
use warifu_api::wire::agent::Unblock;
use warifu_ledger::Id;
use warifu_ledger::state::CardStatus;
use warifu_ledger::statement::Act;

use super::{already, end_access};
use crate::args::Card;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::screen::List;

pub(super) async fn run(desk: &mut Desk<'_>, command: Card) -> Result<(), Fault> {
    match command {
        Card::Inspect => {
            let columns =
                ["column-reader", "column-serial", "column-firmware", "column-tries", "column-shares"];
            let mut list = List::new(desk.screen, &columns);
            for card in desk.cards().await? {
                let row = CardRow {
                    reader: card.reader,
                    serial: card.serial,
                    firmware: card.firmware,
                    tries_left: card.tries_left,
                    new: card.keys.is_none(),
                    shares: card.shares,
                };
                let shares = if row.new { desk.screen.text("new-card", &[]) } else { row.shares.to_string() };
                let cells = [
                    row.reader.clone(),
                    row.serial.to_string(),
                    row.firmware.clone(),
                    row.tries_left.to_string(),
                    shares,
                ];
                list.row(cells, &row)?;
            }
            list.show(desk.screen);
            Ok(())
        }
        Card::Unblock { serial, spend_last_try } => unblock(desk, serial, spend_last_try).await,
        Card::Suspend { member, watch } => {
            let book = desk.book().await?;
            let cards = cards_of(&book, &member, CardStatus::Live)?;
            if cards.is_empty() {
                return already(desk, "card-suspended-already", member);
            }
            let acts = cards.into_iter().map(|card| Act::CardSuspended { card }).collect();
            desk.screen.say_with("card-suspend-preview", &[("name", member)]);
            end_access(desk, &book, acts, vec![], watch).await
        }
        Card::Resume { member, watch } => {
            let book = desk.book().await?;
            let cards = cards_of(&book, &member, CardStatus::Suspended)?;
            if cards.is_empty() {
                return already(desk, "card-live-already", member);
            }
            let acts = cards.into_iter().map(|card| Act::CardResumed { card }).collect();
            desk.screen.say_with("card-resume-preview", &[("name", member)]);
            end_access(desk, &book, acts, vec![], watch).await
        }
    }
}

/// Whoever has the card's PUK and the card itself sets a new PIN; the ledger has no part in it.
async fn unblock(desk: &mut Desk<'_>, serial: Option<u32>, spend_last_try: bool) -> Result<(), Fault> {
    let cards = desk.cards().await?;
    let card = match serial {
        Some(serial) => cards.into_iter().find(|card| card.serial == serial),
        None => {
            let mut blocked: Vec<_> = cards.into_iter().filter(|card| card.tries_left == 0).collect();
            if blocked.len() > 1 {
                return Err(Fault::SeveralBlocked);
            }
            Some(blocked.pop().ok_or(Fault::NoneBlocked)?)
        }
    };
    let serial = match (&card, serial) {
        (Some(card), _) => card.serial,
        (None, Some(serial)) => return Err(Fault::CardNotHere { serial }),
        (None, None) => return Err(Fault::NoneBlocked),
    };
    let (puk, pin) = desk.pins.unblocking(desk.screen, serial)?;
    desk.agent.unblock(&Unblock { serial, puk, pin, spend_last_try }).await?;
    desk.screen.result(&json!({ "unblocked": serial }), || {
        desk.screen.text("card-unblocked", &[("serial", serial.to_string())])
    });
    Ok(())
}

/// The member's cards in this state; none where all that live are in the other one.
fn cards_of(book: &Book, label: &str, status: CardStatus) -> Result<Vec<Id>, Fault> {
    let member = book.member(label)?;
    let living: Vec<_> = book
        .state
        .cards()
        .filter(|(_, card)| card.card.member == member && card.status != CardStatus::Revoked)
        .collect();
    if living.is_empty() {
        return Err(Fault::NoCardLeft { label: label.to_owned() });
    }
    Ok(living.into_iter().filter(|(_, card)| card.status == status).map(|(id, _)| *id).collect())
}

/// A card in a reader, for programs.
#[derive(Serialize)]
struct CardRow {
    reader: String,
    serial: u32,
    firmware: String,
    tries_left: u8,
    /// Whether it has no keys of ours yet.
    new: bool,
    /// How many units it has shares of.
    shares: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_the_same_in_every_language() {
        let row = CardRow {
            reader: "Yubico".to_owned(),
            serial: 1001,
            firmware: "5.4.3".to_owned(),
            tries_left: 3,
            new: true,
            shares: 0,
        };
        let expected = json!({
            "reader": "Yubico", "serial": 1001, "firmware": "5.4.3", "tries_left": 3, "new": true, "shares": 0,
        });
        assert_eq!(serde_json::to_value(row).unwrap(), expected);
    }
}
