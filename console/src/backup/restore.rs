//! Restoring a backup on a new machine with a new token.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::Path;

use sqlx::AnyPool;
use sqlx::migrate::Migrator;
use warifu_backup::HalfBytes;
use warifu_backup::file::{self, BackupError, Manifest};
use warifu_backup::restore::{Request, RestoredPieces, join};
use warifu_hardware::hsm::{AgreementKey, Kek};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::PublicKey;
use warifu_ledger::leaf::{Leaf, LeafError};
use warifu_ledger::state::State;
use warifu_ledger::statement::{Fact, FactBody, HalfHolder, RestoreRequest};
use warifu_ledger::{Digest, Id};
use warifu_replica::{Replica, ReplicaError, storage};
use warifu_split_key::issuer::IssuerHalf;
use warifu_split_key::keeper::KeeperHalf;
use warifu_split_key::point::Point;

use super::{BackupFault, Kept, Token, blocking, seal_context, workshop};

/// The key in the token to which pieces are sealed.
const TRANSPORT: &str = "restore";
/// How many leaves are looked through at once.
const PAGE: u32 = 512;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The organization.
    pub organization: Digest,
    /// Halves of units.
    pub halves: usize,
    /// Leaves of the ledger.
    pub size: u64,
}

impl Token {
    fn transport(&self) -> Result<AgreementKey, BackupFault> {
        Ok(self.hsm.ensure_agreement_key(TRANSPORT)?)
    }

    /// The same request however often it is made: its digest leaves the signature out.
    fn request(&self, manifest: &Manifest) -> Result<Envelope, BackupFault> {
        let request = RestoreRequest {
            backup: manifest.fingerprint(),
            keys: self.keys.clone(),
            transport: PublicKey(self.transport()?.public_key()),
        };
        let mut envelope = Envelope::unsigned(&request).map_err(BackupError::from)?;
        let signature = self.signing.sign_digest(envelope.digest().0)?;
        envelope.add_signature(&self.keys.signing, signature);
        Ok(envelope)
    }
}

fn read_manifest(kept: &Kept, path: &Path) -> Result<(Manifest, BufReader<File>), BackupFault> {
    if kept.database.exists() {
        return Err(BackupFault::NotEmpty);
    }
    let mut input = BufReader::new(File::open(path).map_err(crate::file::fault(path))?);
    let manifest = Manifest::read(&mut input)?;
    if manifest.backup().service != kept.holder {
        return Err(BackupFault::OtherService);
    }
    Ok((manifest, input))
}

/// The request for the pieces of a backup, for the custodians' desk. Blocks.
///
/// # Errors
/// [`BackupFault`].
pub fn ask(kept: &Kept, token: &Token, backup: &Path) -> Result<Envelope, BackupFault> {
    let (manifest, _) = read_manifest(kept, backup)?;
    token.request(&manifest)
}

/// Restores a backup of `organization` with the pieces that custodians gave for this token. `migrations` are those of the
/// service's database.
///
/// # Errors
/// [`BackupFault`]; there is no database then.
pub async fn restore(
    kept: &Kept,
    token: Token,
    backup: &Path,
    pieces: &Path,
    organization: Digest,
    migrations: Migrator,
) -> Result<Restored, BackupFault> {
    let (manifest, input) = read_manifest(kept, backup)?;
    let found = manifest.backup().organization;
    if found != organization {
        return Err(ReplicaError::OtherOrganization { expected: organization, found }.into());
    }
    let brought: RestoredPieces = crate::file::read_json(pieces)?;
    let workshop = workshop(&kept.data)?;
    let database = workshop.path().join("restored.sqlite");
    let (holder, unpacked) = (kept.holder, database.clone());
    let (manifest, halves) = blocking(move || {
        let request = Request::read(&token.request(&manifest)?, &manifest)?;
        let transport = token.transport()?;
        let key = join::<BackupFault>(&manifest, &request, &brought, |point| Ok(transport.agree(point)?))?;
        let mut content = file::open(input, &key)?;
        let mut halves = BTreeMap::new();
        while let Some((unit, half)) = content.next_half()? {
            halves.insert(unit, Resealed::new(&token.kek, &organization, &unit, holder, &half)?);
        }
        let mut output = private(&unpacked)?;
        content.database(&mut output, |_| {})?;
        output.flush()?;
        output.sync_all()?;
        Ok((manifest, halves))
    })
    .await?;

    let pool = storage::open(&database, migrations).await?;
    let replica = Replica::open(pool.clone(), Some(organization)).await?;
    let state = replica.state().ok_or(BackupFault::NotFounded)?;
    check(&manifest, &state)?;
    check_halves(&replica, holder, &halves, &manifest.backup().missing).await?;
    put(&pool, kept, &halves).await?;
    let restored = Restored { organization, halves: halves.len(), size: state.tree().size() };
    // The last connection brings the write-ahead log into the file, and removes it.
    drop(replica);
    pool.close().await;
    let place = kept.database.clone();
    blocking(move || {
        File::open(&database)?.sync_all()?;
        std::fs::rename(&database, &place)?;
        Ok(File::open(place.parent().unwrap_or(Path::new(".")))?.sync_all()?)
    })
    .await?;
    Ok(restored)
}

fn private(path: &Path) -> Result<File, BackupFault> {
    use std::os::unix::fs::OpenOptionsExt as _;
    Ok(File::options().write(true).create_new(true).mode(0o600).open(path)?)
}

/// A half under the new token's seal, and its public point.
struct Resealed {
    public: Point,
    sealed: Vec<u8>,
}

impl Resealed {
    fn new(
        kek: &Kek,
        organization: &Digest,
        unit: &Id,
        holder: HalfHolder,
        half: &HalfBytes,
    ) -> Result<Self, BackupFault> {
        let public = match holder {
            HalfHolder::Ca => IssuerHalf::from_bytes(half)?.public(),
            HalfHolder::Kms => KeeperHalf::from_bytes(half)?.public(),
        };
        let sealed = kek.seal(half.as_slice(), &seal_context(organization, unit, holder))?;
        Ok(Self { public, sealed })
    }
}

/// The ledger in the backup is the one that the manifest speaks of, and names the service that signed it (P-10.7).
fn check(manifest: &Manifest, state: &State) -> Result<(), BackupFault> {
    let backup = manifest.backup();
    let size = state.tree().size();
    if size != backup.size || state.tree().root(size).ok() != Some(backup.root) {
        return Err(BackupFault::OtherContent { why: "the ledger" });
    }
    Ok(manifest.check_signature(&state.keys_of(backup.service).signing)?)
}

/// Every unit with a key has exactly the half that the ledger shows, or is among those that the manifest says are missing.
async fn check_halves(
    replica: &Replica,
    holder: HalfHolder,
    halves: &BTreeMap<Id, Resealed>,
    missing: &BTreeSet<Id>,
) -> Result<(), BackupFault> {
    let mut from = 0;
    loop {
        let leaves = replica.leaves(from, PAGE).await?;
        if leaves.is_empty() {
            return Ok(());
        }
        from += leaves.len() as u64;
        for bytes in leaves {
            let leaf = Leaf::from_bytes(bytes).map_err(|error: LeafError| ReplicaError::from(error))?;
            let Ok(Fact { fact: FactBody::UnitCreated { unit, issuer, keeper, .. }, .. }) =
                leaf.envelope().statement()
            else {
                continue;
            };
            let shown = match holder {
                HalfHolder::Ca => issuer.point.0,
                HalfHolder::Kms => keeper.point.0,
            };
            if !is_right(halves.get(&unit).map(|half| &half.public), &shown, missing.contains(&unit)) {
                return Err(BackupFault::OtherHalf { unit });
            }
        }
    }
}

/// A half is what the ledger shows, or it is not there and the manifest says so; what it calls missing is not there.
fn is_right(half: Option<&Point>, shown: &Point, is_missing: bool) -> bool {
    match half {
        Some(half) => half == shown && !is_missing,
        None => is_missing,
    }
}

/// Puts the new seals in the place of the old ones, which no token opens any more.
async fn put(pool: &AnyPool, kept: &Kept, halves: &BTreeMap<Id, Resealed>) -> Result<(), BackupFault> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let rows = sqlx::query(kept.halves).fetch_all(&mut *transaction).await?;
    if rows.len() != halves.len() {
        return Err(BackupFault::OtherContent { why: "the number of halves" });
    }
    for (unit, half) in halves {
        let done = sqlx::query(kept.reseal)
            .bind(half.sealed.as_slice())
            .bind(unit.as_bytes().as_slice())
            .execute(&mut *transaction)
            .await?;
        if done.rows_affected() != 1 {
            return Err(BackupFault::OtherHalf { unit: *unit });
        }
    }
    Ok(transaction.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_10_7_a_half_is_the_ledgers_or_is_said_to_be_missing_and_never_both() {
        let [shown, other] = [1, 2].map(|byte| IssuerHalf::from_bytes(&[byte; 32]).unwrap().public());
        assert!(!is_right(None, &shown, false), "nobody said that it is missing");
        assert!(!is_right(Some(&other), &shown, false), "another half");
        assert!(!is_right(Some(&shown), &shown, true), "said to be missing, and there");
        assert!(!is_right(Some(&other), &shown, true));
        assert!(is_right(Some(&shown), &shown, false));
        assert!(is_right(None, &shown, true));
    }
}
