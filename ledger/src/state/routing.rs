//! Whether a file may go to another unit, and whether that unit's people may open it by its slip (P-15.4, P-15.6, P-15.7,
//! invariant I6): what a site asks, and nobody decides elsewhere.

use std::collections::BTreeSet;

use super::{Grant, NotAnswered, Rejected, State};
use crate::dsse::{Envelope, EnvelopeError};
use crate::journal::Row;
use crate::slip::{BATCHES_LIMIT, LONGEST_SLIP_MS, SLIPS_LIMIT, Sent, SlipId, is_way};
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
    /// These slips are not the way of one file: another file, from elsewhere, or for longer than the slip by which it came.
    #[error("the slips are not the way of one file")]
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

    /// Whether `site` may compute its parts for the slips that `card` has signed and brings, at the instant `at`; each one of them is
    /// [`State::may_send`]'s to judge. Who may open goes on with what is his to read; who may only route, does so.
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

    /// Whether a file of the grant's unit may go the first step of `way` at the instant `at`, with the slips before it as in
    /// [`State::may_release`]: from a front desk to the units on its list alone, and to none where its dispatcher could read
    /// it, by this card or another of his, now or later. Who routed it under a grant to route does not send it further either,
    /// whatever he was granted since: it is not his to open.
    ///
    /// # Errors
    /// [`NotRouted`].
    pub fn may_send(&self, grant: &Grant, way: &[Sent], at: Millis) -> Result<(), NotRouted> {
        let target = self.still_goes(way, at)?.slip.target;
        if grant.right == Right::Route && !self.routes_of(&grant.unit, at).contains(&target) {
            return Err(NotRouted::NotOnTheList { target });
        }
        if way.get(1..).is_some_and(|before| self.was_routed_by(&grant.card, before)) {
            return Err(NotRouted::OwnTarget { target: grant.unit });
        }
        self.may_be_target(grant, target, at)
    }

    /// Whether the member who has this card has, by any card, routed the file on this way under a grant to route.
    fn was_routed_by(&self, card: &Id, way: &[Sent]) -> bool {
        let member = |card: &Id| self.cards.get(card).map(|found| found.card.member);
        way.iter().any(|sent| {
            let by = self.grants.get(&sent.slips.grant).filter(|grant| grant.right == Right::Route);
            by.is_some_and(|by| member(&by.card) == member(card))
        })
    }

    /// Where a front desk's dispatcher may send files under his `grant` at the instant `at`; nothing for a grant to open, with which
    /// one may send to every other unit that could open.
    #[must_use]
    pub fn targets_of(&self, grant: &Grant, at: Millis) -> BTreeSet<Id> {
        if grant.right != Right::Route {
            return BTreeSet::new();
        }
        let mut targets = self.routes_of(&grant.unit, at);
        targets.retain(|target| self.may_be_target(grant, *target, at).is_ok());
        targets
    }

    fn may_be_target(&self, grant: &Grant, target: Id, at: Millis) -> Result<(), NotRouted> {
        if grant.right == Right::Route && self.may_ever_open(&grant.card, &target, at) {
            return Err(NotRouted::OwnTarget { target });
        }
        // A unit that has another key now may have lost its own to somebody.
        let is_replaced = |unit: &super::Unit| {
            unit.successor.and_then(|next| self.units.get(&next)).is_some_and(|next| next.key.is_some())
        };
        let opens = |unit: &super::Unit| {
            unit.kind != UnitKind::FrontDesk
                && unit.key.is_some()
                && !is_replaced(unit)
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

    /// Whether `site` may give `card`, under its `grant`, its part of the file of the first of `way`, at the instant `at`. `way`
    /// is that slip, the one by which its file came to that one's unit, and so on ([`is_way`]). Whoever routed it may have left,
    /// and does not open it, whatever he was granted since.
    ///
    /// # Errors
    /// [`NotRouted`].
    pub fn may_release(
        &self,
        site: &Id,
        card: &Id,
        grant: &Id,
        way: &[Sent],
        at: Millis,
    ) -> Result<&Grant, NotRouted> {
        let grant = self.may_answer(site, card, grant, Right::Open, at)?;
        let sent = self.still_goes(way, at)?;
        if grant.unit != sent.slip.target {
            return Err(NotRouted::OtherTarget);
        }
        if self.was_routed_by(card, way) {
            return Err(NotRouted::OwnTarget { target: grant.unit });
        }
        Ok(grant)
    }

    /// The first of `way`, unless it is over, or one of them was revoked, or the file shredded.
    fn still_goes<'a>(&self, way: &'a [Sent], at: Millis) -> Result<&'a Sent, NotRouted> {
        let sent = way.first().filter(|_| is_way(way)).ok_or(NotRouted::OtherOrigin)?;
        if sent.slips.are_over(at) {
            return Err(NotRouted::Over { expires_at: sent.slips.expires_at });
        }
        if way.iter().any(|sent| self.slip_is_revoked(&sent.id())) {
            return Err(NotRouted::Revoked);
        }
        if self.is_shredded(&sent.slip.file()) {
            return Err(NotRouted::Shredded);
        }
        Ok(sent)
    }

    /// Whether an order revoked this slip, or all of its batch.
    #[must_use]
    pub fn slip_is_revoked(&self, slip: &SlipId) -> bool {
        [None, Some(slip.index)].iter().any(|index| self.revoked_slips.contains(&(slip.slips, *index)))
    }
}

/// What a row of an audit journal tells of (P-13.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A file of the grant's unit was opened.
    Opened,
    /// A dispatcher sent a file on.
    Routed {
        /// Where to.
        to: Id,
    },
    /// A file was opened that had been sent on to the grant's unit.
    OpenedBySlip {
        /// The unit that sent it.
        from: Id,
    },
}

impl State {
    /// What a row of an audit journal tells of, and the unit whose grant was used. One with a grant that the ledger does not know
    /// is taken as it stands.
    #[must_use]
    pub fn told_by(&self, row: &Row) -> (Id, Told) {
        match self.grants.get(&row.grant) {
            Some(grant) if grant.right == Right::Route => (grant.unit, Told::Routed { to: row.unit }),
            Some(grant) if grant.unit != row.unit => (grant.unit, Told::OpenedBySlip { from: row.unit }),
            _ => (row.unit, Told::Opened),
        }
    }
}

/// The ledger takes the digests as they are: what it keeps is that they were there by then.
pub(super) fn slips_batched(slips: &BTreeSet<Digest>) -> Result<(), Rejected> {
    if slips.is_empty() || slips.len() > BATCHES_LIMIT {
        return Err(Rejected::SlipsCount { count: slips.len() });
    }
    Ok(())
}
