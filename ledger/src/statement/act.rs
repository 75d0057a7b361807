//! The acts of an order, as JSON (`docs/protocol.md` section 3).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Card, HalfHolder, Millis, OrganizationKeys, Policy, ServiceId, ServiceKeys};
use crate::register::Commitment;
use crate::{Digest, Id};

/// A role that lets a member sign orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Enrols departments, contractors, members and cards.
    Officer,
    /// Ends access.
    Administrator,
    /// Asks who opened what.
    Auditor,
    /// Routes what comes in at a front desk.
    Dispatcher,
}

/// What a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitKind {
    /// A department.
    Department,
    /// A front desk: its members route and cannot open.
    FrontDesk,
    /// A contractor's team; carries a contract.
    Contractor,
    /// One person.
    Person,
}

/// What a grant allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// To open the unit's files.
    Open,
    /// To route them without reading.
    Route,
}

/// How a card share reaches its card (`docs/security.md`, custody of `a`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Custody {
    /// A PKCS#11 token unwraps it inside.
    TokenUnwrap,
    /// Through an end-to-end channel into the card.
    Scp11b,
    /// Imported by an officer's desk PC, in whose memory it is for a moment.
    HostMemory,
    /// Imported by the member's own PC, in whose memory it is for a moment: where the unit allows it.
    OwnPc,
}

/// One thing that an order does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
#[non_exhaustive]
pub enum Act {
    /// A member's roles become exactly these.
    #[serde(rename = "role.changed")]
    RoleChanged {
        /// Who.
        member: Id,
        /// The new roles; empty for none.
        roles: BTreeSet<Role>,
    },
    /// The policy becomes this.
    #[serde(rename = "policy.changed")]
    PolicyChanged {
        /// The new policy.
        policy: Policy,
    },
    /// A site joins.
    #[serde(rename = "site.joined")]
    SiteJoined {
        /// The site.
        site: Id,
        /// Its name.
        name: Commitment,
        /// Its keys.
        keys: ServiceKeys,
        /// `host:port` under which agents reach it.
        address: String,
    },
    /// A site leaves; it serves nothing any more.
    #[serde(rename = "site.removed")]
    SiteRemoved {
        /// The site.
        site: Id,
    },
    /// A contract begins.
    #[serde(rename = "contract.opened")]
    ContractOpened {
        /// The contract.
        contract: Id,
        /// The contractor's name.
        name: Commitment,
        /// The first instant at which it is over: midnight after its last day, in the organization's zone.
        ends_at: Millis,
    },
    /// A contract that still runs gets another end.
    #[serde(rename = "contract.extended")]
    ContractExtended {
        /// The contract.
        contract: Id,
        /// Its new end.
        ends_at: Millis,
    },
    /// A contract is over, for ever.
    #[serde(rename = "contract.ended")]
    ContractEnded {
        /// The contract.
        contract: Id,
        /// Why, in the register.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Commitment>,
    },
    /// A unit shall come into being; ca and kms answer with [`super::FactBody::UnitCreated`].
    #[serde(rename = "unit.ordered")]
    UnitOrdered {
        /// The unit.
        unit: Id,
        /// Its name.
        name: Commitment,
        /// What it is.
        kind: UnitKind,
        /// The contract it belongs to: for a contractor's team, and only for one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contract: Option<Id>,
        /// The sites that serve it.
        sites: BTreeSet<Id>,
        /// For a front desk: where it may route to.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        routes_to: BTreeSet<Id>,
        /// Whether its grants need two people.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        two_people: bool,
        /// Whether members' own PCs may import its shares ([`Custody::OwnPc`]).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        own_pcs: bool,
    },
    /// What is said of a unit changes: at least one of these, each in place of what was before.
    #[serde(rename = "unit.changed")]
    UnitChanged {
        /// The unit.
        unit: Id,
        /// Its new name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Commitment>,
        /// The sites that serve it from now on. At a site that is not among them, its grants are over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sites: Option<BTreeSet<Id>>,
        /// For a front desk: where it may route to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        routes_to: Option<BTreeSet<Id>>,
        /// Whether its grants need two people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        two_people: Option<bool>,
        /// Whether members' own PCs may import its shares.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        own_pcs: Option<bool>,
    },
    /// A unit is over, for ever, and all its grants with it.
    #[serde(rename = "unit.closed")]
    UnitClosed {
        /// The unit.
        unit: Id,
        /// The first instant at which it is over; at once if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effective_at: Option<Millis>,
    },
    /// A department becomes part of another one. It leaves the directory, and keeps its key: those who work on in `into` get
    /// grants to it, and open what was sent to it.
    #[serde(rename = "unit.merged")]
    UnitMerged {
        /// The department that is no longer addressed.
        unit: Id,
        /// The one that is addressed in its place.
        into: Id,
        /// The first instant at which it is so; at once if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effective_at: Option<Millis>,
    },
    /// A unit gets another key, by a successor that is all else that the unit was. ca and kms answer with
    /// [`super::FactBody::UnitCreated`] for the successor, and from then on the unit is no longer addressed.
    #[serde(rename = "unit.rekeyed")]
    UnitRekeyed {
        /// The unit.
        unit: Id,
        /// The unit that takes its place: a new id.
        successor: Id,
    },
    /// A member comes into being, who has no card yet.
    #[serde(rename = "member.enrolled")]
    MemberEnrolled {
        /// The member.
        member: Id,
        /// The member's name.
        name: Commitment,
        /// The contract under which the member works; none for the organization's own people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contract: Option<Id>,
        /// Where the member works: what the member's cards are to be granted.
        units: BTreeSet<Id>,
    },
    /// A member works in exactly these units. It gives no right: rights are grants.
    #[serde(rename = "member.placed")]
    MemberPlaced {
        /// The member.
        member: Id,
        /// The units.
        units: BTreeSet<Id>,
        /// The first instant at which it is so; at once if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effective_at: Option<Millis>,
    },
    /// A card is a member's.
    #[serde(rename = "card.enrolled")]
    CardEnrolled(Card),
    /// A card shall have a right to a unit; ca and kms answer with [`super::FactBody::GrantIssued`].
    #[serde(rename = "grant.ordered")]
    GrantOrdered {
        /// The grant.
        grant: Id,
        /// The card.
        card: Id,
        /// The unit.
        unit: Id,
        /// What it allows.
        right: Right,
        /// How the share reaches the card.
        custody: Custody,
        /// The first instant at which a site answers for it, if not at once. Its shares are made at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        starts_at: Option<Millis>,
        /// The first instant at which it is over, if it ends by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Millis>,
    },
    /// One grant is over, for ever.
    #[serde(rename = "grant.revoked")]
    GrantRevoked {
        /// The grant.
        grant: Id,
        /// The first instant at which it is over, with no further message; at once if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effective_at: Option<Millis>,
        /// Why, in the register.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Commitment>,
    },
    /// A card is dead, for ever, and all its grants with it.
    #[serde(rename = "card.revoked")]
    CardRevoked {
        /// The card.
        card: Id,
        /// Why, in the register.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Commitment>,
    },
    /// A card answers for nothing until it is resumed. Nothing is destroyed.
    #[serde(rename = "card.suspended")]
    CardSuspended {
        /// The card.
        card: Id,
    },
    /// A suspended card is live again.
    #[serde(rename = "card.resumed")]
    CardResumed {
        /// The card.
        card: Id,
    },
    /// A member leaves: all cards and grants are dead, for ever.
    #[serde(rename = "member.revoked")]
    MemberRevoked {
        /// The member.
        member: Id,
        /// The first instant at which it is over, with no further message; at once if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effective_at: Option<Millis>,
        /// Why, in the register.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Commitment>,
    },
    /// A service that lost its token speaks with new keys from here on.
    #[serde(rename = "authority.recovered")]
    AuthorityRecovered {
        /// Which.
        service: HalfHolder,
        /// Its new keys. If it is the kms, the checkpoint that the order names is signed with these.
        keys: ServiceKeys,
    },
    /// A service goes on with new keys from here on, in the place of keys that it still has.
    #[serde(rename = "key.rotated")]
    KeyRotated {
        /// Which.
        service: ServiceId,
        /// Its new keys.
        keys: ServiceKeys,
    },
    /// The people who hold the pieces of a service's backups become exactly these.
    #[serde(rename = "custodians.changed")]
    CustodiansChanged {
        /// Whose backups.
        service: HalfHolder,
        /// How many of them open a backup together; at least two.
        threshold: u8,
        /// Their cards, one a person: pieces are sealed to the transport keys (9D).
        cards: BTreeSet<Id>,
    },
    /// No site answers for this file any more.
    #[serde(rename = "file.shredded")]
    FileShredded {
        /// SHA-256 over the x-coordinate of a stanza's encapsulated key.
        file: Digest,
    },
    /// What was routed by these slips, or by one of them, is opened no more.
    #[serde(rename = "slip.revoked")]
    SlipRevoked {
        /// The digest of the [`super::Slips`].
        slips: Digest,
        /// Which of them; all if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<u64>,
    },
    /// Another organization's directory is believed, and files can be sent to its units. Again, it takes the place of what was
    /// said of that organization before.
    #[serde(rename = "trust.added")]
    TrustAdded {
        /// The other organization's name.
        organization: Digest,
        /// What it is called here.
        name: Commitment,
        /// `host:port` of its public listener.
        address: String,
        /// Its ca's keys: whatever it says stands on these.
        ca: Box<ServiceKeys>,
        /// Its kms's keys.
        kms: Box<ServiceKeys>,
    },
    /// Another organization's directory is believed no more.
    #[serde(rename = "trust.ended")]
    TrustEnded {
        /// The other organization's name.
        organization: Digest,
    },
}

impl Act {
    /// `trust.added` of the organization with these keys.
    #[must_use]
    pub fn trust(keys: OrganizationKeys, name: Commitment, address: impl Into<String>) -> Self {
        let OrganizationKeys { organization, ca, kms } = keys;
        Self::TrustAdded { organization, name, address: address.into(), ca: Box::new(ca), kms: Box::new(kms) }
    }

    /// Whom a `trust.added` pins.
    #[must_use]
    pub fn pinned(&self) -> Option<OrganizationKeys> {
        let Self::TrustAdded { organization, ca, kms, .. } = self else { return None };
        Some(OrganizationKeys { organization: *organization, ca: (**ca).clone(), kms: (**kms).clone() })
    }

    /// Whether a site answers an order that holds this act with a receipt, even if it had nothing to destroy, so that a desk
    /// brings the order to the sites by itself. What ends at a later instant is answered by nothing: there is no key pair to
    /// destroy yet, and no message then.
    #[must_use]
    pub fn calls_for_receipt(&self) -> bool {
        matches!(
            self,
            Self::GrantRevoked { effective_at: None, .. }
                | Self::CardRevoked { .. }
                | Self::CardSuspended { .. }
                | Self::CardResumed { .. }
                | Self::MemberRevoked { effective_at: None, .. }
                | Self::UnitClosed { effective_at: None, .. }
                | Self::ContractEnded { .. }
                | Self::FileShredded { .. }
                | Self::SlipRevoked { .. }
                | Self::SiteRemoved { .. }
        )
    }
}
