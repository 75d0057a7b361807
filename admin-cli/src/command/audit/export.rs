//! What auditors take away: a table for a spreadsheet, or everything, to be verified elsewhere.

use std::path::Path;

use serde_json::json;
use warifu_api::wire::audit::{KeptReceipts, Opening, Rows};
use warifu_api::wire::authority::Records;
use warifu_audit::{Header, JournalRow, Line, VERSION, write_line};
use warifu_envelope::Overwrite;
use warifu_ledger::journal::{Row, SignedHead};
use warifu_ledger::statement::Millis;

use super::OpeningRow;
use crate::day;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::file;

/// By this, spreadsheets know UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Writes one row for each partial, in the organization's time and words.
pub(super) async fn sheet(
    desk: &Desk<'_>,
    book: &Book,
    first_day: Option<&str>,
    last_day: Option<&str>,
    out: &Path,
) -> Result<(), Fault> {
    let from = first_day.map(|day| day::begins(&book.zone(), day)).transpose()?.unwrap_or_default();
    let until = last_day.map(|day| day::ends(&book.zone(), day)).transpose()?.unwrap_or(Millis::MAX);
    let mut openings = all_openings(desk, book).await?;
    openings.retain(|opening| (from..until).contains(&opening.row.time));
    openings.sort_by_key(|opening| opening.row.time);
    let mut bytes = BYTE_ORDER_MARK.to_vec();
    let mut table = csv::Writer::from_writer(&mut bytes);
    let unwritten = |error: csv::Error| file::fault(out, std::io::Error::other(error));
    let titles =
        ["column-when", "column-site", "column-name", "column-serial", "column-units", "column-file"];
    table.write_record(titles.map(|key| desk.screen.text(key, &[]))).map_err(unwritten)?;
    for opening in &openings {
        let row = OpeningRow::of(book, None, opening);
        let unit = row.unit_in_words(desk.screen);
        let OpeningRow { time, site, name, card, file, .. } = row;
        let cells = [book.zone().instant(time), site, name, card, unit, file.to_string()];
        table.write_record(cells.map(plain)).map_err(unwritten)?;
    }
    table.flush().map_err(|source| file::fault(out, source))?;
    drop(table);
    file::write(out, Overwrite::Refuse, &bytes)?;
    let (rows, path) = (openings.len(), out.display().to_string());
    desk.screen.result(&json!({ "file": path, "rows": rows }), || {
        desk.screen.text("audit-sheet-written", &[("path", path.clone()), ("rows", rows.to_string())])
    });
    Ok(())
}

/// A cell that no spreadsheet takes for a formula.
fn plain(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}

/// Writes the ledger under a checkpoint of kms and ca, the receipts, the journals and the register's names.
pub(super) async fn whole(desk: &Desk<'_>, book: &Book, out: &Path) -> Result<(), Fault> {
    let Collected { bytes, leaves, rows } = collected(desk, book, out).await?;
    file::write(out, Overwrite::Refuse, &bytes)?;
    let (path, organization) = (out.display().to_string(), book.state.organization());
    let json = json!({ "file": path, "organization": organization, "leaves": leaves, "rows": rows });
    desk.screen.result(&json, || {
        let values = [
            ("path", path.clone()),
            ("leaves", leaves.to_string()),
            ("rows", rows.to_string()),
            ("hash", organization.to_string()),
        ];
        desk.screen.text("audit-file-written", &values)
    });
    Ok(())
}

/// An audit file that is not written yet.
pub(super) struct Collected {
    pub(super) bytes: Vec<u8>,
    leaves: usize,
    rows: usize,
}

/// Asks for all that an audit file has. `out` names what could not be written.
pub(super) async fn collected(desk: &Desk<'_>, book: &Book, out: &Path) -> Result<Collected, Fault> {
    let reader = Some(book.reader_card);
    // The ledger first: what it has of the journals, the kms has as well.
    let (leaves, checkpoint) = desk.cosigned_ledger(book).await?;
    let heads = heads(desk, book).await?;
    let unwritten = |source| file::fault(out, source);
    let mut bytes = Vec::new();
    let mut count = 0;
    let organization = book.state.organization();
    let header = Header { version: VERSION, organization, checkpoint, order: None };
    write_line(&mut bytes, &header).map_err(unwritten)?;
    let leaves_written = leaves.len();
    for leaf in leaves {
        write_line(&mut bytes, &Line::Leaf(leaf)).map_err(unwritten)?;
    }
    let mut from = 0;
    loop {
        let kept: KeptReceipts = desk.get(reader, &format!("/v1/audit/receipts?from={from}")).await?;
        for receipt in kept.receipts {
            write_line(&mut bytes, &Line::Receipt(receipt)).map_err(unwritten)?;
        }
        match kept.next {
            Some(next) if next > from => from = next,
            _ => break,
        }
    }
    for head in heads {
        let (site, journal) = (head.site, head.journal);
        let of = SignedHeadOf { site, journal, size: head.size };
        write_line(&mut bytes, &Line::Head(head)).map_err(unwritten)?;
        for row in rows(desk, book, &of).await? {
            count += 1;
            write_line(&mut bytes, &Line::Row(JournalRow { site, journal, row })).map_err(unwritten)?;
        }
    }
    for record in desk.get::<Records>(reader, "/v1/register").await?.records {
        // Reasons, and what the ledger does not bear out, stay here.
        if book.names.contains_key(&record.id) {
            write_line(&mut bytes, &Line::Record(record)).map_err(unwritten)?;
        }
    }
    Ok(Collected { bytes, leaves: leaves_written, rows: count })
}

/// Every partial that the kms knows of, by site and journal.
pub(super) async fn all_openings(desk: &Desk<'_>, book: &Book) -> Result<Vec<Opening>, Fault> {
    let mut openings = Vec::new();
    for SignedHead { site, journal, size, .. } in heads(desk, book).await? {
        let rows = rows(desk, book, &SignedHeadOf { site, journal, size }).await?;
        openings.extend(rows.into_iter().map(|row| Opening { site, journal, row }));
    }
    Ok(openings)
}

async fn heads(desk: &Desk<'_>, book: &Book) -> Result<Vec<SignedHead>, Fault> {
    Ok(desk.journals(book).await?.into_iter().map(|journal| journal.head).collect())
}

/// Which journal, and how much of it.
struct SignedHeadOf {
    site: warifu_ledger::Id,
    journal: warifu_ledger::Id,
    size: u64,
}

async fn rows(desk: &Desk<'_>, book: &Book, of: &SignedHeadOf) -> Result<Vec<Row>, Fault> {
    let SignedHeadOf { site, journal, size } = of;
    let mut rows: Vec<Row> = Vec::new();
    while (rows.len() as u64) < *size {
        let path = format!("/v1/audit/journals/{site}/{journal}?from={}", rows.len());
        let part: Rows = desk.get(Some(book.reader_card), &path).await?;
        if part.rows.is_empty() {
            break;
        }
        rows.extend(part.rows);
    }
    rows.truncate(usize::try_from(*size).unwrap_or(usize::MAX));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_formula() {
        for name in ["=1+1", "+81", "-x", "@sum", "\tx"] {
            assert_eq!(plain(name.to_owned()), format!("'{name}"));
        }
        assert_eq!(plain("信濃 花子".to_owned()), "信濃 花子");
    }
}
