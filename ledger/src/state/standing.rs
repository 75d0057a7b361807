//! What is over, and from when: asked by the fold of itself, and by whoever hands out, keeps or destroys something.
//!
//! What ends by a date that was ordered ahead ends with no message at that instant: every question here has one.

use std::collections::BTreeSet;

use super::{CardStatus, Grant, NotAnswered, State, Unit};
use crate::Id;
use crate::statement::Millis;

impl State {
    /// Whether the contract is over at `at`. An unknown contract is over.
    #[must_use]
    pub fn contract_is_over(&self, contract: &Id, at: Millis) -> bool {
        self.contracts.get(contract).is_none_or(|c| c.ended || c.ends_at <= at)
    }

    /// Whether the member has left at `at`. An unknown member has.
    #[must_use]
    pub fn member_is_over(&self, member: &Id, at: Millis) -> bool {
        self.members.get(member).is_none_or(|m| m.revoked || is_past(m.ends_at, at))
    }

    /// Where the member works at `at`: nowhere, if nobody has said so.
    #[must_use]
    pub fn units_of_member(&self, member: &Id, at: Millis) -> BTreeSet<Id> {
        let placed = self.members.get(member).and_then(|m| m.placements.range(..=at).next_back());
        placed.map(|(_, units)| units.clone()).unwrap_or_default()
    }

    /// Whether the unit is closed at `at`. An unknown unit is closed.
    #[must_use]
    pub fn unit_is_closed(&self, unit: &Id, at: Millis) -> bool {
        self.units.get(unit).is_none_or(|u| u.closed || is_past(u.closes_at, at))
    }

    /// Whether files are to be addressed to the unit at `at`, at once or as soon as it has its key: it is not over, nothing
    /// has taken its place, and it waits for a key in nobody else's.
    #[must_use]
    pub fn unit_is_listed(&self, unit: &Id, at: Millis) -> bool {
        self.units.get(unit).is_some_and(|found| {
            !self.unit_is_closed(unit, at)
                && found.contract.is_none_or(|contract| !self.contract_is_over(&contract, at))
                && self.replaced_by(found, at).is_none()
                && (found.replaces.is_none() || found.key.is_some())
        })
    }

    /// What files for the unit are to be addressed to at `at` in its place.
    fn replaced_by(&self, unit: &Unit, at: Millis) -> Option<Id> {
        let has_key = |id: &Id| self.units.get(id).is_some_and(|successor| successor.key.is_some());
        let merged = unit.merged.filter(|(_, from)| *from <= at).map(|(into, _)| into);
        merged.or(unit.successor.filter(has_key))
    }

    /// Where a front desk may route to at `at`: the units that were ordered for it, and whatever has taken the place of
    /// one. A unit that is closed is no target; one that was replaced is, until it is closed: its files still come.
    #[must_use]
    pub fn routes_of(&self, desk: &Id, at: Millis) -> BTreeSet<Id> {
        let mut open: Vec<Id> =
            self.units.get(desk).map(|unit| unit.routes_to.iter().copied().collect()).unwrap_or_default();
        let mut routes = BTreeSet::new();
        while let Some(id) = open.pop() {
            let Some(unit) = self.units.get(&id).filter(|_| routes.insert(id)) else { continue };
            open.extend(self.replaced_by(unit, at));
        }
        routes.retain(|unit| !self.unit_is_closed(unit, at));
        routes
    }

    /// Whether the site serves the unit and its grants now.
    #[must_use]
    pub fn serves(&self, site: &Id, unit: &Id) -> bool {
        self.units.get(unit).is_some_and(|unit| unit.sites.contains(site)) && self.is_serving(site)
    }

    /// The sites that serve the unit and its grants now.
    #[must_use]
    pub fn serving_sites(&self, unit: &Id) -> BTreeSet<Id> {
        let sites = self.units.get(unit).map(|unit| unit.sites.iter()).into_iter().flatten();
        sites.copied().filter(|site| self.is_serving(site)).collect()
    }

    fn is_serving(&self, site: &Id) -> bool {
        self.sites.get(site).is_some_and(|site| !site.removed)
    }

    /// The grant, unless it is over for ever at `at`: by itself, or with its unit, its card, its member, or the contract of
    /// one of them. One that has not begun, has no shares yet, or is on a suspended card is not over.
    ///
    /// # Errors
    /// [`NotAnswered`]: the first of these that is over.
    pub fn live_grant(&self, grant: &Id, at: Millis) -> Result<&Grant, NotAnswered> {
        let found = self.grants.get(grant).ok_or(NotAnswered::GrantNotLive)?;
        let unit = self.units.get(&found.unit).ok_or(NotAnswered::GrantNotLive)?;
        if self.unit_is_closed(&found.unit, at) {
            return Err(NotAnswered::UnitClosed);
        }
        let card = self.cards.get(&found.card).ok_or(NotAnswered::CardNotLive)?;
        if card.status == CardStatus::Revoked {
            return Err(NotAnswered::CardNotLive);
        }
        if found.revoked {
            return Err(NotAnswered::GrantNotLive);
        }
        if is_past(found.expires_at, at) {
            return Err(NotAnswered::GrantExpired);
        }
        if self.member_is_over(&card.card.member, at) {
            return Err(NotAnswered::MemberGone);
        }
        let member = self.members.get(&card.card.member).ok_or(NotAnswered::MemberGone)?;
        if [unit.contract, member.contract]
            .iter()
            .flatten()
            .any(|contract| self.contract_is_over(contract, at))
        {
            return Err(NotAnswered::ContractOver);
        }
        Ok(found)
    }
}

fn is_past(end: Option<Millis>, at: Millis) -> bool {
    end.is_some_and(|end| end <= at)
}
