//! Real `kill -9` on real processes, at named points and at random moments, while a town enrols, opens and revokes.
//!
//! Each kill: one process is started so that it ends itself at a point (`WARIFU_CRASH_AT`), or is killed some milliseconds
//! after a command began; it dies; it is started again; what is durable is compared with what was durable before; the
//! person gives the same command again; and then everything is as if it had been given once.

mod evidence;
mod people;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use warifu_crash_point::CrashPoint;
use warifu_virtual_card::readers::Readers;

use self::evidence::Evidence;
pub use self::plan::{Case, Fall, Operation, Plan};
use self::plan::{FOUNDING, JOINING};
use crate::process::{end_all, program, run, shows};
use crate::town::{MEMBER_READERS, PIN, SITES, Town, rage, until};

/// How many readers such a town has: one more, for somebody whom nothing of it concerns.
pub const READERS: usize = crate::town::READERS + 1;
/// Whose card stays where it is, and whose file has to open all the time.
const BYSTANDER: (&str, u32, usize) = ("hanako", 2001, READERS - 1);
const BYSTANDERS_PC: &str = "counter";
/// How long a process may take to pass its point.
const PASSES: Duration = Duration::from_secs(30);
/// How long what goes on by itself may take.
const SETTLES: Duration = Duration::from_secs(30);
/// How often a person gives a command again.
const TRIES: usize = 3;
/// How the plaintext is called in a viewer: as no other town on this machine calls it.
const VIEWED: &str = "-killed";
const LOOK: Duration = Duration::from_millis(5);

/// What was seen.
#[derive(Default)]
pub struct Report {
    /// How many processes were killed.
    pub kills: usize,
    /// By operation and process.
    pub by: BTreeMap<(Operation, &'static str), usize>,
    /// The points at which processes ended themselves.
    pub points: BTreeSet<CrashPoint>,
    /// How often the first try of the command succeeded all the same.
    pub unharmed: usize,
    /// What people read when it did not.
    pub words: BTreeSet<String>,
    /// Points that a process should have passed and did not.
    pub missed: Vec<String>,
}

/// A command as a person gives it, again and again with the same words.
enum Command {
    Desk(Vec<String>),
    Pc(&'static str, Vec<String>),
}

/// A town, and the kills that are still to come.
pub struct Kills<'a> {
    town: Town,
    folder: PathBuf,
    plan: Plan,
    content: String,
    report: Report,
    tell: &'a mut dyn FnMut(&str),
    struck: usize,
}

/// Founds a town in `folder` and lets processes die in it as planned.
///
/// # Errors
/// The first thing that is not as it should be, with the kill after which it was seen.
pub fn run_kills(folder: &Path, readers: Readers, plan: Plan, tell: &mut dyn FnMut(&str)) -> Result<Report> {
    let mut town = Town::new(folder, readers)?;
    // Stamps come every quarter of it.
    town.lease_seconds = 20;
    let content = format!("住民票 {}\n", std::process::id()).repeat(2000);
    let folder = folder.to_owned();
    let report = Report::default();
    let mut all = Kills { town, folder, plan, content, report, tell, struck: 0 };
    let outcome = all.found().and_then(|()| all.play());
    let Kills { town, report, .. } = all;
    town.close();
    end_all();
    outcome.map(|()| report)
}

impl Kills<'_> {
    /// Founds the organization; the two consoles, and the desk's agent when a site joins, die on the way.
    fn found(&mut self) -> Result<()> {
        self.town.equip_authorities()?;
        self.town.open_desk()?;
        self.town.found_after_crashes("北アルプス広域連合", &FOUNDING.map(CrashPoint::name))?;
        let [(first, first_name), (second, second_name)] = SITES;
        self.town.add_site(first, first_name)?;

        self.town.equip_site(second)?;
        let statement = self.town.statement(second).display().to_string();
        let join = ["site", "add", second, "--name", second_name, "--statement", &statement];
        self.town.stop("desk");
        self.town.start_to_crash("desk", JOINING.name())?;
        let output = self.town.try_admin(&join)?;
        ensure!(!output.status.success(), "an agent that died answered");
        let mut signal = None;
        until("the desk's agent has died", PASSES, || {
            signal = self.town.ended("desk")?.and_then(|status| status.signal());
            Ok(signal.is_some())
        })?;
        ensure!(signal == Some(9), "the desk's agent: signal {signal:?}");
        self.town.start("desk")?;
        self.town.admin(&join)?;
        self.town.start(second)?;
        self.report.points.extend(FOUNDING);
        self.report.points.insert(JOINING);
        self.report.kills += FOUNDING.len() + 1;

        self.town.fetch_profile()?;
        self.town.admin(&["unit", "add", "tax", "--name", "税務課"])?;
        let (label, serial, reader) = BYSTANDER;
        self.town.enroll(label, serial, "信濃 花子", &["--unit", "tax"])?;
        self.town.add_agent(BYSTANDERS_PC, &[reader], false, &[])?;
        self.town.start(BYSTANDERS_PC)?;
        for ((pc, reader), (_, site)) in ["office", "branch"].into_iter().zip(MEMBER_READERS).zip(SITES) {
            self.town.add_agent(pc, &[reader], false, &["--site", site])?;
            self.town.start(pc)?;
        }
        self.town.insert(label, reader)?;
        self.town.wait_for_member_card(BYSTANDERS_PC)?;
        self.seal("tax")?;
        self.opens(BYSTANDERS_PC, "tax")
    }

    fn seal(&self, unit: &str) -> Result<()> {
        let plain = self.folder.join("plain");
        fs::write(&plain, &self.content)?;
        rage(&[self.town.recipient(unit)?], &plain, &self.sealed(unit))?;
        // From here on it is nowhere that it does not have to be.
        fs::remove_file(&plain)?;
        Ok(())
    }

    fn sealed(&self, unit: &str) -> PathBuf {
        self.folder.join(format!("{unit}{VIEWED}.age"))
    }

    fn out(&self) -> PathBuf {
        self.folder.join("out").join("opened.txt")
    }

    fn evidence(&self) -> Result<Evidence> {
        Evidence::read(&self.folder)
    }

    /// One kill during one command: until the person has an answer. Returns the answer and what was durable before.
    fn strike(&mut self, case: Case, command: &Command) -> Result<(Output, Evidence)> {
        let before = self.evidence()?;
        let victim = case.victim;
        if let Fall::Point(point) = case.fall {
            self.town.stop(victim);
            self.town.start_to_crash(victim, point.name())?;
            let opens = matches!(case.operation, Operation::Export | Operation::View);
            if self.town.ended(victim)?.is_none() && opens {
                match victim {
                    "honcho" | "omachi" => self.town.wait_for_lease(victim)?,
                    _ => self.town.wait_for_member_card(victim)?,
                }
            }
        }
        let (process, input) = match command {
            Command::Desk(args) => {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                self.town.admin_command(std::process::Command::new(program("warifu-admin")?), &args)?
            }
            Command::Pc(pc, args) => {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                (self.town.warifu_command(pc, &args)?, format!("{PIN}\n"))
            }
        };
        let began = Instant::now();
        let running = std::thread::spawn(move || run(process, input.as_bytes()));
        let died = loop {
            if let Some(status) = self.town.ended(victim)? {
                ensure!(
                    status.signal() == Some(9),
                    "{victim} ended by itself: {status}\n{}",
                    self.town.log(victim)
                );
                break true;
            }
            match case.fall {
                Fall::After(moment) if began.elapsed() >= Duration::from_millis(moment) => {
                    self.town.kill(victim);
                    break true;
                }
                Fall::Point(_) if began.elapsed() > PASSES => break false,
                _ => std::thread::sleep(LOOK),
            }
        };
        if died {
            self.report.kills += 1;
            *self.report.by.entry((case.operation, victim)).or_default() += 1;
            if let Fall::Point(point) = case.fall {
                self.report.points.insert(point);
            }
        } else {
            self.report.missed.push(format!("{case:?}"));
            self.town.kill(victim);
        }
        self.town.start(victim)?;
        if victim == "office" {
            self.town.wait_for_member_card(victim)?;
            self.nothing_is_left()?;
        }
        let output = running.join().map_err(|_| anyhow::anyhow!("the command's thread died"))??;
        self.report.unharmed += usize::from(output.status.success());
        self.words(&output)?;
        let after = self.evidence()?;
        after.follows(&before)?;
        // Whether sites have confirmed it or not: what the kms did not take is no order that a program is told of.
        if let Some(order) = said(&output, "/order") {
            ensure!(after.has_order(&order), "order {order} was answered, and is not in the ledger");
        }
        Ok((output, before))
    }

    /// Gives the same command again, as a person does, until what it is for has been done.
    fn again(&mut self, command: &Command) -> Result<Output> {
        let mut last = None;
        for _ in 0..TRIES {
            let output = match command {
                Command::Desk(args) => {
                    self.town.try_admin(&args.iter().map(String::as_str).collect::<Vec<_>>())?
                }
                Command::Pc(pc, args) => {
                    let args: Vec<&str> = args.iter().map(String::as_str).collect();
                    self.town.warifu(pc, &args, PIN)?
                }
            };
            self.words(&output)?;
            if output.status.success() {
                return Ok(output);
            }
            last = Some(output);
        }
        let output = last.context("no try")?;
        anyhow::bail!("given again {TRIES} times: {}", String::from_utf8_lossy(&output.stderr))
    }

    /// Whoever is refused is told so in words; nothing panics.
    fn words(&mut self, output: &Output) -> Result<()> {
        if output.status.success() {
            return Ok(());
        }
        // Programs are told on standard output, where they asked for JSON.
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        let told = String::from_utf8_lossy(said).into_owned();
        ensure!(!told.trim().is_empty(), "{} without a word", output.status);
        ensure!(output.status.code().is_some() && !told.contains("panicked"), "{}: {told}", output.status);
        self.report.words.insert(told.trim().to_owned());
        Ok(())
    }

    fn open(&self, pc: &str, unit: &str) -> Result<Output> {
        let _ = fs::remove_file(self.out());
        fs::create_dir_all(self.folder.join("out"))?;
        let (sealed, out) = (self.sealed(unit), self.out());
        let (sealed, out) = (sealed.to_str().context("path")?, out.to_str().context("path")?);
        self.town.warifu(pc, &["--lang", "ja", "open", "--pin-stdin", "-o", out, sealed], PIN)
    }

    /// The file opens: at once, or as soon as a site that was started again has its time.
    fn opens(&self, pc: &str, unit: &str) -> Result<()> {
        let mut told = String::new();
        let opens = until(&format!("the file of {unit} opens at {pc}"), SETTLES, || {
            let output = self.open(pc, unit)?;
            told = String::from_utf8_lossy(&output.stderr).into_owned();
            Ok(output.status.success())
        });
        opens.with_context(|| told.clone())?;
        ensure!(fs::read(self.out())? == self.content.as_bytes(), "another content");
        Ok(())
    }

    /// The file does not open, and something is said about it.
    fn refuses(&mut self, pc: &str, unit: &str) -> Result<()> {
        let output = self.open(pc, unit)?;
        ensure!(!output.status.success() && !self.out().exists(), "it opened at {pc}");
        self.words(&output)
    }

    /// After every kill: nothing is left half done anywhere, and whom it does not concern works on.
    fn all_is_settled(&self) -> Result<Evidence> {
        let mut evidence = self.evidence()?;
        let settled = until("nothing is left half done", SETTLES, || {
            evidence = self.evidence()?;
            Ok(evidence.left_over().is_none())
        });
        settled.with_context(|| evidence.left_over().unwrap_or_default())?;
        self.opens(BYSTANDERS_PC, "tax")?;
        Ok(evidence)
    }

    /// No plaintext anywhere that an agent wrote to, but for what was exported whole; and nothing shows any.
    fn nothing_is_left(&self) -> Result<()> {
        let is_opened = |word: &[u8]| word.starts_with(b"/dev/shm/") && word.ends_with(VIEWED.as_bytes());
        ensure!(!shows(is_opened), "a viewer goes on showing a file");
        let needle = self.content.lines().next().context("content")?.as_bytes().to_owned();
        let memory = fs::read_dir("/dev/shm").into_iter().flatten().flatten().map(|entry| entry.path());
        let mut folders: Vec<PathBuf> = memory.collect();
        folders.extend(["office", "branch", "desk", "out"].map(|name| self.folder.join(name)));
        let bystander = fs::canonicalize(self.folder.join(BYSTANDERS_PC))?;
        for file in folders.iter().flat_map(|folder| files(folder)) {
            if file == self.out() {
                ensure!(fs::read(&file)? == self.content.as_bytes(), "a part of the file is at its place");
                continue;
            }
            let content = fs::read(&file).unwrap_or_default();
            let found = content.windows(needle.len()).any(|part| part == needle);
            ensure!(!found || file.starts_with(&bystander), "plaintext is left in {}", file.display());
        }
        Ok(())
    }
}

/// The files in a folder, or the file itself.
fn files(path: &Path) -> Vec<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => vec![path.to_owned()],
        Ok(found) if found.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.flat_map(|entry| files(&entry.path())).collect()
        }
        _ => Vec::new(),
    }
}

/// A text in a command's JSON.
fn said(output: &Output, pointer: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer: Value = serde_json::from_str(text.lines().last()?).ok()?;
    Some(answer.pointer(pointer)?.as_str()?.to_owned())
}
