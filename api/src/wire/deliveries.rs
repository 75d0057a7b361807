//! Deliveries (`docs/protocol.md` section 17): a file comes into the box of a kms authority, and whoever holds a right to one of the
//! units that it is for takes it out.
//!
//! With a card of the organization, and on the public listener by anybody:
//!
//! | method and path | who | request → answer |
//! |---|---|---|
//! | `GET /v1/box` | anybody | → [`Terms`] |
//! | `POST /v1/deliveries` | anybody (the signature decides) | [`Offer`] → [`Delivered`]: it may come. The same again is answered with what there is by then |
//! | `POST /v1/deliveries/outside` | anybody | [`OutsideOffer`] → [`Delivered`]: without a card, for a unit in [`Terms::outside`] |
//! | `GET /v1/deliveries/{id}` | who knows the id | → [`Delivered`]: which parts are missing, and what became of it, signed once it has come whole |
//! | `PUT /v1/deliveries/{id}/parts/{n}` | who knows the id | the bytes of part `n`, `application/octet-stream` → [`Done`](super::Done): durable |
//! | `POST /v1/deliveries/{id}/complete` | who knows the id | [`Completion`] → [`Delivered`]: waits up to 5 s while the digest is computed, and may be asked again |
//! | `POST /v1/standing` | anybody | [`StandingRequest`] → `Envelope` of a [`Standing`](warifu_ledger::statement::Standing) |
//!
//! With a card of the organization alone. Whoever holds no live grant, to open or to route, to a unit at which the delivery lies, is
//! answered `not-found`:
//!
//! | method and path | who | request → answer |
//! |---|---|---|
//! | `GET /v1/cards/{card}/sender` | that card, an officer's card | → [`Sender`], to travel with what it signs; `not-ready` before the ca has cosigned its enrolment |
//! | `GET /v1/inbox?after=N` | card | → [`Inbox`]: what lies at its units, those with a place after N |
//! | `GET /v1/deliveries/{id}/parts/{n}` | card | → the bytes of part `n`, `application/octet-stream` |
//! | `POST /v1/deliveries/{id}/admitted` | card | [`AtUnit`] → [`Done`](super::Done): somebody has looked at what came without a card's signature, and lets it in |
//! | `POST /v1/deliveries/{id}/accepted` | card | [`AtUnit`] → [`Done`](super::Done); `handled` where the unit has done something else with it |
//! | `POST /v1/deliveries/{id}/returned` | card | [`Return`] → [`Done`](super::Done); `handled` likewise |
//! | `POST /v1/deliveries/{id}/routed` | card | [`PassOn`] → [`Done`](super::Done): the file was routed (section 15), and lies at that unit as well from now on; `lies-there` where it did before, by another way |
//!
//! Part `n`, from 0, is the ciphertext's bytes from `n` times [`PART`] on: [`PART`] of them, fewer in the last one.

use serde::{Deserialize, Serialize};
use warifu_ledger::delivery::{LARGEST, STANDING_LIMIT, Sender};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::Millis;
pub use warifu_ledger::statement::{Addressee, Handling};
use warifu_ledger::{Digest, Id};

use super::at_most;

/// The length of every part but the last, in bytes.
pub const PART: u64 = 8 << 20;
/// The most parts of a delivery.
#[allow(clippy::cast_possible_truncation, reason = "8,192")]
pub const PARTS_LIMIT: usize = (LARGEST / PART) as usize;
/// The most entries in one [`Inbox`].
pub const INBOX_LIMIT: usize = 256;

/// How many parts a ciphertext of this length has.
#[must_use]
pub fn parts_of(size: u64) -> u64 {
    size.div_ceil(PART)
}

/// The length of part `part` of a ciphertext of `size` bytes; none if it has no such part.
#[must_use]
pub fn part_length(size: u64, part: u64) -> Option<u64> {
    let left = size.checked_sub(part.checked_mul(PART)?)?;
    (left > 0).then_some(left.min(PART))
}

/// What a box takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The organization.
    pub organization: Digest,
    /// The largest ciphertext with a card's signature, in bytes.
    pub largest: u64,
    /// The largest without, in bytes.
    pub largest_outside: u64,
    /// The units that take deliveries without a card's signature.
    pub outside: Vec<Id>,
    /// The longest that a delivery lies here, in milliseconds.
    pub keep_ms: u64,
}

/// A delivery that is to come.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// `Envelope` of a [`Delivery`](warifu_ledger::statement::Delivery).
    pub delivery: Envelope,
    /// Who signed it.
    pub sender: Sender,
}

impl Offer {
    /// The largest that is read, in bytes: the order that enrolled the card may have enrolled some hundred.
    pub const LARGEST: usize = 256 << 10;
}

/// A delivery that is to come from somebody without a card. Nothing of what it says is proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutsideOffer {
    /// As [`Delivery::id`](warifu_ledger::statement::Delivery::id).
    pub id: Id,
    /// The unit.
    pub unit: Id,
    /// Who it is from, as the sender says: a line ([`warifu_ledger::delivery::is_line`]).
    pub from: String,
    /// What it is about: a line.
    pub title: String,
    /// The name of the file ([`warifu_ledger::delivery::is_file_name`]).
    pub name: String,
    /// The ciphertext's length, in bytes. Its digest is said when all of it is here ([`Completion`]): a browser encrypts while it
    /// sends.
    pub size: u64,
}

impl OutsideOffer {
    /// The largest that is read, in bytes.
    pub const LARGEST: usize = 8 << 10;
}

/// All parts are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// SHA-256 of the ciphertext that was sent: what the card signed, where one did.
    pub digest: Digest,
}

/// What there is of a delivery, for who sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    /// It.
    pub id: Id,
    /// How far the file has come.
    pub state: DeliveryState,
    /// What its addressees have done with it.
    pub units: Vec<Addressee>,
    /// `Envelope` of [`Received`](warifu_ledger::statement::Received): the same, signed by the kms, of what a card has signed and came
    /// whole; to be checked with [`warifu_ledger::delivery::received`]. Nothing else here counts for who has sent it (P-17.13).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Envelope>,
}

/// How far a delivery's file has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeliveryState {
    /// Parts of it are missing, or it was not completed.
    Arriving {
        /// The parts that are not here, by their numbers.
        #[serde(deserialize_with = "at_most::<_, _, PARTS_LIMIT>")]
        missing: Vec<u64>,
        /// Whether all of it was here and was another file than the one that was sent: it was thrown away.
        other_file: bool,
    },
    /// All parts are here; the digest is being computed.
    Checking {
        /// Bytes that were read.
        done: u64,
    },
    /// It came without a card's signature, and nobody of the unit has looked at it yet.
    Quarantined {
        /// When it was complete.
        arrived_at: Millis,
    },
    /// It is here.
    Arrived {
        /// When it was complete.
        arrived_at: Millis,
        /// The instant at which it is deleted, if it is not before.
        kept_until: Millis,
    },
    /// The file is not here any more.
    Deleted {
        /// Since when.
        at: Millis,
    },
}

/// What lies at the units of a card.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inbox {
    /// By place; none is added to a mebibyte.
    #[serde(deserialize_with = "at_most::<_, _, INBOX_LIMIT>")]
    pub entries: Vec<InboxEntry>,
    /// Whether there are more.
    pub more: bool,
    /// `Envelope`s of [`Standing`](warifu_ledger::statement::Standing)s: whether the cards of these senders are live, one of each
    /// organization that could be asked just now. Their nonces are the kms's.
    pub standings: Vec<Envelope>,
}

/// A delivery at a unit.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboxEntry {
    /// Its place among all that ever lay in this box: it only grows.
    pub place: u64,
    /// What came, as it came.
    pub offered: Offered,
    /// The unit at which it lies: the card has a live grant there.
    pub unit: Id,
    /// The unit that passed it on, if it was not sent to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_by: Option<Id>,
    /// Whether there is a file, and until when.
    pub state: DeliveryState,
    /// What the unit has done with it.
    pub handling: Handling,
    /// The card that did that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_by: Option<Id>,
}

/// What is said of a delivery, and by whom.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "offered", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Offered {
    /// A card signed it: to be checked with [`warifu_ledger::delivery::sent_by`], for the kms could have made it up.
    Signed {
        /// As it was offered.
        offer: Offer,
    },
    /// Nobody did.
    Outside {
        /// As it was offered.
        offer: OutsideOffer,
        /// SHA-256 of the ciphertext; none until it is complete.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Digest>,
    },
}

impl Offered {
    /// Its digest: of the statement that was signed, or of what was said without a signature. Two deliveries under one number are told
    /// apart by it.
    #[must_use]
    pub fn said(&self) -> Digest {
        match self {
            Self::Signed { offer } => offer.delivery.digest(),
            Self::Outside { offer, digest } => {
                let OutsideOffer { id, unit, from, title, name, size } = offer;
                let said = serde_json::json!([id, unit, from, title, name, size, digest]);
                Digest::of(said.to_string().as_bytes())
            }
        }
    }
}

/// At which unit somebody does something with a delivery: it may lie at several of a card's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtUnit {
    /// The unit.
    pub unit: Id,
}

/// Somebody gives a delivery back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Return {
    /// The unit.
    pub unit: Id,
    /// Why, for who sent it: a line.
    pub reason: String,
}

/// A delivery's file was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassOn {
    /// The unit that passes it on.
    pub unit: Id,
    /// The unit to which it was routed.
    pub to: Id,
}

/// Whether cards are live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandingRequest {
    /// 32 random bytes.
    pub nonce: Digest,
    /// The cards.
    #[serde(deserialize_with = "at_most::<_, _, STANDING_LIMIT>")]
    pub cards: Vec<Id>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_whole_and_no_more() {
        for size in [1, PART - 1, PART, PART + 1, 3 * PART, LARGEST] {
            let parts = parts_of(size);
            let lengths = (0..parts).map(|part| part_length(size, part).unwrap());
            assert_eq!(lengths.sum::<u64>(), size);
            assert_eq!(part_length(size, parts), None);
        }
        assert_eq!(parts_of(LARGEST), PARTS_LIMIT as u64);
        assert_eq!(part_length(1, u64::MAX), None);
    }
}
