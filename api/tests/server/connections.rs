//! Handshakes and connections against peers that lie, or say nothing.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::routing::get;
use axum::{Extension, Json, Router};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use warifu_api::client::ClientError;
use warifu_api::server::Peer;
use warifu_api::tls::{Identity, key_of_certificate};
use warifu_hardware::signer::DigestSigner as _;
use warifu_ledger::key::PublicKey;

use crate::stage::{DEADLINE, answer_to, certificate, client, key, served};

/// A server that says who it thinks is there.
async fn who_is_there() -> String {
    async fn who(Extension(peer): Extension<Peer>) -> Json<Option<PublicKey>> {
        Json(peer.key.map(|key| PublicKey(key.0)))
    }
    served(Router::new().route("/who", get(who))).await
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
