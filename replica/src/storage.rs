//! The database of a service, in which an acknowledged write survives `kill -9` and power loss: a SQLite file ([`file`]), or,
//! for an authority that has outgrown one machine, PostgreSQL ([`server`]).
//!
//! The programs speak one SQL to both: numbered placeholders, whole numbers of 64 bits, texts and bytes, and nothing that one of
//! them alone understands.

use std::io;
use std::path::{Path, PathBuf};

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Any, AnyPool, Transaction};

pub mod copy;
mod file;
pub mod server;

pub use file::{check, open, options, read_only, read_only_pool};
pub use server::Server;

/// The lowest version number of a program's own migrations; those below are the replica's.
pub const FIRST_PROGRAM_MIGRATION: i64 = 100;

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
    /// The database refused something.
    #[error("the database does not work")]
    Database(#[from] sqlx::Error),
    /// The schema in the database is not one that this program can bring up to date.
    #[error("the database's schema cannot be brought up to date")]
    Migration(#[from] MigrateError),
    /// A migration of the program has a version that belongs to the replica: a fault of the program.
    #[error("migration {version} is below {FIRST_PROGRAM_MIGRATION}")]
    MigrationVersion {
        /// Its version.
        version: i64,
    },
    /// The address is not `postgres://…`.
    #[error("the address of the database is not one of PostgreSQL")]
    NotPostgres,
    /// A password stands in the address, which is shown and logged.
    #[error("the address of the database has a password in it")]
    PasswordInAddress,
    /// The database is on another machine, and the address does not ask for a connection that proves which.
    #[error("the connection to the database on {host} is not verified")]
    NotVerified {
        /// The machine.
        host: String,
    },
    /// The server is older than this program knows.
    #[error("PostgreSQL {version} is too old")]
    TooOld {
        /// Its version, as it says it.
        version: String,
    },
    /// Names would not be kept as they were written.
    #[error("the database's encoding is {encoding}, not UTF8")]
    OtherEncoding {
        /// The encoding.
        encoding: String,
    },
    /// What was committed would not survive a power cut.
    #[error("the server runs with {setting} off")]
    NotDurable {
        /// The setting that is off.
        setting: &'static str,
    },
    /// What was copied is not the same in both databases.
    #[error("the copy of {table} is not the same")]
    Differs {
        /// The table.
        table: &'static str,
    },
}

/// Where a service's database is.
#[derive(Debug, Clone)]
pub enum Place {
    /// A SQLite file.
    File(PathBuf),
    /// A database of PostgreSQL.
    Server(Server),
}

/// A program's own tables, in the words of either database; from [`FIRST_PROGRAM_MIGRATION`] on.
pub struct Tables {
    /// For SQLite.
    pub sqlite: Migrator,
    /// For PostgreSQL.
    pub postgres: Migrator,
}

impl Place {
    /// Opens the database, making what is not there yet, and brings the replica's and the program's tables up to date.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn open(&self, tables: Tables) -> Result<AnyPool, StorageError> {
        match self {
            Self::File(path) => open(path, tables.sqlite).await,
            Self::Server(server) => server.open(tables.postgres).await,
        }
    }

    /// How people know it: the path, or the address.
    #[must_use]
    pub fn named(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Server(server) => server.address(),
        }
    }

    /// Opens the database for reading alone, beside the service that writes it or in its place.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn read_only_pool(&self) -> Result<AnyPool, StorageError> {
        match self {
            Self::File(path) => read_only_pool(path).await,
            Self::Server(server) => server.read_only_pool().await,
        }
    }
}

/// Begins a transaction that writes. There is one at a time, in all processes that have this database: SQLite has one writer
/// anyway, and with PostgreSQL a writer has the head of the ledger locked until it ends. So whoever reads in it what he then
/// writes by reads what is so, at PostgreSQL's READ COMMITTED too: each statement sees all that was committed before it, and
/// nobody commits meanwhile.
///
/// # Errors
/// Those of the database.
pub async fn begin(pool: &AnyPool) -> Result<Transaction<'static, Any>, sqlx::Error> {
    if !server::is_server(pool) {
        // The write lock at once: a transaction that first reads may be refused it later.
        return pool.begin_with("BEGIN IMMEDIATE").await;
    }
    let pool = pool.clone();
    whole(async move {
        let mut transaction = pool.begin().await?;
        sqlx::query("SELECT size FROM ledger_head FOR UPDATE").fetch_one(&mut *transaction).await?;
        Ok(transaction)
    })
    .await
}

/// Begins to its end, whether anybody still waits for it: a BEGIN that is dropped half-way goes back to the pool as a connection
/// in a transaction that sqlx does not know of, and what others then write by it is lost with it.
async fn whole<T: Send + 'static>(
    begin: impl Future<Output = Result<T, sqlx::Error>> + Send + 'static,
) -> Result<T, sqlx::Error> {
    tokio::spawn(begin).await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Begins a transaction that sees one state of the database throughout, and changes nothing.
///
/// # Errors
/// Those of the database.
pub async fn begin_reading(pool: &AnyPool) -> Result<Transaction<'static, Any>, sqlx::Error> {
    match server::is_server(pool) {
        true => {
            let pool = pool.clone();
            whole(async move { pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await })
                .await
        }
        false => pool.begin().await,
    }
}

/// Brings both sets of tables up to date.
async fn migrate(pool: &AnyPool, mut replica: Migrator, mut program: Migrator) -> Result<(), StorageError> {
    if let Some(migration) = program.iter().find(|m| m.version < FIRST_PROGRAM_MIGRATION) {
        return Err(StorageError::MigrationVersion { version: migration.version });
    }
    // Both share the database and its table of migrations, so each has to overlook the other's.
    replica.set_ignore_missing(true).run(pool).await?;
    program.set_ignore_missing(true).run(pool).await?;
    Ok(())
}

/// Where a database has rolled back by itself (the disk is full, say), sqlx's own ROLLBACK fails and it goes on counting a
/// transaction that is over: such a connection would refuse every transaction from then on.
async fn may_be_used_again(connection: &mut sqlx::AnyConnection) -> Result<bool, sqlx::Error> {
    use sqlx::Connection as _;
    // What was queued before is done when this is answered.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}
