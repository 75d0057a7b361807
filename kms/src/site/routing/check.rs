//! What is asked before a part is computed, sealed to another site, or released (P-15.4 to P-15.7), and the proofs that it was:
//! [`MayRoute`], [`MayHandOver`] and [`MayRelease`], which are made here alone.

use std::collections::BTreeMap;

use warifu_api::error::{ErrorBody, ErrorCode};
use warifu_api::wire::routing::{Batch, ShownSlip};
use warifu_api::wire::site::PartialItem;
use warifu_hardware::hsm::WrappedShare;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Bytes, PublicKey};
use warifu_ledger::slip::{Sent, Slip, SlipId};
use warifu_ledger::state::{NotRouted, State};
use warifu_ledger::statement::{Right, Slips};
use warifu_ledger::{Digest, Id};
use warifu_split_key::point::Point;
use warifu_split_key::routing::{RoutedFile, ephemeral_of};

use crate::site::check::{Entry, MayAnswer, View, may_answer};
use crate::site::dead::Dead;
use crate::site::error::SiteError;
use crate::site::gate::Turn;
use crate::site::journal::Audited;
use crate::site::refusal;
use crate::site::store::Sealed;

/// Reads slips as what cards have signed: neither the database nor whoever sent them is believed. Each signature is verified
/// once, and for many slips before `dead` is looked at: no revocation waits for that.
pub(super) struct Reader<'a> {
    state: &'a State,
    read: BTreeMap<Digest, Option<Slips>>,
}

impl<'a> Reader<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        Self { state, read: BTreeMap::new() }
    }

    fn slips(&mut self, envelope: &Envelope) -> (Digest, Option<&Slips>) {
        let batch = envelope.digest();
        let read = || self.state.read_slips(envelope).ok();
        (batch, self.read.entry(batch).or_insert_with(read).as_ref())
    }

    fn slip(&mut self, shown: &ShownSlip) -> Option<Sent> {
        let (batch, slips) = self.slips(&shown.slips);
        let slips = slips?;
        let sent = || Sent { batch, slips: slips.clone(), slip: shown.slip.slip.clone() };
        slips.has(&shown.slip).then(sent)
    }

    /// Verifies the signatures of these ways now.
    pub(super) fn read_ahead<'w>(&mut self, ways: impl IntoIterator<Item = &'w [ShownSlip]>) {
        for shown in ways.into_iter().flatten() {
            self.slips(&shown.slips);
        }
    }

    /// Each slip of a way; none if one of them is none.
    pub(super) fn way(&mut self, shown: &[ShownSlip]) -> Option<Vec<Sent>> {
        shown.iter().map(|shown| self.slip(shown)).collect()
    }
}

/// Whether something that this site acted on at first sight ends the way, whatever its fold says (P-8.1).
pub(super) fn ended(dead: &Dead, way: &[Sent]) -> Option<ErrorCode> {
    let first = way.first()?;
    if dead.files.contains(&first.slip.file()) {
        return Some(ErrorCode::Shredded);
    }
    let revoked = |sent: &Sent| {
        let of = |index| dead.slips.contains(&(sent.batch, index));
        of(None) || of(Some(sent.slip.index))
    };
    way.iter().any(revoked).then_some(ErrorCode::NotFound)
}

/// The code for one slip that the fold refuses.
fn of_slip(why: &NotRouted) -> ErrorCode {
    match why {
        NotRouted::NotAnswered(why) => refusal::of_not_answered(*why),
        NotRouted::NotOnTheList { .. } | NotRouted::OwnTarget { .. } | NotRouted::NoTarget { .. } => {
            ErrorCode::NotATarget
        }
        NotRouted::Shredded => ErrorCode::Shredded,
        NotRouted::Revoked | NotRouted::OtherOrigin | NotRouted::OtherTarget => ErrorCode::NotFound,
        _ => ErrorCode::Rejected,
    }
}

/// The slip by which a file came to the unit that sends it on: the way from it to the first, and its parts that are here.
#[derive(Default)]
pub(super) struct Origin {
    pub(super) way: Vec<ShownSlip>,
    pub(super) parts: Vec<(Id, Sealed)>,
}

/// What this site has to compute its part of a file from.
pub(in crate::site) enum Source {
    /// Its share under the grant.
    Share {
        /// The grant.
        grant: Id,
        /// The share.
        share: WrappedShare,
    },
    /// The parts under the slip by which the file came.
    Parts {
        /// That slip.
        came: RoutedFile,
        /// They.
        sealed: Vec<Sealed>,
    },
}

/// That this site may compute its part of a file that is routed, for itself to keep: every question of P-7.2 and P-15.4 up to
/// the audit record has been answered, under the lock of the card.
pub(in crate::site) struct MayRoute {
    entry: Entry,
    index: u64,
    file: RoutedFile,
    source: Source,
}

impl MayRoute {
    /// The slip's place.
    pub(in crate::site) fn index(&self) -> u64 {
        self.index
    }

    /// What the part is sealed for.
    pub(in crate::site) fn file(&self) -> &RoutedFile {
        &self.file
    }

    pub(in crate::site) fn source(&self) -> &Source {
        &self.source
    }
}

impl Audited for MayRoute {
    fn entries(&self) -> Vec<Entry> {
        vec![self.entry]
    }
}

/// A batch, with what became of each of its slips.
pub(super) struct Judged {
    pub(super) slips: Slips,
    pub(super) outcomes: Vec<Result<MayRoute, ErrorCode>>,
}

/// Asks for a batch, of the card whose turn it is: card live · the statement is its · grant live, served here · lease runs · all
/// the slips are there; and for each slip: it goes on from where its file came · to a target that it may go to · not shredded.
///
/// # Errors
/// Why nothing of it is taken.
pub(super) fn may_route(
    turn: &Turn,
    view: &View<'_>,
    reader: &mut Reader<'_>,
    shares: &BTreeMap<Id, WrappedShare>,
    origins: &BTreeMap<SlipId, Origin>,
    brought: &Batch,
) -> Result<Judged, SiteError> {
    let refused = |code, why: &str| SiteError::Refused(ErrorBody::new(code, why));
    let at_once = |code| refused(code, "this card may not route now");
    let time = view.may_connect(&turn.card()).map_err(at_once)?;
    let (state, card) = (view.state, turn.card());
    let (slips, grant) = state
        .may_route(&view.site, &card, &brought.slips, time)
        .map_err(|why| refused(of_slip(&why), &why.to_string()))?;
    if let Some(code) = view.dead.refuses_grant(state, &slips.grant, grant) {
        return Err(at_once(code));
    }
    if !slips.are(&brought.items) {
        return Err(refused(ErrorCode::Malformed, "these are not the slips that were signed"));
    }
    let member = state.card(&card).ok_or_else(|| at_once(ErrorCode::CardNotLive))?.card.member;
    let batch = brought.slips.digest();
    let judge = |slip: &Slip| {
        let sent = Sent { batch, slips: slips.clone(), slip: slip.clone() };
        let mut way = vec![sent];
        let origin = slip.origin.as_ref();
        let origin = origin.map(|origin| origins.get(origin).ok_or(ErrorCode::NotFound)).transpose()?;
        if let Some(origin) = origin {
            way.extend(reader.way(&origin.way).ok_or(ErrorCode::NotFound)?);
        }
        state.may_send(grant, &way, time).map_err(|why| of_slip(&why))?;
        if let Some(code) = ended(view.dead, &way) {
            return Err(code);
        }
        let contract = state.unit(&slip.target).and_then(|unit| unit.contract);
        if contract.is_some_and(|contract| view.dead.contracts.contains(&contract)) {
            return Err(ErrorCode::NotATarget);
        }
        let source = match origin.zip(way.get(1)) {
            Some((origin, came)) if !origin.parts.is_empty() => Source::Parts {
                came: came.slip.routed_file(&came.slips),
                sealed: origin.parts.iter().map(|(_, sealed)| *sealed).collect(),
            },
            Some(_) => return Err(ErrorCode::NotFound),
            None => {
                let share = shares.get(&slips.grant).ok_or(ErrorCode::NotServedHere)?.clone();
                Source::Share { grant: slips.grant, share }
            }
        };
        // Whoever reads the journal sees where it went.
        let unit = if grant.right == Right::Route { slip.target } else { grant.unit };
        let entry = Entry { card, member, grant: slips.grant, unit, file: slip.file(), time };
        Ok(MayRoute { entry, index: slip.index, file: slip.routed_file(&slips), source })
    };
    let outcomes = brought.items.iter().map(judge).collect();
    Ok(Judged { slips, outcomes })
}

/// That this site may seal a part that it keeps to another site, which serves the file's target.
pub(in crate::site) struct MayHandOver {
    file: RoutedFile,
    index: u64,
    sealed: Sealed,
    to: Id,
    key: Point,
}

impl MayHandOver {
    pub(in crate::site) fn file(&self) -> &RoutedFile {
        &self.file
    }

    pub(in crate::site) fn index(&self) -> u64 {
        self.index
    }

    /// The part as it is here.
    pub(in crate::site) fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    pub(in crate::site) fn to(&self) -> Id {
        self.to
    }

    /// The other site's transport key.
    pub(in crate::site) fn key(&self) -> &Point {
        &self.key
    }
}

/// Asks this site's own fold: the lease runs · the slip is signed, is not over, and nothing has ended it · that site has not
/// left and serves the target.
pub(super) fn may_hand_over(
    view: &View<'_>,
    reader: &mut Reader<'_>,
    way: &[ShownSlip],
    sealed: Sealed,
    to: Id,
) -> Option<MayHandOver> {
    let at = view.time.filter(|_| !view.halted && !view.dead.left)?;
    let state = view.state;
    let way = reader.way(way)?;
    let sent = way.first()?;
    let going = !sent.slips.are_over(at)
        && !way.iter().any(|sent| state.slip_is_revoked(&sent.id()))
        && !state.is_shredded(&sent.slip.file())
        && ended(view.dead, &way).is_none();
    let site = state.site(&to).filter(|site| !site.removed)?;
    let key = site.keys.transport?.0;
    let may = going && to != view.site && state.serves(&to, &sent.slip.target);
    let (file, index) = (sent.slip.routed_file(&sent.slips), sent.slip.index);
    may.then_some(MayHandOver { file, index, sealed, to, key })
}

/// That this site may release its part of a routed file to the card whose turn it is, with its partial of the card's part.
pub(in crate::site) struct MayRelease {
    seal: MayAnswer,
    entry: Entry,
    came: RoutedFile,
    sealed: Sealed,
}

impl MayRelease {
    /// What opens the card's part.
    pub(in crate::site) fn seal(&self) -> &MayAnswer {
        &self.seal
    }

    /// The slip.
    pub(in crate::site) fn came(&self) -> &RoutedFile {
        &self.came
    }

    /// The part as it is here.
    pub(in crate::site) fn sealed(&self) -> &Sealed {
        &self.sealed
    }
}

impl Audited for MayRelease {
    /// The file that is opened, then the card's part of it, whose encapsulated key is whatever the sender chose: both with the unit
    /// that sent it, so that neither is taken for a file that the member chose to open.
    fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![self.entry];
        entries.extend(self.seal.entries().into_iter().map(|seal| Entry { unit: self.entry.unit, ..seal }));
        entries
    }
}

/// Asks for one part of the slip that `way` begins with, and one grant of the card whose turn it is: all that P-7.2 asks for the
/// card's part of it · the way is unbroken, not over, not revoked, not routed by the same person (P-15.6) · the file not shredded.
///
/// # Errors
/// The first reason not to.
pub(super) fn may_release(
    turn: &Turn,
    view: &View<'_>,
    shares: &BTreeMap<Id, WrappedShare>,
    grant: &Id,
    way: &[Sent],
    sealed: Sealed,
) -> Result<MayRelease, ErrorCode> {
    let state = view.state;
    let sent = way.first().ok_or(ErrorCode::NotFound)?;
    let ephemeral = ephemeral_of(&sent.slip.seal.0).map_err(|_| ErrorCode::InvalidPoint)?;
    let item = PartialItem { grant: *grant, encapsulated: Bytes(ephemeral.to_uncompressed().to_vec()) };
    let seal = may_answer(turn, view, shares, &item)?;
    let [entry] = seal.entries().try_into().map_err(|_| ErrorCode::Internal)?;
    state.may_release(&view.site, &turn.card(), grant, way, entry.time).map_err(|why| of_slip(&why))?;
    if let Some(code) = ended(view.dead, way) {
        return Err(code);
    }
    // Whoever reads the journal sees from where it came.
    let entry = Entry { unit: sent.slips.unit, file: sent.slip.file(), ..entry };
    Ok(MayRelease { seal, entry, came: sent.slip.routed_file(&sent.slips), sealed })
}

/// `P` of the unit that a file was sealed to which came this way.
pub(super) fn sealed_to(state: &State, way: &[Sent]) -> Option<PublicKey> {
    let first = way.last()?;
    state.unit(&first.slips.unit)?.key.map(|(key, _)| key.into())
}
