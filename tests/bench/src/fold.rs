//! Folding the ledger: what it costs besides the signatures, and whether a revocation costs more the longer the ledger is.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use warifu_ledger::ahead::Ahead;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::PublicKey;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;

use crate::figures::{Times, ms, rate, say};
use crate::fixture::{ONE, TWO, Town, card_key, enrol, public, revoke_member};

/// How often a revocation is tried.
const TRIES: usize = 200;
/// How many leaves are checked at once.
const AT_ONCE: usize = 1000;
/// A short ledger.
const SHORT: usize = 1000;

/// Measures with a ledger of so many entries.
pub(crate) fn measure(entries: usize) -> Result<()> {
    println!("Folding {entries} entries of one act each");
    let mut town = Town::working();
    let mut short = None;
    while town.leaves.len() < entries {
        if town.leaves.len() >= SHORT && short.is_none() {
            short = Some(town.state.clone());
        }
        town.done([enrol(&format!("member {}", town.leaves.len()))], ONE);
    }
    let leaves = town.leaves.as_slice();
    let signatures: usize = leaves.iter().map(|leaf| leaf.envelope().signatures.len()).sum();

    let one = checking(leaves, 1);
    let cores = std::thread::available_parallelism()?.get();
    let before = processor_time();
    let all = checking(leaves, cores);
    let checks = processor_time().saturating_sub(before);
    say("signature checks a second, one core", &format!("{one:.0}"));
    say(&format!("signature checks a second, {cores} cores"), &format!("{all:.0}"));

    let started = (Instant::now(), processor_time());
    black_box(folded(leaves)?);
    let folding = rate(signatures, started.0.elapsed());
    let spent = processor_time().saturating_sub(started.1);
    say("signatures folded a second", &format!("{folding:.0}"));
    say("of one core's checks", &format!("{:.2}", folding / one));
    say("of all cores' checks", &format!("{:.2}", folding / all));
    let of_each = |time: Duration| format!("{:.0} µs", time.as_secs_f64() * 1e6 / signatures as f64);
    say("processor time for a signature that is checked", &of_each(checks));
    say("processor time for a signature that is folded", &of_each(spent));

    let long = revoking(&mut town, None)?;
    let short = short.map(|state| revoking(&mut town, Some(state))).transpose()?;
    if let Some(short) = short {
        say(&format!("folding one revocation after {SHORT} entries, median"), &ms(short.median()));
    }
    say(&format!("folding one revocation after {entries} entries, median"), &ms(long.median()));
    Ok(())
}

/// As a service folds them at its start, from their bytes.
fn folded(leaves: &[Leaf]) -> Result<State> {
    let mut ahead = Ahead::default();
    let (mut state, mut checked) = (None, Vec::new());
    for part in leaves.chunks(AT_ONCE).chain([&[] as &[Leaf]]) {
        let bytes = part.iter().map(|leaf| leaf.as_bytes().to_vec()).collect();
        let (folded, read) = ahead.fold_and_read(state.as_ref(), &checked, bytes);
        state = folded?;
        checked = read.into_iter().collect::<Result<_, _>>()?;
    }
    state.context("no founding")
}

/// What all threads of this process have had of the processors: others who use them do not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

/// How many signatures a second so many threads check, and nothing else.
fn checking(leaves: &[Leaf], threads: usize) -> f64 {
    let officers: Vec<PublicKey> = TWO.iter().map(|officer| public(&card_key(officer, "9C"))).collect();
    let by_officers =
        |envelope: &Envelope| officers.iter().filter(|officer| envelope.verify(officer).is_ok()).count();
    let started = Instant::now();
    let checked: usize = std::thread::scope(|scope| {
        let share = leaves.len().div_ceil(threads);
        let parts: Vec<_> = leaves
            .chunks(share)
            .map(|part| {
                scope.spawn(move || part.iter().map(|leaf| by_officers(leaf.envelope())).sum::<usize>())
            })
            .collect();
        parts.into_iter().map(|part| part.join().unwrap_or_default()).sum()
    });
    rate(checked, started.elapsed())
}

/// How long one revocation takes, after all entries or at an earlier state.
fn revoking(town: &mut Town, earlier: Option<State>) -> Result<Times> {
    let state = earlier.unwrap_or_else(|| town.state.clone());
    let at = town.at;
    let leaf = Leaf::new(at, town.order([revoke_member("hanako")], ONE))?;
    let mut times = Vec::new();
    for _ in 0..TRIES {
        let started = Instant::now();
        // The short ledger has not seen the checkpoint that the order names; it checks everything up to there.
        black_box(state.apply(&leaf).is_ok());
        times.push(started.elapsed());
    }
    Ok(Times::of(times))
}
