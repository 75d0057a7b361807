//! Asking the journal: it has to know exactly what was seen in the story.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Person, Sent, Stage};
use crate::town::until;

/// How long rows of the journal may take from a site to the desk.
const PATIENCE: Duration = Duration::from_secs(40);

/// What somebody did to a sealed file, as `audit who-opened --json` tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deed {
    who: String,
    what: String,
    /// The unit to which the file was routed, or from which.
    other: Option<String>,
}

impl Deed {
    pub(super) fn opened(who: &Person) -> Self {
        Self { who: who.name.to_owned(), what: "opened".to_owned(), other: None }
    }

    pub(super) fn routed(who: &Person, to: &str) -> Self {
        Self { who: who.name.to_owned(), what: "routed".to_owned(), other: Some(to.to_owned()) }
    }

    pub(super) fn opened_by_slip(who: &Person, from: &str) -> Self {
        Self { who: who.name.to_owned(), what: "opened-by-slip".to_owned(), other: Some(from.to_owned()) }
    }

    fn of(row: &Value) -> Self {
        let cell = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            who: cell("name").unwrap_or_default(),
            what: cell("what").unwrap_or_default(),
            other: cell("routed_to").or_else(|| cell("routed_from")),
        }
    }

    fn is_routing(&self) -> bool {
        self.what == "routed"
    }
}

/// What was done to which file, by its name, and how often.
type Deeds = BTreeMap<(Deed, String), usize>;

impl Stage<'_> {
    /// The journal knows who opened these files, and who routed them: exactly what was seen here.
    pub(in super::super) fn who_opened(&mut self, sent: &[&Sent]) -> Result<Vec<Value>> {
        let words = question(sent);
        let seen = self.seen_of(sent);
        until("what was done is known at the desk", PATIENCE, || {
            Ok(self.rows(&words)?.len() >= seen.values().sum())
        })?;
        let rows = self.rows(&words)?;
        let known = counted(&rows);
        ensure!(known == seen, "the journal has {known:?}, and there was {seen:?}");
        self.officer(&words)?;
        let routings: usize =
            known.iter().filter(|((deed, _), _)| deed.is_routing()).map(|(_, times)| times).sum();
        let openings = (rows.len() - routings).to_string();
        if routings > 0 {
            self.tell.seen("who-routed", &[("routings", &routings.to_string())])?;
        }
        self.tell.seen("who-opened", &[("openings", &openings)])?;
        Ok(rows)
    }

    /// How many openings of these files the desk does not know of yet.
    pub(in super::super) fn unknown_openings(&self, sent: &[&Sent]) -> Result<usize> {
        let seen: usize = self.seen_of(sent).values().sum();
        Ok(seen.saturating_sub(self.rows(&question(sent))?.len()))
    }

    fn seen_of(&self, sent: &[&Sent]) -> Deeds {
        let mut seen = Deeds::new();
        for (deed, sealed) in &self.deeds {
            if let Some(file) = sent.iter().find(|file| file.sealed == *sealed) {
                *seen.entry((deed.clone(), file.file.clone())).or_default() += 1;
            }
        }
        seen
    }

    fn rows(&self, words: &[&str]) -> Result<Vec<Value>> {
        Ok(self.asked(words)?.as_array().context("rows")?.clone())
    }
}

fn question<'s>(sent: &[&'s Sent]) -> Vec<&'s str> {
    ["audit", "who-opened"].into_iter().chain(sent.iter().map(|file| file.file.as_str())).collect()
}

fn counted(rows: &[Value]) -> Deeds {
    let mut found = Deeds::new();
    for row in rows {
        let path = row.get("path").and_then(Value::as_str).unwrap_or_default().to_owned();
        *found.entry((Deed::of(row), path)).or_default() += 1;
    }
    found
}
