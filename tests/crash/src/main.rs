//! `warifu-crash`: a whole town in one process (the kms authority, the ca, two sites, their HSM tokens and databases, real TLS
//! between them, people with software cards), stopped at each of its crash points, and started again.
//!
//! `warifu-crash --sequences 10000` runs the sequences of the seeds from 1 on, some of them in each town, several towns at
//! once. A sequence that fails prints its seed and its words; `--seed S --sequences 1` runs it again.

mod audit;
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "the ledger's test fixture: labels in, keys and acts out"
)]
#[path = "../../../ledger/tests/fold/fixture.rs"]
mod fixture;
mod operations;
mod people;
mod services;
mod town;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use warifu_crash_point::{CrashPoint, Program};

use crate::services::Who;
use crate::town::Tally;

#[derive(Parser)]
#[command(name = "warifu-crash", about = "Stops a town at each of its crash points, and looks what is left")]
struct Arguments {
    /// How many sequences; none for as many as it takes to come to every end once
    #[arg(long)]
    sequences: Option<u64>,
    /// The seed of the first; each further one has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many towns live at once
    #[arg(long, default_value_t = 4)]
    towns: usize,
    /// After how many sequences a new town is founded
    #[arg(long, default_value_t = 40)]
    each: u64,
    /// One town in this process, in this folder
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.folder {
        Some(folder) => one_town(&arguments, folder),
        None => all_towns(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("warifu-crash: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A town's own process: a PKCS#11 module reads its configuration from the environment once.
fn one_town(arguments: &Arguments, folder: &Path) -> Result<()> {
    let filter = std::env::var("WARIFU_LOG").unwrap_or_else(|_| "error,cryptoki::mechanism=off".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::builder().parse_lossy(filter))
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let count = arguments.sequences.context("how many sequences?")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (seed, number) = (arguments.seed, arguments.seed / arguments.each.max(1));
    let tally = runtime.block_on(town::live(folder, seed..seed + count, number))?;
    println!("{}", serde_json::to_string(&tally)?);
    Ok(())
}

/// Runs one slice of the seeds in a process of its own.
fn slice(seed: u64, count: u64, each: u64) -> Result<Tally> {
    let folder = tempfile::Builder::new().prefix("warifu-crash-").tempdir()?;
    let tokens = folder.path().join("tokens");
    std::fs::create_dir(&tokens)?;
    let softhsm = folder.path().join("softhsm2.conf");
    std::fs::write(&softhsm, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))?;
    let output = Command::new(std::env::current_exe()?)
        .args(["--seed", &seed.to_string(), "--sequences", &count.to_string(), "--each", &each.to_string()])
        .arg("--folder")
        .arg(folder.path())
        .env("SOFTHSM2_CONF", &softhsm)
        .stderr(Stdio::piped())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let kept = folder.keep();
        bail!(
            "{said}\nreplay: --seed SEED --sequences 1, or with all that came before: --seed {seed} --sequences {count} \
             --each {each}\nits town: {}",
            kept.display()
        );
    }
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(said.lines().last().unwrap_or_default()).context("a town without a tally")
}

fn all_towns(arguments: &Arguments) -> Result<()> {
    let begun = Instant::now();
    let every = words::every_end().len() as u64;
    let sequences = arguments.sequences.unwrap_or(every);
    let each = arguments.each.max(1);
    let starts: Vec<u64> = (0..sequences).step_by(usize::try_from(each)?).collect();
    let next = Mutex::new(starts.into_iter());
    let total = Mutex::new((Tally::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..arguments.towns.max(1) {
            scope.spawn(|| {
                loop {
                    let start = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(start) = start else { return };
                    let done = slice(arguments.seed + start, each.min(sequences - start), each);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    match done {
                        Ok(tally) => add(&mut total.0, tally),
                        Err(error) => {
                            eprintln!("FAILED: {error:#}");
                            total.1.push(error);
                        }
                    }
                    let (tally, failed) = (&total.0, total.1.len());
                    eprintln!(
                        "{} sequences, {} crashes, {failed} towns failed, {:.0} s",
                        tally.sequences,
                        tally.crashes,
                        begun.elapsed().as_secs_f64()
                    );
                }
            });
        }
    });
    let (tally, failed) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(&tally, begun);
    ensure!(failed.is_empty(), "{} towns failed", failed.len());
    if sequences >= every {
        let never = never_ended(&tally.ends);
        ensure!(never.is_empty(), "points at which nobody ended: {}", never.join(", "));
    }
    Ok(())
}

fn add(total: &mut Tally, tally: Tally) {
    total.sequences += tally.sequences;
    total.crashes += tally.crashes;
    total.missed.extend(tally.missed);
    total.founding_ms += tally.founding_ms;
    total.sequences_ms += tally.sequences_ms;
    for (name, count) in tally.ends {
        *total.ends.entry(name).or_default() += count;
    }
    for (name, count) in tally.passed {
        *total.passed.entry(name).or_default() += count;
    }
}

fn report(tally: &Tally, begun: Instant) {
    println!("{:<40} {:>8} {:>8}", "service and point", "passed", "ended");
    for (name, passed) in &tally.passed {
        println!("{name:<40} {passed:>8} {:>8}", tally.ends.get(name).copied().unwrap_or_default());
    }
    for missed in &tally.missed {
        println!("not passed: {missed}");
    }
    println!(
        "{} sequences, {} crashes, {} without one; {:.0} s, {} ms a sequence in its town",
        tally.sequences,
        tally.crashes,
        tally.missed.len(),
        begun.elapsed().as_secs_f64(),
        tally.sequences_ms / tally.sequences.max(1),
    );
}

/// Of routing and of deliveries.
const ELSEWHERE: [CrashPoint; 10] = [
    CrashPoint::KmsSlipsKept,
    CrashPoint::KmsReleasedKept,
    CrashPoint::SiteRoutesRecorded,
    CrashPoint::SiteRoutesKept,
    CrashPoint::SiteSlipsBrought,
    CrashPoint::SiteSlipsSettled,
    CrashPoint::SiteParcelTaken,
    CrashPoint::KmsPartWritten,
    CrashPoint::KmsDeliveryArrived,
    CrashPoint::KmsDeliveryEnded,
];

/// The points of services at which nobody ended.
fn never_ended(ends: &BTreeMap<String, u64>) -> Vec<String> {
    let mut never = Vec::new();
    for point in CrashPoint::ALL {
        let services: &[Who] = match point.program() {
            // Nobody routes or delivers in this town: real processes are killed there (`kms/tests/site/routing`,
            // `kms/tests/authority/{slips,deliveries}.rs`).
            _ if ELSEWHERE.contains(point) => &[],
            Program::Kms => &[Who::Kms],
            Program::Ca => &[Who::Ca],
            Program::Site => &Who::SITES,
            // The kms gives stamps, and gets none.
            Program::Replica if *point == CrashPoint::ReplicaStampStored => {
                &[Who::Ca, Who::Main, Who::Branch]
            }
            // No service of this town gets other keys: real ones do (`tests/tests/e2e/rotation.rs`).
            Program::Replica if *point == CrashPoint::FormerKeyDestroyed => &[],
            Program::Replica => &Who::ALL,
            // An agent needs a reader service of its own: real processes are killed for it.
            _ => &[],
        };
        for who in services {
            let name = format!("{} {}", who.name(), point.name());
            if !ends.contains_key(&name) {
                never.push(name);
            }
        }
    }
    never
}
