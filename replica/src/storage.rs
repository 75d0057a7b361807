//! The database of a service: one SQLite file, in which an acknowledged write survives `kill -9` and power loss.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool};

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
    /// The file is no SQLite database, or its pages are not what SQLite wrote.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What SQLite found.
        what: String,
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
/// A damaged file is refused before anything is written to it.
///
/// WAL with full synchronization: what a committed transaction wrote is there after a power cut.
///
/// # Errors
/// [`StorageError`].
pub async fn open(path: &Path, mut program: Migrator) -> Result<SqlitePool, StorageError> {
    if let Some(migration) = program.iter().find(|m| m.version < FIRST_PROGRAM_MIGRATION) {
        return Err(StorageError::MigrationVersion { version: migration.version });
    }
    check(path).await?;
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
        // Where SQLite has rolled back by itself (the disk is full, say), sqlx's own ROLLBACK fails and it goes on counting a
        // transaction that is over: such a connection would refuse every transaction from then on.
        .after_release(|connection, _| {
            Box::pin(async move {
                // What was queued before is done when this is answered.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
        .connect_with(options)
        .await?;

    // Both share the file and its table of migrations, so each has to overlook the other's.
    let mut replica = sqlx::migrate!("./migrations");
    replica.set_ignore_missing(true).run(&pool).await?;
    program.set_ignore_missing(true).run(&pool).await?;
    Ok(pool)
}

/// Looks through a database without changing it. One that is not there, or empty, is fine: it is about to be made.
///
/// # Errors
/// [`StorageError::Damaged`], [`StorageError::Database`].
pub async fn check(path: &Path) -> Result<(), StorageError> {
    if std::fs::metadata(path).is_ok_and(|found| found.len() == 0) || !path.exists() {
        return Ok(());
    }
    let mut connection = read_only(path).await?;
    let said: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_all(&mut connection)
        .await
        .map_err(|error| damage(path, error))?;
    connection.close().await?;
    match said.as_slice() {
        [only] if only == "ok" => Ok(()),
        found => Err(StorageError::Damaged { path: path.to_owned(), what: found.join("; ") }),
    }
}

/// Opens a database beside the service that writes it, or in its place, for reading alone.
///
/// # Errors
/// [`StorageError::Damaged`], [`StorageError::Database`].
pub async fn read_only(path: &Path) -> Result<SqliteConnection, StorageError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(Duration::from_secs(10));
    options.connect().await.map_err(|error| damage(path, error))
}

/// As [`read_only`], for a database that nobody writes.
///
/// # Errors
/// [`StorageError::Damaged`], [`StorageError::Database`].
pub async fn read_only_pool(path: &Path) -> Result<SqlitePool, StorageError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).create_if_missing(false);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await;
    pool.map_err(|error| damage(path, error))
}

/// `SQLITE_CORRUPT` and `SQLITE_NOTADB`, extended or not, are the file's fault; all others are not.
fn damage(path: &Path, error: sqlx::Error) -> StorageError {
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<u32>().ok());
    match code.map(|code| code & 0xff) {
        Some(11 | 26) => StorageError::Damaged { path: path.to_owned(), what: error.to_string() },
        _ => StorageError::Database(error),
    }
}
