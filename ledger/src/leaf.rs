//! A leaf of the ledger: an envelope and the instant at which the kms appended it (P-4.1).

use serde::{Deserialize, Serialize};

use crate::dsse::{Envelope, complaint};
use crate::statement::Millis;

/// The largest leaf read, in bytes: the largest payload ([`crate::dsse::PAYLOAD_LIMIT`]) in base64, with room to spare.
pub const LEAF_LIMIT: usize = 8 << 20;

/// The exact bytes of a leaf are not those of a leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafError {
    /// Larger than [`LEAF_LIMIT`].
    #[error("the leaf is too large")]
    TooLarge,
    /// Not the JSON of a leaf.
    #[error("the leaf does not parse: {why}")]
    Malformed {
        /// What the parser said.
        why: String,
    },
}

/// A leaf, with the exact bytes that the tree hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    bytes: Vec<u8>,
    at: Millis,
    envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<E> {
    at: Millis,
    envelope: E,
}

impl Leaf {
    /// Makes the leaf that appends `envelope` at the instant `at`.
    ///
    /// # Errors
    /// [`LeafError::TooLarge`].
    pub fn new(at: Millis, envelope: Envelope) -> Result<Self, LeafError> {
        let bytes = serde_json::to_vec(&Wire { at, envelope: &envelope })
            .map_err(|e| LeafError::Malformed { why: complaint(&e) })?;
        if bytes.len() > LEAF_LIMIT {
            return Err(LeafError::TooLarge);
        }
        Ok(Self { bytes, at, envelope })
    }

    /// Reads a leaf from its exact bytes.
    ///
    /// # Errors
    /// [`LeafError`] if they are too many or not a leaf.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, LeafError> {
        if bytes.len() > LEAF_LIMIT {
            return Err(LeafError::TooLarge);
        }
        let wire: Wire<Envelope> =
            serde_json::from_slice(&bytes).map_err(|e| LeafError::Malformed { why: complaint(&e) })?;
        Ok(Self { bytes, at: wire.at, envelope: wire.envelope })
    }

    /// The exact bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// When it was appended.
    #[must_use]
    pub fn at(&self) -> Millis {
        self.at
    }

    /// What was appended.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}
