//! The points by themselves, and a process that ends at one.

#![allow(clippy::expect_used, reason = "helpers of tests, which clippy does not know as such")]

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use futures_util::FutureExt as _;
use warifu_crash_point::{CrashPoint, Program, reached, reached_blocking, rehearsal};

#[test]
fn every_name_is_one_points_own() {
    let names: BTreeSet<&str> = CrashPoint::ALL.iter().map(|point| point.name()).collect();
    assert_eq!(names.len(), CrashPoint::ALL.len());
    for &point in CrashPoint::ALL {
        let name = point.name();
        assert_eq!(CrashPoint::named(name), Some(point));
        let program = match point.program() {
            Program::Replica => "replica.",
            Program::Kms => "kms.",
            Program::Ca => "ca.",
            Program::Site => "site.",
            Program::Agent => "agent.",
        };
        assert!(name.starts_with(program), "{name}");
        assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'.' | b'-')), "{name}");
    }
}

/// Runs [`one_life`] in a process of its own.
fn life(crash_at: Option<&str>) -> std::process::Output {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--exact", "one_life", "--nocapture"]).env("WARIFU_TEST_LIFE", "1");
    if let Some(point) = crash_at {
        command.env("WARIFU_CRASH_AT", point);
    }
    command.output().expect("a program runs")
}

#[test]
fn one_life() {
    if std::env::var_os("WARIFU_TEST_LIFE").is_none() {
        return;
    }
    struct Destructor;
    impl Drop for Destructor {
        fn drop(&mut self) {
            println!("destructor");
        }
    }
    let _destructor = Destructor;
    for round in 1..=3 {
        println!("round {round}");
        reached_blocking(CrashPoint::CaHalfKept);
        reached(CrashPoint::CaHalfPosted).now_or_never().unwrap();
    }
}

#[test]
fn a_process_dies_at_the_point_and_the_time_that_the_environment_names() {
    let whole = life(None);
    assert!(whole.status.success());
    assert!(String::from_utf8_lossy(&whole.stdout).contains("round 3\ndestructor"));
    for (at, rounds) in [("ca.half.kept", 1), ("ca.half.posted:2", 2), ("ca.half.kept:3", 3)] {
        let killed = life(Some(at));
        assert_eq!(killed.status.signal(), Some(9), "{at}");
        let said = String::from_utf8_lossy(&killed.stdout).into_owned();
        assert_eq!(said.matches("round").count(), rounds, "{at}: {said}");
        assert!(!said.contains("destructor"), "{at}: a destructor ran");
    }
    assert!(life(Some("kms.order.checked")).status.success(), "a point that is not passed kills nobody");
}

#[test]
fn an_unknown_point_is_an_error_and_not_a_run_without_a_crash() {
    let wrong = life(Some("ca.half.kpt"));
    assert!(!wrong.status.success());
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("WARIFU_CRASH_AT=ca.half.kpt"));
}

#[test]
fn a_service_ends_at_its_own_armed_point_and_goes_no_further() {
    fn on(service: &str, points: &'static [CrashPoint]) -> usize {
        let work =
            move || points.iter().take_while(|&&point| reached(point).now_or_never().is_some()).count();
        std::thread::Builder::new().name(service.to_owned()).spawn(work).unwrap().join().unwrap()
    }
    const STEPS: &[CrashPoint] =
        &[CrashPoint::SiteShareStored, CrashPoint::SiteShareAcknowledged, CrashPoint::SiteShareStored];
    rehearsal::watch();
    let (sender, told) = std::sync::mpsc::channel();
    rehearsal::arm("north", CrashPoint::SiteShareStored, 2, [], move || sender.send(()).unwrap());
    assert_eq!(on("south", STEPS), 3, "another service ends");
    assert!(told.try_recv().is_err());
    assert_eq!(on("north", STEPS), 2);
    told.recv().unwrap();
    assert_eq!(
        rehearsal::ends().into_iter().collect::<Vec<_>>(),
        [(("north".to_owned(), CrashPoint::SiteShareStored), 1)]
    );
    assert_eq!(on("north", STEPS), 0, "a service that is over goes on");

    let blocked = std::thread::Builder::new().name("north".to_owned());
    let blocked = blocked.spawn(|| reached_blocking(CrashPoint::SiteShareStored)).unwrap();
    rehearsal::release("north");
    assert!(blocked.join().is_err(), "a blocking step goes on after the end");
    rehearsal::clear("north");
    assert_eq!(on("north", STEPS), 3);
    let counted = rehearsal::hits();
    assert_eq!(counted.get(&("south".to_owned(), CrashPoint::SiteShareStored)), Some(&2));
    assert_eq!(counted.get(&("north".to_owned(), CrashPoint::SiteShareStored)), Some(&4));
}
