//! The directory, as far as it can be proved: a unit's key is what the ca and the kms both signed.

use warifu_api::wire::UnitEntry;
use warifu_api::wire::authority::Directory;
use warifu_envelope::UnitRecipient;
use warifu_ledger::statement::{Fact, FactBody, Profile, PublicHalf};
use warifu_split_key::half::{HalfContext, HalfProof, HalfRole, verify_half};
use warifu_split_key::point::Point;
use warifu_split_key::unit_key;

/// Why an entry of the directory is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// A recipient without the fact that proves it, or the other way round.
    #[error("the entry has a recipient without proof, or a proof without recipient")]
    Incomplete,
    /// The fact is not signed by both, or is not one.
    #[error("the proof is not what the ca and the kms sign: {why}")]
    NotSigned {
        /// What does not fit.
        why: String,
    },
    /// The fact is about something else.
    #[error("the proof is for another organization or unit")]
    AnotherUnit,
    /// A half is not proved (P-3.2), or the two cancel out.
    #[error("the halves of the unit key are not proved")]
    Halves,
    /// The recipient is not the key that was proved.
    #[error("the recipient is not the unit's key")]
    AnotherKey,
}

/// Keeps the units whose key is proved under the profile's keys, and those that have none yet. What is dropped is an
/// error in the log.
pub(crate) fn verified(mut directory: Directory, profile: &Profile) -> Directory {
    directory.units.retain(|entry| match check(entry, profile) {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(unit = %entry.unit, %error, "the kms shows a unit that cannot be relied on");
            false
        }
    });
    directory
}

/// Checks one entry: `unit.created` signed by ca and kms, both halves proved, and the recipient their sum (P-4.9).
///
/// # Errors
/// [`DirectoryError`].
pub fn check(entry: &UnitEntry, profile: &Profile) -> Result<Option<Point>, DirectoryError> {
    let (recipient, created) = match (&entry.recipient, &entry.created) {
        (None, None) => return Ok(None),
        (Some(recipient), Some(created)) => (recipient, created),
        _ => return Err(DirectoryError::Incomplete),
    };
    let not_signed =
        |error: warifu_ledger::dsse::EnvelopeError| DirectoryError::NotSigned { why: error.to_string() };
    let fact: Fact = created.verified(&profile.ca.signing).map_err(not_signed)?;
    created.verify(&profile.kms.signing).map_err(not_signed)?;
    let FactBody::UnitCreated { unit, order, issuer, keeper } = fact.fact else {
        return Err(DirectoryError::AnotherUnit);
    };
    if fact.organization != profile.organization || unit != entry.unit {
        return Err(DirectoryError::AnotherUnit);
    }
    let proved = |half: &PublicHalf, role| {
        let context =
            HalfContext { organization: profile.organization.0, unit: unit.0, order: order.0, role };
        verify_half(&context, &half.point.0, &HalfProof(half.proof.0)).map_err(|_| DirectoryError::Halves)
    };
    proved(&issuer, HalfRole::Issuer)?;
    proved(&keeper, HalfRole::Keeper)?;
    let key = unit_key(&issuer.point.0, &keeper.point.0).map_err(|_| DirectoryError::Halves)?;
    if UnitRecipient::encode(&key) != *recipient {
        return Err(DirectoryError::AnotherKey);
    }
    Ok(Some(key))
}
