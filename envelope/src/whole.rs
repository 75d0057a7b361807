//! Files that appear whole or not at all.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// What to do where the file already exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Fail and leave it alone.
    Refuse,
    /// Replace it, atomically.
    Replace,
}

/// Why a whole file could not be put in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WholeError {
    /// There is a file already, and it was not to be overwritten.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// No temporary file could be made beside it.
    #[error("no file can be made in {}", folder.display())]
    Create {
        /// The folder that was to hold it.
        folder: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The content could not be brought to the disk, or not under its name.
    #[error("{} cannot be put in place", path.display())]
    Publish {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
}

/// Lets `write` fill a temporary file (mode 0600 where modes exist) in the folder of `path`, and gives it that name
/// only after `write` succeeded and the content is on the disk. On any failure, and where `write` panics, the
/// temporary file is removed and whatever was at `path` stays as it was.
///
/// Where the file system can, the temporary file has no name, so that even the end of the process leaves nothing behind;
/// elsewhere it leaves a file whose name begins with `.warifu-`. Blocks on a disk are not overwritten by removal; where
/// that matters, `path` belongs on a file system in memory.
pub fn write_whole<T, E: From<WholeError>>(
    path: &Path,
    overwrite: Overwrite,
    write: impl FnOnce(&mut File) -> Result<T, E>,
) -> Result<T, E> {
    let exists = || WholeError::Exists { path: path.to_owned() };
    if overwrite == Overwrite::Refuse && path.symlink_metadata().is_ok() {
        return Err(exists().into());
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut temporary = Temporary::in_folder(folder)
        .map_err(|source| WholeError::Create { folder: folder.to_owned(), source })?;
    let written = write(temporary.file())?;

    let publish = |source| WholeError::Publish { path: path.to_owned(), source };
    temporary.file().sync_all().map_err(publish)?;
    match temporary.publish(folder, path, overwrite) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists().into()),
        Err(error) => return Err(publish(error).into()),
    }
    // The new name is in the folder, which has to reach the disk too. Platforms that cannot open a folder keep names
    // by themselves.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(written)
}

const PREFIX: &str = ".warifu-";

/// A file that is to get its name when it is whole.
enum Temporary {
    #[cfg(target_os = "linux")]
    Unnamed(File),
    Named(NamedTempFile),
}

impl Temporary {
    fn in_folder(folder: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{Mode, OFlags};
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            // File systems that have no unnamed files say so in several ways; what is really wrong is said below.
            if let Ok(file) = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
                return Ok(Self::Unnamed(file.into()));
            }
        }
        tempfile::Builder::new().prefix(PREFIX).tempfile_in(folder).map(Self::Named)
    }

    fn file(&mut self) -> &mut File {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) => file,
            Self::Named(file) => file.as_file_mut(),
        }
    }

    fn publish(self, folder: &Path, path: &Path, overwrite: Overwrite) -> io::Result<()> {
        match (self, overwrite) {
            #[cfg(target_os = "linux")]
            (Self::Unnamed(file), Overwrite::Refuse) => link(&file, path),
            #[cfg(target_os = "linux")]
            (Self::Unnamed(file), Overwrite::Replace) => {
                // A link does not replace: it gets a name of its own first, under which it is whole already.
                let beside =
                    tempfile::Builder::new().prefix(PREFIX).make_in(folder, |path| link(&file, path))?;
                beside.persist(path).map(|_| ()).map_err(|error| error.error)
            }
            (Self::Named(file), Overwrite::Refuse) => {
                file.persist_noclobber(path).map(|_| ()).map_err(|error| error.error)
            }
            (Self::Named(file), Overwrite::Replace) => {
                file.persist(path).map(|_| ()).map_err(|error| error.error)
            }
        }
    }
}

/// Gives an unnamed file a name; an existing one is not replaced.
#[cfg(target_os = "linux")]
fn link(file: &File, path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    use std::os::fd::AsRawFd as _;
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}
