//! Routing in a story: a dispatcher sends files on that he cannot read, members open them, and an officer takes a slip back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::journal::Deed;
use super::{Person, Sent, Stage};
use crate::town::until;

/// How long a slip may take to the sites of the unit that it names.
const PATIENCE: Duration = Duration::from_secs(30);
/// A number of slips: a SHA-256, in hexadecimal digits.
const NUMBER_DIGITS: usize = 64;

impl Stage<'_> {
    /// A dispatcher routes files to units, by their names, with one signature. Answers the number of the slips.
    pub(in super::super) fn routes(
        &mut self,
        who: &Person,
        files: &[&Sent],
        units: &[&str],
    ) -> Result<String> {
        let to = units.join(",");
        let mut words = vec!["route"];
        words.extend(files.iter().map(|file| file.file.as_str()));
        words.extend(["--to", &to]);
        self.tell.types(who.name, "warifu", &words);
        words.push("--yes");
        let (said, routed) = self.at_pc(who, &words)?;
        ensure!(routed, "{} does not route: {said}\n{}", who.name, self.town.log(who.label));
        self.tell.answers(&said);
        for file in files {
            self.deeds.extend(units.iter().map(|unit| (Deed::routed(who, unit), file.sealed)));
        }
        let is_number =
            |word: &&str| word.len() == NUMBER_DIGITS && word.chars().all(|c| c.is_ascii_hexdigit());
        Ok(said.split_whitespace().find(is_number).context("no number of slips")?.to_owned())
    }

    /// Somebody opens a file that `from` has routed, as soon as word of it has come, and has what was sealed, byte for byte.
    pub(in super::super) fn opens_routed(&mut self, who: &Person, sent: &Sent, from: &str) -> Result<()> {
        let (mut said, mut opened) = self.tries(who, sent)?;
        until("what was routed has come", PATIENCE, || {
            if !opened {
                let to = format!("opened/{}", sent.opened);
                (said, opened) = self.at_pc(who, &["open", sent.file.as_str(), "-o", &to])?;
            }
            Ok(opened)
        })
        .with_context(|| format!("{} for {}: {said}\n{}", sent.file, who.name, self.town.log(who.label)))?;
        self.tell.answers(&said);
        self.has_opened(who, sent, Deed::opened_by_slip(who, from))
    }

    /// An officer takes back one of the slips of a batch, counted from 1, and waits for the sites. Answers the receipts.
    pub(in super::super) fn takes_back(&mut self, slips: &str, number: usize) -> Result<String> {
        let number = number.to_string();
        let words = |slips| ["slip", "revoke", slips, "--file", &number, "--watch"];
        self.officer_shown(&words(slips), &words("NUMBER"))
    }
}
