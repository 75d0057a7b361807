//! The newest directory of each organization that is trusted, and what went wrong with it.

use sqlx::Row as _;
use sqlx::any::AnyRow;
use warifu_api::wire::public::SignedDirectory;
use warifu_api::wire::trusts::{Trouble, TroubleKind};
use warifu_directory::signed::Seen;
use warifu_ledger::Digest;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::Millis;

use super::{Result, Store, to_sql, unsigned};
use crate::authority::error::AuthorityError;

const DAMAGED: AuthorityError = AuthorityError::Damaged { what: "directory" };
const COLUMNS: &str = "organization, added, size, root, keys_since, at, expires_at, fetched_at";

/// What is kept of another organization's directory, beside the directory itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeptDirectory {
    pub(crate) organization: Digest,
    /// The leaf that pinned the organization when it came: after another one, it counts no more.
    pub(crate) added: u64,
    pub(crate) seen: Seen,
    pub(crate) at: Millis,
    pub(crate) expires_at: Millis,
    pub(crate) fetched_at: Millis,
}

fn digest(row: &AnyRow, column: &str) -> Result<Digest> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map(Digest).map_err(|_| DAMAGED)
}

fn kept(row: &AnyRow) -> Result<KeptDirectory> {
    let keys_since: Option<i64> = row.try_get("keys_since")?;
    let seen = Seen {
        size: unsigned(row, "size")?,
        root: digest(row, "root")?,
        keys_since: keys_since.map(i64::unsigned_abs),
    };
    Ok(KeptDirectory {
        organization: digest(row, "organization")?,
        added: unsigned(row, "added")?,
        seen,
        at: unsigned(row, "at")?,
        expires_at: unsigned(row, "expires_at")?,
        fetched_at: unsigned(row, "fetched_at")?,
    })
}

impl Store {
    /// Keeps a directory in the place of the one before.
    pub(crate) async fn keep_directory(&self, of: &KeptDirectory, signed: &SignedDirectory) -> Result<()> {
        sqlx::query(
            "INSERT INTO trusted_directory
             (organization, added, size, root, keys_since, at, expires_at, fetched_at, statement, body)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (organization) DO UPDATE SET added = excluded.added, size = excluded.size,
             root = excluded.root, keys_since = excluded.keys_since, at = excluded.at,
             expires_at = excluded.expires_at, fetched_at = excluded.fetched_at, statement = excluded.statement,
             body = excluded.body
             WHERE trusted_directory.added < excluded.added OR trusted_directory.size <= excluded.size",
        )
        .bind(of.organization.as_bytes().as_slice())
        .bind(to_sql(of.added))
        .bind(to_sql(of.seen.size))
        .bind(of.seen.root.as_bytes().as_slice())
        .bind(of.seen.keys_since.map(to_sql))
        .bind(to_sql(of.at))
        .bind(to_sql(of.expires_at))
        .bind(to_sql(of.fetched_at))
        .bind(serde_json::to_string(&signed.statement)?)
        .bind(signed.body.0.as_slice())
        .execute(&self.0)
        .await?;
        Ok(())
    }

    /// How far the newest directory of each organization goes.
    pub(crate) async fn kept_directories(&self) -> Result<Vec<KeptDirectory>> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM trusted_directory"));
        let rows = sqlx::query(sql).fetch_all(&self.0).await?;
        rows.iter().map(kept).collect()
    }

    /// The newest directory of an organization.
    pub(crate) async fn kept_directory(
        &self,
        organization: &Digest,
    ) -> Result<Option<(KeptDirectory, SignedDirectory)>> {
        let sql = format!("SELECT {COLUMNS}, statement, body FROM trusted_directory WHERE organization = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(organization.as_bytes().as_slice())
            .fetch_optional(&self.0)
            .await?;
        row.map(|row| {
            let statement = serde_json::from_str(row.try_get("statement")?).map_err(|_| DAMAGED)?;
            Ok((kept(&row)?, SignedDirectory { statement, body: Bytes(row.try_get("body")?) }))
        })
        .transpose()
    }

    /// Keeps the latest trouble of its sort, alarm or not, with an organization since it was pinned by this leaf.
    pub(crate) async fn keep_trouble(
        &self,
        organization: &Digest,
        added: u64,
        trouble: &Trouble,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO trust_trouble (organization, alarm, added, kind, at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (organization, alarm) DO UPDATE SET added = excluded.added, kind = excluded.kind,
             at = excluded.at",
        )
        .bind(organization.as_bytes().as_slice())
        .bind(i64::from(trouble.kind.is_alarm()))
        .bind(to_sql(added))
        .bind(serde_json::to_string(&trouble.kind)?)
        .bind(to_sql(trouble.at))
        .execute(&self.0)
        .await?;
        Ok(())
    }

    /// Forgets what was no alarm: it works again.
    pub(crate) async fn forget_trouble(&self, organization: &Digest) -> Result<()> {
        sqlx::query("DELETE FROM trust_trouble WHERE organization = $1 AND alarm = 0")
            .bind(organization.as_bytes().as_slice())
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// What went wrong, with the leaf by which the organization was pinned then.
    pub(crate) async fn troubles(&self) -> Result<Vec<(Digest, u64, Trouble)>> {
        let rows =
            sqlx::query("SELECT organization, added, kind, at FROM trust_trouble").fetch_all(&self.0).await?;
        rows.iter()
            .map(|row| {
                let kind: TroubleKind = serde_json::from_str(row.try_get("kind")?).map_err(|_| DAMAGED)?;
                let trouble = Trouble { kind, at: unsigned(row, "at")? };
                Ok((digest(row, "organization")?, unsigned(row, "added")?, trouble))
            })
            .collect()
    }
}
