//! I7: card out, and within a second nothing that the agent holds or started opens or shows anything.

use std::io::Read as _;
use std::time::Instant;

use warifu_api::wire::agent::{AgentFault, AgentState, FileOutcome, OpenRequest, OpenTarget};
use warifu_envelope::seal;
use warifu_virtual_card::readers;

use crate::desk::{Desk, ONE_SECOND, PIN, is_gone, opened_folders, processes_with, until};
use crate::organization::Unit;

const LARGE: u64 = 1 << 30;

fn within_a_second(since: Instant, what: &str, done: impl Fn() -> bool) {
    until(what, || done().then_some(()));
    assert!(since.elapsed() < ONE_SECOND, "{what} took {:?}", since.elapsed());
}

#[test]
fn viewers_and_plaintext_go_with_the_card_and_exports_stay() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        // A viewer that has children, and does not want to go.
        desk.start_agent_with(&[
            "sh",
            "-c",
            "trap '' TERM HUP; sh -c 'trap \"\" TERM HUP; sleep 1000 & tail -f \"$0\"' \"$1\"",
            "viewer",
        ]);
        desk.insert_and_unlock(member.index);
        let file = desk.sealed("a.txt.age", &unit.key, b"secret");
        let shown = desk.view(&file).unwrap();
        desk.export(&file, &desk.path("kept")).unwrap();
        let text = shown.to_str().unwrap().to_owned();
        until("the viewer's children run", || (processes_with(&text).len() >= 3).then_some(()));

        let pulled = Instant::now();
        desk.remove(0);
        within_a_second(pulled, "everything is gone", || is_gone(&shown));
        desk.until_state("no card", |state| matches!(state, AgentState::NoCard));
        assert_eq!(std::fs::read(desk.path("kept")).unwrap(), b"secret");
        assert_eq!(desk.view(&file), Err(AgentFault::NoCard));
    });
}

/// A file that takes longer to open than the agent takes to notice.
fn large(desk: &Desk, unit: &Unit) -> std::path::PathBuf {
    let path = desk.path("large.age");
    let file = std::fs::File::create(&path).unwrap();
    seal(&[unit.key], false, std::io::repeat(0).take(LARGE), file).unwrap();
    path
}

/// Everywhere that anything of a file could be left: where it goes, in memory, and in the folder for temporary files.
fn is_nowhere(desk: &Desk) -> bool {
    let is_empty = |name: &str| std::fs::read_dir(desk.path(name)).unwrap().next().is_none();
    is_empty("exports") && is_empty("temporary") && opened_folders(desk).is_empty()
}

fn interrupted_midway(
    target: impl Fn(&Desk) -> OpenTarget,
    mut desk: Desk,
    interrupt: impl Fn(&mut Desk),
) -> Desk {
    for folder in ["exports", "temporary"] {
        std::fs::create_dir(desk.path(folder)).unwrap();
    }
    let temporary = desk.path("temporary");
    desk.environment("TMPDIR", &temporary);
    let unit = Unit::draw("税務課");
    let member = desk.member(&[&unit]);
    let file = large(&desk, &unit);
    desk.start_agent();
    desk.insert_and_unlock(member.index);
    let client = desk.client();
    let request = OpenRequest { files: vec![file.to_str().unwrap().to_owned()], target: target(&desk) };
    let opening = desk.runtime.spawn(async move { client.open(&request).await });
    until("the file is being opened", || {
        let progress = desk.runtime.block_on(desk.client().progress()).unwrap();
        (progress.done > 4 << 20 && progress.total >= LARGE).then_some(())
    });
    let pulled = Instant::now();
    interrupt(&mut desk);
    let answer = desk.runtime.block_on(opening).unwrap().unwrap();
    assert!(matches!(answer.files[0], FileOutcome::Failed { fault: AgentFault::CardRemoved }), "{answer:?}");
    within_a_second(pulled, "nothing is left", || is_nowhere(&desk));
    let progress = desk.runtime.block_on(desk.client().progress()).unwrap();
    assert_eq!((progress.done, progress.total), (0, 0));
    desk
}

fn to_a_file(desk: &Desk) -> OpenTarget {
    let out = desk.path("exports/out");
    OpenTarget::Export { path: out.to_str().unwrap().to_owned(), overwrite: false }
}

#[test]
fn a_card_pulled_in_the_middle_of_an_export_leaves_nothing() {
    readers::private(1, |readers| {
        interrupted_midway(to_a_file, Desk::new(readers), |desk| desk.remove(0));
    });
}

#[test]
fn a_card_pulled_before_the_viewer_starts_leaves_nothing() {
    readers::private(1, |readers| {
        interrupted_midway(|_| OpenTarget::View, Desk::new(readers), |desk| desk.remove(0));
    });
}

#[test]
fn a_reader_service_killed_in_the_middle_of_a_file_leaves_nothing_and_the_agent_goes_on() {
    readers::private(1, |readers| {
        let mut desk = interrupted_midway(to_a_file, Desk::new(readers), |desk| desk.readers.kill());
        desk.until_state("no service", |state| matches!(state, AgentState::NoReaderService));
        desk.readers.restart().unwrap();
        desk.until_pin_needed();
        desk.unlock(None, PIN).unwrap();
        let (file, out) = (desk.path("large.age"), desk.path("exports/out"));
        assert_eq!(desk.export(&file, &out), Ok(LARGE));
    });
}

#[test]
fn the_agents_own_end_wipes_like_a_removal() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        let file = desk.sealed("a.age", &unit.key, b"secret");
        let shown = desk.view(&file).unwrap();
        desk.terminate_agent();
        assert!(is_gone(&shown));
        assert!(!shown.parent().unwrap().parent().unwrap().exists());
        assert!(!desk.bootstrap().exists());

        // Killed, it cannot wipe: its viewers die with it, and its successor finds the rest.
        desk.start_agent();
        desk.until_pin_needed();
        desk.unlock(None, PIN).unwrap();
        let shown = desk.view(&file).unwrap();
        desk.kill_agent();
        until("the viewer has died", || processes_with(shown.to_str().unwrap()).is_empty().then_some(()));
        assert_eq!(opened_folders(&desk).len(), 1);
        desk.start_agent();
        assert!(is_gone(&shown));
        assert!(opened_folders(&desk).is_empty());
        desk.until_pin_needed();
    });
}

#[test]
fn a_reader_service_that_ends_counts_as_a_removal() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        let file = desk.sealed("a.age", &unit.key, b"secret");
        let shown = desk.view(&file).unwrap();
        let killed = Instant::now();
        desk.readers.kill();
        within_a_second(killed, "everything is gone", || is_gone(&shown));
        desk.until_state("no service", |state| matches!(state, AgentState::NoReaderService));
        desk.readers.restart().unwrap();
        desk.until_pin_needed();
        desk.unlock(None, PIN).unwrap();
        desk.view(&file).unwrap();
    });
}
