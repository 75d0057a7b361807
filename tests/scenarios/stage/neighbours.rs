//! Two organizations in a story: officers pin the other one by its fingerprint, and nothing else of it is within reach.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Stage;

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

    /// From here, one address of the other organization answers: that of its public listener.
    pub(in super::super) fn is_apart_from(&mut self, other: &mut Stage<'_>, name: &str) -> Result<()> {
        let (answer, silent) = self.town.reaches(&mut other.town)?;
        ensure!(answer == ["public"], "of {name}, these answer: {answer:?}");
        self.tell.seen("w5-apart", &[("name", name), ("silent", &silent.to_string())])
    }
}

fn words<'w>(other: Neighbour, address: &'w str, fingerprint: &'w str) -> [&'w str; 9] {
    ["trust", "add", address, "--label", other.label, "--name", other.name, "--fingerprint", fingerprint]
}
