//! Cosignatures: the ca's word that it has folded a checkpoint, and that history was not rewritten (invariant I5).

use std::sync::Arc;

use warifu_api::client::{Client, ClientError};
use warifu_api::wire::Done;
use warifu_api::wire::authority::{CheckpointAnswer, Cosignature};
use warifu_crash_point::{CrashPoint, Guard, reached, stands};
use warifu_hardware::hsm::HsmError;
use warifu_ledger::checkpoint::{Checkpoint, CheckpointError, Signer};
use warifu_ledger::key::Base64;
use warifu_replica::follow::{Follower, Halt};

use crate::keys::Keys;
use crate::vault::{Vault, VaultError, blocking};

/// Why a checkpoint was not cosigned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CosignError {
    /// The kms did not answer.
    #[error("the kms did not do its part")]
    Kms(#[from] ClientError),
    /// It is no checkpoint of the kms.
    #[error("what the kms shows is no checkpoint of its own")]
    Checkpoint(#[from] CheckpointError),
    /// It is smaller than what the ca cosigned before: the kms has lost leaves, or hides them.
    #[error("the kms shows {size} leaves; {cosigned} were cosigned before")]
    Shrunk {
        /// Leaves in the checkpoint.
        size: u64,
        /// Leaves in the one cosigned before.
        cosigned: u64,
    },
    /// It contradicts the ca's fold, or that contradicts what the ca cosigned before: everything halts.
    #[error("FORK: two different ledgers of {size} leaves")]
    Fork {
        /// The size at which they differ.
        size: u64,
    },
    /// The follower has halted.
    #[error("the ca has halted")]
    Halted,
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The HSM gave no signature.
    #[error("the HSM gave no signature")]
    Hsm(#[from] HsmError),
}

/// What became of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cosigned {
    /// The kms has the ca's signature over this many leaves.
    Up(u64),
    /// The ca has not folded it yet.
    NotFolded,
}

/// Cosigns what the kms shows, if it is consistent with all that the ca folded and cosigned before (protocol P-4.2).
#[derive(Clone)]
pub struct Cosigner {
    follower: Arc<Follower>,
    keys: Arc<Keys>,
    vault: Vault,
}

impl Cosigner {
    /// Cosigns what `follower` has folded.
    #[must_use]
    pub fn new(follower: Arc<Follower>, keys: Arc<Keys>, vault: Vault) -> Self {
        Self { follower, keys, vault }
    }

    /// One checkpoint.
    ///
    /// # Errors
    /// [`CosignError`]; a fork halts the follower as well.
    pub async fn cosign(&self, kms: &Client) -> Result<Cosigned, CosignError> {
        let answer: CheckpointAnswer = kms.get("/v1/checkpoint").await?;
        if self.follower.status().borrow().halted.is_some() {
            return Err(CosignError::Halted);
        }
        let Some(state) = self.follower.replica().state() else { return Ok(Cosigned::NotFolded) };
        // A restored ca says nothing before its ledger says that it is the ca (P-4.16).
        if *state.ca() != self.keys.service_keys() {
            return Ok(Cosigned::NotFolded);
        }
        let organization = state.organization();
        let kms_log = state.kms().log.ok_or(CheckpointError::NotSigned(Signer::Kms))?;
        let checkpoint = Checkpoint::verify(&answer.note, &organization, Signer::Kms, &kms_log)?;
        if checkpoint.size > state.tree().size() {
            return Ok(Cosigned::NotFolded);
        }
        if state.check_against(&checkpoint).is_err() && stands(Guard::CosignedIsFolded) {
            return Err(self.fork(checkpoint.size).await);
        }
        if let Some(before) = self.vault.cosigned().await? {
            if checkpoint.size < before.size {
                return Err(CosignError::Shrunk { size: checkpoint.size, cosigned: before.size });
            }
            if state.check_against(&before).is_err() {
                return Err(self.fork(before.size).await);
            }
            if before.size == checkpoint.size && answer.cosigned_size >= checkpoint.size {
                return Ok(Cosigned::Up(checkpoint.size));
            }
        }
        // Durable first: what was signed is never forgotten.
        self.vault.remember_cosigned(&checkpoint).await?;
        reached(CrashPoint::CaCosignedRemembered).await;
        // By the kms's stamps, and never before the last leaf: no wall clock counts.
        let time = self.follower.site_time().unwrap_or_else(|| state.last_at()) / 1000;
        let keys = self.keys.clone();
        let note = blocking(move || {
            let signature = keys.log.sign(&checkpoint.cosigned_text(&organization, time)?)?;
            let key = Base64(keys.log.public());
            Ok::<_, CosignError>(checkpoint.cosigned_note(&organization, &key, time, signature)?)
        })
        .await?;
        let Done {} = kms.post("/v1/cosignatures", &Cosignature { note }).await?;
        reached(CrashPoint::CaCosignedPosted).await;
        Ok(Cosigned::Up(checkpoint.size))
    }

    async fn fork(&self, size: u64) -> CosignError {
        self.follower.halt(Halt::Fork { size }).await;
        CosignError::Fork { size }
    }
}
