//! Who may ask what.

use warifu_api::wire::Leaves;
use warifu_api::wire::authority::{
    Certificate, CertificateKind, Cosignature, HalfRequest, Package, Readiness, Receipts, Records,
    StampRequest, Wrap,
};
use warifu_api::{Client, ErrorCode};
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Base64;
use warifu_ledger::statement::{PublicHalf, Receipt, Role};

use crate::fixture::*;
use crate::stage::{code, staged};
use crate::town::{Town, share_request};

async fn refused_as_service(client: &Client, who: &str) {
    let nonce = Digest::of(b"nonce");
    let stamp = client.post::<Envelope>("/v1/stamps", &StampRequest { nonce }).await;
    assert_eq!(code(stamp), ErrorCode::Forbidden, "{who}");
    let stream = client.events("/v1/ledger/stream?from=0").await;
    assert_eq!(code(stream), ErrorCode::Forbidden, "{who}");
}

async fn refused_as_ca(client: &Client, who: &str) {
    let proof = Base64([1; 64]);
    let half = HalfRequest { issuer: PublicHalf { point: public_of("x"), proof } };
    let path = format!("/v1/units/{}/half", id("tax"));
    assert_eq!(code(client.post::<Envelope>(&path, &half).await), ErrorCode::Forbidden, "{who}");
    let grant = grant_id("hanako", "tax");
    let path = format!("/v1/grants/{grant}/share");
    let share = client.post::<Envelope>(&path, &share_request("hanako", "tax")).await;
    assert_eq!(code(share), ErrorCode::Forbidden, "{who}");
    let path = format!("/v1/grants/{grant}/readiness");
    assert_eq!(code(client.get::<Readiness>(&path).await), ErrorCode::Forbidden, "{who}");
    let fact = envelope_by_services(&policy_like(), &["ca", "kms"]);
    assert_eq!(code(client.post::<Envelope>("/v1/facts", &fact).await), ErrorCode::Forbidden, "{who}");
    let note = Cosignature { note: String::new() };
    assert_eq!(code(client.post::<Envelope>("/v1/cosignatures", &note).await), ErrorCode::Forbidden, "{who}");
    let certificate = Certificate { kind: CertificateKind::Unit, id: id("tax"), chain: vec![] };
    let kept = client.put::<Envelope>("/v1/certificates", &certificate).await;
    assert_eq!(code(kept), ErrorCode::Forbidden, "{who}");
}

/// Any statement at all.
fn policy_like() -> Receipt {
    Receipt {
        organization: Digest::of(b"any"),
        site: id("main"),
        order: Digest::of(b"any"),
        time: None,
        folded: 1,
        destroyed: Default::default(),
    }
}

async fn refused_as_site(client: &Client, who: &str) {
    let envelope = envelope_by_services(&policy_like(), &["main"]);
    for path in ["/v1/grant-keys", "/v1/receipts"] {
        assert_eq!(code(client.post::<Envelope>(path, &envelope).await), ErrorCode::Forbidden, "{who}");
    }
    let path = format!("/v1/wraps/{}", grant_id("hanako", "tax"));
    assert_eq!(code(client.get::<Wrap>(&path).await), ErrorCode::Forbidden, "{who}");
    assert_eq!(code(client.delete::<Wrap>(&path).await), ErrorCode::Forbidden, "{who}");
}

async fn refused_as_card(client: &Client, who: &str) {
    let card = card_id("hanako");
    let path = format!("/v1/cards/{card}/package");
    assert_eq!(code(client.get::<Package>(&path).await), ErrorCode::Forbidden, "{who}");
    let path = format!("/v1/cards/{card}/package/{}", grant_id("hanako", "tax"));
    assert_eq!(code(client.delete::<Package>(&path).await), ErrorCode::Forbidden, "{who}");
    assert_eq!(code(client.get::<Records>("/v1/register").await), ErrorCode::Forbidden, "{who}");
}

async fn reads(client: &Client) -> Result<Leaves, warifu_api::ClientError> {
    client.get("/v1/ledger?from=0").await
}

staged! {
    async fn each_key_opens_its_own_doors(stage) {
        let town = Town::working(&stage).await;
        town.done([grant("hanako", "tax")], ONE).await;

        // Without a key, with an unknown one, or with keys that are known for something else.
        let strangers = [
            town.stranger(),
            town.kms.by(key("unknown")),
            town.kms.by(card_key("sakura", "9C")),
            town.kms.by(key("main signing")),
            town.kms.by(key("ca signing")),
        ];
        for (client, number) in strangers.iter().zip(0..) {
            let who = format!("stranger {number}");
            refused_as_service(client, &who).await;
            refused_as_ca(client, &who).await;
            refused_as_site(client, &who).await;
            refused_as_card(client, &who).await;
            assert_eq!(code(reads(client).await), ErrorCode::Forbidden, "{who}");
        }
        for card in ["hanako", "sakura"] {
            let client = town.card(card);
            refused_as_service(&client, card).await;
            refused_as_ca(&client, card).await;
            refused_as_site(&client, card).await;
            reads(&client).await.unwrap();
        }
        let site = town.site("main");
        refused_as_ca(&site, "site").await;
        refused_as_card(&site, "site").await;
        reads(&site).await.unwrap();
        let ca = town.ca();
        refused_as_site(&ca, "ca").await;
        refused_as_card(&ca, "ca").await;
        reads(&ca).await.unwrap();
    }

    async fn a_card_handles_its_own_package_and_officers_all(stage) {
        let town = Town::working(&stage).await;
        let path = format!("/v1/cards/{}/package", card_id("hanako"));
        let _: Package = town.card("hanako").get(&path).await.unwrap();
        let _: Package = town.card("sakura").get(&path).await.unwrap();
        assert_eq!(code(town.card("taro").get::<Package>(&path).await), ErrorCode::Forbidden);
        assert_eq!(code(town.card("hanako").get::<Records>("/v1/register").await), ErrorCode::Forbidden);
        let register: Records = town.card("kenji").get("/v1/register").await.unwrap();
        assert!(register.records.contains(&record("hanako")), "with its key");
    }

    async fn a_key_that_is_over_opens_nothing(stage) {
        let town = Town::working(&stage).await;
        let (hanako, taro, jiro) = (town.card("hanako"), town.card("taro"), town.card("jiro"));
        let branch = town.site("branch");
        for client in [&hanako, &taro, &jiro, &branch] {
            reads(client).await.unwrap();
        }
        town.done([suspend("jiro"), revoke_card("hanako"), end_contract("acme")], ONE).await;
        town.done([warifu_ledger::statement::Act::SiteRemoved { site: id("branch") }], TWO).await;
        // On the connections that are open.
        assert_eq!(code(reads(&hanako).await), ErrorCode::CardNotLive);
        assert_eq!(code(reads(&taro).await), ErrorCode::ContractOver);
        assert_eq!(code(reads(&jiro).await), ErrorCode::CardSuspended);
        assert_eq!(code(reads(&branch).await), ErrorCode::Forbidden);
        town.done([resume("jiro")], ONE).await;
        reads(&jiro).await.unwrap();
    }

    async fn a_card_that_is_over_keeps_no_place(stage) {
        let town = Town::working(&stage).await;
        let order = town.done([suspend("jiro")], ONE).await.digest;
        town.done([resume("jiro")], TWO).await;
        // Each waits for a receipt that does not come; the answer of the one whose card ends does not come either.
        let path = format!("/v1/orders/{order}/receipts?known=2");
        let wait = |client: Client| {
            let path = path.clone();
            tokio::spawn(async move { client.get::<Receipts>(&path).await.map(|_| ()) })
        };
        let (jiro, hanako, stranger) = (town.card("jiro"), town.card("hanako"), town.stranger());
        reads(&jiro).await.unwrap();
        reads(&hanako).await.unwrap();
        let (jiro, hanako, stranger) = (wait(jiro), wait(hanako), wait(stranger));
        town.done([revoke_card("jiro")], ONE).await;
        assert!(jiro.await.unwrap().is_err(), "the connection is still there");
        hanako.await.unwrap().unwrap();
        stranger.await.unwrap().unwrap();
    }

    async fn a_card_that_one_officer_enrolled_carries_no_role(stage) {
        let town = Town::working(&stage).await;
        town.done([enrol("goro")], ONE).await;
        town.done([roles("goro", &[Role::Officer])], TWO).await;
        let goro = town.card("goro");
        assert_eq!(code(goro.get::<Records>("/v1/register").await), ErrorCode::Forbidden);
        // A card that two enrolled does.
        town.done([enrol("goro:spare")], TWO).await;
        town.card("goro:spare").get::<Records>("/v1/register").await.unwrap();
    }

    async fn a_contract_that_ends_by_its_date_closes_the_door(stage) {
        let town = Town::working(&stage).await;
        let taro = town.card("taro");
        reads(&taro).await.unwrap();
        stage.clock.set_wall_ms(ACME_ENDS);
        assert_eq!(code(reads(&taro).await), ErrorCode::ContractOver);
        // Whatever the clock says afterwards, once the ledger has seen the day.
        town.done([suspend("jiro")], ONE).await;
        stage.clock.set_wall_ms(T0);
        assert_eq!(code(reads(&taro).await), ErrorCode::ContractOver);
    }
}
