//! A town with its site `main`, and the people who come to it.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::AnyPool;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use warifu_api::error::ErrorCode;
use warifu_api::tls::{Identity, client_config};
use warifu_api::wire::Leaves;
use warifu_api::wire::site::{
    Me, PartialItem, PartialOutcome, PartialsAnswer, PartialsRequest, RevocationRequest, Status,
};
use warifu_api::{Client, ClientError};
use warifu_console::Settings as _;
use warifu_crash_point::CrashPoint;
use warifu_hardware::hsm::Hsm;
use warifu_kms::site::command::init;
use warifu_kms::site::config::Config;
use warifu_kms::site::journal::Journal;
use warifu_kms::site::{Rate, Settings, Site};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::{Row, genesis};
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::{Act, Receipt, ServiceStatement};
use warifu_ledger::{Digest, Id};
use warifu_replica::clock::ManualClock;

use crate::kms::Kms;
use crate::people::*;
use crate::stage::module;

/// How long a test waits for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Town {
    pub(crate) kms: Kms,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: Config,
    pub(crate) keys: warifu_ledger::statement::ServiceKeys,
    address: String,
    running: Option<Running>,
}

struct Running {
    pool: AnyPool,
    hsm: Hsm,
    acted: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

/// The program; it ends with SIGKILL when this is dropped.
pub(crate) struct Process(std::process::Child);

impl Process {
    /// Waits until it has come to its end by itself.
    pub(crate) fn ended(&mut self) {
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What came of one item.
pub(crate) type Outcome = Result<[u8; 32], ErrorCode>;

impl Town {
    /// Founded, with site `main`, which runs and has its first stamp; another site `branch`, of which nobody hears; the
    /// department `tax`, opened by `hanako`; the contract `acme` with its `team`, opened by `taro`; and `jiro`, who has a
    /// card and nothing more.
    pub(crate) async fn working(folder: PathBuf) -> Self {
        let mut town = Self::founded(folder).await;
        town.start().await;
        let kms = &town.kms;
        let joined = |site: &str, keys, address: &str| Act::SiteJoined {
            site: id(site),
            name: name(site),
            keys,
            address: address.to_owned(),
        };
        let mut branch = service_keys("branch");
        branch.log = None;
        let main = joined("main", town.keys.clone(), &town.config.address);
        let acme = Act::ContractOpened { contract: id("acme"), name: name("acme"), ends_at: ACME_ENDS };
        kms.done([main, joined("branch", branch, "branch.example:8443"), acme], TWO);
        kms.done([unit("tax", None, &["main"]), unit("team", Some("acme"), &["main", "branch"])], TWO);
        kms.create("tax");
        kms.create("team");
        kms.done(
            [("hanako", None), ("taro", Some("acme")), ("jiro", None)]
                .map(|(label, contract)| Act::CardEnrolled(card(label, contract))),
            TWO,
        );
        kms.done([grant("hanako", "tax"), grant("taro", "team")], ONE);
        town.give("hanako", "tax", &["main"]).await;
        town.give("taro", "team", &["main"]).await;
        town.settled().await;
        town.until_fresh().await;
        town
    }

    /// Founded, and nothing runs.
    pub(crate) async fn founded(folder: PathBuf) -> Self {
        let clock = Arc::new(ManualClock::new(1_000_000, T0));
        let kms = Kms::founded(clock.clone()).await;
        let path = folder.join("site.toml");
        let tls_key = serde_json::to_string(&service_keys("kms").tls).unwrap();
        let text = format!(
            "data = \"data\"\nlisten = \"127.0.0.1:0\"\naddress = \"main.example:8443\"\n\
             [hsm]\nmodule = \"{}\"\ntoken_label = \"main\"\npin_file = \"pin\"\n\
             [kms]\naddress = \"{}\"\ntls_key = {tls_key}\n",
            module(&folder).display(),
            kms.address(),
        );
        let organization = kms.state().organization();
        let text = format!("organization = \"{organization}\"\n{text}");
        std::fs::write(&path, text).unwrap();
        let config = Config::read(&path).unwrap();
        let statement = init(&config, None, None).unwrap();
        let statement: ServiceStatement = statement.statement().unwrap();
        Self { kms, clock, config, keys: statement.keys, address: String::new(), running: None }
    }

    /// Lets the kms wrap and issue a grant that was ordered, once the site has announced its key pair, and waits until the
    /// share is here.
    pub(crate) async fn give(&self, card: &str, unit: &str, sites: &[&str]) {
        let grant = grant_id(card, unit);
        self.kms.until("a grant key", |data| data.grant_keys.contains_key(&grant)).await;
        let wrapped = self.kms.wrap(card, unit);
        self.kms.set(|data| drop(data.wraps.insert(grant, wrapped)));
        self.kms.issue(card, unit, sites);
        self.kms.until("an acknowledgement", |data| !data.wraps.contains_key(&grant)).await;
    }

    pub(crate) async fn start(&mut self) {
        assert!(self.running.is_none());
        let pool = Site::database(&self.config.database()).await.unwrap();
        let hsm = self.config.hsm.open().unwrap();
        let site = Site::start(Settings {
            pool: pool.clone(),
            hsm: hsm.clone(),
            organization: self.config.organization.unwrap(),
            kms_address: self.config.kms.address.clone(),
            kms_tls_key: self.config.kms.key().unwrap().unwrap(),
            data: Some(self.config.data.clone()),
            clock: self.clock.clone(),
            rate: Rate { burst: 1_000_000, ..Rate::default() },
        })
        .await
        .unwrap();
        let listener = TcpListener::bind(&self.config.listen).await.unwrap();
        self.address = listener.local_addr().unwrap().to_string();
        let acted = site.acted();
        let task = tokio::spawn(async move {
            site.serve(listener, std::future::pending()).await.unwrap();
        });
        self.running = Some(Running { pool, hsm, acted, task });
    }

    /// Drops the site where it stands: nothing is told to finish.
    pub(crate) async fn kill(&mut self) {
        let running = self.running.take().unwrap();
        running.task.abort();
        let _ = running.task.await;
        running.pool.close().await;
    }

    /// Waits until the site has come to its end by itself.
    pub(crate) async fn ended(&mut self) {
        let running = self.running.take().unwrap();
        tokio::time::timeout(PATIENCE, running.task).await.expect("it goes on").unwrap();
        running.pool.close().await;
    }

    /// `host:port` under which it answers.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Starts the program itself.
    pub(crate) fn start_process(&mut self) -> Process {
        self.start_program(&[])
    }

    /// Starts the program, which is killed where it comes to this point.
    pub(crate) fn start_process_that_ends_at(&mut self, point: CrashPoint) -> Process {
        self.start_program(&[("WARIFU_CRASH_AT", point.name())])
    }

    fn start_program(&mut self, environment: &[(&str, &str)]) -> Process {
        assert!(self.running.is_none());
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_warifu-kms"))
            .args(["site", "run", "--config"])
            .arg(self.config.data.with_file_name("site.toml"))
            .envs(environment.iter().copied())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.address = line.trim_end().strip_prefix("ready ").expect("no `ready`").to_owned();
        Process(child)
    }

    /// Starts the program, which has to end by itself; its last words.
    pub(crate) fn refused_to_run(&self) -> String {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_warifu-kms"))
            .args(["site", "run", "--config"])
            .arg(self.config.data.with_file_name("site.toml"))
            .output()
            .unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "it runs: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) async fn restart(&mut self) {
        self.kill().await;
        self.start().await;
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn pool(&self) -> &AnyPool {
        &self.running().pool
    }

    /// The grants that have a key pair in the HSM.
    pub(crate) fn key_pairs(&self) -> BTreeSet<Id> {
        self.running().hsm.grant_keys().unwrap().iter().map(|label| label.parse().unwrap()).collect()
    }

    pub(crate) fn hsm(&self) -> &Hsm {
        &self.running().hsm
    }

    /// Waits until the site has acted on everything that the kms shows.
    pub(crate) async fn settled(&self) {
        let size = {
            let data = self.kms.data();
            data.shown.unwrap_or(data.leaves.len()) as u64
        };
        self.acted(size).await;
    }

    pub(crate) async fn acted(&self, size: u64) {
        let mut acted = self.running().acted.clone();
        let wait = acted.wait_for(|&acted| acted >= size);
        tokio::time::timeout(PATIENCE, wait).await.expect("the site lags").unwrap();
    }

    pub(crate) async fn status(&self) -> Result<Status, ClientError> {
        self.stranger().get("/v1/status").await
    }

    /// Waits until the site's status is such.
    pub(crate) async fn until_status(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Ok(status) = self.status().await
                && holds(&status)
            {
                return status;
            }
            assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the lease runs.
    pub(crate) async fn until_fresh(&self) {
        self.until_status("a lease", |status| status.time.is_some()).await;
    }

    pub(crate) fn client(&self, tls_key: Option<&str>) -> Client {
        let identity = tls_key.map(identity);
        Client::new(self.address.as_str(), self.keys.tls.0, identity.as_ref()).unwrap()
    }

    /// A client that shows this identity.
    pub(crate) fn client_as(&self, identity: &Identity) -> Client {
        Client::new(self.address.as_str(), self.keys.tls.0, Some(identity)).unwrap()
    }

    /// A bare connection with a card.
    pub(crate) async fn connection(&self, card: &str) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        self.handshake(stream, Some(&format!("{card} 9A"))).await
    }

    /// TCP and nothing more, from an address of this machine.
    pub(crate) async fn tcp(&self, source: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        socket.connect(self.address.parse().unwrap()).await.unwrap()
    }

    /// A handshake on it, with a key or without.
    pub(crate) async fn handshake(&self, stream: TcpStream, tls_key: Option<&str>) -> TlsStream<TcpStream> {
        let config = client_config(self.keys.tls.0, tls_key.map(identity).as_ref()).unwrap();
        let name = "main.example".try_into().unwrap();
        TlsConnector::from(config).connect(name, stream).await.unwrap()
    }

    pub(crate) fn stranger(&self) -> Client {
        self.client(None)
    }

    /// A new connection with a card.
    pub(crate) fn card(&self, card: &str) -> Client {
        self.client(Some(&format!("{card} 9A")))
    }

    pub(crate) async fn me(&self, card: &str) -> Result<Me, ErrorCode> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.card(card).get("/v1/me").await {
                Err(error) if was_cut(&error, until) => {}
                answer => return answer.map_err(|error| code(&error)),
            }
        }
    }

    /// Asks with that card for that file of that unit.
    pub(crate) async fn open(&self, card: &str, unit: &str, label: &str) -> Outcome {
        let item = [(grant_id(card, unit), file(label).to_uncompressed().to_vec())];
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            match request(&self.card(card), &item).await {
                Err(error) if was_cut(&error, until) => {}
                Err(error) => return Err(code(&error)),
                Ok(answer) => return outcomes(answer, 1).remove(0),
            }
        }
    }

    /// Restarts a site that has halted: before it follows the kms again it says that no lease runs, and then why.
    pub(crate) async fn restart_halted(&mut self) {
        self.restart().await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.open("taro", "team", "a").await {
                Err(ErrorCode::Fork) => return,
                said => assert_eq!(said, Err(ErrorCode::LeaseExpired)),
            }
            assert!(tokio::time::Instant::now() < deadline, "it has forgotten why");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// As [`Town::open`], and what comes has to be right.
    pub(crate) async fn opens(&self, card: &str, unit: &str) {
        assert_eq!(self.open(card, unit, "a file").await, Ok(expected(card, unit, "a file")));
    }

    /// Brings an order by hand.
    pub(crate) async fn bring(&self, order: &Envelope, leaves: Option<Leaves>) -> Result<Receipt, ErrorCode> {
        let request = RevocationRequest { order: order.clone(), leaves };
        let envelope: Envelope =
            self.stranger().post("/v1/revocations", &request).await.map_err(|error| code(&error))?;
        Ok(envelope.verified(&self.keys.signing).unwrap())
    }

    /// The whole journal, its chain checked.
    pub(crate) async fn journal(&self) -> Vec<Row> {
        let journal = Journal::new(self.pool().clone());
        let rows = journal.rows(0, 10_000).await.unwrap();
        if let Some(first) = rows.first() {
            let own = journal.id().await.unwrap();
            assert_eq!(first.previous, genesis(&self.organization(), &id("main"), &own));
        }
        rows
    }

    /// A copy of the database as it is now.
    pub(crate) async fn back_up(&self) -> PathBuf {
        let path = self.config.data.join("backup.sqlite");
        let _ = std::fs::remove_file(&path);
        sqlx::query("VACUUM INTO ?").bind(path.to_str().unwrap()).execute(self.pool()).await.unwrap();
        path
    }

    /// Puts the copy in the place of the database of a site that does not run.
    pub(crate) fn restore(&self, copy: &PathBuf) {
        assert!(self.running.is_none());
        let database = self.config.database();
        // The killed site's last connection may still be closing: SQLite writes nothing more to a file that was replaced.
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", database.display()));
        }
        std::fs::copy(copy, database).unwrap();
    }

    pub(crate) fn organization(&self) -> Digest {
        self.kms.state().organization()
    }
}

/// Whether to ask once more: a site ends a card's connections when something of the card is over, at a moment of its own.
fn was_cut(error: &ClientError, until: tokio::time::Instant) -> bool {
    error.code().is_none() && tokio::time::Instant::now() < until
}

pub(crate) fn code(error: &ClientError) -> ErrorCode {
    error.code().unwrap_or_else(|| panic!("no refusal: {error:?}"))
}

/// Sends a request for partials.
pub(crate) async fn request(client: &Client, items: &[(Id, Vec<u8>)]) -> Result<PartialsAnswer, ClientError> {
    let items = items
        .iter()
        .map(|(grant, r)| PartialItem { grant: *grant, encapsulated: Bytes(r.clone()) })
        .collect();
    client.post("/v1/partials", &PartialsRequest { items, routed: Vec::new() }).await
}

/// Asks for partials; outcomes item by item, or why all of it is refused.
pub(crate) async fn ask(client: &Client, items: &[(Id, Vec<u8>)]) -> Result<Vec<Outcome>, ErrorCode> {
    let answer = request(client, items).await.map_err(|error| code(&error))?;
    Ok(outcomes(answer, items.len()))
}

fn outcomes(answer: PartialsAnswer, asked: usize) -> Vec<Outcome> {
    assert_eq!(answer.items.len(), asked);
    answer
        .items
        .into_iter()
        .map(|outcome| match outcome {
            PartialOutcome::Partial { x } => Ok(*x.0),
            PartialOutcome::Refused { code } => Err(code),
        })
        .collect()
}
