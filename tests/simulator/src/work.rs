//! What the tasks of services bring.

use std::sync::Arc;

use axum::body::Bytes;
use hyper::StatusCode;
use warifu_api::wire::site::PartialsAnswer;
use warifu_kms::authority::Authority;
use warifu_kms::site::SiteError;
use warifu_kms::site::steps::Steps;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::{Digest, Id};
use warifu_replica::Replica;

use crate::ca::CaSteps;

/// What a site does of itself; one of a kind at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Errand {
    Hear,
    Ask,
    Act,
    Provide,
    Rewrap,
    Sweep,
    Deliver,
    Courier,
    Journal,
    Cosign,
}

/// What has come of a task.
pub(crate) enum Done {
    /// A service has started.
    Kms(Result<(Arc<Authority>, Replica), String>),
    Site(Box<Result<Steps, String>>),
    Ca(Result<CaSteps, String>),
    /// An answer of the kms.
    Answered(StatusCode, Bytes),
    /// The answer to a card, for these grants and files.
    Partials {
        card: Id,
        items: Vec<(Id, usize)>,
        folded: usize,
        answer: Result<PartialsAnswer, SiteError>,
    },
    /// The answer to somebody who brought an order.
    Brought(Digest, Result<Envelope, SiteError>),
    Errand(Errand, Result<(), String>),
}
