//! What a service's machine lacks, looked at from its console: safe beside the running service, since nothing is written but
//! the mark of a refused PIN, no lock is taken, and a PIN is shown once at most.
//!
//! What is particular to one service is looked at by that service (`doctor` in `warifu-ca` and `warifu-kms`).

use std::error::Error;
use std::io::ErrorKind;
use std::net::ToSocketAddrs as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access, statvfs};
use sqlx::{AnyConnection, Row as _};
use tokio::net::TcpStream;
use warifu_api::client::{Client, ClientError};
use warifu_api::wire::authority::Status;
use warifu_hardware::hsm::{Hsm, HsmConfig, HsmError};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;
use warifu_ledger::statement::{HalfHolder, Millis, ServiceKeys, ServiceStatement};
use warifu_ledger::{Digest, Id};
use warifu_replica::Replica;
use warifu_replica::clock::{Clock as _, SystemClock};
use warifu_replica::storage::{self, Place, StorageError};
use warifu_split_key::point::Point;
use warifu_texts::findings::{Findings, Level};
use warifu_texts::{FluentValue, Sources, Texts, help};

use crate::backup::missing_halves;
use crate::keys::{self, Labels};
use crate::{ConsoleError, Settings, Token, file};

/// The texts of every service's doctor.
pub const DOCTOR: Sources =
    Sources { ja: include_str!("../locales/ja/doctor.ftl"), en: include_str!("../locales/en/doctor.ftl") };

/// Less room than this is worth a warning: so many bytes, or so many percent.
const LITTLE_ROOM: u64 = 1 << 30;
const LITTLE_ROOM_PERCENT: u64 = 5;
/// With less room than this, a service will stop soon.
const NO_ROOM: u64 = 32 << 20;
/// How long somebody at the other end may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A service asks for a stamp every half minute at least: one this old says that it does not get them.
const OLD_STAMP_MS: Millis = 5 * 60 * 1000;
/// How far a clock may be off.
const CLOCK_MS: Millis = 60 * 1000;

/// The exit code where something does not work.
pub const EXIT_FAULT: u8 = 6;

/// An error with all that caused it, for the person who operates the machine.
#[must_use]
pub fn why(error: &dyn Error) -> FluentValue<'static> {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.into()
}

fn path_value(path: &Path) -> FluentValue<'static> {
    path.display().to_string().into()
}

/// Prints the findings, and says with which code the program ends.
///
/// # Errors
/// [`ConsoleError::Texts`].
pub fn show(findings: &Findings, json: bool) -> Result<u8, ConsoleError> {
    use std::io::Write as _;
    let texts = Texts::load(help::language(), &[DOCTOR])?;
    let text = if json { findings.to_json(&texts).to_string() } else { findings.lines(&texts).join("\n") };
    // Whoever does not listen has heard enough.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(if findings.worst() == Level::Fault { EXIT_FAULT } else { 0 })
}

/// Reads the configuration.
pub fn configuration<S: Settings>(findings: &mut Findings, path: &Path) -> Option<S> {
    match S::read(path) {
        Ok(settings) => {
            findings.ok("configuration", "configuration", &[("path", path_value(path))]);
            Some(settings)
        }
        Err(ConsoleError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
            let values = [("path", path_value(path))];
            findings.add(Level::Fault, "configuration", "configuration-missing", &values);
            None
        }
        Err(error) => {
            let values = [("path", path_value(path)), ("why", why(&error))];
            findings.add(Level::Fault, "configuration", "configuration-bad", &values);
            None
        }
    }
}

/// Opens the token with one login, and asks what it can do. Blocks.
pub fn token(findings: &mut Findings, token: &Token) -> Option<Hsm> {
    let label: FluentValue<'static> = token.token_label.clone().into();
    let (module, pin_file) = (path_value(&token.module), path_value(&token.pin_file));
    let values = |error: &dyn Error| {
        vec![
            ("label", label.clone()),
            ("module", module.clone()),
            ("pin_file", pin_file.clone()),
            ("why", why(error)),
        ]
    };
    let hsm = match token.log_in(HsmConfig { sessions: 1, ..token.hsm_config() }) {
        Ok(hsm) => hsm,
        Err(error) => {
            use ConsoleError::{Hsm as Of, PinRefusedBefore};
            let (check, id) = match &error {
                Of(HsmError::ModuleUnusable { .. }) => ("module", "module-bad"),
                Of(HsmError::TokenMissing { .. }) => ("token", "token-missing"),
                Of(HsmError::PinWrong { .. }) => ("pin", "pin-wrong"),
                Of(HsmError::PinUnusable { .. }) => ("pin", "pin-unusable"),
                Of(HsmError::PinUnreadable { .. }) => ("pin-file", "pin-file-unreadable"),
                Of(HsmError::PinExposed { .. }) => ("pin-file", "pin-file-exposed"),
                PinRefusedBefore { .. } => ("pin", "pin-refused-before"),
                _ => ("token", "token-bad"),
            };
            findings.add(Level::Fault, check, id, &values(&error));
            return None;
        }
    };
    match hsm.probe() {
        Ok(found) => {
            let values = [("label", label), ("model", found.model.trim().to_owned().into())];
            findings.ok("token", "token", &values);
            Some(hsm)
        }
        Err(error @ HsmError::MechanismMissing { .. }) => {
            findings.add(Level::Fault, "mechanisms", "mechanism-missing", &values(&error));
            None
        }
        Err(error) => {
            findings.add(Level::Fault, "token", "token-bad", &values(&error));
            None
        }
    }
}

/// Compares the keys in the token with those in the statement that `init` wrote; the keys of the statement. Blocks.
pub fn keys(
    findings: &mut Findings,
    hsm: Option<&Hsm>,
    statement: &Path,
    labels: &Labels,
) -> Option<ServiceKeys> {
    let read = || {
        let envelope: Envelope = file::read_json(statement)?;
        let stated: ServiceStatement = envelope.statement()?;
        envelope.verify(&stated.keys.signing)?;
        Ok::<_, ConsoleError>(stated.keys)
    };
    let stated = match read() {
        Ok(stated) => stated,
        Err(error) => {
            let values = [("path", path_value(statement)), ("why", why(&error))];
            findings.add(Level::Fault, "statement", "statement-bad", &values);
            return None;
        }
    };
    if let Some(hsm) = hsm {
        match keys::has(hsm, labels, &stated) {
            Ok(true) => findings.ok("keys", "keys", &[]),
            Ok(false) => {
                findings.add(Level::Fault, "keys", "keys-other", &[("path", path_value(statement))]);
            }
            Err(error) => {
                findings.add(Level::Fault, "keys", "keys-bad", &[("why", why(&error))]);
            }
        }
    }
    Some(stated)
}

/// Whether the folder can be written to, and has room.
pub fn folder(findings: &mut Findings, path: &Path) -> bool {
    let there = path_value(path);
    if !path.is_dir() {
        return findings.add(Level::Fault, "folder", "folder-missing", &[("path", there)]);
    }
    if let Err(error) = access(path, Access::WRITE_OK | Access::EXEC_OK) {
        let values = [("path", there), ("why", why(&std::io::Error::from(error)))];
        return findings.add(Level::Fault, "folder", "folder-not-writable", &values);
    }
    room(findings, path)
}

/// Whether the disk of a folder has room.
pub fn room(findings: &mut Findings, path: &Path) -> bool {
    let there = path_value(path);
    let Ok(disk) = statvfs(path) else { return true };
    let (free, all) =
        (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
    let percent = free.saturating_mul(100).checked_div(all).unwrap_or(100);
    let values = [("path", there), ("free_mib", (free >> 20).into()), ("percent", percent.into())];
    let (level, id) = match free {
        _ if free < NO_ROOM => (Level::Fault, "disk-full"),
        _ if free < LITTLE_ROOM || percent < LITTLE_ROOM_PERCENT => (Level::Warning, "disk-nearly-full"),
        _ => (Level::Ok, "disk"),
    };
    findings.add(level, "disk", id, &values)
}

/// Where the configuration of the database does not do.
pub fn no_database(findings: &mut Findings, error: &ConsoleError) {
    findings.add(Level::Fault, "database", "database-configured", &[("why", why(error))]);
}

/// Looks through the database without writing to it; a connection that only reads.
pub async fn database(findings: &mut Findings, place: &Place) -> Option<AnyConnection> {
    let named = || ("path", path_value(place.named()));
    if let Place::File(path) = place
        && !path.exists()
    {
        findings.add(Level::Fault, "database", "database-missing", &[named()]);
        return None;
    }
    let looked = async {
        match place {
            Place::File(path) => {
                storage::check(path).await?;
                storage::read_only(path).await
            }
            Place::Server(server) => server.look().await,
        }
    };
    let mut connection = match looked.await {
        Ok(connection) => connection,
        Err(error) => {
            let (id, why) = match &error {
                StorageError::Damaged { what, .. } => ("database-damaged", what.clone().into()),
                error if matches!(place, Place::Server(_)) => ("database-server", why(error)),
                error => ("database-bad", why(error)),
            };
            findings.add(Level::Fault, "database", id, &[named(), ("why", why)]);
            return None;
        }
    };
    let asked = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM ledger_leaf").fetch_one(&mut connection);
    match asked.await {
        Ok(leaves) => {
            findings.ok("database", "database", &[named(), ("leaves", leaves.into())]);
            Some(connection)
        }
        // A file that no service has made its tables in.
        Err(error) => {
            findings.add(Level::Fault, "database", "database-bad", &[named(), ("why", why(&error))]);
            None
        }
    }
}

/// Whether this service answers where it listens, with its own key; its status, if it is an authority's.
pub async fn listener(findings: &mut Findings, address: &str, own: &Point) {
    let named = || ("address", address.to_owned().into());
    let somebody = tokio::time::timeout(PATIENCE, TcpStream::connect(reachable(address))).await;
    if !matches!(somebody, Ok(Ok(_))) {
        findings.add(Level::Fault, "listener", "not-listening", &[named()]);
        return;
    }
    let client = match Client::new(reachable(address), *own, None) {
        Ok(client) => client.with_timeout(PATIENCE),
        Err(error) => {
            findings.add(Level::Fault, "listener", "listener-silent", &[named(), ("why", why(&error))]);
            return;
        }
    };
    match client.get::<serde_json::Value>("/v1/status").await {
        Ok(_) | Err(ClientError::Refused { .. }) => findings.ok("listener", "listener", &[named()]),
        Err(ClientError::NotTrusted { .. }) => {
            findings.add(Level::Fault, "listener", "port-taken", &[named()]);
        }
        Err(error) => {
            findings.add(Level::Fault, "listener", "listener-silent", &[named(), ("why", why(&error))]);
        }
    }
}

/// Whether everybody is answered where this service listens for everybody.
pub async fn public_listener(findings: &mut Findings, address: &str) {
    let named = || ("address", address.to_owned().into());
    let client = Client::public(reachable(address)).map(|client| client.with_timeout(PATIENCE));
    let answered = match client {
        Ok(client) => client.get::<serde_json::Value>("/v1/box").await.map(drop),
        Err(error) => Err(error),
    };
    match answered {
        Ok(()) | Err(ClientError::Refused { .. }) => findings.ok("public", "listener", &[named()]),
        Err(ClientError::Unreachable { .. }) => {
            findings.add(Level::Fault, "public", "not-listening", &[named()]);
        }
        Err(error) => {
            findings.add(Level::Fault, "public", "listener-silent", &[named(), ("why", why(&error))]);
        }
    }
}

/// An address to listen on, as one to go to: `0.0.0.0` and `[::]` are this machine.
fn reachable(address: &str) -> String {
    let found = address.to_socket_addrs().ok().and_then(|mut found| found.next());
    match found {
        Some(found) if found.ip().is_unspecified() && found.is_ipv4() => {
            format!("127.0.0.1:{}", found.port())
        }
        Some(found) if found.ip().is_unspecified() => format!("[::1]:{}", found.port()),
        _ => address.to_owned(),
    }
}

/// Whether the kms answers with its key, and whether this machine's clock agrees with it.
pub async fn kms(findings: &mut Findings, address: &str, key: Option<Point>) {
    let named = || ("address", address.to_owned().into());
    let Some(key) = key else {
        findings.add(Level::Fault, "kms", "kms-unknown", &[]);
        return;
    };
    let asked =
        async { Client::new(address, key, None)?.with_timeout(PATIENCE).get::<Status>("/v1/status").await };
    match asked.await {
        Ok(status) => {
            findings.ok("kms", "kms", &[named()]);
            clock(findings, status.time);
        }
        Err(ClientError::NotTrusted { .. }) => {
            findings.add(Level::Fault, "kms", "kms-other-key", &[named()]);
        }
        Err(error) => {
            findings.add(Level::Fault, "kms", "kms-unreachable", &[named(), ("why", why(&error))]);
        }
    }
}

/// This machine's clock against the organization's time.
pub fn clock(findings: &mut Findings, time: Millis) {
    let wall = SystemClock.wall_ms();
    let off = wall.abs_diff(time);
    let minutes = [("minutes", off.div_ceil(60_000).into())];
    let (level, id) = match off {
        0..=CLOCK_MS => (Level::Ok, "clock"),
        _ if wall > time => (Level::Warning, "clock-ahead"),
        _ => (Level::Warning, "clock-behind"),
    };
    findings.add(level, "clock", id, &minutes);
}

/// The organization whose ledger is in the database: the digest of its first entry.
pub async fn organization(connection: &mut AnyConnection) -> Option<Digest> {
    let first = sqlx::query_scalar::<_, Vec<u8>>("SELECT bytes FROM ledger_leaf WHERE idx = 0");
    let bytes = first.fetch_optional(connection).await.ok().flatten()?;
    Leaf::from_bytes(bytes).ok().map(|leaf| leaf.envelope().digest())
}

/// The ledger in a service's database, folded; none if there is none, or it cannot be read.
pub async fn folded(database: &Place) -> Option<State> {
    let pool = database.read_only_pool().await.ok()?;
    let replica = Replica::open(pool.clone(), None).await;
    pool.close().await;
    replica.ok()?.state()
}

/// Whether the ledger names the keys of this service's token, as its statement has them: else it was restored and officers have
/// not said so yet, or it has the wrong token.
pub fn named(findings: &mut Findings, state: &State, service: HalfHolder, own: &ServiceKeys) {
    if state.keys_of(service) == own {
        findings.ok("named", "named", &[]);
    } else {
        findings.add(Level::Fault, "named", "other-keys", &[]);
    }
}

/// Whether the service has its half of every key that files are addressed to: `halves` is its query of [`Kept`]. One that was
/// restored from a backup older than a unit has not, and nothing else tells so before a card is to be made.
///
/// [`Kept`]: crate::backup::Kept
pub async fn halves(
    findings: &mut Findings,
    connection: &mut AnyConnection,
    halves: &'static str,
    state: &State,
) {
    let rows = sqlx::query(halves).fetch_all(connection).await.unwrap_or_default();
    let here = rows.iter().filter_map(|row| row.try_get::<Vec<u8>, _>(0).ok()?.try_into().ok().map(Id));
    let missing = missing_halves(state, &here.collect());
    let listed = missing.iter().filter(|unit| state.unit_is_listed(unit, state.last_at()));
    let listed: Vec<String> = listed.map(Id::to_string).collect();
    if !listed.is_empty() {
        let values = [("count", listed.len().into()), ("units", listed.join(", ").into())];
        findings.add(Level::Fault, "halves", "halves-missing", &values);
    }
}

/// The age of an instant by this machine's clock, in minutes and seconds, and whether a follower of the kms should have a
/// newer one.
#[must_use]
pub fn age(time: Millis) -> (bool, [(&'static str, FluentValue<'static>); 2]) {
    let age = SystemClock.wall_ms().saturating_sub(time);
    (age > OLD_STAMP_MS, [("minutes", (age / 60_000).into()), ("seconds", (age / 1000).into())])
}

/// How old the last stamp is that the service stored: the sign that it runs, and gets them.
pub async fn stamp(findings: &mut Findings, connection: &mut AnyConnection) {
    let last = sqlx::query_scalar::<_, i64>("SELECT time_ms FROM ledger_stamp ORDER BY size DESC LIMIT 1")
        .fetch_optional(connection);
    match last.await {
        Ok(Some(time)) => {
            let (old, values) = age(time.unsigned_abs());
            let (level, id) = if old { (Level::Fault, "stamp-old") } else { (Level::Ok, "stamp") };
            findings.add(level, "stamp", id, &values);
        }
        Ok(None) => {
            findings.add(Level::Fault, "stamp", "stamp-none", &[]);
        }
        Err(error) => {
            findings.add(Level::Fault, "stamp", "stamp-unreadable", &[("why", why(&error))]);
        }
    }
}

/// How long the newest CRL of each issuer is good for, by this machine's clock.
/// A service makes, or gets, another one when half of its time is over.
pub async fn crls(findings: &mut Findings, connection: &mut AnyConnection) {
    let rows = sqlx::query_as::<_, (String, i64, i64)>("SELECT issuer, this_update, next_update FROM crl");
    // A database that does not have the table yet has no CRLs.
    let rows = rows.fetch_all(connection).await.unwrap_or_default();
    let now = SystemClock.wall_ms();
    for issuer in ["issuing", "root"] {
        let found = rows.iter().find(|(of, ..)| of == issuer);
        let Some((_, this_update, next_update)) = found else {
            findings.add(Level::Warning, "crl", "crl-none", &[("issuer", issuer.into())]);
            continue;
        };
        let (this_update, next_update) = (this_update.unsigned_abs(), next_update.unsigned_abs());
        let left = next_update.saturating_sub(now);
        let values = [("issuer", issuer.into()), ("hours", (left / 3_600_000).into())];
        let (level, id) = match left {
            0 => (Level::Fault, "crl-over"),
            left if left < next_update.saturating_sub(this_update) / 4 => (Level::Warning, "crl-ends-soon"),
            _ => (Level::Ok, "crl"),
        };
        findings.add(level, "crl", id, &values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_its_words_and_whatever_is_not_in_order_its_remedy() {
        assert_eq!(warifu_texts::outline(DOCTOR.ja), warifu_texts::outline(DOCTOR.en));
        let sources = [
            include_str!("doctor.rs"),
            include_str!("../../ca/src/doctor.rs"),
            include_str!("../../kms/src/authority/doctor.rs"),
            include_str!("../../kms/src/site/doctor.rs"),
        ];
        let code = sources.map(|source| source.split("#[cfg(test)]").next().unwrap()).concat();
        let texts = Texts::load(warifu_texts::Language::Japanese, &[DOCTOR]).unwrap();
        let outline = warifu_texts::outline(DOCTOR.ja);
        for id in outline.keys().filter(|id| !id.contains('.')) {
            let name = id.strip_prefix("doctor-").unwrap();
            assert!(code.contains(&format!("\"{name}\"")), "nobody finds {name}");
            let in_order = code.contains(&format!("Level::Ok, \"{name}\""))
                || code.match_indices(".ok(\"").any(|(at, _)| code[at..].split('"').nth(3) == Some(name));
            assert_eq!(texts.attribute(id, "remedy", &[]).is_none(), in_order, "{name}");
        }
    }
}
