//! Other organizations: what is fetched from them, what is believed, and what is kept as an alarm (P-16.7).

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::State as Shared;
use axum::routing::get;
use tokio::net::TcpListener;
use warifu_api::ErrorCode;
use warifu_api::server::{Limits, serve_anybody};
use warifu_api::tls::public::server_config_for_anybody;
use warifu_api::wire::Done;
use warifu_api::wire::authority::{Cosignature, Directory};
use warifu_api::wire::public::{PublicDirectory, SignedDirectory};
use warifu_api::wire::trusts::{TroubleKind, TrustEntry, Trusts};
use warifu_directory::signed::{self, Pin, Seen};
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::key::Bytes;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{Act, DirectoryStatement, Order, OrganizationKeys};
use warifu_ledger::tree::is_included;
use warifu_replica::clock::Clock as _;

use crate::fixture::*;
use crate::stage::{DEADLINE, Stage, code, identity, staged};
use crate::town::Town;

pub(crate) fn alps() -> OrganizationKeys {
    OrganizationKeys {
        organization: Digest::of(b"alps"),
        ca: service_keys("ca alps"),
        kms: service_keys("kms alps"),
    }
}

/// A directory of an organization without units, of a ledger of so many leaves.
fn directory(keys: &OrganizationKeys, size: u64, at: u64) -> SignedDirectory {
    let head = Checkpoint { size, root: Digest::of(&size.to_be_bytes()) };
    let organization = keys.organization;
    let content = PublicDirectory {
        name: "北アルプス広域連合".to_owned(),
        address: "alps.example:443".to_owned(),
        keys: keys.clone(),
        successions: vec![],
        directory: Directory {
            organization,
            units: vec![],
            orders: vec![],
            checkpoint: Some(note_with("ca alps", &organization, &head, Signer::Ca)),
            included: vec![],
        },
    };
    let body = serde_json::to_vec(&content).unwrap();
    let statement = DirectoryStatement {
        organization,
        at,
        expires_at: at + DirectoryStatement::LONGEST_MS,
        size,
        digest: Digest::of(&body),
    };
    SignedDirectory { statement: envelope_by_services(&statement, &["kms alps"]), body: Bytes(body) }
}

/// What answers at the other organization's address.
#[derive(Clone)]
struct Alps {
    address: String,
    shown: Arc<Mutex<SignedDirectory>>,
}

impl Alps {
    async fn open(shown: SignedDirectory) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let alps = Self { address, shown: Arc::new(Mutex::new(shown)) };
        let answer =
            async |Shared(alps): Shared<Self>| serde_json::to_string(&*alps.shown.lock().unwrap()).unwrap();
        let router = Router::new().route("/v1/directory", get(answer)).with_state(alps.clone());
        let config = server_config_for_anybody(&identity(key("whoever answers"))).unwrap();
        tokio::spawn(serve_anybody(listener, config, router, Limits::default(), std::future::pending()));
        alps
    }

    fn trusted(&self) -> Act {
        Act::trust(alps(), name("goro"), self.address.as_str())
    }
}

async fn entry(town: &Town) -> TrustEntry {
    let trusts: Trusts = town.stranger().get("/v1/trusts").await.unwrap();
    trusts.organizations.into_iter().next().unwrap()
}

async fn until(town: &Town, what: &str, holds: impl Fn(&TrustEntry) -> bool) -> TrustEntry {
    let start = Instant::now();
    loop {
        let found = entry(town).await;
        if holds(&found) {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: {found:?}");
        tokio::task::yield_now().await;
    }
}

/// The ca has folded and cosigned all that there is.
pub(crate) async fn cosign(town: &Town, stage: &Stage) {
    let organization = town.organization().await;
    let newest = town.checkpoint().await.note;
    let head = Checkpoint::verify(&newest, &organization, Signer::Kms, &stage.keys.log.unwrap()).unwrap();
    let note = note(&organization, &head, Signer::Ca);
    let _: Done = town.ca().post("/v1/cosignatures", &Cosignature { note }).await.unwrap();
}

fn path() -> String {
    format!("/v1/trusts/{}", alps().organization)
}

staged! {
    async fn p_16_7_what_is_trusted_is_fetched_at_once_and_shown_as_it_came(stage) {
        let town = Town::working(&stage).await;
        let first = directory(&alps(), 10, T0);
        let alps_here = Alps::open(first.clone()).await;
        let unknown = town.stranger().get::<SignedDirectory>(&path()).await;
        assert_eq!(code(unknown), ErrorCode::NotFound);
        town.done([alps_here.trusted()], TWO).await;
        until(&town, "it was fetched", |entry| entry.directory.is_some_and(|kept| kept.size == 10)).await;
        assert_eq!(town.stranger().get::<SignedDirectory>(&path()).await.unwrap(), first);
        // That it is pinned, and what it is called, the ledger proves once the ca has cosigned it.
        assert!(entry(&town).await.pinned.is_none());
        cosign(&town, &stage).await;
        let trusts: Trusts = town.stranger().get("/v1/trusts").await.unwrap();
        let found = &trusts.organizations[0];
        let organization = town.organization().await;
        let note = trusts.checkpoint.unwrap();
        let head = Checkpoint::verify(&note, &organization, Signer::Ca, &log_public("ca")).unwrap();
        let pinned = found.pinned.as_ref().unwrap();
        assert!(is_included(&pinned.leaf.0, pinned.index, &pinned.proof, &head));
        let order: Order = Leaf::from_bytes(pinned.leaf.0.clone()).unwrap().envelope().statement().unwrap();
        assert_eq!(order.acts, [alps_here.trusted()]);
        assert_eq!((found.alarm, found.trouble), (None, None));

        // It is kept over a crash, and nothing older takes its place.
        *alps_here.shown.lock().unwrap() = directory(&alps(), 9, T0);
        town.kms.kill();
        let town = Town::again(stage.start().await);
        let found = until(&town, "the older one is refused", |entry| entry.alarm.is_some()).await;
        assert_eq!(found.alarm.unwrap().kind, TroubleKind::Downgraded);
        assert_eq!(town.stranger().get::<SignedDirectory>(&path()).await.unwrap(), first);

        town.done([Act::TrustEnded { organization: alps().organization }], TWO).await;
        assert_eq!(code(town.stranger().get::<SignedDirectory>(&path()).await), ErrorCode::NotFound);
        let trusts: Trusts = town.stranger().get("/v1/trusts").await.unwrap();
        assert!(trusts.organizations.is_empty());
    }

    async fn p_16_7_what_is_refused_is_an_alarm_until_officers_pin_again(stage) {
        let town = Town::working(&stage).await;
        let sham = OrganizationKeys { ca: service_keys("ca sham"), ..alps() };
        let alps_here = Alps::open(directory(&sham, 10, T0)).await;
        town.done([alps_here.trusted()], TWO).await;
        let found = until(&town, "it is refused", |entry| entry.alarm.is_some()).await;
        assert_eq!(found.alarm.unwrap().kind, TroubleKind::RootChanged);
        assert_eq!(code(town.stranger().get::<SignedDirectory>(&path()).await), ErrorCode::NotReady);
        *alps_here.shown.lock().unwrap() = directory(&alps(), 10, T0);
        town.done([alps_here.trusted()], TWO).await;
        let found = until(&town, "it was fetched", |entry| entry.directory.is_some()).await;
        assert_eq!((found.alarm, found.trouble), (None, None));
    }

    async fn nobody_there_is_no_alarm(stage) {
        let town = Town::working(&stage).await;
        let mut nowhere = Alps::open(directory(&alps(), 1, T0)).await;
        nowhere.address = "127.0.0.1:1".to_owned();
        town.done([nowhere.trusted()], TWO).await;
        let found = until(&town, "nobody is there", |entry| entry.trouble.is_some()).await;
        assert_eq!((found.trouble.unwrap().kind, found.alarm), (TroubleKind::Unreachable, None));
    }

    async fn p_16_1_the_statement_is_about_the_exact_bytes_of_the_body(stage) {
        let town = Town::open_to_all(&stage).await;
        cosign(&town, &stage).await;
        let everybody = warifu_api::Client::public(&town.kms.public_address).unwrap();
        let signed: SignedDirectory = everybody.get("/v1/directory").await.unwrap();
        let statement: DirectoryStatement = signed.statement.verified(&stage.keys.signing).unwrap();
        assert_eq!(statement.organization, town.organization().await);
        assert_eq!(statement.digest, Digest::of(&signed.body.0));
        let note = signed::claimed(&signed).unwrap().directory.checkpoint.unwrap();
        let head = Checkpoint::verify(&note, &statement.organization, Signer::Ca, &log_public("ca")).unwrap();
        assert_eq!(statement.size, head.size);
        let (now, week) = (town.kms.clock.wall_ms(), 7 * DAY);
        assert!(statement.at.abs_diff(now) < DAY && statement.expires_at > statement.at, "{statement:?}");
        assert!(statement.expires_at - statement.at <= week, "{statement:?}");
    }

    async fn p_16_2_ones_own_directory_proves_itself_to_others(stage) {
        let town = Town::open_to_all(&stage).await;
        let everybody = warifu_api::Client::public(&town.kms.public_address).unwrap();
        assert_eq!(code(everybody.get::<SignedDirectory>("/v1/directory").await), ErrorCode::NotReady);
        cosign(&town, &stage).await;
        let organization = town.organization().await;
        let keys = OrganizationKeys { organization, ca: service_keys("ca"), kms: stage.keys.clone() };
        let pin = Pin { keys, at: T0 };
        let signed: SignedDirectory = everybody.get("/v1/directory").await.unwrap();
        let found = signed::verify(&signed, &pin, None, T0 + DAY).unwrap();
        assert_eq!(found.statement.size, town.state().await.tree().size());
        assert_eq!((found.content.name.as_str(), found.content.address.as_str()), ("大町市", "public.example:443"));
        // That each proves itself, `directory/tests` shows: the texts of this fixture are no names.
        let claimed = signed::claimed(&signed).unwrap().directory.units;
        assert!(claimed.iter().any(|unit| unit.unit == id("tax") && unit.created.is_some()));
        // The same until something changes; signed again the next day.
        assert_eq!(everybody.get::<SignedDirectory>("/v1/directory").await.unwrap(), signed);
        stage.clock.set_wall_ms(T0 + 20 * DAY);
        let later: SignedDirectory = everybody.get("/v1/directory").await.unwrap();
        assert!(signed::verify(&signed, &pin, None, T0 + 20 * DAY).is_err());
        let again = signed::verify(&later, &pin, Some(&found.seen), T0 + 20 * DAY).unwrap();
        assert_eq!(again.seen, Seen { keys_since: None, ..found.seen });
    }
}
