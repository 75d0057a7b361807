//! Writing the journal: many requests at once share one commit.
//!
//! One task writes. It takes all that waits, writes it in one transaction, and tells each request when its rows are durable;
//! what comes meanwhile waits for the next one. So a row costs its share of a sync of the disk, and a site that is not busy
//! waits for nobody.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AnyConnection, AnyPool};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::sleep;
use warifu_api::error::{ErrorBody, ErrorCode};
use warifu_crash_point::{Guard, stands, waiting, within};
use warifu_ledger::journal::{Position, Row};
use warifu_ledger::{Digest, Id};

use super::{Stored, journal_id};
use crate::site::check::MayAnswer;
use crate::site::error::SiteError;
use crate::site::gate::Turn;
use crate::site::store::signed;

/// Requests that wait for the writer before others wait for them.
const WAITING: usize = 256;
/// No further request is taken into a commit that has so many rows.
const ENOUGH_ROWS: usize = 4096;
/// How long a request waits for the journal to be compared with what the kms has of it, after a start.
const PATIENCE: Duration = Duration::from_secs(10);

/// That the audit record of one item is durable. Only [`Recorder::record`] makes one; the HSM's step takes it by value, so
/// that nothing is computed twice for one record, and nothing without one.
pub(in crate::site) struct AuditRecorded(MayAnswer);

impl AuditRecorded {
    /// What may be computed, once.
    pub(in crate::site) fn spend(self) -> MayAnswer {
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
    answers: Vec<MayAnswer>,
    recorded: oneshot::Sender<Result<Vec<AuditRecorded>, SiteError>>,
}

impl Recorder {
    /// The recorder, and the task that writes.
    pub(in crate::site) fn new(pool: AnyPool) -> (Self, impl Future<Output = ()> + Send) {
        let (requests, waiting) = mpsc::channel(WAITING);
        let written = Arc::new(Notify::new());
        let recorder = Self { requests, compared: watch::Sender::new(false), written: written.clone() };
        (recorder, write(pool, waiting, written))
    }

    /// From now on rows may be written.
    pub(super) fn compared(&self) {
        self.compared.send_replace(true);
    }

    /// Writes one row for each answer that may be given, and returns when all of them are durable.
    pub(in crate::site) async fn record(
        &self,
        organization: Digest,
        site: Id,
        turn: Arc<Turn>,
        answers: Vec<MayAnswer>,
    ) -> Result<Vec<AuditRecorded>, SiteError> {
        if answers.is_empty() {
            return Ok(Vec::new());
        }
        if !stands(Guard::JournalFirst) {
            return Ok(answers.into_iter().map(AuditRecorded).collect());
        }
        let mut compared = self.compared.subscribe();
        let ready = async { compared.wait_for(|compared| *compared).await.is_ok() };
        if !within(sleep(PATIENCE), waiting(ready)).await.unwrap_or(false) {
            let why = "the audit journal has not been compared with the kms's copy yet";
            return Err(SiteError::Refused(ErrorBody::new(ErrorCode::NotReady, why)));
        }
        let (recorded, durable) = oneshot::channel();
        let request = Request { organization, site, turn, answers, recorded };
        self.requests.send(request).await.map_err(|_| SiteError::ShuttingDown)?;
        durable.await.map_err(|_| SiteError::ShuttingDown)?
    }
}

async fn write(pool: AnyPool, mut waiting: mpsc::Receiver<Request>, written: Arc<Notify>) {
    while let Some(first) = waiting.recv().await {
        let mut rows = first.answers.len();
        let mut batch = vec![first];
        while rows < ENOUGH_ROWS
            && let Ok(next) = waiting.try_recv()
        {
            rows += next.answers.len();
            batch.push(next);
        }
        let outcome = commit(&pool, &batch).await;
        if outcome.is_ok() {
            written.notify_one();
        }
        let failed = outcome.err().map(Arc::new);
        for Request { answers, recorded, turn, .. } in batch {
            // Whoever asked may be gone; then nothing is computed for the rows.
            let _ = recorded.send(match &failed {
                None => Ok(answers.into_iter().map(AuditRecorded).collect()),
                Some(error) => Err(SiteError::NotRecorded(error.clone())),
            });
            drop(turn);
        }
    }
}

async fn commit(pool: &AnyPool, batch: &[Request]) -> Result<(), SiteError> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let last = last(&mut transaction).await?;
    // Who asked first may be written last; time does not go back for that (P-5.5).
    let mut time = last.as_ref().map_or(0, |row| row.time);
    let mut position = last.map(|row| Position { size: row.index.saturating_add(1), head: row.hash() });
    for request in batch {
        for answer in &request.answers {
            let before = match position {
                Some(position) => position,
                None => {
                    let journal = journal_id(&mut transaction).await?;
                    Position::start(&request.organization, &request.site, &journal)
                }
            };
            time = time.max(answer.time());
            let row = Row {
                index: before.size,
                time,
                card: answer.card(),
                member: answer.member(),
                grant: answer.grant(),
                unit: answer.unit(),
                file: answer.file(),
                previous: before.head,
            };
            let hash = row.hash();
            insert(&mut transaction, &row, &hash).await?;
            position = Some(Position { size: before.size.saturating_add(1), head: hash });
        }
    }
    transaction.commit().await?;
    Ok(())
}

pub(super) async fn last(connection: &mut AnyConnection) -> Result<Option<Row>, SiteError> {
    let row = sqlx::query("SELECT * FROM site_journal ORDER BY idx DESC LIMIT 1")
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(|row| Stored::of_row(row)?.checked()).transpose()
}

async fn insert(connection: &mut AnyConnection, row: &Row, hash: &Digest) -> Result<(), SiteError> {
    sqlx::query(
        "INSERT INTO site_journal (idx, time_ms, card, member, grant_id, unit, file, previous, hash) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(signed(row.index))
    .bind(signed(row.time))
    .bind(row.card.as_bytes().as_slice())
    .bind(row.member.as_bytes().as_slice())
    .bind(row.grant.as_bytes().as_slice())
    .bind(row.unit.as_bytes().as_slice())
    .bind(row.file.as_bytes().as_slice())
    .bind(row.previous.as_bytes().as_slice())
    .bind(hash.as_bytes().as_slice())
    .execute(connection)
    .await?;
    Ok(())
}
