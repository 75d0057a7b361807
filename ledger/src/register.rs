//! The register: erasable records that ledger entries point to by random id and commitment.
//!
//! The commitment is under a random key per record, so erasing record and key leaves nothing to guess names against,
//! while the ledger stays verifiable.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::key::Base64;
use crate::{Digest, Id};

const DOMAIN: &[u8] = b"warifu/record/v1";

/// What a ledger entry holds in place of a name, title or reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// The record.
    pub record: Id,
    /// HMAC-SHA-256 under the record's key over `"warifu/record/v1" ‖ id ‖ text`.
    pub digest: Digest,
}

/// A record of the register: personal, erasable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Random.
    pub id: Id,
    /// Random, 32 bytes.
    pub key: Base64<32>,
    /// The name, title or reason, UTF-8.
    pub text: String,
}

impl Record {
    /// Makes a record of `text` under a fresh id and key.
    pub fn draw(rng: &mut impl rand_core::CryptoRng, text: impl Into<String>) -> Self {
        let mut key = [0; 32];
        let id = Id::draw(rng);
        rng.fill_bytes(&mut key);
        Self { id, key: Base64(key), text: text.into() }
    }

    /// The commitment that a statement carries for this record.
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        #[allow(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 section 2)")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key.0).expect("any key length");
        mac.update(DOMAIN);
        mac.update(self.id.as_bytes());
        mac.update(self.text.as_bytes());
        Commitment { record: self.id, digest: Digest(mac.finalize().into_bytes().into()) }
    }

    /// Whether `commitment` is to this record.
    #[must_use]
    pub fn matches(&self, commitment: &Commitment) -> bool {
        let mine = self.commitment();
        mine.record == commitment.record && bool::from(mine.digest.0.ct_eq(&commitment.digest.0))
    }
}

/// The text of a record that names something: a short label for command lines, and the name as people say it.
///
/// Written as `label`, a line feed, `name`.
#[derive(Clone, PartialEq, Eq)]
pub struct Name {
    /// Lowercase letters, digits and `-`; at most 63 bytes.
    pub label: String,
    /// Any one line.
    pub name: String,
}

/// The text is no [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a label has 1 to 63 lowercase letters, digits and hyphens, and a name is one line")]
pub struct NotAName;

impl Name {
    /// Checks label and name.
    ///
    /// # Errors
    /// [`NotAName`].
    pub fn new(label: impl Into<String>, name: impl Into<String>) -> Result<Self, NotAName> {
        let (label, name) = (label.into(), name.into());
        let label_fits = (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !label_fits || name.is_empty() || name.chars().any(char::is_control) {
            return Err(NotAName);
        }
        Ok(Self { label, name })
    }

    /// The text of the record.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n{}", self.label, self.name)
    }

    /// Reads the text of a record.
    ///
    /// # Errors
    /// [`NotAName`].
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let (label, name) = text.split_once('\n').ok_or(NotAName)?;
        Self::new(label, name)
    }
}
