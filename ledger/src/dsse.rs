//! DSSE envelopes (Dead Simple Signing Envelope, v1): one payload, one or more ES256 signatures.
//!
//! What is signed is the payload's exact bytes, so no canonical JSON is needed. Everything that refers to a statement
//! refers to [`Envelope::digest`], which leaves the signatures out: a second signature, or the other `s` of an ECDSA
//! signature, does not make a second statement.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::key::{Base64, Bytes, PublicKey};
use crate::{Digest, statement::Statement};

/// The largest payload read, in bytes. A batch of some thousand acts fits.
pub const PAYLOAD_LIMIT: usize = 4 << 20;
/// The most signatures one envelope may carry.
pub const SIGNATURE_LIMIT: usize = 16;
/// How much of a parser's complaint is kept, in characters: it quotes what it was given.
const COMPLAINT_LIMIT: usize = 200;

/// What a JSON parser said, cut short: an unknown field's name may be as long as the whole input.
pub(crate) fn complaint(error: &serde_json::Error) -> String {
    error.to_string().chars().take(COMPLAINT_LIMIT).collect()
}

/// A payload with its signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Media type of the payload, one per kind of statement.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The statement, JSON, in UTF-8.
    pub payload: Bytes,
    /// The signatures over [`Envelope::digest`].
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// [`PublicKey::key_id`] of the signer (P-2.2).
    pub keyid: Digest,
    /// ES256: `r ‖ s`, 64 bytes, over the pre-authentication encoding.
    pub sig: Base64<64>,
}

/// Why an envelope cannot be read or trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It carries another kind of statement (P-2.3).
    #[error("payload type {found:?} where {expected:?} is needed")]
    WrongType {
        /// The type in the envelope.
        found: String,
        /// The type that was asked for.
        expected: &'static str,
    },
    /// It is larger than [`PAYLOAD_LIMIT`] or carries more than [`SIGNATURE_LIMIT`] signatures.
    #[error("the envelope is too large")]
    TooLarge,
    /// The payload is not the JSON of such a statement.
    #[error("the payload does not parse: {why}")]
    Malformed {
        /// What the parser said, with line and column.
        why: String,
    },
    /// The key that had to sign it did not, or its signature does not verify.
    #[error("no valid signature by {signer}")]
    NotSigned {
        /// The key that was expected to have signed.
        signer: Digest,
    },
}

impl Envelope {
    /// Writes a statement as an envelope without signatures.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`] if the statement has no JSON form.
    pub fn unsigned<S: Statement>(statement: &S) -> Result<Self, EnvelopeError> {
        let payload =
            serde_json::to_vec(statement).map_err(|e| EnvelopeError::Malformed { why: complaint(&e) })?;
        Ok(Self { payload_type: S::PAYLOAD_TYPE.to_owned(), payload: Bytes(payload), signatures: Vec::new() })
    }

    /// SHA-256 over the DSSE pre-authentication encoding: what is signed, and the name of the statement (P-2.1).
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut pae =
            format!("DSSEv1 {} {} {} ", self.payload_type.len(), self.payload_type, self.payload.0.len())
                .into_bytes();
        pae.extend_from_slice(&self.payload.0);
        Digest::of(&pae)
    }

    /// Adds a signature over [`Envelope::digest`] made elsewhere (a card, an HSM).
    pub fn add_signature(&mut self, signer: &PublicKey, sig: [u8; 64]) {
        self.signatures.push(Signature { keyid: signer.key_id(), sig: Base64(sig) });
    }

    /// Parses the payload, without looking at the signatures.
    ///
    /// # Errors
    /// [`EnvelopeError`] for another type, an oversized envelope, or JSON of another shape.
    pub fn statement<S: Statement + DeserializeOwned>(&self) -> Result<S, EnvelopeError> {
        if self.payload_type != S::PAYLOAD_TYPE {
            return Err(self.is_not_of(S::PAYLOAD_TYPE));
        }
        self.check_size()?;
        serde_json::from_slice(&self.payload.0).map_err(|e| EnvelopeError::Malformed { why: complaint(&e) })
    }

    pub(crate) fn is_not_of(&self, expected: &'static str) -> EnvelopeError {
        EnvelopeError::WrongType { found: self.payload_type.chars().take(80).collect(), expected }
    }

    /// Before anything is hashed, parsed or verified: whoever sends an envelope need not have signed it.
    pub(crate) fn check_size(&self) -> Result<(), EnvelopeError> {
        if self.payload.0.len() > PAYLOAD_LIMIT || self.signatures.len() > SIGNATURE_LIMIT {
            return Err(EnvelopeError::TooLarge);
        }
        Ok(())
    }

    /// Whether `signer` signed this payload.
    ///
    /// # Errors
    /// [`EnvelopeError::NotSigned`]; [`EnvelopeError::TooLarge`] before any signature is looked at.
    pub fn verify(&self, signer: &PublicKey) -> Result<(), EnvelopeError> {
        self.check_size()?;
        let digest = self.digest();
        let keyid = signer.key_id();
        let signed = self.signatures.iter().filter(|s| s.keyid == keyid).any(|s| s.verifies(signer, &digest));
        if signed { Ok(()) } else { Err(EnvelopeError::NotSigned { signer: keyid }) }
    }

    /// Parses the payload and checks that `signer` signed it.
    ///
    /// # Errors
    /// As [`Envelope::statement`] and [`Envelope::verify`].
    pub fn verified<S: Statement + DeserializeOwned>(&self, signer: &PublicKey) -> Result<S, EnvelopeError> {
        let statement = self.statement()?;
        self.verify(signer)?;
        Ok(statement)
    }
}

impl Signature {
    /// Whether this is `signer`'s ES256 signature over the digest.
    #[must_use]
    pub fn verifies(&self, signer: &PublicKey, digest: &Digest) -> bool {
        // "Less safe" where somebody else says what the digest is of: whoever asks has computed it.
        let digest = digest::Digest::import_less_safe(digest.as_bytes(), &digest::SHA256);
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, signer.0.to_uncompressed());
        digest.is_ok_and(|digest| key.verify_digest(&digest, &self.sig.0).is_ok())
    }
}
