//! `audit evidence`: after a loss, what an audit file proves of one member's cards, in words, to be printed and signed. Everything in
//! it comes from the file, whoever has that can have it written again.

use std::collections::BTreeMap;

use warifu_audit::Report;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::Name;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, Millis, Order, Receipt};
use warifu_ledger::{Digest, Id};

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

/// What is told, and of whom.
pub(super) struct Evidence<'a> {
    pub(super) screen: &'a Screen,
    pub(super) report: &'a Report,
    pub(super) state: &'a State,
    pub(super) names: &'a BTreeMap<Id, Name>,
    pub(super) endings: &'a Endings,
}

impl Evidence<'_> {
    /// The one member of this label.
    pub(super) fn member(&self, label: &str) -> Result<Id, Fault> {
        let is_called = |record: &Id| self.names.get(record).is_some_and(|name| name.label == label);
        let mut found = self.state.members().filter(|(_, member)| is_called(&member.name.record));
        match (found.next(), found.next()) {
            (Some((member, _)), None) => Ok(*member),
            (None, _) => Err(Fault::UnknownLabel { kind: "member", label: label.to_owned() }),
            (Some(_), Some(_)) => Err(Fault::AmbiguousLabel { kind: "member", label: label.to_owned() }),
        }
    }

    /// Line by line, in the language of the screen.
    pub(super) fn lines(&self, member: &Id) -> Vec<String> {
        let say = |key: &str, values: &[(&str, String)]| self.screen.text(key, values);
        let zone = Zone::named(&self.state.founding().zone);
        let mut lines = vec![
            say("evidence-title", &[]),
            String::new(),
            say("evidence-organization", &[("hash", self.state.organization().to_string())]),
            say(
                "evidence-until",
                &[
                    ("leaves", self.state.tree().size().to_string()),
                    ("until", zone.instant(self.report.until)),
                    ("zone", zone.name()),
                ],
            ),
            say("evidence-member", &[("name", self.member_name(member))]),
            String::new(),
            say("evidence-reach", &[]),
        ];
        for (id, card) in self.state.cards_of_member(*member) {
            lines.push(say("evidence-card", &[("card", number(&id, card))]));
            for (_, grant) in self.state.grants_of_card(id) {
                lines.push(say("evidence-unit", &[("unit", self.unit_name(&grant.unit))]));
            }
        }
        lines.extend([String::new(), say("evidence-orders", &[])]);
        let endings: Vec<&Ending> =
            self.endings.0.iter().filter(|ending| self.ends(ending, member)).collect();
        if endings.is_empty() {
            lines.push(say("evidence-none", &[]));
        }
        for ending in &endings {
            let signers = self.signers(&ending.envelope).join(self.screen.separator());
            let order = ending.envelope.digest();
            let values = [("at", zone.instant(ending.at)), ("names", signers), ("order", order.to_string())];
            lines.push(say("evidence-order", &values));
            for receipt in self.receipts(&order) {
                let at = receipt.time.map_or_else(|| "?".to_owned(), |time| zone.instant(time));
                lines.push(say("evidence-receipt", &[("site", self.site_name(&receipt.site)), ("at", at)]));
            }
        }
        lines.extend([String::new(), say("evidence-partials", &[])]);
        let ordered = endings.first().map(|ending| ending.at);
        let mut rows: Vec<_> = self.report.rows.iter().filter(|line| line.row.member == *member).collect();
        rows.sort_by_key(|line| line.row.time);
        if rows.is_empty() {
            lines.push(say("evidence-none", &[]));
        }
        for line in &rows {
            let after = ordered.is_some_and(|at| line.row.time >= at);
            let key = if after { "evidence-partial-after" } else { "evidence-partial" };
            let values = [
                ("at", zone.instant(line.row.time)),
                ("site", self.site_name(&line.site)),
                ("unit", self.unit_name(&line.row.unit)),
                ("file", line.row.file.to_string()),
            ];
            lines.push(say(key, &values));
        }
        lines.push(String::new());
        let against = self.against_receipts(&endings, member);
        lines.push(match (endings.is_empty(), against.is_empty()) {
            (true, _) => say("evidence-not-ended", &[]),
            (false, true) => say("evidence-nothing-after", &[]),
            (false, false) => say("evidence-after", &[("sites", against.join(self.screen.separator()))]),
        });
        lines
    }

    /// The sites that gave a partial for one of the member's cards after their own receipt said that they never would.
    fn against_receipts(&self, endings: &[&Ending], member: &Id) -> Vec<String> {
        let mut found = std::collections::BTreeSet::new();
        for ending in endings.iter().filter(|ending| is_for_good(ending)) {
            for receipt in self.receipts(&ending.envelope.digest()) {
                let Some(time) = receipt.time else { continue };
                let late = self.report.rows.iter().any(|line| {
                    line.site == receipt.site
                        && line.row.member == *member
                        && line.row.time > time
                        && self.is_hit(ending, &line.row.card, &line.row.grant, member)
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

    /// Whether an order ends or suspends anything of the member's.
    fn ends(&self, ending: &Ending, member: &Id) -> bool {
        self.state.cards_of_member(*member).any(|(card, _)| {
            self.state.grants_of_card(card).any(|(grant, _)| self.is_hit(ending, &card, &grant, member))
                || ending.acts.iter().any(|act| {
                    matches!(act, Act::CardRevoked { card: hit, .. } | Act::CardSuspended { card: hit } if *hit == card)
                })
        }) || ending.acts.iter().any(|act| matches!(act, Act::MemberRevoked { member: hit, .. } if hit == member))
    }

    /// Whether an order ends or suspends this grant, by itself or with its card, member or contract.
    fn is_hit(&self, ending: &Ending, card: &Id, grant: &Id, member: &Id) -> bool {
        let contract = self.state.member(member).and_then(|found| found.contract);
        ending.acts.iter().any(|act| match act {
            Act::CardRevoked { card: hit, .. } | Act::CardSuspended { card: hit } => hit == card,
            Act::MemberRevoked { member: hit, .. } => hit == member,
            Act::GrantRevoked { grant: hit, .. } => hit == grant,
            Act::ContractEnded { contract: hit, .. } => Some(*hit) == contract,
            _ => false,
        })
    }

    /// The people whose cards have signed.
    fn signers(&self, envelope: &Envelope) -> Vec<String> {
        let signed = |key: &Digest| envelope.signatures.iter().any(|signature| signature.keyid == *key);
        let cards = self.state.cards().filter(|(_, card)| signed(&card.card.signature.key_id()));
        cards.map(|(_, card)| self.member_name(&card.card.member)).collect()
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

    fn site_name(&self, id: &Id) -> String {
        self.name(self.state.site(id).map(|site| site.name), id)
    }
}

/// A suspension ends with its resumption; what comes after its receipt may be right.
fn is_for_good(ending: &Ending) -> bool {
    !ending.acts.iter().any(|act| matches!(act, Act::CardSuspended { .. } | Act::CardResumed { .. }))
}
