//! Proof of possession of a half.
//!
//! A half is proven by an ECDSA signature under it over a message that contains the half's own public point. A
//! signature over less can be forged by choosing the point last: `S = (s·R − h·G)/r` fits any `(r, s)` as long as `h`
//! does not depend on `S`, and with `R` built on the other party's `S1` that gives `S2 = t·G − S1`, a unit key
//! whose private part `t` one party knows whole. The test `half_forgery` does exactly that.

use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};

use crate::point::Point;
use crate::scalar::SecretScalar;

const DOMAIN: &[u8] = b"warifu/half/v1";

/// Who holds the half that is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HalfRole {
    /// The ca, holder of `s1`; role byte 1.
    Issuer,
    /// The kms, holder of `s2`; role byte 2.
    Keeper,
}

impl HalfRole {
    /// The byte that stands for the role in the signed message.
    pub fn byte(self) -> u8 {
        match self {
            Self::Issuer => 1,
            Self::Keeper => 2,
        }
    }
}

/// What a half is proven for: the proof is worth nothing in any other organization, unit, order or role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfContext {
    /// The organization's name: the hash of its founding entry.
    pub organization: [u8; 32],
    /// The unit's random id.
    pub unit: [u8; 16],
    /// The hash of the order that asked for the unit.
    pub order: [u8; 32],
    /// Whose half it is.
    pub role: HalfRole,
}

impl HalfContext {
    /// `"warifu/half/v1" ‖ organization ‖ unit ‖ order ‖ role ‖ S`, with `S` compressed: 128 bytes.
    pub fn message(&self, public: &Point) -> Vec<u8> {
        [DOMAIN, &self.organization, &self.unit, &self.order, &[self.role.byte()], &public.to_compressed()]
            .concat()
    }
}

/// An ECDSA P-256/SHA-256 signature by a half, `r ‖ s`, 32 bytes each, big-endian.
///
/// ECDSA signatures are malleable (`n − s` verifies too): never use one as an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfProof(pub [u8; 64]);

/// Why a proof of possession was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HalfError {
    /// `r` or `s` is zero or not below the order.
    #[error("the proof of possession is not an ECDSA P-256 signature")]
    Malformed,
    /// A well-formed signature that this point did not make over this context.
    #[error("the proof of possession does not fit the half's point and context")]
    Forged,
}

/// Checks that whoever made `proof` knows the private half of `public`, and made it for this context.
pub fn verify_half(context: &HalfContext, public: &Point, proof: &HalfProof) -> Result<(), HalfError> {
    let signature = Signature::from_slice(&proof.0).map_err(|_| HalfError::Malformed)?;
    VerifyingKey::from_affine(*public.as_affine())
        .and_then(|key| key.verify(&context.message(public), &signature))
        .map_err(|_| HalfError::Forged)
}

/// Signs deterministically (RFC 6979): no randomness that could repeat and give the half away.
pub(crate) fn prove(half: &SecretScalar, context: &HalfContext) -> HalfProof {
    let key = SigningKey::from(*half.as_nonzero());
    let signature: Signature = key.sign(&context.message(&half.public()));
    HalfProof(signature.to_bytes().0)
}
