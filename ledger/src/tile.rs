//! Tiles: the ledger as C2SP `tlog-tiles` publishes a log, 256 hashes or entries at a time, so that standard tools prove
//! inclusion and consistency from them alone.

use std::fmt;
use std::str::FromStr;

use crate::tree::{BeyondTree, Tree, entry};

/// A tile is a subtree of this height.
const HEIGHT: u8 = 8;
/// Hashes, or entries, in a full tile.
pub const FULL: u64 = 1 << HEIGHT;
/// The highest level that there is.
const HIGHEST: u8 = 5;
/// Three digits of a tile's number are one part of its path.
const PART: u64 = 1000;
/// The parts of the largest number, and no more.
const PARTS: usize = 7;

/// What a tile is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// The hashes of subtrees of 256^level leaves.
    Hashes { level: u8 },
    /// Entries, each after its length in two bytes, big-endian.
    Entries,
}

/// Which tile: its path after `/tile/`, as in `0/x001/234.p/12` and `entries/007`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    content: Content,
    number: u64,
    /// From 1 to [`FULL`].
    width: u64,
}

/// Not the path of a tile, in the one form that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile")]
pub struct NotATile;

impl Tile {
    /// Whether it can never have another hash or entry.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.width == FULL
    }

    /// The leaves whose entries are in it: the first one's index, and how many. None of a tile of hashes.
    #[must_use]
    pub fn entries(&self) -> Option<(u64, u64)> {
        (self.content == Content::Entries).then_some((self.number.checked_mul(FULL)?, self.width))
    }

    /// How many leaves a log has at least that has this tile.
    #[must_use]
    pub fn needs(&self) -> Option<u64> {
        let subtrees = self.number.checked_mul(FULL)?.checked_add(self.width)?;
        match self.content {
            Content::Entries => Some(subtrees),
            Content::Hashes { level } => subtrees.checked_mul(FULL.checked_pow(level.into())?),
        }
    }

    /// The bytes of a tile of hashes, 32 for each; none of a tile of entries.
    ///
    /// # Errors
    /// [`BeyondTree`] if the tree has not come so far.
    pub fn hashes(&self, tree: &Tree) -> Result<Option<Vec<u8>>, BeyondTree> {
        let Content::Hashes { level } = self.content else { return Ok(None) };
        let asked = self.needs().unwrap_or(u64::MAX);
        if asked > tree.size() {
            return Err(BeyondTree { size: tree.size(), asked });
        }
        let first = self.number * FULL;
        tree.subtrees(HEIGHT * level, first..first + self.width).map(Some)
    }
}

/// One leaf's part of a bundle: the length of its [`entry`] in two bytes, big-endian, and the entry.
#[must_use]
pub fn bundled(leaf: &[u8]) -> Vec<u8> {
    let entry = entry(leaf);
    // Never more: `entry` sees to it.
    let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
    [length.to_be_bytes().as_slice(), &entry].concat()
}

impl FromStr for Tile {
    type Err = NotATile;

    fn from_str(path: &str) -> Result<Self, NotATile> {
        let (content, rest) = path.split_once('/').ok_or(NotATile)?;
        let content = match content {
            "entries" => Content::Entries,
            level => Content::Hashes { level: level.parse().map_err(|_| NotATile)? },
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().map_err(|_| NotATile)?),
            None => (rest, FULL),
        };
        let tile = Self { content, number: number_of(number).ok_or(NotATile)?, width };
        let is_one = match content {
            Content::Hashes { level } => level <= HIGHEST,
            Content::Entries => true,
        };
        // One spelling: the width is left out of a full tile's, and there are no further zeros.
        if is_one && (1..=FULL).contains(&width) && tile.to_string() == path {
            Ok(tile)
        } else {
            Err(NotATile)
        }
    }
}

fn number_of(path: &str) -> Option<u64> {
    let parts: Vec<&str> = path.split('/').take(PARTS + 1).collect();
    if parts.len() > PARTS {
        return None;
    }
    parts.iter().try_fold(0_u64, |number, part| {
        let part: u64 = part.trim_start_matches('x').parse().ok()?;
        number.checked_mul(PART)?.checked_add(part)
    })
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Content::Hashes { level } => write!(f, "{level}/")?,
            Content::Entries => write!(f, "entries/")?,
        }
        let mut parts = vec![format!("{:03}", self.number % PART)];
        let mut number = self.number / PART;
        while number > 0 {
            parts.push(format!("x{:03}", number % PART));
            number /= PART;
        }
        parts.reverse();
        f.write_str(&parts.join("/"))?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}
