//! The one place that says with which code a refusal leaves the site.

use warifu_api::error::{ErrorBody, ErrorCode};
use warifu_hardware::hsm::HsmError;
use warifu_ledger::state::{NotAnswered, Rejected};
use warifu_replica::ReplicaError;

use super::error::SiteError;
use super::vault::PartFault;

/// The code for what the fold refuses.
pub(super) fn of_not_answered(why: NotAnswered) -> ErrorCode {
    match why {
        NotAnswered::CardNotLive | NotAnswered::MemberGone => ErrorCode::CardNotLive,
        NotAnswered::CardSuspended => ErrorCode::CardSuspended,
        NotAnswered::ContractOver => ErrorCode::ContractOver,
        NotAnswered::GrantNotLive => ErrorCode::GrantNotLive,
        NotAnswered::GrantExpired => ErrorCode::GrantExpired,
        NotAnswered::GrantNotStarted { .. } => ErrorCode::GrantNotStarted,
        NotAnswered::UnitClosed => ErrorCode::UnitClosed,
        NotAnswered::NotIssued => ErrorCode::NotReady,
        NotAnswered::WrongRight => ErrorCode::Forbidden,
        NotAnswered::NotServedHere => ErrorCode::NotServedHere,
        _ => ErrorCode::Internal,
    }
}

/// The code for what the HSM did not do. A share that it refuses and a key that is gone look the same as no share at all.
pub(super) fn of_hsm(error: &HsmError) -> ErrorCode {
    match error {
        HsmError::GrantKeyMissing { .. } | HsmError::ShareRefused { .. } => ErrorCode::NotServedHere,
        _ => ErrorCode::HsmUnavailable,
    }
}

fn of_rejected(why: &Rejected) -> ErrorCode {
    match why {
        Rejected::Fork { .. } => ErrorCode::Fork,
        // The caller can bring the leaves that are missing, or wait for them.
        Rejected::SeenAhead { .. } => ErrorCode::NotReady,
        _ => ErrorCode::Rejected,
    }
}

/// The answer for an error of the site. What failed inside is for the log, not for the caller.
pub(super) fn of_error(error: &SiteError) -> ErrorBody {
    let code = match error {
        SiteError::Refused(body) => return body.clone(),
        SiteError::NotRecorded(error) => return of_error(error),
        SiteError::Rejected(why) => of_rejected(why),
        SiteError::Hsm(error) | SiteError::Part(PartFault::Hsm(error)) => of_hsm(error),
        SiteError::Replica(ReplicaError::Storage(_)) | SiteError::Database(_) | SiteError::Storage(_) => {
            ErrorCode::StorageUnavailable
        }
        SiteError::Replica(ReplicaError::ShuttingDown) => ErrorCode::Internal,
        // Leaves that somebody brought.
        SiteError::Replica(_) => ErrorCode::Rejected,
        SiteError::NotJoined => ErrorCode::NotFounded,
        _ => ErrorCode::Internal,
    };
    match code {
        ErrorCode::StorageUnavailable | ErrorCode::HsmUnavailable | ErrorCode::Internal => {
            tracing::error!(%error, source = ?std::error::Error::source(error), "a request failed");
            ErrorBody::new(code, "the site's log says what failed")
        }
        code => ErrorBody::new(code, error.to_string()),
    }
}
