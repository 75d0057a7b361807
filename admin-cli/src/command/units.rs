//! `member units`: what a member's card opens, changed in one order.

use std::collections::BTreeSet;

use serde_json::json;
use warifu_ledger::Id;
use warifu_ledger::state::CardStatus;
use warifu_ledger::statement::{Act, Custody};

use super::enroll::{grant, hand_out, its_card};
use super::replace::live_grants;
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
    let cards: Vec<Id> = book
        .state
        .cards_of_member(member)
        .filter(|(_, card)| card.status == CardStatus::Live)
        .map(|(id, _)| id)
        .collect();
    if cards.is_empty() {
        return Err(Fault::NoCardLeft { label });
    }
    let here = desk.cards().await?;
    // Where the card is not here, it picks its shares up at its next insertion if every unit that is added allows that.
    let own_pcs = add.iter().all(|unit| book.state.unit(unit).is_some_and(|found| found.own_pcs));
    let mut acts = Vec::new();
    for card in &cards {
        let custody = match its_card(&book, &here, card, None) {
            Ok(serial) => here
                .iter()
                .find(|found| found.serial == serial)
                .map_or(Custody::HostMemory, |found| found.custody),
            Err(_) => custody_elsewhere(&book, card, own_pcs),
        };
        let live: Vec<(Id, Id)> = live_grants(&book, *card).map(|(id, found)| (id, found.unit)).collect();
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
            acts.push(grant(&book, *card, *unit, custody).1);
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
        desk.screen.say_with("member-units-preview", &[("name", name(&book, &member))]);
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
    let mut brought = Vec::new();
    let mut elsewhere = 0_usize;
    for card in cards {
        let Ok(serial) = its_card(&book, &here, &card, None) else {
            elsewhere += 1;
            continue;
        };
        let grants = live_grants(&book, card).map(|(id, _)| id).collect();
        brought.extend(hand_out(desk, &book, serial, card, grants).await?.0.imported);
    }
    let key = match elsewhere {
        0 => "member-units-changed",
        _ if add.is_empty() => "member-units-removed",
        _ if own_pcs => "member-units-by-itself",
        _ => "member-units-at-the-desk",
    };
    let json = json!({ "grants": brought, "cards_elsewhere": elsewhere });
    let name = name(&book, &member);
    desk.screen.result(&json, || desk.screen.text(key, &[("name", name), ("label", label)]));
    Ok(())
}

fn name(book: &Book, member: &Id) -> String {
    book.state.member(member).map_or_else(|| member.to_string(), |found| book.name(&found.name.record))
}

/// How shares come onto a card that is not here: a token that has unwrapped one goes on doing so, and others are brought where
/// the units allow it.
pub(super) fn custody_elsewhere(book: &Book, card: &Id, own_pcs: bool) -> Custody {
    if book.state.grants_of_card(*card).any(|(_, grant)| grant.custody == Custody::TokenUnwrap) {
        Custody::TokenUnwrap
    } else if own_pcs {
        Custody::OwnPc
    } else {
        Custody::HostMemory
    }
}
