//! What a doctor found: each finding with its one remedy, for people and for programs.

use fluent_bundle::FluentValue;
use serde_json::{Map, Value, json};

use crate::{Explained, Texts};

/// How good or bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// In order.
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work.
    Bad,
}

impl Level {
    /// Its name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// What was found: a stable name, and that of the message `doctor-…` with its `.remedy`.
    pub id: &'static str,
    /// How good it is.
    pub level: Level,
    /// Names and numbers of it.
    pub values: Vec<(&'static str, FluentValue<'static>)>,
}

/// All that was looked at, in order.
#[derive(Debug, Clone, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a finding; whether it is in order, or nearly so.
    pub fn add(
        &mut self,
        level: Level,
        check: &'static str,
        id: &'static str,
        values: &[(&'static str, FluentValue<'static>)],
    ) -> bool {
        self.0.push(Finding { check, id, level, values: values.to_vec() });
        level < Level::Bad
    }

    /// Something is in order.
    pub fn ok(
        &mut self,
        check: &'static str,
        id: &'static str,
        values: &[(&'static str, FluentValue<'static>)],
    ) {
        self.add(Level::Ok, check, id, values);
    }

    /// The findings.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter()
    }

    /// The worst of them.
    #[must_use]
    pub fn worst(&self) -> Level {
        self.0.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    /// For programs: an array of `{check, id, level, values}`, the same in every language.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let value = |value: &FluentValue<'_>| match value {
            FluentValue::String(text) => Value::from(text.as_ref()),
            FluentValue::Number(number) => Value::from(number.value),
            _ => Value::Null,
        };
        let findings = self.0.iter().map(|finding| {
            let values: Map<_, _> =
                finding.values.iter().map(|(name, found)| ((*name).to_owned(), value(found))).collect();
            json!({ "check": finding.check, "id": finding.id, "level": finding.level.name(), "values": values })
        });
        Value::Array(findings.collect())
    }

    /// For people: a line each, and what to do about it where something is not in order.
    #[must_use]
    pub fn lines(&self, texts: &Texts) -> Vec<String> {
        let mut lines = Vec::new();
        for finding in &self.0 {
            let message = format!("doctor-{}", finding.id);
            let Explained { what, remedy } = texts.explained(&message, &finding.values);
            let mark = texts.get(&format!("level-{}", finding.level.name()));
            lines.push(format!("[{mark}] {what}"));
            if finding.level > Level::Ok {
                lines.extend(texts.guidance(&Explained { what: String::new(), remedy }, None));
            }
        }
        lines
    }
}
