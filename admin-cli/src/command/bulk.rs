//! `member enroll-all` and `member move`: many people by one signature, from a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use serde::Serialize;
use serde_json::json;
use warifu_admin_cli::sheet::{self, Column, Row};
use warifu_ledger::register::{Name, Record};
use warifu_ledger::state::GRANTS_PER_CARD;
use warifu_ledger::statement::{Act, Millis, Right, UnitKind};
use warifu_ledger::{Digest, Id};
use warifu_texts::Message;

use crate::day;
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::screen::List;

/// How large the acts of one order may be, in bytes of JSON: with records, and in base64, it then fits into one request.
const ORDER_BYTES: usize = 3 << 20;
/// How many rows a preview shows.
const FIRST_ROWS: usize = 5;

/// What becomes of one row.
enum Fate {
    /// Something is wrong with it.
    Bad(Message),
    /// It is so already.
    Already,
    /// To be ordered: these acts, with this record.
    Ordered(Vec<Act>, Option<Record>),
}

struct Planned {
    line: u64,
    label: String,
    name: String,
    units: Vec<String>,
    fate: Fate,
}

/// A row's fate, for programs and for the report.
#[derive(Serialize)]
struct RowOutcome {
    line: u64,
    label: String,
    name: String,
    /// `ordered`, `planned` (what would be ordered, and is not), `already` or `bad`.
    fate: &'static str,
    /// What is wrong with it, in the language asked for.
    why: Option<String>,
}

/// The rows of a table that has these columns.
fn rows(file: &Path, needed: &[Column]) -> Result<Vec<Row>, Fault> {
    let path = || file.display().to_string();
    let opened = File::open(file).map_err(|source| Fault::File { path: path(), source })?;
    sheet::read(opened, needed).map_err(|source| Fault::Sheet { path: path(), source })
}

/// Enrols everybody in the table who is not enrolled yet.
pub(super) async fn enroll(
    desk: &mut Desk<'_>,
    file: &Path,
    skip_bad: bool,
    report: Option<&Path>,
) -> Result<(), Fault> {
    let rows = rows(file, &[Column::Label, Column::Name, Column::Units])?;
    let book = desk.book().await?;
    let lookup = Lookup::of(&book);
    let mut seen = BTreeMap::new();
    let planned = rows.iter().map(|row| lookup.enrolled(row, &mut seen)).collect();
    order(desk, &book, planned, skip_bad, report, "bulk-enroll-preview").await
}

/// Places everybody in the table where it says, from `from` on: what they have elsewhere ends at that instant, what they get
/// begins with it.
pub(super) async fn relocate(
    desk: &mut Desk<'_>,
    file: &Path,
    from: &str,
    skip_bad: bool,
    report: Option<&Path>,
) -> Result<(), Fault> {
    let rows = rows(file, &[Column::Label, Column::Units])?;
    let book = desk.book().await?;
    let from = day::first_day(&book.zone(), from, book.at)?;
    let lookup = Lookup::of(&book);
    let mut seen = BTreeMap::new();
    let planned = rows.iter().map(|row| lookup.moved(row, from, &mut seen)).collect();
    order(desk, &book, planned, skip_bad, report, "bulk-move-preview").await
}

/// Shows what was planned, has it signed, and reports every row's fate: also where nothing is ordered in the end.
async fn order(
    desk: &mut Desk<'_>,
    book: &Book,
    planned: Vec<Planned>,
    skip_bad: bool,
    report: Option<&Path>,
    preview: &'static str,
) -> Result<(), Fault> {
    let mut outcomes: Vec<RowOutcome> = planned.iter().map(|row| outcome(desk, row)).collect();
    // Before anybody signs, it is known that it can be written.
    if let Some(path) = report {
        write_report(path, &outcomes)?;
    }
    let done = carry_out(desk, book, planned, &mut outcomes, skip_bad, preview).await;
    // What went in before a later order was refused has gone in.
    let written =
        report.filter(|_| count(&outcomes, "ordered") > 0).map(|path| write_report(path, &outcomes));
    let appended = done?;
    desk.screen.result(&json!({ "orders": appended, "rows": outcomes }), || {
        let counts = ["ordered", "already", "bad"].map(|fate| (fate, count(&outcomes, fate).to_string()));
        desk.screen.text("bulk-done", &counts)
    });
    written.unwrap_or(Ok(()))
}

fn count(outcomes: &[RowOutcome], fate: &str) -> usize {
    outcomes.iter().filter(|row| row.fate == fate).count()
}

/// Has what was planned signed and appended; what has gone in is said of its rows.
async fn carry_out(
    desk: &mut Desk<'_>,
    book: &Book,
    planned: Vec<Planned>,
    outcomes: &mut [RowOutcome],
    skip_bad: bool,
    preview: &'static str,
) -> Result<Vec<Digest>, Fault> {
    let bad = count(outcomes, "bad");
    for row in outcomes.iter().filter(|row| row.fate == "bad") {
        let why = row.why.clone().unwrap_or_default();
        desk.screen.warn("bulk-bad-row", &[("line", row.line.to_string()), ("why", why)]);
    }
    if bad > 0 && !skip_bad {
        return Err(Fault::SheetBad { rows: bad });
    }
    show(desk, &planned, preview, count(outcomes, "already"));
    let orders = batches(planned)?;
    let mut appended: Vec<Digest> = Vec::new();
    if !orders.is_empty() {
        if orders.len() > 1 {
            desk.screen.say_with("bulk-several-orders", &[("count", orders.len().to_string())]);
        }
        desk.screen.agree()?;
    }
    // People first: nobody is asked for a PIN beside a bar.
    let mut signed = Vec::new();
    for Batch { rows, acts, records } in orders {
        signed.push((rows, desk.signed(book, acts, records).await?));
    }
    let size = |rows: &BTreeSet<u64>| u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let bar = desk.screen.progress("bulk-ordering", signed.iter().map(|(rows, _)| size(rows)).sum());
    for (rows, request) in signed {
        appended.push(desk.submit(book, &request).await?.digest);
        outcomes.iter_mut().filter(|row| rows.contains(&row.line)).for_each(|row| row.fate = "ordered");
        bar.inc(size(&rows));
    }
    bar.finish_and_clear();
    Ok(appended)
}

/// What one order holds, with the records that it commits to.
#[derive(Default)]
struct Batch {
    /// The lines of the table that it is for.
    rows: BTreeSet<u64>,
    acts: Vec<Act>,
    records: Vec<Record>,
}

/// The acts of all rows, one order if they fit into one; a row's acts stay together.
fn batches(planned: Vec<Planned>) -> Result<Vec<Batch>, Fault> {
    let mut orders: Vec<Batch> = Vec::new();
    let mut room = 0;
    for row in planned {
        let Fate::Ordered(acts, record) = row.fate else { continue };
        let size = serde_json::to_vec(&acts).map_err(Fault::Json)?.len();
        if size > room {
            orders.push(Batch::default());
            room = ORDER_BYTES;
        }
        room = room.saturating_sub(size);
        if let Some(batch) = orders.last_mut() {
            batch.rows.insert(row.line);
            batch.acts.extend(acts);
            batch.records.extend(record);
        }
    }
    Ok(orders)
}

/// How many people by unit, and the first rows.
fn show(desk: &Desk<'_>, planned: &[Planned], preview: &'static str, already: usize) {
    let ordered: Vec<&Planned> = planned.iter().filter(|row| matches!(row.fate, Fate::Ordered(..))).collect();
    let counts = [("ordered", ordered.len().to_string()), ("already", already.to_string())];
    desk.screen.say_with(preview, &counts);
    if ordered.is_empty() || desk.screen.is_for_programs() {
        return;
    }
    let mut by_unit: BTreeMap<&str, usize> = BTreeMap::new();
    for unit in ordered.iter().flat_map(|row| &row.units) {
        *by_unit.entry(unit).or_default() += 1;
    }
    let mut counts = List::new(desk.screen, &["column-units", "column-people"]);
    for (unit, count) in by_unit {
        let _ = counts.row([unit.to_owned(), count.to_string()], &json!(null));
    }
    counts.show(desk.screen);
    let mut first = List::new(desk.screen, &["column-line", "column-label", "column-name", "column-units"]);
    for row in ordered.iter().take(FIRST_ROWS) {
        let units = row.units.join(desk.screen.separator());
        let _ = first.row([row.line.to_string(), row.label.clone(), row.name.clone(), units], &json!(null));
    }
    first.show(desk.screen);
    if let Some(more) = ordered.len().checked_sub(FIRST_ROWS).filter(|more| *more > 0) {
        desk.screen.say_with("bulk-more-rows", &[("more", more.to_string())]);
    }
}

fn outcome(desk: &Desk<'_>, row: &Planned) -> RowOutcome {
    let (fate, why) = match &row.fate {
        Fate::Bad(why) => ("bad", Some(desk.screen.message(why))),
        Fate::Already => ("already", None),
        Fate::Ordered(..) => ("planned", None),
    };
    RowOutcome { line: row.line, label: row.label.clone(), name: row.name.clone(), fate, why }
}

/// Every row's fate as a table that spreadsheets open.
fn write_report(path: &Path, outcomes: &[RowOutcome]) -> Result<(), Fault> {
    let file = |source| Fault::File { path: path.display().to_string(), source };
    let odd = |error: csv::Error| file(error.into());
    // Without the mark, Excel takes UTF-8 for Shift_JIS.
    let mut writer = csv::Writer::from_writer("\u{feff}".as_bytes().to_vec());
    for row in outcomes {
        writer.serialize(row).map_err(odd)?;
    }
    let bytes = writer.into_inner().map_err(|error| file(error.error().kind().into()))?;
    std::fs::write(path, bytes).map_err(file)
}

/// What labels and names in a table mean.
struct Lookup<'a> {
    book: &'a Book,
    units: BTreeMap<String, Option<Id>>,
    members: BTreeMap<String, Option<Id>>,
}

impl<'a> Lookup<'a> {
    fn of(book: &'a Book) -> Self {
        let (mut units, mut members) = (BTreeMap::new(), BTreeMap::new());
        // What two have is nobody's.
        let add = |all: &mut BTreeMap<String, Option<Id>>, key: String, id: Id| {
            all.entry(key)
                .and_modify(|found| *found = found.filter(|found| *found == id))
                .or_insert(Some(id));
        };
        for (id, unit) in book.state.units().filter(|(id, _)| !book.state.unit_is_closed(id, book.now())) {
            add(&mut units, book.label(&unit.name), *id);
            add(&mut units, book.name(&unit.name), *id);
        }
        for (id, member) in book.state.members() {
            add(&mut members, book.label(&member.name.record), *id);
        }
        Self { book, units, members }
    }

    fn enrolled<'r>(&self, row: &'r Row, seen: &mut BTreeMap<&'r str, u64>) -> Planned {
        let (label, name) = (row.cell(Column::Label), row.cell(Column::Name));
        self.planned(row, || {
            let name = Name::new(label, name).map_err(|_| Message::new("row-not-a-name"))?;
            once(row, seen)?;
            let units = self.units(row)?;
            let contract = match row.cell(Column::Contract) {
                "" => None,
                label => Some(self.contract(label)?),
            };
            let Some(known) = self.members.get(label) else {
                let record = Record::draw(&mut rng(), name.to_text());
                let member = Id::draw(&mut rng());
                let act = Act::MemberEnrolled { member, name: record.commitment(), contract, units };
                return Ok(Fate::Ordered(vec![act], Some(record)));
            };
            // The same file again, or one that overlaps with it, enrols only whom the first did not.
            let same = known.is_some_and(|member| self.is(&member, &name, contract, &units));
            if same { Ok(Fate::Already) } else { Err(Message::new("row-label-taken").with("label", label)) }
        })
    }

    fn moved<'r>(&self, row: &'r Row, from: Millis, seen: &mut BTreeMap<&'r str, u64>) -> Planned {
        let label = row.cell(Column::Label);
        self.planned(row, || {
            once(row, seen)?;
            let unknown = || Message::new("row-unknown-member").with("label", label);
            let member = self.members.get(label).copied().flatten().ok_or_else(unknown)?;
            let state = &self.book.state;
            if state.member_is_over(&member, from) {
                return Err(Message::new("row-member-over").with("label", label));
            }
            let units = self.units(row)?;
            let mut acts = Vec::new();
            if state.units_of_member(&member, from) != units {
                acts.push(Act::MemberPlaced { member, units: units.clone(), effective_at: Some(from) });
            }
            for (card, found) in state.cards_of_member(member) {
                if found.status == warifu_ledger::state::CardStatus::Live {
                    acts.extend(self.regranted(card, &units, from, label)?);
                }
            }
            Ok(if acts.is_empty() { Fate::Already } else { Fate::Ordered(acts, None) })
        })
    }

    /// What one card loses and gets.
    fn regranted(
        &self,
        card: Id,
        units: &BTreeSet<Id>,
        from: Millis,
        label: &str,
    ) -> Result<Vec<Act>, Message> {
        let state = &self.book.state;
        let alive: Vec<(Id, Id)> = state
            .grants_of_card(card)
            .filter(|(id, _)| state.live_grant(id, from).is_ok())
            .map(|(id, grant)| (id, grant.unit))
            .collect();
        let has: BTreeSet<Id> = alive.iter().map(|(_, unit)| *unit).collect();
        let mut acts: Vec<Act> = alive
            .iter()
            // Wherever somebody works, what is sent to the person reaches the person.
            .filter(|(_, unit)| !units.contains(unit) && !self.is_a_person(unit))
            .map(|(grant, _)| Act::GrantRevoked { grant: *grant, effective_at: Some(from), reason: None })
            .collect();
        // Until then the card holds what it has as well.
        let now = state.grants_of_card(card).filter(|(id, _)| state.live_grant(id, self.book.now()).is_ok());
        if now.count() + units.difference(&has).count() > GRANTS_PER_CARD {
            return Err(Message::new("row-card-full").with("label", label));
        }
        for unit in units.difference(&has) {
            let front_desk = state.unit(unit).is_some_and(|unit| unit.kind == UnitKind::FrontDesk);
            acts.push(Act::GrantOrdered {
                grant: Id::draw(&mut rng()),
                card,
                unit: *unit,
                right: if front_desk { Right::Route } else { Right::Open },
                custody: self.book.custody_elsewhere(&card, unit),
                starts_at: Some(from),
                expires_at: None,
            });
        }
        Ok(acts)
    }

    fn planned(&self, row: &Row, fate: impl FnOnce() -> Result<Fate, Message>) -> Planned {
        let label = row.cell(Column::Label).to_owned();
        let known = self.members.get(&label).copied().flatten();
        let known =
            known.and_then(|member| Some(self.book.name(&self.book.state.member(&member)?.name.record)));
        let told = row.cell(Column::Name).to_owned();
        let name = if told.is_empty() { known.unwrap_or_default() } else { told };
        let units = row.list(Column::Units).map(str::to_owned).collect();
        Planned { line: row.line, label, name, units, fate: fate().unwrap_or_else(Fate::Bad) }
    }

    fn units(&self, row: &Row) -> Result<BTreeSet<Id>, Message> {
        let mut units = BTreeSet::new();
        for told in row.list(Column::Units) {
            let unknown = || Message::new("row-unknown-unit").with("unit", told);
            units.insert(self.units.get(told).copied().flatten().ok_or_else(unknown)?);
        }
        if units.is_empty() {
            return Err(Message::new("row-no-unit"));
        }
        if units.len() > GRANTS_PER_CARD {
            return Err(Message::new("row-card-full").with("label", row.cell(Column::Label)));
        }
        Ok(units)
    }

    fn contract(&self, label: &str) -> Result<Id, Message> {
        let unknown = || Message::new("row-unknown-contract").with("contract", label);
        let contract = self.book.contract(label).map_err(|_| unknown())?;
        if self.book.state.contract_is_over(&contract, self.book.now()) {
            return Err(Message::new("row-contract-over").with("contract", label));
        }
        Ok(contract)
    }

    /// Where a member works: what a card opens says so where nobody else has, as for who was enrolled with it.
    fn placed(&self, member: &Id, at: Millis) -> BTreeSet<Id> {
        let state = &self.book.state;
        let placed = state.units_of_member(member, at);
        if !placed.is_empty() {
            return placed;
        }
        let grants = state.cards_of_member(*member).flat_map(|(card, _)| state.grants_of_card(card));
        let begun = grants.filter(|(id, grant)| {
            grant.starts_at.is_none_or(|start| start <= at)
                && state.live_grant(id, at).is_ok()
                && !self.is_a_person(&grant.unit)
        });
        begun.map(|(_, grant)| grant.unit).collect()
    }

    fn is_a_person(&self, unit: &Id) -> bool {
        self.book.state.unit(unit).is_some_and(|unit| unit.kind == UnitKind::Person)
    }

    /// Whether this member is just as the row says.
    fn is(&self, member: &Id, name: &Name, contract: Option<Id>, units: &BTreeSet<Id>) -> bool {
        let at = self.book.now();
        !self.book.state.member_is_over(member, at)
            && self.placed(member, at) == *units
            && self.book.state.member(member).is_some_and(|found| {
                found.contract == contract && self.book.names.get(&found.name.record) == Some(name)
            })
    }
}

/// One person has one row.
fn once<'r>(row: &'r Row, seen: &mut BTreeMap<&'r str, u64>) -> Result<(), Message> {
    let label = row.cell(Column::Label);
    if let Some(first) = seen.get(label) {
        return Err(Message::new("row-twice").with("label", label).with("first", first));
    }
    seen.insert(label, row.line);
    Ok(())
}
