//! The site's configuration file.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use warifu_console::monitor::Monitor;
use warifu_console::{Kms, Settings, Token};
use warifu_ledger::Digest;

/// How a site is set up; TOML. Relative paths are relative to the folder that the file is in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder of the database and of the signed statement of keys. Made if it is not there.
    pub data: PathBuf,
    /// `address:port` to listen on.
    pub listen: String,
    /// `host:port` under which agents reach it.
    pub address: String,
    /// The organization's name, 64 hexadecimal digits: the site follows no other ledger. Not needed for `init`.
    #[serde(default)]
    pub organization: Option<Digest>,
    /// Its token.
    pub hsm: Token,
    /// The authority that it follows; its TLS key is not needed for `init`.
    pub kms: Kms,
    /// Where it shows how it is, if anywhere.
    #[serde(default)]
    pub monitor: Option<Monitor>,
}

impl Settings for Config {
    fn data(&self) -> &Path {
        &self.data
    }

    fn token(&mut self) -> &mut Token {
        &mut self.hsm
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        [&mut self.data].into_iter().chain(self.hsm.paths()).chain(&mut self.kms.statement).collect()
    }
}

impl Config {
    /// The database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join("site.sqlite")
    }
}
