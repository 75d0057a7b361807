//! The units of a directory, as far as they can be proved: a unit's key is what the ca and the kms both signed.

use std::collections::{BTreeMap, BTreeSet};

use warifu_api::wire::UnitEntry;
use warifu_api::wire::authority::{Directory, Included};
use warifu_envelope::UnitRecipient;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::{Commitment, Name, Record};
use warifu_ledger::statement::{
    Act, Fact, FactBody, Order, OrganizationKeys, PublicHalf, Statement as _, UnitKind,
};
use warifu_ledger::tree::is_included;
use warifu_ledger::{Digest, Id};
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

/// Keeps the units whose key is proved under the organization's keys, and those that have none yet. What is dropped is an
/// error in the log. A unit with a new key is there alone: files that go to its old one would go where nothing is to go any more.
#[must_use]
pub fn proved(mut directory: Directory, keys: &OrganizationKeys) -> Directory {
    let orders = Orders::of(&directory, keys);
    directory.units.retain(|entry| match check(entry, &orders, keys) {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(unit = %entry.unit, %error, "a kms shows a unit that cannot be relied on");
            false
        }
    });
    let replaced: BTreeSet<Id> = directory.units.iter().flat_map(|entry| orders.before(entry)).collect();
    directory.units.retain(|entry| !replaced.contains(&entry.unit));
    directory
}

/// The orders and facts of a directory that can be relied on.
#[derive(Default)]
pub struct Orders {
    /// By their digest. Who signed them need not be known here: what ca and kms sign names the one that it answers.
    answered: BTreeMap<Digest, Order>,
    /// Those whose leaves are under a checkpoint that the ca has cosigned: it has folded them.
    included: Vec<Order>,
    /// The digests of facts whose leaves are.
    facts: BTreeSet<Digest>,
}

impl Orders {
    /// Reads them, and leaves out what does not prove itself.
    #[must_use]
    pub fn of(directory: &Directory, keys: &OrganizationKeys) -> Self {
        let read = |envelope: &Envelope| Some((envelope.digest(), envelope.statement().ok()?));
        let checkpoint = directory
            .checkpoint
            .as_deref()
            .zip(keys.ca.log)
            .and_then(|(note, log)| Checkpoint::verify(note, &keys.organization, Signer::Ca, &log).ok());
        let proved = |found: &Included| {
            let leaf = Leaf::from_bytes(found.leaf.0.clone()).ok()?;
            is_included(leaf.as_bytes(), found.index, &found.proof, checkpoint.as_ref()?).then_some(leaf)
        };
        let proved: Vec<Leaf> = directory.included.iter().filter_map(proved).collect();
        let of_type = |kind| proved.iter().map(Leaf::envelope).filter(move |it| it.payload_type == kind);
        Self {
            answered: directory.orders.iter().filter_map(read).collect(),
            included: of_type(Order::PAYLOAD_TYPE).filter_map(|order| order.statement().ok()).collect(),
            facts: of_type(Fact::PAYLOAD_TYPE).map(Envelope::digest).collect(),
        }
    }

    /// What people have called the unit, as far as can be relied on if `order` can, and what it is. A unit with a new key is
    /// what its predecessor was.
    fn names(&self, unit: Id, order: &Order) -> (Vec<Commitment>, Option<UnitKind>) {
        let (mut names, mut kind) = (Vec::new(), None);
        for id in self.line(unit, order) {
            for act in self.acts(order) {
                match act {
                    Act::UnitOrdered { unit, name, kind: of, .. } if *unit == id => {
                        names.push(*name);
                        kind = Some(*of);
                    }
                    Act::UnitChanged { unit, name: Some(name), .. } if *unit == id => names.push(*name),
                    _ => {}
                }
            }
        }
        (names, kind)
    }

    fn acts<'a>(&'a self, order: &'a Order) -> impl Iterator<Item = &'a Act> {
        std::iter::once(order).chain(&self.included).flat_map(|order| &order.acts)
    }

    /// The unit, the one whose place it took, and so on to the first.
    fn line(&self, unit: Id, order: &Order) -> Vec<Id> {
        let mut line = vec![unit];
        let mut next = Some(unit);
        while let Some(id) = next.take() {
            for act in self.acts(order) {
                if let Act::UnitRekeyed { unit, successor } = act
                    && *successor == id
                    && !line.contains(unit)
                {
                    line.push(*unit);
                    next = Some(*unit);
                }
            }
        }
        line
    }

    /// The units whose place the one of this entry has taken, which has been checked.
    fn before(&self, entry: &UnitEntry) -> Vec<Id> {
        let fact = entry.created.as_ref().and_then(|created| created.statement::<Fact>().ok());
        let order = fact.and_then(|fact| match fact.fact {
            FactBody::UnitCreated { order, .. } => self.answered.get(&order),
            _ => None,
        });
        order.map(|order| self.line(entry.unit, order)).into_iter().flatten().skip(1).collect()
    }
}

/// Checks one entry: `unit.created` signed by ca and kms, or in the ledger that the ca has cosigned, both halves proved, the recipient their sum (P-4.9), and the name
/// one that an order for this unit commits to (P-3.1).
///
/// # Errors
/// [`DirectoryError`].
pub fn check(
    entry: &UnitEntry,
    orders: &Orders,
    keys: &OrganizationKeys,
) -> Result<Option<Point>, DirectoryError> {
    let (recipient, created) = match (&entry.recipient, &entry.created) {
        (None, None) => return Ok(None),
        (Some(recipient), Some(created)) => (recipient, created),
        _ => return Err(DirectoryError::Incomplete),
    };
    let not_signed =
        |error: warifu_ledger::dsse::EnvelopeError| DirectoryError::NotSigned { why: error.to_string() };
    // Of a unit that is older than their keys, the ledger says that ca and kms signed it.
    if !orders.facts.contains(&created.digest()) {
        created.verify(&keys.ca.signing).map_err(not_signed)?;
        created.verify(&keys.kms.signing).map_err(not_signed)?;
    }
    let fact: Fact = created.statement().map_err(not_signed)?;
    let FactBody::UnitCreated { unit, order, issuer, keeper } = fact.fact else {
        return Err(DirectoryError::AnotherUnit);
    };
    if fact.organization != keys.organization || unit != entry.unit {
        return Err(DirectoryError::AnotherUnit);
    }
    check_name(entry, orders, orders.answered.get(&order).ok_or(DirectoryError::NotOrdered)?)?;
    let proved = |half: &PublicHalf, role| {
        let context = HalfContext { organization: keys.organization.0, unit: unit.0, order: order.0, role };
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

fn check_name(entry: &UnitEntry, orders: &Orders, order: &Order) -> Result<(), DirectoryError> {
    let (names, kind) = orders.names(entry.unit, order);
    if kind != Some(entry.kind) {
        return Err(DirectoryError::NotOrdered);
    }
    let is_it = |commitment: &Commitment| match entry.name_key {
        Some(key) => Name::new(entry.label.as_str(), entry.name.as_str()).is_ok_and(|name| {
            Record { id: commitment.record, key, text: name.to_text() }.matches(commitment)
        }),
        None => [&entry.label, &entry.name].into_iter().all(|text| *text == commitment.record.to_string()),
    };
    if names.iter().any(is_it) { Ok(()) } else { Err(DirectoryError::AnotherName) }
}
