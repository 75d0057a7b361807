//! The disk of the authority's database is full.

use warifu_api::ErrorCode;
use warifu_api::wire::authority::{Appended, Status};
use warifu_api::wire::deliveries::DeliveryState;
use warifu_broken_parts::Place;
use warifu_broken_parts::disk::Full;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{Delivery, Stamp};

use crate::deliveries::{arriving, ciphertext, complete, drawn, offer, put, signed, state, with_box};
use crate::faults::nonce;
use crate::fixture::*;
use crate::stage::{code, staged};
use crate::town::Town;

const SMALL_DISK: Place = Place { pullable: false, disk_kib: Some(4096) };
const LARGER_DISK: Place = Place { pullable: false, disk_kib: Some(12 << 10) };

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

staged! {
    in LARGER_DISK;
    async fn on_a_full_disk_a_part_is_refused_and_comes_again(stage) {
        let mut stage = stage;
        stage.config.deliveries.spare_mib = 0;
        let town = with_box(&stage).await;
        let jiro = town.card("jiro");
        let file = ciphertext(1 << 20);
        let delivery = drawn(&town, "jiro", "tax", &file).await;
        let huge = Delivery { id: id("huge"), size: 1 << 30, ..delivery.clone() };
        assert_eq!(code(offer(&jiro, &signed(&town, &huge, "jiro").await).await), ErrorCode::BoxFull);
        offer(&jiro, &signed(&town, &delivery, "jiro").await).await.unwrap();
        let full = Full::fill(&stage.config.data).unwrap();
        for _ in 0..2 {
            assert_eq!(put(&jiro, &delivery.id, 0, &file).await, Err(ErrorCode::StorageUnavailable));
        }
        assert_eq!(state(&jiro, &delivery.id).await, arriving(&[0]));
        drop(full);
        put(&jiro, &delivery.id, 0, &file).await.unwrap();
        assert!(matches!(complete(&jiro, &delivery.id, &file).await.state, DeliveryState::Arrived { .. }));
    }
}
