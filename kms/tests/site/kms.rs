//! The authority of these tests: it keeps a ledger, gives stamps, and can withhold, rewind and refuse.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, Query, State as Shared};
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use ed25519_dalek::Signer as _;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::watch;
use warifu_api::error::{ErrorBody, ErrorCode};
use warifu_api::server::{Connections, Limits, Peer, serve};
use warifu_api::wire::audit::{JournalRows, JournalTaken, OwnJournal, OwnJournals};
use warifu_api::wire::authority::{
    Appended, Certificate, CertificateKind, OrderRequest, Register, Rewrap, Rewraps, StampRequest, Wrap,
};
use warifu_api::wire::routing::{Batch, Parcel, Parcels, ReleasedParts, SlipsEvent};
use warifu_api::wire::{Done, LeafEvent, Leaves};
use warifu_hardware::hsm::wrap::wrap_share;
use warifu_ledger::checkpoint::Checkpoint;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::{Position, Row, SignedHead};
use warifu_ledger::key::Bytes;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, Fact, FactBody, GrantKey, Millis, Order, PublicHalf, Receipt, Stamp};
use warifu_ledger::{Digest, Id};
use warifu_replica::clock::{Clock as _, ManualClock};
use warifu_split_key::half::{HalfContext, HalfRole};
use warifu_split_key::point::Point;

use crate::people::*;

#[derive(Clone)]
pub(crate) struct Kms(Arc<Inner>);

struct Inner {
    clock: Arc<ManualClock>,
    data: Mutex<Data>,
    changed: watch::Sender<u64>,
    address: Mutex<String>,
}

#[derive(Default)]
pub(crate) struct Data {
    /// All that was ever appended.
    pub(crate) leaves: Vec<Leaf>,
    states: Vec<State>,
    /// How many of them sites are shown; all if none.
    pub(crate) shown: Option<usize>,
    /// Nothing is answered.
    pub(crate) silent: bool,
    /// No stamps are given.
    pub(crate) no_stamps: bool,
    pub(crate) refuse_receipts: bool,
    /// What becomes of orders that sites bring; if none, they are appended.
    pub(crate) refuse_orders: Option<ErrorCode>,
    /// How often sites have brought each order.
    pub(crate) brought: BTreeMap<Digest, usize>,
    pub(crate) grant_keys: BTreeMap<Id, Point>,
    pub(crate) grant_key_posts: usize,
    pub(crate) wraps: BTreeMap<Id, Vec<u8>>,
    /// Wraps that were found to be no share.
    pub(crate) refused_wraps: Vec<Id>,
    /// The keys of other sites that it offers, again and again.
    pub(crate) offered: Vec<Envelope>,
    /// What was wrapped to other sites.
    pub(crate) rewraps: Vec<(Id, Id, Rewrap)>,
    pub(crate) receipts: BTreeMap<Digest, Vec<Receipt>>,
    /// The certificate chain that the ca issued for the site.
    pub(crate) chain: Option<Vec<Vec<u8>>>,
    /// The journals that came, in the order in which they were begun, and the newest head of each.
    pub(crate) journals: Vec<(Id, Vec<Row>)>,
    pub(crate) heads: BTreeMap<Id, SignedHead>,
    /// The slips that sites have brought, and what they have released of them.
    pub(crate) batches: Vec<Batch>,
    pub(crate) released: Vec<ReleasedParts>,
    /// Whoever has released parts waits for the answer.
    pub(crate) released_wait: bool,
    /// After which parcels sites have asked for more.
    pub(crate) asked_after: Vec<u64>,
    /// Slips of sites are not taken.
    pub(crate) refuse_slips: bool,
    /// What it has of slips for sites.
    pub(crate) parcels: Vec<Parcel>,
    /// Rows of journals are found to be broken.
    pub(crate) refuse_rows: bool,
    pub(crate) at: Millis,
    drawn: u32,
}

impl Data {
    fn shown(&self) -> usize {
        self.shown.unwrap_or(self.leaves.len()).min(self.leaves.len())
    }
}

type Answer<T> = Result<Json<T>, ErrorBody>;

impl Kms {
    /// Founds the town and listens.
    pub(crate) async fn founded(clock: Arc<ManualClock>) -> Self {
        let kms = Self(Arc::new(Inner {
            clock,
            // People who bring an order to a site alone want to see what the site does by itself.
            data: Mutex::new(Data { refuse_orders: Some(ErrorCode::Internal), ..Data::default() }),
            changed: watch::Sender::new(0),
            address: Mutex::default(),
        }));
        let officers = ["sakura 9C", "kenji 9C", "midori 9C", "ca signing", "kms signing"];
        let founding = signed(&founding(), officers.map(str::to_owned));
        kms.push(Leaf::new(T0, founding).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *kms.0.address.lock().unwrap() = listener.local_addr().unwrap().to_string();
        let router = kms.router();
        tokio::spawn(async move {
            let identity = identity("kms tls");
            let connections = Connections::default().knowing(|_| true).serving(|_| true);
            serve(listener, &identity, router, Limits::multiplexed(), connections, std::future::pending())
                .await
                .unwrap();
        });
        kms
    }

    pub(crate) fn address(&self) -> String {
        self.0.address.lock().unwrap().clone()
    }

    pub(crate) fn data(&self) -> MutexGuard<'_, Data> {
        self.0.data.lock().unwrap()
    }

    /// Changes how it behaves.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Data)) {
        change(&mut self.data());
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// Waits until something holds here.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Data) -> bool) {
        let mut changed = self.0.changed.subscribe();
        let wait = changed.wait_for(|_| holds(&self.data()));
        tokio::time::timeout(crate::town::PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("waited in vain: {what}"))
            .unwrap();
    }

    /// What time it is here.
    pub(crate) fn now(&self) -> Millis {
        self.0.clock.wall_ms()
    }

    /// Sets its clock, and no other.
    pub(crate) fn set_wall_ms(&self, at: Millis) {
        self.0.clock.set_wall_ms(at);
    }

    pub(crate) fn state(&self) -> State {
        self.data().states.last().unwrap().clone()
    }

    pub(crate) fn size(&self) -> u64 {
        self.data().leaves.len() as u64
    }

    fn push(&self, leaf: Leaf) {
        let mut data = self.data();
        let state = match data.states.last() {
            Some(state) => state.apply(&leaf).unwrap(),
            None => State::found(&leaf).unwrap(),
        };
        data.at = leaf.at();
        data.states.push(state);
        data.leaves.push(leaf);
        drop(data);
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// Appends at the clock's instant, and not before the last leaf.
    pub(crate) fn append(&self, envelope: Envelope) {
        let at = self.0.clock.wall_ms().max(self.data().at);
        self.push(Leaf::new(at, envelope).unwrap());
    }

    /// Puts a leaf at the end that the fold refuses.
    pub(crate) fn append_unchecked(&self, envelope: Envelope) {
        let state = self.state();
        let mut data = self.data();
        let leaf = Leaf::new(data.at, envelope).unwrap();
        data.leaves.push(leaf);
        data.states.push(state);
        drop(data);
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// An order over everything that was appended, signed by these cards.
    pub(crate) fn order(&self, acts: impl IntoIterator<Item = Act>, cards: &[&str]) -> Envelope {
        let state = self.state();
        self.data().drawn += 1;
        let order = Order {
            organization: state.organization(),
            id: id(&format!("order {}", self.data().drawn)),
            expires_at: self.0.clock.wall_ms().max(state.last_at()) + DAY,
            seen: note(&state),
            acts: acts.into_iter().collect(),
        };
        signed(&order, cards.iter().map(|card| format!("{card} 9C")))
    }

    /// Appends such an order; its digest.
    pub(crate) fn done(&self, acts: impl IntoIterator<Item = Act>, cards: &[&str]) -> Digest {
        let order = self.order(acts, cards);
        let digest = order.digest();
        self.append(order);
        digest
    }

    fn fact(&self, fact: FactBody) {
        let fact = Fact { organization: self.state().organization(), fact };
        self.append(signed(&fact, ["ca signing", "kms signing"].map(str::to_owned)));
    }

    pub(crate) fn create(&self, unit: &str) {
        let state = self.state();
        let order = state.unit(&id(unit)).unwrap().order;
        let context = HalfContext {
            organization: state.organization().0,
            unit: id(unit).0,
            order: order.0,
            role: HalfRole::Issuer,
        };
        let (issuer, keeper) = (issuer_half(unit), keeper_half(unit));
        self.fact(FactBody::UnitCreated {
            unit: id(unit),
            order,
            issuer: PublicHalf {
                point: issuer.public().into(),
                proof: warifu_ledger::key::Base64(issuer.prove(&context).0),
            },
            keeper: PublicHalf {
                point: keeper.public().into(),
                proof: warifu_ledger::key::Base64(keeper.prove(&context).0),
            },
        });
    }

    /// Wraps `b` to the key that the site announced for this grant.
    pub(crate) fn wrap(&self, card: &str, unit: &str) -> Vec<u8> {
        let key = self.data().grant_keys[&grant_id(card, unit)];
        let (_, b) = shares(card, unit);
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        wrap_share(&mut rng, &key, &b.to_pkcs8_der()).unwrap().to_bytes()
    }

    /// States that the site's journal has come so far as this head says.
    pub(crate) fn commit(&self, head: SignedHead) {
        self.fact(FactBody::JournalsBatched { heads: vec![head] });
    }

    /// States that the grant is issued to these sites.
    pub(crate) fn issue(&self, card: &str, unit: &str, sites: &[&str]) {
        let (card_point, b) = shares(card, unit);
        let grant = grant_id(card, unit);
        self.fact(FactBody::GrantIssued {
            grant,
            order: self.state().grant(&grant).unwrap().order,
            card_point: card_point.into(),
            site_point: b.public().into(),
            sites: sites.iter().map(|site| id(site)).collect(),
        });
    }

    /// The leaves from `from` on, with the newest checkpoint.
    pub(crate) fn leaves(&self, from: u64) -> Leaves {
        let data = self.data();
        let leaves = data
            .leaves
            .iter()
            .skip(usize::try_from(from).unwrap())
            .map(|leaf| Bytes(leaf.as_bytes().to_vec()));
        Leaves { from, leaves: leaves.collect(), checkpoint: note(data.states.last().unwrap()) }
    }

    /// The receipts for an order.
    pub(crate) fn receipts(&self, order: &Digest) -> Vec<Receipt> {
        self.data().receipts.get(order).cloned().unwrap_or_default()
    }

    /// Waits for the receipt for an order.
    pub(crate) async fn receipt(&self, order: &Digest) -> Receipt {
        self.until("a receipt", |data| data.receipts.contains_key(order)).await;
        self.receipts(order).remove(0)
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/v1/ledger/stream", get(stream_leaves))
            .route("/v1/stamps", post(stamp))
            .route("/v1/grant-keys", post(grant_key))
            .route("/v1/wraps/{grant}", get(wrap).delete(acknowledge))
            .route("/v1/wraps/{grant}/refusal", post(refuse_wrap))
            .route("/v1/wraps/{grant}/{site}", put(rewrapped))
            .route("/v1/rewraps", get(rewraps))
            .route("/v1/receipts", post(receipt))
            .route("/v1/orders", post(order))
            .route("/v1/slips", get(parcels).post(slips))
            .route("/v1/released", post(released))
            .route("/v1/journal", get(own_journals).post(journal_rows))
            .route("/v1/register/served", get(names))
            .route("/v1/certificates/service/{site}", get(certificate))
            .fallback(|| async { ErrorBody::new(ErrorCode::NotFound, "no such path") })
            .with_state(self.clone())
    }

    /// The site that asks, as the newest state knows it.
    fn site(&self, peer: Peer) -> Result<Id, ErrorBody> {
        if self.data().silent {
            return Err(ErrorBody::new(ErrorCode::Internal, "silence"));
        }
        let state = self.state();
        let site = peer.key.and_then(|key| state.site_of_tls_key(&key.0));
        site.map(|(id, _)| id).ok_or(ErrorBody::new(ErrorCode::Forbidden, "not a site"))
    }
}

/// The kms's checkpoint of a state.
pub(crate) fn note(state: &State) -> String {
    let (organization, size) = (state.organization(), state.tree().size());
    let checkpoint = Checkpoint { size, root: state.tree().root(size).unwrap() };
    sign_checkpoint(&organization, &checkpoint)
}

pub(crate) fn sign_checkpoint(organization: &Digest, checkpoint: &Checkpoint) -> String {
    let signature = log_key("kms").sign(&checkpoint.text(organization).unwrap());
    let key = service_keys("kms").log.unwrap();
    checkpoint.note(organization, &key, signature.to_bytes()).unwrap()
}

#[derive(serde::Deserialize)]
struct From {
    from: usize,
}

async fn stream_leaves(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Query(From { from }): Query<From>,
) -> Result<Sse<impl stream::Stream<Item = Result<Event, Infallible>>>, ErrorBody> {
    kms.site(peer)?;
    let changed = kms.0.changed.subscribe();
    let tail = (kms, changed, from, 0, VecDeque::<Event>::new());
    Ok(Sse::new(stream::unfold(tail, |(kms, mut changed, mut next, mut told, mut ready)| async move {
        loop {
            if let Some(event) = ready.pop_front() {
                return Some((Ok(event), (kms, changed, next, told, ready)));
            }
            changed.mark_unchanged();
            {
                let data = kms.data();
                if data.silent {
                    return None;
                }
                let shown = data.shown();
                for leaf in data.leaves.iter().take(shown).skip(next) {
                    let event = LeafEvent { index: next as u64, leaf: Bytes(leaf.as_bytes().to_vec()) };
                    ready.push_back(
                        Event::default().event("leaf").data(serde_json::to_string(&event).unwrap()),
                    );
                    next += 1;
                }
                if data.parcels.len() > told {
                    told = data.parcels.len();
                    let event = SlipsEvent { place: told as u64 };
                    ready.push_back(
                        Event::default().event("slips").data(serde_json::to_string(&event).unwrap()),
                    );
                }
            }
            if ready.is_empty() {
                changed.changed().await.ok()?;
            }
        }
    })))
}

async fn stamp(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<StampRequest>,
) -> Answer<Envelope> {
    let site = kms.site(peer)?;
    let data = kms.data();
    if data.no_stamps {
        return Err(ErrorBody::new(ErrorCode::Internal, "no stamps"));
    }
    let state = &data.states[data.shown() - 1];
    let stamp = Stamp {
        organization: state.organization(),
        site,
        nonce: request.nonce,
        time: kms.0.clock.wall_ms(),
        checkpoint: note(state),
    };
    Ok(Json(signed(&stamp, ["kms signing".to_owned()])))
}

async fn grant_key(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Json(envelope): Json<Envelope>,
) -> Answer<Done> {
    let site = kms.site(peer)?;
    let signer = kms.state().site(&site).unwrap().keys.signing;
    let statement: GrantKey = envelope.verified(&signer).unwrap();
    assert_eq!((statement.site, statement.organization), (site, kms.state().organization()));
    kms.set(|data| {
        data.grant_key_posts += 1;
        data.grant_keys.insert(statement.grant, statement.key.0);
    });
    Ok(Json(Done {}))
}

async fn wrap(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Path(grant): Path<Id>,
) -> Answer<Wrap> {
    kms.site(peer)?;
    let wrapped = kms.data().wraps.get(&grant).cloned();
    let wrapped = wrapped.ok_or(ErrorBody::new(ErrorCode::NotFound, "no such wrap"))?;
    Ok(Json(Wrap { wrapped: Bytes(wrapped) }))
}

async fn acknowledge(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Path(grant): Path<Id>,
) -> Answer<Done> {
    kms.site(peer)?;
    kms.set(|data| drop(data.wraps.remove(&grant)));
    Ok(Json(Done {}))
}

async fn refuse_wrap(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Path(grant): Path<Id>,
) -> Answer<Done> {
    kms.site(peer)?;
    kms.set(|data| data.refused_wraps.push(grant));
    Ok(Json(Done {}))
}

/// Answers as soon as there is something to offer.
async fn rewraps(Shared(kms): Shared<Kms>, Extension(peer): Extension<Peer>) -> Answer<Rewraps> {
    kms.site(peer)?;
    let mut changed = kms.0.changed.subscribe();
    let offered = changed.wait_for(|_| !kms.data().offered.is_empty());
    drop(tokio::time::timeout(crate::town::PATIENCE, offered).await);
    Ok(Json(Rewraps { keys: kms.data().offered.clone(), outstanding: true }))
}

async fn rewrapped(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Path((grant, to)): Path<(Id, Id)>,
    Json(rewrap): Json<Rewrap>,
) -> Answer<Done> {
    kms.site(peer)?;
    kms.set(|data| {
        data.offered.retain(|key| {
            key.statement::<GrantKey>().map_or(true, |key| (key.grant, key.site) != (grant, to))
        });
        data.rewraps.push((grant, to, rewrap));
    });
    Ok(Json(Done {}))
}

async fn receipt(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Json(envelope): Json<Envelope>,
) -> Answer<Done> {
    let site = kms.site(peer)?;
    if kms.data().refuse_receipts {
        return Err(ErrorBody::new(ErrorCode::Internal, "no receipts"));
    }
    let signer = kms.state().site(&site).unwrap().keys.signing;
    let receipt: Receipt = envelope.verified(&signer).unwrap();
    kms.set(|data| data.receipts.entry(receipt.order).or_default().push(receipt));
    Ok(Json(Done {}))
}

async fn order(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<OrderRequest>,
) -> Answer<Appended> {
    kms.site(peer)?;
    assert!(request.records.is_empty(), "a site has no records");
    let digest = request.envelope.digest();
    kms.set(|data| *data.brought.entry(digest).or_default() += 1);
    if let Some(code) = kms.data().refuse_orders {
        return Err(ErrorBody::new(code, "no orders"));
    }
    kms.append(request.envelope);
    let (index, at) = (kms.size() - 1, kms.data().at);
    Ok(Json(Appended { index, digest, at }))
}

async fn slips(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Json(batch): Json<Batch>,
) -> Answer<Done> {
    kms.site(peer)?;
    if kms.data().refuse_slips {
        return Err(ErrorBody::new(ErrorCode::Internal, "no slips"));
    }
    kms.set(|data| data.batches.push(batch));
    Ok(Json(Done {}))
}

async fn released(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Json(parts): Json<ReleasedParts>,
) -> Answer<Done> {
    kms.site(peer)?;
    kms.set(|data| data.released.push(parts));
    kms.until("leave to answer", |data| !data.released_wait).await;
    Ok(Json(Done {}))
}

#[derive(serde::Deserialize)]
struct After {
    after: u64,
}

/// Hands out its parcels in whatever order it has them, and what the site has already as well.
async fn parcels(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Query(After { after }): Query<After>,
) -> Answer<Parcels> {
    kms.site(peer)?;
    let parcels = kms.data().parcels.clone();
    kms.set(|data| data.asked_after.push(after));
    let newest = parcels.iter().map(|parcel| parcel.place).max().unwrap_or_default();
    Ok(Json(Parcels { parcels, more: false, newest }))
}

async fn own_journals(Shared(kms): Shared<Kms>, Extension(peer): Extension<Peer>) -> Answer<OwnJournals> {
    kms.site(peer)?;
    let data = kms.data();
    let journals = data.journals.iter().map(|(journal, _)| {
        let SignedHead { size, head, .. } = data.heads[journal];
        OwnJournal { journal: *journal, size, head }
    });
    Ok(Json(OwnJournals { journals: journals.collect() }))
}

/// Takes rows that follow, signed by the site.
async fn journal_rows(
    Shared(kms): Shared<Kms>,
    Extension(peer): Extension<Peer>,
    Json(JournalRows { rows, head }): Json<JournalRows>,
) -> Answer<JournalTaken> {
    let site = kms.site(peer)?;
    let state = kms.state();
    assert!(head.is_signed(&state.organization(), &state.site(&site).unwrap().keys.signing));
    if kms.data().refuse_rows {
        return Ok(Json(JournalTaken { size: 0, broken_at: Some(rows[0].index) }));
    }
    let known = kms.data().heads.get(&head.journal).map(SignedHead::position);
    let start = known.unwrap_or(Position::start(&state.organization(), &site, &head.journal));
    if rows[0].index == start.size {
        let end = rows.iter().try_fold(start, |position, row| position.after(row)).unwrap();
        assert_eq!(end, head.position());
        kms.set(|data| {
            match data.journals.iter_mut().find(|(journal, _)| *journal == head.journal) {
                Some((_, known)) => known.extend(rows),
                None => data.journals.push((head.journal, rows)),
            }
            data.heads.insert(head.journal, head);
        });
        return Ok(Json(JournalTaken { size: end.size, broken_at: None }));
    }
    Ok(Json(JournalTaken { size: start.size, broken_at: None }))
}

async fn names(Shared(kms): Shared<Kms>, Extension(peer): Extension<Peer>) -> Answer<Register> {
    kms.site(peer)?;
    let records = ["tax", "team", "hanako", "main"].map(record);
    Ok(Json(Register { records: records.into_iter().map(|record| (record.id, record.text)).collect() }))
}

async fn certificate(Shared(kms): Shared<Kms>, Path(id): Path<Id>) -> Answer<Certificate> {
    let chain = kms.data().chain.clone().ok_or(ErrorBody::new(ErrorCode::NotFound, "not issued"))?;
    Ok(Json(Certificate {
        kind: CertificateKind::Service,
        id,
        chain: chain.into_iter().map(Bytes).collect(),
    }))
}
