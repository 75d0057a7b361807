//! Evidence of one order that ended access: a file that `audit verify` checks anywhere, and beside it the same in words, to be
//! printed and signed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use warifu_api::wire::authority::Records;
use warifu_audit::{Header, Line, OrderReport, Pinned, Report, Subject, VERSION, verify, write_line};
use warifu_envelope::Overwrite;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::register::Name;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, Order, Receipt};
use warifu_ledger::{Digest, Id};

use crate::day::iso;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::file;
use crate::preview::Preview;
use crate::register::Commitments;
use crate::screen::Screen;

/// Where the words stand.
fn printed(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".txt");
    name.into()
}

/// That nothing is where evidence is to be written.
///
/// # Errors
/// [`Fault::File`].
pub(crate) fn check_place(out: &Path) -> Result<(), Fault> {
    for path in [out, &printed(out)] {
        if path.exists() {
            return Err(file::fault(path, io::ErrorKind::AlreadyExists.into()));
        }
    }
    Ok(())
}

/// What there is of an order once it was sent.
pub(crate) struct Sent<'a> {
    /// The order, as people signed it.
    pub(crate) envelope: &'a Envelope,
    /// The receipts that came.
    pub(crate) receipts: BTreeMap<Id, Envelope>,
}

/// Writes the ledger with the order in it, under a checkpoint of kms and ca, and the receipts.
///
/// # Errors
/// [`Fault::NotCosigned`] while the ca has not signed a checkpoint with the order; [`Fault::AuditUnsound`] if what the services
/// gave is not as it was signed.
pub(crate) async fn write(desk: &Desk<'_>, book: &Book, sent: Sent<'_>, out: &Path) -> Result<(), Fault> {
    let (leaves, checkpoint) = desk.cosigned_ledger(book).await?;
    let organization = book.state.organization();
    let confirmed = sent.receipts.keys().copied().collect();
    let order = Some(Subject { order: sent.envelope.digest(), confirmed });
    let records = desk.get::<Records>(Some(book.reader_card), "/v1/register").await?.records;
    let named = concerned(&book.state, sent.envelope);
    let records = records.into_iter().filter(|record| named.contains(&record.id)).map(Line::Record);
    let receipts = sent.receipts.into_values().map(Line::Receipt);
    let mut bytes = Vec::new();
    let unwritten = |source| file::fault(out, source);
    write_line(&mut bytes, &Header { version: VERSION, organization, checkpoint, order })
        .map_err(unwritten)?;
    for line in leaves.into_iter().map(Line::Leaf).chain(receipts).chain(records) {
        write_line(&mut bytes, &line).map_err(unwritten)?;
    }
    // As whoever gets it will: nothing is written that would not stand.
    let mut commitments = Commitments::default();
    let mut report =
        verify(bytes.as_slice(), &Pinned { organization, earlier: None }, |leaf| commitments.note(leaf))
            .map_err(|source| Fault::NotAuditFile { path: out.display().to_string(), source })?;
    let names = commitments.names(std::mem::take(&mut report.records)).by_record;
    let count = report.findings.len();
    let Some(account) = Account::of(&report, names) else { return Err(Fault::AuditUnsound { count }) };
    file::write(out, Overwrite::Refuse, &bytes)?;
    let mut text = account.lines(desk.screen).join("\n");
    text.push('\n');
    file::write(&printed(out), Overwrite::Refuse, text.as_bytes())?;
    let values = [
        ("path", out.display().to_string()),
        ("printed", printed(out).display().to_string()),
        ("hash", organization.to_string()),
    ];
    desk.screen.say_with("evidence-written", &values);
    Ok(())
}

/// The people whose cards have signed.
pub(super) fn signers(state: &State, envelope: &Envelope) -> BTreeSet<Id> {
    let signed = |key: &Digest| envelope.signatures.iter().any(|signature| signature.keyid == *key);
    let cards = state.cards().filter(|(_, card)| signed(&card.card.signature.key_id()));
    cards.map(|(_, card)| card.card.member).collect()
}

/// The records that name whom and what an order is about, its signers, and the sites: those of others stay where they are.
fn concerned(state: &State, envelope: &Envelope) -> BTreeSet<Id> {
    let member = |id: &Id| state.member(id).map(|member| member.name.record);
    let holder = |card: &Id| member(&state.card(card)?.card.member);
    let unit = |id: &Id| state.unit(id).map(|unit| unit.name);
    let acts = envelope.statement::<Order>().map(|order| order.acts).unwrap_or_default();
    let about = acts.iter().flat_map(|act| match act {
        Act::MemberRevoked { member: id, .. } => vec![member(id)],
        Act::ContractEnded { contract, .. } => vec![state.contract(contract).map(|found| found.name)],
        Act::CardRevoked { card, .. } | Act::CardSuspended { card } | Act::CardResumed { card } => {
            vec![holder(card)]
        }
        Act::GrantRevoked { grant, .. } => {
            let grant = state.grant(grant);
            vec![grant.and_then(|grant| holder(&grant.card)), grant.and_then(|grant| unit(&grant.unit))]
        }
        Act::GrantOrdered { card, unit: id, .. } => vec![holder(card), unit(id)],
        other => vec![other.name().map(|name| name.record)],
    });
    let signers = signers(state, envelope);
    let sites = state.sites().map(|(_, site)| site.name);
    about.flatten().chain(signers.iter().filter_map(member)).chain(sites).collect()
}

/// What a sound file shows of the order that it is evidence of.
pub(super) struct Account<'a> {
    shown: &'a OrderReport,
    receipts: Vec<&'a Receipt>,
    leaves: u64,
    book: Book,
}

impl<'a> Account<'a> {
    /// None of a file that is not as it was signed, or is no evidence of one order.
    pub(super) fn of(report: &'a Report, names: BTreeMap<Id, Name>) -> Option<Self> {
        let state = report.state.clone().filter(|_| report.findings.is_empty())?;
        let shown = report.order.as_ref()?;
        let (leaves, receipts) = (state.tree().size(), report.receipts.iter().collect());
        Some(Self { shown, receipts, leaves, book: Book::of_file(state, names) })
    }

    fn signers(&self) -> Vec<String> {
        let signers = signers(&self.book.state, &self.shown.envelope);
        signers.iter().map(|member| self.book.member_name(member)).collect()
    }

    /// Line by line, in the language of the screen.
    pub(super) fn lines(&self, screen: &Screen) -> Vec<String> {
        let (book, shown) = (&self.book, self.shown);
        let zone = book.zone();
        let say = |key: &str, values: &[(&str, String)]| screen.text(key, values);
        let until =
            [("leaves", self.leaves.to_string()), ("until", zone.instant(book.at)), ("zone", zone.name())];
        let order = [
            ("order", shown.envelope.digest().to_string()),
            ("index", shown.index.to_string()),
            ("at", zone.instant(shown.at)),
            ("names", self.signers().join(screen.separator())),
        ];
        let mut lines = vec![
            say("evidence-order-title", &[]),
            String::new(),
            say("evidence-organization", &[("hash", book.state.organization().to_string())]),
            say("evidence-until", &until),
            say("evidence-of-order", &order),
        ];
        lines.extend(Preview::new(screen, book, &shown.order, &[]).lines());
        lines.extend([String::new(), say("evidence-receipts", &[])]);
        for receipt in &self.receipts {
            let at = receipt.time.map_or_else(|| "?".to_owned(), |time| zone.instant(time));
            lines.push(say("evidence-receipt", &[("site", book.site_name(&receipt.site)), ("at", at)]));
        }
        for site in &shown.outstanding {
            let values = [("site", book.site_name(site)), ("until", zone.instant(shown.leases_end))];
            lines.push(say("evidence-outstanding", &values));
        }
        lines.push(String::new());
        let key = if shown.outstanding.is_empty() { "evidence-all-confirmed" } else { "evidence-some-left" };
        lines.push(say(key, &[]));
        lines
    }

    pub(super) fn json(&self) -> Value {
        let (book, shown) = (&self.book, self.shown);
        let confirmed = self.receipts.iter().map(|receipt| {
            let iso = receipt.time.and_then(iso);
            json!({ "site": book.site_name(&receipt.site), "at": receipt.time, "at_iso": iso })
        });
        let outstanding: Vec<String> = shown.outstanding.iter().map(|site| book.site_name(site)).collect();
        json!({
            "order": shown.envelope.digest(),
            "index": shown.index,
            "at": shown.at,
            "at_iso": iso(shown.at),
            "signed_by": self.signers(),
            "confirmed": confirmed.collect::<Vec<_>>(),
            "outstanding": outstanding,
            "leases_end": shown.leases_end,
            "leases_end_iso": iso(shown.leases_end),
        })
    }
}
