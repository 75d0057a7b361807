//! Backups of the two services that hold halves, as their consoles make and restore them (protocol section 10).
//!
//! A backup is made while the service runs: from a snapshot of its database, with every half opened by the token and copied
//! into the sealed file, one at a time. A restore puts a database in its place only when all of it was found to be right.

mod make;
mod restore;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use sqlx::migrate::Migrator;
use warifu_backup::file::BackupError;
use warifu_envelope::WholeError;
use warifu_hardware::hsm::{Hsm, HsmError, Kek, SigningKey};
use warifu_ledger::statement::{HalfHolder, ServiceKeys};
use warifu_ledger::{Digest, Id};
use warifu_replica::ReplicaError;
use warifu_replica::clock::{Clock as _, SystemClock};
use warifu_replica::storage::{Place, StorageError};
use warifu_split_key::ScalarError;

use crate::{ConsoleError, file, process};

pub use make::{Lost, Made, make, missing_halves};
pub use restore::{Restored, ask, restore};

/// A service's token, as backups need it.
#[derive(Clone)]
pub struct Token {
    /// The token.
    pub hsm: Hsm,
    /// Its public keys.
    pub keys: ServiceKeys,
    /// Signs manifests and requests.
    pub signing: SigningKey,
    /// Seals the halves.
    pub kek: Kek,
}

/// What a service keeps, and where.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Whose halves these are.
    pub holder: HalfHolder,
    /// The folder of its database.
    pub data: PathBuf,
    /// The database in it, and what a restore makes.
    pub database: PathBuf,
    /// Where the database is, if it is not there.
    pub elsewhere: Option<Elsewhere>,
    /// All rows of its table of halves: unit, sealed half.
    pub halves: &'static str,
    /// Puts another seal (1) in the place of a unit's (2).
    pub reseal: &'static str,
    /// What takes out of a copy of the database what no backup has.
    pub forgotten: &'static [&'static str],
}

/// A database that is not in the data folder, and what its copy in a backup is made of.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// Where it is.
    pub place: Place,
    /// Makes the program's tables in a SQLite file.
    pub migrations: fn() -> Migrator,
    /// Those tables: those first that others refer to.
    pub tables: &'static [&'static str],
}

/// What the seal of a half at rest is bound to: `organization (32) ‖ unit (16) ‖ "issuer" or "keeper"`.
#[must_use]
pub fn seal_context(organization: &Digest, unit: &Id, holder: HalfHolder) -> Vec<u8> {
    let role: &[u8] = match holder {
        HalfHolder::Ca => b"issuer",
        HalfHolder::Kms => b"keeper",
    };
    [organization.as_bytes().as_slice(), unit.as_bytes(), role].concat()
}

/// Why there is no backup, or nothing was restored. What was there stays as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupFault {
    /// There is no organization yet.
    #[error("no organization has been founded here")]
    NotFounded,
    /// Nobody has named custodians.
    #[error("this service's backups have no custodians yet")]
    NoCustodians,
    /// Too few custodians have a card that works.
    #[error("{living} of the custodians' cards work; {needed} are needed")]
    CustodiansGone {
        /// Cards that work.
        living: usize,
        /// The threshold.
        needed: u8,
    },
    /// Halves of units with a key are not here, and nobody has said that this is known.
    #[error("the halves of {} units are not here", .units.len())]
    HalvesLost {
        /// The units.
        units: BTreeSet<Id>,
    },
    /// The token has other keys than the ledger.
    #[error("the token has other keys than the ledger names")]
    OtherKeys,
    /// There is a database already, which a restore would replace.
    #[error("this service has a database already")]
    NotEmpty,
    /// The backup of another service.
    #[error("the backup is of another service")]
    OtherService,
    /// What is in the backup is not what its manifest says.
    #[error("the backup's content is not what its manifest says: {why}")]
    OtherContent {
        /// What differs.
        why: &'static str,
    },
    /// A half is missing or is another one than the ledger has.
    #[error("the backup's half of unit {unit} is not the one in its ledger")]
    OtherHalf {
        /// The unit.
        unit: Id,
    },
    /// The file, its manifest or its pieces.
    #[error(transparent)]
    Backup(Box<BackupError>),
    /// The file cannot be written.
    #[error(transparent)]
    Whole(#[from] WholeError),
    /// The operating system refused.
    #[error("a file cannot be used")]
    File(#[from] io::Error),
    /// A half is no scalar.
    #[error("what was sealed is no secret scalar")]
    Scalar(#[from] ScalarError),
    /// The HSM failed.
    #[error("the HSM failed")]
    Hsm(#[from] HsmError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The database cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The ledger in it is none.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// Something else at the console.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// The program is ending.
    #[error("the program is ending")]
    Stopping,
}

impl From<BackupError> for BackupFault {
    fn from(error: BackupError) -> Self {
        Self::Backup(Box::new(error))
    }
}

/// Runs what waits for the token or the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupFault> + Send + 'static,
) -> Result<T, BackupFault> {
    tokio::task::spawn_blocking(work).await.map_err(|_| BackupFault::Stopping)?
}

/// A folder for what is under way, which is gone afterwards.
fn workshop(data: &Path) -> Result<tempfile::TempDir, BackupFault> {
    Ok(tempfile::Builder::new().prefix(".backup-").tempdir_in(data)?)
}

/// The words of the command `backup`.
#[derive(Debug, clap::Args)]
pub struct Backup {
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    #[arg(long)]
    without_lost: bool,
}

/// The words of the command `restore`.
#[derive(Debug, clap::Args)]
pub struct Restore {
    #[arg(value_name = "FILE")]
    backup: PathBuf,
    #[arg(long, value_name = "FILE", requires = "organization")]
    pieces: Option<PathBuf>,
    #[arg(long, value_name = "HEX", requires = "pieces")]
    organization: Option<Digest>,
}

/// The command `backup`: makes one, and says what came of it.
///
/// # Errors
/// [`BackupFault`].
pub async fn backup(kept: &Kept, token: &Token, command: &Backup) -> Result<(), BackupFault> {
    let out = &command.out;
    let lost = if command.without_lost { Lost::Known } else { Lost::Refused };
    let made = make(kept, token, SystemClock.wall_ms(), lost, out).await?;
    process::say(&format!("backup {}", out.display()))?;
    process::say(&format!("fingerprint {}", made.fingerprint))?;
    process::say(&format!("halves {}", made.halves))?;
    for unit in &made.missing {
        process::say(&["missing ", &unit.to_string()].concat())?;
    }
    process::say(&format!("custodians {}", made.custodians))?;
    process::say(&format!("threshold {}", made.threshold))?;
    for card in made.left_out {
        process::say(&["without ", &card].concat())?;
    }
    Ok(())
}

/// The command `restore`: first writes the request for the custodians' desk, and then, with their pieces, restores.
///
/// # Errors
/// [`BackupFault`].
pub async fn restore_with(
    kept: &Kept,
    token: Token,
    command: &Restore,
    migrations: Migrator,
) -> Result<(), BackupFault> {
    let Restore { backup, pieces, organization } = command;
    let _alone = file::lock_folder(&kept.data)?;
    let Some((pieces, organization)) = pieces.as_deref().zip(*organization) else {
        let request = ask(kept, &token, backup)?;
        let path = kept.data.join("restore-request.json");
        file::write_json(&path, &request)?;
        process::say(&format!("request {}", path.display()))?;
        return Ok(process::say(&format!("fingerprint {}", request.digest()))?);
    };
    let restored = restore(kept, token, backup, pieces, organization, migrations).await?;
    process::say(&format!("restored {}", restored.organization))?;
    process::say(&format!("halves {}", restored.halves))?;
    Ok(process::say(&format!("leaves {}", restored.size))?)
}
