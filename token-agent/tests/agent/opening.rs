//! Opening files: into viewers, into files, many at once, and what does not open.

use std::os::unix::fs::PermissionsExt as _;

use warifu_api::wire::agent::{AgentFault, AgentState, FileOutcome, OpenTarget};
use warifu_virtual_card::ins;
use warifu_virtual_card::readers;

use crate::desk::{Desk, PIN, processes_with, until};
use crate::organization::Unit;

#[test]
fn a_file_opens_into_a_viewer_and_into_a_file() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent();
        let file = desk.sealed("住民.csv.age", &unit.key, b"name,address\n");
        assert_eq!(desk.view(&file), Err(AgentFault::NoCard));
        desk.insert(member.index);
        desk.until_pin_needed();
        assert_eq!(desk.view(&file), Err(AgentFault::PinNeeded { tries_left: 3 }));
        desk.unlock(None, PIN).unwrap();

        let shown = desk.view(&file).unwrap();
        assert_eq!(std::fs::read(&shown).unwrap(), b"name,address\n");
        assert_eq!(shown.file_name().unwrap(), "住民.csv");
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&shown), mode(shown.parent().unwrap())), (0o600, 0o700));
        assert!(shown.starts_with("/dev/shm"), "{}", shown.display());
        until("the viewer runs", || (!processes_with(shown.to_str().unwrap()).is_empty()).then_some(()));

        let out = desk.path("out.csv");
        assert_eq!(desk.export(&file, &out), Ok(13));
        assert_eq!(std::fs::read(&out).unwrap(), b"name,address\n");
        assert_eq!(desk.export(&file, &out), Err(AgentFault::OutputExists));

        let AgentState::Open { member, units, site, open_files, lease_left_ms, .. } = desk.status().state
        else {
            panic!("open");
        };
        assert_eq!((member.as_deref(), site.as_str(), open_files), (Some("信濃 花子"), "本庁", 1));
        assert_eq!(units, ["税務課"]);
        assert!(lease_left_ms > 0);
    });
}

#[test]
fn many_files_take_one_pin_and_one_round_trip() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent_with(&["true"]);
        desk.insert_and_unlock(member.index);
        let verified = desk.cards[0].0.seen(ins::VERIFY);
        let files: Vec<_> = (0..12)
            .map(|n| desk.sealed(&format!("{n}.txt.age"), &unit.key, format!("text {n}").as_bytes()))
            .collect();
        let paths: Vec<_> = files.iter().map(std::path::PathBuf::as_path).collect();
        let outcomes = desk.open(&paths, OpenTarget::View).unwrap();
        assert_eq!(outcomes.len(), 12);
        for outcome in &outcomes {
            assert!(matches!(outcome, FileOutcome::Viewing { unit, .. } if unit == "税務課"), "{outcome:?}");
        }
        assert_eq!(desk.sites[0].state().batches, 1);
        assert_eq!(desk.cards[0].0.agreements(), 12);
        for path in &paths {
            desk.view(path).unwrap();
        }
        assert_eq!(desk.cards[0].0.seen(ins::VERIFY), verified);
        // A viewer that has ended leaves nothing.
        desk.until_state("viewers have ended", |state| {
            matches!(state, AgentState::Open { open_files: 0, .. })
        });
        let FileOutcome::Viewing { path, .. } = &outcomes[0] else { panic!("viewing") };
        assert!(!std::path::Path::new(path).exists());
    });
}

#[test]
fn what_does_not_open_says_why_and_leaves_nothing() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let (unit, other) = (Unit::draw("税務課"), Unit::draw("福祉課"));
        let member = desk.member(&[&unit]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        let out = desk.path("out");

        let foreign = desk.sealed("foreign.age", &other.key, b"x");
        assert_eq!(desk.export(&foreign, &out), Err(AgentFault::NotForYou));
        let text = desk.path("text");
        std::fs::write(&text, "no age file").unwrap();
        assert_eq!(desk.export(&text, &out), Err(AgentFault::FileDamaged));
        assert!(matches!(desk.export(&desk.path("none"), &out), Err(AgentFault::FileUnreadable { .. })));
        assert!(matches!(desk.export(&desk.path("."), &out), Err(AgentFault::FileUnreadable { .. })));

        // Altered at the end, and cut short: everything before was good.
        let good = desk.sealed("good.age", &unit.key, &vec![7; 200_000]);
        let mut bytes = std::fs::read(&good).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let damaged = desk.path("damaged.age");
        std::fs::write(&damaged, &bytes).unwrap();
        assert_eq!(desk.export(&damaged, &out), Err(AgentFault::FileDamaged));
        std::fs::write(&damaged, &bytes[..150_000]).unwrap();
        assert_eq!(desk.export(&damaged, &out), Err(AgentFault::FileDamaged));
        assert!(!out.exists());
        let left: Vec<_> = std::fs::read_dir(desk.folder.path())
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(".warifu-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");

        // One bad file does not keep the others from opening.
        let outcomes = desk.open(&[&damaged, &good], OpenTarget::View).unwrap();
        assert!(matches!(outcomes[0], FileOutcome::Failed { fault: AgentFault::FileDamaged }));
        assert!(matches!(outcomes[1], FileOutcome::Viewing { .. }));

        let nowhere = desk.path("no/such/folder/out");
        assert!(matches!(desk.export(&good, &nowhere), Err(AgentFault::OutputUnwritable { .. })));
        assert!(matches!(
            desk.open(&[std::path::Path::new("relative.age")], OpenTarget::View),
            Err(AgentFault::Malformed { .. })
        ));
    });
}

#[test]
fn a_viewer_that_cannot_start_is_reported() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        let file = desk.sealed("a.age", &unit.key, b"x");
        desk.start_agent_with(&["no-such-viewer"]);
        desk.insert_and_unlock(member.index);
        let fault = desk.view(&file).unwrap_err();
        assert!(
            matches!(&fault, AgentFault::ViewerFailed { why } if why.contains("no-such-viewer")),
            "{fault:?}"
        );
        desk.terminate_agent();

        desk.start_agent_with(&["sh", "-c", "echo broken >&2; exit 3"]);
        desk.until_pin_needed();
        desk.unlock(None, PIN).unwrap();
        let fault = desk.view(&file).unwrap_err();
        assert!(matches!(&fault, AgentFault::ViewerFailed { why } if why == "broken"), "{fault:?}");
        assert!(matches!(desk.status().state, AgentState::Open { open_files: 0, .. }));
    });
}

#[test]
fn two_cards_open_what_each_of_them_can() {
    readers::private(2, |readers| {
        let mut desk = Desk::new(readers);
        let (tax, welfare) = (Unit::draw("税務課"), Unit::draw("福祉課"));
        let (first, second) = (desk.member(&[&tax]), desk.member(&[&welfare]));
        desk.start_agent_with(&["true"]);
        desk.insert(first.index);
        desk.insert(second.index);
        until("both cards are seen", || {
            let cards = desk.runtime.block_on(desk.client().cards()).unwrap().cards;
            (cards.len() == 2).then_some(())
        });
        // Which of the two is meant has to be said.
        let serials = vec![desk.serial(0).to_string(), desk.serial(1).to_string()];
        assert_eq!(desk.unlock(None, PIN).unwrap_err(), AgentFault::SeveralCards { serials });
        desk.unlock(Some(desk.serial(0)), PIN).unwrap();
        let files =
            [desk.sealed("tax.age", &tax.key, b"tax"), desk.sealed("welfare.age", &welfare.key, b"welfare")];
        let paths = [files[0].as_path(), files[1].as_path()];
        let outcomes = desk.open(&paths, OpenTarget::View).unwrap();
        assert!(matches!(&outcomes[0], FileOutcome::Viewing { unit, .. } if unit == "税務課"));
        let (serial, tries_left) = (desk.serial(1), 3);
        let waits = AgentFault::AnotherCardLocked { serial, tries_left };
        assert!(matches!(&outcomes[1], FileOutcome::Failed { fault } if *fault == waits), "{outcomes:?}");
        desk.unlock(None, PIN).unwrap();
        let outcomes = desk.open(&paths, OpenTarget::View).unwrap();
        assert!(matches!(&outcomes[0], FileOutcome::Viewing { unit, .. } if unit == "税務課"));
        assert!(matches!(&outcomes[1], FileOutcome::Viewing { unit, .. } if unit == "福祉課"));
        // One goes, the other stays open.
        desk.remove(0);
        desk.until_state(
            "the second card is open",
            |state| matches!(state, AgentState::Open { serial, .. } if *serial == desk.serial(1)),
        );
        assert_eq!(desk.export(&files[0], &desk.path("out")), Err(AgentFault::NotForYou));
    });
}

#[test]
fn foreign_cards_open_nothing_and_are_left_alone() {
    readers::private(2, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let other = desk.member_of(warifu_ledger::Digest::of(b"another organization"), &[&unit]);
        let foreign = warifu_virtual_card::VirtualCard::create_foreign(&desk.path("foreign.json")).unwrap();
        desk.start_agent();
        let inserted = foreign.insert(desk.readers.port(1)).unwrap();
        desk.until_state("a foreign card", |state| matches!(state, AgentState::ForeignCard { .. }));
        desk.insert(other.index);
        until("the other card is seen", || {
            let cards = desk.runtime.block_on(desk.client().cards()).unwrap().cards;
            (cards.len() == 1 && cards[0].shares == 1).then_some(())
        });
        assert!(matches!(desk.status().state, AgentState::ForeignCard { .. }));
        let file = desk.sealed("a.age", &unit.key, b"x");
        assert_eq!(desk.view(&file), Err(AgentFault::ForeignCard));
        assert_eq!(desk.unlock(None, PIN).unwrap_err(), AgentFault::ForeignCard);
        assert_eq!(desk.cards[0].0.seen(ins::VERIFY), 0);
        drop(inserted);
    });
}
