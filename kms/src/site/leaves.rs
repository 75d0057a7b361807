//! What the site does with each leaf, in the order of the ledger and once for each, crashes or not.

use std::sync::Arc;
use std::time::Duration;

use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{Act, Fact, FactBody, Order};
use warifu_replica::ReplicaError;

use super::ending::calls_for_receipt;
use super::error::SiteError;
use super::service::Core;

/// Leaves read at a time.
const CHUNK: u32 = 256;
/// The pause after a failure of the HSM or the database.
const PAUSE: Duration = Duration::from_millis(500);

impl Core {
    /// Acts on every leaf that comes.
    pub(super) async fn act_on_leaves(self: Arc<Self>) {
        let mut size = self.replica.subscribe();
        loop {
            size.mark_unchanged();
            match self.act_on_new_leaves().await {
                Ok(()) => {
                    if size.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, source = ?std::error::Error::source(&error), "a leaf waits to be acted on");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Acts on what is in the ledger and was not acted on.
    pub(super) async fn act_on_new_leaves(&self) -> Result<(), SiteError> {
        let mut position = self.store.position().await?;
        loop {
            let stored = self.replica.leaves(position.leaves, CHUNK).await?;
            if stored.is_empty() {
                return Ok(());
            }
            for bytes in stored {
                let leaf = Leaf::from_bytes(bytes).map_err(ReplicaError::Leaf)?;
                let envelope = leaf.envelope();
                reached(CrashPoint::SiteLeafRead).await;
                if let Ok(order) = envelope.statement::<Order>() {
                    position.joined |= order.acts.iter().any(|act| self.lets_us_join(act));
                    // Before it joined, a site had nothing that could end.
                    if position.joined && order.acts.iter().any(calls_for_receipt) {
                        self.act_on(envelope.digest(), &order.acts, None).await?;
                    }
                    if order.acts.iter().any(|act| matches!(act, Act::UnitChanged { sites: Some(_), .. })) {
                        self.sweeping.notify_one();
                    }
                    self.want(order.acts.iter().filter_map(|act| match act {
                        Act::GrantOrdered { grant, .. } => Some(*grant),
                        _ => None,
                    }));
                } else if let Ok(Fact { fact: FactBody::GrantIssued { grant, .. }, .. }) =
                    envelope.statement()
                {
                    self.want([grant]);
                }
                position.leaves += 1;
                reached(CrashPoint::SiteLeafActedOn).await;
            }
            self.store.set_position(position).await?;
            reached(CrashPoint::SitePositionKept).await;
            self.acted.send_replace(position.leaves);
        }
    }

    fn lets_us_join(&self, act: &Act) -> bool {
        matches!(act, Act::SiteJoined { keys, .. } if self.are_ours(keys))
    }
}
