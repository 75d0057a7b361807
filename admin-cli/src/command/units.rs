//! `member units`: what a member's card opens, changed in one order.

use std::collections::BTreeSet;

use serde_json::json;
use warifu_api::wire::agent::CardInReader;
use warifu_ledger::Id;
use warifu_ledger::state::CardStatus;
use warifu_ledger::statement::Act;

use super::enroll::{grant, hand_out, its_card};
use super::placing::Span;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::watch;

/// Adds units to all cards of a member, and takes others from them.
pub(super) async fn change(
    desk: &mut Desk<'_>,
    label: String,
    add: &[String],
    remove: &[String],
    watch: bool,
) -> Result<(), Fault> {
    let book = desk.book().await?;
    let member = book.member(&label)?;
    let add = add.iter().map(|label| book.unit(label)).collect::<Result<Vec<_>, _>>()?;
    let remove = remove.iter().map(|label| book.unit(label)).collect::<Result<Vec<_>, _>>()?;
    let cards = live_cards(&book, member);
    if cards.is_empty() {
        return Err(Fault::NoCardLeft { label });
    }
    let here = desk.cards().await?;
    let mut acts = Vec::new();
    for card in &cards {
        let in_reader = its_card(&book, &here, card, None).ok();
        let in_reader = here.iter().find(|found| Some(found.serial) == in_reader);
        let live: Vec<(Id, Id)> = book.live_grants(*card).map(|(id, found)| (id, found.unit)).collect();
        for unit in &remove {
            let ended = live.iter().filter(|(_, of)| of == unit);
            acts.extend(ended.map(|(grant, _)| Act::GrantRevoked {
                grant: *grant,
                effective_at: None,
                reason: None,
            }));
        }
        // Those that are there already are not ordered twice: what was interrupted goes on.
        for unit in add.iter().filter(|unit| live.iter().all(|(_, of)| of != *unit)) {
            let custody = in_reader.map_or_else(|| book.custody_elsewhere(card, unit), |found| found.custody);
            acts.push(grant(&book, *card, Span::open(*unit), custody).1);
        }
    }
    // Where the register of places knows the member, it goes on saying where the member works.
    let placed = book.state.units_of_member(&member, book.at);
    if !add.is_empty() && !placed.is_empty() {
        let units: BTreeSet<Id> =
            placed.iter().chain(&add).copied().filter(|unit| !remove.contains(unit)).collect();
        if units != placed {
            acts.push(Act::MemberPlaced { member, units, effective_at: None });
        }
    }
    let ends = acts.iter().any(|act| matches!(act, Act::GrantRevoked { .. }));
    if !acts.is_empty() {
        desk.screen.say_with("member-units-preview", &[("name", book.member_name(&member))]);
        desk.screen.agree()?;
        if ends {
            let request = desk.signed(&book, acts, Vec::new()).await?;
            let ended = watch::carry_out(desk, &book, request, watch).await;
            match ended.outcome {
                Ok(()) => {}
                // The shares of what was added are brought all the same.
                Err(Fault::NotConfirmed) => desk.screen.say("units-not-confirmed"),
                Err(fault) => return Err(fault),
            }
        } else {
            desk.order(&book, acts, Vec::new()).await?;
        }
    }
    // As the ledger is after the order.
    let book = if add.is_empty() && !ends { book } else { desk.book().await? };
    let (brought, elsewhere) = bring(desk, &book, &here, cards).await?;
    let own_pcs = add.iter().all(|unit| book.state.unit(unit).is_some_and(|found| found.own_pcs));
    let key = match elsewhere {
        0 => "member-units-changed",
        _ if add.is_empty() => "member-units-removed",
        _ => key_of_elsewhere(own_pcs),
    };
    let json = json!({ "grants": brought, "cards_elsewhere": elsewhere });
    let name = book.member_name(&member);
    desk.screen.result(&json, || desk.screen.text(key, &[("name", name), ("label", label)]));
    Ok(())
}

/// A member's cards that work.
pub(super) fn live_cards(book: &Book, member: Id) -> Vec<Id> {
    let cards = book.state.cards_of_member(member);
    cards.filter(|(_, card)| card.status == CardStatus::Live).map(|(id, _)| id).collect()
}

/// Brings onto those of a member's cards that are in the readers what waits for them: the grants whose shares came onto them,
/// and how many cards are elsewhere.
pub(super) async fn bring(
    desk: &mut Desk<'_>,
    book: &Book,
    here: &[CardInReader],
    cards: Vec<Id>,
) -> Result<(Vec<Id>, usize), Fault> {
    let mut brought = Vec::new();
    let mut elsewhere = 0_usize;
    for card in cards {
        let Ok(serial) = its_card(book, here, &card, None) else {
            elsewhere += 1;
            continue;
        };
        let grants = book.live_grants(card).map(|(id, _)| id).collect();
        brought.extend(hand_out(desk, book, serial, card, grants).await?.0.imported);
    }
    Ok((brought, elsewhere))
}

/// How shares come onto a card that is elsewhere, by the key of its text.
pub(super) fn key_of_elsewhere(own_pcs: bool) -> &'static str {
    if own_pcs { "member-units-by-itself" } else { "member-units-at-the-desk" }
}
