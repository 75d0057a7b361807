//! CRLs that the ca posts, and that anybody fetches over plain HTTP (P-9.3, P-9.4).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, date_time_ymd,
};
use warifu_api::tls::Identity;
use warifu_api::wire::authority::{Certificate, CertificateKind, Crl, CrlIssuer, Package, Status};
use warifu_api::wire::{Done, Leaves};
use warifu_api::{ClientError, ErrorCode};
use warifu_hardware::signer::CertKey;
use warifu_ledger::Id;
use warifu_ledger::key::Bytes;

use crate::fixture::*;
use crate::stage::{code, signer, staged};
use crate::town::Town;

const NOBODY: Id = Id([0; 16]);

/// A root and an issuing CA under it.
struct Pki {
    root: (Issuer<'static, KeyPair>, Bytes),
    issuing: (Issuer<'static, KeyPair>, Bytes),
}

impl Pki {
    fn new() -> Self {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params
        };
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let (root_key, issuing_key) = (key(), key());
        let root = params("root").self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(params("root"), root_key);
        let issuing = params("issuing").signed_by(&issuing_key, &root_issuer).unwrap();
        let bytes = |certificate: rcgen::Certificate| Bytes(certificate.der().to_vec());
        Self {
            root: (root_issuer, bytes(root)),
            issuing: (Issuer::new(params("issuing"), issuing_key), bytes(issuing)),
        }
    }

    fn authority(&self) -> Certificate {
        let chain = vec![self.issuing.1.clone(), self.root.1.clone()];
        Certificate { kind: CertificateKind::Authority, id: NOBODY, chain }
    }

    fn crl(&self, issuer: CrlIssuer, number: u64, day: u8) -> Crl {
        self.signed(issuer, issuer, number, day, None)
    }

    fn signed(
        &self,
        by: CrlIssuer,
        issuer: CrlIssuer,
        number: u64,
        day: u8,
        issuing_distribution_point: Option<CrlIssuingDistributionPoint>,
    ) -> Crl {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 4, day),
            next_update: date_time_ymd(2026, 5, day),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point,
            revoked_certs: vec![],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let (by, _) = if by == CrlIssuer::Root { &self.root } else { &self.issuing };
        Crl { issuer, der: Bytes(params.signed_by(by).unwrap().der().to_vec()) }
    }
}

async fn post(town: &Town, crl: &Crl) -> Result<Done, ClientError> {
    town.ca().put("/v1/crls", crl).await
}

/// `curl` with these arguments on a path; headers and body.
fn curl(town: &Town, arguments: &[&str], path: &str) -> (String, Vec<u8>) {
    let url = format!("http://{}{path}", town.kms.crl_address);
    let output =
        Command::new("curl").args(["-sS", "-i", "--max-time", "10"]).args(arguments).arg(&url).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let end = output.stdout.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let (head, body) = output.stdout.split_at(end + 4);
    (String::from_utf8(head.to_vec()).unwrap().to_lowercase(), body.to_vec())
}

/// One fetch on a connection of its own; the answer.
fn fetch(address: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /ca.crl HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .find_map(|line| line.strip_prefix(&format!("{name}: ")))
        .unwrap_or_else(|| panic!("{name}: {head}"))
}

staged! {
    async fn only_what_the_ca_signed_is_kept_and_nothing_older(stage) {
        let town = Town::open_to_all(&stage).await;
        let pki = Pki::new();
        let seventh = pki.crl(CrlIssuer::Issuing, 7, 2);
        assert_eq!(code(post(&town, &seventh).await), ErrorCode::NotReady, "whose is it?");
        let Done {} = town.ca().put("/v1/certificates", &pki.authority()).await.unwrap();
        for stranger in [town.stranger(), town.kms.by(card_key("hanako", "9A")), town.kms.by(key("main tls"))] {
            assert_eq!(code(stranger.put::<Done>("/v1/crls", &seventh).await), ErrorCode::Forbidden);
        }
        assert_eq!(curl(&town, &[], "/ca.crl").0.lines().next(), Some("http/1.1 404 not found"));

        let (other, eighth) = (Pki::new(), pki.crl(CrlIssuer::Issuing, 8, 3));
        let mut altered = eighth.clone();
        *altered.der.0.last_mut().unwrap() ^= 1;
        let part = CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: vec!["http://x/".to_owned()] },
            scope: None,
        };
        post(&town, &seventh).await.unwrap();
        for (crl, what) in [
            (other.crl(CrlIssuer::Issuing, 9, 3), "another key"),
            (pki.signed(CrlIssuer::Issuing, CrlIssuer::Root, 9, 3, None), "the issuing CA for the root"),
            (pki.signed(CrlIssuer::Root, CrlIssuer::Issuing, 9, 3, None), "the root for the issuing CA"),
            (pki.signed(CrlIssuer::Issuing, CrlIssuer::Issuing, 9, 3, Some(part)), "a part of it"),
            (altered, "altered"),
            (Crl { issuer: CrlIssuer::Issuing, der: Bytes(vec![]) }, "nothing"),
            (pki.crl(CrlIssuer::Issuing, 6, 3), "an older one"),
            (pki.crl(CrlIssuer::Issuing, 7, 3), "the same number, and other words"),
        ] {
            assert_eq!(code(post(&town, &crl).await), ErrorCode::Rejected, "{what}");
            assert_eq!(curl(&town, &[], "/ca.crl").1, seventh.der.0, "{what}");
        }
        post(&town, &seventh).await.unwrap();
        post(&town, &eighth).await.unwrap();
        assert_eq!(curl(&town, &[], "/ca.crl").1, eighth.der.0);
        assert_eq!(code(post(&town, &seventh).await), ErrorCode::Rejected);

        // It is served again after a crash.
        town.kms.kill();
        let town = Town::again(stage.start().await);
        assert_eq!(curl(&town, &[], "/ca.crl").1, eighth.der.0);
        assert_eq!(curl(&town, &[], "/ca.cer").1, pki.issuing.1.0);
        assert_eq!(code(post(&town, &seventh).await), ErrorCode::Rejected);
    }

    async fn anybody_fetches_them_as_rfc_5280_expects(stage) {
        let town = Town::open_to_all(&stage).await;
        let pki = Pki::new();
        let Done {} = town.ca().put("/v1/certificates", &pki.authority()).await.unwrap();
        let root = pki.crl(CrlIssuer::Root, 1, 2);
        post(&town, &root).await.unwrap();
        let (head, body) = curl(&town, &[], "/root.crl");
        assert_eq!((head.lines().next(), &body), (Some("http/1.1 200 ok"), &root.der.0));
        assert_eq!(header(&head, "content-type"), "application/pkix-crl");
        assert_eq!(header(&head, "last-modified"), "thu, 02 apr 2026 00:00:00 gmt");
        assert!(header(&head, "cache-control").contains("max-age=300"));
        let etag = header(&head, "etag").to_owned();
        let (head, body) = curl(&town, &["--head"], "/root.crl");
        assert_eq!(header(&head, "content-length"), root.der.0.len().to_string());
        assert!(body.is_empty());
        let status = |arguments: &[&str], path: &str| {
            let (head, body) = curl(&town, arguments, path);
            (head.split(' ').nth(1).unwrap().to_owned(), body.len())
        };
        let none_match = |tag: &str| status(&["-H", &format!("If-None-Match: {tag}")], "/root.crl").0;
        assert_eq!(none_match(&etag), "304");
        assert_eq!(none_match(&format!("\"x\", W/{etag}")), "304");
        assert_eq!(none_match("\"x\""), "200");
        let since = |date: &str| status(&["-H", &format!("If-Modified-Since: {date}")], "/root.crl");
        assert_eq!(since("Thu, 02 Apr 2026 00:00:00 GMT"), ("304".to_owned(), 0));
        assert_eq!(since("Wed, 01 Apr 2026 00:00:00 GMT").0, "200");
        assert_eq!(since("some day").0, "200");
        assert_eq!(header(&curl(&town, &[], "/root.cer").0, "content-type"), "application/pkix-cert");
        assert_eq!(curl(&town, &[], "/root.cer").1, pki.root.1.0);
        // Nothing else is here, and nobody leaves anything.
        for method in ["POST", "PUT", "DELETE"] {
            assert_eq!(status(&["-X", method, "-d", "x"], "/root.crl").0, "405");
        }
        for path in ["/", "/ca.crl", "/v1/status", "/root.crl/", "/%2e%2e/root.crl"] {
            assert_eq!(status(&["--path-as-is"], path).0, "404", "{path}");
        }
        let long = format!("X: {}", "x".repeat(64 << 10));
        assert_eq!(status(&["-H", &long], "/root.crl").0, "431");
    }

    // I8: a certificate never stands in for a card, not even one that the organization's own issuing key has signed.
    async fn a_rogue_ca_makes_nobody_a_member(stage) {
        let town = Town::open_to_all(&stage).await;
        let pki = Pki::new();
        let Done {} = town.ca().put("/v1/certificates", &pki.authority()).await.unwrap();
        let organization = town.state().await.organization();
        let card = card_id("hanako");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("card {card}"));
        let uri = format!("urn:warifu:{organization}:card:{card}");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        let signer = signer(key("rogue"));
        let leaf = params.signed_by(&CertKey::new(signer.clone()), &pki.issuing.0).unwrap();
        let above = [&pki.issuing.1, &pki.root.1].map(|der| der.0.clone().into());
        let chain = std::iter::once(leaf.der().clone()).chain(above).collect();
        let rogue = town.kms.with(&Identity::with_chain(signer, chain).unwrap());
        assert_eq!(code(rogue.get::<Leaves>("/v1/ledger?from=0").await), ErrorCode::Forbidden);
        let package = format!("/v1/cards/{card}/package");
        assert_eq!(code(rogue.get::<Package>(&package).await), ErrorCode::Forbidden);
        town.kms.by(card_key("hanako", "9A")).get::<Package>(&package).await.unwrap();
        // Nor does the kms hand it out as hers.
        let minted = Certificate { kind: CertificateKind::CardAuthentication, id: card, chain: vec![Bytes(leaf.der().to_vec())] };
        assert_eq!(code(town.ca().put::<Done>("/v1/certificates", &minted).await), ErrorCode::Rejected);
    }

    async fn a_thousand_fetches_a_second_disturb_nobody(stage) {
        let town = Town::open_to_all(&stage).await;
        let pki = Pki::new();
        let Done {} = town.ca().put("/v1/certificates", &pki.authority()).await.unwrap();
        let crl = pki.crl(CrlIssuer::Issuing, 1, 2);
        post(&town, &crl).await.unwrap();
        // More who connect and say nothing than there are places.
        let start = Instant::now();
        let mut silent: Vec<TcpStream> =
            (0..400).map(|_| TcpStream::connect(&town.kms.crl_address).unwrap()).collect();
        // The first of them loses its place to those who come next, before its five seconds are over.
        silent[0].set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(!matches!(silent[0].read(&mut [0]), Ok(1..)));
        assert!(start.elapsed() < Duration::from_secs(5), "only after {:?}", start.elapsed());
        let resident = || -> usize {
            let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
            pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
        };
        let before = resident();
        let (fetched, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let start = Instant::now();
        let fetchers: Vec<_> = (0..4)
            .map(|_| {
                let (fetched, over) = (fetched.clone(), over.clone());
                let (address, body) = (town.kms.crl_address.clone(), crl.der.0.clone());
                std::thread::spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        // Where places are short, somebody loses one and asks again.
                        if fetch(&address).is_ok_and(|answer| answer.ends_with(&body)) {
                            fetched.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        let member = town.kms.by(card_key("hanako", "9A"));
        let mut slowest = Duration::ZERO;
        while fetched.load(Ordering::Relaxed) < 3000 && start.elapsed() < Duration::from_secs(60) {
            let asked = Instant::now();
            let _: Status = member.get("/v1/status").await.unwrap();
            slowest = slowest.max(asked.elapsed());
        }
        over.store(true, Ordering::Relaxed);
        for fetcher in fetchers {
            fetcher.join().unwrap();
        }
        let (fetched, took) = (fetched.load(Ordering::Relaxed), start.elapsed());
        println!("{fetched} fetches in {took:?}; the slowest answer to a member took {slowest:?}");
        assert!(fetched >= 3000, "{fetched} fetches in {took:?}");
        assert!(slowest < Duration::from_secs(5), "a member waited {slowest:?}");
        let grown = resident().saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes more");
        drop(silent);
    }
}
