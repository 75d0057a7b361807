//! Folding the ledger: what it costs besides the signatures, and whether a revocation costs more the longer the ledger is.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::PublicKey;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;

use crate::figures::{Times, ms, rate, say};
use crate::fixture::{ONE, TWO, Town, card_key, enrol, public, revoke_member};

/// How often a revocation is tried.
const TRIES: usize = 200;
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
    let all = checking(leaves, cores);
    say("signature checks a second, one core", &format!("{one:.0}"));
    say(&format!("signature checks a second, {cores} cores"), &format!("{all:.0}"));

    let started = Instant::now();
    let (first, rest) = leaves.split_first().context("no founding")?;
    let mut state = State::found(first)?;
    for leaf in rest {
        // As from the database or the network.
        state = state.apply(&Leaf::from_bytes(leaf.as_bytes().to_vec())?)?;
    }
    let folding = rate(signatures, started.elapsed());
    black_box(&state);
    say("signatures folded a second", &format!("{folding:.0}"));
    say("of one core's checks", &format!("{:.2}", folding / one));
    say("of all cores' checks", &format!("{:.2}", folding / all));

    let long = revoking(&mut town, None)?;
    let short = short.map(|state| revoking(&mut town, Some(state))).transpose()?;
    if let Some(short) = short {
        say(&format!("folding one revocation after {SHORT} entries, median"), &ms(short.median()));
    }
    say(&format!("folding one revocation after {entries} entries, median"), &ms(long.median()));
    Ok(())
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
