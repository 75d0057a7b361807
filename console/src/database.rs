//! `[database]`: where a service's database is, if not in its data folder.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use warifu_replica::storage::{Place, Server};
use zeroize::Zeroizing;

use crate::{ConsoleError, file};

/// `[database]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `postgres://[USER@][HOST][:PORT]/DATABASE`, without a password; on another machine with `?sslmode=verify-full`.
    pub url: String,
    /// The file with the user's password, for the service alone to read. Without one PostgreSQL has to know the service
    /// otherwise: by its user of this machine (`peer`).
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

impl Database {
    /// The paths in it, to be made absolute.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.password_file.iter_mut()
    }

    /// The database that is meant.
    ///
    /// # Errors
    /// [`ConsoleError::Database`] if the address does not do, [`ConsoleError::File`] and [`ConsoleError::OpenToOthers`] for the
    /// password.
    pub fn place(&self) -> Result<Place, ConsoleError> {
        let password = self.password_file.as_deref().map(password).transpose()?;
        Ok(Place::Server(Server::new(&self.url, password)?))
    }
}

fn password(path: &Path) -> Result<Zeroizing<String>, ConsoleError> {
    file::must_be_its_owners(path)?;
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(file::fault(path))?);
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
