//! The audit journals of sites.

use sqlx::any::AnyRow;
use sqlx::{Any, Row as _, Transaction};
use warifu_api::wire::audit::{AlarmKind, CollectedJournal, JournalAlarm, Opening};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::{Position, Row, SignedHead};
use warifu_ledger::key::Base64;
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use super::{Result, Store, bytes, id, to_sql, unsigned};
use crate::authority::error::AuthorityError;

const DAMAGED: AuthorityError = AuthorityError::Damaged { what: "journal" };

fn digest(row: &AnyRow, column: &str) -> Result<Digest> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map(Digest).map_err(|_| DAMAGED)
}

fn head_of(row: &AnyRow) -> Result<SignedHead> {
    let signature: Vec<u8> = row.try_get("signature")?;
    Ok(SignedHead {
        site: id(row, "site")?,
        journal: id(row, "journal")?,
        size: unsigned(row, "size")?,
        head: digest(row, "head")?,
        time: unsigned(row, "time")?,
        signature: Base64(signature.try_into().map_err(|_| DAMAGED)?),
    })
}

fn collected_of(row: &AnyRow) -> Result<CollectedJournal> {
    let head = head_of(row)?;
    Ok(CollectedJournal { site: head.site, head, received_at: unsigned(row, "received_at")? })
}

fn row_of(row: &AnyRow) -> Result<Row> {
    Ok(Row {
        index: unsigned(row, "idx")?,
        time: unsigned(row, "time")?,
        card: id(row, "card")?,
        member: id(row, "member")?,
        grant: id(row, "grant_id")?,
        unit: id(row, "unit")?,
        file: digest(row, "file")?,
        previous: digest(row, "previous")?,
    })
}

/// What was kept of rows that a site sent.
pub(crate) struct KeptRows<'a> {
    pub(crate) rows: &'a [Row],
    pub(crate) head: &'a SignedHead,
    pub(crate) now: Millis,
}

impl Store {
    /// The journals of one site, in the order in which they were begun.
    pub(crate) async fn journals(&self, site: &Id) -> Result<Vec<CollectedJournal>> {
        let rows = sqlx::query("SELECT * FROM journal WHERE site = $1 ORDER BY place")
            .bind(bytes(site))
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(collected_of).collect()
    }

    /// Up to `limit` journals from a place on, in the order in which they were begun, each with its place.
    pub(crate) async fn all_journals(&self, from: u64, limit: usize) -> Result<Vec<(u64, CollectedJournal)>> {
        let rows = sqlx::query("SELECT * FROM journal WHERE place >= $1 ORDER BY place LIMIT $2")
            .bind(to_sql(from))
            .bind(to_sql(limit as u64))
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(|row| Ok((unsigned(row, "place")?, collected_of(row)?))).collect()
    }

    /// Keeps rows that follow `before` and end in the head, unless others came first; whether it did.
    ///
    /// The first rows of a journal give up the one that its site wrote before: that is an alarm.
    pub(crate) async fn keep_rows(&self, before: Position, kept: &KeptRows<'_>) -> Result<bool> {
        let KeptRows { rows, head, now } = kept;
        let mut transaction = self.write().await?;
        let stored = sqlx::query("SELECT place, size, head FROM journal WHERE site = $1 AND journal = $2")
            .bind(bytes(&head.site))
            .bind(bytes(&head.journal))
            .fetch_optional(&mut *transaction)
            .await?;
        let place = match stored {
            Some(row) => {
                let position = Position { size: unsigned(&row, "size")?, head: digest(&row, "head")? };
                if position != before {
                    return Ok(false);
                }
                let place: i64 = row.try_get("place")?;
                sqlx::query(
                    "UPDATE journal SET size = $1, head = $2, time = $3, signature = $4, received_at = $5,
                     waiting_since = COALESCE(waiting_since, $6) WHERE place = $7",
                )
                .bind(to_sql(head.size))
                .bind(head.head.as_bytes().as_slice())
                .bind(to_sql(head.time))
                .bind(head.signature.0.as_slice())
                .bind(to_sql(*now))
                .bind(to_sql(*now))
                .bind(place)
                .execute(&mut *transaction)
                .await?;
                place
            }
            None if before.size != 0 => return Ok(false),
            None => {
                give_up_former(&mut transaction, &head.site, *now).await?;
                sqlx::query_scalar(
                    "INSERT INTO journal (site, journal, size, head, time, signature, received_at, waiting_since)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING place",
                )
                .bind(bytes(&head.site))
                .bind(bytes(&head.journal))
                .bind(to_sql(head.size))
                .bind(head.head.as_bytes().as_slice())
                .bind(to_sql(head.time))
                .bind(head.signature.0.as_slice())
                .bind(to_sql(*now))
                .bind(to_sql(*now))
                .fetch_one(&mut *transaction)
                .await?
            }
        };
        for row in *rows {
            sqlx::query(
                "INSERT INTO journal_row (place, idx, time, card, member, grant_id, unit, file, previous)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(place)
            .bind(to_sql(row.index))
            .bind(to_sql(row.time))
            .bind(bytes(&row.card))
            .bind(bytes(&row.member))
            .bind(bytes(&row.grant))
            .bind(bytes(&row.unit))
            .bind(row.file.as_bytes().as_slice())
            .bind(row.previous.as_bytes().as_slice())
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Keeps an alarm, once.
    pub(crate) async fn raise(&self, alarm: &JournalAlarm) -> Result<()> {
        let mut transaction = self.write().await?;
        raise_in(&mut transaction, alarm).await?;
        Ok(transaction.commit().await?)
    }

    /// Up to `limit` alarms from a number on, in the order in which they were found, each with its number.
    pub(crate) async fn journal_alarms(&self, from: u64, limit: usize) -> Result<Vec<(u64, JournalAlarm)>> {
        let rows = sqlx::query("SELECT * FROM journal_alarm WHERE number >= $1 ORDER BY number LIMIT $2")
            .bind(to_sql(from))
            .bind(to_sql(limit as u64))
            .fetch_all(&self.0)
            .await?;
        rows.iter()
            .map(|row| {
                let kind = match row.try_get("kind")? {
                    "broken" => AlarmKind::Broken,
                    _ => AlarmKind::GivenUp,
                };
                let alarm = JournalAlarm {
                    site: id(row, "site")?,
                    journal: id(row, "journal")?,
                    kind,
                    row: unsigned(row, "idx")?,
                    at: unsigned(row, "at")?,
                };
                Ok((unsigned(row, "number")?, alarm))
            })
            .collect()
    }

    pub(crate) async fn journal_rows(
        &self,
        site: &Id,
        journal: &Id,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Row>> {
        let rows = sqlx::query(
            "SELECT r.* FROM journal_row r JOIN journal j USING (place)
             WHERE j.site = $1 AND j.journal = $2 AND r.idx >= $3 ORDER BY r.idx LIMIT $4",
        )
        .bind(bytes(site))
        .bind(bytes(journal))
        .bind(to_sql(from))
        .bind(to_sql(limit as u64))
        .fetch_all(&self.0)
        .await?;
        rows.iter().map(row_of).collect()
    }

    /// The partials for a file, by time.
    pub(crate) async fn openings(&self, file: &Digest, limit: usize) -> Result<Vec<Opening>> {
        let rows = sqlx::query(
            "SELECT j.site, j.journal, r.* FROM journal_row r JOIN journal j USING (place)
             WHERE r.file = $1 ORDER BY r.time, r.place, r.idx LIMIT $2",
        )
        .bind(file.as_bytes().as_slice())
        .bind(to_sql(limit as u64))
        .fetch_all(&self.0)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Opening { site: id(row, "site")?, journal: id(row, "journal")?, row: row_of(row)? })
            })
            .collect()
    }

    /// The heads of journals whose rows wait to be committed, those that wait longest first.
    /// Each with since when, and with its place among all journals in the order in which they were begun.
    pub(crate) async fn waiting_heads(&self) -> Result<Vec<(Millis, u64, SignedHead)>> {
        let rows = sqlx::query(
            "SELECT * FROM journal WHERE waiting_since IS NOT NULL ORDER BY waiting_since, place",
        )
        .fetch_all(&self.0)
        .await?;
        rows.iter()
            .map(|row| Ok((unsigned(row, "waiting_since")?, unsigned(row, "place")?, head_of(row)?)))
            .collect()
    }

    /// These heads are in the ledger. What came meanwhile waits from now on.
    pub(crate) async fn heads_committed(&self, heads: Vec<(Id, Id, u64)>, now: Millis) -> Result<()> {
        let mut transaction = self.write().await?;
        for (site, journal, size) in heads {
            sqlx::query(
                "UPDATE journal SET waiting_since = CASE WHEN size > $1 THEN $2 END WHERE site = $3 AND journal = $4",
            )
            .bind(to_sql(size))
            .bind(to_sql(now))
            .bind(bytes(&site))
            .bind(bytes(&journal))
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Up to `limit` receipts from a place on, in the order in which they came, each with its place.
    pub(crate) async fn all_receipts(&self, from: u64, limit: usize) -> Result<Vec<(u64, Envelope)>> {
        let rows =
            sqlx::query("SELECT place, envelope FROM receipt WHERE place >= $1 ORDER BY place LIMIT $2")
                .bind(to_sql(from))
                .bind(to_sql(limit as u64))
                .fetch_all(&self.0)
                .await?;
        rows.iter()
            .map(|row| {
                let text: String = row.try_get("envelope")?;
                let envelope =
                    serde_json::from_str(&text).map_err(|_| AuthorityError::Damaged { what: "receipt" })?;
                Ok((unsigned(row, "place")?, envelope))
            })
            .collect()
    }
}

/// The journal that the site wrote before, if there is one, is written no more.
async fn give_up_former(transaction: &mut Transaction<'static, Any>, site: &Id, at: Millis) -> Result<()> {
    let former = sqlx::query("SELECT * FROM journal WHERE site = $1 ORDER BY place DESC LIMIT 1")
        .bind(bytes(site))
        .fetch_optional(&mut **transaction)
        .await?;
    let Some(row) = former else { return Ok(()) };
    let SignedHead { journal, size, .. } = head_of(&row)?;
    let alarm = JournalAlarm { site: *site, journal, kind: AlarmKind::GivenUp, row: size, at };
    raise_in(transaction, &alarm).await
}

async fn raise_in(transaction: &mut Transaction<'static, Any>, alarm: &JournalAlarm) -> Result<()> {
    sqlx::query(
        "INSERT INTO journal_alarm (site, journal, kind, idx, at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(bytes(&alarm.site))
    .bind(bytes(&alarm.journal))
    .bind(alarm.kind.name())
    .bind(to_sql(alarm.row))
    .bind(to_sql(alarm.at))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
