//! What the ca keeps: issuer halves and card shares, sealed by its HSM before they are written, and its certificates and CRLs.
//!
//! A secret is drawn, sealed and made durable before anything made from it leaves, and a repetition gives the same one
//! (protocol P-6.1). In the clear it exists inside one blocking call of this module alone; what comes out is public, or on
//! its way into TLS.

use getrandom::SysRng;
use rand_core::UnwrapErr;
use sqlx::any::AnyExecutor;
use sqlx::{AnyPool, Row as _};
use warifu_api::wire::SecretBytes;
use warifu_api::wire::authority::ShareRequest;
use warifu_console::backup::{Kept, seal_context};
use warifu_crash_point::{CrashPoint, reached};
use warifu_hardware::hsm::wrap::{WrapError, wrap_share};
use warifu_hardware::hsm::{HsmError, Kek};
use warifu_ledger::checkpoint::Checkpoint;
use warifu_ledger::key::{Base64, Bytes};
use warifu_ledger::statement::{Custody, HalfHolder, PublicHalf};
use warifu_ledger::{Digest, Id};
use warifu_split_key::ScalarError;
use warifu_split_key::half::{HalfContext, HalfRole};
use warifu_split_key::hpke::{self, SealError};
use warifu_split_key::issuer::{CardShare, IssuerHalf};
use warifu_split_key::point::{Point, PointError};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::standing::{OrderedGrant, OrderedUnit};

mod certificates;

pub use certificates::{Issued, Published, Revoked, Standing, root_fingerprint};

const CARD_SHARE: &[u8] = b"share";
/// The HPKE info that begins a card share's (protocol P-6.3).
const CARD_SHARE_INFO: &[u8] = b"warifu/card-share/v1";

/// Why the vault gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The database failed.
    #[error("the ca's database failed")]
    Storage(#[from] sqlx::Error),
    /// The HSM failed, or a seal does not open.
    #[error("the ca's HSM failed")]
    Hsm(#[from] HsmError),
    /// A secret that was opened is no scalar: the database and the token do not belong together.
    #[error("what was sealed is no secret scalar")]
    Scalar(#[from] ScalarError),
    /// The card share could not be sealed to the card.
    #[error("the card share could not be sealed")]
    Seal(#[from] SealError),
    /// The card share could not be wrapped to the card.
    #[error("the card share could not be wrapped")]
    Wrap(#[from] WrapError),
    /// The issuer half of a unit is not here: the ca was restored from a backup older than the unit.
    #[error("the issuer half of unit {unit} was lost: have the unit given a new key (unit rekey)")]
    HalfLost {
        /// The unit.
        unit: Id,
    },
    /// A stored row has not the form that this program writes.
    #[error("the table {table} holds something that was not written by this program")]
    Malformed {
        /// The table.
        table: &'static str,
    },
    /// A stored key is no point.
    #[error("a stored key is no P-256 point")]
    Point(#[from] PointError),
    /// The service ends while the HSM works.
    #[error("the service is shutting down")]
    ShuttingDown,
}

/// The organization that this ca serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// Its name: the digest of entry 0.
    pub organization: Digest,
    /// The kms's TLS key, as entry 0 names it.
    pub kms_tls: Point,
}

/// Pins the organization, unless one is pinned already; the one that is pinned then.
///
/// # Errors
/// [`VaultError`].
pub async fn pin(pool: &AnyPool, pin: Pin) -> Result<Pin, VaultError> {
    sqlx::query("INSERT INTO organization (one, digest, kms) VALUES (1, ?, ?) ON CONFLICT DO NOTHING")
        .bind(&pin.organization.0[..])
        .bind(&pin.kms_tls.to_compressed()[..])
        .execute(pool)
        .await?;
    pinned(pool).await?.ok_or(VaultError::Malformed { table: "organization" })
}

/// The organization that is pinned.
///
/// # Errors
/// [`VaultError`].
pub async fn pinned(database: impl AnyExecutor<'_>) -> Result<Option<Pin>, VaultError> {
    let row = sqlx::query("SELECT digest, kms FROM organization").fetch_optional(database).await?;
    row.map(|row| {
        let organization = Digest(array(row.try_get("digest")?, "organization")?);
        let kms: Vec<u8> = row.try_get("kms")?;
        Ok(Pin { organization, kms_tls: Point::from_sec1(&kms)? })
    })
    .transpose()
}

fn array<const N: usize>(bytes: Vec<u8>, table: &'static str) -> Result<[u8; N], VaultError> {
    bytes.try_into().map_err(|_| VaultError::Malformed { table })
}

/// The vault. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    pool: AnyPool,
    kek: Kek,
}

/// Runs a call that the HSM may keep waiting.
pub(crate) async fn blocking<T, E>(call: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<VaultError> + Send + 'static,
{
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|_| Err(VaultError::ShuttingDown.into()))
}

fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// What the seal of a grant's card share is bound to.
fn share_context(organization: Digest, grant: Id) -> Vec<u8> {
    [&organization.0[..], &grant.0, CARD_SHARE].concat()
}

/// What backups of the ca are made of.
#[must_use]
pub fn kept(config: &Config) -> Kept {
    Kept {
        holder: HalfHolder::Ca,
        data: config.data.clone(),
        database: config.database(),
        elsewhere: None,
        halves: "SELECT unit, sealed FROM issuer_half ORDER BY unit",
        reseal: "UPDATE issuer_half SET sealed = ? WHERE unit = ?",
        // Shares on their way to cards are drawn anew. Certificates come from a new root, and CRLs with the next number.
        forgotten: &[
            "DELETE FROM card_share",
            "DELETE FROM certificate",
            "UPDATE crl SET next_update = 0, covers = zeroblob(32)",
        ],
    }
}

fn open_scalar(kek: &Kek, sealed: &[u8], aad: &[u8]) -> Result<Zeroizing<[u8; 32]>, VaultError> {
    let opened = kek.open(sealed, aad)?;
    let bytes = <&[u8; 32]>::try_from(opened.as_slice()).map_err(|_| ScalarError::OutOfRange)?;
    Ok(Zeroizing::new(*bytes))
}

impl Vault {
    /// A vault in this database, sealed by this key.
    #[must_use]
    pub fn new(pool: AnyPool, kek: Kek) -> Self {
        Self { pool, kek }
    }

    /// The ca's public half of the unit with its proof. The half is drawn at the first call, and durable before this returns.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn public_half(&self, ordered: &OrderedUnit) -> Result<PublicHalf, VaultError> {
        let (organization, unit) = (ordered.organization(), ordered.unit());
        let context = HalfContext {
            organization: organization.0,
            unit: unit.0,
            order: ordered.order().0,
            role: HalfRole::Issuer,
        };
        let aad = seal_context(&organization, &unit, HalfHolder::Ca);
        let sealed = match self.sealed_half(unit).await? {
            Some(sealed) => sealed,
            None => {
                let (kek, aad) = (self.kek.clone(), aad.clone());
                let drawn: Vec<u8> = blocking(move || {
                    let half = IssuerHalf::draw(&mut rng());
                    Ok::<_, VaultError>(kek.seal(half.expose_bytes().as_slice(), &aad)?)
                })
                .await?;
                sqlx::query("INSERT INTO issuer_half (unit, sealed) VALUES (?, ?) ON CONFLICT DO NOTHING")
                    .bind(&unit.0[..])
                    .bind(drawn)
                    .execute(&self.pool)
                    .await?;
                reached(CrashPoint::CaHalfKept).await;
                // What is durable is what counts, whoever drew it.
                self.sealed_half(unit).await?.ok_or(VaultError::Malformed { table: "issuer_half" })?
            }
        };
        let kek = self.kek.clone();
        blocking(move || {
            let half = IssuerHalf::from_bytes(&*open_scalar(&kek, &sealed, &aad)?)?;
            let proof = Base64(half.prove(&context).0);
            Ok(PublicHalf { point: half.public().into(), proof })
        })
        .await
    }

    async fn sealed_half(&self, unit: Id) -> Result<Option<Vec<u8>>, VaultError> {
        Ok(sqlx::query_scalar("SELECT sealed FROM issuer_half WHERE unit = ?")
            .bind(&unit.0[..])
            .fetch_optional(&self.pool)
            .await?)
    }

    /// The ca's part of the grant: `A`, `d`, and `a` sealed to the card in the way that the order's custody says. `a` is drawn at the first call, and durable before
    /// this returns; only the seal to the card is another one each time.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn share_request(&self, ordered: &OrderedGrant) -> Result<ShareRequest, VaultError> {
        let (organization, grant, unit) = (ordered.organization(), ordered.grant(), ordered.unit());
        let half_sealed = self.sealed_half(unit).await?.ok_or(VaultError::HalfLost { unit })?;
        let share_aad = share_context(organization, grant);
        let share_sealed = match self.sealed_share(grant).await? {
            Some(sealed) => sealed,
            None => {
                let (kek, aad) = (self.kek.clone(), share_aad.clone());
                let drawn: Vec<u8> = blocking(move || {
                    let share = CardShare::draw(&mut rng());
                    Ok::<_, VaultError>(kek.seal(share.expose_bytes().as_slice(), &aad)?)
                })
                .await?;
                sqlx::query("INSERT INTO card_share (grant_id, sealed) VALUES (?, ?) ON CONFLICT DO NOTHING")
                    .bind(&grant.0[..])
                    .bind(drawn)
                    .execute(&self.pool)
                    .await?;
                reached(CrashPoint::CaShareKept).await;
                self.sealed_share(grant).await?.ok_or(VaultError::Malformed { table: "card_share" })?
            }
        };
        let (kek, transport, custody) = (self.kek.clone(), ordered.transport(), ordered.custody());
        blocking(move || {
            let half_aad = seal_context(&organization, &unit, HalfHolder::Ca);
            let half = IssuerHalf::from_bytes(&*open_scalar(&kek, &half_sealed, &half_aad)?)?;
            let share = CardShare::from_bytes(&*open_scalar(&kek, &share_sealed, &share_aad)?)?;
            let delta = half.delta(&share)?;
            let sealed = match custody {
                // A token opens no HPKE: it unwraps (P-6.3b), and no PC ever sees the share.
                Custody::TokenUnwrap => wrap_share(&mut rng(), &transport, &share.to_pkcs8_der())?.to_bytes(),
                Custody::Scp11b | Custody::HostMemory | Custody::OwnPc => {
                    let info = card_share_info(organization, grant);
                    let secret = share.expose_bytes();
                    let sealed = hpke::seal(&mut rng(), &transport, &info, &[], secret.as_slice())?;
                    [&sealed.enc[..], &sealed.ciphertext].concat()
                }
            };
            Ok(ShareRequest {
                card_point: share.public().into(),
                delta: SecretBytes(delta.expose_bytes()),
                sealed: Bytes(sealed),
            })
        })
        .await
    }

    async fn sealed_share(&self, grant: Id) -> Result<Option<Vec<u8>>, VaultError> {
        Ok(sqlx::query_scalar("SELECT sealed FROM card_share WHERE grant_id = ?")
            .bind(&grant.0[..])
            .fetch_optional(&self.pool)
            .await?)
    }

    /// The grants whose card share is still here.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn shares(&self) -> Result<Vec<Id>, VaultError> {
        let ids: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT grant_id FROM card_share").fetch_all(&self.pool).await?;
        ids.into_iter().map(|id| Ok(Id(array(id, "card_share")?))).collect()
    }

    /// Forgets a card share: its grant is issued, or over.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn forget_share(&self, grant: Id) -> Result<(), VaultError> {
        sqlx::query("DELETE FROM card_share WHERE grant_id = ?")
            .bind(&grant.0[..])
            .execute(&self.pool)
            .await?;
        reached(CrashPoint::CaShareForgotten).await;
        Ok(())
    }

    /// The newest checkpoint that was cosigned, or was about to be.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn cosigned(&self) -> Result<Option<Checkpoint>, VaultError> {
        let row = sqlx::query("SELECT size, root FROM cosigned").fetch_optional(&self.pool).await?;
        row.map(|row| {
            let size = u64::try_from(row.try_get::<i64, _>("size")?)
                .map_err(|_| VaultError::Malformed { table: "cosigned" })?;
            Ok(Checkpoint { size, root: Digest(array(row.try_get("root")?, "cosigned")?) })
        })
        .transpose()
    }

    /// Remembers a checkpoint, before it is cosigned. A smaller one than before is not taken.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn remember_cosigned(&self, checkpoint: &Checkpoint) -> Result<(), VaultError> {
        sqlx::query(
            "INSERT INTO cosigned (one, size, root) VALUES (1, ?1, ?2)
             ON CONFLICT DO UPDATE SET size = ?1, root = ?2 WHERE size < ?1",
        )
        .bind(i64::try_from(checkpoint.size).unwrap_or(i64::MAX))
        .bind(&checkpoint.root.0[..])
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// `"warifu/card-share/v1" ‖ organization ‖ grant` (protocol P-6.3).
fn card_share_info(organization: Digest, grant: Id) -> Vec<u8> {
    [CARD_SHARE_INFO, &organization.0, &grant.0].concat()
}
