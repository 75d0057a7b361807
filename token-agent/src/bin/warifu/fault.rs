//! What can go wrong at the command line, what it says to people, and its exit code.

use serde_json::json;
use warifu_api::ErrorCode;
use warifu_api::wire::agent::AgentFault;
use warifu_api::wire::trusts::TroubleKind;
use warifu_texts::{Explained, Texts};
use warifu_token_agent::addressing::NotAddressed;
use warifu_token_agent::client::AgentError;
use warifu_token_agent::texts::AgentTexts as _;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("no PIN was entered")]
    PinNotEntered,
    #[error("the last try for the PIN was not spent")]
    LastTryKept,
    #[error("the new PIN was typed twice, differently")]
    PinsDiffer,
    #[error("unknown unit {unit}")]
    UnitUnknown { unit: String },
    #[error("unknown target {unit}")]
    TargetUnknown { unit: String },
    #[error("unit {unit} has no key yet")]
    UnitWithoutKey { unit: String },
    #[error("unknown organization {organization}")]
    OrganizationUnknown { organization: String },
    #[error("no directory of {organization}: {kind:?}")]
    NoDirectoryOf { organization: String, kind: Option<TroubleKind> },
    #[error("{recipient} is not a recipient: {why}")]
    RecipientMalformed { recipient: String, why: String },
    #[error("nothing was routed")]
    NotAgreed,
    #[error("nothing was sent")]
    NotSent,
    #[error("units of several organizations")]
    SeveralOrganizations,
    #[error("more than {most} files")]
    TooManyToSend { most: usize },
    #[error("several deliveries begin with {id}")]
    SeveralDeliveries { id: String },
    #[error("nobody could be asked whether to go on")]
    NobodyToAsk,
    #[error("one output for several files")]
    OneOutput,
    #[error("{file} could not be sealed: {why}")]
    Seal { file: String, why: String },
}

impl From<AgentFault> for Fault {
    fn from(fault: AgentFault) -> Self {
        Self::Agent(AgentError::Fault(fault))
    }
}

impl From<NotAddressed> for Fault {
    fn from(why: NotAddressed) -> Self {
        match why {
            NotAddressed::Agent(error) => Self::Agent(error),
            NotAddressed::UnitUnknown { unit } => Self::UnitUnknown { unit },
            NotAddressed::OrganizationUnknown { organization } => Self::OrganizationUnknown { organization },
            NotAddressed::NoDirectory { organization, kind } => Self::NoDirectoryOf { organization, kind },
            NotAddressed::UnitWithoutKey { unit } => Self::UnitWithoutKey { unit },
            other => Self::Agent(AgentError::Nonsense { why: other.to_string() }),
        }
    }
}

impl Fault {
    pub(crate) fn explained(&self, texts: &Texts) -> Explained {
        match self {
            Self::Agent(AgentError::Fault(fault)) => texts.fault(fault),
            Self::Agent(error @ AgentError::Nonsense { .. }) => {
                texts.explained("agent-nonsense", &[("why", error.to_string().into())])
            }
            Self::Agent(AgentError::Bootstrap { path, .. }) => {
                texts.explained("agent-bootstrap", &[("path", path.to_string_lossy().into())])
            }
            Self::Agent(_) => texts.explained("agent-not-running", &[]),
            Self::LastTryKept => texts.explained("last-try-kept", &[]),
            Self::PinsDiffer => texts.explained("pins-differ", &[]),
            Self::PinNotEntered => texts.explained("pin-not-entered", &[]),
            Self::UnitUnknown { unit } => texts.explained("unit-unknown", &[("unit", unit.as_str().into())]),
            Self::TargetUnknown { unit } => {
                texts.explained("target-unknown", &[("unit", unit.as_str().into())])
            }
            Self::UnitWithoutKey { unit } => {
                texts.explained("unit-without-key", &[("unit", unit.as_str().into())])
            }
            Self::OrganizationUnknown { organization } => {
                texts.explained("organization-unknown", &[("organization", organization.as_str().into())])
            }
            Self::NoDirectoryOf { organization, kind } => {
                let why = kind.map_or_else(
                    || texts.get("no-directory-yet"),
                    |kind| texts.get(&format!("trouble-{}", kind.name())),
                );
                let id = match kind {
                    Some(kind) if kind.is_alarm() => "organization-distrusted",
                    _ => "organization-without-directory",
                };
                texts.explained(id, &[("organization", organization.as_str().into()), ("why", why.into())])
            }
            Self::RecipientMalformed { recipient, why } => texts.explained(
                "recipient-malformed",
                &[("recipient", recipient.as_str().into()), ("why", why.as_str().into())],
            ),
            Self::NotAgreed => texts.explained("route-not-agreed", &[]),
            Self::NotSent => texts.explained("send-not-agreed", &[]),
            Self::SeveralOrganizations => texts.explained("send-several-organizations", &[]),
            Self::TooManyToSend { most } => {
                texts.explained("send-too-many", &[("most", most.to_string().into())])
            }
            Self::SeveralDeliveries { id } => texts.explained("inbox-several", &[("id", id.as_str().into())]),
            Self::NobodyToAsk => texts.explained("route-nobody-to-ask", &[]),
            Self::OneOutput => texts.explained("one-output", &[]),
            Self::Seal { file, why } => texts
                .explained("seal-failed", &[("file", file.as_str().into()), ("why", why.as_str().into())]),
        }
    }

    /// For programs: which fault, and what it says to people.
    pub(crate) fn json(&self, texts: &Texts, helpdesk: Option<&str>) -> serde_json::Value {
        let Explained { what, remedy } = self.explained(texts);
        let error = match self {
            Self::Agent(AgentError::Fault(fault)) => json!(fault),
            other => json!({ "fault": "local", "why": other.to_string() }),
        };
        json!({ "error": error, "message": what, "remedy": remedy, "helpdesk": helpdesk })
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Agent(AgentError::Fault(fault)) => exit_code(fault),
            Self::Agent(_) => 4,
            Self::PinNotEntered | Self::LastTryKept => 3,
            Self::UnitUnknown { .. }
            | Self::TargetUnknown { .. }
            | Self::RecipientMalformed { .. }
            | Self::OrganizationUnknown { .. }
            | Self::NotAgreed
            | Self::NotSent
            | Self::SeveralOrganizations
            | Self::TooManyToSend { .. }
            | Self::SeveralDeliveries { .. }
            | Self::NobodyToAsk
            | Self::OneOutput
            | Self::PinsDiffer => 1,
            Self::UnitWithoutKey { .. } | Self::NoDirectoryOf { .. } => 2,
            Self::Seal { .. } => 5,
        }
    }
}

/// The exit code for an agent's fault, as `--help` lists them.
pub(crate) fn exit_code(fault: &AgentFault) -> u8 {
    match fault {
        AgentFault::Malformed { .. }
        | AgentFault::UntilImpossible { .. }
        | AgentFault::TitleUnfit
        | AgentFault::FileNameUnfit
        | AgentFault::NoSuchDelivery => 1,
        AgentFault::SiteRefused { code } | AgentFault::AuthorityRefused { code, .. } => refusal(*code),
        AgentFault::NotForYou
        | AgentFault::NotLookedAt
        | AgentFault::ForRouting { .. }
        | AgentFault::SlipDoesNotOpen
        | AgentFault::NotBegun { .. }
        | AgentFault::NotTrustworthy { .. } => 2,
        AgentFault::SiteUnreachable | AgentFault::AuthorityUnreachable | AgentFault::RoutingUncertain => 4,
        AgentFault::FileUnreadable { .. }
        | AgentFault::FileChanged
        | AgentFault::FileDamaged
        | AgentFault::TooManyRecipients
        | AgentFault::OutputExists
        | AgentFault::OutputUnwritable { .. } => 5,
        AgentFault::ViewerFailed { .. } | AgentFault::NoProfile => 6,
        _ => 3,
    }
}

fn refusal(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::LeaseExpired
        | ErrorCode::Busy
        | ErrorCode::NotReady
        | ErrorCode::NotRecovered
        | ErrorCode::HsmUnavailable
        | ErrorCode::StorageUnavailable
        | ErrorCode::Internal => 4,
        ErrorCode::Malformed | ErrorCode::TooLarge => 1,
        _ => 2,
    }
}
