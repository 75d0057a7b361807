//! A database file that is damaged is refused before anything is written to it.

use std::fs;
use std::path::Path;

use sqlx::migrate::Migrator;
use warifu_replica::storage::{self, Server, StorageError};

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

#[test]
fn a_database_elsewhere_proves_which_it_is_and_no_password_is_shown() {
    let told = |address: &str| Server::new(address, None).map(|server| format!("{server:?}"));
    for here in [
        "postgres:///warifu",
        "postgresql://warifu@localhost/warifu",
        "postgres://127.0.0.1:5433/warifu",
        "postgres://[::1]/warifu?sslmode=disable",
        "postgres://%2Fvar%2Frun%2Fpostgresql/warifu",
        "postgres:///warifu?host=/var/run/postgresql",
        "postgres://warifu@db.example/warifu?sslmode=verify-full&sslrootcert=/etc/db.pem",
    ] {
        assert!(told(here).is_ok_and(|shown| shown == format!("{here:?}")), "{here}");
    }
    for elsewhere in [
        "postgres://db.example/warifu",
        "postgres://db.example/warifu?sslmode=require",
        "postgres://db.example/warifu?sslmode=verify-ca",
        "postgres://db.example/warifu?sslmode=verify-full&sslmode=disable",
        "postgres://db.example/warifu?sslmode=verify-full&ssl-mode=prefer",
        "postgres:///warifu?host=db.example",
        "postgres://localhost/warifu?hostaddr=192.0.2.1",
        "postgres://192.0.2.1/warifu",
    ] {
        assert!(matches!(told(elsewhere), Err(StorageError::NotVerified { .. })), "{elsewhere}");
    }
    for shown in ["postgres://warifu:secret@localhost/warifu", "postgres:///warifu?password=secret"] {
        assert!(matches!(told(shown), Err(StorageError::PasswordInAddress)), "{shown}");
    }
    for other in ["sqlite://file", "mysql://localhost/warifu", "warifu", ""] {
        assert!(matches!(told(other), Err(StorageError::NotPostgres)), "{other}");
    }
    let server = Server::new("postgres:///warifu", Some("secret".to_owned().into())).unwrap();
    assert!(!format!("{server:?}").contains("secret"));
}
