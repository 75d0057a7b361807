//! The ledger in the database, folded.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::{Any, AnyConnection, AnyPool, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use warifu_crash_point::{CrashPoint, Guard, reached, stands, waiting};
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, CheckpointError, Signer};
use warifu_ledger::leaf::{Leaf, LeafError};
use warifu_ledger::state::{Rejected, State};
use warifu_ledger::statement::Millis;

use crate::storage;

mod snapshot;
mod stored;
mod turn;

pub use snapshot::Snapshots;
pub use turn::Turn;

/// How many leaves are read from the database at a time.
const CHUNK: u32 = 500;
/// How many stamps ahead of the ledger are remembered: hours of a stream that does not come.
const STAMPS_AHEAD: usize = 4096;

/// Why a leaf was not appended, or the ledger cannot be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The fold refuses it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The database failed. Whether the leaf is there is found out before the next one is appended.
    #[error("the ledger's database failed")]
    Storage(#[from] sqlx::Error),
    /// Bytes that are no leaf.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The ledger is another organization's.
    #[error("the ledger is that of {found}, not of {expected}")]
    OtherOrganization {
        /// The organization that is pinned.
        expected: Digest,
        /// The one the founding makes.
        found: Digest,
    },
    /// The leaf that is offered for this place is not the one that is there: two ledgers.
    #[error("leaf {index} is another one here")]
    Contradicts {
        /// Index of the leaf.
        index: u64,
    },
    /// Leaves before it are missing.
    #[error("leaf {from} cannot follow {size} leaves")]
    Gap {
        /// Index of the first leaf offered.
        from: u64,
        /// Leaves here.
        size: u64,
    },
    /// The checkpoint that came with leaves is not one of the kms.
    #[error("the checkpoint that vouches for the leaves does not count")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint that came with leaves speaks of more leaves than came, so that it vouches for none of them.
    #[error("the checkpoint speaks of {checkpoint} leaves; with what came there are {size}")]
    NotCovered {
        /// Leaves in the checkpoint.
        checkpoint: u64,
        /// Leaves that there would be.
        size: u64,
    },
    /// Nothing among the leaves gives the kms other keys.
    #[error("no order among these leaves gives the kms other keys")]
    NoSuccessor,
    /// The kms appended it after a stamp whose time is later (protocol P-5.4): it would act in a past that is over.
    #[error("leaf {index} is of {at}, and was appended after a stamp of {stamped}")]
    Backdated {
        /// Index of the leaf.
        index: u64,
        /// Its instant.
        at: Millis,
        /// The stamp's time.
        stamped: Millis,
    },
    /// The database has fewer leaves than it had: it was put back to an earlier state, or is another one.
    #[error("the database has {size} leaves, and had {had}")]
    Shrunk {
        /// Leaves in the database.
        size: u64,
        /// Leaves that this process has folded.
        had: u64,
    },
    /// Another process has appended meanwhile.
    #[error("another process has appended to the ledger")]
    Overtaken,
    /// The task that writes was ended with its runtime.
    #[error("the service is shutting down")]
    ShuttingDown,
}

/// A leaf that is in the ledger, and durable.
#[derive(Clone)]
pub struct Appended {
    /// Its index.
    pub index: u64,
    /// The leaf.
    pub leaf: Leaf,
    /// The state before; none before the founding.
    pub before: Option<State>,
    /// The state after.
    pub after: State,
}

/// The ledger and the state it folds to. Cheap to clone; clones are the same ledger.
#[derive(Clone)]
pub struct Replica(Arc<Inner>);

struct Inner {
    pool: AnyPool,
    pinned: Option<Digest>,
    /// Held from the fold's question to the publishing of its answer.
    writer: Arc<Mutex<Writer>>,
    state: RwLock<Option<State>>,
    size: watch::Sender<u64>,
    last_stamp: RwLock<Option<(u64, Millis)>>,
    fork: RwLock<Option<u64>>,
    snapshots: Option<Snapshots>,
    /// How many leaves the kept snapshot is of. Held while one is written.
    kept: Arc<Mutex<u64>>,
}

#[derive(Default)]
struct Writer {
    /// A commit failed: the database may be ahead of the state.
    doubtful: bool,
    /// Leaves and time of the stamps that counted, smallest first: no leaf beyond such a size is older than that time. Of
    /// those within the ledger, the largest alone is kept. The database has the same.
    stamped: VecDeque<(u64, Millis)>,
}

impl Writer {
    /// The latest stamp given before the leaf `index` was appended must not be later than the leaf.
    fn check_instant(&self, index: u64, at: Millis) -> Result<(), ReplicaError> {
        let before = self.stamped.iter().rev().find(|(size, _)| *size <= index);
        match before {
            Some(&(_, stamped)) if at < stamped && stands(Guard::NotBackdated) => {
                Err(ReplicaError::Backdated { index, at, stamped })
            }
            _ => Ok(()),
        }
    }
}

impl Replica {
    /// Reads and folds all that is stored. `pinned` is the one organization whose ledger this may be.
    ///
    /// # Errors
    /// [`ReplicaError::OtherOrganization`] where it is not; any other if the stored ledger is not one.
    pub async fn open(pool: AnyPool, pinned: Option<Digest>) -> Result<Self, ReplicaError> {
        Self::open_from(pool, pinned, None, None).await
    }

    /// As [`Replica::open`], but that it goes on from the snapshot that is kept, if there is one that is the service's own, and keeps
    /// one from time to time.
    ///
    /// # Errors
    /// As [`Replica::open`]; of a snapshot that does not count, nothing comes but a line in the log.
    pub async fn open_with_snapshots(
        pool: AnyPool,
        pinned: Option<Digest>,
        snapshots: Option<Snapshots>,
    ) -> Result<Self, ReplicaError> {
        let replica = Self::open_from(pool, pinned, None, snapshots).await?;
        replica.keep_from_time_to_time();
        Ok(replica)
    }

    async fn open_from(
        pool: AnyPool,
        pinned: Option<Digest>,
        state: Option<State>,
        snapshots: Option<Snapshots>,
    ) -> Result<Self, ReplicaError> {
        let replica = Self(Arc::new(Inner {
            pool,
            pinned,
            writer: Arc::default(),
            size: watch::Sender::new(state.as_ref().map_or(0, |state| state.tree().size())),
            state: RwLock::new(state),
            last_stamp: RwLock::new(None),
            fork: RwLock::new(None),
            snapshots,
            kept: Arc::default(),
        }));
        replica.recall().await;
        replica.read_stored().await?;
        Ok(replica)
    }

    /// As [`Replica::open`], but that the state of the first of the stored leaves is `recall`ed: a simulator opens the same
    /// ledger a hundred thousand times, and has folded most of it by this same code before.
    ///
    /// # Errors
    /// As [`Replica::open`].
    #[cfg(debug_assertions)]
    pub async fn open_recalling(
        pool: AnyPool,
        pinned: Option<Digest>,
        recall: impl FnOnce(&[Vec<u8>]) -> Option<State>,
    ) -> Result<Self, ReplicaError> {
        let stored: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT bytes FROM ledger_leaf ORDER BY idx").fetch_all(&pool).await?;
        Self::open_from(pool, pinned, recall(&stored), None).await
    }

    async fn read_stored(&self) -> Result<(), ReplicaError> {
        self.fold_stored(&mut *self.0.pool.acquire().await?).await?;
        let stamps: Vec<(i64, i64)> = sqlx::query_as("SELECT size, time_ms FROM ledger_stamp ORDER BY size")
            .fetch_all(&self.0.pool)
            .await?;
        for (size, time) in stamps {
            let stamp = (size.unsigned_abs(), time.unsigned_abs());
            self.0.writer.lock().await.stamped.push_back(stamp);
            self.remember_stamp(stamp);
        }
        let fork: Option<i64> =
            sqlx::query_scalar("SELECT size FROM ledger_fork").fetch_optional(&self.0.pool).await?;
        *self.0.fork.write().unwrap_or_else(PoisonError::into_inner) = fork.map(i64::unsigned_abs);
        Ok(())
    }

    /// What the ledger says; none before the founding.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The organization that is pinned.
    #[must_use]
    pub fn pinned(&self) -> Option<Digest> {
        self.0.pinned
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        *self.0.size.borrow()
    }

    /// The number of leaves, now and whenever it grows.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.size.subscribe()
    }

    /// The database that holds the ledger, and the program's own tables.
    #[must_use]
    pub fn pool(&self) -> &AnyPool {
        &self.0.pool
    }

    /// Up to `limit` leaves from index `from` on, in their exact bytes.
    ///
    /// # Errors
    /// [`ReplicaError::Contradicts`] if one is not the leaf that was folded; [`ReplicaError::Storage`].
    pub async fn leaves(&self, from: u64, limit: u32) -> Result<Vec<Vec<u8>>, ReplicaError> {
        // Only what is published: a leaf is not the ledger's before its state is.
        let Some(state) = self.state() else { return Ok(Vec::new()) };
        let tree = state.tree();
        let leaves: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT bytes FROM ledger_leaf WHERE idx >= $1 AND idx < $2 ORDER BY idx LIMIT $3",
        )
        .bind(index(from))
        .bind(index(tree.size()))
        .bind(i64::from(limit))
        .fetch_all(&self.0.pool)
        .await?;
        // A state that came from a snapshot was folded from what was there then; the disk may have been written since.
        match leaves.iter().zip(from..).find(|(leaf, at)| !tree.has(*at, leaf)) {
            Some((_, index)) => Err(ReplicaError::Contradicts { index }),
            None => Ok(leaves),
        }
    }

    /// Appends a leaf: the fold's question, a durable insert, the new state published. A rejected leaf leaves nothing.
    ///
    /// # Errors
    /// [`ReplicaError`].
    pub async fn append(&self, leaf: Leaf) -> Result<Appended, ReplicaError> {
        self.turn().await?.append(leaf).await
    }

    /// Leaves and time of the last stamp that [`Replica::stamped`] was told of, before the last restart or since.
    #[must_use]
    pub fn last_stamp(&self) -> Option<(u64, Millis)> {
        *self.0.last_stamp.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember_stamp(&self, stamp: (u64, Millis)) {
        *self.0.last_stamp.write().unwrap_or_else(PoisonError::into_inner) = Some(stamp);
    }

    /// The size at which the kms is known to have shown two ledgers, as [`Replica::forked`] was told.
    #[must_use]
    pub fn fork(&self) -> Option<u64> {
        *self.0.fork.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers for good that the kms has shown two ledgers, which differ at `size` leaves or before. Durable when it
    /// returns.
    ///
    /// # Errors
    /// [`ReplicaError::Storage`].
    pub async fn forked(&self, size: u64) -> Result<(), ReplicaError> {
        sqlx::query("INSERT INTO ledger_fork (one, size) VALUES (1, $1) ON CONFLICT DO NOTHING")
            .bind(index(size))
            .execute(&self.0.pool)
            .await?;
        self.0.fork.write().unwrap_or_else(PoisonError::into_inner).get_or_insert(size);
        Ok(())
    }

    /// Remembers that the kms gave a stamp of `time` while its ledger had `size` leaves: from now on, no leaf beyond these
    /// that is older comes into this ledger (protocol P-5.4), whoever brings it and whenever. Durable when it returns.
    ///
    /// # Errors
    /// [`ReplicaError::Backdated`] if one is here already; [`ReplicaError::Storage`].
    pub async fn stamped(&self, size: u64, time: Millis) -> Result<(), ReplicaError> {
        // Under the lock of those who append: no leaf is between the question and the ledger.
        let mut writer = self.lock().await?;
        // Of the leaves beyond, the first is the oldest.
        if let Some(bytes) = self.leaves(size, 1).await?.pop() {
            let at = Leaf::from_bytes(bytes)?.at();
            if at < time && stands(Guard::NotBackdated) {
                return Err(ReplicaError::Backdated { index: size, at, stamped: time });
            }
        }
        let mut stamped = writer.stamped.clone();
        while stamped.back().is_some_and(|&(before, _)| before >= size) {
            stamped.pop_back();
        }
        stamped.push_back((size, time));
        let have = self.size();
        while stamped.get(1).is_some_and(|&(next, _)| next <= have) || stamped.len() > STAMPS_AHEAD {
            stamped.pop_front();
        }
        let least = stamped.front().map_or(size, |&(least, _)| least);
        let mut transaction = storage::begin(&self.0.pool).await?;
        sqlx::query("DELETE FROM ledger_stamp WHERE size < $1 OR size >= $2")
            .bind(index(least))
            .bind(index(size))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO ledger_stamp (size, time_ms) VALUES ($1, $2)")
            .bind(index(size))
            .bind(index(time))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        reached(CrashPoint::ReplicaStampStored).await;
        writer.stamped = stamped;
        self.remember_stamp((size, time));
        Ok(())
    }

    /// Appends the consecutive `leaves`, the first of which has the index `from`, in one transaction: all or none. Those
    /// that are here already are passed over, and left out of the answer.
    ///
    /// # Errors
    /// [`ReplicaError`]; [`ReplicaError::Contradicts`] if a leaf that is here already is another one.
    pub async fn append_many(&self, from: u64, leaves: Vec<Leaf>) -> Result<Vec<Appended>, ReplicaError> {
        let writer = self.lock().await?;
        let appended = self.fold_many(&writer, from, leaves).await?;
        self.store(writer, appended.clone()).await?;
        Ok(appended)
    }

    /// As [`Replica::append_many`], for leaves that were brought by somebody who is not the kms: `note` must be a
    /// checkpoint signed by the kms that contains them. Without it, anybody who has a signed order could give it another
    /// place or instant than the kms does, and so cut this copy off from the ledger. Leaves beyond the checkpoint are
    /// passed over.
    ///
    /// # Errors
    /// [`ReplicaError`]; [`ReplicaError::Rejected`] with [`Rejected::Fork`] if the checkpoint contradicts them.
    pub async fn append_vouched(
        &self,
        from: u64,
        mut leaves: Vec<Leaf>,
        note: &str,
    ) -> Result<Vec<Appended>, ReplicaError> {
        let writer = self.lock().await?;
        let state = self.state().ok_or(ReplicaError::Gap { from, size: 0 })?;
        let key = state.kms().log.ok_or(CheckpointError::NotSigned(Signer::Kms))?;
        let checkpoint = Checkpoint::verify(note, &state.organization(), Signer::Kms, &key)?;
        leaves.truncate(usize::try_from(checkpoint.size.saturating_sub(from)).unwrap_or(usize::MAX));
        let appended = self.fold_many(&writer, from, leaves).await?;
        let after = appended.last().map_or(&state, |last| &last.after);
        // With them, the kms has other keys: what it signed with these says nothing of such a ledger any more.
        if after.kms() != state.kms() {
            return Err(CheckpointError::NotSigned(Signer::Kms).into());
        }
        let size = after.tree().size();
        if size < checkpoint.size && !appended.is_empty() {
            return Err(ReplicaError::NotCovered { checkpoint: checkpoint.size, size });
        }
        if size >= checkpoint.size {
            after.check_against(&checkpoint)?;
        }
        self.store(writer, appended.clone()).await?;
        Ok(appended)
    }

    /// As [`Replica::append_many`], for leaves that somebody shows in whose name the kms does not speak yet: with them, it has to
    /// get other keys, by two officers' order, and `note` must be a checkpoint over exactly these leaves that is signed
    /// with those keys (protocol P-4.17). So nothing depends on who it is.
    ///
    /// # Errors
    /// [`ReplicaError`]; [`ReplicaError::NoSuccessor`] if the kms's keys stay what they are.
    pub async fn append_succession(
        &self,
        from: u64,
        leaves: Vec<Leaf>,
        note: &str,
    ) -> Result<Vec<Appended>, ReplicaError> {
        let writer = self.lock().await?;
        let state = self.state().ok_or(ReplicaError::Gap { from, size: 0 })?;
        let appended = self.fold_many(&writer, from, leaves).await?;
        let after = appended.last().map_or(&state, |last| &last.after);
        if after.kms() == state.kms() {
            return Err(ReplicaError::NoSuccessor);
        }
        let key = after.kms().log.ok_or(CheckpointError::NotSigned(Signer::Kms))?;
        let checkpoint = Checkpoint::verify(note, &state.organization(), Signer::Kms, &key)?;
        let size = after.tree().size();
        if checkpoint.size != size {
            return Err(ReplicaError::NotCovered { checkpoint: checkpoint.size, size });
        }
        after.check_against(&checkpoint)?;
        self.store(writer, appended.clone()).await?;
        Ok(appended)
    }

    async fn fold_many(
        &self,
        writer: &Writer,
        from: u64,
        leaves: Vec<Leaf>,
    ) -> Result<Vec<Appended>, ReplicaError> {
        let size = self.size();
        if from > size {
            return Err(ReplicaError::Gap { from, size });
        }
        let known = usize::try_from(size - from).unwrap_or(usize::MAX).min(leaves.len());
        let mut leaves = leaves.into_iter();
        let mut compared = 0;
        while compared < known {
            let place = from + compared as u64;
            let stored = self.leaves(place, CHUNK).await?;
            if stored.is_empty() {
                return Err(ReplicaError::Gap { from, size: place });
            }
            for ((mine, leaf), index) in
                stored.iter().zip(leaves.by_ref().take(known - compared)).zip(place..)
            {
                if mine != leaf.as_bytes() && stands(Guard::LeavesCompared) {
                    return Err(ReplicaError::Contradicts { index });
                }
                compared += 1;
            }
        }
        self.fold_brought(writer, leaves.collect())
    }

    fn fold(&self, index: u64, before: Option<State>, leaf: Leaf) -> Result<Appended, ReplicaError> {
        let after = match &before {
            Some(state) => state.apply(&leaf)?,
            None => self.found(&leaf)?,
        };
        Ok(Appended { index, leaf, before, after })
    }

    fn found(&self, leaf: &Leaf) -> Result<State, ReplicaError> {
        self.check_pinned(leaf)?;
        Ok(State::found(leaf)?)
    }

    fn check_pinned(&self, founding: &Leaf) -> Result<(), ReplicaError> {
        let found = founding.envelope().digest();
        match self.0.pinned {
            Some(expected) if expected != found => Err(ReplicaError::OtherOrganization { expected, found }),
            _ => Ok(()),
        }
    }

    async fn lock(&self) -> Result<OwnedMutexGuard<Writer>, ReplicaError> {
        let mut writer = waiting(self.0.writer.clone().lock_owned()).await;
        if writer.doubtful {
            self.fold_stored(&mut *self.0.pool.acquire().await?).await?;
            writer.doubtful = false;
        }
        Ok(writer)
    }

    /// Writes and publishes what was folded before: the ledger is locked no longer than that takes.
    async fn store(
        &self,
        mut writer: OwnedMutexGuard<Writer>,
        appended: Vec<Appended>,
    ) -> Result<(), ReplicaError> {
        let Some(first) = appended.first() else { return Ok(()) };
        let mut transaction = storage::begin(&self.0.pool).await?;
        if size(&mut transaction).await? != first.index {
            writer.doubtful = true;
            return Err(ReplicaError::Overtaken);
        }
        self.commit(writer, transaction, appended).await
    }

    /// Writes, commits and publishes, in a task of its own: whoever asked may stop waiting, but what is durable is published.
    async fn commit(
        &self,
        mut writer: OwnedMutexGuard<Writer>,
        transaction: Transaction<'static, Any>,
        appended: Vec<Appended>,
    ) -> Result<(), ReplicaError> {
        let Some(last) = appended.last() else { return Ok(()) };
        let state = last.after.clone();
        let this = self.clone();
        let work = async move {
            let written = write(transaction, &appended).await;
            match written {
                Ok(()) => {
                    reached(CrashPoint::ReplicaLeavesStored).await;
                    this.publish(state);
                    this.keep_from_time_to_time();
                }
                Err(_) => writer.doubtful = true,
            }
            written
        };
        tokio::spawn(work).await.map_err(|_| ReplicaError::ShuttingDown)??;
        Ok(())
    }

    fn publish(&self, state: State) {
        let size = state.tree().size();
        *self.0.state.write().unwrap_or_else(PoisonError::into_inner) = Some(state);
        self.0.size.send_replace(size);
    }
}

async fn write(mut transaction: Transaction<'static, Any>, appended: &[Appended]) -> Result<(), sqlx::Error> {
    for leaf in appended {
        sqlx::query("INSERT INTO ledger_leaf (idx, bytes) VALUES ($1, $2)")
            .bind(index(leaf.index))
            .bind(leaf.leaf.as_bytes())
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("UPDATE ledger_head SET size = size + $1")
        .bind(index(appended.len() as u64))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// How many leaves the database has.
async fn size(connection: &mut AnyConnection) -> Result<u64, sqlx::Error> {
    let size: i64 = sqlx::query_scalar("SELECT size FROM ledger_head").fetch_one(connection).await?;
    Ok(size.unsigned_abs())
}

/// Indices in a database are signed; a ledger of 2⁶³ leaves does not exist.
fn index(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}
