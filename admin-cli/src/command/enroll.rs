//! Enrolling one member with a new card, and bringing onto a card what waits for it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;
use warifu_api::wire::agent::{CardInReader, Personalize, Personalized, Prepared};
use warifu_ledger::Id;
use warifu_ledger::register::{Commitment, Name, Record};
use warifu_ledger::state::{CardStatus, Grant};
use warifu_ledger::statement::{Act, Card, Custody, Right, UnitKind};

use super::draft::Draft;
use super::letter;
use super::placing::{Span, spans};
use super::unit::PersonalUnit;
use crate::desk::{Book, Desk, Purpose, rng};
use crate::fault::Fault;
use crate::found::{card_with, prepare};

/// What an enrolment is told.
pub(super) struct Enrolment {
    pub(super) name: Name,
    pub(super) units: Vec<String>,
    /// Whether the member gets an address of his own.
    pub(super) person: bool,
    pub(super) contract: Option<String>,
    pub(super) new_card: Option<u32>,
    /// Where a random PIN is written that the member does not choose here.
    pub(super) letter: Option<PathBuf>,
}

/// Enrols a member with a new card: keys on the card, one order for card and grants, then the shares onto the card.
pub(super) async fn enroll(desk: &mut Desk<'_>, book: &Book, enrolment: Enrolment) -> Result<(), Fault> {
    let Enrolment { name, mut units, person, contract, new_card, letter } = enrolment;
    let begun = book.begun(&name, book.state.members().map(|(id, m)| (id, m.name.record)), "member")?;
    // Everything that can be wrong with the words is found before a key is made.
    let contract = contract.map(|label| book.contract(&label)).transpose()?;
    let mut granted = units.iter().map(|label| book.unit(label)).collect::<Result<BTreeSet<_>, _>>()?;
    let own = if person { Some(PersonalUnit::named(name.clone()).ordered(book)?) } else { None };
    if let Some(own) = &own {
        granted.insert(own.unit);
        units.push(name.label.clone());
    }
    let said = |done: Done, card| Said {
        json: json!({ "card": card, "grants": done.0.imported }),
        key: "member-enrolled",
        name: name.name.clone(),
        units: units.clone(),
    };
    // Who was enrolled without a card gets the first one.
    let waiting =
        begun.and_then(|member| Some((member, book.state.member(&member)?))).filter(|(member, found)| {
            book.state.cards_of_member(*member).next().is_none() && found.contract == contract
        });
    if let (Some(member), None) = (begun, waiting) {
        let taken = || Fault::LabelTaken { label: name.label.clone() };
        let (card, grants) = ordered_already(book, &member, contract, &granted).ok_or_else(taken)?;
        let serial = its_card(book, &desk.cards().await?, &card, new_card)?;
        if let Some(letter) = &letter {
            let pin = letter::pin(desk.screen, letter, &name.name, serial)?;
            desk.pins.choose(serial, pin);
        }
        desk.screen.say_with("member-continued", &[("name", name.name.clone())]);
        let done = hand_out(desk, book, serial, card, grants).await?;
        said(done, card).to(desk);
        return Ok(());
    }
    let draft = Draft::kept(book, &desk.cards().await?, &name.label, new_card);
    let serial = match &draft {
        Some(draft) => draft.serial,
        None => new_card_serial(desk, book, new_card).await?,
    };
    desk.screen.say_with(
        "member-preview",
        &[
            ("name", name.name.clone()),
            ("units", units.join(desk.screen.separator())),
            ("serial", serial.to_string()),
        ],
    );
    if let Some((member, _)) = &waiting {
        desk.tell_of_places_ahead(book, member);
    }
    desk.screen.agree()?;
    if let Some(letter) = &letter {
        let pin = letter::pin(desk.screen, letter, &name.name, serial)?;
        desk.pins.choose(serial, pin);
    }
    let prepared = match draft {
        Some(draft) => draft.prepared,
        None => {
            let prepared = prepare(desk, serial, book.state.policy().unattested_cards).await?;
            Draft::made(book, &name.label, serial, prepared)?
        }
    };
    let (member, committed, mut records) = match waiting {
        Some((member, found)) => (member, found.name, vec![]),
        None => {
            let record = Record::draw(&mut rng(), name.to_text());
            (Id::draw(&mut rng()), record.commitment(), vec![record])
        }
    };
    let card = card_of(&prepared, member, committed, contract);
    let card_id = card.card;
    let mut acts = vec![Act::CardEnrolled(card)];
    if let Some((act, record)) = own.and_then(|own| own.order) {
        acts.push(act);
        records.push(record);
    }
    let mut grants = Vec::new();
    // A card that comes after a reshuffle was ordered is right on its day, too.
    for span in spans(book, &member, &granted) {
        let (grant, act) = grant(book, card_id, span, prepared.custody);
        grants.push(grant);
        acts.push(act);
    }
    desk.order(book, acts, records).await?;
    Draft::over(&name.label);
    let done = hand_out(desk, book, serial, card_id, grants).await?;
    said(done, card_id).to(desk);
    Ok(())
}

/// A prepared card, as the ledger is told of it.
pub(super) fn card_of(prepared: &Prepared, member: Id, name: Commitment, contract: Option<Id>) -> Card {
    Card {
        card: Id::draw(&mut rng()),
        member,
        name,
        contract,
        authentication: prepared.keys.authentication,
        signature: prepared.keys.signature,
        transport: prepared.keys.transport,
        attestation: prepared.attestation.clone(),
    }
}

/// The grant of a unit to a card, for its time: to open, or at a front desk to route.
pub(super) fn grant(book: &Book, card: Id, span: Span, custody: Custody) -> (Id, Act) {
    let Span { unit, starts_at, expires_at } = span;
    let front_desk = book.state.unit(&unit).is_some_and(|u| u.kind == UnitKind::FrontDesk);
    let right = if front_desk { Right::Route } else { Right::Open };
    let grant = Id::draw(&mut rng());
    (grant, Act::GrantOrdered { grant, card, unit, right, custody, starts_at, expires_at })
}

/// What an enrolment that was interrupted after its order has ordered: the one card and its grants, if the order was for
/// exactly this contract and, to begin with, these units, and nothing of it is over.
fn ordered_already(
    book: &Book,
    member: &Id,
    contract: Option<Id>,
    units: &BTreeSet<Id>,
) -> Option<(Id, Vec<Id>)> {
    let found = book.state.member(member).filter(|found| found.contract == contract)?;
    if book.state.member_is_over(member, book.state.last_at()) {
        return None;
    }
    if found.contract.is_some_and(|contract| book.state.contract_is_over(&contract, book.state.last_at())) {
        return None;
    }
    let mut cards = book.state.cards_of_member(*member);
    let (Some((card, of_card)), None) = (cards.next(), cards.next()) else { return None };
    if of_card.status != CardStatus::Live {
        return None;
    }
    let begun = |grant: &Grant| grant.starts_at.is_none_or(|start| start <= book.at);
    let granted = book.live_grants(card).filter(|(_, grant)| begun(grant)).map(|(_, grant)| grant.unit);
    let is_it = granted.collect::<BTreeSet<_>>() == *units;
    is_it.then(|| (card, book.live_grants(card).map(|(id, _)| id).collect()))
}

/// The serial number of an enrolled card that is in the readers.
pub(super) fn its_card(
    book: &Book,
    cards: &[CardInReader],
    card: &Id,
    told: Option<u32>,
) -> Result<u32, Fault> {
    let is_it = |found: &&CardInReader| book.card_in(found).is_some_and(|(id, _)| id == *card);
    let found = cards.iter().find(is_it).map(|found| found.serial);
    match (found, told) {
        (Some(serial), None) => Ok(serial),
        (Some(serial), Some(told)) if serial == told => Ok(serial),
        (_, Some(serial)) => Err(Fault::CardNotHere { serial }),
        (None, None) => Err(Fault::NoNewCard),
    }
}

/// What was brought onto a card.
pub(super) struct Done(pub(super) Personalized);

/// How an enrolment ended, in words.
struct Said {
    json: serde_json::Value,
    key: &'static str,
    name: String,
    units: Vec<String>,
}

impl Said {
    fn to(self, desk: &Desk<'_>) {
        desk.screen.result(&self.json, || {
            let units = self.units.join(desk.screen.separator());
            desk.screen.text(self.key, &[("name", self.name.clone()), ("units", units)])
        });
    }
}

/// Waits for the shares of an enrolled card and brings them onto it; what is there already stays.
pub(super) async fn hand_out(
    desk: &mut Desk<'_>,
    book: &Book,
    serial: u32,
    card: Id,
    grants: Vec<Id>,
) -> Result<Done, Fault> {
    let pin = desk.pin(&card_with(desk, serial).await?, Purpose::Bring)?;
    let spinner = desk.screen.waiting("waiting-for-shares");
    let officers = book.officers_besides(&card);
    let dead = book
        .state
        .grants_of_card(card)
        .filter(|(id, _)| book.state.live_grant(id, book.at).is_err())
        .filter_map(|(_, grant)| Some(grant.issued.as_ref()?.card_point.into()))
        .collect();
    let request = Personalize { serial, pin, card, grants, officers, dead };
    let done: Personalized = desk.agent.post("/v1/cards/personalize", &request).await?;
    spinner.finish_and_clear();
    Ok(Done(done))
}

/// The card that is to be somebody's: the one that was named, or the one in the readers that is nobody's.
pub(super) async fn new_card_serial(desk: &Desk<'_>, book: &Book, told: Option<u32>) -> Result<u32, Fault> {
    let Some(serial) = told else { return only_new_card(desk, book).await };
    let card = card_with(desk, serial).await?;
    match book.card_in(&card) {
        None => Ok(serial),
        Some((_, found)) => {
            let member = book.state.member(&found.card.member);
            Err(Fault::CardOfSomebody {
                serial,
                name: member.map(|member| book.name(&member.name.record)).unwrap_or_default(),
            })
        }
    }
}

/// The one card in the readers that is nobody's: without keys, or with those of an enrolment that was interrupted. With one reader
/// it comes in the place of the officer's.
async fn only_new_card(desk: &Desk<'_>, book: &Book) -> Result<u32, Fault> {
    let mut wait = desk.wait();
    loop {
        let cards = desk.cards().await?;
        let new: Vec<u32> =
            cards.iter().filter(|card| book.card_in(card).is_none()).map(|card| card.serial).collect();
        match new.as_slice() {
            [serial] => return Ok(*serial),
            [] if wait.goes_on("insert-new-card", &[]).await => {}
            _ => return Err(Fault::NoNewCard),
        }
    }
}
