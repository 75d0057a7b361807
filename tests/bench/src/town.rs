//! Real services, each a process with a token of its own: the authority, the ca, and a site.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{Act, Founding, ServiceKeys, ServiceStatement};

use crate::fixture::{self, envelope_by_cards, id, name, record};
use crate::people::Desk;

const OFFICERS: [&str; 3] = ["sakura", "kenji", "midori"];

/// The units of proc(5) in a second: `USER_HZ`, on every machine that we build for.
const TICKS: u64 = 100;

/// A program, and its first words.
type Program = (&'static str, &'static [&'static str]);
const CA: Program = ("warifu-ca", &[]);
const KMS: Program = ("warifu-kms", &["authority"]);
const SITE: Program = ("warifu-kms", &["site"]);

/// A process, which ends with this.
pub(crate) struct Running(Child);

impl Running {
    /// Its memory that is not shared with other programs, in KiB (`RssAnon` of proc(5)).
    pub(crate) fn memory_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// The processors' time that it has taken so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu(&self.0.id().to_string())
    }
}

/// The processors' time that a process has taken so far, in user and kernel mode (`utime` and `stime` of proc(5)).
pub(crate) fn cpu(process: &str) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name, which may hold anything: state is the third field, utime the 14th.
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The services of a town.
pub(crate) struct Town {
    folder: TempDir,
    pub(crate) kms: Running,
    _ca: Option<Running>,
    pub(crate) kms_address: String,
    pub(crate) kms_keys: ServiceKeys,
    pub(crate) organization: Digest,
    pub(crate) desk: Desk,
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

impl Town {
    /// Founds a town whose leases are that long; `with_ca` where keys are to be made.
    pub(crate) fn found(lease_ms: u64, with_ca: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        let kms_address = free_address()?;
        let crls = free_address()?;
        let listen = format!(
            "listen = \"{kms_address}\"\ncrl_listen = \"{crls}\"\naddress = \"{kms_address}\"\nhelpdesk = \"-\"\n"
        );
        let kms_keys = equip(path, "kms", KMS, &listen)?;
        let ca_keys = equip(path, "ca", CA, &format!("[kms]\naddress = \"{kms_address}\"\n"))?;
        let policy = warifu_ledger::statement::Policy { lease_ms, ..fixture::policy() };
        let founding = Founding { ca: ca_keys, kms: kms_keys.clone(), policy, ..fixture::founding() };
        let envelope = envelope_by_cards(&founding, &OFFICERS);
        let organization = envelope.digest();
        fs::write(path.join("founding.json"), serde_json::to_vec(&envelope)?)?;
        let records: Vec<_> = ["大町市"].iter().chain(&OFFICERS).map(|text| record(text)).collect();
        fs::write(path.join("records.json"), serde_json::to_vec(&records)?)?;
        let fingerprint = organization.to_string();
        let found = ["found", "founding.json", "--fingerprint", &fingerprint];
        finish(at_console(path, "ca", CA)?.args(found))?;
        finish(at_console(path, "kms", KMS)?.args(found).args(["--records", "records.json"]))?;
        let kms = run(path, "kms", KMS)?;
        let ca = with_ca.then(|| run(path, "ca", CA)).transpose()?;
        let desk = Desk::new(&kms_address, kms_keys.tls.0, organization)?;
        Ok(Self { folder, kms, _ca: ca, kms_address, kms_keys, organization, desk })
    }

    /// A real site joins and runs: the process, its address and its keys.
    pub(crate) async fn add_site(&mut self, label: &str) -> Result<(Running, String, ServiceKeys)> {
        let address = free_address()?;
        let key = serde_json::to_string(&self.kms_keys.tls)?;
        let settings = format!(
            "listen = \"{address}\"\naddress = \"{address}\"\norganization = \"{}\"\n[kms]\naddress = \"{}\"\n\
             tls_key = {key}\n",
            self.organization, self.kms_address
        );
        let keys = equip(self.folder.path(), label, SITE, &settings)?;
        let joined = Act::SiteJoined {
            site: id(label),
            name: name(label),
            keys: keys.clone(),
            address: address.clone(),
        };
        self.desk.order(vec![joined], &[label.to_owned()]).await?;
        Ok((run(self.folder.path(), label, SITE)?, address, keys))
    }

    /// The folder in which a token for nobody's service may be made.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Makes folder, configuration and keys of a service.
fn equip(town: &Path, name: &str, program: Program, settings: &str) -> Result<ServiceKeys> {
    let folder = town.join(name);
    fs::create_dir_all(folder.join("tokens"))?;
    let tokens = format!("directories.tokendir = {}\n", folder.join("tokens").display());
    fs::write(folder.join("softhsm2.conf"), tokens)?;
    let (own, tables) =
        settings.split_once('[').map_or((settings, String::new()), |(own, rest)| (own, format!("[{rest}")));
    let hsm = format!("[hsm]\ntoken_label = \"{name}\"\npin_file = \"pin\"\n");
    fs::write(folder.join("config.toml"), format!("data = \"data\"\n{own}\n{hsm}{tables}"))?;
    finish(at_console(town, name, program)?.arg("init"))?;
    let envelope: Envelope = serde_json::from_slice(&fs::read(folder.join("data/statement.json"))?)?;
    Ok(envelope.statement::<ServiceStatement>()?.keys)
}

fn at_console(town: &Path, name: &str, (program, words): Program) -> Result<Command> {
    let folder = town.join(name);
    let beside: PathBuf = std::env::current_exe()?.with_file_name(program);
    let mut command = Command::new(beside);
    command.args(words).arg("--config").arg(folder.join("config.toml"));
    command
        .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"))
        .env("WARIFU_LOG", "error,cryptoki::mechanism=off")
        .current_dir(town);
    Ok(command)
}

fn finish(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Starts a service and waits until it is ready.
fn run(town: &Path, name: &str, program: Program) -> Result<Running> {
    let mut command = at_console(town, name, program)?;
    let mut child = command.arg("run").stdout(Stdio::piped()).spawn()?;
    let said = child.stdout.take().context("no output")?;
    let running = Running(child);
    let mut lines = BufReader::new(said).lines();
    while let Some(line) = lines.next().transpose()? {
        if line.starts_with("ready") {
            return Ok(running);
        }
    }
    anyhow::bail!("{name} did not get ready")
}
