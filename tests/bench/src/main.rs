//! Measures what Warifu promises of its speed, against the real limit in the same run: the HSM alone, the signature check alone.
//!
//! `./bench` builds it for release and runs all of it; `docs/performance.md` has the figures and says how to read them.

mod delivery;
mod figures;
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "the ledger's test fixture: labels in, keys and acts out"
)]
#[path = "../../../ledger/tests/fold/fixture.rs"]
mod fixture;
mod fold;
mod partials;
mod people;
mod raw;
mod restart;
mod revocation;
mod town;

use anyhow::Result;
use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More files than ten thousand sites with a connection each need.
const FILES: u64 = 65_536;

/// Measures real services.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Folding the ledger, against checking as many signatures.
    Fold {
        /// Entries.
        #[arg(long, default_value_t = 20_000)]
        entries: usize,
    },
    /// A service's start with a long ledger, with and without its snapshot.
    Restart {
        /// Entries.
        #[arg(long, default_value_t = 20_000)]
        entries: usize,
        /// Acts of each entry, under one signature.
        #[arg(long, default_value_t = 1)]
        acts: usize,
    },
    /// Partials at one site, against its HSM alone.
    Partials {
        /// Seconds for each measurement.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// The HSM alone, in a process of its own.
    #[command(hide = true)]
    Raw {
        /// For so long.
        #[arg(long)]
        seconds: u64,
        /// With so many threads.
        #[arg(long)]
        threads: usize,
    },
    /// One delivery through the box, sent and taken out.
    Delivery {
        /// GiB of the file. Twice as many, and two more, have to be free where temporary files are.
        #[arg(long, default_value_t = 1)]
        gib: u64,
    },
    /// From an order to the receipts of all sites.
    Revocation {
        /// Sites.
        #[arg(long, default_value_t = 1000)]
        sites: usize,
        /// How many people are revoked, one after the other.
        #[arg(long, default_value_t = 10)]
        runs: usize,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // Services that are started from here have the same limit.
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(FILES, |maximum| maximum.max(FILES));
    if setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }).is_err() {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    match arguments.what {
        What::Fold { entries } => fold::measure(entries),
        What::Restart { entries, acts } => runtime()?.block_on(restart::measure(entries, acts)),
        What::Partials { seconds } => runtime()?.block_on(partials::measure(seconds)),
        What::Raw { seconds, threads } => raw::measure(seconds, threads),
        What::Delivery { gib } => delivery::measure(gib),
        What::Revocation { sites, runs } => runtime()?.block_on(revocation::measure(sites, runs)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Runtime::new()?)
}
