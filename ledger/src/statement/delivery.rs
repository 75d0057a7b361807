//! What is signed about a file on its way to units that its receiver opens (`docs/protocol.md` section 17).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Millis, nothing_more};
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

/// What has become of a delivery that has come whole. Signed by the kms of the organization that it was sent to, for its sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// The organization that has it.
    pub organization: Digest,
    /// [`Delivery::id`].
    pub id: Id,
    /// The digest of what the sender's card signed.
    pub delivery: Digest,
    /// When all of it was there, and was the file that was signed.
    pub arrived_at: Millis,
    /// Whether the file is there.
    pub state: ReceivedState,
    /// What its addressees have done with it: each unit that it was sent to, in the order of their ids.
    pub units: Vec<Addressee>,
    /// When this was signed, by the kms's time.
    pub at: Millis,
}

/// Whether the file of a delivery that has come is in the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ReceivedState {
    /// It is.
    Arrived {
        /// The instant at which it is deleted, if it is not before.
        kept_until: Millis,
    },
    /// It is not any more.
    Deleted {
        /// Since when.
        at: Millis,
    },
}

/// One unit that a delivery is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addressee {
    /// The unit.
    pub unit: Id,
    /// What became of it there, or where it was passed on to.
    pub handling: Handling,
}

/// What a unit has done with a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "handling", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Handling {
    /// Nothing yet.
    #[serde(deserialize_with = "nothing_more")]
    Waiting,
    /// It was taken.
    Accepted {
        /// When.
        at: Millis,
    },
    /// It was given back.
    Returned {
        /// When.
        at: Millis,
        /// Why: a line.
        reason: String,
    },
    /// It was routed to another unit. Only members see that; for who sent it, that unit's answer is this one's.
    PassedOn {
        /// When.
        at: Millis,
        /// Where to.
        to: Id,
    },
}
