//! Snapshots: what is in the file counts for nothing that the service's own key has not signed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use sqlx::AnyPool;
use warifu_ledger::Digest;
use warifu_ledger::state::{FORMAT, State};
use warifu_replica::{Replica, ReplicaError, Snapshots};

use crate::fixture::{ONE, TWO, Town, card_id, enrol, grant, id};
use crate::stage::{database, soft_key};

/// A service with this key that has the town's ledger in its folder, and has stopped.
struct Stage {
    folder: tempfile::TempDir,
    pool: AnyPool,
    town: Town,
}

impl Stage {
    async fn kept() -> Self {
        let (folder, town) = (tempfile::tempdir().unwrap(), Town::working());
        let stage = Self { pool: database(folder.path()).await, folder, town };
        let replica = stage.open().await;
        replica.append_many(0, stage.town.leaves.clone()).await.unwrap();
        replica.keep_snapshot().await;
        stage
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ledger.snapshot")
    }

    async fn open(&self) -> Replica {
        self.open_as("service").await.unwrap()
    }

    async fn open_as(&self, label: &str) -> Result<Replica, ReplicaError> {
        self.open_pinned(self.town.organization(), label).await
    }

    async fn open_pinned(&self, organization: Digest, label: &str) -> Result<Replica, ReplicaError> {
        let snapshots = Snapshots::new(self.folder.path(), soft_key(label)).after(1 << 40, 1);
        Replica::open_with_snapshots(self.pool.clone(), Some(organization), Some(snapshots)).await
    }

    /// Whether the next start goes on from the snapshot: one that folds all of the ledger fails at a leaf that was spoilt.
    async fn counts(&self) -> bool {
        let before: Vec<u8> = sqlx::query_scalar("SELECT bytes FROM ledger_leaf WHERE idx = 1")
            .fetch_one(&self.pool)
            .await
            .unwrap();
        let put = async |bytes: &[u8]| {
            let put = sqlx::query("UPDATE ledger_leaf SET bytes = $1 WHERE idx = 1").bind(bytes);
            assert_eq!(put.execute(&self.pool).await.unwrap().rows_affected(), 1);
        };
        put(b"spoilt").await;
        let opened = self.open_as("service").await;
        put(&before).await;
        opened.is_ok()
    }

    /// Puts a file there that somebody with this key has signed.
    fn sign(&self, label: &str, state: &[u8]) {
        let digest = Digest::of(state);
        let message = [b"warifu/snapshot/v1".as_slice(), &FORMAT.to_be_bytes(), digest.as_bytes()];
        let signature = soft_key(label).sign_digest(Digest::of(&message.concat()).0).unwrap();
        fs::write(self.file(), [signature.as_slice(), state].concat()).unwrap();
    }

    async fn opens_as_ordered(&self) {
        let state = self.open().await.state().unwrap();
        assert!(state == self.town.state, "it is not what the leaves come to");
        assert_eq!(state.grants_of_card(card_id("jiro")).count(), 0);
        assert!(state.unit(&id("tax")).is_some());
    }
}

/// The town's ledger as it would be with a right for `jiro` that nobody ordered.
fn with_a_right_for_jiro() -> Vec<u8> {
    let mut town = Town::working();
    town.done([grant("jiro", "tax")], ONE);
    town.issue("jiro", "tax");
    town.state.to_snapshot()
}

/// The same leaves, and a policy that nobody ordered: cards without an attestation may be enrolled.
fn with_another_policy(state: &State) -> Vec<u8> {
    let policy = state.policy();
    let times = [policy.lease_ms.to_be_bytes(), policy.pin_ceiling_ms.to_be_bytes()].concat();
    let mut bytes = state.to_snapshot();
    // The founding has one as well; that of now comes last.
    let place = bytes.windows(times.len()).rposition(|window| window == times).unwrap() + times.len();
    bytes[place] ^= 1;
    let forged = State::from_snapshot(&bytes).unwrap();
    assert!(forged.policy() != policy && forged.tree() == state.tree());
    bytes
}

#[tokio::test]
async fn i8_whoever_can_write_the_file_changes_nothing_that_was_ordered() {
    let stage = Stage::kept().await;
    let forged = with_another_policy(&stage.town.state);
    let signature = fs::read(stage.file()).unwrap()[..64].to_vec();
    fs::write(stage.file(), [signature, forged.clone()].concat()).unwrap();
    assert!(!stage.counts().await);
    stage.sign("thief", &forged);
    assert!(!stage.counts().await);
    stage.opens_as_ordered().await;
    // Nothing but the signature keeps it out.
    stage.sign("service", &forged);
    assert!(stage.counts().await);
}

#[tokio::test]
async fn i8_whoever_can_write_the_file_gives_himself_no_right() {
    let (stage, forged) = (Stage::kept().await, with_a_right_for_jiro());
    let signature = fs::read(stage.file()).unwrap()[..64].to_vec();
    // Other bytes under the service's signature; then under one of his own.
    fs::write(stage.file(), [signature, forged.clone()].concat()).unwrap();
    assert!(!stage.counts().await);
    stage.opens_as_ordered().await;
    stage.sign("thief", &forged);
    assert!(!stage.counts().await);
    stage.opens_as_ordered().await;
    // What the service itself might have signed, of leaves that are not here.
    stage.sign("service", &forged);
    assert!(!stage.counts().await);
    stage.opens_as_ordered().await;
}

#[tokio::test]
async fn another_services_snapshot_counts_for_nothing() {
    let stage = Stage::kept().await;
    // The same ledger, kept by the ca, say; or by this service with the token that it had before.
    stage.sign("another service", &stage.town.state.to_snapshot());
    assert!(!stage.counts().await);
    stage.opens_as_ordered().await;
    stage.sign("service", &stage.town.state.to_snapshot());
    assert!(stage.counts().await);
}

#[tokio::test]
async fn another_formats_snapshot_is_not_read() {
    let stage = Stage::kept().await;
    let state = stage.town.state.to_snapshot();
    let format = (FORMAT + 1).to_be_bytes();
    let message = [b"warifu/snapshot/v1".as_slice(), &format, Digest::of(&state).as_bytes()].concat();
    let signature = soft_key("service").sign_digest(Digest::of(&message).0).unwrap();
    fs::write(stage.file(), [signature.as_slice(), &state].concat()).unwrap();
    assert!(!stage.counts().await);
}

#[tokio::test]
async fn of_another_ledger_it_does_not_count() {
    // As long, and other leaves; then the same that has gone on, from before the database was put back.
    let stage = Stage::kept().await;
    let mut other = Town::working();
    other.done([enrol("saburo")], ONE);
    let mut town = Town::working();
    town.done([enrol("shiro")], ONE);
    stage.open().await.append_many(0, town.leaves.clone()).await.unwrap();
    stage.sign("service", &other.state.to_snapshot());
    assert!(!stage.counts().await);
    assert!(stage.open().await.state().unwrap() == town.state);
    town.done([enrol("saburo")], ONE);
    stage.sign("service", &town.state.to_snapshot());
    assert!(!stage.counts().await);
}

#[tokio::test]
async fn i8_no_leaf_is_handed_out_that_the_state_was_not_folded_from() {
    let stage = Stage::kept().await;
    let put =
        sqlx::query("UPDATE ledger_leaf SET bytes = $1 WHERE idx = 1").bind(stage.town.leaves[2].as_bytes());
    assert_eq!(put.execute(&stage.pool).await.unwrap().rows_affected(), 1);
    // The snapshot counts: nothing looks at the leaves between its first and its last.
    let replica = stage.open().await;
    assert_eq!(replica.leaves(0, 1).await.unwrap().len(), 1);
    for from in [0, 1] {
        let refused = replica.leaves(from, 10).await;
        assert!(matches!(refused, Err(ReplicaError::Contradicts { index: 1 })), "{refused:?}");
    }
    assert!(!replica.leaves(2, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn another_organization_is_refused_with_a_snapshot_as_without_one() {
    let stage = Stage::kept().await;
    let pinned = Digest::of(b"another organization");
    let opened = stage.open_pinned(pinned, "service").await;
    assert!(
        matches!(opened, Err(ReplicaError::OtherOrganization { expected, .. }) if expected == pinned),
        "{:?}",
        opened.err()
    );
}

#[tokio::test]
async fn what_is_damaged_torn_or_missing_is_passed_over() {
    let stage = Stage::kept().await;
    let whole = fs::read(stage.file()).unwrap();
    assert_eq!(fs::metadata(stage.file()).unwrap().permissions().mode() & 0o777, 0o600);
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let half = &whole[..whole.len() / 2];
    let zeroes = vec![0; whole.len()];
    for damaged in [&whole[..whole.len() - 1], half, &whole[..64], &whole[..63], &[], &flipped, &zeroes] {
        fs::write(stage.file(), &whole).unwrap();
        assert!(stage.counts().await);
        fs::write(stage.file(), damaged).unwrap();
        assert!(!stage.counts().await, "{} bytes", damaged.len());
        stage.opens_as_ordered().await;
    }
    fs::remove_file(stage.file()).unwrap();
    stage.opens_as_ordered().await;
    // What a power cut left of one that was being written.
    fs::write(stage.file().with_extension("new"), half).unwrap();
    fs::write(stage.file(), &whole).unwrap();
    assert!(stage.counts().await);
}

#[tokio::test]
async fn a_service_goes_on_from_it_and_folds_what_follows() {
    let mut stage = Stage::kept().await;
    assert!(stage.counts().await);
    stage.opens_as_ordered().await;
    // An older one is as good: what came after it is folded, and refused if it is not the ledger's.
    stage.town.done([enrol("saburo")], TWO);
    let replica = stage.open().await;
    replica.append_many(0, stage.town.leaves.clone()).await.unwrap();
    assert!(stage.counts().await);
    stage.opens_as_ordered().await;
    let last = "UPDATE ledger_leaf SET bytes = (SELECT bytes FROM ledger_leaf WHERE idx = 2)
                WHERE idx = (SELECT MAX(idx) FROM ledger_leaf)";
    sqlx::query(last).execute(&stage.pool).await.unwrap();
    assert!(matches!(stage.open_as("service").await, Err(ReplicaError::Rejected(_))));
}

#[tokio::test]
async fn one_that_cannot_be_written_changes_nothing() {
    let mut stage = Stage::kept().await;
    let before = fs::read(stage.file()).unwrap();
    // There is something in the place where the next one is written.
    fs::create_dir(stage.file().with_extension("new")).unwrap();
    stage.town.done([enrol("saburo")], TWO);
    let replica = stage.open().await;
    replica.append_many(0, stage.town.leaves.clone()).await.unwrap();
    replica.keep_snapshot().await;
    assert!(replica.state().unwrap() == stage.town.state);
    assert_eq!(fs::read(stage.file()).unwrap(), before);
    stage.opens_as_ordered().await;
    fs::remove_dir(stage.file().with_extension("new")).unwrap();
    replica.keep_snapshot().await;
    assert_ne!(fs::read(stage.file()).unwrap(), before);
    stage.opens_as_ordered().await;
}

#[tokio::test]
async fn it_is_written_while_a_service_runs_too() {
    let (folder, town) = (tempfile::tempdir().unwrap(), Town::working());
    let pool = database(folder.path()).await;
    let every = town.leaves.len() as u64;
    let snapshots = Snapshots::new(folder.path(), soft_key("service")).after(every, 1 << 40);
    let replica = Replica::open_with_snapshots(pool.clone(), None, Some(snapshots)).await.unwrap();
    let (last, before) = town.leaves.split_last().unwrap();
    replica.append_many(0, before.to_vec()).await.unwrap();
    replica.keep_snapshot().await;
    assert!(!folder.path().join("ledger.snapshot").exists(), "too few have come");
    replica.append(last.clone()).await.unwrap();
    // It is written when this can be asked again.
    replica.keep_snapshot().await;
    assert!(folder.path().join("ledger.snapshot").exists());
}
