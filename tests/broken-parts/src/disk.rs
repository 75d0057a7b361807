//! A small disk of one's own: a `tmpfs` in a private mount namespace.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounts, then becomes the command. A folder that is there is covered.
const ON_A_SMALL_DISK: &str = r#"
mkdir -p "$1"
mount -t tmpfs -o "size=$2,mode=700" tmpfs "$1"
shift 2
exec "$@"
"#;

/// A command that sees a disk of `kib` KiB at `folder`, which nobody else sees. Works as root, and as anybody where user
/// namespaces are allowed.
pub fn command_on(folder: &Path, kib: u32, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-euc", ON_A_SMALL_DISK, "small-disk"]);
    command.arg(folder).arg(format!("{kib}k")).arg(program);
    command
}

/// Mounts a small disk here: only for a process that is in a mount namespace of its own already.
///
/// # Errors
/// Where it is not allowed to.
pub fn mount(folder: &Path, kib: u32) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    run(Command::new("mount")
        .args(["-t", "tmpfs", "-o"])
        .arg(format!("size={kib}k,mode=700"))
        .arg("tmpfs")
        .arg(folder))
}

/// Makes the disk at `folder` read-only, or writable again. The kernel refuses while a file there is open for writing.
///
/// # Errors
/// Where it refuses.
pub fn read_only(folder: &Path, yes: bool) -> io::Result<()> {
    let options = if yes { "remount,ro" } else { "remount,rw" };
    run(Command::new("mount").args(["-o", options]).arg(folder))
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// What fills a disk. Dropping it makes room again.
#[derive(Debug)]
pub struct Full {
    path: PathBuf,
}

impl Full {
    /// Fills the disk at `folder` to its last byte.
    ///
    /// # Errors
    /// Any other than that there is no more room.
    pub fn fill(folder: &Path) -> io::Result<Self> {
        let path = folder.join("something-large");
        let mut file = File::create(&path)?;
        let full = Self { path };
        for size in [64 << 10, 4 << 10, 1] {
            let chunk = vec![0x5a; size];
            loop {
                match file.write(&chunk) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(full)
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        // A test that cannot remove it fails by what follows.
        let _ = fs::remove_file(&self.path);
    }
}
