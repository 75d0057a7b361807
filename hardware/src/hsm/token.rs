//! What a token does: [`Token`], over PKCS#11.

use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use super::{HsmError, Mechanisms, Pkcs11Token, WrappedShare};

/// A service's token, each of whose keys is known by its kind and its label. Calls block.
///
/// There are two: PKCS#11, which [`Hsm::open`](super::Hsm::open) opens, and the one of the simulator in `tests/`, which has
/// neither a module nor a file.
pub trait Token: Send + Sync {
    /// The token's label.
    fn token_label(&self) -> &str;

    /// How many operations have failed since it was opened, but for refusals of what was given.
    fn failures(&self) -> u64;

    /// Whether the token offers every mechanism we need, and what room it has. Services call this when they start.
    ///
    /// # Errors
    ///
    /// [`HsmError::MechanismMissing`] names the first that is not there.
    fn probe(&self) -> Result<Mechanisms, HsmError>;

    /// The public half of the P-256 signing key of that name. Nothing is made: for whoever looks without touching.
    ///
    /// # Errors
    ///
    /// [`HsmError::KeyMissing`] where it is not there; others as for [`Hsm::ensure_signing_key`](super::Hsm::ensure_signing_key).
    fn signing_key_there(&self, label: &str) -> Result<Point, HsmError>;

    /// As [`Self::signing_key_there`], of the Ed25519 key of that name.
    ///
    /// # Errors
    ///
    /// As for [`Self::signing_key_there`].
    fn ed25519_key_there(&self, label: &str) -> Result<[u8; 32], HsmError>;

    /// As [`Self::signing_key_there`], of the P-256 key agreement key of that name.
    ///
    /// # Errors
    ///
    /// As for [`Self::signing_key_there`].
    fn agreement_key_there(&self, label: &str) -> Result<Point, HsmError>;

    /// Destroys the P-256 signing key of that name, for ever. One that is not there is fine.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    fn signing_key_destroy(&self, label: &str) -> Result<(), HsmError>;

    /// Destroys the Ed25519 key of that name, for ever. One that is not there is fine.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    fn ed25519_key_destroy(&self, label: &str) -> Result<(), HsmError>;

    /// Destroys the P-256 key agreement key of that name, for ever. One that is not there is fine.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    fn agreement_key_destroy(&self, label: &str) -> Result<(), HsmError>;

    /// See [`Hsm::ensure_signing_key`](super::Hsm::ensure_signing_key).
    ///
    /// # Errors
    ///
    /// As there.
    fn signing_key(&self, label: &str) -> Result<Point, HsmError>;

    /// See [`SigningKey::sign_digest`](super::SigningKey::sign_digest).
    ///
    /// # Errors
    ///
    /// As there.
    fn sign_digest(&self, label: &str, digest: &[u8; 32]) -> Result<[u8; 64], HsmError>;

    /// See [`Hsm::ensure_ed25519_key`](super::Hsm::ensure_ed25519_key).
    ///
    /// # Errors
    ///
    /// As there.
    fn ed25519_key(&self, label: &str) -> Result<[u8; 32], HsmError>;

    /// See [`Ed25519Key::sign`](super::Ed25519Key::sign).
    ///
    /// # Errors
    ///
    /// As there.
    fn sign_ed25519(&self, label: &str, message: &[u8]) -> Result<[u8; 64], HsmError>;

    /// See [`Hsm::ensure_agreement_key`](super::Hsm::ensure_agreement_key).
    ///
    /// # Errors
    ///
    /// As there.
    fn agreement_key(&self, label: &str) -> Result<Point, HsmError>;

    /// See [`AgreementKey::agree`](super::AgreementKey::agree).
    ///
    /// # Errors
    ///
    /// As there.
    fn agree(&self, label: &str, peer: &Point) -> Result<PartialX, HsmError>;

    /// See [`Hsm::ensure_kek`](super::Hsm::ensure_kek).
    ///
    /// # Errors
    ///
    /// As there.
    fn kek(&self, label: &str) -> Result<(), HsmError>;

    /// See [`Kek::seal`](super::Kek::seal).
    ///
    /// # Errors
    ///
    /// As there.
    fn seal(&self, label: &str, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, HsmError>;

    /// See [`Kek::open`](super::Kek::open).
    ///
    /// # Errors
    ///
    /// As there.
    fn unseal(&self, label: &str, sealed: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, HsmError>;

    /// Makes the key pair for a grant, or finds the one there is, and returns its public key, to which the share is to
    /// be wrapped. Idempotent as long as it is not destroyed.
    ///
    /// # Errors
    ///
    /// [`HsmError::CapacityExhausted`] where the configured number of grant keys is reached or the token is full.
    fn grant_key_generate(&self, label: &str) -> Result<Point, HsmError>;

    /// The labels of all grants that have a key in the token, in no particular order. A site compares them with its
    /// fold when it starts.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    fn grant_keys(&self) -> Result<Vec<String>, HsmError>;

    /// Destroys a grant's key pair, then every share unwrapped with it; operations of that grant that are under way end
    /// first. When this returns `Ok`, nothing in this process or the token answers for the grant, and [`Self::partial`]
    /// fails with [`HsmError::GrantKeyMissing`] until a new key is made, to which a share must be wrapped anew. Idempotent:
    /// a grant without a key is fine.
    ///
    /// # Errors
    ///
    /// After one it must be called again; a revocation is not done before it returned `Ok`.
    fn grant_key_destroy(&self, label: &str) -> Result<(), HsmError>;

    /// Keeps that name in the token for ever, beside the keys. Idempotent.
    ///
    /// # Errors
    ///
    /// [`HsmError::CapacityExhausted`] where the token is full; after any error it may be there or not.
    fn mark(&self, label: &str) -> Result<(), HsmError>;

    /// The names that [`Self::mark`] has kept, in no particular order.
    ///
    /// # Errors
    ///
    /// [`HsmError`].
    fn marks(&self) -> Result<Vec<String>, HsmError>;

    /// Unwraps a share inside the token and checks, inside, that it is `b` with `x(bG) = x(B)`. A site acknowledges no
    /// share before this. (`-b` passes too: it gives the same partials.)
    ///
    /// # Errors
    ///
    /// [`HsmError::ShareRefused`] where it does not unwrap under this grant's key or is another share;
    /// [`HsmError::GrantKeyMissing`].
    fn unwrap_check(&self, label: &str, share: &WrappedShare, expected_b: &Point) -> Result<(), HsmError>;

    /// The site's half of an opening: `x(bR)`, 32 bytes big-endian.
    ///
    /// The caller has checked everything that P-7.2 lists, and the audit record is durable.
    ///
    /// # Errors
    ///
    /// [`HsmError::GrantKeyMissing`] where the grant's key was destroyed or never made, [`HsmError::ShareRefused`]
    /// where the share does not unwrap under it.
    fn partial(&self, label: &str, share: &WrappedShare, r: &Point) -> Result<PartialX, HsmError>;

    /// The same share, wrapped to another site's key for the same grant (P-6.4), for a site that comes later: all inside the
    /// token.
    ///
    /// The caller must have verified the other site's signature over `site_grant_key`, and that the ledger has it serve the
    /// grant: whoever owns that key learns the share.
    ///
    /// # Errors
    ///
    /// As for [`Self::partial`]. A token that wraps nothing says so with [`HsmError::Operation`].
    fn rewrap(
        &self,
        label: &str,
        share: &WrappedShare,
        site_grant_key: &Point,
    ) -> Result<WrappedShare, HsmError>;
}

/// Each is the function of that name beside it, in the file of its subject.
macro_rules! here {
    ($(fn $name:ident(&self $(, $argument:ident: $kind:ty)*) -> $answer:ty;)*) => {
        $(fn $name(&self $(, $argument: $kind)*) -> $answer {
            Self::$name(self $(, $argument)*)
        })*
    };
}

impl Token for Pkcs11Token {
    here! {
        fn token_label(&self) -> &str;
        fn failures(&self) -> u64;
        fn probe(&self) -> Result<Mechanisms, HsmError>;
        fn signing_key_there(&self, label: &str) -> Result<Point, HsmError>;
        fn ed25519_key_there(&self, label: &str) -> Result<[u8; 32], HsmError>;
        fn agreement_key_there(&self, label: &str) -> Result<Point, HsmError>;
        fn signing_key_destroy(&self, label: &str) -> Result<(), HsmError>;
        fn ed25519_key_destroy(&self, label: &str) -> Result<(), HsmError>;
        fn agreement_key_destroy(&self, label: &str) -> Result<(), HsmError>;
        fn signing_key(&self, label: &str) -> Result<Point, HsmError>;
        fn sign_digest(&self, label: &str, digest: &[u8; 32]) -> Result<[u8; 64], HsmError>;
        fn ed25519_key(&self, label: &str) -> Result<[u8; 32], HsmError>;
        fn sign_ed25519(&self, label: &str, message: &[u8]) -> Result<[u8; 64], HsmError>;
        fn agreement_key(&self, label: &str) -> Result<Point, HsmError>;
        fn agree(&self, label: &str, peer: &Point) -> Result<PartialX, HsmError>;
        fn kek(&self, label: &str) -> Result<(), HsmError>;
        fn seal(&self, label: &str, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, HsmError>;
        fn unseal(&self, label: &str, sealed: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, HsmError>;
        fn grant_key_generate(&self, label: &str) -> Result<Point, HsmError>;
        fn grant_keys(&self) -> Result<Vec<String>, HsmError>;
        fn grant_key_destroy(&self, label: &str) -> Result<(), HsmError>;
        fn mark(&self, label: &str) -> Result<(), HsmError>;
        fn marks(&self) -> Result<Vec<String>, HsmError>;
        fn unwrap_check(&self, label: &str, share: &WrappedShare, expected: &Point) -> Result<(), HsmError>;
        fn partial(&self, label: &str, share: &WrappedShare, r: &Point) -> Result<PartialX, HsmError>;
        fn rewrap(&self, label: &str, share: &WrappedShare, key: &Point) -> Result<WrappedShare, HsmError>;
    }
}
