//! Grants: who gets one, and what ends them (P-4.6, P-4.7, P-4.8, P-4.11, P-4.13).

use std::collections::BTreeSet;

use super::act::{ends_in_future, nearer_end, officer};
use super::order::Signers;
use super::{CardStatus, GRANTS_PER_CARD, Grant, Kind, Rejected, State, seconds};
use crate::Id;
use crate::statement::{Act, Custody, Millis, Right, UnitKind};

impl State {
    pub(super) fn order_grant(
        &mut self,
        id: Id,
        grant: Grant,
        signers: &Signers,
        at: Millis,
    ) -> Result<(), Rejected> {
        let Grant { card, unit, right, custody, starts_at, expires_at, .. } = grant;
        let found = self.units.get(&unit).ok_or(Rejected::Unknown { kind: Kind::Unit, id: unit })?;
        let front_desk = found.kind == UnitKind::FrontDesk;
        signers.satisfy(officer(found.two_people || front_desk))?;
        if (right == Right::Route) != front_desk {
            return Err(Rejected::WrongRight { unit });
        }
        if custody == Custody::OwnPc && !found.own_pcs {
            return Err(Rejected::OwnPcNotAllowed { unit });
        }
        if let Some(contract) = found.contract {
            self.running_contract(&contract, at)?;
        }
        self.open_unit(&unit, at)?;
        self.must_be_new(Kind::Grant, id, self.grants.contains_key(&id))?;
        let holder = self.known_card(&card)?.card.member;
        signers.exclude(holder)?;
        match self.known_card(&card)?.status {
            CardStatus::Live => {}
            CardStatus::Suspended => return Err(Rejected::CardSuspended { card }),
            CardStatus::Revoked => return Err(Rejected::Over { kind: Kind::Card, id: card }),
        }
        self.living_member(&holder, at)?;
        if let Some(contract) = self.members.get(&holder).and_then(|m| m.contract) {
            self.running_contract(&contract, at)?;
        }
        if let Some(expires_at) = expires_at {
            ends_in_future(expires_at, at)?;
        }
        if let (Some(starts_at), Some(ends_at)) = (starts_at, expires_at)
            && starts_at >= ends_at
        {
            return Err(Rejected::StartsAfterEnd { starts_at, ends_at });
        }
        self.has_room(card, unit, (starts_at, expires_at), at)?;
        self.grants_of_card.insert_mut((card, id));
        self.grants_of_unit.insert_mut((unit, id));
        self.grants.insert_mut(id, grant);
        Ok(())
    }

    pub(super) fn revoke_grant(
        &mut self,
        act: &Act,
        id: Id,
        effective_at: Option<Millis>,
        at: Millis,
    ) -> Result<(), Rejected> {
        let grant = self.grants.get_mut(&id).ok_or(Rejected::Unknown { kind: Kind::Grant, id })?;
        let Some(effective_at) = effective_at else {
            self.kill_grants(act);
            return Ok(());
        };
        if grant.revoked {
            return Err(Rejected::Over { kind: Kind::Grant, id });
        }
        grant.expires_at = nearer_end((Kind::Grant, id), grant.expires_at, effective_at, at)?;
        Ok(())
    }

    /// A card has one grant to a unit at a time, and a key slot for each grant that is not over: a share is there before
    /// its grant begins.
    fn has_room(
        &self,
        card: Id,
        unit: Id,
        (starts_at, expires_at): (Option<Millis>, Option<Millis>),
        at: Millis,
    ) -> Result<(), Rejected> {
        let begins_before = |start: Option<Millis>, end: Option<Millis>| {
            end.is_none_or(|end| start.is_none_or(|start| start < end))
        };
        let mut slots = 0;
        for (id, other) in self.grants_of_card(card) {
            if self.live_grant(&id, at).is_err() {
                continue;
            }
            slots += 1;
            if other.unit == unit
                && begins_before(starts_at, other.expires_at)
                && begins_before(other.starts_at, expires_at)
            {
                return Err(Rejected::GrantExists { card, unit });
            }
        }
        if slots >= GRANTS_PER_CARD { Err(Rejected::CardFull { card }) } else { Ok(()) }
    }

    /// The grants that an act ends for ever, there and then: the key pairs that a site destroys before it signs its receipt.
    /// An act that ends something at a later instant ends nothing yet.
    #[must_use]
    pub fn ended_by(&self, act: &Act) -> BTreeSet<Id> {
        let of_card = |card: Id| seconds(&self.grants_of_card, card);
        let of_unit = |unit: Id| seconds(&self.grants_of_unit, unit);
        let of_member = |member: Id| seconds(&self.cards_of_member, member).flat_map(of_card);
        match act {
            Act::GrantRevoked { grant, effective_at: None, .. } => BTreeSet::from([*grant]),
            Act::CardRevoked { card, .. } => of_card(*card).collect(),
            Act::MemberRevoked { member, effective_at: None, .. } => of_member(*member).collect(),
            Act::UnitClosed { unit, effective_at: None } => of_unit(*unit).collect(),
            Act::ContractEnded { contract, .. } => seconds(&self.members_of_contract, *contract)
                .flat_map(of_member)
                .chain(seconds(&self.units_of_contract, *contract).flat_map(of_unit))
                .collect(),
            _ => BTreeSet::new(),
        }
    }

    pub(super) fn kill_grants(&mut self, act: &Act) {
        for id in self.ended_by(act) {
            if let Some(grant) = self.grants.get_mut(&id) {
                grant.revoked = true;
            }
        }
    }
}
