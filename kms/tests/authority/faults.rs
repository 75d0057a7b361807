//! An HSM that goes away, and a clock that jumps: nothing is acknowledged that is not durable, nothing
//! that is over comes back, and the authority goes on by itself when the part is there again.

use warifu_api::ErrorCode;
use warifu_api::wire::authority::{Appended, StampRequest, Status};
use warifu_broken_parts::{Call, Place};
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::Stamp;

use crate::fixture::*;
use crate::stage::{code, staged};
use crate::town::Town;

const PULLABLE: Place = Place { pullable: true, disk_kib: None };

pub(crate) fn nonce(text: &str) -> StampRequest {
    StampRequest { nonce: Digest::of(text.as_bytes()) }
}

staged! {
    in PULLABLE;
    async fn without_its_hsm_the_authority_signs_nothing_and_goes_on_when_it_is_back(stage) {
        let hsm = stage.hsm();
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        town.done([unit("tax")], ONE).await;
        // Connections that are there: a new one needs the HSM.
        let (ca, request) = (town.ca(), town.half_request("tax", "tax").await);
        let _: Envelope = ca.post("/v1/stamps", &nonce("before")).await.unwrap();
        let half = format!("/v1/units/{}/half", id("tax"));
        let logins = hsm.logins();

        hsm.pull_at(Call::SignInit).unwrap();
        for _ in 0..2 {
            assert_eq!(code(ca.post::<Envelope>("/v1/stamps", &nonce("gone")).await), ErrorCode::HsmUnavailable);
            assert_eq!(code(ca.post::<Envelope>(&half, &request).await), ErrorCode::HsmUnavailable);
        }
        assert!(hsm.is_pulled());
        assert!(town.stranger().get::<Status>("/v1/status").await.unwrap_err().code().is_none());

        hsm.put_back().unwrap();
        let _: Envelope = ca.post("/v1/stamps", &nonce("back")).await.unwrap();
        let first: Envelope = ca.post(&half, &request).await.unwrap();
        let again: Envelope = ca.post(&half, &request).await.unwrap();
        assert_eq!(first.digest(), again.digest(), "one half, whatever failed before");
        town.fact(first).await.unwrap();
        assert_eq!(hsm.logins(), logins + 1, "one login, when it was back");
    }
}

staged! {
    // P-5.4
    async fn a_clock_that_jumps_ahead_and_back_revives_nothing_and_starts_again(stage) {
        let town = Town::open_to_all(&stage).await;
        let me = async |town: &Town| town.card("taro").get::<warifu_api::wire::Leaves>("/v1/ledger?from=0").await;
        assert!(me(&town).await.is_ok());
        // An hour beyond the contract's end; only a stamp says so, no leaf.
        stage.clock.set_wall_ms(ACME_ENDS + 60 * MINUTE);
        let envelope: Envelope = town.ca().post("/v1/stamps", &nonce("ahead")).await.unwrap();
        let ahead = envelope.statement::<Stamp>().unwrap().time;
        assert_eq!(ahead, ACME_ENDS + 60 * MINUTE);
        assert_eq!(code(me(&town).await), ErrorCode::ContractOver);

        // Back to what it was: the time stands still until the clock has caught up, while it runs and after a restart.
        stage.clock.set_wall_ms(T0 + MINUTE);
        assert_eq!(code(me(&town).await), ErrorCode::ContractOver, "what was over is over");
        let Town { kms, .. } = town;
        kms.kill();
        let town = Town::open(&stage).await;
        assert_eq!(code(me(&town).await), ErrorCode::ContractOver);
        let envelope: Envelope = town.ca().post("/v1/stamps", &nonce("back")).await.unwrap();
        assert_eq!(envelope.statement::<Stamp>().unwrap().time, ahead);
        // Orders are appended all the same, by the ledger's time.
        let told: Status = town.stranger().get("/v1/status").await.unwrap();
        assert_eq!(told.time, ahead, "the time by which a desk writes an order");
        let order = warifu_ledger::statement::Order {
            expires_at: told.time + DAY,
            ..town.draft([suspend("midori")]).await
        };
        let request = warifu_api::wire::authority::OrderRequest { envelope: envelope_by_cards(&order, ONE), records: vec![] };
        let appended: Appended = town.stranger().post("/v1/orders", &request).await.unwrap();
        assert_eq!(appended.at, ahead);
        // Caught up.
        stage.clock.set_wall_ms(ahead + MINUTE);
        let envelope: Envelope = town.ca().post("/v1/stamps", &nonce("on")).await.unwrap();
        assert_eq!(envelope.statement::<Stamp>().unwrap().time, ahead + MINUTE);
    }
}
