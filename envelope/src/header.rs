//! Strict reading of age headers (C2SP `age.md`, "Header"), within a bound.
//!
//! The `age` crate's own reader has no bound, accepts a legacy form, and shows the stanzas to one identity at a time.
//! What passes here is given to it again unchanged, so its MAC check covers the bytes that were parsed here.

use std::io::{self, BufRead, Read};

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use crate::armor::{ArmorError, Source};
use crate::tag::{TagError, TagStanza};

/// The longest header that is read, in bytes: some 6,900 units, against exhausting memory.
pub const HEADER_LIMIT: usize = 1 << 20;

const MAGIC: &[u8] = b"age-encryption.org/";
const VERSION_1: &[u8] = b"v1";
const VERSION_LINE_LIMIT: usize = 128;
const COLUMNS: usize = 64;

/// One recipient stanza: an opaque wrapping of the file key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stanza {
    /// The stanza's type, such as `p256tag`.
    pub kind: String,
    /// The arguments after the type: non-empty strings of visible ASCII.
    pub args: Vec<String>,
    /// The decoded body.
    pub body: Vec<u8>,
}

/// A parsed header: everything before the payload but the MAC, which is verified on opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    stanzas: Vec<Stanza>,
}

/// Why a header cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The input failed.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    /// The armor around the file is damaged.
    #[error("the file's armor is damaged")]
    Armor(#[source] ArmorError),
    /// The first line is not an age version line.
    #[error("this is not an age file")]
    NotAge,
    /// An age file of a version other than v1.
    #[error("this age file has a version other than v1")]
    UnsupportedVersion,
    /// The header goes on beyond [`HEADER_LIMIT`].
    #[error("the header is longer than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The file ends before its header, or before the 16-byte nonce after it.
    #[error("the file ends within its header")]
    Truncated,
    /// A line breaks the grammar.
    #[error("line {line} of the header: {fault}")]
    Malformed {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// A passphrase stanza stands beside others, which `age.md` forbids.
    #[error("a passphrase stanza must be the only one")]
    ScryptNotAlone,
    /// The `age` crate refuses a header that passed the stricter reading here.
    #[error("the header cannot be used")]
    Refused(#[source] age::DecryptError),
    /// A `p256tag` stanza breaks its own rules.
    #[error("stanza {index} of the header is not a valid p256tag stanza")]
    Tag {
        /// The stanza's position, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: TagError,
    },
}

/// How a line breaks the header's grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// Neither a stanza (`-> `) nor the MAC (`--- `) begins here, or the MAC comes before any stanza.
    #[error("a stanza was expected")]
    StanzaStart,
    /// An argument is empty or holds something other than visible ASCII.
    #[error("a stanza's arguments are malformed")]
    Argument,
    /// A body line is not canonical base64 in 64 columns.
    #[error("a stanza's body is malformed")]
    Body,
    /// The MAC is not 32 bytes of canonical base64.
    #[error("the MAC is malformed")]
    Mac,
}

impl Header {
    /// The stanzas in the file's order; at least one.
    pub fn stanzas(&self) -> &[Stanza] {
        &self.stanzas
    }

    /// The stanzas of units, in the file's order. Those of other types are passed over; a malformed `p256tag` fails.
    pub fn tag_stanzas(&self) -> Result<Vec<TagStanza>, HeaderError> {
        let parse = |(index, stanza)| match TagStanza::parse(stanza) {
            Ok(parsed) => parsed.map(Ok),
            Err(source) => Some(Err(HeaderError::Tag { index, source })),
        };
        self.stanzas.iter().enumerate().filter_map(parse).collect()
    }
}

/// Reads the header of an age file, binary or armored, and nothing that depends on a key.
pub fn read_header(input: impl Read) -> Result<Header, HeaderError> {
    let mut source = Source::detect(input).map_err(HeaderError::from_io)?;
    Ok(parse(&mut source)?.0)
}

impl HeaderError {
    pub(crate) fn from_io(error: io::Error) -> Self {
        match ArmorError::from_io(error) {
            Ok(armor) => Self::Armor(armor),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::Truncated,
            Err(error) => Self::Read(error),
        }
    }
}

/// Parses a header and returns it with its exact bytes; `input` is left at the nonce.
pub(crate) fn parse(input: &mut impl BufRead) -> Result<(Header, Vec<u8>), HeaderError> {
    let mut lines = Lines { input, raw: Vec::new(), number: 0 };
    read_version(&mut lines)?;
    let mut stanzas = Vec::new();
    loop {
        let line = lines.next(HEADER_LIMIT)?;
        if let Some(arguments) = line.strip_prefix(b"-> ") {
            let (kind, args) =
                parse_arguments(arguments).ok_or_else(|| lines.fault(HeaderFault::Argument))?;
            stanzas.push(Stanza { kind, args, body: read_body(&mut lines)? });
        } else if stanzas.is_empty() || !line.starts_with(b"---") {
            return Err(lines.fault(HeaderFault::StanzaStart));
        } else {
            let mac = line.strip_prefix(b"--- ").and_then(|mac| BASE64_STANDARD_NO_PAD.decode(mac).ok());
            if mac.is_none_or(|mac| mac.len() != 32) {
                return Err(lines.fault(HeaderFault::Mac));
            }
            break;
        }
    }
    if stanzas.len() > 1 && stanzas.iter().any(|stanza| stanza.kind == "scrypt") {
        return Err(HeaderError::ScryptNotAlone);
    }
    Ok((Header { stanzas }, lines.raw))
}

fn read_version(lines: &mut Lines<'_, impl BufRead>) -> Result<(), HeaderError> {
    let version = match lines.next(VERSION_LINE_LIMIT) {
        Ok(line) => line,
        Err(HeaderError::TooLarge { .. }) => return Err(HeaderError::NotAge),
        Err(HeaderError::Truncated) if !MAGIC.starts_with(&lines.raw) && !lines.raw.starts_with(MAGIC) => {
            return Err(HeaderError::NotAge);
        }
        Err(other) => return Err(other),
    };
    match version.strip_prefix(MAGIC) {
        Some(VERSION_1) => Ok(()),
        Some(_) => Err(HeaderError::UnsupportedVersion),
        None => Err(HeaderError::NotAge),
    }
}

fn parse_arguments(line: &[u8]) -> Option<(String, Vec<String>)> {
    let mut arguments = line.split(|byte| *byte == b' ').map(|argument| {
        let visible = !argument.is_empty() && argument.iter().all(u8::is_ascii_graphic);
        visible.then(|| String::from_utf8_lossy(argument).into_owned())
    });
    let kind = arguments.next()??;
    Some((kind, arguments.collect::<Option<_>>()?))
}

/// A body is any number of full lines and then one that is shorter, perhaps empty.
fn read_body(lines: &mut Lines<'_, impl BufRead>) -> Result<Vec<u8>, HeaderError> {
    let mut body = Vec::new();
    loop {
        let line = lines.next(HEADER_LIMIT)?;
        let length = line.len();
        let decoded = BASE64_STANDARD_NO_PAD.decode(&line);
        match decoded {
            Ok(bytes) if length <= COLUMNS => body.extend_from_slice(&bytes),
            _ => return Err(lines.fault(HeaderFault::Body)),
        }
        if length < COLUMNS {
            return Ok(body);
        }
    }
}

struct Lines<'a, R> {
    input: &'a mut R,
    raw: Vec<u8>,
    number: usize,
}

impl<R: BufRead> Lines<'_, R> {
    /// The next line without its newline; fails once the header is longer than `limit`.
    fn next(&mut self, limit: usize) -> Result<Vec<u8>, HeaderError> {
        self.number += 1;
        let start = self.raw.len();
        let allowed = limit.saturating_sub(start) as u64;
        self.input.by_ref().take(allowed).read_until(b'\n', &mut self.raw).map_err(HeaderError::from_io)?;
        match self.raw.get(start..).and_then(|line| line.strip_suffix(b"\n")) {
            Some(line) => Ok(line.to_vec()),
            None if self.raw.len() >= limit => Err(HeaderError::TooLarge { limit }),
            None => Err(HeaderError::Truncated),
        }
    }

    fn fault(&self, fault: HeaderFault) -> HeaderError {
        HeaderError::Malformed { line: self.number, fault }
    }
}
