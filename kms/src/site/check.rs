//! The questions of P-7.2, in its order, and [`MayAnswer`]: the proof that all of them were answered.

use std::collections::BTreeMap;

use warifu_api::error::ErrorCode;
use warifu_api::wire::site::PartialItem;
use warifu_crash_point::{Guard, stands};
use warifu_hardware::hsm::WrappedShare;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Millis, Right};
use warifu_ledger::{Digest, Id};
use warifu_split_key::point::Point;

use super::dead::Dead;
use super::gate::Turn;
use super::journal::Audited;
use super::refusal;

/// Length of `R` on the wire: SEC1, uncompressed.
const ENCAPSULATED_LEN: usize = 65;

/// What a site knows at one moment.
pub(super) struct View<'a> {
    pub(super) site: Id,
    pub(super) state: &'a State,
    pub(super) dead: &'a Dead,
    /// Site time; none while no lease runs.
    pub(super) time: Option<Millis>,
    /// The kms has shown two ledgers, or one that the fold refuses.
    pub(super) halted: bool,
}

impl View<'_> {
    /// Whether the card may be here at all, and the time.
    ///
    /// # Errors
    /// Why not. A card that is over is told so even while no lease runs.
    pub(super) fn may_connect(&self, card: &Id) -> Result<Millis, ErrorCode> {
        if self.halted {
            return Err(ErrorCode::Fork);
        }
        let at = self.at_least();
        self.state.may_connect(card, at).map_err(refusal::of_not_answered)?;
        match self.dead.refuses_card(self.state, card, at) {
            Some(code) => Err(code),
            None => self.time.ok_or(ErrorCode::LeaseExpired),
        }
    }

    /// Site time, or an instant that it is not before.
    pub(super) fn at_least(&self) -> Millis {
        self.time.unwrap_or(self.state.last_at())
    }
}

/// That this site may answer one item: every question of P-7.2 up to the audit record has been answered, under the lock of
/// the card. Only [`may_answer`] makes one, and only the journal takes one.
pub(super) struct MayAnswer {
    entry: Entry,
    encapsulated: Point,
    share: WrappedShare,
}

/// What the audit journal says of one partial.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) card: Id,
    pub(super) member: Id,
    /// The grant that was used.
    pub(super) grant: Id,
    /// The grant's unit; of a file that is routed from a front desk, where it goes; of one that is opened by a slip, from where
    /// it came (P-13.1).
    pub(super) unit: Id,
    /// The file's id (P-7.3).
    pub(super) file: Digest,
    /// Site time of the check.
    pub(super) time: Millis,
}

impl Audited for MayAnswer {
    fn entries(&self) -> Vec<Entry> {
        vec![self.entry]
    }
}

impl MayAnswer {
    pub(super) fn grant(&self) -> Id {
        self.entry.grant
    }

    /// `R`.
    pub(super) fn encapsulated(&self) -> &Point {
        &self.encapsulated
    }

    pub(super) fn share(&self) -> &WrappedShare {
        &self.share
    }
}

/// Asks P-7.2's questions for one item of the card whose turn it is: card live · grant live, allows this, served here · lease
/// runs · file not shredded · `R` on the curve.
///
/// # Errors
/// The first reason not to.
pub(super) fn may_answer(
    turn: &Turn,
    view: &View<'_>,
    shares: &BTreeMap<Id, WrappedShare>,
    item: &PartialItem,
) -> Result<MayAnswer, ErrorCode> {
    if view.halted {
        return Err(ErrorCode::Fork);
    }
    let (state, card, at) = (view.state, turn.card(), view.at_least());
    state.may_connect(&card, at).map_err(refusal::of_not_answered)?;
    let asked = stands(Guard::ActedOnIsAsked);
    if let Some(code) = view.dead.refuses_card(state, &card, at).filter(|_| asked) {
        return Err(code);
    }
    let grant = state
        .may_answer(&view.site, &card, &item.grant, Right::Open, at)
        .map_err(refusal::of_not_answered)?;
    if let Some(code) = view.dead.refuses_grant(state, &item.grant, grant).filter(|_| asked) {
        return Err(code);
    }
    let share = shares.get(&item.grant).ok_or(ErrorCode::NotServedHere)?;
    let time = view.time.ok_or(ErrorCode::LeaseExpired)?;
    let file = file_of(&item.encapsulated.0).ok_or(ErrorCode::InvalidPoint)?;
    if state.is_shredded(&file) || (view.dead.files.contains(&file) && asked) {
        return Err(ErrorCode::Shredded);
    }
    let encapsulated = Point::from_sec1(&item.encapsulated.0).map_err(|_| ErrorCode::InvalidPoint)?;
    let member = state.card(&card).ok_or(ErrorCode::CardNotLive)?.card.member;
    let entry = Entry { card, member, grant: item.grant, unit: grant.unit, file, time };
    Ok(MayAnswer { entry, encapsulated, share: share.clone() })
}

/// SHA-256 of `x(R)` (P-7.3); none if the bytes have not the form of a point.
fn file_of(encapsulated: &[u8]) -> Option<Digest> {
    match encapsulated.split_first() {
        Some((4, coordinates)) if encapsulated.len() == ENCAPSULATED_LEN => {
            coordinates.get(..32).map(Digest::of)
        }
        _ => None,
    }
}
