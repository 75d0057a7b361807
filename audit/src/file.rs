//! The file: JSON, one value a line (P-14.1).

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read as _, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::{Row, SignedHead};
use warifu_ledger::key::Bytes;
use warifu_ledger::register::Record;
use warifu_ledger::{Digest, Id};

/// The version of the format.
pub const VERSION: u32 = 1;
/// The longest first line that is read, in bytes.
pub const HEADER_LIMIT: usize = 64 << 10;
/// The longest other line that is read, in bytes: the largest leaf in base64, with room to spare.
pub const LINE_LIMIT: usize = 12 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    #[serde(rename = "warifu-audit")]
    pub version: u32,
    /// The organization's name: the digest of its founding.
    pub organization: Digest,
    /// The checkpoint over all leaves in the file, signed by the kms and the ca.
    pub checkpoint: String,
    /// Which order the file is evidence of, if it is of one alone: then it has the receipts for that, and no journals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Subject>,
}

/// The order that a file is evidence of (P-14.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The order's digest.
    pub order: Digest,
    /// The sites whose receipts are in the file.
    pub confirmed: BTreeSet<Id>,
}

/// Every other line: an object with one member.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// A leaf of the ledger, in its exact bytes; from the founding on, in their order.
    Leaf(Bytes),
    /// A site's signed receipt.
    Receipt(Envelope),
    /// A row of an audit journal; each journal from its first row on, in their order.
    Row(JournalRow),
    /// The newest head of a journal, which may not be in the ledger yet.
    Head(SignedHead),
    /// A record of the register: what names people, units and sites.
    Record(Record),
}

/// A row, with the journal that it stands in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalRow {
    /// The site.
    pub site: Id,
    /// Its journal.
    pub journal: Id,
    /// The row.
    pub row: Row,
}

/// A file that cannot be read at all: nothing can be said about what it shows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Reading failed.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
    /// The first line is not that of such a file.
    #[error("not an audit file")]
    NotOne,
    /// A later version of the format.
    #[error("an audit file of version {version}")]
    Version {
        /// Its version.
        version: u32,
    },
    /// A line that is none, longer than [`LINE_LIMIT`], or of a journal in a file that has none.
    #[error("line {line} cannot be read")]
    Line {
        /// Its number, from 1.
        line: u64,
    },
}

/// Writes a line: the [`Header`] first, then [`Line`]s.
///
/// # Errors
/// That of the output.
pub fn write_line(output: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *output, line).map_err(io::Error::from)?;
    output.write_all(b"\n")
}

/// Reads a file line by line.
pub struct Reader<R> {
    input: R,
    line: u64,
    header: Header,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(mut input: R) -> Result<Self, FileError> {
        let bytes = next_line(&mut input, HEADER_LIMIT)?.ok_or(FileError::NotOne)?;
        let bytes = bytes.ok_or(FileError::NotOne)?;
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "warifu-audit")]
            version: u32,
        }
        let Version { version } = parse(&bytes).ok_or(FileError::NotOne)?;
        if version != VERSION {
            return Err(FileError::Version { version });
        }
        Ok(Self { input, line: 1, header: parse(&bytes).ok_or(FileError::NotOne)? })
    }

    /// The first line.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next one; none at the end of the file.
    ///
    /// # Errors
    /// [`FileError::Line`], [`FileError::Io`].
    pub fn next_line(&mut self) -> Result<Option<Line>, FileError> {
        let Some(bytes) = next_line(&mut self.input, LINE_LIMIT)? else { return Ok(None) };
        self.line += 1;
        let line = bytes.and_then(|bytes| parse(&bytes)).filter(|line| self.takes(line));
        line.map(Some).ok_or(FileError::Line { line: self.line })
    }

    /// Evidence of one order has nothing of journals: nobody would hold that against the ledger.
    fn takes(&self, line: &Line) -> bool {
        self.header.order.is_none() || !matches!(line, Line::Row(_) | Line::Head(_))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// The bytes up to the end of the line; none inside if it has none within the limit. None at the end of the input.
fn next_line(input: &mut impl BufRead, limit: usize) -> io::Result<Option<Option<Vec<u8>>>> {
    let mut bytes = Vec::new();
    input.take(limit as u64 + 1).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some((bytes.pop() == Some(b'\n')).then_some(bytes)))
}
