//! HTTP/2: what a service has to say and to hear goes over one connection, and whoever abuses that is cut off.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::routing::get;
use axum::{Extension, Json, Router};
use futures_util::stream;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use warifu_api::Client;
use warifu_api::client::ClientError;
use warifu_api::server::{Connections, Limits, Peer, serve};
use warifu_api::tls::{HTTP_2, Identity, PeerKey, client_config};
use warifu_hardware::signer::DigestSigner as _;

use crate::stage::{DEADLINE, key};

const SHORT: Duration = Duration::from_millis(400);
const SERVICE: u8 = 2;
const MEMBER: u8 = 3;
const STRANGER: u8 = 9;
/// More than is written ahead of an answer, in bytes.
const LARGE: usize = 1 << 20;

fn limits() -> Limits {
    Limits { requests: 4, others_requests: 2, ..Limits::multiplexed() }
}

/// Says when a request has come and when it is gone.
struct Waits(UnboundedSender<&'static str>);

impl Drop for Waits {
    fn drop(&mut self) {
        let _ = self.0.send("gone");
    }
}

/// A town, and what becomes of the requests that wait there.
struct Town {
    address: String,
    connections: Connections,
    waiting: UnboundedReceiver<&'static str>,
}

impl Town {
    async fn open(limits: Limits) -> Self {
        let (tell, waiting) = unbounded_channel();
        let wait = move || {
            let _ = tell.send("came");
            let waits = Waits(tell.clone());
            async move {
                pending::<()>().await;
                drop(waits);
            }
        };
        let events = || async {
            let one = stream::iter([Ok::<_, Infallible>(Event::default().data("one"))]);
            Sse::new(futures_util::StreamExt::chain(one, stream::pending()))
        };
        let large = || async { vec![b'x'; LARGE] };
        let port = |Extension(peer): Extension<Peer>| async move { Json(peer.address.port()) };
        let router = Router::new()
            .route("/port", get(port))
            .route("/wait", get(wait))
            .route("/large", get(large))
            .route("/events", get(events));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let known = [key(SERVICE).public_key(), key(MEMBER).public_key()];
        let connections = Connections::default()
            .knowing(move |key| known.contains(&key.0))
            .serving(|shown| shown.0 == key(SERVICE).public_key());
        let open = connections.clone();
        tokio::spawn(async move {
            let identity = Identity::self_signed(key(1), "server").unwrap();
            serve(listener, &identity, router, limits, open, pending()).await.unwrap();
        });
        Self { address, connections, waiting }
    }

    fn client(&self, seed: u8) -> Client {
        let identity = Identity::self_signed(key(seed), "client").unwrap();
        Client::multiplexed(&*self.address, key(1).public_key(), &identity).unwrap()
    }

    async fn next(&mut self) -> &'static str {
        timeout(DEADLINE, self.waiting.recv()).await.expect("nothing happens").unwrap()
    }

    async fn member_is_served(&self) {
        timeout(DEADLINE, port(&self.client(MEMBER))).await.expect("a member is not served");
    }
}

/// From which port the server sees this client come.
async fn port(client: &Client) -> u16 {
    client.get("/port").await.unwrap()
}

#[tokio::test]
async fn requests_and_events_go_over_one_connection_and_none_waits_for_another() {
    let mut town = Town::open(limits()).await;
    let client = town.client(SERVICE);
    let first = port(&client).await;
    let mut events = client.events("/events").await.unwrap();
    let waits = tokio::spawn({
        let client = client.clone();
        async move { client.get::<()>("/wait").await }
    });
    assert_eq!(town.next().await, "came");
    assert_eq!(port(&client).await, first);
    assert_eq!(events.next().await.unwrap().unwrap().data, "one");
    // Whoever gives a request up gives up nothing else.
    waits.abort();
    assert_eq!(town.next().await, "gone");
    assert_eq!(port(&client).await, first);
}

#[tokio::test]
async fn many_who_ask_at_once_make_one_connection() {
    let town = Town::open(limits()).await;
    let client = town.client(SERVICE);
    let ports = futures_util::future::join_all((0..20).map(|_| port(&client))).await;
    assert!(ports.iter().all(|one| one == &ports[0]), "{ports:?}");
}

/// Agents do.
#[tokio::test]
async fn whoever_speaks_http_1_1_is_served_as_ever() {
    let town = Town::open(limits()).await;
    let identity = Identity::self_signed(key(MEMBER), "client").unwrap();
    let client = Client::new(&*town.address, key(1).public_key(), Some(&identity)).unwrap();
    let first = port(&client).await;
    let mut events = client.events("/events").await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().data, "one");
    assert_eq!(port(&client).await, first);
}

/// Over HTTP/1.1 a question that waits would hold up all others.
#[tokio::test]
async fn where_one_connection_is_not_enough_nothing_is_asked() {
    let town = Town::open(Limits::default()).await;
    let client = town.client(SERVICE);
    let error = client.get::<u16>("/port").await.unwrap_err();
    assert!(matches!(error, ClientError::Nonsense { .. }), "{error}");
    let error = client.events("/events").await.err().expect("a stream was opened");
    assert!(matches!(error, ClientError::Nonsense { .. }), "{error}");
}

#[tokio::test]
async fn after_an_answer_that_did_not_come_in_time_others_go_another_way() {
    let mut town = Town::open(limits()).await;
    let client = town.client(SERVICE);
    let first = port(&client).await;
    let error = client.clone().with_timeout(SHORT).get::<()>("/wait").await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert_eq!(town.next().await, "came");
    assert_ne!(port(&client).await, first);
}

#[tokio::test]
async fn what_is_asked_on_a_connection_ends_with_it() {
    let mut town = Town::open(limits()).await;
    let client = town.client(SERVICE);
    let first = port(&client).await;
    let waits = tokio::spawn({
        let client = client.clone();
        async move { client.get::<()>("/wait").await }
    });
    assert_eq!(town.next().await, "came");
    town.connections.end(PeerKey(key(SERVICE).public_key())).await;
    assert_eq!(town.next().await, "gone");
    assert!(waits.await.unwrap().is_err());
    assert_ne!(port(&client).await, first, "it comes back by itself");
}

// From here on: frames by hand, as no honest client sends them (RFC 9113, section 4.1).

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// `SETTINGS_INITIAL_WINDOW_SIZE` 0: nothing of any answer's body is taken in.
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET path` in HPACK (RFC 7541, appendix A).
fn asks(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path.as_bytes());
    block.extend([0x01, 1, b'x']);
    block
}

fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &asks(path))
}

struct Raw(TlsStream<TcpStream>);

impl Raw {
    async fn connect(town: &Town, seed: u8) -> Self {
        let identity = Identity::self_signed(key(seed), "client").unwrap();
        let mut config = client_config(key(1).public_key(), Some(&identity)).unwrap();
        Arc::make_mut(&mut config).alpn_protocols = vec![HTTP_2.to_vec()];
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(town.address.parse().unwrap()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut raw = Self(TlsConnector::from(config).connect(name, stream).await.unwrap());
        raw.send(PREFACE).await.unwrap();
        raw.send(&frame(SETTINGS, 0, 0, &NO_WINDOW)).await.unwrap();
        raw
    }

    async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// The next frame: kind, stream, payload; none when the other end has hung up.
    async fn read(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let read = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, _, w, x, y, z] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((kind, u32::from_be_bytes([w, x, y, z]), payload))
        };
        timeout(DEADLINE, read).await.expect("the other end says nothing")
    }

    /// The next frame of this kind: stream, payload.
    async fn until(&mut self, kind: u8) -> (u32, Vec<u8>) {
        loop {
            let (came, stream, payload) = self.read().await.expect("it hung up");
            if came == kind {
                return (stream, payload);
            }
        }
    }

    async fn hung_up(&mut self) {
        while let Some((kind, ..)) = self.read().await {
            if kind == GOAWAY {
                return;
            }
        }
    }
}

#[tokio::test]
async fn no_more_requests_at_once_than_allowed_and_few_of_who_is_no_service() {
    for (who, allowed) in [(STRANGER, 2), (MEMBER, 2), (SERVICE, 4)] {
        let mut town = Town::open(limits()).await;
        let mut raw = Raw::connect(&town, who).await;
        for number in 0..=allowed {
            raw.send(&request(1 + 2 * number, "/wait")).await.unwrap();
        }
        let refused = (1 + 2 * allowed, REFUSED_STREAM.to_be_bytes().to_vec());
        assert_eq!(raw.until(RST_STREAM).await, refused);
        for _ in 0..allowed {
            assert_eq!(town.next().await, "came");
        }
        assert!(town.waiting.try_recv().is_err(), "one too many was asked");
    }
}

#[tokio::test]
async fn who_says_nothing_is_cut_off_whatever_he_has_asked() {
    let mut town = Town::open(Limits { header: SHORT, silence: SHORT, ..limits() }).await;
    for who in [STRANGER, SERVICE] {
        Raw::connect(&town, who).await.hung_up().await;
        let mut asks = Raw::connect(&town, who).await;
        asks.send(&request(1, "/wait")).await.unwrap();
        asks.hung_up().await;
        assert_eq!(town.next().await, "came");
        assert_eq!(town.next().await, "gone");
    }
}

#[tokio::test]
async fn who_says_something_stays_no_longer_than_his_time() {
    let town = Town::open(Limits { strangers_lifetime: 2 * SHORT, lifetime: 2 * SHORT, ..limits() }).await;
    for who in [STRANGER, SERVICE] {
        let mut raw = Raw::connect(&town, who).await;
        let ping = frame(PING, 0, 0, &[7; 8]);
        while raw.send(&ping).await.is_ok() {
            match raw.read().await {
                Some((GOAWAY, ..)) | None => break,
                Some(_) => {}
            }
        }
    }
}

#[tokio::test]
async fn who_takes_in_no_answers_gets_no_more_of_them() {
    let town = Town::open(limits()).await;
    let mut raw = Raw::connect(&town, SERVICE).await;
    for number in 0..4 {
        raw.send(&request(1 + 2 * number, "/large")).await.unwrap();
        raw.until(HEADERS).await;
    }
    raw.send(&request(9, "/large")).await.unwrap();
    assert_eq!(raw.until(RST_STREAM).await, (9, REFUSED_STREAM.to_be_bytes().to_vec()));
    town.member_is_served().await;
}

/// Each of these is answered (CVE-2019-9512, CVE-2019-9515).
#[tokio::test]
async fn who_pings_or_settles_without_end_and_reads_nothing_is_cut_off() {
    let town = Town::open(Limits { stall: SHORT, ..limits() }).await;
    for one in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &NO_WINDOW)] {
        let mut raw = Raw::connect(&town, SERVICE).await;
        let flood = one.repeat(1024);
        let flooding = async { while raw.send(&flood).await.is_ok() {} };
        timeout(DEADLINE, flooding).await.expect("it goes on");
        town.member_is_served().await;
    }
}

#[tokio::test]
async fn a_header_without_end_is_cut_off() {
    let town = Town::open(limits()).await;
    // A field of which nobody has heard, again and again: 16 KiB in all would be read.
    let mut fields = Vec::new();
    while fields.len() < 16 << 10 {
        fields.extend([0, 1, b'f', 100]);
        fields.extend([b'x'; 100]);
    }
    fields.truncate(16 << 10);
    // And fields that never come.
    for more in [&fields[..], &[]] {
        let mut raw = Raw::connect(&town, SERVICE).await;
        raw.send(&frame(HEADERS, END_STREAM, 1, &asks("/port"))).await.unwrap();
        for _ in 0..1024 {
            if raw.send(&frame(CONTINUATION, 0, 1, more)).await.is_err() {
                break;
            }
        }
        raw.hung_up().await;
        town.member_is_served().await;
    }
}

/// CVE-2023-44487.
#[tokio::test]
async fn who_asks_and_gives_up_without_end_holds_nobody_up() {
    let mut town = Town::open(limits()).await;
    let mut raw = Raw::connect(&town, SERVICE).await;
    let mut sent = 0;
    for number in 0..20_000 {
        let mut both = request(1 + 2 * number, "/wait");
        both.extend(frame(RST_STREAM, 0, 1 + 2 * number, &CANCEL.to_be_bytes()));
        if raw.send(&both).await.is_err() {
            break;
        }
        sent += 1;
    }
    town.member_is_served().await;
    drop(raw);
    // Whatever was begun has ended.
    town.connections.end(PeerKey(key(SERVICE).public_key())).await;
    let mut open = 0_i32;
    while let Ok(what) = town.waiting.try_recv() {
        open += if what == "came" { 1 } else { -1 };
    }
    while open > 0 {
        open += if town.next().await == "came" { 1 } else { -1 };
    }
    assert!(sent > 0);
}
