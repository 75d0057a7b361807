//! What is over is deleted: from the database first, so that nobody is shown what has no file.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::statement::Millis;

use super::{Authority, Result};

/// How often it is looked whether something is over, whoever comes or does not.
const SWEEPING: Duration = Duration::from_secs(600);
/// How long whoever offers something does not look after another has, in milliseconds.
const LOOKING_MS: u64 = 60_000;
/// How long a delivery may be arriving, in milliseconds: a week.
const UNFINISHED_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// The same of what no card has signed: two hours.
const UNFINISHED_OUTSIDE_MS: u64 = 2 * 60 * 60 * 1000;

impl Authority {
    /// Sees whether the box can keep anything, and deletes what is over, now and then, for ever. Cards, sites and officers are served
    /// all the same while it cannot.
    pub async fn sweep_now_and_then(self: Arc<Self>) {
        if let Err(error) = self.deliveries.objects.prove().await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "the box cannot keep files: deliveries wait until it can");
        }
        let mut now_and_then = tokio::time::interval(SWEEPING);
        loop {
            now_and_then.tick().await;
            if let Err(error) = self.sweep().await {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "deliveries that are over could not be deleted");
            }
        }
    }

    /// Deletes what is over, and what a crash has left of it.
    async fn sweep(&self) -> Result<()> {
        if self.state().is_ok() {
            self.end_deliveries().await?;
            self.delete_files().await?;
        }
        Ok(())
    }

    /// Deletes what is over, if anything is; looks no more often than once a minute, however many come.
    pub(super) async fn make_room(&self, now: Millis) -> Result<()> {
        let before = self.deliveries.looked.load(Ordering::Relaxed);
        let is_due = now.abs_diff(before) >= LOOKING_MS;
        let exchange =
            |to| self.deliveries.looked.compare_exchange(before, to, Ordering::Relaxed, Ordering::Relaxed);
        if is_due && exchange(now).is_ok() && self.end_deliveries().await? {
            self.delete_files().await?;
        }
        Ok(())
    }

    /// Erases what is over from the database. Whether anything was.
    async fn end_deliveries(&self) -> Result<bool> {
        let now = self.now(&self.state()?);
        let before = |ms| now.saturating_sub(ms);
        let unfinished = (before(UNFINISHED_MS), before(UNFINISHED_OUTSIDE_MS));
        let ended = self.store.end_deliveries(now, unfinished).await?;
        if ended > 0 {
            reached(CrashPoint::KmsDeliveryEnded).await;
            tracing::info!(ended, "deliveries deleted");
        }
        Ok(ended > 0)
    }

    /// Deletes the files of all that is in the database no more.
    async fn delete_files(&self) -> Result<()> {
        let lying = self.deliveries.objects.kept().await?;
        if !lying.is_empty() {
            let kept = self.store.kept_deliveries().await?;
            for delivery in lying.difference(&kept) {
                self.deliveries.objects.delete(delivery).await?;
            }
        }
        let (bytes, waiting) = self.store.box_figures().await?;
        self.figures.box_holds(bytes, waiting);
        Ok(())
    }
}
