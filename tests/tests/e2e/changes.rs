//! Units get other names, are merged, get new keys and are closed; people leave; sites come and are lost. Files stay as they are.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use warifu_tests::process::program;
use warifu_tests::town::{DESK_READERS, MEMBER_READERS, READERS, SITES, rage, until};
use warifu_virtual_card::readers::private;

use crate::Play;

/// The officer who works in a department himself, and is the first to be asked to sign.
const ICHIRO: &str = "信濃 一郎";
const SABURO: &str = "白馬 三郎";

impl Play {
    fn asked(&self, args: &[&str]) -> Value {
        let answer = self.town.admin(&[&["--json"], args].concat()).unwrap();
        serde_json::from_str(answer.trim()).unwrap_or_else(|_| panic!("{args:?}: {answer}"))
    }

    /// What the command that fails says.
    fn admin_refused(&self, args: &[&str]) -> String {
        let output = self.town.try_admin(&[&["--lang", "ja"], args].concat()).unwrap();
        assert!(!output.status.success(), "{args:?} went through");
        String::from_utf8(output.stderr).unwrap()
    }

    fn unit_row(&self, name: &str) -> Value {
        let units = self.asked(&["unit", "list"]);
        let mut rows = units.as_array().unwrap().iter().filter(|row| row["name"] == name);
        let row = rows.next().unwrap_or_else(|| panic!("no {name}: {units}")).clone();
        assert!(rows.next().is_none(), "two of {name}: {units}");
        row
    }

    fn sealed_to(&self, unit: &str, name: &str) -> PathBuf {
        let (plain, sealed) = (self.path(name), self.path(&format!("{name}.age")));
        fs::write(&plain, name).unwrap();
        rage(&[self.town.recipient(unit).unwrap()], &plain, &sealed).unwrap();
        sealed
    }

    /// What waits for a member's card is brought onto it at the desk, and the card goes back to the office.
    fn brought(&mut self, label: &str, serial: u32) {
        self.town.remove(label);
        self.town.insert(label, DESK_READERS - 1).unwrap();
        self.town.wait_for_card(serial).unwrap();
        self.town.admin(&["card", "bring", label]).unwrap();
        self.town.remove(label);
        self.at_the_office(label);
    }

    fn at_the_office(&mut self, label: &str) {
        self.insert(label, "office", MEMBER_READERS[0]);
    }
}

fn left(answer: &Value) -> BTreeSet<&str> {
    answer["left"].as_array().unwrap_or_else(|| panic!("{answer}")).iter().filter_map(Value::as_str).collect()
}

/// I10 as well: whatever becomes of units and sites, files that were sent before open, and no byte of them changes.
#[test]
fn files_stay_while_units_people_and_sites_change() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let sealed = play.sealed("list", b"content");
        let bytes = fs::read(&sealed).unwrap();
        for (label, name) in [("welfare", "福祉課"), ("parks", "公園課")] {
            play.town.admin(&["unit", "add", label, "--name", name]).unwrap();
        }
        play.town.enroll("saburo", 2003, SABURO, &["--unit", "welfare"]).unwrap();
        play.asked(&["--card", "1002", "member", "units", "ichiro", "--add", "welfare"]);

        units(&mut play, &sealed);
        a_last_day(&mut play);
        sites(&mut play, &sealed);
        assert_eq!(fs::read(&sealed).unwrap(), bytes, "I10: the file was touched");
        play.town.close();
    });
}

fn units(play: &mut Play, sealed: &Path) {
    // Another name: label, key and files stay.
    let recipient = play.town.recipient("tax").unwrap();
    let rename = ["unit", "rename", "tax", "--name", "市民税課"];
    assert!(play.asked(&rename)["order"].is_string());
    assert_eq!(play.asked(&rename)["already"], true);
    assert_eq!(play.unit_row("市民税課")["recipient"], recipient.as_str());
    play.at_the_office("hanako");
    play.opens("office", sealed, b"content");
    play.town.remove("hanako");

    // From a day on: until then senders find it.
    let ahead = ["unit", "merge", "parks", "--into", "welfare", "--from", "2099-04-01"];
    assert_eq!(left(&play.asked(&ahead)), BTreeSet::from([ICHIRO]));
    let row = play.unit_row("公園課");
    assert_eq!((&row["listed"], &row["merged_into"]), (&true.into(), &play.unit_row("福祉課")["unit"]));

    // At once. Nobody signs for himself, and is not in the others' way; nor is a suspended card.
    play.at_the_office("saburo");
    play.refuses("office", sealed);
    play.town.admin(&["card", "suspend", "saburo"]).unwrap();
    let merge = ["unit", "merge", "tax", "--into", "welfare"];
    assert_eq!(left(&play.asked(&merge)), BTreeSet::from([ICHIRO, SABURO]));
    play.town.admin(&["card", "resume", "saburo"]).unwrap();
    let again = play.asked(&[&["--card", "1002"], &merge[..]].concat());
    assert_eq!((left(&again), again["orders"].as_array().map(Vec::len)), (BTreeSet::new(), Some(2)));
    assert_eq!(play.asked(&merge)["already"], true);
    assert_eq!(play.unit_row("市民税課")["listed"], false);
    play.brought("saburo", 2003);
    play.opens("office", sealed, b"content");

    // A new key; what is left goes on when it is given again, and orders no second one.
    let before = play.sealed_to("welfare", "before");
    let rekey = ["unit", "rekey", "welfare"];
    assert_eq!(left(&play.asked(&rekey)), BTreeSet::from([ICHIRO]));
    let recipient = play.town.recipient("welfare").unwrap();
    let again = play.asked(&[&["--card", "1002"], &rekey[..]].concat());
    assert_eq!((left(&again), again["orders"].as_array().map(Vec::len)), (BTreeSet::new(), Some(1)));
    assert_eq!(play.town.recipient("welfare").unwrap(), recipient, "a second new key");
    let after = play.sealed_to("welfare", "after");
    assert_ne!(fs::read(&before).unwrap(), fs::read(&after).unwrap());
    play.brought("saburo", 2003);
    play.opens("office", &before, b"before");
    play.opens("office", &after, b"after");

    // The old key ends for good; so does a department.
    play.town.admin(&["unit", "close", "welfare", "--replaced"]).unwrap();
    play.refuses("office", &before);
    play.opens("office", &after, b"after");
    let close = ["unit", "close", "parks"];
    play.town.admin(&close).unwrap();
    assert_eq!(play.asked(&close)["already"], true);
    assert_eq!(play.unit_row("公園課")["closed"], true);
    play.town.remove("saburo");
}

fn a_last_day(play: &mut Play) {
    let done = play.asked(&["member", "leave", "taro", "--on", "2099-03-30"]);
    // The first instant after it in Asia/Tokyo.
    assert_eq!(done["ends_at"], 4_078_566_000_000_u64);
    let members = play.asked(&["member", "list"]);
    let taro = members.as_array().unwrap().iter().find(|row| row["label"] == "taro").unwrap();
    assert_eq!((&taro["revoked"], taro["units"].as_array().map(Vec::len)), (&false.into(), Some(1)));
    play.admin_refused(&["member", "leave", "taro", "--on", "2099-03-31"]);
    play.admin_refused(&["member", "leave", "kenji", "--on", "2099-03-31"]);
}

fn sites(play: &mut Play, sealed: &Path) {
    // A third one comes, and gets the shares of the others; the command waits until it has them.
    play.town.equip_site("ikeda").unwrap();
    let statement = play.town.statement("ikeda").display().to_string();
    let add = ["site", "add", "ikeda", "--name", "池田支所", "--statement", &statement];
    let add = [&["--lang", "ja"], &add[..], &["--serves", "all", "--watch"]].concat();
    let (mut command, pins) =
        play.town.admin_command(Command::new(program("warifu-admin").unwrap()), &add).unwrap();
    let mut adding =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    adding.stdin.take().unwrap().write_all(pins.as_bytes()).unwrap();
    until("it has joined", Duration::from_secs(20), || {
        let sites = play.asked(&["site", "list"]);
        Ok(sites.as_array().is_some_and(|sites| sites.iter().any(|site| site["label"] == "ikeda")))
    })
    .unwrap();
    play.restart_site("ikeda");
    let added = adding.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&added.stdout).into_owned();
    assert!(added.status.success(), "{said}{}", String::from_utf8_lossy(&added.stderr));
    assert!(said.contains("池田支所"), "{said}");

    // Alone, it opens what was sent before it came. PCs learn of it at a PIN entry, and ask it from the next one on.
    for _ in 0..2 {
        play.town.remove("hanako");
        play.at_the_office("hanako");
        play.opens("office", sealed, b"content");
    }
    for (site, _) in SITES {
        play.town.kill(site);
    }
    play.opens("office", sealed, b"content");
    for (site, _) in SITES {
        play.restart_site(site);
    }

    // What it alone serves is not to be had from others; then it is lost.
    play.town.admin(&["unit", "sites", "tax", "--remove", "honcho,omachi"]).unwrap();
    play.opens("office", sealed, b"content");
    play.town.lose("ikeda").unwrap();
    play.refuses("office", sealed);
    assert!(play.admin_refused(&["site", "remove", "ikeda"]).contains("市民税課"));
    let lost = ["site", "remove", "ikeda", "--lost"];
    assert!(play.admin_refused(&lost).contains("市民税課"));
    let lost = [&lost[..], &["--to", "omachi"]].concat();
    play.town.admin(&["card", "suspend", "saburo"]).unwrap();
    assert_eq!(left(&play.asked(&lost)), BTreeSet::from([ICHIRO, SABURO]));
    play.town.admin(&["card", "resume", "saburo"]).unwrap();
    let again = play.asked(&[&["--card", "1002"], &lost[..]].concat());
    assert_eq!((left(&again), again["orders"].as_array().map(Vec::len)), (BTreeSet::new(), Some(2)));
    for (label, serial) in [("hanako", 2001), ("saburo", 2003)] {
        play.brought(label, serial);
        play.opens("office", sealed, b"content");
        play.town.remove(label);
    }
}
