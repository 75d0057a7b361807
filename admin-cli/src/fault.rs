//! What can go wrong at the desk. Every variant has its message in `locales/`.

use warifu_admin_cli::sheet::SheetError;
use warifu_api::ErrorCode;
use warifu_api::wire::agent::AgentFault;
use warifu_api::wire::authority::ProposalStanding;
use warifu_audit::FileError;
use warifu_backup::file::BackupError;
use warifu_directory::signed::Distrusted;
use warifu_ledger::state::Rejected;
use warifu_token_agent::client::AgentError;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Fault {
    /// The agent, the kms or a site says no.
    #[error("{0:?}")]
    Agent(AgentFault),
    /// The agent does not answer.
    #[error(transparent)]
    AgentGone(AgentError),
    /// The fold refuses the order.
    #[error(transparent)]
    Rejected(Rejected),
    /// The ledger that the kms shows is not one to rely on.
    #[error("the ledger cannot be relied on: {0}")]
    Ledger(String),
    /// No officer's card is in the readers.
    #[error("no officer's card")]
    NoOfficerCard,
    /// A second officer has to sign.
    #[error("a second person has to sign")]
    SecondPersonNeeded,
    /// The order waits at the kms for a second person: nothing failed, and nothing has happened yet.
    #[error("the order waits for a second person")]
    Proposed,
    /// The same waits for a second person already.
    #[error("proposed already as {hash}")]
    ProposedAlready {
        /// The order that waits.
        hash: String,
    },
    /// What the kms gives as a proposal is not what somebody has signed.
    #[error("proposal {hash} was altered")]
    ProposalAltered {
        /// The order.
        hash: String,
    },
    /// A proposal does not wait any more.
    #[error("proposal {hash}: {standing}")]
    ProposalOver {
        /// The order.
        hash: String,
        /// What became of it.
        standing: ProposalStanding,
    },
    /// No card without keys is in the readers, or several are.
    #[error("no single new card")]
    NoNewCard,
    /// Nothing has this label.
    #[error("unknown {kind} {label}")]
    UnknownLabel {
        /// What was looked for.
        kind: &'static str,
        /// The label.
        label: String,
    },
    /// Several things have this label.
    #[error("several have the label {label}, as {kind}")]
    AmbiguousLabel {
        /// What was looked for.
        kind: &'static str,
        /// The label.
        label: String,
    },
    /// Something has this label already.
    #[error("label {label} is taken")]
    LabelTaken {
        /// The label.
        label: String,
    },
    /// Another organization is called so, or one's own.
    #[error("the name {name} is another organization's")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Label or name cannot be one.
    #[error("not a label or name")]
    NotAName,
    /// Not a day.
    #[error("not a day: {day}")]
    NotADay {
        /// What was given.
        day: String,
    },
    /// A day in the past.
    #[error("{day} is over: it is {today}")]
    DayOver {
        /// What was given.
        day: String,
        /// The day it is.
        today: String,
    },
    /// Today, where only a day that is still to come will do.
    #[error("{day} has begun")]
    DayBegun {
        /// What was given.
        day: String,
    },
    /// A table cannot be read.
    #[error("{path} cannot be read")]
    Sheet {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: SheetError,
    },
    /// Rows of a table are wrong, each of which was named.
    #[error("{rows} rows are wrong")]
    SheetBad {
        /// How many.
        rows: usize,
    },
    /// A file that is not addressed to units of any organization, or no age file at all.
    #[error("{path} is not for units")]
    NotForUnits {
        /// The file.
        path: String,
    },
    /// Not a file that `audit export` wrote.
    #[error("{path} is no audit file")]
    NotAuditFile {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: FileError,
    },
    /// An audit file is not what was signed; each finding was named.
    #[error("{count} findings")]
    AuditUnsound {
        /// How many.
        count: usize,
    },
    /// An audit file that is evidence of one order, and has no journals.
    #[error("{path} is evidence of one order")]
    AuditFileOfOneOrder {
        /// The file.
        path: String,
    },
    /// Not 64 hexadecimal digits.
    #[error("not a fingerprint: {text}")]
    NotAFingerprint {
        /// What was given.
        text: String,
    },
    /// The ca has not signed what the kms has appended.
    #[error("the ca has not signed the newest checkpoint")]
    NotCosigned,
    /// A day so far ahead that the year must be wrong.
    #[error("{day} is too far ahead")]
    DayTooFar {
        /// What was given.
        day: String,
    },
    /// None of the member's cards can be suspended or resumed: all are revoked.
    #[error("no card of {label} that lives")]
    NoCardLeft {
        /// The member's label.
        label: String,
    },
    /// An `--officer` argument cannot be read.
    #[error("not SERIAL:LABEL:NAME: {text}")]
    NotAnOfficer {
        /// What was given.
        text: String,
    },
    /// Too few officers' cards.
    #[error("three people, or two with two cards each, are needed")]
    TooFewOfficers,
    /// One card was meant for two officers.
    #[error("card {serial} was named twice")]
    CardTwice {
        /// The serial number.
        serial: u32,
    },
    /// The policy wants proof of where a card's keys were made, and there is none that is believed.
    #[error("card {serial} does not prove that its keys were made in it")]
    NotAttested {
        /// The serial number.
        serial: u32,
    },
    /// Nothing says where to write.
    #[error("nowhere to write the founding")]
    NoOutput,
    /// A card with this serial number is not in the readers.
    #[error("card {serial} is not in the readers")]
    CardNotHere {
        /// The serial number.
        serial: u32,
    },
    /// A card that was to be somebody's is somebody's already.
    #[error("card {serial} is enrolled for {name}")]
    CardOfSomebody {
        /// The serial number.
        serial: u32,
        /// Whose it is.
        name: String,
    },
    /// The member has several cards that live, and which one is meant was not said.
    #[error("{label} has several cards: {cards}")]
    SeveralCardsOf {
        /// The member's label.
        label: String,
        /// Their numbers.
        cards: String,
    },
    /// The member has no card of this number that lives.
    #[error("no card {card} of {label}")]
    NoSuchCardOf {
        /// The member's label.
        label: String,
        /// What was given.
        card: String,
    },
    /// No card in the readers is one that something could be brought onto.
    #[error("no enrolled card of {label} in the readers")]
    CardOfMemberNotHere {
        /// The member's label.
        label: String,
    },
    /// The officers were given no PUK for this card.
    #[error("the kms keeps no PUK of this card")]
    NoPuk,
    /// No card in the readers is blocked.
    #[error("no blocked card")]
    NoneBlocked,
    /// Several cards in the readers are blocked.
    #[error("several blocked cards")]
    SeveralBlocked,
    /// A line of PINs cannot be read.
    #[error("not SERIAL PIN")]
    PinLine,
    /// No PIN was given for this card.
    #[error("no PIN for card {serial}")]
    PinMissing {
        /// The serial number.
        serial: u32,
    },
    /// A statement's fingerprint is not the one that was told.
    #[error("the fingerprint is {found}")]
    Fingerprint {
        /// What the file has.
        found: String,
    },
    /// Another organization's fingerprint is not the one that was read out. Which it is, is not said: it would only be typed in.
    #[error("the other organization's fingerprint is not the one that was read out")]
    OtherFingerprint,
    /// Nothing that gives a directory answers there.
    #[error("no directory at {address}")]
    NoDirectory {
        /// `host:port`.
        address: String,
    },
    /// Another organization's directory is not to be believed.
    #[error("the directory is not believed: {0}")]
    Distrusted(Distrusted),
    /// A backup, a request or pieces are not what they should be, or custodians are missing.
    #[error(transparent)]
    Backup(Box<BackupError>),
    /// The person at the terminal did not agree.
    #[error("not agreed")]
    NotAgreed,
    /// ca, kms or sites have not done their part in time; they will, as soon as they run.
    #[error("{what} is not ready yet")]
    NotReadyInTime {
        /// What was waited for.
        what: String,
    },
    /// A site would leave that other sites have not taken over from.
    #[error("{site} lacks {missing} shares")]
    SharesMissing {
        /// The site that is to go on alone, or the one that leaves where nobody else is there.
        site: String,
        /// How many it lacks.
        missing: u64,
    },
    /// A lost site alone served some units, and no other was named.
    #[error("nobody else serves {units}")]
    NobodyServes {
        /// The units.
        units: String,
    },
    /// A statement of new keys is not signed with the keys that its service has.
    #[error("the statement is not signed with the service's present keys")]
    NotByPresentKeys,
    /// A statement of keys that are not to take the place of others.
    #[error("{path} is not a statement of keys that are to take the place of others")]
    NotARotation {
        /// The file.
        path: String,
    },
    /// A site has read more of the lost kms's ledger than the restored one has.
    #[error("{site} has read more of the ledger than the restored kms has")]
    SiteAhead {
        /// The site.
        site: String,
    },
    /// Not every site has confirmed.
    #[error("not every site has confirmed")]
    NotConfirmed,
    /// A file cannot be read or written.
    #[error("{path}")]
    File {
        /// Which.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A file or an answer is not what it should be.
    #[error(transparent)]
    Json(serde_json::Error),
    /// The terminal does not work.
    #[error(transparent)]
    Terminal(std::io::Error),
}

impl From<BackupError> for Fault {
    fn from(error: BackupError) -> Self {
        Self::Backup(Box::new(error))
    }
}

impl From<AgentError> for Fault {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Fault(fault) => Self::Agent(fault),
            other => Self::AgentGone(other),
        }
    }
}

impl Fault {
    /// The code, if a service refused.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Agent(AgentFault::AuthorityRefused { code, .. } | AgentFault::SiteRefused { code }) => {
                Some(*code)
            }
            _ => None,
        }
    }

    /// The exit code of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Proposed => 0,
            Self::NotADay { .. }
            | Self::DayOver { .. }
            | Self::DayTooFar { .. }
            | Self::DayBegun { .. }
            | Self::Sheet { .. }
            | Self::SheetBad { .. }
            | Self::NotForUnits { .. }
            | Self::NotAuditFile { .. }
            | Self::AuditFileOfOneOrder { .. }
            | Self::NotAFingerprint { .. }
            | Self::NoCardLeft { .. }
            | Self::NotAnOfficer { .. }
            | Self::SeveralCardsOf { .. }
            | Self::NoSuchCardOf { .. }
            | Self::CardTwice { .. }
            | Self::NoOutput
            | Self::NotAName
            | Self::PinLine
            | Self::UnknownLabel { .. }
            | Self::AmbiguousLabel { .. }
            | Self::LabelTaken { .. }
            | Self::NameTaken { .. }
            | Self::Terminal(_)
            | Self::Json(_)
            | Self::File { .. } => 1,
            Self::Rejected(_)
            | Self::Ledger(_)
            | Self::SecondPersonNeeded
            | Self::ProposedAlready { .. }
            | Self::ProposalAltered { .. }
            | Self::ProposalOver { .. }
            | Self::Fingerprint { .. }
            | Self::OtherFingerprint
            | Self::Distrusted(_)
            | Self::TooFewOfficers
            | Self::AuditUnsound { .. }
            | Self::SharesMissing { .. }
            | Self::NobodyServes { .. }
            | Self::SiteAhead { .. }
            | Self::NotByPresentKeys
            | Self::NotARotation { .. }
            | Self::NotAttested { .. }
            | Self::NotAgreed => 2,
            Self::Backup(error) => match **error {
                BackupError::Io(_) => 1,
                BackupError::TooFew { .. } => 3,
                _ => 2,
            },
            Self::NoOfficerCard
            | Self::NoNewCard
            | Self::CardNotHere { .. }
            | Self::CardOfSomebody { .. }
            | Self::CardOfMemberNotHere { .. }
            | Self::NoPuk
            | Self::NoneBlocked
            | Self::SeveralBlocked
            | Self::PinMissing { .. } => 3,
            Self::AgentGone(_) | Self::NoDirectory { .. } => 4,
            Self::NotConfirmed | Self::NotCosigned | Self::NotReadyInTime { .. } => 5,
            Self::Agent(fault) => match fault {
                AgentFault::SiteRefused { .. }
                | AgentFault::AuthorityRefused { .. }
                | AgentFault::NotTrustworthy { .. }
                | AgentFault::Malformed { .. } => 2,
                AgentFault::SiteUnreachable | AgentFault::AuthorityUnreachable => 4,
                _ => 3,
            },
        }
    }
}
