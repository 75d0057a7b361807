//! What the site does with each leaf, in the order of the ledger and once for each, crashes or not.

use std::sync::Arc;
use std::time::Duration;

use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::Id;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{Act, Fact, FactBody, Order, ServiceId};
use warifu_replica::ReplicaError;

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
                    position.joined |= order.acts.iter().any(|act| self.makes_us_a_site(act));
                    // Before it joined, a site had nothing that could end.
                    if position.joined && order.acts.iter().any(Act::calls_for_receipt) {
                        self.act_on(envelope.digest(), &order.acts, None).await?;
                    }
                    for act in &order.acts {
                        match act {
                            Act::GrantOrdered { grant, .. } => self.want([*grant]),
                            Act::UnitChanged { unit, sites: Some(_), .. } => {
                                self.sweeping.notify_one();
                                self.sites_changed(unit).await?;
                            }
                            // What other sites have signed before may be signed anew.
                            Act::KeyRotated { service: ServiceId::Site(_), .. } => self.others.notify_one(),
                            _ => {}
                        }
                    }
                } else if let Ok(Fact { fact: FactBody::GrantIssued { grant, .. }, .. }) =
                    envelope.statement()
                {
                    self.want([grant]);
                    // It may have been ordered before another site came, and issued without it.
                    self.others.notify_one();
                }
                position.leaves += 1;
                reached(CrashPoint::SiteLeafActedOn).await;
            }
            self.store.set_position(position).await?;
            reached(CrashPoint::SitePositionKept).await;
            self.acted.send_replace(position.leaves);
        }
    }

    /// Other sites serve this unit now: this one may lack its shares, or others may. The kms forgot what a site that was
    /// taken off had acknowledged; a site that never noticed says again what it has.
    async fn sites_changed(&self, unit: &Id) -> Result<(), SiteError> {
        if let Some(state) = self.replica.state() {
            let grants: Vec<Id> = state.grants_of_unit(*unit).map(|(grant, _)| grant).collect();
            self.store.acknowledge_again(&grants).await?;
            self.want(grants);
        }
        self.others.notify_one();
        Ok(())
    }
}
