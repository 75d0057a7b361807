//! Folding many leaves: those that are stored, and those that come together.

use sqlx::AnyConnection;
use warifu_ledger::ahead::{Ahead, Checked};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;

use super::{Appended, Replica, ReplicaError, Writer, index};

/// How many stored leaves are checked at once, while those before them are folded.
const STORED_AT_ONCE: u32 = 1000;
/// How many leaves that somebody brings are checked at once: what is verified beyond one that is refused is for nothing.
const BROUGHT_AT_ONCE: usize = 64;

impl Replica {
    /// Folds what the database has beyond the state.
    pub(super) async fn fold_stored(&self, connection: &mut AnyConnection) -> Result<(), ReplicaError> {
        let mut step = Step::default();
        let mut next = self.size();
        let mut more = true;
        while more || !step.checked.is_empty() {
            if more {
                step.stored = stored(&mut *connection, next).await?;
                more = step.stored.len() == STORED_AT_ONCE as usize;
                next = next.saturating_add(step.stored.len() as u64);
            }
            let (this, before) = (self.clone(), self.state());
            // A few take no longer than going elsewhere.
            let few = step.stored.len().max(step.checked.len()) <= BROUGHT_AT_ONCE;
            let work = move || step.take(&this, before);
            let taken = if few {
                work()
            } else {
                tokio::task::spawn_blocking(work).await.map_err(|_| ReplicaError::ShuttingDown)?
            };
            let (state, after) = taken?;
            if let Some(state) = state {
                self.publish(state);
            }
            step = after;
        }
        Ok(())
    }

    /// Folds leaves that follow those that are here, one after the other.
    pub(super) fn fold_brought(
        &self,
        writer: &Writer,
        leaves: Vec<Leaf>,
    ) -> Result<Vec<Appended>, ReplicaError> {
        let mut ahead = Ahead::default();
        let mut before = self.state();
        let mut appended = Vec::with_capacity(leaves.len());
        let mut leaves = leaves.into_iter();
        let mut places = self.size()..;
        loop {
            let part: Vec<Leaf> = leaves.by_ref().take(BROUGHT_AT_ONCE).collect();
            if part.is_empty() {
                return Ok(appended);
            }
            for (checked, index) in ahead.check(before.as_ref(), part).into_iter().zip(places.by_ref()) {
                writer.check_instant(index, checked.leaf().at())?;
                let after = match &before {
                    Some(state) => state.apply_checked(&checked)?,
                    None => self.found(checked.leaf())?,
                };
                let before = before.replace(after.clone());
                appended.push(Appended { index, leaf: checked.into_leaf(), before, after });
            }
        }
    }
}

async fn stored(connection: &mut AnyConnection, from: u64) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("SELECT bytes FROM ledger_leaf WHERE idx >= $1 ORDER BY idx LIMIT $2")
        .bind(index(from))
        .bind(i64::from(STORED_AT_ONCE))
        .fetch_all(connection)
        .await
}

/// One step through the stored leaves: some are folded while the next are checked.
#[derive(Default)]
struct Step {
    ahead: Ahead,
    /// To be folded.
    checked: Vec<Checked>,
    /// To be checked.
    stored: Vec<Vec<u8>>,
}

impl Step {
    /// The state after the leaves that were to be folded, and what is left to do.
    fn take(self, replica: &Replica, before: Option<State>) -> Result<(Option<State>, Self), ReplicaError> {
        let Self { mut ahead, checked, stored } = self;
        if let (None, Some(founding)) = (&before, checked.first()) {
            replica.check_pinned(founding.leaf())?;
        }
        let (folded, read) = ahead.fold_and_read(before.as_ref(), &checked, stored);
        let state = folded.map_err(|refused| refused.why)?;
        let checked = read.into_iter().collect::<Result<_, _>>()?;
        Ok((state, Self { ahead, checked, stored: Vec::new() }))
    }
}
