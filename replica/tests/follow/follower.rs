//! A follower against a kms that is honest, dead, forked, or a liar.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Query, State as Shared};
use axum::response::IntoResponse as _;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use warifu_api::server::{Connections, Limits, serve};
use warifu_api::tls::{PeerKey, Pin};
use warifu_api::wire::LeafEvent;
use warifu_api::wire::authority::StampRequest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Bytes;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::{Rejected, State};
use warifu_ledger::statement::ServiceId;
use warifu_replica::clock::ManualClock;
use warifu_replica::follow::{FollowError, FollowStatus, Follower, Following, Halt};
use warifu_replica::{Appended, Replica};

use crate::fixture::{ONE, TWO, Town, enrol, id, public_of, rotated, site};
use crate::stage::{database, identity, stamp};

/// What the kms of a test says.
struct Kms {
    /// Leaves that the stream shows, in exact bytes.
    leaves: watch::Sender<Vec<Vec<u8>>>,
    /// Over which state it stamps, if it does.
    stamps: Mutex<Option<(State, u64)>>,
    stamped: watch::Sender<u64>,
}

impl Kms {
    fn of(town: &Town) -> Arc<Self> {
        let kms = Self {
            leaves: watch::Sender::default(),
            stamps: Mutex::default(),
            stamped: watch::Sender::default(),
        };
        kms.says(town);
        Arc::new(kms)
    }

    fn says(&self, town: &Town) {
        self.shows(&town.leaves);
        *self.stamps.lock().unwrap() = Some((town.state.clone(), town.at));
    }

    fn shows(&self, leaves: &[Leaf]) {
        self.leaves.send_replace(leaves.iter().map(|leaf| leaf.as_bytes().to_vec()).collect());
    }
}

#[derive(Deserialize)]
struct From {
    from: u64,
}

async fn stream(
    Shared(kms): Shared<Arc<Kms>>,
    Query(From { from }): Query<From>,
) -> axum::response::Response {
    let shown =
        futures_util::stream::unfold((kms.leaves.subscribe(), from), |(mut leaves, index)| async move {
            let place = usize::try_from(index).unwrap();
            let leaf = leaves.wait_for(|leaves| leaves.len() > place).await.ok()?[place].clone();
            let event = serde_json::to_string(&LeafEvent { index, leaf: Bytes(leaf) }).unwrap();
            Some((Ok::<_, Infallible>(Event::default().event("leaf").data(event)), (leaves, index + 1)))
        });
    Sse::new(shown.boxed()).into_response()
}

async fn stamps(
    Shared(kms): Shared<Arc<Kms>>,
    Json(request): Json<StampRequest>,
) -> Result<Json<Envelope>, axum::http::StatusCode> {
    let said = kms.stamps.lock().unwrap().clone();
    let (state, time) = said.ok_or(axum::http::StatusCode::SERVICE_UNAVAILABLE)?;
    kms.stamped.send_modify(|count| *count += 1);
    Ok(Json(stamp(&state, request.nonce, time)))
}

struct Stage {
    _folder: tempfile::TempDir,
    replica: Replica,
    follower: Follower,
    clock: Arc<ManualClock>,
    appended: mpsc::Receiver<Appended>,
    connections: Connections,
    address: String,
    /// The key under which it looks for the kms.
    pin: Pin,
}

impl Stage {
    async fn new(kms: &Arc<Kms>, pinned: warifu_ledger::Digest) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Connections::default();
        serve_on(listener, kms, connections.clone());
        let folder = tempfile::tempdir().unwrap();
        let replica = Replica::open(database(folder.path()).await, Some(pinned)).await.unwrap();
        let clock = Arc::new(ManualClock::new(1_000, 0));
        let (sender, appended) = mpsc::channel(1024);
        let following = following(&address, clock.clone());
        let pin = following.kms.clone();
        let follower = Follower::start(following, replica.clone(), sender).unwrap();
        Self { _folder: folder, replica, follower, clock, appended, connections, address, pin }
    }

    async fn until(&self, what: &str, condition: impl FnMut(&FollowStatus) -> bool) -> FollowStatus {
        let mut status = self.follower.status();
        let reached = tokio::time::timeout(Duration::from_secs(20), status.wait_for(condition)).await;
        reached.unwrap_or_else(|_| panic!("{what} did not come")).unwrap().clone()
    }

    async fn folded(&self, size: usize) {
        let mut sizes = self.replica.subscribe();
        let reached = sizes.wait_for(|&have| have >= size as u64);
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("leaves did not come").unwrap();
    }

    async fn halted(&self) -> Halt {
        let halt = self.until("the halt", |status| status.halted.is_some()).await.halted.unwrap();
        assert!(self.follower.fresh().is_none(), "a halted follower has a lease");
        halt
    }
}

fn following(address: &str, clock: Arc<ManualClock>) -> Following {
    Following::new(id("main"), identity("main tls"), address, public_of("kms tls").0, clock)
}

fn serve_on(listener: TcpListener, kms: &Arc<Kms>, connections: Connections) {
    let router = Router::new()
        .route("/v1/ledger/stream", get(stream))
        .route("/v1/stamps", post(stamps))
        .with_state(kms.clone());
    tokio::spawn(async move {
        let connections = connections.knowing(|_| true).serving(|_| true);
        serve(
            listener,
            &identity("kms tls"),
            router,
            Limits::multiplexed(),
            connections,
            std::future::pending(),
        )
        .await
        .unwrap();
    });
}

/// Somebody may bring the leaf that gives the kms other keys, before the kms shows it.
#[tokio::test]
async fn p_4_17_keys_are_gone_by_whoever_brought_the_leaf() {
    let mut town = Town::working();
    let kms = Kms::of(&town);
    let stage = Stage::new(&kms, town.organization()).await;
    stage.folded(town.leaves.len()).await;
    stage.until("a stamp", |status| status.stamps > 0).await;
    assert!(stage.follower.fresh().is_some());
    let from = town.leaves.len();
    town.done([rotated(ServiceId::Kms, "kms 2")], TWO);
    stage.replica.append_many(from as u64, town.leaves[from..].to_vec()).await.unwrap();
    assert!(stage.follower.fresh().is_none(), "what the former key stamped counts no more");
    assert_eq!(stage.pin.key(), public_of("kms tls").0);
    stage.connections.end(PeerKey(public_of("main tls").0)).await;
    let gone_by = async {
        while stage.pin.key() != public_of("kms 2 tls").0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone_by).await.expect("it looks for the former key");
    assert!(stage.follower.fresh().is_none());
}

#[tokio::test]
async fn it_follows_and_reports_and_has_the_time() {
    let mut town = Town::working();
    let kms = Kms::of(&town);
    let mut stage = Stage::new(&kms, town.organization()).await;
    for index in 0..town.leaves.len() {
        let appended = stage.appended.recv().await.unwrap();
        assert_eq!(appended.index, index as u64);
    }
    stage.until("a stamp", |status| status.stamps > 0).await;
    let fresh = stage.follower.fresh().unwrap();
    assert_eq!((fresh.time, fresh.left_ms), (town.at, town.state.policy().lease_ms));

    town.done([enrol("saburo")], ONE);
    kms.says(&town);
    let live = stage.appended.recv().await.unwrap();
    assert!(live.before.is_some_and(|state| state.card(&crate::fixture::card_id("saburo")).is_none()));
    assert!(live.after.card(&crate::fixture::card_id("saburo")).is_some());

    // Silence for as long as the lease, on the boot clock alone.
    stage.clock.set_boot_ms(1_000 + town.state.policy().lease_ms);
    assert!(stage.follower.fresh().is_none());
    stage.follower.shutdown().await;
}

#[tokio::test]
async fn it_comes_back_when_the_connection_breaks_and_asks_for_a_stamp_at_once() {
    let mut town = Town::working();
    let kms = Kms::of(&town);
    let stage = Stage::new(&kms, town.organization()).await;
    stage.until("a stamp", |status| status.stamps > 0).await;
    stage.folded(town.leaves.len()).await;
    let before = *kms.stamped.borrow();
    stage.connections.end(PeerKey(public_of("main tls").0)).await;
    town.done([enrol("saburo")], ONE);
    kms.says(&town);
    stage.folded(town.leaves.len()).await;
    let mut stamped = kms.stamped.subscribe();
    // The interval is minutes on the policy's lease: only the reconnection asks so soon.
    tokio::time::timeout(Duration::from_secs(20), stamped.wait_for(|&count| count > before))
        .await
        .expect("no stamp after the reconnection")
        .unwrap();
}

#[tokio::test]
async fn p_4_3_a_leaf_that_the_fold_refuses_halts() {
    let mut town = Town::working();
    let kms = Kms::of(&town);
    let size = town.leaves.len();
    // The kms has made an order of its own: I8.
    let envelope = town.order([enrol("puppet")], &[]);
    town.leaves.push(Leaf::new(town.at + 1, envelope).unwrap());
    kms.shows(&town.leaves);
    let stage = Stage::new(&kms, town.organization()).await;
    assert_eq!(stage.halted().await, Halt::Refused { index: size as u64, why: Rejected::Unsigned });
    // What came before it counts: a revocation may be among it.
    assert_eq!(stage.replica.size(), size as u64);
}

#[tokio::test]
async fn p_5_4_a_leaf_of_before_a_stamp_halts() {
    let mut town = Town::working();
    let kms = Kms::of(&town);
    let stage = Stage::new(&kms, town.organization()).await;
    stage.until("a stamp", |status| status.stamps > 0).await;
    stage.folded(town.leaves.len()).await;
    // The officers have let an order expire, and the kms executes it all the same: in the past.
    let size = town.leaves.len() as u64;
    let (at, stamped) = (town.at + 1, town.at + 8 * crate::fixture::DAY);
    let expired = town.order([enrol("saburo")], ONE);
    *kms.stamps.lock().unwrap() = Some((town.state.clone(), stamped));
    stage.connections.end(PeerKey(public_of("main tls").0)).await;
    tokio::time::timeout(Duration::from_secs(20), async {
        while stage.follower.site_time().is_none_or(|time| time < stamped) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("no later stamp");
    town.leaves.push(Leaf::new(at, expired).unwrap());
    kms.shows(&town.leaves);
    assert_eq!(stage.halted().await, Halt::Backdated { index: size, at, stamped });
    assert_eq!(stage.replica.size(), size);
}

#[tokio::test]
async fn p_5_3_after_a_restart_the_kms_cannot_give_back_the_time() {
    let town = Town::working();
    let kms = Kms::of(&town);
    *kms.stamps.lock().unwrap() = Some((town.state.clone(), town.at + 5));
    let stage = Stage::new(&kms, town.organization()).await;
    stage.until("a stamp", |status| status.stamps > 0).await;
    stage.folded(town.leaves.len()).await;
    let Stage { _folder: folder, follower, address, .. } = stage;
    follower.shutdown().await;

    *kms.stamps.lock().unwrap() = Some((town.state.clone(), town.at + 4));
    let replica = Replica::open(database(folder.path()).await, Some(town.organization())).await.unwrap();
    let clock = Arc::new(ManualClock::new(1, 0));
    let again = Follower::start(following(&address, clock), replica, mpsc::channel(1).0).unwrap();
    let asked = *kms.stamped.borrow();
    let mut stamped = kms.stamped.subscribe();
    // The third answer is given after the first two were looked at.
    let third = stamped.wait_for(|&count| count >= asked + 3);
    tokio::time::timeout(Duration::from_secs(20), third).await.expect("it does not ask").unwrap();
    assert!(again.fresh().is_none());
    assert_eq!(again.status().borrow().stamps, 0);

    *kms.stamps.lock().unwrap() = Some((town.state.clone(), town.at + 5));
    let mut status = again.status();
    let counted = status.wait_for(|status| status.stamps > 0);
    tokio::time::timeout(Duration::from_secs(20), counted).await.expect("no stamp counts").unwrap();
}

#[tokio::test]
async fn bytes_that_are_no_leaf_halt() {
    let town = Town::working();
    let kms = Kms::of(&town);
    kms.leaves.send_modify(|leaves| leaves[1] = b"{}".to_vec());
    let stage = Stage::new(&kms, town.organization()).await;
    assert!(matches!(stage.halted().await, Halt::NotALeaf { index: 1, .. }));
}

#[tokio::test]
async fn another_organizations_founding_halts() {
    let town = Town::founded();
    let expected = warifu_ledger::Digest::of(b"another town");
    let stage = Stage::new(&Kms::of(&town), expected).await;
    let found = town.organization();
    assert_eq!(stage.halted().await, Halt::OtherOrganization { expected, found });
    assert_eq!(stage.replica.size(), 0);
}

#[tokio::test]
async fn nothing_is_followed_without_an_organization_to_wait_for() {
    let folder = tempfile::tempdir().unwrap();
    let replica = Replica::open(database(folder.path()).await, None).await.unwrap();
    let clock = Arc::new(ManualClock::default());
    let started = Follower::start(following("127.0.0.1:1", clock), replica, mpsc::channel(1).0);
    assert!(matches!(started.err().unwrap(), FollowError::NothingPinned));
}

#[tokio::test]
async fn i5_a_stamp_over_another_ledger_halts() {
    let (mut mine, mut other) = (Town::working(), Town::working());
    mine.done([enrol("saburo")], ONE);
    other.done([enrol("shiro")], ONE);
    let kms = Kms::of(&mine);
    *kms.stamps.lock().unwrap() = None;
    let stage = Stage::new(&kms, mine.organization()).await;
    stage.folded(mine.leaves.len()).await;
    *kms.stamps.lock().unwrap() = Some((other.state.clone(), other.at));
    let size = mine.leaves.len() as u64;
    assert_eq!(stage.halted().await, Halt::Fork { size });
}

#[tokio::test]
async fn i5_leaves_other_than_those_stamped_halt() {
    let (mut mine, mut other) = (Town::working(), Town::working());
    let beginning = mine.leaves.clone();
    mine.done([enrol("saburo")], ONE);
    other.done([enrol("shiro")], ONE);
    let kms = Kms::of(&other);
    kms.shows(&beginning);
    let stage = Stage::new(&kms, mine.organization()).await;
    stage.until("a stamp ahead of the stream", |status| status.stamps > 0).await;
    stage.folded(beginning.len()).await;
    assert!(stage.follower.fresh().is_none(), "P-5.2: the stamp's leaves are not folded");
    kms.shows(&mine.leaves);
    assert!(matches!(stage.halted().await, Halt::Fork { .. }));
}

#[tokio::test]
async fn a_kms_with_another_key_is_nobody() {
    let town = Town::working();
    let kms = Kms::of(&town);
    let stage = Stage::new(&kms, town.organization()).await;
    stage.folded(town.leaves.len()).await;
    let folder = tempfile::tempdir().unwrap();
    let replica = Replica::open(database(folder.path()).await, Some(town.organization())).await.unwrap();
    let clock = Arc::new(ManualClock::default());
    let wrong =
        Following::new(id("branch"), identity("branch tls"), &*stage.address, public_of("ca tls").0, clock);
    let (sender, mut appended) = mpsc::channel(1);
    let follower = Follower::start(wrong, replica.clone(), sender).unwrap();
    let mut honest = Town::working();
    honest.done([site("annex")], TWO);
    kms.says(&honest);
    stage.folded(honest.leaves.len()).await;
    assert!(appended.try_recv().is_err());
    assert!(!follower.status().borrow().connected);
    assert_eq!(replica.size(), 0);
}
