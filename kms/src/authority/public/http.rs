//! The interface for everybody: `warifu_api::wire::public`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Query, Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use serde::Deserialize;
use warifu_api::server::{Peer, Rates};
use warifu_api::{ErrorBody, ErrorCode};
use warifu_ledger::Id;

use super::super::Authority;
use super::super::deliveries;
use super::super::error::AuthorityError;
use super::super::http::{At, in_time, no_such_path, written};
use super::super::recovering::only_for_the_kms;
use super::deliver;
use super::html::{self, Words, language};

/// Whatever is mounted here is for everybody.
pub(super) fn router(authority: Arc<Authority>, words: Arc<Words>) -> Router {
    let rates = Arc::new(Rates::new(deliveries::STRANGERS_AT_ONCE, deliveries::STRANGERS_A_SECOND));
    Router::new()
        .merge(of_the_directory())
        .merge(deliveries::http::for_anybody().layer(middleware::from_fn(in_time)))
        .merge(deliveries::http::parts_for_anybody())
        .merge(deliver::router().layer(middleware::from_fn(in_time)))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_path)
        .layer(middleware::from_fn_with_state(authority.clone(), only_for_the_kms))
        .layer(middleware::from_fn_with_state(rates, at_its_rate))
        .layer(middleware::map_response(as_it_says))
        .layer(Extension(words))
        .with_state(authority)
}

fn of_the_directory() -> Router<Arc<Authority>> {
    Router::new()
        .route("/", get(page))
        .route("/units/{certificate}", get(certificate))
        .route("/v1/directory", get(directory))
        .layer(middleware::from_fn(in_time))
}

async fn directory(State(authority): State<Arc<Authority>>) -> Response {
    written(authority.signed_directory().await)
}

/// What a page is asked for with; links from elsewhere may have more.
#[derive(Deserialize)]
struct Lang {
    lang: Option<String>,
}

async fn page(
    State(authority): State<Arc<Authority>>,
    Extension(words): Extension<Arc<Words>>,
    Query(Lang { lang }): Query<Lang>,
    headers: HeaderMap,
) -> Response {
    match authority.directory_page(&words, language(lang.as_deref(), &headers)).await {
        Ok(page) => html::page(page),
        Err(error) => error.into_body().into_response(),
    }
}

async fn certificate(State(authority): State<Arc<Authority>>, At(name): At<String>) -> Response {
    let unit = name.strip_suffix(".cer").and_then(|unit| unit.parse::<Id>().ok());
    let found = match unit {
        Some(unit) => authority.unit_certificate(unit).await,
        None => Err(AuthorityError::NotFound { what: "path" }),
    };
    match found {
        Ok(der) => ([(CONTENT_TYPE, "application/pkix-cert")], der).into_response(),
        Err(error) => error.into_body().into_response(),
    }
}

/// Refuses those who ask too often, before anything is done for them.
async fn at_its_rate(
    State(rates): State<Arc<Rates>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match rates.admit(peer.address.ip(), Instant::now()) {
        Ok(()) => next.run(request).await,
        Err(wait) => {
            let refused = ErrorBody::new(ErrorCode::Busy, "too many requests from this address");
            let seconds = HeaderValue::from(wait.as_secs() + 1);
            ([(RETRY_AFTER, seconds)], refused).into_response()
        }
    }
}

/// A browser takes nothing for what it does not say it is.
async fn as_it_says(mut response: Response) -> Response {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
