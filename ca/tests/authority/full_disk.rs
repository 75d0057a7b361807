//! A disk that is full: no `d` leaves, and the ca goes on by itself when there is room.

use std::path::PathBuf;

use sqlx::AnyPool;
use warifu_broken_parts::disk::Full;

use crate::fixture::{enrol, grant, grant_id, id, site, unit};
use crate::kms::Kms;
use crate::stage::{database, in_a_process, keys, serve_until};

in_a_process!(
    in warifu_broken_parts::Place { pullable: false, disk_kib: Some(4096) };
    on_a_full_disk_no_d_leaves_and_the_ca_goes_on_when_there_is_room,
);

async fn truncate(pool: &AnyPool) {
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(pool).await.unwrap();
}

async fn on_a_full_disk_no_d_leaves_and_the_ca_goes_on_when_there_is_room(folder: PathBuf) {
    let kms = Kms::founded(&keys(&folder)).await;
    kms.ordered([site("main"), site("branch"), unit("tax"), enrol("hanako")]);
    let created = kms.until(|kms| kms.state().unit(&id("tax")).is_some_and(|unit| unit.key.is_some()));
    serve_until(&folder, &kms, created).await;
    kms.keeps_waiting(grant_id("hanako", "tax"), true);
    kms.ordered([grant("hanako", "tax")]);
    let beside = database(&folder).await;
    let story = async {
        // All that is in the ledger so far is here.
        let asked = |kms: &Kms| kms.asked().iter().filter(|path| path.starts_with("readiness")).count();
        kms.until(|kms| asked(kms) > 0).await;
        truncate(&beside).await;
        let full = Full::fill(&folder.join("data")).unwrap();
        kms.keeps_waiting(grant_id("hanako", "tax"), false);
        let before = asked(&kms);
        kms.until(|kms| asked(kms) > before + 2).await;
        assert!(kms.shares().is_empty(), "d has left, and a is nowhere");
        drop(full);
        let issued = |kms: &Kms| {
            kms.state().grant(&grant_id("hanako", "tax")).is_some_and(|grant| grant.issued.is_some())
        };
        kms.until(issued).await;
    };
    serve_until(&folder, &kms, story).await;
    let points: Vec<_> = kms.shares().into_iter().map(|(_, point, _)| point).collect();
    assert!(points.windows(2).all(|pair| pair[0] == pair[1]), "two shares for one grant");
}
