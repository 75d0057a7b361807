//! Opening, in two phases or through an identity.

use std::error::Error;
use std::io::{self, Chain, Cursor, Read, Write};
use std::path::Path;

use age::{DecryptError, Decryptor, Identity};
use warifu_split_key::hpke;
use zeroize::{Zeroize as _, Zeroizing};

use crate::armor::{ArmorError, Source};
use crate::file_key::FileKey;
use crate::header::{self, Header, HeaderError, Stanza};
use crate::whole::{Overwrite, WholeError, write_whole};

const CHUNK: usize = 64 * 1024;

/// Whoever can unwrap file keys: the agent, with a card and a site behind it.
pub trait Unwrap {
    /// Answers the file key of a file with these stanzas.
    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Result<FileKey, UnwrapError>;
}

/// Why no file key came back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnwrapError {
    /// No stanza is addressed to anyone this identity stands for.
    #[error("the file is not addressed to anyone here")]
    NoMatch,
    /// A stanza is, by its tag, and does not open.
    #[error("the file's key does not open")]
    DoesNotOpen(#[from] hpke::OpenError),
    /// The identity refused or could not ask: no card, no site, no right, and the like.
    #[error("the file's key could not be obtained")]
    Refused {
        /// The identity's own reason.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Why a file did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// There is no file key.
    #[error(transparent)]
    Unwrap(#[from] UnwrapError),
    /// The file key does not fit the header: it is another file's key, or the header was altered.
    #[error("the header was altered, or the key belongs to another file")]
    HeaderMac,
    /// The payload is truncated, extended or altered.
    #[error("the file's content is damaged or incomplete")]
    Payload(#[source] io::Error),
    /// The armor around the payload is damaged.
    #[error("the file's armor is damaged")]
    Armor(#[source] ArmorError),
    /// The input failed.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    /// The output failed.
    #[error("the opened file cannot be written")]
    Write(#[source] io::Error),
    /// The output file could not be made or put in place.
    #[error(transparent)]
    Whole(#[from] WholeError),
    /// The caller asked to stop, for example because the card was removed.
    #[error("opening was stopped")]
    Cancelled,
}

/// A file whose header has been read, and that waits for its key.
pub struct Sealed<R: Read> {
    header: Header,
    decryptor: Decryptor<Chain<Cursor<Vec<u8>>, Source<R>>>,
}

impl<R: Read> Sealed<R> {
    /// Reads the header, binary or armored, and keeps the reader for the payload.
    pub fn read(input: R) -> Result<Self, HeaderError> {
        let mut source = Source::detect(input).map_err(HeaderError::from_io)?;
        let (header, raw) = header::parse(&mut source)?;
        let decryptor =
            Decryptor::new_buffered(Cursor::new(raw).chain(source)).map_err(|error| match error {
                DecryptError::Io(error) => HeaderError::from_io(error),
                // The header passed the stricter parser; age has nothing left to refuse in it.
                _ => HeaderError::NotAge,
            })?;
        Ok(Self { header, decryptor })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The stanzas, in the file's order.
    pub fn stanzas(&self) -> &[Stanza] {
        self.header.stanzas()
    }

    /// Verifies the header's MAC under the key, decrypts into `output`, and returns the number of bytes written.
    ///
    /// Each chunk of 64 KiB is verified before it is written, but that the file is complete is known only at the end:
    /// on an error the output holds a true beginning and must be discarded. [`Sealed::open_to_path`] does so.
    /// `cancelled` is asked before each chunk, and after the last.
    pub fn open(
        self,
        key: FileKey,
        output: impl Write,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<u64, OpenError> {
        let opened = self.decrypt(key, output, cancelled);
        wipe_stack_below();
        opened
    }

    #[inline(never)]
    fn decrypt(
        self,
        key: FileKey,
        mut output: impl Write,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<u64, OpenError> {
        let known = Known(key);
        let identity: &dyn Identity = &known;
        let mut payload = self.decryptor.decrypt(std::iter::once(identity)).map_err(|error| match error {
            DecryptError::Io(error) => OpenError::from_payload(error),
            _ => OpenError::HeaderMac,
        })?;
        drop(known);

        let mut chunk = Zeroizing::new(vec![0; CHUNK]);
        let mut total = 0;
        loop {
            if cancelled() {
                return Err(OpenError::Cancelled);
            }
            let read = match payload.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(OpenError::from_payload(error)),
            };
            output.write_all(chunk.get(..read).unwrap_or_default()).map_err(OpenError::Write)?;
            total += read as u64;
        }
        output.flush().map_err(OpenError::Write)?;
        if cancelled() {
            return Err(OpenError::Cancelled);
        }
        Ok(total)
    }

    /// Like [`Sealed::open`], into a file that appears whole or not at all; see [`write_whole`].
    pub fn open_to_path(
        self,
        key: FileKey,
        path: &Path,
        overwrite: Overwrite,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<u64, OpenError> {
        write_whole(path, overwrite, |file| self.open(key, file, cancelled))
    }
}

/// Overwrites what calls before this one have left on the stack: ciphers keep pieces of the plaintext there.
#[inline(never)]
fn wipe_stack_below() {
    let mut below = [0_u8; 32 << 10];
    below.zeroize();
    std::hint::black_box(&below);
}

/// Opens one file through an identity; see [`Sealed::open`] for what `output` holds after an error.
pub fn open(
    input: impl Read,
    output: impl Write,
    identity: &dyn Unwrap,
    cancelled: &dyn Fn() -> bool,
) -> Result<u64, OpenError> {
    let sealed = Sealed::read(input)?;
    let key = identity.unwrap_stanzas(sealed.stanzas())?;
    sealed.open(key, output, cancelled)
}

/// Opens one file through an identity, into a file that appears whole or not at all.
pub fn open_to_path(
    input: impl Read,
    path: &Path,
    overwrite: Overwrite,
    identity: &dyn Unwrap,
    cancelled: &dyn Fn() -> bool,
) -> Result<u64, OpenError> {
    let sealed = Sealed::read(input)?;
    let key = identity.unwrap_stanzas(sealed.stanzas())?;
    sealed.open_to_path(key, path, overwrite, cancelled)
}

impl OpenError {
    fn from_payload(error: io::Error) -> Self {
        match ArmorError::from_io(error) {
            Ok(armor) => Self::Armor(armor),
            Err(error) => match error.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Payload(error),
                _ => Self::Read(error),
            },
        }
    }
}

/// Gives the `age` crate the key that is known already; it then checks the header's MAC with it.
struct Known(FileKey);

impl Identity for Known {
    fn unwrap_stanza(
        &self,
        _: &age_core::format::Stanza,
    ) -> Option<Result<age_core::format::FileKey, DecryptError>> {
        Some(Ok(self.0.to_age()))
    }
}
