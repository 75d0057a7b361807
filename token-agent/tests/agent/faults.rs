//! Readers, cards and PINs with which something is wrong: what people read, and that nothing is spent or left.

use std::process::Command;

use warifu_api::wire::agent::{AgentFault, AgentState};
use warifu_virtual_card::{VirtualCard, ins, readers};

use crate::desk::{Desk, PIN, opened_folders, stderr, stdout, until};
use crate::organization::Unit;

const HELPDESK: &str = "情報政策課 0261-00-0000";

/// A command that ends with a fault, which says this and whom to call.
#[track_caller]
fn complains(desk: &Desk, words: &[&str], input: &str, code: i32, said: &[&str]) {
    let done = desk.warifu(words, input);
    let text = stderr(&done);
    assert_eq!(done.status.code(), Some(code), "{text}");
    for part in said.iter().chain(["→ ", HELPDESK].iter()) {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
}

#[test]
fn without_a_reader_it_says_so() {
    readers::private(0, |readers| {
        let mut desk = Desk::new(readers);
        desk.start_agent_anyhow(&["true"]);
        desk.until_state("no reader", |state| matches!(state, AgentState::NoReader));
        assert_eq!(desk.unlock(None, PIN).unwrap_err(), AgentFault::NoReader);
        let file = desk.sealed("a.age", &Unit::draw("税務課").key, b"x");
        let file = file.to_str().unwrap();
        complains(&desk, &["open", file], "", 3, &["カードリーダーが見つかりません"]);
        complains(&desk, &["unlock", "--pin-stdin"], PIN, 3, &["カードリーダーが見つかりません"]);
    });
}

#[test]
fn without_the_reader_service_it_says_so_and_works_once_it_runs() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        let file = desk.sealed("a.age", &unit.key, b"x");
        desk.insert(member.index);
        desk.readers.kill();
        desk.start_agent_anyhow(&["true"]);
        assert!(matches!(desk.status().state, AgentState::NoReaderService));
        complains(&desk, &["open", file.to_str().unwrap()], "", 3, &["（pcscd）が動いていません"]);
        desk.readers.restart().unwrap();
        desk.until_pin_needed();
        // Once more, while the card waits for its PIN.
        desk.readers.kill();
        desk.until_state("no service", |state| matches!(state, AgentState::NoReaderService));
        assert_eq!(desk.unlock(None, PIN).unwrap_err(), AgentFault::NoReaderService);
        desk.readers.restart().unwrap();
        desk.until_pin_needed();
        desk.unlock(None, PIN).unwrap();
        desk.view(&file).unwrap();
    });
}

#[test]
fn foreign_cards_do_not_keep_ours_from_working() {
    readers::private(3, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let elsewhere = desk.member_of(warifu_ledger::Digest::of(b"another organization"), &[&unit]);
        let ours = desk.member(&[&unit]);
        let unusable = VirtualCard::create_foreign(&desk.path("foreign.json")).unwrap();
        let file = desk.sealed("a.age", &unit.key, b"x");
        desk.start_agent_anyhow(&["true"]);
        let _inserted = unusable.insert(desk.readers.port(2)).unwrap();
        desk.insert(elsewhere.index);
        until("both are seen", || {
            let cards = desk.runtime.block_on(desk.client().cards()).unwrap();
            (cards.cards.len() == 1 && cards.unusable.len() == 1).then_some(())
        });
        complains(&desk, &["open", file.to_str().unwrap()], "", 3, &["この組織のカードではありません"]);
        complains(&desk, &["unlock", "--pin-stdin"], PIN, 3, &["この組織のカードではありません"]);
        desk.insert(ours.index);
        desk.until_pin_needed();
        let out = desk.path("out");
        let words = ["open", "--pin-stdin", "-o", out.to_str().unwrap(), file.to_str().unwrap()];
        let done = desk.warifu(&words, PIN);
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        let asked = |card: &VirtualCard| card.seen(ins::VERIFY);
        assert_eq!((asked(&desk.cards[elsewhere.index].0), asked(&unusable)), (0, 0), "no PIN goes to them");
    });
}

#[test]
fn of_two_cards_the_one_that_is_named_is_asked() {
    readers::private(2, |readers| {
        let mut desk = Desk::new(readers);
        let (tax, welfare) = (Unit::draw("税務課"), Unit::draw("福祉課"));
        let (first, second) = (desk.member(&[&tax]), desk.member(&[&welfare]));
        desk.start_agent_anyhow(&["true"]);
        for card in [first.index, second.index] {
            desk.insert(card);
        }
        until("both cards wait", || {
            let status = desk.status();
            (matches!(status.state, AgentState::PinNeeded { .. }) && status.others.len() == 1).then_some(())
        });
        let file = desk.sealed("welfare.age", &welfare.key, b"x");
        let (file, out) = (file.to_str().unwrap(), desk.path("out"));
        let (a, b) = (desk.serial(0).to_string(), desk.serial(1).to_string());
        complains(&desk, &["open", "--pin-stdin", file], PIN, 3, &["複数", &a, &b, "--serial"]);
        complains(&desk, &["unlock", "--pin-stdin"], PIN, 3, &["複数", &a, &b, "--serial"]);
        let asked = |desk: &Desk, index: usize| desk.cards[index].0.seen(ins::VERIFY);
        assert_eq!((asked(&desk, 0), asked(&desk, 1)), (0, 0));
        let words = ["open", "--pin-stdin", "--serial", &b, "-o", out.to_str().unwrap(), file];
        let done = desk.warifu(&words, PIN);
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        assert_eq!(asked(&desk, 0), 0, "the other one is not asked");
        assert!(stdout(&desk.warifu(&["status"], "")).contains(&format!("カード {a}")), "nor forgotten");
        complains(&desk, &["unlock", "--serial", "4711", "--pin-stdin"], PIN, 3, &["カードが入っていません"]);
    });
}

/// At a PC where an officer works: the officer's card opens no files, and must not hide the member's.
#[test]
fn an_open_officers_card_does_not_hide_a_members_that_waits() {
    readers::private(2, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let (officer, member) = (desk.member(&[]), desk.member(&[&unit]));
        let file = desk.sealed("a.age", &unit.key, b"x");
        let (file, out) = (file.to_str().unwrap(), desk.path("out"));
        desk.start_agent_anyhow(&["true"]);
        desk.insert_and_unlock(officer.index);
        desk.insert(member.index);
        desk.until_pin_needed();
        let serial = desk.serial(member.index);
        let waits = AgentFault::AnotherCardLocked { serial, tries_left: 3 };
        assert_eq!(desk.export(std::path::Path::new(file), &out), Err(waits));
        let told = format!("カード {serial} は、暗証番号を待っています");
        complains(&desk, &["open", "-o", out.to_str().unwrap(), file], "", 3, &[&told]);
        let words = ["open", "--pin-stdin", "-o", out.to_str().unwrap(), file];
        complains(&desk, &words, "000000\n", 3, &["あと 2 回"]);
        let done = desk.warifu(&words, PIN);
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        assert_eq!(std::fs::read(&out).unwrap(), b"x");
    });
}

#[test]
fn the_last_try_is_never_spent_silently_at_the_command_line() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let member = desk.member(&[]);
        desk.start_agent();
        desk.insert(member.index);
        desk.until_pin_needed();
        let unlock = ["unlock", "--pin-stdin"];
        complains(&desk, &unlock, "", 3, &["6 桁から 8 桁"]);
        complains(&desk, &unlock, "000000", 3, &["暗証番号が違います", "あと 2 回"]);
        complains(&desk, &unlock, "000000", 3, &["暗証番号が違います", "あと 1 回"]);
        let asked = desk.cards[0].0.seen(ins::VERIFY);
        complains(&desk, &unlock, PIN, 3, &["あと 1 回しか", "使えなくなります"]);

        // At a terminal it is asked first, and only a yes is a yes.
        let terminal = |answers: &str| {
            let command = format!(
                "{} --agent '{}' --lang ja unlock",
                env!("CARGO_BIN_EXE_warifu"),
                desk.bootstrap().display()
            );
            let mut script = Command::new("script");
            script.args(["-qec", &command, "/dev/null"]);
            script.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
            let mut child = script.spawn().unwrap();
            std::io::Write::write_all(child.stdin.as_mut().unwrap(), answers.as_bytes()).unwrap();
            let done = child.wait_with_output().unwrap();
            (done.status.code(), stdout(&done))
        };
        for answer in ["no\n", "\n", "y\n", "いいえ\n"] {
            let (code, said) = terminal(answer);
            assert_eq!(code, Some(3), "{said}");
            assert!(said.contains("続けますか") && said.contains("最後の 1 回は使わず"), "{said}");
        }
        assert_eq!(desk.cards[0].0.seen(ins::VERIFY), asked, "the card was not asked");
        let (code, said) = terminal(&format!("はい\n{PIN}\n"));
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("あと 1 回入力できます"), "the tries left are shown before: {said}");
        assert_eq!(desk.cards[0].0.seen(ins::VERIFY), asked + 1, "and spent once");
    });
}

#[test]
fn a_blocked_card_is_not_asked_again() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        let file = desk.sealed("a.age", &unit.key, b"x");
        desk.cards[0].0.block_pin().unwrap();
        desk.start_agent();
        desk.insert(member.index);
        desk.until_state("blocked", |state| matches!(state, AgentState::PinBlocked { .. }));
        for words in [&["open", "--pin-stdin", file.to_str().unwrap()][..], &["unlock", "--pin-stdin"]] {
            complains(&desk, words, PIN, 3, &["カードが使えなくなっています", "解除"]);
        }
        assert_eq!(desk.cards[0].0.seen(ins::VERIFY), 0);
    });
}

#[test]
fn a_card_pulled_while_the_pin_is_checked_spends_no_try() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        let file = desk.sealed("a.age", &unit.key, b"x");
        desk.start_agent_with(&["true"]);
        for words in [&["unlock", "--pin-stdin"][..], &["open", "--pin-stdin", file.to_str().unwrap()]] {
            desk.insert(member.index);
            desk.until_pin_needed();
            desk.cards[0].0.pull_at(ins::VERIFY, 1);
            complains(&desk, words, PIN, 3, &["カードが抜かれたため"]);
            desk.cards[0].1 = None;
            desk.until_state("the card is out", |state| matches!(state, AgentState::NoCard));
        }
        desk.insert(member.index);
        let state = desk.until_state("it is back", |state| matches!(state, AgentState::PinNeeded { .. }));
        assert!(matches!(state, AgentState::PinNeeded { tries_left: 3, .. }), "{state:?}");
        desk.unlock(None, PIN).unwrap();
        desk.view(&file).unwrap();
    });
}

#[test]
fn a_card_pulled_in_the_middle_of_ecdh_leaves_nothing() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        let file = desk.sealed("a.age", &unit.key, b"x");
        let folder = desk.path("exports");
        std::fs::create_dir(&folder).unwrap();
        desk.start_agent_with(&["true"]);
        for _ in 0..3 {
            desk.insert_and_unlock(member.index);
            // Until then the agent uses the card for handshakes.
            until("the agent listens", || desk.sites[0].has_listeners().then_some(()));
            let (agreed, signed) = (desk.cards[0].0.agreements(), desk.cards[0].0.signatures());
            desk.cards[0].0.pull_at(ins::AUTHENTICATE, 1);
            let out = folder.join("out");
            let words = ["open", "-o", out.to_str().unwrap(), file.to_str().unwrap()];
            complains(&desk, &words, "", 3, &["カードが抜かれたため"]);
            assert_eq!((desk.cards[0].0.agreements(), desk.cards[0].0.signatures()), (agreed, signed));
            assert!(std::fs::read_dir(&folder).unwrap().next().is_none() && opened_folders(&desk).is_empty());
            desk.cards[0].1 = None;
            desk.until_state("the card is out", |state| matches!(state, AgentState::NoCard));
            until("nobody listens", || (!desk.sites[0].has_listeners()).then_some(()));
        }
        desk.insert_and_unlock(member.index);
        desk.view(&file).unwrap();
    });
}

/// Whom to call is in the profile, which lies on the PC whether the agent runs or not.
#[test]
fn every_command_says_whom_to_call_even_without_an_agent() {
    readers::private(1, |readers| {
        let desk = Desk::new(readers);
        let commands: [&[&str]; 6] = [
            &["status"],
            &["unlock", "--pin-stdin"],
            &["lock"],
            &["open", "a.age"],
            &["seal", "-r", "tax", "Cargo.toml"],
            &["seal", "-r", "age1tag1xyz", "Cargo.toml"],
        ];
        let codes = [4, 4, 4, 4, 4, 1];
        for (words, code) in commands.into_iter().zip(codes) {
            let done = desk.warifu(words, "");
            assert_eq!(done.status.code(), Some(code));
            assert!(!stderr(&done).contains(HELPDESK), "there is no profile yet");
        }
        std::fs::create_dir_all(desk.path("state/warifu")).unwrap();
        std::fs::copy(desk.path("profile.json"), desk.path("state/warifu/profile.json")).unwrap();
        for (words, code) in commands.into_iter().zip(codes) {
            complains(&desk, words, "", code, &[]);
        }
        let doctor = desk.warifu(&["doctor"], "");
        assert!(stdout(&doctor).contains(HELPDESK), "{}", stdout(&doctor));
    });
}
