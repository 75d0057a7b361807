//! The one place that knows HTTP status codes.

use axum::Json;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;

use crate::error::{ErrorBody, ErrorCode};

impl ErrorCode {
    /// The HTTP status that carries this code.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed | Self::InvalidPoint => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy | Self::TooManyProposals => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Rejected | Self::Handled | Self::LiesThere | Self::Fork => StatusCode::CONFLICT,
            Self::NotReady => StatusCode::TOO_EARLY,
            Self::NotFounded
            | Self::NotRecovered
            | Self::LeaseExpired
            | Self::HsmUnavailable
            | Self::StorageUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::BoxFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Forbidden
            | Self::CardNotLive
            | Self::CardSuspended
            | Self::ContractOver
            | Self::GrantNotLive
            | Self::GrantExpired
            | Self::GrantNotStarted
            | Self::UnitClosed
            | Self::NotServedHere
            | Self::Shredded
            | Self::NotATarget
            | Self::NotTrusted => StatusCode::FORBIDDEN,
        }
    }
}

impl IntoResponse for ErrorBody {
    fn into_response(self) -> Response {
        (self.code.status(), Json(self)).into_response()
    }
}
