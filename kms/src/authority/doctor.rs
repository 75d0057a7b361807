//! `warifu-kms authority doctor`: what the authority's machine lacks.

use std::path::Path;

use sqlx::SqliteConnection;
use warifu_console::{Settings as _, doctor};
use warifu_ledger::statement::{HalfHolder, Millis};
use warifu_replica::clock::{Clock as _, SystemClock};
use warifu_texts::findings::{Findings, Level};

use super::role::CA;
use super::{Config, SIGNING_KEY, TLS_KEY};

/// Looks at everything, beside the running service or without it, and changes nothing.
pub(super) async fn look(path: &Path) -> Findings {
    let mut findings = Findings::default();
    let found = &mut findings;
    let Some(config) = doctor::configuration::<Config>(found, path) else { return findings };
    doctor::folder(found, &config.data);
    let hsm = doctor::token(found, &config.hsm);
    let keys = doctor::keys(found, hsm.as_ref(), &config.statement(), [SIGNING_KEY, TLS_KEY]);
    if let Some(mut database) = doctor::database(found, &config.database()).await {
        match doctor::organization(&mut database).await {
            Some(organization) => {
                found.ok("founded", "founded", &[("organization", organization.to_string().into())]);
                let state = doctor::folded(&config.database()).await;
                if let (Some(state), Some(keys)) = (state, &keys) {
                    doctor::named(found, &state, HalfHolder::Kms, keys);
                }
                ledger(found, &mut database).await;
                doctor::crls(found, &mut database).await;
            }
            None => {
                found.add(Level::Fault, "founded", "not-founded", &[]);
            }
        }
    }
    if let Some(keys) = keys {
        doctor::listener(found, &config.listen, &keys.tls.0).await;
    }
    findings
}

async fn number(database: &mut SqliteConnection, sql: &'static str) -> Option<u64> {
    let found = sqlx::query_scalar::<_, Option<i64>>(sql).fetch_optional(database).await;
    found.ok().flatten().flatten().map(i64::unsigned_abs)
}

/// The ca's part, and the clock against what it has said before.
async fn ledger(found: &mut Findings, database: &mut SqliteConnection) {
    let size = number(database, "SELECT count(*) FROM ledger_leaf").await.unwrap_or_default();
    let cosigned = number(database, "SELECT size FROM cosignature").await.unwrap_or_default();
    let behind = [("behind", size.saturating_sub(cosigned).into())];
    let (level, id) =
        if cosigned < size { (Level::Warning, "cosigned-behind") } else { (Level::Ok, "cosigned") };
    found.add(level, "cosigned", id, &behind);

    let asked = sqlx::query_scalar::<_, Option<i64>>("SELECT max(time) FROM stamp_given WHERE site = ?")
        .bind(CA.as_bytes().as_slice())
        .fetch_one(&mut *database)
        .await;
    let asked: Millis = asked.ok().flatten().unwrap_or_default().unsigned_abs();
    let (old, values) = doctor::age(asked);
    let (level, id) = if old { (Level::Fault, "ca-silent") } else { (Level::Ok, "ca") };
    found.add(level, "ca", id, &values);

    // A clock that is behind what it once said stands still until it has caught up (P-5.4); one that is ahead nobody here
    // can tell.
    let said = number(database, "SELECT max(time) FROM stamp_clock").await.unwrap_or_default();
    doctor::clock(found, said.max(SystemClock.wall_ms()));
}
