//! `card`.

use std::collections::BTreeSet;

use serde_json::json;
use warifu_api::ErrorCode;
use warifu_api::wire::Done;
use warifu_api::wire::agent::{AgentFault, ForwardTo, OpenPuk, PinText, Unblock};
use warifu_api::wire::authority::PukEscrow;
use warifu_ledger::Id;
use warifu_ledger::key::PublicKey;
use warifu_ledger::state::CardStatus;
use warifu_ledger::statement::Act;
use warifu_token_agent::puk;
use zeroize::Zeroizing;

use super::enroll::hand_out;
use super::inspect::inspect;
use super::replace::{Replacement, replace};
use super::{already, end_access};
use crate::args::Card;
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::found::card_with;

pub(super) async fn run(desk: &mut Desk<'_>, command: Card) -> Result<(), Fault> {
    match command {
        Card::Inspect { card_alone } => inspect(desk, card_alone).await,
        Card::Unblock { serial, ask_puk, spend_last_try } => {
            unblock(desk, serial, ask_puk, spend_last_try).await
        }
        Card::Replace { member, old_card, new_card, why } => {
            replace(desk, Replacement { member, old_card, new_card, why }).await
        }
        Card::Bring { member } => bring(desk, member.as_deref()).await,
        Card::Issue { label, new_card } => super::issue::issue(desk, label, new_card).await,
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

/// Whoever has the card's PUK and the card itself sets a new PIN; the ledger has no part in it. An officer's card opens the PUK,
/// unless the person has it on paper.
async fn unblock(
    desk: &mut Desk<'_>,
    serial: Option<u32>,
    ask_puk: bool,
    spend_last_try: bool,
) -> Result<(), Fault> {
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
    if ask_puk || desk.pins.has_puk(serial) {
        let (puk, pin) = desk.pins.unblocking(desk.screen, serial)?;
        desk.agent.unblock(&Unblock { serial, puk, pin, spend_last_try }).await?;
    } else {
        let book = desk.book().await?;
        let card = card.as_ref().and_then(|card| book.card_in(card)).map(|(id, _)| id);
        let card = card.ok_or(Fault::Agent(AgentFault::ForeignCard))?;
        let puk = Escrowed::open(desk, &book, card).await?;
        // While the officer's card is in: with one reader, the blocked one takes its place.
        puk.seal_anew(desk, &book).await?;
        card_with(desk, serial).await?;
        let pin = desk.pins.new_pin(desk.screen, serial)?;
        let opened = PinText(puk.digits.clone());
        desk.agent.unblock(&Unblock { serial, puk: opened, pin, spend_last_try }).await?;
    }
    desk.screen.result(&json!({ "unblocked": serial }), || {
        desk.screen.text("card-unblocked", &[("serial", serial.to_string())])
    });
    Ok(())
}

/// A card's PUK that an officer's card has opened.
struct Escrowed {
    card: Id,
    digits: Zeroizing<String>,
    sealed_to: BTreeSet<PublicKey>,
    /// The card that has opened it.
    officer: u32,
}

impl Escrowed {
    /// Fetches the PUK from the kms and has the officer's card open it that has opened the ledger.
    async fn open(desk: &Desk<'_>, book: &Book, card: Id) -> Result<Self, Fault> {
        let officer = book.reader_card;
        let escrow: PukEscrow =
            desk.get(Some(officer), &format!("/v1/cards/{card}/puk")).await.map_err(|fault| {
                match fault.code() {
                    Some(ErrorCode::NotFound) => Fault::NoPuk,
                    _ => fault,
                }
            })?;
        let sealed_to = escrow.seals.iter().map(|seal| seal.transport).collect();
        let opened = desk.agent.open_puk(&OpenPuk { serial: officer, card, escrow }).await?;
        Ok(Self { card, digits: opened.puk.0, sealed_to, officer })
    }

    /// Seals it to those who are officers now, where they have changed.
    async fn seal_anew(&self, desk: &Desk<'_>, book: &Book) -> Result<(), Fault> {
        let officers = book.officers_besides(&self.card);
        if officers.iter().copied().collect::<BTreeSet<_>>() == self.sealed_to {
            return Ok(());
        }
        let escrow =
            puk::seal(&mut rng(), &book.state.organization(), &self.card, self.digits.as_bytes(), &officers)
                .map_err(|error| Fault::Agent(AgentFault::CardFault { why: error.to_string() }))?;
        let path = format!("/v1/cards/{}/puk", self.card);
        let _: Done =
            desk.ask(ForwardTo::Authority, Some(self.officer), "POST", &path, Some(&escrow)).await?;
        Ok(())
    }
}

/// Brings onto the cards in the readers what waits for them: those of one member, or all whose PIN is known or can be asked for.
async fn bring(desk: &mut Desk<'_>, label: Option<&str>) -> Result<(), Fault> {
    let book = desk.book().await?;
    let member = label.map(|label| book.member(label)).transpose()?;
    let found: Vec<(u32, Id)> = desk
        .cards()
        .await?
        .iter()
        .filter_map(|card| {
            let (id, found) = book.card_in(card)?;
            let meant = member.is_none_or(|member| found.card.member == member)
                && (member.is_some() || !desk.pins.scripted() || desk.pins.knows(card.serial));
            (meant && found.status == CardStatus::Live).then_some((card.serial, id))
        })
        .collect();
    if found.is_empty() {
        return Err(match label {
            Some(label) => Fault::CardOfMemberNotHere { label: label.to_owned() },
            None => Fault::NoOfficerCard,
        });
    }
    let mut brought = Vec::new();
    for (serial, card) in found {
        let grants = book.live_grants(card).map(|(id, _)| id).collect();
        let done = hand_out(desk, &book, serial, card, grants).await?;
        brought.push(json!({ "card": card, "serial": serial, "grants": done.0.imported }));
    }
    let count = brought.len().to_string();
    desk.screen.result(&json!(brought), || desk.screen.text("card-brought", &[("count", count)]));
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
