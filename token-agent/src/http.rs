//! The agent's HTTP side: who may ask, what they ask, and the only place that knows status codes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use warifu_api::server::Guest;
use warifu_api::wire::Done;
use warifu_api::wire::agent::{
    AgentFault, Cards, ChangePin, FetchRequest, Fetched, Forward, Forwarded, GivePiece, GivenPiece,
    HandleRequest, OpenAnswer, OpenPuk, OpenRequest, OpenedPuk, Others, Personalize, Personalized, Plan,
    PlanRequest, Prepare, Prepared, Progress, Received, RouteAnswer, RouteRequest, SendAnswer, SendRequest,
    SentDeliveries, SignAnswer, SignRequest, Status, Unblock, Unlock,
};
use warifu_api::wire::authority::Directory;
use warifu_ledger::statement::Profile;
use zeroize::Zeroizing;

use crate::agent::Agent;
use crate::{custody, deliveries, forward, opening, others, personalize, prepare, routing};

/// The largest request, in bytes: an order of the largest size in base64, forwarded.
const BODY_LIMIT: usize = 16 << 20;
/// The most requests at once.
const REQUESTS_LIMIT: usize = 64;

/// What is checked of every request.
pub(crate) struct Door {
    token: Zeroizing<String>,
    hosts: [String; 2],
    slots: Semaphore,
}

impl Door {
    pub(crate) fn new(token: Zeroizing<String>, address: SocketAddr) -> Self {
        let hosts = [address.to_string(), format!("localhost:{}", address.port())];
        Self { token, hosts, slots: Semaphore::new(REQUESTS_LIMIT) }
    }

    /// A page in a browser has an `Origin`, and one that was pointed here by a foreign name server a foreign `Host`:
    /// neither comes as far as the token.
    fn admits(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        if headers.contains_key(ORIGIN) {
            return Err((StatusCode::FORBIDDEN, "requests by web pages are not answered"));
        }
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        if hosts.next().is_some() || !host.is_some_and(|host| self.hosts.iter().any(|known| known == host)) {
            return Err((StatusCode::FORBIDDEN, "the Host is not this agent's"));
        }
        let mut tokens = headers.get_all(AUTHORIZATION).iter();
        let token = tokens.next().and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let known = token.is_some_and(|token| bool::from(token.ct_eq(self.token.as_bytes())));
        if known && tokens.next().is_none() {
            Ok(())
        } else {
            Err((StatusCode::UNAUTHORIZED, "the token is not this agent's"))
        }
    }
}

/// Every path of the interface.
pub(crate) fn router(agent: Arc<Agent>, door: Arc<Door>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/profile", get(profile))
        .route("/v1/profile/reload", post(reload))
        .route("/v1/profile/refresh", post(refresh))
        .route("/v1/unlock", post(unlock))
        .route("/v1/lock", post(lock))
        .route("/v1/open", post(open))
        .route("/v1/progress", get(progress))
        .route("/v1/routes/plan", post(plan_routes))
        .route("/v1/routes", post(route))
        .route("/v1/routes/progress", get(routes_progress))
        .route("/v1/deliveries", post(send).get(sent))
        .route("/v1/deliveries/resume", post(resume))
        .route("/v1/deliveries/progress", get(deliveries_progress))
        .route("/v1/inbox", get(inbox))
        .route("/v1/inbox/fetch", post(fetch))
        .route("/v1/inbox/handle", post(handle))
        .route("/v1/directory", get(directory))
        .route("/v1/others", get(others))
        .route("/v1/cards", get(cards))
        .route("/v1/cards/prepare", post(prepare_card))
        .route("/v1/cards/personalize", post(personalize_card))
        .route("/v1/cards/puk", post(open_puk))
        .route("/v1/cards/unblock", post(unblock))
        .route("/v1/pin", post(change_pin))
        .route("/v1/cards/piece", post(give_piece))
        .route("/v1/sign", post(sign))
        .route("/v1/forward", post(pass_on))
        .fallback(|| async { refused(StatusCode::NOT_FOUND, "no such path") })
        .method_not_allowed_fallback(|| async {
            refused(StatusCode::METHOD_NOT_ALLOWED, "no such method here")
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(door, guard))
        .with_state(agent)
}

async fn guard(
    State(door): State<Arc<Door>>,
    Extension(guest): Extension<Guest>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match door.admits(request.headers()) {
        Err((status, why)) => refused(status, why),
        Ok(()) => {
            guest.trust();
            match door.slots.try_acquire() {
                Ok(_slot) => next.run(request).await,
                Err(_) => refused(StatusCode::TOO_MANY_REQUESTS, "too many requests at once"),
            }
        }
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refused(status: StatusCode, why: &str) -> Response {
    (status, Json(AgentFault::Malformed { why: why.to_owned() })).into_response()
}

/// A JSON body, or a fault in JSON.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => {
                // What the parser quotes of a body could be a PIN.
                let why = match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => "the request is too large",
                    StatusCode::UNSUPPORTED_MEDIA_TYPE => "the request is not JSON",
                    _ => "the request is not of this protocol",
                };
                Err(refused(rejection.status(), why))
            }
        }
    }
}

/// An answer in JSON, or a fault.
struct Answer<T>(Result<T, AgentFault>);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match self.0 {
            Ok(answer) => Json(answer).into_response(),
            Err(fault) => {
                let status = match fault {
                    AgentFault::Malformed { .. } => StatusCode::BAD_REQUEST,
                    AgentFault::SiteUnreachable | AgentFault::AuthorityUnreachable => StatusCode::BAD_GATEWAY,
                    _ => StatusCode::CONFLICT,
                };
                (status, Json(fault)).into_response()
            }
        }
    }
}

type Shared = State<Arc<Agent>>;

async fn status(State(agent): Shared) -> Answer<Status> {
    Answer(Ok(agent.status().await))
}

async fn profile(State(agent): Shared) -> Answer<Profile> {
    Answer(agent.profile().map(|profile| (*profile).clone()).ok_or(AgentFault::NoProfile))
}

async fn reload(State(agent): Shared, Body(Done {}): Body<Done>) -> Answer<Status> {
    match agent.reload_profile() {
        Ok(()) => Answer(Ok(agent.status().await)),
        Err(fault) => Answer(Err(fault)),
    }
}

async fn refresh(State(agent): Shared, Body(Done {}): Body<Done>) -> Answer<Status> {
    match agent.refresh_profile().await {
        Ok(()) => Answer(Ok(agent.status().await)),
        Err(fault) => Answer(Err(fault)),
    }
}

async fn unlock(State(agent): Shared, Body(request): Body<Unlock>) -> Answer<Status> {
    detached(async move { agent.unlock(request).await }).await
}

async fn lock(State(agent): Shared, Body(Done {}): Body<Done>) -> Answer<Done> {
    detached(async move {
        agent.lock().await;
        Ok(Done {})
    })
    .await
}

/// Does what changes something on a task of its own: it is finished, or undone, even if the program that asked goes
/// away; and sandboxes are started on a thread that lives as long as the agent.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, AgentFault>> + Send + 'static,
) -> Answer<T> {
    match tokio::spawn(work).await {
        Ok(done) => Answer(done),
        Err(error) => Answer(Err(AgentFault::CardFault { why: error.to_string() })),
    }
}

async fn open(State(agent): Shared, Body(request): Body<OpenRequest>) -> Answer<OpenAnswer> {
    detached(async move { opening::open(&agent, request).await.map(|files| OpenAnswer { files }) }).await
}

async fn progress(State(agent): Shared) -> Answer<Progress> {
    Answer(Ok(agent.meter.read()))
}

async fn plan_routes(State(agent): Shared, Body(request): Body<PlanRequest>) -> Answer<Plan> {
    detached(async move { routing::plan(&agent, request).await }).await
}

async fn route(State(agent): Shared, Body(request): Body<RouteRequest>) -> Answer<RouteAnswer> {
    detached(async move { routing::route(&agent, request).await }).await
}

async fn routes_progress(State(agent): Shared) -> Answer<Progress> {
    Answer(Ok(agent.routing.read()))
}

async fn send(State(agent): Shared, Body(request): Body<SendRequest>) -> Answer<SendAnswer> {
    detached(async move { deliveries::send(&agent, request).await }).await
}

async fn resume(State(agent): Shared, Body(Done {}): Body<Done>) -> Answer<SendAnswer> {
    detached(async move { deliveries::resume(&agent).await }).await
}

async fn sent(State(agent): Shared) -> Answer<SentDeliveries> {
    Answer(deliveries::sent(&agent).await)
}

async fn deliveries_progress(State(agent): Shared) -> Answer<Progress> {
    Answer(Ok(agent.carrying.read()))
}

async fn inbox(State(agent): Shared) -> Answer<Received> {
    Answer(deliveries::inbox(&agent).await)
}

async fn fetch(State(agent): Shared, Body(request): Body<FetchRequest>) -> Answer<Fetched> {
    detached(async move { deliveries::fetch(&agent, request).await }).await
}

async fn handle(State(agent): Shared, Body(request): Body<HandleRequest>) -> Answer<Done> {
    detached(async move { deliveries::handle(&agent, request).await }).await
}

async fn directory(State(agent): Shared) -> Answer<Directory> {
    Answer(forward::directory(&agent).await)
}

async fn others(State(agent): Shared) -> Answer<Others> {
    Answer(others::others(&agent).await)
}

async fn cards(State(agent): Shared) -> Answer<Cards> {
    Answer(Ok(agent.cards().await))
}

async fn prepare_card(State(agent): Shared, Body(request): Body<Prepare>) -> Answer<Prepared> {
    detached(async move { prepare::prepare(&agent, request).await }).await
}

async fn personalize_card(State(agent): Shared, Body(request): Body<Personalize>) -> Answer<Personalized> {
    detached(async move { personalize::personalize(&agent, request).await }).await
}

async fn unblock(State(agent): Shared, Body(request): Body<Unblock>) -> Answer<Done> {
    detached(async move { agent.unblock(request).await.map(|()| Done {}) }).await
}

async fn open_puk(State(agent): Shared, Body(request): Body<OpenPuk>) -> Answer<OpenedPuk> {
    detached(async move { personalize::open_puk(&agent, request).await }).await
}

async fn change_pin(State(agent): Shared, Body(request): Body<ChangePin>) -> Answer<Done> {
    detached(async move { agent.change_pin(request).await.map(|()| Done {}) }).await
}

async fn give_piece(State(agent): Shared, Body(request): Body<GivePiece>) -> Answer<GivenPiece> {
    detached(async move { custody::give_piece(&agent, request).await }).await
}

async fn sign(State(agent): Shared, Body(request): Body<SignRequest>) -> Answer<SignAnswer> {
    detached(async move { personalize::sign(&agent, request).await }).await
}

async fn pass_on(State(agent): Shared, Body(request): Body<Forward>) -> Answer<Forwarded> {
    Answer(forward::forward(&agent, request).await)
}
