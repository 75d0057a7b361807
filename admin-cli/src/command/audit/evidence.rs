//! `audit evidence`: after a loss, what an audit file proves of one member's cards, of one card or of a file, in words, to be printed
//! and signed. Everything in it comes from the audit file, whoever has that can have it written again.

use std::collections::BTreeMap;

use warifu_audit::{JournalRow, Report};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::Row;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::Name;
use warifu_ledger::state::{CardState, State, Told};
use warifu_ledger::statement::{Act, Millis, Order, Receipt};
use warifu_ledger::{Digest, Id};

use super::order::signers;
use crate::command::replace::number;
use crate::day::Zone;
use crate::fault::Fault;
use crate::screen::Screen;

/// An order that ended or suspended something of the member's, where it stands in the ledger.
pub(super) struct Ending {
    at: Millis,
    envelope: Envelope,
    acts: Vec<Act>,
}

/// Every order in the ledger that calls for receipts.
#[derive(Default)]
pub(super) struct Endings(Vec<Ending>);

impl Endings {
    /// Takes note of what a leaf orders.
    pub(super) fn note(&mut self, leaf: &Leaf) {
        let Ok(order) = leaf.envelope().statement::<Order>() else { return };
        if order.acts.iter().any(Act::calls_for_receipt) {
            self.0.push(Ending { at: leaf.at(), envelope: leaf.envelope().clone(), acts: order.acts });
        }
    }
}

/// Of whom or what is asked, as it was written.
pub(crate) enum Wanted {
    /// A member, by label.
    Member(String),
    /// A card, by the number on it or its id.
    Card(String),
    /// A file, by the ids of the parts of its header.
    File {
        /// Its path.
        path: String,
        /// `SHA-256(x(R))` of each.
        ids: Vec<Digest>,
    },
}

/// Of whom or what is told.
pub(super) enum Subject<'w> {
    Member(Id),
    Card { card: Id, member: Id },
    File { path: &'w str, ids: &'w [Digest] },
}

/// What is told, and of whom.
pub(super) struct Evidence<'a> {
    pub(super) screen: &'a Screen,
    pub(super) report: &'a Report,
    pub(super) state: &'a State,
    pub(super) names: &'a BTreeMap<Id, Name>,
    pub(super) endings: &'a Endings,
}

impl Evidence<'_> {
    /// The one member, card or file that is meant.
    pub(super) fn subject<'w>(&self, wanted: &'w Wanted) -> Result<Subject<'w>, Fault> {
        match wanted {
            Wanted::Member(label) => self.member(label).map(Subject::Member),
            Wanted::Card(told) => self.card(told),
            Wanted::File { path, ids } => Ok(Subject::File { path, ids }),
        }
    }

    fn member(&self, label: &str) -> Result<Id, Fault> {
        let is_called = |record: &Id| self.names.get(record).is_some_and(|name| name.label == label);
        let mut found = self.state.members().filter(|(_, member)| is_called(&member.name.record));
        match (found.next(), found.next()) {
            (Some((member, _)), None) => Ok(*member),
            (None, _) => Err(Fault::UnknownLabel { kind: "member", label: label.to_owned() }),
            (Some(_), Some(_)) => Err(Fault::AmbiguousLabel { kind: "member", label: label.to_owned() }),
        }
    }

    fn card(&self, told: &str) -> Result<Subject<'static>, Fault> {
        let is_meant = |id: &Id, card: &CardState| number(id, card) == told || id.to_string() == told;
        let mut found = self.state.cards().filter(|(id, card)| is_meant(id, card));
        match (found.next(), found.next()) {
            (Some((card, of)), None) => Ok(Subject::Card { card: *card, member: of.card.member }),
            (None, _) => Err(Fault::UnknownLabel { kind: "card", label: told.to_owned() }),
            (Some(_), Some(_)) => Err(Fault::AmbiguousLabel { kind: "card", label: told.to_owned() }),
        }
    }

    /// Line by line, in the language of the screen.
    pub(super) fn lines(&self, subject: &Subject<'_>) -> Vec<String> {
        let mut lines = self.heading(subject);
        lines.extend([String::new(), self.say("evidence-orders", &[])]);
        let endings: Vec<&Ending> =
            self.endings.0.iter().filter(|ending| self.ends(ending, subject)).collect();
        if endings.is_empty() {
            lines.push(self.say("evidence-none", &[]));
        }
        lines.extend(endings.iter().flat_map(|ending| self.order(ending)));
        lines.extend([String::new(), self.say("evidence-partials", &[])]);
        lines.extend(self.partials(subject, endings.first().map(|ending| ending.at)));
        lines.push(String::new());
        let against = self.against_receipts(&endings, subject);
        lines.push(match (endings.is_empty(), against.is_empty()) {
            (true, _) => self.say("evidence-not-ended", &[]),
            (false, true) => self.say("evidence-nothing-after", &[]),
            (false, false) => self.say("evidence-after", &[("sites", against.join(self.screen.separator()))]),
        });
        lines
    }

    fn say(&self, key: &str, values: &[(&str, String)]) -> String {
        self.screen.text(key, values)
    }

    fn zone(&self) -> Zone {
        Zone::named(&self.state.founding().zone)
    }

    /// Of which ledger, of whom or what, and what that reaches.
    fn heading(&self, subject: &Subject<'_>) -> Vec<String> {
        let zone = self.zone();
        let mut lines = vec![
            self.say("evidence-title", &[]),
            String::new(),
            self.say("evidence-organization", &[("hash", self.state.organization().to_string())]),
            self.say(
                "evidence-until",
                &[
                    ("leaves", self.state.tree().size().to_string()),
                    ("until", zone.instant(self.report.until)),
                    ("zone", zone.name()),
                ],
            ),
        ];
        let (member, cards) = match subject {
            Subject::File { path, ids } => {
                lines.push(self.say("evidence-file", &[("path", (*path).to_owned())]));
                lines.extend(ids.iter().map(|id| self.say("evidence-file-id", &[("file", id.to_string())])));
                return lines;
            }
            Subject::Member(member) => {
                (member, self.state.cards_of_member(*member).map(|(id, _)| id).collect::<Vec<_>>())
            }
            Subject::Card { card, member } => (member, vec![*card]),
        };
        lines.push(self.say("evidence-member", &[("name", self.member_name(member))]));
        lines.extend([String::new(), self.say("evidence-reach", &[])]);
        for id in cards {
            let shown = self.state.card(&id).map_or_else(|| id.to_string(), |card| number(&id, card));
            lines.push(self.say("evidence-card", &[("card", shown)]));
            for (_, grant) in self.state.grants_of_card(id) {
                lines.push(self.say("evidence-unit", &[("unit", self.unit_name(&grant.unit))]));
            }
        }
        lines
    }

    /// An order with its receipts.
    fn order(&self, ending: &Ending) -> Vec<String> {
        let zone = self.zone();
        let signers = signers(self.state, &ending.envelope);
        let names: Vec<String> = signers.iter().map(|member| self.member_name(member)).collect();
        let order = ending.envelope.digest();
        let values = [
            ("at", zone.instant(ending.at)),
            ("names", names.join(self.screen.separator())),
            ("order", order.to_string()),
        ];
        let mut lines = vec![self.say("evidence-order", &values)];
        for receipt in self.receipts(&order) {
            let at = receipt.time.map_or_else(|| "?".to_owned(), |time| zone.instant(time));
            lines.push(self.say("evidence-receipt", &[("site", self.site_name(&receipt.site)), ("at", at)]));
        }
        lines
    }

    /// Every partial, those after the first order marked.
    fn partials(&self, subject: &Subject<'_>, ordered: Option<Millis>) -> Vec<String> {
        let zone = self.zone();
        let mut rows: Vec<_> = self.report.rows.iter().filter(|line| is_about(&line.row, subject)).collect();
        if rows.is_empty() {
            return vec![self.say("evidence-none", &[])];
        }
        rows.sort_by_key(|line| line.row.time);
        let line = |line: &JournalRow| {
            let after = ordered.is_some_and(|at| line.row.time >= at);
            let key = if after { "evidence-partial-after" } else { "evidence-partial" };
            let what = match subject {
                Subject::File { .. } => self.member_name(&line.row.member),
                Subject::Member(_) | Subject::Card { .. } => line.row.file.to_string(),
            };
            let values = [
                ("at", zone.instant(line.row.time)),
                ("site", self.site_name(&line.site)),
                ("unit", self.unit_in_words(&line.row)),
                ("file", what),
            ];
            self.say(key, &values)
        };
        rows.into_iter().map(line).collect()
    }

    /// The sites that gave a partial after their own receipt said that they never would.
    fn against_receipts(&self, endings: &[&Ending], subject: &Subject<'_>) -> Vec<String> {
        let mut found = std::collections::BTreeSet::new();
        for ending in endings.iter().filter(|ending| is_for_good(ending)) {
            for receipt in self.receipts(&ending.envelope.digest()) {
                let Some(time) = receipt.time else { continue };
                let late = self.report.rows.iter().any(|line| {
                    line.site == receipt.site
                        && is_about(&line.row, subject)
                        && line.row.time > time
                        && self.is_hit(ending, &line.row)
                });
                if late {
                    found.insert(self.site_name(&receipt.site));
                }
            }
        }
        found.into_iter().collect()
    }

    fn receipts(&self, order: &Digest) -> impl Iterator<Item = &Receipt> {
        let order = *order;
        self.report.receipts.iter().filter(move |receipt| receipt.order == order)
    }

    /// Whether an order ends or suspends anything of the member's, of the card's, or answers for the file.
    fn ends(&self, ending: &Ending, subject: &Subject<'_>) -> bool {
        let of_card = |card: &Id, member: &Id| {
            self.hits_card(ending, card, member)
                || self.state.grants_of_card(*card).any(|(grant, _)| hits_grant(ending, &grant))
        };
        match subject {
            Subject::Member(member) => {
                hits_member(ending, member)
                    || self.state.cards_of_member(*member).any(|(card, _)| of_card(&card, member))
            }
            Subject::Card { card, member } => of_card(card, member),
            Subject::File { ids, .. } => ids.iter().any(|id| shreds(ending, id)),
        }
    }

    /// Whether an order ends or suspends what a partial was given for.
    fn is_hit(&self, ending: &Ending, row: &Row) -> bool {
        self.hits_card(ending, &row.card, &row.member)
            || hits_grant(ending, &row.grant)
            || shreds(ending, &row.file)
    }

    /// Whether an order ends or suspends this card, by itself or with its member or contract.
    fn hits_card(&self, ending: &Ending, card: &Id, member: &Id) -> bool {
        let contract = self.state.member(member).and_then(|found| found.contract);
        hits_member(ending, member)
            || ending.acts.iter().any(|act| match act {
                Act::CardRevoked { card: hit, .. } | Act::CardSuspended { card: hit } => hit == card,
                Act::ContractEnded { contract: hit, .. } => Some(*hit) == contract,
                _ => false,
            })
    }

    fn name(&self, record: Option<Id>, id: &Id) -> String {
        let name = record.and_then(|record| self.names.get(&record));
        name.map_or_else(|| id.to_string(), |name| name.name.clone())
    }

    fn member_name(&self, id: &Id) -> String {
        self.name(self.state.member(id).map(|member| member.name.record), id)
    }

    fn unit_name(&self, id: &Id) -> String {
        self.name(self.state.unit(id).map(|unit| unit.name), id)
    }

    /// The unit whose grant was used, in words that say whether the file was opened or sent on.
    fn unit_in_words(&self, row: &Row) -> String {
        let (unit, told) = self.state.told_by(row);
        let unit = self.unit_name(&unit);
        match told {
            Told::Routed { to } => {
                self.say("audit-routed", &[("unit", unit), ("other", self.unit_name(&to))])
            }
            Told::OpenedBySlip { from } => {
                self.say("audit-opened-by-slip", &[("unit", unit), ("other", self.unit_name(&from))])
            }
            _ => unit,
        }
    }

    fn site_name(&self, id: &Id) -> String {
        self.name(self.state.site(id).map(|site| site.name), id)
    }
}

fn hits_member(ending: &Ending, member: &Id) -> bool {
    ending.acts.iter().any(|act| matches!(act, Act::MemberRevoked { member: hit, .. } if hit == member))
}

fn hits_grant(ending: &Ending, grant: &Id) -> bool {
    ending.acts.iter().any(|act| matches!(act, Act::GrantRevoked { grant: hit, .. } if hit == grant))
}

fn shreds(ending: &Ending, id: &Digest) -> bool {
    ending.acts.iter().any(|act| matches!(act, Act::FileShredded { file } if file == id))
}

fn is_about(row: &Row, subject: &Subject<'_>) -> bool {
    match subject {
        Subject::Member(member) => row.member == *member,
        Subject::Card { card, .. } => row.card == *card,
        Subject::File { ids, .. } => ids.contains(&row.file),
    }
}

/// A suspension ends with its resumption; what comes after its receipt may be right.
fn is_for_good(ending: &Ending) -> bool {
    !ending.acts.iter().any(|act| matches!(act, Act::CardSuspended { .. } | Act::CardResumed { .. }))
}
