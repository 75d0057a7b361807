//! The file: who made it and who opens it, then an age file.
//!
//! ```text
//! {"payloadType":"application/vnd.warifu.backup.v1+json", …}   the signed manifest, one line
//! age-encryption.org/v1 …                                      to the end: for the key whose pieces the manifest has
//!     count (4, big-endian) ‖ count × (unit (16) ‖ half (32)) ‖ the database as SQLite wrote it
//! ```

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read, Write};

use age::stream::{StreamReader, StreamWriter};
use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::key::PublicKey;
use warifu_ledger::state::CUSTODIANS_LIMIT;
use warifu_ledger::statement::{Backup, BackupPiece, HalfHolder, Millis};
use warifu_ledger::{Digest, Id};
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use crate::HalfBytes;
use crate::pieces::{BackupKey, PieceError, Place};

/// The longest manifest, in bytes: sixteen pieces, and more than twice their room.
const MANIFEST_LIMIT: u64 = 64 * 1024;
/// How much of the database is in memory at once.
const CHUNK: usize = 64 * 1024;

/// Why there is no backup, or what is read is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The file, or what goes into it, cannot be read or written.
    #[error("the backup cannot be read or written")]
    Io(#[from] io::Error),
    /// The first line is no manifest.
    #[error("this is no backup")]
    NoManifest,
    /// The manifest is not what it should be, or not signed by the service.
    #[error("the manifest does not count")]
    Manifest(#[from] EnvelopeError),
    /// The manifest contradicts itself.
    #[error("the manifest makes no sense: {why}")]
    Senseless {
        /// What does not fit.
        why: &'static str,
    },
    /// A piece is not what it should be.
    #[error(transparent)]
    Piece(#[from] PieceError),
    /// No age file could be begun.
    #[error("the backup cannot be sealed")]
    Seal(#[from] EncryptError),
    /// The age file does not open with this key, or is damaged.
    #[error("the backup does not open with this key, or is damaged")]
    Open(#[from] DecryptError),
    /// What the pieces make together is no key.
    #[error("these pieces are no key")]
    NoKey,
    /// A request is about another backup.
    #[error("the request is about another backup")]
    OtherBackup,
    /// The pieces are for another request.
    #[error("these pieces were sealed for another request")]
    OtherRequest,
    /// Fewer custodians than have to come together.
    #[error("{have} of {needed} custodians have given their piece")]
    TooFew {
        /// How many have.
        have: usize,
        /// How many have to.
        needed: u8,
    },
    /// A card that has no piece of this backup.
    #[error("card {card} has no piece of this backup")]
    NoCustodian {
        /// The card.
        card: Id,
    },
}

/// What a backup is to be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The organization.
    pub organization: Digest,
    /// The service.
    pub service: HalfHolder,
    /// When, by the service's clock.
    pub at: Millis,
    /// Leaves of the ledger in its database.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// How many custodians open it together.
    pub threshold: u8,
    /// The custodians' cards, with their transport keys (9D).
    pub custodians: Vec<(Id, Point)>,
    /// Units with a key whose half is not there.
    pub missing: BTreeSet<Id>,
}

/// Draws the key of a backup and splits it among the custodians: the unsigned manifest with the key.
///
/// # Errors
/// [`BackupError::Piece`].
pub fn begin(subject: &Subject, rng: &mut impl CryptoRng) -> Result<(Backup, BackupKey), BackupError> {
    let key = BackupKey::draw(rng);
    let id = Id::draw(rng);
    let split = key.split(subject.threshold, subject.custodians.len(), rng)?;
    let Subject { organization, service, at, size, root, threshold, .. } = *subject;
    let pieces = subject.custodians.iter().zip(&split).map(|(&(card, transport), piece)| {
        let place = Place { organization, service, backup: id, card };
        piece.for_custodian(&place, transport, rng)
    });
    let pieces = pieces.collect::<Result<_, _>>()?;
    let missing = subject.missing.clone();
    Ok((Backup { organization, service, id, at, size, root, threshold, pieces, missing }, key))
}

/// A signed manifest that makes sense. Whose signature it is has to be asked with [`Manifest::check_signature`].
#[derive(Debug, Clone)]
pub struct Manifest {
    envelope: Envelope,
    backup: Backup,
}

impl TryFrom<Envelope> for Manifest {
    type Error = BackupError;

    fn try_from(envelope: Envelope) -> Result<Self, BackupError> {
        let backup: Backup = envelope.statement()?;
        let senseless = |why| Err(BackupError::Senseless { why });
        if backup.threshold < 2 || usize::from(backup.threshold) > backup.pieces.len() {
            return senseless("its threshold");
        }
        if backup.pieces.len() > CUSTODIANS_LIMIT {
            return senseless("more pieces than a service has custodians");
        }
        let cards: BTreeSet<Id> = backup.pieces.iter().map(|piece| piece.card).collect();
        if cards.len() != backup.pieces.len() {
            return senseless("two pieces for one card");
        }
        Ok(Self { envelope, backup })
    }
}

impl Manifest {
    /// Reads the first line of a backup, and leaves `input` where the age file begins.
    ///
    /// # Errors
    /// [`BackupError::NoManifest`], [`BackupError::Manifest`], [`BackupError::Senseless`].
    pub fn read(input: &mut impl BufRead) -> Result<Self, BackupError> {
        let mut line = Vec::new();
        input.take(MANIFEST_LIMIT).read_until(b'\n', &mut line)?;
        let json = line.strip_suffix(b"\n").ok_or(BackupError::NoManifest)?;
        let envelope: Envelope = serde_json::from_slice(json).map_err(|_| BackupError::NoManifest)?;
        envelope.try_into()
    }

    /// What it says.
    #[must_use]
    pub fn backup(&self) -> &Backup {
        &self.backup
    }

    /// With its signature.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// What people compare.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        self.envelope.digest()
    }

    /// Whether the service that it names signed it, whose keys these are.
    ///
    /// # Errors
    /// [`BackupError::Manifest`].
    pub fn check_signature(&self, signer: &PublicKey) -> Result<(), BackupError> {
        Ok(self.envelope.verify(signer)?)
    }

    /// The piece of this card, with its place; none if its holder is no custodian.
    #[must_use]
    pub fn piece(&self, card: &Id) -> Option<(Place, &BackupPiece)> {
        let piece = self.backup.pieces.iter().find(|piece| piece.card == *card)?;
        let Backup { organization, service, id, .. } = self.backup;
        Some((Place { organization, service, backup: id, card: *card }, piece))
    }
}

/// Writes a backup: all halves, then the database.
pub struct Writer<W: Write> {
    sealed: StreamWriter<W>,
    content: Sha256,
    halves_left: u32,
}

impl<W: Write> Writer<W> {
    /// Writes the manifest, and begins the age file for so many halves.
    ///
    /// # Errors
    /// [`BackupError::Io`], [`BackupError::Seal`], [`BackupError::NoManifest`] if it has no JSON form.
    pub fn new(
        mut output: W,
        manifest: &Envelope,
        key: &BackupKey,
        halves: u32,
    ) -> Result<Self, BackupError> {
        let mut line = serde_json::to_vec(manifest).map_err(|_| BackupError::NoManifest)?;
        line.push(b'\n');
        output.write_all(&line)?;
        let recipient = key.identity().ok_or(BackupError::NoKey)?.to_public();
        let recipient: &dyn age::Recipient = &recipient;
        let sealed = Encryptor::with_recipients(std::iter::once(recipient))?.wrap_output(output)?;
        let mut writer = Self { sealed, content: Sha256::new(), halves_left: halves };
        writer.write(&halves.to_be_bytes())?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.content.update(bytes);
        Ok(self.sealed.write_all(bytes)?)
    }

    /// Adds the half of a unit.
    ///
    /// # Errors
    /// [`BackupError::Io`]; [`BackupError::Senseless`] if it is one more than was said.
    pub fn half(&mut self, unit: &Id, half: &HalfBytes) -> Result<(), BackupError> {
        let left = self.halves_left.checked_sub(1);
        self.halves_left = left.ok_or(BackupError::Senseless { why: "more halves than were said" })?;
        self.write(unit.as_bytes())?;
        self.write(half.as_slice())
    }

    /// Adds the database and ends the file; the digest of the content. `progress` is told of every chunk's length.
    ///
    /// # Errors
    /// [`BackupError::Io`]; [`BackupError::Senseless`] if halves are missing.
    pub fn database(
        mut self,
        mut database: impl Read,
        mut progress: impl FnMut(usize),
    ) -> Result<Digest, BackupError> {
        if self.halves_left > 0 {
            return Err(BackupError::Senseless { why: "fewer halves than were said" });
        }
        let mut chunk = vec![0; CHUNK];
        while let Some(read) = some_of(&mut database, &mut chunk)? {
            self.write(read)?;
            progress(read.len());
        }
        self.sealed.finish()?.flush()?;
        Ok(Digest(self.content.finalize().into()))
    }
}

/// The next bytes, or none at the end.
fn some_of<'a>(input: &mut impl Read, chunk: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    let length = input.read(chunk)?;
    Ok(chunk.get(..length).filter(|read| !read.is_empty()))
}

/// What is in a backup, as it is read: all halves, then the database.
pub struct Content<R> {
    input: R,
    digest: Sha256,
    halves_left: u32,
}

/// Opens the age file of a backup, whose manifest has been read already.
///
/// # Errors
/// [`BackupError::Open`] if this is not its key, [`BackupError::Io`].
pub fn open<R: BufRead>(input: R, key: &BackupKey) -> Result<Content<StreamReader<R>>, BackupError> {
    let identity = key.identity().ok_or(BackupError::NoKey)?;
    let identity: &dyn age::Identity = &identity;
    Content::begin(Decryptor::new_buffered(input)?.decrypt(std::iter::once(identity))?)
}

impl<R: Read> Content<R> {
    /// Begins to read what the age file holds.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn begin(input: R) -> Result<Self, BackupError> {
        let mut content = Self { input, digest: Sha256::new(), halves_left: 0 };
        content.halves_left = u32::from_be_bytes(content.exactly()?);
        Ok(content)
    }

    fn exactly<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.digest.update(bytes);
        Ok(bytes)
    }

    /// The next half, with its unit; none once all have come.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn next_half(&mut self) -> Result<Option<(Id, HalfBytes)>, BackupError> {
        let Some(left) = self.halves_left.checked_sub(1) else { return Ok(None) };
        self.halves_left = left;
        let unit = Id(self.exactly()?);
        let mut half = Zeroizing::new([0; 32]);
        self.input.read_exact(half.as_mut_slice())?;
        self.digest.update(half.as_slice());
        Ok(Some((unit, half)))
    }

    /// Copies the database, and passes over halves that were not asked for; the digest of the content. `progress` is told of
    /// every chunk's length.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn database(
        mut self,
        mut output: impl Write,
        mut progress: impl FnMut(usize),
    ) -> Result<Digest, BackupError> {
        while self.next_half()?.is_some() {}
        let mut chunk = vec![0; CHUNK];
        while let Some(read) = some_of(&mut self.input, &mut chunk)? {
            self.digest.update(read);
            output.write_all(read)?;
            progress(read.len());
        }
        Ok(Digest(self.digest.finalize().into()))
    }
}
