//! Cards' PUKs, sealed to the officers' cards (P-6.6): this service cannot open them.

use std::collections::BTreeSet;

use warifu_api::wire::authority::{PukEscrow, SealedPuk};
use warifu_ledger::Id;
use warifu_ledger::state::{CardStatus, NotAnswered, State};
use warifu_ledger::statement::{Millis, Role};
use warifu_split_key::point::Point;

use super::error::AuthorityError;
use super::{Authority, Result};

impl Authority {
    /// Keeps a card's PUK, in the place of an earlier one.
    pub(crate) async fn keep_puk(&self, card: Id, escrow: PukEscrow) -> Result<()> {
        // No order ends the card between the look and the deed.
        let _serialized = self.in_turn().await;
        let state = self.state()?;
        if is_over(&state, &card, self.now(&state)) {
            return Err(AuthorityError::NotFound { what: "card" });
        }
        check(&state, &escrow)?;
        self.store.keep_puk(&card, &escrow).await
    }

    /// A card's PUK, as it was kept.
    pub(crate) async fn puk(&self, card: Id) -> Result<PukEscrow> {
        let state = self.state()?;
        if is_over(&state, &card, self.now(&state)) {
            return Err(AuthorityError::NotFound { what: "card" });
        }
        self.store.puk(&card).await?.ok_or(AuthorityError::NotFound { what: "PUK" })
    }

    /// Deletes the PUKs of cards that are over.
    pub(crate) async fn forget_ended_puks(&self) -> Result<()> {
        let Some(state) = self.replica.state() else { return Ok(()) };
        let mut ended = self.store.cards_with_puk().await?;
        let at = self.now(&state);
        ended.retain(|card| is_over(&state, card, at));
        if ended.is_empty() { Ok(()) } else { self.store.forget_puks(&ended).await }
    }
}

/// Whether nobody needs the card's PUK any more: it was revoked, or its member or contract is over.
fn is_over(state: &State, card: &Id, at: Millis) -> bool {
    !matches!(state.may_connect(card, at), Ok(()) | Err(NotAnswered::CardSuspended))
}

/// A PUK that is sealed to anybody but officers would be lost, or somebody else's.
fn check(state: &State, escrow: &PukEscrow) -> Result<()> {
    let malformed = |why: &str| AuthorityError::Malformed { why: why.to_owned() };
    if !(1..=PukEscrow::MOST).contains(&escrow.seals.len()) {
        return Err(malformed("a PUK is sealed to 1 to 64 cards"));
    }
    let officers = transport_keys_of_officers(state);
    let mut sealed_to = BTreeSet::new();
    for SealedPuk { transport, sealed } in &escrow.seals {
        if sealed.0.len() != SealedPuk::LENGTH {
            return Err(malformed("a sealed PUK has another length"));
        }
        if !officers.contains(&transport.0) {
            return Err(malformed("a PUK is sealed to a key that is no officer's"));
        }
        if !sealed_to.insert(transport.0) {
            return Err(malformed("a PUK is sealed to one card twice"));
        }
    }
    Ok(())
}

/// The 9D keys of the cards that carry their member's office (P-4.5).
fn transport_keys_of_officers(state: &State) -> BTreeSet<Point> {
    let is_officer = |member: &Id| {
        state.member(member).is_some_and(|found| !found.revoked && found.roles.contains(&Role::Officer))
    };
    state
        .cards()
        .filter(|(_, found)| found.vouched && found.status == CardStatus::Live)
        .filter(|(_, found)| is_officer(&found.card.member))
        .map(|(_, found)| found.card.transport.0)
        .collect()
}
