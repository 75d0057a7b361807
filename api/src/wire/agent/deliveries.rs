//! Deliveries at this PC: what is asked of the agent. How they go their way is in [`deliveries`](crate::wire::deliveries).

use super::*;
use crate::wire::deliveries::{Addressee, DeliveryState, Handling};

/// The most files in one [`SendRequest`].
pub const SEND_LIMIT: usize = 64;

/// Files that the person has agreed to send: the agent seals each to all units, signs a delivery of it (9C), and brings it to the box.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// The card's serial number.
    pub serial: u32,
    /// Its PIN, every time.
    pub pin: PinText,
    /// Whether the person agreed to spend the last try.
    #[serde(default)]
    pub spend_last_try: bool,
    /// Absolute paths, at most [`SEND_LIMIT`].
    pub files: Vec<String>,
    /// The other organization whose units they are for; none for units of one's own.
    #[serde(default)]
    pub organization: Option<Digest>,
    /// The units.
    pub to: Vec<Id>,
    /// What they are about: one visible line.
    pub title: String,
    /// The unit of one's own organization that answers are to go to.
    #[serde(default)]
    pub reply_to: Option<Id>,
}

/// What became of the files, in their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendAnswer {
    /// One a file.
    pub files: Vec<SentFile>,
}

/// A file that was to be sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentFile {
    /// Its path, or what it is called where it was sealed before.
    pub file: String,
    /// What became of it.
    pub outcome: SendOutcome,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SendOutcome {
    /// It is in the box: the organization that it is for has signed that.
    Arrived {
        /// The delivery.
        id: Id,
    },
    /// It is said to be in the box, and that is not proved: it stays at this PC as well.
    Unproved {
        /// The delivery.
        id: Id,
    },
    /// It is sealed and signed, and lies at this PC: it goes on from where it stopped.
    Kept {
        /// The delivery.
        id: Id,
        /// Why it is not there yet.
        fault: AgentFault,
    },
    /// It is not sent.
    Failed {
        /// Why.
        fault: AgentFault,
    },
}

/// What was sent from this PC, the newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentDeliveries {
    /// They.
    pub deliveries: Vec<SentDelivery>,
}

/// A delivery that was sent from this PC.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentDelivery {
    /// It.
    pub id: Id,
    /// The units, as they were called when it was sent.
    pub to: Vec<NamedUnit>,
    /// What it is about.
    pub title: String,
    /// The file.
    pub name: String,
    /// The ciphertext's length, in bytes.
    pub size: u64,
    /// When it was signed, in the organization's zone, as people write it: `2027-04-01 09:30`.
    pub sent_at: String,
    /// Whether the sealed file is still at this PC, since it is not proved to have arrived.
    pub here: bool,
    /// What has become of it.
    pub became: Became,
}

/// What has become of a delivery, as far as that is proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "became", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Became {
    /// The box does not answer.
    #[serde(deserialize_with = "nothing_more")]
    Unknown,
    /// It answers, and the organization that it is for has not signed what it says.
    #[serde(deserialize_with = "nothing_more")]
    Unproved,
    /// It has not come whole.
    #[serde(deserialize_with = "nothing_more")]
    Arriving,
    /// It has, and this is what that organization's kms has signed.
    Received {
        /// Whether the file is there, and until when.
        state: DeliveryState,
        /// What its addressees have done with it.
        units: Vec<Addressee>,
    },
}

/// A unit, and what people call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedUnit {
    /// The unit.
    pub unit: Id,
    /// Its name, with that of its organization where that is another one.
    pub name: String,
}

/// What lies in the box for the cards whose PIN was entered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// They, the oldest first.
    pub deliveries: Vec<ReceivedDelivery>,
}

/// A delivery that lies at a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceivedDelivery {
    /// It.
    pub id: Id,
    /// The digest of what is said of it, by its sender or whoever sent it without a card: the same number alone is not the same
    /// delivery.
    pub said: Digest,
    /// The unit at which it lies.
    pub at: NamedUnit,
    /// Who sent it.
    pub from: DeliveredFrom,
    /// What it is about, as its sender says.
    pub title: String,
    /// The file, as its sender calls it.
    pub name: String,
    /// The ciphertext's length, in bytes.
    pub size: u64,
    /// When it was signed, by its sender's clock, as people write it in the organization's zone; none without a signature.
    pub sent_at: Option<String>,
    /// Whether there is a file, and until when.
    pub state: DeliveryState,
    /// What the unit has done with it.
    pub handling: Handling,
    /// The unit that passed it on, if it was not sent to this one.
    pub passed_by: Option<NamedUnit>,
}

/// Who sent a delivery, as far as this PC could prove it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeliveredFrom {
    /// A member, by a card's signature.
    Member {
        /// The organization.
        organization: Digest,
        /// What it is called.
        organization_name: String,
        /// The card.
        card: Id,
        /// The member's name; none if it was erased.
        name: Option<String>,
        /// Whether the card is live.
        standing: SenderStanding,
    },
    /// Somebody without a card: nothing is proved.
    Outside {
        /// Who it is from, as the sender says.
        says: String,
    },
    /// The proof does not hold: it is not to be used.
    Unproved {
        /// Why.
        why: String,
    },
}

/// Whether the card of a sender is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SenderStanding {
    /// It is.
    Live,
    /// It was revoked or suspended, or its member has left.
    NotLive,
    /// Its organization could not be asked.
    Unknown,
}

/// A file to be taken out of the box.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchRequest {
    /// The delivery.
    pub id: Id,
    /// As [`ReceivedDelivery::said`].
    pub said: Digest,
    /// The folder to write it to, absolute; the agent's own if left out, for what is opened or routed at once.
    #[serde(default)]
    pub to: Option<String>,
}

/// A file that was taken out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetched {
    /// Where it is, sealed as it came.
    pub path: String,
    /// Its length, in bytes.
    pub bytes: u64,
}

/// What somebody does with a delivery.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandleRequest {
    /// The delivery.
    pub id: Id,
    /// As [`ReceivedDelivery::said`].
    pub said: Digest,
    /// At which unit.
    pub unit: Id,
    /// What.
    pub what: Handle,
}

/// What can be done with a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Handle {
    /// It came without a card's signature, and somebody has looked at what is said of it.
    #[serde(deserialize_with = "nothing_more")]
    Admit,
    /// The unit takes it.
    #[serde(deserialize_with = "nothing_more")]
    Accept,
    /// The unit gives it back.
    Return {
        /// Why: one visible line, for who sent it.
        reason: String,
    },
    /// Its file was routed (section 15) to another unit.
    PassOn {
        /// Which.
        to: Id,
    },
}
