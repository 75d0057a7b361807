//! `card inspect`: what is in the readers, whether card and ledger agree, what is wrong, and the one thing to do about it.

use std::collections::BTreeSet;

use serde::Serialize;
use warifu_api::ErrorCode;
use warifu_api::wire::agent::{CardCertificate, CardInReader, CardSecrets, ManagementKeyKind};
use warifu_ledger::Id;
use warifu_ledger::key::PublicKey;
use warifu_ledger::state::{CardStatus, GRANTS_PER_CARD};
use warifu_ledger::statement::Millis;
use warifu_texts::findings::{Findings, Level};

use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::screen::{List, Screen};

/// Shows the cards in the readers: by themselves, and beside the ledger where that may be read.
pub(super) async fn inspect(desk: &mut Desk<'_>, card_alone: bool) -> Result<(), Fault> {
    let cards = desk.cards().await?;
    let mut findings = Findings::default();
    let readable = !card_alone && cards.iter().any(|card| card.keys.is_some() && card.tries_left > 1);
    let book = if readable { Some(desk.book().await) } else { None };
    let book = match book {
        Some(Ok(book)) => Some(book),
        // A member's card alone: it is looked at all the same.
        Some(Err(Fault::NoOfficerCard)) => None,
        Some(Err(fault)) if fault.code() == Some(ErrorCode::Forbidden) => None,
        Some(Err(fault)) => return Err(fault),
        None => None,
    };
    if book.is_none() && !card_alone && !cards.is_empty() {
        findings.add(Level::Warning, "ledger", "ledger-not-read", &[]);
    }
    if cards.is_empty() {
        desk.screen.say("no-card-here");
    }
    let columns =
        ["column-reader", "column-serial", "column-name", "column-firmware", "column-tries", "column-shares"];
    let mut list = List::new(desk.screen, &columns);
    for card in &cards {
        let row = CardRow::of(card, book.as_ref());
        let shares = if row.new { desk.screen.text("new-card", &[]) } else { row.shares.to_string() };
        let cells = [
            row.reader.clone(),
            row.serial.to_string(),
            row.name.clone().unwrap_or_default(),
            format!("{} {}", row.model, row.firmware),
            row.tries_left.to_string(),
            shares,
        ];
        list.row(cells, &row)?;
        row.tell(&mut findings, desk.screen);
    }
    list.show(desk.screen);
    let lines = findings.lines(desk.screen.texts());
    desk.screen.say_lines(&lines);
    Ok(())
}

/// What is wrong with a card beside the ledger, for the desk's doctor, who says by itself whose it is and what of its PIN.
pub(super) fn examine(findings: &mut Findings, card: &CardInReader, book: &Book, screen: &Screen) {
    let mut row = CardRow::of(card, Some(book));
    let said = [Problem::PinBlocked, Problem::LastPinTry, Problem::NotInLedger];
    row.problems.retain(|problem| !said.contains(problem));
    row.tell(findings, screen);
}

/// A card in a reader, for programs.
#[derive(Serialize)]
struct CardRow {
    reader: String,
    serial: u32,
    model: String,
    firmware: String,
    tries_left: u8,
    puk_tries_left: Option<u8>,
    secrets: CardSecrets,
    /// Whether it has no keys of ours yet.
    new: bool,
    /// How many units it has shares of.
    shares: usize,
    /// What its 9A certificate says.
    certificate: Option<CardCertificate>,
    /// Its id in the ledger, where that was read and knows it.
    card: Option<Id>,
    /// Its member.
    label: Option<String>,
    name: Option<String>,
    /// The units whose shares it holds, and those that it lacks, where the ledger was read.
    units: Vec<UnitOnCard>,
    /// Shares that the ledger does not know.
    foreign_shares: usize,
    /// What is wrong with it.
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct UnitOnCard {
    unit: Id,
    label: String,
    name: String,
    share: ShareState,
}

/// How a share on the card stands to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ShareState {
    /// It is there, and opens files.
    Works,
    /// It is there, and its grant is over.
    Dead,
    /// Its grant lives, and it is not there.
    Missing,
    /// Its grant was ordered, and ca, kms or sites have not done their part.
    Ordered,
}

/// What is wrong with a card: each has its words, `inspect-…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Problem {
    FactoryPin,
    FactoryPuk,
    FactoryManagementKey,
    UnknownManagementKey,
    PinBlocked,
    LastPinTry,
    PukBlocked,
    NotInLedger,
    Revoked,
    Suspended,
    NoCertificate,
    CertificateOver,
    SharesMissing,
    SharesDead,
    SharesForeign,
    Full,
}

impl Problem {
    fn id(self) -> &'static str {
        match self {
            Self::FactoryPin => "inspect-factory-pin",
            Self::FactoryPuk => "inspect-factory-puk",
            Self::FactoryManagementKey => "inspect-factory-management-key",
            Self::UnknownManagementKey => "inspect-unknown-management-key",
            Self::PinBlocked => "inspect-pin-blocked",
            Self::LastPinTry => "inspect-last-pin-try",
            Self::PukBlocked => "inspect-puk-blocked",
            Self::NotInLedger => "inspect-not-in-ledger",
            Self::Revoked => "inspect-revoked",
            Self::Suspended => "inspect-suspended",
            Self::NoCertificate => "inspect-no-certificate",
            Self::CertificateOver => "inspect-certificate-over",
            Self::SharesMissing => "inspect-shares-missing",
            Self::SharesDead => "inspect-shares-dead",
            Self::SharesForeign => "inspect-shares-foreign",
            Self::Full => "inspect-full",
        }
    }

    fn level(self) -> Level {
        match self {
            Self::PinBlocked | Self::Revoked | Self::SharesMissing | Self::NoCertificate => Level::Fault,
            _ => Level::Warning,
        }
    }
}

impl CardRow {
    fn of(card: &CardInReader, book: Option<&Book>) -> Self {
        let known = book.and_then(|book| book.card_in(card).map(|(id, found)| (book, id, found)));
        let member = known.and_then(|(book, _, found)| Some((book, book.state.member(&found.card.member)?)));
        let mut row = Self {
            reader: card.reader.clone(),
            serial: card.serial,
            model: card.model.clone(),
            firmware: card.firmware.clone(),
            tries_left: card.tries_left,
            puk_tries_left: card.puk_tries_left,
            secrets: card.secrets,
            new: card.keys.is_none(),
            shares: card.shares,
            certificate: card.certificate.clone(),
            card: known.map(|(_, id, _)| id),
            label: member.map(|(book, member)| book.label(&member.name.record)),
            name: member.map(|(book, member)| book.name(&member.name.record)),
            units: Vec::new(),
            foreign_shares: 0,
            problems: of_itself(card),
        };
        match (book, known) {
            (Some(book), Some((_, id, found))) => {
                row.compare(book, id, &card.share_points);
                row.problems.extend(match found.status {
                    CardStatus::Live => None,
                    CardStatus::Suspended => Some(Problem::Suspended),
                    CardStatus::Revoked => Some(Problem::Revoked),
                });
                row.problems.extend(of_certificate(card.certificate.as_ref(), book.at));
                // Where the card is over, what it lacks is no loss.
                if found.status == CardStatus::Revoked {
                    row.problems.retain(|problem| *problem != Problem::SharesMissing);
                }
            }
            (Some(_), None) if card.keys.is_some() => row.problems.push(Problem::NotInLedger),
            _ => {}
        }
        row
    }

    /// The shares on the card beside the grants in the ledger.
    fn compare(&mut self, book: &Book, card: Id, held: &[PublicKey]) {
        let held: BTreeSet<PublicKey> = held.iter().copied().collect();
        let live: BTreeSet<Id> = book.live_grants(card).map(|(id, _)| id).collect();
        let mut known = BTreeSet::new();
        for (id, grant) in book.state.grants_of_card(card) {
            let point: Option<PublicKey> = grant.issued.as_ref().map(|issued| issued.card_point.into());
            let there = point.is_some_and(|point| held.contains(&point));
            known.extend(point);
            let share = match (live.contains(&id), there, point.is_some()) {
                (true, true, _) => ShareState::Works,
                (true, false, true) => ShareState::Missing,
                (true, false, false) => ShareState::Ordered,
                (false, true, _) => ShareState::Dead,
                (false, false, _) => continue,
            };
            let unit = book.state.unit(&grant.unit);
            self.units.push(UnitOnCard {
                unit: grant.unit,
                label: unit.map(|unit| book.label(&unit.name)).unwrap_or_default(),
                name: unit.map(|unit| book.name(&unit.name)).unwrap_or_default(),
                share,
            });
        }
        self.foreign_shares = held.iter().filter(|point| !known.contains(point)).count();
        let any = |state| self.units.iter().any(|unit| unit.share == state);
        let found = [
            (any(ShareState::Missing) || any(ShareState::Ordered), Problem::SharesMissing),
            (any(ShareState::Dead), Problem::SharesDead),
            (self.foreign_shares > 0, Problem::SharesForeign),
            (held.len() >= GRANTS_PER_CARD && !any(ShareState::Dead), Problem::Full),
        ];
        self.problems.extend(found.into_iter().filter(|(is, _)| *is).map(|(_, problem)| problem));
    }

    /// In words.
    fn tell(&self, findings: &mut Findings, screen: &Screen) {
        let units = |states: &[ShareState]| {
            let named = self.units.iter().filter(|unit| states.contains(&unit.share));
            named.map(|unit| unit.name.as_str()).collect::<Vec<_>>().join(screen.separator())
        };
        let who = self.label.clone().unwrap_or_else(|| screen.text("inspect-member", &[]));
        let works = units(&[ShareState::Works]);
        if !works.is_empty() {
            let values = [("serial", self.serial.to_string().into()), ("units", works.into())];
            findings.ok("card", "inspect-units", &values);
        }
        for problem in &self.problems {
            let units = match problem {
                Problem::SharesMissing => units(&[ShareState::Missing, ShareState::Ordered]),
                Problem::SharesDead => units(&[ShareState::Dead]),
                _ => String::new(),
            };
            let values = [
                ("serial", self.serial.to_string().into()),
                ("label", who.clone().into()),
                ("units", units.into()),
                ("count", self.foreign_shares.into()),
            ];
            findings.add(problem.level(), "card", problem.id(), &values);
        }
    }
}

/// What a card shows without a ledger. A card that was never used is as it should be.
fn of_itself(card: &CardInReader) -> Vec<Problem> {
    let used = card.keys.is_some();
    let found = [
        (used && card.secrets.factory_pin, Problem::FactoryPin),
        (used && card.secrets.factory_puk, Problem::FactoryPuk),
        (used && card.secrets.management_key == ManagementKeyKind::Factory, Problem::FactoryManagementKey),
        (card.secrets.management_key == ManagementKeyKind::Unknown, Problem::UnknownManagementKey),
        (card.tries_left == 0, Problem::PinBlocked),
        (card.tries_left == 1, Problem::LastPinTry),
        (card.puk_tries_left == Some(0), Problem::PukBlocked),
    ];
    found.into_iter().filter(|(is, _)| *is).map(|(_, problem)| problem).collect()
}

fn of_certificate(certificate: Option<&CardCertificate>, now: Millis) -> Option<Problem> {
    match certificate {
        None => Some(Problem::NoCertificate),
        Some(certificate) if certificate.not_after < now => Some(Problem::CertificateOver),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Some point, in the encoding of P-1.2.
    const GENERATOR: &str = "A2sX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKW";

    fn card() -> CardInReader {
        CardInReader {
            reader: "Yubico".to_owned(),
            serial: 1001,
            firmware: "5.4.3".to_owned(),
            model: "YubiKey".to_owned(),
            tries_left: 3,
            puk_tries_left: Some(3),
            secrets: CardSecrets {
                factory_pin: true,
                factory_puk: true,
                management_key: ManagementKeyKind::Factory,
            },
            keys: None,
            shares: 0,
            share_points: Vec::new(),
            certificate: None,
            custody: warifu_ledger::statement::Custody::HostMemory,
            standing: warifu_api::wire::agent::Standing::Foreign,
        }
    }

    #[test]
    fn programs_get_the_same_in_every_language() {
        let row = CardRow::of(&card(), None);
        let expected = json!({
            "reader": "Yubico", "serial": 1001, "model": "YubiKey", "firmware": "5.4.3", "tries_left": 3,
            "puk_tries_left": 3,
            "secrets": { "factory_pin": true, "factory_puk": true, "management_key": "factory" },
            "new": true, "shares": 0, "certificate": null, "card": null, "label": null, "name": null, "units": [],
            "foreign_shares": 0, "problems": [],
        });
        assert_eq!(serde_json::to_value(row).unwrap(), expected);
    }

    #[test]
    fn a_factory_secret_is_a_problem_once_the_card_is_in_use() {
        let mut used = card();
        used.keys = Some(
            serde_json::from_value(json!({
                "authentication": GENERATOR,
                "signature": GENERATOR,
                "transport": GENERATOR,
            }))
            .unwrap(),
        );
        let factory = [Problem::FactoryPin, Problem::FactoryPuk, Problem::FactoryManagementKey];
        assert_eq!(of_itself(&used), factory);
        used.secrets.factory_pin = false;
        used.secrets.management_key = ManagementKeyKind::Unknown;
        used.tries_left = 0;
        used.puk_tries_left = Some(0);
        let others =
            [Problem::FactoryPuk, Problem::UnknownManagementKey, Problem::PinBlocked, Problem::PukBlocked];
        assert_eq!(of_itself(&used), others);
        used.puk_tries_left = None;
        used.tries_left = 1;
        assert!(of_itself(&used).contains(&Problem::LastPinTry));
        assert!(!of_itself(&used).contains(&Problem::PukBlocked), "a card that does not tell");
    }

    #[test]
    fn a_certificate_is_judged_by_the_organizations_time() {
        let certificate = CardCertificate { member_of: None, not_before: 0, not_after: 1000 };
        assert_eq!(of_certificate(None, 1), Some(Problem::NoCertificate));
        assert_eq!(of_certificate(Some(&certificate), 1000), None);
        assert_eq!(of_certificate(Some(&certificate), 1001), Some(Problem::CertificateOver));
    }

    #[test]
    fn every_problem_has_its_words_and_its_remedy() {
        let problems = [
            Problem::FactoryPin,
            Problem::FactoryPuk,
            Problem::FactoryManagementKey,
            Problem::UnknownManagementKey,
            Problem::PinBlocked,
            Problem::LastPinTry,
            Problem::PukBlocked,
            Problem::NotInLedger,
            Problem::Revoked,
            Problem::Suspended,
            Problem::NoCertificate,
            Problem::CertificateOver,
            Problem::SharesMissing,
            Problem::SharesDead,
            Problem::SharesForeign,
            Problem::Full,
        ];
        for language in [warifu_texts::Language::Japanese, warifu_texts::Language::English] {
            let words = crate::message::Words::load(language).unwrap();
            for problem in problems {
                let id = format!("doctor-{}", problem.id());
                assert!(
                    words.admin().has(&id) && words.admin().attribute(&id, "remedy", &[]).is_some(),
                    "{id}"
                );
            }
        }
    }
}
