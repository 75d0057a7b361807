//! Joining two x-only ECDH results.
//!
//! Cards (PIV) and HSMs (`CKM_ECDH1_DERIVE` with `CKD_NULL`) answer only the x-coordinate of `aR` and `bR`. Each
//! determines its point up to sign, so `x(aR + bR)` is `x(U + V)` or `x(U - V)` for arbitrary lifts `U` and `V`.

#[cfg(test)]
mod tests;

use p256::elliptic_curve::point::{AffineCoordinates, DecompressPoint};
use p256::{AffinePoint, FieldBytes, ProjectivePoint};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// An x-coordinate that is secret: one share's ECDH with a file's ephemeral key, or the whole ECDH result.
/// 32 bytes, big-endian.
pub struct PartialX(Zeroizing<[u8; 32]>);

impl PartialX {
    /// Takes the bytes as they come from a card or HSM. Whether they are an x-coordinate of the curve is checked
    /// where they are used, by [`join`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The secret coordinate, for sending over an encrypted channel.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// One of the two possible ECDH results, 32 bytes; secret.
pub struct Candidate {
    x: Zeroizing<[u8; 32]>,
    usable: Choice,
}

impl Candidate {
    /// The coordinate as ECDH result.
    pub(crate) fn x(&self) -> &[u8; 32] {
        &self.x
    }

    /// False where the point was the identity, whose stand-in coordinate must open nothing, though `x = 0` is on
    /// P-256.
    pub(crate) fn is_usable(&self) -> Choice {
        self.usable
    }
}

/// Why two partials cannot be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// One of the two is no x-coordinate of P-256. Which one is not said.
    #[error("a partial is not an x-coordinate of P-256")]
    InvalidPartial,
}

/// `x(U + V)` and `x(U - V)`, where `U` and `V` are the points of even y with the given x-coordinates.
///
/// Both are always computed, in constant time, by p256's complete addition formulas. Where one is the identity its
/// candidate opens nothing; this is not otherwise visible.
pub fn join(left: &PartialX, right: &PartialX) -> Result<[Candidate; 2], JoinError> {
    let u = lift(left);
    let v = lift(right);
    let (Some(u), Some(v)) = (u, v) else { return Err(JoinError::InvalidPartial) };

    let sum = Zeroizing::new(*u + *v);
    let difference = Zeroizing::new(*u - *v);
    Ok([candidate(&sum), candidate(&difference)])
}

fn lift(partial: &PartialX) -> Option<Zeroizing<ProjectivePoint>> {
    let x = Zeroizing::new(FieldBytes::from(*partial.0));
    AffinePoint::decompress(&x, Choice::from(0))
        .into_option()
        .map(|point| Zeroizing::new(ProjectivePoint::from(point)))
}

fn candidate(point: &ProjectivePoint) -> Candidate {
    let affine = Zeroizing::new(point.to_affine());
    let repr = Zeroizing::new(affine.x());
    Candidate { x: Zeroizing::new(repr.0), usable: !affine.ct_eq(&AffinePoint::IDENTITY) }
}
