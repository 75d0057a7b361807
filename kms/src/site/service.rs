//! A running site: what its parts share, and its tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sqlx::AnyPool;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use warifu_api::server::{Connections, Limits, Seats, serve};
use warifu_api::tls::{Identity, PeerKey, Pin};
use warifu_api::{Client, ClientError, ErrorCode};
use warifu_console::keys::{Labels, OwnKeys, snapshot_key};
use warifu_console::monitor::Watched;
use warifu_console::process::Ended;
use warifu_hardware::hsm::Hsm;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Millis, ServiceKeys, Statement};
use warifu_ledger::{Digest, Id};
use warifu_replica::clock::Clock;
use warifu_replica::follow::{Follower, Following, Halt};
use warifu_replica::{Replica, Snapshots};
use warifu_split_key::point::Point;

use super::check::View;
use super::dead::Dead;
use super::error::SiteError;
use super::events::Streams;
use super::figures::Figures;
use super::gate::{Gates, Rate};
use super::journal::{Journal, Recorder};
use super::rotating;
use super::store::Store;
use super::vault::{TransportKeys, Vault, blocking};

/// Names of the site's own keys in its token.
pub(super) const LABELS: Labels =
    Labels { tls: "tls", signing: "signing", log: None, transport: Some("transport") };

/// Requests that bring a large order, at once: from callers whose key the ledger knows, and from anybody.
const BRINGING_KNOWN: usize = 8;
const BRINGING_STRANGERS: usize = 4;
/// Requests that bring a large batch of slips, at once: from cards only.
const ROUTING_KNOWN: usize = 8;

/// What a site needs to run.
pub struct Settings {
    /// Its database, as [`Site::database`] opens it.
    pub pool: AnyPool,
    /// Its token, probed, in which `site init` made its keys.
    pub hsm: Hsm,
    /// The organization it belongs to.
    pub organization: Digest,
    /// `host:port` of the kms authority.
    pub kms_address: String,
    /// The authority's TLS key, until the ledger is here and names it.
    pub kms_tls_key: Point,
    /// The folder for what is kept beside the database: a halt for a fork, where the database can take nothing any more, and a
    /// snapshot of the ledger. Without one, a restart on a full disk forgets the halt, and every restart folds all of the ledger.
    pub data: Option<PathBuf>,
    /// The clock of its lease.
    pub clock: Arc<dyn Clock>,
    /// How often a card may ask.
    pub rate: Rate,
}

/// A site. Its tasks end when it is dropped.
pub struct Site {
    core: Arc<Core>,
    tasks: JoinSet<()>,
}

/// What the parts of a site share.
pub(super) struct Core {
    pub(super) replica: Replica,
    pub(super) store: Store,
    pub(super) journal: Journal,
    pub(super) recorder: Recorder,
    pub(super) vault: Vault,
    pub(super) gates: Gates,
    pub(super) streams: Streams,
    pub(super) connections: Connections,
    pub(super) identity: Identity,
    /// Everything goes over its one connection, the ledger too.
    pub(super) kms: Client,
    halt_mark: Option<PathBuf>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) own: OwnKeys,
    keys: ServiceKeys,
    /// The keys that this site had before these.
    pub(super) former: Vec<ServiceKeys>,
    /// Whether the ledger named these keys when this began: what it says since, it may say before anybody looks.
    pub(super) named_at_start: bool,
    site: OnceLock<Id>,
    follower: RwLock<Option<Arc<Follower>>>,
    dead: RwLock<Dead>,
    names: RwLock<BTreeMap<Id, String>>,
    /// Held while an order is acted on: one after the other.
    pub(super) revoking: tokio::sync::Mutex<()>,
    /// Whenever an order was marked: what goes to other sites is asked anew.
    pub(super) marked: watch::Sender<()>,
    /// Read while parts go to another site: whoever writes knows that none are on their way.
    pub(super) handing_over: tokio::sync::RwLock<()>,
    /// Grants that may want a key pair or a share.
    pub(super) wanting: Mutex<BTreeSet<Id>>,
    pub(super) provision: Notify,
    /// Another site may lack a share that is here.
    pub(super) others: Notify,
    /// A receipt waits for the kms.
    pub(super) post: Notify,
    /// An order waits for the kms.
    pub(super) courier: Notify,
    /// A leaf has taken this site off a unit.
    pub(super) sweeping: Notify,
    /// Slips wait for the kms.
    pub(super) outbox: Notify,
    /// The kms says that it has parts for this site.
    pub(super) inbox: Arc<Notify>,
    /// How many leaves have been acted on.
    pub(super) acted: watch::Sender<u64>,
    pub(super) bringing: Seats,
    /// For those who bring slips, so that they keep no revocation waiting.
    pub(super) routing: Seats,
    pub(super) figures: Figures,
}

/// What the lease says at one moment.
pub(super) struct Now {
    pub(super) state: State,
    /// Site time; none while no lease runs.
    pub(super) time: Option<Millis>,
    /// [`warifu_replica::follow::Fresh::settled`]; none while no lease runs.
    pub(super) settled: Option<Millis>,
    pub(super) left_ms: u64,
    pub(super) halted: bool,
}

impl Site {
    /// Opens the database of a site, making it if it is not there.
    ///
    /// # Errors
    /// [`SiteError::Storage`].
    pub async fn database(path: &std::path::Path) -> Result<AnyPool, SiteError> {
        Ok(warifu_replica::storage::open(path, sqlx::migrate!("./migrations/site")).await?)
    }

    /// Reads what is stored, finishes what was begun, and starts to follow the ledger. It answers once [`Site::serve`] is
    /// called.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn start(settings: Settings) -> Result<Self, SiteError> {
        let hsm = settings.hsm.clone();
        let key = blocking(move || snapshot_key(&hsm)).await??;
        let snapshots = settings.data.as_deref().map(|data| Snapshots::new(data, Arc::new(key)));
        let (pool, pinned) = (settings.pool.clone(), Some(settings.organization));
        let replica = Replica::open_with_snapshots(pool, pinned, snapshots).await?;
        let (kms_address, pin) = (settings.kms_address.clone(), Pin::from(settings.kms_tls_key));
        let connect = |identity: &Identity| Client::multiplexed(kms_address.as_str(), pin.clone(), identity);
        let (core, recording) = Core::open(settings, replica, connect).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(core.clone().follow(kms_address, pin));
        tasks.spawn(recording);
        tasks.spawn(core.clone().deliver_journal());
        tasks.spawn(core.clone().act_on_leaves());
        tasks.spawn(core.clone().provision());
        tasks.spawn(core.clone().serve_later_sites());
        tasks.spawn(core.clone().deliver_receipts());
        tasks.spawn(core.clone().courier_orders());
        tasks.spawn(core.clone().bring_slips());
        tasks.spawn(core.clone().fetch_slips());
        tasks.spawn(core.clone().retire_transport_key());
        tasks.spawn(core.clone().run_errands());
        Ok(Self { core, tasks })
    }

    /// Answers on `listener` until `shutdown` resolves, or the ledger names other keys for this site in the place of these: then
    /// no connection is left either.
    ///
    /// # Errors
    /// [`SiteError::Tls`].
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Ended, SiteError> {
        let router = super::http::router(self.core.clone());
        let (identity, core) = (&self.core.identity, Arc::downgrade(&self.core));
        let connections = self.core.connections.clone();
        let connections = connections.knowing(move |key| core.upgrade().is_some_and(|core| core.knows(key)));
        let mut ended = Ended::Told;
        let over = async {
            tokio::select! {
                () = shutdown => {}
                () = self.core.replaced() => ended = Ended::OtherKeys,
            }
        };
        serve(listener, identity, router, Limits::default(), connections.clone(), over).await?;
        if ended == Ended::OtherKeys {
            connections.end_all().await;
            // What was brought and has begun is finished by this one: the next one reads what is durable, once.
            drop(self.core.revoking.lock().await);
        }
        Ok(ended)
    }

    /// What it shows to whoever watches it.
    #[must_use]
    pub fn watched(&self) -> Arc<dyn Watched> {
        self.core.clone()
    }

    /// The keys with which it speaks.
    pub(super) fn own_keys(&self) -> &OwnKeys {
        &self.core.own
    }

    /// Their public halves.
    #[must_use]
    pub fn keys(&self) -> &ServiceKeys {
        &self.core.keys
    }

    /// The number of leaves that have been folded *and* acted on, now and whenever it grows.
    #[must_use]
    pub fn acted(&self) -> watch::Receiver<u64> {
        self.core.acted.subscribe()
    }

    /// Site time, if it may answer now.
    #[must_use]
    pub fn time(&self) -> Option<Millis> {
        self.core.now().and_then(|now| now.time)
    }

    /// Ends all tasks and waits for them. What is being written is finished.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
        self.core.replica.keep_snapshot().await;
    }
}

impl Core {
    /// Reads what is stored, and finishes what was begun. `connect` makes a client of the kms that shows an identity. Answers with
    /// the task that writes the journal.
    pub(super) async fn open(
        settings: Settings,
        replica: Replica,
        connect: impl Fn(&Identity) -> Result<Client, ClientError>,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + 'static), SiteError> {
        let store = Store::new(settings.pool.clone());
        let hsm = settings.hsm;
        let rotating::InUse { own, former, former_transport } =
            rotating::keys_in_use(hsm.clone(), replica.state(), &store).await?;
        let (keys, tls) = (own.public(), own.tls.clone());
        let transport = own.transport.clone().ok_or(SiteError::NoTransportKey)?;
        let transport = TransportKeys::new(transport, former_transport);
        let named_at_start =
            replica.state().is_some_and(|state| state.sites().any(|(_, site)| site.keys == keys));
        let identity = blocking(move || Identity::self_signed(Arc::new(tls), "warifu site")).await??;
        let kms = connect(&identity)?;
        let journal = Journal::new(settings.pool);
        let (recorder, recording) = Recorder::new(journal.clone());
        let vault = Vault::open(hsm, transport).await?;
        let mut dead = store.dead().await?;
        let marked = vault.marked().await?;
        dead.files.extend(marked.files);
        dead.slips.extend(marked.slips);
        let core = Arc::new(Core {
            dead: RwLock::new(dead),
            names: RwLock::new(store.names().await?),
            acted: watch::Sender::new(store.position().await?.leaves),
            vault,
            replica,
            store,
            journal,
            recorder,
            gates: Gates::new(settings.rate),
            streams: Streams::default(),
            connections: Connections::default(),
            identity,
            kms,
            clock: settings.clock,
            halt_mark: settings.data.map(|data| data.join("halted")),
            own,
            keys,
            former,
            named_at_start,
            site: OnceLock::new(),
            follower: RwLock::new(None),
            revoking: tokio::sync::Mutex::default(),
            marked: watch::Sender::new(()),
            handing_over: tokio::sync::RwLock::default(),
            wanting: Mutex::default(),
            provision: Notify::new(),
            others: Notify::new(),
            post: Notify::new(),
            courier: Notify::new(),
            sweeping: Notify::new(),
            outbox: Notify::new(),
            inbox: Arc::default(),
            bringing: Seats::new(BRINGING_KNOWN, BRINGING_STRANGERS),
            routing: Seats::new(ROUTING_KNOWN, 0),
            figures: Figures::default(),
        });
        core.finish_what_was_begun().await?;
        Ok((core, recording))
    }

    pub(super) fn dead(&self) -> RwLockReadGuard<'_, Dead> {
        self.dead.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dead_mut(&self) -> RwLockWriteGuard<'_, Dead> {
        self.dead.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn names(&self) -> RwLockReadGuard<'_, BTreeMap<Id, String>> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_names(&self, names: BTreeMap<Id, String>) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
    }

    pub(super) fn wanting(&self) -> MutexGuard<'_, BTreeSet<Id>> {
        self.wanting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn follower(&self) -> Option<Arc<Follower>> {
        self.follower.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the ledger and the lease say now; none before the founding is here.
    pub(super) fn now(&self) -> Option<Now> {
        let follower = self.follower();
        let halted = follower.as_ref().is_some_and(|follower| follower.status().borrow().halted.is_some());
        if let Some(fresh) = follower.and_then(|follower| follower.fresh()) {
            let (time, settled) = (Some(fresh.time), Some(fresh.settled));
            return Some(Now { state: fresh.state, time, settled, left_ms: fresh.left_ms, halted });
        }
        Some(Now { state: self.replica.state()?, time: None, settled: None, left_ms: 0, halted })
    }

    /// Whether a key is that of the kms, or of a card that may be here, lease or no lease.
    fn knows(&self, key: &PeerKey) -> bool {
        let Some(now) = self.now() else { return false };
        let (Some(site), Some(card)) =
            (self.site_id(&now.state), now.state.card_of_authentication_key(&key.0))
        else {
            return now.state.kms().tls.0 == key.0;
        };
        let dead = self.dead();
        // Also where the site has halted: it answers no card then, and a revocation by hand may matter most.
        let may = self.view(site, &now, &dead).may_connect(&card);
        matches!(may, Ok(_) | Err(ErrorCode::LeaseExpired | ErrorCode::Fork))
    }

    /// After leaves that others brought.
    pub(super) async fn compare(&self) {
        if let Some(follower) = self.follower() {
            follower.compare().await;
        }
    }

    /// Stops for good: the kms has signed two ledgers.
    pub(super) async fn halt(&self, size: u64) {
        if let Some(follower) = self.follower() {
            follower.halt(Halt::Fork { size }).await;
        }
    }

    pub(super) fn view<'a>(&self, site: Id, now: &'a Now, dead: &'a Dead) -> View<'a> {
        View { site, state: &now.state, dead, time: now.time, halted: now.halted }
    }

    /// This site, as the ledger calls it: the one with our keys. None any more once it has others: what these sign counts for
    /// nothing then (P-4.20), and the site is about to begin anew.
    pub(super) fn site_id(&self, state: &State) -> Option<Id> {
        if let Some(id) = self.site.get() {
            return state.site(id).filter(|site| site.keys == self.keys).map(|_| *id);
        }
        let (id, _) = state.sites().find(|(_, site)| site.keys == self.keys)?;
        Some(*self.site.get_or_init(|| *id))
    }

    /// Whether these are the keys with which this site speaks.
    pub(super) fn are_ours(&self, keys: &ServiceKeys) -> bool {
        *keys == self.keys
    }

    /// Signs a statement with the site's key.
    pub(super) async fn signed(&self, statement: &impl Statement) -> Result<Envelope, SiteError> {
        let mut envelope = Envelope::unsigned(statement)?;
        let signature = self.signature(envelope.digest()).await?;
        envelope.add_signature(&self.keys.signing, signature);
        Ok(envelope)
    }

    /// Signs a digest with the site's key: ES256.
    pub(super) async fn signature(&self, digest: Digest) -> Result<[u8; 64], SiteError> {
        let key = self.own.signing.clone();
        Ok(blocking(move || key.sign_digest(digest.0)).await??)
    }

    pub(super) fn set_follower(&self, follower: Arc<Follower>) {
        *self.follower.write().unwrap_or_else(PoisonError::into_inner) = Some(follower);
    }

    /// As whom it follows: as nobody before it has joined.
    ///
    /// # Errors
    /// [`SiteError`].
    pub(super) async fn following(
        &self,
        site: Option<Id>,
        kms_address: &str,
        kms: Pin,
    ) -> Result<Following, SiteError> {
        let site = site.unwrap_or(Id([0; 16]));
        let not_before = self.journal.last_time().await?;
        let following = Following::new(site, self.identity.clone(), kms_address, kms, self.clock.clone());
        let halt_mark = self.halt_mark.clone();
        let client = Some(self.kms.clone());
        let slips = self.inbox.clone();
        Ok(Following { client, halts_for_good: true, halt_mark, not_before, slips, ..following })
    }

    /// Follows the kms: as nobody until the ledger lets a site with our keys join, and as that site from then on.
    async fn follow(self: Arc<Self>, kms_address: String, kms: Pin) {
        let mut size = self.replica.subscribe();
        loop {
            let id = self.replica.state().and_then(|state| self.site_id(&state));
            // Leaves are read from the replica, whoever appended them; nobody listens here.
            let (appended, _) = mpsc::channel(1);
            let following = self.following(id, &kms_address, kms.clone()).await;
            let started = following
                .and_then(|following| Ok(Follower::start(following, self.replica.clone(), appended)?));
            match started {
                Ok(follower) => {
                    let status = follower.status();
                    self.set_follower(Arc::new(follower));
                    if id.is_some() {
                        // The follower works on its own; it ends with us.
                        return self.sweep_at_each_stamp(status).await;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the kms cannot be followed");
                    if id.is_some() {
                        return std::future::pending().await;
                    }
                }
            }
            while self.replica.state().and_then(|state| self.site_id(&state)).is_none() {
                if size.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
