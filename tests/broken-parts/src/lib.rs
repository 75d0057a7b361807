//! Test equipment: real parts that fail when they are told to.
//!
//! - [`PullableHsm`]: SoftHSM behind a PKCS#11 module that can be pulled and put back, at any call;
//! - [`postgres`]: a PostgreSQL server that can be killed;
//! - [`disk`]: a small disk of one's own that can be filled, emptied and made read-only.
//!
//! [`Place`] puts a test that runs itself again into a process among such parts.

pub mod disk;
mod hsm;
pub mod postgres;

pub use hsm::{Call, PullableHsm};

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Command;

/// What is special about where a test runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// The HSM can be pulled: [`PullableHsm::build`] in the test's folder gives it.
    pub pullable: bool,
    /// The folder `data` in the test's folder is a disk of so many KiB.
    pub disk_kib: Option<u32>,
}

impl Place {
    /// A command among these parts.
    ///
    /// # Errors
    /// Where a part cannot be made.
    pub fn command(self, folder: &Path, program: impl AsRef<OsStr>) -> io::Result<Command> {
        if self.pullable {
            PullableHsm::build(folder)?;
        }
        Ok(match self.disk_kib {
            Some(kib) => disk::command_on(&folder.join("data"), kib, program),
            None => Command::new(program),
        })
    }
}
