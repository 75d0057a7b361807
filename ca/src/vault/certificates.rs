//! Every certificate that was issued, what was said of it since, and the newest CRLs.

use sqlx::Row as _;
use sqlx::any::{AnyExecutor, AnyRow};
use warifu_api::wire::authority::{CertificateKind, CrlIssuer};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use super::{Vault, VaultError, array};
use crate::revocation::Cause;

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// What it is for.
    pub kind: CertificateKind,
    /// Whose it is.
    pub id: Id,
    /// How many there were before it for the same.
    pub generation: u32,
    /// Its serial number, big-endian.
    pub serial: [u8; 16],
    /// The last instant at which it is good.
    pub not_after: Millis,
    /// DER: the certificate, then those above it up to and including the root. For the authority itself the issuing CA's,
    /// and the root's.
    pub chain: Vec<Bytes>,
}

/// What a CRL says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number.
    pub serial: [u8; 16],
    /// Since when it does not count, as the ca learned it.
    pub at: Millis,
    /// Why.
    pub cause: Cause,
}

/// A certificate of which something may have to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its serial number.
    pub serial: [u8; 16],
    /// What it is for.
    pub kind: CertificateKind,
    /// Whose it is.
    pub id: Id,
    /// What was said of it before.
    pub revoked: Option<(Cause, Millis)>,
}

/// A CRL that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its number; no other CRL of the same issuer has it.
    pub number: u64,
    /// When it was made.
    pub this_update: Millis,
    /// The instant by which there is another one.
    pub next_update: Millis,
    /// The digest of what it says.
    pub covers: Digest,
    /// DER.
    pub der: Bytes,
}

/// The SHA-256 fingerprint of the root's certificate, once there is one.
///
/// # Errors
/// [`VaultError`].
pub async fn root_fingerprint(database: impl AnyExecutor<'_>) -> Result<Option<Digest>, VaultError> {
    let chain: Option<String> = sqlx::query_scalar("SELECT chain FROM certificate WHERE kind = ? LIMIT 1")
        .bind(kind_text(CertificateKind::Authority)?)
        .fetch_optional(database)
        .await?;
    let Some(chain) = chain else { return Ok(None) };
    let chain: Vec<Bytes> = serde_json::from_str(&chain).map_err(|_| malformed_certificate())?;
    Ok(chain.last().map(|root| Digest::of(&root.0)))
}

impl Vault {
    /// The newest certificate of this kind for this subject, if one was issued.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn certificate(&self, kind: CertificateKind, id: Id) -> Result<Option<Issued>, VaultError> {
        let row = sqlx::query(
            "SELECT generation, serial, not_after, chain FROM certificate WHERE kind = ? AND id = ?
             ORDER BY generation DESC LIMIT 1",
        )
        .bind(kind_text(kind)?)
        .bind(&id.0[..])
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            let chain: String = row.try_get("chain")?;
            Ok(Issued {
                kind,
                id,
                generation: u32::try_from(unsigned(&row, "generation")?)
                    .map_err(|_| malformed_certificate())?,
                serial: array(row.try_get("serial")?, "certificate")?,
                not_after: unsigned(&row, "not_after")?,
                chain: serde_json::from_str(&chain).map_err(|_| malformed_certificate())?,
            })
        })
        .transpose()
    }

    /// Keeps a certificate, unless there is one of its generation; the one that is kept then. What is not kept must not leave:
    /// no CRL would ever know of it.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn keep_certificate(&self, issued: Issued) -> Result<Issued, VaultError> {
        let chain = serde_json::to_string(&issued.chain).map_err(|_| malformed_certificate())?;
        sqlx::query(
            "INSERT INTO certificate (kind, id, generation, serial, not_after, chain) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(kind_text(issued.kind)?)
        .bind(&issued.id.0[..])
        .bind(i64::from(issued.generation))
        .bind(&issued.serial[..])
        .bind(to_sql(issued.not_after))
        .bind(chain)
        .execute(&self.pool)
        .await?;
        reached(CrashPoint::CaCertificateKept).await;
        self.certificate(issued.kind, issued.id).await?.ok_or_else(malformed_certificate)
    }

    /// The kms has this certificate, and those before it.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn certificate_sent(&self, kind: CertificateKind, id: Id) -> Result<(), VaultError> {
        sqlx::query("UPDATE certificate SET sent = 1 WHERE kind = ? AND id = ?")
            .bind(kind_text(kind)?)
            .bind(&id.0[..])
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The certificates that the kms has, the newest for each subject.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn certificates_sent(&self) -> Result<Vec<(CertificateKind, Id)>, VaultError> {
        let sql = "SELECT kind, id FROM certificate GROUP BY kind, id HAVING min(sent) = 1";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await?;
        rows.iter().map(subject_of).collect()
    }

    /// The subjects whose newest certificate ends before `end`.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn certificates_ending(&self, end: Millis) -> Result<Vec<(CertificateKind, Id)>, VaultError> {
        let sql = "SELECT kind, id FROM certificate GROUP BY kind, id HAVING max(not_after) < ?";
        let rows = sqlx::query(sql).bind(to_sql(end)).fetch_all(&self.pool).await?;
        rows.iter().map(subject_of).collect()
    }

    /// Every certificate that is good after `time` by its dates.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn certificates_after(&self, time: Millis) -> Result<Vec<Standing>, VaultError> {
        let rows = sqlx::query(
            "SELECT serial, kind, id, cause, revoked_at FROM certificate WHERE not_after > ? ORDER BY serial",
        )
        .bind(to_sql(time))
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let (kind, id) = subject_of(row)?;
                let cause: Option<String> = row.try_get("cause")?;
                let revoked = match cause {
                    Some(name) => {
                        let cause = Cause::named(&name).ok_or_else(malformed_certificate)?;
                        Some((cause, unsigned(row, "revoked_at")?))
                    }
                    None => None,
                };
                Ok(Standing { serial: array(row.try_get("serial")?, "certificate")?, kind, id, revoked })
            })
            .collect()
    }

    /// Remembers what is said of certificates from now on, all of it or nothing.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn remember_revoked(&self, changed: &[Standing]) -> Result<(), VaultError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for standing in changed {
            sqlx::query("UPDATE certificate SET cause = ?, revoked_at = ? WHERE serial = ?")
                .bind(standing.revoked.map(|(cause, _)| cause.name()))
                .bind(standing.revoked.map(|(_, at)| to_sql(at)))
                .bind(&standing.serial[..])
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// The newest CRL of this issuer.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn crl(&self, issuer: CrlIssuer) -> Result<Option<Published>, VaultError> {
        let row =
            sqlx::query("SELECT number, this_update, next_update, covers, der FROM crl WHERE issuer = ?")
                .bind(issuer.name())
                .fetch_optional(&self.pool)
                .await?;
        row.map(|row| {
            Ok(Published {
                number: unsigned(&row, "number")?,
                this_update: unsigned(&row, "this_update")?,
                next_update: unsigned(&row, "next_update")?,
                covers: Digest(array(row.try_get("covers")?, "crl")?),
                der: Bytes(row.try_get("der")?),
            })
        })
        .transpose()
    }

    /// Keeps a CRL, unless there is one with its number or a larger one; the one that is kept then. Only that may leave.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn keep_crl(&self, issuer: CrlIssuer, made: &Published) -> Result<Published, VaultError> {
        sqlx::query(
            "INSERT INTO crl (issuer, number, this_update, next_update, covers, der) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (issuer) DO UPDATE
             SET number = ?2, this_update = ?3, next_update = ?4, covers = ?5, der = ?6 WHERE number < ?2",
        )
        .bind(issuer.name())
        .bind(to_sql(made.number))
        .bind(to_sql(made.this_update))
        .bind(to_sql(made.next_update))
        .bind(&made.covers.0[..])
        .bind(&made.der.0)
        .execute(&self.pool)
        .await?;
        reached(CrashPoint::CaCrlKept).await;
        self.crl(issuer).await?.ok_or(VaultError::Malformed { table: "crl" })
    }
}

fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(row: &AnyRow, column: &str) -> Result<u64, VaultError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| malformed_certificate())
}

fn subject_of(row: &AnyRow) -> Result<(CertificateKind, Id), VaultError> {
    let kind = serde_json::from_value(row.try_get::<String, _>("kind")?.into())
        .map_err(|_| malformed_certificate())?;
    Ok((kind, Id(array(row.try_get("id")?, "certificate")?)))
}

fn malformed_certificate() -> VaultError {
    VaultError::Malformed { table: "certificate" }
}

/// The kind as it is written on the wire.
fn kind_text(kind: CertificateKind) -> Result<String, VaultError> {
    match serde_json::to_value(kind) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        _ => Err(malformed_certificate()),
    }
}
