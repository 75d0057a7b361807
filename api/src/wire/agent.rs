//! The agent's interface: loopback HTTP for the command lines and, later, the pages on the same PC.
//!
//! The agent writes [`Bootstrap`] to a file that only its user can read. Every request carries
//! `Authorization: Bearer <token>`; requests with a foreign `Host`, or with an `Origin`, are refused. The body of every
//! answer that is not a success is an [`AgentFault`].
//!
//! | method and path | request → answer |
//! |---|---|
//! | `GET /v1/status` | → [`Status`] |
//! | `GET /v1/profile` | → the verified [`Profile`](warifu_ledger::statement::Profile) |
//! | `POST /v1/profile/reload` | [`Done`](super::Done) → [`Status`]: read the profile file again |
//! | `POST /v1/profile/refresh` | [`Done`](super::Done) → [`Status`]: fetch the profile from the kms, write and use it |
//! | `POST /v1/unlock` | [`Unlock`] → [`Status`]: one PIN entry for this insertion |
//! | `POST /v1/lock` | → [`Done`](super::Done): forget the PIN, close what is open |
//! | `POST /v1/open` | [`OpenRequest`] → [`OpenAnswer`] |
//! | `GET /v1/progress` | → [`Progress`] of the files that are being opened |
//! | `POST /v1/routes/plan` | [`PlanRequest`] → [`Plan`]: what would be routed, for the person to agree to |
//! | `POST /v1/routes` | [`RouteRequest`] → [`RouteAnswer`]: files go to other units, PIN every time |
//! | `GET /v1/routes/progress` | → [`Progress`], in slips instead of bytes, of those that are being made |
//! | `POST /v1/deliveries` | [`SendRequest`] → [`SendAnswer`]: files are sealed, signed and brought to a box, PIN every time |
//! | `POST /v1/deliveries/resume` | [`Done`](super::Done) → [`SendAnswer`]: what has not arrived yet is brought |
//! | `GET /v1/deliveries` | → [`SentDeliveries`]: what was sent from this PC, and what has become of it |
//! | `GET /v1/deliveries/progress` | → [`Progress`] of the files that are being sealed, brought or taken out |
//! | `GET /v1/inbox` | → [`Received`]: what lies in the box for the cards whose PIN was entered, with its proved senders |
//! | `POST /v1/inbox/fetch` | [`FetchRequest`] → [`Fetched`]: a file is taken out, sealed as it came |
//! | `POST /v1/inbox/handle` | [`HandleRequest`] → [`Done`](super::Done): the box is told what a unit has done with a delivery |
//! | `GET /v1/directory` | → the verified [`Directory`](super::authority::Directory) |
//! | `GET /v1/others` | → [`Others`]: the organizations that are trusted, and their units, verified |
//! | `GET /v1/cards` | → [`Cards`]: what is in the readers |
//! | `POST /v1/cards/prepare` | [`Prepare`] → [`Prepared`]: generate the three keys on a new card |
//! | `POST /v1/cards/personalize` | [`Personalize`] → [`Personalized`]: fetch and import shares and certificates |
//! | `POST /v1/cards/puk` | [`OpenPuk`] → [`OpenedPuk`]: an officer's card opens what was sealed to it |
//! | `POST /v1/cards/unblock` | [`Unblock`] → [`Done`](super::Done): a new PIN, by the card's PUK |
//! | `POST /v1/pin` | [`ChangePin`] → [`Done`](super::Done): another PIN, by the present one |
//! | `POST /v1/cards/piece` | [`GivePiece`] → [`GivenPiece`]: a custodian's piece of a backup, for a new machine |
//! | `POST /v1/sign` | [`SignRequest`] → [`SignAnswer`]: one 9C signature, PIN every time |
//! | `POST /v1/forward` | [`Forward`] → [`Forwarded`]: a request to the kms or a site, with a card's 9A key or none |

use warifu_ledger::statement::nothing_more;

use super::*;
use crate::error::ErrorCode;

mod cards;
mod deliveries;
mod others;
mod routes;

pub use cards::*;
pub use deliveries::*;
pub use others::*;
pub use routes::*;

/// How programs on this PC find the agent: JSON in a file of mode 0600.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// `127.0.0.1:port`.
    pub address: String,
    /// The bearer token: 64 hexadecimal characters. Secret.
    pub token: String,
}

/// A PIN on its way from a person to the agent. No `Debug`, no `Clone`; zeroized when dropped.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct PinText(pub Zeroizing<String>);

/// What the agent is doing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Where it stands: of several cards, the one that can do most.
    pub state: AgentState,
    /// Where it stands with the organization's other cards.
    #[serde(default)]
    pub others: Vec<AgentState>,
    /// Names of the units that came onto the cards by themselves since they were inserted.
    #[serde(default)]
    pub brought: Vec<String>,
    /// The organization's name as people say it, from the profile; none without a profile.
    pub organization: Option<String>,
    /// What ends within 30 days for the cards whose PIN was entered, the first to end first, by the sites' time.
    #[serde(default)]
    pub ends: Vec<CardEnd>,
    /// Whom to call, from the profile.
    pub helpdesk: Option<String>,
}

/// The end of a card's access, or of its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardEnd {
    /// The card's serial number.
    pub serial: u32,
    /// What ends.
    pub what: Ending,
    /// Its last day, in the organization's zone: `2027-03-31`.
    pub last_day: String,
    /// Days that are left, today among them: 1 on the last day.
    pub days_left: u64,
    /// The first instant after it.
    pub ends_at: Millis,
    /// In the answer to an unlocking: whether the member has not been told today.
    #[serde(default)]
    pub news: bool,
}

/// What of a card ends on a day that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Its member's contract, and with it all that the card opens.
    Contract,
    /// Its member's time here, and with it all that the card opens.
    LastDay,
    /// Its certificate (9A). Files open all the same: other software minds.
    Certificate,
}

/// Where the agent stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum AgentState {
    /// The reader service (pcscd) does not run.
    #[serde(deserialize_with = "nothing_more")]
    NoReaderService,
    /// There is no reader.
    #[serde(deserialize_with = "nothing_more")]
    NoReader,
    /// There is no card in any reader.
    #[serde(deserialize_with = "nothing_more")]
    NoCard,
    /// There is a card, but not one of this organization.
    ForeignCard {
        /// Where it is.
        reader: String,
    },
    /// The card waits for its PIN.
    PinNeeded {
        /// Where it is.
        reader: String,
        /// Its serial number.
        serial: u32,
        /// PIN tries left.
        tries_left: u8,
    },
    /// The PIN is blocked.
    PinBlocked {
        /// Where it is.
        reader: String,
        /// Its serial number.
        serial: u32,
    },
    /// Files can be opened.
    Open {
        /// Where the card is.
        reader: String,
        /// Its serial number.
        serial: u32,
        /// The member's name, if the register still has it.
        member: Option<String>,
        /// Names of the units whose files can be opened.
        units: Vec<String>,
        /// Names of the front desks whose files can be routed.
        #[serde(default)]
        desks: Vec<String>,
        /// The site that answers.
        site: String,
        /// How long that site may still answer without news, in milliseconds.
        lease_left_ms: u64,
        /// Files that are open in viewers.
        open_files: usize,
    },
    /// The card is there and unlocked, but no site answers for it.
    Refused {
        /// Where the card is.
        reader: String,
        /// Its serial number.
        serial: u32,
        /// Why, as the site said; none if no site can be reached.
        code: Option<ErrorCode>,
    },
}

impl AgentState {
    /// Why no file can be opened like this; none where files can be.
    #[must_use]
    pub fn fault(&self) -> Option<AgentFault> {
        Some(match self {
            Self::NoReaderService => AgentFault::NoReaderService,
            Self::NoReader => AgentFault::NoReader,
            Self::NoCard => AgentFault::NoCard,
            Self::ForeignCard { .. } => AgentFault::ForeignCard,
            Self::PinNeeded { tries_left, .. } => AgentFault::PinNeeded { tries_left: *tries_left },
            Self::PinBlocked { .. } => AgentFault::PinBlocked,
            Self::Refused { code: Some(code), .. } => AgentFault::SiteRefused { code: *code },
            Self::Refused { code: None, .. } => AgentFault::SiteUnreachable,
            Self::Open { .. } => return None,
        })
    }
}

/// A PIN entry.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unlock {
    /// The card's serial number; may be left out while there is one card of this organization.
    #[serde(default)]
    pub serial: Option<u32>,
    /// The PIN.
    pub pin: PinText,
    /// Whether the person agreed to spend the last try.
    #[serde(default)]
    pub spend_last_try: bool,
}

/// A new PIN for a card whose PIN is blocked or forgotten.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unblock {
    /// The card's serial number.
    pub serial: u32,
    /// The card's PUK, 6 to 8 digits.
    pub puk: PinText,
    /// The new PIN, 6 to 8 digits.
    pub pin: PinText,
    /// Whether the person agreed to spend the last try for the PUK.
    #[serde(default)]
    pub spend_last_try: bool,
}

/// Another PIN for a card, by the one it has.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePin {
    /// The card's serial number; may be left out while there is one card of this organization.
    #[serde(default)]
    pub serial: Option<u32>,
    /// The PIN that the card has.
    pub old: PinText,
    /// The new one, 6 to 8 digits.
    pub new: PinText,
}

/// An officer's card opens the PUK of another card.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenPuk {
    /// The serial number of the officer's card, which must be unlocked.
    pub serial: u32,
    /// The id of the card whose PUK it is.
    pub card: Id,
    /// What the kms keeps.
    pub escrow: super::authority::PukEscrow,
}

/// A card's PUK.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedPuk {
    /// Eight digits.
    pub puk: PinText,
}

/// Files to open.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// Absolute paths.
    pub files: Vec<String>,
    /// What to do with the plaintext.
    pub target: OpenTarget,
}

/// What to do with the plaintext.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OpenTarget {
    /// Show it in a viewer that ends with the card.
    #[serde(deserialize_with = "nothing_more")]
    View,
    /// Write it to this absolute path, whole or not at all. Only with one file.
    Export {
        /// Where to.
        path: String,
        /// Whether an existing file may be replaced.
        overwrite: bool,
    },
}

/// How far the files are that are being opened now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Plaintext bytes written so far.
    pub done: u64,
    /// Bytes of the files, as they are sealed.
    pub total: u64,
}

/// What became of the files, in their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAnswer {
    /// One a file.
    pub files: Vec<FileOutcome>,
}

/// What became of one file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FileOutcome {
    /// It is open in a viewer, as this path in the agent's private directory.
    Viewing {
        /// The path.
        path: String,
        /// The unit to which it was addressed or routed, as people say it.
        unit: String,
        /// Whether it was addressed to another unit, and routed to this one (P-15.13).
        routed: bool,
    },
    /// It was written.
    Exported {
        /// Plaintext bytes.
        bytes: u64,
        /// The unit to which it was addressed or routed, as people say it.
        unit: String,
        /// Whether it was addressed to another unit, and routed to this one (P-15.13).
        routed: bool,
    },
    /// Nothing.
    Failed {
        /// Why.
        fault: AgentFault,
    },
}

/// Why the agent cannot do what was asked: each has its message in the Fluent files, in Japanese and English.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum AgentFault {
    /// The reader service (pcscd) does not run.
    #[serde(deserialize_with = "nothing_more")]
    NoReaderService,
    /// There is no reader.
    #[serde(deserialize_with = "nothing_more")]
    NoReader,
    /// There is no card.
    #[serde(deserialize_with = "nothing_more")]
    NoCard,
    /// The card is not one of this organization.
    #[serde(deserialize_with = "nothing_more")]
    ForeignCard,
    /// The PIN has to be entered first.
    PinNeeded {
        /// PIN tries left.
        tries_left: u8,
    },
    /// There are several cards of this organization, and which one is meant was not said.
    SeveralCards {
        /// Their serial numbers.
        serials: Vec<String>,
    },
    /// The file is for none of the cards that are open, and another card waits for its PIN.
    AnotherCardLocked {
        /// That card's serial number.
        serial: u32,
        /// PIN tries left.
        tries_left: u8,
    },
    /// The PIN was wrong.
    PinWrong {
        /// PIN tries left.
        tries_left: u8,
    },
    /// One try is left, and the person has not agreed to spend it.
    #[serde(deserialize_with = "nothing_more")]
    LastTry,
    /// The PIN is blocked.
    #[serde(deserialize_with = "nothing_more")]
    PinBlocked,
    /// The PIN that was chosen is the one that every card comes with.
    #[serde(deserialize_with = "nothing_more")]
    FactoryPin,
    /// The PUK is sealed to none of the officer's card's keys, or not to this card.
    #[serde(deserialize_with = "nothing_more")]
    PukNotForThisCard,
    /// Another program has set the card's management key.
    #[serde(deserialize_with = "nothing_more")]
    ManagementKeyUnknown,
    /// The PIN has to be 6 to 8 digits.
    #[serde(deserialize_with = "nothing_more")]
    PinMalformed,
    /// The PUK was wrong.
    PukWrong {
        /// PUK tries left.
        tries_left: u8,
    },
    /// The PUK is blocked: the card's PIN can never be set again.
    #[serde(deserialize_with = "nothing_more")]
    PukBlocked,
    /// The card was taken out.
    #[serde(deserialize_with = "nothing_more")]
    CardRemoved,
    /// The card does not work as it should.
    CardFault {
        /// What the card backend said.
        why: String,
    },
    /// The module that speaks with the card did not answer, and was ended.
    #[serde(deserialize_with = "nothing_more")]
    ModuleHung,
    /// The module that is to speak with cards cannot be used.
    ModuleUnusable {
        /// Its file.
        module: String,
    },
    /// Cards cannot be issued through the module that speaks with this one.
    #[serde(deserialize_with = "nothing_more")]
    IssuingUnsupported,
    /// A blocked PIN cannot be set anew through the module that speaks with this card.
    #[serde(deserialize_with = "nothing_more")]
    UnblockingUnsupported,
    /// The card has no room for another unit.
    #[serde(deserialize_with = "nothing_more")]
    CardFull,
    /// The card holds keys already.
    #[serde(deserialize_with = "nothing_more")]
    CardInUse,
    /// The card has no piece of this backup.
    #[serde(deserialize_with = "nothing_more")]
    NoPiece,
    /// No site can be reached.
    #[serde(deserialize_with = "nothing_more")]
    SiteUnreachable,
    /// The right to open the file's unit begins at a later instant.
    NotBegun {
        /// When, in the organization's zone, as people write it: `2027-04-01 00:00`.
        from: String,
    },
    /// The site refuses.
    SiteRefused {
        /// Why.
        code: ErrorCode,
    },
    /// The kms cannot be reached.
    #[serde(deserialize_with = "nothing_more")]
    AuthorityUnreachable,
    /// The kms refuses.
    AuthorityRefused {
        /// Why.
        code: ErrorCode,
        /// What the fold said, in English.
        message: String,
    },
    /// Something that another program sent is not what it should be.
    NotTrustworthy {
        /// What does not fit.
        why: String,
    },
    /// No such file, or it cannot be read.
    FileUnreadable {
        /// What the operating system said.
        why: String,
    },
    /// Not an age file, or damaged.
    #[serde(deserialize_with = "nothing_more")]
    FileDamaged,
    /// The file is addressed to none of the card's units, and was routed to none.
    #[serde(deserialize_with = "nothing_more")]
    NotForYou,
    /// The card may route the file, and not read it.
    ForRouting {
        /// The front desk that it is addressed to, as people say it.
        unit: String,
    },
    /// The file was routed to the card's unit, and what came with it does not open it.
    #[serde(deserialize_with = "nothing_more")]
    SlipDoesNotOpen,
    /// The file is another one than the person agreed to route.
    #[serde(deserialize_with = "nothing_more")]
    FileChanged,
    /// Files cannot be routed until that day.
    UntilImpossible {
        /// The latest possible, in the organization's zone: `2027-03-31`.
        latest: String,
    },
    /// The files that are to be routed together have more recipients than are looked through at once.
    #[serde(deserialize_with = "nothing_more")]
    TooManyRecipients,
    /// The connection broke while files were being routed: they are on their way, or not.
    #[serde(deserialize_with = "nothing_more")]
    RoutingUncertain,
    /// The title of a delivery is not one visible line of at most 255 bytes.
    #[serde(deserialize_with = "nothing_more")]
    TitleUnfit,
    /// The name of a file is none that a delivery can have.
    #[serde(deserialize_with = "nothing_more")]
    FileNameUnfit,
    /// There is no such delivery at a unit of the card's.
    #[serde(deserialize_with = "nothing_more")]
    NoSuchDelivery,
    /// Nobody of the unit has looked yet at what came without a card's signature.
    #[serde(deserialize_with = "nothing_more")]
    NotLookedAt,
    /// The output exists.
    #[serde(deserialize_with = "nothing_more")]
    OutputExists,
    /// The output cannot be written; nothing was left behind.
    OutputUnwritable {
        /// What the operating system said.
        why: String,
    },
    /// No viewer could be started.
    ViewerFailed {
        /// What the operating system said.
        why: String,
    },
    /// The agent has no profile of an organization.
    #[serde(deserialize_with = "nothing_more")]
    NoProfile,
    /// The request makes no sense.
    Malformed {
        /// What does not fit.
        why: String,
    },
}

/// A signature by a card's 9C key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignRequest {
    /// The card's serial number.
    pub serial: u32,
    /// Its PIN, every time.
    pub pin: PinText,
    /// What is signed: the payload is shown to the person by the program that asks.
    pub envelope: Envelope,
}

/// The signature.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignAnswer {
    /// The 9C public key.
    pub key: PublicKey,
    /// `r ‖ s` over the envelope's digest.
    pub signature: Base64<64>,
}

/// To whom a request is forwarded.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ForwardTo {
    /// The kms authority.
    #[serde(deserialize_with = "nothing_more")]
    Authority,
    /// A site, as the ledger that the asker has folded names it: not every site need be in this PC's profile. Only for
    /// requests without a card's key.
    Site {
        /// `host:port`.
        address: String,
        /// Its TLS key.
        key: PublicKey,
    },
}

/// A request that the agent passes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// To whom.
    pub target: ForwardTo,
    /// The serial number of the unlocked card whose 9A key it shows; none for a request without a key.
    pub serial: Option<u32>,
    /// `GET` or `POST`.
    pub method: String,
    /// Path and query: to the kms any `GET` but streams, `/v1/orders`, and a card's sealed PUK; to a site `/v1/status` and `/v1/revocations`.
    pub path: String,
    /// The JSON body; absent for `GET`.
    #[serde(default)]
    pub body: Option<serde_json::Value>,
}

/// The answer to a forwarded request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forwarded {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: serde_json::Value,
}
