//! Validated, non-identity points of P-256.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use p256::elliptic_curve::Group;
use p256::elliptic_curve::point::AffineCoordinates;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{AffinePoint, ProjectivePoint, PublicKey};

/// A point of P-256 that is on the curve and is not the identity.
///
/// Being on the curve is proven by the type: the only ways to one are [`Point::from_sec1`] and arithmetic on others.
/// P-256 has cofactor 1, so every such point has order `n` and no subgroup check is needed (SP 800-56A, 5.6.2.3.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Point(AffinePoint);

/// Why bytes or a sum are not a [`Point`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PointError {
    /// Neither 33 bytes (compressed) nor 65 (uncompressed).
    #[error("a P-256 point is 33 or 65 bytes, not {length}")]
    Length {
        /// The length that was given, in bytes.
        length: usize,
    },
    /// The leading byte is not 02 or 03 for 33 bytes, or not 04 for 65.
    #[error("the leading byte {tag:#04x} names no SEC1 encoding of that length")]
    Encoding {
        /// The leading byte.
        tag: u8,
    },
    /// The coordinates satisfy no point of P-256.
    #[error("the coordinates are not on the P-256 curve")]
    NotOnCurve,
    /// The result of an addition or subtraction is the identity.
    #[error("the point is the identity")]
    Identity,
}

impl Point {
    /// Reads a SEC1 point (SEC 1, section 2.3.4): 33 bytes compressed or 65 uncompressed.
    ///
    /// The identity has a one-byte encoding only and fails with [`PointError::Length`]. Hybrid and compact encodings
    /// are refused.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, PointError> {
        match (bytes.len(), bytes.first()) {
            (33, Some(2 | 3)) | (65, Some(4)) => {}
            (33 | 65, Some(&tag)) => return Err(PointError::Encoding { tag }),
            (length, _) => return Err(PointError::Length { length }),
        }
        PublicKey::from_sec1_bytes(bytes)
            .map(|key| Self::from_public_key(&key))
            .map_err(|_| PointError::NotOnCurve)
    }

    /// The compressed SEC1 encoding, 33 bytes.
    pub fn to_compressed(&self) -> [u8; 33] {
        self.0.to_compressed_point().0
    }

    /// The uncompressed SEC1 encoding, 65 bytes.
    pub fn to_uncompressed(&self) -> [u8; 65] {
        self.0.to_uncompressed_point().0
    }

    /// The base point `G`.
    pub fn generator() -> Self {
        Self(AffinePoint::GENERATOR)
    }

    /// The affine x-coordinate, 32 bytes big-endian.
    pub fn x(&self) -> [u8; 32] {
        self.0.x().0
    }

    /// `left + right`; fails only where that is the identity.
    pub fn checked_add(left: &Self, right: &Self) -> Result<Self, PointError> {
        Self::from_projective(left.to_projective() + right.to_projective())
    }

    /// `left - right`; fails only where that is the identity.
    pub fn checked_sub(left: &Self, right: &Self) -> Result<Self, PointError> {
        Self::from_projective(left.to_projective() - right.to_projective())
    }

    /// Whether this is `other` or `-other`, that is, has the same x-coordinate.
    pub fn is_plus_or_minus(&self, other: &Self) -> bool {
        self.x() == other.x()
    }

    pub(crate) fn from_public_key(key: &PublicKey) -> Self {
        Self(*key.as_affine())
    }

    pub(crate) fn as_affine(&self) -> &AffinePoint {
        &self.0
    }

    fn to_projective(self) -> ProjectivePoint {
        ProjectivePoint::from(self.0)
    }

    fn from_projective(point: ProjectivePoint) -> Result<Self, PointError> {
        if bool::from(point.is_identity()) {
            return Err(PointError::Identity);
        }
        Ok(Self(point.to_affine()))
    }
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_compressed().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_compressed().hash(state);
    }
}

impl Ord for Point {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_compressed().cmp(&other.to_compressed())
    }
}

impl PartialOrd for Point {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
