//! The site's interface over HTTP (`warifu_api::wire::site`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::stream;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;
use warifu_api::body;
use warifu_api::error::{ErrorBody, ErrorCode};
use warifu_api::server::Peer;
use warifu_api::wire::routing::{Batch, Routed};
use warifu_api::wire::site::{Me, PartialsRequest, RevocationRequest, Status};
use warifu_ledger::dsse::Envelope;
use zeroize::Zeroizing;

use super::answering::Answer;
use super::error::SiteError;
use super::refusal;
use super::service::Core;

/// The largest request for partials read, in bytes: twice what the most items need.
const PARTIALS_BODY: usize = 128 << 10;
/// The largest order with its leaves read, in bytes.
const REVOCATION_BODY: usize = 16 << 20;
/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(15);

pub(super) fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/me", get(me))
        .route("/v1/events", get(events))
        .route("/v1/partials", post(partials))
        .route("/v1/routes", post(routes))
        .route("/v1/revocations", post(revocations))
        .fallback(|| async { ErrorBody::new(ErrorCode::NotFound, "no such path") })
        .with_state(core)
}

impl IntoResponse for SiteError {
    fn into_response(self) -> Response {
        refusal::of_error(&self).into_response()
    }
}

async fn status(State(core): State<Arc<Core>>) -> Result<Json<Status>, SiteError> {
    core.status().map(Json)
}

async fn me(State(core): State<Arc<Core>>, Extension(peer): Extension<Peer>) -> Result<Json<Me>, SiteError> {
    core.me(peer.key).await.map(Json)
}

async fn events(
    State(core): State<Arc<Core>>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, SiteError> {
    Ok(core.subscribe(peer.key)?.into_answer().into_response())
}

async fn partials(
    State(core): State<Arc<Core>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, SiteError> {
    let request: PartialsRequest = read(request, PARTIALS_BODY).await?;
    let asked = Instant::now();
    let answer = core.partials(peer.key, request).await;
    core.figures.answered(answer.as_ref().map(|answer| &answer.body), asked.elapsed());
    handed_over(answer?)
}

async fn routes(
    State(core): State<Arc<Core>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Json<Routed>, SiteError> {
    // Nobody's long body is read for nothing.
    core.card_of(peer.key)?;
    let Some(seat) = core.routing.take(&peer, request.body()) else { return Err(no_seat(request).await) };
    let request: Batch = read(request, Batch::LARGEST).await?;
    // Whoever brought it may hang up: what has begun is finished, and he asks again.
    let work = async move {
        let routed = core.route(peer.key, request).await;
        drop(seat);
        routed
    };
    let work = tokio::spawn(work.in_current_span());
    work.await.map_err(|_| SiteError::ShuttingDown)?.map(Json)
}

async fn no_seat(request: Request) -> SiteError {
    let _ = tokio::time::timeout(BODY_PATIENCE, body::pass_over(request.into_body())).await;
    SiteError::Refused(ErrorBody::new(ErrorCode::Busy, "others are bringing something: try again"))
}

/// The answer, with the card's turn in it: the turn ends when the last byte is handed to the connection, or when the
/// connection ends.
fn handed_over(Answer { body, turn }: Answer) -> Result<Response, SiteError> {
    let bytes = serde_json::to_vec(&body).map_err(|_| SiteError::Damaged { what: "answer" })?;
    // It holds partials.
    let bytes = Zeroizing::new(bytes);
    let length = bytes.len();
    let body = stream::unfold((Some(Bytes::from_owner(bytes)), turn), |(bytes, turn)| async {
        bytes.map(|bytes| (Ok::<_, std::convert::Infallible>(bytes), (None, turn)))
    });
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (CONTENT_LENGTH, length.to_string())];
    Ok((headers, Body::from_stream(body)).into_response())
}

async fn revocations(
    State(core): State<Arc<Core>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Json<Envelope>, SiteError> {
    let Some(seat) = core.bringing.take(&peer, request.body()) else { return Err(no_seat(request).await) };
    let request: RevocationRequest = read(request, REVOCATION_BODY).await?;
    // Whoever brought it may hang up: what has begun is finished.
    let work = async move {
        let receipt = core.take_brought(request).await;
        drop(seat);
        receipt
    };
    let work = tokio::spawn(work.in_current_span());
    work.await.map_err(|_| SiteError::ShuttingDown)?.map(Json)
}

async fn read<T: DeserializeOwned>(request: Request, limit: usize) -> Result<T, SiteError> {
    let refused = |code, message: &str| SiteError::Refused(ErrorBody::new(code, message));
    let body = tokio::time::timeout(BODY_PATIENCE, body::read(request.into_body(), limit))
        .await
        .map_err(|_| refused(ErrorCode::Malformed, "the request took too long to arrive"))?
        .map_err(|_| refused(ErrorCode::Malformed, "the request broke off"))?
        .ok_or_else(|| refused(ErrorCode::TooLarge, "the request is too large"))?;
    serde_json::from_slice(&body).map_err(|error| {
        let why: String = error.to_string().chars().take(200).collect();
        refused(ErrorCode::Malformed, &why)
    })
}
