//! That another organization is pinned by one's own, and under which name: the leaf says so that officers signed (P-16.8).

use warifu_api::wire::trusts::TrustEntry;
use warifu_ledger::checkpoint::Checkpoint;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::{Commitment, Name, Record};
use warifu_ledger::statement::{Act, Order};
use warifu_ledger::tree::is_included;

use crate::signed::Pin;

/// Why it is not believed that an organization is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotPinned {
    /// The ca has not cosigned the order yet.
    #[error("the ca has not cosigned the order yet")]
    NotYet,
    /// The leaf is not in the ledger.
    #[error("the order is not in the ledger")]
    NotIncluded,
    /// The order pins no such organization.
    #[error("the order pins no such organization")]
    NotOrdered,
    /// Label and name are not those in the order.
    #[error("the name is not the one that was signed for this organization")]
    AnotherName,
}

/// What was pinned of an organization, and when, by the order under a checkpoint that one's own ca has cosigned. Whether a later order says
/// otherwise a leaf cannot prove: who hides that is one's own kms.
///
/// # Errors
/// [`NotPinned`].
pub fn pinned(entry: &TrustEntry, checkpoint: &Checkpoint) -> Result<Pin, NotPinned> {
    let found = entry.pinned.as_ref().ok_or(NotPinned::NotYet)?;
    if !is_included(&found.leaf.0, found.index, &found.proof, checkpoint) {
        return Err(NotPinned::NotIncluded);
    }
    let leaf = Leaf::from_bytes(found.leaf.0.clone()).map_err(|_| NotPinned::NotOrdered)?;
    let at = leaf.at();
    let order: Order = leaf.envelope().statement().map_err(|_| NotPinned::NotOrdered)?;
    // Of several, the last one counts, and an end ends those before.
    let last = order.acts.into_iter().rev().find(|act| match act {
        Act::TrustAdded { organization, .. } | Act::TrustEnded { organization } => {
            *organization == entry.organization
        }
        _ => false,
    });
    let act = last.ok_or(NotPinned::NotOrdered)?;
    let (keys, name) = act.pinned().zip(act.name()).ok_or(NotPinned::NotOrdered)?;
    if is_its_name(entry, &name) { Ok(Pin { keys, at }) } else { Err(NotPinned::AnotherName) }
}

fn is_its_name(entry: &TrustEntry, commitment: &Commitment) -> bool {
    match entry.name_key {
        Some(key) => Name::new(entry.label.as_str(), entry.name.as_str()).is_ok_and(|name| {
            Record { id: commitment.record, key, text: name.to_text() }.matches(commitment)
        }),
        None => [&entry.label, &entry.name].into_iter().all(|text| *text == commitment.record.to_string()),
    }
}
