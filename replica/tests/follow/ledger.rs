//! The ledger in the database: what is refused leaves nothing, what is acknowledged stays.

use std::os::unix::fs::PermissionsExt as _;

use futures_util::FutureExt as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr as _};
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{CheckpointError, Signer};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::Rejected;
use warifu_replica::storage::{self, StorageError};
use warifu_replica::{Replica, ReplicaError};

use crate::fixture::{ONE, TWO, Town, enrol, note, note_with, service_keys, site};
use crate::stage::database;

async fn replica(folder: &tempfile::TempDir, pinned: Option<Digest>) -> Replica {
    Replica::open(database(folder.path()).await, pinned).await.unwrap()
}

#[tokio::test]
async fn a_ledger_survives_and_folds_to_the_same_state() {
    let (folder, town) = (tempfile::tempdir().unwrap(), Town::working());
    let first = replica(&folder, Some(town.organization())).await;
    assert!(first.state().is_none());
    let mut sizes = first.subscribe();
    for (leaf, index) in town.leaves.iter().zip(0..) {
        let appended = first.append(leaf.clone()).await.unwrap();
        assert_eq!((appended.index, appended.before.is_none()), (index, index == 0));
        assert_eq!(*sizes.borrow_and_update(), index + 1);
    }
    let again = replica(&folder, Some(town.organization())).await;
    assert_eq!(again.size(), town.leaves.len() as u64);
    let state = again.state().unwrap();
    let size = state.tree().size();
    assert_eq!(state.tree().root(size), town.state.tree().root(size));
    let stored = again.leaves(2, 3).await.unwrap();
    let expected: Vec<_> = town.leaves[2..5].iter().map(|leaf| leaf.as_bytes().to_vec()).collect();
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn another_organizations_ledger_is_refused() {
    let (folder, town) = (tempfile::tempdir().unwrap(), Town::founded());
    let other = Digest::of(b"another town");
    let refusing = replica(&folder, Some(other)).await;
    let error = refusing.append(town.leaves[0].clone()).await.err().unwrap();
    assert!(matches!(error, ReplicaError::OtherOrganization { expected, .. } if expected == other));
    assert_eq!(refusing.size(), 0);

    let taking = replica(&folder, None).await;
    taking.append(town.leaves[0].clone()).await.unwrap();
    let error = Replica::open(database(folder.path()).await, Some(other)).await.err().unwrap();
    assert!(matches!(error, ReplicaError::OtherOrganization { .. }));
}

#[tokio::test]
async fn a_refused_leaf_leaves_nothing() {
    let (folder, mut town) = (tempfile::tempdir().unwrap(), Town::founded());
    let replica = replica(&folder, None).await;
    replica.append(town.leaves[0].clone()).await.unwrap();
    let unsigned = Leaf::new(town.at + 1, town.order([site("main")], &[])).unwrap();
    let good = Leaf::new(town.at + 1, town.order([site("main")], TWO)).unwrap();
    let error = replica.append(unsigned.clone()).await.err().unwrap();
    assert!(matches!(error, ReplicaError::Rejected(Rejected::Unsigned)));
    // All or nothing, also where the refused one comes last.
    let error = replica.append_many(1, vec![good.clone(), unsigned]).await.err().unwrap();
    assert!(matches!(error, ReplicaError::Rejected(Rejected::Unsigned)));
    assert_eq!((replica.size(), replica.leaves(0, 10).await.unwrap().len()), (1, 1));
    replica.append(good).await.unwrap();
    assert_eq!(replica.size(), 2);
}

#[tokio::test]
async fn two_who_append_at_once_get_two_places() {
    let (folder, mut town) = (tempfile::tempdir().unwrap(), Town::founded());
    let replica = replica(&folder, None).await;
    replica.append(town.leaves[0].clone()).await.unwrap();
    let (one, two) = (town.order([site("main")], TWO), town.order([site("branch")], TWO));
    let append = async |envelope| {
        let turn = replica.turn().await?;
        let at = turn.state().unwrap().last_at() + 1;
        turn.append(Leaf::new(at, envelope)?).await
    };
    let (first, second) = tokio::join!(append(one), append(two));
    let mut places = [first.unwrap().index, second.unwrap().index];
    places.sort_unstable();
    assert_eq!(places, [1, 2]);
}

#[tokio::test]
async fn what_is_asked_for_and_not_waited_for_is_still_whole() {
    let (folder, town) = (tempfile::tempdir().unwrap(), Town::working());
    let replica = replica(&folder, None).await;
    for leaf in &town.leaves {
        // The caller is gone after the first poll: the leaf is either durable and published, or not there.
        let mut asked = Box::pin(replica.append(leaf.clone()));
        let _ = (&mut asked).now_or_never();
        drop(asked);
        if replica.append(leaf.clone()).await.is_err() {
            let known = replica.leaves(0, 100).await.unwrap();
            assert!(known.iter().any(|bytes| bytes == leaf.as_bytes()));
        }
    }
    assert_eq!(replica.size(), town.leaves.len() as u64);
    let stored = replica.leaves(0, 100).await.unwrap();
    assert!(stored.iter().zip(&town.leaves).all(|(bytes, leaf)| bytes == leaf.as_bytes()));
}

#[tokio::test]
async fn leaves_that_are_here_are_passed_over_and_others_in_their_place_refused() {
    let (folder, town) = (tempfile::tempdir().unwrap(), Town::working());
    let replica = replica(&folder, None).await;
    assert_eq!(replica.append_many(0, town.leaves[..3].to_vec()).await.unwrap().len(), 3);
    let new = replica.append_many(1, town.leaves[1..].to_vec()).await.unwrap();
    assert_eq!(new.len(), town.leaves.len() - 3);
    assert!(replica.append_many(0, town.leaves.clone()).await.unwrap().is_empty());
    let other = Leaf::new(town.at, town.leaves[2].envelope().clone()).unwrap();
    let error = replica.append_many(1, vec![town.leaves[1].clone(), other]).await.err().unwrap();
    assert!(matches!(error, ReplicaError::Contradicts { index: 2 }));
    let beyond = town.leaves.len() as u64 + 1;
    let error = replica.append_many(beyond, vec![town.leaves[0].clone()]).await.err().unwrap();
    assert!(matches!(error, ReplicaError::Gap { .. }));
}

#[tokio::test]
async fn leaves_that_somebody_brings_need_the_kms_to_vouch_for_them() {
    let (folder, mut town) = (tempfile::tempdir().unwrap(), Town::working());
    let replica = replica(&folder, None).await;
    let old = town.seen();
    replica.append_many(0, town.leaves.clone()).await.unwrap();
    let from = replica.size();
    let order = town.order([enrol("saburo")], ONE);
    // The order is real, its place and instant are invented.
    let invented = Leaf::new(town.at + 5, order.clone()).unwrap();
    town.append(order).unwrap();
    let note_of_now = town.seen();

    let vouched = |note: String| {
        let (replica, invented) = (replica.clone(), invented.clone());
        async move { replica.append_vouched(from, vec![invented], &note).await }
    };
    let error = vouched(note_of_now.clone()).await.err().unwrap();
    assert!(matches!(error, ReplicaError::Rejected(Rejected::Fork { .. })));
    let by_ca = note(&town.organization(), &town.head(), Signer::Ca);
    let error = vouched(by_ca).await.err().unwrap();
    assert!(matches!(error, ReplicaError::Checkpoint(CheckpointError::NotSigned(Signer::Kms))));
    // An old checkpoint vouches for none of them.
    assert!(vouched(old.clone()).await.unwrap().is_empty());
    town.done([enrol("shiro")], ONE);
    let error = vouched(town.seen()).await.err().unwrap();
    assert!(matches!(error, ReplicaError::NotCovered { .. }));
    assert_eq!(replica.size(), from);

    let two = town.leaves[town.leaves.len() - 2..].to_vec();
    assert_eq!(replica.append_vouched(from, two, &note_of_now).await.unwrap().len(), 1);
}

/// P-4.17: what whoever answers shows is taken if two officers' order and the new keys prove it, and only as it is.
#[tokio::test]
async fn a_new_kms_proves_itself() {
    let (folder, mut town) = (tempfile::tempdir().unwrap(), Town::working());
    let replica = replica(&folder, None).await;
    replica.append_many(0, town.leaves.clone()).await.unwrap();
    let (from, here) = (replica.size(), town.leaves.len());
    let shown = |leaves: &[Leaf], note: &str| {
        let (replica, leaves, note) = (replica.clone(), leaves.to_vec(), note.to_owned());
        async move { replica.append_succession(from, leaves, &note).await }
    };
    let none = shown(&[], &town.seen()).await.err().unwrap();
    assert!(matches!(none, ReplicaError::NoSuccessor));
    // The kms that is known is followed where it is known.
    town.done([enrol("saburo")], ONE);
    let none = shown(&town.leaves[here..], &town.seen()).await.err().unwrap();
    assert!(matches!(none, ReplicaError::NoSuccessor));

    town.recover_kms("kms 2");
    let by = |town: &Town, label: &str| note_with(label, &town.organization(), &town.head(), Signer::Kms);
    let by_the_lost_one = shown(&town.leaves[here..], &by(&town, "kms")).await.err().unwrap();
    assert!(matches!(by_the_lost_one, ReplicaError::Checkpoint(CheckpointError::NotSigned(Signer::Kms))));
    let order = town.leaves.last().unwrap().envelope().clone();
    let invented = [town.leaves[here].clone(), Leaf::new(town.at + 5, order).unwrap()];
    let elsewhen = shown(&invented, &by(&town, "kms 2")).await.err().unwrap();
    assert!(matches!(elsewhen, ReplicaError::Rejected(Rejected::Fork { .. })));
    let before = by(&town, "kms 2");
    let head = town.head();
    let on = town.saw("kms 2", &head, enrol("shiro"), ONE);
    town.append(on).unwrap();
    let more = shown(&town.leaves[here..], &before).await.err().unwrap();
    assert!(matches!(more, ReplicaError::NotCovered { .. }));
    let fewer = shown(&town.leaves[here..here + 2], &by(&town, "kms 2")).await.err().unwrap();
    assert!(matches!(fewer, ReplicaError::NotCovered { .. }));
    assert_eq!(replica.size(), from);

    assert_eq!(shown(&town.leaves[here..], &by(&town, "kms 2")).await.unwrap().len(), 3);
    assert_eq!(replica.state().unwrap().kms().tls, service_keys("kms 2").tls);
}

#[tokio::test]
async fn p_5_4_no_leaf_comes_in_that_is_older_than_a_stamp_before_it() {
    let (folder, town) = (tempfile::tempdir().unwrap(), Town::working());
    let replica = replica(&folder, None).await;
    replica.append_many(0, town.leaves[..3].to_vec()).await.unwrap();
    let next = town.leaves[3].clone();
    let backdated = |error: ReplicaError| matches!(error, ReplicaError::Backdated { index: 3, .. });

    // A stamp that was given when the leaf was there says nothing of it, one that was given before does.
    replica.stamped(3, next.at() + 1).await.unwrap();
    replica.stamped(4, next.at() + 2).await.unwrap();
    assert!(backdated(replica.append_many(3, town.leaves[3..].to_vec()).await.err().unwrap()));
    assert!(backdated(replica.append(next.clone()).await.err().unwrap()));
    let brought = replica.append_vouched(3, town.leaves[3..].to_vec(), &town.seen()).await;
    assert!(backdated(brought.err().unwrap()));
    assert_eq!(replica.size(), 3);

    // Nor after a restart, though a later stamp spoke of more leaves.
    let again = Replica::open(database(folder.path()).await, None).await.unwrap();
    assert_eq!(again.last_stamp(), Some((4, next.at() + 2)));
    assert!(backdated(again.append(next.clone()).await.err().unwrap()));
    drop(again);
    replica.stamped(3, next.at() + 3).await.unwrap();
    let again = Replica::open(database(folder.path()).await, None).await.unwrap();
    assert!(backdated(again.append(next.clone()).await.err().unwrap()));
}

#[tokio::test]
async fn p_5_4_a_stamp_that_comes_after_the_leaf_it_ought_to_precede_is_noticed() {
    let (folder, town) = (tempfile::tempdir().unwrap(), Town::working());
    let replica = replica(&folder, None).await;
    replica.append_many(0, town.leaves[..3].to_vec()).await.unwrap();
    let next = town.leaves[3].clone();
    replica.stamped(2, town.leaves[2].at()).await.unwrap();
    replica.stamped(3, next.at()).await.unwrap();
    replica.append(next.clone()).await.unwrap();
    // Over a ledger that had not the leaf, and later than the leaf.
    let error = replica.stamped(3, next.at() + 1).await.err().unwrap();
    assert!(matches!(error, ReplicaError::Backdated { index: 3, .. }));
    replica.append_many(4, town.leaves[4..].to_vec()).await.unwrap();
    // Also where later leaves are later than the stamp.
    let error = replica.stamped(3, next.at() + 1).await.err().unwrap();
    assert!(matches!(error, ReplicaError::Backdated { index: 3, .. }));
}

#[tokio::test]
async fn the_file_is_for_its_owner_only_and_shared_with_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.db");
    let own = |version| {
        let sql = AssertSqlSafe("CREATE TABLE own (id INTEGER PRIMARY KEY) STRICT").into_sql_str();
        let migration = Migration::new(version, "own".into(), MigrationType::Simple, sql, false);
        Migrator::with_migrations(vec![migration])
    };
    for _ in 0..2 {
        let pool = storage::open(&path, own(100)).await.unwrap();
        sqlx::query("INSERT INTO own DEFAULT VALUES").execute(&pool).await.unwrap();
        let mode: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&pool).await.unwrap();
        assert_eq!(mode, 2, "not FULL");
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&pool).await.unwrap();
        assert_eq!(mode, "wal");
        for (pragma, value) in [("foreign_keys", 1), ("secure_delete", 1), ("busy_timeout", 10_000)] {
            let sql = AssertSqlSafe(format!("PRAGMA {pragma}"));
            let found: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
            assert_eq!(found, value, "{pragma}");
        }
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
    let error = storage::open(&path, own(3)).await.err().unwrap();
    assert!(matches!(error, StorageError::MigrationVersion { version: 3 }));
}
