//! Routing without reading (`docs/protocol.md` section 15): how slips reach a site, go from there through the kms to the sites of
//! their targets, and open files there.
//!
//! At a site:
//!
//! | method and path | who | request → answer |
//! |---|---|---|
//! | `POST /v1/routes` | card | [`Batch`] → [`Routed`]: the slips that were not refused are on their way, durably |
//! | `POST /v1/partials` | card | [`PartialsRequest::routed`](super::site::PartialsRequest) → [`PartialsAnswer::routed`](super::site::PartialsAnswer) |
//!
//! A card learns from [`MyGrant::routes_to`](super::site::MyGrant) to which units its front desk may send, and takes their keys from
//! the directory, where it can check them: a part that is sealed to another key is given to whoever has that.
//!
//! At the kms authority:
//!
//! | method and path | who | request → answer |
//! |---|---|---|
//! | `POST /v1/slips` | site | [`Batch`] → [`Done`](super::Done): kept |
//! | `POST /v1/released` | site | [`ReleasedParts`] → [`Done`](super::Done): kept for the site that they are for; `not-found` before the batch is there |
//! | `GET /v1/ledger/stream` | site | also the event `slips`: a [`SlipsEvent`], at the beginning and whenever there is more |
//! | `GET /v1/slips?after=N` | site | → [`Parcels`] for that site, those with a place after N |
//! | `GET /v1/slips/batch` | ca | → [`SlipsBatch`]: the fact that says which slips there are, signed by the kms, once it is due |
//! | `GET /v1/slips/{digest}` | an officer's, administrator's or auditor's card | → `Envelope` of the `Slips` |

use serde::{Deserialize, Serialize};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Bytes, PublicKey};
use warifu_ledger::slip::{ProvedSlip, SLIPS_LIMIT, Slip, WAY_LIMIT};
use warifu_ledger::{Digest, Id};

use super::{SecretBytes, at_most};
use crate::error::ErrorCode;

/// The most slips in one [`Batch`].
pub const ITEMS_LIMIT: usize = SLIPS_LIMIT as usize;
/// The most files in one [`PartialsRequest::routed`](super::site::PartialsRequest).
pub const ROUTED_LIMIT: usize = 64;
/// The most parts that are released of one file: by slips of different dispatchers, and from different sites.
pub const RELEASES_LIMIT: usize = 4;
/// The most parcels in one [`Parcels`].
pub const PARCELS_LIMIT: usize = 256;

/// Slips as they were signed: the statement, and all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// `Envelope` of a [`Slips`](warifu_ledger::statement::Slips).
    pub slips: Envelope,
    /// Its slips, each in its place, at most [`ITEMS_LIMIT`].
    #[serde(deserialize_with = "at_most::<_, _, ITEMS_LIMIT>")]
    pub items: Vec<Slip>,
}

impl Batch {
    /// The largest that is read, in bytes: one of 1,024 slips with origins takes about half of it.
    pub const LARGEST: usize = 1 << 20;
}

/// What became of a [`Batch`]. The same one again is answered as it was the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routed {
    /// The slips that were not taken, and why; all others were.
    #[serde(deserialize_with = "at_most::<_, _, ITEMS_LIMIT>")]
    pub refused: Vec<RefusedSlip>,
}

/// A slip that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedSlip {
    /// Its place.
    pub index: u64,
    /// Why: `not-a-target`, `shredded`, `not-found` if the slip by which the file came is not here or has ended.
    pub code: ErrorCode,
}

/// A file that somebody may have routed to a unit where the asking card has a grant to open.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutedItem {
    /// The stanza's encapsulated key `R`, SEC1, 65 bytes uncompressed.
    pub encapsulated: Bytes,
    /// SHA-256 of the stanza ([`Slip::stanza`]).
    pub stanza: Digest,
}

/// The answer for one such file.
#[derive(Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RoutedOutcome {
    /// What it takes to open it, besides the card. One of the parts suffices; one that does not open the file says nothing of the
    /// others: whoever routed it sealed what he liked.
    Released {
        /// At least one, at most [`RELEASES_LIMIT`].
        #[serde(deserialize_with = "at_most::<_, _, RELEASES_LIMIT>")]
        parts: Vec<ReleasedPart>,
    },
    /// Nothing.
    Refused {
        /// Why: `not-found` whatever is wrong with the slips, or if there is none; else what is wrong with the card, or the site.
        code: ErrorCode,
    },
}

/// A site's part of a routed file, and what it takes to open the card's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasedPart {
    /// The grant of the asking card under which it is released: to the target of the slip.
    pub grant: Id,
    /// The slip that brought the file to that unit, then the one by which it had come before, and so on to the first.
    #[serde(deserialize_with = "at_most::<_, _, WAY_LIMIT>")]
    pub way: Vec<ShownSlip>,
    /// `P` of the unit that the file was sealed to: that of the last in `way`. It opens the stanza, or it does not.
    pub unit_key: PublicKey,
    /// `x(b'E)`, `E` being the encapsulated key in the slip's `seal`. 32 bytes, big-endian.
    pub seal_x: SecretBytes,
    /// `x(bR)`: the site's part of the file. 32 bytes, big-endian.
    pub file_x: SecretBytes,
}

/// A slip, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownSlip {
    /// `Envelope` of the [`Slips`](warifu_ledger::statement::Slips) that it is one of.
    pub slips: Envelope,
    /// It, with its proof.
    pub slip: ProvedSlip,
}

/// Some of the slips of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownSlips {
    /// `Envelope` of the [`Slips`](warifu_ledger::statement::Slips) that they are some of.
    pub slips: Envelope,
    /// They, each with its proof.
    #[serde(deserialize_with = "at_most::<_, _, ITEMS_LIMIT>")]
    pub shown: Vec<ProvedSlip>,
}

/// Parts for a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasedParts {
    /// `Envelope` of a [`Released`](warifu_ledger::statement::Released).
    pub released: Envelope,
    /// The transport key that they are sealed to. The kms refuses any but the one that the ledger has of that site now, so
    /// that a site knows when nothing more comes that is sealed to a former one (P-15.9).
    pub key: PublicKey,
}

/// There are parcels for the site that follows: event name `slips`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlipsEvent {
    /// The place of the newest one.
    pub place: u64,
}

/// Parcels for a site.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parcels {
    /// By place; none is added to a mebibyte.
    #[serde(deserialize_with = "at_most::<_, _, PARCELS_LIMIT>")]
    pub parcels: Vec<Parcel>,
    /// Whether there are more.
    pub more: bool,
    /// The place of the newest one for that site; 0 if there is none. Below where the site is, this kms counts anew: it was restored
    /// from a backup, or its database was moved.
    pub newest: u64,
}

/// What one site has released of a batch for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parcel {
    /// Its place among all that the kms ever had: it only grows.
    pub place: u64,
    /// How many leaves the ledger had when the kms took it. Before these are folded, it may look wrong.
    pub size: u64,
    /// The slips of the parts.
    pub slips: ShownSlips,
    /// The slips by which their files came to the unit that sends them on, back to the first ones.
    pub before: Vec<ShownSlips>,
    /// `Envelope` of the [`Released`](warifu_ledger::statement::Released).
    pub released: Envelope,
}

/// Batches whose digests are to be committed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlipsBatch {
    /// `Envelope` of a `Fact`, signed by the kms; none while nothing is due.
    pub fact: Option<Envelope>,
}
