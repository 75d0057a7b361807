//! Files go to a unit by the box, and whoever takes them out sees who sent them, proved (protocol section 17).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use warifu_tests::town::{MEMBER_READERS, READERS, Town, until};
use warifu_virtual_card::readers::private;

use crate::Play;
use crate::trust::{OF_ONE, OFFICE, Two};

const PATIENCE: Duration = Duration::from_secs(30);
const READER: usize = MEMBER_READERS[0];
/// A part of a delivery.
pub(crate) const PART: usize = 8 << 20;

impl Play {
    pub(crate) fn warifu(&self, words: &[&str]) -> Output {
        self.town.warifu("office", &[&["--lang", "en"], words].concat(), self.town.pin()).unwrap()
    }

    pub(crate) fn does(&self, words: &[&str]) -> String {
        let output = self.warifu(words);
        assert!(output.status.success(), "{words:?}: {output:?}\n{}", self.town.log("office"));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The card at the office is this one, and its PIN is entered.
    pub(crate) fn comes(&mut self, before: Option<&str>, label: &str) {
        match before {
            Some(before) => self.takes_over(before, label),
            None => self.insert(label, "office", READER),
        }
        self.does(&["unlock", "--pin-stdin"]);
    }

    pub(crate) fn sends(&self, to: &str, file: &Path, title: &str) -> Output {
        let file = file.to_str().unwrap();
        self.warifu(&["send", "--to", to, file, "--title", title, "--yes", "--pin-stdin"])
    }

    /// What the box has for the card at the office under this title.
    pub(crate) fn lies(&self, title: &str) -> Value {
        let all: Value = serde_json::from_str(&self.does(&["--json", "inbox"])).unwrap();
        let found = all["deliveries"].as_array().unwrap().iter().find(|it| it["title"] == title);
        found.cloned().unwrap_or_default()
    }

    /// What became of what was sent under this title.
    pub(crate) fn sent(&self, title: &str) -> Value {
        let all: Value = serde_json::from_str(&self.does(&["--json", "sent"])).unwrap();
        let found = all["deliveries"].as_array().unwrap().iter().find(|it| it["title"] == title);
        found.cloned().unwrap_or_default()
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }
}

pub(crate) fn id(delivery: &Value) -> String {
    delivery["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_delivery_is_routed_opened_and_accepted_and_another_one_returned() {
    private(READERS, |readers| {
        let mut play = Play::with_front_desk(readers);
        let content = vec![7; PART + 5];
        let list = play.file("名簿.csv", &content);
        play.comes(None, "hanako");
        // Names that are more than names, before anything is sealed.
        let hostile = play.file("a\u{202e}csv.exe", b"x");
        assert_eq!(play.sends("受付", &hostile, "照会").status.code(), Some(1));
        assert_eq!(play.sends("受付", &list, "照会\n偽").status.code(), Some(1));
        let nowhere = play.sends("秘書課", &list, "照会");
        assert_eq!(nowhere.status.code(), Some(1), "{nowhere:?}");
        let sent = play.sends("受付", &list, "照会");
        assert!(sent.status.success(), "{sent:?}\n{}", play.town.log("office"));
        assert!(play.sends("福祉課", &list, "間違い").status.success());
        assert_eq!(play.sent("照会")["here"], false, "the sealed file is not kept once it has arrived");
        assert!(play.lies("照会").is_null(), "it is not for the sender's unit");

        // The front desk sees who sent it, and routes it unread.
        play.comes(Some("hanako"), "saki");
        let lying = play.lies("照会");
        let from = &lying["from"];
        assert_eq!((&from["name"], &from["standing"]), (&"信濃 花子".into(), &"live".into()), "{lying}");
        assert_eq!(
            (&lying["name"], &lying["at"]["name"]),
            (&"名簿.csv.age".into(), &"受付".into()),
            "{lying}"
        );
        let routed = play.does(&["inbox", "route", &id(&lying), "--to", "税務課", "--yes", "--pin-stdin"]);
        assert!(routed.contains("信濃 花子"), "who sent it stands beside it: {routed}");
        assert!(play.lies("間違い").is_null(), "another unit's is not shown");

        // The department opens what came to it, and accepts it.
        play.comes(Some("saki"), "hanako");
        let lying = play.lies("照会");
        assert_eq!(lying["passed_by"]["name"], "受付", "{lying}");
        let out = play.path("opened");
        until("what was routed has come", PATIENCE, || {
            let words = ["inbox", "open", &id(&lying), "-o", out.to_str().unwrap(), "--overwrite"];
            Ok(play.warifu(&words).status.success())
        })
        .unwrap();
        assert!(fs::read(&out).unwrap() == content, "another content");
        play.does(&["inbox", "accept", &id(&lying)]);
        let folder = play.path("taken");
        fs::create_dir(&folder).unwrap();
        play.does(&["inbox", "get", &id(&lying)[..8], "-o", folder.to_str().unwrap()]);
        assert!(folder.join("名簿.csv.age").exists());
        assert_eq!(play.sent("照会")["became"]["units"][0]["handling"]["handling"], "accepted");

        // What went astray comes back with a reason.
        play.comes(Some("hanako"), "yui");
        play.does(&["inbox", "return", &id(&play.lies("間違い")), "--reason", "税務課の分です"]);
        play.comes(Some("yui"), "hanako");
        let said = play.does(&["sent"]);
        assert!(said.contains("税務課の分です"), "{said}");

        // A sender whose card was revoked since is shown as such.
        let note = play.file("note.txt", b"note");
        assert!(play.sends("受付", &note, "最後").status.success());
        play.town.admin(&["member", "revoke", "hanako", "--reason", "退職"]).unwrap();
        play.comes(Some("hanako"), "saki");
        until(
            "the revocation is known",
            PATIENCE,
            || Ok(play.lies("最後")["from"]["standing"] == "not-live"),
        )
        .unwrap();
        let said = play.does(&["inbox"]);
        assert!(said.contains("revoked or suspended since"), "{said}");
    });
}

/// The kms is killed while the parts come: the same command goes on when it is back, and one that is given up is resumed.
#[test]
fn a_delivery_goes_on_where_the_kms_was_killed() {
    private(READERS, |readers| {
        let mut play = Play::with_front_desk(readers);
        let file = play.file("large.bin", &vec![3; 12 * PART]);
        play.comes(None, "hanako");
        let words =
            ["--lang", "en", "send", "--to", "受付", file.to_str().unwrap(), "--title", "大", "--yes"];
        let mut command =
            play.town.warifu_command("office", &[&words[..], &["--pin-stdin"]].concat()).unwrap();
        let input = play.file("pin", format!("{}\n", play.town.pin()).as_bytes());
        let mut sending = command.stdin(fs::File::open(input).unwrap()).spawn().unwrap();
        let outbox = play.town.folder().join("office/state/deliveries/outbox");
        until("it is signed", PATIENCE, || {
            let folders = fs::read_dir(&outbox).into_iter().flatten().flatten();
            Ok(folders.into_iter().any(|folder| folder.path().join("delivery.json").exists()))
        })
        .unwrap();
        play.town.kill("kms");
        play.town.start("kms").unwrap();
        assert!(sending.wait().unwrap().success(), "{}", play.town.log("office"));
        assert_eq!(play.sent("大")["became"]["state"]["state"], "arrived");
        let left = fs::read_dir(&outbox).unwrap().flatten().any(|it| it.path().join("sealed.age").exists());
        assert!(!left, "the sealed file is gone");
        play.comes(Some("hanako"), "saki");
        let lying = play.lies("大");
        play.does(&["inbox", "get", &id(&lying), "-o", play.folder.path().to_str().unwrap()]);
        assert!(play.path("large.bin.age").metadata().unwrap().len() > 12 * PART as u64);
    });
}

/// What a member's command says at his office.
fn at_office(town: &Town, words: &[&str]) -> Output {
    town.warifu("office", &[&["--lang", "en"], words].concat(), town.pin()).unwrap()
}

fn comes_to_office(town: &mut Town, label: &str) {
    town.insert(label, OFFICE).unwrap();
    town.wait_for_member_card("office").unwrap();
    let unlocked = at_office(town, &["unlock", "--pin-stdin"]);
    assert!(unlocked.status.success(), "{unlocked:?}");
}

/// The officers of one town pin the other by what is read out to them.
fn pins(town: &Town, other: &mut Town, label: &str, name: &str) {
    let told: Value =
        serde_json::from_str(&other.admin(&["trust", "fingerprint", "--json"]).unwrap()).unwrap();
    let (address, fingerprint) = (other.public_address().unwrap(), told["fingerprint"].as_str().unwrap());
    let words = ["trust", "add", &address, "--label", label, "--name", name, "--fingerprint", fingerprint];
    town.admin(&words).unwrap();
}

/// Two organizations, with no secret and no server in common.
#[test]
fn a_delivery_goes_to_a_unit_of_another_organization_whose_member_sees_who_sent_it() {
    private(2 * OF_ONE, |readers| {
        let mut two = Two::founded(readers);
        two.city.enroll("taro", 2002, "大町 太郎", &["--unit", "tax"]).unwrap();
        pins(&two.city, &mut two.union, "alps", "北アルプス広域連合");
        pins(&two.union, &mut two.city, "omachi", "大町市");
        comes_to_office(&mut two.city, "taro");
        comes_to_office(&mut two.union, "hanako");

        let list = two.folder.path().join("照会.csv");
        fs::write(&list, "番号,氏名\n1,安曇野 一\n").unwrap();
        let to = "北アルプス広域連合/介護保険課";
        let words =
            ["send", list.to_str().unwrap(), "--to", to, "--title", "資格照会", "--yes", "--pin-stdin"];
        let sent = at_office(&two.city, &words);
        assert!(sent.status.success(), "{sent:?}\n{}", two.city.log("office"));

        let lying = || -> Value {
            let listed = at_office(&two.union, &["--json", "inbox"]);
            let all: Value = serde_json::from_slice(&listed.stdout).unwrap();
            all["deliveries"][0].clone()
        };
        until("the sender is known to be live", PATIENCE, || Ok(lying()["from"]["standing"] == "live"))
            .unwrap();
        let from = lying()["from"].clone();
        let shown = (&from["organization_name"], &from["name"]);
        assert_eq!(shown, (&"大町市".into(), &"大町 太郎".into()), "{from}");
        let out = two.folder.path().join("opened");
        let words = ["inbox", "open", &id(&lying()), "-o", out.to_str().unwrap()];
        let opened = at_office(&two.union, &words);
        assert!(opened.status.success(), "{opened:?}");
        assert_eq!(fs::read(&out).unwrap(), fs::read(&list).unwrap());
        // A unit that its sender's organization has is none to route to: it is another organization's.
        for elsewhere in ["大町市/税務課", "tax"] {
            let words = ["inbox", "route", &id(&lying()), "--to", elsewhere, "--yes", "--pin-stdin"];
            let refused = at_office(&two.union, &words);
            assert_eq!(refused.status.code(), Some(1), "{refused:?}");
            let said = String::from_utf8(refused.stderr).unwrap();
            assert!(said.contains(elsewhere), "{said}");
        }
        let accepted = at_office(&two.union, &["inbox", "accept", &id(&lying())]);
        assert!(accepted.status.success(), "{accepted:?}");
        let told = at_office(&two.city, &["sent"]);
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(told.contains("介護保険課 has accepted it"), "{told}");
    });
}
