//! The chain as other software sees it: `openssl verify`, and the extensions.

use std::path::{Path, PathBuf};

use warifu_api::wire::authority::{Certificate, CertificateKind};
use warifu_ca::certificates::NONE;
use warifu_ledger::Id;
use warifu_split_key::point::Point;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::fixture::{card_id, enrol, grant, grant_id, id, public_of, site, unit};
use crate::foreign::{openssl, pem};
use crate::kms::Kms;
use crate::stage::{Ca, in_a_process, keys};

in_a_process!(openssl_verifies_every_kind, the_same_subject_gets_the_same_certificate);

async fn town(folder: &Path) -> (Kms, Ca) {
    let kms = Kms::founded(&keys(folder)).await;
    kms.ordered([site("main"), site("branch"), unit("tax"), enrol("hanako")]);
    let ca = Ca::ready(folder, &kms).await;
    ca.issuing.create_unit(&ca.client, id("tax")).await.unwrap();
    kms.ordered([grant("hanako", "tax")]);
    ca.folded(kms.state().tree().size()).await;
    ca.issuing.issue_grant(&ca.client, grant_id("hanako", "tax")).await.unwrap();
    ca.folded(kms.state().tree().size()).await;
    (kms, ca)
}

async fn certified(kms: &Kms, ca: &Ca, kind: CertificateKind, id: Id) -> Certificate {
    ca.issuing.certify(&ca.client, kind, id).await.unwrap();
    kms.certificate(kind, id).unwrap()
}

/// What a certificate says.
struct Said {
    key: Point,
    uris: Vec<String>,
    hosts: Vec<String>,
    usages: Vec<&'static str>,
    extended: Vec<&'static str>,
    serial: Vec<u8>,
}

fn said(der: &[u8]) -> Said {
    let (_, parsed) = X509Certificate::from_der(der).unwrap();
    let mut said = Said {
        key: Point::from_sec1(&parsed.public_key().subject_public_key.data).unwrap(),
        uris: Vec::new(),
        hosts: Vec::new(),
        usages: Vec::new(),
        extended: Vec::new(),
        serial: parsed.raw_serial().to_vec(),
    };
    let names = parsed.subject_alternative_name().unwrap().map(|names| names.value.general_names.clone());
    for name in names.unwrap_or_default() {
        match name {
            GeneralName::URI(uri) => said.uris.push(uri.to_owned()),
            GeneralName::DNSName(name) => said.hosts.push(name.to_owned()),
            GeneralName::IPAddress(ip) => said.hosts.push(format!("{ip:?}")),
            other => panic!("unexpected name {other}"),
        }
    }
    let usage = parsed.key_usage().unwrap().unwrap().value;
    for (there, name) in [
        (usage.digital_signature(), "digitalSignature"),
        (usage.non_repudiation(), "nonRepudiation"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_cert_sign(), "keyCertSign"),
        (usage.crl_sign(), "cRLSign"),
    ] {
        if there {
            said.usages.push(name);
        }
    }
    if let Some(extended) = parsed.extended_key_usage().unwrap() {
        for (there, name) in
            [(extended.value.server_auth, "serverAuth"), (extended.value.client_auth, "clientAuth")]
        {
            if there {
                said.extended.push(name);
            }
        }
    }
    said
}

async fn openssl_verifies_every_kind(folder: PathBuf) {
    let (kms, ca) = town(&folder).await;
    let organization = kms.organization();
    let authority = certified(&kms, &ca, CertificateKind::Authority, NONE).await;
    let [issuing, root] = authority.chain.as_slice() else { panic!("not issuing and root") };
    pem(&folder, "issuing.pem", &issuing.0);
    pem(&folder, "root.pem", &root.0);
    let time = (kms.at() / 1000).to_string();
    let verify = |purpose: &str, file: &str| {
        let mut arguments = vec!["verify", "-x509_strict", "-attime", &time, "-CAfile", "root.pem"];
        arguments.extend(["-untrusted", "issuing.pem"]);
        if !purpose.is_empty() {
            arguments.extend(["-purpose", purpose]);
        }
        arguments.push(file);
        openssl(&folder, &arguments);
    };
    verify("", "issuing.pem");
    let text = openssl(&folder, &["x509", "-in", "root.pem", "-noout", "-text"]);
    assert!(text.contains("CA:TRUE, pathlen:1"), "{text}");
    let text = openssl(&folder, &["x509", "-in", "issuing.pem", "-noout", "-text"]);
    assert!(text.contains("CA:TRUE, pathlen:0"), "{text}");

    let (grant, state) = (grant_id("hanako", "tax"), kms.state());
    let urn = |what: &str, id: Id| format!("urn:warifu:{organization}:{what}:{id}");
    let card = card_id("hanako");
    let issued = state.grant(&grant).unwrap().issued.clone().unwrap();
    let (unit_key, _) = state.unit(&id("tax")).unwrap().key.unwrap();
    use CertificateKind as K;
    let expected = [
        (K::Service, id("main"), public_of("main tls").0, "sslserver", vec![urn("site", id("main"))]),
        (
            K::Service,
            NONE,
            public_of("kms tls").0,
            "sslserver",
            vec![format!("urn:warifu:{organization}:kms")],
        ),
        (K::CardAuthentication, card, public_of("hanako 9A").0, "sslclient", vec![urn("card", card)]),
        (K::CardSignature, card, public_of("hanako 9C").0, "", vec![urn("card", card)]),
        (K::CardShare, grant, issued.card_point, "", vec![urn("grant", grant), urn("unit", id("tax"))]),
        (K::Unit, id("tax"), unit_key, "", vec![urn("unit", id("tax"))]),
    ];
    let mut serials = Vec::new();
    for (kind, subject, key, purpose, uris) in expected {
        let certificate = certified(&kms, &ca, kind, subject).await;
        assert_eq!(certificate.chain[1..], authority.chain, "{kind:?}: another chain");
        pem(&folder, "leaf.pem", &certificate.chain[0].0);
        verify(purpose, "leaf.pem");
        let said = said(&certificate.chain[0].0);
        assert_eq!((said.key, &said.uris), (key, &uris), "{kind:?}");
        let usages: &[&str] = match kind {
            K::CardSignature => &["digitalSignature", "nonRepudiation"],
            K::CardShare | K::Unit => &["keyAgreement"],
            _ => &["digitalSignature"],
        };
        let extended: &[&str] = match kind {
            K::Service => &["serverAuth", "clientAuth"],
            K::CardAuthentication => &["clientAuth"],
            _ => &[],
        };
        let hosts: &[&str] = match (kind, subject == NONE) {
            (K::Service, true) => &["[127, 0, 0, 1]"],
            (K::Service, false) => &["main.example"],
            _ => &[],
        };
        assert_eq!((said.usages, said.extended), (usages.to_vec(), extended.to_vec()), "{kind:?}");
        assert_eq!(said.hosts, hosts, "{kind:?}");
        // Positive, and as long as 128 random bits are.
        assert!(
            said.serial[0] < 0x80 && (12..=17).contains(&said.serial.len()),
            "{kind:?}: {:?}",
            said.serial
        );
        serials.push(said.serial);
    }
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 6, "a serial number came twice");
}

async fn the_same_subject_gets_the_same_certificate(folder: PathBuf) {
    let (kms, ca) = town(&folder).await;
    let card = card_id("hanako");
    let first = certified(&kms, &ca, CertificateKind::CardAuthentication, card).await;
    drop(ca);
    let ca = Ca::ready(&folder, &kms).await;
    let second = certified(&kms, &ca, CertificateKind::CardAuthentication, card).await;
    assert_eq!(first.chain, second.chain);
    let unknown = Id([8; 16]);
    ca.issuing.certify(&ca.client, CertificateKind::Unit, unknown).await.unwrap();
    assert!(kms.certificate(CertificateKind::Unit, unknown).is_none());
    let sent = ca.vault.certificates_sent().await.unwrap();
    assert_eq!(sent, [(CertificateKind::CardAuthentication, card)]);
}
