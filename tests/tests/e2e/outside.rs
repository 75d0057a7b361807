//! Somebody without a card, and without any software of ours, sends a file to the front desk from a real browser.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use warifu_tests::made_up::residents;
use warifu_tests::town::{READERS, until, workspace};
use warifu_virtual_card::readers::private;

use crate::Play;

/// How long a browser may take to do the next thing, on a machine that does others at the same time.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is between the parts: `PART` of the wire.
const PART: usize = 8 << 20;

/// A browser with the page, driven by `tests/foreign-senders/deliver.mjs`.
struct Browser {
    child: Child,
    hands: ChildStdin,
    said: Receiver<Value>,
}

impl Browser {
    fn open(url: &str, file: &Path, title: &str, name: &str, telephone: &str) -> Self {
        let mut command = Command::new("node");
        command.arg(workspace().join("tests/foreign-senders/deliver.mjs")).arg(url).arg(file);
        command.args([title, name, telephone]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (said, lines) = (child.stdout.take().unwrap(), channel());
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                let _ = lines.0.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        Self { hands: child.stdin.take().unwrap(), child, said: lines.1 }
    }

    /// What it says next, which has to be this.
    fn says(&self, what: &str) -> Value {
        let said = self.said.recv_timeout(PATIENCE).expect("the browser, or ./test has not installed it");
        said.get(what).unwrap_or_else(|| panic!("{said}, and not {what}")).clone()
    }

    fn go_on(&mut self) {
        self.hands.write_all(b"go on\n").unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The fingerprint is what the officer reads out; the line is torn in the middle, and the kms starts again.
#[test]
fn p_17_12_a_browser_delivers_to_the_front_desk_through_a_torn_line() {
    private(READERS, |readers| {
        let mut play = Play::with_front_desk(readers);
        play.town.let_outsiders_send_to(&["front"]).unwrap();
        play.town.kill("kms");
        play.town.start("kms").unwrap();
        let url = format!("https://{}", play.town.public_address().unwrap());
        let mut list = residents::csv(500).into_bytes();
        list.resize(PART + 1000, b' ');
        // A name that other systems do not take.
        let plain = play.path("..: 申請<1>.csv");
        fs::write(&plain, &list).unwrap();

        let page = format!("{url}/deliver?to=front");
        let mut browser = Browser::open(&page, &plain, "申請書一式", "株式会社アクメ 山田", "0261-00-0000");
        let shown: Value =
            serde_json::from_str(&play.town.admin(&["unit", "show", "front", "--json"]).unwrap()).unwrap();
        let groups: Vec<_> = shown["fingerprint"].as_str().unwrap().split(' ').map(Value::from).collect();
        assert_eq!(
            browser.says("fingerprint"),
            Value::from(groups),
            "what the officer reads out is what the page shows"
        );
        browser.go_on();
        browser.says("held");
        play.town.kill("kms");
        browser.go_on();
        browser.says("torn");
        play.town.start("kms").unwrap();
        let receipt = browser.says("receipt");
        assert_eq!(
            browser.says("complained"),
            Value::from(Vec::<Value>::new()),
            "the page's own policy lets it work"
        );

        let receipt = receipt.as_str().unwrap().to_owned();
        let delivered = |what: &str| curl(&format!("{url}/v1/deliveries/{receipt}")).pointer(what).cloned();
        assert_eq!(delivered("/state/state"), Some("quarantined".into()));
        names_that_are_more_than_names_are_refused(&play, &url);

        // At the front desk it is what somebody says, and comes out once a dispatcher has looked at that.
        play.comes(None, "saki");
        let lying = play.lies("申請書一式");
        assert_eq!(
            (&lying["from"]["from"], &lying["id"]),
            (&"outside".into(), &receipt.as_str().into()),
            "{lying}"
        );
        let name = lying["name"].as_str().unwrap();
        assert!(
            name.ends_with(".age") && !name.starts_with('.') && !name.contains([':', '<', '>']),
            "{name}"
        );
        let listed = play.does(&["inbox"]);
        assert!(
            listed.contains("株式会社アクメ 山田") && listed.contains("Without a card's signature"),
            "{listed}"
        );
        let number = &receipt[..8];
        let taken = play.path("taken");
        fs::create_dir(&taken).unwrap();
        let too_early = play.warifu(&["inbox", "get", number, "-o", taken.to_str().unwrap()]);
        let said = String::from_utf8(too_early.stderr).unwrap();
        assert!(!too_early.status.success() && said.contains("warifu inbox look"), "{said}");
        assert_eq!(play.warifu(&["inbox", "accept", number]).status.code(), Some(2), "nobody has looked");
        play.does(&["inbox", "look", number]);
        assert_eq!(delivered("/state/state"), Some("arrived".into()));
        play.does(&["inbox", "get", number, "-o", taken.to_str().unwrap()]);
        assert!(
            play.refuses("office", &taken.join(name)).contains("warifu route"),
            "the front desk reads nothing"
        );
        play.does(&["inbox", "route", number, "--to", "税務課", "--yes", "--pin-stdin"]);

        // The department opens and accepts it, which whoever has the receipt sees.
        play.comes(Some("saki"), "hanako");
        let out = play.path("opened");
        until("what was routed has come", PATIENCE, || {
            Ok(play.warifu(&["inbox", "open", number, "-o", out.to_str().unwrap()]).status.success())
        })
        .unwrap();
        assert!(fs::read(&out).unwrap() == list, "another content");
        play.does(&["inbox", "accept", number]);
        assert_eq!(delivered("/units/0/handling/handling"), Some("accepted".into()));
    });
}

/// Whoever speaks to the box without the page offers what he likes.
fn names_that_are_more_than_names_are_refused(play: &Play, url: &str) {
    let unit: Value =
        serde_json::from_str(&play.town.admin(&["unit", "show", "front", "--json"]).unwrap()).unwrap();
    for (number, name) in ["../x.age", "a\u{1b}[2J.age", &"a".repeat(4096)].into_iter().enumerate() {
        let offer = json!({
            "id": format!("{number:032x}"), "unit": unit["unit"], "from": "x", "title": "x", "name": name, "size": 1,
        });
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--json", &offer.to_string()]);
        let answer = curl.arg(format!("{url}/v1/deliveries/outside")).output().unwrap();
        let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
        assert_eq!(answer["code"], "malformed", "{answer}");
    }
}

fn curl(url: &str) -> Value {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--insecure", "--max-time", "10", url]);
    let output = curl.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The modules that a browser encrypts with are the published ones, and the same that the tests of age files seal with.
#[test]
fn the_page_encrypts_with_what_was_published() {
    let page = workspace().join("kms/page");
    let mut bundle = Command::new("node");
    let done = bundle.arg(page.join("bundle.js")).arg("--check").output().unwrap();
    assert!(done.status.success(), "run ./test, which installs it: {done:?}");
    let locked = |folder: PathBuf| {
        let lock: Value =
            serde_json::from_slice(&fs::read(folder.join("package-lock.json")).unwrap()).unwrap();
        lock.pointer("/packages/node_modules~1age-encryption/integrity").unwrap().clone()
    };
    assert_eq!(locked(page), locked(workspace().join("tests/foreign-senders")));
}
