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
    Warning,
    /// It does not work.
    Fault,
}

impl Level {
    /// Its name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// One thing that was looked at, and what was found: a stable name, and that of the message `doctor-…` with its `.remedy`.
#[derive(Debug, Clone)]
struct Finding {
    check: &'static str,
    id: &'static str,
    level: Level,
    values: Vec<(&'static str, FluentValue<'static>)>,
}

impl Finding {
    fn explained(&self, texts: &Texts) -> Explained {
        texts.explained(&format!("doctor-{}", self.id), &self.values)
    }
}

/// All that was looked at, in order.
#[derive(Debug, Clone, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds what was found (`doctor-ID` in the texts) where `check` was looked at; whether it is in order, or nearly so.
    pub fn add(
        &mut self,
        level: Level,
        check: &'static str,
        id: &'static str,
        values: &[(&'static str, FluentValue<'static>)],
    ) -> bool {
        self.0.push(Finding { check, id, level, values: values.to_vec() });
        level < Level::Fault
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

    /// The worst of them.
    #[must_use]
    pub fn worst(&self) -> Level {
        self.0.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    /// For programs: an array of `{check, finding, state, values, message, remedy}`. Message and remedy are for people.
    #[must_use]
    pub fn to_json(&self, texts: &Texts) -> Value {
        let value = |value: &FluentValue<'_>| match value {
            FluentValue::String(text) => Value::from(text.as_ref()),
            // All numbers here are whole.
            FluentValue::Number(number) => serde_json::from_str(&number.as_string()).unwrap_or(Value::Null),
            _ => Value::Null,
        };
        let findings = self.0.iter().map(|finding| {
            let values: Map<_, _> =
                finding.values.iter().map(|(name, found)| ((*name).to_owned(), value(found))).collect();
            let Explained { what, remedy } = finding.explained(texts);
            json!({
                "check": finding.check, "finding": finding.id, "state": finding.level.name(), "values": values,
                "message": what, "remedy": remedy,
            })
        });
        Value::Array(findings.collect())
    }

    /// For people: a line each, and what to do about it where something is not in order.
    #[must_use]
    pub fn lines(&self, texts: &Texts) -> Vec<String> {
        let mut lines = Vec::new();
        for finding in &self.0 {
            let Explained { what, remedy } = finding.explained(texts);
            let mark = texts.get(&format!("level-{}", finding.level.name()));
            lines.push(format!("[{mark}] {what}"));
            if finding.level > Level::Ok {
                lines.extend(texts.guidance(&Explained { what: String::new(), remedy }, None));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Language, Sources};

    const OWN: Sources = Sources {
        ja: "doctor-disk = 空き { $free }\ndoctor-disk-full = 満杯\n    .remedy = 消す",
        en: "doctor-disk = { $free } free\ndoctor-disk-full = full\n    .remedy = Delete.",
    };

    #[test]
    fn programs_get_names_and_numbers_and_people_what_to_do() {
        let mut findings = Findings::default();
        assert_eq!(findings.worst(), Level::Ok);
        findings.ok("disk", "disk", &[("free", 7.into())]);
        assert!(!findings.add(Level::Fault, "disk", "disk-full", &[("path", "/srv".into())]));
        assert!(findings.add(Level::Warning, "disk", "disk-full", &[]));
        assert_eq!(findings.worst(), Level::Fault);
        let english = Texts::load(Language::English, &[OWN]).unwrap();
        assert_eq!(
            findings.to_json(&english),
            json!([
                { "check": "disk", "finding": "disk", "state": "ok", "values": { "free": 7 },
                  "message": "7 free", "remedy": "" },
                { "check": "disk", "finding": "disk-full", "state": "fault", "values": { "path": "/srv" },
                  "message": "full", "remedy": "Delete." },
                { "check": "disk", "finding": "disk-full", "state": "warning", "values": {},
                  "message": "full", "remedy": "Delete." },
            ])
        );
        let said = |language| findings.lines(&Texts::load(language, &[OWN]).unwrap());
        let english = ["[ok] 7 free", "[FAIL] full", "→ Delete.", "[warn] full", "→ Delete."];
        assert_eq!(said(Language::English), english);
        assert_eq!(said(Language::Japanese)[..3], ["[正常] 空き 7", "[異常] 満杯", "→ 消す"]);
    }
}
