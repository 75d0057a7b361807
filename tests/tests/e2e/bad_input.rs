//! What senders, dispatchers and lines do to deliveries that they should not: nothing is lost, nothing is sent twice, and whoever
//! is refused reads why. `docs/testing/bad-input.md` lists it all.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use warifu_tests::relay::Way;
use warifu_tests::town::{READERS, Town, until};
use warifu_virtual_card::readers::{Readers, private};

use crate::Play;
use crate::deliveries::{PART, id};
use crate::siege::memory;

const PATIENCE: Duration = Duration::from_secs(30);
/// How long a large file may be on its way.
const LONG: Duration = Duration::from_secs(180);
/// Each is torn once.
const TENTHS: usize = 10;
/// How much of a part goes through before the line is torn.
const BEGUN: usize = PART / 10;
/// Large enough that whoever kept it in memory would be seen to do so.
const LARGE: u64 = 256 << 20;
/// How much more memory a process may need for it than before, in KiB.
const MEMORY_KIB: u64 = 96 << 10;

/// A town where everybody comes to the kms by a relay.
fn behind_a_relay(readers: Readers) -> Play {
    let folder = tempfile::tempdir().unwrap();
    let mut town = Town::new(folder.path(), readers).unwrap();
    town.put_relay_before("kms").unwrap();
    Play::in_town(town, folder).and_front_desk()
}

/// In the first part soon after it has begun, and from then on whenever a part is through and the next one has begun.
fn in_every_tenth() -> impl Iterator<Item = u64> {
    std::iter::once(BEGUN as u64).chain((1..TENTHS).map(|_| (PART + BEGUN) as u64))
}

/// What goes the way of a file of this length that is torn so: the file, what of each torn part was under way, and what TLS and
/// HTTP add. Less than one part more.
fn at_most(length: u64) -> u64 {
    length + (TENTHS * BEGUN + PART / 2) as u64
}

#[test]
fn a_delivery_that_is_torn_in_every_tenth_is_whole_and_no_part_goes_twice() {
    private(READERS, |readers| {
        let mut play = behind_a_relay(readers);
        let content: Vec<u8> = (0..TENTHS * PART - (1 << 20)).map(|at| (at / 7) as u8).collect();
        let file = play.file("large.bin", &content);
        play.comes(None, "hanako");
        let torn = |play: &Play, way| {
            let relay = play.town.relay("kms").unwrap();
            (relay.tears_left(), relay.carried(way))
        };
        play.town.relay("kms").unwrap().tear(Way::Up, in_every_tenth());
        let (_, before) = torn(&play, Way::Up);
        let sent = play.sends("受付", &file, "切れる");
        assert!(sent.status.success(), "{sent:?}\n{}", play.town.log("office"));
        let (left, carried) = torn(&play, Way::Up);
        assert_eq!(left, 0, "it was torn less often");
        let length = content.len() as u64;
        assert!(carried - before < at_most(length), "{} bytes for {length}", carried - before);

        // As the one who takes it out.
        play.comes(Some("hanako"), "saki");
        let lying = play.lies("切れる");
        let folder = play.path("taken");
        fs::create_dir(&folder).unwrap();
        play.town.relay("kms").unwrap().tear(Way::Down, in_every_tenth());
        let (_, before) = torn(&play, Way::Down);
        play.does(&["inbox", "get", &id(&lying), "-o", folder.to_str().unwrap()]);
        let (left, carried) = torn(&play, Way::Down);
        assert_eq!(left, 0, "it was torn less often");
        assert!(carried - before < at_most(length), "{} bytes for {length}", carried - before);
        let names: Vec<_> = fs::read_dir(&folder).unwrap().flatten().map(|it| it.file_name()).collect();
        assert_eq!(names, ["large.bin.age"], "nothing else is left behind");

        // It is what was sent.
        play.does(&["inbox", "route", &id(&lying), "--to", "税務課", "--yes", "--pin-stdin"]);
        play.comes(Some("saki"), "hanako");
        play.comes_in_time(&folder.join("large.bin.age"), &content);
        large_files_are_streamed(&mut play);
    });
}

/// Nobody on the way keeps a large file in memory, not even where the card is taken out in between.
fn large_files_are_streamed(play: &mut Play) {
    let path = play.path("sparse.bin");
    File::create(&path).unwrap().set_len(LARGE).unwrap();
    let processes = |play: &Play| {
        ["kms", "office"].map(|name| play.town.service(name).unwrap().id()).map(|pid| memory(pid).1)
    };
    let before = processes(play);
    a_card_is_pulled(play, &path, "大きい");
    play.comes(Some("hanako"), "yui");
    let lying = play.lies("大きい");
    let out = play.path("sparse.out");
    play.does(&["inbox", "open", &id(&lying), "-o", out.to_str().unwrap()]);
    assert_eq!(fs::metadata(&out).unwrap().len(), LARGE);
    for (now, before) in processes(play).into_iter().zip(before) {
        assert!(now < before + MEMORY_KIB, "{before} KiB, and {now} KiB for {} KiB", LARGE >> 10);
    }
}

/// The card is taken out while the parts go: what is signed stays at the PC, and goes on when the card is back.
fn a_card_is_pulled(play: &mut Play, file: &Path, title: &str) {
    let words = ["--lang", "en", "send", "--to", "福祉課", file.to_str().unwrap(), "--title", title, "--yes"];
    let mut command = play.town.warifu_command("office", &[&words[..], &["--pin-stdin"]].concat()).unwrap();
    let pin = play.file("pin", format!("{}\n", play.town.pin()).as_bytes());
    command.stdin(File::open(pin).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let before = play.town.relay("kms").unwrap().carried(Way::Up);
    let sending = command.spawn().unwrap();
    until("a part is through", LONG, || {
        Ok(play.town.relay("kms")?.carried(Way::Up) > before + (PART + BEGUN) as u64)
    })
    .unwrap();
    play.town.remove("hanako");
    let output = sending.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("warifu send --resume"), "{said}");
    play.comes(None, "hanako");
    assert_eq!(play.sent(title)["here"], true);
    play.does(&["send", "--resume"]);
    assert_eq!(play.sent(title)["here"], false);
}

/// Names as people give them go the whole way as they are; what is more than a name goes nowhere.
fn names(play: &mut Play) {
    play.comes(None, "hanako");
    let longest = format!("{}.csv", "名".repeat(82));
    let odd = ["-rf.csv", "$(touch x) `id` & 'a'.csv", "％2e％2e％2f.csv", "ﾊﾝｶｸ e\u{301}.csv", &longest];
    let folder = play.path("odd");
    fs::create_dir(&folder).unwrap();
    for (number, name) in odd.into_iter().enumerate() {
        let title = format!("名前 {number}");
        let sent = play.sends("税務課", &play.file(name, name.as_bytes()), &title);
        assert!(sent.status.success(), "{name}: {sent:?}");
        play.does(&["inbox", "get", &id(&play.lies(&title)), "-o", folder.to_str().unwrap()]);
        assert!(folder.join(format!("{name}.age")).is_file(), "{name}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), odd.len());
    assert!(!play.path("x").exists());

    let too_long = format!("{}.csv", "a".repeat(250));
    let hostile = [
        "..secret.csv",
        "a\nb.csv",
        "a\u{1b}[2J.csv",
        "a\u{202e}fdp.exe",
        "a\\..\\b.csv",
        "c:d.csv",
        &too_long,
    ];
    for name in hostile {
        let sent = play.sends("税務課", &play.file(name, b"x"), "悪い名前");
        assert_eq!(sent.status.code(), Some(1), "{name:?}: {sent:?}");
        let said = String::from_utf8(sent.stderr).unwrap();
        assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}'), "{name:?}: {said:?}");
    }
    let title = "題".repeat(1366);
    let sent = play.sends("税務課", &play.path("-rf.csv"), &title);
    assert_eq!(sent.status.code(), Some(1), "a title of 4 KiB: {sent:?}");
    assert!(play.lies("悪い名前").is_null());
    let outbox = play.town.folder().join("office/state/deliveries/outbox");
    let sealed = |folder: &Path| folder.join("sealed.age").exists();
    assert!(!fs::read_dir(outbox).unwrap().flatten().any(|it| sealed(&it.path())), "nothing is left behind");
}

/// A file of no bytes is a file.
fn empty_files(play: &mut Play) {
    let sent = play.sends("税務課", &play.file("空.csv", b""), "空");
    assert!(sent.status.success(), "{sent:?}");
    let out = play.path("empty");
    play.does(&["inbox", "open", &id(&play.lies("空")), "-o", out.to_str().unwrap()]);
    assert_eq!(fs::read(out).unwrap(), b"");
}

/// From the front desk to the tax department, to welfare, and back to tax, where it lies already.
fn rounds(play: &mut Play) {
    let list = play.file("一巡.csv", b"round");
    assert!(play.sends("受付", &list, "一巡").status.success());
    let route = |play: &Play, to: &str| {
        let number = id(&play.lies("一巡"));
        play.warifu(&["inbox", "route", &number, "--to", to, "--yes", "--pin-stdin"])
    };
    play.comes(Some("hanako"), "saki");
    assert!(route(play, "税務課").status.success());
    // The other dispatcher had it on his screen as well, and routes it again.
    play.comes(Some("saki"), "goro");
    let again = route(play, "税務課");
    assert!(again.status.success(), "{again:?}");
    play.comes(Some("goro"), "hanako");
    let listed = play.does(&["inbox"]);
    assert_eq!(listed.matches("「一巡」").count() + listed.matches("“一巡”").count(), 1, "once: {listed}");
    opens_in_time(play, "一巡", b"round");
    assert!(route(play, "福祉課").status.success());

    play.comes(Some("hanako"), "yui");
    opens_in_time(play, "一巡", b"round");
    let back = route(play, "税務課");
    assert_eq!(back.status.code(), Some(2), "{back:?}");
    let said = String::from_utf8(back.stderr).unwrap();
    assert!(said.contains("lies at that unit already"), "{said}");
    let nobodys = play.warifu(&["inbox", "get", "ffffffff"]);
    assert_eq!(nobodys.status.code(), Some(1), "{nobodys:?}");
    // It stays where it is, and can be taken.
    play.does(&["inbox", "accept", &id(&play.lies("一巡"))]);
}

/// What a slip allowed is over once it is revoked, however often it is routed; a new one counts for itself.
fn revoked(play: &mut Play) {
    play.comes(Some("yui"), "saki");
    let number = |said: &str| {
        let line = said.lines().find(|line| line.starts_with("Number of these slips")).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let lying = id(&play.lies("一巡"));
    let routed = play.does(&["inbox", "route", &lying, "--to", "税務課", "--yes", "--pin-stdin"]);
    play.town.admin(&["slip", "revoke", &number(&routed)]).unwrap();
    // The department has it by another slip still: the other dispatcher's.
    play.comes(Some("saki"), "hanako");
    opens_in_time(play, "一巡", b"round");
}

fn opens_in_time(play: &Play, title: &str, content: &[u8]) {
    let out = play.path("opened in time");
    until("what was routed has come", PATIENCE, || {
        let words = ["inbox", "open", &id(&play.lies(title)), "-o", out.to_str().unwrap(), "--overwrite"];
        Ok(play.warifu(&words).status.success())
    })
    .unwrap();
    assert!(fs::read(out).unwrap() == content, "another content");
}

#[test]
fn odd_names_empty_files_and_rounds_go_where_they_may_and_no_further() {
    private(READERS, |readers| {
        let mut play = Play::with_front_desk(readers);
        play.town.enroll("goro", 3003, "池田 五郎", &["--unit", "front"]).unwrap();
        names(&mut play);
        empty_files(&mut play);
        rounds(&mut play);
        revoked(&mut play);
    });
}
