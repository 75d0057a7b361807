//! A service's token in its HSM, and the statement of the keys in it.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use warifu_hardware::hsm::{Hsm, HsmConfig, HsmError, Pin, PinSource, SigningKey};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{ServiceKeys, ServiceKind, ServiceStatement};
use zeroize::Zeroizing;

use crate::{ConsoleError, file, process};

/// The statement of the service's keys, in its data folder.
pub(crate) const STATEMENT: &str = "statement.json";

/// `[hsm]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The PKCS#11 module, a shared library.
    #[serde(default = "softhsm")]
    pub module: PathBuf,
    /// The token's label, 1 to 32 bytes.
    pub token_label: String,
    /// The file with the token's PIN, which others than owner and group may not use. `init` draws a PIN into it if it is not
    /// there.
    pub pin_file: PathBuf,
    /// The service's data folder, as its configuration says: there it is remembered which PIN was refused.
    #[serde(skip)]
    pub data: PathBuf,
}

fn softhsm() -> PathBuf {
    "/usr/lib/softhsm/libsofthsm2.so".into()
}

impl Token {
    /// The paths in it, to be made absolute.
    pub fn paths(&mut self) -> [&mut PathBuf; 2] {
        [&mut self.module, &mut self.pin_file]
    }

    /// What the hardware is to open.
    #[must_use]
    pub fn hsm_config(&self) -> HsmConfig {
        HsmConfig::new(&self.module, &self.token_label, PinSource::File(self.pin_file.clone()))
    }

    /// Makes the token, if neither it nor a statement of its keys is there yet, and opens it. The security officer's PIN is in `so_pin_file`; without one it
    /// is drawn and forgotten: nobody can then set another user PIN. Blocks.
    ///
    /// # Errors
    /// [`ConsoleError::Hsm`], [`ConsoleError::File`], [`ConsoleError::Randomness`].
    pub fn init(&self, so_pin_file: Option<&Path>) -> Result<Hsm, ConsoleError> {
        // There are keys already: where the HSM is not here, others in their place would be nobody's.
        if self.data.join(STATEMENT).exists() {
            return self.open();
        }
        file::write_new_secret(&self.pin_file, draw_pin()?.as_bytes())?;
        let so_pin = match so_pin_file {
            Some(path) => std::fs::read_to_string(path).map_err(file::fault(path))?,
            None => draw_pin()?.to_string(),
        };
        match Hsm::init_token(&self.hsm_config(), &Pin::new(so_pin)) {
            Ok(()) | Err(HsmError::TokenExists { .. }) => self.open(),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the token, and checks that it can do what is needed. Blocks.
    ///
    /// # Errors
    /// [`ConsoleError::Hsm`], [`ConsoleError::PinRefusedBefore`].
    pub fn open(&self) -> Result<Hsm, ConsoleError> {
        let hsm = self.log_in(self.hsm_config())?;
        hsm.probe()?;
        Ok(hsm)
    }

    /// Opens the token as `config` says. A PIN that was refused is shown once in all, however often a supervisor starts the
    /// service again, or a person the doctor. Blocks.
    ///
    /// # Errors
    /// As for [`Token::open`].
    pub(crate) fn log_in(&self, config: HsmConfig) -> Result<Hsm, ConsoleError> {
        let pin = self.pin_as_it_is();
        if self.pin_was_refused() {
            return Err(ConsoleError::PinRefusedBefore { pin_file: self.pin_file.clone() });
        }
        let opened = Hsm::open(config);
        if let (Err(HsmError::PinWrong { .. }), Some(pin)) = (&opened, pin) {
            // Where it cannot be written, the refusal itself is what the person has to hear of.
            let _ = file::write_whole(&self.refusal_mark(), pin.as_bytes());
        }
        Ok(opened?)
    }

    /// Whether the token has refused the PIN that is in the file now. A mark that cannot be read counts, unless the PIN file
    /// was written after it: one try too many locks some HSMs for good.
    fn pin_was_refused(&self) -> bool {
        let mark = self.refusal_mark();
        match std::fs::read_to_string(&mark) {
            Ok(refused) => self.pin_as_it_is().is_some_and(|pin| pin == refused),
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(_) => {
                let written = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified());
                match (written(&self.pin_file), written(&mark)) {
                    (Ok(pin), Ok(mark)) => pin <= mark,
                    _ => true,
                }
            }
        }
    }

    /// In the service's own folder, which it can write: which version of the PIN file was refused.
    fn refusal_mark(&self) -> PathBuf {
        self.data.join("pin.refused")
    }

    /// Tells one version of the PIN file from another, and nothing of the PIN.
    fn pin_as_it_is(&self) -> Option<String> {
        let found = std::fs::metadata(&self.pin_file).ok()?;
        Some(format!("{} {} {}.{}\n", found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    }
}

/// A PIN that nobody types: 128 random bits in hexadecimal.
fn draw_pin() -> Result<Zeroizing<String>, ConsoleError> {
    let mut bytes = Zeroizing::new([0; 16]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(Zeroizing::new(hex::encode(bytes.as_slice())))
}

/// Says at the console what people carry on: where the statement is, its fingerprint, which they compare, and the TLS key as
/// configurations and agents take it, base64 of the compressed point.
///
/// # Errors
/// [`ConsoleError::Statement`] if it is none, [`ConsoleError::System`].
pub fn announce(path: &Path, envelope: &Envelope) -> Result<(), ConsoleError> {
    let statement: ServiceStatement = envelope.statement()?;
    process::say(&format!("statement {}", path.display()))?;
    process::say(&format!("fingerprint {}", envelope.digest()))?;
    process::say(&format!("tls-key {}", STANDARD.encode(statement.keys.tls.0.to_compressed())))
}

/// The statement of a service's keys, signed with its signing key. Its digest is the fingerprint that people compare.
/// Blocks.
///
/// # Errors
/// [`ConsoleError::Hsm`], [`ConsoleError::Statement`].
pub fn statement(
    service: ServiceKind,
    keys: ServiceKeys,
    address: Option<String>,
    signing: &SigningKey,
) -> Result<Envelope, ConsoleError> {
    let signer = keys.signing;
    let mut envelope = Envelope::unsigned(&ServiceStatement { service, keys, address })?;
    envelope.add_signature(&signer, signing.sign_digest(envelope.digest().0)?);
    Ok(envelope)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    /// Opens the token with no module there: what is said besides means that the PIN was not to be shown.
    fn is_shown(token: &Token) -> bool {
        match token.open() {
            Err(ConsoleError::PinRefusedBefore { .. }) => false,
            Err(ConsoleError::Hsm(_)) => true,
            other => panic!("{:?}", other.err()),
        }
    }

    #[test]
    fn a_mark_that_cannot_be_read_counts_until_the_pin_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("data")).unwrap();
        file::write_new_secret(&path("pin"), b"123456").unwrap();
        let token = Token {
            module: path("nothing.so"),
            token_label: "t".to_owned(),
            pin_file: path("pin"),
            data: path("data"),
        };
        assert!(is_shown(&token), "nothing was refused");

        let mark = token.refusal_mark();
        let pin = std::fs::File::options().write(true).open(path("pin")).unwrap();
        let yesterday = SystemTime::now() - Duration::from_secs(86_400);
        pin.set_modified(yesterday).unwrap();
        std::fs::write(&mark, token.pin_as_it_is().unwrap()).unwrap();
        assert!(!is_shown(&token));
        // What stands there is no text; or nothing that can be read at all.
        std::fs::write(&mark, [0xff]).unwrap();
        assert!(!is_shown(&token));
        std::fs::remove_file(&mark).unwrap();
        std::fs::create_dir(&mark).unwrap();
        assert!(!is_shown(&token));
        pin.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
        assert!(is_shown(&token), "whoever corrects the file has it shown again");
    }
}
