//! Sites and a kms: real TLS servers of the real interface, with software in place of HSMs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use futures_util::{Stream, StreamExt as _};
use p256::ecdh::diffie_hellman;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use warifu_api::server::{Connections, Limits, Peer, serve};
use warifu_api::tls::{Identity, PeerKey};
use warifu_api::wire::authority::{Directory, Package, PukEscrow};
use warifu_api::wire::site::{Me, MyGrant, PartialOutcome, PartialsAnswer, PartialsRequest, Status};
use warifu_api::wire::{Done, SecretBytes};
use warifu_api::{ErrorBody, ErrorCode};
use warifu_ledger::statement::ProfileSite;
use warifu_ledger::{Digest, Id};
use warifu_split_key::keeper::SiteShare;
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use crate::organization::Service;
use crate::slips::{Slips, release, routes};

pub(crate) const LEASE_MS: u64 = 600_000;

/// What a site knows, and how it misbehaves.
#[derive(Default)]
pub(crate) struct SiteState {
    pub(crate) members: HashMap<PeerKey, Member>,
    /// Every card is answered with this.
    pub(crate) refuse: Option<ErrorCode>,
    /// Every item is answered with this.
    pub(crate) refuse_items: Option<ErrorCode>,
    /// How many batches have come.
    pub(crate) batches: usize,
    /// It has had no news for too long.
    pub(crate) without_lease: bool,
    /// How far its time is from this PC's clock, in milliseconds.
    pub(crate) ahead_ms: i64,
    /// What it tells cards of the time.
    pub(crate) time: u64,
    pub(crate) slips: Slips,
    /// What it has answered to whom, but for streams.
    pub(crate) told: Vec<(PeerKey, String)>,
}

#[derive(Default)]
pub(crate) struct Member {
    pub(crate) card: Option<Id>,
    pub(crate) grants: Vec<(MyGrant, SiteShare)>,
    /// The card's 9C key.
    pub(crate) signature: Option<Point>,
    pub(crate) contract_ends_at: Option<u64>,
    pub(crate) ends_at: Option<u64>,
}

pub(crate) struct Site {
    pub(crate) id: Id,
    organization: Digest,
    state: Mutex<SiteState>,
    /// The name of the last event.
    events: watch::Sender<Option<&'static str>>,
}

impl Site {
    pub(crate) fn state(&self) -> MutexGuard<'_, SiteState> {
        self.state.lock().unwrap()
    }

    pub(crate) fn send(&self, event: &'static str) {
        self.events.send_replace(Some(event));
    }

    /// Whether an agent follows the events.
    pub(crate) fn has_listeners(&self) -> bool {
        self.events.receiver_count() > 0
    }

    /// Starts a site; what the profile says of it.
    pub(crate) fn start(runtime: &Runtime, organization: Digest, name: &str) -> (Arc<Self>, ProfileSite) {
        let service = Service::draw();
        let id = Id::draw(&mut crate::organization::rng());
        let site =
            Arc::new(Self { id, organization, state: Mutex::default(), events: watch::Sender::new(None) });
        let router = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/me", get(me))
            .route("/v1/partials", post(partials))
            .route("/v1/routes", post(routes))
            .route("/v1/events", get(events))
            .with_state(site.clone());
        let address = listen(runtime, &service, router);
        let keys = service.keys();
        (site, ProfileSite { site: id, name: name.to_owned(), address: address.to_string(), keys })
    }
}

pub(crate) fn listen(runtime: &Runtime, service: &Service, router: Router) -> SocketAddr {
    let identity = Identity::self_signed(service.tls.clone(), "service").unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        serve(listener, &identity, router, Limits::default(), Connections::default(), std::future::pending())
            .await
    });
    address
}

type Shared = State<Arc<Site>>;

async fn status(State(site): Shared) -> Json<Status> {
    let state = site.state();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    Json(Status {
        site: site.id,
        organization: site.organization,
        folded: 1,
        time: Some((now + state.ahead_ms).try_into().unwrap()),
        lease_left_ms: if state.without_lease { 0 } else { LEASE_MS },
    })
}

pub(crate) fn refusal(code: ErrorCode) -> ErrorBody {
    ErrorBody::new(code, "as the test wants it")
}

async fn me(State(site): Shared, Extension(peer): Extension<Peer>) -> Result<Json<Me>, ErrorBody> {
    let mut state = site.state();
    if let Some(code) = state.refuse {
        return Err(refusal(code));
    }
    let key = peer.key.ok_or_else(|| refusal(ErrorCode::CardNotLive))?;
    let member = state.members.get(&key).ok_or_else(|| refusal(ErrorCode::CardNotLive))?;
    let me = Me {
        site: site.id,
        card: member.card.unwrap(),
        member: Id([7; 16]),
        member_name: Some("信濃 花子".to_owned()),
        grants: member.grants.iter().map(|(grant, _)| grant.clone()).collect(),
        contract_ends_at: member.contract_ends_at,
        member_ends_at: member.ends_at,
        time: state.time,
        lease_left_ms: LEASE_MS,
    };
    state.told.push((key, serde_json::to_string(&me).unwrap()));
    Ok(Json(me))
}

async fn partials(
    State(site): Shared,
    Extension(peer): Extension<Peer>,
    Json(request): Json<PartialsRequest>,
) -> Result<Json<PartialsAnswer>, ErrorBody> {
    let key = peer.key.ok_or_else(|| refusal(ErrorCode::CardNotLive))?;
    let hold = {
        let mut state = site.state();
        state.batches += 1;
        if !request.routed.is_empty() {
            state.slips.asked.push(request.routed.len());
        }
        state.slips.hold.clone()
    };
    if let Some(hold) = hold {
        hold.notified().await;
    }
    let mut state = site.state();
    if let Some(code) = state.refuse {
        return Err(refusal(code));
    }
    let member = state.members.get(&key).ok_or_else(|| refusal(ErrorCode::CardNotLive))?;
    let answer = |item: &warifu_api::wire::site::PartialItem| match state.refuse_items {
        Some(code) => PartialOutcome::Refused { code },
        None => match member.grants.iter().find(|(grant, _)| grant.grant == item.grant) {
            Some((_, share)) => PartialOutcome::Partial { x: x_of(share, &item.encapsulated.0) },
            None => PartialOutcome::Refused { code: ErrorCode::GrantNotLive },
        },
    };
    let answer = PartialsAnswer {
        items: request.items.iter().map(answer).collect(),
        routed: request.routed.iter().map(|item| release(&state.slips, member, item)).collect(),
    };
    state.told.push((key, serde_json::to_string(&answer).unwrap()));
    Ok(Json(answer))
}

pub(crate) fn x_of(share: &SiteShare, point: &[u8]) -> SecretBytes {
    let secret = p256::SecretKey::from_slice(share.expose_bytes().as_slice()).unwrap();
    let point = p256::PublicKey::from_sec1_bytes(point).unwrap();
    let x = diffie_hellman(&secret.to_nonzero_scalar(), point.as_affine());
    SecretBytes(Zeroizing::new((*x.raw_secret_bytes()).into()))
}

async fn events(State(site): Shared) -> Sse<impl Stream<Item = Result<Event, std::convert::Infallible>>> {
    let mut receiver = site.events.subscribe();
    receiver.mark_unchanged();
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.changed().await.ok()?;
        let name = (*receiver.borrow()).unwrap();
        Some((Ok(Event::default().event(name).data("{}")), receiver))
    });
    Sse::new(stream.boxed()).keep_alive(KeepAlive::default())
}

/// What the kms has for cards and people.
#[derive(Default)]
pub(crate) struct KmsState {
    pub(crate) package: Option<Package>,
    pub(crate) directory: Option<Directory>,
    /// Who has asked for the package.
    pub(crate) askers: Vec<Option<PeerKey>>,
    /// The PUK that it was given last.
    pub(crate) puk: Option<PukEscrow>,
}

#[derive(Default)]
pub(crate) struct Kms(Mutex<KmsState>);

impl Kms {
    pub(crate) fn state(&self) -> MutexGuard<'_, KmsState> {
        self.0.lock().unwrap()
    }

    pub(crate) fn start(runtime: &Runtime, service: &Service) -> (Arc<Self>, SocketAddr) {
        let kms = Arc::new(Self::default());
        let router = Router::new()
            .route("/v1/status", get(kms_status))
            .route("/v1/directory", get(directory))
            .route("/v1/cards/{card}/package", get(package))
            .route("/v1/cards/{card}/package/{grant}", delete(confirm))
            .route("/v1/cards/{card}/puk", post(keep_puk))
            .with_state(kms.clone());
        let address = listen(runtime, service, router);
        (kms, address)
    }
}

async fn kms_status() -> Json<warifu_api::wire::authority::Status> {
    let time = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap();
    Json(warifu_api::wire::authority::Status { organization: None, size: 1, time })
}

async fn directory(State(kms): State<Arc<Kms>>) -> Result<Json<Directory>, ErrorBody> {
    kms.state().directory.clone().map(Json).ok_or_else(|| refusal(ErrorCode::NotFounded))
}

async fn package(
    State(kms): State<Arc<Kms>>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<Package>, ErrorBody> {
    let mut state = kms.state();
    state.askers.push(peer.key);
    state.package.clone().map(Json).ok_or_else(|| refusal(ErrorCode::NotFound))
}

async fn keep_puk(State(kms): State<Arc<Kms>>, Json(escrow): Json<PukEscrow>) -> Json<Done> {
    kms.state().puk = Some(escrow);
    Json(Done {})
}

async fn confirm(State(kms): State<Arc<Kms>>, Path((_, grant)): Path<(String, String)>) -> impl IntoResponse {
    let grant: Id = grant.parse().unwrap();
    if let Some(package) = &mut kms.state().package {
        package.shares.retain(|share| share.grant != grant);
    }
    Json(Done {})
}

/// A grant as a site tells of it.
pub(crate) fn my_grant(grant: Id, unit: &crate::organization::Unit, card_point: Point) -> MyGrant {
    MyGrant {
        grant,
        unit: unit.id,
        unit_name: unit.name.clone(),
        right: warifu_ledger::statement::Right::Open,
        unit_key: unit.key.into(),
        card_point: card_point.into(),
        starts_at: None,
        routes_to: [].into(),
    }
}
