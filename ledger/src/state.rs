//! The state of an organization: a fold over its ledger.
//!
//! [`State::found`] reads entry 0, [`State::apply`] every later one; both are pure, and used unchanged by the ca, the kms,
//! the sites and whoever audits them. A state is a value: cloning is cheap, and a rejected leaf leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};
use warifu_split_key::point::Point;

use crate::register::Commitment;
use crate::statement::{
    Card, Custody, Founding, HalfHolder, Millis, Policy, Right, Role, ServiceId, ServiceKeys, UnitKind,
};
use crate::tree::Tree;
use crate::{Digest, Id};

mod act;
mod answer;
mod custodians;
pub mod fact;
mod fold;
mod grant;
mod growing;
mod journals;
mod keys;
mod member;
mod order;
mod rejected;
mod routing;
mod snapshot;
mod standing;
mod trust;
mod unit;

use growing::{GrowingMap, GrowingSet};

pub use answer::NotAnswered;
pub use custodians::{CUSTODIANS_LIMIT, Custodians};
pub use fold::Refused;
pub use journals::{BEGUN_LIMIT, BEGUN_WITHIN_MS, Journals};
pub use order::Signers;
pub use rejected::{Kind, Rejected};
pub use routing::{NotRouted, Told};
pub use snapshot::{FORMAT, NotASnapshot};
pub use trust::{LONGEST_ADDRESS, Trust};

/// How many live grants one card holds at most: the retired key slots of SP 800-73-4.
pub const GRANTS_PER_CARD: usize = 20;
/// The longest lease a policy may set, in milliseconds.
pub const LONGEST_LEASE_MS: u64 = 24 * 60 * 60 * 1000;
/// How far ahead an order may expire, in milliseconds.
pub const LONGEST_EXPIRY_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// A member: a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name, in the register. Every card of the member carries the same.
    pub name: Commitment,
    /// The contract under which the member works.
    pub contract: Option<Id>,
    /// What orders the member may sign.
    pub roles: BTreeSet<Role>,
    /// Where the member works, from which instant on: the first, as enrolled, from the beginning of time.
    pub placements: BTreeMap<Millis, BTreeSet<Id>>,
    /// The first instant at which the member has left, if that was ordered ahead.
    pub ends_at: Option<Millis>,
    /// Whether the member left by an order that took effect at once.
    pub revoked: bool,
}

/// Whether a card may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardStatus {
    /// It may.
    Live,
    /// It answers for nothing until it is resumed.
    Suspended,
    /// It never will again.
    Revoked,
}

/// A card as enrolled, and whether it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardState {
    /// As an officer signed it.
    pub card: Card,
    /// Whether two different people enrolled it, or the founding did. Only such a card carries its member's roles: else
    /// one officer could enrol a second card for somebody, wait for the promotion, and be two people from then on.
    pub vouched: bool,
    /// Index of the leaf that enrolled it.
    pub enrolled: u64,
    /// Whether it may be used.
    pub status: CardStatus,
}

/// A contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// The contractor's name, in the register.
    pub name: Id,
    /// The first instant at which it is over.
    pub ends_at: Millis,
    /// Whether somebody ended it before the day that was agreed; `ends_at` is when.
    pub ended: bool,
}

/// A unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The name, in the register.
    pub name: Id,
    /// What it is.
    pub kind: UnitKind,
    /// The contract it belongs to.
    pub contract: Option<Id>,
    /// The sites that serve it.
    pub sites: BTreeSet<Id>,
    /// Where a front desk may route to.
    pub routes_to: BTreeSet<Id>,
    /// Whether its grants need two people.
    pub two_people: bool,
    /// Whether members' own PCs may import its shares.
    pub own_pcs: bool,
    /// The order that asked for it.
    pub order: Digest,
    /// `P`, once ca and kms have made it, and the leaf (index) that says so.
    pub key: Option<(Point, u64)>,
    /// The first instant at which it is closed, if that was ordered ahead.
    pub closes_at: Option<Millis>,
    /// Whether it was closed by an order that took effect at once.
    pub closed: bool,
    /// The department that it becomes part of, and the first instant at which it is so.
    pub merged: Option<(Id, Millis)>,
    /// The unit that takes its place with another key.
    pub successor: Option<Id>,
    /// The unit whose place it takes.
    pub replaces: Option<Id>,
    /// The leaf (index) that gave it its present name, if it is not the first one.
    pub renamed: Option<u64>,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The card.
    pub card: Id,
    /// The unit.
    pub unit: Id,
    /// What it allows.
    pub right: Right,
    /// How the share reaches the card.
    pub custody: Custody,
    /// The first instant at which a site answers for it, if not at once.
    pub starts_at: Option<Millis>,
    /// The first instant at which it is over with no further message: by itself, or because that was ordered ahead.
    pub expires_at: Option<Millis>,
    /// The order that asked for it.
    pub order: Digest,
    /// Its two public shares, once ca and kms have made them.
    pub issued: Option<Issued>,
    /// Whether an order that took effect at once ended it, by itself or with its card, member, contract or unit.
    /// [`State::live_grant`] says whether it is over.
    pub revoked: bool,
}

/// The public shares of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// `A = aG`.
    pub card_point: Point,
    /// `B = bG`.
    pub site_point: Point,
    /// The sites to whose keys `b` was wrapped at first. Which sites serve a grant is its unit's to say
    /// ([`State::serves`]).
    pub sites: BTreeSet<Id>,
}

/// A site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its name, in the register.
    pub name: Id,
    /// Its keys now.
    pub keys: ServiceKeys,
    /// `host:port`.
    pub address: String,
    /// Whether it has left.
    pub removed: bool,
}

/// What the ledger says, up to some leaf.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    tree: Tree,
    last_at: Millis,
    organization: Digest,
    founding: Arc<Founding>,
    ca: Arc<ServiceKeys>,
    kms: Arc<ServiceKeys>,
    /// The keys that services had before, by the number of leaves until which they spoke.
    former_keys: Map<(ServiceId, u64), Arc<ServiceKeys>>,
    /// Every key that ever signed checkpoints.
    log_keys: Set<[u8; 32]>,
    policy: Policy,
    members: GrowingMap<Id, Member>,
    cards: GrowingMap<Id, CardState>,
    contracts: GrowingMap<Id, Contract>,
    units: GrowingMap<Id, Unit>,
    grants: GrowingMap<Id, Grant>,
    sites: GrowingMap<Id, Site>,
    /// Signature keys (9C) by `keyid`: who may have signed.
    signers: GrowingMap<Digest, Id>,
    /// Authentication keys (9A), compressed: who is at the other end of a connection.
    authenticators: GrowingMap<[u8; 33], Id>,
    /// The sites by their TLS keys of now.
    site_connections: Map<Point, Id>,
    grants_of_card: GrowingSet<(Id, Id)>,
    grants_of_unit: GrowingSet<(Id, Id)>,
    cards_of_member: GrowingSet<(Id, Id)>,
    members_of_contract: GrowingSet<(Id, Id)>,
    units_of_contract: GrowingSet<(Id, Id)>,
    /// The x-coordinate of every public key ever seen: neither a key nor its negative, whose ECDH answers are the same,
    /// may come twice.
    points: GrowingSet<[u8; 32]>,
    /// Members with a role.
    role_holders: Set<Id>,
    /// Orders that executed, by expiry and digest, until they have expired.
    executed: Set<(Millis, Digest)>,
    shredded: GrowingSet<Digest>,
    /// Slips that were revoked: one of a batch, or all.
    revoked_slips: GrowingSet<(Digest, Option<u64>)>,
    custodians: Map<HalfHolder, Custodians>,
    /// Members who are custodians of a service's backups, or were.
    ever_custodians: Set<(HalfHolder, Id)>,
    /// How far each site's audit journals have come.
    journals: GrowingMap<Id, Journals>,
    /// Other organizations, by their names.
    trusts: Map<Digest, Trust>,
}

/// The second halves of the pairs that begin with `first`.
fn seconds(pairs: &GrowingSet<(Id, Id)>, first: Id) -> impl Iterator<Item = Id> + '_ {
    pairs.range((first, Id([0; 16]))..=(first, Id([0xff; 16]))).map(|&(_, second)| second)
}

impl State {
    /// The organization's name: the digest of entry 0.
    #[must_use]
    pub fn organization(&self) -> Digest {
        self.organization
    }

    /// Entry 0.
    #[must_use]
    pub fn founding(&self) -> &Founding {
        &self.founding
    }

    /// The tree over the leaves folded so far.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// When the last leaf was appended.
    #[must_use]
    pub fn last_at(&self) -> Millis {
        self.last_at
    }

    /// What the organization demands now.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The member of this id.
    #[must_use]
    pub fn member(&self, id: &Id) -> Option<&Member> {
        self.members.get(id)
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = (&Id, &Member)> {
        self.members.iter()
    }

    /// The card of this id.
    #[must_use]
    pub fn card(&self, id: &Id) -> Option<&CardState> {
        self.cards.get(id)
    }

    /// All cards.
    pub fn cards(&self) -> impl Iterator<Item = (&Id, &CardState)> {
        self.cards.iter()
    }

    /// The card whose authentication key (9A) this is.
    #[must_use]
    pub fn card_of_authentication_key(&self, key: &Point) -> Option<Id> {
        self.authenticators.get(&key.to_compressed()).copied()
    }

    /// The contract of this id.
    #[must_use]
    pub fn contract(&self, id: &Id) -> Option<&Contract> {
        self.contracts.get(id)
    }

    /// All contracts.
    pub fn contracts(&self) -> impl Iterator<Item = (&Id, &Contract)> {
        self.contracts.iter()
    }

    /// The unit of this id.
    #[must_use]
    pub fn unit(&self, id: &Id) -> Option<&Unit> {
        self.units.get(id)
    }

    /// All units.
    pub fn units(&self) -> impl Iterator<Item = (&Id, &Unit)> {
        self.units.iter()
    }

    /// The grant of this id.
    #[must_use]
    pub fn grant(&self, id: &Id) -> Option<&Grant> {
        self.grants.get(id)
    }

    /// All grants.
    pub fn grants(&self) -> impl Iterator<Item = (&Id, &Grant)> {
        self.grants.iter()
    }

    /// The grants that a card was ever given.
    pub fn grants_of_card(&self, card: Id) -> impl Iterator<Item = (Id, &Grant)> {
        seconds(&self.grants_of_card, card).filter_map(|id| Some((id, self.grants.get(&id)?)))
    }

    /// The grants that were ever ordered to a unit.
    pub fn grants_of_unit(&self, unit: Id) -> impl Iterator<Item = (Id, &Grant)> {
        seconds(&self.grants_of_unit, unit).filter_map(|id| Some((id, self.grants.get(&id)?)))
    }

    /// The cards that a member was ever given.
    pub fn cards_of_member(&self, member: Id) -> impl Iterator<Item = (Id, &CardState)> {
        seconds(&self.cards_of_member, member).filter_map(|id| Some((id, self.cards.get(&id)?)))
    }

    /// The members who ever worked under a contract.
    pub fn members_of_contract(&self, contract: Id) -> impl Iterator<Item = Id> + '_ {
        seconds(&self.members_of_contract, contract)
    }

    /// The site of this id.
    #[must_use]
    pub fn site(&self, id: &Id) -> Option<&Site> {
        self.sites.get(id)
    }

    /// The site whose TLS key this is now, whether it has left or not.
    #[must_use]
    pub fn site_of_tls_key(&self, key: &Point) -> Option<(Id, &Site)> {
        let id = self.site_connections.get(key)?;
        Some((*id, self.sites.get(id)?))
    }

    /// All sites.
    pub fn sites(&self) -> impl Iterator<Item = (&Id, &Site)> {
        self.sites.iter()
    }

    /// Whether no site may answer for this file any more.
    #[must_use]
    pub fn is_shredded(&self, file: &Digest) -> bool {
        self.shredded.contains(file)
    }
}
