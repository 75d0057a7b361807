//! The disk of the authority's database is full.

use warifu_api::ErrorCode;
use warifu_api::wire::authority::{Appended, Status};
use warifu_broken_parts::Place;
use warifu_broken_parts::disk::Full;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::Stamp;

use crate::faults::nonce;
use crate::fixture::*;
use crate::stage::{code, staged};
use crate::town::Town;

const SMALL_DISK: Place = Place { pullable: false, disk_kib: Some(4096) };

staged! {
    in SMALL_DISK;
    async fn on_a_full_disk_nothing_is_acknowledged(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        let order = town.request([suspend("midori")], ONE).await;
        let (ca, stranger) = (town.ca(), town.stranger());
        let _: Envelope = ca.post("/v1/stamps", &nonce("before")).await.unwrap();
        let full = Full::fill(&stage.config.data).unwrap();

        // Files that are there may have room for some more; then it ends.
        let mut stamps = 0;
        let refused = loop {
            stage.clock.advance_ms(1);
            match ca.post::<Envelope>("/v1/stamps", &nonce("full")).await {
                Ok(_) => stamps += 1,
                refused => break code(refused),
            }
            assert!(stamps < 10_000, "the disk is not full");
        };
        assert_eq!(refused, ErrorCode::StorageUnavailable);
        let size = stranger.get::<Status>("/v1/status").await.unwrap().size;
        for _ in 0..2 {
            assert_eq!(code(stranger.post::<Appended>("/v1/orders", &order).await), ErrorCode::StorageUnavailable);
        }
        assert_eq!(stranger.get::<Status>("/v1/status").await.unwrap().size, size);

        // There is room again: it goes on by itself, and the order is appended once.
        drop(full);
        let first: Appended = stranger.post("/v1/orders", &order).await.unwrap();
        let again: Appended = stranger.post("/v1/orders", &order).await.unwrap();
        assert_eq!((first.index, again.index, first.at), (size, size, again.at));
        let envelope: Envelope = ca.post("/v1/stamps", &nonce("after")).await.unwrap();
        assert!(envelope.statement::<Stamp>().unwrap().time >= first.at);
        let Town { kms, .. } = town;
        kms.kill();
        assert_eq!(Town::open(&stage).await.state().await.tree().size(), size + 1);
    }
}
