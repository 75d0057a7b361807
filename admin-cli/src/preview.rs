//! What an order says, in words: shown to each person who is about to sign it, made from the very acts that are signed and
//! from names that the ledger bears out.

use std::collections::{BTreeMap, BTreeSet};

use warifu_ledger::Id;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Act, Attestation, Card, Order, Right, UnitKind};

use crate::command::kind_key;
use crate::desk::Book;
use crate::screen::Screen;

/// An order that waits for signatures, beside what is known already.
pub(crate) struct Preview<'a> {
    screen: &'a Screen,
    book: &'a Book,
    order: &'a Order,
    /// Names that come with the order.
    new: BTreeMap<Id, Name>,
}

impl<'a> Preview<'a> {
    pub(crate) fn new(screen: &'a Screen, book: &'a Book, order: &'a Order, records: &[Record]) -> Self {
        let new = records.iter().filter_map(|r| Some((r.id, Name::parse(&r.text).ok()?))).collect();
        Self { screen, book, order, new }
    }

    /// One line an act.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.order.acts.iter().map(|act| self.line(act)).collect()
    }

    fn line(&self, act: &Act) -> String {
        let say = |key: &str, args: &[(&str, String)]| self.screen.text(key, args);
        match act {
            Act::SiteJoined { name, address, .. } => {
                say("act-site-joined", &[("name", self.name(&name.record)), ("address", address.clone())])
            }
            Act::ContractOpened { name, ends_at, .. } => say(
                "act-contract-until",
                &[("name", self.name(&name.record)), ("ends", self.book.zone().last_day_before(*ends_at))],
            ),
            Act::ContractExtended { contract, ends_at } => say(
                "act-contract-until",
                &[("name", self.contract(contract)), ("ends", self.book.zone().last_day_before(*ends_at))],
            ),
            Act::ContractEnded { contract, .. } => {
                say("act-contract-ended", &[("name", self.contract(contract))])
            }
            Act::UnitOrdered { name, kind, contract, sites, routes_to, two_people, .. } => say(
                "act-unit-ordered",
                &[
                    ("name", self.name(&name.record)),
                    ("kind", self.kind(*kind)),
                    ("contract", self.optional(contract.as_ref().map(|id| self.contract(id)))),
                    ("sites", self.all(sites, |id| self.site(id))),
                    ("routes", self.all(routes_to, |id| self.unit(id))),
                    ("people", if *two_people { "2" } else { "1" }.to_owned()),
                ],
            ),
            Act::CardEnrolled(card) => say(
                "act-card-enrolled",
                &[
                    ("name", self.name(&card.name.record)),
                    ("serial", self.attested_serial(card)),
                    ("contract", self.optional(card.contract.as_ref().map(|id| self.contract(id)))),
                ],
            ),
            Act::GrantOrdered { card, unit, right, .. } => say(
                match right {
                    Right::Open => "act-grant-open",
                    Right::Route => "act-grant-route",
                },
                &[("name", self.holder(card)), ("unit", self.unit(unit))],
            ),
            Act::CardSuspended { card } => say("act-card-suspended", &[("name", self.holder(card))]),
            Act::CardResumed { card } => say("act-card-resumed", &[("name", self.holder(card))]),
            Act::CardRevoked { card, .. } => say("act-card-revoked", &[("name", self.holder(card))]),
            Act::MemberRevoked { member, .. } => {
                let name = self.book.state.member(member).map(|m| self.name(&m.name));
                say("act-member-revoked", &[("name", name.unwrap_or_else(|| member.to_string()))])
            }
            // Not made by this program so far; nothing is signed unseen all the same.
            other => format!("- {}", serde_json::to_string(other).unwrap_or_default()),
        }
    }

    fn name(&self, record: &Id) -> String {
        self.new.get(record).map_or_else(|| self.book.name(record), |name| name.name.clone())
    }

    fn optional(&self, text: Option<String>) -> String {
        text.unwrap_or_else(|| "-".to_owned())
    }

    fn all(&self, ids: &BTreeSet<Id>, name: impl Fn(&Id) -> String) -> String {
        let names: Vec<String> = ids.iter().map(name).collect();
        self.optional((!names.is_empty()).then(|| names.join(self.screen.separator())))
    }

    fn contract(&self, id: &Id) -> String {
        self.book.state.contract(id).map_or_else(|| id.to_string(), |contract| self.name(&contract.name))
    }

    fn unit(&self, id: &Id) -> String {
        self.book.state.unit(id).map_or_else(|| id.to_string(), |unit| self.name(&unit.name))
    }

    fn site(&self, id: &Id) -> String {
        self.book.state.site(id).map_or_else(|| id.to_string(), |site| self.name(&site.name))
    }

    /// Whose card it is: one that is there, or that this order enrols.
    fn holder(&self, card: &Id) -> String {
        let enrolled = self.order.acts.iter().find_map(|act| match act {
            Act::CardEnrolled(new) if new.card == *card => Some(self.name(&new.name.record)),
            _ => None,
        });
        let known = || {
            let found = self.book.state.card(card)?;
            Some(self.name(&self.book.state.member(&found.card.member)?.name))
        };
        enrolled.or_else(known).unwrap_or_else(|| card.to_string())
    }

    fn kind(&self, kind: UnitKind) -> String {
        self.screen.text(kind_key(kind), &[])
    }

    fn attested_serial(&self, card: &Card) -> String {
        match card.attestation {
            Attestation::Generated { serial, .. } => serial.to_string(),
            Attestation::None => self.screen.text("not-attested", &[]),
        }
    }
}
