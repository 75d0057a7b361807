//! Members, and the cards they get (P-4.5, P-4.6, P-4.8, P-4.11, P-4.12).

use std::collections::{BTreeMap, BTreeSet};

use super::act::{ends_in_future, nearer_end};
use super::{CardState, CardStatus, Kind, Member, Rejected, State, seconds};
use crate::Id;
use crate::register::Commitment;
use crate::statement::{Act, Attestation, Card, Millis};

impl State {
    pub(super) fn enrol_member(
        &mut self,
        member: Id,
        name: Commitment,
        contract: Option<Id>,
        units: &BTreeSet<Id>,
        at: Millis,
    ) -> Result<(), Rejected> {
        self.must_be_new(Kind::Member, member, self.members.contains_key(&member))?;
        if let Some(contract) = &contract {
            self.running_contract(contract, at)?;
        }
        self.open_units(units, at)?;
        self.begin_member(member, name, contract, BTreeMap::from([(Millis::MIN, units.clone())]));
        Ok(())
    }

    pub(super) fn place(
        &mut self,
        member: &Id,
        units: &BTreeSet<Id>,
        effective_at: Option<Millis>,
        at: Millis,
    ) -> Result<(), Rejected> {
        let from = effective_at.unwrap_or(at);
        if effective_at.is_some() {
            ends_in_future(from, at)?;
        }
        self.living_member(member, from)?;
        self.open_units(units, from)?;
        if let Some(found) = self.members.get_mut(member) {
            // Exactly these from then on: what was planned for later was planned for somebody placed otherwise.
            found.placements.split_off(&from);
            found.placements.insert(from, units.clone());
        }
        Ok(())
    }

    pub(super) fn end_member(
        &mut self,
        act: &Act,
        id: Id,
        effective_at: Option<Millis>,
        at: Millis,
    ) -> Result<(), Rejected> {
        let member = self.members.get(&id).ok_or(Rejected::Unknown { kind: Kind::Member, id })?;
        if let Some(effective_at) = effective_at {
            self.living_member(&id, at)?;
            // It would come without an order, and so without the check that two officers are left.
            if self.holds_role(&id) {
                return Err(Rejected::DatedEndOfRole { member: id });
            }
            let end = nearer_end((Kind::Member, id), member.ends_at, effective_at, at)?;
            if let Some(member) = self.members.get_mut(&id) {
                member.ends_at = end;
            }
            return Ok(());
        }
        self.kill_grants(act);
        for card in seconds(&self.cards_of_member, id).collect::<Vec<_>>() {
            self.set_status(&card, CardStatus::Revoked);
        }
        self.set_roles(id, BTreeSet::new());
        if let Some(member) = self.members.get_mut(&id) {
            member.revoked = true;
        }
        Ok(())
    }

    /// Brings a card into being by the leaf `enrolled`, and its member with the first one, unless the member was enrolled before.
    pub(super) fn enrol(
        &mut self,
        card: &Card,
        at: Millis,
        vouched: bool,
        enrolled: u64,
    ) -> Result<(), Rejected> {
        self.must_be_new(Kind::Card, card.card, self.cards.contains_key(&card.card))?;
        if card.attestation == Attestation::None && !self.policy.unattested_cards {
            return Err(Rejected::NotAttested);
        }
        if let Some(contract) = &card.contract {
            self.running_contract(contract, at)?;
        }
        match self.members.get(&card.member) {
            Some(_) if self.member_is_over(&card.member, at) => {
                return Err(Rejected::Over { kind: Kind::Member, id: card.member });
            }
            Some(member) if member.contract != card.contract || member.name != card.name => {
                return Err(Rejected::MemberMismatch { member: card.member });
            }
            Some(_) => {}
            None => self.begin_member(card.member, card.name, card.contract, BTreeMap::new()),
        }
        self.first_sight([card.authentication.0, card.signature.0, card.transport.0])?;
        self.signers.insert_mut(card.signature.key_id(), card.card);
        self.authenticators.insert_mut(card.authentication.0.to_compressed(), card.card);
        self.cards_of_member.insert_mut((card.member, card.card));
        let state = CardState { card: card.clone(), vouched, enrolled, status: CardStatus::Live };
        self.cards.insert_mut(card.card, state);
        Ok(())
    }

    fn begin_member(
        &mut self,
        id: Id,
        name: Commitment,
        contract: Option<Id>,
        placements: BTreeMap<Millis, BTreeSet<Id>>,
    ) {
        let roles = BTreeSet::new();
        let member = Member { name, contract, roles, placements, ends_at: None, revoked: false };
        self.members.insert_mut(id, member);
        if let Some(contract) = contract {
            self.members_of_contract.insert_mut((contract, id));
        }
    }
}
