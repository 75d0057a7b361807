//! Real `kill -9` on real processes. The whole of it is `warifu-kills`; here is a share in which every process and every
//! operation is met.

use std::collections::BTreeSet;

use warifu_tests::kills::{Operation, Plan, READERS, run_kills};
use warifu_virtual_card::readers::private;

/// How many kills, and of which seed: `WARIFU_KILLS=120`, `WARIFU_KILLS_SEED=7`.
fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// No half-made grant opens anything, nothing acknowledged is lost, and every command given again ends as if given once.
#[test]
fn killed_processes_leave_nothing_half_done() {
    private(READERS, |readers| {
        let folder = tempfile::tempdir().unwrap();
        let kills = usize::try_from(from_environment("WARIFU_KILLS", 16)).unwrap();
        let seed = from_environment("WARIFU_KILLS_SEED", 1);
        let report =
            run_kills(folder.path(), readers, Plan::new(kills, seed), &mut |line| println!("{line}"));
        let report = report.unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
        assert!(report.kills >= kills, "{} kills", report.kills);
        let operations: BTreeSet<_> = report.by.keys().map(|(operation, _)| operation).collect();
        let victims: BTreeSet<_> = report.by.keys().map(|(_, victim)| victim).collect();
        assert_eq!((operations.len(), victims.len()), (Operation::ALL.len(), 6), "{:?}", report.by);
    });
}
