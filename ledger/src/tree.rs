//! The Merkle tree over the leaves (RFC 6962 section 2.1), kept as `tlog_tiles` stores it: every complete subtree's hash.
//!
//! Cloning is cheap (the storage is shared), so that a state can be a value.
//!
//! What the tree hashes is a leaf's [`entry`], so that bundles of them are those of `tlog-tiles`.

use std::borrow::Cow;
use std::ops::Range;

use rpds::VectorSync;
use tlog_tiles::tlog::{self, Hash, HashReader};

use crate::Digest;
use crate::checkpoint::Checkpoint;

/// The tree: its size in leaves, and the hashes of its complete subtrees.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    stored: VectorSync<[u8; 32]>,
}

/// The longest entry of the log, in bytes: `tlog-tiles` puts its length before it in two.
pub const ENTRY_LIMIT: usize = 65_535;
/// What an entry begins with that stands for a longer leaf. No leaf does: it is JSON.
const LONG_LEAF: &[u8] = b"warifu/long-leaf/v1";

/// What the log has of the leaf of these exact bytes (P-4.22): the bytes themselves, or if they are more than
/// [`ENTRY_LIMIT`], `"warifu/long-leaf/v1"` and their SHA-256.
#[must_use]
pub fn entry(leaf: &[u8]) -> Cow<'_, [u8]> {
    if leaf.len() <= ENTRY_LIMIT {
        return Cow::Borrowed(leaf);
    }
    Cow::Owned([LONG_LEAF, Digest::of(leaf).as_bytes()].concat())
}

/// A root was asked for a size that the tree has not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tree has {size} leaves, not {asked}")]
pub struct BeyondTree {
    /// Leaves in the tree.
    pub size: u64,
    /// Leaves asked for.
    pub asked: u64,
}

impl Default for Tree {
    fn default() -> Self {
        Self { size: 0, stored: VectorSync::new_sync() }
    }
}

impl Tree {
    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree with one more leaf, whose exact bytes are `leaf`.
    ///
    /// # Errors
    /// Never for a tree built by this function alone; the library underneath reads through a fallible interface.
    pub fn append(&self, leaf: &[u8]) -> Result<Self, BeyondTree> {
        let mut next = self.clone();
        next.push(leaf)?;
        Ok(next)
    }

    /// As [`Tree::append`], in place; unchanged where that fails.
    pub(crate) fn push(&mut self, leaf: &[u8]) -> Result<(), BeyondTree> {
        let beyond = BeyondTree { size: self.size, asked: self.size };
        let hashes = tlog::stored_hashes(self.size, &entry(leaf), &Stored(self)).map_err(|_| beyond)?;
        for hash in hashes {
            self.stored.push_back_mut(hash.0);
        }
        self.size += 1;
        Ok(())
    }

    /// How many hashes of complete subtrees a tree of so many leaves has.
    pub(crate) fn hashes(size: u64) -> Option<u64> {
        size.checked_mul(2).map(|twice| twice - u64::from(size.count_ones()))
    }

    pub(crate) fn parts(&self) -> (u64, &VectorSync<[u8; 32]>) {
        (self.size, &self.stored)
    }

    /// The hashes are [`Tree::hashes`] many, and taken for what they say.
    pub(crate) fn from_parts(size: u64, stored: VectorSync<[u8; 32]>) -> Self {
        Self { size, stored }
    }

    /// The root over the first `size` leaves.
    ///
    /// # Errors
    /// [`BeyondTree`] if there are fewer.
    pub fn root(&self, size: u64) -> Result<Digest, BeyondTree> {
        let beyond = BeyondTree { size: self.size, asked: size };
        if size > self.size {
            return Err(beyond);
        }
        tlog::tree_hash(size, &Stored(self)).map(|hash| Digest(hash.0)).map_err(|_| beyond)
    }

    /// The hashes of consecutive complete subtrees of 2^`height` leaves, these of all of that height, 32 bytes each.
    ///
    /// # Errors
    /// [`BeyondTree`] if not all of them are complete.
    pub(crate) fn subtrees(&self, height: u8, numbers: Range<u64>) -> Result<Vec<u8>, BeyondTree> {
        let beyond = BeyondTree { size: self.size, asked: u64::MAX };
        let complete = self.size.checked_shr(height.into()).unwrap_or(0);
        if numbers.end > complete {
            return Err(beyond);
        }
        let indexes: Vec<u64> = numbers.map(|number| tlog::stored_hash_index(height, number)).collect();
        let hashes = Stored(self).read_hashes(&indexes).map_err(|_| beyond)?;
        Ok(hashes.into_iter().flat_map(|hash| hash.0).collect())
    }

    /// Whether leaf `index` has these exact bytes.
    #[must_use]
    pub fn has(&self, index: u64, leaf: &[u8]) -> bool {
        let place = tlog::stored_hash_index(0, index);
        Stored(self).read_hashes(&[place]).is_ok_and(|found| found == [tlog::record_hash(&entry(leaf))])
    }

    /// The proof that leaf `index` is in the tree of the first `size` leaves: the hashes beside its path to the root, from
    /// below (RFC 6962 section 2.1.1).
    ///
    /// # Errors
    /// [`BeyondTree`] if there are fewer leaves, or `index` is not among them.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, BeyondTree> {
        let beyond = BeyondTree { size: self.size.min(size), asked: size.max(index) };
        if size > self.size || index >= size {
            return Err(beyond);
        }
        let proof = tlog::prove_record(size, index, &Stored(self)).map_err(|_| beyond)?;
        Ok(proof.into_iter().map(|hash| Digest(hash.0)).collect())
    }
}

/// Whether [`Tree::inclusion`]'s proof shows that the leaf of these exact bytes is the one at `index` under a checkpoint.
#[must_use]
pub fn is_included(leaf: &[u8], index: u64, proof: &[Digest], checkpoint: &Checkpoint) -> bool {
    is_leaf_under(leaf, index, proof, checkpoint.size, &checkpoint.root)
}

/// The same under the root of any tree of `size` leaves.
#[must_use]
pub fn is_leaf_under(leaf: &[u8], index: u64, proof: &[Digest], size: u64, root: &Digest) -> bool {
    let proof = proof.iter().map(|hash| Hash(hash.0)).collect();
    tlog::check_record(&proof, size, Hash(root.0), index, tlog::record_hash(&entry(leaf))).is_ok()
}

struct Stored<'a>(&'a Tree);

impl HashReader for Stored<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        indexes
            .iter()
            .map(|&index| usize::try_from(index).ok().and_then(|i| self.0.stored.get(i)).copied().map(Hash))
            .collect::<Option<_>>()
            .ok_or(tlog::Error::IndexesNotInTree)
    }
}
