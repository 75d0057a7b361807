//! What services follow, and what everybody may read; and that a kill loses nothing.

use warifu_api::ErrorCode;
use warifu_api::client::Events;
use warifu_api::wire::authority::{Directory, OrderRequest, Package, Status};
use warifu_api::wire::{LeafEvent, Leaves};
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Act, Profile};

use crate::fixture::*;
use crate::stage::{DEADLINE, code, staged};
use crate::town::Town;

pub(crate) async fn next(events: &mut Events) -> Option<LeafEvent> {
    let event = tokio::time::timeout(DEADLINE, events.next()).await.expect("nothing came").unwrap()?;
    assert_eq!(event.name, "leaf");
    Some(serde_json::from_str(&event.data).unwrap())
}

staged! {
    async fn the_stream_brings_every_leaf_and_ends_with_the_site(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        let mut branch = town.site("branch").events("/v1/ledger/stream?from=0").await.unwrap();
        let mut ca = town.ca().events("/v1/ledger/stream?from=1").await.unwrap();
        for index in 0..2 {
            assert_eq!(next(&mut branch).await.unwrap().index, index);
        }
        assert_eq!(next(&mut ca).await.unwrap().index, 1);
        for _ in 0..3 {
            let appended = town.done([suspend("midori"), resume("midori")], &["sakura", "kenji"]).await;
            for events in [&mut branch, &mut ca] {
                assert_eq!(next(events).await.unwrap().index, appended.index);
            }
        }
        // The leaf that removes a site is the last it gets.
        let removed = town.done([Act::SiteRemoved { site: id("branch") }], TWO).await;
        assert_eq!(next(&mut branch).await.unwrap().index, removed.index);
        assert!(next(&mut branch).await.is_none());
        let event = next(&mut ca).await.unwrap();
        assert_eq!(event.leaf.0, town.leaves().await.last().unwrap().as_bytes());
        let more = town.done([suspend("midori")], ONE).await;
        assert_eq!(next(&mut ca).await.unwrap().index, more.index);
        let beyond = town.ca().events("/v1/ledger/stream?from=100").await;
        assert_eq!(code(beyond), ErrorCode::NotFound);
    }

    async fn the_ledger_comes_with_a_checkpoint(stage) {
        let town = Town::working(&stage).await;
        let size = town.leaves().await.len() as u64;
        let page: Leaves = town.site("main").get("/v1/ledger?from=2").await.unwrap();
        assert_eq!((page.from, page.leaves.len() as u64), (2, size - 2));
        let log = stage.keys.log.unwrap();
        let checkpoint =
            Checkpoint::verify(&page.checkpoint, &town.organization().await, Signer::Kms, &log).unwrap();
        assert_eq!(checkpoint.size, size);
        town.state().await.check_against(&checkpoint).unwrap();
        let end: Leaves = town.site("main").get(&format!("/v1/ledger?from={size}")).await.unwrap();
        assert!(end.leaves.is_empty());
        let beyond = town.site("main").get::<Leaves>(&format!("/v1/ledger?from={}", size + 1)).await;
        assert_eq!(code(beyond), ErrorCode::NotFound);
    }

    async fn the_profile_is_signed_and_names_come_from_the_register(stage) {
        let town = Town::founded(&stage).await;
        let named = Record { text: Name::new("omachi", "大町支所").unwrap().to_text(), ..record("omachi site") };
        let act = Act::SiteJoined {
            site: id("main"),
            name: named.commitment(),
            keys: service_keys("main"),
            address: "main.example:8443".to_owned(),
        };
        let order = town.draft([act, site("branch")]).await;
        let records = vec![named, record("branch")];
        let request = OrderRequest { envelope: envelope_by_cards(&order, TWO), records };
        let _: warifu_api::wire::authority::Appended = town.stranger().post("/v1/orders", &request).await.unwrap();

        let envelope: Envelope = town.stranger().get("/v1/profile").await.unwrap();
        let profile: Profile = envelope.verified(&stage.keys.signing).unwrap();
        assert_eq!(profile.organization, town.organization().await);
        assert_eq!((profile.name.as_str(), profile.zone.as_str()), ("大町市", "Asia/Tokyo"));
        assert_eq!((&profile.kms, &profile.ca), (&stage.keys, &service_keys("ca")));
        assert_eq!(profile.kms_address, "kms.example:7443");
        assert_eq!(profile.helpdesk, "内線 1234");
        let main = profile.sites.iter().find(|site| site.site == id("main")).unwrap();
        assert_eq!((main.name.as_str(), main.address.as_str()), ("大町支所", "main.example:8443"));

        let named = Record { text: Name::new("tax", "税務課").unwrap().to_text(), ..record("tax unit") };
        let act = match unit("tax") {
            Act::UnitOrdered { unit, kind, contract, sites, routes_to, two_people, own_pcs, .. } => {
                let name = named.commitment();
                Act::UnitOrdered { unit, name, kind, contract, sites, routes_to, two_people, own_pcs }
            }
            other => other,
        };
        let order = town.draft([act]).await;
        let request = OrderRequest { envelope: envelope_by_cards(&order, ONE), records: vec![named] };
        let _: warifu_api::wire::authority::Appended = town.stranger().post("/v1/orders", &request).await.unwrap();
        let directory: Directory = town.stranger().get("/v1/directory").await.unwrap();
        assert_eq!((directory.units[0].label.as_str(), directory.units[0].name.as_str()), ("tax", "税務課"));
        town.done([Act::SiteRemoved { site: id("branch") }], TWO).await;
        let envelope: Envelope = town.stranger().get("/v1/profile").await.unwrap();
        assert_eq!(envelope.statement::<Profile>().unwrap().sites.len(), 1);
    }

    async fn a_kill_loses_nothing_that_was_acknowledged(stage) {
        let town = Town::working(&stage).await;
        town.done([grant("hanako", "tax"), grant("taro", "team")], ONE).await;
        town.issue("hanako", "tax").await;
        town.give_key("main", "taro", "team").await.unwrap();
        let request = town.request([enrol("jiro:spare")], ONE).await;
        let appended: warifu_api::wire::authority::Appended =
            town.stranger().post("/v1/orders", &request).await.unwrap();
        let (before, wrap) = (town.leaves().await, town.wrap("main", "hanako", "tax").await.unwrap());
        let Town { kms, .. } = town;
        kms.kill();

        let town = Town::open(&stage).await;
        let status: Status = town.stranger().get("/v1/status").await.unwrap();
        assert_eq!(status.size, before.len() as u64);
        assert_eq!(town.leaves().await, before);
        assert_eq!(town.wrap("main", "hanako", "tax").await.unwrap().wrapped, wrap.wrapped);
        let again: warifu_api::wire::authority::Appended =
            town.stranger().post("/v1/orders", &request).await.unwrap();
        assert_eq!((again.index, again.at), (appended.index, appended.at));
        // What was under way goes on.
        town.issue("taro", "team").await;
        town.acknowledge("hanako", "tax").await;
        let path = format!("/v1/cards/{}/package", card_id("hanako"));
        let package: Package = town.card("hanako").get(&path).await.unwrap();
        assert_eq!(package.pending, [grant_id("hanako", "tax")], "its certificate is missing");
    }
}
