//! Slips: a file on its way from a front desk, or from somebody who can open it, to another unit, without having been read
//! (`docs/protocol.md` section 15).
//!
//! One signature covers a batch: [`Slips`] is the statement, with the root of a Merkle tree (RFC 6962) over the slips. Whoever
//! is concerned by one of them gets that one with its proof, and learns nothing of the others.

use serde::{Deserialize, Serialize};
use warifu_split_key::routing::{RoutedFile, SEALED_PART};

use crate::key::{Base64, PublicKey};
use crate::statement::{Millis, Slips};
use crate::tree::{BeyondTree, Tree, is_leaf_under};
use crate::{Digest, Id};

/// The most slips under one signature.
pub const SLIPS_LIMIT: u64 = 1024;
/// The most batches in one `slips.batched`.
pub const BATCHES_LIMIT: usize = 1024;
/// The most slips by which a file comes, one after the other.
pub const WAY_LIMIT: usize = 8;
/// The most acts of one order that revoke slips: each stays in the token of every site.
pub const REVOKED_LIMIT: usize = 64;
/// How far ahead slips may expire, in milliseconds: 400 days.
pub const LONGEST_SLIP_MS: u64 = 400 * 24 * 60 * 60 * 1000;

/// One slip among those of a batch, by which others speak of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlipId {
    /// The digest of the [`Slips`]: their `id` is whatever their signer chose.
    pub slips: Digest,
    /// [`Slip::index`].
    pub index: u64,
}

/// One file, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slip {
    /// Its place among the slips, from 0.
    pub index: u64,
    /// `R`, the stanza's encapsulated key.
    pub ephemeral: PublicKey,
    /// SHA-256 of the stanza, as it is in the file's header.
    pub stanza: Digest,
    /// The unit that shall open it.
    pub target: Id,
    /// The slip by which it came, if it goes further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<SlipId>,
    /// The card's part, sealed to the target ([`warifu_split_key::routing::Part::Card`]).
    pub seal: Base64<SEALED_PART>,
}

/// A slip with the statement among whose slips it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The digest of the statement.
    pub batch: Digest,
    /// The statement.
    pub slips: Slips,
    /// The slip.
    pub slip: Slip,
}

impl Sent {
    /// By which others speak of it.
    #[must_use]
    pub fn id(&self) -> SlipId {
        SlipId { slips: self.batch, index: self.slip.index }
    }

    /// Whether it lets the file go on that `before` brought: from the unit to which that one did, the same file, and for no
    /// longer.
    fn goes_on_from(&self, before: &Self) -> bool {
        self.slip.origin == Some(before.id())
            && self.slips.organization == before.slips.organization
            && self.slips.unit == before.slip.target
            && self.slip.ephemeral == before.slip.ephemeral
            && self.slip.stanza == before.slip.stanza
            && self.slips.expires_at <= before.slips.expires_at
    }
}

/// Whether these are the way of one file: a slip, the one by which its file came to that one's unit, and so on to the first, at
/// most [`WAY_LIMIT`].
#[must_use]
pub fn is_way(way: &[Sent]) -> bool {
    let goes_on = way.windows(2).all(|pair| matches!(pair, [sent, before] if sent.goes_on_from(before)));
    way.len() <= WAY_LIMIT && goes_on && way.last().is_some_and(|first| first.slip.origin.is_none())
}

/// A slip with the proof that it is among those that were signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvedSlip {
    /// The slip.
    pub slip: Slip,
    /// The hashes beside its path to the root, from below (RFC 6962 section 2.1.1).
    pub proof: Vec<Digest>,
}

impl Slip {
    /// The file's id: SHA-256 of `x(R)` (P-7.3).
    #[must_use]
    pub fn file(&self) -> Digest {
        Digest::of(&self.ephemeral.0.x())
    }

    /// What both parts are sealed for.
    #[must_use]
    pub fn routed_file(&self, slips: &Slips) -> RoutedFile {
        RoutedFile {
            organization: slips.organization.0,
            slips: slips.id.0,
            index: self.index,
            unit: slips.unit.0,
            grant: slips.grant.0,
            ephemeral: self.ephemeral.0,
            stanza: self.stanza.0,
            target: self.target.0,
            origin: self.origin.map(|origin| (origin.slips.0, origin.index)),
            expires_at: slips.expires_at,
        }
    }

    /// The leaf of the tree under [`Slips::root`]: [`RoutedFile::encoded`] ‖ SHA-256 of the seal (32) (P-15.2).
    fn leaf(&self, slips: &Slips) -> Vec<u8> {
        let mut leaf = self.routed_file(slips).encoded();
        leaf.extend_from_slice(Digest::of(&self.seal.0).as_bytes());
        leaf
    }
}

impl Slips {
    /// Sets count and root for these slips, whose places must be their indexes.
    ///
    /// # Errors
    /// Never for as many as memory holds ([`Tree::append`]).
    pub fn over(mut self, slips: &[Slip]) -> Result<Self, BeyondTree> {
        let tree = self.tree(slips)?;
        self.count = tree.size();
        self.root = tree.root(tree.size())?;
        Ok(self)
    }

    /// Whether these are all the slips that were signed, each in its place.
    #[must_use]
    pub fn are(&self, slips: &[Slip]) -> bool {
        let in_place = slips.iter().zip(0..).all(|(slip, index)| slip.index == index);
        let root = self.tree(slips).and_then(|tree| Ok((tree.size(), tree.root(tree.size())?)));
        in_place && root.is_ok_and(|root| root == (self.count, self.root))
    }

    /// Each with its proof.
    ///
    /// # Errors
    /// [`BeyondTree`] if they are not in their places.
    pub fn prove(&self, slips: Vec<Slip>) -> Result<Vec<ProvedSlip>, BeyondTree> {
        let tree = self.tree(&slips)?;
        slips
            .into_iter()
            .map(|slip| Ok(ProvedSlip { proof: tree.inclusion(slip.index, tree.size())?, slip }))
            .collect()
    }

    /// Whether this slip is among those that were signed.
    #[must_use]
    pub fn has(&self, proved: &ProvedSlip) -> bool {
        let ProvedSlip { slip, proof } = proved;
        is_leaf_under(&slip.leaf(self), slip.index, proof, self.count, &self.root)
    }

    fn tree(&self, slips: &[Slip]) -> Result<Tree, BeyondTree> {
        slips.iter().try_fold(Tree::default(), |tree, slip| tree.append(&slip.leaf(self)))
    }

    /// Whether they are over by their date at `at`.
    #[must_use]
    pub fn are_over(&self, at: Millis) -> bool {
        self.expires_at <= at
    }
}
