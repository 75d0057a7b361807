//! A service's token in its HSM, and the statement of the keys in it.

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

    /// Makes the token, if it is not there yet, and opens it. The security officer's PIN is in `so_pin_file`; without one it
    /// is drawn and forgotten: nobody can then set another user PIN. Blocks.
    ///
    /// # Errors
    /// [`ConsoleError::Hsm`], [`ConsoleError::File`], [`ConsoleError::Randomness`].
    pub fn init(&self, so_pin_file: Option<&Path>) -> Result<Hsm, ConsoleError> {
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
            // Where no file can be written there, the refusal itself is what the person has to hear of.
            let _ = file::write_whole(&self.refusal_mark(), pin.as_bytes());
        }
        Ok(opened?)
    }

    /// Whether the token has refused the PIN that is in the file now.
    fn pin_was_refused(&self) -> bool {
        let refused = std::fs::read_to_string(self.refusal_mark()).ok();
        refused.is_some() && refused == self.pin_as_it_is()
    }

    /// Beside the PIN file: which of its versions was refused.
    fn refusal_mark(&self) -> PathBuf {
        let mut path = self.pin_file.clone().into_os_string();
        path.push(".refused");
        path.into()
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
