//! `warifu-kms site doctor`: what the site's machine lacks.

use std::path::Path;

use warifu_console::{Settings as _, doctor};
use warifu_texts::findings::{Findings, Level};

use super::config::Config;
use super::service::{SIGNING_KEY, TLS_KEY};

/// With less room for objects than this, in bytes, an HSM will refuse new grants soon.
const LITTLE_MEMORY: usize = 64 << 10;

/// Looks at everything, beside the running service or without it, and changes nothing.
pub(super) async fn look(path: &Path) -> Findings {
    let mut findings = Findings::default();
    let found = &mut findings;
    let Some(config) = doctor::configuration::<Config>(found, path) else { return findings };
    doctor::folder(found, &config.data);
    let hsm = doctor::token(found, &config.hsm);
    if let Some(room) = hsm.as_ref().and_then(|hsm| hsm.probe().ok()) {
        let full = room.free_private_memory.is_some_and(|free| free < LITTLE_MEMORY);
        let (level, id) = if full { (Level::Warning, "grant-keys-full") } else { (Level::Ok, "grant-keys") };
        found.add(level, "grant-keys", id, &[("count", room.grant_keys.into())]);
    }
    let keys = doctor::keys(found, hsm.as_ref(), &config.statement(), [SIGNING_KEY, TLS_KEY]);
    match config.organization {
        Some(_) => {}
        None => {
            found.add(Level::Fault, "founded", "no-organization", &[]);
        }
    }
    if let Some(mut database) = doctor::database(found, &config.database()).await {
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
    }
    if let Some(keys) = keys {
        doctor::listener(found, &config.listen, &keys.tls.0).await;
    }
    // What is configured counts until the ledger is here.
    let named = doctor::folded(&config.database()).await.map(|state| state.kms().tls.0);
    doctor::kms(found, &config.kms.address, named.or(config.kms.key().ok().flatten())).await;
    findings
}
