//! Keeper halves: drawn once for each unit, proved, and at rest sealed by the HSM (P-3.2, P-6.1).

use std::sync::Arc;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use warifu_console::backup::{Elsewhere, Kept, seal_context};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Base64;
use warifu_ledger::state::{Kind, Rejected};
use warifu_ledger::statement::{Fact, FactBody, HalfHolder, PublicHalf};
use warifu_ledger::{Digest, Id};
use warifu_split_key::half::{HalfContext, HalfProof, HalfRole, verify_half};
use warifu_split_key::keeper::KeeperHalf;

use super::error::AuthorityError;
use super::moving::{TABLES, tables};
use super::{Authority, Config, Keys, Result, blocking, whole};

/// All halves here.
pub(crate) const HALVES: &str = "SELECT unit, sealed FROM keeper_half ORDER BY unit";

/// What backups of the authority are made of.
///
/// # Errors
/// [`AuthorityError::Console`] if the configuration's `[database]` does not do.
pub(crate) fn kept(config: &Config) -> Result<Kept> {
    let elsewhere = config.database.as_ref().map(|database| {
        let migrations = || tables().sqlite;
        Ok::<_, AuthorityError>(Elsewhere { place: database.place()?, migrations, tables: &TABLES })
    });
    Ok(Kept {
        holder: HalfHolder::Kms,
        data: config.data.clone(),
        database: config.database_file(),
        elsewhere: elsewhere.transpose()?,
        halves: HALVES,
        reseal: "UPDATE keeper_half SET sealed = $1 WHERE unit = $2",
        forgotten: &[],
    })
}

/// Opens a half. Blocks.
pub(crate) fn open_half(keys: &Keys, organization: &Digest, unit: &Id, sealed: &[u8]) -> Result<KeeperHalf> {
    let opened = keys.kek.open(sealed, &seal_context(organization, unit, HalfHolder::Kms))?;
    let bytes: &[u8; 32] =
        opened.as_slice().try_into().map_err(|_| AuthorityError::Damaged { what: "keeper half" })?;
    Ok(KeeperHalf::from_bytes(bytes)?)
}

/// Draws a half and seals it. Blocks.
fn draw_half(keys: &Keys, organization: &Digest, unit: &Id) -> Result<Vec<u8>> {
    let half = KeeperHalf::draw(&mut UnwrapErr(SysRng));
    Ok(keys.kek.seal(half.expose_bytes().as_slice(), &seal_context(organization, unit, HalfHolder::Kms))?)
}

impl Authority {
    /// Answers the ca's half with `unit.created`, signed by the kms. The same unit gets the same keeper half for ever
    /// (P-6.1).
    pub(crate) async fn half(self: &Arc<Self>, unit: Id, issuer: PublicHalf) -> Result<Envelope> {
        let state = self.state()?;
        let organization = state.organization();
        let found = state.unit(&unit).ok_or(AuthorityError::NotFound { what: "unit" })?;
        if found.key.is_some() {
            return Err(Rejected::Exists { kind: Kind::Unit, id: unit }.into());
        }
        let order = found.order;
        let context =
            move |role| HalfContext { organization: organization.0, unit: unit.0, order: order.0, role };
        // Before anything is drawn: whoever chooses S1 without knowing s1 learns nothing of S2.
        verify_half(&context(HalfRole::Issuer), &issuer.point.0, &HalfProof(issuer.proof.0))?;

        let this = self.clone();
        whole(async move {
            // Two requests at once must not draw two halves.
            let _serialized = this.in_turn().await;
            let sealed = match this.store.keeper_half(&unit).await? {
                Some(sealed) => sealed,
                None => {
                    let keys = this.keys.clone();
                    let sealed = blocking(move || draw_half(&keys, &organization, &unit)).await?;
                    this.store.keep_half(&unit, &sealed).await?;
                    reached(CrashPoint::KmsHalfKept).await;
                    sealed
                }
            };
            let keys = this.keys.clone();
            let signed = blocking(move || {
                let half = open_half(&keys, &organization, &unit, &sealed)?;
                let proof = half.prove(&context(HalfRole::Keeper));
                let keeper = PublicHalf { point: half.public().into(), proof: Base64(proof.0) };
                drop(half);
                let fact = Fact { organization, fact: FactBody::UnitCreated { unit, order, issuer, keeper } };
                state.check_unsigned_fact(&fact)?;
                keys.sign(&fact)
            })
            .await?;
            reached(CrashPoint::KmsHalfSigned).await;
            Ok(signed)
        })
        .await
    }
}
