//! `backup`: who keeps the keys of backups, and the custodians' part in a restore.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::json;
use warifu_api::wire::agent::{CardInReader, ForwardTo, GivePiece, GivenPiece};
use warifu_api::wire::site::Status;
use warifu_backup::file::{BackupError, Manifest};
use warifu_backup::restore::{Request, RestoredPiece, RestoredPieces};
use warifu_envelope::Overwrite;
use warifu_ledger::Id;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::CardStatus;
use warifu_ledger::statement::{Act, HalfHolder, ServiceKind};

use super::already;
use crate::args::{Backup, Holder};
use crate::day::Zone;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::file::{read, write_json};
use crate::found::statement;

pub(super) async fn run(desk: &mut Desk<'_>, command: Backup) -> Result<(), Fault> {
    match command {
        Backup::Custodians { holder, threshold, members } => {
            name_custodians(desk, holder.into(), threshold, &members).await
        }
        Backup::Recovered { holder, statement, fingerprint } => {
            recover(desk, holder.into(), &statement, fingerprint.as_deref()).await
        }
        Backup::Open { backup, request, fingerprint, out } => {
            open(desk, &backup, &request, fingerprint.as_deref(), &out).await
        }
    }
}

impl From<Holder> for HalfHolder {
    fn from(holder: Holder) -> Self {
        match holder {
            Holder::Ca => Self::Ca,
            Holder::Kms => Self::Kms,
        }
    }
}

/// The text that names a service whose halves are backed up.
pub(crate) fn service_key(service: HalfHolder) -> &'static str {
    match service {
        HalfHolder::Ca => "service-ca",
        HalfHolder::Kms => "service-kms",
    }
}

async fn name_custodians(
    desk: &mut Desk<'_>,
    service: HalfHolder,
    threshold: u8,
    members: &[String],
) -> Result<(), Fault> {
    let book = desk.book().await?;
    let mut cards = BTreeSet::new();
    let mut names = Vec::new();
    for label in members {
        let member = book.member(label)?;
        cards.insert(card_of(&book, member, label)?);
        names.extend(book.state.member(&member).map(|found| book.name(&found.name.record)));
    }
    let values = [
        ("service", desk.screen.text(service_key(service), &[])),
        ("threshold", threshold.to_string()),
        ("names", names.join(desk.screen.separator())),
    ];
    desk.screen.say_with("custodians-preview", &values);
    desk.screen.agree()?;
    let json = json!({ "service": service, "threshold": threshold, "cards": cards });
    desk.order(&book, vec![Act::CustodiansChanged { service, threshold, cards }], vec![]).await?;
    desk.screen.result(&json, || desk.screen.text("custodians-named", &values));
    Ok(())
}

/// The card with which a member is a custodian: the first that works and that two officers enrolled.
fn card_of(book: &Book, member: Id, label: &str) -> Result<Id, Fault> {
    let mut living = book.state.cards_of_member(member).filter(|(_, card)| card.status == CardStatus::Live);
    let all: Vec<_> = living.by_ref().collect();
    let vouched = all.iter().find(|(_, card)| card.vouched).or(all.first());
    vouched.map(|(id, _)| *id).ok_or_else(|| Fault::NoCardLeft { label: label.to_owned() })
}

/// Orders that a restored service speaks with the keys of its new token.
async fn recover(
    desk: &mut Desk<'_>,
    service: HalfHolder,
    path: &Path,
    fingerprint: Option<&str>,
) -> Result<(), Fault> {
    let kind = match service {
        HalfHolder::Ca => ServiceKind::Ca,
        HalfHolder::Kms => ServiceKind::Kms,
    };
    let (restored, found) = statement(path, kind)?;
    let found = found.to_string();
    if fingerprint.is_some_and(|told| told != found) {
        return Err(Fault::Fingerprint { found });
    }
    let keys = restored.keys;
    let of_kms = Some(&keys).filter(|_| service == HalfHolder::Kms);
    let book = desk.book_of(of_kms).await?;
    let name = desk.screen.text(service_key(service), &[]);
    if *book.state.keys_of(service) == keys {
        return already(desk, "recovered-already", name);
    }
    if of_kms.is_some() {
        no_site_has_more(desk, &book).await?;
    }
    let leaves = book.state.tree().size().to_string();
    let values = [("name", name.clone()), ("fingerprint", found), ("leaves", leaves)];
    desk.screen.say_with("recovered-preview", &values);
    if fingerprint.is_none() {
        desk.screen.agree()?;
    }
    let appended = desk.order(&book, vec![Act::AuthorityRecovered { service, keys }], vec![]).await?;
    // The agent has to know the new keys before it believes what they sign.
    desk.agent.refresh_profile().await?;
    desk.screen.result(&json!({ "order": appended.digest }), || {
        desk.screen.text("recovered", &[("name", name.clone())])
    });
    Ok(())
}

/// The new kms goes on where its ledger ends. A site that has read more of the lost one's would be left behind for good.
async fn no_site_has_more(desk: &Desk<'_>, book: &Book) -> Result<(), Fault> {
    for (_, site) in book.state.sites().filter(|(_, site)| !site.removed) {
        let to = ForwardTo::Site { address: site.address.clone(), key: site.keys.tls };
        let status = desk.ask::<Status>(to, None, "GET", "/v1/status", None::<&()>).await;
        match status.map(|status| status.folded) {
            Ok(folded) if folded > book.state.tree().size() => {
                return Err(Fault::SiteAhead { site: book.name(&site.name) });
            }
            Ok(_) => {}
            Err(_) => desk.screen.say_with("recovered-unasked", &[("site", book.name(&site.name))]),
        }
    }
    Ok(())
}

/// Has custodians' cards, one after the other in one reader, give their pieces to the machine that asks for them.
async fn open(
    desk: &mut Desk<'_>,
    file: &Path,
    request: &Path,
    fingerprint: Option<&str>,
    out: &Path,
) -> Result<(), Fault> {
    let opened =
        File::open(file).map_err(|source| Fault::File { path: file.display().to_string(), source })?;
    let manifest = Manifest::read(&mut BufReader::new(opened))?;
    let envelope: Envelope = read(request)?;
    let asked = Request::read(&envelope, &manifest)?;
    let found = asked.fingerprint().to_string();
    if fingerprint.is_some_and(|told| told != found) {
        return Err(Fault::Fingerprint { found });
    }
    let profile = desk.agent.profile().await?;
    let backup = manifest.backup();
    desk.screen.say_with(
        "backup-preview",
        &[
            ("service", desk.screen.text(service_key(backup.service), &[])),
            ("at", Zone::named(&profile.zone).instant(backup.at)),
            ("fingerprint", found),
        ],
    );
    if fingerprint.is_none() {
        desk.screen.agree()?;
    }
    let mut brought = begun(out, &asked)?;
    let needed = usize::from(backup.threshold);
    while brought.pieces.len() < needed {
        let card = next_custodian(desk, &manifest, &brought).await?;
        let pin = desk.pins.pin(desk.screen, card.serial, card.tries_left)?;
        let give = GivePiece {
            serial: card.serial,
            pin,
            manifest: manifest.envelope().clone(),
            request: envelope.clone(),
        };
        let GivenPiece { card, sealed } = desk.agent.post("/v1/cards/piece", &give).await?;
        brought.pieces.push(RestoredPiece { card, sealed });
        // After every custodian: whoever has given a piece need not come again.
        write_json(out, Overwrite::Replace, &brought)?;
        desk.screen.say_with("custodian-gave", &counted(brought.pieces.len(), needed));
    }
    desk.screen.result(&json!({ "pieces": brought.pieces.len() }), || {
        desk.screen.text("backup-opened", &[("file", out.display().to_string())])
    });
    Ok(())
}

fn counted(have: usize, needed: usize) -> [(&'static str, String); 2] {
    [("have", have.to_string()), ("needed", needed.to_string())]
}

/// The pieces that are there already, from custodians who came before, to this desk or to another.
fn begun(out: &Path, asked: &Request) -> Result<RestoredPieces, Fault> {
    if !out.exists() {
        return Ok(RestoredPieces { request: asked.fingerprint(), pieces: Vec::new() });
    }
    let begun: RestoredPieces = read(out)?;
    if begun.request != asked.fingerprint() {
        return Err(BackupError::OtherRequest.into());
    }
    Ok(begun)
}

/// The next card with a piece that is not given yet. Waits for it to be inserted if people sit at the desk.
async fn next_custodian(
    desk: &Desk<'_>,
    manifest: &Manifest,
    brought: &RestoredPieces,
) -> Result<CardInReader, Fault> {
    let mut wait = desk.wait();
    let (have, needed) = (brought.pieces.len(), manifest.backup().threshold);
    let piece_of = |card: &CardInReader| {
        let transport = card.keys?.transport;
        manifest.backup().pieces.iter().find(|piece| piece.transport == transport)
    };
    let is_custodians = |card: &CardInReader| piece_of(card).is_some();
    let waiting = |card: &CardInReader| {
        piece_of(card).is_some_and(|piece| brought.pieces.iter().all(|given| given.card != piece.card))
            && (!desk.pins.scripted() || desk.pins.knows(card.serial))
    };
    let mut told = BTreeSet::new();
    loop {
        let cards = desk.cards().await?;
        if let Some(card) = cards.iter().find(|card| waiting(card)) {
            return Ok(card.clone());
        }
        for card in cards.iter().filter(|card| !is_custodians(card)) {
            if told.insert(card.serial) {
                desk.screen.warn("custodian-other", &[("serial", card.serial.to_string())]);
            }
        }
        if !wait.goes_on("insert-custodian", &counted(have, needed.into())).await {
            return Err(BackupError::TooFew { have, needed }.into());
        }
    }
}
