//! `warifu-ca doctor`: what the ca's machine lacks.

use std::path::Path;

use sqlx::AnyConnection;
use warifu_console::{Settings as _, doctor};
use warifu_ledger::statement::HalfHolder;
use warifu_replica::clock::{Clock as _, SystemClock};
use warifu_replica::storage::Place;
use warifu_texts::findings::{Findings, Level};

use crate::certificates::RENEWED_BEFORE_MS;
use crate::config::Config;
use crate::keys::LABELS;
use crate::vault;

/// Looks at everything, beside the running service or without it, and changes nothing.
pub async fn look(path: &Path) -> Findings {
    let mut findings = Findings::default();
    let found = &mut findings;
    let Some(config) = doctor::configuration::<Config>(found, path) else { return findings };
    doctor::folder(found, &config.data);
    let hsm = doctor::token(found, &config.hsm);
    let keys = doctor::keys(found, hsm.as_ref(), &config.statement(), &LABELS);
    let mut kms_key = config.kms.key().ok().flatten();
    if let Some(mut database) = doctor::database(found, &Place::File(config.database())).await {
        match vault::pinned(&mut database).await.ok().flatten() {
            Some(pin) => {
                let state = doctor::folded(&Place::File(config.database())).await;
                kms_key = Some(state.as_ref().map_or(pin.kms_tls, |state| state.kms().tls.0));
                found.ok("founded", "founded", &[("organization", pin.organization.to_string().into())]);
                if let (Some(state), Some(keys)) = (&state, &keys) {
                    doctor::named(found, state, HalfHolder::Ca, keys);
                }
                if let Some(state) = &state {
                    doctor::halves(found, &mut database, vault::kept(&config).halves, state).await;
                }
                doctor::stamp(found, &mut database).await;
                doctor::crls(found, &mut database).await;
                certificates(found, &mut database).await;
                if let Some(root) = vault::root_fingerprint(&mut database).await.ok().flatten() {
                    found.ok("root", "root", &[("fingerprint", root.to_string().into())]);
                }
            }
            None => {
                found.add(Level::Fault, "founded", "not-founded", &[]);
            }
        }
    }
    doctor::kms(found, &config.kms.address, kms_key).await;
    findings
}

/// Those that should have been renewed, and of which nothing else is said. Only a ca that does not run comes here.
async fn certificates(found: &mut Findings, database: &mut AnyConnection) {
    let soon = SystemClock.wall_ms().saturating_add(RENEWED_BEFORE_MS);
    let late = sqlx::query_scalar::<_, i64>(
        "SELECT count(*) FROM (SELECT max(not_after) AS ends, max(cause IS NOT NULL) AS over
         FROM certificate GROUP BY kind, id) WHERE ends < ? AND over = 0",
    )
    .bind(i64::try_from(soon).unwrap_or(i64::MAX))
    .fetch_one(database)
    .await
    .unwrap_or_default();
    let (level, id) =
        if late > 0 { (Level::Warning, "certificates-end-soon") } else { (Level::Ok, "certificates") };
    found.add(level, "certificates", id, &[("count", late.into())]);
}
