//! The authority's database, from the file in its data folder to PostgreSQL, or back.

use std::fs::File;
use std::path::{Path, PathBuf};

use sqlx::AnyPool;
use warifu_console::file;
use warifu_console::file::fault;
use warifu_replica::storage::{self, Place, StorageError, Tables, copy};

use super::error::AuthorityError;
use super::{Authority, Config, Result};

/// The authority's own tables; those come first that others refer to.
pub const TABLES: [&str; 28] = [
    "entry",
    "record",
    "stamp_given",
    "stamp_clock",
    "keeper_half",
    "grant_key",
    "card_share",
    "puk",
    "wrap",
    "refused_wrap",
    "acknowledgement",
    "certificate",
    "crl",
    "receipt",
    "cosignature",
    "proposal",
    "proposal_signer",
    "journal",
    "journal_row",
    "journal_alarm",
    "slip_batch",
    "slip_parcel",
    "trusted_directory",
    "trust_trouble",
    "delivery",
    "delivery_unit",
    "delivery_part",
    "delivery_place",
];

/// As either database makes them.
#[must_use]
pub fn tables() -> Tables {
    Tables {
        sqlite: sqlx::migrate!("migrations/authority/sqlite"),
        postgres: sqlx::migrate!("migrations/authority/postgres"),
    }
}

/// Where a database goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the file in the data folder to PostgreSQL.
    ToServer,
    /// Back into the data folder.
    ToFile,
}

/// A database that was moved.
#[derive(Debug)]
pub struct Moved {
    /// Leaves of its ledger.
    pub leaves: u64,
    /// Where the file is now, if there was one.
    pub aside: Option<PathBuf>,
}

impl Authority {
    /// The database that the configuration means.
    ///
    /// # Errors
    /// [`AuthorityError::TwoDatabases`], [`AuthorityError::DatabaseMoved`]: a ledger that goes on at two places, or begins anew
    /// beside the old one, would be a fork.
    pub(super) async fn database(config: &Config) -> Result<AnyPool> {
        let file = config.database_file();
        match (&config.database, file.exists()) {
            (Some(_), true) => return Err(AuthorityError::TwoDatabases { file }),
            (None, false) if aside(&file).exists() => {
                return Err(AuthorityError::DatabaseMoved { file: aside(&file) });
            }
            _ => {}
        }
        Ok(config.place()?.open(tables()).await?)
    }
}

/// Moves the database of an authority that does not run: all of it, or nothing. Once more after a crash, it ends what was begun.
///
/// # Errors
/// [`AuthorityError`]; [`AuthorityError::DatabaseNotEmpty`] where something else is in the place already.
pub async fn move_database(config: &Config, direction: Direction) -> Result<Moved> {
    let _alone = file::lock_folder(&config.data)?;
    let server = config.database.as_ref().ok_or(AuthorityError::NoServer)?.place()?;
    let path = config.database_file();
    match direction {
        Direction::ToServer => to_server(&path, &server).await,
        Direction::ToFile => to_file(&server, &path).await,
    }
}

async fn to_server(path: &Path, server: &Place) -> Result<Moved> {
    if !path.exists() {
        return Err(AuthorityError::NothingToMove { file: path.to_owned() });
    }
    let aside = aside(path);
    if aside.exists() {
        return Err(AuthorityError::InTheWay { file: aside });
    }
    let leaves = copied(&Place::File(path.to_owned()), server).await?;
    rename(path, &aside)?;
    Ok(Moved { leaves, aside: Some(aside) })
}

async fn to_file(server: &Place, path: &Path) -> Result<Moved> {
    // A write-ahead log would be taken for the new file's.
    for taken in [path.to_owned(), beside(path, "-wal")] {
        if taken.exists() {
            return Err(AuthorityError::InTheWay { file: taken });
        }
    }
    let unfinished = beside(path, ".unfinished");
    for torn in [unfinished.clone(), beside(&unfinished, "-wal"), beside(&unfinished, "-shm")] {
        match std::fs::remove_file(&torn) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(fault(&torn)(error).into());
            }
            _ => {}
        }
    }
    let leaves = copied(server, &Place::File(unfinished.clone())).await?;
    rename(&unfinished, path)?;
    Ok(Moved { leaves, aside: None })
}

/// Copies everything in one transaction, unless it is there already; the leaves of the ledger.
async fn copied(from: &Place, to: &Place) -> Result<u64> {
    let (source, target) = (from.open(tables()).await?, to.open(tables()).await?);
    let mut reading = storage::begin_reading(&source).await?;
    let mut writing = storage::begin(&target).await?;
    if copy::is_empty(&mut writing, &TABLES).await? {
        copy::copy(&mut reading, &mut writing, &TABLES).await?;
        writing.commit().await?;
    } else {
        copy::same(&mut reading, &mut writing, &TABLES).await.map_err(|error| match error {
            StorageError::Differs { .. } => {
                AuthorityError::DatabaseNotEmpty { database: to.named().to_owned() }
            }
            other => other.into(),
        })?;
        drop(writing);
    }
    let leaves: i64 = sqlx::query_scalar("SELECT size FROM ledger_head").fetch_one(&mut *reading).await?;
    drop(reading);
    target.close().await;
    // The last connection brings SQLite's write-ahead log into the file, and removes it.
    source.close().await;
    Ok(leaves.unsigned_abs())
}

/// Gives a database that is closed another name, unless a part of it is still in its write-ahead log: on a full disk, or while
/// another program reads it, SQLite leaves it there and says nothing.
fn rename(from: &Path, to: &Path) -> Result<()> {
    let log = beside(from, "-wal");
    if std::fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        return Err(fault(&log)(std::io::ErrorKind::ResourceBusy.into()).into());
    }
    std::fs::rename(from, to).map_err(fault(from))?;
    let folder = to.parent().unwrap_or(Path::new("."));
    Ok(File::open(folder).and_then(|folder| folder.sync_all()).map_err(fault(folder))?)
}

/// Where the file of a database that was moved is kept.
fn aside(file: &Path) -> PathBuf {
    beside(file, ".moved")
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
