//! Before there is a ledger: the ca's own statement, and its signature under the founding.

use std::path::{Path, PathBuf};

use sqlx::AnyPool;
use warifu_console::{ConsoleError, file, founding, token};
use warifu_crash_point::{CrashPoint, reached};
use warifu_hardware::hsm::HsmError;
use warifu_ledger::Digest;
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::key::PublicKey;
use warifu_ledger::leaf::{Leaf, LeafError};
use warifu_ledger::state::{Rejected, State};
use warifu_ledger::statement::ServiceKind;

use crate::keys::Keys;
use crate::vault::{Pin, VaultError, pin};

/// Why the ca does not sign a founding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FoundingError {
    /// The file is not a founding that all its officers signed, or not the one that a person confirms.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// The ledger would refuse it.
    #[error("the ledger would refuse the founding")]
    Rejected(#[from] Rejected),
    /// It does not fit into a leaf.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// It names another ca's keys.
    #[error("the founding names another ca: these are not the keys in this token")]
    OtherCa,
    /// This ca serves another organization already.
    #[error("this ca serves the organization {pinned} already")]
    FoundedAlready {
        /// The organization.
        pinned: Digest,
    },
    /// The HSM gave no signature.
    #[error("the HSM gave no signature")]
    Hsm(#[from] HsmError),
    /// The organization could not be pinned.
    #[error("the organization could not be pinned")]
    Vault(#[from] VaultError),
}

/// The ca's keys, signed by itself: what its console shows and a founding takes over. Its fingerprint is
/// [`Envelope::digest`].
///
/// # Errors
/// [`ConsoleError::Hsm`].
pub fn service_statement(keys: &Keys) -> Result<Envelope, ConsoleError> {
    token::statement(ServiceKind::Ca, keys.service_keys(), None, &keys.own.signing)
}

pub(crate) fn sign(keys: &Keys, envelope: &mut Envelope) -> Result<(), HsmError> {
    keys.own.sign(envelope)
}

/// A founding that its officers signed and that names this ca.
pub struct Proposal {
    path: PathBuf,
    proposal: founding::Proposal,
}

impl Proposal {
    /// Reads the file, and checks all that can be checked before the kms has signed.
    ///
    /// # Errors
    /// [`FoundingError`].
    pub fn read(path: &Path, keys: &Keys) -> Result<Self, FoundingError> {
        let proposal = founding::Proposal::read(path)?;
        if proposal.founding().ca != keys.service_keys() {
            return Err(FoundingError::OtherCa);
        }
        Ok(Self { path: path.to_owned(), proposal })
    }

    /// The organization's name, which people compare.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        self.proposal.fingerprint()
    }

    /// The proposal as a person means it: by its fingerprint, or, where none is given, by saying yes at the terminal.
    ///
    /// # Errors
    /// [`FoundingError::Console`].
    pub fn confirm(self, fingerprint: Option<Digest>) -> Result<Confirmed, FoundingError> {
        Ok(Confirmed { path: self.path, confirmed: self.proposal.confirm(fingerprint)? })
    }
}

/// A founding that a person at this console has confirmed; made by [`Proposal::confirm`] alone.
pub struct Confirmed {
    path: PathBuf,
    confirmed: founding::Confirmed,
}

impl Confirmed {
    /// Pins the organization, then adds the ca's signature in the file, which is replaced as a whole. Idempotent.
    ///
    /// # Errors
    /// [`FoundingError`].
    pub async fn accept(self, keys: &Keys, pool: &AnyPool) -> Result<Envelope, FoundingError> {
        let organization = self.confirmed.fingerprint();
        let kms = self.confirmed.founding().kms.clone();
        let mut envelope = self.confirmed.into_envelope();
        let own = PublicKey(keys.own.signing.public_key());
        if envelope.verify(&own).is_err() {
            envelope.signatures.retain(|signature| signature.keyid != own.key_id());
            sign(keys, &mut envelope)?;
        }
        // The kms may sign after us; whatever else the fold finds, it would find in entry 0.
        match State::found(&Leaf::new(0, envelope.clone())?) {
            Err(Rejected::Envelope(EnvelopeError::NotSigned { signer }))
                if signer == kms.signing.key_id() => {}
            checked => drop(checked?),
        }
        let pinned = pin(pool, Pin { organization, kms_tls: kms.tls.0 }).await?;
        if pinned.organization != organization {
            return Err(FoundingError::FoundedAlready { pinned: pinned.organization });
        }
        reached(CrashPoint::CaFoundingPinned).await;
        file::write_json(&self.path, &envelope)?;
        reached(CrashPoint::CaFoundingWritten).await;
        Ok(envelope)
    }
}
