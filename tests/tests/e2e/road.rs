//! The road when all goes well: senders that know nothing of us, the card in, the card out.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use warifu_tests::made_up::residents;
use warifu_tests::process::is_shown;
use warifu_tests::town::{MEMBER_READERS, PIN, READERS, age_of_browsers, until};
use warifu_virtual_card::readers::private;

use crate::Play;

/// I7, I10, both foreign senders, and one PIN for one insertion.
#[test]
fn a_file_opens_only_while_the_card_is_in() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let list = residents::csv(2000).into_bytes();
        let sealed = play.sealed("residents.csv", &list);
        let before = fs::read(&sealed).unwrap();
        assert!(play.refuses("office", &sealed).contains("card"), "no card, and it says so");

        play.insert("hanako", "office", MEMBER_READERS[0]);
        assert_eq!(play.state("office"), "pin-needed");
        play.opens("office", &sealed, &list);
        // The PIN was given once: the second file needs none.
        let again = play.path("again");
        let words = ["open", "-o", again.to_str().unwrap(), sealed.to_str().unwrap()];
        let output = play.town.warifu("office", &words, "").unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        // The second foreign sender, what a browser would run.
        let sealed_by_npm = play.path("npm.age");
        let recipients = [play.town.recipient("tax").unwrap()];
        age_of_browsers(&recipients, &play.path("residents.csv"), &sealed_by_npm).unwrap();
        play.opens("office", &sealed_by_npm, &list);

        // In a viewer, then the card goes.
        let words = ["open", "--pin-stdin", "--json", sealed.to_str().unwrap()];
        let shown = play.town.warifu("office", &words, PIN).unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        let path = shown.pointer("/files/0/path").and_then(|path| path.as_str()).unwrap().to_owned();
        assert!(fs::read(&path).unwrap() == list);
        assert!(is_shown(Path::new(&path)), "no viewer shows it");
        let pulled = Instant::now();
        play.town.remove("hanako");
        until("viewer and plaintext are gone", Duration::from_secs(5), || {
            Ok(fs::metadata(&path).is_err() && !is_shown(Path::new(&path)))
        })
        .unwrap();
        // I7 gives one second; pcscd itself takes up to 0.4 s of it to see the removal.
        assert!(pulled.elapsed() < Duration::from_millis(1500), "after {:?}", pulled.elapsed());
        until("the agent says so", Duration::from_secs(2), || Ok(play.state("office") == "no-card")).unwrap();
        play.refuses("office", &sealed);

        play.insert("hanako", "office", MEMBER_READERS[0]);
        assert_eq!(play.state("office"), "pin-needed", "a new insertion needs the PIN");
        play.opens("office", &sealed, &list);
        assert!(fs::read(&sealed).unwrap() == before, "the file was touched");
    });
}

/// Files for others, damaged files and wrong PINs are refused in words, and leave nothing behind.
#[test]
fn what_a_person_meets_fails_clearly() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        play.insert("hanako", "office", MEMBER_READERS[0]);
        let sealed = play.sealed("list", b"content");

        let wrong = play.town.warifu("office", &["--lang", "ja", "unlock", "--pin-stdin"], "999999").unwrap();
        assert!(!wrong.status.success());
        let said = String::from_utf8(wrong.stderr).unwrap();
        assert!(said.contains("あと 2 回"), "the tries left are said: {said}");

        let other = play.path("other.age");
        let acme = play.town.recipient("acme-team").unwrap();
        warifu_tests::town::rage(&[acme], &play.path("list"), &other).unwrap();
        play.refuses("office", &other);

        let mut damaged = fs::read(&sealed).unwrap();
        *damaged.last_mut().unwrap() ^= 1;
        fs::write(play.path("damaged.age"), &damaged).unwrap();
        play.refuses("office", &play.path("damaged.age"));
        fs::write(play.path("garbage.age"), b"not an age file").unwrap();
        play.refuses("office", &play.path("garbage.age"));

        play.opens("office", &sealed, b"content");
        let refused = play.town.try_admin(&["unit", "add", "tax", "--name", "二つ目"]).unwrap();
        assert!(!refused.status.success(), "a label is taken once");

        // A stolen officer's card is suspended: it stays in its reader, and does not keep the other officers from working.
        play.town.admin(&["card", "suspend", "ichiro"]).unwrap();
        play.town.admin(&["site", "list"]).unwrap();
        play.town.admin(&["unit", "add", "welfare", "--name", "福祉課"]).unwrap();

        // A member's card that is suspended while it is open: nobody calls it valid.
        assert_eq!(doctor(&play), (Some(0), "card-valid".to_owned()));
        play.town.admin(&["card", "suspend", "hanako"]).unwrap();
        until("the agent has heard", Duration::from_secs(10), || Ok(play.state("office") == "refused"))
            .unwrap();
        assert_eq!(doctor(&play), (Some(2), "card-suspended".to_owned()));
        assert!(play.refuses("office", &sealed).contains("suspended"));
        play.town.admin(&["card", "resume", "hanako"]).unwrap();
        let unlocked = play.town.warifu("office", &["unlock", "--pin-stdin"], PIN).unwrap();
        assert!(unlocked.status.success(), "{}", String::from_utf8_lossy(&unlocked.stderr));
        play.opens("office", &sealed, b"content");
    });
}

/// The exit code of `warifu doctor` at the office, and what it says of the card.
fn doctor(play: &Play) -> (Option<i32>, String) {
    let done = play.town.warifu("office", &["doctor", "--json"], "").unwrap();
    let findings: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let card = findings.as_array().unwrap().iter().find(|finding| finding["check"] == "card").unwrap();
    (done.status.code(), card["finding"].as_str().unwrap().to_owned())
}
