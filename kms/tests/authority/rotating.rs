//! The kms goes on with other keys, and takes what former keys of a site signed in their time (P-4.20, P-4.21, P-8.6).

use std::time::Instant;

use warifu_api::wire::authority::{Receipts, StampRequest};
use warifu_api::wire::{Done, Leaves};
use warifu_api::{ClientError, ErrorCode};
use warifu_console::keys::{Labels, OwnKeys};
use warifu_hardware::hsm::HsmError;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{
    Act, HalfHolder, Profile, Receipt, ServiceId, ServiceKeys, ServiceKind, ServiceStatement, Stamp,
};

use crate::fixture::*;
use crate::following::next;
use crate::stage::{DEADLINE, Stage, code, staged};
use crate::town::Town;

static LABELS: Labels = Labels { tls: "tls", signing: "signing", log: Some("log"), transport: None };

impl Stage {
    fn own(&self) -> OwnKeys {
        OwnKeys::ensure(&self.config.hsm.open().unwrap(), &LABELS).unwrap()
    }

    /// New keys that wait in the kms's token.
    async fn waiting(&self, town: &Town) -> ServiceKeys {
        let state = town.state().await;
        let (_, statement) = self.own().rotate(ServiceKind::Kms, Some(&state), &self.config.data).unwrap();
        statement.verify(&state.kms().signing).unwrap();
        let keys = statement.statement::<ServiceStatement>().unwrap().keys;
        statement.verify(&keys.signing).unwrap();
        keys
    }
}

fn of_kms(keys: &ServiceKeys) -> [Act; 1] {
    [Act::KeyRotated { service: ServiceId::Kms, keys: keys.clone() }]
}

staged! {
    async fn p_4_21_no_keys_are_ordered_that_the_kms_does_not_hold(stage) {
        let town = Town::founded(&stage).await;
        let elsewhere = ServiceKeys { log: Some(log_public("kms 2")), ..service_keys("kms 2") };
        assert_eq!(code(town.order(of_kms(&elsewhere), TWO).await), ErrorCode::Rejected);
        let waiting = stage.waiting(&town).await;
        let one_of_them = ServiceKeys { log: Some(log_public("kms 2")), ..waiting.clone() };
        for keys in [&elsewhere, &one_of_them] {
            assert_eq!(code(town.order(of_kms(keys), TWO).await), ErrorCode::Rejected);
        }
        assert_eq!(code(town.order(of_kms(&waiting), ONE).await), ErrorCode::Rejected);
        // It goes on as before.
        town.done([suspend("midori")], ONE).await;
        let other = [Act::KeyRotated { service: ServiceId::Ca, keys: elsewhere }];
        town.done(other, TWO).await;
    }

    async fn p_4_21_the_kms_goes_on_with_the_keys_that_were_ordered(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main")], TWO).await;
        let waiting = stage.waiting(&town).await;
        assert_eq!(stage.waiting(&town).await, waiting, "again, it makes no others");
        let appended = town.done(of_kms(&waiting), TWO).await;
        // Until it begins anew it is nobody; and then it does not listen any more.
        let nonce = StampRequest { nonce: Digest::of(b"n") };
        let since = Instant::now();
        loop {
            match town.ca().post::<Envelope>("/v1/stamps", &nonce).await {
                Err(ClientError::Refused { body, .. }) => assert_eq!(body.code, ErrorCode::NotRecovered),
                Err(_) => break,
                Ok(_) => panic!("stamped with the former key"),
            }
            assert!(since.elapsed() < DEADLINE, "it goes on listening");
        }
        let Town { kms, .. } = town;
        kms.kill();

        let before = stage.keys.clone();
        let stage = Stage { keys: waiting.clone(), ..stage };
        let town = Town::open(&stage).await;
        let profile: Envelope = town.stranger().get("/v1/profile").await.unwrap();
        let profile: Profile = profile.verified(&waiting.signing).unwrap();
        assert_eq!((&profile.kms, profile.former.len()), (&waiting, 1));
        assert_eq!(profile.signing_key_at(HalfHolder::Kms, appended.index), before.signing);
        assert_eq!(profile.signing_key_at(HalfHolder::Kms, appended.index + 1), waiting.signing);
        let stamp: Envelope = town.ca().post("/v1/stamps", &nonce).await.unwrap();
        let stamp: Stamp = stamp.verified(&waiting.signing).unwrap();
        assert!(stamp.time >= appended.at);
        town.done([suspend("kenji")], ONE).await;
        // The former keys are gone, and the statement is of the present ones.
        let hsm = stage.config.hsm.open().unwrap();
        for label in ["tls", "signing"] {
            assert!(matches!(hsm.signing_key_there(label), Err(HsmError::KeyMissing { .. })));
        }
        assert!(matches!(hsm.ed25519_key_there("log"), Err(HsmError::KeyMissing { .. })));
        let text = std::fs::read(stage.config.data.join("statement.json")).unwrap();
        let statement: Envelope = serde_json::from_slice(&text).unwrap();
        assert_eq!(statement.statement::<ServiceStatement>().unwrap().keys, waiting);
    }

    async fn p_4_21_who_was_away_reads_as_far_as_to_the_order_for_other_keys(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main")], TWO).await;
        let of_site = town.done([rotated(ServiceId::Site(id("main")), "main 2")], TWO).await;
        let of_ca = town.done([rotated(ServiceId::Ca, "ca 2")], TWO).await;
        town.done([suspend("midori")], ONE).await;
        for (former, order) in [(town.site("main"), of_site), (town.ca(), of_ca)] {
            let mut events = former.events("/v1/ledger/stream?from=1").await.unwrap();
            for index in 1..=order.index {
                assert_eq!(next(&mut events).await.unwrap().index, index);
            }
            assert!(next(&mut events).await.is_none(), "it reads on");
            let mut beyond =
                former.events(&format!("/v1/ledger/stream?from={}", order.index + 1)).await.unwrap();
            assert!(next(&mut beyond).await.is_none(), "it reads what came after");
            let nonce = StampRequest { nonce: Digest([7; 32]) };
            assert_eq!(code(former.post::<Envelope>("/v1/stamps", &nonce).await), ErrorCode::Forbidden);
            assert_eq!(code(former.get::<Leaves>("/v1/ledger?from=0").await), ErrorCode::Forbidden);
        }
    }

    async fn p_8_6_a_receipt_counts_by_the_key_of_its_time(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main")], TWO).await;
        let order = town.done([suspend("midori")], ONE).await;
        let later = town.done([rotated(ServiceId::Site(id("main")), "main 2")], TWO).await;
        let organization = town.organization().await;
        let signed = |folded, signer: &str| {
            let receipt = Receipt {
                organization,
                site: id("main"),
                order: order.digest,
                time: Some(T0),
                folded,
                destroyed: ids(&[]),
            };
            envelope_by_services(&receipt, &[signer])
        };
        let post = |client: warifu_api::Client, envelope: Envelope| async move {
            client.post::<Done>("/v1/receipts", &envelope).await
        };
        // Whoever has the former TLS key is nobody.
        let former = post(town.site("main"), signed(later.index, "main")).await;
        assert_eq!(code(former), ErrorCode::Forbidden);
        for (folded, signer) in [(later.index + 1, "main"), (later.index, "main 2"), (later.index, "branch")] {
            let refused = post(town.site("main 2"), signed(folded, signer)).await;
            assert_eq!(code(refused), ErrorCode::Rejected, "{folded} {signer}");
        }
        // More than there is: whatever key the site has by then.
        let ahead = post(town.site("main 2"), signed(u64::MAX, "main 2")).await;
        assert_eq!(code(ahead), ErrorCode::NotReady);
        let on_its_way = signed(later.index, "main");
        post(town.site("main 2"), on_its_way.clone()).await.unwrap();
        let kept: Receipts =
            town.stranger().get(&format!("/v1/orders/{}/receipts", order.digest)).await.unwrap();
        assert_eq!(kept.sites[0].receipt.as_ref(), Some(&on_its_way));
    }

    async fn p_6_9_a_key_for_a_grant_is_signed_anew(stage) {
        let town = Town::working(&stage).await;
        town.done([grant("hanako", "tax")], ONE).await;
        town.give_key("branch", "hanako", "tax").await.unwrap();
        town.give_key("main", "hanako", "tax").await.unwrap();
        town.done([rotated(ServiceId::Site(id("branch")), "branch 2")], TWO).await;
        let statement = town.grant_key("branch", "hanako", "tax").await;
        let by = |signer: &str| envelope_by_services(&statement, &[signer]);
        let refused = town.site("branch 2").post::<Done>("/v1/grant-keys", &by("branch")).await;
        assert_eq!(code(refused), ErrorCode::Rejected);
        let _: Done = town.site("branch 2").post("/v1/grant-keys", &by("branch 2")).await.unwrap();
        let other = warifu_ledger::statement::GrantKey { key: public_of("another"), ..statement.clone() };
        let other = envelope_by_services(&other, &["branch 2"]);
        assert_eq!(code(town.site("branch 2").post::<Done>("/v1/grant-keys", &other).await), ErrorCode::Rejected);
        let mut database = stage.database().await;
        let kept: String = sqlx::query_scalar("SELECT statement FROM grant_key WHERE site = $1")
            .bind(id("branch").as_bytes().as_slice())
            .fetch_one(&mut database)
            .await
            .unwrap();
        assert_eq!(serde_json::from_str::<Envelope>(&kept).unwrap(), by("branch 2"));
    }
}
