//! Files at the desk: read whole, and written whole or not at all.

use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use warifu_envelope::{Overwrite, WholeError, write_whole};

use crate::fault::Fault;

/// What a JSON file says.
///
/// # Errors
/// [`Fault::File`], or [`Fault::Json`] if it says something else.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Fault> {
    let bytes = std::fs::read(path).map_err(|source| fault(path, source))?;
    serde_json::from_slice(&bytes).map_err(Fault::Json)
}

/// Writes a file that only its owner reads, under its name once it is whole and on the disk.
///
/// # Errors
/// [`Fault::File`].
pub(crate) fn write(path: &Path, overwrite: Overwrite, bytes: &[u8]) -> Result<(), Fault> {
    write_whole(path, overwrite, |file| file.write_all(bytes).map_err(Unwritten::Io))
        .map_err(|unwritten| fault(path, unwritten.into()))
}

/// Writes JSON for people's eyes as well, as [`write()`] does.
///
/// # Errors
/// [`Fault::File`].
pub(crate) fn write_json(path: &Path, overwrite: Overwrite, value: &impl Serialize) -> Result<(), Fault> {
    let mut text = serde_json::to_vec_pretty(value).map_err(Fault::Json)?;
    text.push(b'\n');
    write(path, overwrite, &text)
}

/// What stands in the way of a file, by its path.
pub(crate) fn fault(path: &Path, source: io::Error) -> Fault {
    Fault::File { path: path.display().to_string(), source }
}

/// Why a file was not written.
enum Unwritten {
    Io(io::Error),
    Whole(WholeError),
}

impl From<WholeError> for Unwritten {
    fn from(error: WholeError) -> Self {
        Self::Whole(error)
    }
}

impl From<Unwritten> for io::Error {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::Whole(WholeError::Exists { .. }) => io::ErrorKind::AlreadyExists.into(),
            Unwritten::Io(source)
            | Unwritten::Whole(WholeError::Create { source, .. } | WholeError::Publish { source, .. }) => {
                source
            }
            Unwritten::Whole(error) => Self::other(error),
        }
    }
}
