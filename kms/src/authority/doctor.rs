//! `warifu-kms authority doctor`: what the authority's machine lacks.

use std::path::Path;

use rustix::fs::{Access, access};
use sqlx::AnyConnection;
use warifu_api::wire::audit::{AlarmKind, ROWS_LIMIT};
use warifu_console::{Settings as _, doctor};
use warifu_ledger::Id;
use warifu_ledger::journal::{BrokenAt, Position, SignedHead};
use warifu_ledger::register::Name;
use warifu_ledger::state::State;
use warifu_ledger::statement::{HalfHolder, Millis};
use warifu_replica::clock::{Clock as _, SystemClock};
use warifu_replica::storage::Place;
use warifu_texts::findings::{Findings, Level};

use super::deliveries::Objects;
use super::role::CA;
use super::store::Store;
use super::units::HALVES;
use super::{AuthorityError, Config, LABELS, NotDelivered, S3Fault};

/// Looks at everything, beside the running service or without it, and changes nothing.
pub(super) async fn look(path: &Path) -> Findings {
    let mut findings = Findings::default();
    let found = &mut findings;
    let Some(config) = doctor::configuration::<Config>(found, path) else { return findings };
    doctor::folder(found, &config.data);
    let hsm = doctor::token(found, &config.hsm);
    let keys = doctor::keys(found, hsm.as_ref(), &config.statement(), &LABELS);
    let place = match config.place() {
        Ok(place) => place,
        Err(error) => {
            doctor::no_database(found, &error);
            return findings;
        }
    };
    if let Some(mut database) = doctor::database(found, &place).await {
        match doctor::organization(&mut database).await {
            Some(organization) => {
                found.ok("founded", "founded", &[("organization", organization.to_string().into())]);
                let state = doctor::folded(&place).await;
                if let (Some(state), Some(keys)) = (&state, &keys) {
                    doctor::named(found, state, HalfHolder::Kms, keys);
                }
                if let Some(state) = &state {
                    doctor::halves(found, &mut database, HALVES, state).await;
                    journals(found, &place, state).await;
                }
                ledger(found, &mut database).await;
                doctor::crls(found, &mut database).await;
            }
            None => {
                found.add(Level::Fault, "founded", "not-founded", &[]);
            }
        }
    }
    the_box(found, &config).await;
    if let Some(keys) = keys {
        doctor::listener(found, &config.listen, &keys.tls.0).await;
    }
    if let Some(public) = &config.public {
        doctor::public_listener(found, &public.listen).await;
    }
    findings
}

/// Whether the box can keep files. To S3 something is put, which has to come back and be deleted; a folder that the service has not made
/// yet is left to it.
async fn the_box(found: &mut Findings, config: &Config) {
    let Some(s3) = &config.deliveries.s3 else { return box_folder(found, config) };
    let bucket = ("bucket", s3.bucket.clone().into());
    let proved = match Objects::open(config) {
        Ok(objects) => objects.prove().await,
        Err(error) => Err(error),
    };
    match proved {
        Ok(()) => found.ok("box", "box", &[("place", format!("{}/{}", s3.endpoint, s3.bucket).into())]),
        Err(AuthorityError::Delivery(NotDelivered::S3(S3Fault::Refused { .. }))) => {
            found.add(Level::Fault, "box", "box-s3-refused", &[bucket]);
        }
        Err(AuthorityError::Delivery(NotDelivered::S3(S3Fault::Missing { .. }))) => {
            found.add(Level::Fault, "box", "box-s3-no-bucket", &[bucket]);
        }
        Err(error) => {
            found.add(Level::Fault, "box", "box-s3-bad", &[bucket, ("why", doctor::why(&error))]);
        }
    }
}

fn box_folder(found: &mut Findings, config: &Config) {
    let folder = config.box_folder();
    if !folder.is_dir() {
        return;
    }
    let place = ("place", folder.display().to_string().into());
    match access(&folder, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => found.ok("box", "box", &[place]),
        Err(error) => {
            let why = doctor::why(&std::io::Error::from(error));
            found.add(Level::Fault, "box", "box-folder-bad", &[place, ("why", why)]);
        }
    }
    if config.deliveries.folder.is_some() {
        doctor::room(found, &folder);
    }
}

async fn number(database: &mut AnyConnection, sql: &'static str) -> Option<u64> {
    let found = sqlx::query_scalar::<_, Option<i64>>(sql).fetch_optional(database).await;
    found.ok().flatten().flatten().map(i64::unsigned_abs)
}

/// Whether every audit journal is what its site has signed and what the ledger has committed, row by row; and the alarms of before.
async fn journals(found: &mut Findings, database: &Place, state: &State) {
    let Ok(pool) = database.read_only_pool().await else { return };
    let store = Store::new(pool.clone());
    if look_at_journals(found, &store, state).await.is_err() {
        found.add(Level::Fault, "journals", "journals-unreadable", &[]);
    }
    pool.close().await;
}

async fn look_at_journals(found: &mut Findings, store: &Store, state: &State) -> super::Result<()> {
    let (mut rows, mut sound) = (0, true);
    let journals = store.all_journals(0, usize::MAX).await?;
    for SignedHead { site, journal, size, head, .. } in journals.iter().map(|(_, journal)| &journal.head) {
        let committed = state.journals(site).and_then(|all| {
            let of_current = (all.current == *journal).then_some(all.head);
            of_current.or_else(|| all.former.get(journal).copied())
        });
        let end = Position { size: *size, head: *head };
        match broken(store, state, (site, journal), [Some(end), committed]).await? {
            None => rows += size,
            Some(row) => {
                let values = [("site", site_name(store, state, site).await?.into()), ("row", row.into())];
                sound = found.add(Level::Fault, "journals", "journal-changed", &values);
            }
        }
    }
    for (_, alarm) in store.journal_alarms(0, usize::MAX).await? {
        let site = site_name(store, state, &alarm.site).await?;
        let values = [("site", site.into()), ("row", alarm.row.into())];
        let (level, id) = match alarm.kind {
            AlarmKind::Broken => (Level::Fault, "journal-broken"),
            AlarmKind::GivenUp => (Level::Warning, "journal-given-up"),
        };
        found.add(level, "journals", id, &values);
    }
    if sound {
        found.ok("journals", "journals", &[("count", journals.len().into()), ("rows", rows.into())]);
    }
    Ok(())
}

/// The first row that is not what it was, if the journal does not pass through all these positions.
async fn broken(
    store: &Store,
    state: &State,
    (site, journal): (&Id, &Id),
    positions: [Option<Position>; 2],
) -> super::Result<Option<u64>> {
    let mut here = Position::start(&state.organization(), site, journal);
    let mut left: Vec<Position> = positions.into_iter().flatten().collect();
    loop {
        let rows = store.journal_rows(site, journal, here.size, ROWS_LIMIT).await?;
        if rows.is_empty() {
            return Ok(left.first().map(|_| here.size));
        }
        for row in rows {
            here = match here.after(&row) {
                Ok(next) => next,
                Err(BrokenAt { index }) => return Ok(Some(index)),
            };
            if left.iter().any(|position| position.size == here.size && position.head != here.head) {
                return Ok(Some(row.index));
            }
            left.retain(|position| position.size != here.size);
        }
    }
}

async fn site_name(store: &Store, state: &State, site: &Id) -> super::Result<String> {
    let Some(found) = state.site(site) else { return Ok(site.to_string()) };
    let record = store.record(&found.name).await?;
    let name = record.and_then(|record| Name::parse(&record.text).ok());
    Ok(name.map_or_else(|| site.to_string(), |name| name.name))
}

/// The ca's part, and the clock against what it has said before.
async fn ledger(found: &mut Findings, database: &mut AnyConnection) {
    let size = number(database, "SELECT count(*) FROM ledger_leaf").await.unwrap_or_default();
    let cosigned = number(database, "SELECT size FROM cosignature").await.unwrap_or_default();
    let behind = [("behind", size.saturating_sub(cosigned).into())];
    let (level, id) =
        if cosigned < size { (Level::Warning, "cosigned-behind") } else { (Level::Ok, "cosigned") };
    found.add(level, "cosigned", id, &behind);

    let asked = sqlx::query_scalar::<_, Option<i64>>("SELECT max(time) FROM stamp_given WHERE site = $1")
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
