//! `trust`: other organizations whose units files can be sent to.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use warifu_api::Client;
use warifu_api::wire::public::SignedDirectory;
use warifu_api::wire::trusts::{Trouble, TroubleKind, TrustEntry, Trusts};
use warifu_directory::signed::{self, Pin, Trusted};
use warifu_ledger::Digest;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::state::Trust as Pinned;
use warifu_ledger::statement::{Act, Millis, OrganizationKeys};

use super::already;
use crate::args::Trust;
use crate::desk::{Book, Desk, LOOK_AGAIN, rng};
use crate::fault::Fault;
use crate::preview::one_line;
use crate::screen::{List, Screen};

/// How long another organization may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the kms may take to fetch the directory of one that was pinned just now, and the ca to cosign that it was.
const FETCHED_WITHIN: Duration = Duration::from_secs(15);

pub(super) async fn run(desk: &mut Desk<'_>, command: Trust) -> Result<(), Fault> {
    match command {
        Trust::Fingerprint => fingerprint(desk).await,
        Trust::Add { address, label, name, fingerprint } => {
            let name = Name::new(label, name).map_err(|_| Fault::NotAName)?;
            add(desk, address, name, fingerprint.as_deref()).await
        }
        Trust::List => list(desk).await,
        Trust::End { organization } => end(desk, &organization).await,
    }
}

/// One's own, to be read out over the telephone.
async fn fingerprint(desk: &mut Desk<'_>) -> Result<(), Fault> {
    let book = desk.book().await?;
    let keys = OrganizationKeys {
        organization: book.state.organization(),
        ca: book.state.ca().clone(),
        kms: book.state.kms().clone(),
    };
    let found = keys.fingerprint();
    let name = one_line(&desk.organization_name().await?);
    desk.screen.result(&json!({ "organization": keys.organization, "fingerprint": found }), || {
        desk.screen.text("trust-own-fingerprint", &[("name", name), ("fingerprint", found.in_groups())])
    });
    Ok(())
}

async fn add(desk: &mut Desk<'_>, address: String, name: Name, told: Option<&str>) -> Result<(), Fault> {
    let told = told.map(read_fingerprint).transpose()?;
    let book = desk.book().await?;
    let signed = fetch(&address).await?;
    let keys = signed::claimed(&signed).map_err(Fault::Distrusted)?.keys;
    let found = keys.fingerprint();
    // Nothing of what it says is shown before the fingerprint is the one that was read out.
    if told.is_some_and(|told| told != found) {
        return Err(Fault::OtherFingerprint);
    }
    let to_be = Pin::to_be(keys.clone());
    let verified = signed::verify(&signed, &to_be, None, book.now());
    let Trusted { content, .. } = verified.map_err(Fault::Distrusted)?;
    let organization = keys.organization;
    let same_label = |trust: &&Pinned| book.label(&trust.name) == name.label;
    if book.state.trusts().filter(same_label).any(|trust| trust.keys.organization != organization) {
        return Err(Fault::LabelTaken { label: name.label });
    }
    // Members see nothing but the name beside who has sent something.
    let same_name = |trust: &&Pinned| book.name(&trust.name) == name.name;
    let is_anothers =
        book.state.trusts().filter(same_name).any(|trust| trust.keys.organization != organization);
    if is_anothers || desk.organization_name().await? == name.name {
        return Err(Fault::NameTaken { name: name.name });
    }
    let pinned = book.state.trust(&organization).filter(|trust| !trust.ended);
    let is_there = |trust: &Pinned| {
        trust.keys == keys && trust.address == address && book.names.get(&trust.name) == Some(&name)
    };
    if pinned.is_some_and(is_there) {
        return already(desk, "trust-already", name.name);
    }
    let units: Vec<String> = content.directory.units.iter().map(|unit| one_line(&unit.name)).collect();
    desk.screen.say_with(
        "trust-preview",
        &[
            ("name", name.name.clone()),
            ("own", one_line(&content.name)),
            ("address", address.clone()),
            ("units", units.join(desk.screen.separator())),
            ("fingerprint", found.in_groups()),
        ],
    );
    if pinned.is_some_and(|trust| trust.keys != keys) {
        desk.screen.say("trust-other-keys");
    }
    if told.is_none() {
        desk.screen.agree_that("trust-compared")?;
    }
    let record = Record::draw(&mut rng(), name.to_text());
    let act = Act::trust(keys, record.commitment(), address);
    desk.order(&book, vec![act], vec![record]).await?;
    let fetched = fetched(desk, &organization).await?;
    desk.screen.result(&json!({ "organization": organization, "fetched": fetched }), || {
        let key = if fetched { "trust-added" } else { "trust-added-not-fetched" };
        desk.screen.text(key, &[("name", name.name)])
    });
    Ok(())
}

async fn fetch(address: &str) -> Result<SignedDirectory, Fault> {
    let unreachable = |_| Fault::NoDirectory { address: address.to_owned() };
    let client = Client::public(address).map_err(unreachable)?;
    let client = client.with_timeout(PATIENCE).with_largest_answer(SignedDirectory::LARGEST);
    client.get("/v1/directory").await.map_err(unreachable)
}

/// Waits a moment until the kms has the directory, and everybody can prove that the organization is pinned.
async fn fetched(desk: &Desk<'_>, organization: &Digest) -> Result<bool, Fault> {
    let (since, spinner) = (Instant::now(), desk.screen.waiting("waiting-directory"));
    let found = loop {
        let trusts: Trusts = desk.get(None, "/v1/trusts").await?;
        let entry = trusts.organizations.iter().find(|entry| entry.organization == *organization);
        if entry.is_some_and(|entry| entry.directory.is_some() && entry.pinned.is_some()) {
            break true;
        }
        if since.elapsed() > FETCHED_WITHIN {
            break false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    spinner.finish_and_clear();
    Ok(found)
}

async fn list(desk: &mut Desk<'_>) -> Result<(), Fault> {
    let book = desk.book().await?;
    let trusts: Trusts = desk.get(None, "/v1/trusts").await?;
    let columns = ["column-label", "column-name", "column-address", "column-directory"];
    let mut list = List::new(desk.screen, &columns);
    for trust in book.state.trusts() {
        let entry = trusts.organizations.iter().find(|entry| entry.organization == trust.keys.organization);
        let row = TrustRow::of(&book, trust, entry);
        let cells =
            [row.label.clone(), row.name.clone(), row.address.clone(), standing(desk.screen, &book, entry)];
        list.row(cells, &row)?;
    }
    list.show(desk.screen);
    Ok(())
}

/// How it stands with a directory, in words: the alarm first, then until when there is one, then what else is wrong.
fn standing(screen: &Screen, book: &Book, entry: Option<&TrustEntry>) -> String {
    let Some(entry) = entry else { return screen.text("directory-none", &[]) };
    let told = |trouble: &Trouble| {
        let what = screen.text(&format!("trouble-{}", trouble.kind.name()), &[]);
        screen.text("trouble-since", &[("what", what), ("at", book.zone().instant(trouble.at))])
    };
    let until = match &entry.directory {
        Some(found) if found.expires_at > book.at => {
            screen.text("directory-until", &[("until", book.zone().instant(found.expires_at))])
        }
        Some(_) => screen.text("directory-expired", &[]),
        None => screen.text("directory-none", &[]),
    };
    let parts = entry.alarm.iter().map(told).chain([until]).chain(entry.trouble.iter().map(told));
    parts.collect::<Vec<_>>().join(screen.separator())
}

/// A trusted organization, for programs.
#[derive(Serialize)]
struct TrustRow {
    organization: Digest,
    label: String,
    name: String,
    address: String,
    fingerprint: Digest,
    /// How far its directory goes, and until when it counts; none before one has come.
    directory_size: Option<u64>,
    fetched_at: Option<Millis>,
    expires_at: Option<Millis>,
    alarm: Option<TroubleKind>,
    trouble: Option<TroubleKind>,
}

impl TrustRow {
    fn of(book: &Book, trust: &Pinned, entry: Option<&TrustEntry>) -> Self {
        let directory = entry.and_then(|entry| entry.directory);
        Self {
            organization: trust.keys.organization,
            label: book.label(&trust.name),
            name: book.name(&trust.name),
            address: trust.address.clone(),
            fingerprint: trust.keys.fingerprint(),
            directory_size: directory.map(|found| found.size),
            fetched_at: directory.map(|found| found.fetched_at),
            expires_at: directory.map(|found| found.expires_at),
            alarm: entry.and_then(|entry| entry.alarm).map(|alarm| alarm.kind),
            trouble: entry.and_then(|entry| entry.trouble).map(|trouble| trouble.kind),
        }
    }
}

async fn end(desk: &mut Desk<'_>, wanted: &str) -> Result<(), Fault> {
    let book = desk.book().await?;
    let is_meant = |trust: &&Pinned| {
        book.label(&trust.name) == wanted
            || book.name(&trust.name) == wanted
            || trust.keys.organization.to_string() == wanted
    };
    let mut found = book.state.trusts().filter(is_meant);
    let unknown = || Fault::UnknownLabel { kind: "organization", label: wanted.to_owned() };
    let trust = found.next().ok_or_else(unknown)?;
    if found.next().is_some() {
        return Err(Fault::AmbiguousLabel { kind: "organization", label: wanted.to_owned() });
    }
    let (organization, name) = (trust.keys.organization, book.name(&trust.name));
    desk.screen.say_with("trust-end-preview", &[("name", name.clone())]);
    desk.screen.agree()?;
    desk.order(&book, vec![Act::TrustEnded { organization }], Vec::new()).await?;
    desk.screen.result(&json!({ "organization": organization }), || {
        desk.screen.text("trust-ended", &[("name", name)])
    });
    Ok(())
}

/// A fingerprint as somebody typed it from the telephone: 64 digits, with or without gaps.
fn read_fingerprint(text: &str) -> Result<Digest, Fault> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let not_one = |_| Fault::NotAFingerprint { text: text.to_owned() };
    digits.to_ascii_lowercase().parse().map_err(not_one)
}

#[cfg(test)]
mod tests {
    use warifu_texts::{Language, variants};

    use super::*;
    use crate::message::Words;

    #[test]
    fn every_trouble_has_words() {
        let kinds = variants(include_str!("../../../api/src/wire/trusts.rs"), "TroubleKind");
        assert!(kinds.len() > 10);
        for language in [Language::Japanese, Language::English] {
            let words = Words::load(language).unwrap();
            for (variant, _) in &kinds {
                let hyphened =
                    |c: char| if c.is_uppercase() { format!("-{}", c.to_lowercase()) } else { c.into() };
                let id = format!("trouble{}", variant.chars().map(hyphened).collect::<String>());
                assert!(words.admin().has(&id), "{id}");
            }
        }
    }

    #[test]
    fn a_fingerprint_is_read_as_people_write_it() {
        let found = Digest::of(b"x");
        for text in [found.to_string(), found.in_groups(), found.in_groups().to_uppercase()] {
            assert_eq!(read_fingerprint(&text).unwrap(), found);
        }
        for text in ["", "12", &found.to_string()[1..], "z"] {
            assert!(matches!(read_fingerprint(text), Err(Fault::NotAFingerprint { .. })), "{text}");
        }
    }
}
