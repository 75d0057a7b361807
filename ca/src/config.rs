//! The configuration file.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use warifu_console::{Kms, Settings, Token};

/// How a ca is set up; TOML. Relative paths are relative to the folder that the file is in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder of the database and of the signed statement of keys. Made if it is not there.
    pub data: PathBuf,
    /// Its token.
    pub hsm: Token,
    /// The authority that it follows. The founding pins the authority's TLS key; if it is named here too, the two must agree.
    pub kms: Kms,
}

impl Settings for Config {
    fn data(&self) -> &Path {
        &self.data
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        [&mut self.data].into_iter().chain(self.hsm.paths()).chain(&mut self.kms.statement).collect()
    }
}

impl Config {
    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join("ca.sqlite")
    }
}
