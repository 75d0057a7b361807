//! What is signed about a file on its way to units that its receiver opens (`docs/protocol.md` section 17).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Millis;
use crate::{Digest, Id};

/// A file is sent to units of an organization, which may be another one. Signed by the sender's card (9C).
///
/// Title and name are in it as people read them, other than in what goes into a ledger: it is for its receiver alone, and
/// erased with the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The sender's organization.
    pub organization: Digest,
    /// Random, drawn by the sender: whoever knows it may see what became of the delivery, and bring its parts.
    pub id: Id,
    /// The card that signs.
    pub card: Id,
    /// To whom.
    pub to: Addressees,
    /// What it is about: one visible line of at most [`LINE_LIMIT`](crate::delivery::LINE_LIMIT) bytes.
    pub title: String,
    /// The name of the file, without folders ([`crate::delivery::is_file_name`]).
    pub name: String,
    /// The ciphertext's length, in bytes: 1 to [`LARGEST`](crate::delivery::LARGEST).
    pub size: u64,
    /// SHA-256 of the ciphertext.
    pub digest: Digest,
    /// When it was signed, by the sender's clock.
    pub sent_at: Millis,
    /// The unit of the sender's organization that an answer is to go to, if one may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Id>,
    /// The first instant at which it is over: nobody takes it in any more, and it lies nowhere. At most
    /// [`LONGEST_MS`](crate::delivery::LONGEST_MS) after `sent_at`.
    pub expires_at: Millis,
}

/// The units that a delivery is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addressees {
    /// Their organization.
    pub organization: Digest,
    /// They: 1 to [`ADDRESSEES_LIMIT`](crate::delivery::ADDRESSEES_LIMIT).
    pub units: BTreeSet<Id>,
}

/// Whether cards are live. Signed by the kms of their organization, for whoever has deliveries that they signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// The organization.
    pub organization: Digest,
    /// What was asked with: random, so that no earlier answer does.
    pub nonce: Digest,
    /// The kms's time.
    pub at: Millis,
    /// The cards that were asked for, at most [`STANDING_LIMIT`](crate::delivery::STANDING_LIMIT).
    pub cards: BTreeSet<Id>,
    /// Those of them that were live at that time: neither revoked nor suspended, their members not gone, their contracts not over.
    pub live: BTreeSet<Id>,
}
