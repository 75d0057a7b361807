//! Handshakes and connections against peers that lie, or say nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::routing::get;
use axum::{Extension, Json, Router};
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use warifu_api::client::{Client, ClientError};
use warifu_api::server::{Connections, Limits, Peer, serve};
use warifu_api::tls::{Identity, client_config, key_of_certificate};
use warifu_hardware::signer::{CertKey, DigestSigner, SignerError, tls_key};
use warifu_ledger::key::PublicKey;
use warifu_split_key::point::Point;

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(20);

struct SoftKey(SigningKey);

impl DigestSigner for SoftKey {
    fn public_key(&self) -> Point {
        Point::from_sec1(self.0.verifying_key().to_sec1_point(true).as_bytes()).unwrap()
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        let signature: Signature = self.0.sign_prehash(&digest).map_err(SignerError::device)?;
        Ok(signature.to_bytes().into())
    }
}

fn key(seed: u8) -> Arc<SoftKey> {
    Arc::new(SoftKey(SigningKey::from_slice(&[seed; 32]).unwrap()))
}

fn certificate(key: Arc<SoftKey>) -> CertificateDer<'static> {
    rcgen::CertificateParams::default().self_signed(&CertKey::new(key)).unwrap().der().clone()
}

async fn served(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let identity = Identity::self_signed(key(1), "server").unwrap();
    tokio::spawn(async move {
        serve(listener, &identity, router, Limits::default(), Connections::default(), pending())
            .await
            .unwrap();
    });
    address
}

/// A server that says who it thinks is there.
async fn who_is_there() -> String {
    async fn who(Extension(peer): Extension<Peer>) -> Json<Option<PublicKey>> {
        Json(peer.key.map(|key| PublicKey(key.0)))
    }
    served(Router::new().route("/who", get(who))).await
}

fn client(address: &str, identity: Option<&Identity>) -> Client {
    Client::new(address, key(1).public_key(), identity).unwrap()
}

/// Shows one certificate and signs with whatever key, as no honest client would.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What the server answers to who shows `certificate` and signs with `signer`; none if it hangs up.
async fn answer_to(
    address: &str,
    certificate: CertificateDer<'static>,
    signer: Arc<SoftKey>,
) -> Option<String> {
    let mut config = (*client_config(key(1).public_key(), None).unwrap()).clone();
    let shown = CertifiedKey::new(vec![certificate], tls_key(signer));
    config.client_auth_cert_resolver = Arc::new(Shows(Arc::new(shown)));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    stream.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\n\r\n").await.ok()?;
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer).await.ok()?;
    answer.truncate(length);
    String::from_utf8(answer).ok()
}

#[tokio::test]
async fn a_client_is_the_key_that_signed_the_handshake() {
    let address = who_is_there().await;
    let identity = Identity::self_signed(key(2), "client").unwrap();
    let seen: Option<PublicKey> = client(&address, Some(&identity)).get("/who").await.unwrap();
    assert_eq!(seen, Some(PublicKey(key(2).public_key())));
    let seen: Option<PublicKey> = client(&address, None).get("/who").await.unwrap();
    assert_eq!(seen, None);
}

#[tokio::test]
async fn somebody_elses_certificate_makes_nobody_somebody_else() {
    let address = who_is_there().await;
    let own = answer_to(&address, certificate(key(2)), key(2)).await;
    assert!(own.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")), "the test itself fails");
    assert_eq!(answer_to(&address, certificate(key(3)), key(2)).await, None);
}

#[test]
fn a_certificate_over_another_kind_of_key_has_no_p256_key() {
    let honest = certificate(key(2));
    assert_eq!(key_of_certificate(&honest).unwrap(), key(2).public_key());
    // id-ecPublicKey and prime256v1, which stand in the SubjectPublicKeyInfo alone.
    let kind = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let curve = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    for oid in [&kind[..], &curve[..]] {
        let place = honest.windows(oid.len()).position(|window| window == oid).unwrap();
        let mut other = honest.to_vec();
        *other.get_mut(place + oid.len() - 1).unwrap() ^= 0x04;
        assert!(key_of_certificate(&CertificateDer::from(other)).is_err());
    }
    let mut longer = honest.to_vec();
    longer.push(0);
    assert!(key_of_certificate(&CertificateDer::from(longer)).is_err());
}

#[test]
fn a_server_that_says_nothing_takes_no_thread_for_good() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        // Connections come up in the backlog of its socket, and nobody answers them.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let client = client(&address, None).with_timeout(Duration::from_millis(100));
        let error = client.get::<()>("/who").await.unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
        // The one thread is free again for what an HSM has to do.
        let other = tokio::task::spawn_blocking(|| ());
        tokio::time::timeout(DEADLINE, other).await.expect("the thread is lost").unwrap();
    });
    runtime.shutdown_background();
}

#[tokio::test]
async fn large_events_and_small_ones_come_whole() {
    let sent = ["one".to_owned(), "x".repeat(3 << 20), "two\nlines".to_owned()];
    let shown = sent.clone().map(|data| Ok::<_, Infallible>(Event::default().data(data)));
    let events = move || async move { Sse::new(futures_util::stream::iter(shown)) };
    let address = served(Router::new().route("/events", get(events))).await;
    let mut events = client(&address, None).events("/events").await.unwrap();
    for expected in sent {
        let event = tokio::time::timeout(DEADLINE, events.next()).await.unwrap().unwrap().unwrap();
        assert!(event.data == expected, "an event came changed");
    }
    assert_eq!(events.next().await.unwrap(), None);
}
