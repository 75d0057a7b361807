//! `warifu-simulate`: the real ledger, replicas, sites, authority and cosigning ca, without network, disks, HSMs and clocks of
//! their own, through seeds of crashes, partitions, restored databases, clocks that jump and a kms that lies; after every step
//! I2 to I5 are asserted. See `docs/testing/simulation.md`.

mod base;
mod ca;
mod draw;
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "the ledger's test fixture: labels in, keys and acts out"
)]
#[path = "../../../ledger/tests/fold/fixture.rs"]
mod fixture;
mod keys;
mod liar;
mod life;
mod model;
mod run;
mod token;
mod work;
mod world;

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use warifu_crash_point::{Guard, remove};

use crate::world::Tally;

#[derive(Parser)]
#[command(name = "warifu-simulate", about = "Simulates a town through seeds of failures and betrayals")]
struct Arguments {
    /// One seed, with its trace
    #[arg(long)]
    seed: Option<u64>,
    /// The seeds FROM..TO, without the last
    #[arg(long, value_parser = seeds, default_value = "1..2001")]
    seeds: Range<u64>,
    /// How many run at once; as many as there are processors, if it is not said
    #[arg(long)]
    threads: Option<usize>,
    /// Takes this guard away first: then a seed has to fail
    #[arg(long, value_parser = guard)]
    without: Option<Guard>,
    /// Lists the guards that can be taken away
    #[arg(long)]
    guards: bool,
}

fn seeds(text: &str) -> Result<Range<u64>> {
    let (from, to) = text.split_once("..").context("FROM..TO")?;
    Ok(from.parse()?..to.parse()?)
}

fn guard(text: &str) -> Result<Guard> {
    Guard::named(text).context("no such guard")
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.guards {
        for guard in Guard::ALL {
            println!("{}: {}", guard.name(), guard.says());
        }
        return ExitCode::SUCCESS;
    }
    match simulate(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(arguments: &Arguments) -> Result<()> {
    if let Some(guard) = arguments.without {
        remove(guard);
    }
    if let Some(seed) = arguments.seed {
        let run = run::run(seed)?;
        for line in &run.trace {
            println!("{line}");
        }
        return run.broken.map_or(Ok(()), |broken| bail!("seed {seed}: {broken}"));
    }
    let begun = Instant::now();
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?.get(),
    };
    let next = AtomicU64::new(arguments.seeds.start);
    let failed = AtomicBool::new(false);
    let failure: Mutex<Option<String>> = Mutex::new(None);
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= arguments.seeds.end {
                        return;
                    }
                    let broken = match run::run(seed) {
                        Ok(run) => {
                            total.lock().unwrap_or_else(PoisonError::into_inner).add(&run.tally);
                            run.broken.map(|broken| (broken, run.trace))
                        }
                        Err(error) => Some((format!("{error:#}"), Vec::new())),
                    };
                    if let Some((broken, trace)) = broken {
                        failed.store(true, Ordering::Relaxed);
                        let text = format!("{}\nseed {seed}: {broken}", trace.join("\n"));
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
                    }
                    if seed.is_multiple_of(5_000) {
                        println!("{seed} after {:?}", begun.elapsed());
                    }
                }
            });
        }
    });
    if let Some(failure) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        bail!("{failure}");
    }
    let count = arguments.seeds.end - arguments.seeds.start;
    let took = begun.elapsed();
    println!("{count} seeds in {took:?}: {:.0} a second", count as f64 / took.as_secs_f64());
    for (what, count) in &total.into_inner().unwrap_or_else(PoisonError::into_inner).0 {
        println!("{count:>9} {what}");
    }
    Ok(())
}
