//! Deliveries in a story: people send files to a unit by its name, and whoever holds a right to it takes them out of the box.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::journal::Deed;
use super::{DESK, Person, Sent, Stage, digest};
use crate::town::until;

/// How long it may take until what came is known, with all that is shown of its sender; and until a slip has come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where what is written as it came lies.
const KEPT: &str = "保管";
/// How much of a number people type.
const SHORT: usize = 8;

/// A file that was sent by the box: its sender keeps what he sealed from no longer than until it has arrived.
#[derive(Debug, Clone)]
pub(in super::super) struct Posted {
    /// What its sender calls it.
    pub(in super::super) name: String,
    digest: [u8; 32],
}

/// A delivery as whoever takes it out knows it.
#[derive(Debug, Clone)]
pub(in super::super) struct Lying {
    number: String,
    /// The unit that passed it on, if one did.
    passed_by: Option<String>,
    sent: Sent,
}

impl Lying {
    /// The sealed file.
    pub(in super::super) fn file(&self) -> &Sent {
        &self.sent
    }
}

impl Stage<'_> {
    /// Somebody sends files to a unit, by its name, under one title.
    pub(in super::super) fn sends(
        &mut self,
        who: &Person,
        files: &[&str],
        to: &str,
        title: &str,
        reply_to: &str,
    ) -> Result<Vec<Posted>> {
        let mut words = vec!["send"];
        words.extend(files);
        words.extend(["--to", to, "--title", title, "--reply-to", reply_to]);
        self.tell.types(who.name, "warifu", &words);
        words.push("--yes");
        let (said, done) = self.at_pc(who, &words)?;
        ensure!(done, "{} does not send: {said}\n{}", who.name, self.town.log(who.label));
        self.tell.answers(&said);
        let folder = self.folder(who.label);
        let posted =
            |name: &&str| Ok(Posted { name: (*name).to_owned(), digest: digest(&folder.join(name))? });
        files.iter().map(posted).collect()
    }

    /// Nobody here can send to a unit of that name.
    pub(in super::super) fn cannot_send(
        &mut self,
        who: &Person,
        file: &str,
        to: &str,
        title: &str,
    ) -> Result<()> {
        let words = ["send", file, "--to", to, "--title", title];
        self.tell.types(who.name, "warifu", &words);
        let (said, done) = self.at_pc(who, &[&words[..], &["--yes"]].concat())?;
        ensure!(!done, "{file} was sent to {to}");
        self.tell.answers(&said);
        let sent = self.told(who, "sent")?;
        ensure!(sent.is_empty(), "something was left behind: {sent:?}");
        Ok(())
    }

    /// Somebody looks into the box: these lie there under that title, from a live card of this person, by name.
    pub(in super::super) fn finds(
        &mut self,
        who: &Person,
        title: &str,
        posted: &[Posted],
        (organization, sender): (&str, &Person),
    ) -> Result<Vec<Lying>> {
        let mut found = Vec::new();
        until("it is in the box, and its sender is known", PATIENCE, || {
            let all = self.told(who, "inbox")?;
            let titled = all.into_iter().filter(|it| text(it, "/title") == Some(title));
            let waiting = titled.filter(|it| text(it, "/handling/handling") == Some("waiting"));
            found = waiting.collect();
            let live = found.iter().all(|it| text(it, "/from/standing") == Some("live"));
            Ok(live && found.len() == posted.len())
        })?;
        self.tell.types(who.name, "warifu", &["inbox"]);
        let (said, done) = self.at_pc(who, &["inbox"])?;
        ensure!(done, "{} has no box: {said}", who.name);
        self.tell.answers(&said);
        let lying = posted.iter().map(|file| {
            let named = format!("{}.age", file.name);
            let row = found.iter().find(|it| text(it, "/name") == Some(&named)).context("it is not there")?;
            let from = (text(row, "/from/organization_name"), text(row, "/from/name"));
            ensure!(from == (Some(organization), Some(sender.name)), "from somebody else: {row}");
            let sent = Sent { file: named, opened: file.name.clone(), digest: file.digest, sealed: [0; 32] };
            let number = text(row, "/id").context("its number")?.chars().take(SHORT).collect();
            let passed_by = text(row, "/passed_by/name").map(str::to_owned);
            Ok(Lying { number, passed_by, sent })
        });
        let lying = lying.collect::<Result<_>>()?;
        let shown = format!("{organization} / {}", sender.name);
        self.tell.seen("from", &[("sender", &shown)])?;
        Ok(lying)
    }

    /// Somebody writes what lies in the box to a folder as it came, sealed, from where those who audit have it.
    pub(in super::super) fn gets(&mut self, who: &Person, lying: &mut [Lying]) -> Result<()> {
        let kept = self.folder(who.label).join(KEPT);
        fs::create_dir_all(&kept)?;
        for delivery in lying {
            self.does(who, "inbox", &["get", &delivery.number, "-o", KEPT], &["get", "ID", "-o", KEPT])?;
            let sealed = kept.join(&delivery.sent.file);
            delivery.sent.sealed = digest(&sealed)?;
            fs::copy(&sealed, self.folder(DESK).join(&delivery.sent.file))?;
        }
        Ok(())
    }

    /// Somebody opens what lies in the box, and has what was sent, byte for byte.
    pub(in super::super) fn opens_delivery(&mut self, who: &Person, lying: &Lying) -> Result<()> {
        let (mut said, mut opened) = self.tries_delivery(who, lying)?;
        let out = self.opened(who, &lying.sent);
        until("what came opens", PATIENCE, || {
            if !opened {
                let words = ["inbox", "open", &lying.number, "-o", &out.to_string_lossy()];
                (said, opened) = self.at_pc(who, &words)?;
            }
            Ok(opened)
        })
        .with_context(|| format!("{} for {}: {said}", lying.sent.file, who.name))?;
        self.tell.answers(&said);
        let deed = lying.passed_by.as_ref();
        let deed = deed.map_or_else(|| Deed::opened(who), |from| Deed::opened_by_slip(who, from));
        self.has_opened(who, &lying.sent, deed)
    }

    /// What lies in the box does not open for somebody, for this reason; the words are shown.
    pub(in super::super) fn cannot_open_delivery(
        &mut self,
        who: &Person,
        lying: &Lying,
        reason: &str,
    ) -> Result<()> {
        let (said, opened) = self.tries_delivery(who, lying)?;
        ensure!(!opened, "{} opened for {}", lying.sent.file, who.name);
        self.tell.answers(&said);
        let out = self.opened(who, &lying.sent);
        let words = ["--json", "inbox", "open", &lying.number, "-o", &out.to_string_lossy()];
        let (told, _) = self.at_pc(who, &words)?;
        ensure!(told.contains(reason), "not for {reason}: {told}");
        ensure!(!out.exists(), "something was left behind");
        Ok(())
    }

    fn tries_delivery(&self, who: &Person, lying: &Lying) -> Result<(String, bool)> {
        let to = format!("opened/{}", lying.sent.opened);
        self.types_numbered(who, "inbox", &["open", &lying.number, "-o", &to], &["open", "ID", "-o", &to]);
        fs::create_dir_all(self.opened(who, &lying.sent).parent().context("path")?)?;
        self.at_pc(who, &["inbox", "open", &lying.number, "-o", &to])
    }

    /// A dispatcher routes what lies in the box to a unit, unread, one after the other.
    pub(in super::super) fn routes_deliveries(
        &mut self,
        who: &Person,
        lying: &[Lying],
        to: &str,
    ) -> Result<()> {
        for delivery in lying {
            let (this, page) =
                (["route", &delivery.number, "--to", to, "--yes"], ["route", "ID", "--to", to]);
            self.types_numbered(who, "inbox", this.split_last().context("words")?.1, &page);
            let (said, done) = self.at_pc(who, &[&["inbox"], &this[..]].concat())?;
            ensure!(done, "{} does not route: {said}\n{}", who.name, self.town.log(who.label));
            self.tell.answers(&said);
        }
        Ok(())
    }

    /// What a member of the department opens was routed by this person: the journal has it so.
    pub(in super::super) fn were_routed(&mut self, who: &Person, lying: &[Lying], to: &str) {
        self.deeds.extend(lying.iter().map(|it| (Deed::routed(who, to), it.sent.sealed)));
    }

    /// Somebody's unit takes what lies in the box.
    pub(in super::super) fn accepts(&mut self, who: &Person, lying: &Lying) -> Result<()> {
        self.does(who, "inbox", &["accept", &lying.number], &["accept", "ID"])
    }

    /// Somebody's unit gives it back, and says why.
    pub(in super::super) fn returns(&mut self, who: &Person, lying: &Lying, reason: &str) -> Result<()> {
        let words = ["return", &lying.number, "--reason", reason];
        self.does(who, "inbox", &words, &["return", "ID", "--reason", reason])
    }

    /// Its sender sees what became of what was sent: so many were accepted and returned, and whatever was returned is told with the
    /// reason.
    pub(in super::super) fn sees_sent(
        &mut self,
        who: &Person,
        (accepted, returned): (usize, usize),
        reason: Option<&str>,
    ) -> Result<()> {
        let all = self.told(who, "sent")?;
        let count = |what: &str| {
            let handled = all.iter().filter_map(|it| it.pointer("/became/units")?.as_array());
            handled.flatten().filter(|unit| text(unit, "/handling/handling") == Some(what)).count()
        };
        let seen = (count("accepted"), count("returned"));
        ensure!(seen == (accepted, returned), "accepted and returned: {seen:?} of {all:?}");
        self.tell.types(who.name, "warifu", &["sent"]);
        let (said, done) = self.at_pc(who, &["sent"])?;
        ensure!(done && reason.is_none_or(|reason| said.contains(reason)), "not told: {said}");
        self.tell.answers(&said);
        Ok(())
    }

    /// What a program is told of deliveries.
    fn told(&self, who: &Person, what: &str) -> Result<Vec<Value>> {
        let (said, done) = self.at_pc(who, &["--json", what])?;
        ensure!(done, "{what}: {said}");
        let all: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
        Ok(all.get("deliveries").and_then(Value::as_array).context("deliveries")?.clone())
    }

    /// Somebody types a command in which there is a number, and it does what it says.
    fn does(&self, who: &Person, command: &str, words: &[&str], on_page: &[&str]) -> Result<()> {
        self.types_numbered(who, command, words, on_page);
        let (said, done) = self.without_pin(who, &[&[command], words].concat())?;
        ensure!(done, "{} {command} {words:?}: {said}\n{}", who.name, self.town.log(who.label));
        self.tell.answers(&said);
        Ok(())
    }

    fn types_numbered(&self, who: &Person, command: &str, words: &[&str], on_page: &[&str]) {
        let (words, on_page) = ([&[command], words].concat(), [&[command], on_page].concat());
        self.tell.types_this(who.name, "warifu", &words, &on_page);
    }
}

fn text<'v>(value: &'v Value, at: &str) -> Option<&'v str> {
    value.pointer(at).and_then(Value::as_str)
}
