//! The kms authority's interface for everybody, where `[public]` is configured: TLS 1.3 in which the server alone shows a
//! certificate, HTTP/1.1, no key and no account. What is served proves itself by its signatures.
//!
//! | method and path | request → answer |
//! |---|---|
//! | `GET /v1/directory` | → [`SignedDirectory`] |
//! | `GET /` | → the directory as a page, HTML, in Japanese or English by `Accept-Language` |
//! | `GET /units/{unit}.cer` | → a unit's certificate, `application/pkix-cert` |
//! | `GET /v1/box`, `POST /v1/deliveries…`, `POST /v1/standing` | see [`super::deliveries`]: what anybody may ask there |
//!
//! One network (IPv4 address, or the first 64 bits of IPv6) has 120 requests at once and 20 a second on the long run; beyond
//! that the answer is `busy` with `Retry-After`.

use serde::{Deserialize, Serialize};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::OrganizationKeys;

use super::authority::{Directory, Included};

/// An organization's directory with the statement that its kms signed over it (P-16.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedDirectory {
    /// Envelope of a `DirectoryStatement`.
    pub statement: Envelope,
    /// The exact bytes that the statement is about: the JSON of a [`PublicDirectory`].
    pub body: Bytes,
}

impl SignedDirectory {
    /// The largest one that is taken in from others, in bytes of its JSON: some thousand units.
    pub const LARGEST: usize = 16 << 20;
}

/// What an organization says of itself to others (P-16.2).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicDirectory {
    /// Its name as people say it. Those who pin it give it a name of their own.
    pub name: String,
    /// `host:port` of its public listener.
    pub address: String,
    /// Its name and keys.
    pub keys: OrganizationKeys,
    /// The orders by which its kms got other keys than the ledger began with, as leaves under the directory's checkpoint, oldest
    /// first.
    pub successions: Vec<Included>,
    /// Its units, with their proofs under these keys, and a checkpoint that its ca has cosigned.
    pub directory: Directory,
}
