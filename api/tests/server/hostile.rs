//! Slow, huge, half-open, out of order, many at once: each is cut off, and the others are served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::stream;
use rustls::HandshakeKind;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use warifu_api::server::{Guest, Limits, serve_plain};
use warifu_api::tls::{Identity, client_config};
use warifu_hardware::signer::{DigestSigner, SignerError};
use warifu_split_key::point::Point;

use crate::stage::{DEADLINE, SoftKey, answer_with_chain, certificate, from, handshake, key, serving};

const SHORT: Duration = Duration::from_millis(400);
const LIMITS: Limits = Limits {
    members: 8,
    each: 4,
    requests: 1,
    others_requests: 1,
    strangers: 16,
    header: SHORT,
    silence: SHORT,
    stall: SHORT,
    lifetime: Duration::from_secs(600),
    strangers_lifetime: Duration::from_secs(60),
};
/// Where time is not what is tried.
const PATIENT: Limits = Limits { header: DEADLINE, silence: DEADLINE, stall: DEADLINE, ..LIMITS };
const HELLO: &[u8] = b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";
/// A member, and another one.
const MEMBER: Option<u8> = Some(2);
const OTHER: Option<u8> = Some(3);
const STRANGER: Option<u8> = Some(9);

async fn town(limits: Limits) -> String {
    let router = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/say", post(|body: String| async move { body }));
    serving(router, limits, Identity::self_signed(key(1), "server").unwrap()).await
}

/// Asks on a connection and reads the answer.
async fn hello(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<bool> {
    stream.write_all(HELLO).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        if timeout(DEADLINE, stream.read_buf(&mut answer)).await.expect("no answer")? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A well-behaved member is answered.
async fn member_is_served(address: &str, source: &str) {
    let start = Instant::now();
    let stream = from(source, address).await.unwrap();
    let mut stream = timeout(DEADLINE, handshake(stream, MEMBER)).await.expect("no handshake").unwrap();
    assert!(hello(&mut stream).await.unwrap(), "a member is not served");
    assert!(start.elapsed() < Duration::from_secs(5), "only after {:?}", start.elapsed());
}

/// Waits until the other end has hung up.
async fn hung_up(stream: &mut (impl AsyncRead + Unpin)) {
    let ended = async { while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {} };
    timeout(DEADLINE, ended).await.expect("the connection is still open");
}

async fn is_open(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    hello(stream).await.unwrap_or(false)
}

#[tokio::test]
async fn who_says_nothing_or_little_is_cut_off() {
    let address = town(LIMITS).await;
    // TCP and silence.
    let mut silent = from("127.0.0.1", &address).await.unwrap();
    // A handshake byte by byte.
    let mut slow = from("127.0.0.1", &address).await.unwrap();
    let dripping = tokio::spawn(async move {
        let record = [22, 3, 1, 4, 0, 1, 0, 3, 252, 3, 3].into_iter().chain(std::iter::repeat(0));
        for byte in record {
            if slow.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(SHORT / 8).await;
        }
    });
    // TLS and silence; a header byte by byte.
    let stream = from("127.0.0.1", &address).await.unwrap();
    let mut shaken = handshake(stream, STRANGER).await.unwrap();
    let stream = from("127.0.0.1", &address).await.unwrap();
    let (mut read, mut write) = tokio::io::split(handshake(stream, MEMBER).await.unwrap());
    let dripping_header = tokio::spawn(async move {
        for byte in HELLO.iter().take(20).chain(std::iter::repeat(&b'x')) {
            if write.write_all(&[*byte]).await.is_err() || write.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(SHORT / 8).await;
        }
    });
    // An answer, and silence after it.
    let stream = from("127.0.0.1", &address).await.unwrap();
    let mut idle = handshake(stream, MEMBER).await.unwrap();
    assert!(hello(&mut idle).await.unwrap());

    member_is_served(&address, "127.0.0.1").await;
    hung_up(&mut silent).await;
    hung_up(&mut shaken).await;
    hung_up(&mut read).await;
    hung_up(&mut idle).await;
    timeout(DEADLINE, dripping).await.expect("a handshake without end").unwrap();
    timeout(DEADLINE, dripping_header).await.expect("a header without end").unwrap();
}

#[tokio::test]
async fn a_member_may_be_silent_for_longer_than_a_stranger() {
    let address = town(Limits { silence: DEADLINE, ..LIMITS }).await;
    let mut silent = Vec::new();
    for who in [MEMBER, STRANGER] {
        let mut stream = handshake(from("127.0.0.1", &address).await.unwrap(), who).await.unwrap();
        assert!(hello(&mut stream).await.unwrap());
        silent.push(stream);
    }
    let [member, stranger] = silent.as_mut_slice() else { panic!("two") };
    hung_up(stranger).await;
    assert!(is_open(member).await, "a member was cut off like a stranger");
}

/// Asks again and again, until the other end has hung up.
async fn asks_until_hung_up(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let asking = async { while is_open(stream).await {} };
    timeout(DEADLINE, asking).await.expect("a connection without end");
}

#[tokio::test]
async fn no_connection_outlives_its_time_however_busy_it_is() {
    let time = 5 * SHORT;
    let address = town(Limits { strangers_lifetime: time, lifetime: time, ..PATIENT }).await;
    for who in [STRANGER, MEMBER] {
        let stream = from("127.0.0.1", &address).await.unwrap();
        asks_until_hung_up(&mut handshake(stream, who).await.unwrap()).await;
    }
}

#[tokio::test]
async fn without_tls_only_who_is_trusted_stays() {
    let trust = |Extension(guest): Extension<Guest>| async move {
        guest.trust();
        "hello"
    };
    let router = Router::new().route("/hello", get(|| async { "hello" })).route("/trust", get(trust));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let limits = Limits { strangers_lifetime: 5 * SHORT, ..PATIENT };
    tokio::spawn(serve_plain(listener, router, limits, std::future::pending()));
    let mut trusted = from("127.0.0.1", &address).await.unwrap();
    trusted.write_all(b"GET /trust HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        assert!(trusted.read_buf(&mut answer).await.unwrap() > 0);
    }
    asks_until_hung_up(&mut from("127.0.0.1", &address).await.unwrap()).await;
    assert!(is_open(&mut trusted).await, "it came before");
}

#[tokio::test]
async fn who_does_not_read_its_answer_is_cut_off_and_the_answer_is_dropped() {
    struct Tells(Arc<Notify>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let dropped = Arc::new(Notify::new());
    let tells = dropped.clone();
    let endless = move || {
        let tells = Tells(tells.clone());
        async move {
            Body::from_stream(stream::unfold(tells, |tells| async {
                Some((Ok::<_, std::convert::Infallible>(vec![0_u8; 1 << 16]), tells))
            }))
        }
    };
    let router = Router::new().route("/endless", get(endless));
    let identity = Identity::self_signed(key(1), "server").unwrap();
    let address = serving(router, Limits { header: DEADLINE, silence: DEADLINE, ..LIMITS }, identity).await;
    let mut stream = handshake(from("127.0.0.1", &address).await.unwrap(), MEMBER).await.unwrap();
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    timeout(DEADLINE, dropped.notified()).await.expect("the answer waits for ever");
}

#[tokio::test]
async fn however_many_come_from_one_address_the_others_are_served() {
    let address = town(PATIENT).await;
    let mut other = handshake(from("127.0.0.3", &address).await.unwrap(), None).await.unwrap();
    assert!(hello(&mut other).await.unwrap());
    let mut member = handshake(from("127.0.0.2", &address).await.unwrap(), MEMBER).await.unwrap();
    // Half of them say nothing, half have come as far as a stranger can.
    let mut greedy = Vec::new();
    for _ in 0..200 {
        greedy.push(from("127.0.0.2", &address).await.unwrap());
    }
    let mut shaken = Vec::new();
    for _ in 0..50 {
        let stream = from("127.0.0.2", &address).await.unwrap();
        shaken.push(handshake(stream, STRANGER).await.unwrap());
    }
    for stream in greedy.iter_mut().take(100) {
        hung_up(stream).await;
    }
    let mut left = 0;
    for stream in &mut shaken {
        left += usize::from(is_open(stream).await);
    }
    assert!(left < 16, "{left} strangers of one address have a place");
    // Members get in, from the same address too; and who was here before is still here, stranger or member.
    member_is_served(&address, "127.0.0.2").await;
    member_is_served(&address, "127.0.0.4").await;
    assert!(hello(&mut other).await.unwrap(), "another address lost its place");
    assert!(hello(&mut member).await.unwrap(), "a member lost its place to strangers");
}

#[tokio::test]
async fn one_key_crowds_out_itself_alone() {
    let address = town(PATIENT).await;
    let mut other = handshake(from("127.0.0.1", &address).await.unwrap(), OTHER).await.unwrap();
    assert!(hello(&mut other).await.unwrap());
    let mut own = Vec::new();
    for _ in 0..20 {
        let stream = from("127.0.0.1", &address).await.unwrap();
        own.push(handshake(stream, MEMBER).await.unwrap());
        assert!(hello(own.last_mut().unwrap()).await.unwrap(), "the newest counts");
    }
    let mut left = 0;
    for stream in &mut own {
        left += usize::from(is_open(stream).await);
    }
    assert_eq!(left, LIMITS.each);
    assert!(hello(&mut other).await.unwrap(), "another key lost its place");
}

/// A signer that takes its time, and counts how many it signs for at once.
struct Busy {
    key: Arc<SoftKey>,
    now: AtomicUsize,
    most: AtomicUsize,
    signed: AtomicUsize,
}

impl DigestSigner for Busy {
    fn public_key(&self) -> Point {
        self.key.public_key()
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        self.signed.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        let signature = self.key.sign_digest(digest);
        self.now.fetch_sub(1, Ordering::SeqCst);
        signature
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn handshakes_leave_the_hsm_to_others() {
    let busy = busy();
    let address = town_of(&busy).await;
    // Each from an address of its own: those of one wait for each other anyway.
    let all: Vec<_> = (1..=40)
        .map(|number| {
            let (source, address) = (format!("127.0.0.{number}"), address.clone());
            tokio::spawn(async move { handshake(from(&source, &address).await.unwrap(), None).await })
        })
        .collect();
    for one in all {
        assert!(timeout(DEADLINE, one).await.unwrap().unwrap().is_ok());
    }
    assert_eq!(busy.most.load(Ordering::SeqCst), 1, "the HSM signs for so many handshakes at once");
}

fn busy() -> Arc<Busy> {
    let none = AtomicUsize::default;
    Arc::new(Busy { key: key(1), now: none(), most: none(), signed: none() })
}

async fn town_of(busy: &Arc<Busy>) -> String {
    let identity = Identity::self_signed(busy.clone(), "server").unwrap();
    // It has signed its certificate.
    busy.signed.store(0, Ordering::SeqCst);
    let router = Router::new().route("/hello", get(|| async { "hello" }));
    serving(router, Limits { strangers: 64, ..PATIENT }, identity).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn handshakes_of_one_address_keep_others_waiting_no_longer_than_one_does() {
    const MANY: usize = 40;
    let address = town_of(&busy()).await;
    let (done, first) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let all: Vec<_> = (0..MANY)
        .map(|_| {
            let (address, done, first) = (address.clone(), done.clone(), first.clone());
            tokio::spawn(async move {
                handshake(from("127.0.0.1", &address).await.unwrap(), None).await.unwrap();
                done.fetch_add(1, Ordering::SeqCst);
                first.notify_one();
            })
        })
        .collect();
    first.notified().await;
    member_is_served(&address, "127.0.0.2").await;
    let before = done.load(Ordering::SeqCst);
    assert!(before < MANY / 2, "a member waited for {before} of another address");
    for one in all {
        timeout(DEADLINE, one).await.unwrap().unwrap();
    }
}

/// Its second hello would have the HSM sign where nobody waits for a turn.
#[tokio::test]
async fn a_handshake_that_would_need_a_second_hello_is_refused_before_the_hsm_signs() {
    let busy = busy();
    let address = town_of(&busy).await;
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    use rustls::crypto::aws_lc_rs::kx_group::{X25519, X25519MLKEM768};
    provider.kx_groups = vec![X25519, X25519MLKEM768];
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let stream = TcpStream::connect(&address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let refused =
        timeout(DEADLINE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap();
    assert!(refused.is_err());
    member_is_served(&address, "127.0.0.1").await;
    assert_eq!(busy.signed.load(Ordering::SeqCst), 1, "the HSM signed for more than the member");
}

/// Everything that comes back for these bytes after a handshake, until the server hangs up.
async fn answers(address: &str, bytes: &[u8]) -> String {
    let mut stream = handshake(from("127.0.0.1", address).await.unwrap(), MEMBER).await.unwrap();
    let mut answer = Vec::new();
    let exchange = async {
        // Who is refused early may be hung up on while it still speaks.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        let _ = stream.read_to_end(&mut answer).await;
    };
    timeout(DEADLINE, exchange).await.expect("neither an answer nor an end");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_header_has_so_many_fields_and_bytes() {
    let address = town(LIMITS).await;
    let head = |fields: usize, bytes: usize| {
        let fields = "a: b\r\n".repeat(fields - 3);
        let long = "c".repeat(bytes);
        format!("GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\nlong: {long}\r\n{fields}\r\n")
    };
    for (served, fields, bytes) in
        [(true, 64, 10), (false, 65, 10), (true, 3, 15 << 10), (false, 3, 32 << 10), (false, 3, 64 << 10)]
    {
        let answer = answers(&address, head(fields, bytes).as_bytes()).await;
        let expected = if served { "HTTP/1.1 200" } else { "HTTP/1.1 431" };
        // Whoever is still speaking may be hung up on unheard.
        let unheard = !served && answer.is_empty();
        assert!(answer.starts_with(expected) || unheard, "{fields} fields, {bytes} bytes: {answer}");
    }
}

#[tokio::test]
async fn requests_that_can_be_read_two_ways_are_read_one_way() {
    let address = town(LIMITS).await;
    let refused = |answer: &str| answer.is_empty() || answer.starts_with("HTTP/1.1 4");
    let smuggled = "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";
    for head in [
        format!(
            "POST /say HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello{smuggled}"
        ),
        format!("POST /say HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n{smuggled}"),
        format!("POST /say HTTP/1.1\r\nhost: x\r\ncontent-length: 5, 6\r\n\r\nhello{smuggled}"),
        format!("POST /say HTTP/1.1\r\nhost: x\r\ntransfer-encoding: identity\r\n\r\n{smuggled}"),
        format!(
            "POST /say HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        "POST /say HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(),
        "GET /hello HTTP/2.0\r\nhost: x\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET /hello\r\n\r\n".to_owned(),
        "GET /he llo HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "GET /hello HTTP/1.1\r\nhost : x\r\n\r\n".to_owned(),
        "GET /hello HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
        format!("GET /hello HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1000)),
        format!("GET /hello HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(1 << 20)),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(1 << 20)),
    ] {
        let answer = answers(&address, head.as_bytes()).await;
        let shown: String = head.chars().take(120).collect();
        assert!(refused(&answer) && !answer.contains("hello"), "{shown:?}: {answer}");
    }
    // One of the two lengths counts, and the connection is over with it: what comes behind is no request.
    let both = "POST /say HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhallo\r\n0\r\n\r\n";
    let answer = answers(&address, both.as_bytes()).await;
    assert!(refused(&answer) || answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
    // An upgrade is a request as any other; several in one piece are answered one after the other, HTTP/1.0 once.
    let upgrade = "GET /hello HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let answer = answers(&address, upgrade.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("101"), "{answer}");
    let answer = answers(&address, smuggled.repeat(3).as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
    let answer = answers(&address, b"GET /hello HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("hello"), "{answer}");
    member_is_served(&address, "127.0.0.1").await;
}

#[tokio::test]
async fn what_is_not_our_tls_is_refused() {
    let address = town(LIMITS).await;
    // HTTP without TLS, and noise.
    for bytes in [HELLO, &[0x16, 3, 1, 0xff, 0xff], &[0; 4096]] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it is left waiting");
        assert!(!answer.starts_with(b"HTTP"));
    }
    // Certificates that are none, that are over another kind of key, or that are far too many.
    let own = certificate(key(2));
    let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let foreign = rcgen::CertificateParams::default().self_signed(&rsa).unwrap().der().clone();
    assert!(answer_with_chain(&address, vec![own.clone()], key(2)).await.is_some(), "the test itself fails");
    for chain in [
        vec![CertificateDer::from(vec![0x30, 0x82])],
        vec![CertificateDer::from(vec![0; 16 << 10])],
        vec![foreign],
        std::iter::once(own.clone()).chain((0..4000).map(|_| own.clone())).collect(),
    ] {
        let length = chain.len();
        assert_eq!(answer_with_chain(&address, chain, key(2)).await, None, "a chain of {length}");
    }
    member_is_served(&address, "127.0.0.1").await;
}

#[tokio::test]
async fn every_connection_has_a_whole_handshake() {
    let address = town(LIMITS).await;
    let identity = Identity::self_signed(key(2), "client").unwrap();
    let mut config = (*client_config(key(1).public_key(), Some(&identity)).unwrap()).clone();
    config.resumption = Resumption::in_memory_sessions(8);
    config.enable_early_data = true;
    let config = Arc::new(config);
    for _ in 0..2 {
        let stream = TcpStream::connect(&address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(config.clone()).connect(name, stream).await.unwrap();
        assert!(hello(&mut stream).await.unwrap());
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn half_a_goodbye_and_a_reset_leave_nothing_behind() {
    let address = town(LIMITS).await;
    for _ in 0..40 {
        let mut stream = handshake(from("127.0.0.1", &address).await.unwrap(), MEMBER).await.unwrap();
        stream.write_all(HELLO).await.unwrap();
        stream.get_ref().0.set_zero_linger().unwrap();
        drop(stream);
    }
    let mut stream = handshake(from("127.0.0.1", &address).await.unwrap(), MEMBER).await.unwrap();
    stream.shutdown().await.unwrap();
    hung_up(&mut stream).await;
    member_is_served(&address, "127.0.0.1").await;
}

#[tokio::test]
async fn too_large_is_said() {
    let address = town(LIMITS).await;
    let body = "x".repeat(3 << 20);
    let request = format!("POST /say HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let answer = answers(&address, request.as_bytes()).await;
    assert!(answer.is_empty() || answer.contains(StatusCode::PAYLOAD_TOO_LARGE.as_str()), "{answer}");
}
