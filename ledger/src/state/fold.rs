//! The fold itself: one leaf after another, each whole or not at all (P-4.3, P-4.10).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};
use warifu_split_key::point::Point;

use super::growing::{GrowingMap, GrowingSet};
use super::keys::NO_TRANSPORT;
use super::{LONGEST_LEASE_MS, Rejected, State};
use crate::ahead::{Checked, Found};
use crate::dsse::SIGNATURE_LIMIT;
use crate::leaf::Leaf;
use crate::statement::{Fact, Founding, Order, Policy, Role, Statement as _};
use crate::tree::Tree;
use crate::{Id, checkpoint};

/// One of several leaves was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// Its place among them, from 0.
    pub place: usize,
    /// Why.
    #[source]
    pub why: Rejected,
}

impl State {
    /// Reads entry 0.
    ///
    /// # Errors
    /// [`Rejected::NotFounding`] if it is none, lacks officers or a signature; the first fault found.
    pub fn found(leaf: &Leaf) -> Result<Self, Rejected> {
        let envelope = leaf.envelope();
        let founding: Founding = envelope.statement()?;
        let people = check_officers(&founding)?;
        if founding.officers.iter().any(|o| o.contract.is_some()) {
            return Err(Rejected::NotFounding { why: "an officer works under a contract" });
        }
        let (Some(ca_log), Some(kms_log)) = (founding.ca.log, founding.kms.log) else {
            return Err(Rejected::NotFounding { why: "ca and kms need a log key" });
        };
        if ca_log == kms_log {
            return Err(Rejected::NotFounding { why: "ca and kms share a log key" });
        }
        if ![ca_log, kms_log].iter().all(checkpoint::is_log_key) {
            return Err(Rejected::NotFounding { why: "a log key is no Ed25519 public key" });
        }
        if founding.ca.transport.is_some() || founding.kms.transport.is_some() {
            return Err(Rejected::NotFounding { why: NO_TRANSPORT });
        }
        let mut log_keys = Set::new_sync();
        log_keys.insert_mut(ca_log.0);
        log_keys.insert_mut(kms_log.0);
        for officer in &founding.officers {
            envelope.verify(&officer.signature)?;
        }
        envelope.verify(&founding.ca.signing)?;
        envelope.verify(&founding.kms.signing)?;

        let organization = envelope.digest();
        let mut state = Self {
            tree: Tree::default().append(leaf.as_bytes())?,
            last_at: leaf.at(),
            organization,
            policy: founding.policy.clone(),
            founding: Arc::new(founding.clone()),
            ca: Arc::new(founding.ca.clone()),
            kms: Arc::new(founding.kms.clone()),
            former_keys: Map::new_sync(),
            log_keys,
            members: GrowingMap::new(),
            cards: GrowingMap::new(),
            contracts: GrowingMap::new(),
            units: GrowingMap::new(),
            grants: GrowingMap::new(),
            sites: GrowingMap::new(),
            signers: GrowingMap::new(),
            authenticators: GrowingMap::new(),
            site_connections: Map::new_sync(),
            grants_of_card: GrowingSet::new(),
            grants_of_unit: GrowingSet::new(),
            cards_of_member: GrowingSet::new(),
            members_of_contract: GrowingSet::new(),
            units_of_contract: GrowingSet::new(),
            points: GrowingSet::new(),
            role_holders: Set::new_sync(),
            executed: Set::new_sync(),
            shredded: GrowingSet::new(),
            revoked_slips: GrowingSet::new(),
            custodians: Map::new_sync(),
            ever_custodians: Set::new_sync(),
            journals: GrowingMap::new(),
            trusts: Map::new_sync(),
        };
        check_policy(&founding.policy)?;
        for keys in [&founding.ca, &founding.kms] {
            state.first_sight(keys.points())?;
        }
        for officer in &founding.officers {
            state.enrol(officer, leaf.at(), true, 0)?;
        }
        let mut roles = BTreeSet::from([Role::Officer]);
        if !founding.policy.separate_roles {
            roles.insert(Role::Administrator);
        }
        for member in people {
            state.set_roles(member, roles.clone());
        }
        Ok(state)
    }

    /// The state after one more leaf.
    ///
    /// # Errors
    /// [`Rejected`]: the state before stays the truth.
    pub fn apply(&self, leaf: &Leaf) -> Result<Self, Rejected> {
        let mut next = self.clone();
        next.advance(leaf, &Found::of(leaf.envelope()))?;
        Ok(next)
    }

    /// As [`State::apply`], for a leaf that was checked ahead: with the same outcome, in less time.
    ///
    /// # Errors
    /// [`Rejected`]: the state before stays the truth.
    pub fn apply_checked(&self, checked: &Checked) -> Result<Self, Rejected> {
        let mut next = self.clone();
        next.advance(checked.leaf(), checked.found())?;
        Ok(next)
    }

    /// The state after all of these leaves: cheaper than one [`State::apply_checked`] after the other, since nobody wants
    /// the states between.
    ///
    /// # Errors
    /// [`Refused`]: the state before all of them stays the truth.
    pub fn apply_all<'a>(&self, leaves: impl IntoIterator<Item = &'a Checked>) -> Result<Self, Refused> {
        let mut next = self.clone();
        for (place, checked) in leaves.into_iter().enumerate() {
            next.advance(checked.leaf(), checked.found()).map_err(|why| Refused { place, why })?;
        }
        Ok(next)
    }

    /// Folds one more leaf. Of what is left when it is refused, nothing counts: those who call this drop it.
    fn advance(&mut self, leaf: &Leaf, found: &Found) -> Result<(), Rejected> {
        let (at, envelope) = (leaf.at(), leaf.envelope());
        if at < self.last_at {
            return Err(Rejected::TimeWentBack { at, last: self.last_at });
        }
        match envelope.payload_type.as_str() {
            Order::PAYLOAD_TYPE => self.order(envelope, found, at)?,
            Fact::PAYLOAD_TYPE => self.fact(envelope, found)?,
            Founding::PAYLOAD_TYPE => {
                return Err(Rejected::NotFounding { why: "it is founded already" });
            }
            _ => {
                return Err(envelope.is_not_of(Order::PAYLOAD_TYPE).into());
            }
        }
        self.tree.push(leaf.as_bytes())?;
        self.last_at = at;
        self.forget_expired(at);
        Ok(())
    }

    /// Remembers public keys, none of which may have come before.
    pub(super) fn first_sight(&mut self, points: impl IntoIterator<Item = Point>) -> Result<(), Rejected> {
        for point in points {
            let x = point.x();
            if self.points.contains(&x) {
                return Err(Rejected::RepeatedPoint);
            }
            self.points.insert_mut(x);
        }
        Ok(())
    }

    fn forget_expired(&mut self, at: u64) {
        while let Some(first) = self.executed.first().copied().filter(|&(expires_at, _)| expires_at < at) {
            self.executed.remove_mut(&first);
        }
    }
}

/// The first officers: losing one card must not lock the town out, and all of them have room to sign beside ca and kms.
fn check_officers(founding: &Founding) -> Result<BTreeSet<Id>, Rejected> {
    let mut cards = BTreeMap::new();
    for officer in &founding.officers {
        *cards.entry(officer.member).or_insert(0_usize) += 1;
    }
    if cards.len() < 2 {
        return Err(Rejected::NotFounding { why: "two different people are needed" });
    }
    if cards.len() == 2 && cards.values().any(|&count| count < 2) {
        return Err(Rejected::NotFounding {
            why: "three people, or a spare card for each of two, are needed",
        });
    }
    if founding.officers.len() > SIGNATURE_LIMIT - 2 {
        return Err(Rejected::NotFounding { why: "more officers' cards than can sign" });
    }
    Ok(cards.into_keys().collect())
}

pub(super) fn check_policy(policy: &Policy) -> Result<(), Rejected> {
    if !(1_000..=LONGEST_LEASE_MS).contains(&policy.lease_ms) {
        return Err(Rejected::PolicyOutOfBounds { why: "a lease lasts from one second to 24 hours" });
    }
    if policy.pin_ceiling_ms == 0 || policy.pin_ceiling_ms > LONGEST_LEASE_MS {
        return Err(Rejected::PolicyOutOfBounds { why: "a PIN entry lasts for up to 24 hours" });
    }
    Ok(())
}
