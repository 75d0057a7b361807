//! The audit journal: one row for each partial, hash-chained, durable before the HSM computes (P-7.2, invariant I2).

use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection, SqlitePool};
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use super::check::MayAnswer;
use super::error::SiteError;
use super::store::{digest_of, id_of, signed, unsigned};

const DOMAIN: &[u8] = b"warifu/journal/v1";

/// That the audit record of one item is durable. Only [`Journal::record`] makes one; the HSM's step takes it by value, so
/// that nothing is computed twice for one record, and nothing without one.
pub(super) struct AuditRecorded(MayAnswer);

impl AuditRecorded {
    /// What may be computed, once.
    pub(super) fn spend(self) -> MayAnswer {
        self.0
    }
}

/// One row of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place, from 0.
    pub index: u64,
    /// Site time.
    pub time: Millis,
    /// The card that asked.
    pub card: Id,
    /// Whose it is.
    pub member: Id,
    /// The grant it used.
    pub grant: Id,
    /// The unit whose file it is.
    pub unit: Id,
    /// SHA-256 of `x(R)`.
    pub file: Digest,
    /// [`Entry::hash`] of the entry before; [`genesis`] for the first.
    pub previous: Digest,
}

/// What the first entry of a site's journal follows:
/// SHA-256 over `"warifu/journal/v1" ‖ organization (32) ‖ site (16)`.
#[must_use]
pub fn genesis(organization: &Digest, site: &Id) -> Digest {
    Digest::of(&[DOMAIN, organization.as_bytes(), site.as_bytes()].concat())
}

impl Entry {
    /// SHA-256 over `"warifu/journal/v1" ‖ index (8) ‖ time (8) ‖ card (16) ‖ member (16) ‖ grant (16) ‖ unit (16) ‖
    /// file (32) ‖ previous (32)`, integers big-endian.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut hash = Sha256::new_with_prefix(DOMAIN);
        hash.update(self.index.to_be_bytes());
        hash.update(self.time.to_be_bytes());
        for id in [self.card, self.member, self.grant, self.unit] {
            hash.update(id.as_bytes());
        }
        hash.update(self.file.as_bytes());
        hash.update(self.previous.as_bytes());
        Digest(hash.finalize().into())
    }

    fn of_row(row: &SqliteRow) -> Result<Self, SiteError> {
        let entry = Self {
            index: unsigned(row.try_get("idx")?),
            time: unsigned(row.try_get("time_ms")?),
            card: id_of(row.try_get("card")?)?,
            member: id_of(row.try_get("member")?)?,
            grant: id_of(row.try_get("grant_id")?)?,
            unit: id_of(row.try_get("unit")?)?,
            file: digest_of(row.try_get("file")?)?,
            previous: digest_of(row.try_get("previous")?)?,
        };
        if digest_of(row.try_get("hash")?)? != entry.hash() {
            return Err(SiteError::Damaged { what: "journal entry" });
        }
        Ok(entry)
    }
}

/// The journal of one site.
#[derive(Clone)]
pub struct Journal {
    pool: SqlitePool,
}

impl Journal {
    /// The journal in that database.
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// Writes one entry for each answer that may be given, all in one transaction, and returns when they are durable.
    pub(super) async fn record(
        &self,
        genesis: Digest,
        answers: Vec<MayAnswer>,
    ) -> Result<Vec<AuditRecorded>, SiteError> {
        if answers.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let last = last(&mut transaction).await?;
        let (mut index, mut previous) =
            last.map_or((0, genesis), |last| (last.index.saturating_add(1), last.hash()));
        for answer in &answers {
            let entry = Entry {
                index,
                time: answer.time(),
                card: answer.card(),
                member: answer.member(),
                grant: answer.grant(),
                unit: answer.unit(),
                file: answer.file(),
                previous,
            };
            previous = entry.hash();
            insert(&mut transaction, &entry, &previous).await?;
            index += 1;
        }
        transaction.commit().await?;
        Ok(answers.into_iter().map(AuditRecorded).collect())
    }

    /// Up to `limit` entries from index `from` on, each checked against its own hash and the one before it.
    ///
    /// # Errors
    /// [`SiteError::Damaged`] where the chain is broken.
    pub async fn entries(&self, from: u64, limit: u32) -> Result<Vec<Entry>, SiteError> {
        let rows = sqlx::query("SELECT * FROM site_journal WHERE idx >= ? ORDER BY idx LIMIT ?")
            .bind(signed(from))
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        let entries = rows.iter().map(Entry::of_row).collect::<Result<Vec<_>, _>>()?;
        let linked = entries
            .iter()
            .zip(entries.iter().skip(1))
            .all(|(one, next)| one.hash() == next.previous && one.index.checked_add(1) == Some(next.index));
        if linked { Ok(entries) } else { Err(SiteError::Damaged { what: "journal" }) }
    }
}

async fn last(connection: &mut SqliteConnection) -> Result<Option<Entry>, SiteError> {
    let row = sqlx::query("SELECT * FROM site_journal ORDER BY idx DESC LIMIT 1")
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(Entry::of_row).transpose()
}

async fn insert(connection: &mut SqliteConnection, entry: &Entry, hash: &Digest) -> Result<(), SiteError> {
    sqlx::query(
        "INSERT INTO site_journal (idx, time_ms, card, member, grant_id, unit, file, previous, hash) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(signed(entry.index))
    .bind(signed(entry.time))
    .bind(entry.card.as_bytes().as_slice())
    .bind(entry.member.as_bytes().as_slice())
    .bind(entry.grant.as_bytes().as_slice())
    .bind(entry.unit.as_bytes().as_slice())
    .bind(entry.file.as_bytes().as_slice())
    .bind(entry.previous.as_bytes().as_slice())
    .bind(hash.as_bytes().as_slice())
    .execute(connection)
    .await?;
    Ok(())
}
