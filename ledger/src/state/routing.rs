//! Whether a file may go to another unit, and whether that unit's people may open it by its slip (P-15.4, P-15.6, P-15.7,
//! invariant I6): what a site asks, and nobody decides elsewhere.

use std::collections::BTreeSet;

use super::{Grant, Kind, NotAnswered, Rejected, State};
use crate::dsse::{Envelope, EnvelopeError};
use crate::slip::{BATCHES_LIMIT, LONGEST_SLIP_MS, SLIPS_LIMIT, Slip};
use crate::statement::{Millis, Right, Slips, UnitKind};
use crate::{Digest, Id};

/// Why a file is not routed, or not opened by its slip.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotRouted {
    /// Whoever asks may not.
    #[error(transparent)]
    NotAnswered(#[from] NotAnswered),
    /// No slips, or not signed with the key of the grant's card.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// They are another organization's.
    #[error("the slips are of the organization {found}")]
    OtherOrganization {
        /// Whose.
        found: Digest,
    },
    /// The grant is to another unit than the slips say.
    #[error("the grant is not one to the unit {unit}")]
    OtherUnit {
        /// The unit in the slips.
        unit: Id,
    },
    /// None, or more than one signature may cover.
    #[error("{count} slips are none, or too many for one signature")]
    Count {
        /// How many.
        count: u64,
    },
    /// They are over by their date.
    #[error("the slips ended at {expires_at}")]
    Over {
        /// The first instant at which they were over.
        expires_at: Millis,
    },
    /// They would be good for longer than any may.
    #[error("the slips would be good until {expires_at}, which is too far ahead")]
    TooFarAhead {
        /// The first instant at which they would be over.
        expires_at: Millis,
    },
    /// An order revoked it.
    #[error("the slip was revoked")]
    Revoked,
    /// The front desk may not route there; of units that do not exist, too.
    #[error("the front desk may not route to {target}")]
    NotOnTheList {
        /// Where it would go.
        target: Id,
    },
    /// Nobody could open it there.
    #[error(
        "nobody could open a file at {target}: it is closed, has no key, is a front desk, or its contract is over"
    )]
    NoTarget {
        /// Where it would go.
        target: Id,
    },
    /// Whoever routes could read it there.
    #[error("whoever routes holds a right to open at {target}")]
    OwnTarget {
        /// Where it would go.
        target: Id,
    },
    /// It was routed to another unit than the one whose member asks.
    #[error("the file was not routed to this unit")]
    OtherTarget,
    /// It would go further than the slip by which it came allows: another file, from elsewhere, or for longer.
    #[error("the slip does not go on from the one by which the file came")]
    OtherOrigin,
    /// No site answers for the file any more.
    #[error("the file was shredded")]
    Shredded,
}

impl State {
    /// Reads slips, whoever brings them and whenever: of this organization, and signed with the key (9C) of the card whose
    /// grant they name, which is one to their unit. Whether that card may still do anything is not asked.
    ///
    /// # Errors
    /// [`NotRouted`].
    pub fn read_slips(&self, envelope: &Envelope) -> Result<Slips, NotRouted> {
        let slips: Slips = envelope.statement()?;
        if slips.organization != self.organization {
            return Err(NotRouted::OtherOrganization { found: slips.organization });
        }
        let grant = self.grants.get(&slips.grant).ok_or(NotAnswered::GrantNotLive)?;
        if grant.unit != slips.unit {
            return Err(NotRouted::OtherUnit { unit: slips.unit });
        }
        let card = self.cards.get(&grant.card).ok_or(NotAnswered::CardNotLive)?;
        envelope.verify(&card.card.signature)?;
        if slips.count == 0 || slips.count > SLIPS_LIMIT {
            return Err(NotRouted::Count { count: slips.count });
        }
        Ok(slips)
    }

    /// Whether `site` may compute its parts for the slips that `card` has signed and brings, at the instant `at`; each one's
    /// target is [`State::may_route_to`]'s to judge. Who may open goes on with what is his to read; who may only route, does so.
    ///
    /// # Errors
    /// [`NotRouted`].
    pub fn may_route(
        &self,
        site: &Id,
        card: &Id,
        envelope: &Envelope,
        at: Millis,
    ) -> Result<(Slips, &Grant), NotRouted> {
        let slips = self.read_slips(envelope)?;
        let right = self.grants.get(&slips.grant).map_or(Right::Route, |grant| grant.right);
        let grant = self.may_answer(site, card, &slips.grant, right, at)?;
        if slips.are_over(at) {
            return Err(NotRouted::Over { expires_at: slips.expires_at });
        }
        if slips.expires_at > at.saturating_add(LONGEST_SLIP_MS) {
            return Err(NotRouted::TooFarAhead { expires_at: slips.expires_at });
        }
        Ok((slips, grant))
    }

    /// Whether a file of the grant's unit may go to `target` at the instant `at`: from a front desk to the units on its list
    /// alone, and to none where its dispatcher could read it, by this card or another of his, now or later.
    ///
    /// # Errors
    /// [`NotRouted`].
    pub fn may_route_to(&self, grant: &Grant, target: &Id, at: Millis) -> Result<(), NotRouted> {
        let target = *target;
        if grant.right == Right::Route {
            if !self.routes_of(&grant.unit, at).contains(&target) {
                return Err(NotRouted::NotOnTheList { target });
            }
            if self.may_ever_open(&grant.card, &target, at) {
                return Err(NotRouted::OwnTarget { target });
            }
        }
        let opens = |unit: &super::Unit| {
            unit.kind != UnitKind::FrontDesk
                && unit.key.is_some()
                && unit.contract.is_none_or(|contract| !self.contract_is_over(&contract, at))
        };
        if target == grant.unit
            || self.unit_is_closed(&target, at)
            || !self.units.get(&target).is_some_and(opens)
        {
            return Err(NotRouted::NoTarget { target });
        }
        Ok(())
    }

    /// Whether the member who has this card has, on any card, a right to open at the unit that is not over.
    fn may_ever_open(&self, card: &Id, unit: &Id, at: Millis) -> bool {
        let Some(member) = self.cards.get(card).map(|found| found.card.member) else { return true };
        self.cards_of_member(member).any(|(card, _)| {
            self.grants_of_card(card).any(|(id, grant)| {
                grant.unit == *unit && grant.right == Right::Open && self.live_grant(&id, at).is_ok()
            })
        })
    }

    /// Whether `site` may give `card`, under its `grant`, what opens the file of this slip, at the instant `at`. Whoever routed
    /// it may have left.
    ///
    /// # Errors
    /// [`NotRouted`].
    pub fn may_release(
        &self,
        site: &Id,
        card: &Id,
        grant: &Id,
        (slips, slip): (&Slips, &Slip),
        at: Millis,
    ) -> Result<&Grant, NotRouted> {
        let grant = self.may_answer(site, card, grant, Right::Open, at)?;
        if grant.unit != slip.target {
            return Err(NotRouted::OtherTarget);
        }
        if slips.are_over(at) {
            return Err(NotRouted::Over { expires_at: slips.expires_at });
        }
        if self.slip_is_revoked(&slips.id, slip.index) {
            return Err(NotRouted::Revoked);
        }
        if self.is_shredded(&slip.file()) {
            return Err(NotRouted::Shredded);
        }
        Ok(grant)
    }

    /// Whether an order revoked this slip, or all of its batch.
    #[must_use]
    pub fn slip_is_revoked(&self, slips: &Id, index: u64) -> bool {
        self.revoked_slips.contains(&(*slips, None)) || self.revoked_slips.contains(&(*slips, Some(index)))
    }

    pub(super) fn revoke_slip(&mut self, slips: Id, index: Option<u64>) -> Result<(), Rejected> {
        if self.revoked_slips.contains(&(slips, None)) || self.revoked_slips.contains(&(slips, index)) {
            return Err(Rejected::Over { kind: Kind::Slip, id: slips });
        }
        self.revoked_slips.insert_mut((slips, index));
        Ok(())
    }
}

/// The ledger takes the digests as they are: what it keeps is that they were there by then.
pub(super) fn slips_batched(slips: &BTreeSet<Digest>) -> Result<(), Rejected> {
    if slips.is_empty() || slips.len() > BATCHES_LIMIT {
        return Err(Rejected::SlipsCount { count: slips.len() });
    }
    Ok(())
}

impl Slip {
    /// Whether this slip among `slips` lets the file of `origin` go on: from the unit to which that one brought it, the same
    /// file, and for no longer.
    ///
    /// # Errors
    /// [`NotRouted::OtherOrigin`].
    pub fn goes_on_from(&self, slips: &Slips, (before, origin): (&Slips, &Self)) -> Result<(), NotRouted> {
        let same = self.origin.is_some_and(|from| from.slips == before.id && from.index == origin.index)
            && slips.organization == before.organization
            && slips.unit == origin.target
            && self.ephemeral == origin.ephemeral
            && self.stanza == origin.stanza
            && slips.expires_at <= before.expires_at;
        if same { Ok(()) } else { Err(NotRouted::OtherOrigin) }
    }
}
