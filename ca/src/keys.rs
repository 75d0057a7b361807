//! The ca's keys, all made in its HSM and never to leave it.

use warifu_hardware::hsm::{Ed25519Key, Hsm, HsmError, Kek, SigningKey};
use warifu_ledger::key::{Base64, PublicKey};
use warifu_ledger::statement::ServiceKeys;

/// Names in the token.
pub(crate) const TLS: &str = "tls";
pub(crate) const SIGNING: &str = "statements";

/// The keys. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    /// TLS client.
    pub tls: SigningKey,
    /// Facts.
    pub signing: SigningKey,
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
        Ok(Self {
            tls: hsm.ensure_signing_key(TLS)?,
            signing: hsm.ensure_signing_key(SIGNING)?,
            log: hsm.ensure_ed25519_key("cosignatures")?,
            kek: hsm.ensure_kek("halves")?,
            root: hsm.ensure_signing_key("root")?,
            issuing: hsm.ensure_signing_key("issuing")?,
        })
    }

    /// The public keys that the founding pins.
    #[must_use]
    pub fn service_keys(&self) -> ServiceKeys {
        ServiceKeys {
            signing: PublicKey(self.signing.public_key()),
            tls: PublicKey(self.tls.public_key()),
            log: Some(Base64(self.log.public())),
        }
    }
}
