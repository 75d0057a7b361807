//! Making a backup.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Seek as _, SeekFrom};
use std::path::Path;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use sqlx::{AnyConnection, ConnectOptions as _, Connection as _, Row as _};
use warifu_backup::HalfBytes;
use warifu_backup::file::{self, BackupError, Manifest, Subject, Writer};
use warifu_envelope::{Overwrite, write_whole};
use warifu_hardware::hsm::Kek;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Attestation, Millis};
use warifu_ledger::{Digest, Id};
use warifu_replica::storage::copy;
use warifu_replica::{Replica, storage};
use warifu_split_key::ScalarError;
use zeroize::Zeroizing;

use super::{BackupFault, Elsewhere, Kept, Token, blocking, seal_context, workshop};

/// A backup that is on the disk under its name, and was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The digest of its manifest.
    pub fingerprint: Digest,
    /// How many custodians open it together.
    pub threshold: u8,
    /// How many have a piece.
    pub custodians: usize,
    /// Custodians whose card does not work any more, and who have no piece: the number on the card, or its id where it has proved
    /// none.
    pub left_out: Vec<String>,
    /// How many halves it has.
    pub halves: usize,
    /// Units with a key whose half the service itself does not have.
    pub missing: BTreeSet<Id>,
    /// Leaves of the ledger in it.
    pub size: u64,
}

/// What to do where the service itself lacks halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// There is no backup: the one before may be the last that has them.
    Refused,
    /// The backup says which they are.
    Known,
}

/// Makes a backup of what a service keeps, as of now, in a new file. The service may be running.
///
/// # Errors
/// [`BackupFault`]; there is no file then.
pub async fn make(
    kept: &Kept,
    token: &Token,
    at: Millis,
    lost: Lost,
    out: &Path,
) -> Result<Made, BackupFault> {
    if kept.elsewhere.is_none() && !kept.database.exists() {
        return Err(BackupFault::NotFounded);
    }
    let workshop = workshop(&kept.data)?;
    let snapshot = workshop.path().join("snapshot.sqlite");
    take_snapshot(kept, &snapshot).await?;
    let pool = storage::read_only_pool(&snapshot).await?;
    let replica = Replica::open(pool.clone(), None).await?;
    let state = replica.state().ok_or(BackupFault::NotFounded)?;
    if state.keys_of(kept.holder) != &token.keys {
        return Err(BackupFault::OtherKeys);
    }
    let custodians = state.custodians(kept.holder).ok_or(BackupFault::NoCustodians)?;
    let at = at.max(state.last_at());
    let (living, left_out): (BTreeSet<Id>, BTreeSet<Id>) =
        custodians.cards.iter().partition(|card| state.may_connect(card, at).is_ok());
    let left_out = left_out.iter().map(|card| number_of(&state, card)).collect();
    let transports = living.iter().filter_map(|id| Some((*id, state.card(id)?.card.transport.0)));
    let transports: Vec<_> = transports.collect();
    if transports.len() < usize::from(custodians.threshold) {
        return Err(BackupFault::CustodiansGone { living: transports.len(), needed: custodians.threshold });
    }
    let rows = sqlx::query(kept.halves).fetch_all(&pool).await?;
    let halves = rows
        .iter()
        .map(|row| {
            let unit: Vec<u8> = row.try_get(0)?;
            let unit = unit.try_into().map_err(|_| sqlx::Error::Decode("a unit's id is too long".into()))?;
            Ok((Id(unit), row.try_get(1)?))
        })
        .collect::<Result<Vec<(Id, Vec<u8>)>, sqlx::Error>>()?;
    let missing = missing_halves(&state, &halves.iter().map(|(unit, _)| *unit).collect());
    if lost == Lost::Refused && !missing.is_empty() {
        return Err(BackupFault::HalvesLost { units: missing });
    }
    let size = state.tree().size();
    let subject = Subject {
        organization: state.organization(),
        service: kept.holder,
        at,
        size,
        root: state.tree().root(size).map_err(|_| BackupFault::OtherContent { why: "the root" })?,
        threshold: custodians.threshold,
        custodians: transports,
        missing: missing.clone(),
    };
    pool.close().await;

    let (out, count, token) = (out.to_owned(), halves.len(), token.clone());
    let custodians = subject.custodians.len();
    let threshold = subject.threshold;
    let fingerprint = blocking(move || write(&subject, &token, &halves, &snapshot, &out)).await?;
    // Only now: the snapshot was in it.
    drop(workshop);
    Ok(Made { fingerprint, threshold, custodians, left_out, halves: count, missing, size })
}

fn number_of(state: &State, card: &Id) -> String {
    match state.card(card).map(|found| &found.card.attestation) {
        Some(Attestation::Generated { serial, .. }) => serial.to_string(),
        _ => card.to_string(),
    }
}

/// Units that have a key in the ledger, and whose half is not among those that are here: the service was restored without them.
#[must_use]
pub fn missing_halves(state: &State, here: &BTreeSet<Id>) -> BTreeSet<Id> {
    let with_key = state.units().filter(|(_, unit)| unit.key.is_some());
    with_key.map(|(id, _)| *id).filter(|id| !here.contains(id)).collect()
}

/// A copy of the database as of one instant, also while others write it, without what no backup has (P-10.7).
async fn take_snapshot(kept: &Kept, snapshot: &Path) -> Result<(), BackupFault> {
    let copy = snapshot.with_extension("all");
    match &kept.elsewhere {
        None => copy_into(storage::read_only(&kept.database).await?, &copy).await?,
        Some(elsewhere) => bring(elsewhere, &copy).await?,
    }
    let mut connection = storage::options(&copy, "rw")?.connect().await?;
    for sql in kept.forgotten {
        sqlx::query(*sql).execute(&mut connection).await?;
    }
    // Once more: what was deleted is still in the file's free pages.
    copy_into(connection, snapshot).await?;
    std::fs::remove_file(&copy)?;
    Ok(())
}

/// The same, of a database that is not a file.
async fn bring(elsewhere: &Elsewhere, file: &Path) -> Result<(), BackupFault> {
    let source = elsewhere.place.read_only_pool().await?;
    let target = storage::open(file, (elsewhere.migrations)()).await?;
    let mut reading = storage::begin_reading(&source).await?;
    let mut writing = storage::begin(&target).await?;
    copy::copy(&mut reading, &mut writing, elsewhere.tables).await?;
    writing.commit().await?;
    drop(reading);
    source.close().await;
    // The last connection brings the write-ahead log into the file, and removes it.
    target.close().await;
    Ok(())
}

async fn copy_into(mut connection: AnyConnection, file: &Path) -> Result<(), BackupFault> {
    // A path is data, and SQLite takes it as a value.
    sqlx::query("VACUUM INTO $1").bind(file.to_string_lossy().into_owned()).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Writes the file, whole or not at all, and reads it back before it gets its name. Blocks.
fn write(
    subject: &Subject,
    token: &Token,
    halves: &[(Id, Vec<u8>)],
    snapshot: &Path,
    out: &Path,
) -> Result<Digest, BackupFault> {
    let (backup, key) = file::begin(subject, &mut UnwrapErr(SysRng))?;
    let mut envelope = Envelope::unsigned(&backup).map_err(BackupError::from)?;
    let signature = token.signing.sign_digest(envelope.digest().0)?;
    envelope.add_signature(&token.keys.signing, signature);
    let fingerprint = envelope.digest();
    let count = u32::try_from(halves.len()).map_err(|_| BackupError::Senseless { why: "too many halves" })?;
    write_whole(out, Overwrite::Refuse, |output| {
        let mut writer = Writer::new(&mut *output, &envelope, &key, count)?;
        for (unit, sealed) in halves {
            writer.half(unit, &open_half(&token.kek, subject, unit, sealed)?)?;
        }
        let written = writer.database(File::open(snapshot)?, |_| {})?;
        output.sync_all()?;
        output.seek(SeekFrom::Start(0))?;
        let mut input = BufReader::new(output);
        let manifest = Manifest::read(&mut input)?;
        let read = file::open(input, &key)?.database(std::io::sink(), |_| {})?;
        if manifest.fingerprint() != fingerprint || read != written {
            return Err(BackupFault::OtherContent { why: "what was written reads as something else" });
        }
        Ok(fingerprint)
    })
}

fn open_half(kek: &Kek, subject: &Subject, unit: &Id, sealed: &[u8]) -> Result<HalfBytes, BackupFault> {
    let opened = kek.open(sealed, &seal_context(&subject.organization, unit, subject.service))?;
    let bytes: &[u8; 32] = opened.as_slice().try_into().map_err(|_| ScalarError::OutOfRange)?;
    Ok(Zeroizing::new(*bytes))
}

#[cfg(test)]
mod tests {
    use warifu_ledger::statement::HalfHolder;

    use super::*;

    #[tokio::test]
    async fn p_10_7_what_no_backup_has_is_not_in_the_free_pages_either() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("ca.sqlite");
        let mut connection = storage::options(&database, "rwc").unwrap().connect().await.unwrap();
        let secret = [b"on its way to a card".as_slice(); 40].concat();
        for sql in ["CREATE TABLE card_share (sealed BLOB)", "CREATE TABLE other (text TEXT)"] {
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        }
        sqlx::query("INSERT INTO card_share VALUES (?)")
            .bind(&secret)
            .execute(&mut connection)
            .await
            .unwrap();
        sqlx::query("INSERT INTO other VALUES ('kept')").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let kept = Kept {
            holder: HalfHolder::Ca,
            data: folder.path().to_owned(),
            database,
            elsewhere: None,
            halves: "",
            reseal: "",
            forgotten: &["DELETE FROM card_share"],
        };
        let snapshot = folder.path().join("snapshot.sqlite");
        take_snapshot(&kept, &snapshot).await.unwrap();
        let bytes = std::fs::read(&snapshot).unwrap();
        let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
        assert!(holds(b"kept") && !holds(b"on its way"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }
}
