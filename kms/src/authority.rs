//! The kms authority: the one appender of the ledger, keeper of the keeper halves, and the place where sites, ca and people
//! meet. It is trusted with none of what people decide: ca and sites verify every order themselves.
//!
//! Appending and stamping are serialized by the database (P-5.4, [`warifu_replica::Turn`]). A lock of this process covers whatever
//! must not race with an order that ends a grant. Everything that is acknowledged is durable first.

use std::fs::File;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, MutexGuard, watch};
use tracing::Instrument as _;
use warifu_api::server::{Connections, Limits, Seats, serve};
use warifu_api::tls::{Identity, PeerKey};
use warifu_console::file;
use warifu_console::keys::{Labels, OwnKeys, snapshot_key};
use warifu_console::process::Ended;
use warifu_crash_point::{Guard, stands, waiting};
use warifu_hardware::hsm::{Ed25519Key, Hsm, HsmError, Kek};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Millis, ServiceKeys, Statement};
use warifu_replica::clock::Clock;
use warifu_replica::{Replica, Snapshots, Turn};

mod certificates;
pub mod command;
pub mod config;
pub(crate) mod deliveries;
mod directory;
mod doctor;
mod error;
mod figures;
pub mod founding;
mod grants;
mod http;
mod issuing;
mod journals;
mod keeping;
pub mod moving;
mod orders;
mod proposals;
mod public;
mod publication;
mod puks;
mod receipts;
mod records;
mod recovering;
mod rewraps;
mod role;
mod rotating;
mod slips;
mod stamps;
#[cfg(debug_assertions)]
mod steps;
mod store;
mod stream;
mod tiles;
mod trusts;
mod units;

pub use config::Config;
pub use deliveries::{NotDelivered, S3Fault};
pub use error::AuthorityError;

use deliveries::DeliveryBox;
use figures::Figures;
use keeping::Keeping;
use publication::Publication;
use role::{Caller, caller};
use slips::NewestParcels;
use store::Store;

type Result<T> = std::result::Result<T, AuthorityError>;

/// How long a question waits for an answer that is not there yet.
const LONG_POLL: Duration = Duration::from_secs(5);
/// Connections at once of services and cards: ten thousand sites have one each, and another while they connect anew.
const FOLLOWERS: usize = 32_768;
/// How long a connection lives on whose card is over: the answer to whoever ordered it for his own card is still to leave.
const FAREWELL: Duration = Duration::from_secs(1);
/// Large orders that are brought at once: with a card of this organization, and by anybody.
const BRINGING_KNOWN: usize = 8;
const BRINGING_STRANGERS: usize = 4;

const LOG: &str = "log";
/// Names of its own keys in the token.
const LABELS: Labels = Labels { tls: "tls", signing: "signing", log: Some(LOG), transport: None };

/// The authority's keys, in its token.
pub(crate) struct Keys {
    own: OwnKeys,
    log: Ed25519Key,
    /// Seals keeper halves.
    kek: Kek,
}

impl Keys {
    /// Finds the keys in the token, or makes those that are not there; of two sets the one that this ledger names (P-4.20).
    /// Blocks.
    fn ensure(hsm: &Hsm, state: Option<&State>) -> Result<Self> {
        let mut own = OwnKeys::ensure(hsm, &LABELS)?;
        if let Some(state) = state {
            own = own.named(|keys| keys == state.kms())?;
        }
        let log = own.log.clone().ok_or(HsmError::KeyMissing { label: LOG.to_owned() })?;
        Ok(Self { own, log, kek: hsm.ensure_kek("halves")? })
    }

    fn public(&self) -> ServiceKeys {
        self.own.public()
    }

    /// Signs a statement. Blocks.
    fn sign(&self, statement: &impl Statement) -> Result<Envelope> {
        let mut envelope = Envelope::unsigned(statement)?;
        self.add_signature(&mut envelope)?;
        Ok(envelope)
    }

    /// Signs what others signed before. Blocks.
    fn add_signature(&self, envelope: &mut Envelope) -> Result<()> {
        Ok(self.own.sign(envelope)?)
    }
}

/// Bytes that were computed for a ledger of that size.
type Cached<T> = std::sync::Mutex<Option<(u64, T)>>;

/// A running authority.
pub struct Authority {
    address: String,
    /// Where everybody reaches it, if anybody does.
    public_address: String,
    /// [`Public::also_shown`](config::Public::also_shown).
    also_shown: Vec<String>,
    helpdesk: String,
    hsm: Hsm,
    /// How long heads of audit journals wait to be committed, in milliseconds.
    journal_ms: u64,
    keys: Arc<Keys>,
    identity: Identity,
    clock: Arc<dyn Clock>,
    replica: Replica,
    store: Store,
    keeping: Keeping,
    standing: receipts::Standing,
    /// Held while a leaf is appended, and by whatever must not race with that.
    appending: Mutex<()>,
    /// The time of the last stamp given.
    stamped: AtomicU64,
    /// Whether the ca has brought all that it has of the ledger, if that was to be waited for.
    heard_the_ca: AtomicBool,
    /// Counts what somebody may be waiting for: leaves, grant keys, receipts.
    progress: watch::Sender<u64>,
    checkpoint: Cached<String>,
    directory: Cached<(directory::Version, axum::body::Bytes)>,
    signed_directory: Cached<public::Signed>,
    pages: Cached<public::Pages>,
    profile: Cached<axum::body::Bytes>,
    publication: Publication,
    newest: stream::Newest,
    parcels: NewestParcels,
    figures: Figures,
    deliveries: DeliveryBox,
    /// Those who bring orders that are not small.
    bringing: Seats,
    /// Set once it serves.
    connections: OnceLock<Connections>,
    /// One process for one data folder; released with the file.
    lock: Arc<File>,
}

impl Authority {
    /// Opens token, database and ledger.
    ///
    /// # Errors
    /// [`AuthorityError`]; [`warifu_console::ConsoleError::InUse`] while another process serves the folder. With a token whose
    /// keys the ledger does not name, it opens and waits ([`Authority::is_recovering`]).
    pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        Self::open_alone(config, clock, Arc::new(file::lock_folder(&config.data)?)).await
    }

    /// Begins anew with the keys that the ledger names now, in the place of an authority that has ended for that
    /// ([`Ended::OtherKeys`]).
    ///
    /// # Errors
    /// As for [`Authority::open`].
    pub async fn begin_anew(&self, config: &Config) -> Result<Arc<Self>> {
        Self::open_alone(config, self.clock.clone(), self.lock.clone()).await
    }

    async fn open_alone(config: &Config, clock: Arc<dyn Clock>, lock: Arc<File>) -> Result<Arc<Self>> {
        let pool = Self::database(config).await?;
        let token = config.hsm.clone();
        let (hsm, key) = blocking(move || {
            let hsm = token.open()?;
            let key = snapshot_key(&hsm)?;
            Ok((hsm, key))
        })
        .await?;
        let snapshots = Snapshots::new(&config.data, Arc::new(key));
        let replica = Replica::open_with_snapshots(pool, None, Some(snapshots)).await?;
        let keys = Self::keys_in_use(config, hsm, replica.state()).await?;
        Self::open_with(config, lock, keys, replica, clock).await
    }

    async fn open_with(
        config: &Config,
        lock: Arc<File>,
        (hsm, keys): (Hsm, Keys),
        replica: Replica,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>> {
        let store = Store::new(replica.pool().clone());
        let stamped = AtomicU64::new(if stands(Guard::StampsKept) { store.last_stamp().await? } else { 0 });
        let signer = Arc::new(keys.own.tls.clone());
        let identity = blocking(move || Ok(Identity::self_signed(signer, "warifu kms")?)).await?;
        let parcels = NewestParcels::new(store.newest_parcels().await?);
        let authority = Arc::new(Self {
            address: config.address.clone(),
            also_shown: config.public.as_ref().map(|public| public.also_shown.clone()).unwrap_or_default(),
            public_address: config.public.as_ref().map(|public| public.address.clone()).unwrap_or_default(),
            helpdesk: config.helpdesk.clone(),
            hsm,
            journal_ms: config.journal_seconds.saturating_mul(1000),
            keys: Arc::new(keys),
            identity,
            clock,
            replica,
            keeping: Keeping::start(store.clone()),
            standing: receipts::Standing::default(),
            store,
            appending: Mutex::default(),
            stamped,
            heard_the_ca: AtomicBool::new(false),
            progress: watch::Sender::new(0),
            checkpoint: Cached::default(),
            directory: Cached::default(),
            signed_directory: Cached::default(),
            pages: Cached::default(),
            profile: Cached::default(),
            publication: Publication::default(),
            newest: stream::Newest::default(),
            parcels,
            figures: Figures::default(),
            deliveries: DeliveryBox::open(config)?,
            bringing: Seats::new(BRINGING_KNOWN, BRINGING_STRANGERS),
            connections: OnceLock::new(),
            lock,
        });
        if let Some((size, _)) = authority.store.cosignature().await? {
            authority.figures.cosigned(size);
        }
        authority.show_issued_certificate().await?;
        authority.publish_kept().await?;
        authority.forget_ended_grants().await?;
        authority.forget_ended_puks().await?;
        if let Ok(state) = authority.state() {
            authority.forget_proposals(authority.now(&state)).await?;
            authority.store.forget_slips(authority.now(&state)).await?;
        }
        Ok(authority)
    }

    /// Serves every request of `warifu_api::wire::authority` until `shutdown` resolves, or the ledger names other keys for the
    /// kms in the place of these; and then until no append is under way.
    ///
    /// # Errors
    /// [`AuthorityError::Tls`].
    pub async fn serve(
        self: &Arc<Self>,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Ended> {
        let connections = self.connections.get_or_init(|| self.open_connections()).clone();
        let router = http::router(self.clone());
        let mut ended = Ended::Told;
        let over = async {
            tokio::select! {
                () = shutdown => {}
                () = self.replaced() => ended = Ended::OtherKeys,
            }
        };
        let limits = Limits { members: FOLLOWERS, ..Limits::multiplexed() };
        serve(listener, &self.identity, router, limits, connections.clone(), over).await?;
        drop(self.in_turn().await);
        if ended == Ended::OtherKeys {
            // What was asked before is answered; nothing else will be (P-4.16).
            connections.end_all().await;
        }
        self.replica.keep_snapshot().await;
        Ok(ended)
    }

    /// Whether a key is that of a service, or of a card that may be here.
    fn open_connections(self: &Arc<Self>) -> Connections {
        let weak = Arc::downgrade(self);
        let caller_of = move |key: &PeerKey| {
            let authority = weak.upgrade()?;
            let state = authority.state().ok()?;
            Some(caller(&state, Some(*key), authority.now(&state)))
        };
        let service = caller_of.clone();
        Connections::default()
            .knowing(move |key| {
                !matches!(caller_of(key), None | Some(Caller::Stranger | Caller::DeadCard(_)))
            })
            .serving(move |key| {
                matches!(service(key), Some(Caller::Ca | Caller::Site(_) | Caller::FormerSite(_)))
            })
    }

    /// The public keys of this authority's token.
    #[must_use]
    pub fn public_keys(&self) -> ServiceKeys {
        self.keys.public()
    }

    /// What the ledger says.
    fn state(&self) -> Result<State> {
        self.replica.state().ok_or(AuthorityError::NotFounded)
    }

    /// The authority's time: the wall clock's, but never before the last leaf nor the last stamp given: a clock that is set
    /// back revives nothing that was over (P-5.4).
    fn now(&self, state: &State) -> Millis {
        let stamped = if stands(Guard::NotBeforeStamps) { self.stamped.load(Ordering::SeqCst) } else { 0 };
        self.clock.wall_ms().max(state.last_at()).max(stamped)
    }

    /// As [`Authority::now`], for who has his turn at the ledger: also not before the last stamp that another process gave.
    async fn now_in(&self, turn: &mut Turn) -> Result<Millis> {
        let state = turn.state().ok_or(AuthorityError::NotFounded)?;
        if stands(Guard::StampsKept) {
            self.stamped.fetch_max(store::last_stamp(turn.transaction()).await?, Ordering::SeqCst);
        }
        Ok(self.now(&state))
    }

    /// Whoever appends, or does what must not race with an order that ends a grant, one after the other.
    async fn in_turn(&self) -> MutexGuard<'_, ()> {
        waiting(self.appending.lock()).await
    }

    async fn sign(&self, statement: impl Statement + Send + 'static) -> Result<Envelope> {
        let keys = self.keys.clone();
        blocking(move || keys.sign(&statement)).await
    }

    /// Whoever has come with a card that is over now does not keep a member's place.
    fn part_from_the_ended(&self) {
        let Some(connections) = self.connections.get().cloned() else { return };
        tokio::spawn(async move {
            tokio::time::sleep(FAREWELL).await;
            connections.end_unknown();
        });
    }

    fn progressed(&self) {
        self.progress.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// What was cached for this size.
fn cached<T: Clone>(cache: &Cached<T>, size: u64) -> Option<T> {
    let cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    cache.as_ref().filter(|(of, _)| *of == size).map(|(_, value)| value.clone())
}

/// Keeps what was computed for a size, unless there is something newer.
fn keep<T>(cache: &Cached<T>, size: u64, value: T) {
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.as_ref().is_none_or(|(of, _)| *of <= size) {
        *cache = Some((size, value));
    }
}

/// Runs what waits for the HSM, or computes for long, beside the threads that serve connections.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| AuthorityError::Stopping)?
}

/// Runs to its end, even if the one who asked goes away in the middle.
async fn whole<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work.in_current_span()).await.map_err(|_| AuthorityError::Stopping)?
}
