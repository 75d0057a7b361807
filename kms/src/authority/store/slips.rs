//! Slips, and what sites have released of them for others, until they are over.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::any::AnyRow;
use warifu_api::wire::routing::Batch;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use super::{Result, Store, bytes, id, to_sql, unsigned};
use crate::authority::error::AuthorityError;

const DAMAGED: AuthorityError = AuthorityError::Damaged { what: "slip" };

/// What one site has released for another.
pub(crate) struct KeptParcel {
    pub(crate) place: u64,
    pub(crate) batch: Digest,
    /// Leaves of the ledger when it came.
    pub(crate) size: u64,
    pub(crate) released: Envelope,
}

impl Store {
    /// Keeps a batch, once.
    pub(crate) async fn keep_slips(&self, batch: &Batch, expires_at: Millis, now: Millis) -> Result<()> {
        sqlx::query(
            "INSERT INTO slip_batch (digest, brought, expires_at, waiting_since) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        )
        .bind(batch.slips.digest().as_bytes().as_slice())
        .bind(serde_json::to_string(batch)?)
        .bind(to_sql(expires_at))
        .bind(to_sql(now))
        .execute(&self.0)
        .await?;
        Ok(())
    }

    pub(crate) async fn slips(&self, batch: &Digest) -> Result<Option<Batch>> {
        let row = sqlx::query("SELECT brought FROM slip_batch WHERE digest = $1")
            .bind(batch.as_bytes().as_slice())
            .fetch_optional(&self.0)
            .await?;
        row.map(|row| serde_json::from_str(row.try_get("brought")?).map_err(|_| DAMAGED)).transpose()
    }

    /// Keeps what a site has released for another, the first time; its place.
    pub(crate) async fn keep_released(
        &self,
        batch: &Digest,
        (by, to): (&Id, &Id),
        size: u64,
        released: &Envelope,
    ) -> Result<u64> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "INSERT INTO slip_parcel (batch, by_site, to_site, size, released) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (batch, by_site, to_site) DO NOTHING",
        )
        .bind(batch.as_bytes().as_slice())
        .bind(bytes(by))
        .bind(bytes(to))
        .bind(to_sql(size))
        .bind(serde_json::to_string(released)?)
        .execute(&mut *transaction)
        .await?;
        let row =
            sqlx::query("SELECT place FROM slip_parcel WHERE batch = $1 AND by_site = $2 AND to_site = $3")
                .bind(batch.as_bytes().as_slice())
                .bind(bytes(by))
                .bind(bytes(to))
                .fetch_one(&mut *transaction)
                .await?;
        transaction.commit().await?;
        unsigned(&row, "place")
    }

    /// Up to `limit` parcels for a site after a place, in the order in which they came.
    pub(crate) async fn parcels(&self, to: &Id, after: u64, limit: usize) -> Result<Vec<KeptParcel>> {
        let rows = sqlx::query(
            "SELECT place, batch, size, released FROM slip_parcel WHERE to_site = $1 AND place > $2
             ORDER BY place LIMIT $3",
        )
        .bind(bytes(to))
        .bind(to_sql(after))
        .bind(to_sql(limit as u64))
        .fetch_all(&self.0)
        .await?;
        rows.iter()
            .map(|row| {
                let released = serde_json::from_str(row.try_get("released")?).map_err(|_| DAMAGED)?;
                let (place, size) = (unsigned(row, "place")?, unsigned(row, "size")?);
                Ok(KeptParcel { place, batch: digest(row, "batch")?, size, released })
            })
            .collect()
    }

    /// The place of each site's newest parcel.
    pub(crate) async fn newest_parcels(&self) -> Result<BTreeMap<Id, u64>> {
        let rows = sqlx::query("SELECT to_site, MAX(place) AS place FROM slip_parcel GROUP BY to_site")
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(|row| Ok((id(row, "to_site")?, unsigned(row, "place")?))).collect()
    }

    /// Batches that are not in the ledger yet, those that wait longest first, each with since when.
    pub(crate) async fn waiting_slips(&self, limit: usize) -> Result<Vec<(Millis, Digest)>> {
        let rows = sqlx::query(
            "SELECT waiting_since, digest FROM slip_batch WHERE waiting_since IS NOT NULL
             ORDER BY waiting_since, digest LIMIT $1",
        )
        .bind(to_sql(limit as u64))
        .fetch_all(&self.0)
        .await?;
        rows.iter().map(|row| Ok((unsigned(row, "waiting_since")?, digest(row, "digest")?))).collect()
    }

    /// These are in the ledger.
    pub(crate) async fn slips_committed(&self, slips: impl IntoIterator<Item = &Digest>) -> Result<()> {
        let mut transaction = self.write().await?;
        for batch in slips {
            sqlx::query("UPDATE slip_batch SET waiting_since = NULL WHERE digest = $1")
                .bind(batch.as_bytes().as_slice())
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Forgets what is over by its date and committed, with its parcels.
    pub(crate) async fn forget_slips(&self, now: Millis) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "DELETE FROM slip_parcel WHERE batch IN
             (SELECT digest FROM slip_batch WHERE expires_at <= $1 AND waiting_since IS NULL)",
        )
        .bind(to_sql(now))
        .execute(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM slip_batch WHERE expires_at <= $1 AND waiting_since IS NULL")
            .bind(to_sql(now))
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Forgets what was released of slips that were revoked, all of a batch.
    pub(crate) async fn forget_parcels(&self, batch: &Digest) -> Result<()> {
        sqlx::query("DELETE FROM slip_parcel WHERE batch = $1")
            .bind(batch.as_bytes().as_slice())
            .execute(&self.0)
            .await?;
        Ok(())
    }
}

fn digest(row: &AnyRow, column: &str) -> Result<Digest> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map(Digest).map_err(|_| DAMAGED)
}
