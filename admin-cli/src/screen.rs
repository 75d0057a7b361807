//! What a person sees: plain words in Japanese or English, tables that align, a question before anything is signed.
//! Or JSON, for programs.

use std::io::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};
use warifu_texts::findings::{Findings, Level};
use warifu_texts::table::Table;
use warifu_texts::{Explained, Message};

use crate::fault::Fault;
use crate::message::Words;

/// The screen of one command.
pub(crate) struct Screen {
    words: Words,
    json: bool,
    agreed: bool,
}

impl Screen {
    pub(crate) fn new(words: Words, json: bool, agreed: bool) -> Self {
        Self { words, json, agreed }
    }

    /// A text with its arguments filled in.
    pub(crate) fn text(&self, key: &str, args: &[(&str, String)]) -> String {
        self.words.get(key, args)
    }

    /// This program's texts.
    pub(crate) fn texts(&self) -> &warifu_texts::Texts {
        self.words.admin()
    }

    /// The words of a message.
    pub(crate) fn message(&self, message: &Message) -> String {
        self.words.admin().say(message)
    }

    /// What stands between the items of a list.
    pub(crate) fn separator(&self) -> &'static str {
        self.words.admin().separator()
    }

    /// Whether a program reads what is said.
    pub(crate) fn is_for_programs(&self) -> bool {
        self.json
    }

    /// Tells the person something on the way. Programs do not hear it.
    pub(crate) fn say(&self, key: &str) {
        self.say_with(key, &[]);
    }

    /// As [`Screen::say`], with arguments.
    pub(crate) fn say_with(&self, key: &str, args: &[(&str, String)]) {
        if !self.json {
            self.line(&self.text(key, args));
        }
    }

    /// Lines that were made from texts before.
    pub(crate) fn say_lines(&self, lines: &[String]) {
        if !self.json {
            lines.iter().for_each(|line| self.line(line));
        }
    }

    /// Tells the person, and whoever reads a script's log, of something that is not as it should be: on standard error.
    pub(crate) fn warn(&self, key: &str, args: &[(&str, String)]) {
        self.detail(&self.text(key, args));
    }

    /// What happened, without what to do about it.
    pub(crate) fn what(&self, fault: &Fault) -> String {
        crate::message::explained(&self.words, fault).what
    }

    /// What is said when the person ends the command with Ctrl-C.
    pub(crate) fn interrupted(&self) -> Interrupted {
        let key = "command-interrupted";
        let Explained { what, remedy } = self.words.admin().explained(key, &[]);
        Interrupted(match self.json {
            true => json!({ "error": "interrupted", "message": what, "remedy": remedy }).to_string(),
            false => format!("{what}\n{}", self.words.admin().with("remedy", &[("remedy", remedy.into())])),
        })
    }

    /// A detail for those who look for a fault: on standard error.
    pub(crate) fn detail(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// The outcome: JSON for programs, a text for people.
    pub(crate) fn result(&self, json: &Value, text: impl FnOnce() -> String) {
        if self.json {
            self.line(&json.to_string());
        } else {
            let text = text();
            if !text.is_empty() {
                self.line(&text);
            }
        }
    }

    /// What a doctor found, and whom to call where something does not work.
    pub(crate) fn findings(&self, findings: &Findings, helpdesk: Option<&str>) {
        let texts = self.words.admin();
        if self.json {
            return self.line(&findings.to_json(texts).to_string());
        }
        findings.lines(texts).iter().for_each(|line| self.line(line));
        if let Some(helpdesk) = helpdesk.filter(|_| findings.worst() == Level::Fault) {
            self.line(&texts.with("helpdesk", &[("helpdesk", helpdesk.into())]));
        }
    }

    /// Tells of a fault, on standard error: what happened, the one thing to do, and whom to call.
    pub(crate) fn fault(&self, fault: &Fault, helpdesk: Option<&str>) {
        let Explained { what, remedy } = crate::message::explained(&self.words, fault);
        if self.json {
            let error = fault.to_string();
            self.detail(
                &json!({ "error": error, "message": what, "remedy": remedy, "helpdesk": helpdesk })
                    .to_string(),
            );
        } else {
            warifu_texts::complain(self.words.admin(), &Explained { what, remedy }, helpdesk);
        }
    }

    fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // A reader that has gone away is no reason to fail half-way through an order.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// Asks whether to go on, unless the person has said so on the command line.
    pub(crate) fn agree(&self) -> Result<(), Fault> {
        self.agree_that("agree")
    }

    /// The same, by another question.
    pub(crate) fn agree_that(&self, question: &str) -> Result<(), Fault> {
        if self.agreed || self.says_yes(question)? { Ok(()) } else { Err(Fault::NotAgreed) }
    }

    /// Asks whether it shall be done this way. Nobody is asked who wants no questions, or JSON: then it shall not.
    pub(crate) fn choose(&self, key: &str) -> Result<bool, Fault> {
        if self.agreed || self.json { Ok(false) } else { self.says_yes(key) }
    }

    fn says_yes(&self, key: &str) -> Result<bool, Fault> {
        let mut out = std::io::stdout().lock();
        write!(out, "{} ", self.text(key, &[])).and_then(|()| out.flush()).map_err(Fault::Terminal)?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(Fault::Terminal)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes" | "はい" | "ｙ"))
    }

    /// Asks for a line of text.
    pub(crate) fn ask(&self, key: &str) -> Result<String, Fault> {
        let mut out = std::io::stdout().lock();
        write!(out, "{} ", self.text(key, &[])).and_then(|()| out.flush()).map_err(Fault::Terminal)?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(Fault::Terminal)?;
        Ok(answer.trim().to_owned())
    }

    /// A bar over so many steps, with a text. Nothing can be said or asked while it is there.
    pub(crate) fn progress(&self, key: &str, steps: u64) -> ProgressBar {
        if self.json {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{msg} [{wide_bar}] {pos}/{len}");
        let bar = ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.with_message(self.text(key, &[]))
    }

    /// A spinner with a text, for what takes a moment elsewhere.
    pub(crate) fn waiting(&self, key: &str) -> ProgressBar {
        if self.json {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
        bar.set_message(self.text(key, &[]));
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

/// The last words of a command that is ended with Ctrl-C: whoever says them has no screen.
pub(crate) struct Interrupted(String);

impl Interrupted {
    /// Says them, on a line of their own.
    pub(crate) fn say(&self) {
        // A spinner, or a prompt for a PIN, may have hidden it.
        let _ = console::Term::stderr().show_cursor();
        let _ = writeln!(std::io::stderr(), "\n{}", self.0);
    }
}

/// A list: a table for people, an array of objects for programs.
pub(crate) struct List {
    table: Table,
    rows: Vec<Value>,
}

impl List {
    /// A list with these columns, by the keys of their titles.
    pub(crate) fn new(screen: &Screen, columns: &[&'static str]) -> Self {
        let titles = columns.iter().map(|key| screen.text(key, &[])).collect();
        Self { table: Table::new(titles), rows: Vec::new() }
    }

    /// Another row: words for people, and ids and plain values, which no language changes, for programs.
    pub(crate) fn row<const N: usize>(
        &mut self,
        cells: [String; N],
        json: &impl Serialize,
    ) -> Result<(), Fault> {
        self.table.row(cells.into());
        self.rows.push(serde_json::to_value(json).map_err(Fault::Json)?);
        Ok(())
    }

    /// Shows it on the way to something else: to people only.
    pub(crate) fn say(self, screen: &Screen) {
        if !screen.json {
            self.show(screen);
        }
    }

    /// Shows it; too long for the terminal, names are cut, but nothing that goes to a file or a program.
    pub(crate) fn show(self, screen: &Screen) {
        if screen.json {
            screen.line(&Value::Array(self.rows).to_string());
            return;
        }
        let terminal = console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        self.table.lines(terminal).iter().for_each(|line| screen.line(line));
    }
}
