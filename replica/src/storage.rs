//! The database of a service: one SQLite file, in which an acknowledged write survives `kill -9` and power loss.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

/// The lowest version number of a program's own migrations; those below are the replica's.
pub const FIRST_PROGRAM_MIGRATION: i64 = 100;

/// How many connections one service keeps. SQLite has one writer anyway.
const CONNECTIONS: u32 = 4;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The file can neither be created nor opened.
    #[error("{path} cannot be opened")]
    File {
        /// The database file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// SQLite refused something.
    #[error("the database does not work")]
    Database(#[from] sqlx::Error),
    /// The schema in the file is not one that this program can bring up to date.
    #[error("the database's schema cannot be brought up to date")]
    Migration(#[from] MigrateError),
    /// A migration of the program has a version that belongs to the replica: a fault of the program.
    #[error("migration {version} is below {FIRST_PROGRAM_MIGRATION}")]
    MigrationVersion {
        /// Its version.
        version: i64,
    },
}

/// Opens the database at `path`, making it (mode 0600) if it is not there, and brings the replica's and the program's tables
/// up to date. `program` holds migrations from [`FIRST_PROGRAM_MIGRATION`] on.
///
/// WAL with full synchronization: what a committed transaction wrote is there after a power cut.
///
/// # Errors
/// [`StorageError`].
pub async fn open(path: &Path, mut program: Migrator) -> Result<SqlitePool, StorageError> {
    if let Some(migration) = program.iter().find(|m| m.version < FIRST_PROGRAM_MIGRATION) {
        return Err(StorageError::MigrationVersion { version: migration.version });
    }
    let file = |source| StorageError::File { path: path.to_owned(), source };
    // SQLite gives its journal files the mode of the database.
    let created = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(file)?;
    created.set_permissions(Permissions::from_mode(0o600)).map_err(file)?;
    drop(created);

    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // What is deleted (a card share after its grant was issued) is overwritten.
        .pragma("secure_delete", "ON")
        .busy_timeout(Duration::from_secs(10));
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(Duration::from_secs(20))
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await?;

    // Both share the file and its table of migrations, so each has to overlook the other's.
    let mut replica = sqlx::migrate!("./migrations");
    replica.set_ignore_missing(true).run(&pool).await?;
    program.set_ignore_missing(true).run(&pool).await?;
    Ok(pool)
}
