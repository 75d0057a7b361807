//! Asking for stamps, which start the lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use warifu_api::client::Client;
use warifu_api::wire::authority::StampRequest;
use warifu_crash_point::{Guard, stands};
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::LONGEST_LEASE_MS;

use super::{FIRST_PAUSE, Halt, LONGEST_PAUSE, Shared, Stopped, stopped_by};
use crate::lease::{Lease, StampError};

/// The longest time between two stamps, however long the lease is: what a dead connection costs at most.
const LONGEST_STAMP_INTERVAL: Duration = Duration::from_secs(30);
/// How long a leaf that a stamp speaks of may take on the stream before the stream is opened anew.
const LEAF_PATIENCE: Duration = Duration::from_secs(2);

impl Shared {
    pub(super) async fn ask_for_stamps(self: Arc<Self>, client: Client) {
        let mut size = self.replica.subscribe();
        // A stamp can be verified once the founding has named the kms's keys.
        if size.wait_for(|&size| size > 0).await.is_err() {
            return;
        }
        let mut pause = FIRST_PAUSE;
        let mut failed = false;
        while !self.is_halted() {
            let lease_ms = self.adopt_policy();
            let interval = Duration::from_millis(lease_ms / 4).min(LONGEST_STAMP_INTERVAL);
            let outcome = tokio::select! {
                () = self.halted() => return,
                outcome = self.ask_once(&client, interval.max(Duration::from_secs(1))) => outcome,
            };
            match outcome {
                Ok(stamped) => {
                    if std::mem::replace(&mut failed, false) {
                        // What cut this connection may have left the stream open and dead.
                        self.reopen.notify_one();
                    }
                    pause = FIRST_PAUSE;
                    self.wait_for_leaves(&mut size, stamped, interval).await;
                    tokio::select! {
                        () = tokio::time::sleep(interval) => {}
                        () = self.stamp_now.notified() => {}
                    }
                }
                Err(Stopped::Halt(why)) => return self.halt(why).await,
                Err(Stopped::Retry { .. }) => {
                    failed = true;
                    tokio::select! {
                        () = tokio::time::sleep(pause.min(interval)) => {}
                        () = self.stamp_now.notified() => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// The lease is as long as the policy says now, in milliseconds.
    pub(super) fn adopt_policy(&self) -> u64 {
        let policy = self.replica.state().map_or(LONGEST_LEASE_MS, |state| state.policy().lease_ms);
        let mut lease = self.lease();
        lease.set_lease_ms(policy.min(self.following.longest_lease_ms));
        lease.lease_ms()
    }

    /// One nonce, one answer; the size of the ledger that it speaks of.
    pub(super) async fn ask_once(&self, client: &Client, timeout: Duration) -> Result<u64, Stopped> {
        let retry = || Stopped::Retry { progress: false };
        if let Some(state) = self.replica.state() {
            self.go_by(&state, &mut self.lease());
        }
        let mut nonce = Digest([0; 32]);
        getrandom::fill(&mut nonce.0).map_err(|error| {
            tracing::error!(%error, "the operating system gives no randomness");
            retry()
        })?;
        self.lease().nonce_sent(nonce, self.following.clock.boot_ms());
        let client = client.clone().with_timeout(timeout);
        let stamp: Envelope = client.post("/v1/stamps", &StampRequest { nonce }).await.map_err(|error| {
            tracing::debug!(%error, "no stamp");
            retry()
        })?;
        if !stands(Guard::CountedFromSending) {
            self.lease().nonce_sent(nonce, self.following.clock.boot_ms());
        }
        let state = self.replica.state().ok_or_else(retry)?;
        let answer = |lease: &mut Lease| match lease.answered(&stamp, &self.following.service_id, &state) {
            Ok(()) => lease.stamped().ok_or_else(retry),
            Err(StampError::Fork { size }) => Err(Stopped::Halt(Halt::Fork { size })),
            Err(error) => {
                tracing::warn!(%error, "a stamp that does not count");
                Err(retry())
            }
        };
        // Durable before anything is answered by it: a restart must not forget what time it was.
        let mut trial = self.lease().clone();
        let (size, time) = answer(&mut trial)?;
        self.replica.stamped(size, time).await.map_err(|error| stopped_by(error, size))?;
        answer(&mut self.lease())?;
        self.status.send_modify(|status| status.stamps += 1);
        Ok(size)
    }

    /// The stream should bring what the stamp speaks of; if it does not, it is opened anew.
    async fn wait_for_leaves(&self, size: &mut watch::Receiver<u64>, stamped: u64, interval: Duration) {
        let patience = LEAF_PATIENCE.min(interval);
        let came = tokio::time::timeout(patience, size.wait_for(|&size| size >= stamped)).await;
        if came.is_err() {
            self.reopen.notify_one();
        }
    }
}
