//! The audit journal: one row for each partial, hash-chained, durable before the HSM computes (P-7.2, P-13.1, invariant I2).

use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AnyPool, Row as _};
use tokio::sync::Mutex;
use warifu_ledger::Id;
use warifu_ledger::journal::{BrokenAt, Position, Row};
use warifu_ledger::statement::Millis;

use super::error::SiteError;
use super::store::{digest_of, id_of, signed, unsigned};

mod delivery;
mod recording;

pub(super) use recording::{AuditRecorded, Audited, Recorder};

/// Rows that are read at a time.
const CHUNK: u32 = 1_000;

/// A site's journals in its database.
#[derive(Clone)]
pub struct Journal {
    pool: AnyPool,
    /// The row that this process wrote last. Held while rows are written, and while another journal is begun.
    last: Arc<Mutex<Option<Row>>>,
}

impl Journal {
    /// The journals in that database.
    #[must_use]
    pub fn new(pool: AnyPool) -> Self {
        Self { pool, last: Arc::default() }
    }

    /// The one that is written.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn id(&self) -> Result<Id, SiteError> {
        journal_id(&mut *self.pool.acquire().await?).await
    }

    /// Up to `limit` of its rows from index `from` on, each checked against its own hash and the one before it.
    ///
    /// # Errors
    /// [`SiteError::Damaged`] where the chain is broken.
    pub async fn rows(&self, from: u64, limit: u32) -> Result<Vec<Row>, SiteError> {
        let stored = self.stored(from, limit).await?;
        let rows = stored.into_iter().map(Stored::checked).collect::<Result<Vec<_>, _>>()?;
        let linked = rows
            .iter()
            .zip(rows.iter().skip(1))
            .all(|(one, next)| one.hash() == next.previous && one.index.checked_add(1) == Some(next.index));
        if linked { Ok(rows) } else { Err(SiteError::Damaged { what: "journal" }) }
    }

    /// The time of its last row, if that is as it was written; 0 if it has none.
    pub(super) async fn last_time(&self) -> Result<Millis, SiteError> {
        match self.read_last().await {
            Ok(row) => Ok(row.map_or(0, |row| row.time)),
            // The journal will be given up for it (P-13.4).
            Err(SiteError::Damaged { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// As [`Journal::rows`], unchecked: what the kms is to judge.
    async fn stored(&self, from: u64, limit: u32) -> Result<Vec<Stored>, SiteError> {
        let rows = sqlx::query("SELECT * FROM site_journal WHERE idx >= ? ORDER BY idx LIMIT ?")
            .bind(signed(from))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(Stored::of_row).collect()
    }

    /// How many rows it has, and the first that is not what was written, by what stands in this database alone.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn first_broken(&self) -> Result<(u64, Option<u64>), SiteError> {
        let mut before: Option<Position> = None;
        loop {
            let from = before.map_or(0, |before| before.size);
            let stored = self.stored(from, CHUNK).await?;
            if stored.is_empty() {
                return Ok((from, None));
            }
            for Stored { row, hash } in stored {
                // What the first one follows, the kms knows.
                let start = Position { size: 0, head: row.previous };
                if let Err(BrokenAt { index }) = before.unwrap_or(start).after(&row) {
                    return Ok((from, Some(index)));
                }
                if row.hash() != hash {
                    return Ok((from, Some(row.index)));
                }
                before = Some(Position { size: row.index.saturating_add(1), head: hash });
            }
        }
    }

    /// Whether the journal has come at least so far, and was then at this very position.
    async fn has(&self, position: Position) -> Result<bool, SiteError> {
        let Some(last) = position.size.checked_sub(1) else { return Ok(true) };
        Ok(self.stored(last, 1).await?.first().is_some_and(|stored| {
            stored.row.index == last && stored.row.hash() == position.head && stored.hash == position.head
        }))
    }

    /// Gives the journal up, whatever is in it, and begins another one. Its rows are kept beside.
    async fn begin_anew(&self) -> Result<(), SiteError> {
        let mut last = self.last.lock().await;
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for sql in [
            "INSERT OR IGNORE INTO site_former_journal
             SELECT (SELECT journal FROM site_journal_id), idx, time_ms, card, member, grant_id, unit, file, previous, hash
             FROM site_journal",
            "DELETE FROM site_journal",
            "UPDATE site_journal_id SET journal = randomblob(16)",
        ] {
            sqlx::query(sql).execute(&mut *transaction).await?;
        }
        *last = None;
        transaction.commit().await?;
        Ok(())
    }
}

/// A row with the hash that stands beside it.
struct Stored {
    row: Row,
    hash: warifu_ledger::Digest,
}

impl Stored {
    fn of_row(row: &AnyRow) -> Result<Self, SiteError> {
        let hash = digest_of(row.try_get("hash")?)?;
        let row = Row {
            index: unsigned(row.try_get("idx")?),
            time: unsigned(row.try_get("time_ms")?),
            card: id_of(row.try_get("card")?)?,
            member: id_of(row.try_get("member")?)?,
            grant: id_of(row.try_get("grant_id")?)?,
            unit: id_of(row.try_get("unit")?)?,
            file: digest_of(row.try_get("file")?)?,
            previous: digest_of(row.try_get("previous")?)?,
        };
        Ok(Self { row, hash })
    }

    fn checked(self) -> Result<Row, SiteError> {
        if self.row.hash() == self.hash {
            Ok(self.row)
        } else {
            Err(SiteError::Damaged { what: "journal entry" })
        }
    }
}

async fn journal_id(connection: &mut AnyConnection) -> Result<Id, SiteError> {
    let bytes: Vec<u8> =
        sqlx::query_scalar("SELECT journal FROM site_journal_id").fetch_one(connection).await?;
    id_of(&bytes)
}
