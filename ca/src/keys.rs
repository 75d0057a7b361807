//! The ca's keys, all made in its HSM and never to leave it.

use warifu_console::keys::{Labels, OwnKeys, former};
use warifu_hardware::hsm::{Ed25519Key, Hsm, HsmError, Kek, SigningKey};
use warifu_ledger::state::State;
use warifu_ledger::statement::{HalfHolder, ServiceKeys};

const LOG: &str = "cosignatures";
/// Names of its own keys in the token.
pub(crate) const LABELS: Labels =
    Labels { tls: "tls", signing: "statements", log: Some(LOG), transport: None };

/// The keys. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    /// TLS, statements and cosignatures.
    pub own: OwnKeys,
    /// Cosignatures.
    pub log: Ed25519Key,
    /// Seals halves and shares at rest.
    pub kek: Kek,
    /// The root of the organization's X.509.
    pub root: SigningKey,
    /// The issuing CA under it.
    pub issuing: SigningKey,
}

impl Keys {
    /// Finds the keys in the token, or makes those that are not there.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn ensure(hsm: &Hsm) -> Result<Self, HsmError> {
        let own = OwnKeys::ensure(hsm, &LABELS)?;
        Ok(Self {
            log: log_of(&own)?,
            own,
            kek: hsm.ensure_kek("halves")?,
            root: hsm.ensure_signing_key("root")?,
            issuing: hsm.ensure_signing_key("issuing")?,
        })
    }

    /// Those that the ledger names as the ca's, if they are in the token (P-4.20).
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn named_in(self, state: &State) -> Result<Self, HsmError> {
        let own = self.own.named(|keys| keys == state.ca())?;
        Ok(Self { log: log_of(&own)?, own, ..self })
    }

    /// Destroys those that were the ca's before, if the ledger names these.
    ///
    /// # Errors
    /// [`HsmError`].
    pub(crate) fn destroy_former(&self, state: &State) -> Result<(), HsmError> {
        if *state.ca() != self.service_keys() {
            return Ok(());
        }
        self.own.destroy_former(&former(state, HalfHolder::Ca))
    }

    /// The public keys that the ledger names.
    #[must_use]
    pub fn service_keys(&self) -> ServiceKeys {
        self.own.public()
    }
}

fn log_of(own: &OwnKeys) -> Result<Ed25519Key, HsmError> {
    own.log.clone().ok_or(HsmError::KeyMissing { label: LOG.to_owned() })
}
