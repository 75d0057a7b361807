//! The directory, as far as it can be proved: a unit's key is what the ca and the kms both signed.

use std::collections::BTreeMap;

use warifu_api::wire::UnitEntry;
use warifu_api::wire::authority::Directory;
use warifu_envelope::UnitRecipient;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Act, Fact, FactBody, Order, Profile, PublicHalf};
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
    /// The order that the fact answers is missing, or orders something else.
    #[error("the order that the proof names did not order this unit")]
    NotOrdered,
    /// Label and name are not those in the order (P-3.1).
    #[error("the name is not the one that was signed for this unit")]
    AnotherName,
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
    let orders = Orders::of(&directory.orders);
    directory.units.retain(|entry| match check(entry, &orders, profile) {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(unit = %entry.unit, %error, "the kms shows a unit that cannot be relied on");
            false
        }
    });
    directory
}

/// The orders of a directory, by their digest: what ca and kms sign names the one that it answers.
#[derive(Default)]
pub struct Orders(BTreeMap<Digest, Order>);

impl Orders {
    /// Reads them. Who signed them need not be known here: the ca, which has checked that, signs their digests.
    #[must_use]
    pub fn of(envelopes: &[Envelope]) -> Self {
        let read = |envelope: &Envelope| Some((envelope.digest(), envelope.statement().ok()?));
        Self(envelopes.iter().filter_map(read).collect())
    }
}

/// Checks one entry: `unit.created` signed by ca and kms, both halves proved, the recipient their sum (P-4.9), and the name
/// the one that the order for this unit commits to (P-3.1).
///
/// # Errors
/// [`DirectoryError`].
pub fn check(entry: &UnitEntry, orders: &Orders, profile: &Profile) -> Result<Option<Point>, DirectoryError> {
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
    check_name(entry, orders.0.get(&order).ok_or(DirectoryError::NotOrdered)?)?;
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

fn check_name(entry: &UnitEntry, order: &Order) -> Result<(), DirectoryError> {
    let ordered = order.acts.iter().find_map(|act| match act {
        Act::UnitOrdered { unit, name, kind, .. } if *unit == entry.unit => Some((name, *kind)),
        _ => None,
    });
    let (commitment, kind) = ordered.ok_or(DirectoryError::NotOrdered)?;
    if kind != entry.kind {
        return Err(DirectoryError::NotOrdered);
    }
    let sound = match entry.name_key {
        Some(key) => Name::new(entry.label.as_str(), entry.name.as_str()).is_ok_and(|name| {
            Record { id: commitment.record, key, text: name.to_text() }.matches(commitment)
        }),
        None => [&entry.label, &entry.name].into_iter().all(|text| *text == commitment.record.to_string()),
    };
    if sound { Ok(()) } else { Err(DirectoryError::AnotherName) }
}
