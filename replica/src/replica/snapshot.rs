//! The folded state in a file beside the database, so that a restart does not fold all of the ledger again.
//!
//! Only one's own snapshot is trusted, and a file is nobody's word: whoever can write it could put a right into a state that no
//! officer gave. So each snapshot is signed with a key that never leaves the service's HSM and signs nothing else, and is not parsed
//! before that signature is found good. What it is of (organization, number of leaves, root) is in the bytes that are signed, and
//! must be of the leaves that are stored here. One that is not is passed over, and the leaves are folded from the founding: a
//! snapshot saves time and decides nothing. An older one is good, too: the leaves after it are folded as any.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use warifu_hardware::signer::{DigestSigner, SignerError};
use warifu_ledger::Digest;
use warifu_ledger::dsse::Signature;
use warifu_ledger::key::{Base64, PublicKey};
use warifu_ledger::state::{FORMAT, NotASnapshot, State};

use super::{Replica, index};

/// What the signature of a snapshot is over begins with this.
const DOMAIN: &[u8] = b"warifu/snapshot/v1";
/// The file: a signature of so many bytes, then the state.
const SIGNATURE: usize = 64;
/// While a service runs, it writes the next snapshot after so many leaves, or after this part of the ledger, whichever is more: what
/// is written is proportionate to what has come.
const EVERY: u64 = 10_000;
const PART: u64 = 16;
/// After so many leaves, one is written when the service stops: to fold fewer takes no time.
const AT_STOP: u64 = 1000;

/// Where a service keeps its snapshot, and with what it signs it.
#[derive(Clone)]
pub struct Snapshots {
    file: PathBuf,
    key: Arc<dyn DigestSigner>,
    every: u64,
    at_stop: u64,
}

impl Snapshots {
    /// Of a service that keeps them in the folder `data`. The key signs nothing else, and never leaves the service's HSM.
    #[must_use]
    pub fn new(data: &Path, key: Arc<dyn DigestSigner>) -> Self {
        Self { file: data.join("ledger.snapshot"), key, every: EVERY, at_stop: AT_STOP }
    }

    /// As often as this: after so many leaves while the service runs, and when it stops.
    #[must_use]
    pub fn after(self, every: u64, at_stop: u64) -> Self {
        Self { every, at_stop, ..self }
    }
}

/// Why a snapshot is passed over, or not written.
#[derive(Debug, thiserror::Error)]
enum SnapshotError {
    #[error("its file")]
    File(#[from] io::Error),
    #[error("the database failed")]
    Storage(#[from] sqlx::Error),
    #[error("it is not signed with this service's key, in this format")]
    NotSigned,
    #[error("the ledger in the database is not the one that it is of")]
    OtherLeaves,
    #[error(transparent)]
    Malformed(#[from] NotASnapshot),
    #[error("the HSM gave no signature")]
    Hsm(#[from] SignerError),
    #[error("the service is shutting down")]
    ShuttingDown,
}

impl Replica {
    /// Takes the state that is kept, if there is one to be trusted.
    pub(super) async fn recall(&self) {
        let Some(snapshots) = &self.0.snapshots else { return };
        match self.kept(snapshots).await {
            Ok(state) => {
                let leaves = state.tree().size();
                *self.0.kept.lock().await = leaves;
                tracing::info!(leaves, "going on from this service's own snapshot of the ledger");
                self.publish(state);
            }
            Err(SnapshotError::File(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(why) => {
                let why = &why as &dyn std::error::Error;
                tracing::warn!(why, "the snapshot of the ledger does not count: all of the ledger is folded");
            }
        }
    }

    async fn kept(&self, snapshots: &Snapshots) -> Result<State, SnapshotError> {
        let snapshots = snapshots.clone();
        let state = blocking(move || read(&snapshots)).await?;
        if self.0.pinned.is_some_and(|pinned| pinned != state.organization()) {
            return Err(SnapshotError::OtherLeaves);
        }
        // Founding and last leaf: between them, whoever gets a leaf compares it with a checkpoint.
        for place in [0, state.tree().size().saturating_sub(1)] {
            let leaf: Option<Vec<u8>> = sqlx::query_scalar("SELECT bytes FROM ledger_leaf WHERE idx = $1")
                .bind(index(place))
                .fetch_optional(self.pool())
                .await?;
            if !leaf.is_some_and(|leaf| state.tree().has(place, &leaf)) {
                return Err(SnapshotError::OtherLeaves);
            }
        }
        Ok(state)
    }

    /// Writes a snapshot in a task of its own, if enough leaves have come since the last one and none is being written.
    pub(super) fn keep_from_time_to_time(&self) {
        let Some(snapshots) = &self.0.snapshots else { return };
        let Ok(kept) = self.0.kept.clone().try_lock_owned() else { return };
        let size = self.size();
        if size.saturating_sub(*kept) >= snapshots.every.max(size / PART) {
            let (this, snapshots) = (self.clone(), snapshots.clone());
            tokio::spawn(async move { this.keep(snapshots, kept).await });
        }
    }

    /// Writes a snapshot of the ledger as it is, unless the last one is not much older: for a service that stops. If it cannot be
    /// written, the next start takes longer, and nothing else.
    pub async fn keep_snapshot(&self) {
        let Some(snapshots) = &self.0.snapshots else { return };
        let kept = self.0.kept.clone().lock_owned().await;
        if self.size().saturating_sub(*kept) >= snapshots.at_stop {
            self.keep(snapshots.clone(), kept).await;
        }
    }

    async fn keep(&self, snapshots: Snapshots, mut kept: OwnedMutexGuard<u64>) {
        let Some(state) = self.state() else { return };
        let size = state.tree().size();
        match blocking(move || write(&snapshots, &state)).await {
            Ok(()) => *kept = size,
            Err(why) => {
                let why = &why as &dyn std::error::Error;
                tracing::warn!(why, "no snapshot of the ledger was written");
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, SnapshotError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SnapshotError::ShuttingDown)?
}

/// SHA-256 over `"warifu/snapshot/v1" ‖ format (4, big-endian) ‖ SHA-256 of the state's bytes`.
fn signed(state: &[u8]) -> Digest {
    Digest::of(&[DOMAIN, &FORMAT.to_be_bytes(), Digest::of(state).as_bytes()].concat())
}

fn read(snapshots: &Snapshots) -> Result<State, SnapshotError> {
    let bytes = fs::read(&snapshots.file)?;
    let (sig, state) = bytes.split_first_chunk::<SIGNATURE>().ok_or(SnapshotError::NotSigned)?;
    let key = PublicKey(snapshots.key.public_key());
    let signature = Signature { keyid: key.key_id(), sig: Base64(*sig) };
    if !signature.verifies(&key, &signed(state)) {
        return Err(SnapshotError::NotSigned);
    }
    Ok(State::from_snapshot(state)?)
}

/// Beside the former one, then in its place: after a power cut, one of them is there whole.
fn write(snapshots: &Snapshots, state: &State) -> Result<(), SnapshotError> {
    let state = state.to_snapshot();
    let signature = snapshots.key.sign_digest(signed(&state).0)?;
    let (path, beside) = (&snapshots.file, snapshots.file.with_extension("new"));
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&signature)?;
    file.write_all(&state)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
    Ok(())
}
