//! The public equations of units and grants. Repeated points are the ledger's to reject: it keeps the set.

use crate::point::{Point, PointError};

/// Why a grant's public points are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// `A + B` is not `P`.
    #[error("the points of the two shares do not add up to the unit key")]
    SumMismatch,
    /// `A` is `P` or `-P`: the site's part would be known to everyone.
    #[error("the card share's point is plus or minus the unit key")]
    CardShareDegenerate,
    /// `B` is `P` or `-P`: the card's part would be known to everyone.
    #[error("the site share's point is plus or minus the unit key")]
    SiteShareDegenerate,
}

/// The unit key `P = S1 + S2`; fails with [`PointError::Identity`] where the halves cancel out.
///
/// Safe only for halves whose proofs of possession [`crate::half::verify_half`] accepted.
pub fn unit_key(issuer: &Point, keeper: &Point) -> Result<Point, PointError> {
    Point::checked_add(issuer, keeper)
}

/// Checks the points of a grant of the unit key `p`: `A + B = P`, and neither is `±P`. That neither is the identity is
/// in their type.
pub fn check_grant(p: &Point, a: &Point, b: &Point) -> Result<(), GrantError> {
    if a.is_plus_or_minus(p) {
        return Err(GrantError::CardShareDegenerate);
    }
    if b.is_plus_or_minus(p) {
        return Err(GrantError::SiteShareDegenerate);
    }
    match Point::checked_add(a, b) {
        Ok(sum) if sum == *p => Ok(()),
        _ => Err(GrantError::SumMismatch),
    }
}
