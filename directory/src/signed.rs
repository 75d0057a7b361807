//! The signed directory of another organization, against what officers pinned of it (P-16.5 to P-16.7).

use warifu_api::wire::authority::Included;
use warifu_api::wire::public::{PublicDirectory, SignedDirectory};
use warifu_api::wire::trusts::TroubleKind;
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{
    Act, DirectoryStatement, HalfHolder, Millis, Order, OrganizationKeys, ServiceId, ServiceKeys,
};
use warifu_ledger::tree::is_included;

use crate::units;

/// How far the clocks of two organizations may be apart, in milliseconds.
pub const CLOCKS_APART_MS: u64 = 10 * 60 * 1000;

/// Why another organization's directory is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrusted {
    /// It does not parse.
    #[error("it is no directory: {why}")]
    Malformed {
        /// What the parser said.
        why: String,
    },
    /// It is another organization's.
    #[error("it is the directory of another organization, {found}")]
    OtherOrganization {
        /// Whose.
        found: Digest,
    },
    /// The body is not the one that was signed.
    #[error("it is not what was signed")]
    Altered,
    /// The ca has other keys than those that were pinned.
    #[error("ITS ROOT HAS CHANGED: the ca has other keys than those that were pinned")]
    RootChanged,
    /// There is no checkpoint that the pinned ca has cosigned.
    #[error("its ca has not cosigned what it stands on")]
    NotCosigned,
    /// The kms has other keys than those that were pinned, and the ledger does not say so.
    #[error("the kms has other keys than those that were pinned, and nothing proves them")]
    KmsChanged,
    /// The kms did not sign it.
    #[error("its kms did not sign it")]
    NotSigned,
    /// The statement does not belong to what it says.
    #[error("its statement says {said} leaves, and it stands on {found}")]
    OtherSize {
        /// What the statement says.
        said: u64,
        /// What the checkpoint has.
        found: u64,
    },
    /// It counts for longer than it may, or ends before it begins.
    #[error("it would count from {at} until {expires_at}")]
    Times {
        /// When it was made.
        at: Millis,
        /// When it ends.
        expires_at: Millis,
    },
    /// It was made in the future.
    #[error("it was made at {at}, and it is {now}")]
    FromTheFuture {
        /// When it says it was made.
        at: Millis,
        /// The time here.
        now: Millis,
    },
    /// It has expired.
    #[error("it expired at {expires_at}")]
    Expired {
        /// When.
        expires_at: Millis,
    },
    /// It is older than one that was seen before.
    #[error("it is older than one that was here before: {found} leaves, and {seen} then")]
    Downgraded {
        /// Leaves that it stands on.
        found: u64,
        /// Leaves that the newest one stood on.
        seen: u64,
    },
    /// It contradicts one that was seen before.
    #[error("it contradicts one that was here before: two ledgers of {size} leaves")]
    Contradicts {
        /// How many.
        size: u64,
    },
}

impl Distrusted {
    /// As services tell it to programs.
    #[must_use]
    pub fn kind(&self) -> TroubleKind {
        match self {
            Self::Malformed { .. } => TroubleKind::Malformed,
            Self::OtherOrganization { .. } => TroubleKind::OtherOrganization,
            Self::Altered | Self::OtherSize { .. } => TroubleKind::Altered,
            Self::RootChanged => TroubleKind::RootChanged,
            Self::NotCosigned => TroubleKind::NotCosigned,
            Self::KmsChanged => TroubleKind::KmsChanged,
            Self::NotSigned => TroubleKind::NotSigned,
            Self::Times { .. } => TroubleKind::Times,
            Self::FromTheFuture { .. } => TroubleKind::FromTheFuture,
            Self::Expired { .. } => TroubleKind::Expired,
            Self::Downgraded { .. } => TroubleKind::Downgraded,
            Self::Contradicts { .. } => TroubleKind::Contradicts,
        }
    }
}

/// What officers pinned of an organization, and when: the keys of then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The keys that were compared.
    pub keys: OrganizationKeys,
    /// The instant of the leaf that pins them, by the clock of one's own ledger; 0 while they are compared.
    pub at: Millis,
}

impl Pin {
    /// Of keys that are not pinned yet: whether the directory that claims them holds together.
    #[must_use]
    pub fn to_be(keys: OrganizationKeys) -> Self {
        Self { keys, at: 0 }
    }
}

/// How far the newest directory went that was believed: nothing older is (P-16.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Leaves of the checkpoint that it stood on.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// The leaf that gave the kms the keys it had then; none if these are the pinned ones.
    pub keys_since: Option<u64>,
}

/// Another organization's directory that is believed: each of its units is proved.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// What the kms signed.
    pub statement: DirectoryStatement,
    /// What it says.
    pub content: PublicDirectory,
    /// The keys under which the organization speaks now.
    pub keys: OrganizationKeys,
    /// How far it goes.
    pub seen: Seen,
}

/// What a directory that nobody has verified says of itself: what there is to compare a fingerprint with.
///
/// # Errors
/// [`Distrusted::Malformed`].
pub fn claimed(signed: &SignedDirectory) -> Result<PublicDirectory, Distrusted> {
    serde_json::from_slice(&signed.body.0).map_err(malformed)
}

/// Verifies another organization's directory against what was pinned of it, at the instant `now`.
///
/// # Errors
/// [`Distrusted`].
pub fn verify(
    signed: &SignedDirectory,
    pin: &Pin,
    newest: Option<&Seen>,
    now: Millis,
) -> Result<Trusted, Distrusted> {
    let pinned = &pin.keys;
    let statement: DirectoryStatement = signed.statement.statement().map_err(malformed)?;
    let mut content = claimed(signed)?;
    for found in [statement.organization, content.keys.organization, content.directory.organization] {
        if found != pinned.organization {
            return Err(Distrusted::OtherOrganization { found });
        }
    }
    if statement.digest != Digest::of(&signed.body.0) {
        return Err(Distrusted::Altered);
    }
    if content.keys.ca != pinned.ca {
        return Err(Distrusted::RootChanged);
    }
    let checkpoint = cosigned(&content, pinned)?;
    let keys_since = proved_since(&content.keys.kms, &content.successions, pin, &checkpoint)?;
    signed.statement.verify(&content.keys.kms.signing).map_err(|_| Distrusted::NotSigned)?;
    if statement.size != checkpoint.size {
        return Err(Distrusted::OtherSize { said: statement.size, found: checkpoint.size });
    }
    let seen = Seen { size: checkpoint.size, root: checkpoint.root, keys_since };
    in_time(&statement, now)?;
    not_older(&seen, newest)?;
    content.directory = units::proved(content.directory, &content.keys);
    Ok(Trusted { statement, keys: content.keys.clone(), content, seen })
}

fn malformed(error: impl std::error::Error) -> Distrusted {
    // Parsers quote what they were given.
    Distrusted::Malformed { why: error.to_string().chars().take(200).collect() }
}

fn cosigned(content: &PublicDirectory, pinned: &OrganizationKeys) -> Result<Checkpoint, Distrusted> {
    let note = content.directory.checkpoint.as_deref().zip(pinned.ca.log);
    let (note, log) = note.ok_or(Distrusted::NotCosigned)?;
    Checkpoint::verify(note, &pinned.organization, Signer::Ca, &log).map_err(|_| Distrusted::NotCosigned)
}

/// The leaf that gave the kms these keys; none if they are the pinned ones. The ca cosigns only what it has folded: an order that is
/// there was good. But it proves that these keys were given once, and not that they are the last: what was ordered before the pin
/// counts for nothing, since who compared the fingerprint compared the keys of then, and of what counts the newest decides.
fn proved_since(
    kms: &ServiceKeys,
    successions: &[Included],
    pin: &Pin,
    checkpoint: &Checkpoint,
) -> Result<Option<u64>, Distrusted> {
    let counting = successions.iter().filter_map(|found| {
        let keys = succession(found, checkpoint, pin.at.saturating_sub(CLOCKS_APART_MS))?;
        Some((found.index, keys))
    });
    match counting.max_by_key(|(index, _)| *index) {
        Some((index, keys)) if keys == *kms => Ok(Some(index)),
        None if *kms == pin.keys.kms => Ok(None),
        _ => Err(Distrusted::KmsChanged),
    }
}

/// The keys that a leaf under the checkpoint gives the kms, if it was appended at this instant or later.
fn succession(found: &Included, checkpoint: &Checkpoint, since: Millis) -> Option<ServiceKeys> {
    let leaf = Leaf::from_bytes(found.leaf.0.clone()).ok()?;
    if leaf.at() < since || !is_included(leaf.as_bytes(), found.index, &found.proof, checkpoint) {
        return None;
    }
    let order: Order = leaf.envelope().statement().ok()?;
    order.acts.into_iter().rev().find_map(|act| match act {
        Act::KeyRotated { service: ServiceId::Kms, keys }
        | Act::AuthorityRecovered { service: HalfHolder::Kms, keys } => Some(keys),
        _ => None,
    })
}

fn in_time(statement: &DirectoryStatement, now: Millis) -> Result<(), Distrusted> {
    let DirectoryStatement { at, expires_at, .. } = *statement;
    if expires_at <= at || expires_at - at > DirectoryStatement::LONGEST_MS {
        return Err(Distrusted::Times { at, expires_at });
    }
    if at > now.saturating_add(CLOCKS_APART_MS) {
        return Err(Distrusted::FromTheFuture { at, now });
    }
    if expires_at <= now {
        return Err(Distrusted::Expired { expires_at });
    }
    Ok(())
}

fn not_older(found: &Seen, newest: Option<&Seen>) -> Result<(), Distrusted> {
    let Some(newest) = newest else { return Ok(()) };
    // Keys that were replaced may be in anybody's hands: what they sign brings nothing back.
    if found.size < newest.size || found.keys_since < newest.keys_since {
        return Err(Distrusted::Downgraded { found: found.size, seen: newest.size });
    }
    if found.size == newest.size && found.root != newest.root {
        return Err(Distrusted::Contradicts { size: found.size });
    }
    Ok(())
}
