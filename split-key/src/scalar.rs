//! The one holder of secret scalars, and the macro that gives each secret its own type around it.

use p256::elliptic_curve::{Generate, PrimeField};
use p256::{NonZeroScalar, PublicKey, Scalar};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::point::Point;

/// Why bytes or a difference are not a secret scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScalarError {
    /// The 32 bytes are zero, or not below the order `n` of P-256.
    #[error("the scalar is zero or not below the order of P-256")]
    OutOfRange,
    /// The sum or difference is zero, and a share may not be zero. By chance this does not happen.
    #[error("the resulting scalar is zero")]
    Zero,
}

/// A scalar in `1..n` that is overwritten when dropped.
pub(crate) struct SecretScalar(Zeroizing<NonZeroScalar>);

impl SecretScalar {
    pub(crate) fn draw(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(Zeroizing::new(NonZeroScalar::generate_from_rng(rng)))
    }

    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Result<Self, ScalarError> {
        let repr = Zeroizing::new(p256::FieldBytes::from(*bytes));
        NonZeroScalar::from_repr(*repr)
            .into_option()
            .map(|scalar| Self(Zeroizing::new(scalar)))
            .ok_or(ScalarError::OutOfRange)
    }

    pub(crate) fn expose_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut repr = self.0.to_repr();
        let bytes = Zeroizing::new(repr.0);
        repr.zeroize();
        bytes
    }

    pub(crate) fn public(&self) -> Point {
        Point::from_public_key(&PublicKey::from_secret_scalar(&self.0))
    }

    pub(crate) fn minus(&self, other: &Self) -> Result<Self, ScalarError> {
        Self::from_difference(Zeroizing::new(**self.0 - **other.0))
    }

    pub(crate) fn plus(&self, other: &Self) -> Result<Self, ScalarError> {
        Self::from_difference(Zeroizing::new(**self.0 + **other.0))
    }

    pub(crate) fn as_nonzero(&self) -> &NonZeroScalar {
        &self.0
    }

    fn from_difference(scalar: Zeroizing<Scalar>) -> Result<Self, ScalarError> {
        NonZeroScalar::new(*scalar)
            .into_option()
            .map(|scalar| Self(Zeroizing::new(scalar)))
            .ok_or(ScalarError::Zero)
    }
}

/// Everything of the 67-byte PKCS#8 before the scalar (RFC 5958 version 0 around RFC 5915 version 1, curve in the
/// algorithm identifier, no public key).
const PKCS8_PREFIX: [u8; 35] = [
    0x30, 0x41, // SEQUENCE PrivateKeyInfo
    0x02, 0x01, 0x00, // version 0
    0x30, 0x13, // SEQUENCE AlgorithmIdentifier
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, // id-ecPublicKey
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, // prime256v1
    0x04, 0x27, // OCTET STRING privateKey
    0x30, 0x25, // SEQUENCE ECPrivateKey
    0x02, 0x01, 0x01, // version 1
    0x04, 0x20, // OCTET STRING, the scalar follows
];

/// The scalar as a DER PKCS#8 `PrivateKeyInfo` (RFC 5958), 67 bytes.
pub(crate) fn pkcs8_der(scalar: &SecretScalar) -> Zeroizing<Vec<u8>> {
    let mut der = Zeroizing::new(Vec::with_capacity(67));
    der.extend_from_slice(&PKCS8_PREFIX);
    der.extend_from_slice(scalar.expose_bytes().as_slice());
    der
}

/// Each secret is a type of its own, so that the compiler keeps `s1`, `s2`, `a`, `b` and `d` apart. None of them
/// implements `Debug`, `Clone`, `Copy` or a serializer.
macro_rules! secret_scalar {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(crate::scalar::SecretScalar);

        impl $name {
            /// Reads 32 bytes, big-endian; refuses zero and values not below the order of P-256.
            pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, crate::scalar::ScalarError> {
                crate::scalar::SecretScalar::from_bytes(bytes).map(Self)
            }

            /// The secret itself, 32 bytes big-endian, for wrapping or importing.
            pub fn expose_bytes(&self) -> zeroize::Zeroizing<[u8; 32]> {
                self.0.expose_bytes()
            }

            /// The public point, this scalar times `G`.
            pub fn public(&self) -> crate::point::Point {
                self.0.public()
            }
        }
    };
}
pub(crate) use secret_scalar;

/// `secret_scalar!` for secrets that are drawn at random rather than computed.
macro_rules! drawn_scalar {
    ($(#[$doc:meta])* $name:ident) => {
        crate::scalar::secret_scalar!($(#[$doc])* $name);

        impl $name {
            /// Draws one uniformly from `1..n`.
            pub fn draw(rng: &mut (impl rand_core::CryptoRng + ?Sized)) -> Self {
                Self(crate::scalar::SecretScalar::draw(rng))
            }
        }
    };
}
pub(crate) use drawn_scalar;
