//! Writing the journal: many requests at once share one commit.
//!
//! One task writes. It takes all that waits, writes it in one transaction, and tells each request when its rows are durable;
//! what comes meanwhile waits for the next one. So a row costs its share of a sync of the disk, and a site that is not busy
//! waits for nobody.

use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Executor};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::sleep;
use warifu_api::error::{ErrorBody, ErrorCode};
use warifu_crash_point::{Guard, stands, waiting, within};
use warifu_ledger::journal::{Position, Row};
use warifu_ledger::{Digest, Id};

use super::{Journal, Stored};
use crate::site::check::Entry;
use crate::site::error::SiteError;
use crate::site::gate::Turn;
use crate::site::store::signed;

/// Requests that wait for the writer before others wait for them.
const WAITING: usize = 256;
/// No further request is taken into a commit that has so many rows.
const ENOUGH_ROWS: usize = 4096;
/// The most rows that one statement writes.
const ROWS_AT_ONCE: usize = 256;
/// How long a request waits for the journal to be compared with what the kms has of it, after a start.
const PATIENCE: Duration = Duration::from_secs(10);

/// That the audit record of one item is durable. Only [`Recorder::record`] makes one; the HSM's step takes it by value, so
/// that nothing is computed twice for one record, and nothing without one.
pub(in crate::site) struct AuditRecorded<T>(T);

/// What the HSM computes something for.
pub(in crate::site) trait Audited {
    /// The rows that have to be durable before.
    fn entries(&self) -> Vec<Entry>;
}

impl<T> AuditRecorded<T> {
    /// What may be computed, once.
    pub(in crate::site) fn spend(self) -> T {
        self.0
    }
}

/// Where the journal's rows go, and what waits for them.
pub(in crate::site) struct Recorder {
    requests: mpsc::Sender<Request>,
    /// Whether this start has compared the journal with what the kms and the ledger have of it (P-13.4).
    compared: watch::Sender<bool>,
    /// Rows have become durable.
    pub(super) written: Arc<Notify>,
}

struct Request {
    organization: Digest,
    site: Id,
    /// Held until the rows are written or never will be: no row comes after the receipt that it would contradict.
    turn: Arc<Turn>,
    entries: Vec<Entry>,
    recorded: oneshot::Sender<Result<(), SiteError>>,
}

impl Recorder {
    /// The recorder, and the task that writes.
    pub(in crate::site) fn new(journal: Journal) -> (Self, impl Future<Output = ()> + Send) {
        let (requests, waiting) = mpsc::channel(WAITING);
        let written = Arc::new(Notify::new());
        let recorder = Self { requests, compared: watch::Sender::new(false), written: written.clone() };
        (recorder, write(journal, waiting, written))
    }

    /// From now on rows may be written.
    pub(super) fn compared(&self) {
        self.compared.send_replace(true);
    }

    /// Writes the rows of everything that may be computed, and returns when all of them are durable.
    pub(in crate::site) async fn record<T: Audited>(
        &self,
        organization: Digest,
        site: Id,
        turn: Arc<Turn>,
        allowed: Vec<T>,
    ) -> Result<Vec<AuditRecorded<T>>, SiteError> {
        if allowed.is_empty() || !stands(Guard::JournalFirst) {
            return Ok(allowed.into_iter().map(AuditRecorded).collect());
        }
        let mut compared = self.compared.subscribe();
        let ready = async { compared.wait_for(|compared| *compared).await.is_ok() };
        if !within(sleep(PATIENCE), waiting(ready)).await.unwrap_or(false) {
            let why = "the audit journal has not been compared with the kms's copy yet";
            return Err(SiteError::Refused(ErrorBody::new(ErrorCode::NotReady, why)));
        }
        let (recorded, durable) = oneshot::channel();
        let entries = allowed.iter().flat_map(Audited::entries).collect();
        let request = Request { organization, site, turn, entries, recorded };
        self.requests.send(request).await.map_err(|_| SiteError::ShuttingDown)?;
        durable.await.map_err(|_| SiteError::ShuttingDown)??;
        Ok(allowed.into_iter().map(AuditRecorded).collect())
    }
}

async fn write(journal: Journal, mut waiting: mpsc::Receiver<Request>, written: Arc<Notify>) {
    while let Some(first) = waiting.recv().await {
        let mut rows = first.entries.len();
        let mut batch = vec![first];
        while rows < ENOUGH_ROWS
            && let Ok(next) = waiting.try_recv()
        {
            rows += next.entries.len();
            batch.push(next);
        }
        let outcome = journal.append(&batch).await;
        if outcome.is_ok() {
            written.notify_one();
        }
        let failed = outcome.err().map(Arc::new);
        for Request { recorded, turn, .. } in batch {
            // Whoever asked may be gone; then nothing is computed for the rows.
            let _ = recorded.send(match &failed {
                None => Ok(()),
                Some(error) => Err(SiteError::NotRecorded(error.clone())),
            });
            drop(turn);
        }
    }
}

impl Journal {
    /// Appends a row for each answer: all of them, or none.
    async fn append(&self, batch: &[Request]) -> Result<(), SiteError> {
        let mut last = self.last.lock().await;
        // What this process wrote last is where it goes on, if that is still there as it was written.
        if let Some(written) = last.take()
            && let Some(end) = self.append_after(Some(written), batch).await?
        {
            *last = Some(end);
            return Ok(());
        }
        // After a failure nobody knows what is there, and somebody may have changed it: it is read.
        let read = self.read_last().await?;
        *last = self.append_after(read, batch).await?;
        if last.is_some() { Ok(()) } else { Err(SiteError::Damaged { what: "journal" }) }
    }

    /// Appends the rows of a batch after the last row, and answers with the new last one; none, and nothing appended, where
    /// that row is not the last.
    async fn append_after(&self, last: Option<Row>, batch: &[Request]) -> Result<Option<Row>, SiteError> {
        let rows = self.rows_after(last.as_ref(), batch).await?;
        // A transaction by itself: one walk to the database's thread and back, where one around it would be three.
        if rows.len() <= ROWS_AT_ONCE {
            let written = insert(&self.pool, last.as_ref(), &rows).await?;
            return Ok(rows.into_iter().last().filter(|_| written));
        }
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let mut before = last.as_ref();
        for some in rows.chunks(ROWS_AT_ONCE) {
            if !insert(&mut *transaction, before, some).await? {
                return Ok(None);
            }
            before = some.last();
        }
        transaction.commit().await?;
        Ok(rows.into_iter().last())
    }

    async fn rows_after(&self, last: Option<&Row>, batch: &[Request]) -> Result<Vec<Row>, SiteError> {
        let mut position = last.map(|row| Position { size: row.index.saturating_add(1), head: row.hash() });
        // Who asked first may be written last; time does not go back for that (P-5.5).
        let mut time = last.map_or(0, |row| row.time);
        let mut rows = Vec::new();
        for request in batch {
            for entry in &request.entries {
                let before = match position {
                    Some(position) => position,
                    None => Position::start(&request.organization, &request.site, &self.id().await?),
                };
                time = time.max(entry.time);
                let row = Row {
                    index: before.size,
                    time,
                    card: entry.card,
                    member: entry.member,
                    grant: entry.grant,
                    unit: entry.unit,
                    file: entry.file,
                    previous: before.head,
                };
                position = Some(Position { size: before.size.saturating_add(1), head: row.hash() });
                rows.push(row);
            }
        }
        Ok(rows)
    }

    pub(super) async fn read_last(&self) -> Result<Option<Row>, SiteError> {
        let row = sqlx::query("SELECT * FROM site_journal ORDER BY idx DESC LIMIT 1")
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(|row| Stored::of_row(row)?.checked()).transpose()
    }
}

/// Writes at most [`ROWS_AT_ONCE`] rows with one statement. Nothing is written, and the answer is no, where `last` is not the
/// last row, field by field; without one, where there are rows.
async fn insert<'c>(
    connection: impl Executor<'c, Database = Any>,
    last: Option<&Row>,
    rows: &[Row],
) -> Result<bool, SiteError> {
    let places = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; rows.len()].join(", ");
    let condition = match last {
        Some(_) => {
            "(SELECT max(idx) FROM site_journal) = ? AND EXISTS (SELECT 1 FROM site_journal WHERE idx = ? AND time_ms = ? \
             AND card = ? AND member = ? AND grant_id = ? AND unit = ? AND file = ? AND previous = ? AND hash = ?)"
        }
        None => "NOT EXISTS (SELECT 1 FROM site_journal)",
    };
    // It holds question marks and nothing that came from anywhere.
    let insert = AssertSqlSafe(format!(
        "INSERT INTO site_journal (idx, time_ms, card, member, grant_id, unit, file, previous, hash) \
         SELECT * FROM (VALUES {places}) WHERE {condition}"
    ));
    let mut insert = sqlx::query(insert);
    for row in rows {
        insert = bind(insert, row);
    }
    if let Some(last) = last {
        insert = bind(insert.bind(signed(last.index)), last);
    }
    Ok(insert.execute(connection).await?.rows_affected() > 0)
}

/// A row's fields, as they stand in the table, with its hash.
fn bind<'q>(query: Query<'q, Any, AnyArguments>, row: &Row) -> Query<'q, Any, AnyArguments> {
    query
        .bind(signed(row.index))
        .bind(signed(row.time))
        .bind(row.card.as_bytes().to_vec())
        .bind(row.member.as_bytes().to_vec())
        .bind(row.grant.as_bytes().to_vec())
        .bind(row.unit.as_bytes().to_vec())
        .bind(row.file.as_bytes().to_vec())
        .bind(row.previous.as_bytes().to_vec())
        .bind(row.hash().as_bytes().to_vec())
}
