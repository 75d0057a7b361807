//! Orders: who signed, whether they may, and once only (P-4.4, P-4.5, P-4.6, P-4.7).

use std::collections::{BTreeMap, BTreeSet};

use super::{CardStatus, LONGEST_EXPIRY_MS, Rejected, State};
use crate::Id;
use crate::checkpoint::{Checkpoint, Signer};
use crate::dsse::Envelope;
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
        self.after_order(envelope, at.max(self.last_at))?;
        Ok(envelope.statement()?)
    }

    pub(super) fn after_order(&self, envelope: &Envelope, at: Millis) -> Result<Self, Rejected> {
        let order: Order = envelope.statement()?;
        if order.organization != self.organization {
            return Err(Rejected::OtherOrganization { found: order.organization });
        }
        let signers = self.signers_of(envelope, at)?;
        if order.expires_at < at {
            return Err(Rejected::Expired { expires_at: order.expires_at, at });
        }
        if order.expires_at > at.saturating_add(LONGEST_EXPIRY_MS) {
            return Err(Rejected::ExpiryTooFar);
        }
        let digest = envelope.digest();
        if self.executed.contains(&(order.expires_at, digest)) {
            return Err(Rejected::Replayed { id: order.id });
        }
        self.check_seen(&order.seen)?;
        if order.acts.is_empty() {
            return Err(Rejected::Empty);
        }
        let mut next = self.clone();
        for act in &order.acts {
            next.act(act, &signers, digest, at)?;
        }
        next.check_officers_left(self, &order.acts, at)?;
        next.executed.insert_mut((order.expires_at, digest));
        Ok(next)
    }

    fn signers_of(&self, envelope: &Envelope, at: Millis) -> Result<Signers, Rejected> {
        if envelope.signatures.is_empty() {
            return Err(Rejected::Unsigned);
        }
        let digest = envelope.digest();
        let mut cards = BTreeSet::new();
        let mut people = BTreeMap::new();
        for signature in &envelope.signatures {
            let keyid = signature.keyid;
            let &card = self.signers.get(&keyid).ok_or(Rejected::UnknownSigner { keyid })?;
            let state = self.cards.get(&card).ok_or(Rejected::UnknownSigner { keyid })?;
            if !signature.verifies(&state.card.signature, &digest) {
                return Err(Rejected::BadSignature { card });
            }
            if !cards.insert(card) {
                return Err(Rejected::SignedTwice { card });
            }
            if !self.card_is_live(&card, at) {
                return Err(Rejected::SignerNotLive { card });
            }
            let member = self.members.get(&state.card.member).filter(|_| state.vouched);
            let roles = member.map(|m| m.roles.clone()).unwrap_or_default();
            people.entry(state.card.member).or_insert_with(BTreeSet::new).extend(roles);
        }
        Ok(Signers(people))
    }

    /// Whether card and member may act at `at`.
    pub(super) fn card_is_live(&self, card: &Id, at: Millis) -> bool {
        self.cards.get(card).is_some_and(|c| {
            c.status == CardStatus::Live
                && self.members.get(&c.card.member).is_some_and(|m| {
                    !m.revoked && m.contract.is_none_or(|contract| !self.contract_is_over(&contract, at))
                })
        })
    }

    fn check_seen(&self, note: &str) -> Result<(), Rejected> {
        let key = self.founding.kms.log.ok_or(Rejected::NotFounding { why: "the kms has no log key" })?;
        let seen = Checkpoint::verify(note, &self.organization, Signer::Kms, &key).map_err(Rejected::Seen)?;
        self.check_against(&seen)
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
    fn check_officers_left(&self, before: &Self, acts: &[Act], at: Millis) -> Result<(), Rejected> {
        if acts.iter().all(|act| matches!(act, Act::CardSuspended { .. })) {
            return Ok(());
        }
        let (left, had) = (self.officers(at), before.officers(at));
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
