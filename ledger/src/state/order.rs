//! Orders: who signed, whether they may, and once only (P-4.4, P-4.5, P-4.6, P-4.7).

use std::collections::{BTreeMap, BTreeSet};

use super::{CardStatus, LONGEST_EXPIRY_MS, Rejected, State};
use crate::Id;
use crate::ahead::Found;
use crate::checkpoint::Checkpoint;
use crate::dsse::Envelope;
use crate::slip::REVOKED_LIMIT;
use crate::statement::{Act, Millis, Order, Role};

/// The people whose live cards signed an order, each signature verified.
pub struct Signers(BTreeMap<Id, BTreeSet<Role>>);

/// How many different people have to sign, and with which role.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    pub(super) roles: &'static [Role],
    pub(super) two_people: bool,
}

impl Signers {
    /// The members who signed.
    pub fn members(&self) -> impl Iterator<Item = Id> + '_ {
        self.0.keys().copied()
    }

    /// Counts the member whose card signed, with the roles that this card carries.
    fn add(&mut self, state: &State, card: Id, at: Millis) -> Result<(), Rejected> {
        let found = state.cards.get(&card).filter(|_| state.card_is_live(&card, at));
        let found = found.ok_or(Rejected::SignerNotLive { card })?;
        let member = state.members.get(&found.card.member).filter(|_| found.vouched);
        let roles = member.map(|m| m.roles.clone()).unwrap_or_default();
        self.0.entry(found.card.member).or_default().extend(roles);
        Ok(())
    }

    pub(super) fn satisfy(&self, needs: Needs) -> Result<(), Rejected> {
        let able = self.0.values().filter(|roles| needs.roles.iter().any(|r| roles.contains(r))).count();
        match able {
            0 => Err(Rejected::WrongRole { needed: needs.roles }),
            1 if needs.two_people => Err(Rejected::TwoPeopleNeeded { needed: needs.roles }),
            _ => Ok(()),
        }
    }

    /// Whether two different officers signed.
    pub(super) fn are_two_officers(&self) -> bool {
        self.0.values().filter(|roles| roles.contains(&Role::Officer)).count() >= 2
    }

    /// Nobody gives anything to himself.
    pub(super) fn exclude(&self, member: Id) -> Result<(), Rejected> {
        if self.0.contains_key(&member) { Err(Rejected::ForOneself { member }) } else { Ok(()) }
    }
}

impl State {
    /// Checks an order as if it were appended at `at`, or with the last leaf if that is later, without appending it:
    /// what a site asks when a revocation reaches it before its ledger entry, and what the kms asks before it appends.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn check_order(&self, envelope: &Envelope, at: Millis) -> Result<Order, Rejected> {
        // Executed orders are forgotten once the ledger is past their expiry; a clock behind it must not revive them.
        let found = Found::of(envelope);
        self.clone().order(envelope, &found, at.max(self.last_at))?;
        Ok(found.order(envelope)?.clone())
    }

    /// What [`State::check_order`] would say if these cards signed the order: what a desk asks before it asks anybody for a
    /// PIN. Nothing is granted by it.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn check_unsigned(&self, order: &Order, cards: &BTreeSet<Id>, at: Millis) -> Result<(), Rejected> {
        let (found, at) = (Found::of(&Envelope::unsigned(order)?), at.max(self.last_at));
        self.check_organization(order)?;
        let mut people = Signers(BTreeMap::new());
        for card in cards {
            people.add(self, *card, at)?;
        }
        self.clone().execute(order, &people, &found, at)
    }

    /// Whether an order, whose signatures count, would be accepted once one more of those who are here today has signed it:
    /// what may wait for a second person.
    ///
    /// # Errors
    /// [`Rejected`]: what would be said with the further signature, or [`Rejected::TwoPeopleNeeded`] if nobody could give it.
    pub fn check_awaiting(&self, envelope: &Envelope, at: Millis) -> Result<Order, Rejected> {
        let (found, at) = (Found::of(envelope), at.max(self.last_at));
        let order = found.order(envelope)?;
        self.check_organization(order)?;
        let signers = self.signers_of(envelope, &found, at)?;
        let with = |signers: &Signers| self.clone().execute(order, signers, &found, at);
        let mut refused = match with(&signers) {
            Ok(()) => return Ok(order.clone()),
            Err(refused @ Rejected::TwoPeopleNeeded { .. }) => refused,
            Err(refused) => return Err(refused),
        };
        for card in self.role_holders.iter().flat_map(|id| super::seconds(&self.cards_of_member, *id)) {
            let mut more = Signers(signers.0.clone());
            if more.add(self, card, at).is_err() {
                continue;
            }
            match with(&more) {
                Ok(()) => return Ok(order.clone()),
                // Said of this person, not of the order.
                Err(
                    Rejected::TwoPeopleNeeded { .. }
                    | Rejected::WrongRole { .. }
                    | Rejected::ForOneself { .. },
                ) => {}
                Err(other) => refused = other,
            }
        }
        Err(refused)
    }

    pub(super) fn order(&mut self, envelope: &Envelope, found: &Found, at: Millis) -> Result<(), Rejected> {
        let order = found.order(envelope)?;
        self.check_organization(order)?;
        let signers = self.signers_of(envelope, found, at)?;
        self.execute(order, &signers, found, at)
    }

    fn check_organization(&self, order: &Order) -> Result<(), Rejected> {
        if order.organization == self.organization {
            return Ok(());
        }
        Err(Rejected::OtherOrganization { found: order.organization })
    }

    fn execute(
        &mut self,
        order: &Order,
        signers: &Signers,
        found: &Found,
        at: Millis,
    ) -> Result<(), Rejected> {
        let digest = found.digest();
        if order.expires_at < at {
            return Err(Rejected::Expired { expires_at: order.expires_at, at });
        }
        if order.expires_at > at.saturating_add(LONGEST_EXPIRY_MS) {
            return Err(Rejected::ExpiryTooFar);
        }
        if self.executed.contains(&(order.expires_at, digest)) {
            return Err(Rejected::Replayed { id: order.id });
        }
        self.check_seen(order, found)?;
        if order.acts.is_empty() {
            return Err(Rejected::Empty);
        }
        let revokes = order.acts.iter().filter(|act| matches!(act, Act::SlipRevoked { .. })).count();
        if revokes > REVOKED_LIMIT {
            return Err(Rejected::SlipsCount { count: revokes });
        }
        let officers = self.officers(at);
        for act in &order.acts {
            self.act(act, signers, digest, at)?;
        }
        self.check_officers_left(officers, &order.acts, at)?;
        self.executed.insert_mut((order.expires_at, digest));
        Ok(())
    }

    fn signers_of(&self, envelope: &Envelope, found: &Found, at: Millis) -> Result<Signers, Rejected> {
        if envelope.signatures.is_empty() {
            return Err(Rejected::Unsigned);
        }
        let mut cards = BTreeSet::new();
        let mut people = Signers(BTreeMap::new());
        for (place, signature) in envelope.signatures.iter().enumerate() {
            let keyid = signature.keyid;
            let &card = self.signers.get(&keyid).ok_or(Rejected::UnknownSigner { keyid })?;
            let state = self.cards.get(&card).ok_or(Rejected::UnknownSigner { keyid })?;
            if !found.verifies(place, signature, &state.card.signature) {
                return Err(Rejected::BadSignature { card });
            }
            if !cards.insert(card) {
                return Err(Rejected::SignedTwice { card });
            }
            people.add(self, card, at)?;
        }
        Ok(people)
    }

    /// Whether card and member may act at `at`.
    pub(super) fn card_is_live(&self, card: &Id, at: Millis) -> bool {
        self.cards.get(card).is_some_and(|c| {
            c.status == CardStatus::Live
                && !self.member_is_over(&c.card.member, at)
                && self
                    .members
                    .get(&c.card.member)
                    .is_some_and(|m| m.contract.is_none_or(|contract| !self.contract_is_over(&contract, at)))
        })
    }

    /// Checks a kms-signed checkpoint against this ledger.
    ///
    /// # Errors
    /// [`Rejected::SeenAhead`] if it is larger than this ledger, [`Rejected::Fork`] if it contradicts it.
    pub fn check_against(&self, seen: &Checkpoint) -> Result<(), Rejected> {
        let size = self.tree.size();
        if seen.size > size {
            return Err(Rejected::SeenAhead { seen: seen.size, size });
        }
        if self.tree.root(seen.size)? != seen.root {
            return Err(Rejected::Fork { size: seen.size });
        }
        Ok(())
    }

    /// An order may not leave fewer than two officers who can sign, unless there were fewer before. A suspension may: it
    /// is the emergency brake, and must work against the last thief too.
    fn check_officers_left(&self, had: usize, acts: &[Act], at: Millis) -> Result<(), Rejected> {
        if acts.iter().all(|act| matches!(act, Act::CardSuspended { .. })) {
            return Ok(());
        }
        let left = self.officers(at);
        if left < 2 && left < had { Err(Rejected::LockOut) } else { Ok(()) }
    }

    /// How many officers have a card that may sign at `at`.
    fn officers(&self, at: Millis) -> usize {
        self.role_holders
            .iter()
            .filter(|id| self.members.get(id).is_some_and(|m| m.roles.contains(&Role::Officer)))
            .filter(|&&id| {
                super::seconds(&self.cards_of_member, id).any(|card| {
                    self.cards.get(&card).is_some_and(|c| c.vouched) && self.card_is_live(&card, at)
                })
            })
            .count()
    }
}
