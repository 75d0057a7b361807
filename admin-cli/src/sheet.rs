//! Tables that a town hall's own systems write: CSV in UTF-8 (with or without a byte order mark), Shift_JIS or UTF-16.
//!
//! Names are taken as they stand, rare characters and variation sequences included: nothing is normalized.

use std::collections::BTreeMap;
use std::io::Read;

use encoding_rs::{Encoding, SHIFT_JIS};

/// The largest file that is read, in bytes.
pub const SIZE_LIMIT: u64 = 32 << 20;
/// The most rows of one file.
pub const ROWS_LIMIT: usize = 100_000;

/// Why a table is not read; nothing of it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SheetError {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    File(#[from] std::io::Error),
    /// It is in no encoding that is known, or no table.
    #[error("the table cannot be read")]
    Unreadable,
    /// It has more than [`ROWS_LIMIT`] rows, or [`SIZE_LIMIT`] bytes.
    #[error("the table is too long")]
    TooLong,
    /// It lacks a column.
    #[error("the table lacks the column {}", .columns.join("/"))]
    Without {
        /// What it may be called.
        columns: &'static [&'static str],
    },
    /// It has a column twice.
    #[error("the table has the column {column} twice")]
    Twice {
        /// What it is called.
        column: String,
    },
}

/// A column that means something here; others are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// The short name.
    Label,
    /// The name people use.
    Name,
    /// Short names, or names, of units.
    Units,
    /// The short name of a contract.
    Contract,
}

impl Column {
    /// What the column may be called.
    const fn titles(self) -> &'static [&'static str] {
        match self {
            Self::Label => &["label", "識別名", "略称"],
            Self::Name => &["name", "氏名", "名前"],
            Self::Units => &["units", "unit", "部署", "宛先"],
            Self::Contract => &["contract", "契約"],
        }
    }

    fn titled(title: &str) -> Option<Self> {
        let title = title.trim().to_lowercase();
        let all = [Self::Label, Self::Name, Self::Units, Self::Contract];
        all.into_iter().find(|column| column.titles().contains(&title.as_str()))
    }
}

/// A row, with the line of the file that it begins on.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The line, counted from 1.
    pub line: u64,
    cells: BTreeMap<Column, String>,
}

impl Row {
    /// What stands in a column, without the blanks around it; empty if there is nothing.
    #[must_use]
    pub fn cell(&self, column: Column) -> &str {
        self.cells.get(&column).map_or("", |cell| cell.trim())
    }

    /// The items of a cell that holds a list.
    pub fn list(&self, column: Column) -> impl Iterator<Item = &str> {
        let separates = |c: char| matches!(c, ',' | ';' | '、' | '，' | '；' | '\n');
        self.cell(column).split(separates).map(str::trim).filter(|item| !item.is_empty())
    }
}

/// Reads a file that has these columns, to its end or a byte beyond [`SIZE_LIMIT`].
///
/// # Errors
/// [`SheetError`].
pub fn read(file: impl Read, needed: &[Column]) -> Result<Vec<Row>, SheetError> {
    let mut bytes = Vec::new();
    file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(SheetError::TooLong);
    }
    parse(&bytes, needed)
}

/// Reads what is in such a file.
///
/// # Errors
/// [`SheetError`], but for [`SheetError::File`].
pub fn parse(bytes: &[u8], needed: &[Column]) -> Result<Vec<Row>, SheetError> {
    let text = decode(bytes).ok_or(SheetError::Unreadable)?;
    let first = text.lines().next().unwrap_or_default();
    // Excel calls a table with tabs "Unicode text".
    let delimiter = if first.contains('\t') && !first.contains(',') { b'\t' } else { b',' };
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    let titles = reader.headers().map_err(|_| SheetError::Unreadable)?;
    let mut places: BTreeMap<Column, usize> = BTreeMap::new();
    for (place, title) in titles.iter().enumerate() {
        if let Some(column) = Column::titled(title)
            && places.insert(column, place).is_some()
        {
            return Err(SheetError::Twice { column: title.trim().to_owned() });
        }
    }
    if let Some(missing) = needed.iter().find(|column| !places.contains_key(column)) {
        return Err(SheetError::Without { columns: missing.titles() });
    }
    let mut rows = Vec::new();
    let mut lines = Lines { text: text.as_bytes(), counted: 0, line: 1 };
    for record in reader.records() {
        let record = record.map_err(|_| SheetError::Unreadable)?;
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        if rows.len() == ROWS_LIMIT {
            return Err(SheetError::TooLong);
        }
        let cell = |place: &usize| record.get(*place).unwrap_or_default().to_owned();
        let cells = places.iter().map(|(column, place)| (*column, cell(place))).collect();
        let begins = record.position().map_or(0, csv::Position::byte);
        rows.push(Row { line: lines.at(begins), cells });
    }
    Ok(rows)
}

/// Counts lines, from place to place.
struct Lines<'a> {
    text: &'a [u8],
    counted: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line on which the record begins that was found at this byte, behind the ends of lines before it.
    fn at(&mut self, byte: u64) -> u64 {
        let byte = usize::try_from(byte).unwrap_or(usize::MAX);
        let rest = self.text.get(byte..).unwrap_or_default();
        let blank = rest.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let begins = byte.saturating_add(blank);
        let passed = self.text.get(self.counted..begins).unwrap_or_default();
        // A line ends with LF, CR LF, or CR alone.
        let followed = passed.iter().zip(passed.iter().skip(1).chain([&b' ']));
        let ends = followed.filter(|(b, next)| **b == b'\n' || (**b == b'\r' && **next != b'\n'));
        self.line += ends.count() as u64;
        self.counted = begins;
        self.line
    }
}

/// The text in whichever of the encodings it is written: what is well-formed UTF-8 is UTF-8, since hardly any text in
/// Shift_JIS is that by accident.
fn decode(bytes: &[u8]) -> Option<String> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        let text = encoding.decode_without_bom_handling_and_without_replacement(bytes.get(mark..)?)?;
        return Some(text.into_owned());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.to_owned()),
        Err(_) => Some(SHIFT_JIS.decode_without_bom_handling_and_without_replacement(bytes)?.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: &[Column] = &[Column::Label, Column::Name, Column::Units];
    /// Ideographs beyond the basic plane, variation sequences, and what normalization would change.
    const RARE: &str = "𠮷田 葛\u{e0100} 神\u{fa19}";

    fn rows(bytes: &[u8]) -> Vec<Row> {
        parse(bytes, NEEDED).unwrap()
    }

    #[test]
    fn what_excel_and_others_write_is_read() {
        let text = format!(
            "識別名,氏名,部署,備考\r\nhanako,{RARE},\"tax, 福祉課\",x\r\n\r\ntaro,\"山田\n太郎\",tax\r\n"
        );
        let mut marked = vec![0xef, 0xbb, 0xbf];
        marked.extend_from_slice(text.as_bytes());
        let mut wide = vec![0xff, 0xfe];
        wide.extend(
            text.replace(',', "\t")
                .replace("\"tax\t 福祉課\"", "tax；福祉課")
                .encode_utf16()
                .flat_map(u16::to_le_bytes),
        );
        for bytes in [text.as_bytes(), &marked, &wide] {
            let rows = rows(bytes);
            assert_eq!(rows.len(), 2);
            assert_eq!((rows[0].line, rows[0].cell(Column::Label)), (2, "hanako"));
            assert_eq!(rows[0].cell(Column::Name), RARE, "nothing is normalized");
            assert_eq!(rows[0].list(Column::Units).collect::<Vec<_>>(), ["tax", "福祉課"]);
            assert_eq!((rows[1].line, rows[1].cell(Column::Contract)), (4, ""));
        }
    }

    #[test]
    fn lines_are_counted_whatever_ends_them() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["label,name,units", "a,b,c", "", "d,\"e", "f\",g", "h,i,j"].join(end);
            let lines: Vec<u64> = rows(text.as_bytes()).iter().map(|row| row.line).collect();
            assert_eq!(lines, [2, 4, 6], "{end:?}");
        }
    }

    #[test]
    fn shift_jis_is_found_out() {
        let (bytes, _, unmappable) = SHIFT_JIS.encode("識別名,氏名,部署\r\nhanako,髙﨑 花子①,税務課\r\n");
        assert!(!unmappable);
        let rows = rows(&bytes);
        assert_eq!((rows[0].cell(Column::Name), rows[0].cell(Column::Units)), ("髙﨑 花子①", "税務課"));
    }

    #[test]
    fn a_table_beyond_the_limits_is_refused_whole() {
        let mut text = "label,name,units\n".to_owned();
        text.push_str(&"a,b,c\n".repeat(ROWS_LIMIT));
        assert_eq!(rows(text.as_bytes()).len(), ROWS_LIMIT);
        text.push_str("a,b,c\n");
        assert!(matches!(parse(text.as_bytes(), NEEDED), Err(SheetError::TooLong)));
        // What never ends is not read to its end.
        assert!(matches!(read(std::io::repeat(b'a'), NEEDED), Err(SheetError::TooLong)));
    }

    #[test]
    fn what_cannot_be_read_is_refused_whole() {
        for bytes in [&b"\xff\xfe\x00\xd8\x00"[..], b"label,name,units\n\x81", b"\xff\xff\xff"] {
            assert!(matches!(parse(bytes, NEEDED), Err(SheetError::Unreadable)), "{bytes:?}");
        }
        assert!(matches!(parse(b"", NEEDED), Err(SheetError::Without { .. })));
        assert!(matches!(
            parse(b"label,name\na,b\n", NEEDED),
            Err(SheetError::Without { columns: ["units", ..] })
        ));
        assert!(matches!(parse(b"label,name,units,unit\n", NEEDED), Err(SheetError::Twice { .. })));
    }
}
