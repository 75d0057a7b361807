//! The authority's own tables. Every function is one transaction.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::{AnyExecutor, AnyRow};
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Row as _, Transaction};
use warifu_api::crl::CrlSummary;
use warifu_api::wire::authority::{CertificateKind, CrlIssuer, PukEscrow};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, Bytes};
use warifu_ledger::register::Record;
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};
use warifu_replica::storage;
use warifu_split_key::point::Point;

pub(crate) mod deliveries;
mod grants;
mod journals;
mod slips;
mod trusts;

pub(crate) use grants::{CardShareRow, KeyKept, card_share, wrapped_to};
pub(crate) use journals::KeptRows;
pub(crate) use slips::KeptParcel;
pub(crate) use trusts::KeptDirectory;

use super::error::AuthorityError;

mod proposals;

pub(crate) use proposals::KeptProposal;

type Result<T> = std::result::Result<T, AuthorityError>;

/// Stamps older than this are forgotten: their leases, of at most a day, are long over.
const STAMPS_KEPT_MS: Millis = 30 * 24 * 60 * 60 * 1000;

/// Receipts that are written with one statement.
const RECEIPTS_AT_ONCE: usize = 64;

/// Where a statement stands in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) digest: Digest,
    pub(crate) position: u64,
    pub(crate) at: Millis,
    pub(crate) is_order: bool,
    /// The lease that the policy set before this entry.
    pub(crate) lease_ms: u64,
}

/// A receipt that a site has handed over.
pub(crate) struct ReceivedReceipt {
    pub(crate) order: Digest,
    pub(crate) site: Id,
    pub(crate) envelope: Envelope,
    pub(crate) received_at: Millis,
}

#[derive(Clone)]
pub(crate) struct Store(AnyPool);

fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(row: &AnyRow, column: &str) -> Result<u64> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| AuthorityError::Damaged { what: "number" })
}

fn record_of(row: &AnyRow, id: Id) -> Result<Record> {
    let key: Vec<u8> = row.try_get("key")?;
    let key = key.try_into().map_err(|_| AuthorityError::Damaged { what: "record" })?;
    Ok(Record { id, key: Base64(key), text: row.try_get("text")? })
}

fn id(row: &AnyRow, column: &str) -> Result<Id> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map(Id).map_err(|_| AuthorityError::Damaged { what: "id" })
}

fn point(row: &AnyRow, column: &str) -> Result<Point> {
    let bytes: Vec<u8> = row.try_get(column)?;
    Point::from_sec1(&bytes).map_err(|_| AuthorityError::Damaged { what: "point" })
}

fn bytes(id: &Id) -> &[u8] {
    id.as_bytes()
}

fn kind(kind: CertificateKind) -> &'static str {
    match kind {
        CertificateKind::Authority => "authority",
        CertificateKind::Service => "service",
        CertificateKind::CardAuthentication => "card-authentication",
        CertificateKind::CardSignature => "card-signature",
        CertificateKind::CardShare => "card-share",
        CertificateKind::Unit => "unit",
    }
}

impl Store {
    pub(crate) fn new(pool: AnyPool) -> Self {
        Self(pool)
    }

    async fn write(&self) -> Result<Transaction<'static, Any>> {
        Ok(storage::begin(&self.0).await?)
    }

    // Entries and records.

    pub(crate) async fn entry(&self, digest: &Digest) -> Result<Option<Entry>> {
        entry(&self.0, digest).await
    }

    /// Adds records that are not there yet.
    pub(crate) async fn add_records(&self, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut transaction = self.write().await?;
        insert_records(&mut transaction, records).await?;
        Ok(transaction.commit().await?)
    }

    pub(crate) async fn record(&self, record: &Id) -> Result<Option<Record>> {
        let row = sqlx::query("SELECT key, text FROM record WHERE id = $1")
            .bind(bytes(record))
            .fetch_optional(&self.0)
            .await?;
        row.map(|row| record_of(&row, *record)).transpose()
    }

    pub(crate) async fn records(&self) -> Result<Vec<Record>> {
        let rows = sqlx::query("SELECT id, key, text FROM record").fetch_all(&self.0).await?;
        rows.iter().map(|row| record_of(row, id(row, "id")?)).collect()
    }

    pub(crate) async fn texts(&self) -> Result<BTreeMap<Id, String>> {
        let rows = sqlx::query("SELECT id, text FROM record").fetch_all(&self.0).await?;
        rows.iter().map(|row| Ok((id(row, "id")?, row.try_get("text")?))).collect()
    }

    // Stamps.

    /// The time of the last stamp given to anybody.
    pub(crate) async fn last_stamp(&self) -> Result<Millis> {
        last_stamp(&self.0).await
    }

    /// Time and lease of the last stamp that `site` was given while the ledger had at most `size` entries.
    pub(crate) async fn stamp_before(&self, site: &Id, size: u64) -> Result<Option<(Millis, u64)>> {
        let row = sqlx::query(
            "SELECT time, lease_ms FROM stamp_given WHERE site = $1 AND size <= $2 ORDER BY size DESC LIMIT 1",
        )
        .bind(bytes(site))
        .bind(to_sql(size))
        .fetch_optional(&self.0)
        .await?;
        row.map(|row| Ok((unsigned(&row, "time")?, unsigned(&row, "lease_ms")?))).transpose()
    }

    // Units.

    pub(crate) async fn keeper_half(&self, unit: &Id) -> Result<Option<Vec<u8>>> {
        let row = sqlx::query("SELECT sealed FROM keeper_half WHERE unit = $1")
            .bind(bytes(unit))
            .fetch_optional(&self.0)
            .await?;
        row.map(|row| Ok(row.try_get("sealed")?)).transpose()
    }

    pub(crate) async fn keep_half(&self, unit: &Id, sealed: &[u8]) -> Result<()> {
        sqlx::query("INSERT INTO keeper_half (unit, sealed) VALUES ($1, $2)")
            .bind(bytes(unit))
            .bind(sealed)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    // PUKs.

    pub(crate) async fn keep_puk(&self, card: &Id, escrow: &PukEscrow) -> Result<()> {
        let seals =
            serde_json::to_string(&escrow.seals).map_err(|_| AuthorityError::Damaged { what: "PUK" })?;
        sqlx::query(
            "INSERT INTO puk (card, seals) VALUES ($1, $2)
             ON CONFLICT (card) DO UPDATE SET seals = excluded.seals",
        )
        .bind(bytes(card))
        .bind(seals)
        .execute(&self.0)
        .await?;
        Ok(())
    }

    pub(crate) async fn puk(&self, card: &Id) -> Result<Option<PukEscrow>> {
        let row = sqlx::query("SELECT seals FROM puk WHERE card = $1")
            .bind(bytes(card))
            .fetch_optional(&self.0)
            .await?;
        row.map(|row| {
            let seals: String = row.try_get("seals")?;
            let seals = serde_json::from_str(&seals).map_err(|_| AuthorityError::Damaged { what: "PUK" })?;
            Ok(PukEscrow { seals })
        })
        .transpose()
    }

    pub(crate) async fn cards_with_puk(&self) -> Result<BTreeSet<Id>> {
        let rows = sqlx::query("SELECT card FROM puk").fetch_all(&self.0).await?;
        rows.iter().map(|row| id(row, "card")).collect()
    }

    pub(crate) async fn forget_puks(&self, cards: &BTreeSet<Id>) -> Result<()> {
        let mut transaction = self.write().await?;
        for card in cards {
            sqlx::query("DELETE FROM puk WHERE card = $1")
                .bind(bytes(card))
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    // Certificates.

    pub(crate) async fn keep_certificate(
        &self,
        of: CertificateKind,
        whose: &Id,
        chain: &[Bytes],
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO certificate (kind, id, chain) VALUES ($1, $2, $3)
             ON CONFLICT (kind, id) DO UPDATE SET chain = excluded.chain",
        )
        .bind(kind(of))
        .bind(bytes(whose))
        .bind(serde_json::to_string(chain)?)
        .execute(&self.0)
        .await?;
        Ok(())
    }

    pub(crate) async fn certificate(&self, of: CertificateKind, whose: &Id) -> Result<Option<Vec<Bytes>>> {
        let row = sqlx::query("SELECT chain FROM certificate WHERE kind = $1 AND id = $2")
            .bind(kind(of))
            .bind(bytes(whose))
            .fetch_optional(&self.0)
            .await?;
        row.map(|row| {
            let chain: String = row.try_get("chain")?;
            serde_json::from_str(&chain).map_err(|_| AuthorityError::Damaged { what: "certificate" })
        })
        .transpose()
    }

    /// Keeps a CRL, unless there is one with its number or a larger one; the one that is kept then.
    pub(crate) async fn keep_crl(
        &self,
        issuer: CrlIssuer,
        summary: CrlSummary,
        der: &[u8],
    ) -> Result<Vec<u8>> {
        sqlx::query(
            "INSERT INTO crl (issuer, number, this_update, next_update, der) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (issuer) DO UPDATE SET number = $2, this_update = $3, next_update = $4, der = $5
             WHERE crl.number < $2",
        )
        .bind(issuer.name())
        .bind(to_sql(summary.number))
        .bind(to_sql(summary.this_update))
        .bind(to_sql(summary.next_update))
        .bind(der)
        .execute(&self.0)
        .await?;
        self.crl(issuer).await?.ok_or(AuthorityError::Damaged { what: "CRL" })
    }

    /// The newest CRL of this issuer, DER.
    pub(crate) async fn crl(&self, issuer: CrlIssuer) -> Result<Option<Vec<u8>>> {
        let row = sqlx::query("SELECT der FROM crl WHERE issuer = $1")
            .bind(issuer.name())
            .fetch_optional(&self.0)
            .await?;
        row.map(|row| Ok(row.try_get("der")?)).transpose()
    }

    // Receipts.

    /// Keeps the first receipt of each site for each order; all or none.
    pub(crate) async fn keep_receipts(&self, receipts: &[ReceivedReceipt]) -> Result<()> {
        let mut transaction = self.write().await?;
        // Each statement is a walk to the database's thread and back.
        for some in receipts.chunks(RECEIPTS_AT_ONCE) {
            let rows = (0..some.len()).map(|row| {
                let [order, site, envelope, at] = [1, 2, 3, 4].map(|column| 4 * row + column);
                format!("(${order}, ${site}, ${envelope}, ${at})")
            });
            let rows = rows.collect::<Vec<_>>().join(", ");
            let insert = format!(
                "INSERT INTO receipt (order_digest, site, envelope, received_at) VALUES {rows} ON CONFLICT DO NOTHING"
            );
            // It holds numbers of places and nothing else that came from anywhere.
            let mut insert = sqlx::query(AssertSqlSafe(insert));
            for receipt in some {
                insert = insert
                    .bind(receipt.order.as_bytes().as_slice())
                    .bind(bytes(&receipt.site))
                    .bind(serde_json::to_string(&receipt.envelope)?)
                    .bind(to_sql(receipt.received_at));
            }
            insert.execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    pub(crate) async fn receipts(&self, order: &Digest) -> Result<BTreeMap<Id, (Envelope, Millis)>> {
        let rows = sqlx::query("SELECT site, envelope, received_at FROM receipt WHERE order_digest = $1")
            .bind(order.as_bytes().as_slice())
            .fetch_all(&self.0)
            .await?;
        rows.iter()
            .map(|row| {
                let text: String = row.try_get("envelope")?;
                let envelope =
                    serde_json::from_str(&text).map_err(|_| AuthorityError::Damaged { what: "receipt" })?;
                Ok((id(row, "site")?, (envelope, unsigned(row, "received_at")?)))
            })
            .collect()
    }

    // Cosignatures.

    /// Keeps a cosigned checkpoint unless a larger one is there.
    pub(crate) async fn keep_cosignature(&self, size: u64, note: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO cosignature (one, size, note) VALUES (1, $1, $2)
             ON CONFLICT (one) DO UPDATE SET size = excluded.size, note = excluded.note
             WHERE excluded.size > cosignature.size",
        )
        .bind(to_sql(size))
        .bind(note)
        .execute(&self.0)
        .await?;
        Ok(())
    }

    /// Size and note of the newest checkpoint that the ca cosigned.
    pub(crate) async fn cosignature(&self) -> Result<Option<(u64, String)>> {
        let row = sqlx::query("SELECT size, note FROM cosignature").fetch_optional(&self.0).await?;
        row.map(|row| Ok((unsigned(&row, "size")?, row.try_get("note")?))).transpose()
    }
}

/// Where a statement stands, as of this transaction.
pub(crate) async fn entry(database: impl AnyExecutor<'_>, digest: &Digest) -> Result<Option<Entry>> {
    let row = sqlx::query("SELECT position, at, is_order, lease_ms FROM entry WHERE digest = $1")
        .bind(digest.as_bytes().as_slice())
        .fetch_optional(database)
        .await?;
    row.map(|row| {
        Ok(Entry {
            digest: *digest,
            position: unsigned(&row, "position")?,
            at: unsigned(&row, "at")?,
            is_order: unsigned(&row, "is_order")? != 0,
            lease_ms: unsigned(&row, "lease_ms")?,
        })
    })
    .transpose()
}

/// Writes beside a leaf where it stands, and what it points to.
pub(crate) async fn put_entry(
    transaction: &mut AnyConnection,
    entry: &Entry,
    records: &[Record],
) -> Result<()> {
    insert_records(transaction, records).await?;
    sqlx::query("INSERT INTO entry (digest, position, at, is_order, lease_ms) VALUES ($1, $2, $3, $4, $5)")
        .bind(entry.digest.as_bytes().as_slice())
        .bind(to_sql(entry.position))
        .bind(to_sql(entry.at))
        .bind(i64::from(entry.is_order))
        .bind(to_sql(entry.lease_ms))
        .execute(transaction)
        .await?;
    Ok(())
}

async fn insert_records(transaction: &mut AnyConnection, records: &[Record]) -> Result<()> {
    for record in records {
        sqlx::query("INSERT INTO record (id, key, text) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING")
            .bind(bytes(&record.id))
            .bind(record.key.0.as_slice())
            .bind(&record.text)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(())
}

/// The time of the last stamp given to anybody, as of this transaction.
pub(crate) async fn last_stamp(database: impl AnyExecutor<'_>) -> Result<Millis> {
    let row = sqlx::query("SELECT time FROM stamp_clock").fetch_optional(database).await?;
    row.map_or(Ok(0), |row| unsigned(&row, "time"))
}

/// Writes what a stamp is about to say to `site`.
pub(crate) async fn put_stamp(
    transaction: &mut AnyConnection,
    site: &Id,
    size: u64,
    time: Millis,
    lease_ms: u64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO stamp_clock (one, time) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET time = excluded.time",
    )
    .bind(to_sql(time))
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO stamp_given (site, size, time, lease_ms) VALUES ($1, $2, $3, $4)
         ON CONFLICT (site, size) DO UPDATE SET time = excluded.time",
    )
    .bind(bytes(site))
    .bind(to_sql(size))
    .bind(to_sql(time))
    .bind(to_sql(lease_ms))
    .execute(&mut *transaction)
    .await?;
    sqlx::query("DELETE FROM stamp_given WHERE site = $1 AND time < $2")
        .bind(bytes(site))
        .bind(to_sql(time.saturating_sub(STAMPS_KEPT_MS)))
        .execute(&mut *transaction)
        .await?;
    Ok(())
}
