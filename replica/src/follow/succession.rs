//! Who takes the place of a kms that was lost, and what the ca brings to it (protocol P-4.16, P-4.17).

use warifu_api::client::{Client, ClientError};
use warifu_api::wire::authority::{BroughtLeaves, Status};
use warifu_api::wire::{LEAVES_LIMIT, Leaves};
use warifu_ledger::key::Bytes;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;

use super::{Shared, Stopped};
use crate::replica::{Appended, ReplicaError};

/// How many bytes of leaves are brought at a time, but for one that is larger.
const ENOUGH_BYTES: usize = 1 << 20;

/// Why nobody was found to have taken the kms's place.
#[derive(Debug, thiserror::Error)]
enum SuccessionError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Replica(#[from] ReplicaError),
}

impl Shared {
    /// Somebody else answers where the kms did. If two officers have given the kms other keys, what is shown proves it.
    pub(super) async fn find_successor(&self, state: State) -> Stopped {
        match self.succession(state).await {
            Ok(appended) => match self.report(appended).await {
                Ok(()) => Stopped::Retry { progress: true },
                Err(stopped) => stopped,
            },
            // Nothing of it is the kms's word, so nothing of it is a reason to halt.
            Err(error) => {
                tracing::debug!(%error, "whoever answers in the place of the kms is not its successor");
                Stopped::Retry { progress: false }
            }
        }
    }

    async fn succession(&self, mut state: State) -> Result<Vec<Appended>, SuccessionError> {
        let client = Client::of_anybody(&*self.following.kms_address, Some(&self.following.identity))?;
        if self.following.brings_leaves {
            self.bring_leaves(&client).await?;
        }
        let from = state.tree().size();
        let mut leaves = Vec::new();
        loop {
            let part: Leaves = client.get(&format!("/v1/ledger?from={}", state.tree().size())).await?;
            if part.leaves.is_empty() {
                let appended = self.replica.append_succession(from, leaves, &part.checkpoint).await?;
                tracing::warn!(leaves = appended.len(), "two officers have given the kms other keys");
                return Ok(appended);
            }
            for bytes in part.leaves {
                let leaf = Leaf::from_bytes(bytes.0).map_err(ReplicaError::from)?;
                // At once: nobody fills this memory with leaves that are none.
                state = state.apply(&leaf).map_err(ReplicaError::from)?;
                leaves.push(leaf);
            }
        }
    }

    /// Gives whoever answers what it lacks of the ledger, which is no secret; the last time with nothing, which says that it
    /// has all. A kms that takes none is not one that waits for them.
    async fn bring_leaves(&self, client: &Client) -> Result<(), SuccessionError> {
        let limit = u32::try_from(LEAVES_LIMIT).unwrap_or(u32::MAX);
        let mut status: Status = client.get("/v1/status").await?;
        loop {
            let mut leaves = self.replica.leaves(status.size, limit).await?;
            let mut bytes = 0;
            let fitting = leaves.iter().take_while(|leaf| {
                bytes += leaf.len();
                bytes <= ENOUGH_BYTES || bytes == leaf.len()
            });
            let fitting = fitting.count();
            leaves.truncate(fitting);
            let last = leaves.is_empty();
            let brought =
                BroughtLeaves { from: status.size, leaves: leaves.into_iter().map(Bytes).collect() };
            match client.post("/v1/ledger", &brought).await {
                Ok(told) => status = told,
                Err(ClientError::Refused { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            if last {
                return Ok(());
            }
        }
    }
}
