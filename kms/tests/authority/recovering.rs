//! A kms that was restored from a backup, until two officers have said that it is the kms (P-4.16).

use warifu_api::ErrorCode;
use warifu_api::wire::Done;
use warifu_api::wire::authority::{Appended, BroughtLeaves, Cosignature, StampRequest, Status};
use warifu_kms::authority::Config;
use warifu_kms::authority::founding::init;
use warifu_kms::authority::moving::{TABLES, tables};
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Bytes;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{Act, HalfHolder, Profile, ServiceStatement, Stamp};
use warifu_replica::storage;

use crate::fixture::*;
use crate::stage::{Stage, code, staged};
use crate::town::Town;

impl Stage {
    /// A new machine with a new token.
    fn new_machine(&self) -> Stage {
        let data = self.config.data.with_file_name("data-2");
        // A restore makes a file, wherever the database was.
        let mut config = Config { data: data.clone(), database: None, ..self.config.clone() };
        config.hsm.token_label = "kms 2".to_owned();
        config.hsm.data = data;
        let keys = init(&config, None, None).unwrap().statement::<ServiceStatement>().unwrap().keys;
        Stage { config, s3: None, clock: self.clock.clone(), keys }
    }

    /// What a backup that is made now brings onto it.
    async fn back_up_to(&self, other: &Stage) {
        let from = self.config.place().unwrap().read_only_pool().await.unwrap();
        let to = other.config.place().unwrap().open(tables()).await.unwrap();
        let mut reading = storage::begin_reading(&from).await.unwrap();
        let mut writing = storage::begin(&to).await.unwrap();
        storage::copy::copy(&mut reading, &mut writing, &TABLES).await.unwrap();
        writing.commit().await.unwrap();
        to.close().await;
    }

    fn recovered(&self) -> [Act; 1] {
        [Act::AuthorityRecovered { service: HalfHolder::Kms, keys: self.keys.clone() }]
    }
}

fn bytes(leaves: &[Leaf]) -> Vec<Bytes> {
    leaves.iter().map(|leaf| Bytes(leaf.as_bytes().to_vec())).collect()
}

async fn bring(town: &Town, from: u64, leaves: Vec<Bytes>) -> Result<Status, warifu_api::ClientError> {
    town.ca().post("/v1/ledger", &BroughtLeaves { from, leaves }).await
}

staged! {
    async fn a_restored_kms_is_nobody_until_officers_say_so(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch")], TWO).await;
        let restored = stage.new_machine();
        stage.back_up_to(&restored).await;
        let kept = town.leaves().await.len() as u64;
        town.done([unit("tax")], TWO).await;
        town.create("tax").await;
        let last = town.request([enrol("hanako")], ONE).await;
        let on_its_way = town.request([suspend("midori")], ONE).await;
        let enrolled: Appended = town.stranger().post("/v1/orders", &last).await.unwrap();
        let all = town.leaves().await;
        let Town { kms, .. } = town;
        kms.kill();

        let town = Town::open(&restored).await;
        let not_recovered = ErrorCode::NotRecovered;
        let nonce = StampRequest { nonce: Digest::of(b"n") };
        assert_eq!(code(town.ca().post::<Envelope>("/v1/stamps", &nonce).await), not_recovered);
        assert_eq!(code(town.stranger().get::<Envelope>("/v1/profile").await), not_recovered);
        assert_eq!(code(town.stranger().get::<serde_json::Value>("/v1/directory").await), not_recovered);
        // It signs nothing for others either, and shows them no page.
        let everybody = warifu_api::Client::public(&town.kms.public_address).unwrap();
        for path in ["/v1/directory", "/"] {
            assert_eq!(code(everybody.get::<serde_json::Value>(path).await), not_recovered, "{path}");
        }
        let note = town.checkpoint().await.note;
        let cosigned = Cosignature { note };
        assert_eq!(code(town.ca().post::<Done>("/v1/cosignatures", &cosigned).await), not_recovered);
        assert_eq!(code(town.order([suspend("kenji")], ONE).await), not_recovered);
        assert_eq!(code(town.stranger().post::<Appended>("/v1/orders", &on_its_way).await), not_recovered);
        let another = [Act::AuthorityRecovered { service: HalfHolder::Kms, keys: stage.keys.clone() }];
        assert_eq!(code(town.order(another, TWO).await), not_recovered);
        // It has to know first what the ca has.
        assert_eq!(code(town.order(restored.recovered(), TWO).await), ErrorCode::NotReady);

        let missing = bytes(&all[kept as usize..]);
        let brought = BroughtLeaves { from: kept, leaves: missing.clone() };
        assert_eq!(code(town.site("main").post::<Status>("/v1/ledger", &brought).await), ErrorCode::Forbidden);
        assert_eq!(code(town.stranger().post::<Status>("/v1/ledger", &brought).await), ErrorCode::Forbidden);
        assert_eq!(code(bring(&town, kept + 1, missing[1..].to_vec()).await), ErrorCode::NotFound);
        assert_eq!(code(bring(&town, kept, missing[1..].to_vec()).await), ErrorCode::Rejected);
        assert_eq!(bring(&town, kept, missing[..1].to_vec()).await.unwrap().size, kept + 1);
        // Not all of it yet.
        assert_eq!(code(town.order(restored.recovered(), TWO).await), ErrorCode::NotReady);
        assert_eq!(bring(&town, kept + 1, missing[1..].to_vec()).await.unwrap().size, all.len() as u64);
        assert_eq!(bring(&town, all.len() as u64, vec![]).await.unwrap().size, all.len() as u64);
        assert!(town.leaves().await.iter().zip(&all).all(|(one, other)| one.as_bytes() == other.as_bytes()));

        assert_eq!(code(town.order(restored.recovered(), ONE).await), ErrorCode::Rejected);
        let appended = town.done(restored.recovered(), TWO).await;
        assert_eq!(appended.index, all.len() as u64);
        let profile: Envelope = town.stranger().get("/v1/profile").await.unwrap();
        let profile: Profile = profile.verified(&restored.keys.signing).unwrap();
        assert_eq!((&profile.kms, profile.former.len()), (&restored.keys, 1));
        assert_eq!(profile.signing_key_at(HalfHolder::Kms, appended.index), stage.keys.signing);
        assert_eq!(profile.signing_key_at(HalfHolder::Kms, appended.index + 1), restored.keys.signing);
        let stamp: Envelope = town.ca().post("/v1/stamps", &nonce).await.unwrap();
        let stamp: Stamp = stamp.verified(&restored.keys.signing).unwrap();
        assert!(stamp.time >= appended.at);
        // It knows what the lost one had appended, and takes what the lost one was shown.
        let again: Appended = town.stranger().post("/v1/orders", &last).await.unwrap();
        assert_eq!(again.index, enrolled.index);
        let late: Appended = town.stranger().post("/v1/orders", &on_its_way).await.unwrap();
        assert_eq!(late.index, appended.index + 1);
        assert_eq!(code(bring(&town, late.index + 1, vec![]).await), ErrorCode::Rejected, "it needs nothing");
    }

    async fn p_4_16_where_the_ca_is_lost_as_well_nobody_is_waited_for(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main")], TWO).await;
        let restored = stage.new_machine();
        stage.back_up_to(&restored).await;
        let Town { kms, .. } = town;
        kms.kill();

        let kms = restored.start_with(|authority| authority.do_not_wait_for_the_ca()).await;
        let town = Town::again(kms);
        assert_eq!(code(town.order(restored.recovered(), ONE).await), ErrorCode::Rejected);
        assert_eq!(code(town.order([suspend("kenji")], ONE).await), ErrorCode::NotRecovered);
        town.done(restored.recovered(), TWO).await;
        // Then the ca gets its new keys as if it alone had been lost.
        town.done([recovered(HalfHolder::Ca, "ca 2")], TWO).await;
        let nonce = StampRequest { nonce: Digest::of(b"n") };
        let new_ca = town.kms.by(key("ca 2 tls"));
        let stamp: Envelope = new_ca.post("/v1/stamps", &nonce).await.unwrap();
        stamp.verified::<Stamp>(&restored.keys.signing).unwrap();
        assert_eq!(code(town.ca().post::<Envelope>("/v1/stamps", &nonce).await), ErrorCode::Forbidden);
    }
}
