//! An authority and three sites, each in a network of its own: a member is revoked while the line to one site is cut.

use std::time::Duration;

use warifu_tests::process::run;
use warifu_tests::town::{MEMBER_READERS, READERS, SITES, Town, until};
use warifu_virtual_card::readers::private;

use crate::Play;

/// The third site, which serves no unit.
const THIRD: (&str, &str) = ("hakuba", "白馬支所");
/// Where the line is cut, and a member's PC is.
const BRANCH: &str = "omachi";
const LEASE_SECONDS: u64 = 12;
const PATIENCE: Duration = Duration::from_secs(40);

/// Sites at the ends of lines, and a PC beside one of them.
fn along_lines(readers: warifu_virtual_card::readers::Readers) -> Play {
    let folder = tempfile::tempdir().unwrap();
    let mut town = Town::new(folder.path(), readers).unwrap();
    town.lease_seconds = LEASE_SECONDS;
    for (place, _) in SITES.into_iter().chain([THIRD]) {
        town.lay_line(place).unwrap();
        town.put_at(place, place);
    }
    town.put_at("office", BRANCH);
    let mut play = Play::in_town(town, folder);
    let (label, name) = THIRD;
    play.town.add_site(label, name).unwrap();
    play.town.wait_for_lease(label).unwrap();
    // The PC asks the site beside it.
    play.town.stop("office");
    play.town.add_agent("office", &MEMBER_READERS[..1], false, &["--site", "大町支所"]).unwrap();
    play.town.start("office").unwrap();
    play
}

#[test]
fn a_site_whose_line_is_cut_refuses_with_its_lease_and_catches_up() {
    private(READERS, |readers| {
        let mut play = along_lines(readers);
        let sealed = play.sealed("list", b"content");
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");

        play.town.cut_line(BRANCH).unwrap();
        // The site beside the PC answers for as long as its lease runs, and knows of nothing.
        play.opens("office", &sealed, b"content");
        let words = ["--lang", "ja", "member", "revoke", "hanako", "--reason", "退職", "--watch"];
        let program = warifu_tests::process::program("warifu-admin").unwrap();
        let (command, pins) = play.town.admin_command(std::process::Command::new(program), &words).unwrap();
        let watching = std::thread::spawn(move || run(command, pins.as_bytes()).unwrap());

        until("the cut site refuses", PATIENCE, || Ok(!play.open("office", &sealed, &[]).0.status.success()))
            .unwrap();
        let said = play.refuses("office", &sealed);
        assert!(said.contains("no news"), "not for want of news: {said}");
        assert_eq!(play.town.watched("honcho", "/readyz").map(|(status, _)| status), Some(200));
        assert!(!watching.is_finished(), "the desk did not wait for the cut site");

        // The line is back: the site hears of what happened, acts, and confirms by name.
        play.town.mend_line(BRANCH).unwrap();
        let watched = watching.join().unwrap();
        let receipts = String::from_utf8(watched.stdout).unwrap();
        assert!(watched.status.success(), "{receipts}{}", String::from_utf8_lossy(&watched.stderr));
        for (_, name) in SITES.into_iter().chain([THIRD]) {
            assert!(
                receipts.lines().any(|line| line.contains('✓') && line.contains(name)),
                "{name}: {receipts}"
            );
        }
        let order = |name: &str| receipts.find(name).unwrap();
        assert!(order("本庁") < order("大町支所"), "the cut site did not confirm last: {receipts}");
        let said = play.refuses("office", &sealed);
        assert!(said.contains("revoked") || said.contains("not valid"), "{said}");
        play.town.close();
    });
}
