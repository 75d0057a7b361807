//! The authority's configuration file.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use warifu_console::monitor::Monitor;
use warifu_console::{ConsoleError, Database, Settings, Token, plain_address};
use warifu_ledger::delivery::LARGEST;
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
    /// What it takes in as deliveries, and for how long.
    #[serde(default, rename = "box")]
    pub deliveries: BoxSettings,
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
    /// The labels of those units of persons and of contractors that everybody is told of; of other such units nobody is.
    #[serde(default)]
    pub also_shown: Vec<String>,
}

impl Public {
    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.certificate.iter_mut().chain(&mut self.key)
    }
}

/// `[box]`: where deliveries lie, how much of them, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BoxSettings {
    /// The folder of the files: unless it is said, `box` in the folder `data`. What lies in it is sealed.
    pub folder: Option<PathBuf>,
    /// The S3 of the files, in the place of a folder.
    pub s3: Option<S3Settings>,
    /// The largest file, in MiB.
    pub largest_mib: u64,
    /// The largest file that comes without a card's signature, in MiB.
    pub largest_outside_mib: u64,
    /// The most that lies here for one unit at a time, in MiB.
    pub unit_mib: u64,
    /// The most that lies here from one organization at a time, or without a card's signature, in MiB.
    pub organization_mib: u64,
    /// What stays free on the disk of the folder, in MiB. Of S3 nobody knows.
    pub spare_mib: u64,
    /// How many days a file lies here at most.
    pub keep_days: u64,
    /// How many days it lies here once every unit that it is for has taken it or given it back.
    pub keep_handled_days: u64,
    /// The labels of the units that take files without a card's signature.
    pub outside: Vec<String>,
}

/// `[box.s3]`: the bucket where deliveries lie. What lies in it is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    /// `https://HOST[:PORT]`; `http` only to this machine itself.
    pub endpoint: String,
    /// The bucket, which is there already.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// What the keys of objects begin with: nothing, unless it is said.
    #[serde(default)]
    pub prefix: String,
    /// The file with `access_key_id` and `secret_access_key`, in TOML, for the service alone to read.
    pub credentials_file: PathBuf,
    /// Certificates, in PEM, of the authorities that the endpoint's certificate may be from: those that browsers believe, unless it is
    /// said.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

impl S3Settings {
    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.credentials_file].into_iter().chain(&mut self.ca_file)
    }
}

impl Default for BoxSettings {
    fn default() -> Self {
        Self {
            folder: None,
            s3: None,
            largest_mib: 16 << 10,
            largest_outside_mib: 256,
            unit_mib: 64 << 10,
            organization_mib: 128 << 10,
            spare_mib: 1 << 10,
            keep_days: 90,
            keep_handled_days: 14,
            outside: Vec::new(),
        }
    }
}

const MIB: u64 = 1 << 20;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl BoxSettings {
    /// [`BoxSettings::largest_mib`] in bytes; never more than any delivery may have.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.largest_mib.saturating_mul(MIB).min(LARGEST)
    }

    /// [`BoxSettings::largest_outside_mib`] in bytes.
    #[must_use]
    pub fn largest_outside(&self) -> u64 {
        self.largest_outside_mib.saturating_mul(MIB).min(self.largest())
    }

    /// [`BoxSettings::unit_mib`] in bytes.
    #[must_use]
    pub fn of_unit(&self) -> u64 {
        self.unit_mib.saturating_mul(MIB)
    }

    /// [`BoxSettings::organization_mib`] in bytes.
    #[must_use]
    pub fn of_organization(&self) -> u64 {
        self.organization_mib.saturating_mul(MIB)
    }

    /// [`BoxSettings::spare_mib`] in bytes.
    #[must_use]
    pub fn spare(&self) -> u64 {
        self.spare_mib.saturating_mul(MIB)
    }

    /// [`BoxSettings::keep_days`] in milliseconds.
    #[must_use]
    pub fn keep_ms(&self) -> u64 {
        self.keep_days.saturating_mul(DAY_MS)
    }

    /// [`BoxSettings::keep_handled_days`] in milliseconds.
    #[must_use]
    pub fn keep_handled_ms(&self) -> u64 {
        self.keep_handled_days.saturating_mul(DAY_MS)
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
        let s3 = self.deliveries.s3.iter_mut().flat_map(S3Settings::paths);
        let others = database.chain(public).chain(&mut self.deliveries.folder).chain(s3);
        [&mut self.data].into_iter().chain(self.hsm.paths()).chain(others).collect()
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

    /// The folder of deliveries.
    #[must_use]
    pub fn box_folder(&self) -> PathBuf {
        self.deliveries.folder.clone().unwrap_or_else(|| self.data.join("box"))
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
