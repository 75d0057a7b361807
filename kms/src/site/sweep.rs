//! What is over without any order to act on: grants, members, contracts and units that ended at an instant that was ordered
//! ahead, and units that this site no longer serves. Their key pairs are destroyed at the next stamp after it.
//!
//! Refusing is one thing, and [`super::check`] does it by site time, to the millisecond. Destroying cannot be undone, so it
//! waits until nothing can be appended any more that would put off the end ([`warifu_replica::follow::Fresh::settled`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use warifu_api::error::ErrorCode;
use warifu_crash_point::{CrashPoint, reached, waiting};
use warifu_ledger::Id;
use warifu_ledger::state::State;
use warifu_ledger::statement::Millis;
use warifu_replica::follow::FollowStatus;

use super::ending::Ending;
use super::error::SiteError;
use super::service::Core;

/// The pause after a failure of the HSM or the database.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether a key pair for this grant has no more use here. One of a grant that the ledger does not know is left alone.
fn is_over(state: &State, site: &Id, grant: &Id, settled: Millis) -> bool {
    state
        .grant(grant)
        .is_some_and(|found| state.live_grant(grant, settled).is_err() || !state.serves(site, &found.unit))
}

impl Core {
    /// Sweeps now, at each new stamp, and when a leaf takes this site off a unit.
    pub(super) async fn sweep_at_each_stamp(self: Arc<Self>, mut status: watch::Receiver<FollowStatus>) {
        let mut acted = self.acted.subscribe();
        loop {
            status.mark_unchanged();
            acted.mark_unchanged();
            let swept = self.sweep().await;
            if let Err(error) = &swept {
                let source = std::error::Error::source(error);
                tracing::error!(%error, ?source, "what is over waits to be destroyed");
            }
            let stamped = tokio::select! {
                changed = status.changed() => changed.is_ok(),
                () = self.sweeping.notified() => true,
                changed = acted.changed(), if matches!(swept, Ok(false)) => changed.is_ok(),
                () = tokio::time::sleep(PAUSE), if swept.is_err() => true,
            };
            if !stamped {
                return;
            }
        }
    }

    /// Destroys the key pairs of what is over by now, deletes its rows, and cuts off the cards that it concerns. False while
    /// that cannot be said: no lease runs, or orders wait to be acted on, whose receipts say what they destroyed.
    ///
    /// Idempotent; what a crash leaves behind is found by the next one.
    pub(super) async fn sweep(&self) -> Result<bool, SiteError> {
        let _one_after_the_other = waiting(self.revoking.lock()).await;
        let stored = self.store.grants().await?;
        let mut keys = self.vault.keys().await;
        // Only now: what was made for a unit that this site serves again was made by a state no newer than this one.
        let Some(now) = self.now().filter(|now| !now.halted) else { return Ok(false) };
        let (Some(settled), Some(site)) = (now.settled, self.site_id(&now.state)) else { return Ok(false) };
        if *self.acted.borrow() < now.state.tree().size() {
            return Ok(false);
        }
        let over: BTreeSet<Id> = keys
            .held()
            .iter()
            .chain(&stored)
            .filter(|grant| is_over(&now.state, &site, grant, settled))
            .copied()
            .collect();
        for grant in &over {
            if keys.held().contains(grant) {
                keys = keys.destroy(*grant).await?;
                reached(CrashPoint::SiteKeyPairDestroyed).await;
            }
        }
        self.store.forget_grants(&over).await?;
        drop(keys);
        self.store.forget_slips(settled).await?;
        let mut idle = self.store.targets_of_parts().await?;
        idle.retain(|unit| now.state.unit_is_closed(unit, settled) || !now.state.serves(&site, unit));
        self.store.destroy_parts_for(&idle).await?;
        let gone = {
            let dead = self.dead();
            let view = self.view(site, &now, &dead);
            let is_gone = |card: &Id| {
                matches!(view.may_connect(card), Err(ErrorCode::CardNotLive | ErrorCode::ContractOver))
            };
            self.streams.cards().into_iter().filter(is_gone).collect::<BTreeSet<_>>()
        };
        let holders = over.iter().filter_map(|grant| now.state.grant(grant)).map(|grant| grant.card);
        let touched: BTreeSet<Id> = holders.chain(gone).collect();
        if !touched.is_empty() {
            reached(CrashPoint::SiteRowsForgotten).await;
            tracing::info!(grants = over.len(), cards = touched.len(), "what is over was destroyed");
            let ending = Ending { touched, ..Ending::default() };
            self.cut_off(&now.state, site, &ending).await;
        }
        Ok(true)
    }
}
