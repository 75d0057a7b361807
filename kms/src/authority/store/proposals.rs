//! Orders that wait for a second person.

use std::collections::BTreeSet;

use sqlx::Row as _;
use warifu_api::wire::authority::ProposalStanding;
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use super::{Result, Store, bytes, to_sql, unsigned};
use crate::authority::error::AuthorityError;

/// How long it is known what became of a proposal after it would have expired.
const ENDED_KEPT_MS: Millis = 30 * 24 * 60 * 60 * 1000;

/// An order as it was proposed.
pub(crate) struct KeptProposal {
    pub(crate) digest: Digest,
    pub(crate) expires_at: Millis,
    /// An `OrderRequest`, as JSON.
    pub(crate) request: String,
}

impl Store {
    /// Keeps a proposal; false, and nothing is kept, if one of its signers has as many or as much waiting as is allowed.
    pub(crate) async fn keep_proposal(
        &self,
        kept: &KeptProposal,
        signers: &BTreeSet<Id>,
        most: usize,
        most_bytes: usize,
    ) -> Result<bool> {
        let mut transaction = self.write().await?;
        for signer in signers {
            let row = sqlx::query(
                "SELECT COUNT(*) AS proposals, CAST(COALESCE(SUM(OCTET_LENGTH(request)), 0) AS BIGINT) AS bytes
                 FROM proposal JOIN proposal_signer USING (digest) WHERE member = $1 AND request IS NOT NULL",
            )
            .bind(bytes(signer))
            .fetch_one(&mut *transaction)
            .await?;
            let (count, size) = (unsigned(&row, "proposals")?, unsigned(&row, "bytes")?);
            let size = size.saturating_add(kept.request.len() as u64);
            if count >= most as u64 || size > most_bytes as u64 {
                return Ok(false);
            }
        }
        sqlx::query("INSERT INTO proposal (digest, expires_at, request, ended) VALUES ($1, $2, $3, NULL)")
            .bind(kept.digest.as_bytes().as_slice())
            .bind(to_sql(kept.expires_at))
            .bind(&kept.request)
            .execute(&mut *transaction)
            .await?;
        for signer in signers {
            sqlx::query("INSERT INTO proposal_signer (digest, member) VALUES ($1, $2)")
                .bind(kept.digest.as_bytes().as_slice())
                .bind(bytes(signer))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Digest and expiry of all that wait.
    pub(crate) async fn proposals(&self) -> Result<Vec<(Digest, Millis)>> {
        let rows = sqlx::query(
            "SELECT digest, expires_at FROM proposal WHERE request IS NOT NULL ORDER BY expires_at, digest",
        )
        .fetch_all(&self.0)
        .await?;
        rows.iter()
            .map(|row| {
                let digest: Vec<u8> = row.try_get("digest")?;
                let digest = digest.try_into().map_err(|_| AuthorityError::Damaged { what: "digest" })?;
                Ok((Digest(digest), unsigned(row, "expires_at")?))
            })
            .collect()
    }

    pub(crate) async fn proposal(&self, digest: &Digest) -> Result<Option<String>> {
        let row = sqlx::query("SELECT request FROM proposal WHERE digest = $1 AND request IS NOT NULL")
            .bind(digest.as_bytes().as_slice())
            .fetch_optional(&self.0)
            .await?;
        row.map(|row| Ok(row.try_get("request")?)).transpose()
    }

    pub(crate) async fn proposal_standing(&self, digest: &Digest) -> Result<Option<ProposalStanding>> {
        let row = sqlx::query("SELECT ended FROM proposal WHERE digest = $1")
            .bind(digest.as_bytes().as_slice())
            .fetch_optional(&self.0)
            .await?;
        let Some(row) = row else { return Ok(None) };
        match row.try_get::<Option<String>, _>("ended")?.as_deref() {
            None => Ok(Some(ProposalStanding::Waiting)),
            Some("withdrawn") => Ok(Some(ProposalStanding::Withdrawn)),
            Some("expired") => Ok(Some(ProposalStanding::Expired)),
            Some(_) => Err(AuthorityError::Damaged { what: "proposal" }),
        }
    }

    pub(crate) async fn signed_proposal(&self, digest: &Digest, member: &Id) -> Result<bool> {
        let row = sqlx::query("SELECT 1 FROM proposal_signer WHERE digest = $1 AND member = $2")
            .bind(digest.as_bytes().as_slice())
            .bind(bytes(member))
            .fetch_optional(&self.0)
            .await?;
        Ok(row.is_some())
    }

    /// Erases what was proposed, its records with it. That it was withdrawn stays known: a message that comes late does not
    /// bring it back.
    pub(crate) async fn withdraw_proposal(&self, digest: &Digest) -> Result<()> {
        sqlx::query(
            "UPDATE proposal SET request = NULL, ended = 'withdrawn' WHERE digest = $1 AND ended IS NULL",
        )
        .bind(digest.as_bytes().as_slice())
        .execute(&self.0)
        .await?;
        Ok(())
    }

    /// Erases what has expired at `at`.
    pub(crate) async fn expire_proposals(&self, at: Millis) -> Result<()> {
        let over = sqlx::query(
            "SELECT 1 FROM proposal WHERE (ended IS NULL AND expires_at < $1) OR expires_at < $2 LIMIT 1",
        )
        .bind(to_sql(at))
        .bind(to_sql(at.saturating_sub(ENDED_KEPT_MS)))
        .fetch_optional(&self.0)
        .await?;
        if over.is_none() {
            return Ok(());
        }
        let mut transaction = self.write().await?;
        sqlx::query(
            "UPDATE proposal SET request = NULL, ended = 'expired' WHERE expires_at < $1 AND ended IS NULL",
        )
        .bind(to_sql(at))
        .execute(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM proposal WHERE expires_at < $1")
            .bind(to_sql(at.saturating_sub(ENDED_KEPT_MS)))
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Deletes everything of a proposal whose order is in the ledger.
    pub(crate) async fn forget_proposal(&self, digest: &Digest) -> Result<()> {
        sqlx::query("DELETE FROM proposal WHERE digest = $1")
            .bind(digest.as_bytes().as_slice())
            .execute(&self.0)
            .await?;
        Ok(())
    }
}
