//! `card replace`: a new card for a member, with what the old one could do; the old one is over. One order.

use serde_json::json;
use warifu_ledger::Id;
use warifu_ledger::register::Record;
use warifu_ledger::state::{CardState, CardStatus, Grant};
use warifu_ledger::statement::{Act, Attestation};

use super::enroll::{card_of, hand_out, its_card, new_card_serial};
use super::reason;
use crate::args::Why;
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::found::prepare;
use crate::watch;

/// What a replacement is told.
pub(super) struct Replacement {
    pub(super) member: String,
    pub(super) old_card: Option<String>,
    pub(super) new_card: Option<u32>,
    pub(super) why: Why,
}

/// Replaces a card that was lost, or does not work any more. It need not be here.
pub(super) async fn replace(desk: &mut Desk<'_>, told: Replacement) -> Result<(), Fault> {
    let book = desk.book().await?;
    let member = book.member(&told.member)?;
    let found = book.state.member(&member);
    let name = found.map(|found| book.name(&found.name.record)).unwrap_or_else(|| told.member.clone());
    // What was interrupted after its order: the old card is over, and the new one waits for its shares.
    if told.old_card.is_none()
        && let Some((serial, card)) = begun(desk, &book, member, told.new_card).await?
    {
        desk.screen.say_with("replace-continued", &[("name", name.clone())]);
        let done =
            hand_out(desk, &book, serial, card, book.live_grants(card).map(|(id, _)| id).collect()).await?;
        return said(desk, &name, json!({ "card": card, "grants": done.0.imported }));
    }
    let (old, of_old) = old_card(&book, &told.member, member, told.old_card.as_deref())?;
    let serial = new_card_serial(desk, &book, told.new_card).await?;
    let granted = book.live_grants(old).map(|(_, grant)| grant.clone()).collect::<Vec<_>>();
    let units: Vec<String> = granted
        .iter()
        .filter_map(|grant| book.state.unit(&grant.unit))
        .map(|unit| book.name(&unit.name))
        .collect();
    desk.screen.say_with(
        "replace-preview",
        &[
            ("name", name.clone()),
            ("old", number(&old, of_old)),
            ("serial", serial.to_string()),
            ("units", units.join(desk.screen.separator())),
        ],
    );
    if found.is_some_and(|found| !found.roles.is_empty()) {
        desk.screen.say("replace-two-people");
    }
    desk.screen.agree()?;
    watch::Watching::from(&told.why).check()?;
    let prepared = prepare(desk, serial, book.state.policy().unattested_cards).await?;
    let card = card_of(&prepared, member, of_old.card.name, of_old.card.contract);
    let card_id = card.card;
    let mut grants = Vec::new();
    let mut acts = vec![Act::CardEnrolled(card)];
    for Grant { unit, right, starts_at, expires_at, .. } in granted {
        let grant = Id::draw(&mut rng());
        grants.push(grant);
        acts.push(Act::GrantOrdered {
            grant,
            card: card_id,
            unit,
            right,
            custody: prepared.custody,
            starts_at,
            expires_at,
        });
    }
    let record = reason(told.why.reason.clone());
    acts.push(Act::CardRevoked { card: old, reason: record.as_ref().map(Record::commitment) });
    let request = desk.signed(&book, acts, record.into_iter().collect()).await?;
    let ended = watch::carry_out(desk, &book, request, &told.why).await;
    // A site that has not confirmed keeps the new card from nothing; what the kms did not take, does.
    match &ended.outcome {
        Ok(()) | Err(Fault::NotConfirmed) => {}
        Err(_) => return ended.outcome,
    }
    let done = hand_out(desk, &book, serial, card_id, grants).await?;
    said(desk, &name, json!({ "card": card_id, "grants": done.0.imported, "old": ended.json }))?;
    ended.evidence.and(ended.outcome)
}

fn said(desk: &Desk<'_>, name: &str, json: serde_json::Value) -> Result<(), Fault> {
    desk.screen.result(&json, || desk.screen.text("card-replaced", &[("name", name.to_owned())]));
    Ok(())
}

/// The member's card in the readers, where all others are over: a replacement that was ordered already.
async fn begun(
    desk: &Desk<'_>,
    book: &Book,
    member: Id,
    new_card: Option<u32>,
) -> Result<Option<(u32, Id)>, Fault> {
    let (over, left): (Vec<_>, Vec<_>) =
        book.state.cards_of_member(member).partition(|(_, card)| card.status == CardStatus::Revoked);
    let [(card, found)] = left.as_slice() else { return Ok(None) };
    if over.is_empty() || found.status != CardStatus::Live {
        return Ok(None);
    }
    Ok(its_card(book, &desk.cards().await?, card, new_card).ok().map(|serial| (serial, *card)))
}

/// The card that is replaced: the member's only one that is not over, or the one that was named.
fn old_card<'b>(
    book: &'b Book,
    label: &str,
    member: Id,
    told: Option<&str>,
) -> Result<(Id, &'b CardState), Fault> {
    let left: Vec<_> =
        book.state.cards_of_member(member).filter(|(_, card)| card.status != CardStatus::Revoked).collect();
    if left.is_empty() {
        return Err(Fault::NoCardLeft { label: label.to_owned() });
    }
    let Some(told) = told else {
        let [only] = left.as_slice() else {
            let cards: Vec<String> = left.iter().map(|(id, card)| number(id, card)).collect();
            return Err(Fault::SeveralCardsOf { label: label.to_owned(), cards: cards.join(", ") });
        };
        return Ok(*only);
    };
    let mut named = left.into_iter().filter(|(id, card)| number(id, card) == told || id.to_string() == told);
    named.next().ok_or_else(|| Fault::NoSuchCardOf { label: label.to_owned(), card: told.to_owned() })
}

/// A card's number, as it is printed on it if it has proved that; else its id.
pub(super) fn number(id: &Id, card: &CardState) -> String {
    match card.card.attestation {
        Attestation::Generated { serial, .. } => serial.to_string(),
        Attestation::None => id.to_string(),
    }
}
