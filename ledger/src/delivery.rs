//! Deliveries: who sent a file, proved to whoever has nothing but the founding hash of the sender's organization and the key with
//! which its ca cosigns (`docs/protocol.md` section 17).
//!
//! The kms that takes a delivery in and the agent that shows it ask [`sent_by`], each for itself: nobody is believed who a sender
//! is. What it does not say is whether the card is still live: that is a [`Standing`](crate::statement::Standing)'s to say.
//!
//! Whoever has sent it asks [`received`] whether it has come, for the same reason.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointError, Signer};
use crate::dsse::{Envelope, EnvelopeError};
use crate::key::{Base64, Bytes, PublicKey};
use crate::leaf::{Leaf, LeafError};
use crate::register::{Name, Record, is_visible_line};
use crate::statement::{Act, Card, Delivery, Founding, Millis, Order, Received, Statement as _};
use crate::tree::is_included;
use crate::{Digest, Id};

/// The largest ciphertext, in bytes: 64 GiB.
pub const LARGEST: u64 = 64 << 30;
/// The most units that one delivery is for.
pub const ADDRESSEES_LIMIT: usize = 16;
/// The longest title or name of a file, in bytes of UTF-8: what file systems take.
pub const LINE_LIMIT: usize = 255;
/// The longest that a delivery lives, in milliseconds: 400 days.
pub const LONGEST_MS: u64 = 400 * 24 * 60 * 60 * 1000;
/// The most cards in one [`Standing`](crate::statement::Standing).
pub const STANDING_LIMIT: usize = 256;

/// Proof of who a card's holder is: travels beside the delivery, since its receiver need not know the sender's ledger.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sender {
    /// Index of the leaf that enrolled the card, in the ledger of the sender's organization.
    pub index: u64,
    /// The leaf's exact bytes.
    pub leaf: Bytes,
    /// Its inclusion ([`crate::tree::Tree::inclusion`]) under `checkpoint`.
    pub proof: Vec<Digest>,
    /// A checkpoint note with the ca's cosignature, of at least `index + 1` leaves.
    pub checkpoint: String,
    /// The member's name, to be checked against the leaf; none if it was erased.
    pub name: Option<Record>,
}

/// A delivery whose sender is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// What was signed.
    pub delivery: Delivery,
    /// The card that signed it, as it was enrolled.
    pub card: Card,
    /// The member's name, unless it was erased.
    pub name: Option<Name>,
}

/// What about a delivery does not do, whoever signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// No visible line, or longer than [`LINE_LIMIT`].
    #[error("the title is not one visible line of at most {LINE_LIMIT} bytes")]
    Title,
    /// Not [`is_file_name`].
    #[error("the name is not that of a file, without folders, of at most {LINE_LIMIT} bytes")]
    FileName,
    /// Empty, or larger than [`LARGEST`].
    #[error("{size} bytes are no delivery: 1 to {LARGEST} are")]
    Size {
        /// What was said.
        size: u64,
    },
    /// No unit, or more than [`ADDRESSEES_LIMIT`].
    #[error("{count} units: a delivery is for 1 to {ADDRESSEES_LIMIT}")]
    Addressees {
        /// How many.
        count: usize,
    },
    /// Over before it was sent, or living for longer than [`LONGEST_MS`].
    #[error("it expires before it was sent, or more than 400 days later")]
    Dates,
}

/// Why nobody is proved to have sent a delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// No delivery, or not signed by the card that was enrolled.
    #[error("not a signed delivery")]
    Envelope(#[from] EnvelopeError),
    /// Nothing that anybody could take in.
    #[error("the delivery does not do")]
    Unfit(#[from] Unfit),
    /// Sent from another organization than the one asked about.
    #[error("the delivery is from the organization {found}")]
    OtherOrganization {
        /// Which it names.
        found: Digest,
    },
    /// The ca of the organization has not cosigned the checkpoint.
    #[error("the checkpoint is not one that the sender's organization has cosigned")]
    Checkpoint(#[from] CheckpointError),
    /// The bytes are not those of a leaf.
    #[error("what shall have enrolled the card is no leaf")]
    Leaf(#[from] LeafError),
    /// The leaf is not in the ledger under the checkpoint.
    #[error("the leaf is not in the ledger of the sender's organization")]
    NotIncluded,
    /// The leaf enrols other cards, or none.
    #[error("the leaf does not enrol the card {card}")]
    NotEnrolled {
        /// The card that shall have signed.
        card: Id,
    },
    /// The record is not the one that the leaf commits to (P-3.1).
    #[error("the name is not the one under which the card was enrolled")]
    OtherName,
}

impl Delivery {
    /// Whether it is one that anybody could take in: lines that show what they are, a size, units and dates that make sense.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn fits(&self) -> Result<(), Unfit> {
        if !is_line(&self.title) {
            return Err(Unfit::Title);
        }
        if !is_file_name(&self.name) {
            return Err(Unfit::FileName);
        }
        if !(1..=LARGEST).contains(&self.size) {
            return Err(Unfit::Size { size: self.size });
        }
        let count = self.to.units.len();
        if !(1..=ADDRESSEES_LIMIT).contains(&count) {
            return Err(Unfit::Addressees { count });
        }
        let lives = self.expires_at.saturating_sub(self.sent_at);
        if !(1..=LONGEST_MS).contains(&lives) {
            return Err(Unfit::Dates);
        }
        Ok(())
    }

    /// Whether it is over at `at`.
    #[must_use]
    pub fn is_over(&self, at: Millis) -> bool {
        self.expires_at <= at
    }
}

/// Whether it is one visible line, as a name is (P-3.1), of at most [`LINE_LIMIT`] bytes.
#[must_use]
pub fn is_line(text: &str) -> bool {
    text.len() <= LINE_LIMIT && is_visible_line(text)
}

/// What a sealed file's name ends with.
pub const SUFFIX: &str = ".age";

/// Whether a file can be called this, in whatever folder and on whatever system, and be seen there by this name: a line
/// ([`is_line`]) without `/ \ : * ? " < > |`, that neither begins with a dot nor ends with one, has no blank at either end, and is no
/// longer than [`LINE_LIMIT`] once it ends with [`SUFFIX`]. Windows drops blanks and dots at the end, so that two names would be one file,
/// and takes some names for devices, whatever comes after a dot.
#[must_use]
pub fn is_file_name(text: &str) -> bool {
    let length = text.len() + if text.ends_with(SUFFIX) { 0 } else { SUFFIX.len() };
    is_line(text)
        && length <= LINE_LIMIT
        && !text.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|'])
        && !text.starts_with('.')
        && !text.ends_with('.')
        && text.trim() == text
        && !is_device(text)
}

/// Whether Windows takes it for a device: `CON`, `aux.txt`, `COM1 .age`.
fn is_device(text: &str) -> bool {
    let stem = text.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = |port| {
        let number = stem.strip_prefix(port).unwrap_or_default();
        matches!(number.chars().next(), Some('1'..='9' | '¹' | '²' | '³')) && number.chars().count() == 1
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT")
}

/// Who sent a delivery: signed by a card that was enrolled in the ledger of `organization`, under a checkpoint that was cosigned
/// with `ca_log`.
///
/// # Errors
/// [`NotSent`]: the first thing that is not proved.
pub fn sent_by(
    envelope: &Envelope,
    sender: &Sender,
    organization: &Digest,
    ca_log: &Base64<32>,
) -> Result<Sent, NotSent> {
    let delivery: Delivery = envelope.statement()?;
    delivery.fits()?;
    if delivery.organization != *organization {
        return Err(NotSent::OtherOrganization { found: delivery.organization });
    }
    let checkpoint = Checkpoint::verify(&sender.checkpoint, organization, Signer::Ca, ca_log)?;
    let leaf = Leaf::from_bytes(sender.leaf.0.clone())?;
    if !is_included(leaf.as_bytes(), sender.index, &sender.proof, &checkpoint) {
        return Err(NotSent::NotIncluded);
    }
    let card = enrolled(&leaf, &delivery.card).ok_or(NotSent::NotEnrolled { card: delivery.card })?;
    envelope.verify(&card.signature)?;
    if sender.name.as_ref().is_some_and(|record| !record.matches(&card.name)) {
        return Err(NotSent::OtherName);
    }
    let name = sender.name.as_ref().and_then(|record| Name::parse(&record.text).ok());
    Ok(Sent { delivery, card, name })
}

/// Why nobody is proved to have received a delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotReceived {
    /// Nothing that says so, or not signed by the kms of the organization that it was sent to.
    #[error("the organization that it was sent to has not signed that it has it")]
    Envelope(#[from] EnvelopeError),
    /// It is about another delivery than the one that was signed, or another one of its organization's.
    #[error("what was signed is about another delivery")]
    OtherDelivery,
}

/// What has become of a delivery, as the kms of the organization that it was sent to has signed it (P-17.13). `sent` is what the
/// sender's card signed, and `kms` the key with which that kms signs now.
///
/// # Errors
/// [`NotReceived`].
pub fn received(answer: &Envelope, sent: &Envelope, kms: &PublicKey) -> Result<Received, NotReceived> {
    let received: Received = answer.verified(kms)?;
    let delivery: Delivery = sent.statement()?;
    let is_it = received.organization == delivery.to.organization
        && received.id == delivery.id
        && received.delivery == sent.digest()
        && received.units.iter().map(|addressee| &addressee.unit).eq(&delivery.to.units);
    if is_it { Ok(received) } else { Err(NotReceived::OtherDelivery) }
}

/// The card, as an order or the founding in this leaf enrolled it.
#[must_use]
pub fn enrolled(leaf: &Leaf, card: &Id) -> Option<Card> {
    let envelope = leaf.envelope();
    let cards: Vec<Card> = if envelope.payload_type == Founding::PAYLOAD_TYPE {
        envelope.statement::<Founding>().ok()?.officers
    } else {
        let enrolled = |act| if let Act::CardEnrolled(card) = act { Some(card) } else { None };
        envelope.statement::<Order>().ok()?.acts.into_iter().filter_map(enrolled).collect()
    };
    cards.into_iter().find(|found| found.card == *card)
}
