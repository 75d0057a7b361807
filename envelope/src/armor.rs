//! Telling binary from armored files, and reading both through one type.
//!
//! The decoding itself is the `age` crate's. Around it stand what it leaves out: whitespace lines before the armor
//! (C2SP `age.md`, "ASCII armor"), a clear error for begin markers that are nearly right, and a bound on the length of
//! a line, without which a file of one endless line would be read into memory.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use age::armor::ArmoredReader;

const BEGIN: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
const DASHES: &[u8] = b"-----";
const WHITESPACE_LIMIT: usize = 1024;
const LINE_LIMIT: usize = 1024;

/// What is wrong with a file's armor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArmorError {
    /// The first line is nearly, but not exactly, the begin marker.
    #[error("the armor does not begin with the line -----BEGIN AGE ENCRYPTED FILE-----")]
    BeginMarker,
    /// A line is far longer than the 64 columns of armor.
    #[error("a line of the armor is longer than {limit} bytes")]
    LineTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The encoding between the markers, or the end marker, is wrong.
    #[error("the armor is damaged")]
    Malformed {
        /// The fault as the decoder saw it.
        #[source]
        source: io::Error,
    },
}

impl ArmorError {
    /// Takes an armor fault back out of the I/O error in which it travelled.
    pub(crate) fn from_io(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Self>()
    }
}

type Replayed<R> = Chain<Cursor<Vec<u8>>, R>;

/// An age file's bytes, after removing the armor if there is one. Faults of the armor come as I/O errors that hold an
/// [`ArmorError`].
pub(crate) enum Source<R> {
    Binary(BufReader<Replayed<R>>),
    Armored(Box<ArmoredReader<BufReader<LineLimit<Replayed<R>>>>>),
}

impl<R: Read> Source<R> {
    pub(crate) fn detect(mut input: R) -> io::Result<Self> {
        let mut prefix = Vec::new();
        let start = loop {
            let start = prefix.iter().position(|byte: &u8| !byte.is_ascii_whitespace());
            let seen = start.map_or(0, |start| prefix.len() - start);
            if seen >= BEGIN.len() || (start.is_none() && prefix.len() > WHITESPACE_LIMIT) {
                break start;
            }
            let before = prefix.len();
            input.by_ref().take((BEGIN.len() - seen) as u64).read_to_end(&mut prefix)?;
            if prefix.len() == before {
                break start;
            }
        };
        let (space, rest) = prefix.split_at(start.unwrap_or(prefix.len()));
        if !rest.starts_with(DASHES) {
            return Ok(Self::Binary(BufReader::new(Cursor::new(prefix).chain(input))));
        }
        let begins_line = space.last().is_none_or(|byte| *byte == b'\n');
        if !begins_line || space.len() > WHITESPACE_LIMIT || rest != BEGIN {
            return Err(io::Error::new(io::ErrorKind::InvalidData, ArmorError::BeginMarker));
        }
        let armored = Cursor::new(rest.to_vec()).chain(input);
        let limited = LineLimit { inner: armored, column: 0 };
        Ok(Self::Armored(Box::new(ArmoredReader::new(limited))))
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Binary(reader) => reader.read(buf),
            Self::Armored(reader) => reader.read(buf).map_err(as_armor_error),
        }
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Binary(reader) => reader.fill_buf(),
            Self::Armored(reader) => reader.fill_buf().map_err(as_armor_error),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::Binary(reader) => reader.consume(amount),
            Self::Armored(reader) => reader.consume(amount),
        }
    }
}

fn as_armor_error(source: io::Error) -> io::Error {
    let already = source.get_ref().is_some_and(|inner| inner.is::<ArmorError>());
    match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof if !already => {
            io::Error::new(io::ErrorKind::InvalidData, ArmorError::Malformed { source })
        }
        _ => source,
    }
}

/// Ends in an error where no newline comes within [`LINE_LIMIT`] bytes.
pub(crate) struct LineLimit<R> {
    inner: R,
    column: usize,
}

impl<R: Read> Read for LineLimit<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        for byte in buf.iter().take(read) {
            self.column = if *byte == b'\n' { 0 } else { self.column + 1 };
            if self.column > LINE_LIMIT {
                let error = ArmorError::LineTooLong { limit: LINE_LIMIT };
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        Ok(read)
    }
}
