//! What people read, in Japanese and English: texts from Fluent files that are built into the programs, command lines
//! explained, tables that align.

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use fluent_bundle::FluentValue;
use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};
use unic_langid::{LanguageIdentifier, langid};

mod backup;
pub mod day;
pub mod findings;
pub mod help;
mod message;
mod refusal;
pub mod table;
mod usage;

pub use message::{Message, Spoken, system};

/// What every program says in the same words. [`Texts::load`] adds it to each program's own.
pub const SHARED: Sources =
    Sources { ja: include_str!("../locales/ja/shared.ftl"), en: include_str!("../locales/en/shared.ftl") };

/// A language that people are spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// 日本語.
    Japanese,
    /// English.
    English,
}

impl Language {
    /// What the person's environment asks for (`LC_ALL`, `LC_MESSAGES`, `LANG`; the first that is set decides).
    #[must_use]
    pub fn from_environment() -> Self {
        let asked = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .filter_map(|name| std::env::var(name).ok())
            .find(|value| !value.is_empty());
        asked.and_then(|value| Self::parse(&value)).unwrap_or(Self::English)
    }

    /// Reads `ja`, `ja_JP.UTF-8`, `en` and the like; none for any other language.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split(['_', '-', '.', '@']).next() {
            Some("ja") => Some(Self::Japanese),
            Some("en" | "C" | "POSIX") => Some(Self::English),
            _ => None,
        }
    }

    /// Its name on a command line.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Japanese => "ja",
            Self::English => "en",
        }
    }

    fn identifier(self) -> LanguageIdentifier {
        match self {
            Self::Japanese => langid!("ja"),
            Self::English => langid!("en"),
        }
    }
}

/// One Fluent file in both languages.
#[derive(Debug, Clone, Copy)]
pub struct Sources {
    /// Japanese.
    pub ja: &'static str,
    /// English.
    pub en: &'static str,
}

/// Why texts cannot be used. Found by tests, not by people.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextsError {
    /// A file breaks Fluent's grammar.
    #[error("a Fluent file does not parse: {why}")]
    Syntax {
        /// What the parser said.
        why: String,
    },
    /// Two files have a message of the same name.
    #[error("a Fluent message is there twice: {why}")]
    Repeated {
        /// What the bundle said.
        why: String,
    },
}

/// What happened, and the one thing to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// What happened.
    pub what: String,
    /// The one thing to do.
    pub remedy: String,
}

/// The texts of one language.
pub struct Texts {
    language: Language,
    bundle: FluentBundle<FluentResource>,
}

impl Texts {
    /// Loads the files of one language, and what all programs share.
    ///
    /// # Errors
    /// [`TextsError`].
    pub fn load(language: Language, sources: &[Sources]) -> Result<Self, TextsError> {
        let mut bundle = FluentBundle::new_concurrent(vec![language.identifier()]);
        // The marks around placeables are for mixed writing directions, and show as boxes on many terminals.
        bundle.set_use_isolating(false);
        for source in std::iter::once(&SHARED).chain(sources) {
            let text = match language {
                Language::Japanese => source.ja,
                Language::English => source.en,
            };
            let resource = FluentResource::try_new(text.to_owned())
                .map_err(|(_, errors)| TextsError::Syntax { why: format!("{errors:?}") })?;
            bundle
                .add_resource(resource)
                .map_err(|errors| TextsError::Repeated { why: format!("{errors:?}") })?;
        }
        Ok(Self { language, bundle })
    }

    /// The language.
    #[must_use]
    pub fn language(&self) -> Language {
        self.language
    }

    /// A message without values; its own name where there is none, which a test rules out.
    #[must_use]
    pub fn get(&self, id: &str) -> String {
        self.with(id, &[])
    }

    /// Whether there is such a message.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.bundle.has_message(id)
    }

    /// A message with values.
    #[must_use]
    pub fn with(&self, id: &str, values: &[(&str, FluentValue<'_>)]) -> String {
        self.format(id, None, values).unwrap_or_else(|| id.to_owned())
    }

    /// An attribute of a message; none where there is none.
    #[must_use]
    pub fn attribute(&self, id: &str, name: &str, values: &[(&str, FluentValue<'_>)]) -> Option<String> {
        self.format(id, Some(name), values)
    }

    fn format(
        &self,
        id: &str,
        attribute: Option<&str>,
        values: &[(&str, FluentValue<'_>)],
    ) -> Option<String> {
        let message = self.bundle.get_message(id)?;
        let pattern = match attribute {
            None => message.value()?,
            Some(name) => message.get_attribute(name)?.value(),
        };
        let mut args = FluentArgs::new();
        for (name, value) in values {
            let value = match value {
                FluentValue::String(text) => FluentValue::from(harmless(text)),
                other => other.clone(),
            };
            args.set(Cow::Owned((*name).to_owned()), value);
        }
        let mut errors = Vec::new();
        Some(self.bundle.format_pattern(pattern, Some(&args), &mut errors).into_owned())
    }

    /// What stands between the items of a list.
    #[must_use]
    pub fn separator(&self) -> &'static str {
        match self.language {
            Language::Japanese => "、",
            Language::English => ", ",
        }
    }

    /// A message with its `.remedy`.
    #[must_use]
    pub fn explained(&self, id: &str, values: &[(&str, FluentValue<'_>)]) -> Explained {
        let what = self.with(id, values);
        let remedy = self.attribute(id, "remedy", values).unwrap_or_default();
        Explained { what, remedy }
    }

    /// A fault as every program shows it on standard error: what happened, the one thing to do, and whom to call.
    #[must_use]
    pub fn complaint(&self, fault: &Explained, helpdesk: Option<&str>) -> String {
        let mut lines = vec![self.with("problem", &[("what", fault.what.as_str().into())])];
        lines.extend(self.guidance(fault, helpdesk));
        lines.join("\n")
    }

    /// The one thing to do, and whom to call, a line each.
    #[must_use]
    pub fn guidance(&self, fault: &Explained, helpdesk: Option<&str>) -> Vec<String> {
        let remedy = Some(fault.remedy.as_str()).filter(|remedy| !remedy.is_empty());
        let remedy = remedy.map(|remedy| self.with("remedy", &[("remedy", remedy.into())]));
        let helpdesk = helpdesk.map(|helpdesk| self.with("helpdesk", &[("helpdesk", helpdesk.into())]));
        remedy.into_iter().chain(helpdesk).collect()
    }
}

/// Says a fault on standard error, the last thing that a program does. Nowhere to complain where that is gone.
pub fn complain(texts: &Texts, fault: &Explained, helpdesk: Option<&str>) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{}", texts.complaint(fault, helpdesk));
}

/// Text from elsewhere, such as a name that a site tells, without what would make a terminal do or hide something: control
/// characters other than line feeds, other ends of lines, and those that turn the direction of writing.
#[must_use]
pub fn harmless(text: &str) -> String {
    let harmful = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(
                c,
                '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            )
    };
    text.chars().map(|c| if harmful(c) { '\u{fffd}' } else { c }).collect()
}

/// The same for what stands in a line of a list, such as a file's name: it makes no other line.
#[must_use]
pub fn one_line(text: &str) -> String {
    harmless(text).replace('\n', "\u{fffd}")
}

/// Every message and attribute of a Fluent file with the values it uses, for tests: both languages must have the same.
#[must_use]
pub fn outline(source: &str) -> BTreeMap<String, Vec<String>> {
    let mut outline: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut message, mut current) = (String::new(), String::new());
    for line in source.lines().filter(|line| !line.starts_with('#')) {
        if let Some((id, _)) = line.split_once(" =").filter(|(id, _)| !id.starts_with(' ')) {
            message = id.to_owned();
            current.clone_from(&message);
            outline.entry(current.clone()).or_default();
        } else if let Some((name, _)) =
            line.trim_start().strip_prefix('.').and_then(|rest| rest.split_once(" ="))
        {
            current = format!("{message}.{name}");
            outline.entry(current.clone()).or_default();
        }
        for value in line.split('$').skip(1) {
            let name: String =
                value.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
            let used = outline.entry(current.clone()).or_default();
            if !used.contains(&name) {
                used.push(name);
                used.sort();
            }
        }
    }
    outline
}

/// The variants of an enum in a source text, with their fields, for tests: none is without words.
#[must_use]
pub fn variants(source: &str, name: &str) -> Vec<(String, Vec<String>)> {
    let body =
        source.split_once(&format!("pub enum {name} {{\n")).and_then(|(_, rest)| rest.split_once("\n}\n"));
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in body.map(|(body, _)| body).unwrap_or_default().lines() {
        let text = line.trim();
        if let Some((field, _)) = text.split_once(": ").filter(|_| line.starts_with("        ")) {
            if let Some((_, fields)) = found.last_mut().filter(|_| !text.starts_with("//")) {
                fields.push(field.to_owned());
            }
        } else if text.starts_with(|c: char| c.is_ascii_uppercase()) && !line.starts_with("        ") {
            found.push((text.chars().take_while(char::is_ascii_alphanumeric).collect(), Vec::new()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_elsewhere_do_nothing_to_a_terminal() {
        let texts = Texts::load(Language::English, &[]).unwrap();
        let name = "\u{1b}]0;x\u{7}税\u{202e}務課\r\u{9b}2J";
        let said = texts.with("helpdesk", &[("helpdesk", name.into())]);
        assert!(said.contains("税") && said.contains("務課"), "{said:?}");
        assert!(!said.chars().any(|c| c.is_control() || c == '\u{202e}'), "{said:?}");
    }

    #[test]
    fn what_programs_share_is_complete() {
        assert_eq!(outline(SHARED.ja), outline(SHARED.en));
    }

    #[test]
    fn a_fault_says_what_happened_then_what_to_do_then_whom_to_call() {
        let texts = Texts::load(Language::English, &[]).unwrap();
        let fault = Explained { what: "The card is gone.".to_owned(), remedy: "Insert it.".to_owned() };
        let said = texts.complaint(&fault, Some("0261-00-0000"));
        assert_eq!(said, "That did not work: The card is gone.\n→ Insert it.\nHelpdesk: 0261-00-0000");
    }
}
