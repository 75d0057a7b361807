//! Checkpoints: the ledger's tree head as a C2SP `tlog-checkpoint` in a `signed-note`, signed by the kms with Ed25519 and
//! cosigned by the ca as `tlog-cosignature` says: over the same text and the time at which it did so.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use signed_note::{Note, Signature, StandardVerifier, Verifier, VerifierList, key_id};
use tlog_tiles::Checkpoint as NoteCheckpoint;
use tlog_tiles::tlog::Hash;

use crate::Digest;
use crate::key::Base64;

/// `signed-note` signature type of Ed25519.
const ED25519: u8 = 0x01;
/// `signed-note` signature type of a timestamped Ed25519 cosignature.
const COSIGNATURE: u8 = 0x04;
/// The most signature lines of a note that is read: the kms, the ca, and room for witnesses. A note takes 100, and the
/// joined one has those of two.
const SIGNATURE_LIMIT: usize = 16;

/// A tree head: this many leaves have this root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of leaves.
    pub size: u64,
    /// RFC 6962 root.
    pub root: Digest,
}

/// Who signs a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// The kms: key name `warifu/<organization>`, which is also the log's origin.
    Kms,
    /// The ca, which cosigns: key name `warifu/<organization>/ca`.
    Ca,
}

/// Why a checkpoint note is not one to rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Not a signed note with a checkpoint in it.
    #[error("not a checkpoint")]
    Malformed,
    /// Of another log.
    #[error("a checkpoint of another organization")]
    OtherOrganization,
    /// The signature that had to be there is missing or wrong.
    #[error("the checkpoint is not signed by the {}", match .0 { Signer::Kms => "kms", Signer::Ca => "ca" })]
    NotSigned(Signer),
}

impl Signer {
    fn name(self, organization: &Digest) -> String {
        match self {
            Self::Kms => origin(organization),
            Self::Ca => format!("{}/ca", origin(organization)),
        }
    }
}

/// Whose notes are verified, with which key: made once for many notes.
pub(crate) struct LogKey {
    organization: Digest,
    signer: Signer,
    verifiers: Option<VerifierList>,
}

impl LogKey {
    pub(crate) fn new(organization: Digest, signer: Signer, key: &Base64<32>) -> Self {
        let name = signer.name(&organization);
        let known: Option<Box<dyn Verifier>> = match signer {
            Signer::Kms => verifier(&name, key).map(|verifier| Box::new(verifier) as _),
            Signer::Ca => Cosignatures::of(name, key).map(|verifier| Box::new(verifier) as _),
        };
        Self { organization, signer, verifiers: known.map(|known| VerifierList::new(vec![known])) }
    }

    /// As [`Checkpoint::verify`].
    pub(crate) fn verify(&self, note: &str) -> Result<Checkpoint, CheckpointError> {
        let parsed = Note::from_bytes(note.as_bytes()).map_err(|_| CheckpointError::Malformed)?;
        let verifiers = self.verifiers.as_ref().ok_or(CheckpointError::NotSigned(self.signer))?;
        parsed.verify(verifiers).map_err(|_| CheckpointError::NotSigned(self.signer))?;
        Checkpoint::read(note, &self.organization)
    }
}

fn origin(organization: &Digest) -> String {
    format!("warifu/{organization}")
}

fn typed_key(kind: u8, key: &Base64<32>) -> Vec<u8> {
    let mut typed = vec![kind];
    typed.extend_from_slice(&key.0);
    typed
}

fn verifier(name: &str, key: &Base64<32>) -> Option<StandardVerifier> {
    let typed = typed_key(ED25519, key);
    let vkey = format!("{name}+{:08x}+{}", key_id(name, &typed), STANDARD.encode(&typed));
    StandardVerifier::new(&vkey).ok()
}

/// What a cosignature of `text` at `time` (seconds since the Unix epoch) is over (`tlog-cosignature`).
fn cosigned(text: &[u8], time: u64) -> Vec<u8> {
    [format!("cosignature/v1\ntime {time}\n").as_bytes(), text].concat()
}

/// Verifies cosignatures: eight bytes of time, big-endian, then Ed25519.
struct Cosignatures {
    name: String,
    id: u32,
    key: StandardVerifier,
}

impl Cosignatures {
    fn of(name: String, key: &Base64<32>) -> Option<Self> {
        let id = key_id(&name, &typed_key(COSIGNATURE, key));
        let key = verifier(&name, key)?;
        Some(Self { name, id, key })
    }
}

impl Verifier for Cosignatures {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let Some((time, signature)) = signature.split_first_chunk() else { return false };
        self.key.verify(&cosigned(text, u64::from_be_bytes(*time)), signature)
    }
}

/// Whether these bytes are an Ed25519 public key: with another, no checkpoint could ever be verified.
pub(crate) fn is_log_key(key: &Base64<32>) -> bool {
    verifier("warifu", key).is_some()
}

impl Checkpoint {
    /// The note text that is signed, ending in a newline.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] never for a well-formed organization digest; the library's interface is fallible.
    pub fn text(&self, organization: &Digest) -> Result<Vec<u8>, CheckpointError> {
        NoteCheckpoint::new(&origin(organization), self.size, Hash(self.root.0), "")
            .map(|c| c.to_bytes())
            .map_err(|_| CheckpointError::Malformed)
    }

    /// What the ca signs at `time` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] as for [`Checkpoint::text`].
    pub fn cosigned_text(&self, organization: &Digest, time: u64) -> Result<Vec<u8>, CheckpointError> {
        Ok(cosigned(&self.text(organization)?, time))
    }

    /// The kms's signed note of this checkpoint; `signature` is Ed25519 over [`Checkpoint::text`].
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] as for [`Checkpoint::text`].
    pub fn note(
        &self,
        organization: &Digest,
        key: &Base64<32>,
        signature: [u8; 64],
    ) -> Result<String, CheckpointError> {
        self.note_by(organization, Signer::Kms, &typed_key(ED25519, key), signature.to_vec())
    }

    /// The ca's note of this checkpoint, cosigned at `time`; `signature` is Ed25519 over [`Checkpoint::cosigned_text`].
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] as for [`Checkpoint::text`].
    pub fn cosigned_note(
        &self,
        organization: &Digest,
        key: &Base64<32>,
        time: u64,
        signature: [u8; 64],
    ) -> Result<String, CheckpointError> {
        let timed = [time.to_be_bytes().as_slice(), &signature].concat();
        self.note_by(organization, Signer::Ca, &typed_key(COSIGNATURE, key), timed)
    }

    fn note_by(
        &self,
        organization: &Digest,
        signer: Signer,
        key: &[u8],
        signature: Vec<u8>,
    ) -> Result<String, CheckpointError> {
        let name = signer.name(organization);
        let id = key_id(&name, key);
        let signature = Signature::new(name, id, signature).map_err(|_| CheckpointError::Malformed)?;
        let note =
            Note::new(&self.text(organization)?, &[signature]).map_err(|_| CheckpointError::Malformed)?;
        String::from_utf8(note.to_bytes()).map_err(|_| CheckpointError::Malformed)
    }

    /// Reads a note and checks that `signer` signed it with `key` for this organization.
    ///
    /// Its text is exactly [`Checkpoint::text`]: extension lines, which the format allows, could keep the notes of kms and
    /// ca from being joined, as could very many signatures.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn verify(
        note: &str,
        organization: &Digest,
        signer: Signer,
        key: &Base64<32>,
    ) -> Result<Self, CheckpointError> {
        LogKey::new(*organization, signer, key).verify(note)
    }

    /// What a note says whose signatures somebody has verified: that of an order which the fold has taken.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`], [`CheckpointError::OtherOrganization`].
    pub fn read(note: &str, organization: &Digest) -> Result<Self, CheckpointError> {
        let parsed = Note::from_bytes(note.as_bytes()).map_err(|_| CheckpointError::Malformed)?;
        let checkpoint = NoteCheckpoint::from_bytes(parsed.text()).map_err(|_| CheckpointError::Malformed)?;
        if checkpoint.origin() != origin(organization) {
            return Err(CheckpointError::OtherOrganization);
        }
        let read = Self { size: checkpoint.size(), root: Digest(checkpoint.hash().0) };
        let signatures = note.rsplit_once("\n\n").map_or(0, |(_, signatures)| signatures.lines().count());
        if read.text(organization)? != parsed.text() || signatures > SIGNATURE_LIMIT {
            return Err(CheckpointError::Malformed);
        }
        Ok(read)
    }

    /// Joins the signatures of two notes over the same text (the kms's and the ca's) into one note.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] if the texts differ or either is no note.
    pub fn join(note: &str, cosigned: &str) -> Result<String, CheckpointError> {
        for part in [note, cosigned] {
            Note::from_bytes(part.as_bytes()).map_err(|_| CheckpointError::Malformed)?;
        }
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(CheckpointError::Malformed)?;
        let (other_text, other) = cosigned.rsplit_once("\n\n").ok_or(CheckpointError::Malformed)?;
        if text != other_text {
            return Err(CheckpointError::Malformed);
        }
        let joined = format!("{text}\n\n{signatures}{other}");
        Note::from_bytes(joined.as_bytes()).map_err(|_| CheckpointError::Malformed)?;
        Ok(joined)
    }
}
