//! Who tells a story while it happens: numbered steps, what each person types and reads, and what was checked.

use std::cell::{Cell, Ref, RefCell};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use indicatif::ProgressBar;
use warifu_texts::{FluentValue, Language, Sources, Texts};

/// What is told.
const SOURCES: Sources = Sources {
    ja: include_str!("../locales/ja/scenarios.ftl"),
    en: include_str!("../locales/en/scenarios.ftl"),
};

/// Tells a story, or knows it and says nothing.
pub struct Narrator {
    texts: Texts,
    is_aloud: bool,
    step: Cell<usize>,
    started: Instant,
    typed: RefCell<Vec<String>>,
}

impl Narrator {
    /// Tells it on the terminal.
    ///
    /// # Errors
    /// Where the texts do not load.
    pub fn aloud(language: Language) -> Result<Self> {
        Self::made(language, true)
    }

    /// Says nothing, and fails all the same where a text is missing.
    ///
    /// # Errors
    /// Where the texts do not load.
    pub fn silent(language: Language) -> Result<Self> {
        Self::made(language, false)
    }

    fn made(language: Language, is_aloud: bool) -> Result<Self> {
        let texts = Texts::load(language, &[SOURCES])?;
        Ok(Self { texts, is_aloud, step: Cell::new(0), started: Instant::now(), typed: RefCell::default() })
    }

    /// The language in which it is told.
    pub fn language(&self) -> Language {
        self.texts.language()
    }

    /// Every command that somebody typed, as it was shown.
    pub fn typed(&self) -> Ref<'_, [String]> {
        Ref::map(self.typed.borrow(), Vec::as_slice)
    }

    /// What the story is about.
    pub(super) fn begin(&self, id: &str) -> Result<()> {
        let text = self.text(id, &[])?;
        let (title, rest) = text.split_once('\n').unwrap_or((&text, ""));
        self.line(&format!("\x1b[1;4m{title}\x1b[0m\n{rest}"));
        Ok(())
    }

    /// The next step begins.
    pub(super) fn step(&self, id: &str, values: &[(&str, &str)]) -> Result<()> {
        self.step.set(self.step.get() + 1);
        let text = self.text(id, values)?;
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        self.line(&format!("\n\x1b[1m{:2}. {first}\x1b[0m", self.step.get()));
        rest.lines().for_each(|line| self.line(&format!("    {line}")));
        Ok(())
    }

    /// Something was checked, and is so.
    pub(super) fn seen(&self, id: &str, values: &[(&str, &str)]) -> Result<()> {
        let text = self.text(id, values)?;
        self.line(&format!("    \x1b[32m✓\x1b[0m {}", text.replace('\n', "\n      ")));
        Ok(())
    }

    /// Where, or when, what follows happens.
    pub(super) fn place(&self, id: &str, values: &[(&str, &str)]) -> Result<()> {
        let text = self.text(id, values)?;
        self.line(&format!("    \x1b[1m{text}\x1b[0m"));
        Ok(())
    }

    /// Somebody types a command.
    pub(super) fn types(&self, who: &str, program: &str, words: &[&str]) {
        self.types_this(who, program, words, words);
    }

    /// The same, where a page writes other words: those of this time are another time's no more.
    pub(super) fn types_this(&self, who: &str, program: &str, words: &[&str], on_page: &[&str]) {
        let command = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            format!("{program} {}", words.join(" "))
        };
        self.line(&format!("    \x1b[36m{who} $\x1b[0m {}", command(words)));
        self.typed.borrow_mut().push(command(on_page));
    }

    /// What a program answers.
    pub(super) fn answers(&self, text: &str) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            self.line(&format!("    \x1b[2m│\x1b[0m {line}"));
        }
    }

    /// Long work, with something that moves.
    pub(super) fn during<T>(&self, id: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let text = self.text(id, &[])?;
        if !self.is_aloud {
            return work();
        }
        let spinner = ProgressBar::new_spinner().with_message(text);
        spinner.enable_steady_tick(Duration::from_millis(120));
        let done = work();
        spinner.finish_and_clear();
        done
    }

    /// It is over.
    pub(super) fn end(&self, id: &str) -> Result<()> {
        let seconds = self.started.elapsed().as_secs().to_string();
        let text = self.text(id, &[("seconds", &seconds)])?;
        self.line(&format!("\n\x1b[1m{text}\x1b[0m"));
        Ok(())
    }

    /// A text in the narrator's language.
    pub(super) fn text(&self, id: &str, values: &[(&str, &str)]) -> Result<String> {
        ensure!(self.texts.has(id), "no text for {id}");
        let values: Vec<_> = values.iter().map(|(name, value)| (*name, FluentValue::from(*value))).collect();
        Ok(self.texts.with(id, &values))
    }

    fn line(&self, line: &str) {
        if self.is_aloud {
            println!("{line}");
        }
    }
}

/// A word as a shell wants it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:,=…・".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("\"{word}\"") }
}
