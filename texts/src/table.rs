//! Tables that align: Japanese characters take two columns of a terminal, combining marks none.
//!
//! Characters whose width is ambiguous (①, ※, α) count as one column, as terminals show them unless told otherwise.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::one_line;

/// Between two columns.
const GAP: &str = "  ";
/// At the end of what was cut.
const CUT: &str = "…";
/// No column is cut to fewer columns of the terminal than this.
const NARROWEST: usize = 8;

/// A table; every column as wide as its widest cell.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these titles.
    #[must_use]
    pub fn new(titles: Vec<String>) -> Self {
        Self { rows: vec![titles] }
    }

    /// Another row below. What comes from elsewhere stays on its line and in its column.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| one_line(cell)).collect());
    }

    /// The lines of the table, its titles first. With the width of a terminal, the widest cells are cut to fit.
    #[must_use]
    pub fn lines(&self, terminal: Option<usize>) -> Vec<String> {
        let widths = self.widths(terminal);
        let line = |row: &Vec<String>| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| pad(&cut(cell, *width), *width)).collect();
            cells.join(GAP).trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    fn widths(&self, terminal: Option<usize>) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let mut widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.width()).max().unwrap_or_default()
            })
            .collect();
        let gaps = GAP.len() * columns.saturating_sub(1);
        while terminal.is_some_and(|terminal| widths.iter().sum::<usize>() + gaps > terminal) {
            match widths.iter_mut().filter(|width| **width > NARROWEST).max() {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
        widths
    }
}

/// Fills a text up with spaces to a width in columns.
#[must_use]
pub fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// As much of a text as fits into a width, with `…` where something is missing. Never within a character: a mark, a selector
/// (as in 葛󠄀) or a joiner stays with what it belongs to.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(CUT.width());
    let belongs = |c: char| c.width().unwrap_or_default() == 0 || matches!(c, '\u{ff9e}' | '\u{ff9f}');
    let mut kept = 0;
    let mut joined = false;
    for (at, c) in text.char_indices() {
        let fits = text.get(..at).is_some_and(|head| head.width() <= room);
        if fits && !belongs(c) && !joined {
            kept = at;
        } else if !fits {
            break;
        }
        joined = c == '\u{200d}';
    }
    format!("{}{CUT}", text.get(..kept).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names as they come in town halls, with the columns that each takes.
    const NAMES: &[(&str, usize)] = &[
        ("tax", 3),
        ("税務課", 6),
        ("ｾﾞｲﾑｶ", 5),
        ("①係", 3),
        ("か\u{3099}くし", 6),
        ("e\u{301}cole", 5),
        ("葛\u{e0100}城市", 6),
        ("\u{1f469}\u{200d}\u{1f52c}室", 4),
        ("令和９年度", 10),
        ("", 0),
    ];

    #[test]
    fn names_have_the_width_that_terminals_give_them() {
        for (name, width) in NAMES {
            assert_eq!(name.width(), *width, "{name}");
            assert_eq!(pad(name, 12).width(), 12, "{name}");
        }
    }

    #[test]
    fn columns_align_below_every_name() {
        let mut table = Table::new(vec!["略称".to_owned(), "名前".to_owned(), "終了".to_owned()]);
        for (name, _) in NAMES {
            table.row(vec!["x".to_owned(), (*name).to_owned(), "|2027-03-31".to_owned()]);
        }
        let lines = table.lines(None);
        let columns: Vec<usize> =
            lines.iter().skip(1).map(|line| line.split_once('|').unwrap().0.width()).collect();
        assert_eq!(columns, vec!["略称".width() + 2 + 10 + 2; NAMES.len()], "{lines:#?}");
    }

    #[test]
    fn a_terminal_is_never_overrun_and_no_character_is_torn() {
        for terminal in 22..40 {
            let mut table = Table::new(vec!["名前".to_owned(), "宛先".to_owned()]);
            for (name, _) in NAMES {
                table.row(vec![name.repeat(9), "age1tag1qwertyuiop".repeat(3)]);
            }
            for line in table.lines(Some(terminal)) {
                assert!(line.width() <= terminal, "{terminal}: {line}");
            }
        }
        assert_eq!(cut("葛\u{e0100}城市役所", 5), "葛\u{e0100}城…");
        assert_eq!(cut("葛\u{e0100}城市役所", 4), "葛\u{e0100}…");
        assert_eq!(cut("か\u{3099}か\u{3099}か\u{3099}", 5), "か\u{3099}か\u{3099}…");
        assert_eq!(cut("ｶﾞｶﾞｶﾞ", 4), "ｶﾞ…", "half a sound is none");
        assert_eq!(
            cut("\u{1f469}\u{200d}\u{1f52c}\u{1f469}\u{200d}\u{1f52c}", 3),
            "\u{1f469}\u{200d}\u{1f52c}…"
        );
        assert_eq!(cut("税務課", 6), "税務課");
    }

    #[test]
    fn a_name_from_elsewhere_stays_in_its_cell() {
        let mut table = Table::new(vec!["名前".to_owned(), "x".to_owned()]);
        table.row(vec!["税\u{1b}[2J\n✓ 本庁\r\u{202e}".to_owned(), "|".to_owned()]);
        let lines = table.lines(None);
        assert_eq!(lines.len(), 2);
        assert!(!lines[1].chars().any(|c| c.is_control() || c == '\u{202e}'), "{lines:?}");
    }
}
