//! Orders that wait for a second person (P-11.1, P-11.3).

use warifu_api::wire::Done;
use warifu_api::wire::authority::{Appended, OrderRequest, Proposal, ProposalStanding, Proposals};
use warifu_api::{Client, ClientError, ErrorCode};
use warifu_ledger::Digest;
use warifu_ledger::key::Base64;
use warifu_ledger::statement::{Act, Order, Role};

use crate::fixture::*;
use crate::stage::{Stage, code, staged};
use crate::town::{Town, records_of};

async fn propose(client: &Client, request: &OrderRequest) -> Result<Done, ClientError> {
    client.post("/v1/proposals", request).await
}

async fn waiting(client: &Client) -> Vec<(Digest, bool)> {
    let all: Proposals = client.get("/v1/proposals").await.unwrap();
    all.waiting.iter().map(|entry| (entry.digest, entry.possible)).collect()
}

async fn one(client: &Client, digest: &Digest) -> Result<Proposal, ClientError> {
    client.get(&format!("/v1/proposals/{digest}")).await
}

async fn standing(client: &Client, digest: &Digest) -> ProposalStanding {
    one(client, digest).await.unwrap().standing
}

async fn withdraw(client: &Client, digest: &Digest) -> Result<Done, ClientError> {
    client.delete(&format!("/v1/proposals/{digest}")).await
}

/// `goro` is an administrator, `jiro` an auditor; each has a card that two people enrolled.
async fn town_with_roles(stage: &Stage) -> Town {
    let town = Town::working(stage).await;
    town.done([enrol("goro"), enrol("jiro:spare")], TWO).await;
    town.done([roles("goro", &[Role::Administrator]), roles("jiro", &[Role::Auditor])], TWO).await;
    town
}

/// Whether a text stands anywhere in the kms's database.
async fn is_stored(stage: &Stage, text: &str) -> bool {
    stage.lay_open().await;
    let files = std::fs::read_dir(&stage.config.data).unwrap();
    files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap_or_default())
        .any(|content| content.windows(text.len()).any(|part| part == text.as_bytes()))
}

staged! {
    async fn a_second_person_signs_what_the_first_one_proposed(stage) {
        let town = town_with_roles(&stage).await;
        let (sakura, kenji) = (town.card("sakura"), town.card("kenji"));
        let request = town.request([site("dmz")], ONE).await;
        let digest = request.envelope.digest();
        // Alone it is no order.
        assert_eq!(code(sakura.post::<Appended>("/v1/orders", &request).await), ErrorCode::Rejected);
        propose(&sakura, &request).await.unwrap();
        propose(&sakura, &request).await.unwrap();
        assert_eq!(waiting(&kenji).await, [(digest, true)]);

        // It survives the end of the process.
        let Town { kms, .. } = town;
        kms.kill();
        let town = Town::open(&stage).await;
        let (sakura, kenji) = (town.card("sakura"), town.card("kenji"));

        let mut found = one(&kenji, &digest).await.unwrap().request.unwrap();
        assert_eq!(found.envelope, request.envelope, "the very bytes");
        assert!(found.records == request.records);
        add_signature(&mut found.envelope, &card_key("kenji", "9C"));
        let appended: Appended = kenji.post("/v1/orders", &found).await.unwrap();
        let again: Appended = kenji.post("/v1/orders", &found).await.unwrap();
        assert_eq!((appended.index, appended.digest), (again.index, digest));
        assert_eq!(waiting(&kenji).await, []);
        let over = one(&sakura, &digest).await.unwrap();
        assert!(over.standing == ProposalStanding::Appended && over.request.is_none());
        // Neither withdrawn nor proposed any more.
        assert_eq!(code(withdraw(&sakura, &digest).await), ErrorCode::Rejected);
        assert_eq!(code(propose(&sakura, &request).await), ErrorCode::Rejected);
        assert!(town.state().await.site(&id("dmz")).is_some());
    }

    async fn who_may_see_propose_and_withdraw(stage) {
        let town = town_with_roles(&stage).await;
        let request = town.request([site("dmz")], ONE).await;
        let digest = request.envelope.digest();
        for client in [town.stranger(), town.ca(), town.site("main"), town.card("hanako"), town.card("goro:new")] {
            assert_eq!(code(propose(&client, &request).await), ErrorCode::Forbidden);
            assert_eq!(code(client.get::<Proposals>("/v1/proposals").await), ErrorCode::Forbidden);
            assert_eq!(code(one(&client, &digest).await), ErrorCode::Forbidden);
            assert_eq!(code(withdraw(&client, &digest).await), ErrorCode::Forbidden);
        }
        // An auditor proposes nothing, and sees all; with the names.
        let (goro, jiro) = (town.card("goro"), town.card("jiro:spare"));
        assert_eq!(code(propose(&jiro, &request).await), ErrorCode::Forbidden);
        propose(&town.card("sakura"), &request).await.unwrap();
        for client in [&goro, &jiro, &town.card("kenji")] {
            assert_eq!(waiting(client).await, [(digest, true)]);
            one(client, &digest).await.unwrap();
        }
        jiro.get::<warifu_api::wire::authority::Records>("/v1/register").await.unwrap();
        // Neither he nor an administrator withdraws what is not theirs.
        for client in [&goro, &jiro] {
            assert_eq!(code(withdraw(client, &digest).await), ErrorCode::Forbidden);
        }
        let kenji = town.card("kenji");
        withdraw(&kenji, &digest).await.unwrap();
        withdraw(&kenji, &digest).await.unwrap();
        assert_eq!(standing(&jiro, &digest).await, ProposalStanding::Withdrawn);
        assert_eq!(code(withdraw(&kenji, &Digest::of(b"no proposal")).await), ErrorCode::NotFound);
        assert_eq!(code(one(&kenji, &Digest::of(b"no proposal")).await), ErrorCode::NotFound);

        // An administrator's own he may.
        let own = town.request([revoke_member("midori")], &["goro"]).await;
        propose(&goro, &own).await.unwrap();
        withdraw(&goro, &own.envelope.digest()).await.unwrap();
        assert_eq!(waiting(&kenji).await, []);
    }

    async fn only_what_one_more_signature_makes_good_waits(stage) {
        let town = town_with_roles(&stage).await;
        let sakura = town.card("sakura");
        let refused = [
            // Needs no second person, or has one.
            town.request([unit("welfare")], ONE).await,
            town.request([site("dmz")], TWO).await,
            // Whoever signs, it is not good.
            town.request([site("dmz"), unit("tax")], ONE).await,
            town.request([site("dmz")], &["goro"]).await,
            town.request([site("dmz")], &["hanako"]).await,
            town.request([site("dmz")], &[]).await,
            // Without its record, or with one too many.
            OrderRequest { records: vec![], ..town.request([site("dmz")], ONE).await },
            OrderRequest { records: vec![record("dmz"), record("契約終了")], ..town.request([site("dmz")], ONE).await },
        ];
        for (request, number) in refused.iter().zip(0..) {
            assert_eq!(code(propose(&sakura, request).await), ErrorCode::Rejected, "{number}");
        }
        let mut forged = town.request([site("dmz")], ONE).await;
        forged.envelope.signatures[0].sig = Base64([1; 64]);
        assert_eq!(code(propose(&sakura, &forged).await), ErrorCode::Rejected);
        for expires_at in [T0 - 1, T0 + 8 * DAY] {
            let order = Order { expires_at, ..town.draft([site("dmz")]).await };
            let envelope = envelope_by_cards(&order, ONE);
            let request = OrderRequest { envelope, records: records_of(&order.acts) };
            assert_eq!(code(propose(&sakura, &request).await), ErrorCode::Rejected);
        }
        assert_eq!(waiting(&sakura).await, []);
    }

    // P-4.6: two cards of one person are one person.
    async fn the_same_person_is_never_both(stage) {
        let town = town_with_roles(&stage).await;
        town.done([enrol("sakura:spare")], &["kenji", "midori"]).await;
        let sakura = town.card("sakura");
        let mut request = town.request([site("dmz")], ONE).await;
        propose(&sakura, &request).await.unwrap();
        let first = request.envelope.clone();
        for again in ["sakura", "sakura:spare"] {
            request.envelope = first.clone();
            add_signature(&mut request.envelope, &card_key(again, "9C"));
            assert_eq!(code(sakura.post::<Appended>("/v1/orders", &request).await), ErrorCode::Rejected);
        }
        assert_eq!(waiting(&sakura).await, [(first.digest(), true)]);
    }

    async fn what_is_withdrawn_or_expired_is_erased_and_does_not_come_back(stage) {
        let town = town_with_roles(&stage).await;
        let (sakura, kenji) = (town.card("sakura"), town.card("kenji"));
        let withdrawn = town.request([site("dmz")], ONE).await;
        let lasting = Order { expires_at: T0 + 7 * DAY, ..town.draft([revoke_member("goro")]).await };
        let lasting = OrderRequest {
            envelope: envelope_by_cards(&lasting, ONE),
            records: records_of(&lasting.acts),
        };
        propose(&sakura, &withdrawn).await.unwrap();
        propose(&sakura, &lasting).await.unwrap();
        assert!(is_stored(&stage, "契約終了").await);
        let digests = [withdrawn.envelope.digest(), lasting.envelope.digest()];
        assert_eq!(waiting(&kenji).await, [(digests[0], true), (digests[1], true)]);
        withdraw(&sakura, &digests[0]).await.unwrap();
        assert_eq!(waiting(&kenji).await, [(digests[1], true)]);
        // A message that comes late does not bring it back.
        assert_eq!(code(propose(&sakura, &withdrawn).await), ErrorCode::Rejected);

        stage.clock.set_wall_ms(T0 + 7 * DAY + 1);
        let over = one(&kenji, &digests[1]).await.unwrap();
        assert!(over.standing == ProposalStanding::Expired && over.request.is_none());
        assert_eq!(waiting(&kenji).await, []);
        assert_eq!(code(propose(&sakura, &lasting).await), ErrorCode::Rejected);
        let mut signed = lasting;
        add_signature(&mut signed.envelope, &card_key("kenji", "9C"));
        assert_eq!(code(kenji.post::<Appended>("/v1/orders", &signed).await), ErrorCode::Rejected);
        let register: warifu_api::wire::authority::Records = kenji.get("/v1/register").await.unwrap();
        assert!(register.records.iter().all(|record| record.text != "契約終了"));
    }

    async fn what_became_impossible_waits_in_vain(stage) {
        let town = town_with_roles(&stage).await;
        let (kenji, midori) = (town.card("kenji"), town.card("midori"));
        let by_sakura = town.request([site("dmz")], ONE).await;
        propose(&town.card("sakura"), &by_sakura).await.unwrap();
        // Its signer's card ends.
        town.done([revoke_card("sakura")], &["kenji", "midori"]).await;
        assert_eq!(waiting(&kenji).await, [(by_sakura.envelope.digest(), false)]);
        let mut signed = by_sakura;
        add_signature(&mut signed.envelope, &card_key("kenji", "9C"));
        assert_eq!(code(kenji.post::<Appended>("/v1/orders", &signed).await), ErrorCode::Rejected);
        // What it gives exists already.
        let by_kenji = town.request([contract("beta", ACME_ENDS)], &["kenji"]).await;
        assert_eq!(code(propose(&kenji, &by_kenji).await), ErrorCode::Rejected, "no text of a record");
        let by_kenji = town.request([Act::SiteRemoved { site: id("branch") }], &["kenji"]).await;
        propose(&kenji, &by_kenji).await.unwrap();
        town.done([Act::SiteRemoved { site: id("branch") }], &["kenji", "midori"]).await;
        assert!(waiting(&midori).await.contains(&(by_kenji.envelope.digest(), false)));
    }

    async fn one_person_does_not_fill_the_letter_box(stage) {
        let town = town_with_roles(&stage).await;
        let (sakura, kenji) = (town.card("sakura"), town.card("kenji"));
        for _ in 0..20 {
            let request = town.request([Act::SiteRemoved { site: id("branch") }], ONE).await;
            propose(&sakura, &request).await.unwrap();
        }
        let request = town.request([Act::SiteRemoved { site: id("branch") }], ONE).await;
        assert_eq!(code(propose(&sakura, &request).await), ErrorCode::TooManyProposals);
        // Whoever carries it there.
        assert_eq!(code(propose(&kenji, &request).await), ErrorCode::TooManyProposals);
        let own = town.request([Act::SiteRemoved { site: id("branch") }], &["kenji"]).await;
        propose(&kenji, &own).await.unwrap();
        let first = waiting(&kenji).await[0].0;
        withdraw(&sakura, &first).await.unwrap();
        let wanting = waiting(&sakura).await.len();
        assert_eq!(wanting, 20);
    }
}
