//! Deliveries (protocol section 17): files that come into the box of this kms, lie at the units that they are for, and are taken
//! out by whoever holds a right to one of these.
//!
//! Nothing here opens anything: a file is sealed to its units. What is said of it is checked as its receiver will, and whoever may
//! see it is for the fold to say. Parts are objects in a folder or in S3 ([`objects`]), all else is in the database.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{RwLock, Semaphore};
use warifu_api::ErrorCode;
use warifu_api::server::{Rates, Seats};
use warifu_api::wire::deliveries::Terms;
use warifu_ledger::delivery::{NotSent, Unfit};
use warifu_ledger::dsse::EnvelopeError;
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use super::config::{BoxSettings, Config};
use super::error::AuthorityError;
use super::{Authority, Cached, Result};

mod arriving;
mod handling;
pub(crate) mod http;
mod inbox;
mod objects;
mod offering;
mod receipts;
mod standing;
mod sweeping;

use standing::Heard;

pub(crate) use objects::Objects;
pub use objects::S3Fault;

/// Parts of what a card has signed that are brought at once: by cards of this organization, and by anybody else.
const CARRYING_KNOWN: usize = 16;
const CARRYING_STRANGERS: usize = 32;
/// Parts of what nobody has signed that are brought at once.
const CARRYING_OUTSIDE: usize = 16;
/// Parts that are taken out at once.
const TAKING: usize = 32;
/// Deliveries whose digests are computed at once: a part of each is in memory, and the disk is for others, too.
const DIGESTING: usize = 2;
/// Requests of one network at once, and in a second on the long run, wherever it asks.
pub(crate) const STRANGERS_AT_ONCE: u32 = 120;
pub(crate) const STRANGERS_A_SECOND: u32 = 20;
/// How often a network may ask whether cards are live: at once, and in a second on the long run.
const ASKED_AT_ONCE: u32 = 20;
const ASKED_A_SECOND: u32 = 2;
/// How many deliveries without a card's signature a network may begin at once, and how long it takes until one more may come.
const BEGUN_AT_ONCE: u32 = 12;
const BEGUN_EACH: Duration = Duration::from_secs(300);

/// The box.
pub(crate) struct DeliveryBox {
    settings: BoxSettings,
    objects: Objects,
    arrivals: Arrivals,
    heard: Heard,
    /// Those who carry parts of what a card has signed, and those who carry others.
    carrying: Seats,
    carrying_outside: Seats,
    /// Those who take parts out.
    taking: Seats,
    /// Whose turn it is to have a digest computed.
    digesting: Semaphore,
    /// Whose turn it is to find room.
    offering: tokio::sync::Mutex<()>,
    /// When it was looked last whether anything is over, in milliseconds.
    looked: AtomicU64,
    /// What is taken in, and since when that is known.
    terms: Cached<(Millis, Terms)>,
    /// Strangers who ask for anything at the port that is not theirs: no more often than at the public one.
    strangers: Rates,
    /// Strangers who ask whether cards are live.
    asking: Rates,
    /// Whose turn it is to be answered with a signature of the HSM: one after the other, so that no stamp and no handshake waits for more
    /// than one.
    answering: Arc<Semaphore>,
    /// Networks from which deliveries come that nobody has signed.
    beginning: Rates,
}

impl DeliveryBox {
    pub(crate) fn open(config: &Config) -> Result<Self> {
        Ok(Self {
            settings: config.deliveries.clone(),
            objects: Objects::open(config)?,
            arrivals: Arrivals::default(),
            heard: Heard::default(),
            carrying: Seats::new(CARRYING_KNOWN, CARRYING_STRANGERS),
            carrying_outside: Seats::new(CARRYING_OUTSIDE, CARRYING_OUTSIDE),
            taking: Seats::new(TAKING, 0),
            digesting: Semaphore::new(DIGESTING),
            offering: tokio::sync::Mutex::default(),
            looked: AtomicU64::new(0),
            terms: Cached::default(),
            strangers: Rates::new(STRANGERS_AT_ONCE, STRANGERS_A_SECOND),
            asking: Rates::new(ASKED_AT_ONCE, ASKED_A_SECOND),
            answering: Arc::new(Semaphore::new(1)),
            beginning: Rates::every(BEGUN_AT_ONCE, BEGUN_EACH),
        })
    }
}

/// The deliveries whose parts are coming, or whose digests are being computed.
#[derive(Default)]
struct Arrivals(Mutex<BTreeMap<Id, Arc<Arrival>>>);

/// One of them.
#[derive(Default)]
struct Arrival {
    /// Held by whoever writes a part, and alone by whoever computes the digest over all: no part changes after it was counted.
    parts: RwLock<()>,
    /// Bytes of which the digest is computed.
    digested: AtomicU64,
    /// Whether somebody computes the digest, or waits for his turn to.
    is_checked: AtomicBool,
}

/// That a digest is going to be computed; over when this is dropped.
struct Checking(Arc<Arrival>);

impl Checking {
    /// None if it is already.
    fn begin(arrival: Arc<Arrival>) -> Option<Self> {
        let was = arrival.is_checked.swap(true, Ordering::AcqRel);
        (!was).then(|| {
            arrival.digested.store(0, Ordering::Relaxed);
            Self(arrival)
        })
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        self.0.is_checked.store(false, Ordering::Release);
    }
}

impl Arrivals {
    fn of(&self, delivery: &Id) -> Arc<Arrival> {
        let mut arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds are over.
        arrivals.retain(|_, arrival| Arc::strong_count(arrival) > 1);
        arrivals.entry(*delivery).or_default().clone()
    }

    /// How many bytes were read of a delivery whose digest is being computed now.
    fn digested(&self, delivery: &Id) -> Option<u64> {
        let arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let arrival = arrivals.get(delivery)?;
        arrival.is_checked.load(Ordering::Acquire).then(|| arrival.digested.load(Ordering::Relaxed))
    }
}

/// Why a delivery is not taken in, not handed out, or not handled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotDelivered {
    /// Nobody is proved to have sent it.
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// Something about it does not do.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It is from an organization that this one does not trust.
    #[error("this organization does not trust the organization {organization}")]
    NotTrusted {
        /// Which.
        organization: Digest,
    },
    /// The card that signed it is not live.
    #[error("the card {card} that signed it is not live")]
    SenderNotLive {
        /// The card.
        card: Id,
    },
    /// It was over when it came.
    #[error("it has been over since {expires_at}")]
    Over {
        /// Since when.
        expires_at: Millis,
    },
    /// It is for another organization.
    #[error("it is for the organization {organization}")]
    ForAnother {
        /// Which.
        organization: Digest,
    },
    /// It is larger than what this box takes.
    #[error("{size} bytes: this box takes {most}")]
    TooLarge {
        /// What was said.
        size: u64,
        /// What would do.
        most: u64,
    },
    /// Nothing is to be addressed to the unit: it is not there, closed, has no key, or has another one by now.
    #[error("nothing is to be addressed to the unit {unit}")]
    NotAddressable {
        /// The unit.
        unit: Id,
    },
    /// The unit takes nothing without a card's signature.
    #[error("the unit {unit} takes nothing without a card's signature")]
    NotFromOutside {
        /// The unit.
        unit: Id,
    },
    /// There is no room.
    #[error("there is no room left {of}")]
    Full {
        /// For what.
        of: &'static str,
    },
    /// Something else was offered under this id.
    #[error("another delivery has this id")]
    OtherDelivery,
    /// Another digest was said of it than the one that its sender signed.
    #[error("this is not the digest that was signed")]
    OtherDigest,
    /// A part of another length.
    #[error("the part has {length} bytes")]
    OtherLength {
        /// Which it has.
        length: u64,
    },
    /// All of it is here: no part is taken any more.
    #[error("the delivery is complete")]
    Complete,
    /// Its digest is being computed.
    #[error("the delivery is being checked")]
    Checking,
    /// Somebody of the unit has to look at it first.
    #[error("nobody of the unit has looked yet at what came without a card's signature")]
    NotLookedAt,
    /// The unit has done something else with it.
    #[error("the unit has taken the delivery, given it back, or passed it on")]
    Handled,
    /// It lies there already: it came from there, or was sent there as well.
    #[error("the delivery lies at that unit already")]
    LiesThere,
    /// The reason is no visible line.
    #[error("the reason is not one visible line of at most 255 bytes")]
    ReasonUnfit,
    /// The folder does not work.
    #[error("{folder} cannot be used")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A file in the folder does not.
    #[error("{path} cannot be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Both a folder and S3 are configured.
    #[error("the box has both a folder and S3")]
    TwoPlaces,
    /// S3 does not do what it is to do.
    #[error("the box's S3 cannot be used")]
    S3(#[from] S3Fault),
    /// What is kept of a part is not what was put there.
    #[error("{length} bytes are kept of part {part}, which has {put}")]
    OtherObject {
        /// Its number.
        part: u64,
        /// How many there are.
        length: u64,
        /// How many were put.
        put: u64,
    },
    /// What was put, and got back at once, is not the same.
    #[error("other bytes come back than were put")]
    OtherBytes,
}

impl NotDelivered {
    /// As it is told to whoever asked.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::NotSent(NotSent::Envelope(EnvelopeError::TooLarge)) | Self::TooLarge { .. } => {
                ErrorCode::TooLarge
            }
            Self::NotSent(NotSent::Envelope(
                EnvelopeError::Malformed { .. } | EnvelopeError::WrongType { .. },
            ))
            | Self::NotSent(NotSent::Unfit(_) | NotSent::Leaf(_))
            | Self::Unfit(_)
            | Self::OtherLength { .. }
            | Self::ReasonUnfit => ErrorCode::Malformed,
            Self::NotSent(_)
            | Self::Over { .. }
            | Self::ForAnother { .. }
            | Self::OtherDelivery
            | Self::OtherDigest
            | Self::Complete => ErrorCode::Rejected,
            Self::Handled => ErrorCode::Handled,
            Self::LiesThere => ErrorCode::LiesThere,
            Self::NotTrusted { .. } => ErrorCode::NotTrusted,
            Self::SenderNotLive { .. } => ErrorCode::CardNotLive,
            Self::NotAddressable { .. } | Self::NotFromOutside { .. } => ErrorCode::NotATarget,
            Self::Full { .. } => ErrorCode::BoxFull,
            Self::Checking | Self::NotLookedAt => ErrorCode::NotReady,
            Self::Folder { .. }
            | Self::File { .. }
            | Self::TwoPlaces
            | Self::S3(_)
            | Self::OtherObject { .. }
            | Self::OtherBytes => ErrorCode::StorageUnavailable,
        }
    }
}

const NO_DELIVERY: AuthorityError = AuthorityError::NotFound { what: "delivery" };
const NO_PART: AuthorityError = AuthorityError::NotFound { what: "part" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_17_8_however_often_it_is_asked_for_a_digest_is_computed_once() {
        let arrivals = Arrivals::default();
        let delivery = Id([7; 16]);
        let checking = Checking::begin(arrivals.of(&delivery)).unwrap();
        for _ in 0..100 {
            assert!(Checking::begin(arrivals.of(&delivery)).is_none());
        }
        assert_eq!(arrivals.digested(&delivery), Some(0), "whoever asks is told that it is being checked");
        assert!(Checking::begin(arrivals.of(&Id([8; 16]))).is_some(), "another one");
        drop(checking);
        assert_eq!(arrivals.digested(&delivery), None);
        assert!(Checking::begin(arrivals.of(&delivery)).is_some());
    }
}
