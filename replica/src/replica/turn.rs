//! One at a time: whoever appends, or says how large the ledger is.

use std::cmp::Ordering;

use sqlx::{Any, AnyConnection, Transaction};
use tokio::sync::OwnedMutexGuard;
use warifu_crash_point::waiting;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;

use super::{Appended, Replica, ReplicaError, Writer, index, size};
use crate::storage;

/// The ledger, held by one who is about to append or to stamp (protocol P-5.4): in this process, and in every other that has
/// this database, nobody else does until it is let go. All that the database has is folded. What is written with
/// [`Turn::transaction`] becomes durable together with the leaf, or with [`Turn::commit`]; a turn that is dropped leaves
/// nothing.
pub struct Turn {
    replica: Replica,
    writer: OwnedMutexGuard<Writer>,
    transaction: Transaction<'static, Any>,
}

impl Replica {
    /// Waits for its turn, and folds what others have appended meanwhile.
    ///
    /// # Errors
    /// [`ReplicaError::Shrunk`] if the database is not the one it was; [`ReplicaError::Storage`], and any other if what others
    /// have appended is none of this ledger's.
    pub async fn turn(&self) -> Result<Turn, ReplicaError> {
        let mut writer = waiting(self.0.writer.clone().lock_owned()).await;
        let mut transaction = storage::begin(&self.0.pool).await?;
        let (stored, had) = (size(&mut transaction).await?, self.size());
        if let Some(last) = had.min(stored).checked_sub(1)
            && let Some(state) = self.state()
        {
            let bytes: Vec<u8> = sqlx::query_scalar("SELECT bytes FROM ledger_leaf WHERE idx = $1")
                .bind(index(last))
                .fetch_one(&mut *transaction)
                .await?;
            // Put back, and grown again by another process: as long as it was, and another ledger.
            if !state.tree().has(last, &bytes) {
                return Err(ReplicaError::Contradicts { index: last });
            }
        }
        match stored.cmp(&had) {
            Ordering::Equal => {}
            Ordering::Greater => self.fold_stored(&mut transaction).await?,
            Ordering::Less => return Err(ReplicaError::Shrunk { size: stored, had }),
        }
        writer.doubtful = false;
        Ok(Turn { replica: self.clone(), writer, transaction })
    }
}

impl Turn {
    /// What the ledger says; none before the founding.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        self.replica.state()
    }

    /// The transaction, for what belongs to the leaf or the stamp.
    pub fn transaction(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// Appends a leaf: the fold's question, a durable insert, the new state published. A rejected leaf leaves nothing.
    ///
    /// # Errors
    /// [`ReplicaError`].
    pub async fn append(self, leaf: Leaf) -> Result<Appended, ReplicaError> {
        let Self { replica, writer, transaction } = self;
        let index = replica.size();
        writer.check_instant(index, leaf.at())?;
        let appended = replica.fold(index, replica.state(), leaf)?;
        replica.commit(writer, transaction, vec![appended.clone()]).await?;
        Ok(appended)
    }

    /// Appends nothing: makes durable what was written in the transaction, and lets go.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
    }
}
