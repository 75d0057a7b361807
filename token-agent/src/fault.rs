//! From the faults of cards, services and files to those that people are told.

use warifu_api::wire::agent::AgentFault;
use warifu_api::{ClientError, ErrorCode};
use warifu_envelope::{HeaderError, OpenError, WholeError};
use warifu_hardware::card::CardError;
use warifu_texts::one_line;

/// The most characters that are repeated of what a service says.
const QUOTED: usize = 200;

/// What a card's error means.
pub(crate) fn of_card(error: CardError) -> AgentFault {
    match error {
        CardError::NoReaderService => AgentFault::NoReaderService,
        CardError::NoReader { .. } => AgentFault::NoReader,
        CardError::NoCard => AgentFault::NoCard,
        CardError::ForeignCard => AgentFault::ForeignCard,
        CardError::Removed => AgentFault::CardRemoved,
        CardError::PinNeeded => AgentFault::PinNeeded { tries_left: 0 },
        CardError::PinWrong { tries_left } => AgentFault::PinWrong { tries_left },
        CardError::PinBlocked => AgentFault::PinBlocked,
        CardError::PukWrong { tries_left } => AgentFault::PukWrong { tries_left },
        CardError::PukBlocked => AgentFault::PukBlocked,
        CardError::ManagementKeyUnknown => AgentFault::ManagementKeyUnknown,
        CardError::LastTry => AgentFault::LastTry,
        CardError::ModuleHung { .. } => AgentFault::ModuleHung,
        CardError::ModuleUnusable { module } => {
            AgentFault::ModuleUnusable { module: module.display().to_string() }
        }
        CardError::NoModuleProgram { program, .. } => {
            AgentFault::ModuleUnusable { module: program.display().to_string() }
        }
        CardError::IssuingUnsupported => AgentFault::IssuingUnsupported,
        CardError::UnblockingUnsupported => AgentFault::UnblockingUnsupported,
        CardError::SharesFull | CardError::MemoryFull => AgentFault::CardFull,
        other => AgentFault::CardFault { why: chain(&other) },
    }
}

/// What a failed call to the kms means.
pub(crate) fn of_authority(error: ClientError) -> AgentFault {
    match error {
        ClientError::Refused { body, .. } => {
            AgentFault::AuthorityRefused { code: body.code, message: quoted(&body.message) }
        }
        ClientError::Nonsense { why, .. } => AgentFault::NotTrustworthy { why: quoted(&why) },
        ClientError::NotTrusted { .. } => AgentFault::NotTrustworthy { why: chain(&error) },
        other => unreachable_service(&other, AgentFault::AuthorityUnreachable),
    }
}

/// What a failed call to a site means.
pub(crate) fn of_site(error: ClientError) -> AgentFault {
    match error {
        ClientError::Refused { body, .. } => AgentFault::SiteRefused { code: body.code },
        ClientError::Nonsense { why, .. } => AgentFault::NotTrustworthy { why },
        other => unreachable_service(&other, AgentFault::SiteUnreachable),
    }
}

/// What somebody says who may be anybody: in one line, and not at length, so that it is taken for nothing that a program says.
fn quoted(text: &str) -> String {
    one_line(text).chars().take(QUOTED).collect()
}

fn unreachable_service(error: &ClientError, fault: AgentFault) -> AgentFault {
    tracing::info!(error = chain(error), "a service did not answer");
    fault
}

/// Whether a site's refusal is about itself rather than about the card: another site may answer.
pub(crate) fn concerns_site(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::LeaseExpired
            | ErrorCode::NotReady
            | ErrorCode::NotFounded
            | ErrorCode::HsmUnavailable
            | ErrorCode::StorageUnavailable
            | ErrorCode::Internal
            | ErrorCode::Busy
            | ErrorCode::NotServedHere
            | ErrorCode::Fork
    )
}

/// Whether a refusal means that the card is over at every site.
pub(crate) fn ends_card(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::CardNotLive | ErrorCode::CardSuspended | ErrorCode::ContractOver)
}

/// What a header that cannot be read means.
pub(crate) fn of_header(error: HeaderError) -> AgentFault {
    match error {
        HeaderError::Read(source) => AgentFault::FileUnreadable { why: source.to_string() },
        _ => AgentFault::FileDamaged,
    }
}

/// What a file that did not open means.
pub(crate) fn of_opening(error: OpenError) -> AgentFault {
    match error {
        OpenError::Header(error) => of_header(error),
        OpenError::Read(source) => AgentFault::FileUnreadable { why: source.to_string() },
        OpenError::Write(source) => AgentFault::OutputUnwritable { why: source.to_string() },
        OpenError::Whole(WholeError::Exists { .. }) => AgentFault::OutputExists,
        OpenError::Whole(error) => AgentFault::OutputUnwritable { why: chain(&error) },
        OpenError::Cancelled => AgentFault::CardRemoved,
        _ => AgentFault::FileDamaged,
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
