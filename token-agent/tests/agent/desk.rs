//! A member's PC: readers, cards, sites, and the agent as a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use warifu_api::tls::PeerKey;
use warifu_api::wire::UnitEntry;
use warifu_api::wire::agent::{
    AgentFault, AgentState, FileOutcome, OpenRequest, OpenTarget, PinText, Status, Unlock,
};
use warifu_api::wire::authority::Directory;
use warifu_envelope::{UnitRecipient, seal};
use warifu_hardware::card::{Card as _, KeyRole, ManagementKey, PivCard};
use warifu_ledger::statement::{Profile, ProfileSite, Right};
use warifu_ledger::{Digest, Id};
use warifu_split_key::point::Point;
use warifu_token_agent::client::{AgentClient, AgentError};
use warifu_virtual_card::readers::Readers;
use warifu_virtual_card::{Inserted, TestRoot, VirtualCard};
use zeroize::Zeroizing;

use crate::organization::{Service, Unit, certificate, rng, signed};
use crate::services::{Kms, Member, Site, my_grant};

pub(crate) const PIN: &str = "123456";
const DEADLINE: Duration = Duration::from_secs(15);
/// Design section 8: card out, and within this everything is gone.
pub(crate) const ONE_SECOND: Duration = Duration::from_secs(1);

pub(crate) struct Desk {
    // Dropped first.
    agent: Option<Child>,
    pub(crate) cards: Vec<(VirtualCard, Option<Inserted>)>,
    pub(crate) readers: Readers,
    pub(crate) runtime: Runtime,
    pub(crate) sites: Vec<Arc<Site>>,
    pub(crate) kms: Arc<Kms>,
    pub(crate) ca_service: Service,
    pub(crate) kms_service: Service,
    pub(crate) organization: Digest,
    pub(crate) root: TestRoot,
    pub(crate) folder: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, PathBuf)>,
}

/// A card that was personalized by hand.
pub(crate) struct Member1 {
    pub(crate) index: usize,
    pub(crate) key: PeerKey,
}

pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Desk {
    /// A PC with one reader a card, a kms and two sites; the agent does not run yet.
    pub(crate) fn new(readers: Readers) -> Self {
        // Not in /tmp, which viewers do not see.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let organization = Digest::of(b"founding");
        let (main, main_entry) = Site::start(&runtime, organization, "本庁");
        let (branch, branch_entry) = Site::start(&runtime, organization, "大町支所");
        let (ca_service, kms_service) = (Service::draw(), Service::draw());
        let (kms, kms_address) = Kms::start(&runtime, &kms_service);
        let root = TestRoot::open(folder.path()).unwrap();
        let desk = Self {
            agent: None,
            cards: Vec::new(),
            readers,
            runtime,
            sites: vec![main, branch],
            kms,
            ca_service,
            kms_service,
            organization,
            root,
            folder,
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        desk.write_profile(kms_address.to_string(), vec![main_entry, branch_entry], 3_600_000);
        desk
    }

    pub(crate) fn write_profile(&self, kms_address: String, sites: Vec<ProfileSite>, pin_ceiling_ms: u64) {
        let profile = Profile {
            organization: self.organization,
            name: "北アルプス広域連合".to_owned(),
            zone: "Asia/Tokyo".to_owned(),
            ca: self.ca_service.keys(),
            kms: self.kms_service.keys(),
            former: Vec::new(),
            kms_address,
            sites,
            helpdesk: "情報政策課 0261-00-0000".to_owned(),
            pin_ceiling_ms,
        };
        let envelope = signed(&profile, &[&self.kms_service.signing]);
        std::fs::write(self.path("profile.json"), serde_json::to_vec(&envelope).unwrap()).unwrap();
    }

    /// The profile as it is, to be changed.
    pub(crate) fn profile(&self) -> Profile {
        let envelope: warifu_ledger::dsse::Envelope =
            serde_json::from_slice(&std::fs::read(self.path("profile.json")).unwrap()).unwrap();
        envelope.statement().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn bootstrap(&self) -> PathBuf {
        self.path("run/agent.json")
    }

    /// A further command line argument for the agent.
    pub(crate) fn argument(&mut self, words: &[&str]) {
        self.arguments.extend(words.iter().map(|word| (*word).to_owned()));
    }

    /// The agent takes the word of the virtual cards' maker, whom nobody knows.
    pub(crate) fn believes_the_maker(&mut self) {
        let root = self.root.certificate_path().to_str().unwrap().to_owned();
        let fingerprint = Digest::of(self.root.der()).to_string();
        self.argument(&["--attestation-root", &root, "--attestation-fingerprint", &fingerprint]);
    }

    /// A variable of the agent's environment.
    pub(crate) fn environment(&mut self, name: &str, value: &Path) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn start_agent(&mut self) {
        self.start_agent_with(&["sh", "-c", "exec tail -f -- \"$1\"", "viewer"]);
    }

    pub(crate) fn start_agent_with(&mut self, viewer: &[&str]) {
        self.start_agent_anyhow(viewer);
        self.until_state("the agent has seen the readers", |state| {
            !matches!(state, AgentState::NoReaderService | AgentState::NoReader)
        });
    }

    /// Starts the agent where there may be nothing for it to see.
    pub(crate) fn start_agent_anyhow(&mut self, viewer: &[&str]) {
        let _ = std::fs::remove_file(self.bootstrap());
        let agent = Command::new(env!("CARGO_BIN_EXE_warifu-agent"))
            .arg("--profile")
            .arg(self.path("profile.json"))
            .arg("--runtime-dir")
            .arg(self.path("run"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .args(&self.arguments)
            .arg("--viewer")
            .args(viewer)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.agent = Some(agent);
        until("the agent runs", || AgentClient::from_bootstrap(&self.bootstrap()).ok());
    }

    /// Ends the agent in its orderly way; returns when it has ended.
    pub(crate) fn terminate_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        Command::new("kill").arg(agent.id().to_string()).status().unwrap();
        assert!(agent.wait().unwrap().success());
    }

    /// Gives the running agent one of the limits that `prlimit` knows.
    pub(crate) fn limit_agent(&self, resource: &str, limit: u64) {
        let id = self.agent.as_ref().unwrap().id().to_string();
        let limit = format!("--{resource}={limit}");
        assert!(Command::new("prlimit").args(["--pid", &id, &limit]).status().unwrap().success());
    }

    pub(crate) fn signal_agent(&self, signal: &str) {
        let id = self.agent.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Ends the agent with SIGKILL.
    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub(crate) fn client(&self) -> AgentClient {
        AgentClient::from_bootstrap(&self.bootstrap()).unwrap()
    }

    /// A new card, not in a reader.
    pub(crate) fn new_card(&mut self) -> usize {
        let index = self.cards.len();
        let path = self.path(&format!("card-{index}.json"));
        let card = VirtualCard::create(&path, 1000 + u32::try_from(index).unwrap(), &self.root).unwrap();
        self.cards.push((card, None));
        index
    }

    pub(crate) fn serial(&self, index: usize) -> u32 {
        self.cards[index].0.serial()
    }

    /// Puts a card into the reader of its own number.
    pub(crate) fn insert(&mut self, index: usize) {
        let port = self.readers.port(index);
        let (card, inserted) = &mut self.cards[index];
        *inserted = Some(card.insert(port).unwrap());
    }

    pub(crate) fn remove(&mut self, index: usize) {
        self.cards[index].1.take().unwrap().remove();
    }

    /// A member's card of this organization with grants to these units; not in a reader when this returns.
    pub(crate) fn member(&mut self, units: &[&Unit]) -> Member1 {
        self.member_of(self.organization, units)
    }

    pub(crate) fn member_of(&mut self, organization: Digest, units: &[&Unit]) -> Member1 {
        let index = self.new_card();
        self.insert(index);
        let name = self.readers.name(index);
        let mut card = until("the card is seen", || PivCard::open(&name).ok());
        card.authenticate_management(&ManagementKey::factory()).unwrap();
        for role in KeyRole::ALL {
            card.generate(role).unwrap();
        }
        let key = card.public_key(KeyRole::Authentication).unwrap();
        let id = Id::draw(&mut rng());
        let uri = format!("urn:warifu:{organization}:card:{id}");
        card.write_certificate(KeyRole::Authentication, &certificate(&key, Some(uri))).unwrap();
        let signature = card.public_key(KeyRole::Signature).unwrap();
        for site in &self.sites {
            let mut state = site.state();
            let member = state.members.entry(PeerKey(key)).or_insert_with(Member::default);
            (member.card, member.signature) = (Some(id), Some(signature));
        }
        for unit in units {
            let mut shares = Vec::new();
            let (a, b) = unit.split();
            let slot = card.free_share_slot().unwrap();
            card.import_share(slot, &a, &certificate(&a.public(), None)).unwrap();
            shares.push(b);
            let grant = Id::draw(&mut rng());
            for site in &self.sites {
                let b = warifu_split_key::keeper::SiteShare::from_bytes(&shares[0].expose_bytes()).unwrap();
                let mut state = site.state();
                let member = state.members.get_mut(&PeerKey(key)).unwrap();
                member.grants.push((my_grant(grant, unit, a.public()), b));
            }
        }
        drop(card);
        self.remove(index);
        Member1 { index, key: PeerKey(key) }
    }

    /// A card that may route files of a front desk to these units, and cannot read them.
    pub(crate) fn dispatcher(&mut self, front: &Unit, targets: &[&Unit]) -> Member1 {
        let dispatcher = self.member(&[front]);
        for site in &self.sites {
            let mut state = site.state();
            for (grant, _) in &mut state.members.get_mut(&dispatcher.key).unwrap().grants {
                grant.right = Right::Route;
                grant.routes_to = targets.iter().map(|target| target.id).collect();
            }
        }
        dispatcher
    }

    /// The kms's directory has these units.
    pub(crate) fn publish(&self, units: &[&Unit]) {
        let entry = |unit: &&Unit| UnitEntry {
            unit: unit.id,
            label: unit.label(),
            name: unit.name.clone(),
            kind: unit.kind,
            recipient: Some(UnitRecipient::encode(&unit.key)),
            created: Some(unit.created(self.organization, &self.ca_service, &self.kms_service)),
            name_key: Some(unit.record().key),
        };
        self.kms.state().directory = Some(Directory {
            organization: self.organization,
            units: units.iter().map(entry).collect(),
            orders: units.iter().map(|unit| unit.ordered(self.organization)).collect(),
            checkpoint: None,
            included: vec![],
        });
    }

    pub(crate) fn status(&self) -> Status {
        self.runtime.block_on(self.client().status()).unwrap()
    }

    pub(crate) fn until_state(&self, what: &str, wanted: impl Fn(&AgentState) -> bool) -> AgentState {
        let mut last = None;
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            let state = self.status().state;
            if wanted(&state) {
                return state;
            }
            last = Some(state);
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("in time: {what}; last {last:?}")
    }

    pub(crate) fn until_pin_needed(&self) {
        self.until_state("the PIN is needed", |state| matches!(state, AgentState::PinNeeded { .. }));
    }

    pub(crate) fn unlock(&self, serial: Option<u32>, pin: &str) -> Result<Status, AgentFault> {
        self.unlock_with(serial, pin, false)
    }

    pub(crate) fn unlock_with(
        &self,
        serial: Option<u32>,
        pin: &str,
        spend_last_try: bool,
    ) -> Result<Status, AgentFault> {
        let request = Unlock { serial, pin: PinText(Zeroizing::new(pin.to_owned())), spend_last_try };
        faulty(self.runtime.block_on(self.client().unlock(&request)))
    }

    /// A card in the reader, opened with its PIN.
    pub(crate) fn insert_and_unlock(&mut self, index: usize) {
        self.insert(index);
        self.until_pin_needed();
        let status = self.unlock(None, PIN).unwrap();
        assert!(matches!(status.state, AgentState::Open { .. }), "{status:?}");
    }

    /// A file for a unit, and its path.
    pub(crate) fn sealed(&self, name: &str, unit: &Point, plaintext: &[u8]) -> PathBuf {
        let path = self.path(name);
        seal(&[*unit], false, plaintext, std::fs::File::create(&path).unwrap()).unwrap();
        path
    }

    pub(crate) fn open(&self, files: &[&Path], target: OpenTarget) -> Result<Vec<FileOutcome>, AgentFault> {
        let files = files.iter().map(|path| path.to_str().unwrap().to_owned()).collect();
        let answer = self.runtime.block_on(self.client().open(&OpenRequest { files, target }));
        faulty(answer).map(|answer| answer.files)
    }

    pub(crate) fn view(&self, file: &Path) -> Result<PathBuf, AgentFault> {
        match self.open(&[file], OpenTarget::View)?.remove(0) {
            FileOutcome::Viewing { path, .. } => Ok(PathBuf::from(path)),
            FileOutcome::Failed { fault } => Err(fault),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn export(&self, file: &Path, out: &Path) -> Result<u64, AgentFault> {
        let target = OpenTarget::Export { path: out.to_str().unwrap().to_owned(), overwrite: false };
        match self.open(&[file], target)?.remove(0) {
            FileOutcome::Exported { bytes, .. } => Ok(bytes),
            FileOutcome::Failed { fault } => Err(fault),
            other => panic!("{other:?}"),
        }
    }

    /// Runs `warifu` with this on its standard input.
    pub(crate) fn warifu(&self, words: &[&str], input: &str) -> Output {
        use std::io::Write as _;
        let mut child = Command::new(env!("CARGO_BIN_EXE_warifu"))
            .arg("--agent")
            .arg(self.bootstrap())
            .args(words)
            .env("LC_ALL", "ja_JP.UTF-8")
            .env("XDG_STATE_HOME", self.path("state"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input may have ended.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }
}

/// What a command wrote on standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command wrote on standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

impl Drop for Desk {
    fn drop(&mut self) {
        let Some(mut agent) = self.agent.take() else { return };
        // In its orderly way, so that nothing is left in memory.
        let _ = Command::new("kill").arg(agent.id().to_string()).status();
        let deadline = Instant::now() + DEADLINE;
        while matches!(agent.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = agent.kill();
                let _ = agent.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub(crate) fn faulty<T>(answer: Result<T, AgentError>) -> Result<T, AgentFault> {
    answer.map_err(|error| match error {
        AgentError::Fault(fault) => fault,
        other => panic!("{other:?}"),
    })
}

/// What lies in the agent's private folder in memory.
pub(crate) fn opened_folders(desk: &Desk) -> Vec<PathBuf> {
    let runtime = std::fs::canonicalize(desk.path("run")).unwrap();
    let digest = Digest::of(runtime.to_str().unwrap().as_bytes()).to_string();
    let user = rustix::process::geteuid().as_raw();
    let folder = format!("/dev/shm/warifu-{user}-{}", &digest[..16]);
    let entries = std::fs::read_dir(Path::new(&folder)).map(|entries| entries.flatten().collect::<Vec<_>>());
    entries.unwrap_or_default().into_iter().map(|entry| entry.path()).collect()
}

/// The processes that have this in their command line.
pub(crate) fn processes_with(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(text) {
            found.push(id);
        }
    }
    found
}

/// Whether the folder that held an opened file, and everything that showed it, is gone.
pub(crate) fn is_gone(path: &Path) -> bool {
    !path.parent().unwrap().exists() && processes_with(path.to_str().unwrap()).is_empty()
}
