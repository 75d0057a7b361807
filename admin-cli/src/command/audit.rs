//! `audit`: who opened a file, shredding it, and what auditors take away.

mod evidence;
mod export;
pub(crate) mod order;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use serde::Serialize;
use warifu_api::ErrorCode;
use warifu_api::wire::audit::{AlarmKind, Opening, Openings};
use warifu_envelope::TagStanza;
use warifu_ledger::state::Told;
use warifu_ledger::statement::{Act, Millis};
use warifu_ledger::{Digest, Id};

pub(crate) use evidence::Wanted;
pub(crate) use verify::{evidence, offline};

use super::replace::number;
use super::{already, end_access};
use crate::args::Audit;
use crate::day::iso;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::screen::{List, Screen};

/// How much of a file's id a table shows.
const SHOWN: usize = 12;

pub(super) async fn run(desk: &mut Desk<'_>, command: Audit) -> Result<(), Fault> {
    match command {
        Audit::WhoOpened { files, others } => {
            let asked = files.iter().map(|file| stanzas(file)).collect::<Result<Vec<_>, _>>()?;
            let book = desk.book().await?;
            let known: BTreeSet<Digest> = asked.iter().flat_map(Asked::ids).collect();
            if others {
                count_others(desk, &book, &known).await
            } else {
                who_opened(desk, &book, asked).await
            }
        }
        Audit::Shred { file, watch } => {
            let asked = stanzas(&file)?;
            let book = desk.book().await?;
            shred(desk, &book, &asked, watch).await
        }
        Audit::Export { sheet, first_day, last_day, out } => {
            let book = desk.book().await?;
            if sheet {
                export::sheet(desk, &book, first_day.as_deref(), last_day.as_deref(), &out).await
            } else {
                export::whole(desk, &book, &out).await
            }
        }
        Audit::Status => {
            let book = desk.book().await?;
            status(desk, &book).await
        }
        // It needs no agent, and is run before one is looked for.
        Audit::Verify { .. } => Ok(()),
        Audit::Evidence { member, card_number, about, out, .. } => {
            let wanted = wanted(member, card_number, about.as_deref())?;
            let book = desk.book().await?;
            let collected = export::collected(desk, &book, &out).await?;
            let organization = book.state.organization();
            verify::evidence_in(desk.screen, collected.bytes.as_slice(), &out, organization, &wanted, &out)
        }
    }
}

/// Of whom or what evidence is asked: of exactly one.
///
/// # Errors
/// [`Fault::NotForUnits`], [`Fault::File`] if it is a file, and that is none.
pub(crate) fn wanted(
    member: Option<String>,
    card: Option<String>,
    file: Option<&Path>,
) -> Result<Wanted, Fault> {
    match (member, card, file) {
        (_, _, Some(file)) => {
            let asked = stanzas(file)?;
            Ok(Wanted::File { ids: asked.ids().collect(), path: asked.path })
        }
        (_, Some(card), None) => Ok(Wanted::Card(card)),
        (member, None, None) => Ok(Wanted::Member(member.unwrap_or_default())),
    }
}

/// A file, by the parts of its header that seal its key to units.
struct Asked {
    path: String,
    stanzas: Vec<TagStanza>,
}

impl Asked {
    /// The ids by which journals know it, one for each unit that it is addressed to.
    fn ids(&self) -> impl Iterator<Item = Digest> {
        self.stanzas.iter().map(|stanza| Digest(stanza.file_id()))
    }

    /// The units that it is addressed to, as far as this organization has them.
    fn units(&self, book: &Book) -> Vec<String> {
        let addressed = |key| self.stanzas.iter().any(|stanza| stanza.matches(key));
        let units =
            book.state.units().filter(|(_, unit)| unit.key.as_ref().is_some_and(|(key, _)| addressed(key)));
        units.map(|(id, _)| book.unit_name(id)).collect()
    }
}

/// The file itself is the question: nothing of it is read but its header, and nothing of it leaves this PC but its ids.
fn stanzas(path: &Path) -> Result<Asked, Fault> {
    let file = File::open(path).map_err(|source| crate::file::fault(path, source))?;
    let path = path.display().to_string();
    let header = warifu_envelope::read_header(file).ok();
    let stanzas = header.and_then(|header| header.tag_stanzas().ok()).filter(|stanzas| !stanzas.is_empty());
    match stanzas {
        Some(stanzas) => Ok(Asked { path, stanzas }),
        None => Err(Fault::NotForUnits { path }),
    }
}

async fn openings(desk: &Desk<'_>, book: &Book, id: Digest) -> Result<Vec<Opening>, Fault> {
    let path = format!("/v1/audit/files/{id}");
    Ok(desk.get::<Openings>(Some(book.reader_card), &path).await?.openings)
}

async fn who_opened(desk: &Desk<'_>, book: &Book, asked: Vec<Asked>) -> Result<(), Fault> {
    let columns =
        ["column-file", "column-when", "column-site", "column-name", "column-serial", "column-units"];
    let mut list = List::new(desk.screen, &columns);
    let mut nobody = Vec::new();
    for file in &asked {
        let mut found = 0;
        for id in file.ids() {
            for opening in openings(desk, book, id).await? {
                found += 1;
                let row = OpeningRow::of(book, Some(&file.path), &opening);
                let when = book.zone().instant(row.time);
                list.row(
                    [
                        file.path.clone(),
                        when,
                        row.site.clone(),
                        row.name.clone(),
                        row.card.clone(),
                        row.unit_in_words(desk.screen),
                    ],
                    &row,
                )?;
            }
        }
        if found == 0 {
            nobody.push(&file.path);
        }
    }
    if nobody.len() < asked.len() || desk.screen.is_for_programs() {
        list.show(desk.screen);
    }
    for path in nobody {
        desk.screen.say_with("audit-nobody", &[("path", path.clone())]);
    }
    desk.screen.say_with("zone-note", &[("zone", book.zone().name())]);
    desk.screen.say("audit-what-an-id-proves");
    Ok(())
}

/// How many partials each card got at each site that were for none of the known files.
async fn count_others(desk: &Desk<'_>, book: &Book, known: &BTreeSet<Digest>) -> Result<(), Fault> {
    let mut counts: BTreeMap<(Id, Id), u64> = BTreeMap::new();
    for Opening { site, row, .. } in export::all_openings(desk, book).await? {
        if !known.contains(&row.file) {
            *counts.entry((row.card, site)).or_default() += 1;
        }
    }
    let mut list = List::new(desk.screen, &["column-site", "column-name", "column-serial", "column-answers"]);
    for ((card, site), count) in counts {
        let row = OthersRow::of(book, card, site, count);
        list.row([row.site.clone(), row.name.clone(), row.card.clone(), count.to_string()], &row)?;
    }
    list.show(desk.screen);
    desk.screen.say("audit-what-others-are");
    Ok(())
}

/// Partials for files that were not shown, for programs and tables.
#[derive(Serialize)]
struct OthersRow {
    site: String,
    name: String,
    /// The card's number; its id where the card has not proved one.
    card: String,
    answers: u64,
}

impl OthersRow {
    fn of(book: &Book, card: Id, site: Id, answers: u64) -> Self {
        let found = book.state.card(&card);
        Self {
            site: book.site_name(&site),
            name: found.map_or_else(|| card.to_string(), |found| book.member_name(&found.card.member)),
            card: found.map_or_else(|| card.to_string(), |found| number(&card, found)),
            answers,
        }
    }
}

/// One partial, for programs and tables.
#[derive(Serialize)]
struct OpeningRow {
    /// The file that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    time: Millis,
    time_iso: Option<String>,
    site: String,
    member: Id,
    name: String,
    /// The card's number; its id where the card has not proved one.
    card: String,
    /// The unit whose grant was used.
    unit: String,
    /// `opened`, `routed` or `opened-by-slip`.
    what: &'static str,
    /// Where it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    routed_to: Option<String>,
    /// Who sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    routed_from: Option<String>,
    /// SHA-256 of `x(R)`.
    file: Digest,
}

impl OpeningRow {
    fn of(book: &Book, path: Option<&str>, Opening { site, row, .. }: &Opening) -> Self {
        let card = book.state.card(&row.card);
        let (unit, told) = book.state.told_by(row);
        let (what, routed_to, routed_from) = match told {
            Told::Routed { to } => ("routed", Some(book.unit_name(&to)), None),
            Told::OpenedBySlip { from } => ("opened-by-slip", None, Some(book.unit_name(&from))),
            _ => ("opened", None, None),
        };
        Self {
            path: path.map(str::to_owned),
            time: row.time,
            time_iso: iso(row.time),
            site: book.site_name(site),
            member: row.member,
            name: book.member_name(&row.member),
            card: card.map_or_else(|| row.card.to_string(), |card| number(&row.card, card)),
            unit: book.unit_name(&unit),
            what,
            routed_to,
            routed_from,
            file: row.file,
        }
    }

    /// The unit, in words that say whether the file was opened or sent on.
    fn unit_in_words(&self, screen: &Screen) -> String {
        let of =
            |key, other: &String| screen.text(key, &[("unit", self.unit.clone()), ("other", other.clone())]);
        match (&self.routed_to, &self.routed_from) {
            (Some(to), _) => of("audit-routed", to),
            (None, Some(from)) => of("audit-opened-by-slip", from),
            (None, None) => self.unit.clone(),
        }
    }
}

async fn shred(desk: &mut Desk<'_>, book: &Book, asked: &Asked, watch: bool) -> Result<(), Fault> {
    let left: Vec<Digest> = asked.ids().filter(|id| !book.state.is_shredded(id)).collect();
    if left.is_empty() {
        return already(desk, "audit-shredded-already", asked.path.clone());
    }
    let mut found = Some(0);
    for id in &left {
        match openings(desk, book, *id).await {
            Ok(openings) => found = found.map(|found| found + openings.len()),
            // An administrator's card reads the ledger here; the officers' cards sign.
            Err(fault) if fault.code() == Some(ErrorCode::Forbidden) => found = None,
            Err(fault) => return Err(fault),
        }
    }
    let units = asked.units(book).join(desk.screen.separator());
    let ids: Vec<String> = left.iter().map(|id| id.to_string().chars().take(SHOWN).collect()).collect();
    let values = [
        ("path", asked.path.clone()),
        ("units", units),
        ("ids", ids.join(desk.screen.separator())),
        ("count", found.map_or_else(|| "?".to_owned(), |found| found.to_string())),
    ];
    desk.screen.say_with("audit-shred-found", &values);
    let acts = left.into_iter().map(|file| Act::FileShredded { file }).collect();
    end_access(desk, book, acts, Vec::new(), watch).await
}

/// How far each journal is, and what was found wrong.
async fn status(desk: &Desk<'_>, book: &Book) -> Result<(), Fault> {
    let (journals, alarms) = (desk.journals(book).await?, desk.journal_alarms(book).await?);
    let columns = ["column-site", "column-rows", "column-committed", "column-when", "column-state"];
    let mut list = List::new(desk.screen, &columns);
    for journal in &journals {
        let (site, id) = (journal.site, journal.head.journal);
        let of_site = alarms.iter().filter(|alarm| (alarm.site, alarm.journal) == (site, id));
        let alarm = of_site.min_by_key(|alarm| alarm.kind);
        let committed = book.state.journals(&site).and_then(|all| {
            if all.current == id { Some(all.head.size) } else { all.former.get(&id).map(|end| end.size) }
        });
        let row = JournalRow {
            site: book.site_name(&site),
            journal: id,
            rows: journal.head.size,
            committed: committed.unwrap_or_default(),
            received_at: journal.received_at,
            alarm: alarm.map(|alarm| alarm.kind.name()),
            row: alarm.map(|alarm| alarm.row),
        };
        let state = match alarm.map(|alarm| alarm.kind) {
            None => desk.screen.text("audit-journal-whole", &[]),
            Some(kind) => {
                let at = row.row.unwrap_or_default().to_string();
                desk.screen.text(alarm_key(kind), &[("row", at)])
            }
        };
        let cells = [
            row.site.clone(),
            row.rows.to_string(),
            row.committed.to_string(),
            book.zone().instant(row.received_at),
            state,
        ];
        list.row(cells, &row)?;
    }
    list.show(desk.screen);
    desk.screen.say_with("zone-note", &[("zone", book.zone().name())]);
    Ok(())
}

fn alarm_key(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::Broken => "audit-journal-broken",
        AlarmKind::GivenUp => "audit-journal-given-up",
    }
}

/// A journal, for programs.
#[derive(Serialize)]
struct JournalRow {
    site: String,
    journal: Id,
    rows: u64,
    /// How many of them are under a head in the ledger.
    committed: u64,
    received_at: Millis,
    /// `broken` or `given-up`.
    alarm: Option<&'static str>,
    /// The row of the alarm.
    row: Option<u64>,
}
