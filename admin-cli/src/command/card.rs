//! `card`.

use serde_json::json;
use warifu_api::wire::agent::Unblock;
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
        Card::Unblock { serial, spend_last_try } => unblock(desk, serial, spend_last_try).await,
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
    let serial = serial.to_string();
    desk.screen.result(&json!({ "unblocked": serial }), || {
        desk.screen.text("card-unblocked", &[("serial", serial.clone())])
    });
    Ok(())
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
