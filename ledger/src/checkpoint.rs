//! Checkpoints: the ledger's tree head as a C2SP `tlog-checkpoint` in a `signed-note`, signed by the kms with Ed25519 and
//! cosigned by the ca over the same text.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use signed_note::{Note, Signature, StandardVerifier, VerifierList, key_id};
use tlog_tiles::Checkpoint as NoteCheckpoint;
use tlog_tiles::tlog::Hash;

use crate::Digest;
use crate::key::Base64;

/// `signed-note` signature type of Ed25519.
const ED25519: u8 = 1;
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
    /// The ca: key name `warifu/<organization>/ca`.
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

fn origin(organization: &Digest) -> String {
    format!("warifu/{organization}")
}

fn typed_key(key: &Base64<32>) -> Vec<u8> {
    let mut typed = vec![ED25519];
    typed.extend_from_slice(&key.0);
    typed
}

fn verifier(name: &str, key: &Base64<32>) -> Option<StandardVerifier> {
    let typed = typed_key(key);
    let vkey = format!("{name}+{:08x}+{}", key_id(name, &typed), STANDARD.encode(&typed));
    StandardVerifier::new(&vkey).ok()
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

    /// The signed note of this checkpoint; `signature` is Ed25519 over [`Checkpoint::text`].
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] as for [`Checkpoint::text`].
    pub fn note(
        &self,
        organization: &Digest,
        signer: Signer,
        key: &Base64<32>,
        signature: [u8; 64],
    ) -> Result<String, CheckpointError> {
        let name = signer.name(organization);
        let id = key_id(&name, &typed_key(key));
        let signature =
            Signature::new(name, id, signature.to_vec()).map_err(|_| CheckpointError::Malformed)?;
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
        let parsed = Note::from_bytes(note.as_bytes()).map_err(|_| CheckpointError::Malformed)?;
        let verifier = verifier(&signer.name(organization), key).ok_or(CheckpointError::NotSigned(signer))?;
        parsed
            .verify(&VerifierList::new(vec![Box::new(verifier)]))
            .map_err(|_| CheckpointError::NotSigned(signer))?;
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
