//! Tables that a town hall's own systems write.

use warifu_admin_cli::sheet::{Column, ROWS_LIMIT, Row, parse};
use warifu_ledger::register::Name;

const NEEDED: &[Column] = &[Column::Label, Column::Units];

/// The rows, or in words why there are none.
fn rows(data: &[u8]) -> Result<Vec<Row>, String> {
    parse(data, NEEDED).map_err(|error| error.to_string())
}

/// A table says the same in every encoding of Unicode; its rows come in the order of their lines, and no item of a list is
/// blank or two.
pub(crate) fn table(data: &[u8]) -> bool {
    let read = rows(data);
    if let Ok(text) = std::str::from_utf8(data)
        && !text.starts_with('\u{feff}')
    {
        let mut wide = vec![0xff, 0xfe];
        wide.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        for other in [["\u{feff}".as_bytes(), data].concat(), wide] {
            assert_eq!(rows(&other), read);
        }
    }
    let Ok(rows) = read else { return false };
    assert!(rows.len() <= ROWS_LIMIT);
    let mut before = 1;
    for row in &rows {
        assert!(row.line > before, "line {} after {before}", row.line);
        before = row.line;
        let _ = Name::new(row.cell(Column::Label), row.cell(Column::Name));
        for item in row.list(Column::Units) {
            assert!(!item.is_empty() && item == item.trim() && !item.contains([',', ';', '、', '\n']));
        }
    }
    let lines = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64;
    assert!(before <= lines + 1);
    !rows.is_empty()
}

pub(crate) fn table_seeds() -> Vec<Vec<u8>> {
    let text = "識別名,氏名,部署,契約\r\nhanako,𠮷田 葛\u{e0100},\"tax、福祉課\",\r\n\r\ntaro,\"山田\n太郎\",tax,acme\r\n";
    // 識別名,部署 and 髙 in Shift_JIS as Windows writes it.
    let shift_jis = b"\x8e\xaf\x95\xca\x96\xbc,\x95\x94\x8f\x90\r\n\xfb\xfc,tax\r\n";
    let mut wide = vec![0xfe, 0xff];
    wide.extend(text.replace(',', "\t").encode_utf16().flat_map(u16::to_be_bytes));
    vec![
        text.as_bytes().to_vec(),
        ["\u{feff}", text].concat().into_bytes(),
        wide,
        shift_jis.to_vec(),
        b"label,units,unit\na,b,c\n".to_vec(),
        b"label;units\na;b\n".to_vec(),
        b"units,label\n\"\n\"\"a,\",b\n".to_vec(),
    ]
}
