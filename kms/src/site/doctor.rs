//! `warifu-kms site doctor`: what the site's machine lacks.

use std::path::Path;

use warifu_console::{Settings as _, doctor};
use warifu_hardware::hsm::Mechanisms;
use warifu_ledger::Id;
use warifu_ledger::state::{Grant, State};
use warifu_ledger::statement::ServiceKeys;
use warifu_replica::storage::{self, Place};
use warifu_texts::findings::{Findings, Level};

use super::config::Config;
use super::journal::Journal;
use super::service::LABELS;

/// With less room for objects than this, in bytes, an HSM will refuse new grants soon.
const LITTLE_MEMORY: usize = 64 << 10;

/// Looks at everything, beside the running service or without it, and changes nothing.
pub(super) async fn look(path: &Path) -> Findings {
    let mut findings = Findings::default();
    let found = &mut findings;
    let Some(config) = doctor::configuration::<Config>(found, path) else { return findings };
    doctor::folder(found, &config.data);
    let hsm = doctor::token(found, &config.hsm);
    let keys = doctor::keys(found, hsm.as_ref(), &config.statement(), &LABELS);
    let state = doctor::folded(&Place::File(config.database())).await;
    if let Some(room) = hsm.as_ref().and_then(|hsm| hsm.probe().ok()) {
        let wanted = state.as_ref().zip(keys.as_ref()).map_or(0, |(state, keys)| served_grants(state, keys));
        grant_keys(found, &room, wanted);
    }
    match config.organization {
        Some(_) => {}
        None => {
            found.add(Level::Fault, "founded", "no-organization", &[]);
        }
    }
    if let Some(mut database) = doctor::database(found, &Place::File(config.database())).await {
        match (config.organization, doctor::organization(&mut database).await) {
            (Some(configured), Some(stored)) if configured != stored => {
                found.add(Level::Fault, "founded", "other-organization", &[]);
            }
            (_, Some(stored)) => {
                found.ok("founded", "founded", &[("organization", stored.to_string().into())]);
            }
            (_, None) => {}
        }
        doctor::stamp(found, &mut database).await;
        journal(found, &config.database()).await;
    }
    if let Some(keys) = keys {
        doctor::listener(found, &config.listen, &keys.tls.0).await;
    }
    // What is configured counts until the ledger is here.
    let named = state.map(|state| state.kms().tls.0);
    doctor::kms(found, &config.kms.address, named.or(config.kms.key().ok().flatten())).await;
    findings
}

/// How many grants the site with these keys should have a key pair for, by the ledger as far as it has folded it.
fn served_grants(state: &State, keys: &ServiceKeys) -> usize {
    let Some((site, _)) = state.sites().find(|(_, site)| site.keys == *keys) else { return 0 };
    let serves = |(id, grant): &(&Id, &Grant)| {
        grant.issued.is_some()
            && state.serves(site, &grant.unit)
            && state.live_grant(id, state.last_at()).is_ok()
    };
    state.grants().filter(serves).count()
}

/// Whether the HSM holds what the ledger speaks of, and has room for more.
fn grant_keys(findings: &mut Findings, room: &Mechanisms, wanted: usize) {
    let held = room.grant_keys;
    let full = room.free_private_memory.is_some_and(|free| free < LITTLE_MEMORY);
    let (level, id) = match held {
        0 if wanted > 0 => (Level::Fault, "grant-keys-none"),
        _ if held < wanted => (Level::Warning, "grant-keys-fewer"),
        _ if full => (Level::Warning, "grant-keys-full"),
        _ => (Level::Ok, "grant-keys"),
    };
    findings.add(level, "grant-keys", id, &[("count", held.into()), ("wanted", wanted.into())]);
}

/// Whether every row of the audit journal follows the one before.
async fn journal(found: &mut Findings, database: &Path) {
    let Ok(pool) = storage::read_only_pool(database).await else { return };
    let (level, id, rows) = match Journal::new(pool.clone()).first_broken().await {
        Ok((rows, None)) => (Level::Ok, "own-journal", rows),
        Ok((_, Some(row))) => (Level::Fault, "own-journal-changed", row),
        Err(_) => (Level::Fault, "journals-unreadable", 0),
    };
    found.add(level, "journals", id, &[("row", rows.into())]);
    pool.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hsm_that_lacks_what_the_ledger_speaks_of_is_named() {
        for (held, free, wanted, id, worst) in [
            (0, None, 0, "grant-keys", Level::Ok),
            (3, Some(1 << 20), 3, "grant-keys", Level::Ok),
            // A grant that is over since the last fold still has its pair.
            (4, None, 3, "grant-keys", Level::Ok),
            (2, None, 3, "grant-keys-fewer", Level::Warning),
            (0, None, 3, "grant-keys-none", Level::Fault),
            (3, Some(1000), 3, "grant-keys-full", Level::Warning),
        ] {
            let room = Mechanisms {
                manufacturer: String::new(),
                model: String::new(),
                present: Vec::new(),
                free_private_memory: free,
                grant_keys: held,
                max_grant_keys: None,
            };
            let mut findings = Findings::default();
            grant_keys(&mut findings, &room, wanted);
            let texts =
                warifu_texts::Texts::load(warifu_texts::Language::English, &[doctor::DOCTOR]).unwrap();
            let told = findings.to_json(&texts);
            assert_eq!(
                (told[0]["finding"].as_str(), findings.worst()),
                (Some(id), worst),
                "{held} of {wanted}"
            );
        }
    }
}
