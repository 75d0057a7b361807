//! Two organizations in a story: officers pin the other one by its fingerprint, people seal to its units by name, and files go over.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{DESK, Person, Sent, Stage};

/// The other organization, as officers here call it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Neighbour {
    pub(in super::super) label: &'static str,
    pub(in super::super) name: &'static str,
}

impl Stage<'_> {
    /// The officers read out the organization's fingerprint, which is answered.
    pub(in super::super) fn fingerprint(&mut self) -> Result<String> {
        let told = self.asked(&["trust", "fingerprint"])?;
        self.officer(&["trust", "fingerprint"])?;
        Ok(told.get("fingerprint").and_then(Value::as_str).context("fingerprint")?.to_owned())
    }

    /// The officers pin another organization, by what was read out to them.
    pub(in super::super) fn pins(
        &mut self,
        other: Neighbour,
        address: &str,
        fingerprint: &str,
    ) -> Result<()> {
        self.officer_shown(&words(other, address, fingerprint), &words(other, "HOST:PORT", "HEX"))?;
        let pinned = self.asked(&["trust", "list"])?;
        let row = pinned.get(0).context("nothing is pinned")?;
        ensure!(row.get("fingerprint").is_some_and(|found| found == fingerprint), "another one: {row}");
        ensure!(row.get("alarm").is_some_and(Value::is_null), "an alarm: {row}");
        Ok(())
    }

    /// They are refused with a fingerprint that is another one; the words are shown.
    pub(in super::super) fn does_not_pin(
        &mut self,
        other: Neighbour,
        address: &str,
        fingerprint: &str,
    ) -> Result<()> {
        let who = self.tell.text("who-officer", &[])?;
        self.tell.types(&who, "warifu-admin", &words(other, "HOST:PORT", "HEX"));
        let language = self.tell.language().code();
        let done =
            self.desk_does(&[&["--lang", language], &words(other, address, fingerprint)[..]].concat())?;
        ensure!(!done.status.success(), "a wrong fingerprint was believed");
        self.tell.answers(&String::from_utf8_lossy(&done.stderr));
        ensure!(self.asked(&["trust", "list"])?.get(0).is_none(), "something was pinned");
        Ok(())
    }

    /// Somebody seals a file to a unit of another organization, by its name.
    pub(in super::super) fn seal_abroad(&mut self, who: &Person, name: &str, to: &str) -> Result<Sent> {
        let sealed = format!("{name}.age");
        let words = ["seal", "-r", to, name];
        self.tell.types(who.name, "warifu", &words);
        let (said, done) = self.without_pin(who, &words)?;
        ensure!(done, "{} does not seal: {said}\n{}", who.name, self.town.log(who.label));
        self.tell.answers(&said);
        let folder = self.folder(who.label);
        Sent::of(&folder.join(name), &folder.join(sealed))
    }

    /// Nobody here can seal to a unit of that name.
    pub(in super::super) fn cannot_seal(&mut self, who: &Person, name: &str, to: &str) -> Result<()> {
        let words = ["seal", "-r", to, name];
        self.tell.types(who.name, "warifu", &words);
        let (said, done) = self.without_pin(who, &words)?;
        ensure!(!done, "{name} was sealed to {to}");
        self.tell.answers(&said);
        ensure!(!self.folder(who.label).join(format!("{name}.age")).exists(), "something was left behind");
        Ok(())
    }

    /// A sealed file goes to somebody of another organization, and to those who audit there, by whatever way.
    pub(in super::super) fn hands_over(
        &self,
        sent: &Sent,
        from: &Person,
        there: &Stage<'_>,
        to: &Person,
    ) -> Result<()> {
        for folder in [to.label, DESK] {
            fs::copy(self.folder(from.label).join(&sent.file), there.folder(folder).join(&sent.file))?;
        }
        Ok(())
    }
}

fn words<'w>(other: Neighbour, address: &'w str, fingerprint: &'w str) -> [&'w str; 9] {
    ["trust", "add", address, "--label", other.label, "--name", other.name, "--fingerprint", fingerprint]
}
