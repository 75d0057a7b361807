//! What all stories do: people come to work, files are sealed by stock rage, carried, opened and refused, and the journal is
//! asked who opened them.

mod deliveries;
mod journal;
mod neighbours;
mod routing;

use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub(super) use deliveries::{Lying, Posted};
use journal::Deed;
pub(super) use neighbours::Neighbour;

use super::Narrator;
use crate::process::{program, run};
use crate::town::{DESK_READERS, PIN, Town, age_of_browsers, rage};

/// Where the officers' files lie.
const DESK: &str = "desk";

/// Somebody with a card, and a PC with a reader; or somebody outside, with neither.
#[derive(Debug, Clone, Copy)]
pub(super) struct Person {
    /// What the member, the card and the PC are called.
    pub(super) label: &'static str,
    pub(super) name: &'static str,
    /// Counted from 0; each has a reader and a card's serial number by it. Nobody outside has one.
    pub(super) number: Option<usize>,
}

impl Person {
    fn reader(&self) -> Result<usize> {
        Ok(DESK_READERS + self.number()?)
    }

    fn serial(&self) -> Result<u32> {
        Ok(2001 + u32::try_from(self.number()?)?)
    }

    fn number(&self) -> Result<usize> {
        self.number.with_context(|| format!("{} has no card", self.name))
    }
}

/// A file that is under way to somebody.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// What it is called, in whose folder it lies.
    pub(super) file: String,
    /// What it is called once it is open.
    opened: String,
    /// The digest of what was sealed.
    digest: [u8; 32],
    /// The digest of the sealed file.
    sealed: [u8; 32],
}

impl Sent {
    fn of(original: &Path, sealed: &Path) -> Result<Self> {
        let name =
            |path: &Path| Ok::<_, anyhow::Error>(path.file_name().context("name")?.display().to_string());
        Ok(Self {
            file: name(sealed)?,
            opened: name(original)?,
            digest: digest(original)?,
            sealed: digest(sealed)?,
        })
    }
}

/// A town in which a story is played, and who tells it.
pub(super) struct Stage<'n> {
    pub(super) town: Town,
    pub(super) tell: &'n Narrator,
    /// What was done to which sealed file, by its digest.
    deeds: Vec<(Deed, [u8; 32])>,
}

impl<'n> Stage<'n> {
    /// The town is founded by this name, and has these sites.
    pub(super) fn set(
        mut town: Town,
        tell: &'n Narrator,
        name: &str,
        sites: &[(&str, &str)],
    ) -> Result<Self> {
        let names: Vec<&str> = sites.iter().map(|(_, name)| *name).collect();
        let separator = tell.text("separator", &[])?;
        tell.step("town", &[("name", name), ("sites", &names.join(&separator))])?;
        tell.during("town-wait", || town.found_with_sites(name, sites))?;
        tell.seen("town-seen", &[])?;
        let stage = Self { town, tell, deeds: Vec::new() };
        fs::create_dir_all(stage.folder(DESK))?;
        Ok(stage)
    }

    // People.

    /// Officers give a command; its words are shown, and what it answers.
    pub(super) fn officer(&mut self, words: &[&str]) -> Result<String> {
        self.officer_shown(words, words)
    }

    /// The same, where other words are shown: a story is told with the same ones each time.
    fn officer_shown(&mut self, words: &[&str], shown: &[&str]) -> Result<String> {
        let who = self.tell.text("who-officer", &[])?;
        self.tell.types(&who, "warifu-admin", shown);
        let language = self.tell.language().code();
        let answer = self.administered(&[&["--lang", language], words].concat())?;
        self.tell.answers(&answer);
        Ok(answer)
    }

    /// What a command at the officers' desk answers to a program.
    pub(super) fn asked(&self, words: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.administered(&[&["--json"], words].concat())?)?)
    }

    /// `warifu-admin` among the desk's files; it has to succeed.
    fn administered(&self, words: &[&str]) -> Result<String> {
        let done = self.desk_does(words)?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        ensure!(
            done.status.success(),
            "warifu-admin {words:?}: {}\n{said}{}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(said)
    }

    /// `warifu-admin` among the desk's files, whatever comes of it.
    fn desk_does(&self, words: &[&str]) -> Result<Output> {
        let (mut command, pins) = self.town.admin_command(Command::new(program("warifu-admin")?), words)?;
        command.current_dir(self.folder(DESK));
        run(command, pins.as_bytes())
    }

    /// A new card is made for somebody, who goes to a PC with it and puts it in.
    pub(super) fn enrol(&mut self, who: &Person, words: &[&str]) -> Result<()> {
        self.enrol_at(who, words, &[])
    }

    /// The same, where the PC's agent is told these words.
    pub(super) fn enrol_at(&mut self, who: &Person, words: &[&str], pc: &[&str]) -> Result<()> {
        let officer = self.tell.text("who-officer", &[])?;
        let shown = [&["member", "enroll", who.label, "--name", who.name], words].concat();
        self.tell.types(&officer, "warifu-admin", &shown);
        self.town.enroll(who.label, who.serial()?, who.name, words)?;
        self.tell.seen("enrolled", &[("name", who.name)])?;
        self.sits_down(who, pc)
    }

    /// Somebody comes to the officers' desk with the card, while they give a command, and goes back.
    pub(super) fn comes_to_the_desk(&mut self, who: &Person, words: &[&str]) -> Result<String> {
        self.town.remove(who.label);
        self.town.insert(who.label, DESK_READERS - 1)?;
        self.town.wait_for_card(who.serial()?)?;
        let answer = self.officer(words)?;
        self.town.remove(who.label);
        self.town.insert(who.label, who.reader()?)?;
        self.town.wait_for_member_card(who.label)?;
        Ok(answer)
    }

    /// The person's PC is switched on, its agent told these words, and the card put in.
    pub(super) fn sits_down(&mut self, who: &Person, words: &[&str]) -> Result<()> {
        fs::create_dir_all(self.folder(who.label))?;
        self.town.add_agent(who.label, &[who.reader()?], false, words)?;
        self.town.start(who.label)?;
        self.town.insert(who.label, who.reader()?)?;
        self.town.wait_for_member_card(who.label)
    }

    /// Does something while one site alone answers; then the others do again.
    pub(super) fn alone_at(
        &mut self,
        (alone, name): (&str, &str),
        sites: &[(&str, &str)],
        act: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let others = || sites.iter().filter(|(label, _)| *label != alone).map(|(label, _)| *label);
        others().for_each(|other| self.town.stop(other));
        self.tell.place("at-site", &[("site", name)])?;
        act(self)?;
        for other in others() {
            self.town.start(other)?;
            self.town.wait_for_lease(other)?;
        }
        Ok(())
    }

    // Files.

    /// Where somebody's files lie.
    pub(super) fn folder(&self, whose: &str) -> PathBuf {
        self.town.folder().join("files").join(whose)
    }

    /// Somebody outside works in a folder, and has nothing else of ours.
    pub(super) fn is_outside(&self, who: &Person) -> Result<()> {
        Ok(fs::create_dir_all(self.folder(who.label))?)
    }

    /// Somebody has made a file.
    pub(super) fn write(&self, who: &Person, name: &str, content: &[u8]) -> Result<()> {
        Ok(fs::write(self.folder(who.label).join(name), content)?)
    }

    /// Somebody seals a file to units with stock rage, which knows nothing but their recipients.
    pub(super) fn seal(&mut self, who: &Person, name: &str, units: &[&str]) -> Result<Sent> {
        let sent = self.sealed(who, name, units)?;
        let mut words = units.iter().flat_map(|_| ["-r", "age1tag1…"]).collect::<Vec<_>>();
        words.extend(["-o", &sent.file, name]);
        self.tell.types(who.name, "rage", &words);
        self.tell.seen("sealed", &[("file", &sent.file), ("units", &units.join(", "))])?;
        Ok(sent)
    }

    /// The same, and nobody is told.
    pub(super) fn sealed(&self, who: &Person, name: &str, units: &[&str]) -> Result<Sent> {
        self.sealed_by(rage, who, name, units)
    }

    /// Somebody seals a file with what browsers run, which knows nothing but the recipients either.
    pub(super) fn seal_in_browser(&self, who: &Person, name: &str, units: &[&str]) -> Result<Sent> {
        let sent = self.sealed_by(age_of_browsers, who, name, units)?;
        self.tell.seen("sealed-in-browser", &[("file", &sent.file), ("units", &units.join(", "))])?;
        Ok(sent)
    }

    fn sealed_by(
        &self,
        tool: impl FnOnce(&[String], &Path, &Path) -> Result<()>,
        who: &Person,
        name: &str,
        units: &[&str],
    ) -> Result<Sent> {
        let original = self.folder(who.label).join(name);
        let sealed = self.folder(who.label).join(format!("{name}.age"));
        let recipients = units.iter().map(|unit| self.town.recipient(unit)).collect::<Result<Vec<_>>>()?;
        tool(&recipients, &original, &sealed)?;
        Sent::of(&original, &sealed)
    }

    /// A copy of a sealed file, as it is, comes to somebody, by whatever way.
    pub(super) fn carry(&self, sent: &Sent, from: &Person, to: &[&Person]) -> Result<()> {
        let source = self.folder(from.label).join(&sent.file);
        for folder in to.iter().map(|person| person.label).chain([DESK]) {
            fs::copy(&source, self.folder(folder).join(&sent.file))?;
        }
        Ok(())
    }

    /// Somebody keeps a copy of a sealed file at another place, by another name.
    pub(super) fn keep(&self, sent: &Sent, who: &Person, place: &str) -> Result<Sent> {
        let folder = self.folder(who.label);
        let copy = folder.join(place);
        fs::create_dir_all(copy.parent().context("path")?)?;
        fs::copy(folder.join(&sent.file), copy)?;
        Ok(Sent { file: place.to_owned(), ..sent.clone() })
    }

    /// Somebody opens a file, and has what was sealed, byte for byte.
    pub(super) fn opens(&mut self, who: &Person, sent: &Sent) -> Result<()> {
        let (said, opened) = self.tries(who, sent)?;
        ensure!(opened, "{} does not open for {}: {said}\n{}", sent.file, who.name, self.town.log(who.label));
        self.has_opened(who, sent, Deed::opened(who))
    }

    /// Somebody types that a file be opened; what is said, and whether it was opened.
    fn tries(&self, who: &Person, sent: &Sent) -> Result<(String, bool)> {
        let to = format!("opened/{}", sent.opened);
        let words = ["open", sent.file.as_str(), "-o", &to];
        self.tell.types(who.name, "warifu", &words);
        fs::create_dir_all(self.opened(who, sent).parent().context("path")?)?;
        self.at_pc(who, &words)
    }

    /// Where a file is once it is open.
    fn opened(&self, who: &Person, sent: &Sent) -> PathBuf {
        self.folder(who.label).join("opened").join(&sent.opened)
    }

    /// What somebody opened is what was sealed, byte for byte.
    fn has_opened(&mut self, who: &Person, sent: &Sent, deed: Deed) -> Result<()> {
        let out = self.opened(who, sent);
        self.deeds.push((deed, sent.sealed));
        ensure!(digest(&out)? == sent.digest, "{} has other bytes for {}", sent.file, who.name);
        let bytes = fs::metadata(&out)?.len().to_string();
        fs::remove_file(&out)?;
        self.tell.seen("opened", &[("file", &sent.opened), ("bytes", &bytes)])
    }

    /// A file does not open for somebody, for this reason (an error code, as programs read it); the words are shown.
    pub(super) fn is_refused(&mut self, who: &Person, sent: &Sent, reason: &str) -> Result<()> {
        let (said, opened) = self.tries(who, sent)?;
        ensure!(!opened, "{} opened for {}", sent.file, who.name);
        self.tell.answers(&said);
        let to = format!("opened/{}", sent.opened);
        let (told, opened) = self.at_pc(who, &["--json", "open", sent.file.as_str(), "-o", &to])?;
        ensure!(!opened && told.contains(reason), "not for {reason}: {told}");
        ensure!(!self.opened(who, sent).exists(), "something was left behind");
        Ok(())
    }

    /// Whether a file opens for somebody now; nobody is told.
    pub(super) fn is_open(&self, who: &Person, sent: &Sent) -> Result<bool> {
        let to = format!("opened/{}", sent.opened);
        let (_, opened) = self.at_pc(who, &["open", sent.file.as_str(), "-o", &to])?;
        if opened {
            fs::remove_file(self.folder(who.label).join(to))?;
        }
        Ok(opened)
    }

    /// What `warifu` says at somebody's PC, with the PIN, and whether it did what it was told.
    fn at_pc(&self, who: &Person, words: &[&str]) -> Result<(String, bool)> {
        self.without_pin(who, &[words, &["--pin-stdin"]].concat())
    }

    /// The same, where nobody asks for a PIN.
    fn without_pin(&self, who: &Person, words: &[&str]) -> Result<(String, bool)> {
        let words = [&["--lang", self.tell.language().code()], words].concat();
        let mut command = self.town.warifu_command(who.label, &words)?;
        command.current_dir(self.folder(who.label));
        let done = run(command, format!("{PIN}\n").as_bytes())?;
        let said = [done.stdout, done.stderr].concat();
        Ok((String::from_utf8_lossy(&said).into_owned(), done.status.success()))
    }

    /// No copy of a sealed file has changed, wherever it lies.
    pub(super) fn are_untouched(&mut self, sent: &[&Sent]) -> Result<()> {
        let mut copies = 0_usize;
        for entry in fs::read_dir(self.town.folder().join("files"))? {
            let folder = entry?.path();
            for file in sent {
                let copy = folder.join(&file.file);
                if copy.exists() {
                    ensure!(digest(&copy)? == file.sealed, "{} was touched", copy.display());
                    copies += 1;
                }
            }
        }
        ensure!(copies >= sent.len(), "only {copies} copies are there");
        self.tell.seen("untouched", &[("copies", &copies.to_string())])
    }
}

/// Every one of these sites has confirmed, by name.
pub(super) fn have_confirmed(receipts: &str, sites: &[(&str, &str)]) -> Result<()> {
    for (_, name) in sites {
        let confirmed = receipts.lines().any(|line| line.contains('✓') && line.contains(name));
        ensure!(confirmed, "no receipt of {name}: {receipts}");
    }
    Ok(())
}

/// SHA-256 of a file, however large.
fn digest(path: &Path) -> Result<[u8; 32]> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(buffer.get(..read).context("read")?);
    }
}
