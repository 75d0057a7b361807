//! A site's audit journal: one row for each partial, chained by hash, and the head that the site signs over it
//! (`docs/protocol.md` section 13).
//!
//! A head commits to every row before it: whoever has the rows and a head that stands in the ledger finds any row that was
//! changed, left out or put in, and can name it. That a site wrote a row for each partial is the site's own doing
//! (invariant I2); that it did not rewrite its rows afterwards is what the heads prove.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::dsse::Signature;
use crate::key::{Base64, PublicKey};
use crate::statement::Millis;
use crate::{Digest, Id};

const ROW_DOMAIN: &[u8] = b"warifu/journal/v1";
const HEAD_DOMAIN: &[u8] = b"warifu/journal-head/v1";

/// The most heads in one `journals.batched`.
pub const HEADS_LIMIT: usize = 1024;

/// One row: a partial that may leave the site once this row is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its place, from 0.
    pub index: u64,
    /// Site time.
    pub time: Millis,
    /// The card that asked.
    pub card: Id,
    /// Whose it is.
    pub member: Id,
    /// The grant it used.
    pub grant: Id,
    /// The grant's unit, whose file it is; of a file that a dispatcher sends on, the unit that it goes to; of one that is opened by
    /// a slip, the unit that sent it (P-13.1, [`State::told_by`](crate::state::State::told_by)).
    pub unit: Id,
    /// SHA-256 of `x(R)` (P-7.3).
    pub file: Digest,
    /// [`Row::hash`] of the row before; [`genesis`] for the first.
    pub previous: Digest,
}

impl Row {
    /// SHA-256 over `"warifu/journal/v1" ‖ index (8) ‖ time (8) ‖ card (16) ‖ member (16) ‖ grant (16) ‖ unit (16) ‖
    /// file (32) ‖ previous (32)`, integers big-endian (P-13.1).
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut hash = Sha256::new_with_prefix(ROW_DOMAIN);
        hash.update(self.index.to_be_bytes());
        hash.update(self.time.to_be_bytes());
        for id in [self.card, self.member, self.grant, self.unit] {
            hash.update(id.as_bytes());
        }
        hash.update(self.file.as_bytes());
        hash.update(self.previous.as_bytes());
        Digest(hash.finalize().into())
    }
}

/// What the first row of a journal follows:
/// SHA-256 over `"warifu/journal/v1" ‖ organization (32) ‖ site (16) ‖ journal (16)` (P-13.1).
#[must_use]
pub fn genesis(organization: &Digest, site: &Id, journal: &Id) -> Digest {
    let parts = [ROW_DOMAIN, organization.as_bytes(), site.as_bytes(), journal.as_bytes()];
    Digest::of(&parts.concat())
}

/// How far a journal has come: this many rows, the last of which has this hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Rows.
    pub size: u64,
    /// [`Row::hash`] of the last one; [`genesis`] if there is none.
    pub head: Digest,
}

/// A row that does not follow those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("row {index} of the journal is not what was written there")]
pub struct BrokenAt {
    /// The first row that cannot be what it was.
    pub index: u64,
}

impl Position {
    /// The beginning of a journal.
    #[must_use]
    pub fn start(organization: &Digest, site: &Id, journal: &Id) -> Self {
        Self { size: 0, head: genesis(organization, site, journal) }
    }

    /// The position after one more row.
    ///
    /// # Errors
    /// [`BrokenAt`]: the place before this row if that row's hash is another than this one says, else this row's.
    pub fn after(self, row: &Row) -> Result<Self, BrokenAt> {
        if row.index != self.size {
            return Err(BrokenAt { index: self.size });
        }
        if row.previous != self.head {
            return Err(BrokenAt { index: self.size.saturating_sub(1) });
        }
        Ok(Self { size: self.size.saturating_add(1), head: row.hash() })
    }
}

/// The head of a journal, signed by its site with the key that the ledger names (P-13.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedHead {
    /// The site.
    pub site: Id,
    /// Random; drawn when the journal was begun. A site that has lost its journal begins another one.
    pub journal: Id,
    /// Rows.
    pub size: u64,
    /// [`Row::hash`] of the last one.
    pub head: Digest,
    /// Site time at which it was signed.
    pub time: Millis,
    /// ES256 over [`SignedHead::digest`].
    pub signature: Base64<64>,
}

impl SignedHead {
    /// What is signed: SHA-256 over `"warifu/journal-head/v1" ‖ organization (32) ‖ site (16) ‖ journal (16) ‖ size (8) ‖
    /// head (32) ‖ time (8)`, integers big-endian.
    #[must_use]
    pub fn digest(&self, organization: &Digest) -> Digest {
        let mut hash = Sha256::new_with_prefix(HEAD_DOMAIN);
        hash.update(organization.as_bytes());
        hash.update(self.site.as_bytes());
        hash.update(self.journal.as_bytes());
        hash.update(self.size.to_be_bytes());
        hash.update(self.head.as_bytes());
        hash.update(self.time.to_be_bytes());
        Digest(hash.finalize().into())
    }

    /// Whether the site with this key signed it.
    #[must_use]
    pub fn is_signed(&self, organization: &Digest, key: &PublicKey) -> bool {
        let signature = Signature { keyid: key.key_id(), sig: self.signature };
        signature.verifies(key, &self.digest(organization))
    }

    /// How far the journal had come.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { size: self.size, head: self.head }
    }
}
