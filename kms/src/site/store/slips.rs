//! Slips that are here, and parts of their files: what cards brought, what waits to be brought to the kms, and what came from there.

use std::collections::BTreeSet;

use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, Row as _, Transaction};
use warifu_api::wire::routing::{Batch, Routed, ShownSlip, ShownSlips};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::PublicKey;
use warifu_ledger::slip::{ProvedSlip, SlipId, WAY_LIMIT};
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};
use warifu_split_key::routing::SEALED_PART;

use super::{Store, digest_of, id_of, signed, unsigned};
use crate::site::error::SiteError;

/// A part, sealed to this site.
pub(in crate::site) type Sealed = [u8; SEALED_PART];

/// Which part it is: the batch, the place of the slip, and the site that sent it.
pub(in crate::site) type PartKey = (Digest, u64, Id);

/// A slip by which a file may be opened here, and the parts that are here of it, by the site that sent them.
pub(in crate::site) struct Kept {
    pub(in crate::site) shown: ShownSlip,
    pub(in crate::site) parts: Vec<(Id, Sealed)>,
}

/// Slips that were accepted, with what this site computed of them.
pub(in crate::site) struct Accepted<'a> {
    pub(in crate::site) batch: &'a Batch,
    pub(in crate::site) expires_at: Millis,
    pub(in crate::site) answer: &'a Routed,
    pub(in crate::site) slips: &'a [ProvedSlip],
    pub(in crate::site) parts: &'a [(u64, Sealed)],
}

impl Store {
    /// What was answered to whoever brought this batch.
    pub(in crate::site) async fn routed(&self, batch: &Digest) -> Result<Option<Routed>, SiteError> {
        let text: Option<Option<String>> =
            sqlx::query_scalar("SELECT answer FROM site_slips WHERE batch = ?")
                .bind(batch.as_bytes().as_slice())
                .fetch_optional(&self.pool)
                .await?;
        text.flatten().map(|text| json(&text)).transpose()
    }

    /// How many slips of cards are here that were brought under this grant.
    pub(in crate::site) async fn brought_under(&self, grant: &Id) -> Result<u64, SiteError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM site_slip JOIN site_slips USING (batch) WHERE grant_id = ? AND answer IS NOT NULL",
        )
        .bind(grant.as_bytes().as_slice())
        .fetch_one(&self.pool)
        .await?;
        Ok(unsigned(count))
    }

    /// Keeps what was accepted here, for the kms, with the parts sealed to this site.
    pub(in crate::site) async fn put_accepted(
        &self,
        site: &Id,
        grant: &Id,
        accepted: &Accepted<'_>,
    ) -> Result<(), SiteError> {
        let digest = accepted.batch.slips.digest();
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO site_slips (batch, grant_id, envelope, expires_at, answer) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (batch) DO UPDATE SET answer = excluded.answer",
        )
        .bind(digest.as_bytes().as_slice())
        .bind(grant.as_bytes().as_slice())
        .bind(text(&accepted.batch.slips)?)
        .bind(signed(accepted.expires_at))
        .bind(text(accepted.answer)?)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("INSERT INTO site_outbox (batch, brought) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(digest.as_bytes().as_slice())
            .bind(text(accepted.batch)?)
            .execute(&mut *transaction)
            .await?;
        for proved in accepted.slips {
            insert_slip(&mut transaction, &digest, proved).await?;
        }
        for (index, sealed) in accepted.parts {
            insert_part(&mut transaction, &digest, *index, site, sealed).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Keeps what came from the kms, and that it has come.
    pub(in crate::site) async fn put_parcel(
        &self,
        place: u64,
        slips: &[(ShownSlips, Id, Millis)],
        from: &Id,
        parts: &[(SlipId, Sealed)],
    ) -> Result<(), SiteError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for (slips, grant, expires_at) in slips {
            let digest = slips.slips.digest();
            sqlx::query(
                "INSERT INTO site_slips (batch, grant_id, envelope, expires_at) VALUES (?, ?, ?, ?) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(digest.as_bytes().as_slice())
            .bind(grant.as_bytes().as_slice())
            .bind(text(&slips.slips)?)
            .bind(signed(*expires_at))
            .execute(&mut *transaction)
            .await?;
            for proved in &slips.shown {
                insert_slip(&mut transaction, &digest, proved).await?;
            }
        }
        for (SlipId { slips, index }, sealed) in parts {
            insert_part(&mut transaction, slips, *index, from, sealed).await?;
        }
        sqlx::query("UPDATE site_inbox SET place = ? WHERE one = 1 AND place < ?")
            .bind(signed(place))
            .bind(signed(place))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The place of the last parcel that has come.
    pub(in crate::site) async fn inbox(&self) -> Result<u64, SiteError> {
        let place: i64 =
            sqlx::query_scalar("SELECT place FROM site_inbox WHERE one = 1").fetch_one(&self.pool).await?;
        Ok(unsigned(place))
    }

    /// Parcels are counted from the beginning again.
    pub(in crate::site) async fn begin_inbox_anew(&self) -> Result<(), SiteError> {
        sqlx::query("UPDATE site_inbox SET place = 0 WHERE one = 1").execute(&self.pool).await?;
        Ok(())
    }

    /// The batches that wait for the kms, some at a time: those with a digest above one.
    pub(in crate::site) async fn outbox(&self, above: Option<&Digest>) -> Result<Vec<Batch>, SiteError> {
        let above = above.map_or(&[][..], |digest| digest.as_bytes());
        let rows: Vec<String> =
            sqlx::query_scalar("SELECT brought FROM site_outbox WHERE batch > ? ORDER BY batch LIMIT 16")
                .bind(above)
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(|brought| json(brought)).collect()
    }

    /// This site's own parts of a batch.
    pub(in crate::site) async fn own_parts(
        &self,
        batch: &Digest,
        site: &Id,
    ) -> Result<Vec<(u64, Sealed)>, SiteError> {
        let rows =
            sqlx::query("SELECT idx, sealed FROM site_part WHERE batch = ? AND by_site = ? ORDER BY idx")
                .bind(batch.as_bytes().as_slice())
                .bind(site.as_bytes().as_slice())
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(|row| Ok((unsigned(row.try_get("idx")?), sealed_of(row)?))).collect()
    }

    /// The kms has all of a batch: what this site computed for targets other than these goes.
    pub(in crate::site) async fn sent(
        &self,
        batch: &Digest,
        site: &Id,
        served: &BTreeSet<Id>,
    ) -> Result<(), SiteError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for target in targets(&mut transaction, batch).await?.difference(served) {
            sqlx::query(
                "DELETE FROM site_part WHERE batch = ? AND by_site = ? \
                 AND idx IN (SELECT idx FROM site_slip WHERE batch = ? AND target = ?)",
            )
            .bind(batch.as_bytes().as_slice())
            .bind(site.as_bytes().as_slice())
            .bind(batch.as_bytes().as_slice())
            .bind(target.as_bytes().as_slice())
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query("DELETE FROM site_outbox WHERE batch = ?")
            .bind(batch.as_bytes().as_slice())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The slips by which a file may have come to one of these units, with their parts: of each grant and unit those that are over last.
    /// So many slips of one dispatcher hide those of no other.
    pub(in crate::site) async fn slips_of(
        &self,
        stanza: &Digest,
        ephemeral: &PublicKey,
        targets: &BTreeSet<Id>,
    ) -> Result<Vec<Kept>, SiteError> {
        let rows = sqlx::query(
            "SELECT batch, idx, target, proved, envelope FROM \
             (SELECT batch, idx, target, proved, envelope, expires_at, ROW_NUMBER() OVER \
              (PARTITION BY grant_id, target ORDER BY expires_at DESC, batch, idx) AS place \
              FROM site_slip s JOIN site_slips USING (batch) WHERE stanza = ? \
              AND EXISTS (SELECT 1 FROM site_part p WHERE p.batch = s.batch AND p.idx = s.idx)) \
             WHERE place <= 4 ORDER BY place, expires_at DESC LIMIT 1024",
        )
        .bind(stanza.as_bytes().as_slice())
        .fetch_all(&self.pool)
        .await?;
        let mut kept = Vec::new();
        for row in &rows {
            if !targets.contains(&id_of(row.try_get("target")?)?) {
                continue;
            }
            let shown = shown_of(row)?;
            let parts = self.parts(&digest_of(row.try_get("batch")?)?, shown.slip.slip.index).await?;
            if shown.slip.slip.ephemeral == *ephemeral && !parts.is_empty() {
                kept.push(Kept { shown, parts });
            }
        }
        Ok(kept)
    }

    /// The parts that are here of a slip.
    pub(in crate::site) async fn parts(
        &self,
        batch: &Digest,
        index: u64,
    ) -> Result<Vec<(Id, Sealed)>, SiteError> {
        let rows =
            sqlx::query("SELECT by_site, sealed FROM site_part WHERE batch = ? AND idx = ? ORDER BY by_site")
                .bind(batch.as_bytes().as_slice())
                .bind(signed(index))
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(|row| Ok((id_of(row.try_get("by_site")?)?, sealed_of(row)?))).collect()
    }

    /// Parts with their slips, those that follow one, some at a time.
    pub(in crate::site) async fn parts_after(
        &self,
        after: Option<&PartKey>,
        limit: u32,
    ) -> Result<Vec<(PartKey, ShownSlip, Sealed)>, SiteError> {
        let (batch, index, by) = after.copied().unwrap_or((Digest([0; 32]), 0, Id([0; 16])));
        let rows = sqlx::query(
            "SELECT batch, idx, by_site, sealed, proved, envelope \
             FROM site_part JOIN site_slip USING (batch, idx) JOIN site_slips USING (batch) \
             WHERE (batch, idx, by_site) > (?, ?, ?) ORDER BY batch, idx, by_site LIMIT ?",
        )
        .bind(batch.as_bytes().as_slice())
        .bind(signed(index))
        .bind(by.as_bytes().as_slice())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let batch = digest_of(row.try_get("batch")?)?;
                let key = (batch, unsigned(row.try_get("idx")?), id_of(row.try_get("by_site")?)?);
                Ok((key, shown_of(row)?, sealed_of(row)?))
            })
            .collect()
    }

    /// Puts a part that was sealed anew in the place of what it was.
    pub(in crate::site) async fn put_resealed(
        &self,
        (batch, index, by): &PartKey,
        sealed: &Sealed,
    ) -> Result<(), SiteError> {
        sqlx::query("UPDATE site_part SET sealed = ? WHERE batch = ? AND idx = ? AND by_site = ?")
            .bind(sealed.as_slice())
            .bind(batch.as_bytes().as_slice())
            .bind(signed(*index))
            .bind(by.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The way that begins with this slip and goes back to the first, as far as it is here.
    pub(in crate::site) async fn way(&self, from: SlipId) -> Result<Vec<ShownSlip>, SiteError> {
        let mut way = Vec::new();
        let mut next = Some(from);
        while let Some(SlipId { slips, index }) = next.filter(|_| way.len() < WAY_LIMIT) {
            let row = sqlx::query(
                "SELECT proved, envelope FROM site_slip JOIN site_slips USING (batch) WHERE batch = ? AND idx = ?",
            )
            .bind(slips.as_bytes().as_slice())
            .bind(signed(index))
            .fetch_optional(&self.pool)
            .await?;
            let Some(row) = row else { break };
            let shown = shown_of(&row)?;
            next = shown.slip.slip.origin;
            way.push(shown);
        }
        Ok(way)
    }

    /// Destroys the parts of these slips, of all slips of a batch without an index, and of what went on from them.
    pub(in crate::site) async fn destroy_parts_of_slips(
        &self,
        slips: &BTreeSet<(Digest, Option<u64>)>,
    ) -> Result<(), SiteError> {
        for (batch, index) in slips {
            let these = if index.is_some() { "batch = ? AND idx = ?" } else { "batch = ?" };
            // Only question marks are put together.
            let sql = format!(
                "WITH RECURSIVE gone (batch, idx) AS (SELECT batch, idx FROM site_slip WHERE {these} \
                 UNION SELECT s.batch, s.idx FROM site_slip s JOIN gone g \
                 ON s.origin_batch = g.batch AND s.origin_idx = g.idx) \
                 DELETE FROM site_part WHERE (batch, idx) IN (SELECT batch, idx FROM gone)"
            );
            let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(batch.as_bytes().to_vec());
            if let Some(index) = index {
                query = query.bind(signed(*index));
            }
            query.execute(&self.pool).await?;
        }
        Ok(())
    }

    /// Destroys the parts of these files.
    pub(in crate::site) async fn destroy_parts_of_files(
        &self,
        files: &BTreeSet<Digest>,
    ) -> Result<(), SiteError> {
        for file in files {
            sqlx::query(
                "DELETE FROM site_part WHERE (batch, idx) IN (SELECT batch, idx FROM site_slip WHERE file = ?)",
            )
            .bind(file.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        }
        Ok(())
    }

    /// The units to which files were routed whose parts are here and do not wait for the kms.
    pub(in crate::site) async fn targets_of_parts(&self) -> Result<BTreeSet<Id>, SiteError> {
        let rows = sqlx::query(
            "SELECT DISTINCT target FROM site_slip JOIN site_part USING (batch, idx) \
             WHERE batch NOT IN (SELECT batch FROM site_outbox)",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| id_of(row.try_get("target")?)).collect()
    }

    /// Destroys the parts of files that were routed to these units, but for those that wait for the kms.
    pub(in crate::site) async fn destroy_parts_for(&self, targets: &BTreeSet<Id>) -> Result<(), SiteError> {
        for target in targets {
            sqlx::query(
                "DELETE FROM site_part WHERE (batch, idx) IN (SELECT batch, idx FROM site_slip WHERE target = ?) \
                 AND batch NOT IN (SELECT batch FROM site_outbox)",
            )
            .bind(target.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        }
        Ok(())
    }

    /// Destroys every part: the site has left.
    pub(in crate::site) async fn destroy_all_parts(&self) -> Result<(), SiteError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for sql in ["DELETE FROM site_part", "DELETE FROM site_outbox"] {
            sqlx::query(sql).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets slips that are over by their date, with their parts.
    pub(in crate::site) async fn forget_slips(&self, settled: Millis) -> Result<(), SiteError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for sql in [
            "DELETE FROM site_part WHERE batch IN (SELECT batch FROM site_slips WHERE expires_at <= ?)",
            "DELETE FROM site_slip WHERE batch IN (SELECT batch FROM site_slips WHERE expires_at <= ?)",
            "DELETE FROM site_outbox WHERE batch IN (SELECT batch FROM site_slips WHERE expires_at <= ?)",
            "DELETE FROM site_slips WHERE expires_at <= ?",
        ] {
            sqlx::query(sql).bind(signed(settled)).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

async fn insert_slip(
    transaction: &mut Transaction<'static, Any>,
    batch: &Digest,
    proved: &ProvedSlip,
) -> Result<(), SiteError> {
    let slip = &proved.slip;
    let origin = slip.origin;
    sqlx::query(
        "INSERT INTO site_slip (batch, idx, file, stanza, target, origin_batch, origin_idx, proved) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(batch.as_bytes().as_slice())
    .bind(signed(slip.index))
    .bind(slip.file().as_bytes().as_slice())
    .bind(slip.stanza.as_bytes().as_slice())
    .bind(slip.target.as_bytes().as_slice())
    .bind(origin.map(|origin| origin.slips.as_bytes().to_vec()))
    .bind(origin.map(|origin| signed(origin.index)))
    .bind(text(proved)?)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn insert_part(
    transaction: &mut Transaction<'static, Any>,
    batch: &Digest,
    index: u64,
    by: &Id,
    sealed: &Sealed,
) -> Result<(), SiteError> {
    sqlx::query(
        "INSERT INTO site_part (batch, idx, by_site, sealed) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(batch.as_bytes().as_slice())
    .bind(signed(index))
    .bind(by.as_bytes().as_slice())
    .bind(sealed.as_slice())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn targets(connection: &mut AnyConnection, batch: &Digest) -> Result<BTreeSet<Id>, SiteError> {
    let rows = sqlx::query("SELECT DISTINCT target FROM site_slip WHERE batch = ?")
        .bind(batch.as_bytes().as_slice())
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| id_of(row.try_get("target")?)).collect()
}

fn shown_of(row: &AnyRow) -> Result<ShownSlip, SiteError> {
    Ok(ShownSlip { slips: json::<Envelope>(row.try_get("envelope")?)?, slip: json(row.try_get("proved")?)? })
}

fn sealed_of(row: &AnyRow) -> Result<Sealed, SiteError> {
    let bytes: &[u8] = row.try_get("sealed")?;
    bytes.try_into().map_err(|_| SiteError::Damaged { what: "part" })
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, SiteError> {
    serde_json::from_str(text).map_err(|_| SiteError::Damaged { what: "slip" })
}

fn text(value: &impl serde::Serialize) -> Result<String, SiteError> {
    serde_json::to_string(value).map_err(|_| SiteError::Damaged { what: "slip" })
}
