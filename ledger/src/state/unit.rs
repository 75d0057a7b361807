//! Units: how they come into being, change, and go (P-4.6, P-4.8, P-4.11, P-4.13, P-4.14).

use std::collections::BTreeSet;

use super::act::{ends_in_future, nearer_end, officer};
use super::order::Signers;
use super::{Kind, Rejected, State, Unit};
use crate::register::Commitment;
use crate::statement::{Act, Millis, UnitKind};
use crate::{Digest, Id};

/// Why a unit does not fit where it may route to.
const ROUTES: &str = "a front desk, and only that, routes to units";

/// Front desks and contractors' units take two officers wherever others take one.
pub(super) fn is_for_outsiders(kind: UnitKind) -> bool {
    matches!(kind, UnitKind::FrontDesk | UnitKind::Contractor)
}

/// What [`Act::UnitChanged`] says.
pub(super) struct Change<'a> {
    pub(super) name: Option<&'a Commitment>,
    pub(super) sites: Option<&'a BTreeSet<Id>>,
    pub(super) routes_to: Option<&'a BTreeSet<Id>>,
    pub(super) two_people: Option<bool>,
    pub(super) own_pcs: Option<bool>,
}

impl State {
    /// Brings a unit into being that is well formed.
    pub(super) fn begin_unit(&mut self, id: Id, unit: Unit, at: Millis) -> Result<(), Rejected> {
        self.must_be_new(Kind::Unit, id, self.units.contains_key(&id))?;
        self.sites_serve(id, &unit.sites)?;
        let malformed = |why| Err(Rejected::UnitMalformed { unit: id, why });
        if (unit.kind == UnitKind::Contractor) != unit.contract.is_some() {
            return malformed("a contractor's team, and only that, belongs to a contract");
        }
        if let Some(contract) = unit.contract {
            self.running_contract(&contract, at)?;
        }
        if (unit.kind == UnitKind::FrontDesk) == unit.routes_to.is_empty() {
            return malformed(ROUTES);
        }
        if let Some(contract) = unit.contract {
            self.units_of_contract.insert_mut((contract, id));
        }
        self.units.insert_mut(id, unit);
        Ok(())
    }

    pub(super) fn change_unit(
        &mut self,
        id: Id,
        change: &Change<'_>,
        signers: &Signers,
        at: Millis,
    ) -> Result<(), Rejected> {
        let Change { name, sites, routes_to, two_people, own_pcs } = *change;
        let kind = self.known_unit(&id)?.kind;
        let name_alone = sites.is_none() && routes_to.is_none() && two_people.is_none() && own_pcs.is_none();
        signers.satisfy(officer(!name_alone || is_for_outsiders(kind)))?;
        if name_alone && name.is_none() {
            return Err(Rejected::Empty);
        }
        self.open_unit(&id, at)?;
        if let Some(sites) = sites {
            self.sites_serve(id, sites)?;
        }
        if let Some(routes_to) = routes_to {
            if kind != UnitKind::FrontDesk || routes_to.is_empty() {
                return Err(Rejected::UnitMalformed { unit: id, why: ROUTES });
            }
            self.open_units(routes_to, at)?;
        }
        let leaf = self.tree.size();
        let Some(unit) = self.units.get_mut(&id) else { return Ok(()) };
        if let Some(name) = name {
            unit.name = name.record;
            unit.renamed = Some(leaf);
        }
        if let Some(sites) = sites {
            unit.sites.clone_from(sites);
        }
        if let Some(routes_to) = routes_to {
            unit.routes_to.clone_from(routes_to);
        }
        unit.two_people = two_people.unwrap_or(unit.two_people);
        unit.own_pcs = own_pcs.unwrap_or(unit.own_pcs);
        Ok(())
    }

    pub(super) fn close_unit(
        &mut self,
        act: &Act,
        id: Id,
        effective_at: Option<Millis>,
        at: Millis,
    ) -> Result<(), Rejected> {
        let closes_at = self.known_unit(&id)?.closes_at;
        let Some(effective_at) = effective_at else {
            self.kill_grants(act);
            if let Some(unit) = self.units.get_mut(&id) {
                unit.closed = true;
            }
            return Ok(());
        };
        self.open_unit(&id, at)?;
        let end = nearer_end((Kind::Unit, id), closes_at, effective_at, at)?;
        if let Some(unit) = self.units.get_mut(&id) {
            unit.closes_at = end;
        }
        Ok(())
    }

    pub(super) fn merge_unit(
        &mut self,
        id: Id,
        into: Id,
        effective_at: Option<Millis>,
        at: Millis,
    ) -> Result<(), Rejected> {
        for unit in [id, into] {
            if self.known_unit(&unit)?.kind != UnitKind::Department || id == into {
                return Err(Rejected::NotMergeable { unit });
            }
            self.in_use(&unit, at)?;
        }
        if let Some(effective_at) = effective_at {
            ends_in_future(effective_at, at)?;
        }
        if let Some(unit) = self.units.get_mut(&id) {
            unit.merged = Some((into, effective_at.unwrap_or(at)));
        }
        Ok(())
    }

    pub(super) fn rekey_unit(
        &mut self,
        id: Id,
        successor: Id,
        order: Digest,
        at: Millis,
    ) -> Result<(), Rejected> {
        self.in_use(&id, at)?;
        let sites = self.serving_sites(&id);
        let unit = self.known_unit(&id)?.clone();
        let begins = Unit { sites, order, key: None, closes_at: None, replaces: Some(id), ..unit };
        self.begin_unit(successor, begins, at)?;
        if let Some(unit) = self.units.get_mut(&id) {
            unit.successor = Some(successor);
        }
        Ok(())
    }

    /// The unit has a key, is not closed, and nothing was ordered to take its place.
    fn in_use(&self, id: &Id, at: Millis) -> Result<(), Rejected> {
        self.open_unit(id, at)?;
        let unit = self.known_unit(id)?;
        if unit.merged.is_some() || unit.successor.is_some() {
            return Err(Rejected::UnitReplaced { unit: *id });
        }
        if unit.key.is_none() { Err(Rejected::UnitWithoutKey { unit: *id }) } else { Ok(()) }
    }

    pub(super) fn open_unit(&self, id: &Id, at: Millis) -> Result<(), Rejected> {
        self.known_unit(id)?;
        if self.unit_is_closed(id, at) { Err(Rejected::Over { kind: Kind::Unit, id: *id }) } else { Ok(()) }
    }

    pub(super) fn open_units(&self, units: &BTreeSet<Id>, at: Millis) -> Result<(), Rejected> {
        units.iter().try_for_each(|unit| self.open_unit(unit, at))
    }

    fn known_unit(&self, id: &Id) -> Result<&Unit, Rejected> {
        self.units.get(id).ok_or(Rejected::Unknown { kind: Kind::Unit, id: *id })
    }

    fn sites_serve(&self, unit: Id, sites: &BTreeSet<Id>) -> Result<(), Rejected> {
        if sites.is_empty() {
            return Err(Rejected::UnitMalformed { unit, why: "no site serves it" });
        }
        sites.iter().try_for_each(|site| self.serving_site(site))
    }
}
