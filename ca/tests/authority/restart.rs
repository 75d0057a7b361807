//! Cut off anywhere and started again: the same secrets, and nothing twice (P-6.1).

use std::path::PathBuf;

use aes_kw::KeyInit as _;
use p256::ecdh::diffie_hellman;
use sqlx::Row as _;
use warifu_api::wire::authority::CertificateKind;
use warifu_ca::certificates::NONE;
use warifu_ca::vault::Vault;
use warifu_hardware::hsm::WrappedShare;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, Custody};
use warifu_split_key::hpke::open_with_x;
use warifu_split_key::issuer::CardShare;
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;

use crate::fixture::{card_id, card_key, enrol, grant, grant_id, id, public_of, site, unit};
use crate::kms::{Kms, Lie};
use crate::stage::{database, in_a_process, keys, publishing, serve_until};

in_a_process!(
    the_service_does_all_that_is_ordered,
    a_share_for_a_token_is_wrapped_and_no_other_is,
    it_takes_up_what_was_cut_off,
    one_site_that_is_off_keeps_nobody_else_waiting,
    secrets_rest_sealed_and_shares_are_forgotten,
    it_serves_no_kms_but_the_founded_one,
);

fn is_created(state: &State, label: &str) -> bool {
    state.unit(&id(label)).is_some_and(|unit| unit.key.is_some())
}

fn is_issued(state: &State, card: &str, unit: &str) -> bool {
    state.grant(&grant_id(card, unit)).is_some_and(|grant| grant.issued.is_some())
}

/// Opens what the ca sealed to a card, as the card's desk PC does (P-6.3).
fn opened(kms: &Kms, card: &str, sealed: &[u8], grant: warifu_ledger::Id) -> CardShare {
    let transport = card_key(card, "9D");
    let (enc, ciphertext) = sealed.split_at(65);
    assert_eq!(ciphertext.len(), 48);
    let enc = Point::from_sec1(enc).unwrap();
    let peer = p256::PublicKey::from_sec1_bytes(&enc.to_uncompressed()).unwrap();
    let x = diffie_hellman(transport.as_nonzero_scalar(), peer.as_affine());
    let x = PartialX::from_bytes(x.raw_secret_bytes().as_slice().try_into().unwrap());
    let info = [&b"warifu/card-share/v1"[..], &kms.organization().0, &grant.0].concat();
    let own = public_of(&format!("{card} 9D")).0;
    let share = open_with_x(&x, &enc, &own, &info, &[], ciphertext).unwrap();
    CardShare::from_bytes(share.as_slice().try_into().unwrap()).unwrap()
}

async fn the_service_does_all_that_is_ordered(folder: PathBuf) {
    let kms = Kms::founded(&keys(&folder)).await;
    // Part of it before the service runs, part of it while it does, the grant before its unit has a key.
    kms.ordered([site("main"), site("branch"), unit("tax")]);
    let orders = async {
        kms.until(|kms| is_created(&kms.state(), "tax")).await;
        kms.ordered([enrol("hanako"), unit("welfare")]);
        kms.ordered([grant("hanako", "tax"), grant("hanako", "welfare")]);
        kms.until(|kms| ["tax", "welfare"].iter().all(|unit| is_issued(&kms.state(), "hanako", unit))).await;
        let kinds = [
            (CertificateKind::Authority, NONE),
            (CertificateKind::Service, NONE),
            (CertificateKind::Service, id("branch")),
            (CertificateKind::CardAuthentication, card_id("hanako")),
            (CertificateKind::CardSignature, card_id("sakura")),
            (CertificateKind::CardShare, grant_id("hanako", "welfare")),
            (CertificateKind::Unit, id("welfare")),
        ];
        kms.until(|kms| kinds.iter().all(|(kind, id)| kms.certificate(*kind, *id).is_some())).await;
        let size = kms.state().tree().size();
        let cosigned = format!("\n{size}\n");
        kms.until(|kms| kms.cosignatures().iter().any(|note| note.contains(&cosigned))).await;
    };
    serve_until(&folder, &kms, orders).await;
    for (grant, card_point, sealed) in kms.shares() {
        assert_eq!(opened(&kms, "hanako", &sealed.0, grant).public(), card_point.0);
    }
    let vault = Vault::new(database(&folder).await, keys(&folder).kek);
    assert!(vault.shares().await.unwrap().is_empty(), "a share outlived its grant's issue");
}

/// The order says how the share comes onto the card (P-6.3b).
async fn a_share_for_a_token_is_wrapped_and_no_other_is(folder: PathBuf) {
    let kms = Kms::founded(&keys(&folder)).await;
    kms.ordered([site("main"), site("branch"), unit("tax"), unit("welfare"), enrol("hanako")]);
    let by_token = match grant("hanako", "tax") {
        Act::GrantOrdered { grant, card, unit, right, starts_at, expires_at, .. } => Act::GrantOrdered {
            grant,
            card,
            unit,
            right,
            custody: Custody::TokenUnwrap,
            starts_at,
            expires_at,
        },
        other => other,
    };
    kms.ordered([by_token, grant("hanako", "welfare")]);
    let issued = ["tax", "welfare"];
    serve_until(
        &folder,
        &kms,
        kms.until(|kms| issued.iter().all(|unit| is_issued(&kms.state(), "hanako", unit))),
    )
    .await;
    let transport = card_key("hanako", "9D");
    for (grant, card_point, sealed) in kms.shares() {
        if grant != grant_id("hanako", "tax") {
            assert_eq!(opened(&kms, "hanako", &sealed.0, grant).public(), card_point.0);
            continue;
        }
        let wrapped = WrappedShare::from_bytes(&sealed.0).unwrap();
        let peer = p256::PublicKey::from_sec1_bytes(&wrapped.ephemeral().to_uncompressed()).unwrap();
        let x = diffie_hellman(transport.as_nonzero_scalar(), peer.as_affine());
        let mut pkcs8 = [0; 80];
        let pkcs8 =
            aes_kw::KwpAes256::new(x.raw_secret_bytes()).unwrap_key(wrapped.blob(), &mut pkcs8).unwrap();
        let scalar: &[u8; 32] = pkcs8.last_chunk().unwrap();
        let share = CardShare::from_bytes(scalar).unwrap();
        assert_eq!((share.public(), pkcs8.len()), (card_point.0, 67));
    }
}

async fn it_takes_up_what_was_cut_off(folder: PathBuf) {
    let kms = Kms::founded(&keys(&folder)).await;
    kms.ordered([site("main"), site("branch"), unit("tax"), enrol("hanako")]);
    // Cut off after the half has left, before the fact is in the ledger.
    kms.lies(Lie::RefuseFacts);
    serve_until(&folder, &kms, kms.until(|kms| !kms.facts().is_empty())).await;
    let half = kms.halves()[0];
    kms.lies(Lie::None);
    serve_until(&folder, &kms, kms.until(|kms| is_created(&kms.state(), "tax"))).await;
    assert!(kms.halves().iter().all(|later| *later == half), "another half after the restart");

    // The same with a share.
    kms.ordered([grant("hanako", "tax")]);
    kms.lies(Lie::RefuseFacts);
    let facts = kms.facts().len();
    serve_until(&folder, &kms, kms.until(|kms| kms.facts().len() > facts)).await;
    let (grant, point, _) = kms.shares()[0].clone();
    kms.lies(Lie::None);
    serve_until(&folder, &kms, kms.until(|kms| is_issued(&kms.state(), "hanako", "tax"))).await;
    for (_, later, sealed) in kms.shares() {
        assert_eq!(later, point, "another share after the restart");
        assert_eq!(opened(&kms, "hanako", &sealed.0, grant).public(), point.0);
    }

    // Issued while the ca was ending; the share goes at the next start.
    let state = kms.state();
    let pool = database(&folder).await;
    sqlx::query("INSERT INTO card_share (grant_id, sealed) VALUES (?, x'00') ON CONFLICT DO NOTHING")
        .bind(&grant.0[..])
        .execute(&pool)
        .await
        .unwrap();
    assert!(state.grant(&grant).unwrap().issued.is_some());
    let vault = Vault::new(pool.clone(), keys(&folder).kek);
    let gone = async {
        while !vault.shares().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    serve_until(&folder, &kms, gone).await;
}

async fn one_site_that_is_off_keeps_nobody_else_waiting(folder: PathBuf) {
    let kms = Kms::founded(&keys(&folder)).await;
    let units: Vec<String> = (0..12).map(|n| format!("unit{n}")).collect();
    kms.ordered([site("main"), site("branch"), enrol("hanako")]);
    kms.ordered(units.iter().map(|label| unit(label)));
    // More than there are workers; the last one is served.
    for label in &units[..11] {
        kms.keeps_waiting(grant_id("hanako", label), true);
    }
    kms.ordered(units.iter().map(|label| grant("hanako", label)));
    serve_until(&folder, &kms, kms.until(|kms| is_issued(&kms.state(), "hanako", "unit11"))).await;
    assert!(!is_issued(&kms.state(), "hanako", "unit0"));
    kms.keeps_waiting(grant_id("hanako", "unit0"), false);
    serve_until(&folder, &kms, kms.until(|kms| is_issued(&kms.state(), "hanako", "unit0"))).await;
}

async fn secrets_rest_sealed_and_shares_are_forgotten(folder: PathBuf) {
    let kms = Kms::founded(&keys(&folder)).await;
    kms.ordered([site("main"), site("branch"), unit("tax"), enrol("hanako")]);
    kms.ordered([grant("hanako", "tax")]);
    serve_until(&folder, &kms, kms.until(|kms| is_issued(&kms.state(), "hanako", "tax"))).await;
    let (grant, _, sealed) = kms.shares()[0].clone();
    let share = opened(&kms, "hanako", &sealed.0, grant).expose_bytes();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(32).any(|window| window == share.as_slice());
            assert!(!found, "a share in the clear in {}", path.display());
        }
    }
    // A seal does not take another's place.
    let pool = database(&folder).await;
    let row = sqlx::query("SELECT unit, sealed FROM issuer_half").fetch_one(&pool).await.unwrap();
    let (unit_id, sealed): (Vec<u8>, Vec<u8>) = (row.get("unit"), row.get("sealed"));
    assert_eq!(unit_id, id("tax").0);
    let kek = keys(&folder).kek;
    let aad = |unit: &str, role: &[u8]| [&kms.organization().0[..], &id(unit).0, role].concat();
    assert!(kek.open(&sealed, &aad("tax", b"issuer")).is_ok());
    assert!(kek.open(&sealed, &aad("welfare", b"issuer")).is_err());
    assert!(kek.open(&sealed, &aad("tax", b"share")).is_err());
}

async fn it_serves_no_kms_but_the_founded_one(folder: PathBuf) {
    use warifu_ca::service::{Service, ServiceError};
    let (ca_keys, clock) =
        (keys(&folder), std::sync::Arc::new(warifu_replica::clock::ManualClock::default()));
    let pool = database(&folder).await;
    let unfounded =
        Service::start_with("127.0.0.1:1", publishing(), None, ca_keys.clone(), pool, None, clock.clone())
            .await;
    assert!(matches!(unfounded.err().unwrap(), ServiceError::NotFounded));
    let kms = Kms::founded(&ca_keys).await;
    let pool = crate::stage::founded(&folder, &kms).await;
    let other = Some(public_of("other tls").0);
    let started = Service::start_with(&kms.address(), publishing(), other, ca_keys, pool, None, clock).await;
    assert!(matches!(started.err().unwrap(), ServiceError::OtherKms));
}
