//! The agent's own files and folders.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use zeroize::Zeroizing;

const MEMORY: &str = "/dev/shm";
/// The most that is read of a small file, in bytes.
const SMALL: usize = 4096;
/// `TCP_LISTEN` in the kernel's table.
const LISTEN: &str = "0A";
static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];

/// `$XDG_RUNTIME_DIR/warifu`, or a folder of this user's in the temporary folder.
pub(crate) fn default_runtime_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("warifu"),
        None => std::env::temp_dir().join(format!("warifu-{}", user())),
    }
}

/// `$XDG_STATE_HOME/warifu`, by default `~/.local/state/warifu`.
pub(crate) fn default_state_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir)
        .join("warifu")
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes a folder that only this user can enter, or checks that it is one.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() || found.uid() != user() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the folder belongs to somebody else"));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Makes a new folder that only this user can enter, in one that is there. After the agent's end there is none, so that
/// a late request makes nothing that stays.
pub(crate) fn private_subfolder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Writes a file that only this user can read, whole or not at all.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Mode 0600 from the start.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(contents)?;
    file.persist(path)?;
    Ok(())
}

/// Reads a small file that only this user can have written and read.
pub(crate) fn read_private(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = open_regular(path)?;
    let found = file.metadata()?;
    if found.uid() != user() || found.mode() & 0o077 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is open to somebody else"));
    }
    let mut contents = Zeroizing::new(Vec::with_capacity(SMALL));
    (&mut file).take(SMALL as u64).read_to_end(&mut contents)?;
    Ok(contents)
}

/// Opens a file for reading, if it is a regular one. Never waits, as opening a pipe would, even if what is at the path
/// is exchanged at the same moment.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// Whether a program of this user listens at an address of the loopback interface. Where an agent was killed, its
/// address may have become another user's.
pub(crate) fn is_own_listener(address: SocketAddr) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    listener_of(&table, address) == Some(user())
}

/// Who listens at exactly this address, by the kernel's table (proc(5), `/proc/net/tcp`).
fn listener_of(table: &str, address: SocketAddr) -> Option<u32> {
    let SocketAddr::V4(address) = address else { return None };
    // The address as it lies in memory, the port as a number.
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let here = columns.next()? == local.as_str() && columns.nth(1)? == LISTEN;
        here.then(|| columns.nth(3)?.parse().ok()).flatten()
    })
}

/// Removes a file; it may be gone already.
pub(crate) fn remove_if_there(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a file could not be removed");
    }
}

/// The right to be the only agent of a runtime directory, and the private folder in memory that goes with it.
pub(crate) struct Claim {
    _lock: File,
    folder: PathBuf,
}

impl Claim {
    /// Claims the runtime directory, and wipes what an agent that was killed has left in its folder.
    pub(crate) fn take(runtime: &Path) -> io::Result<Self> {
        private_folder(runtime)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(runtime.join("agent.lock"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            io::Error::new(io::ErrorKind::AddrInUse, "an agent runs in this runtime directory already")
        })?;
        // The folder's name follows from the runtime directory's, so that the next agent finds what this one leaves.
        let runtime = fs::canonicalize(runtime)?;
        let digest = warifu_ledger::Digest::of(runtime.as_os_str().as_encoded_bytes()).to_string();
        let name = format!("warifu-{}-{}", user(), digest.get(..16).unwrap_or_default());
        let memory = Path::new(MEMORY);
        let folder = if memory.is_dir() { memory.join(name) } else { runtime.join("open") };
        if fs::symlink_metadata(&folder).is_ok() {
            private_folder(&folder)?;
            remove_folder(&folder).overwrite();
        }
        private_folder(&folder)?;
        Ok(Self { _lock: lock, folder })
    }

    /// Wipes the private folder.
    pub(crate) fn wipe(&self) {
        remove_folder(&self.folder).overwrite();
    }

    /// The private folder in memory, mode 0700.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// Files that have no name any more.
#[must_use = "what they hold is to be overwritten"]
pub(crate) struct Remains(Vec<File>);

/// Removes a folder with everything in it. What its files held is overwritten afterwards, because removing takes no
/// time, while overwriting takes as long as the files are large.
pub(crate) fn remove_folder(folder: &Path) -> Remains {
    let mut files = Vec::new();
    collect(folder, &mut files);
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::error!(path = %folder.display(), %error, "plaintext could not be removed");
    }
    Remains(files)
}

impl Remains {
    /// Overwrites what the files held.
    pub(crate) fn overwrite(self) {
        for mut file in self.0 {
            // What cannot be overwritten goes when the handle is closed.
            let _ = overwrite(&mut file);
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), files),
            Ok(kind) if kind.is_file() => files.extend(OpenOptions::new().write(true).open(entry.path())),
            _ => {}
        }
    }
}

fn overwrite(file: &mut File) -> io::Result<()> {
    let mut left = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROES.len());
        file.write_all(ZEROES.get(..part).unwrap_or_default())?;
        left -= part as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_listener_is_found_among_other_sockets() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1001        0 1 1 0 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002        0 1 1 0 100 0 0 10 0
   2: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   3: 0100007F:1F91 00000000:0000 0A 00000000
";
        let owner = |port| listener_of(table, SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(owner(8080), if cfg!(target_endian = "little") { Some(1000) } else { None });
        assert_eq!((owner(8081), owner(8082)), (None, None));
        assert_eq!(listener_of("", SocketAddr::from(([127, 0, 0, 1], 1))), None);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(is_own_listener(listener.local_addr().unwrap()));
    }
}
