//! Files: read with a clear fault, written whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ConsoleError;

/// Names the file in what the operating system said.
pub fn fault(path: &Path) -> impl Fn(io::Error) -> ConsoleError + '_ {
    |source| ConsoleError::File { path: path.to_owned(), source }
}

/// Refuses a file with something secret that others than its owner may read.
///
/// # Errors
/// [`ConsoleError::OpenToOthers`], [`ConsoleError::File`].
pub fn must_be_its_owners(path: &Path) -> Result<(), ConsoleError> {
    let mode = std::fs::metadata(path).map_err(fault(path))?.permissions().mode();
    if mode & 0o077 == 0 { Ok(()) } else { Err(ConsoleError::OpenToOthers { path: path.to_owned() }) }
}

/// Makes a folder that only its owner can enter, and those above it; it may be there.
///
/// # Errors
/// [`ConsoleError::File`].
pub fn make_folder(path: &Path) -> Result<(), ConsoleError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fault(path))
}

/// Sees to it that one process serves a folder, which is made if it is not there. It is free again when the file is dropped.
///
/// # Errors
/// [`ConsoleError::InUse`] while another process serves it, [`ConsoleError::File`].
pub fn lock_folder(path: &Path) -> Result<File, ConsoleError> {
    make_folder(path)?;
    let lock_path = path.join("lock");
    let lock = File::options().create(true).append(true).open(&lock_path).map_err(fault(&lock_path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(ConsoleError::InUse { folder: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(fault(&lock_path)(source)),
    }
}

/// Reads a JSON file.
///
/// # Errors
/// [`ConsoleError::File`], [`ConsoleError::Json`].
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ConsoleError> {
    let bytes = std::fs::read(path).map_err(fault(path))?;
    serde_json::from_slice(&bytes).map_err(|source| ConsoleError::Json { path: path.to_owned(), source })
}

/// Writes a JSON file that everybody may read, and that is there whole, or as it was before, after a power cut.
///
/// # Errors
/// [`ConsoleError::File`], [`ConsoleError::Json`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ConsoleError> {
    let mut json = serde_json::to_vec_pretty(value)
        .map_err(|source| ConsoleError::Json { path: path.to_owned(), source })?;
    json.push(b'\n');
    write_whole(path, &json)
}

/// Writes a file that everybody may read, and that is there whole, or as it was before, after a power cut.
///
/// # Errors
/// [`ConsoleError::File`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ConsoleError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || {
        let mut file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o644).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        sync_folder_of(path)
    };
    write().map_err(fault(path))
}

/// A new name is durable once its folder is.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Writes a new file that only its owner reads. Whether it was written: a file that is there stays as it is.
///
/// # Errors
/// [`ConsoleError::File`].
pub fn write_new_secret(path: &Path, bytes: &[u8]) -> Result<bool, ConsoleError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let written = file.write_all(bytes).and_then(|()| file.sync_all());
            written.and_then(|()| sync_folder_of(path)).map_err(fault(path))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(fault(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_whole_file_replaces_another_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statement.json");
        write_whole(&path, b"a longer first text").unwrap();
        write_whole(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        // Whatever the umask takes away.
        assert_eq!(mode(&path) & !0o644, 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = write_whole(&folder.path().join("none/statement.json"), b"text");
        assert!(matches!(nowhere, Err(ConsoleError::File { .. })));
    }

    #[test]
    fn a_secret_is_its_owners_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        assert!(write_new_secret(&path, b"1234").unwrap());
        assert!(!write_new_secret(&path, b"5678").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"1234");
        assert_eq!(mode(&path) & !0o600, 0);
    }

    #[test]
    fn a_folder_is_served_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let lock = lock_folder(&path).unwrap();
        assert!(matches!(lock_folder(&path), Err(ConsoleError::InUse { folder }) if folder == path));
        drop(lock);
        lock_folder(&path).unwrap();
    }

    #[test]
    fn a_folder_is_its_owners_and_may_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("above/data");
        make_folder(&path).unwrap();
        make_folder(&path).unwrap();
        assert_eq!((mode(&path) & !0o700, mode(&folder.path().join("above")) & !0o700), (0, 0));
    }
}
