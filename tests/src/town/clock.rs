//! Wall clocks of services, agents and commands, moved while they run.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::Town;

/// Debian's libfaketime, for programs with threads: below `/usr/lib` and the machine's kind.
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";

impl Town {
    /// From its next start on, a service or an agent has a wall clock of its own, which [`Town::set_clock`] moves.
    ///
    /// # Errors
    /// Where libfaketime is not installed, or nothing of that name is there.
    pub fn give_clock(&mut self, name: &str) -> Result<()> {
        let env = self.own_clock(name)?;
        self.set_env(name, &env)
    }

    /// What gives a program this wall clock. Its boot-time and monotonic clocks stay what they are.
    ///
    /// # Errors
    /// Where libfaketime is not installed.
    pub fn own_clock(&self, name: &str) -> Result<Vec<(OsString, OsString)>> {
        let mut libraries = fs::read_dir("/usr/lib")?.flatten().map(|kind| kind.path().join(FAKETIME));
        let library = libraries.find(|path| path.exists());
        let library = library.context("the package faketime is not installed")?;
        if !self.clock(name).exists() {
            self.set_clock(name, "+0")?;
        }
        Ok([
            ("LD_PRELOAD", library.into_os_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.clock(name).into_os_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
        .map(|(name, value): (&str, OsString)| (name.into(), value))
        .into())
    }

    /// Moves a wall clock, such as by `+1h` or `+3d` from the right time: from now on.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn set_clock(&self, name: &str, offset: &str) -> Result<()> {
        let beside = self.folder.join("clock.new");
        fs::write(&beside, format!("{offset}\n"))?;
        Ok(fs::rename(beside, self.clock(name))?)
    }

    fn clock(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.clock"))
    }
}
