//! The town in which every run begins: made once for each process, by the programs themselves and without any fault.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result, ensure};
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Executor as _};
use warifu_console::Token as TokenConfig;
use warifu_console::backup::seal_context;
use warifu_hardware::hsm::Token as _;
use warifu_kms::authority::{Authority, Config};
use warifu_kms::site::Site;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, Founding, HalfHolder, Millis, Policy};
use warifu_ledger::{Digest, Id};
use warifu_replica::{Replica, storage};
use warifu_split_key::half::HalfRole;

use crate::draw::Draw;
use crate::fixture::{self, id};
use crate::token::{MemoryToken, Pairs};
use crate::world::{Who, World};

/// How long a lease is, in milliseconds.
pub(crate) const LEASE: Millis = 60_000;
/// The wall clocks' instant at which true time is 0.
pub(crate) const EPOCH: Millis = fixture::T0;
pub(crate) const HOUR: Millis = 60 * fixture::MINUTE;
/// When the contract with acme ends.
pub(crate) const ACME_ENDS: Millis = EPOCH + 2 * HOUR;
/// When saburo's grant ends.
pub(crate) const SABURO_ENDS: Millis = EPOCH + HOUR;
/// Cards, the unit that each opens, and until when.
pub(crate) const GRANTS: [(&str, &str, Option<Millis>); 4] = [
    ("hanako", "tax", None),
    ("jiro", "tax", None),
    ("taro", "team", None),
    ("saburo", "tax", Some(SABURO_ENDS)),
];

/// What is on the disks, in the HSMs and known of the ledger when a run begins.
pub(crate) struct Base {
    pub(crate) disks: BTreeMap<Who, Disk>,
    pub(crate) tokens: BTreeMap<Who, Pairs>,
    pub(crate) organization: Digest,
    /// True time.
    pub(crate) now: u64,
}

/// The database of a service, and its log.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Disk {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let log = std::fs::read(beside(path, "-wal")).unwrap_or_default();
        Ok(Self { database: std::fs::read(path)?, log })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        // Where SQLite keeps the index of a log.
        let _ = std::fs::remove_file(beside(path, "-shm"));
        let _ = std::fs::remove_file(beside(path, "-wal"));
        std::fs::write(path, &self.database)?;
        if !self.log.is_empty() {
            std::fs::write(beside(path, "-wal"), &self.log)?;
        }
        Ok(())
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens a database that has its tables. On a disk in memory there is nothing to synchronize.
pub(crate) async fn open(path: PathBuf) -> Result<AnyPool> {
    let fast = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON";
    let pool = AnyPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None).after_connect(
        move |connection, _| Box::pin(async move { connection.execute(fast).await.map(drop) }),
    );
    Ok(pool.connect_with(storage::options(&path, "rw")?).await?)
}

/// States that were folded before, by the digest over all their leaves: the same ledger is opened very often.
static FOLDED: Mutex<BTreeMap<Digest, State>> = Mutex::new(BTreeMap::new());

fn next(before: Digest, leaf: &[u8]) -> Digest {
    Digest::of(&[before.as_bytes().as_slice(), leaf].concat())
}

/// Remembers the state of these leaves.
pub(crate) fn remember(leaves: &[Vec<u8>], state: State) {
    let of = leaves.iter().fold(Digest([0; 32]), |before, leaf| next(before, leaf));
    FOLDED.lock().unwrap_or_else(PoisonError::into_inner).insert(of, state);
}

/// The state of the most of these leaves that is remembered.
pub(crate) fn recall(leaves: &[Vec<u8>]) -> Option<State> {
    let folded = FOLDED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut of = Digest([0; 32]);
    let mut found = None;
    for leaf in leaves {
        of = next(of, leaf);
        if let Some(state) = folded.get(&of) {
            found = Some(state.clone());
        }
    }
    found
}

/// The same as it comes back from a snapshot, for a service that starts: what a state forgets as bytes, the rest of the run shows.
pub(crate) fn from_snapshot(leaves: &[Vec<u8>]) -> Option<State> {
    State::from_snapshot(&recall(leaves)?.to_snapshot()).ok()
}

pub(crate) fn config(folder: &Path) -> Config {
    Config {
        data: folder.join("kms"),
        listen: "127.0.0.1:1".to_owned(),
        crl_listen: None,
        public: None,
        deliveries: Default::default(),
        address: "kms".to_owned(),
        helpdesk: "内線 1234".to_owned(),
        journal_seconds: 3600,
        monitor: None,
        database: None,
        hsm: TokenConfig {
            module: PathBuf::new(),
            token_label: "kms".to_owned(),
            pin_file: PathBuf::new(),
            data: folder.to_owned(),
        },
    }
}

/// The town's first half of the story: databases with their tables, the founding, and what was ordered before sites ran.
async fn prepare(folder: &Path) -> Result<Digest> {
    for who in Who::ALL {
        std::fs::create_dir_all(folder.join(who.name()))?;
    }
    let policy = Policy { lease_ms: LEASE, ..fixture::policy() };
    let founding = fixture::founding_envelope(
        &Founding { policy, ..fixture::founding() },
        &["sakura", "kenji", "midori"],
    );
    let organization = founding.digest();
    let leaf = |envelope| Leaf::new(EPOCH, envelope);
    let kms = Authority::open_database(&config(folder)).await?;
    let replica = Replica::open(kms.clone(), None).await?;
    replica.append(leaf(founding)?).await?;

    let mut town = Orders { state: replica.state().context("no state")?, drawn: 0 };
    let acme = fixture::contract("acme", ACME_ENDS);
    let cards = GRANTS.map(|(card, unit, _)| match unit {
        "team" => fixture::enrol_under(card, "acme"),
        _ => fixture::enrol(card),
    });
    let acts = [
        vec![fixture::site("main"), fixture::site("branch"), acme],
        vec![fixture::unit("tax"), fixture::team("team", "acme")],
        cards.into_iter().chain([fixture::enrol("goro")]).collect(),
    ];
    for acts in acts {
        let order = town.order(acts, fixture::TWO, EPOCH);
        town.state = replica.append(leaf(order)?).await?.after;
    }
    let token = MemoryToken::new("kms", Pairs::default());
    for unit in ["tax", "team"] {
        let half = fixture::keeper_half(unit);
        let context = seal_context(&organization, &id(unit), HalfHolder::Kms);
        sqlx::query("INSERT INTO keeper_half (unit, sealed) VALUES (?, ?)")
            .bind(id(unit).as_bytes().as_slice())
            .bind(token.seal("halves", half.expose_bytes().as_slice(), &context)?)
            .execute(&kms)
            .await?;
        town.state = replica.append(leaf(unit_created(&town.state, unit)?)?).await?.after;
    }
    let grants = GRANTS.map(|(card, unit, ends)| {
        fixture::grant_with(card, unit, warifu_ledger::statement::Right::Open, ends)
    });
    let order = town.order(grants.to_vec(), fixture::TWO, EPOCH);
    replica.append(leaf(order)?).await?;

    let leaves = replica.leaves(0, 1000).await?;
    kms.close().await;
    for who in [Who::Ca, Who::Main, Who::Branch] {
        let path = who.database(folder);
        let pool = match who {
            Who::Ca => storage::open(&path, sqlx::migrate!("../../ca/migrations")).await?,
            _ => Site::database(&path).await?,
        };
        let replica = Replica::open(pool.clone(), Some(organization)).await?;
        let leaves = leaves.iter().map(|bytes| Leaf::from_bytes(bytes.clone())).collect::<Result<_, _>>()?;
        replica.append_many(0, leaves).await?;
        remember(&replica.leaves(0, 1000).await?, replica.state().context("no state")?);
        pool.close().await;
    }
    Ok(organization)
}

fn unit_created(state: &State, unit: &str) -> Result<warifu_ledger::dsse::Envelope> {
    use warifu_ledger::key::Base64;
    use warifu_ledger::statement::{Fact, FactBody, PublicHalf};
    use warifu_split_key::half::HalfContext;
    let order = state.unit(&id(unit)).context("no unit")?.order;
    let organization = state.organization();
    let context = |role| HalfContext { organization: organization.0, unit: id(unit).0, order: order.0, role };
    let (issuer, keeper) = (fixture::issuer_half(unit), fixture::keeper_half(unit));
    let fact = FactBody::UnitCreated {
        unit: id(unit),
        order,
        issuer: PublicHalf {
            point: issuer.public().into(),
            proof: Base64(issuer.prove(&context(HalfRole::Issuer)).0),
        },
        keeper: PublicHalf {
            point: keeper.public().into(),
            proof: Base64(keeper.prove(&context(HalfRole::Keeper)).0),
        },
    };
    Ok(fixture::envelope_by_services(&Fact { organization, fact }, &["ca", "kms"]))
}

/// Orders, each with an id of its own.
struct Orders {
    state: State,
    drawn: u64,
}

impl Orders {
    fn order(&mut self, acts: Vec<Act>, cards: &[&str], at: Millis) -> warifu_ledger::dsse::Envelope {
        self.drawn += 1;
        draft(&self.state, &format!("order {}", self.drawn), acts, cards, at)
    }
}

/// An order over this ledger, signed by these cards.
pub(crate) fn draft(
    state: &State,
    label: &str,
    acts: Vec<Act>,
    cards: &[&str],
    at: Millis,
) -> warifu_ledger::dsse::Envelope {
    let order = warifu_ledger::statement::Order {
        organization: state.organization(),
        id: id(label),
        expires_at: at + fixture::DAY,
        seen: note_of(state),
        acts,
    };
    fixture::envelope_by_cards(&order, cards)
}

/// The kms's checkpoint of a state.
pub(crate) fn note_of(state: &State) -> String {
    use warifu_ledger::checkpoint::{Checkpoint, Signer};
    let size = state.tree().size();
    let root = state.tree().root(size).unwrap_or(Digest([0; 32]));
    fixture::note(&state.organization(), &Checkpoint { size, root }, Signer::Kms)
}

impl Base {
    /// The one of this process.
    pub(crate) fn of_process() -> Result<&'static Self> {
        static BASE: OnceLock<Result<Base, String>> = OnceLock::new();
        let base = BASE.get_or_init(|| Self::make().map_err(|error| format!("{error:?}")));
        base.as_ref().map_err(|error| anyhow::anyhow!("the town cannot be made: {error}"))
    }

    fn make() -> Result<Self> {
        let folder = folder()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let organization = runtime.block_on(prepare(folder.path()))?;
        drop(runtime);
        let mut disks = BTreeMap::new();
        for who in Who::ALL {
            disks.insert(who, Disk::read(&who.database(folder.path()))?);
        }
        let tokens = Who::ALL.into_iter().map(|who| (who, Pairs::default())).collect();
        let raw = Self { disks, tokens, organization, now: 1_000 };
        drop(folder);
        // The second half is lived: key pairs, shares, wraps, stamps.
        let mut world = World::begin(&raw, 0, Draw::new(0), 0)?;
        world.calm()?;
        for (card, unit, _) in GRANTS {
            world.issue(card, unit)?;
        }
        world.calm()?;
        let base = world.freeze()?;
        ensure!(base.tokens.values().any(|pairs| pairs.count() == GRANTS.len()), "no key pairs");
        Ok(base)
    }
}

/// A folder for databases: in memory, where there is such.
pub(crate) fn folder() -> Result<tempfile::TempDir> {
    let shared = Path::new("/dev/shm");
    let builder = &mut tempfile::Builder::new();
    let builder = builder.prefix("warifu-simulate-");
    Ok(if shared.is_dir() && std::env::var_os("TMPDIR").is_none() {
        builder.tempdir_in(shared)?
    } else {
        builder.tempdir()?
    })
}

/// The grant of a card to a unit.
pub(crate) fn grant(card: &str, unit: &str) -> Id {
    fixture::grant_id(card, unit)
}

/// Shared by all that is simulated.
pub(crate) type Tokens = BTreeMap<Who, Arc<MemoryToken>>;
