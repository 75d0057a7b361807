//! What each act demands of its signers, and what it changes (P-4.6, P-4.7, P-4.8).

use std::collections::BTreeSet;

use super::fold::check_policy;
use super::order::{Needs, Signers};
use super::{
    CardState, CardStatus, Contract, GRANTS_PER_CARD, Grant, Kind, Member, Rejected, Site, State, Unit,
    seconds,
};
use crate::register::Commitment;
use crate::statement::{Act, Attestation, Card, Custody, Millis, Right, Role, UnitKind};
use crate::{Digest, Id};

const OFFICER: &[Role] = &[Role::Officer];
const OFFICER_OR_ADMINISTRATOR: &[Role] = &[Role::Officer, Role::Administrator];

/// An officer's work, or that of two different officers.
fn officer(two_people: bool) -> Needs {
    Needs { roles: OFFICER, two_people }
}

fn two_officers() -> Needs {
    officer(true)
}

/// Ending access: an administrator's work, which an officer may do as well.
fn ending(two_people: bool) -> Needs {
    Needs { roles: OFFICER_OR_ADMINISTRATOR, two_people }
}

impl State {
    /// Applies one act of an order signed by `signers`, whose digest is `order`, at the instant `at`.
    pub(super) fn act(
        &mut self,
        act: &Act,
        signers: &Signers,
        order: Digest,
        at: Millis,
    ) -> Result<(), Rejected> {
        match act {
            Act::RoleChanged { member, roles } => {
                signers.satisfy(two_officers())?;
                signers.exclude(*member)?;
                self.living_member(member)?;
                // One signature ends a contract: it must not end an officer, nor may a contractor become one.
                let contractor = self.members.get(member).is_some_and(|m| m.contract.is_some());
                if contractor && roles.iter().any(|role| *role != Role::Auditor) {
                    return Err(Rejected::RoleUnderContract { member: *member });
                }
                self.set_roles(*member, roles.clone());
                Ok(())
            }
            Act::PolicyChanged { policy } => {
                signers.satisfy(two_officers())?;
                check_policy(policy)?;
                self.policy = policy.clone();
                Ok(())
            }
            Act::SiteJoined { site, name, keys, address } => {
                signers.satisfy(two_officers())?;
                self.must_be_new(Kind::Site, *site, self.sites.contains_key(site))?;
                self.first_sight([keys.signing.0, keys.tls.0])?;
                let joined =
                    Site { name: name.record, keys: keys.clone(), address: address.clone(), removed: false };
                self.sites.insert_mut(*site, joined);
                Ok(())
            }
            Act::SiteRemoved { site } => {
                signers.satisfy(two_officers())?;
                self.serving_site(site)?;
                if let Some(site) = self.sites.get_mut(site) {
                    site.removed = true;
                }
                Ok(())
            }
            Act::ContractOpened { contract, name, ends_at } => {
                signers.satisfy(two_officers())?;
                self.must_be_new(Kind::Contract, *contract, self.contracts.contains_key(contract))?;
                ends_in_future(*ends_at, at)?;
                let opened = Contract { name: name.record, ends_at: *ends_at, ended: false };
                self.contracts.insert_mut(*contract, opened);
                Ok(())
            }
            Act::ContractExtended { contract, ends_at } => {
                signers.satisfy(two_officers())?;
                self.running_contract(contract, at)?;
                ends_in_future(*ends_at, at)?;
                if let Some(contract) = self.contracts.get_mut(contract) {
                    contract.ends_at = *ends_at;
                }
                Ok(())
            }
            Act::ContractEnded { contract, .. } => {
                signers.satisfy(ending(false))?;
                let Some(found) = self.contracts.get_mut(contract) else {
                    return Err(Rejected::Unknown { kind: Kind::Contract, id: *contract });
                };
                found.ended = true;
                self.kill_grants(act);
                Ok(())
            }
            Act::UnitOrdered { unit, name, kind, contract, sites, routes_to, two_people } => {
                let outsiders = matches!(kind, UnitKind::FrontDesk | UnitKind::Contractor);
                signers.satisfy(officer(outsiders))?;
                self.must_be_new(Kind::Unit, *unit, self.units.contains_key(unit))?;
                self.unit_is_well_formed(*unit, *kind, *contract, sites, routes_to, at)?;
                if let Some(contract) = contract {
                    self.units_of_contract.insert_mut((*contract, *unit));
                }
                let ordered = Unit {
                    name: name.record,
                    kind: *kind,
                    contract: *contract,
                    sites: sites.clone(),
                    routes_to: routes_to.clone(),
                    two_people: *two_people,
                    order,
                    key: None,
                };
                self.units.insert_mut(*unit, ordered);
                Ok(())
            }
            Act::CardEnrolled(card) => {
                let two_people = self.holds_role(&card.member);
                signers.satisfy(officer(two_people))?;
                signers.exclude(card.member)?;
                self.enrol(card, at, signers.are_two_officers())
            }
            Act::GrantOrdered { grant, card, unit, right, custody, expires_at } => {
                self.order_grant(signers, order, at, *grant, (*card, *unit), (*right, *custody, *expires_at))
            }
            Act::GrantRevoked { grant, .. } => {
                signers.satisfy(ending(false))?;
                if !self.grants.contains_key(grant) {
                    return Err(Rejected::Unknown { kind: Kind::Grant, id: *grant });
                }
                self.kill_grants(act);
                Ok(())
            }
            Act::CardRevoked { card, .. } => {
                let member = self.known_card(card)?.card.member;
                signers.satisfy(ending(self.holds_role(&member)))?;
                self.set_status(card, CardStatus::Revoked);
                self.kill_grants(act);
                Ok(())
            }
            Act::CardSuspended { card } => {
                signers.satisfy(ending(false))?;
                if self.known_card(card)?.status == CardStatus::Revoked {
                    return Err(Rejected::Over { kind: Kind::Card, id: *card });
                }
                self.set_status(card, CardStatus::Suspended);
                Ok(())
            }
            Act::CardResumed { card } => {
                let found = self.known_card(card)?;
                let (member, status) = (found.card.member, found.status);
                signers.satisfy(ending(self.holds_role(&member)))?;
                signers.exclude(member)?;
                match status {
                    CardStatus::Suspended => self.set_status(card, CardStatus::Live),
                    CardStatus::Live => return Err(Rejected::NotSuspended { card: *card }),
                    CardStatus::Revoked => return Err(Rejected::Over { kind: Kind::Card, id: *card }),
                }
                Ok(())
            }
            Act::MemberRevoked { member, .. } => {
                signers.satisfy(ending(self.holds_role(member)))?;
                if !self.members.contains_key(member) {
                    return Err(Rejected::Unknown { kind: Kind::Member, id: *member });
                }
                self.kill_grants(act);
                for card in seconds(&self.cards_of_member, *member).collect::<Vec<_>>() {
                    self.set_status(&card, CardStatus::Revoked);
                }
                self.set_roles(*member, BTreeSet::new());
                if let Some(member) = self.members.get_mut(member) {
                    member.revoked = true;
                }
                Ok(())
            }
            Act::FileShredded { file } => {
                signers.satisfy(two_officers())?;
                self.shredded.insert_mut(*file);
                Ok(())
            }
        }
    }

    /// The grants that an act ends for ever: the key pairs that a site destroys before it signs its receipt.
    #[must_use]
    pub fn ended_by(&self, act: &Act) -> BTreeSet<Id> {
        let of_card = |card: Id| seconds(&self.grants_of_card, card);
        let of_member = |member: Id| seconds(&self.cards_of_member, member).flat_map(of_card);
        match act {
            Act::GrantRevoked { grant, .. } => BTreeSet::from([*grant]),
            Act::CardRevoked { card, .. } => of_card(*card).collect(),
            Act::MemberRevoked { member, .. } => of_member(*member).collect(),
            Act::ContractEnded { contract, .. } => seconds(&self.members_of_contract, *contract)
                .flat_map(of_member)
                .chain(
                    seconds(&self.units_of_contract, *contract)
                        .flat_map(|unit| seconds(&self.grants_of_unit, unit)),
                )
                .collect(),
            _ => BTreeSet::new(),
        }
    }

    fn kill_grants(&mut self, act: &Act) {
        for id in self.ended_by(act) {
            if let Some(grant) = self.grants.get_mut(&id) {
                grant.revoked = true;
            }
        }
    }

    /// Brings a card into being, and its member with the first one.
    pub(super) fn enrol(&mut self, card: &Card, at: Millis, vouched: bool) -> Result<(), Rejected> {
        self.must_be_new(Kind::Card, card.card, self.cards.contains_key(&card.card))?;
        if card.attestation == Attestation::None && !self.policy.unattested_cards {
            return Err(Rejected::NotAttested);
        }
        if let Some(contract) = &card.contract {
            self.running_contract(contract, at)?;
        }
        match self.members.get(&card.member) {
            Some(member) if member.revoked => {
                return Err(Rejected::Over { kind: Kind::Member, id: card.member });
            }
            Some(member) if member.contract != card.contract || !self.is_named(card.member, &card.name) => {
                return Err(Rejected::MemberMismatch { member: card.member });
            }
            Some(_) => {}
            None => {
                let member = Member {
                    name: card.name.record,
                    contract: card.contract,
                    roles: BTreeSet::new(),
                    revoked: false,
                };
                self.members.insert_mut(card.member, member);
                if let Some(contract) = card.contract {
                    self.members_of_contract.insert_mut((contract, card.member));
                }
            }
        }
        self.first_sight([card.authentication.0, card.signature.0, card.transport.0])?;
        self.signers.insert_mut(card.signature.key_id(), card.card);
        self.authenticators.insert_mut(card.authentication.0, card.card);
        self.cards_of_member.insert_mut((card.member, card.card));
        self.cards.insert_mut(card.card, CardState { card: card.clone(), vouched, status: CardStatus::Live });
        Ok(())
    }

    fn order_grant(
        &mut self,
        signers: &Signers,
        order: Digest,
        at: Millis,
        grant: Id,
        (card, unit): (Id, Id),
        (right, custody, expires_at): (Right, Custody, Option<Millis>),
    ) -> Result<(), Rejected> {
        let found = self.units.get(&unit).ok_or(Rejected::Unknown { kind: Kind::Unit, id: unit })?;
        let front_desk = found.kind == UnitKind::FrontDesk;
        signers.satisfy(officer(found.two_people || front_desk))?;
        if (right == Right::Route) != front_desk {
            return Err(Rejected::WrongRight { unit });
        }
        if let Some(contract) = found.contract {
            self.running_contract(&contract, at)?;
        }
        self.must_be_new(Kind::Grant, grant, self.grants.contains_key(&grant))?;
        let holder = self.known_card(&card)?.card.member;
        signers.exclude(holder)?;
        match self.known_card(&card)?.status {
            CardStatus::Live => {}
            CardStatus::Suspended => return Err(Rejected::CardSuspended { card }),
            CardStatus::Revoked => return Err(Rejected::Over { kind: Kind::Card, id: card }),
        }
        self.living_member(&holder)?;
        if let Some(contract) = self.members.get(&holder).and_then(|m| m.contract) {
            self.running_contract(&contract, at)?;
        }
        if let Some(expires_at) = expires_at {
            ends_in_future(expires_at, at)?;
        }
        let alive = |g: &Grant| !g.revoked && g.expires_at.is_none_or(|end| end > at);
        let live: Vec<Id> =
            self.grants_of_card(card).filter(|(_, g)| alive(g)).map(|(_, g)| g.unit).collect();
        if live.contains(&unit) {
            return Err(Rejected::GrantExists { card, unit });
        }
        if live.len() >= GRANTS_PER_CARD {
            return Err(Rejected::CardFull { card });
        }
        self.grants_of_card.insert_mut((card, grant));
        self.grants_of_unit.insert_mut((unit, grant));
        let ordered = Grant { card, unit, right, custody, expires_at, order, issued: None, revoked: false };
        self.grants.insert_mut(grant, ordered);
        Ok(())
    }

    fn unit_is_well_formed(
        &self,
        unit: Id,
        kind: UnitKind,
        contract: Option<Id>,
        sites: &BTreeSet<Id>,
        routes_to: &BTreeSet<Id>,
        at: Millis,
    ) -> Result<(), Rejected> {
        let malformed = |why| Err(Rejected::UnitMalformed { unit, why });
        if sites.is_empty() {
            return malformed("no site serves it");
        }
        for site in sites {
            self.serving_site(site)?;
        }
        if (kind == UnitKind::Contractor) != contract.is_some() {
            return malformed("a contractor's team, and only that, belongs to a contract");
        }
        if let Some(contract) = contract {
            self.running_contract(&contract, at)?;
        }
        if (kind == UnitKind::FrontDesk) == routes_to.is_empty() {
            return malformed("a front desk, and only that, routes to units");
        }
        for target in routes_to {
            if !self.units.contains_key(target) {
                return Err(Rejected::Unknown { kind: Kind::Unit, id: *target });
            }
        }
        Ok(())
    }

    pub(super) fn set_roles(&mut self, id: Id, roles: BTreeSet<Role>) {
        if roles.is_empty() {
            self.role_holders.remove_mut(&id);
        } else {
            self.role_holders.insert_mut(id);
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.roles = roles;
        }
    }

    fn set_status(&mut self, card: &Id, status: CardStatus) {
        if let Some(card) = self.cards.get_mut(card) {
            card.status = status;
        }
    }

    fn holds_role(&self, member: &Id) -> bool {
        self.role_holders.contains(member)
    }

    /// Whether the member's cards so far carry this name; the first decides.
    fn is_named(&self, member: Id, name: &Commitment) -> bool {
        seconds(&self.cards_of_member, member)
            .next()
            .and_then(|card| self.cards.get(&card))
            .is_none_or(|first| first.card.name == *name)
    }

    fn must_be_new(&self, kind: Kind, id: Id, exists: bool) -> Result<(), Rejected> {
        if exists { Err(Rejected::Exists { kind, id }) } else { Ok(()) }
    }

    fn known_card(&self, card: &Id) -> Result<&CardState, Rejected> {
        self.cards.get(card).ok_or(Rejected::Unknown { kind: Kind::Card, id: *card })
    }

    fn living_member(&self, id: &Id) -> Result<(), Rejected> {
        match self.members.get(id) {
            None => Err(Rejected::Unknown { kind: Kind::Member, id: *id }),
            Some(member) if member.revoked => Err(Rejected::Over { kind: Kind::Member, id: *id }),
            Some(_) => Ok(()),
        }
    }

    fn serving_site(&self, id: &Id) -> Result<(), Rejected> {
        match self.sites.get(id) {
            None => Err(Rejected::Unknown { kind: Kind::Site, id: *id }),
            Some(site) if site.removed => Err(Rejected::Over { kind: Kind::Site, id: *id }),
            Some(_) => Ok(()),
        }
    }

    fn running_contract(&self, id: &Id, at: Millis) -> Result<(), Rejected> {
        if !self.contracts.contains_key(id) {
            return Err(Rejected::Unknown { kind: Kind::Contract, id: *id });
        }
        if self.contract_is_over(id, at) {
            return Err(Rejected::Over { kind: Kind::Contract, id: *id });
        }
        Ok(())
    }
}

fn ends_in_future(ends_at: Millis, at: Millis) -> Result<(), Rejected> {
    if ends_at <= at { Err(Rejected::EndsInPast { ends_at, at }) } else { Ok(()) }
}
