//! The authority's interface: `warifu_api::wire::authority`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body as Answered, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use warifu_api::server::{Peer, Seat};
use warifu_api::wire::Done;
use warifu_api::wire::audit;
use warifu_api::wire::authority::{
    BroughtLeaves, Certificate, CertificateKind, Cosignature, Crl, HalfRequest, OrderRequest, PukEscrow,
    Rewrap, ShareRequest, StampRequest,
};
use warifu_api::wire::routing;
use warifu_api::{ErrorBody, body};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::tile::Tile;
use warifu_ledger::{Digest, Id};

use super::Authority;
use super::deliveries;
use super::error::AuthorityError;
use super::recovering::only_for_the_kms;
use super::role::{
    Caller, OfAuditor, OfCa, OfCard, OfFollower, OfReader, OfReporter, OfService, OfSite, Shown,
};
use super::tiles::TileBody;

/// The largest body of a request, in bytes.
const BODY_LIMIT: usize = 64 << 10;
/// The largest body of an order with its records, of a receipt, which names every key that was destroyed, and of a CRL: some
/// hundred thousand certificates.
const LARGE_BODY_LIMIT: usize = 8 << 20;
/// How long a request may take from its header to the answer's.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(25);
/// How often a silent stream shows that it lives. Stamps go over the same connection at least as often; and what ten thousand
/// streams say for nothing, everybody else waits for.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

pub(crate) type Shared = State<Arc<Authority>>;
pub(crate) type Answer<T> = Result<Json<T>, ErrorBody>;

pub(crate) fn answer<T>(result: Result<T, AuthorityError>) -> Answer<T> {
    result.map(Json).map_err(AuthorityError::into_body)
}

pub(crate) fn done(result: Result<(), AuthorityError>) -> Answer<Done> {
    answer(result.map(|()| Done {}))
}

/// JSON that was written before.
pub(super) fn written(result: Result<Bytes, AuthorityError>) -> Response {
    match result {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => error.into_body().into_response(),
    }
}

pub(crate) fn router(authority: Arc<Authority>) -> Router {
    let slowly = middleware::from_fn_with_state(authority.clone(), deliveries::http::strangers_at_their_rate);
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/profile", get(profile))
        .route("/v1/directory", get(directory))
        .route("/v1/checkpoint", get(checkpoint))
        .route("/v1/trusts", get(trusts))
        .route("/v1/trusts/{organization}", get(directory_of_other))
        .route("/v1/orders", post(order))
        .route("/v1/orders/{digest}/receipts", get(receipts))
        .route("/v1/proposals", get(proposals).post(propose))
        .route("/v1/proposals/{digest}", get(proposal).delete(withdraw))
        .route("/v1/ledger", get(ledger).post(bring))
        .route("/v1/ledger/stream", get(stream))
        .route("/checkpoint", get(note))
        .route("/tile/{*tile}", get(tile))
        .route("/v1/stamps", post(stamp))
        .route("/v1/units/{unit}/half", post(half))
        .route("/v1/facts", post(fact))
        .route("/v1/grants/{grant}/readiness", get(readiness))
        .route("/v1/grants/{grant}/share", post(share))
        .route("/v1/certificates", put(keep_certificate))
        .route("/v1/crls", put(keep_crl))
        .route("/v1/cosignatures", post(cosignature))
        .route("/v1/grant-keys", post(grant_key))
        .route("/v1/wraps/{grant}", get(wrap).delete(acknowledge))
        .route("/v1/wraps/{grant}/refusal", post(wrap_refused))
        .route("/v1/wraps/{grant}/{site}", put(rewrapped))
        .route("/v1/rewraps", get(rewraps))
        .route("/v1/sites/{site}/holdings", get(holdings))
        .route("/v1/receipts", post(receipt))
        .route("/v1/journal", get(own_journals).post(journal_rows))
        .route("/v1/journals/batch", get(journal_batch))
        .route("/v1/slips", get(parcels).post(keep_slips))
        .route("/v1/released", post(keep_released))
        .route("/v1/slips/batch", get(slips_batch))
        .route("/v1/slips/{digest}", get(slips))
        .route("/v1/audit/journals", get(journals))
        .route("/v1/audit/alarms", get(journal_alarms))
        .route("/v1/audit/journals/{site}/{journal}", get(rows))
        .route("/v1/audit/files/{file}", get(openings))
        .route("/v1/audit/receipts", get(all_receipts))
        .route("/v1/certificates/{kind}/{id}", get(certificate))
        .route("/v1/cards/{card}/package", get(package))
        .route("/v1/cards/{card}/package/{grant}", delete(imported))
        .route("/v1/cards/{card}/puk", get(puk).post(keep_puk))
        .route("/v1/register", get(register))
        .route("/v1/register/served", get(register_served))
        .merge(deliveries::http::for_anybody().layer(slowly.clone()))
        .merge(deliveries::http::for_cards())
        .layer(middleware::from_fn(in_time))
        .merge(deliveries::http::parts_for_anybody().layer(slowly))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_path)
        .layer(middleware::from_fn_with_state(authority.clone(), only_for_the_kms))
        .with_state(authority)
}

pub(super) async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => AuthorityError::TimedOut.into_body().into_response(),
    }
}

pub(super) async fn no_such_path() -> ErrorBody {
    AuthorityError::NotFound { what: "path" }.into_body()
}

/// A JSON body of at most `LIMIT` bytes, read strictly (P-1.1).
pub(crate) struct Body<T, const LIMIT: usize = BODY_LIMIT>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync, const LIMIT: usize> FromRequest<S> for Body<T, LIMIT> {
    type Rejection = ErrorBody;

    async fn from_request(request: Request, _: &S) -> Result<Self, ErrorBody> {
        parse(request, LIMIT).await.map(Self)
    }
}

pub(crate) async fn parse<T: DeserializeOwned>(request: Request, limit: usize) -> Result<T, ErrorBody> {
    let unreadable = |_| AuthorityError::Malformed { why: "the body could not be read".to_owned() };
    // It may hold a `d`.
    let bytes = body::read(request.into_body(), limit).await.map_err(unreadable);
    let bytes = bytes.and_then(|bytes| bytes.ok_or(AuthorityError::TooLarge));
    serde_json::from_slice(&bytes.map_err(AuthorityError::into_body)?).map_err(|error| malformed(&error))
}

/// A path's variables.
pub(crate) struct At<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = ErrorBody;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorBody> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(path)| Self(path)).map_err(|error| malformed(&error))
    }
}

/// A query's variables.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ErrorBody;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorBody> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|error| malformed(&error))
    }
}

/// Parsers quote what they were given: only the beginning of a complaint goes back.
fn malformed(error: &dyn std::error::Error) -> ErrorBody {
    AuthorityError::Malformed { why: error.to_string().chars().take(200).collect() }.into_body()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    from: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct After {
    pub(crate) after: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    known: Option<usize>,
}

async fn status(State(authority): Shared) -> Json<warifu_api::wire::authority::Status> {
    Json(authority.status())
}

async fn profile(State(authority): Shared) -> Response {
    written(authority.profile().await)
}

async fn directory(State(authority): Shared) -> Response {
    written(authority.directory().await)
}

async fn trusts(State(authority): Shared) -> Answer<warifu_api::wire::trusts::Trusts> {
    answer(authority.trusts().await)
}

async fn directory_of_other(
    State(authority): Shared,
    At(organization): At<Digest>,
) -> Answer<warifu_api::wire::public::SignedDirectory> {
    answer(authority.directory_of_other(organization).await)
}

async fn checkpoint(State(authority): Shared) -> Answer<warifu_api::wire::authority::CheckpointAnswer> {
    answer(authority.newest_checkpoint().await)
}

/// A seat for a large body, if one is free.
pub(crate) async fn seated(
    authority: &Authority,
    peer: &Peer,
    request: Request,
) -> Result<(Seat, Request), ErrorBody> {
    match authority.bringing.take(peer, request.body()) {
        Some(seat) => Ok((seat, request)),
        None => {
            body::pass_over(request.into_body()).await;
            Err(AuthorityError::Busy.into_body())
        }
    }
}

async fn order(
    State(authority): Shared,
    caller: Caller,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer<warifu_api::wire::authority::Appended> {
    let (_seat, request) = seated(&authority, &peer, request).await?;
    // Anybody may bring an order; a large one only with a card, or as a site, or strangers could fill the memory.
    let limit = match caller {
        Caller::Card(_) | Caller::Site(_) => LARGE_BODY_LIMIT,
        _ => OrderRequest::LARGEST_OF_STRANGERS,
    };
    let request: OrderRequest = parse(request, limit).await?;
    let answered = answer(authority.order(request, caller).await);
    authority.figures.ordered(&answered);
    answered
}

async fn propose(
    State(authority): Shared,
    caller: OfCard,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer<Done> {
    caller.may_administer().map_err(AuthorityError::into_body)?;
    let (_seat, request) = seated(&authority, &peer, request).await?;
    let request: OrderRequest = parse(request, LARGE_BODY_LIMIT).await?;
    done(authority.propose(request).await)
}

async fn proposals(
    State(authority): Shared,
    caller: OfCard,
) -> Answer<warifu_api::wire::authority::Proposals> {
    caller.may_look().map_err(AuthorityError::into_body)?;
    answer(authority.proposals().await)
}

async fn proposal(
    State(authority): Shared,
    caller: OfCard,
    At(digest): At<Digest>,
) -> Answer<warifu_api::wire::authority::Proposal> {
    caller.may_look().map_err(AuthorityError::into_body)?;
    answer(authority.proposal(digest).await)
}

async fn withdraw(State(authority): Shared, caller: OfCard, At(digest): At<Digest>) -> Answer<Done> {
    done(authority.withdraw(caller, digest).await)
}

async fn receipts(
    State(authority): Shared,
    At(order): At<Digest>,
    Asked(Known { known }): Asked<Known>,
) -> Answer<warifu_api::wire::authority::Receipts> {
    answer(authority.receipts(order, known).await)
}

async fn ledger(
    State(authority): Shared,
    _: OfReader,
    Asked(From { from }): Asked<From>,
) -> Answer<warifu_api::wire::Leaves> {
    answer(authority.leaves(from).await)
}

/// The newest checkpoint as the note that it is.
async fn note(State(authority): Shared, _: OfReader) -> Result<impl IntoResponse, ErrorBody> {
    let newest = authority.newest_checkpoint().await.map_err(AuthorityError::into_body)?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")], newest.note))
}

async fn tile(
    State(authority): Shared,
    _: OfReader,
    At(path): At<String>,
) -> Result<impl IntoResponse, ErrorBody> {
    let no_such = |_| AuthorityError::NotFound { what: "tile" }.into_body();
    let tile: Tile = path.parse().map_err(no_such)?;
    let body = match authority.tile(&tile).map_err(AuthorityError::into_body)? {
        TileBody::Hashes(hashes) => Answered::from(hashes),
        TileBody::Entries(entries) => Answered::from_stream(entries),
    };
    // `private`: who may read the ledger is for the kms to say.
    let cached = if tile.is_full() { "private, max-age=31536000, immutable" } else { "no-cache" };
    Ok(([(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, cached)], body))
}

async fn stream(
    State(authority): Shared,
    follower: OfFollower,
    Extension(peer): Extension<Peer>,
    Asked(From { from }): Asked<From>,
) -> Result<impl IntoResponse, ErrorBody> {
    let events = authority.stream(&follower, peer.key, from).map_err(AuthorityError::into_body)?;
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

async fn bring(
    State(authority): Shared,
    Shown(key): Shown,
    Body(brought): Body<BroughtLeaves, LARGE_BODY_LIMIT>,
) -> Answer<warifu_api::wire::authority::Status> {
    answer(authority.brought(key, brought).await)
}

async fn stamp(
    State(authority): Shared,
    OfService(service): OfService,
    Body(StampRequest { nonce }): Body<StampRequest>,
) -> Answer<Envelope> {
    answer(authority.stamp(service, nonce).await)
}

async fn half(
    State(authority): Shared,
    _: OfCa,
    At(unit): At<Id>,
    Body(HalfRequest { issuer }): Body<HalfRequest>,
) -> Answer<Envelope> {
    answer(authority.half(unit, issuer).await)
}

async fn fact(
    State(authority): Shared,
    _: OfCa,
    Body(envelope): Body<Envelope>,
) -> Answer<warifu_api::wire::authority::Appended> {
    answer(authority.fact(envelope).await)
}

async fn readiness(
    State(authority): Shared,
    _: OfCa,
    At(grant): At<Id>,
) -> Answer<warifu_api::wire::authority::Readiness> {
    answer(authority.readiness(grant).await)
}

async fn share(
    State(authority): Shared,
    _: OfCa,
    At(grant): At<Id>,
    Body(request): Body<ShareRequest>,
) -> Answer<Envelope> {
    answer(authority.share(grant, request).await)
}

async fn keep_certificate(
    State(authority): Shared,
    _: OfCa,
    Body(certificate): Body<Certificate>,
) -> Answer<Done> {
    done(authority.keep_certificate(certificate).await)
}

async fn keep_crl(State(authority): Shared, _: OfCa, Body(crl): Body<Crl, LARGE_BODY_LIMIT>) -> Answer<Done> {
    done(authority.keep_crl(crl).await)
}

async fn cosignature(
    State(authority): Shared,
    _: OfCa,
    Body(Cosignature { note }): Body<Cosignature>,
) -> Answer<Done> {
    done(authority.cosignature(&note).await)
}

async fn grant_key(
    State(authority): Shared,
    OfSite(site): OfSite,
    Body(envelope): Body<Envelope>,
) -> Answer<Done> {
    done(authority.grant_key(site, &envelope).await)
}

async fn wrap(
    State(authority): Shared,
    OfSite(site): OfSite,
    At(grant): At<Id>,
) -> Answer<warifu_api::wire::authority::Wrap> {
    answer(authority.wrap(site, grant).await)
}

async fn acknowledge(State(authority): Shared, OfSite(site): OfSite, At(grant): At<Id>) -> Answer<Done> {
    done(authority.acknowledge(site, grant).await)
}

async fn wrap_refused(
    State(authority): Shared,
    OfSite(site): OfSite,
    At(grant): At<Id>,
    Body(Done {}): Body<Done>,
) -> Answer<Done> {
    done(authority.wrap_refused(site, grant).await)
}

async fn rewraps(
    State(authority): Shared,
    OfSite(site): OfSite,
) -> Answer<warifu_api::wire::authority::Rewraps> {
    answer(authority.rewraps(site).await)
}

async fn rewrapped(
    State(authority): Shared,
    OfSite(by): OfSite,
    At((grant, to)): At<(Id, Id)>,
    Body(rewrap): Body<Rewrap>,
) -> Answer<Done> {
    done(authority.rewrapped(by, grant, to, rewrap).await)
}

async fn holdings(
    State(authority): Shared,
    caller: OfCard,
    At(site): At<Id>,
) -> Answer<warifu_api::wire::authority::Holdings> {
    caller.may_administer().map_err(AuthorityError::into_body)?;
    answer(authority.holdings(site).await)
}

async fn receipt(
    State(authority): Shared,
    reporter: OfReporter,
    Body(envelope): Body<Envelope, LARGE_BODY_LIMIT>,
) -> Answer<Done> {
    done(authority.receipt(reporter, envelope).await)
}

async fn own_journals(State(authority): Shared, reporter: OfReporter) -> Answer<audit::OwnJournals> {
    answer(authority.own_journals(reporter.site).await)
}

async fn journal_rows(
    State(authority): Shared,
    reporter: OfReporter,
    Body(rows): Body<audit::JournalRows, LARGE_BODY_LIMIT>,
) -> Answer<audit::JournalTaken> {
    answer(authority.journal_rows(reporter, rows).await)
}

async fn journal_batch(State(authority): Shared, _: OfCa) -> Answer<audit::JournalBatch> {
    answer(authority.journal_batch().await)
}

async fn keep_slips(
    State(authority): Shared,
    OfSite(site): OfSite,
    Body(batch): Body<routing::Batch, { routing::Batch::LARGEST }>,
) -> Answer<Done> {
    done(authority.keep_slips(site, batch).await)
}

async fn keep_released(
    State(authority): Shared,
    OfSite(site): OfSite,
    Body(parts): Body<routing::ReleasedParts, { routing::Batch::LARGEST }>,
) -> Answer<Done> {
    done(authority.keep_released(site, parts).await)
}

async fn parcels(
    State(authority): Shared,
    OfSite(site): OfSite,
    Asked(After { after }): Asked<After>,
) -> Answer<routing::Parcels> {
    answer(authority.parcels(site, after).await)
}

async fn slips_batch(State(authority): Shared, _: OfCa) -> Answer<routing::SlipsBatch> {
    answer(authority.slips_batch().await)
}

async fn slips(State(authority): Shared, caller: OfCard, At(digest): At<Digest>) -> Answer<Envelope> {
    caller.may_look().map_err(AuthorityError::into_body)?;
    answer(authority.slips(digest).await)
}

async fn journals(
    State(authority): Shared,
    _: OfAuditor,
    Asked(From { from }): Asked<From>,
) -> Answer<audit::Journals> {
    answer(authority.journals(from).await)
}

async fn journal_alarms(
    State(authority): Shared,
    _: OfAuditor,
    Asked(From { from }): Asked<From>,
) -> Answer<audit::JournalAlarms> {
    answer(authority.journal_alarms(from).await)
}

async fn rows(
    State(authority): Shared,
    _: OfAuditor,
    At((site, journal)): At<(Id, Id)>,
    Asked(From { from }): Asked<From>,
) -> Answer<audit::Rows> {
    answer(authority.rows(site, journal, from).await)
}

async fn openings(State(authority): Shared, _: OfAuditor, At(file): At<Digest>) -> Answer<audit::Openings> {
    answer(authority.openings(file).await)
}

async fn all_receipts(
    State(authority): Shared,
    _: OfAuditor,
    Asked(From { from }): Asked<From>,
) -> Answer<audit::KeptReceipts> {
    answer(authority.all_receipts(from).await)
}

async fn certificate(
    State(authority): Shared,
    At((kind, id)): At<(CertificateKind, Id)>,
) -> Answer<Certificate> {
    authority.state().map_err(AuthorityError::into_body)?;
    answer(authority.certificate(kind, id).await)
}

async fn package(
    State(authority): Shared,
    caller: OfCard,
    At(card): At<Id>,
) -> Answer<warifu_api::wire::authority::Package> {
    caller.may_handle(&card).map_err(AuthorityError::into_body)?;
    answer(authority.package(card).await)
}

async fn imported(State(authority): Shared, caller: OfCard, At((card, grant)): At<(Id, Id)>) -> Answer<Done> {
    caller.may_handle(&card).map_err(AuthorityError::into_body)?;
    done(authority.imported(card, grant).await)
}

async fn keep_puk(
    State(authority): Shared,
    caller: OfCard,
    At(card): At<Id>,
    Body(escrow): Body<PukEscrow>,
) -> Answer<Done> {
    caller.may_handle(&card).map_err(AuthorityError::into_body)?;
    done(authority.keep_puk(card, escrow).await)
}

async fn puk(State(authority): Shared, caller: OfCard, At(card): At<Id>) -> Answer<PukEscrow> {
    caller.is_officer().map_err(AuthorityError::into_body)?;
    answer(authority.puk(card).await)
}

async fn register(State(authority): Shared, caller: OfCard) -> Answer<warifu_api::wire::authority::Records> {
    caller.may_look().map_err(AuthorityError::into_body)?;
    answer(authority.register().await)
}

async fn register_served(
    State(authority): Shared,
    OfSite(site): OfSite,
) -> Answer<warifu_api::wire::authority::Register> {
    answer(authority.register_served(site).await)
}
