//! A kms in software, which does what the test tells it to.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, Query, State as Shared};
use axum::response::IntoResponse as _;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use warifu_api::error::{ErrorBody, ErrorCode};
use warifu_api::server::{Connections, Limits, serve};
use warifu_api::wire::audit::JournalBatch;
use warifu_api::wire::authority::{
    Appended, Certificate, CertificateKind, CheckpointAnswer, Cosignature, Crl, CrlIssuer, HalfRequest,
    Readiness, ShareRequest, StampRequest,
};
use warifu_api::wire::{Done, LeafEvent};
use warifu_ca::keys::Keys;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, Bytes, PublicKey};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, Fact, FactBody, Founding, Millis, Order, PublicHalf, Stamp};
use warifu_ledger::{Digest, Id};
use warifu_split_key::half::{HalfContext, HalfRole};
use warifu_split_key::issuer::{Delta, IssuerHalf};
use warifu_split_key::keeper::KeeperHalf;
use warifu_split_key::point::Point;

use crate::fixture::{
    DAY, T0, TWO, add_signature, envelope_by_cards, envelope_by_services, founding, id, key, note,
};
use crate::stage::soft_identity;

/// How a kms betrays the ca.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Not at all.
    None,
    /// A unit with an issuer half of the kms's own, properly proved.
    OtherIssuerHalf,
    /// A keeper half that is not proved.
    UnprovedKeeperHalf,
    /// A keeper half that cancels the issuer's.
    CancellingHalf,
    /// A fact that answers an order which nobody gave.
    OtherOrder,
    /// A fact for another organization.
    OtherOrganization,
    /// A fact that the kms did not sign.
    Unsigned,
    /// A fact about another unit or grant.
    OtherSubject,
    /// A grant whose `A` is not the ca's; the sum is right.
    OtherCardPoint,
    /// A grant whose `B` is another one; the sum is wrong.
    OtherSitePoint,
    /// A grant whose `B` is `P`.
    SitePointIsUnitKey,
    /// A grant whose `B` is `-P`.
    SitePointIsMinusUnitKey,
    /// A grant at a site that does not serve the unit.
    OtherSite,
    /// It appends no fact.
    RefuseFacts,
}

pub(crate) struct Town {
    pub(crate) state: State,
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) at: Millis,
    drawn: u32,
}

impl Town {
    fn founded(keys: &Keys) -> Self {
        let envelope = founding_by(keys, &["sakura", "kenji", "midori"]);
        let leaf = Leaf::new(T0, envelope).unwrap();
        Self { state: State::found(&leaf).unwrap(), leaves: vec![leaf], at: T0, drawn: 0 }
    }

    pub(crate) fn order(&mut self, acts: impl IntoIterator<Item = Act>, cards: &[&str]) -> Envelope {
        self.drawn += 1;
        let order = Order {
            organization: self.state.organization(),
            id: id(&format!("order {}", self.drawn)),
            expires_at: self.at + DAY,
            seen: note_of(&self.state),
            acts: acts.into_iter().collect(),
        };
        envelope_by_cards(&order, cards)
    }

    pub(crate) fn append(&mut self, envelope: Envelope) -> Result<u64, warifu_ledger::state::Rejected> {
        let leaf = Leaf::new(self.at + 1000, envelope).unwrap();
        self.state = self.state.apply(&leaf)?;
        self.at = leaf.at();
        self.leaves.push(leaf);
        Ok(self.leaves.len() as u64 - 1)
    }
}

/// The founding with this ca's keys, signed by these officers, the ca and the kms.
pub(crate) fn founding_by(keys: &Keys, officers: &[&str]) -> Envelope {
    let founding = Founding { ca: keys.service_keys(), ..founding() };
    let mut envelope = envelope_by_cards(&founding, officers);
    let own = keys.own.signing.sign_digest(envelope.digest().0).unwrap();
    envelope.add_signature(&PublicKey(keys.own.signing.public_key()), own);
    add_signature(&mut envelope, &key("kms signing"));
    envelope
}

pub(crate) fn note_of(state: &State) -> String {
    let size = state.tree().size();
    let head = Checkpoint { size, root: state.tree().root(size).unwrap() };
    note(&state.organization(), &head, Signer::Kms)
}

struct Inner {
    town: Town,
    lie: Lie,
    not_ready: BTreeSet<Id>,
    /// Over which state it shows a checkpoint, if not over its own.
    other: Option<State>,
    /// Every request but for the stream and stamps.
    asked: Vec<String>,
    shares: Vec<(Id, PublicKey, Bytes)>,
    halves: Vec<(Id, PublicKey)>,
    facts: Vec<Envelope>,
    certificates: BTreeMap<(CertificateKind, Id), Certificate>,
    cosignatures: Vec<String>,
    /// Every CRL that was posted, in that order.
    crls: Vec<Crl>,
    /// What it wants to commit of audit journals.
    batch: Option<Envelope>,
}

#[derive(Clone)]
pub(crate) struct Kms {
    inner: Arc<Mutex<Inner>>,
    shown: watch::Sender<Vec<Vec<u8>>>,
    /// Changes with every request.
    pub(crate) moved: watch::Sender<u64>,
    address: String,
}

impl Kms {
    /// The kms of a founded town, listening.
    pub(crate) async fn founded(keys: &Keys) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner = Inner {
            town: Town::founded(keys),
            lie: Lie::None,
            not_ready: BTreeSet::new(),
            other: None,
            asked: Vec::new(),
            shares: Vec::new(),
            halves: Vec::new(),
            facts: Vec::new(),
            certificates: BTreeMap::new(),
            cosignatures: Vec::new(),
            crls: Vec::new(),
            batch: None,
        };
        let kms = Self {
            inner: Arc::new(Mutex::new(inner)),
            shown: watch::Sender::default(),
            moved: watch::Sender::default(),
            address: listener.local_addr().unwrap().to_string(),
        };
        kms.show();
        let router = Router::new()
            .route("/v1/ledger/stream", get(stream))
            .route("/v1/stamps", post(stamps))
            .route("/v1/checkpoint", get(checkpoint))
            .route("/v1/cosignatures", post(cosignatures))
            .route("/v1/units/{unit}/half", post(half))
            .route("/v1/grants/{grant}/readiness", get(readiness))
            .route("/v1/grants/{grant}/share", post(share))
            .route("/v1/journals/batch", get(journal_batch))
            .route("/v1/slips/batch", get(journal_batch))
            .route("/v1/facts", post(facts))
            .route("/v1/certificates", put(certificates))
            .route("/v1/crls", put(crls))
            .with_state(kms.clone());
        let identity = soft_identity("kms tls");
        tokio::spawn(async move {
            let connections = Connections::default().knowing(|_| true).serving(|_| true);
            serve(listener, &identity, router, Limits::multiplexed(), connections, std::future::pending())
                .await
                .unwrap();
        });
        kms
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    pub(crate) fn organization(&self) -> Digest {
        self.inner().town.state.organization()
    }

    pub(crate) fn state(&self) -> State {
        self.inner().town.state.clone()
    }

    pub(crate) fn at(&self) -> Millis {
        self.inner().town.at
    }

    pub(crate) fn lies(&self, lie: Lie) {
        self.inner().lie = lie;
    }

    pub(crate) fn shows_checkpoint_of(&self, other: State) {
        self.inner().other = Some(other);
    }

    pub(crate) fn keeps_waiting(&self, grant: Id, waiting: bool) {
        let mut inner = self.inner();
        if waiting {
            inner.not_ready.insert(grant)
        } else {
            inner.not_ready.remove(&grant)
        };
    }

    /// Two officers order, and the kms appends and shows it.
    pub(crate) fn ordered(&self, acts: impl IntoIterator<Item = Act>) {
        let mut inner = self.inner();
        let envelope = inner.town.order(acts, TWO);
        inner.town.append(envelope).unwrap();
        drop(inner);
        self.show();
    }

    /// Work on the town that is not shown.
    pub(crate) fn in_secret<T>(&self, work: impl FnOnce(&mut Town) -> T) -> T {
        work(&mut self.inner().town)
    }

    /// Shows all leaves.
    pub(crate) fn show(&self) {
        let leaves = self.inner().town.leaves.iter().map(|leaf| leaf.as_bytes().to_vec()).collect();
        self.shown.send_replace(leaves);
        self.moved.send_modify(|count| *count += 1);
    }

    /// Shows these leaves instead of its own.
    pub(crate) fn shows(&self, leaves: &[Leaf]) {
        self.shown.send_replace(leaves.iter().map(|leaf| leaf.as_bytes().to_vec()).collect());
    }

    /// Wants to commit this, from now on.
    pub(crate) fn batches(&self, fact: Envelope) {
        self.inner().batch = Some(fact);
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.inner().asked.clone()
    }

    pub(crate) fn facts(&self) -> Vec<Envelope> {
        self.inner().facts.clone()
    }

    pub(crate) fn halves(&self) -> Vec<(Id, PublicKey)> {
        self.inner().halves.clone()
    }

    /// `A` and the sealed `a` of every grant that the ca sent.
    pub(crate) fn shares(&self) -> Vec<(Id, PublicKey, Bytes)> {
        self.inner().shares.clone()
    }

    pub(crate) fn certificate(&self, kind: CertificateKind, id: Id) -> Option<Certificate> {
        self.inner().certificates.get(&(kind, id)).cloned()
    }

    pub(crate) fn cosignatures(&self) -> Vec<String> {
        self.inner().cosignatures.clone()
    }

    /// Every CRL of this issuer that was posted, each once.
    pub(crate) fn crls(&self, issuer: CrlIssuer) -> Vec<Bytes> {
        let inner = self.inner();
        let mut all: Vec<_> =
            inner.crls.iter().filter(|crl| crl.issuer == issuer).map(|crl| crl.der.clone()).collect();
        all.dedup();
        all
    }

    /// Time passes, and nothing happens.
    pub(crate) fn waits(&self, ms: Millis) {
        self.inner().town.at += ms;
    }

    /// Waits until the town is as it should be.
    pub(crate) async fn until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut moved = self.moved.subscribe();
        while !condition(self) {
            moved.changed().await.unwrap();
        }
    }

    fn note(&self, what: String) {
        self.inner().asked.push(what);
    }

    fn moved(&self) {
        self.moved.send_modify(|count| *count += 1);
    }
}

fn refused(code: ErrorCode, why: impl ToString) -> ErrorBody {
    ErrorBody::new(code, why.to_string())
}

#[derive(Deserialize)]
struct From {
    from: u64,
}

async fn stream(Shared(kms): Shared<Kms>, Query(From { from }): Query<From>) -> axum::response::Response {
    let shown =
        futures_util::stream::unfold((kms.shown.subscribe(), from), |(mut leaves, index)| async move {
            let place = usize::try_from(index).unwrap();
            let leaf = leaves.wait_for(|leaves| leaves.len() > place).await.ok()?[place].clone();
            let event = serde_json::to_string(&LeafEvent { index, leaf: Bytes(leaf) }).unwrap();
            Some((Ok::<_, Infallible>(Event::default().event("leaf").data(event)), (leaves, index + 1)))
        });
    Sse::new(shown.boxed()).into_response()
}

async fn stamps(Shared(kms): Shared<Kms>, Json(request): Json<StampRequest>) -> Json<Envelope> {
    let inner = kms.inner();
    let state = &inner.town.state;
    let stamp = Stamp {
        organization: state.organization(),
        site: Id([0; 16]),
        nonce: request.nonce,
        time: inner.town.at,
        checkpoint: note_of(state),
    };
    Json(envelope_by_services(&stamp, &["kms"]))
}

async fn checkpoint(Shared(kms): Shared<Kms>) -> Json<CheckpointAnswer> {
    let inner = kms.inner();
    let state = inner.other.as_ref().unwrap_or(&inner.town.state);
    Json(CheckpointAnswer { note: note_of(state), cosigned_size: 0 })
}

async fn journal_batch(Shared(kms): Shared<Kms>) -> Json<JournalBatch> {
    Json(JournalBatch { fact: kms.inner().batch.clone() })
}

async fn cosignatures(Shared(kms): Shared<Kms>, Json(request): Json<Cosignature>) -> Json<Done> {
    kms.inner().cosignatures.push(request.note);
    kms.moved();
    Json(Done {})
}

fn signed_fact(inner: &Inner, fact: FactBody) -> Envelope {
    let organization = match inner.lie {
        Lie::OtherOrganization => Digest::of(b"another town"),
        _ => inner.town.state.organization(),
    };
    let signer = if inner.lie == Lie::Unsigned { "main" } else { "kms" };
    envelope_by_services(&Fact { organization, fact }, &[signer])
}

fn keeper_half(unit: Id) -> KeeperHalf {
    KeeperHalf::from_bytes(Digest::of(&[&unit.0[..], b"s2"].concat()).as_bytes()).unwrap()
}

async fn half(
    Shared(kms): Shared<Kms>,
    Path(unit): Path<Id>,
    Json(request): Json<HalfRequest>,
) -> Result<Json<Envelope>, ErrorBody> {
    kms.note(format!("half {unit}"));
    let mut inner = kms.inner();
    let state = inner.town.state.clone();
    let found = state.unit(&unit).ok_or_else(|| refused(ErrorCode::NotFound, "no such unit"))?;
    inner.halves.push((unit, request.issuer.point));
    let order = if inner.lie == Lie::OtherOrder { Digest::of(b"nobody's order") } else { found.order };
    let context =
        |role| HalfContext { organization: state.organization().0, unit: unit.0, order: order.0, role };
    let mut issuer = request.issuer;
    if inner.lie == Lie::OtherIssuerHalf {
        let own = IssuerHalf::from_bytes(&[7; 32]).unwrap();
        issuer =
            PublicHalf { point: own.public().into(), proof: Base64(own.prove(&context(HalfRole::Issuer)).0) };
    }
    let own = keeper_half(unit);
    let mut keeper =
        PublicHalf { point: own.public().into(), proof: Base64(own.prove(&context(HalfRole::Keeper)).0) };
    match inner.lie {
        Lie::UnprovedKeeperHalf => keeper.point = keeper_half(Id([0; 16])).public().into(),
        Lie::CancellingHalf => keeper.point = minus(&issuer.point.0).into(),
        _ => {}
    }
    let unit = if inner.lie == Lie::OtherSubject { Id([9; 16]) } else { unit };
    Ok(Json(signed_fact(&inner, FactBody::UnitCreated { unit, order, issuer, keeper })))
}

fn minus(point: &Point) -> Point {
    let mut compressed = point.to_compressed();
    compressed[0] ^= 1;
    Point::from_sec1(&compressed).unwrap()
}

async fn readiness(Shared(kms): Shared<Kms>, Path(grant): Path<Id>) -> Json<Readiness> {
    kms.note(format!("readiness {grant}"));
    let waiting_for = if kms.inner().not_ready.contains(&grant) { vec![id("branch")] } else { vec![] };
    Json(Readiness { waiting_for })
}

async fn share(
    Shared(kms): Shared<Kms>,
    Path(grant): Path<Id>,
    Json(request): Json<ShareRequest>,
) -> Result<Json<Envelope>, ErrorBody> {
    kms.note(format!("share {grant}"));
    let mut inner = kms.inner();
    let state = inner.town.state.clone();
    let found = state.grant(&grant).ok_or_else(|| refused(ErrorCode::NotFound, "no such grant"))?;
    let unit = state.unit(&found.unit).unwrap();
    let (unit_key, _) = unit.key.unwrap();
    let delta = Delta::from_bytes(&request.delta.0).unwrap();
    let site_share = keeper_half(found.unit).site_share(delta).unwrap();
    let expected = Point::checked_sub(&unit_key, &request.card_point.0).unwrap();
    assert_eq!(site_share.public(), expected, "bG is not P - A");
    inner.shares.push((grant, request.card_point, request.sealed));
    let (mut card_point, mut site_point, mut sites) = (request.card_point, expected, unit.sites.clone());
    let other = IssuerHalf::from_bytes(&[5; 32]).unwrap().public();
    match inner.lie {
        Lie::OtherCardPoint => {
            card_point = other.into();
            site_point = Point::checked_sub(&unit_key, &other).unwrap();
        }
        Lie::OtherSitePoint => site_point = other,
        Lie::SitePointIsUnitKey => site_point = unit_key,
        Lie::SitePointIsMinusUnitKey => site_point = minus(&unit_key),
        Lie::OtherSite => sites = BTreeSet::from([id("annex")]),
        _ => {}
    }
    let order = if inner.lie == Lie::OtherOrder { Digest::of(b"nobody's order") } else { found.order };
    let grant = if inner.lie == Lie::OtherSubject { Id([9; 16]) } else { grant };
    let fact = FactBody::GrantIssued { grant, order, card_point, site_point: site_point.into(), sites };
    Ok(Json(signed_fact(&inner, fact)))
}

async fn facts(
    Shared(kms): Shared<Kms>,
    Json(envelope): Json<Envelope>,
) -> Result<Json<Appended>, ErrorBody> {
    kms.note("fact".to_owned());
    let mut inner = kms.inner();
    inner.facts.push(envelope.clone());
    let digest = envelope.digest();
    let appended = if inner.lie == Lie::RefuseFacts {
        Err(refused(ErrorCode::StorageUnavailable, "not now"))
    } else {
        inner.town.append(envelope).map_err(|why| refused(ErrorCode::Rejected, why))
    };
    let at = inner.town.at;
    drop(inner);
    kms.show();
    Ok(Json(Appended { index: appended?, digest, at }))
}

async fn crls(Shared(kms): Shared<Kms>, Json(crl): Json<Crl>) -> Result<Json<Done>, ErrorBody> {
    let authority = kms.certificate(CertificateKind::Authority, Id([0; 16]));
    let authority = authority.ok_or_else(|| refused(ErrorCode::NotReady, "whose is it?"))?;
    let issuer = match crl.issuer {
        CrlIssuer::Issuing => &authority.chain[0],
        CrlIssuer::Root => &authority.chain[1],
    };
    let said =
        warifu_api::crl::verified(&crl.der.0, &issuer.0).map_err(|why| refused(ErrorCode::Rejected, why))?;
    for before in kms.crls(crl.issuer) {
        let before_said = warifu_api::crl::verified(&before.0, &issuer.0).unwrap();
        assert!(before_said.number < said.number || before == crl.der, "a number came twice, or went back");
    }
    kms.inner().crls.push(crl);
    kms.moved();
    Ok(Json(Done {}))
}

async fn certificates(Shared(kms): Shared<Kms>, Json(certificate): Json<Certificate>) -> Json<Done> {
    kms.inner().certificates.insert((certificate.kind, certificate.id), certificate);
    kms.moved();
    Json(Done {})
}
