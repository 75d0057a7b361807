//! A member's card from the factory to its replacement, as officers do it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use warifu_tests::process::program;
use warifu_tests::town::{DESK_READERS, MEMBER_READERS, PIN, READERS, SITES, until};
use warifu_virtual_card::readers::private;

use crate::Play;

/// The reader at the desk for the card that is enrolled.
const NEW: usize = DESK_READERS - 1;

impl Play {
    fn inspected(&self, serial: u32) -> Value {
        let cards: Value =
            serde_json::from_str(&self.town.admin(&["card", "inspect", "--json"]).unwrap()).unwrap();
        let mut cards = cards.as_array().unwrap().iter();
        cards.find(|card| card["serial"] == serial).unwrap_or_else(|| panic!("no card {serial}")).clone()
    }

    fn put_on_the_desk(&mut self, label: &str, serial: u32) {
        self.town.insert(label, NEW).unwrap();
        self.town.wait_for_card(serial).unwrap();
    }

    /// Takes the card off the desk; returns when the desk has seen it.
    fn take_off_the_desk(&mut self, label: &str, serial: u32) {
        self.town.remove(label);
        until("the card is out", Duration::from_secs(10), || {
            let words = ["card", "inspect", "--card-alone", "--json"];
            let cards: Value = serde_json::from_str(&self.town.admin(&words)?)?;
            Ok(cards.as_array().is_some_and(|cards| cards.iter().all(|card| card["serial"] != serial)))
        })
        .unwrap();
    }
}

/// Design section 3.5, I10: the new card opens what the lost one did, no file is touched, and the lost one is dead.
#[test]
fn a_lost_card_is_replaced_and_no_file_is_touched() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let sealed = play.sealed("list", b"content");
        let before = fs::read(&sealed).unwrap();
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");
        play.town.remove("hanako");

        // Somebody else's card is no new card.
        let taken = play.town.try_admin(&["--lang", "ja", "card", "replace", "hanako", "--new-card", "1002"]);
        let said = String::from_utf8(taken.unwrap().stderr).unwrap();
        assert!(said.contains("すでに「白馬 みどり」のものです"), "{said}");

        play.town.new_card("hanako-2", 2101).unwrap();
        play.put_on_the_desk("hanako-2", 2101);
        let words = ["--lang", "ja", "card", "replace", "hanako", "--reason", "紛失", "--watch"];
        let said = play.town.admin(&words).unwrap();
        for (_, name) in SITES {
            assert!(said.lines().any(|line| line.contains('✓') && line.contains(name)), "{said}");
        }
        assert!(said.contains("カード 2001 の代わり") && said.contains("税務課"), "{said}");
        let card = play.inspected(2101);
        assert_eq!((&card["shares"], &card["label"]), (&1.into(), &"hanako".into()), "{card}");
        assert_eq!(card["units"][0]["share"], "works", "{card}");
        assert_eq!(card["problems"].as_array().map(Vec::len), Some(0), "{card}");
        // Given again with the same words, it goes on where it was.
        let again = play.town.admin(&words).unwrap();
        assert!(again.contains("続きを行います"), "{again}");
        play.take_off_the_desk("hanako-2", 2101);

        play.insert("hanako-2", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");
        play.town.remove("hanako-2");
        // Whoever has found the old one, and knows its PIN.
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.refuses("office", &sealed);
        assert!(fs::read(&sealed).unwrap() == before, "I10: the file was touched");
        play.town.close();
    });
}

/// The PUK is in nobody's drawer: an officer's card opens it.
#[test]
fn a_forgotten_pin_is_set_anew_by_an_officers_card() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let sealed = play.sealed("list", b"content");
        play.town.card("hanako").unwrap().block_pin().unwrap();
        play.insert("hanako", "office", MEMBER_READERS[0]);
        assert_eq!(play.state("office"), "pin-blocked");
        play.town.remove("hanako");

        play.put_on_the_desk("hanako", 2001);
        let said = play.town.admin(&["--lang", "ja", "card", "unblock"]).unwrap();
        assert!(said.contains("カード 2001 に新しい暗証番号を設定しました"), "{said}");
        play.take_off_the_desk("hanako", 2001);
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");

        // An officer's own card was made before there was a kms, and gets its PUK when it is asked to.
        let secrets = &play.inspected(1001)["secrets"];
        assert_eq!(secrets["factory_puk"], false, "{secrets}");
        assert_eq!(secrets["management_key"], "protected", "{secrets}");
        play.town.card("ichiro").unwrap().block_pin().unwrap();
        play.town.admin(&["--card", "1002", "card", "unblock", "1001"]).unwrap();
        assert_eq!(play.inspected(1001)["tries_left"], 3);
        play.town.close();
    });
}

/// `warifu-admin` at a desk with one reader, and what it says.
struct OneReader {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl OneReader {
    fn start(play: &Play, words: &[&str]) -> Self {
        let mut child = Command::new(program("warifu-admin").unwrap())
            .arg("--agent")
            .arg(play.town.bootstrap("small"))
            .args(["--pins-stdin", "--yes", "--lang", "ja"])
            .args(words)
            .env("XDG_STATE_HOME", play.path("small-state"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pins = format!("1001 {PIN}\n2201 {PIN}\n");
        child.stdin.take().unwrap().write_all(pins.as_bytes()).unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Self { child, says }
    }

    /// Reads on until it says this.
    fn until(&mut self, wanted: &str) {
        let mut said = String::new();
        while !said.contains(wanted) {
            let before = said.len();
            assert!(self.says.read_line(&mut said).unwrap() > 0, "{wanted}? it said {said} after {before}");
        }
    }
}

/// One reader suffices, and what was prepared survives the end of the desk's command and of its agent.
#[test]
fn a_member_is_enrolled_with_one_reader_and_an_interruption() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        play.town.add_agent("small", &[NEW], false, &[]).unwrap();
        play.town.start("small").unwrap();
        play.town.new_card("saburo", 2201).unwrap();
        let sealed = play.sealed("list", b"content");
        // Two agents at one reader would take the card from each other.
        play.town.stop("desk");
        let swap = |play: &mut Play, out: &str, into: &str| {
            play.town.remove(out);
            play.town.insert(into, NEW).unwrap();
        };
        swap(&mut play, "ichiro", "ichiro");
        let words = ["member", "enroll", "saburo", "--name", "白馬 三郎", "--unit", "tax"];

        let mut first = OneReader::start(&play, &words);
        first.until("新しいカードを入れてください");
        swap(&mut play, "ichiro", "saburo");
        first.until("セキュリティ担当のカードを入れてください");
        // It is prepared, and nothing is signed. The power fails.
        first.child.kill().unwrap();
        first.child.wait().unwrap();
        play.town.kill("small");
        play.town.start("small").unwrap();
        let draft = play.path("small-state/warifu/drafts/saburo.json");
        let text = fs::read_to_string(&draft).unwrap();
        assert!(!text.contains(PIN), "{text}");
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&draft).unwrap().permissions()) & 0o777,
            0o600
        );

        swap(&mut play, "saburo", "ichiro");
        let mut second = OneReader::start(&play, &words);
        second.until("カード 2201 を入れてください");
        // Another card than the one that is waited for changes nothing.
        play.town.new_card("other", 2202).unwrap();
        swap(&mut play, "ichiro", "other");
        swap(&mut play, "other", "saburo");
        second.until("「白馬 三郎」を登録しました");
        assert!(second.child.wait().unwrap().success());
        assert!(!draft.exists());
        play.town.remove("saburo");

        play.insert("saburo", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");
        play.town.close();
    });
}
