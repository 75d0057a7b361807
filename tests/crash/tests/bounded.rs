//! Every end once, and the page about it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use warifu_crash_point::CrashPoint;

/// A town stopped at every crash point of kms, ca and sites: `warifu-crash` itself requires that none is left out.
#[test]
fn i3_a_town_is_stopped_at_every_point_and_nothing_is_lost_or_half_made() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warifu-crash"));
    command.args(["--towns", "6", "--each", "15"]);
    // What counts is what was written when a process ends, not what a disk makes of it; memory is there sooner.
    if Path::new("/dev/shm").is_dir() {
        command.env("TMPDIR", "/dev/shm");
    }
    let output = command.output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
}

#[test]
fn the_page_has_every_point_with_what_is_durable_there() {
    let page = include_str!("../../../docs/testing/crash-points.md");
    let rows: BTreeMap<&str, &str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "))
        .collect();
    let points: BTreeMap<&str, &str> =
        CrashPoint::ALL.iter().map(|point| (point.name(), point.says())).collect();
    assert_eq!(rows, points);
}
