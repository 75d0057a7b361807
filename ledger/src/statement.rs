//! Every statement that people, services and sites sign, as JSON (`docs/protocol.md` section 3).
//!
//! None that goes into a ledger carries a name, a title or a reason: those are [`crate::register`] records, which a statement
//! points to by [`Commitment`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use warifu_split_key::half::HalfRole;
use warifu_split_key::point::Point;
use warifu_split_key::routing::SEALED_PART;

use crate::journal::SignedHead;
use crate::key::{Base64, Bytes, PublicKey};
use crate::register::Commitment;
use crate::{Digest, Id};

mod act;
mod commitments;
mod delivery;

pub use act::{Act, Custody, Right, Role, UnitKind};
pub use delivery::{Addressee, Addressees, Delivery, Handling, Received, ReceivedState, Standing};

/// An instant: milliseconds since the Unix epoch, UTC, leap seconds not counted (P-1.3).
pub type Millis = u64;

/// A kind of payload that an envelope carries.
pub trait Statement: Serialize {
    /// The DSSE `payloadType`.
    const PAYLOAD_TYPE: &'static str;
}

macro_rules! statement {
    ($name:ident, $media:literal) => {
        impl Statement for $name {
            const PAYLOAD_TYPE: &'static str = concat!("application/vnd.warifu.", $media, ".v1+json");
        }
    };
}

statement!(Founding, "founding");
statement!(Order, "order");
statement!(Fact, "fact");
statement!(Stamp, "stamp");
statement!(Receipt, "receipt");
statement!(ServiceStatement, "service");
statement!(GrantKey, "grant-key");
statement!(Profile, "profile");
statement!(Backup, "backup");
statement!(RestoreRequest, "restore-request");
statement!(Slips, "slips");
statement!(Released, "released");
statement!(Delivery, "delivery");
statement!(Standing, "standing");
statement!(Received, "received");
statement!(DirectoryStatement, "directory");

/// Entry 0 of every ledger: who founds the organization, with which services and under which policy.
///
/// Signed by every officer's card, by the ca and by the kms. [`crate::dsse::Envelope::digest`] of it is the name of the
/// organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founding {
    /// Random; so that two organizations of the same people never have one name.
    pub id: Id,
    /// The organization's own name.
    pub name: Commitment,
    /// IANA time zone, for the dates people read, such as `Asia/Tokyo`.
    pub zone: String,
    /// The first officers' cards, one or more of each: three people, or two people of whom each has a spare card, so
    /// that no single loss leaves fewer than two who can sign. At most fourteen, since all of them sign.
    pub officers: Vec<Card>,
    /// What the organization demands.
    pub policy: Policy,
    /// The issuing authority's keys.
    pub ca: ServiceKeys,
    /// The kms authority's keys.
    pub kms: ServiceKeys,
}

/// What an organization demands of its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How long after sending its last answered nonce a site may answer, in milliseconds. At most 24 hours.
    pub lease_ms: u64,
    /// How long one PIN entry may keep a card open, in milliseconds.
    pub pin_ceiling_ms: u64,
    /// Whether cards whose keys carry no attestation may be enrolled.
    pub unattested_cards: bool,
    /// Whether whoever is an officer may be neither administrator nor auditor.
    pub separate_roles: bool,
}

/// A service's public keys, as its console shows them and the ledger pins them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceKeys {
    /// Signs facts, stamps and receipts: ES256.
    pub signing: PublicKey,
    /// Its TLS key, the same as server and as client.
    pub tls: PublicKey,
    /// Signs (kms) or cosigns (ca) checkpoints: Ed25519, 32 bytes. Absent for a site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Base64<32>>,
    /// The parts of routed files are sealed to it (P-15.3). A site alone has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<PublicKey>,
}

impl ServiceKeys {
    /// Its points on P-256.
    pub fn points(&self) -> impl Iterator<Item = Point> {
        [self.signing, self.tls].into_iter().chain(self.transport).map(|key| key.0)
    }
}

/// Whom an organization's statements are signed by: what another organization pins (P-16.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationKeys {
    /// The organization's name: the digest of its entry 0.
    pub organization: Digest,
    /// The ca's keys.
    pub ca: ServiceKeys,
    /// The kms's keys.
    pub kms: ServiceKeys,
}

impl OrganizationKeys {
    /// What people compare over the telephone before they trust another organization: SHA-256 over
    /// `"warifu/trust/v1" ‖ organization (32) ‖ ca ‖ kms`, each service being `signing (33) ‖ tls (33) ‖ log (32)` (P-16.3).
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let mut told = b"warifu/trust/v1".to_vec();
        told.extend(self.organization.0);
        for ServiceKeys { signing, tls, log, .. } in [&self.ca, &self.kms] {
            told.extend(signing.0.to_compressed());
            told.extend(tls.0.to_compressed());
            // No ledger has ca or kms without one.
            told.extend(log.map_or([0; 32], |log| log.0));
        }
        Digest::of(&told)
    }
}

/// What a service's console prints and signs with its own key before it is founded or joins; and, signed with the keys that it
/// has as well, before it goes on with others (P-4.20).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceStatement {
    /// Which program speaks.
    pub service: ServiceKind,
    /// Its keys.
    pub keys: ServiceKeys,
    /// `host:port` under which it answers; none for a service that only dials out (ca).
    pub address: Option<String>,
}

/// The three kinds of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceKind {
    /// The issuing authority.
    Ca,
    /// The kms authority.
    Kms,
    /// A site.
    Site,
}

/// One of the two services that hold a half of every unit key, and whose halves are backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HalfHolder {
    /// The issuing authority, holder of `s1`.
    Ca,
    /// The kms authority, holder of `s2`.
    Kms,
}

impl HalfHolder {
    /// As statements write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Kms => "kms",
        }
    }

    /// Which half it holds.
    #[must_use]
    pub fn role(self) -> HalfRole {
        match self {
            Self::Ca => HalfRole::Issuer,
            Self::Kms => HalfRole::Keeper,
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Ca => Self::Kms,
            Self::Kms => Self::Ca,
        }
    }
}

/// A service of the organization, as its keys are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceId {
    /// The issuing authority.
    Ca,
    /// The kms authority.
    Kms,
    /// A site.
    Site(Id),
}

impl From<HalfHolder> for ServiceId {
    fn from(holder: HalfHolder) -> Self {
        match holder {
            HalfHolder::Ca => Self::Ca,
            HalfHolder::Kms => Self::Kms,
        }
    }
}

impl std::fmt::Display for ServiceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ca => f.write_str("ca"),
            Self::Kms => f.write_str("kms"),
            Self::Site(site) => write!(f, "site {site}"),
        }
    }
}

/// A member's card, with the three keys that were generated on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The card.
    pub card: Id,
    /// Whose it is. The first card of a member brings the member into being.
    pub member: Id,
    /// The member's name, in the register.
    pub name: Commitment,
    /// The contract under which the member works; none for the organization's own people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Id>,
    /// 9A: the TLS client key.
    pub authentication: PublicKey,
    /// 9C: signs orders.
    pub signature: PublicKey,
    /// 9D: card shares are sealed to it.
    pub transport: PublicKey,
    /// What the card proved about the three keys.
    pub attestation: Attestation,
}

/// What is known of where a card's keys were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Attestation {
    /// Nothing: the card cannot attest.
    #[serde(deserialize_with = "nothing_more")]
    None,
    /// The card's maker attests that all three keys were generated on it. The chain was verified at the officer's desk.
    Generated {
        /// The serial number in the attestation.
        serial: u32,
        /// The firmware version in it, such as `5.7.2`.
        firmware: String,
        /// SHA-256 over the three attestation certificates (9A, 9C, 9D), DER, one after the other.
        evidence: Digest,
    },
}

/// Serde lets a unit variant carry any field, even under `deny_unknown_fields`; this, as its `deserialize_with`, lets it
/// carry none (P-1.1).
///
/// # Errors
/// The deserializer's, for any field.
pub fn nothing_more<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    Nothing::deserialize(deserializer).map(|Nothing {}| ())
}

/// What people decide: one or more acts, applied together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The organization's name: the digest of its entry 0.
    pub organization: Digest,
    /// Random. An order executes once.
    pub id: Id,
    /// The last instant at which it may be appended. At most 7 days after it is appended.
    pub expires_at: Millis,
    /// The kms-signed checkpoint its signers saw, as a C2SP signed note.
    pub seen: String,
    /// What shall happen.
    pub acts: Vec<Act>,
}

/// What ca and kms found out together; signed by both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// The organization's name.
    pub organization: Digest,
    /// What they state.
    pub fact: FactBody,
}

/// The content of a fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
#[non_exhaustive]
pub enum FactBody {
    /// A unit has its key.
    #[serde(rename = "unit.created")]
    UnitCreated {
        /// The unit.
        unit: Id,
        /// The order that asked for it.
        order: Digest,
        /// The public half and proof of the ca.
        issuer: PublicHalf,
        /// The public half and proof of the kms.
        keeper: PublicHalf,
    },
    /// A grant has its two shares.
    #[serde(rename = "grant.issued")]
    GrantIssued {
        /// The grant.
        grant: Id,
        /// The order that asked for it.
        order: Digest,
        /// `A = aG`.
        card_point: PublicKey,
        /// `B = bG`.
        site_point: PublicKey,
        /// The sites to whose HSM keys `b` was wrapped.
        sites: BTreeSet<Id>,
    },
    /// How far the audit journals of sites have come (P-13.3).
    #[serde(rename = "journals.batched")]
    JournalsBatched {
        /// One head for each journal that has grown, at most [`HEADS_LIMIT`](crate::journal::HEADS_LIMIT).
        heads: Vec<SignedHead>,
    },
    /// That files were routed (P-15.8).
    #[serde(rename = "slips.batched")]
    SlipsBatched {
        /// The digests of the [`Slips`], at most [`BATCHES_LIMIT`](crate::slip::BATCHES_LIMIT).
        slips: BTreeSet<Digest>,
    },
}

/// One public half of a unit key with its proof of possession (P-3.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicHalf {
    /// `S1` or `S2`.
    pub point: PublicKey,
    /// ECDSA under the half over the message of `warifu_split_key::half`.
    pub proof: Base64<64>,
}

/// The kms's proof of freshness, and a site's only clock. Signed by the kms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// The organization's name.
    pub organization: Digest,
    /// The site (or the ca: its card-less follower id is all zeroes) that asked.
    pub site: Id,
    /// The random nonce it sent.
    pub nonce: Digest,
    /// The kms's time.
    pub time: Millis,
    /// The checkpoint of all that was appended before, as a signed note.
    pub checkpoint: String,
}

/// A site has acted on an order. Signed by the site, after everything it says is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The organization's name.
    pub organization: Digest,
    /// The site.
    pub site: Id,
    /// [`crate::dsse::Envelope::digest`] of the order.
    pub order: Digest,
    /// Site time; absent while the site has no stamp.
    pub time: Option<Millis>,
    /// Size of the ledger it had folded.
    pub folded: u64,
    /// The grants whose key pairs no longer exist in its HSM because of the order.
    pub destroyed: BTreeSet<Id>,
}

/// A site's key pair for one grant: the share will be wrapped to it. Signed by the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantKey {
    /// The organization's name.
    pub organization: Digest,
    /// The site.
    pub site: Id,
    /// The grant.
    pub grant: Id,
    /// The public key of the pair.
    pub key: PublicKey,
}

/// What a PC must know of the organization, written at enrolment. Signed by the kms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The organization's name: the digest of its entry 0.
    pub organization: Digest,
    /// Its name as people say it.
    pub name: String,
    /// IANA time zone.
    pub zone: String,
    /// The ca's keys.
    pub ca: ServiceKeys,
    /// The kms's keys.
    pub kms: ServiceKeys,
    /// Those that they had before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<FormerKeys>,
    /// `host:port` of the kms.
    pub kms_address: String,
    /// The sites.
    pub sites: Vec<ProfileSite>,
    /// Whom to call, as people say it.
    pub helpdesk: String,
    /// See [`Policy::pin_ceiling_ms`].
    pub pin_ceiling_ms: u64,
}

impl Profile {
    /// The keys of either service.
    #[must_use]
    pub fn keys_of(&self, service: HalfHolder) -> &ServiceKeys {
        match service {
            HalfHolder::Ca => &self.ca,
            HalfHolder::Kms => &self.kms,
        }
    }

    /// Whom the organization's statements are signed by.
    #[must_use]
    pub fn organization_keys(&self) -> OrganizationKeys {
        OrganizationKeys { organization: self.organization, ca: self.ca.clone(), kms: self.kms.clone() }
    }

    /// The key with which a service signed while the ledger had `size` leaves.
    #[must_use]
    pub fn signing_key_at(&self, service: HalfHolder, size: u64) -> PublicKey {
        let former = self.former.iter().find(|keys| keys.service == service && size <= keys.until);
        former.map_or(self.keys_of(service).signing, |keys| keys.signing)
    }
}

/// What a service signed with before it got other keys: backups that it made are opened by this alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormerKeys {
    /// Which.
    pub service: HalfHolder,
    /// Its key for statements.
    pub signing: PublicKey,
    /// Leaves of the largest ledger for which it counts.
    pub until: u64,
}

/// A site in a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileSite {
    /// The site.
    pub site: Id,
    /// Its name as people say it.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// Its keys.
    pub keys: ServiceKeys,
}

/// What is in a backup, and to whom its key was given. Signed by the service; the first line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// The organization's name.
    pub organization: Digest,
    /// Whose halves and database these are.
    pub service: HalfHolder,
    /// Random.
    pub id: Id,
    /// When it was made, by the service's clock.
    pub at: Millis,
    /// How many leaves of the ledger it has.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// How many custodians open it together.
    pub threshold: u8,
    /// One piece of its key for each custodian.
    pub pieces: Vec<BackupPiece>,
    /// Units with a key whose half the service itself does not have any more: it lost them with an earlier token and database.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<Id>,
}

/// A custodian's piece of the key of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupPiece {
    /// The custodian's card.
    pub card: Id,
    /// Its transport key (9D).
    pub transport: PublicKey,
    /// The piece, sealed to that key (P-10.4).
    pub sealed: Bytes,
    /// SHA-256 over what the seal holds, with its place (P-10.3): tells a wrong piece from a right one.
    pub commitment: Digest,
}

/// A service on a new machine asks for the pieces of a backup. Signed by its new signing key; people compare its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// The digest of the [`Backup`].
    pub backup: Digest,
    /// The keys in the new token.
    pub keys: ServiceKeys,
    /// The key in the new token to which pieces are sealed.
    pub transport: PublicKey,
}

/// Files go to other units without being read: one signature over many (P-15.1). Signed by the card (9C) whose grant it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slips {
    /// The organization's name.
    pub organization: Digest,
    /// Random.
    pub id: Id,
    /// The unit whose files they are, or to which they were routed before.
    pub unit: Id,
    /// The signing card's grant to that unit: to route, or to open.
    pub grant: Id,
    /// The first instant at which they are over.
    pub expires_at: Millis,
    /// How many they are: 1 to [`SLIPS_LIMIT`](crate::slip::SLIPS_LIMIT).
    pub count: u64,
    /// The RFC 6962 root over them (P-15.2).
    pub root: Digest,
}

/// A site's parts of routed files, for one site that serves their targets (P-15.5). Signed by the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Released {
    /// The organization's name.
    pub organization: Digest,
    /// The site that computed them.
    pub site: Id,
    /// The digest of the [`Slips`].
    pub slips: Digest,
    /// The site to whose transport key they are sealed.
    pub to: Id,
    /// The parts.
    pub parts: Vec<SitePart>,
}

/// A site's part of one routed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SitePart {
    /// The slip's place.
    pub index: u64,
    /// The part, sealed ([`warifu_split_key::routing::Part::Site`]).
    pub sealed: Base64<SEALED_PART>,
}

/// What the units of an organization are, for others: signed by the kms, over the exact bytes of a body that proves itself
/// (P-16.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryStatement {
    /// The organization's name.
    pub organization: Digest,
    /// When it was made, by the kms's clock.
    pub at: Millis,
    /// The first instant at which it counts no more: at most a week later.
    pub expires_at: Millis,
    /// Leaves of the cosigned checkpoint that it stands on.
    pub size: u64,
    /// SHA-256 of the body.
    pub digest: Digest,
}

impl DirectoryStatement {
    /// The longest that one counts, in milliseconds.
    pub const LONGEST_MS: u64 = 7 * 24 * 60 * 60 * 1000;
}
