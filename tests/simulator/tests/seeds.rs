//! A short run of the simulator, and that it notices each guard's loss.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

const SEEDS: &str = "1..301";

/// Where each guard's loss was found, and which invariant it cost. The traces of seeds change with the simulator and the
/// programs: then another one near by finds it (`warifu-simulate --without GUARD --seeds 1..5000`).
const GUARDS: &[(&str, u64, &[&str])] = &[
    ("journal-first", 1, &["I2"]),
    ("acted-on-is-asked", 15, &["I2", "I3"]),
    ("lease-ends", 1, &["I4"]),
    ("slept-in-between", 1, &["I2", "I4", "I5"]),
    ("newest-nonce", 25, &["I4"]),
    ("counted-from-sending", 14, &["I4"]),
    ("folded-first", 5, &["I4"]),
    ("time-goes-on", 77, &["I2", "I4"]),
    ("ledger-grows", 27, &["I4"]),
    ("stamps-outlive-restarts", 27, &["I2", "I4"]),
    ("not-backdated", 7, &["I4"]),
    ("stamps-in-turn", 103, &["I4"]),
    ("not-before-stamps", 14, &["I4"]),
    ("stamps-kept", 14, &["I4"]),
    ("marked", 6, &["I3"]),
    ("mark-durable", 4, &["I2", "I3"]),
    ("destroyed", 2, &["I3"]),
    ("drained", 148, &["I2", "I3"]),
    ("none-for-the-dead", 4, &["I3"]),
    ("fold-against-stamps", 237, &["I5"]),
    ("leaves-compared", 53, &["I5"]),
    ("seen-against-fold", 545, &["I5"]),
    ("halt-kept", 829, &["I5"]),
    ("cosigned-is-folded", 25, &["I5"]),
];

/// How many seeds each gets.
const ENOUGH: u64 = 2_000;

fn simulate(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_warifu-simulate")).args(arguments).output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, text)
}

#[test]
fn i2_to_i5_hold_through_hundreds_of_seeds() {
    let (output, text) = simulate(&["--seeds", SEEDS]);
    assert!(output.status.success(), "{text}");
    // A town in which nothing happens breaks nothing.
    for what in ["partials", "receipts", "receipts by hand", "restored databases", "forks seen in orders"] {
        let line = text.lines().find_map(|line| line.trim().strip_suffix(what)?.trim().parse::<u64>().ok());
        assert!(line.is_some_and(|count| count >= 5), "too few {what}: {text}");
    }
}

#[test]
fn a_seed_has_one_history() {
    let first = simulate(&["--seed", "10"]).1;
    assert!(first.lines().count() > 100, "{first}");
    for _ in 0..5 {
        assert_eq!(simulate(&["--seed", "10"]).1, first);
    }
}

#[test]
fn every_guard_is_missed() {
    let listed = simulate(&["--guards"]).1;
    let names: Vec<&str> = listed.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert_eq!(names, GUARDS.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
    for (name, seed, invariants) in GUARDS {
        let seeds = format!("{seed}..{}", seed + ENOUGH);
        let (output, text) = simulate(&["--without", name, "--seeds", &seeds]);
        assert!(!output.status.success(), "nobody misses {name}");
        let last = text.lines().last().unwrap_or_default();
        let (_, why) = last.strip_prefix("seed ").and_then(|rest| rest.split_once(": ")).expect(last);
        assert!(invariants.iter().any(|invariant| why.starts_with(invariant)), "{name}: {last}");
    }
}
