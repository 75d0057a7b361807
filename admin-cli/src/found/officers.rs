//! The first officers: who they are, and their cards, one after the other in as few as one reader.

use std::collections::BTreeMap;

use warifu_ledger::Id;
use warifu_ledger::key::PublicKey;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Attestation, Card};
use warifu_split_key::issuer::CardShare;

use super::{card_with, prepare};
use crate::args::Init;
use crate::desk::{Desk, rng};
use crate::fault::Fault;

/// An officer's card that is to come; its number is known beforehand, or read when it is inserted.
struct Officer {
    serial: Option<u32>,
    name: Name,
}

/// The officers, and what the register will say of them.
pub(super) struct Officers {
    cards: Vec<Officer>,
    members: BTreeMap<String, (Id, Record)>,
}

/// An officer with the card as the founding names it.
pub(super) struct Seated {
    pub(super) serial: u32,
    pub(super) name: Name,
    pub(super) card: Card,
}

impl Seated {
    /// Whose card it is, for texts.
    pub(super) fn words(&self) -> [(&'static str, String); 2] {
        [("serial", self.serial.to_string()), ("name", self.name.name.clone())]
    }
}

impl Officers {
    /// Those that the command line names; asked for at a terminal where it names none.
    ///
    /// Too few are refused by the fold's own rule, before anybody's card is prepared.
    pub(super) fn named(desk: &Desk<'_>, given: &[String]) -> Result<Self, Fault> {
        let cards = if given.is_empty() && !desk.pins.scripted() {
            asked(desk)?
        } else {
            given.iter().map(|text| officer(text)).collect::<Result<Vec<_>, _>>()?
        };
        let mut cards_of = BTreeMap::<&str, usize>::new();
        for officer in &cards {
            *cards_of.entry(&officer.name.label).or_default() += 1;
        }
        if cards_of.len() < 2 || (cards_of.len() == 2 && cards_of.values().any(|cards| *cards < 2)) {
            return Err(Fault::TooFewOfficers);
        }
        Ok(Self { cards, members: BTreeMap::new() })
    }

    /// Has every card inserted, in turn, and its keys made; in a rehearsal cards are looked at alone.
    pub(super) async fn seat(&mut self, desk: &mut Desk<'_>, args: &Init) -> Result<Vec<Seated>, Fault> {
        let mut seated: Vec<Seated> = Vec::new();
        for (number, officer) in self.cards.iter().enumerate() {
            let step = [
                ("number", (number + 1).to_string()),
                ("cards", self.cards.len().to_string()),
                ("name", officer.name.name.clone()),
            ];
            desk.screen.say_with("founding-card", &step);
            let used: Vec<u32> = seated.iter().map(|seated| seated.serial).collect();
            let serial = match officer.serial {
                Some(serial) => serial,
                None => new_card(desk, &used).await?,
            };
            if used.contains(&serial) {
                return Err(Fault::CardTwice { serial });
            }
            let (member, record) = self
                .members
                .entry(officer.name.label.clone())
                .or_insert_with(|| (Id::draw(&mut rng()), Record::draw(&mut rng(), officer.name.to_text())));
            let (member, name) = (*member, record.commitment());
            let (keys, attestation) = if args.rehearse {
                look_at(desk, serial).await?;
                // Nobody's, and gone with this process.
                let key = || PublicKey(CardShare::draw(&mut rng()).public());
                ([key(), key(), key()], Attestation::None)
            } else {
                let prepared = prepare(desk, serial, args.allow_unattested).await?;
                let keys = prepared.keys;
                ([keys.authentication, keys.signature, keys.transport], prepared.attestation)
            };
            let [authentication, signature, transport] = keys;
            let card = Card {
                card: Id::draw(&mut rng()),
                member,
                name,
                contract: None,
                authentication,
                signature,
                transport,
                attestation,
            };
            seated.push(Seated { serial, name: officer.name.clone(), card });
        }
        Ok(seated)
    }

    /// What the register says of them.
    pub(super) fn records(self) -> impl Iterator<Item = Record> {
        self.members.into_values().map(|(_, record)| record)
    }
}

/// A card that could be an officer's: whether anything is in its way is said now, not on the day.
async fn look_at(desk: &Desk<'_>, serial: u32) -> Result<(), Fault> {
    let card = card_with(desk, serial).await?;
    let tries = card.tries_left;
    let words = [("serial", serial.to_string()), ("tries", tries.to_string())];
    desk.screen.say_with(if card.keys.is_some() { "rehearsal-card-used" } else { "rehearsal-card" }, &words);
    Ok(())
}

/// The one card in the readers that was not used yet; waits until somebody inserts it.
async fn new_card(desk: &Desk<'_>, used: &[u32]) -> Result<u32, Fault> {
    let mut wait = desk.wait();
    loop {
        let cards = desk.cards().await?;
        let mut new = cards.iter().map(|card| card.serial).filter(|serial| !used.contains(serial));
        if let (Some(serial), None) = (new.next(), new.next()) {
            return Ok(serial);
        }
        if !wait.goes_on("insert-one-card", &[]).await {
            return Err(Fault::NoNewCard);
        }
    }
}

/// Asks who the officers are, until a name is left empty.
fn asked(desk: &Desk<'_>) -> Result<Vec<Officer>, Fault> {
    desk.screen.say("founding-who");
    let mut cards = Vec::new();
    loop {
        let name = desk.screen.ask("founding-ask-name")?;
        if name.is_empty() {
            return Ok(cards);
        }
        let label = desk.screen.ask("founding-ask-label")?;
        match Name::new(label, name) {
            Ok(name) => cards.push(Officer { serial: None, name }),
            Err(_) => desk.screen.say("founding-ask-again"),
        }
    }
}

fn officer(text: &str) -> Result<Officer, Fault> {
    let malformed = || Fault::NotAnOfficer { text: text.to_owned() };
    let (serial, rest) = text.split_once(':').ok_or_else(malformed)?;
    let (label, name) = rest.split_once(':').ok_or_else(malformed)?;
    Ok(Officer {
        serial: Some(serial.parse().map_err(|_| malformed())?),
        name: Name::new(label, name).map_err(|_| malformed())?,
    })
}
