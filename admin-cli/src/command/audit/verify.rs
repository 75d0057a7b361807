//! `audit verify`: offline, against the founding alone. No agent, no card, no network.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use serde_json::{Value, json};
use warifu_audit::{FileError, Finding, HEADER_LIMIT, Pinned, Reader, Report, verify};
use warifu_envelope::Overwrite;
use warifu_ledger::register::Name;
use warifu_ledger::{Digest, Id};
use warifu_texts::Spoken as _;

use super::evidence::{Endings, Evidence, Wanted};
use super::order::Account;
use crate::day::{Zone, iso};
use crate::fault::Fault;
use crate::register::Commitments;
use crate::screen::Screen;

/// Verifies a file, and says what it shows.
///
/// # Errors
/// [`Fault::AuditUnsound`] if anything is not as it was signed; [`Fault::NotAuditFile`] if it is no such file.
pub(crate) fn offline(
    screen: &Screen,
    path: &Path,
    organization: &str,
    earlier: Option<&Path>,
) -> Result<(), Fault> {
    let organization = parsed(organization)?;
    let earlier = earlier.map(checkpoint_in).transpose()?;
    let mut commitments = Commitments::default();
    let file = open(path)?;
    let report = verify(file, &Pinned { organization, earlier }, |leaf| commitments.note(leaf))
        .map_err(|source| Fault::NotAuditFile { path: path.display().to_string(), source })?;
    let names = commitments.names(report.records.clone()).by_record;
    let account = Account::of(&report, names.clone());
    let told = Told { screen, report: &report, names };
    let mut json = told.json(&organization.to_string());
    if let (Some(account), Some(json)) = (&account, json.as_object_mut()) {
        json.insert("order".to_owned(), account.json());
    }
    screen.result(&json, || {
        let account = account.map(|account| [vec![String::new()], account.lines(screen)].concat());
        [told.lines(), account.unwrap_or_default()].concat().join("\n")
    });
    match report.findings.len() {
        0 => Ok(()),
        count => Err(Fault::AuditUnsound { count }),
    }
}

/// Verifies a file, and writes what it proves of a member's cards, a card or a file. Nothing is written of a file that is not as it
/// was signed.
///
/// # Errors
/// As for [`offline`]; [`Fault::UnknownLabel`]; [`Fault::AuditFileOfOneOrder`] of a file that has no journals.
pub(crate) fn evidence(
    screen: &Screen,
    path: &Path,
    organization: &str,
    subject: &Wanted,
    out: &Path,
) -> Result<(), Fault> {
    evidence_in(screen, open(path)?, path, parsed(organization)?, subject, out)
}

/// As [`evidence`], of what was read from `path`, or stands for it.
///
/// # Errors
/// As for [`evidence`].
pub(super) fn evidence_in(
    screen: &Screen,
    input: impl BufRead,
    path: &Path,
    organization: Digest,
    wanted: &Wanted,
    out: &Path,
) -> Result<(), Fault> {
    let (mut commitments, mut endings) = (Commitments::default(), Endings::default());
    let path = path.display().to_string();
    let report = verify(input, &Pinned { organization, earlier: None }, |leaf| {
        commitments.note(leaf);
        endings.note(leaf);
    });
    let report = report.map_err(|source| Fault::NotAuditFile { path: path.clone(), source })?;
    let names = commitments.names(report.records.clone()).by_record;
    let (count, state) = (report.findings.len(), report.state.as_ref());
    let Some(state) = state.filter(|_| count == 0) else { return Err(Fault::AuditUnsound { count }) };
    if report.order.is_some() {
        return Err(Fault::AuditFileOfOneOrder { path });
    }
    let evidence = Evidence { screen, report: &report, state, names: &names, endings: &endings };
    let mut text = evidence.lines(&evidence.subject(wanted)?).join("\n");
    text.push('\n');
    crate::file::write(out, Overwrite::Refuse, text.as_bytes())?;
    let written = out.display().to_string();
    screen.result(&json!({ "file": written }), || text.clone());
    Ok(())
}

fn parsed(organization: &str) -> Result<Digest, Fault> {
    organization.parse().map_err(|_| Fault::NotAFingerprint { text: organization.to_owned() })
}

fn open(path: &Path) -> Result<BufReader<File>, Fault> {
    Ok(BufReader::new(File::open(path).map_err(|source| crate::file::fault(path, source))?))
}

/// The checkpoint in a file that was kept: an audit file, or a note by itself.
fn checkpoint_in(path: &Path) -> Result<String, Fault> {
    match Reader::open(open(path)?) {
        Ok(file) => Ok(file.header().checkpoint.clone()),
        Err(FileError::NotOne) => {
            let mut note = String::new();
            let read = open(path)?.take(HEADER_LIMIT as u64).read_to_string(&mut note);
            read.map_err(|source| crate::file::fault(path, source))?;
            Ok(note)
        }
        Err(source) => Err(Fault::NotAuditFile { path: path.display().to_string(), source }),
    }
}

/// What a report says, with the names that its own ledger bears out.
struct Told<'a> {
    screen: &'a Screen,
    report: &'a Report,
    names: BTreeMap<Id, Name>,
}

impl Told<'_> {
    fn site(&self, site: &Id) -> String {
        let record = self.report.state.as_ref().and_then(|state| state.site(site)).map(|site| site.name);
        let name = record.and_then(|record| self.names.get(&record));
        name.map_or_else(|| site.to_string(), |name| name.name.clone())
    }

    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.report.findings.iter().map(|finding| self.finding(finding)).collect();
        for (site, _, rows) in &self.report.given_up {
            let values = [("site", self.site(site)), ("rows", rows.to_string())];
            lines.push(self.screen.text("audit-given-up", &values));
        }
        if let Some(state) = self.report.state.as_ref().filter(|_| self.report.findings.is_empty()) {
            let zone = Zone::named(&state.founding().zone);
            let values = [
                ("leaves", state.tree().size().to_string()),
                ("until", zone.instant(self.report.until)),
                ("zone", zone.name()),
                ("receipts", self.report.receipts.len().to_string()),
                ("rows", self.report.rows.len().to_string()),
            ];
            lines.push(self.screen.text("audit-sound", &values));
        }
        lines
    }

    fn finding(&self, finding: &Finding) -> String {
        let say = |key: &str, values: &[(&str, String)]| self.screen.text(key, values);
        match finding {
            Finding::OtherOrganization { found } => {
                say("audit-other-organization", &[("hash", found.to_string())])
            }
            Finding::LedgerRefused { index, why } => {
                let why = why.as_ref().map(|why| self.screen.message(&why.message())).unwrap_or_default();
                say("audit-ledger-refused", &[("index", index.to_string()), ("why", why)])
            }
            Finding::CheckpointNotSigned { signer } => {
                say("audit-checkpoint-not-signed", &[("signer", (*signer).to_owned())])
            }
            Finding::Forked { size } => say("audit-forked", &[("size", size.to_string())]),
            Finding::LeavesMissing { have, size } | Finding::LeavesUncovered { have, size } => {
                say("audit-leaves-differ", &[("have", have.to_string()), ("size", size.to_string())])
            }
            Finding::RolledBack { have, earlier } => {
                say("audit-rolled-back", &[("have", have.to_string()), ("earlier", earlier.to_string())])
            }
            Finding::EarlierNotSigned => say("audit-earlier-not-signed", &[]),
            Finding::ReceiptForged { site, order } => {
                let site = site.as_ref().map_or_else(|| "?".to_owned(), |site| self.site(site));
                let order = order.map_or_else(|| "?".to_owned(), |order| order.to_string());
                say("audit-receipt-forged", &[("site", site), ("order", order)])
            }
            Finding::ReceiptOutdated { site, order } => {
                say("audit-receipt-outdated", &[("site", self.site(site)), ("order", order.to_string())])
            }
            Finding::OrderMissing { order } => say("audit-order-missing", &[("order", order.to_string())]),
            Finding::ReceiptOfOtherOrder { site, order } => say(
                "audit-receipt-of-other-order",
                &[("site", self.site(site)), ("order", order.to_string())],
            ),
            Finding::ReceiptMissing { site } => say("audit-receipt-missing", &[("site", self.site(site))]),
            Finding::HeadForged { site } => say("audit-head-forged", &[("site", self.site(site))]),
            Finding::RowChanged { site, first, last, .. } => say(
                "audit-row-changed",
                &[("site", self.site(site)), ("first", first.to_string()), ("last", last.to_string())],
            ),
            Finding::RowsMissing { site, from, to, .. } => {
                let last = to.saturating_sub(1).to_string();
                say(
                    "audit-rows-missing",
                    &[("site", self.site(site)), ("first", from.to_string()), ("last", last)],
                )
            }
            Finding::RowsUnsigned { site, from, to, .. } => {
                let last = to.saturating_sub(1).to_string();
                say(
                    "audit-rows-unsigned",
                    &[("site", self.site(site)), ("first", from.to_string()), ("last", last)],
                )
            }
            other => say("audit-finding-other", &[("what", format!("{other:?}"))]),
        }
    }

    fn json(&self, organization: &str) -> Value {
        let findings = self.report.findings.iter().map(|finding| {
            let (name, site, first, last) = named(finding);
            json!({
                "finding": name, "site": site.map(|site| self.site(&site)), "first": first, "last": last,
                "message": self.finding(finding),
            })
        });
        let given_up = self.report.given_up.iter().map(
            |(site, journal, rows)| json!({ "site": self.site(site), "journal": journal, "rows": rows }),
        );
        json!({
            "sound": self.report.findings.is_empty(),
            "organization": organization,
            "leaves": self.report.state.as_ref().map_or(0, |state| state.tree().size()),
            "until": self.report.until,
            "until_iso": iso(self.report.until),
            "receipts": self.report.receipts.len(),
            "rows": self.report.rows.len(),
            "findings": findings.collect::<Vec<_>>(),
            "given_up": given_up.collect::<Vec<_>>(),
        })
    }
}

/// A finding for programs: its name, whose it is, and the first and the last leaf or row that it is about.
fn named(finding: &Finding) -> (&'static str, Option<Id>, Option<u64>, Option<u64>) {
    match finding {
        Finding::OtherOrganization { .. } => ("other-organization", None, None, None),
        Finding::LedgerRefused { index, .. } => ("ledger-refused", None, Some(*index), Some(*index)),
        Finding::CheckpointNotSigned { .. } => ("checkpoint-not-signed", None, None, None),
        Finding::Forked { size } => ("forked", None, None, Some(*size)),
        Finding::LeavesMissing { have, size } => ("leaves-missing", None, Some(*have), Some(*size)),
        Finding::LeavesUncovered { have, size } => ("leaves-uncovered", None, Some(*size), Some(*have)),
        Finding::RolledBack { have, earlier } => ("rolled-back", None, Some(*have), Some(*earlier)),
        Finding::EarlierNotSigned => ("earlier-not-signed", None, None, None),
        Finding::ReceiptForged { site, .. } => ("receipt-forged", *site, None, None),
        Finding::ReceiptOutdated { site, .. } => ("receipt-outdated", Some(*site), None, None),
        Finding::OrderMissing { .. } => ("order-missing", None, None, None),
        Finding::ReceiptOfOtherOrder { site, .. } => ("receipt-of-other-order", Some(*site), None, None),
        Finding::ReceiptMissing { site } => ("receipt-missing", Some(*site), None, None),
        Finding::HeadForged { site } => ("head-forged", Some(*site), None, None),
        Finding::RowChanged { site, first, last, .. } => {
            ("row-changed", Some(*site), Some(*first), Some(*last))
        }
        Finding::RowsMissing { site, from, to, .. } => {
            ("rows-missing", Some(*site), Some(*from), Some(to.saturating_sub(1)))
        }
        Finding::RowsUnsigned { site, from, to, .. } => {
            ("rows-unsigned", Some(*site), Some(*from), Some(to.saturating_sub(1)))
        }
        _ => ("other", None, None, None),
    }
}
