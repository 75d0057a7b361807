//! What each act demands of its signers, and what it changes (P-4.6, P-4.7, P-4.8).

use std::collections::BTreeSet;

use super::fold::check_policy;
use super::keys::site_keys_are_whole;
use super::order::{Needs, Signers};
use super::unit::{Change, is_for_outsiders};
use super::{CardState, CardStatus, Contract, Grant, Kind, Rejected, Site, State, Unit};
use crate::statement::{Act, Millis, OrganizationKeys, Role};
use crate::{Digest, Id};

const OFFICER: &[Role] = &[Role::Officer];
const OFFICER_OR_ADMINISTRATOR: &[Role] = &[Role::Officer, Role::Administrator];

/// An officer's work, or that of two different officers.
pub(super) fn officer(two_people: bool) -> Needs {
    Needs { roles: OFFICER, two_people }
}

pub(super) fn two_officers() -> Needs {
    officer(true)
}

/// Ending access: an administrator's work, which an officer may do as well.
pub(super) fn ending(two_people: bool) -> Needs {
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
                self.living_member(member, at)?;
                // A last day ordered ahead would get round the check that two officers are left.
                if !roles.is_empty() && self.members.get(member).is_some_and(|m| m.ends_at.is_some()) {
                    return Err(Rejected::DatedEndOfRole { member: *member });
                }
                // One signature ends a contract: it must not end an officer, nor may a contractor become one.
                let contractor = self.members.get(member).is_some_and(|m| m.contract.is_some());
                if contractor && roles.iter().any(|role| *role != Role::Auditor) {
                    return Err(Rejected::RoleUnderContract { member: *member });
                }
                if self.policy.separate_roles && !are_separate(roles) {
                    return Err(Rejected::RolesNotSeparate { member: *member });
                }
                self.set_roles(*member, roles.clone());
                Ok(())
            }
            Act::PolicyChanged { policy } => {
                signers.satisfy(two_officers())?;
                check_policy(policy)?;
                // Nobody loses a role by a policy: somebody has to say who keeps which.
                if policy.separate_roles
                    && let Some(member) = self.with_roles_together().next()
                {
                    return Err(Rejected::RolesNotSeparate { member });
                }
                self.policy = policy.clone();
                Ok(())
            }
            Act::SiteJoined { site, name, keys, address } => {
                signers.satisfy(two_officers())?;
                self.must_be_new(Kind::Site, *site, self.sites.contains_key(site))?;
                site_keys_are_whole(*site, keys)?;
                self.first_sight(keys.points())?;
                let joined =
                    Site { name: name.record, keys: keys.clone(), address: address.clone(), removed: false };
                self.sites.insert_mut(*site, joined);
                self.site_connections.insert_mut(keys.tls.0, *site);
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
                found.ends_at = found.ends_at.min(at);
                self.kill_grants(act);
                Ok(())
            }
            Act::UnitOrdered { unit, name, kind, contract, sites, routes_to, two_people, own_pcs } => {
                signers.satisfy(officer(is_for_outsiders(*kind)))?;
                self.open_units(routes_to, at)?;
                let ordered = Unit {
                    name: name.record,
                    kind: *kind,
                    contract: *contract,
                    sites: sites.clone(),
                    routes_to: routes_to.clone(),
                    two_people: *two_people,
                    own_pcs: *own_pcs,
                    order,
                    key: None,
                    closes_at: None,
                    closed: false,
                    merged: None,
                    successor: None,
                    replaces: None,
                    renamed: None,
                };
                self.begin_unit(*unit, ordered, at)
            }
            Act::UnitChanged { unit, name, sites, routes_to, two_people, own_pcs } => {
                let change = Change {
                    name: name.as_ref(),
                    sites: sites.as_ref(),
                    routes_to: routes_to.as_ref(),
                    two_people: *two_people,
                    own_pcs: *own_pcs,
                };
                self.change_unit(*unit, &change, signers, at)
            }
            Act::UnitClosed { unit, effective_at } => {
                signers.satisfy(two_officers())?;
                self.close_unit(act, *unit, *effective_at, at)
            }
            Act::UnitMerged { unit, into, effective_at } => {
                signers.satisfy(two_officers())?;
                self.merge_unit(*unit, *into, *effective_at, at)
            }
            Act::UnitRekeyed { unit, successor } => {
                signers.satisfy(two_officers())?;
                self.rekey_unit(*unit, *successor, order, at)
            }
            Act::MemberEnrolled { member, name, contract, units } => {
                signers.satisfy(officer(false))?;
                self.enrol_member(*member, *name, *contract, units, at)
            }
            Act::MemberPlaced { member, units, effective_at } => {
                signers.satisfy(officer(false))?;
                signers.exclude(*member)?;
                self.place(member, units, *effective_at, at)
            }
            Act::MemberRevoked { member, effective_at, .. } => {
                signers.satisfy(ending(self.holds_role(member)))?;
                self.end_member(act, *member, *effective_at, at)
            }
            Act::CardEnrolled(card) => {
                let two_people = self.holds_role(&card.member);
                signers.satisfy(officer(two_people))?;
                signers.exclude(card.member)?;
                self.enrol(card, at, signers.are_two_officers(), self.tree.size())
            }
            Act::GrantOrdered { grant, card, unit, right, custody, starts_at, expires_at } => {
                let ordered = Grant {
                    card: *card,
                    unit: *unit,
                    right: *right,
                    custody: *custody,
                    starts_at: *starts_at,
                    expires_at: *expires_at,
                    order,
                    issued: None,
                    revoked: false,
                };
                self.order_grant(*grant, ordered, signers, at)
            }
            Act::GrantRevoked { grant, effective_at, .. } => {
                signers.satisfy(ending(false))?;
                self.revoke_grant(act, *grant, *effective_at, at)
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
            Act::AuthorityRecovered { service, keys } => {
                signers.satisfy(two_officers())?;
                self.replace_keys((*service).into(), keys)
            }
            Act::KeyRotated { service, keys } => {
                signers.satisfy(two_officers())?;
                self.replace_keys(*service, keys)
            }
            Act::CustodiansChanged { service, threshold, cards } => {
                signers.satisfy(two_officers())?;
                self.change_custodians(*service, *threshold, cards, at)
            }
            Act::FileShredded { file } => {
                signers.satisfy(two_officers())?;
                self.shredded.insert_mut(*file);
                Ok(())
            }
            Act::SlipRevoked { slips, index } => {
                signers.satisfy(ending(false))?;
                self.revoked_slips.insert_mut((*slips, *index));
                Ok(())
            }
            Act::TrustAdded { organization, name, address, ca, kms } => {
                signers.satisfy(two_officers())?;
                let (organization, ca, kms) = (*organization, (**ca).clone(), (**kms).clone());
                self.add_trust(name.record, address, OrganizationKeys { organization, ca, kms })
            }
            Act::TrustEnded { organization } => {
                signers.satisfy(two_officers())?;
                self.end_trust(*organization)
            }
        }
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

    /// Members who hold roles that a policy can keep apart (P-4.19).
    pub fn with_roles_together(&self) -> impl Iterator<Item = Id> {
        let together = |id: &&Id| self.members.get(*id).is_some_and(|found| !are_separate(&found.roles));
        self.role_holders.iter().filter(together).copied()
    }

    pub(super) fn set_status(&mut self, card: &Id, status: CardStatus) {
        if let Some(card) = self.cards.get_mut(card) {
            card.status = status;
        }
    }

    pub(super) fn holds_role(&self, member: &Id) -> bool {
        self.role_holders.contains(member)
    }

    pub(super) fn must_be_new(&self, kind: Kind, id: Id, exists: bool) -> Result<(), Rejected> {
        if exists { Err(Rejected::Exists { kind, id }) } else { Ok(()) }
    }

    pub(super) fn known_card(&self, card: &Id) -> Result<&CardState, Rejected> {
        self.cards.get(card).ok_or(Rejected::Unknown { kind: Kind::Card, id: *card })
    }

    pub(super) fn living_member(&self, id: &Id, at: Millis) -> Result<(), Rejected> {
        if !self.members.contains_key(id) {
            return Err(Rejected::Unknown { kind: Kind::Member, id: *id });
        }
        if self.member_is_over(id, at) {
            return Err(Rejected::Over { kind: Kind::Member, id: *id });
        }
        Ok(())
    }

    pub(super) fn serving_site(&self, id: &Id) -> Result<(), Rejected> {
        match self.sites.get(id) {
            None => Err(Rejected::Unknown { kind: Kind::Site, id: *id }),
            Some(site) if site.removed => Err(Rejected::Over { kind: Kind::Site, id: *id }),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn running_contract(&self, id: &Id, at: Millis) -> Result<(), Rejected> {
        if !self.contracts.contains_key(id) {
            return Err(Rejected::Unknown { kind: Kind::Contract, id: *id });
        }
        if self.contract_is_over(id, at) {
            return Err(Rejected::Over { kind: Kind::Contract, id: *id });
        }
        Ok(())
    }
}

/// Whether one person may hold these roles where the policy keeps roles apart (P-4.19).
fn are_separate(roles: &BTreeSet<Role>) -> bool {
    let beside = [Role::Administrator, Role::Auditor];
    !(roles.contains(&Role::Officer) && beside.iter().any(|role| roles.contains(role)))
}

pub(super) fn ends_in_future(ends_at: Millis, at: Millis) -> Result<(), Rejected> {
    if ends_at <= at { Err(Rejected::EndsInPast { ends_at, at }) } else { Ok(()) }
}

/// Brings an end that was set before, if any, to an instant in the future: nearer, never later.
pub(super) fn nearer_end(
    of: (Kind, Id),
    end: Option<Millis>,
    effective_at: Millis,
    at: Millis,
) -> Result<Option<Millis>, Rejected> {
    ends_in_future(effective_at, at)?;
    match end {
        Some(ends_at) if ends_at < effective_at => {
            let (kind, id) = of;
            Err(Rejected::EndsEarlier { kind, id, ends_at })
        }
        _ => Ok(Some(effective_at)),
    }
}
