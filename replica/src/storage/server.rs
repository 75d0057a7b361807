//! PostgreSQL.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _};
use zeroize::Zeroizing;

use super::StorageError;

/// The oldest PostgreSQL that is still looked after when this was written, as `server_version_num`.
const OLDEST: i64 = 140_000;
const CONNECTIONS: u32 = 8;
/// Where Debian's PostgreSQL listens for programs of the same machine.
const SOCKETS: &str = "/var/run/postgresql";

/// How each connection that writes works. A commit is answered when it is on the disk, whatever the server's own default is
/// (`fsync` is not the session's to choose: see [`Server::open`]). READ COMMITTED suffices, since a writer locks the ledger's
/// head first ([`super::begin`]): what the next statement reads is then the newest, where a snapshot taken before the lock
/// would be too old, and would only lead to errors. Nobody waits for a lock for ever; and whoever has the head, and is gone with his
/// machine or his line, loses it within half a minute (on a socket there is no line).
const WRITING: &str = "SET synchronous_commit = on; SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '30s';
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = '20s';
    SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// How each connection works that only reads.
const READING: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY";

/// A database of PostgreSQL, and who comes to it. It has the password, so it is never shown.
#[derive(Clone)]
pub struct Server {
    options: AnyConnectOptions,
    /// As it was configured, without the password.
    address: PathBuf,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(formatter)
    }
}

impl Server {
    /// The database at `postgres://[USER@][HOST][:PORT]/DATABASE[?…]`; without a host, by the socket of this machine. The password, if
    /// there is one, comes beside the address, which people see.
    ///
    /// # Errors
    /// [`StorageError::NotPostgres`], [`StorageError::PasswordInAddress`]; [`StorageError::NotVerified`] if the database is on
    /// another machine and the address does not say `sslmode=verify-full`.
    pub fn new(address: &str, password: Option<Zeroizing<String>>) -> Result<Self, StorageError> {
        install_default_drivers();
        let mut options: AnyConnectOptions = address.parse().map_err(|_| StorageError::NotPostgres)?;
        let url = &mut options.database_url;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(StorageError::NotPostgres);
        }
        let mut hosts: Vec<String> = Vec::new();
        hosts.extend(url.host_str().filter(|host| !host.is_empty()).map(ToOwned::to_owned));
        let mut modes = Vec::new();
        for (key, value) in url.query_pairs() {
            match &*key {
                "host" | "hostaddr" => hosts.push(value.into_owned()),
                "sslmode" | "ssl-mode" => modes.push(value.into_owned()),
                "password" => return Err(StorageError::PasswordInAddress),
                _ => {}
            }
        }
        if url.password().is_some() {
            return Err(StorageError::PasswordInAddress);
        }
        let verified = !modes.is_empty() && modes.iter().all(|mode| mode == "verify-full");
        if let Some(host) = hosts.iter().find(|host| !is_here(host))
            && !verified
        {
            return Err(StorageError::NotVerified { host: host.clone() });
        }
        if hosts.is_empty() {
            url.query_pairs_mut().append_pair("host", SOCKETS);
        }
        if let Some(password) = password {
            url.query_pairs_mut().append_pair("password", &password);
        }
        Ok(Self { options, address: address.into() })
    }

    /// As it was configured, without the password.
    #[must_use]
    pub fn address(&self) -> &Path {
        &self.address
    }

    /// Opens the database, and brings the replica's and the program's tables up to date.
    ///
    /// # Errors
    /// [`StorageError`]: also if the server would not keep what it has committed, or not as it was written.
    pub(super) async fn open(&self, program: Migrator) -> Result<AnyPool, StorageError> {
        self.look().await?.close().await?;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            // One that waits longer hears that the database is away, and asks again.
            .acquire_timeout(Duration::from_secs(5))
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(WRITING).await.map(drop) })
            })
            .after_release(|connection, _| Box::pin(super::may_be_used_again(connection)))
            .connect_with(self.options.clone())
            .await?;
        super::migrate(&pool, sqlx::migrate!("./migrations/postgres"), program).await?;
        Ok(pool)
    }

    /// Opens the database for reading alone, by one connection.
    ///
    /// # Errors
    /// [`StorageError::Database`].
    pub(super) async fn read_only_pool(&self) -> Result<AnyPool, StorageError> {
        // A pool would go on trying for as long as it may take; this says why at once.
        self.options.connect().await?.close().await?;
        let pool = AnyPoolOptions::new().max_connections(1).after_connect(|connection, _| {
            Box::pin(async move { connection.execute(READING).await.map(drop) })
        });
        Ok(pool.connect_with(self.options.clone()).await?)
    }

    /// Whether this server can be trusted with what is to be kept; a connection that only reads.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn look(&self) -> Result<AnyConnection, StorageError> {
        let mut connection = self.options.connect().await?;
        let version: i64 = sqlx::query_scalar("SELECT CAST(current_setting('server_version_num') AS BIGINT)")
            .fetch_one(&mut connection)
            .await?;
        if version < OLDEST {
            return Err(StorageError::TooOld { version: setting(&mut connection, "server_version").await? });
        }
        let encoding = setting(&mut connection, "server_encoding").await?;
        if encoding != "UTF8" {
            return Err(StorageError::OtherEncoding { encoding });
        }
        for name in ["fsync", "full_page_writes"] {
            if setting(&mut connection, name).await? != "on" {
                return Err(StorageError::NotDurable { setting: name });
            }
        }
        connection.execute(READING).await?;
        Ok(connection)
    }
}

async fn setting(connection: &mut AnyConnection, name: &'static str) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(connection).await
}

/// Whether that is this machine: a socket, or an address that never leaves it.
fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.starts_with('/')
        || host.to_ascii_lowercase().starts_with("%2f")
        || host == "localhost"
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a pool is one of PostgreSQL.
pub(super) fn is_server(pool: &AnyPool) -> bool {
    pool.connect_options().database_url.scheme() != "sqlite"
}
