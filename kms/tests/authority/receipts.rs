//! Receipts, leases and cosignatures.

use futures_util::future::join_all;
use warifu_api::wire::Done;
use warifu_api::wire::authority::{
    Appended, Cosignature, OrderRequest, Receipts, SiteReceipt, StampRequest, Status,
};
use warifu_api::{ClientError, ErrorCode};
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{Act, Policy, Receipt};

use crate::fixture::*;
use crate::stage::{DEADLINE, Stage, code, staged};
use crate::town::Town;

const LEASE: u64 = 10 * MINUTE;

async fn receipt(town: &Town, site: &str, order: Digest) -> Receipt {
    Receipt {
        organization: town.organization().await,
        site: id(site),
        order,
        time: Some(T0),
        folded: 3,
        destroyed: ids(&["grant"]),
    }
}

async fn receipts(town: &Town, order: Digest) -> Receipts {
    town.stranger().get(&format!("/v1/orders/{order}/receipts")).await.unwrap()
}

fn of<'r>(receipts: &'r Receipts, site: &str) -> &'r SiteReceipt {
    receipts.sites.iter().find(|receipt| receipt.site == id(site)).unwrap()
}

async fn stamp(town: &Town, site: &str) {
    let nonce = Digest::of(site.as_bytes());
    let _: Envelope = town.site(site).post("/v1/stamps", &StampRequest { nonce }).await.unwrap();
}

async fn cosign(town: &Town, note: &str) -> Result<Done, ClientError> {
    town.ca().post("/v1/cosignatures", &Cosignature { note: note.to_owned() }).await
}

async fn head(town: &Town, stage: &Stage) -> Checkpoint {
    let note = town.checkpoint().await.note;
    Checkpoint::verify(&note, &town.organization().await, Signer::Kms, &stage.keys.log.unwrap()).unwrap()
}

staged! {
    async fn a_receipt_is_the_sites_own(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        let order = town.done([suspend("midori")], ONE).await.digest;
        let main = receipt(&town, "main", order).await;
        for (statement, signer, caller) in [
            (main.clone(), "branch", "branch"),
            (main.clone(), "branch", "main"),
            (main.clone(), "main", "branch"),
            (Receipt { organization: Digest::of(b"other"), ..main.clone() }, "main", "main"),
            // P-8.6: the order stands on two leaves.
            (Receipt { folded: 1, ..main.clone() }, "main", "main"),
        ] {
            let envelope = envelope_by_services(&statement, &[signer]);
            let forged = town.site(caller).post::<Done>("/v1/receipts", &envelope).await;
            assert_eq!(code(forged), ErrorCode::Rejected, "{signer} {caller}");
        }
        let before = receipts(&town, order).await;
        assert!(before.sites.iter().all(|site| site.receipt.is_none()));
        assert_eq!(before.sites.len(), 2);
        let unknown = format!("/v1/orders/{}/receipts", Digest::of(b"none"));
        assert_eq!(code(town.stranger().get::<Receipts>(&unknown).await), ErrorCode::NotFound);

        stage.clock.advance_ms(40);
        let envelope = envelope_by_services(&main, &["main"]);
        let _: Done = town.site("main").post("/v1/receipts", &envelope).await.unwrap();
        let after = receipts(&town, order).await;
        assert_eq!(after.appended_at, T0);
        assert_eq!(of(&after, "main").receipt.as_ref(), Some(&envelope));
        assert_eq!(of(&after, "main").received_at, Some(T0 + 40));
        assert_eq!(of(&after, "main").name, "main");
        assert_eq!(of(&after, "branch").receipt, None);
        // The first one stays.
        stage.clock.advance_ms(40);
        let later = Receipt { time: Some(T0 + 40), ..main };
        let later = envelope_by_services(&later, &["main"]);
        let _: Done = town.site("main").post("/v1/receipts", &later).await.unwrap();
        assert_eq!(of(&receipts(&town, order).await, "main").receipt.as_ref(), Some(&envelope));
    }

    async fn receipts_that_come_at_once_are_all_kept(stage) {
        let town = Town::founded(&stage).await;
        // More than one statement takes.
        let labels: Vec<String> = (0..80).map(|number| format!("site {number}")).collect();
        let joining = town.draft(labels.iter().map(|label| site(label))).await;
        let records = labels.iter().map(|label| record(label)).collect();
        let request = OrderRequest { envelope: envelope_by_cards(&joining, TWO), records };
        let _: Appended = town.stranger().post("/v1/orders", &request).await.unwrap();
        let order = town.done([suspend("midori")], ONE).await.digest;
        let said = receipt(&town, "main", order).await;
        let mut reporters = Vec::new();
        for label in &labels {
            let said = Receipt { site: id(label), ..said.clone() };
            let client = town.site(label);
            // Connected, so that it comes with the others.
            let _: Status = client.get("/v1/status").await.unwrap();
            reporters.push((client, envelope_by_services(&said, &[label])));
        }
        let kept = join_all(reporters.iter().map(|(client, said)| client.post::<Done>("/v1/receipts", said))).await;
        assert!(kept.iter().all(Result::is_ok), "{kept:?}");
        let shown = receipts(&town, order).await;
        for ((_, said), label) in reporters.iter().zip(&labels) {
            assert_eq!(of(&shown, label).receipt.as_ref(), Some(said));
        }
    }

    async fn p_8_6_a_receipt_by_who_has_not_read_what_the_order_stands_on_is_none(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        // It comes before the order does.
        let request = town.request([suspend("midori")], ONE).await;
        let order = request.envelope.digest();
        for (site, folded) in [("main", 1), ("branch", 2)] {
            let said = Receipt { folded, ..receipt(&town, site, order).await };
            let _: Done =
                town.site(site).post("/v1/receipts", &envelope_by_services(&said, &[site])).await.unwrap();
        }
        let _: Appended = town.stranger().post("/v1/orders", &request).await.unwrap();
        let shown = receipts(&town, order).await;
        assert_eq!(of(&shown, "main").receipt, None);
        assert!(of(&shown, "branch").receipt.is_some());
    }

    async fn a_removed_site_may_still_say_what_it_destroyed(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        let order = town.done([Act::SiteRemoved { site: id("main") }], TWO).await.digest;
        let post = async |caller: &str, of: &str, order: Digest| {
            let envelope = envelope_by_services(&receipt(&town, of, order).await, &[of]);
            town.site(caller).post::<Done>("/v1/receipts", &envelope).await
        };
        // Its own, and for what is in the ledger; and nothing else is open to it.
        assert_eq!(code(post("main", "branch", order).await), ErrorCode::Rejected);
        assert_eq!(code(post("main", "main", Digest::of(b"none")).await), ErrorCode::NotFound);
        assert_eq!(code(post("main", "main", town.organization().await).await), ErrorCode::NotFound);
        let nonce = StampRequest { nonce: Digest::of(b"main") };
        assert_eq!(code(town.site("main").post::<Envelope>("/v1/stamps", &nonce).await), ErrorCode::Forbidden);
        assert!(receipts(&town, order).await.sites.iter().all(|receipt| receipt.site != id("main")));

        let _: Done = post("main", "main", order).await.unwrap();
        assert!(of(&receipts(&town, order).await, "main").receipt.is_some());
    }

    async fn whoever_waits_sees_receipts_arrive(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        let order = town.done([suspend("midori")], ONE).await.digest;
        for (site, known) in [("main", 0), ("branch", 1)] {
            let watcher = town.stranger();
            let watching = tokio::spawn(async move {
                loop {
                    let path = format!("/v1/orders/{order}/receipts?known={known}");
                    let receipts: Receipts = watcher.get(&path).await.unwrap();
                    let count = receipts.sites.iter().filter(|site| site.receipt.is_some()).count();
                    if count > known {
                        return count;
                    }
                }
            });
            let envelope = envelope_by_services(&receipt(&town, site, order).await, &[site]);
            let _: Done = town.site(site).post("/v1/receipts", &envelope).await.unwrap();
            assert_eq!(tokio::time::timeout(DEADLINE, watching).await.unwrap().unwrap(), known + 1);
        }
    }

    async fn leases_are_those_of_the_last_stamp_before_the_order(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch"), site("dmz")], TWO).await;
        stage.clock.set_wall_ms(T0 + 1_000);
        stamp(&town, "main").await;
        stage.clock.set_wall_ms(T0 + 2_000);
        stamp(&town, "branch").await;
        stamp(&town, "main").await;
        stage.clock.set_wall_ms(T0 + 3_000);
        let order = town.done([suspend("midori")], ONE).await;
        // A stamp after the order contains it: it does not prolong what went before.
        stage.clock.set_wall_ms(T0 + 4_000);
        stamp(&town, "branch").await;
        let listed = receipts(&town, order.digest).await;
        assert_eq!(of(&listed, "main").lease_ends_at, Some(T0 + 2_000 + LEASE));
        assert_eq!(of(&listed, "branch").lease_ends_at, Some(T0 + 2_000 + LEASE));
        assert_eq!(of(&listed, "dmz").lease_ends_at, None, "it never had a stamp");

        // The next order counts from the stamp in between; a longer lease that came since counts, too.
        let policy = Policy { lease_ms: 2 * LEASE, ..policy() };
        town.done([Act::PolicyChanged { policy }], TWO).await;
        let order = town.done([resume("midori")], TWO).await;
        let Town { kms, .. } = town;
        kms.kill();
        let town = Town::open(&stage).await;
        let listed = receipts(&town, order.digest).await;
        assert_eq!(of(&listed, "main").lease_ends_at, Some(T0 + 2_000 + 2 * LEASE));
        assert_eq!(of(&listed, "branch").lease_ends_at, Some(T0 + 4_000 + 2 * LEASE));
    }

    async fn cosignatures_are_the_cas_and_never_go_back(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main")], TWO).await;
        let organization = town.organization().await;
        let small = head(&town, &stage).await;
        let order = town.done([suspend("midori")], ONE).await;
        let large = head(&town, &stage).await;
        assert!(!receipts(&town, order.digest).await.cosigned);

        let by_ca = |checkpoint: &Checkpoint| note(&organization, checkpoint, Signer::Ca);
        assert_eq!(code(cosign(&town, &by_ca(&Checkpoint { size: large.size + 1, ..large })).await), ErrorCode::Rejected);
        assert_eq!(code(cosign(&town, &by_ca(&Checkpoint { root: small.root, ..large })).await), ErrorCode::Fork);
        // The kms's own signature is none of the ca's.
        assert_eq!(code(cosign(&town, &town.checkpoint().await.note).await), ErrorCode::Rejected);
        assert_eq!(code(cosign(&town, "hello").await), ErrorCode::Rejected);
        assert_eq!(town.checkpoint().await.cosigned_size, 0);

        cosign(&town, &by_ca(&small)).await.unwrap();
        assert_eq!(town.checkpoint().await.cosigned_size, small.size);
        assert!(!receipts(&town, order.digest).await.cosigned);
        cosign(&town, &by_ca(&large)).await.unwrap();
        cosign(&town, &by_ca(&small)).await.unwrap();
        let answer = town.checkpoint().await;
        assert_eq!(answer.cosigned_size, large.size);
        for (signer, key) in [(Signer::Kms, stage.keys.log.unwrap()), (Signer::Ca, log_public("ca"))] {
            assert_eq!(Checkpoint::verify(&answer.note, &organization, signer, &key).unwrap(), large);
        }
        assert!(receipts(&town, order.digest).await.cosigned);
        // An order may carry the joined note.
        town.done([resume("midori")], TWO).await;
        assert!(receipts(&town, order.digest).await.cosigned);
    }
}
