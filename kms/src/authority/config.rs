//! The authority's configuration file.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use warifu_console::monitor::Monitor;
use warifu_console::{ConsoleError, Database, Settings, Token, plain_address};
use warifu_replica::storage::Place;

/// How an authority is set up; TOML. Relative paths are relative to the folder that the file is in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder of the database and of the signed statement of keys. Made if it is not there.
    pub data: PathBuf,
    /// `address:port` to listen on.
    pub listen: String,
    /// `address:port` to serve CRLs on, over plain HTTP. Unless it is said: the address of `listen`, and the port after its own.
    #[serde(default)]
    pub crl_listen: Option<String>,
    /// `host:port` under which everybody else reaches it.
    pub address: String,
    /// Whom members call when something does not work, as people say it.
    pub helpdesk: String,
    /// How long rows of audit journals may be here before their heads are committed into the ledger, in seconds: an hour,
    /// unless it is said.
    #[serde(default = "an_hour")]
    pub journal_seconds: u64,
    /// Its token.
    pub hsm: Token,
    /// Where its database is, if not in the folder `data`.
    #[serde(default)]
    pub database: Option<Database>,
    /// Where it shows how it is, if anywhere.
    #[serde(default)]
    pub monitor: Option<Monitor>,
    /// Where other organizations and browsers reach it, if anywhere.
    #[serde(default)]
    pub public: Option<Public>,
}

/// `[public]`: the listener for everybody else.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Public {
    /// `address:port` to listen on.
    pub listen: String,
    /// `host:port` under which others reach it.
    pub address: String,
    /// A certificate that browsers know, with those above it, in PEM (RFC 7468). Without one it shows the kms's own.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// The private key of that certificate, in PEM, for the service alone to read.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

impl Public {
    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.certificate.iter_mut().chain(&mut self.key)
    }
}

fn an_hour() -> u64 {
    60 * 60
}

impl Settings for Config {
    fn data(&self) -> &Path {
        &self.data
    }

    fn token(&mut self) -> &mut Token {
        &mut self.hsm
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let database = self.database.iter_mut().flat_map(Database::paths);
        let public = self.public.iter_mut().flat_map(Public::paths);
        [&mut self.data].into_iter().chain(self.hsm.paths()).chain(database).chain(public).collect()
    }
}

impl Config {
    /// Where CRLs are served.
    #[must_use]
    pub fn crl_listen(&self) -> String {
        self.crl_listen.clone().unwrap_or_else(|| plain_address(&self.listen))
    }

    /// The database file, unless another database is configured.
    #[must_use]
    pub fn database_file(&self) -> PathBuf {
        self.data.join("authority.sqlite")
    }

    /// Where the database is.
    ///
    /// # Errors
    /// [`ConsoleError`] if `[database]` does not do.
    pub fn place(&self) -> Result<Place, ConsoleError> {
        match &self.database {
            None => Ok(Place::File(self.database_file())),
            Some(database) => database.place(),
        }
    }
}
