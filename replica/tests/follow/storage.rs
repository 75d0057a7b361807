//! A database file that is damaged is refused before anything is written to it.

use std::fs;
use std::path::Path;

use sqlx::migrate::Migrator;
use warifu_replica::storage::{self, StorageError};

/// A database with some pages in it, closed.
async fn database(path: &Path) {
    let pool = storage::open(path, Migrator::DEFAULT).await.unwrap();
    for index in 0..50_i64 {
        sqlx::query("INSERT INTO ledger_leaf (idx, bytes) VALUES (?, zeroblob(3000))")
            .bind(index)
            .execute(&pool)
            .await
            .unwrap();
    }
    pool.close().await;
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.db");
    database(&path).await;
    let good = fs::read(&path).unwrap();
    let page = 4096;
    assert!(good.len() > 20 * page);

    let mut header = good.clone();
    header[..16].fill(b'x');
    let mut flipped = good.clone();
    // A page that holds leaves, in the middle of the file.
    for byte in &mut flipped[10 * page..11 * page] {
        *byte = !*byte;
    }
    let mut text = good.clone();
    text.truncate(0);
    text.extend(b"what an editor made of it\n".repeat(400));
    let cut = good[..good.len() / 2].to_vec();
    for (what, bytes) in [("header", header), ("page", flipped), ("text", text), ("cut", cut)] {
        fs::write(&path, &bytes).unwrap();
        let refused = storage::open(&path, Migrator::DEFAULT).await.err();
        assert!(
            matches!(&refused, Some(StorageError::Damaged { path: named, .. }) if *named == path),
            "{what}: {refused:?}"
        );
        assert!(fs::read(&path).unwrap() == bytes, "{what}: something was written");
    }
    fs::write(&path, &good).unwrap();
    storage::open(&path, Migrator::DEFAULT).await.unwrap();
}
