//! The town: what is where.

mod clock;
mod founding;
mod lines;
mod people;
mod senders;
mod tokens;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::PublicKey;
use warifu_ledger::statement::ServiceStatement;
use warifu_virtual_card::readers::Readers;
use warifu_virtual_card::{Inserted, TestRoot, VirtualCard};

use lines::Line;
pub use senders::{age_of_browsers, rage};

use crate::process::{Ready, Recipe, Service, must, program, run};
use crate::relay::Relay;

/// Every member's PIN: enrolment sets it in the place of the factory's.
pub const PIN: &str = "246810";
/// The readers at the officers' desk: three for officers, one for the card that is enrolled.
pub const DESK_READERS: usize = 4;
/// The readers at the members' PCs: the department's and the contractor's.
pub const MEMBER_READERS: [usize; 2] = [4, 5];

/// Services listen from here on: below the kernel's own ports, and away from the readers'.
const FIRST_PORT: u16 = 24_000;
/// A second town's services are so many ports further on, and its officers' cards so many serial numbers.
const NEXT_TOWN: u16 = 200;

/// Where a service is watched.
fn monitor_of(name: &str) -> String {
    format!("{name}-monitor")
}

/// What the relay before a service is called after it.
const RELAY: &str = "-relay";

fn relay_of(name: &str) -> String {
    format!("{name}{RELAY}")
}

/// How many readers a town has.
pub const READERS: usize = DESK_READERS + MEMBER_READERS.len();

/// A program, and its first words.
type Program = (&'static str, &'static [&'static str]);
const CA: Program = ("warifu-ca", &[]);
const KMS: Program = ("warifu-kms", &["authority"]);
const SITE: Program = ("warifu-kms", &["site"]);

/// The officers: label, card and name.
pub const OFFICERS: [(&str, u32, &str); 3] =
    [("ichiro", 1001, "信濃 一郎"), ("midori", 1002, "白馬 みどり"), ("kenji", 1003, "大町 健二")];

/// The sites of a town: label and name.
pub const SITES: [(&str, &str); 2] = [("honcho", "本庁"), ("omachi", "大町支所")];

/// A town, in one folder.
pub struct Town {
    folder: PathBuf,
    /// The readers of this machine, on which another town may have others.
    readers: Arc<Mutex<Readers>>,
    /// The first of this town's.
    first_reader: usize,
    /// How many towns were there before.
    number: u16,
    cards: BTreeMap<String, VirtualCard>,
    inserted: BTreeMap<String, (usize, Inserted)>,
    /// The vendors' tokens: by which name each lies in the folder of its PC.
    tokens: BTreeMap<String, OsString>,
    /// The serial numbers of those at the desk.
    at_desk: BTreeMap<String, u32>,
    root: TestRoot,
    recipes: BTreeMap<String, Recipe>,
    running: BTreeMap<String, Service>,
    organization: String,
    ports: BTreeMap<String, u16>,
    lines: BTreeMap<String, Line>,
    /// What runs at the end of a line, and which.
    places: BTreeMap<String, String>,
    /// Where all else runs, if this town lives apart.
    home: Option<String>,
    /// Those by which listeners are reached, by the listeners' names.
    relays: BTreeMap<String, Relay>,
    /// Every card's.
    pin: String,
    verbose: bool,
    /// How long sites may answer without news, in seconds.
    pub lease_seconds: u64,
    /// What the environment of `warifu-admin` has besides our own.
    pub admin_env: Vec<(OsString, OsString)>,
}

impl Town {
    /// An empty town: [`READERS`] readers, and officers' cards in the first of them.
    ///
    /// # Errors
    /// Whatever is missing on this machine.
    pub fn new(folder: &Path, readers: Readers) -> Result<Self> {
        Self::made(folder, (Arc::new(Mutex::new(readers)), 0), 0, PIN, false)
    }

    /// Another town beside this one, on the same machine: another organization, which shares nothing with it but the reader
    /// service and the network. Its readers are counted from `first_reader` on.
    ///
    /// # Errors
    /// Whatever is missing on this machine.
    pub fn beside(&self, folder: &Path, first_reader: usize) -> Result<Self> {
        let readers = (self.readers.clone(), self.first_reader + first_reader);
        Self::made(folder, readers, self.number + 1, &self.pin, self.verbose)
    }

    /// The same, where every card has this PIN of 6 to 8 digits, and everything logs all that it can, with temporary files
    /// in the town's folder.
    ///
    /// # Errors
    /// Whatever is missing on this machine.
    pub fn verbose(folder: &Path, readers: Readers, pin: &str) -> Result<Self> {
        Self::made(folder, (Arc::new(Mutex::new(readers)), 0), 0, pin, true)
    }

    fn made(
        folder: &Path,
        (readers, first_reader): (Arc<Mutex<Readers>>, usize),
        number: u16,
        pin: &str,
        verbose: bool,
    ) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        for part in ["cards", "logs", "tmp"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let mut town = Self {
            folder: folder.to_owned(),
            readers,
            first_reader,
            number,
            cards: BTreeMap::new(),
            inserted: BTreeMap::new(),
            tokens: BTreeMap::new(),
            at_desk: BTreeMap::new(),
            root: TestRoot::open(&folder.join("cards"))?,
            recipes: BTreeMap::new(),
            running: BTreeMap::new(),
            organization: String::new(),
            ports: BTreeMap::new(),
            lines: BTreeMap::new(),
            places: BTreeMap::new(),
            home: None,
            relays: BTreeMap::new(),
            lease_seconds: 60,
            admin_env: Vec::new(),
            pin: pin.to_owned(),
            verbose,
        };
        for (reader, (label, serial, _)) in OFFICERS.iter().enumerate() {
            town.new_card(label, town.officers_serial(*serial))?;
            town.insert(label, reader)?;
        }
        Ok(town)
    }

    /// Every card's PIN.
    #[must_use]
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// The town's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The organization's founding hash.
    #[must_use]
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// The virtual readers of the machine.
    pub fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The serial number of an officer's card, of which [`OFFICERS`] has that of the first town.
    fn officers_serial(&self, serial: u32) -> u32 {
        serial + u32::from(self.number * NEXT_TOWN)
    }

    // Cards.

    /// A card from the factory.
    pub fn new_card(&mut self, label: &str, serial: u32) -> Result<()> {
        let path = self.folder.join("cards").join(label);
        let card = VirtualCard::create(&path, serial, &self.root)?;
        self.cards.insert(label.to_owned(), card);
        Ok(())
    }

    /// The card of this label.
    pub fn card(&self, label: &str) -> Result<&VirtualCard> {
        self.cards.get(label).with_context(|| format!("no card {label}"))
    }

    /// Puts a card into a reader.
    pub fn insert(&mut self, label: &str, reader: usize) -> Result<()> {
        let port = self.readers().port(self.first_reader + reader);
        let inserted = self.card(label)?.insert(port)?;
        self.inserted.insert(label.to_owned(), (reader, inserted));
        Ok(())
    }

    /// Takes a card out.
    pub fn remove(&mut self, label: &str) {
        self.inserted.remove(label);
    }

    // Services.

    fn port(&mut self, name: &str) -> Result<u16> {
        if let Some(port) = self.ports.get(name) {
            return Ok(*port);
        }
        // The town has a network of its own. Ports that the kernel gives out might be a client's before the service listens.
        let port = FIRST_PORT + self.number * NEXT_TOWN + u16::try_from(self.ports.len())?;
        self.ports.insert(name.to_owned(), port);
        Ok(port)
    }

    /// `host:port` of a service, by which others reach it: on this machine, or at the end of its line.
    pub fn address(&mut self, name: &str) -> Result<String> {
        let relayed = relay_of(name);
        let name = if self.relays.contains_key(name) { relayed.as_str() } else { name };
        Ok(format!("{}:{}", self.host(name), self.port(name)?))
    }

    /// Where a service listens.
    fn listens(&mut self, name: &str) -> Result<String> {
        Ok(format!("{}:{}", self.host(name), self.port(name)?))
    }

    /// Whoever comes to a service comes by a relay from now on. Call it before the service is configured.
    ///
    /// # Errors
    /// Where nothing can listen for it.
    pub fn put_relay_before(&mut self, name: &str) -> Result<()> {
        let server = self.listens(name)?;
        let before = format!("{}:{}", self.host(&relay_of(name)), self.port(&relay_of(name))?);
        self.relays.insert(name.to_owned(), Relay::start(&before, server)?);
        Ok(())
    }

    /// The relay before a service.
    ///
    /// # Errors
    /// Where there is none.
    pub fn relay(&self, name: &str) -> Result<&Relay> {
        self.relays.get(name).with_context(|| format!("no relay before {name}"))
    }

    /// A service's folder, with tokens and a configuration of its own, in which it makes its keys; it can be started then.
    /// `settings` is what its configuration has besides `data` and `[hsm]`.
    fn equip(&mut self, name: &str, program: Program, settings: &str) -> Result<()> {
        let folder = self.folder.join(name);
        let tokens = folder.join("tokens");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&tokens)?;
        let level = if self.verbose { "DEBUG" } else { "ERROR" };
        let softhsm = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = {level}\n",
            tokens.display()
        );
        fs::write(folder.join("softhsm2.conf"), softhsm)?;
        let hsm = format!("[hsm]\ntoken_label = \"{name}\"\npin_file = \"pin\"\n");
        let monitor = format!("{}:{}", self.host(name), self.port(&monitor_of(name))?);
        let monitor = format!("[monitor]\nlisten = \"{monitor}\"\n");
        fs::write(folder.join("config.toml"), format!("data = \"data\"\n{settings}\n{hsm}{monitor}"))?;
        let so_pin = folder.join("so-pin");
        fs::write(&so_pin, format!("{name}-so-49127738\n"))?;
        let so_pin = so_pin.to_str().context("path")?.to_owned();
        must(self.console(name, program, &["init", "--so-pin-file", &so_pin])?.command(), b"")?;
        let run = self.console(name, program, &["run"])?;
        self.recipes.insert(name.to_owned(), run);
        Ok(())
    }

    /// What a service answers to whoever watches it, with curl: the status, and the content; none if nobody answers.
    pub fn watched(&self, name: &str, path: &str) -> Option<(u16, String)> {
        let port = self.ports.get(&monitor_of(name))?;
        let url = format!("http://{}:{port}{path}", self.host(name));
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}", &url]);
        let output = run(curl, b"").ok().filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).ok()?;
        let (content, status) = text.rsplit_once('\n')?;
        Some((status.parse().ok()?, content.to_owned()))
    }

    /// What makes a process say all that it can.
    fn verbosity(&self) -> Vec<(OsString, OsString)> {
        if !self.verbose {
            return Vec::new();
        }
        let mut all: Vec<_> = [("WARIFU_LOG", "trace"), ("RUST_LOG", "trace"), ("RUST_BACKTRACE", "full")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        all.push(("TMPDIR".into(), self.folder.join("tmp").into()));
        all
    }

    /// A command at a service's console.
    fn console(&self, name: &str, (binary, part): Program, args: &[&str]) -> Result<Recipe> {
        let folder = self.folder.join(name);
        let mut words: Vec<OsString> = part.iter().chain(args).map(OsString::from).collect();
        words.extend(["--config".into(), folder.join("config.toml").into()]);
        Ok(Recipe {
            name: name.to_owned(),
            program: program(binary)?,
            args: words,
            env: [
                vec![
                    ("SOFTHSM2_CONF".into(), folder.join("softhsm2.conf").into()),
                    ("HOME".into(), folder.into()),
                ],
                self.verbosity(),
            ]
            .concat(),
            logs: self.folder.join("logs"),
            ready: Ready::Line,
            inside: self.place_of(name).map(str::to_owned),
        })
    }

    /// Starts a service or an agent whose recipe is known.
    pub fn start(&mut self, name: &str) -> Result<()> {
        let recipe = self.recipes.get(name).with_context(|| format!("no recipe for {name}"))?.clone();
        let service = recipe.start()?;
        self.running.insert(name.to_owned(), service);
        Ok(())
    }

    /// From its next start on, a service or agent has this in its environment.
    pub fn set_env(&mut self, name: &str, env: &[(OsString, OsString)]) -> Result<()> {
        let recipe = self.recipes.get_mut(name).with_context(|| format!("no recipe for {name}"))?;
        recipe.env.extend_from_slice(env);
        Ok(())
    }

    /// The configuration of a service.
    #[must_use]
    pub fn configuration(&self, name: &str) -> PathBuf {
        self.folder.join(name).join("config.toml")
    }

    /// Starts a service or an agent that will end itself by SIGKILL at a crash point (`NAME` or `NAME:N`), at once
    /// perhaps.
    pub fn start_to_crash(&mut self, name: &str, at: &str) -> Result<()> {
        let mut recipe = self.recipes.get(name).with_context(|| format!("no recipe for {name}"))?.clone();
        recipe.env.push(("WARIFU_CRASH_AT".into(), at.into()));
        let service = recipe.begin()?;
        self.running.insert(name.to_owned(), service);
        Ok(())
    }

    /// How a service or an agent ended, if it has.
    pub fn ended(&mut self, name: &str) -> Result<Option<ExitStatus>> {
        self.running.get_mut(name).with_context(|| format!("{name} was not started"))?.ended()
    }

    /// `kill -9`.
    pub fn kill(&mut self, name: &str) {
        if let Some(mut service) = self.running.remove(name) {
            service.kill();
        }
    }

    /// SIGTERM.
    pub fn stop(&mut self, name: &str) {
        if let Some(mut service) = self.running.remove(name) {
            service.stop();
        }
    }

    /// Takes a running service out of the town's hands.
    pub fn take(&mut self, name: &str) -> Result<Service> {
        self.running.remove(name).with_context(|| format!("{name} does not run"))
    }

    /// A running service.
    pub fn service(&self, name: &str) -> Result<&Service> {
        self.running.get(name).with_context(|| format!("{name} does not run"))
    }

    /// Every running service and agent with its process id.
    pub fn processes(&self) -> impl Iterator<Item = (&str, u32)> {
        self.running.iter().map(|(name, service)| (name.as_str(), service.id()))
    }

    /// What a service or agent wrote to its log.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join("logs").join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Takes a service's HSM token away.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn disconnect_hsm(&self, name: &str) -> Result<()> {
        let folder = self.folder.join(name);
        fs::rename(folder.join("tokens"), folder.join("tokens-away"))?;
        Ok(fs::DirBuilder::new().mode(0o700).create(folder.join("tokens"))?)
    }

    /// Brings it back.
    ///
    /// # Errors
    /// Where it was never taken away.
    pub fn connect_hsm(&self, name: &str) -> Result<()> {
        let folder = self.folder.join(name);
        fs::rename(folder.join("tokens-away"), folder.join("tokens"))
            .map_err(|_| anyhow::anyhow!("the HSM is connected already"))
    }

    // Founding.

    /// The ca and the kms authority make their keys.
    pub fn equip_authorities(&mut self) -> Result<()> {
        self.equip_authority("kms")?;
        self.equip_authority("ca")
    }

    /// The ca or the kms authority makes its keys, on a machine with a token of its own.
    pub fn equip_authority(&mut self, name: &str) -> Result<()> {
        if name == "ca" {
            let crls = self.address("crls")?;
            let settings = format!("{}\n[crl]\nurl = \"http://{crls}\"\n", self.kms_section()?);
            return self.equip("ca", CA, &settings);
        }
        let (kms, listens) = (self.address("kms")?, self.listens("kms")?);
        let (crls, public) = (self.address("crls")?, self.public_address()?);
        let public_listens = self.listens("public")?;
        let settings = format!(
            "listen = \"{listens}\"\ncrl_listen = \"{crls}\"\naddress = \"{kms}\"\nhelpdesk = \"情報政策課 内線 2210\"\n\
             [public]\nlisten = \"{public_listens}\"\naddress = \"{public}\"\n"
        );
        self.equip("kms", KMS, &settings)
    }

    /// From the kms authority's next start on, these units take deliveries from whoever has no card.
    pub fn let_outsiders_send_to(&self, units: &[&str]) -> Result<()> {
        let path = self.configuration("kms");
        let configured = fs::read_to_string(&path)?;
        Ok(fs::write(path, format!("{configured}\n[box]\noutside = {units:?}\n"))?)
    }

    /// `host:port` of the kms authority's listener for everybody, as others reach it.
    pub fn public_address(&mut self) -> Result<String> {
        self.address("public")
    }

    /// A command at the console of the ca, the kms authority, or a site, whatever comes of it.
    pub fn at_console(&self, name: &str, args: &[&str]) -> Result<Output> {
        let program = match name {
            "ca" => CA,
            "kms" => KMS,
            _ => SITE,
        };
        run(self.console(name, program, args)?.command(), b"")
    }

    /// A machine burns, with its disk and its HSM. What was on it is in the folder answered, for tests alone.
    pub fn lose(&mut self, name: &str) -> Result<PathBuf> {
        self.kill(name);
        let lost = self.folder.join(format!("lost-{name}"));
        fs::rename(self.folder.join(name), &lost)?;
        Ok(lost)
    }

    /// `[kms]`, for those who follow it.
    fn kms_section(&mut self) -> Result<String> {
        let (address, statement) = (self.address("kms")?, self.statement("kms"));
        Ok(format!("\n[kms]\naddress = \"{address}\"\nstatement = \"{}\"\n", statement.display()))
    }

    /// What a service wrote about itself.
    #[must_use]
    pub fn statement(&self, service: &str) -> PathBuf {
        self.folder.join(service).join("data").join("statement.json")
    }

    /// A service's TLS key, as its statement says.
    pub fn tls_key(&self, service: &str) -> Result<PublicKey> {
        let envelope: Envelope = serde_json::from_slice(&fs::read(self.statement(service))?)?;
        let statement: ServiceStatement = envelope.statement()?;
        Ok(statement.keys.tls)
    }

    /// The officers' agent, which sees the desk's readers alone and knows the kms by its statement.
    pub fn open_desk(&mut self) -> Result<()> {
        let readers: Vec<usize> = (0..DESK_READERS).collect();
        self.add_agent("desk", &readers, true, &[])?;
        self.start("desk")
    }

    /// An agent on a PC of its own.
    pub fn add_agent(&mut self, name: &str, readers: &[usize], first: bool, more: &[&str]) -> Result<()> {
        let folder = self.folder.join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut args: Vec<OsString> = vec![
            "--runtime-dir".into(),
            folder.join("run").into(),
            "--state-dir".into(),
            folder.join("state").into(),
            "--profile".into(),
            self.profile().into(),
        ];
        for reader in readers {
            args.push("--reader".into());
            args.push(self.readers().name(self.first_reader + *reader).into());
        }
        if first {
            let key = serde_json::to_value(self.tls_key("kms")?)?.as_str().context("key")?.to_owned();
            args.extend(["--kms".into(), self.address("kms")?.into(), "--kms-key".into(), key.into()]);
        }
        args.extend(more.iter().map(OsString::from));
        let fingerprint = Digest::of(self.root.der()).to_string();
        args.extend(["--attestation-root".into(), self.root.certificate_path().into()]);
        args.extend(["--attestation-fingerprint".into(), fingerprint.into()]);
        // A viewer for a PC without a desktop: it goes on until it is ended.
        args.extend(["--viewer", "tail", "-n", "0", "-f"].map(OsString::from));
        let recipe = Recipe {
            name: name.to_owned(),
            program: program("warifu-agent")?,
            args,
            env: [
                vec![("HOME".into(), folder.into()), ("WARIFU_LOG".into(), "info".into())],
                self.verbosity(),
            ]
            .concat(),
            logs: self.folder.join("logs"),
            ready: Ready::File(self.bootstrap(name)),
            inside: self.place_of(name).map(str::to_owned),
        };
        self.recipes.insert(name.to_owned(), recipe);
        Ok(())
    }

    /// The profile file of all PCs of this town.
    #[must_use]
    pub fn profile(&self) -> PathBuf {
        self.folder.join("profile.json")
    }

    /// Writes the profile and has the officers' agent read it.
    pub fn fetch_profile(&mut self) -> Result<()> {
        let profile = self.profile();
        let organization = self.organization.clone();
        let _ = fs::remove_file(&profile);
        let profile = profile.to_str().context("path")?.to_owned();
        self.admin(&["profile", "--out", &profile, "--organization", &organization])?;
        self.stop("desk");
        self.start("desk")
    }

    /// A site makes its keys, joins by two officers' order, and runs.
    pub fn add_site(&mut self, label: &str, name: &str) -> Result<()> {
        self.equip_site(label)?;
        let statement = self.statement(label).display().to_string();
        self.admin(&["site", "add", label, "--name", name, "--statement", &statement])?;
        self.start(label)
    }

    /// A site makes its keys.
    pub fn equip_site(&mut self, label: &str) -> Result<()> {
        let (address, kms) = (self.address(label)?, self.kms_section()?);
        let settings = format!(
            "listen = \"{address}\"\naddress = \"{address}\"\norganization = \"{}\"\n{kms}",
            self.organization
        );
        self.equip(label, SITE, &settings)
    }

    /// Waits until a site that was started again has a stamp: what it refuses then, it does not refuse for want of one.
    pub fn wait_for_lease(&self, site: &str) -> Result<()> {
        until("the site has a lease", Duration::from_secs(20), || {
            let list: Value = serde_json::from_str(&self.admin(&["site", "list", "--json"])?)?;
            let mut rows = list.as_array().into_iter().flatten();
            let row = rows.find(|row| row.get("label").is_some_and(|label| label == site));
            let left = row.and_then(|row| row.get("lease_left_ms")).and_then(Value::as_u64);
            Ok(left.is_some_and(|left| left > 0))
        })
    }

    /// Everything up to sites of these labels and names.
    ///
    /// # Errors
    /// Whatever does not work.
    pub fn found_with_sites(&mut self, name: &str, sites: &[(&str, &str)]) -> Result<()> {
        self.equip_authorities()?;
        self.open_desk()?;
        self.found(name)?;
        for (label, name) in sites {
            self.add_site(label, name)?;
        }
        self.fetch_profile()?;
        // What there was no kms for at the founding: the officers' PUKs.
        self.admin(&["card", "bring"]).map(|_| ())
    }

    /// Everything up to members at their PCs: two sites, the department `tax` with hanako, the contractor `acme` with taro,
    /// the cards in their hands. A card that is none of theirs lies about, too.
    ///
    /// # Errors
    /// Whatever does not work.
    pub fn found_and_people(&mut self) -> Result<()> {
        self.found_with_sites("北アルプス広域連合", &SITES)?;
        self.admin(&["unit", "add", "tax", "--name", "税務課"])?;
        self.admin(&["contract", "open", "acme", "--name", "アクメ株式会社", "--ends", "2099-03-31"])?;
        self.admin(&["unit", "add", "acme-team", "--name", "アクメ", "--contract", "acme"])?;
        self.enroll("hanako", 2001, "信濃 花子", &["--unit", "tax"])?;
        self.enroll("taro", 2002, "委託 太郎", &["--unit", "acme-team", "--contract", "acme"])?;
        let foreign = VirtualCard::create_foreign(&self.folder.join("cards").join("foreign"))?;
        self.cards.insert("foreign".to_owned(), foreign);
        for (agent, reader) in ["office", "contractor"].into_iter().zip(MEMBER_READERS) {
            self.add_agent(agent, &[reader], false, &[])?;
            self.start(agent)?;
        }
        Ok(())
    }

    // People.

    /// Ends agents, services and readers, in an order that lets each go in peace.
    pub fn close(mut self) {
        self.inserted.clear();
        self.running.clear();
    }
}

/// The workspace's root.
#[must_use]
pub fn workspace() -> PathBuf {
    let mut folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.pop();
    folder
}

/// Asks until the answer is yes, and fails after a time.
pub fn until(what: &str, patience: Duration, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !ask()? {
        ensure!(start.elapsed() < patience, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
