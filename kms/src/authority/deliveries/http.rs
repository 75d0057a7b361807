//! The box's interface: `warifu_api::wire::deliveries`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Router};
use warifu_api::server::{Peer, Rates, Seat};
use warifu_api::wire::Done;
use warifu_api::wire::deliveries::{
    AtUnit, Completion, Delivered, Inbox, Offer, OutsideOffer, PassOn, Return, StandingRequest, Terms,
};
use warifu_api::{ErrorBody, body};
use warifu_ledger::Id;
use warifu_ledger::delivery::Sender;
use warifu_ledger::dsse::Envelope;

use super::arriving::ComingPart;
use crate::authority::Authority;
use crate::authority::error::AuthorityError;
use crate::authority::http::{After, Answer, Asked, At, Body, Shared, answer, done, parse, seated};
use crate::authority::role::OfCard;

/// How long a part may be on its way: an eighth of a megabit a second is enough.
const PART_TIMEOUT: Duration = Duration::from_secs(600);

/// What anybody may do: bring a delivery, and see what became of it.
pub(crate) fn for_anybody() -> Router<Arc<Authority>> {
    Router::new()
        .route("/v1/box", get(terms))
        .route("/v1/deliveries", post(offer))
        .route("/v1/deliveries/outside", post(offer_from_outside))
        .route("/v1/deliveries/{id}", get(delivered))
        .route("/v1/deliveries/{id}/complete", post(complete))
        .route("/v1/standing", post(standing))
}

/// Bringing a part, for anybody: it may take longer than other requests.
pub(crate) fn parts_for_anybody() -> Router<Arc<Authority>> {
    Router::new().route("/v1/deliveries/{id}/parts/{n}", put(bring_part)).layer(middleware::from_fn(in_time))
}

/// What the cards of this organization may do besides.
pub(crate) fn for_cards() -> Router<Arc<Authority>> {
    Router::new()
        .route("/v1/cards/{card}/sender", get(sender))
        .route("/v1/inbox", get(inbox))
        .route("/v1/deliveries/{id}/parts/{n}", get(take_part))
        .route("/v1/deliveries/{id}/admitted", post(admit))
        .route("/v1/deliveries/{id}/accepted", post(accept))
        .route("/v1/deliveries/{id}/returned", post(give_back))
        .route("/v1/deliveries/{id}/routed", post(pass_on))
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(PART_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => AuthorityError::TimedOut.into_body().into_response(),
    }
}

async fn terms(State(authority): Shared) -> Answer<Terms> {
    answer(authority.terms().await)
}

async fn offer(
    State(authority): Shared,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer<Delivered> {
    let (_seat, request) = seated(&authority, &peer, request).await?;
    let offer: Offer = parse(request, Offer::LARGEST).await?;
    let answered = answer(authority.offer(offer).await);
    authority.figures.offered(&answered);
    answered
}

async fn offer_from_outside(
    State(authority): Shared,
    Extension(peer): Extension<Peer>,
    Body(offer): Body<OutsideOffer, { OutsideOffer::LARGEST }>,
) -> Answer<Delivered> {
    at_its_rate(&authority.deliveries.beginning, &peer)?;
    let answered = answer(authority.offer_from_outside(offer).await);
    authority.figures.offered(&answered);
    answered
}

async fn delivered(State(authority): Shared, At(id): At<Id>) -> Answer<Delivered> {
    answer(authority.delivered(&id).await)
}

async fn complete(
    State(authority): Shared,
    At(id): At<Id>,
    Body(Completion { digest }): Body<Completion>,
) -> Answer<Delivered> {
    answer(authority.complete(id, digest).await)
}

async fn standing(
    State(authority): Shared,
    Extension(peer): Extension<Peer>,
    Body(request): Body<StandingRequest>,
) -> Answer<Envelope> {
    at_its_rate(&authority.deliveries.asking, &peer)?;
    answer(authority.standing_of(request).await)
}

/// Refuses strangers who ask too often, before anything is done for them, on whichever port.
pub(crate) async fn strangers_at_their_rate(
    State(authority): Shared,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match at_its_rate(&authority.deliveries.strangers, &peer) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Refuses strangers who ask too often, on whichever port.
fn at_its_rate(rates: &Rates, peer: &Peer) -> Result<(), ErrorBody> {
    let admitted = peer.known || rates.admit(peer.address.ip(), Instant::now()).is_ok();
    if admitted { Ok(()) } else { Err(AuthorityError::Busy.into_body()) }
}

/// Nobody's bytes are read for nothing: not without a seat, and not for a part that may not come.
async fn bring_part(
    State(authority): Shared,
    Extension(peer): Extension<Peer>,
    At((id, part)): At<(Id, u64)>,
    request: Request,
) -> Answer<Done> {
    let ComingPart { length, signed } = match authority.part_to_come(&id, part).await {
        Ok(coming) => coming,
        Err(error) => return refused(request, error).await,
    };
    let deliveries = &authority.deliveries;
    let seats = if signed { &deliveries.carrying } else { &deliveries.carrying_outside };
    let Some(seat) = seats.take(&peer, request.body()) else {
        return refused(request, AuthorityError::Busy).await;
    };
    let unreadable = |_| AuthorityError::Malformed { why: "the body could not be read".to_owned() };
    let limit = usize::try_from(length).unwrap_or(usize::MAX);
    let bytes = body::read(request.into_body(), limit).await.map_err(unreadable);
    let bytes = bytes.and_then(|bytes| bytes.ok_or(AuthorityError::TooLarge));
    // Sealed as it is, it is no secret.
    let mut bytes = bytes.map_err(AuthorityError::into_body)?;
    done(authority.keep_part(id, part, Bytes::from(std::mem::take(&mut *bytes)), seat).await)
}

async fn refused<T>(request: Request, error: AuthorityError) -> Answer<T> {
    body::pass_over(request.into_body()).await;
    Err(error.into_body())
}

async fn sender(State(authority): Shared, caller: OfCard, At(card): At<Id>) -> Answer<Sender> {
    caller.may_handle(&card).map_err(AuthorityError::into_body)?;
    answer(authority.sender(card).await)
}

async fn inbox(
    State(authority): Shared,
    caller: OfCard,
    Asked(After { after }): Asked<After>,
) -> Answer<Inbox> {
    answer(authority.inbox(caller.card(), after).await)
}

/// A part in memory, for as long as it is on its way.
struct Leaving {
    bytes: Bytes,
    _seat: Seat,
}

impl AsRef<[u8]> for Leaving {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

async fn take_part(
    State(authority): Shared,
    caller: OfCard,
    Extension(peer): Extension<Peer>,
    At((id, part)): At<(Id, u64)>,
) -> Result<impl IntoResponse, ErrorBody> {
    let seat = authority.deliveries.taking.take_for(&peer).ok_or_else(|| AuthorityError::Busy.into_body())?;
    let bytes = authority.part(caller.card(), id, part).await.map_err(AuthorityError::into_body)?;
    let bytes = Bytes::from_owner(Leaving { bytes, _seat: seat });
    Ok(([(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, "no-store")], bytes))
}

async fn admit(
    State(authority): Shared,
    caller: OfCard,
    At(id): At<Id>,
    Body(AtUnit { unit }): Body<AtUnit>,
) -> Answer<Done> {
    done(authority.admit(caller.card(), id, unit).await)
}

async fn accept(
    State(authority): Shared,
    caller: OfCard,
    At(id): At<Id>,
    Body(AtUnit { unit }): Body<AtUnit>,
) -> Answer<Done> {
    done(authority.accept(caller.card(), id, unit).await)
}

async fn give_back(
    State(authority): Shared,
    caller: OfCard,
    At(id): At<Id>,
    Body(request): Body<Return>,
) -> Answer<Done> {
    done(authority.give_back(caller.card(), id, request).await)
}

async fn pass_on(
    State(authority): Shared,
    caller: OfCard,
    At(id): At<Id>,
    Body(request): Body<PassOn>,
) -> Answer<Done> {
    done(authority.pass_on(caller.card(), id, request).await)
}
