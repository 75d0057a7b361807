//! A PKCS#11 module in front of SoftHSM that behaves as a network HSM does whose line is cut.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("pullable.c");
/// Debian's SoftHSM.
const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A call at which the HSM goes away, or fails: before the module does any of it. The numbers are the places in
/// `CK_FUNCTION_LIST` (PKCS#11 2.40, section 3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `C_GetSlotList`.
    GetSlotList = 4,
    /// `C_GetTokenInfo`.
    GetTokenInfo = 6,
    /// `C_Login`.
    Login = 18,
    /// `C_DestroyObject`.
    DestroyObject = 22,
    /// `C_SignInit`.
    SignInit = 42,
    /// `C_DeriveKey`.
    DeriveKey = 62,
}

/// The module, and the switch beside it. The tokens in it are SoftHSM's.
#[derive(Debug, Clone)]
pub struct PullableHsm {
    folder: PathBuf,
}

impl PullableHsm {
    /// Builds the module into a folder that is there, or takes the one that was built there before.
    ///
    /// # Errors
    /// Where there is no C compiler, or it refuses.
    pub fn build(folder: &Path) -> io::Result<Self> {
        let this = Self { folder: folder.to_owned() };
        if this.module().exists() {
            return Ok(this);
        }
        let source = folder.join("pullable.c");
        fs::write(&source, SOURCE)?;
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror"])
            .arg(format!("-DREAL=\"{SOFTHSM}\""))
            .arg("-o")
            .arg(this.module())
            .arg(&source)
            .args(["-ldl", "-lpthread"])
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(this)
    }

    /// The shared library, for a configuration.
    #[must_use]
    pub fn module(&self) -> PathBuf {
        self.folder.join("pullable.so")
    }

    /// The token is gone, and every session with it.
    ///
    /// # Errors
    /// Where the switch cannot be written.
    pub fn pull(&self) -> io::Result<()> {
        fs::write(self.folder.join("pulled"), "")
    }

    /// The token goes away at the next such call.
    ///
    /// # Errors
    /// Where the switch cannot be written.
    pub fn pull_at(&self, call: Call) -> io::Result<()> {
        fs::write(self.folder.join("pull-at"), (call as usize).to_string())
    }

    /// Whether it is gone.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        self.folder.join("pulled").exists()
    }

    /// The token is there again.
    ///
    /// # Errors
    /// Where it was not gone.
    pub fn put_back(&self) -> io::Result<()> {
        fs::remove_file(self.folder.join("pulled"))
    }

    /// From now on such calls fail, and all others work.
    ///
    /// # Errors
    /// Where the switch cannot be written.
    pub fn refuse(&self, call: Call) -> io::Result<()> {
        fs::write(self.folder.join("refuse"), (call as usize).to_string())
    }

    /// The next such call fails.
    ///
    /// # Errors
    /// Where the switch cannot be written.
    pub fn refuse_once(&self, call: Call) -> io::Result<()> {
        fs::write(self.folder.join("refuse-once"), (call as usize).to_string())
    }

    /// Whether the call that was to fail once has failed.
    #[must_use]
    pub fn was_refused_once(&self) -> bool {
        !self.folder.join("refuse-once").exists()
    }

    /// From now on such calls never come back.
    ///
    /// # Errors
    /// Where the switch cannot be written.
    pub fn hang_at(&self, call: Call) -> io::Result<()> {
        fs::write(self.folder.join("hang"), (call as usize).to_string())
    }

    /// No call hangs any more; those that do already stay where they are.
    ///
    /// # Errors
    /// Where none was to hang.
    pub fn let_go(&self) -> io::Result<()> {
        fs::remove_file(self.folder.join("hang"))
    }

    /// No call is refused any more.
    ///
    /// # Errors
    /// Where none was.
    pub fn allow(&self) -> io::Result<()> {
        fs::remove_file(self.folder.join("refuse"))
    }

    /// How often anybody has shown a PIN (`C_Login`) since the module was built.
    #[must_use]
    pub fn logins(&self) -> u64 {
        self.counted("logins")
    }

    /// How many calls have found it gone.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.counted("missed")
    }

    fn counted(&self, what: &str) -> u64 {
        fs::metadata(self.folder.join(what)).map_or(0, |file| file.len())
    }
}
