//! Where a test runs: a folder with a token and a database, in a process of its own, since a PKCS#11 module reads its
//! configuration from the environment once.

use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use sqlx::{AnyConnection, ConnectOptions as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use warifu_api::tls::{Identity, client_config};
use warifu_api::{Client, ClientError, ErrorCode};
use warifu_broken_parts::postgres::Cluster;
use warifu_broken_parts::{Place, PullableHsm};
use warifu_console::founding::Proposal;
use warifu_console::{ConsoleError, Database, Token};
use warifu_hardware::signer::{DigestSigner, SignerError};
use warifu_kms::authority::config::{BoxSettings, Public};
use warifu_kms::authority::founding::{found, init};
use warifu_kms::authority::{Authority, AuthorityError, Config};
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::register::Record;
use warifu_ledger::statement::{Founding, ServiceKeys, ServiceStatement};
use warifu_replica::clock::ManualClock;
use warifu_split_key::point::Point;

use crate::fixture::{self, T0, key, public, record};
use crate::s3::S3;

/// The address of the database, if it is not a file.
const DATABASE: &str = "WARIFU_AUTHORITY_TEST_DATABASE";
const CHILD: &str = "WARIFU_AUTHORITY_TEST_FOLDER";
pub(crate) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// The first officers.
pub(crate) const OFFICERS: &[&str] = &["sakura", "kenji", "midori"];
/// How long to wait for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Runtimes that are going down.
static ENDING: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Prepares a folder for SoftHSM and says where its configuration is.
pub(crate) fn softhsm(folder: &Path) -> PathBuf {
    let tokens = folder.join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let file = folder.join("softhsm2.conf");
    std::fs::write(&file, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))
        .unwrap();
    file
}

/// Runs `body` in a child process: this same test again, told so by its environment.
pub(crate) fn run<F: Future<Output = ()>>(test: &str, place: Place, body: impl FnOnce(Stage) -> F) {
    let (_, test) = test.split_once("::").unwrap();
    if let Some(folder) = std::env::var_os(CHILD) {
        let stage = Stage::new(folder.into());
        Runtime::new().unwrap().block_on(body(stage));
        // The module's own destructors run when the process ends: nobody may be using it then.
        let ending = std::mem::take(&mut *ENDING.lock().unwrap());
        return ending.into_iter().for_each(|thread| thread.join().unwrap());
    }
    assert!(Path::new(MODULE).exists(), "SoftHSM2 is not installed");
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let mut command = place.command(folder.path(), program).unwrap();
    if env!("CARGO_CRATE_NAME") == "authority_postgres" {
        command.env(DATABASE, Cluster::shared().unwrap().database().unwrap());
    }
    let output = command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("SOFTHSM2_CONF", softhsm(folder.path()))
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{test}\n{text}");
}

macro_rules! staged {
    ($(async fn $name:ident($stage:ident) $body:block)*) => {
        crate::stage::staged! { in Default::default(); $(async fn $name($stage) $body)* }
    };
    (in a folder, and in s3; $(async fn $name:ident($stage:ident) $body:block)*) => {
        crate::stage::staged! { $(async fn $name($stage) $body)* }

        mod in_s3 {
            use super::*;

            crate::stage::staged! {
                $(async fn $name(stage) {
                    let $stage = crate::s3::with_s3(stage);
                    $body
                })*
            }
        }
    };
    (in $place:expr; $(async fn $name:ident($stage:ident) $body:block)*) => {$(
        #[test]
        fn $name() {
            let path = concat!(module_path!(), "::", stringify!($name));
            crate::stage::run(path, $place, |$stage| async move $body);
        }
    )*};
}
pub(crate) use staged;

/// A P-256 key in software.
struct Soft(SigningKey);

impl DigestSigner for Soft {
    fn public_key(&self) -> Point {
        public(&self.0).0
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        let signature: Signature = self.0.sign_prehash(&digest).unwrap();
        Ok(signature.to_bytes().into())
    }
}

pub(crate) fn identity(key: SigningKey) -> Identity {
    Identity::self_signed(signer(key), "test").unwrap()
}

pub(crate) fn signer(key: SigningKey) -> Arc<dyn DigestSigner> {
    Arc::new(Soft(key))
}

/// Why the service refused.
pub(crate) fn code<T>(result: Result<T, ClientError>) -> ErrorCode {
    match result {
        Ok(_) => panic!("this was to be refused"),
        Err(error) => error.code().unwrap_or_else(|| panic!("{error:?}")),
    }
}

pub(crate) struct Stage {
    pub(crate) config: Config,
    /// Where its box lies, if not in a folder.
    pub(crate) s3: Option<S3>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) keys: ServiceKeys,
}

impl Stage {
    fn new(folder: PathBuf) -> Self {
        let pullable = folder.join("pullable.so");
        let module = if pullable.exists() { pullable } else { MODULE.into() };
        let pin_file = folder.join("pin");
        std::fs::write(&pin_file, "7531-user\n").unwrap();
        std::fs::set_permissions(&pin_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let config = Config {
            data: folder.join("data"),
            listen: "127.0.0.1:0".to_owned(),
            crl_listen: None,
            public: Some(Public {
                listen: "127.0.0.1:0".to_owned(),
                address: "public.example:443".to_owned(),
                certificate: None,
                key: None,
                also_shown: Vec::new(),
            }),
            deliveries: BoxSettings::default(),
            monitor: None,
            database: std::env::var(DATABASE).ok().map(|url| Database { url, password_file: None }),
            address: "kms.example:7443".to_owned(),
            helpdesk: "内線 1234".to_owned(),
            journal_seconds: 3600,
            hsm: Token { module, token_label: "kms".to_owned(), pin_file, data: folder.join("data") },
        };
        let statement = init(&config, None, None).unwrap();
        let again = init(&config, None, None).unwrap();
        assert_eq!(statement.digest(), again.digest(), "init changes nothing that is there");
        let keys = statement.statement::<ServiceStatement>().unwrap().keys;
        statement.verify(&keys.signing).unwrap();
        Self { config, s3: None, clock: Arc::new(ManualClock::new(0, T0)), keys }
    }

    /// Why the authority does not start, once the one before has ended.
    #[allow(dead_code, reason = "only some of the test programs ask")]
    pub(crate) async fn refused(&self) -> AuthorityError {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match Authority::open(&self.config, self.clock.clone()).await {
                Err(AuthorityError::Console(ConsoleError::InUse { .. })) if Instant::now() < deadline => {
                    tokio::task::yield_now().await;
                }
                opened => break opened.err().unwrap(),
            }
        }
    }

    /// What a server has is laid into the data folder, for who searches that. What was deleted there is not among it: PostgreSQL
    /// tidies up when it will.
    pub(crate) async fn lay_open(&self) {
        use warifu_kms::authority::moving::{TABLES, tables};
        use warifu_replica::storage::{self, Place};
        let place = self.config.place().unwrap();
        if matches!(place, Place::File(_)) {
            return;
        }
        let file = self.config.data.join("laid-open.sqlite");
        let _ = std::fs::remove_file(&file);
        let (from, to) = (place.read_only_pool().await.unwrap(), Place::File(file));
        let to = to.open(tables()).await.unwrap();
        let mut reading = storage::begin_reading(&from).await.unwrap();
        let mut writing = storage::begin(&to).await.unwrap();
        storage::copy::copy(&mut reading, &mut writing, &TABLES).await.unwrap();
        writing.commit().await.unwrap();
        drop(reading);
        from.close().await;
        to.close().await;
    }

    /// The authority's database, beside it.
    pub(crate) async fn database(&self) -> AnyConnection {
        let options = match self.config.place().unwrap() {
            warifu_replica::storage::Place::File(path) => {
                warifu_replica::storage::options(&path, "rw").unwrap()
            }
            warifu_replica::storage::Place::Server(_) => {
                self.config.database.as_ref().unwrap().url.parse().unwrap()
            }
        };
        options.connect().await.unwrap()
    }

    /// The HSM, where it can be pulled.
    pub(crate) fn hsm(&self) -> PullableHsm {
        PullableHsm::build(self.config.data.parent().unwrap()).unwrap()
    }

    pub(crate) fn founding(&self) -> Founding {
        Founding { kms: self.keys.clone(), ..fixture::founding() }
    }

    /// The founding as it comes to the kms: signed by these officers' cards and these services.
    pub(crate) fn founding_by(&self, officers: &[&str], services: &[&str]) -> Envelope {
        let mut envelope = fixture::envelope_by_cards(&self.founding(), officers);
        for service in services {
            fixture::add_signature(&mut envelope, &key(&format!("{service} signing")));
        }
        envelope
    }

    pub(crate) fn founding_records() -> Vec<Record> {
        ["大町市"].iter().chain(OFFICERS).map(|text| record(text)).collect()
    }

    pub(crate) async fn try_to_found(
        &self,
        envelope: &Envelope,
        records: Vec<Record>,
    ) -> Result<Envelope, AuthorityError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (envelope, records) = (envelope.clone(), records.clone());
            let proposal = Proposal::try_from(envelope)?;
            let fingerprint = proposal.fingerprint();
            let confirmed = proposal.confirm(Some(fingerprint))?;
            match found(&self.config, self.clock.clone(), confirmed, records).await {
                Err(AuthorityError::Console(ConsoleError::InUse { .. })) if Instant::now() < deadline => {
                    tokio::task::yield_now().await;
                }
                result => return result,
            }
        }
    }

    pub(crate) async fn found(&self) -> Digest {
        let founding = self.founding_by(OFFICERS, &["ca"]);
        self.try_to_found(&founding, Self::founding_records()).await.unwrap().digest()
    }

    /// A running authority.
    pub(crate) async fn start(&self) -> Kms {
        self.start_with(|_| ()).await
    }

    /// A running authority, of which this is said before it serves.
    pub(crate) async fn start_with(&self, said: impl FnOnce(&Authority) + Send + 'static) -> Kms {
        let runtime = Runtime::new().unwrap();
        let (config, clock) = (self.config.clone(), self.clock.clone());
        let started = runtime.spawn(async move {
            let deadline = Instant::now() + DEADLINE;
            let authority = loop {
                match Authority::open(&config, clock.clone()).await {
                    // The one before is on its way out.
                    Err(AuthorityError::Console(ConsoleError::InUse { .. })) if Instant::now() < deadline => {
                        tokio::task::yield_now().await;
                    }
                    opened => break opened.unwrap(),
                }
            };
            said(&authority);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let crls = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let crl_address = crls.local_addr().unwrap().to_string();
            let plain = authority.clone();
            tokio::spawn(async move { plain.serve_crls(crls, std::future::pending()).await });
            let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let public_address = public.local_addr().unwrap().to_string();
            if let Some(configured) = config.public.clone() {
                let serving = authority.clone();
                tokio::spawn(async move {
                    serving.serve_public(public, &configured, std::future::pending()).await.unwrap();
                });
            }
            tokio::spawn(authority.clone().sweep_now_and_then());
            let following = authority.clone();
            tokio::spawn(async move { following.follow_others().await });
            tokio::spawn(async move { authority.serve(listener, std::future::pending()).await });
            (address, crl_address, public_address)
        });
        let (address, crl_address, public_address) = started.await.unwrap();
        let (tls, clock) = (self.keys.tls.0, self.clock.clone());
        Kms { runtime: Some(runtime), address, crl_address, public_address, tls, clock }
    }
}

/// An authority that runs.
pub(crate) struct Kms {
    runtime: Option<Runtime>,
    pub(crate) address: String,
    /// Where it serves CRLs.
    pub(crate) crl_address: String,
    /// Where everybody is served.
    #[allow(dead_code, reason = "only some of the test programs ask")]
    pub(crate) public_address: String,
    tls: Point,
    pub(crate) clock: Arc<ManualClock>,
}

impl Kms {
    /// One that somebody else has started.
    #[allow(dead_code, reason = "only some of the test programs do")]
    pub(crate) fn at(address: String, stage: &Stage) -> Self {
        let (tls, clock) = (stage.keys.tls.0, stage.clock.clone());
        let (crl_address, public_address) = (String::new(), String::new());
        Self { runtime: None, address, crl_address, public_address, tls, clock }
    }

    pub(crate) fn stranger(&self) -> Client {
        Client::new(&self.address, self.tls, None).unwrap()
    }

    /// A client that holds this key.
    pub(crate) fn by(&self, key: SigningKey) -> Client {
        self.with(&identity(key))
    }

    /// A client that shows this identity.
    pub(crate) fn with(&self, identity: &Identity) -> Client {
        Client::new(&self.address, self.tls, Some(identity)).unwrap()
    }

    /// A bare connection from an address of this machine, with this key or without.
    pub(crate) async fn connection(&self, source: &str, key: Option<SigningKey>) -> TlsStream<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(self.address.parse().unwrap()).await.unwrap();
        let config = client_config(self.tls, key.map(identity).as_ref()).unwrap();
        let name = "kms.example".try_into().unwrap();
        TlsConnector::from(config).connect(name, stream).await.unwrap()
    }

    /// Ends it without any farewell, wherever it is.
    pub(crate) fn kill(self) {}
}

impl Drop for Kms {
    fn drop(&mut self) {
        let runtime = self.runtime.take();
        ENDING.lock().unwrap().push(std::thread::spawn(move || drop(runtime)));
    }
}
