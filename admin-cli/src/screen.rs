//! What a person sees: plain words in Japanese or English, tables that align, a question before anything is signed.
//! Or JSON, for programs.

use std::io::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use warifu_ledger::statement::Millis;
use warifu_texts::findings::{Findings, Level};

use crate::desk::Book;
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

    /// What stands between the items of a list.
    pub(crate) fn separator(&self) -> &'static str {
        self.words.admin().separator()
    }

    /// A fault as people read it.
    pub(crate) fn fault_in_words(&self, fault: &Fault) -> String {
        crate::message::of(&self.words, fault)
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

    /// Tells of a fault: what happened and the one thing to do, on standard error.
    pub(crate) fn fault(&self, fault: &Fault) {
        let message = crate::message::of(&self.words, fault);
        let text = if self.json {
            serde_json::json!({ "error": fault.to_string(), "message": message }).to_string()
        } else {
            message
        };
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // A reader that has gone away is no reason to fail half-way through an order.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// Asks whether to go on, unless the person has said so on the command line.
    pub(crate) fn agree(&self) -> Result<(), Fault> {
        if self.agreed {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        write!(out, "{} ", self.text("agree", &[])).and_then(|()| out.flush()).map_err(Fault::Terminal)?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(Fault::Terminal)?;
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" | "はい" | "ｙ" => Ok(()),
            _ => Err(Fault::NotAgreed),
        }
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

    /// An instant in the organization's time zone.
    pub(crate) fn instant(&self, at: Millis, book: &Book) -> String {
        let zone = TimeZone::get(&book.state.founding().zone).unwrap_or(TimeZone::UTC);
        i64::try_from(at)
            .ok()
            .and_then(|at| Timestamp::from_millisecond(at).ok())
            .map(|at| at.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string())
            .unwrap_or_else(|| at.to_string())
    }
}

/// A list: a table for people, an array for programs.
pub(crate) struct Table {
    head: Vec<(&'static str, String)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns, by the keys of their titles.
    pub(crate) fn new(screen: &Screen, columns: &[&'static str]) -> Self {
        let head = columns.iter().map(|key| (*key, screen.text(key, &[]))).collect();
        Self { head, rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub(crate) fn show(&self, screen: &Screen) {
        if screen.json {
            let rows: Vec<Value> = self
                .rows
                .iter()
                .map(|row| {
                    let cells = self.head.iter().zip(row);
                    cells
                        .map(|((key, _), cell)| {
                            (key.trim_start_matches("column-").to_owned(), Value::from(cell.as_str()))
                        })
                        .collect()
                })
                .collect();
            screen.line(&Value::Array(rows).to_string());
            return;
        }
        let titles = self.head.iter().map(|(_, title)| title.clone()).collect();
        let mut table = warifu_texts::table::Table::new(titles);
        self.rows.iter().for_each(|row| table.row(row.clone()));
        table.lines().iter().for_each(|line| screen.line(line));
    }
}
