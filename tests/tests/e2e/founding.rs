//! The founding ceremony: with one reader, killed at any step, rehearsed; and the cards that it refuses.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use warifu_tests::process::program;
use warifu_tests::town::{OFFICERS, READERS, Town};
use warifu_virtual_card::readers::{Readers, private};
use warifu_virtual_card::{TestRoot, VirtualCard};

/// Officers, consoles with their keys, and a desk with a single reader that anybody uses.
struct Ceremony {
    town: Town,
    _folder: TempDir,
}

/// How one run of `init` went.
struct Run {
    lines: Vec<String>,
    success: bool,
    said: String,
}

impl Ceremony {
    fn new(readers: Readers) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut town = Town::new(folder.path(), readers).unwrap();
        town.equip_authorities().unwrap();
        town.open_desk().unwrap();
        for (label, ..) in &OFFICERS[1..] {
            town.remove(label);
        }
        Self { town, _folder: folder }
    }

    /// Does what a person at the reader does: inserts the card that is asked for, and takes the other one out.
    fn obey(&mut self, line: &str) {
        for (label, serial, _) in OFFICERS {
            if line.contains(&format!("Insert card {serial}")) {
                OFFICERS.iter().for_each(|(label, ..)| self.town.remove(label));
                self.town.insert(label, 0).unwrap();
            }
        }
    }

    /// Runs `init`, and kills it once it has printed that many lines.
    fn run(&mut self, more: &[&str], killed_after: usize) -> Run {
        let mut words = self.town.founding_words("大町市");
        if !more.contains(&"--rehearse") {
            for (flag, path) in self.town.founding_files() {
                words.extend([flag.to_owned(), path.display().to_string()]);
            }
        }
        let words: Vec<&str> = ["--lang", "en"].into_iter().chain(words.iter().map(String::as_str)).collect();
        let words = [&words[..], more].concat();
        let command = Command::new(program("warifu-admin").unwrap());
        let (mut command, _) = self.town.admin_command(command, &words).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let pins: String =
            OFFICERS.iter().map(|(_, serial, _)| format!("{serial} {}\n", self.town.pin())).collect();
        child.stdin.take().unwrap().write_all(pins.as_bytes()).unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            self.obey(&line);
            lines.push(line);
            if lines.len() == killed_after {
                child.kill().unwrap();
                break;
            }
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Run { lines, success: output.status.success(), said }
    }

    fn out(&self) -> std::path::PathBuf {
        let [(_, out), _] = self.town.founding_files();
        out
    }
}

#[test]
fn a_founding_that_was_cut_off_anywhere_is_begun_again() {
    private(READERS, |readers| {
        let mut ceremony = Ceremony::new(readers);
        // A rehearsal makes no keys, signs nothing, and leaves nothing.
        let before = fs::read_dir(ceremony.town.folder()).unwrap().count();
        let rehearsed = ceremony.run(&["--rehearse"], usize::MAX);
        assert!(rehearsed.success, "{}", rehearsed.said);
        let text = rehearsed.lines.join("\n");
        assert!(text.starts_with("REHEARSAL") && text.contains("*** REHEARSAL"), "{text}");
        assert_eq!(text.matches("has no keys yet").count(), 3, "{text}");
        assert_eq!(fs::read_dir(ceremony.town.folder()).unwrap().count(), before, "it left something behind");
        for (label, ..) in OFFICERS {
            assert_eq!(ceremony.town.card(label).unwrap().signatures(), 0);
        }

        let mut killed_after = 2;
        let done = loop {
            let run = ceremony.run(&[], killed_after);
            // Once it is there it is whole, even if nobody was told.
            if ceremony.out().exists() {
                break run;
            }
            assert!(
                !run.success && run.lines.len() == killed_after,
                "{}\n{}",
                run.said,
                run.lines.join("\n")
            );
            killed_after += 3;
        };
        assert!(killed_after > 15, "it was hardly ever killed: {}", done.lines.join("\n"));

        let text = done.lines.join("\n");
        assert_eq!(text.matches("proves that its keys were made in it").count(), 3, "{text}");
        let minutes = fs::read_to_string(ceremony.out().with_extension("txt")).unwrap();
        let organization =
            minutes.lines().find_map(|line| line.split_once("for ever: ")).unwrap().1.to_owned();
        for (_, serial, name) in OFFICERS {
            assert!(minutes.contains(&format!("card {serial}: {name}")), "{minutes}");
            assert!(minutes.contains(&format!("{name}: ____")), "nowhere to sign: {minutes}");
        }
        assert!(text.contains(&organization), "{text}");

        // A founding that is whole is not made anew.
        let again = ceremony.run(&[], usize::MAX);
        assert!(!again.success && again.said.contains("founding.json"), "{}", again.said);
        assert!(again.lines.is_empty(), "somebody was bothered: {}", again.lines.join("\n"));

        ceremony.town.accept_founding(&organization, &[]).unwrap();
        a_card_without_proof_is_refused_before_anything_is_ordered(&mut ceremony);
    });
}

fn a_card_without_proof_is_refused_before_anything_is_ordered(ceremony: &mut Ceremony) {
    let town = &mut ceremony.town;
    OFFICERS.iter().for_each(|(label, ..)| town.remove(label));
    for (reader, (label, ..)) in OFFICERS.iter().enumerate() {
        town.insert(label, reader).unwrap();
    }
    town.add_site("honcho", "本庁").unwrap();
    town.fetch_profile().unwrap();
    town.admin(&["unit", "add", "tax", "--name", "税務課"]).unwrap();
    let members = town.admin(&["member", "list", "--json"]).unwrap();
    // Of a maker that nobody here trusts.
    let elsewhere = tempfile::tempdir().unwrap();
    let root = TestRoot::open(elsewhere.path()).unwrap();
    let card = VirtualCard::create(&elsewhere.path().join("card"), 3001, &root).unwrap();
    let inserted = card.insert(town.readers().port(3)).unwrap();
    town.wait_for_card(3001).unwrap();
    let words = [
        "--lang",
        "en",
        "member",
        "enroll",
        "hanako",
        "--name",
        "信濃 花子",
        "--unit",
        "tax",
        "--new-card",
        "3001",
    ];
    let command = Command::new(program("warifu-admin").unwrap());
    let (command, pins) = town.admin_command(command, &words).unwrap();
    let pins = format!("{pins}3001 {}\n", town.pin());
    let output = warifu_tests::process::run(command, pins.as_bytes()).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("Card 3001 does not prove that its keys were made in it"), "{said}");
    assert_eq!(town.admin(&["member", "list", "--json"]).unwrap(), members, "somebody was enrolled");
    drop(inserted);
}
