//! What an order says, in words: shown to each person who is about to sign it, made from the very acts that are signed and
//! from names that the ledger bears out.

use std::collections::{BTreeMap, BTreeSet};

use warifu_ledger::Id;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{
    Act, Attestation, Card, Custody, Millis, Order, Right, Role, ServiceId, ServiceKeys, ServiceKind,
    ServiceStatement, UnitKind,
};

use crate::command::{kind_key, service_key};
use crate::desk::Book;
use crate::screen::Screen;

/// An order that waits for signatures, beside what is known already.
pub(crate) struct Preview<'a> {
    screen: &'a Screen,
    book: &'a Book,
    order: &'a Order,
    /// Names that come with the order.
    new: BTreeMap<Id, Name>,
    /// All texts that come with the order.
    texts: BTreeMap<Id, &'a str>,
}

impl<'a> Preview<'a> {
    pub(crate) fn new(screen: &'a Screen, book: &'a Book, order: &'a Order, records: &'a [Record]) -> Self {
        let new = records.iter().filter_map(|r| Some((r.id, Name::parse(&r.text).ok()?))).collect();
        let texts = records.iter().map(|record| (record.id, record.text.as_str())).collect();
        Self { screen, book, order, new, texts }
    }

    /// One line an act, and one for its reason if it has one.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.order
            .acts
            .iter()
            .flat_map(|act| std::iter::once(self.line(act)).chain(self.reason(act)))
            .collect()
    }

    fn reason(&self, act: &Act) -> Option<String> {
        let reason = act.reason()?.record;
        let text = self.texts.get(&reason).map_or_else(|| reason.to_string(), |text| one_line(text));
        Some(self.screen.text("act-reason", &[("reason", text)]))
    }

    fn line(&self, act: &Act) -> String {
        let say = |key: &str, args: &[(&str, String)]| self.screen.text(key, args);
        match act {
            Act::SiteJoined { name, address, keys, .. } => say(
                "act-site-joined",
                &[
                    ("name", self.name(&name.record)),
                    ("address", address.clone()),
                    ("fingerprint", fingerprint(ServiceKind::Site, keys, Some(address))),
                ],
            ),
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
            Act::UnitOrdered { .. }
            | Act::UnitChanged { .. }
            | Act::UnitClosed { .. }
            | Act::UnitMerged { .. }
            | Act::UnitRekeyed { .. } => self.unit_line(act),
            Act::MemberEnrolled { name, contract, units, .. } => say(
                "act-member-enrolled",
                &[
                    ("name", self.name(&name.record)),
                    ("contract", self.optional(contract.as_ref().map(|id| self.contract(id)))),
                    ("units", self.all(units, |id| self.unit(id))),
                ],
            ),
            Act::MemberPlaced { member, units, effective_at } => say(
                "act-member-placed",
                &[
                    ("name", self.member(member)),
                    ("units", self.all(units, |id| self.unit(id))),
                    ("from", self.from(*effective_at)),
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
            Act::GrantOrdered { card, unit, right, custody, starts_at, expires_at, .. } => say(
                match right {
                    Right::Open => "act-grant-open",
                    Right::Route => "act-grant-route",
                },
                &[
                    ("name", self.holder(card)),
                    ("unit", self.unit(unit)),
                    ("from", self.from(*starts_at)),
                    ("until", self.optional(expires_at.map(|end| self.book.zone().last_day_before(end)))),
                    ("custody", self.screen.text(custody_key(*custody), &[])),
                ],
            ),
            Act::GrantRevoked { grant, effective_at, .. } => {
                let found = self.book.state.grant(grant);
                say(
                    "act-grant-revoked",
                    &[
                        ("name", found.map_or_else(|| grant.to_string(), |found| self.holder(&found.card))),
                        ("unit", found.map_or_else(|| grant.to_string(), |found| self.unit(&found.unit))),
                        ("from", self.from(*effective_at)),
                    ],
                )
            }
            Act::CardSuspended { card } => say("act-card-suspended", &self.card_words(card)),
            Act::CardResumed { card } => say("act-card-resumed", &self.card_words(card)),
            Act::CardRevoked { card, .. } => say("act-card-revoked", &self.card_words(card)),
            Act::MemberRevoked { member, effective_at, .. } => say(
                "act-member-revoked",
                &[("name", self.member(member)), ("from", self.from(*effective_at))],
            ),
            Act::RoleChanged { member, roles } => {
                let roles: Vec<String> =
                    roles.iter().map(|role| self.screen.text(role_key(*role), &[])).collect();
                let roles = self.optional((!roles.is_empty()).then(|| roles.join(self.screen.separator())));
                say("act-role-changed", &[("name", self.member(member)), ("roles", roles)])
            }
            Act::PolicyChanged { policy } => say(
                "act-policy-changed",
                &[
                    ("lease", (policy.lease_ms / 1000).to_string()),
                    ("pin", (policy.pin_ceiling_ms / 60_000).to_string()),
                    ("unattested", self.yes_or_no(policy.unattested_cards)),
                    ("separate", self.yes_or_no(policy.separate_roles)),
                ],
            ),
            Act::SiteRemoved { site } => say("act-site-removed", &[("name", self.site(site))]),
            Act::FileShredded { file } => say("act-file-shredded", &[("file", file.to_string())]),
            Act::SlipRevoked { slips, index: None } => {
                say("act-slips-revoked", &[("slips", slips.to_string())])
            }
            Act::SlipRevoked { slips, index: Some(index) } => say(
                "act-slip-revoked",
                &[("slips", slips.to_string()), ("number", index.saturating_add(1).to_string())],
            ),
            Act::CustodiansChanged { service, threshold, cards } => say(
                "act-custodians",
                &[
                    ("service", self.screen.text(service_key(*service), &[])),
                    ("threshold", threshold.to_string()),
                    ("names", self.all(cards, |card| self.holder_and_serial(card))),
                ],
            ),
            Act::AuthorityRecovered { service, keys, .. } => say(
                "act-recovered",
                &[
                    ("service", self.screen.text(service_key(*service), &[])),
                    ("key", keys.signing.key_id().to_string()),
                ],
            ),
            Act::KeyRotated { service, keys } => {
                let (kind, name) = match service {
                    ServiceId::Ca => (ServiceKind::Ca, self.screen.text("service-ca", &[])),
                    ServiceId::Kms => (ServiceKind::Kms, self.screen.text("service-kms", &[])),
                    ServiceId::Site(site) => {
                        let name = [("name", self.site(site))];
                        (ServiceKind::Site, self.screen.text("service-site", &name))
                    }
                };
                let fingerprint = fingerprint(kind, keys, None);
                say("act-key-rotated", &[("service", name), ("fingerprint", fingerprint)])
            }
            Act::TrustAdded { name, address, .. } => {
                let fingerprint = act.pinned().map(|keys| keys.fingerprint().in_groups());
                say(
                    "act-trust-added",
                    &[
                        ("name", self.name(&name.record)),
                        ("address", address.clone()),
                        ("fingerprint", self.optional(fingerprint)),
                    ],
                )
            }
            Act::TrustEnded { organization } => {
                let trust = self.book.state.trust(organization);
                let name = trust.map_or_else(|| organization.to_string(), |trust| self.name(&trust.name));
                say("act-trust-ended", &[("name", name)])
            }
            // Of a later version of this program; nothing is signed unseen all the same.
            other => format!("- {}", serde_json::to_string(other).unwrap_or_default()),
        }
    }

    fn unit_line(&self, act: &Act) -> String {
        let say = |key: &str, args: &[(&str, String)]| self.screen.text(key, args);
        match act {
            Act::UnitOrdered { name, kind, contract, sites, routes_to, two_people, own_pcs, .. } => say(
                "act-unit-ordered",
                &[
                    ("name", self.name(&name.record)),
                    ("kind", self.kind(*kind)),
                    ("contract", self.optional(contract.as_ref().map(|id| self.contract(id)))),
                    ("sites", self.all(sites, |id| self.site(id))),
                    ("routes", self.all(routes_to, |id| self.unit(id))),
                    ("people", people(*two_people)),
                    ("own", self.yes_or_no(*own_pcs)),
                ],
            ),
            Act::UnitChanged { unit, name, sites, routes_to, two_people, own_pcs } => {
                let own_pcs = own_pcs.map(|allowed| self.yes_or_no(allowed));
                let changes = [
                    ("change-name", name.map(|name| self.name(&name.record))),
                    ("change-sites", sites.as_ref().map(|sites| self.all(sites, |id| self.site(id)))),
                    ("change-routes", routes_to.as_ref().map(|units| self.all(units, |id| self.unit(id)))),
                    ("change-people", two_people.map(people)),
                    ("change-own-pcs", own_pcs),
                ];
                let changes: Vec<String> = changes
                    .into_iter()
                    .filter_map(|(key, value)| Some(say(key, &[("value", value?)])))
                    .collect();
                let changes = changes.join(self.screen.separator());
                say("act-unit-changed", &[("name", self.unit(unit)), ("changes", changes)])
            }
            Act::UnitClosed { unit, effective_at } => {
                say("act-unit-closed", &[("name", self.unit(unit)), ("from", self.from(*effective_at))])
            }
            Act::UnitMerged { unit, into, effective_at } => say(
                "act-unit-merged",
                &[("name", self.unit(unit)), ("into", self.unit(into)), ("from", self.from(*effective_at))],
            ),
            Act::UnitRekeyed { unit, .. } => say("act-unit-rekeyed", &[("name", self.unit(unit))]),
            _ => String::new(),
        }
    }

    /// From when something is so, in the organization's zone.
    fn from(&self, at: Option<Millis>) -> String {
        at.map_or_else(|| self.screen.text("at-once", &[]), |at| self.book.zone().instant(at))
    }

    fn yes_or_no(&self, yes: bool) -> String {
        self.screen.text(if yes { "yes" } else { "no" }, &[])
    }

    /// Whoever it is: one who is there, or whom this order enrols.
    fn member(&self, id: &Id) -> String {
        let enrolled = self.order.acts.iter().find_map(|act| match act {
            Act::MemberEnrolled { member, name, .. } if member == id => Some(self.name(&name.record)),
            Act::CardEnrolled(card) if card.member == *id => Some(self.name(&card.name.record)),
            _ => None,
        });
        let known = || Some(self.name(&self.book.state.member(id)?.name.record));
        enrolled.or_else(known).unwrap_or_else(|| id.to_string())
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
        self.book.state.unit(id).map_or_else(|| self.new_unit(id), |unit| self.name(&unit.name))
    }

    /// A unit that this order makes.
    fn new_unit(&self, id: &Id) -> String {
        let ordered = self.order.acts.iter().find_map(|act| match act {
            Act::UnitOrdered { unit, name, .. } if unit == id => Some(self.name(&name.record)),
            Act::UnitRekeyed { unit, successor } if successor == id => {
                Some(self.name(&self.book.state.unit(unit)?.name))
            }
            _ => None,
        });
        ordered.unwrap_or_else(|| id.to_string())
    }

    /// A site that is there, or that joins by this order.
    fn site(&self, id: &Id) -> String {
        let joins = self.order.acts.iter().find_map(|act| match act {
            Act::SiteJoined { site, name, .. } if site == id => Some(self.name(&name.record)),
            _ => None,
        });
        let known = || Some(self.name(&self.book.state.site(id)?.name));
        joins.or_else(known).unwrap_or_else(|| id.to_string())
    }

    /// Whose card it is: one that is there, or that this order enrols.
    fn holder(&self, card: &Id) -> String {
        let enrolled = self.order.acts.iter().find_map(|act| match act {
            Act::CardEnrolled(new) if new.card == *card => Some(self.name(&new.name.record)),
            _ => None,
        });
        let known = || {
            let found = self.book.state.card(card)?;
            Some(self.name(&self.book.state.member(&found.card.member)?.name.record))
        };
        enrolled.or_else(known).unwrap_or_else(|| card.to_string())
    }

    fn holder_and_serial(&self, card: &Id) -> String {
        self.screen.text("holder-and-serial", &self.card_words(card))
    }

    /// Whose card, and its number, where the ledger knows it.
    fn card_words(&self, card: &Id) -> [(&'static str, String); 2] {
        let serial = self.book.state.card(card).map(|found| self.attested_serial(&found.card));
        [("name", self.holder(card)), ("serial", self.optional(serial))]
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

/// How many people a unit's grants take.
fn people(two_people: bool) -> String {
    if two_people { "2" } else { "1" }.to_owned()
}

fn role_key(role: Role) -> &'static str {
    match role {
        Role::Officer => "role-officer",
        Role::Administrator => "role-administrator",
        Role::Auditor => "role-auditor",
        Role::Dispatcher => "role-dispatcher",
    }
}

fn custody_key(custody: Custody) -> &'static str {
    match custody {
        Custody::TokenUnwrap => "custody-token-unwrap",
        Custody::Scp11b => "custody-scp11b",
        Custody::HostMemory => "custody-host-memory",
        Custody::OwnPc => "custody-own-pc",
    }
}

/// What the service's console shows: the hash of the statement that it made of its keys, and of its address where it joins.
fn fingerprint(service: ServiceKind, keys: &ServiceKeys, address: Option<&str>) -> String {
    let statement = ServiceStatement { service, keys: keys.clone(), address: address.map(str::to_owned) };
    Envelope::unsigned(&statement).map(|envelope| envelope.digest().to_string()).unwrap_or_default()
}

/// A text as one line: whoever wrote it shall not be able to add lines that look like others.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
