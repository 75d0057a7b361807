//! Orders and facts: each once, checked, and in the order of time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use warifu_api::ErrorCode;
use warifu_api::wire::authority::{Appended, OrderRequest, Records, StampRequest, Status};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::register::Record;
use warifu_ledger::statement::{Order, Stamp};
use warifu_ledger::{Digest, checkpoint};

use crate::fixture::*;
use crate::stage::{code, staged};
use crate::town::{Town, records_of};

staged! {
    async fn an_order_is_appended_once(stage) {
        let town = Town::founded(&stage).await;
        stage.clock.advance_ms(5_000);
        let request = town.request([site("main")], TWO).await;
        let first: Appended = town.stranger().post("/v1/orders", &request).await.unwrap();
        assert_eq!((first.index, first.digest, first.at), (1, request.envelope.digest(), T0 + 5_000));
        stage.clock.advance_ms(5_000);

        // Again; with another signature besides; without its records; and after it has expired.
        let mut other = OrderRequest { envelope: request.envelope.clone(), records: vec![] };
        add_signature(&mut other.envelope, &card_key("midori", "9C"));
        for request in [&request, &other] {
            let again: Appended = town.stranger().post("/v1/orders", request).await.unwrap();
            assert_eq!((again.index, again.digest, again.at), (first.index, first.digest, first.at));
        }
        stage.clock.advance_ms(8 * DAY);
        let again: Appended = town.stranger().post("/v1/orders", &request).await.unwrap();
        assert_eq!(again.index, 1);
        assert_eq!(town.state().await.tree().size(), 2);
    }

    async fn the_same_order_many_times_at_once(stage) {
        let town = Town::founded(&stage).await;
        let request = town.request([site("main")], TWO).await;
        let sending = (0..8).map(|_| {
            let (client, request) = (town.stranger(), OrderRequest {
                envelope: request.envelope.clone(),
                records: request.records.clone(),
            });
            tokio::spawn(async move { client.post::<Appended>("/v1/orders", &request).await.unwrap().index })
        });
        for sent in sending.collect::<Vec<_>>() {
            assert_eq!(sent.await.unwrap(), 1);
        }
        assert_eq!(town.state().await.tree().size(), 2);
    }

    async fn an_order_comes_with_its_records(stage) {
        let town = Town::founded(&stage).await;
        let good = town.request([site("main"), contract("acme", ACME_ENDS)], TWO).await;
        let other_text = Record { text: "別".to_owned(), ..record("main") };
        for records in [
            vec![],
            vec![record("main")],
            vec![other_text.clone(), record("acme")],
            vec![record("main"), record("acme"), record("hanako")],
            vec![record("main"), record("main"), record("acme")],
        ] {
            let request = OrderRequest { envelope: good.envelope.clone(), records };
            assert_eq!(
                code(town.stranger().post::<Appended>("/v1/orders", &request).await),
                ErrorCode::Rejected,
                "{:?}", request.records.iter().map(|r| &r.text).collect::<Vec<_>>()
            );
        }
        let register: Records = town.card("sakura").get("/v1/register").await.unwrap();
        assert_eq!(register.records.len(), 4, "a refused order leaves no record");
        let _: Appended = town.stranger().post("/v1/orders", &good).await.unwrap();
        let register: Records = town.card("sakura").get("/v1/register").await.unwrap();
        assert!(register.records.contains(&record("main")), "with its key");

        // A record that is there stays what it is; a second card needs not bring the member's name again.
        let taken = record("main");
        let forged = Record { key: record("acme").key, ..taken };
        let act = warifu_ledger::statement::Act::ContractOpened {
            contract: id("beta"),
            name: forged.commitment(),
            ends_at: ACME_ENDS,
        };
        let order = town.draft([act]).await;
        let request = OrderRequest { envelope: envelope_by_cards(&order, TWO), records: vec![forged] };
        assert_eq!(code(town.stranger().post::<Appended>("/v1/orders", &request).await), ErrorCode::Rejected);
        let order = town.draft([enrol("sakura:spare")]).await;
        let request =
            OrderRequest { envelope: envelope_by_cards(&order, &["kenji", "midori"]), records: vec![] };
        let _: Appended = town.stranger().post("/v1/orders", &request).await.unwrap();
    }

    async fn a_site_may_bring_what_ends_without_its_reason(stage) {
        let town = Town::working(&stage).await;
        let site = town.site("main");
        let register = async || town.card("sakura").get::<Records>("/v1/register").await.unwrap().records;
        let bare = |request: &OrderRequest| OrderRequest { envelope: request.envelope.clone(), records: vec![] };

        // Somebody new needs a name, and nobody but a site may leave out anything.
        let enrolment = town.request([enrol("goro")], ONE).await;
        assert_eq!(code(site.post::<Appended>("/v1/orders", &bare(&enrolment)).await), ErrorCode::Rejected);
        let ends = town.request([revoke_member("jiro")], ONE).await;
        assert!(ends.records.contains(&record("契約終了")));
        for client in [town.stranger(), town.card("sakura"), town.ca()] {
            assert_eq!(code(client.post::<Appended>("/v1/orders", &bare(&ends)).await), ErrorCode::Rejected);
        }
        let first: Appended = site.post("/v1/orders", &bare(&ends)).await.unwrap();
        assert!(!register().await.contains(&record("契約終了")));

        // Whoever has the record brings it with the same order: that one, and no other.
        let other = Record { text: "別".to_owned(), ..record("契約終了") };
        for records in [vec![other], vec![record("契約終了"), record("goro")]] {
            let request = OrderRequest { envelope: ends.envelope.clone(), records };
            assert_eq!(code(town.stranger().post::<Appended>("/v1/orders", &request).await), ErrorCode::Rejected);
        }
        let again: Appended = town.stranger().post("/v1/orders", &ends).await.unwrap();
        assert_eq!((again.index, again.at), (first.index, first.at));
        assert!(register().await.contains(&record("契約終了")));
    }

    async fn a_reason_does_not_come_back_once_its_order_has_expired(stage) {
        let town = Town::working(&stage).await;
        let ends = town.request([revoke_member("jiro")], ONE).await;
        let bare = OrderRequest { envelope: ends.envelope.clone(), records: vec![] };
        let first: Appended = town.site("main").post("/v1/orders", &bare).await.unwrap();
        stage.clock.advance_ms(2 * DAY);
        let again: Appended = town.stranger().post("/v1/orders", &ends).await.unwrap();
        assert_eq!(again.index, first.index);
        let register: Records = town.card("sakura").get("/v1/register").await.unwrap();
        assert!(!register.records.contains(&record("契約終了")));
    }

    async fn a_site_that_was_removed_brings_what_anybody_may(stage) {
        let town = Town::working(&stage).await;
        town.done([warifu_ledger::statement::Act::SiteRemoved { site: id("branch") }], TWO).await;
        let ends = town.request([revoke_member("jiro")], ONE).await;
        let bare = OrderRequest { envelope: ends.envelope.clone(), records: vec![] };
        assert_eq!(code(town.site("branch").post::<Appended>("/v1/orders", &bare).await), ErrorCode::Rejected);
        let _: Appended = town.site("branch").post("/v1/orders", &ends).await.unwrap();
    }

    async fn a_site_and_the_desk_bring_the_same_order_at_once(stage) {
        let town = Town::working(&stage).await;
        let ends = town.request([revoke_member("jiro")], ONE).await;
        let mut sending = Vec::new();
        for (client, records) in [
            (town.site("main"), vec![]),
            (town.site("branch"), vec![]),
            (town.site("main"), vec![]),
            (town.stranger(), ends.records.clone()),
        ] {
            // Connected before, or one handshake would wait for the other.
            let _: Status = client.get("/v1/status").await.unwrap();
            let request = OrderRequest { envelope: ends.envelope.clone(), records };
            sending.push((client, request));
        }
        let sending: Vec<_> = sending
            .into_iter()
            .map(|(client, request)| {
                tokio::spawn(async move { client.post::<Appended>("/v1/orders", &request).await.unwrap().index })
            })
            .collect();
        let mut places = std::collections::BTreeSet::new();
        for sent in sending {
            places.insert(sent.await.unwrap());
        }
        assert_eq!(places.len(), 1);
        let register: Records = town.card("sakura").get("/v1/register").await.unwrap();
        assert!(register.records.contains(&record("契約終了")), "whoever came first");
    }

    async fn people_sign_orders(stage) {
        let town = Town::founded(&stage).await;
        assert_eq!(code(town.order([site("main")], &[]).await), ErrorCode::Rejected);
        assert_eq!(code(town.order([site("main")], ONE).await), ErrorCode::Rejected);
        assert_eq!(code(town.order([site("main")], &["sakura", "hanako"]).await), ErrorCode::Rejected);
        // Signed by the ca and the kms of another town: I8, neither can order anything.
        let order = town.draft([site("main")]).await;
        let envelope = envelope_by_services(&order, &["ca", "kms"]);
        let request = OrderRequest { envelope, records: records_of(&order.acts) };
        assert_eq!(code(town.stranger().post::<Appended>("/v1/orders", &request).await), ErrorCode::Rejected);
        // Expired, and for too long.
        for expires_at in [T0 - 1, T0 + 8 * DAY] {
            let order = Order { expires_at, ..town.draft([site("main")]).await };
            let request = OrderRequest {
                envelope: envelope_by_cards(&order, TWO),
                records: records_of(&order.acts),
            };
            assert_eq!(code(town.stranger().post::<Appended>("/v1/orders", &request).await), ErrorCode::Rejected);
        }
        assert_eq!(town.state().await.tree().size(), 1);
    }

    async fn what_is_no_order_is_told_so(stage) {
        let town = Town::founded(&stage).await;
        let good = town.request([site("main")], TWO).await;
        let mut value = serde_json::to_value(&good).unwrap();
        value["more"] = 1.into();
        assert_eq!(code(town.stranger().post::<Appended>("/v1/orders", &value).await), ErrorCode::Malformed);
        let founding = OrderRequest { envelope: town.leaves().await[0].envelope().clone(), records: vec![] };
        // The founding is in the ledger, but any other statement is no order.
        let _: Appended = town.stranger().post("/v1/orders", &founding).await.unwrap();
        let receipt = OrderRequest {
            envelope: Envelope { payload_type: "application/vnd.warifu.receipt.v1+json".to_owned(), ..good.envelope },
            records: vec![],
        };
        assert_eq!(code(town.stranger().post::<Appended>("/v1/orders", &receipt).await), ErrorCode::Malformed);
        // Whoever sends more than a mebibyte beyond the limit may not hear the answer.
        let huge = STANDARD.encode(vec![0; 700 << 10]);
        assert_eq!(code(town.stranger().post::<Appended>("/v1/orders", &huge).await), ErrorCode::TooLarge);
        // Only whoever shows a card may bring a large batch.
        let large = "x".repeat(300 << 10);
        assert_eq!(code(town.stranger().post::<Appended>("/v1/orders", &large).await), ErrorCode::TooLarge);
        assert_eq!(code(town.card("sakura").post::<Appended>("/v1/orders", &large).await), ErrorCode::Malformed);
        let huge = "x".repeat(65 << 10);
        assert_eq!(code(town.ca().post::<Appended>("/v1/facts", &huge).await), ErrorCode::TooLarge);
        assert_eq!(code(town.stranger().get::<Appended>("/v1/nothing").await), ErrorCode::NotFound);
        assert_eq!(code(town.stranger().get::<Appended>("/v1/orders").await), ErrorCode::NotFound);
        assert_eq!(code(town.ca().get::<Appended>("/v1/ledger?from=x").await), ErrorCode::Malformed);
        let path = format!("/v1/certificates/unit/{}", "G".repeat(32));
        assert_eq!(code(town.stranger().get::<Appended>(&path).await), ErrorCode::Malformed);
    }

    // P-5.4
    async fn no_leaf_is_older_than_a_stamp_given_before_it(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        let kms_key = stage.keys.clone();
        let stamps = ["ca", "main", "branch"].map(|service| {
            let (client, kms_key, clock) = (town.kms.by(key(&format!("{service} tls"))), kms_key.clone(), stage.clock.clone());
            tokio::spawn(async move {
                let mut stamps = Vec::new();
                for turn in 0..15_u64 {
                    // The wall clock jumps to and fro.
                    clock.set_wall_ms(T0 + 10_000 + (turn * 7_919) % 5_000);
                    let nonce = Digest::of(format!("{service} {turn}").as_bytes());
                    let envelope: Envelope = client.post("/v1/stamps", &StampRequest { nonce }).await.unwrap();
                    let stamp: Stamp = envelope.verified(&kms_key.signing).unwrap();
                    assert_eq!(stamp.nonce, nonce);
                    stamps.push(stamp);
                }
                stamps
            })
        });
        for turn in 0..10 {
            town.done([suspend("midori"), resume("midori")], &["sakura", "kenji"]).await;
            stage.clock.set_wall_ms(T0 + 10_000 + (turn * 3_571) % 5_000);
        }
        let leaves = town.leaves().await;
        let organization = town.organization().await;
        let check = |stamp: &Stamp| {
            let log = stage.keys.log.unwrap();
            let signer = checkpoint::Signer::Kms;
            let size = checkpoint::Checkpoint::verify(&stamp.checkpoint, &organization, signer, &log).unwrap().size;
            for (leaf, index) in leaves.iter().zip(0..) {
                if index < size {
                    assert!(leaf.at() <= stamp.time, "a stamp is not older than what it contains");
                } else {
                    assert!(leaf.at() >= stamp.time, "leaf {index} is older than a stamp given before it");
                }
            }
        };
        let mut latest = 0;
        for stamps in stamps {
            let stamps = stamps.await.unwrap();
            assert!(stamps.is_sorted_by_key(|stamp| stamp.time), "P-5.3");
            stamps.iter().for_each(check);
            latest = latest.max(stamps.last().unwrap().time);
        }
        // Nor after a restart with a clock that was set back.
        let Town { kms, .. } = town;
        kms.kill();
        stage.clock.set_wall_ms(T0);
        let town = Town::open(&stage).await;
        // Valid by the kms's clock, which is the ledger's.
        let order = Order { expires_at: T0 + DAY, ..town.draft([suspend("midori")]).await };
        let request = OrderRequest { envelope: envelope_by_cards(&order, ONE), records: vec![] };
        let appended: Appended = town.stranger().post("/v1/orders", &request).await.unwrap();
        assert!(appended.at >= latest);
        let envelope: Envelope =
            town.ca().post("/v1/stamps", &StampRequest { nonce: Digest::of(b"n") }).await.unwrap();
        let stamp: Stamp = envelope.statement().unwrap();
        assert!(stamp.time >= appended.at);
        assert_eq!(stamp.site.0, [0; 16], "the ca's id among followers");
    }

    async fn facts_are_signed_by_both_and_appended_once(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        town.done([unit("tax")], ONE).await;
        let fact = town.half("tax", "tax").await.unwrap();
        // By the kms alone; by the ca alone.
        assert_eq!(code(town.ca().post::<Appended>("/v1/facts", &fact).await), ErrorCode::Rejected);
        let alone = Envelope { signatures: vec![], ..fact.clone() };
        assert_eq!(code(town.fact(alone).await), ErrorCode::Rejected);
        let first = town.fact(fact.clone()).await.unwrap();
        let again = town.fact(fact).await.unwrap();
        assert_eq!((first.index, first.at), (again.index, again.at));
        assert_eq!(town.state().await.tree().size(), first.index + 1);
    }
}
