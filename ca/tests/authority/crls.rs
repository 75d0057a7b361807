//! CRLs (P-9.1, P-9.2): what they say follows the fold, and other people's software acts on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use warifu_api::crl::{CrlError, CrlSummary, verified};
use warifu_api::wire::authority::{CertificateKind, CrlIssuer};
use warifu_ca::certificates::NONE;
use warifu_ledger::Id;
use warifu_ledger::statement::{Act, Millis, Right};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use crate::fixture::*;
use crate::foreign::{certtool_takes_crl, crl_pem, judged, openssl, openssl_judges, pem, webpki_judges};
use crate::kms::Kms;
use crate::stage::{Ca, in_a_process, keys, serve_until};

in_a_process!(
    others_refuse_what_was_revoked_and_nothing_else,
    what_a_crl_says_follows_the_fold,
    a_contract_that_ends_by_its_date_is_on_the_next_crl,
    crls_are_made_anew_before_they_run_out_and_numbers_only_grow,
    certificates_are_renewed_before_they_end,
    a_crl_of_anybody_else_is_none,
    the_service_publishes_what_ends_while_it_runs,
);

use CertificateKind as K;

/// A town where hanako works in the tax office, and taro under a contract, with every certificate issued.
async fn town(folder: &Path) -> (Kms, Ca) {
    let kms = Kms::founded(&keys(folder)).await;
    kms.ordered([site("main"), site("branch"), contract("acme", ACME_ENDS)]);
    kms.ordered([unit("tax"), team("team", "acme"), enrol("hanako"), enrol_under("taro", "acme")]);
    let ca = Ca::ready(folder, &kms).await;
    for unit in ["tax", "team"] {
        ca.issuing.create_unit(&ca.client, id(unit)).await.unwrap();
    }
    kms.ordered([grant("hanako", "tax"), grant("taro", "team")]);
    ca.folded(kms.state().tree().size()).await;
    for (card, unit) in [("hanako", "tax"), ("taro", "team")] {
        ca.issuing.issue_grant(&ca.client, grant_id(card, unit)).await.unwrap();
    }
    ca.folded(kms.state().tree().size()).await;
    for (kind, id) in subjects() {
        ca.issuing.certify(&ca.client, kind, id).await.unwrap();
    }
    publish(&ca).await;
    (kms, ca)
}

fn subjects() -> Vec<(CertificateKind, Id)> {
    let cards = ["hanako", "taro"].map(card_id);
    let of_cards = cards.into_iter().flat_map(|id| [(K::CardAuthentication, id), (K::CardSignature, id)]);
    let shares =
        [("hanako", "tax"), ("taro", "team")].map(|(card, unit)| (K::CardShare, grant_id(card, unit)));
    let units = [(K::Unit, id("tax")), (K::Unit, id("team"))];
    let services = [(K::Service, NONE), (K::Service, id("main")), (K::Service, id("branch"))];
    of_cards.chain(shares).chain(units).chain(services).collect()
}

async fn publish(ca: &Ca) {
    for issuer in [CrlIssuer::Root, CrlIssuer::Issuing] {
        ca.issuing.publish_crl(&ca.client, issuer).await.unwrap();
    }
}

fn newest(kms: &Kms, issuer: CrlIssuer) -> Vec<u8> {
    kms.crls(issuer).last().unwrap().0.clone()
}

fn said(kms: &Kms, issuer: CrlIssuer) -> CrlSummary {
    let chain = kms.certificate(K::Authority, NONE).unwrap().chain;
    let by = if issuer == CrlIssuer::Root { &chain[1] } else { &chain[0] };
    verified(&newest(kms, issuer), &by.0).unwrap()
}

fn serial(kms: &Kms, kind: CertificateKind, id: Id) -> Vec<u8> {
    let chain = kms.certificate(kind, id).unwrap().chain;
    let (_, parsed) = X509Certificate::from_der(&chain[0].0).unwrap();
    parsed.tbs_certificate.serial.to_bytes_be()
}

/// The reason code of every certificate in the newest CRL; 255 where it gives none.
fn listed(kms: &Kms) -> BTreeMap<Vec<u8>, u8> {
    let der = newest(kms, CrlIssuer::Issuing);
    let (_, crl) = CertificateRevocationList::from_der(&der).unwrap();
    crl.iter_revoked_certificates()
        .map(|entry| (entry.serial().to_bytes_be(), entry.reason_code().map_or(255, |(_, code)| code.0)))
        .collect()
}

/// Writes chain and CRLs for others to judge.
fn show(folder: &Path, kms: &Kms, kind: CertificateKind, id: Id) {
    let chain = kms.certificate(kind, id).unwrap().chain;
    for (name, der) in ["leaf.pem", "issuing.pem", "root.pem"].iter().zip(&chain) {
        pem(folder, name, &der.0);
    }
    crl_pem(folder, "ca.crl.pem", &newest(kms, CrlIssuer::Issuing));
    crl_pem(folder, "root.crl.pem", &newest(kms, CrlIssuer::Root));
}

fn purpose(kind: CertificateKind) -> &'static str {
    match kind {
        K::Service => "sslserver",
        K::CardAuthentication => "sslclient",
        _ => "",
    }
}

async fn others_refuse_what_was_revoked_and_nothing_else(folder: PathBuf) {
    let (kms, ca) = town(&folder).await;
    let judge = |kms: &Kms, kind, id| {
        show(&folder, kms, kind, id);
        judged(&folder, kms.at() / 1000, purpose(kind))
    };
    for (kind, id) in subjects() {
        assert_eq!(judge(&kms, kind, id), None, "{kind:?} before anything was revoked");
    }
    let seconds = kms.at() / 1000;
    let webpki = |kms: &Kms, kind, id, name, seconds| {
        let chain: Vec<_> = kms.certificate(kind, id).unwrap().chain.into_iter().map(|der| der.0).collect();
        let crls = [CrlIssuer::Issuing, CrlIssuer::Root].map(|issuer| newest(kms, issuer));
        webpki_judges(&chain, crls, name, seconds)
    };
    let branch = (K::Service, id("branch"), Some("branch.example"));
    let hanako = (K::CardAuthentication, card_id("hanako"), None);
    for (kind, id, name) in [branch, hanako] {
        webpki(&kms, kind, id, name, seconds).unwrap();
    }
    webpki(&kms, branch.0, branch.1, Some("main.example"), seconds).unwrap_err();
    webpki(&kms, K::CardSignature, card_id("hanako"), Some("branch.example"), seconds).unwrap_err();
    let expired = webpki(&kms, branch.0, branch.1, branch.2, seconds + 25 * 60 * 60).unwrap_err();
    assert!(expired.to_string().to_lowercase().contains("revocation"), "{expired}");
    assert!(certtool_takes_crl(&folder, seconds, "ca.crl.pem", "issuing.pem"));
    assert!(certtool_takes_crl(&folder, seconds, "root.crl.pem", "root.pem"));
    assert!(!certtool_takes_crl(&folder, seconds, "ca.crl.pem", "root.pem"), "another issuer's");

    kms.ordered([revoke_member("hanako"), end_contract("acme"), Act::SiteRemoved { site: id("branch") }]);
    ca.folded(kms.state().tree().size()).await;
    publish(&ca).await;
    for (kind, id) in subjects() {
        let good = [
            (K::Service, NONE),
            (K::Service, crate::fixture::id("main")),
            (K::Unit, crate::fixture::id("tax")),
        ];
        let verdict = judge(&kms, kind, id);
        assert_eq!(verdict.is_none(), good.contains(&(kind, id)), "{kind:?}: {verdict:?}");
        if let Some(verdict) = verdict {
            assert!(verdict.contains("certificate revoked"), "{verdict}");
        }
    }
    for (kind, id, name) in [branch, hanako] {
        let refused = webpki(&kms, kind, id, name, kms.at() / 1000).unwrap_err();
        let revoked = rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked);
        assert_eq!(refused, revoked);
    }
    // A CRL that is withheld runs out, and then nothing is believed any more.
    show(&folder, &kms, K::Service, id("main"));
    let later = seconds + 25 * 60 * 60;
    let (good, why) = openssl_judges(&folder, later, "sslserver");
    assert!(!good && why.contains("CRL has expired"), "{why}");

    let text = openssl(&folder, &["x509", "-in", "leaf.pem", "-noout", "-text"]);
    for part in ["URI:http://kms.example:7444/ca.crl", "CA Issuers - URI:http://kms.example:7444/ca.cer"] {
        assert!(text.contains(part), "{text}");
    }
    for part in ["X509v3 Basic Constraints: critical", "X509v3 Key Usage: critical"] {
        assert!(text.contains(part), "{text}");
    }
    let text = openssl(&folder, &["x509", "-in", "issuing.pem", "-noout", "-text"]);
    assert!(text.contains("URI:http://kms.example:7444/root.crl"), "{text}");
    let text = openssl(&folder, &["crl", "-in", "ca.crl.pem", "-noout", "-text"]);
    assert!(text.contains("X509v3 CRL Number") && text.contains("X509v3 Authority Key Identifier"), "{text}");
    assert!(!text.contains("Issuing Distribution Point"), "it is the whole of its issuer's: {text}");
}

async fn what_a_crl_says_follows_the_fold(folder: PathBuf) {
    let (kms, ca) = town(&folder).await;
    let hanako = [K::CardAuthentication, K::CardSignature].map(|kind| serial(&kms, kind, card_id("hanako")));
    let taro = [K::CardAuthentication, K::CardSignature].map(|kind| serial(&kms, kind, card_id("taro")));
    let share = serial(&kms, K::CardShare, grant_id("hanako", "tax"));
    let team = [serial(&kms, K::CardShare, grant_id("taro", "team")), serial(&kms, K::Unit, id("team"))];
    let branch = serial(&kms, K::Service, id("branch"));
    assert!(listed(&kms).is_empty());
    kms.ordered([enrol("jiro"), grant_with("jiro", "tax", Right::Open, Some(kms.at() + DAY))]);
    ca.folded(kms.state().tree().size()).await;
    ca.issuing.issue_grant(&ca.client, grant_id("jiro", "tax")).await.unwrap();
    ca.folded(kms.state().tree().size()).await;
    for (kind, id) in [(K::CardShare, grant_id("jiro", "tax")), (K::CardSignature, card_id("jiro"))] {
        ca.issuing.certify(&ca.client, kind, id).await.unwrap();
    }
    let mut expected = BTreeMap::<Vec<u8>, u8>::new();
    let follow = async |act: Act, expected: &BTreeMap<Vec<u8>, u8>| {
        kms.ordered([act]);
        ca.folded(kms.state().tree().size()).await;
        publish(&ca).await;
        assert_eq!(&listed(&kms), expected);
    };
    // Held, out again, and held once more.
    for held in [true, false, true] {
        for serial in hanako.iter().chain([&share]) {
            if held {
                expected.insert(serial.clone(), 6)
            } else {
                expected.remove(serial)
            };
        }
        follow(if held { suspend("hanako") } else { resume("hanako") }, &expected).await;
    }
    // What was held is withdrawn for good; a card that is held stays so.
    expected.insert(share.clone(), 9);
    follow(revoke_grant("hanako", "tax"), &expected).await;
    for serial in &hanako {
        expected.insert(serial.clone(), 255);
    }
    follow(revoke_card("hanako"), &expected).await;
    for serial in taro.iter().chain(&team) {
        expected.insert(serial.clone(), 5);
    }
    follow(end_contract("acme"), &expected).await;
    // What was said for good stays said, whatever comes later.
    follow(revoke_member("hanako"), &expected).await;

    // A grant that ends by its date, and a member who leaves.
    kms.waits(2 * DAY);
    drop(ca);
    let mut ca = Ca::ready(&folder, &kms).await;
    publish(&ca).await;
    expected.insert(serial(&kms, K::CardShare, grant_id("jiro", "tax")), 9);
    assert_eq!(listed(&kms), expected);
    kms.ordered([revoke_member("jiro")]);
    ca.folded(kms.state().tree().size()).await;
    publish(&ca).await;
    expected.insert(serial(&kms, K::CardSignature, card_id("jiro")), 3);
    assert_eq!(listed(&kms), expected);
    // Ordered ahead: a unit that closes, a member whose last day it is; and a unit with another key.
    kms.ordered([enrol("goro"), unit("archive")]);
    ca.folded(kms.state().tree().size()).await;
    ca.issuing.create_unit(&ca.client, id("archive")).await.unwrap();
    ca.folded(kms.state().tree().size()).await;
    for (kind, id) in [(K::Unit, id("archive")), (K::CardAuthentication, card_id("goro"))] {
        ca.issuing.certify(&ca.client, kind, id).await.unwrap();
    }
    let (archive, goro) =
        (serial(&kms, K::Unit, id("archive")), serial(&kms, K::CardAuthentication, card_id("goro")));
    kms.ordered([
        Act::UnitClosed { unit: id("archive"), effective_at: Some(kms.at() + DAY) },
        Act::MemberRevoked { member: id("goro"), reason: None, effective_at: Some(kms.at() + 2 * DAY) },
        Act::UnitRekeyed { unit: id("tax"), successor: id("new tax") },
    ]);
    ca.folded(kms.state().tree().size()).await;
    publish(&ca).await;
    assert_eq!(listed(&kms), expected, "nothing of it has happened yet");
    ca.issuing.create_unit(&ca.client, id("new tax")).await.unwrap();
    ca.folded(kms.state().tree().size()).await;
    publish(&ca).await;
    expected.insert(serial(&kms, K::Unit, id("tax")), 4);
    assert_eq!(listed(&kms), expected);
    for (ended, reason) in [(archive, 5), (goro, 3)] {
        let end = warifu_ca::revocation::next_end(&kms.state(), kms.at()).unwrap();
        kms.waits(end - kms.at());
        drop(ca);
        ca = Ca::ready(&folder, &kms).await;
        publish(&ca).await;
        expected.insert(ended, reason);
        assert_eq!(listed(&kms), expected);
    }
    kms.ordered([Act::SiteRemoved { site: id("branch") }]);
    ca.folded(kms.state().tree().size()).await;
    publish(&ca).await;
    expected.insert(branch, 5);
    assert_eq!(listed(&kms), expected);
    // Serials of what has run out are not carried on for ever.
    kms.waits(6 * 365 * DAY);
    drop(ca);
    let ca = Ca::ready(&folder, &kms).await;
    publish(&ca).await;
    assert_eq!(listed(&kms), BTreeMap::new());
}

async fn a_contract_that_ends_by_its_date_is_on_the_next_crl(folder: PathBuf) {
    let (kms, ca) = town(&folder).await;
    let expected: BTreeMap<_, _> = [
        (K::CardAuthentication, card_id("taro")),
        (K::CardSignature, card_id("taro")),
        (K::CardShare, grant_id("taro", "team")),
        (K::Unit, id("team")),
    ]
    .into_iter()
    .map(|(kind, id)| (serial(&kms, kind, id), 5))
    .collect();
    let state = kms.state();
    assert_eq!(warifu_ca::revocation::next_end(&state, kms.at()), Some(ACME_ENDS));
    assert_eq!(warifu_ca::revocation::next_end(&state, ACME_ENDS), None);
    kms.waits(ACME_ENDS - kms.at());
    drop(ca);
    // The service finds out by itself.
    let ended = kms.until(|kms| !listed(kms).is_empty());
    serve_until(&folder, &kms, ended).await;
    let mut all = listed(&kms);
    all.retain(|serial, _| expected.contains_key(serial));
    assert_eq!(all, expected);
}

async fn crls_are_made_anew_before_they_run_out_and_numbers_only_grow(folder: PathBuf) {
    let (kms, ca) = town(&folder).await;
    publish(&ca).await;
    let both = |kms: &Kms| [CrlIssuer::Issuing, CrlIssuer::Root].map(|issuer| said(kms, issuer));
    let first = both(&kms);
    assert_eq!(
        [kms.crls(CrlIssuer::Issuing).len(), kms.crls(CrlIssuer::Root).len()],
        [1, 1],
        "nothing new to say"
    );
    let lasts = |said: CrlSummary| said.next_update - said.this_update - 5 * MINUTE;
    assert_eq!(first.map(lasts), [DAY, 30 * DAY]);
    drop(ca);

    // Half of its time later, and then when the other one's is over.
    let mut ca = None;
    let mut again = async |ms: Millis| {
        kms.waits(ms);
        drop(ca.take());
        let started = Ca::ready(&folder, &kms).await;
        publish(&started).await;
        ca = Some(started);
        both(&kms)
    };
    let second = again(11 * 60 * MINUTE).await;
    assert_eq!(second, first, "the half is not over");
    let second = again(DAY).await;
    assert!(second[0].number > first[0].number && second[0].next_update > first[0].next_update);
    assert_eq!(second[1], first[1]);
    let third = again(15 * DAY).await;
    assert!(third[0].number > second[0].number && third[1].number > first[1].number);

    // A ca from an old backup of its database does not give a number twice either.
    let pool = crate::stage::database(&folder).await;
    sqlx::query("UPDATE crl SET number = 1").execute(&pool).await.unwrap();
    pool.close().await;
    let fourth = again(DAY).await;
    assert!(fourth[0].number > third[0].number);
}

async fn certificates_are_renewed_before_they_end(folder: PathBuf) {
    let (kms, ca) = town(&folder).await;
    let subject = (K::CardAuthentication, card_id("hanako"));
    let first = serial(&kms, subject.0, subject.1);
    let renewed = |kms: &Kms| serial(kms, subject.0, subject.1) != first;
    drop(ca);
    kms.waits(5 * 365 * DAY - 31 * DAY);
    let ca = Ca::ready(&folder, &kms).await;
    ca.issuing.certify(&ca.client, subject.0, subject.1).await.unwrap();
    assert!(!renewed(&kms), "a month and a day are left");
    drop(ca);
    kms.waits(2 * DAY);
    let issuers = [CrlIssuer::Issuing, CrlIssuer::Root];
    let current =
        |kms: &Kms| issuers.iter().all(|issuer| said(kms, *issuer).next_update > kms.at() + 12 * 60 * MINUTE);
    serve_until(&folder, &kms, kms.until(|kms| renewed(kms) && current(kms))).await;
    show(&folder, &kms, subject.0, subject.1);
    assert_eq!(judged(&folder, kms.at() / 1000 + 30 * 24 * 60 * 60 / 100, "sslclient"), None);
    // Both of them are revoked with the card.
    kms.ordered([revoke_card("hanako")]);
    let revoked = kms.until(|kms| listed(kms).contains_key(&serial(kms, subject.0, subject.1)));
    serve_until(&folder, &kms, revoked).await;
    assert!(listed(&kms).contains_key(&first));
    // Nothing is made for whom it is over.
    let taro = serial(&kms, K::CardSignature, card_id("taro"));
    let ca = Ca::ready(&folder, &kms).await;
    ca.issuing.certify(&ca.client, K::CardSignature, card_id("taro")).await.unwrap();
    assert_eq!(serial(&kms, K::CardSignature, card_id("taro")), taro);
}

async fn a_crl_of_anybody_else_is_none(folder: PathBuf) {
    let (kms, _ca) = town(&folder).await;
    let chain = kms.certificate(K::Authority, NONE).unwrap().chain;
    let (issuing, root) = (&chain[0].0, &chain[1].0);
    let der = newest(&kms, CrlIssuer::Issuing);
    assert_eq!(verified(&der, root), Err(CrlError::OtherIssuer));
    assert_eq!(verified(&newest(&kms, CrlIssuer::Root), issuing), Err(CrlError::OtherIssuer));
    let leaf = &kms.certificate(K::Unit, id("tax")).unwrap().chain[0].0;
    assert_eq!(verified(&der, leaf), Err(CrlError::Issuer));
    let mut altered = der.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(verified(&altered, issuing), Err(CrlError::Signature));
    assert_eq!(verified(&[&der[..], &[0]].concat(), issuing), Err(CrlError::Malformed));
    assert_eq!(verified(&der[..der.len() - 1], issuing), Err(CrlError::Malformed));
    assert_eq!(verified(&[], issuing), Err(CrlError::Malformed));
}

async fn the_service_publishes_what_ends_while_it_runs(folder: PathBuf) {
    let kms = Kms::founded(&keys(&folder)).await;
    kms.ordered([site("main"), site("branch"), enrol("hanako")]);
    let card = (K::CardAuthentication, card_id("hanako"));
    let events = async {
        kms.until(|kms| kms.certificate(card.0, card.1).is_some()).await;
        kms.until(|kms| {
            [CrlIssuer::Issuing, CrlIssuer::Root].iter().all(|issuer| !kms.crls(*issuer).is_empty())
        })
        .await;
        let serial = serial(&kms, card.0, card.1);
        for held in [true, false] {
            kms.ordered([if held { suspend("hanako") } else { resume("hanako") }]);
            kms.until(|kms| (listed(kms).get(&serial) == Some(&6)) == held).await;
        }
        kms.ordered([revoke_card("hanako")]);
        kms.until(|kms| listed(kms).get(&serial) == Some(&255)).await;
    };
    serve_until(&folder, &kms, events).await;
}
