//! A grant on its way to sites and card, and its end.

use std::time::Instant;

use warifu_api::wire::Done;
use warifu_api::wire::authority::{Certificate, CertificateKind, Package, Readiness};
use warifu_api::{ClientError, ErrorCode};
use warifu_ledger::Id;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::GrantKey;
use warifu_split_key::point::Point;

use crate::fixture::*;
use crate::stage::{DEADLINE, code, staged};
use crate::town::Town;
use crate::town::*;

fn readiness_path(card: &str, unit: &str) -> String {
    format!("/v1/grants/{}/readiness", grant_id(card, unit))
}

async fn package(town: &Town, card: &str) -> Result<Package, ClientError> {
    town.card("sakura").get(&format!("/v1/cards/{}/package", card_id(card))).await
}

/// A certificate over a point whose private key nobody here has.
fn certificate_over(point: &Point) -> Bytes {
    struct Over([u8; 65]);
    impl rcgen::PublicKeyData for Over {
        fn der_bytes(&self) -> &[u8] {
            &self.0
        }
        fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
            &rcgen::PKCS_ECDSA_P256_SHA256
        }
    }
    let ca = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let issuer = rcgen::Issuer::new(rcgen::CertificateParams::default(), ca);
    let params = rcgen::CertificateParams::default();
    let certificate = params.signed_by(&Over(point.to_uncompressed()), &issuer).unwrap();
    Bytes(certificate.der().to_vec())
}

async fn certify(town: &Town, kind: CertificateKind, id: Id, point: &Point) -> Result<Done, ClientError> {
    let certificate = Certificate { kind, id, chain: vec![certificate_over(point)] };
    town.ca().put("/v1/certificates", &certificate).await
}

staged! {
    async fn the_ca_waits_for_the_sites_keys(stage) {
        let town = Town::working(&stage).await;
        town.done([grant("hanako", "tax")], ONE).await;
        town.give_key("branch", "hanako", "tax").await.unwrap();
        let ca = town.ca();
        let waiting = tokio::spawn(async move {
            loop {
                let readiness: Readiness = ca.get(&readiness_path("hanako", "tax")).await.unwrap();
                if readiness.waiting_for.is_empty() {
                    return;
                }
                assert_eq!(readiness.waiting_for, [id("main")]);
            }
        });
        town.give_key("main", "hanako", "tax").await.unwrap();
        tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap();
        assert_eq!(code(town.ca().get::<Readiness>(&readiness_path("taro", "tax")).await), ErrorCode::NotFound);

        // A grant that ends while the ca waits is told at once.
        town.done([grant("taro", "team")], ONE).await;
        let ca = town.ca();
        let waiting = tokio::spawn(async move {
            loop {
                if let Err(error) = ca.get::<Readiness>(&readiness_path("taro", "team")).await {
                    return error.code();
                }
            }
        });
        town.done([revoke_grant("taro", "team")], ONE).await;
        let told = tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap();
        assert_eq!(told, Some(ErrorCode::GrantNotLive));
    }

    async fn a_site_speaks_for_itself_and_its_first_key_stays(stage) {
        let town = Town::working(&stage).await;
        town.done([site("dmz"), grant("hanako", "tax")], TWO).await;
        let good = town.grant_key("main", "hanako", "tax").await;
        let post = async |statement: &GrantKey, signer: &str, caller: &str| {
            let envelope = envelope_by_services(statement, &[signer]);
            town.site(caller).post::<Done>("/v1/grant-keys", &envelope).await
        };
        assert_eq!(code(post(&good, "branch", "main").await), ErrorCode::Rejected, "signed by another");
        assert_eq!(code(post(&good, "branch", "branch").await), ErrorCode::Rejected, "for another");
        assert_eq!(code(post(&good, "main", "branch").await), ErrorCode::Rejected, "brought by another");
        let elsewhere = GrantKey { organization: warifu_ledger::Digest::of(b"x"), ..good.clone() };
        assert_eq!(code(post(&elsewhere, "main", "main").await), ErrorCode::Rejected);
        let unknown = GrantKey { grant: id("none"), ..good.clone() };
        assert_eq!(code(post(&unknown, "main", "main").await), ErrorCode::NotFound);
        let unserved = GrantKey { site: id("dmz"), ..good.clone() };
        assert_eq!(code(post(&unserved, "dmz", "dmz").await), ErrorCode::NotServedHere);
        post(&good, "main", "main").await.unwrap();
        post(&good, "main", "main").await.unwrap();
        let other = GrantKey { key: public_of("other"), ..good.clone() };
        assert_eq!(code(post(&other, "main", "main").await), ErrorCode::Rejected);
    }

    // P-6.5
    async fn a_share_is_released_when_every_site_has_its_own(stage) {
        let town = Town::working(&stage).await;
        town.done([grant("hanako", "tax")], ONE).await;
        let grant = grant_id("hanako", "tax");
        let none = |package: &Package| package.shares.is_empty() && package.pending == [grant];
        assert!(none(&package(&town, "hanako").await.unwrap()));
        town.issue("hanako", "tax").await;
        let a = card_share("hanako", "tax").public();
        certify(&town, CertificateKind::CardShare, grant, &a).await.unwrap();
        assert!(none(&package(&town, "hanako").await.unwrap()));
        let path = format!("/v1/wraps/{grant}");
        let _: Done = town.site("main").delete(&path).await.unwrap();
        assert!(none(&package(&town, "hanako").await.unwrap()), "branch has not");
        // The wrap is gone, and a repetition is no fault.
        assert_eq!(code(town.wrap("main", "hanako", "tax").await), ErrorCode::NotFound);
        let _: Done = town.site("main").delete(&path).await.unwrap();
        let _: Done = town.site("branch").delete(&path).await.unwrap();

        let packed: Package = town.card("hanako").get(&format!("/v1/cards/{}/package", card_id("hanako"))).await.unwrap();
        assert_eq!(packed.shares.len(), 1);
        assert_eq!((packed.shares[0].grant, packed.shares[0].unit), (grant, id("tax")));
        assert_eq!(packed.shares[0].card_point.0, a);
        assert_eq!(packed.shares[0].sealed, Bytes(vec![7; 113]));
        assert!(packed.pending.is_empty());

        // Others' cards confirm nothing; the card's own word deletes it.
        let path = format!("/v1/cards/{}/package/{grant}", card_id("hanako"));
        assert_eq!(code(town.card("jiro").delete::<Done>(&path).await), ErrorCode::Forbidden);
        let other = format!("/v1/cards/{}/package/{grant}", card_id("jiro"));
        assert_eq!(code(town.card("jiro").delete::<Done>(&other).await), ErrorCode::NotFound);
        let _: Done = town.card("hanako").delete(&path).await.unwrap();
        let _: Done = town.card("hanako").delete(&path).await.unwrap();
        let packed = package(&town, "hanako").await.unwrap();
        assert!(packed.shares.is_empty() && packed.pending.is_empty());
        // The ca may not bring it back.
        town.share(grant, &share_request("hanako", "tax")).await.unwrap();
        assert!(package(&town, "hanako").await.unwrap().shares.is_empty());
    }

    async fn an_order_that_ends_a_grant_ends_what_waits_for_it(stage) {
        let town = Town::working(&stage).await;
        town.done([grant("hanako", "tax"), grant("taro", "team")], ONE).await;
        town.issue("hanako", "tax").await;
        town.issue("taro", "team").await;
        let taken = town.wrap("main", "taro", "team").await.unwrap();
        town.done([end_contract("acme")], ONE).await;
        assert_eq!(code(town.wrap("main", "taro", "team").await), ErrorCode::GrantNotLive);
        let path = format!("/v1/wraps/{}", grant_id("taro", "team"));
        assert_eq!(code(town.site("main").delete::<Done>(&path).await), ErrorCode::GrantNotLive);
        assert_eq!(code(package(&town, "taro").await), ErrorCode::ContractOver);
        let request = share_request("taro", "team");
        assert_eq!(code(town.share(grant_id("taro", "team"), &request).await), ErrorCode::GrantNotLive);
        assert_eq!(code(town.give_key("main", "taro", "team").await), ErrorCode::GrantNotLive);
        town.wrap("main", "hanako", "tax").await.unwrap();

        // Deleted, and overwritten once the journal has gone into the database.
        let Town { kms, .. } = town;
        kms.kill();
        let town = Town::open(&stage).await;
        let mut database = stage.database().await;
        for table in ["wrap", "card_share", "grant_key"] {
            let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE grant_id = $1"));
            let left: i64 = sqlx::query_scalar(sql)
                .bind(grant_id("taro", "team").0.as_slice())
                .fetch_one(&mut database)
                .await
                .unwrap();
            assert_eq!(left, 0, "{table}");
        }
        let warifu_replica::storage::Place::File(path) = stage.config.place().unwrap() else { return };
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (busy, _, _): (i64, i64, i64) =
                sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut database).await.unwrap();
            if busy == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "the journal cannot be emptied");
        }
        let bytes = std::fs::read(path).unwrap();
        assert!(!bytes.windows(32).any(|window| window == &taken.wrapped.0[65..97]));
        town.wrap("main", "hanako", "tax").await.unwrap();
    }

    async fn a_grant_that_expires_gets_no_share(stage) {
        let town = Town::working(&stage).await;
        town.done([grant_until("hanako", "tax", T0 + DAY)], ONE).await;
        for site in SITES {
            town.give_key(site, "hanako", "tax").await.unwrap();
        }
        stage.clock.set_wall_ms(T0 + DAY);
        let share = town.share(grant_id("hanako", "tax"), &share_request("hanako", "tax")).await;
        assert_eq!(code(share), ErrorCode::GrantExpired);
    }

    async fn certificates_are_over_the_ledgers_keys(stage) {
        let town = Town::open_to_all(&stage).await;
        let grant = grant_id("hanako", "tax");
        let state = town.state().await;
        let (unit_key, _) = state.unit(&id("tax")).unwrap().key.unwrap();
        let hanako = card("hanako");
        let a = card_share("hanako", "tax").public();
        let named = [
            (CertificateKind::Service, Id([0; 16]), stage.keys.tls.0),
            (CertificateKind::Service, id("main"), public_of("main tls").0),
            (CertificateKind::CardAuthentication, hanako.card, hanako.authentication.0),
            (CertificateKind::CardSignature, hanako.card, hanako.signature.0),
            (CertificateKind::CardShare, grant, a),
            (CertificateKind::Unit, id("tax"), unit_key),
        ];
        for (kind, owner, point) in named {
            let other = certify(&town, kind, owner, &public_of("other").0).await;
            assert_eq!(code(other), ErrorCode::Rejected, "{kind:?}");
            let nobody = certify(&town, kind, id("nobody"), &point).await;
            assert_eq!(code(nobody), ErrorCode::NotFound, "{kind:?}");
            certify(&town, kind, owner, &point).await.unwrap();
        }
        certify(&town, CertificateKind::Authority, Id([0; 16]), &public_of("root").0).await.unwrap();
        // The kms shows its own from now on, with the key that everybody has pinned.
        assert_eq!(town.state().await.organization(), state.organization());
        let path = format!("/v1/certificates/card-share/{grant}");
        let kept: Certificate = town.stranger().get(&path).await.unwrap();
        assert_eq!((kept.kind, kept.id, kept.chain.len()), (CertificateKind::CardShare, grant, 1));
        let empty = Certificate { kind: CertificateKind::Unit, id: id("tax"), chain: vec![] };
        assert_eq!(code(town.ca().put::<Done>("/v1/certificates", &empty).await), ErrorCode::Malformed);
        let path = format!("/v1/certificates/unit/{}", id("team"));
        assert_eq!(code(town.stranger().get::<Certificate>(&path).await), ErrorCode::NotFound);
        let packed = package(&town, "hanako").await.unwrap();
        assert!(packed.authentication.is_some() && packed.signature.is_some());
        assert_eq!(packed.shares.len(), 1);
    }
}
