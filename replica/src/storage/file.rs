//! SQLite.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _};

use super::StorageError;

/// How many connections one service keeps. SQLite has one writer anyway.
const CONNECTIONS: u32 = 4;

/// How each connection that writes works. WAL with full synchronization: what a committed transaction wrote is there after a
/// power cut. What is deleted (a card share after its grant was issued) is overwritten.
const WRITING: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON";

/// Opens the database at `path`, making it (mode 0600) if it is not there, and brings the replica's and the program's tables
/// up to date. `program` holds migrations from [`super::FIRST_PROGRAM_MIGRATION`] on.
///
/// A damaged file is refused before anything is written to it.
///
/// # Errors
/// [`StorageError`].
pub async fn open(path: &Path, program: Migrator) -> Result<AnyPool, StorageError> {
    check(path).await?;
    let file = |source| StorageError::File { path: path.to_owned(), source };
    // SQLite gives its journal files the mode of the database.
    let created = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(file)?;
    created.set_permissions(Permissions::from_mode(0o600)).map_err(file)?;
    drop(created);

    let pool = AnyPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(Duration::from_secs(20))
        .idle_timeout(None)
        .max_lifetime(None)
        // A file does not hang up. To ask whether it has would be one more walk to the database's thread for each statement.
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(WRITING).await.map(drop) }))
        .after_release(|connection, _| Box::pin(super::may_be_used_again(connection)))
        .connect_with(options(path, "rw")?)
        .await?;
    super::migrate(&pool, sqlx::migrate!("./migrations/sqlite"), program).await?;
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
pub async fn read_only(path: &Path) -> Result<AnyConnection, StorageError> {
    let mut connection = options(path, "ro")?.connect().await.map_err(|error| damage(path, error))?;
    connection.execute("PRAGMA busy_timeout = 10000").await.map_err(|error| damage(path, error))?;
    Ok(connection)
}

/// As [`read_only`], for a database that nobody writes.
///
/// # Errors
/// [`StorageError::Damaged`], [`StorageError::Database`].
pub async fn read_only_pool(path: &Path) -> Result<AnyPool, StorageError> {
    let pool = AnyPoolOptions::new().max_connections(1).connect_with(options(path, "ro")?).await;
    pool.map_err(|error| damage(path, error))
}

/// The address of a file in one of SQLite's modes: `ro`, `rw`, `rwc` (which makes it).
///
/// # Errors
/// [`StorageError::File`] where its folder is not there or its name is not of characters.
pub fn options(path: &Path, mode: &str) -> Result<AnyConnectOptions, StorageError> {
    install_default_drivers();
    let file = |source| StorageError::File { path: path.to_owned(), source };
    let path = std::path::absolute(path).map_err(file)?;
    let text = path.to_str().ok_or_else(|| file(io::ErrorKind::InvalidFilename.into()))?;
    Ok(format!("sqlite://{}?mode={mode}", escaped(text)).parse()?)
}

/// The path with everything escaped that an address reads as something else (RFC 3986, section 2.3).
fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                escaped.push(byte.into())
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// `SQLITE_CORRUPT` and `SQLITE_NOTADB`, extended or not, are the file's fault; all others are not.
fn damage(path: &Path, error: sqlx::Error) -> StorageError {
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<u32>().ok());
    match code.map(|code| code & 0xff) {
        Some(11 | 26) => StorageError::Damaged { path: path.to_owned(), what: error.to_string() },
        _ => StorageError::Database(error),
    }
}
