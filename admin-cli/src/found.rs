//! `init`: the founding, as far as the officers' desk goes. The ca and then the kms add their signatures at their own
//! consoles, against the founding hash that is printed here.
//!
//! Nothing is founded half: until every card has signed, nothing is written; the founding itself is written last, and each
//! file is there whole or not at all. A founding that was interrupted is begun again with the same words, and the cards keep
//! the keys that were made on them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::json;
use warifu_api::wire::agent::{CardInReader, Prepare, Prepared};
use warifu_envelope::Overwrite;
use warifu_ledger::Digest;
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::Record;
use warifu_ledger::state::{Rejected, State};
use warifu_ledger::statement::{Attestation, Founding, Millis, Policy, ServiceKind, ServiceStatement};

use crate::args::Init;
use crate::desk::{Desk, Purpose, rng};
use crate::fault::Fault;
use crate::file::{fault, read, write, write_json};

mod minutes;
mod officers;

use minutes::Minutes;
use officers::{Officers, Seated};

/// A service that the founding names, as its console told of it.
struct Service {
    kind: &'static str,
    statement: ServiceStatement,
    fingerprint: Digest,
}

impl Service {
    fn read(path: &Path, kind: ServiceKind) -> Result<Self, Fault> {
        let (statement, fingerprint) = statement(path, kind)?;
        let kind = if kind == ServiceKind::Ca { "ca" } else { "kms" };
        Ok(Self { kind, statement, fingerprint })
    }
}

/// Where the founding is written.
struct Files {
    out: PathBuf,
    records: PathBuf,
    minutes: PathBuf,
}

/// Walks the officers through the founding: fingerprints, cards, what is signed, signatures; then writes it, with its register
/// records and its minutes. A rehearsal does all of it but for keys, signatures and files.
pub(crate) async fn init(desk: &mut Desk<'_>, args: Init) -> Result<(), Fault> {
    let services = [Service::read(&args.ca, ServiceKind::Ca)?, Service::read(&args.kms, ServiceKind::Kms)?];
    let files = if args.rehearse { None } else { Some(Files::free(desk, &args)?) };
    if files.is_none() {
        desk.screen.say("founding-rehearsal");
    }
    let mut officers = Officers::named(desk, &args.officers)?;
    hear_fingerprints(desk, &services)?;
    let seated = officers.seat(desk, &args).await?;

    let name = Record::draw(&mut rng(), args.org.clone());
    let [ca, kms] = &services;
    let founding = Founding {
        id: warifu_ledger::Id::draw(&mut rng()),
        name: name.commitment(),
        zone: args.zone.clone(),
        officers: seated.iter().map(|seated| seated.card.clone()).collect(),
        policy: Policy {
            lease_ms: args.lease_seconds.saturating_mul(1000),
            pin_ceiling_ms: args.pin_hours.saturating_mul(3_600_000),
            unattested_cards: args.allow_unattested,
            separate_roles: args.keep_roles_apart,
        },
        ca: ca.statement.keys.clone(),
        kms: kms.statement.keys.clone(),
    };
    let mut envelope = Envelope::unsigned(&founding).map_err(|e| Fault::Ledger(e.to_string()))?;
    let hash = envelope.digest().to_string();
    desk.screen.say_with(
        "founding-preview",
        &[("name", args.org.clone()), ("cards", seated.len().to_string()), ("hash", hash.clone())],
    );
    desk.screen.say_lines(&minutes::terms(desk.screen, &founding));
    desk.screen.agree()?;
    // There is no organization yet whose time could be asked for.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at = Millis::try_from(since.as_millis()).unwrap_or_default();
    let minutes = Minutes {
        name: &args.org,
        hash: &hash,
        at,
        founding: &founding,
        services: &services,
        seated: &seated,
    };
    let Some(files) = files else {
        desk.screen.say_lines(&minutes.lines(desk.screen, true));
        let rehearsed = json!({ "rehearsal": true, "cards": seated.len() });
        desk.screen.result(&rehearsed, || desk.screen.text("founding-rehearsed", &[]));
        return Ok(());
    };
    for seated in &seated {
        let card = card_with(desk, seated.serial).await?;
        desk.screen.say_with("founding-signing", &seated.words());
        desk.sign(&card, &mut envelope).await?;
    }
    would_be_founded(&founding, &envelope)?;

    let records: Vec<Record> = std::iter::once(name).chain(officers.records()).collect();
    write_json(&files.records, Overwrite::Replace, &records)?;
    let text = minutes.lines(desk.screen, false).join("\n");
    write(&files.minutes, Overwrite::Replace, format!("{text}\n").as_bytes())?;
    // Last: where it is, everything is.
    write_json(&files.out, Overwrite::Refuse, &envelope)?;
    desk.screen.result(&json!({ "organization": hash.clone() }), || {
        let shown = |path: &Path| path.display().to_string();
        desk.screen.text(
            "founding-written",
            &[("hash", hash.clone()), ("file", shown(&files.out)), ("minutes", shown(&files.minutes))],
        )
    });
    Ok(())
}

/// The keepers of ca and kms read their fingerprints aloud, and the officers compare.
fn hear_fingerprints(desk: &Desk<'_>, services: &[Service]) -> Result<(), Fault> {
    for service in services {
        desk.screen.say_with(
            "service-fingerprint",
            &[("service", service.kind.into()), ("fingerprint", service.fingerprint.to_string())],
        );
        if !desk.pins.scripted() {
            desk.screen.agree_that("service-same")?;
        }
    }
    Ok(())
}

/// The fold's own word: all that is missing is what ca and kms have yet to sign.
fn would_be_founded(founding: &Founding, envelope: &Envelope) -> Result<(), Fault> {
    let leaf = Leaf::new(0, envelope.clone()).map_err(|e| Fault::Ledger(e.to_string()))?;
    let services = [founding.ca.signing.key_id(), founding.kms.signing.key_id()];
    match State::found(&leaf) {
        Err(Rejected::Envelope(EnvelopeError::NotSigned { signer })) if services.contains(&signer) => Ok(()),
        Err(rejected) => Err(Fault::Rejected(rejected)),
        Ok(_) => Ok(()),
    }
}

impl Files {
    /// Where to write, if nothing of somebody else's is there. What an interrupted founding left is written anew; a founding
    /// that is whole is not.
    fn free(desk: &Desk<'_>, args: &Init) -> Result<Self, Fault> {
        let given = |path: &Option<PathBuf>| path.clone().ok_or(Fault::NoOutput);
        let (out, records) = (given(&args.out)?, given(&args.records)?);
        let minutes = args.minutes.clone().unwrap_or_else(|| out.with_extension("txt"));
        let taken = |path: &Path| fault(path, std::io::ErrorKind::AlreadyExists.into());
        if out.exists() {
            return Err(taken(&out));
        }
        if records.exists() && read::<Vec<Record>>(&records).is_err() {
            return Err(taken(&records));
        }
        let title = desk.screen.text("minutes-title", &[]);
        let ours = |text: String| text.starts_with(&title);
        if minutes.exists() && !std::fs::read_to_string(&minutes).is_ok_and(ours) {
            return Err(taken(&minutes));
        }
        Ok(Self { out, records, minutes })
    }
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

/// Makes the three keys on a new card, which gets its member's PIN before; a card that has them already from an interrupted
/// attempt keeps them. Whether it has to prove where they were made is the policy's: nothing is ordered for a card that has to
/// and cannot.
pub(crate) async fn prepare(desk: &mut Desk<'_>, serial: u32, unattested: bool) -> Result<Prepared, Fault> {
    let card = card_with(desk, serial).await?;
    let pin = match card.secrets.factory_pin {
        true => desk.pins.new_pin(desk.screen, serial)?,
        false => desk.pin(&card, Purpose::Prepare)?,
    };
    let request = Prepare { serial, pin };
    let prepared: Prepared = desk.agent.post("/v1/cards/prepare", &request).await?;
    desk.took(serial, request.pin);
    match &prepared.attestation {
        Attestation::Generated { firmware, .. } => {
            let words = [("serial", serial.to_string()), ("firmware", firmware.clone())];
            desk.screen.say_with("card-attested", &words);
        }
        Attestation::None if unattested => {
            desk.screen.say_with("card-unattested", &[("serial", serial.to_string())]);
        }
        Attestation::None => return Err(Fault::NotAttested { serial }),
    }
    Ok(prepared)
}
