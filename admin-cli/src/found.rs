//! `init`: the founding, as far as the officers' desk goes. The ca and then the kms add their signatures at their own
//! consoles, against the founding hash that is printed here.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use warifu_api::wire::agent::{CardInReader, Prepare, Prepared};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Card, Founding, Policy, ServiceKind, ServiceStatement};
use warifu_ledger::{Digest, Id};

use crate::args::Init;
use crate::desk::{Desk, rng};
use crate::fault::Fault;

struct Officer {
    serial: u32,
    name: Name,
}

/// Makes the founding statement, has every officer's card sign it, and writes it with its register records.
pub(crate) async fn init(desk: &mut Desk<'_>, args: Init) -> Result<(), Fault> {
    let (ca, ca_fingerprint) = statement(&args.ca, ServiceKind::Ca)?;
    let (kms, kms_fingerprint) = statement(&args.kms, ServiceKind::Kms)?;
    let officers = args.officers.iter().map(|text| officer(text)).collect::<Result<Vec<_>, _>>()?;
    let mut cards_of = BTreeMap::<&str, usize>::new();
    for officer in &officers {
        *cards_of.entry(&officer.name.label).or_default() += 1;
    }
    // The fold's own rule, asked before anybody's card is prepared.
    if cards_of.len() < 2 || (cards_of.len() == 2 && cards_of.values().any(|cards| *cards < 2)) {
        return Err(Fault::TooFewOfficers);
    }
    for (service, fingerprint) in [("ca", ca_fingerprint), ("kms", kms_fingerprint)] {
        desk.screen.say_with(
            "service-fingerprint",
            &[("service", service.into()), ("fingerprint", fingerprint.to_string())],
        );
    }
    let mut members: BTreeMap<String, (Id, Record)> = BTreeMap::new();
    let mut cards = Vec::new();
    for officer in &officers {
        let prepared = prepare(desk, officer.serial).await?;
        let (member, record) = members
            .entry(officer.name.label.clone())
            .or_insert_with(|| (Id::draw(&mut rng()), Record::draw(&mut rng(), officer.name.to_text())));
        cards.push(Card {
            card: Id::draw(&mut rng()),
            member: *member,
            name: record.commitment(),
            contract: None,
            authentication: prepared.keys.authentication,
            signature: prepared.keys.signature,
            transport: prepared.keys.transport,
            attestation: prepared.attestation,
        });
    }
    let name = Record::draw(&mut rng(), args.org.clone());
    let founding = Founding {
        id: Id::draw(&mut rng()),
        name: name.commitment(),
        zone: args.zone.clone(),
        officers: cards,
        policy: Policy {
            lease_ms: args.lease_seconds.saturating_mul(1000),
            pin_ceiling_ms: args.pin_hours.saturating_mul(3_600_000),
            unattested_cards: args.allow_unattested,
        },
        ca: ca.keys,
        kms: kms.keys,
    };
    let mut envelope = Envelope::unsigned(&founding).map_err(|e| Fault::Ledger(e.to_string()))?;
    desk.screen.say_with(
        "founding-preview",
        &[
            ("name", args.org.clone()),
            ("cards", officers.len().to_string()),
            ("hash", envelope.digest().to_string()),
        ],
    );
    desk.screen.agree()?;
    for officer in &officers {
        let card = card_with(desk, officer.serial).await?;
        desk.sign(&card, &mut envelope).await?;
    }
    let records: Vec<Record> =
        std::iter::once(name).chain(members.into_values().map(|(_, record)| record)).collect();
    write_private(&args.records, &records)?;
    write_private(&args.out, &envelope)?;
    let hash = envelope.digest().to_string();
    desk.screen.result(&json!({ "organization": hash }), || {
        desk.screen
            .text("founding-written", &[("hash", hash.clone()), ("file", args.out.display().to_string())])
    });
    Ok(())
}

/// Reads what a service's console wrote, and checks that the service signed it. The digest is the fingerprint that the
/// console shows.
pub(crate) fn statement(path: &Path, kind: ServiceKind) -> Result<(ServiceStatement, Digest), Fault> {
    let envelope: Envelope = read(path)?;
    let statement: ServiceStatement = envelope.statement().map_err(|e| Fault::Ledger(e.to_string()))?;
    envelope.verify(&statement.keys.signing).map_err(|e| Fault::Ledger(e.to_string()))?;
    if statement.service != kind {
        return Err(Fault::Ledger(format!("{} is the statement of another service", path.display())));
    }
    Ok((statement, envelope.digest()))
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Fault> {
    let bytes =
        std::fs::read(path).map_err(|source| Fault::File { path: path.display().to_string(), source })?;
    serde_json::from_slice(&bytes).map_err(Fault::Json)
}

/// Writes a new file that only its owner reads; an existing one is not replaced.
pub(crate) fn write_private(path: &Path, value: &impl serde::Serialize) -> Result<(), Fault> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let fault = |source| Fault::File { path: path.display().to_string(), source };
    let text = serde_json::to_vec_pretty(value).map_err(Fault::Json)?;
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fault)?;
    file.write_all(&text).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all()).map_err(fault)
}

fn officer(text: &str) -> Result<Officer, Fault> {
    let malformed = || Fault::NotAnOfficer { text: text.to_owned() };
    let (serial, rest) = text.split_once(':').ok_or_else(malformed)?;
    let (label, name) = rest.split_once(':').ok_or_else(malformed)?;
    Ok(Officer {
        serial: serial.parse().map_err(|_| malformed())?,
        name: Name::new(label, name).map_err(|_| malformed())?,
    })
}

/// The card with this serial number; at a terminal, waits until it is inserted.
pub(crate) async fn card_with(desk: &Desk<'_>, serial: u32) -> Result<CardInReader, Fault> {
    let mut wait = desk.wait();
    loop {
        if let Some(card) = desk.cards().await?.into_iter().find(|card| card.serial == serial) {
            return Ok(card);
        }
        if !wait.goes_on("insert-card", &[("serial", serial.to_string())]).await {
            return Err(Fault::CardNotHere { serial });
        }
    }
}

/// Makes the three keys on a new card, which gets its member's PIN before; a card that has them already from an interrupted attempt keeps them.
pub(crate) async fn prepare(desk: &mut Desk<'_>, serial: u32) -> Result<Prepared, Fault> {
    let card = card_with(desk, serial).await?;
    let pin = match card.secrets.factory_pin {
        true => desk.pins.new_pin(desk.screen, serial)?,
        false => desk.pins.pin(desk.screen, serial, card.tries_left)?,
    };
    Ok(desk.agent.post("/v1/cards/prepare", &Prepare { serial, pin }).await?)
}
