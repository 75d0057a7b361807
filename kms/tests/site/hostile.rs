//! Strangers and members that mean no good: those who do not are served meanwhile, and no revocation waits for anybody.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use warifu_api::error::ErrorCode;
use warifu_api::wire::site::{Me, PartialItem, PartialsAnswer, PartialsRequest, RevocationRequest};
use warifu_api::wire::{LEAVES_LIMIT, Leaves};
use warifu_ledger::key::Bytes;

use crate::people::*;
use crate::stage::test;
use crate::town::{PATIENCE, Town};

/// Whatever strangers do, a member gets in within this: a bound against waiting for some time-out, not a measurement.
const SOON: Duration = Duration::from_secs(5);

fn posting(path: &str, length: usize, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: main\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// The status of the answer to these bytes, which may be refused while they are sent; none if the site hangs up.
async fn status_of(mut stream: TlsStream<TcpStream>, bytes: &[u8]) -> Option<String> {
    let mut answer = Vec::new();
    let exchange = async {
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        while !answer.windows(2).any(|pair| pair == b"\r\n")
            && stream.read_buf(&mut answer).await.unwrap_or(0) > 0
        {}
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("neither an answer nor an end");
    let line = String::from_utf8_lossy(&answer).lines().next()?.to_owned();
    line.strip_prefix("HTTP/1.1 ").map(|status| status[..3].to_owned())
}

test! {
    // I8: a site knows cards by the keys that officers signed. What an authority mints in a card's name is no card.
    async fn a_minted_certificate_is_no_card(folder) {
        let town = Town::working(folder).await;
        let rogue = town.client_as(&minted("rogue", town.organization(), card_id("hanako")));
        let refused = rogue.get::<Me>("/v1/me").await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::CardNotLive), "{refused}");
        let item = PartialItem { grant: grant_id("hanako", "tax"), encapsulated: Bytes(vec![4; 65]) };
        let asked = rogue.post::<PartialsAnswer>("/v1/partials", &PartialsRequest { items: vec![item], routed: Vec::new() }).await;
        assert_eq!(asked.err().and_then(|error| error.code()), Some(ErrorCode::CardNotLive));
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn members_open_while_strangers_hammer(folder) {
        let town = Town::working(folder).await;
        let mut held = Vec::new();
        let mut shaken = Vec::new();
        for number in 0..1200 {
            // One PC with many connections, and many with few.
            let source = if number % 2 == 0 { "127.0.0.9".to_owned() } else { format!("127.0.1.{}", number % 200 + 1) };
            let mut stream = town.tcp(&source).await;
            match number % 12 {
                0 => shaken.push(town.handshake(stream, Some("nobody")).await),
                3 => {
                    let _ = stream.write_all(&[22, 3, 1, 4, 0, 1, 0]).await;
                    held.push(stream);
                }
                _ => held.push(stream),
            }
            if number % 300 == 299 {
                let start = Instant::now();
                town.opens("hanako", "tax").await;
                assert!(start.elapsed() < SOON, "only after {:?}", start.elapsed());
            }
        }
        assert_eq!(town.status().await.unwrap().site, id("main"), "a stranger is answered, too");
    }
}

test! {
    async fn a_card_that_does_not_read_holds_up_no_revocation(folder) {
        let town = Town::working(folder).await;
        let mut deaf = town.connection("hanako").await;
        let encapsulated = Bytes(file("a").to_uncompressed().to_vec());
        let item = PartialItem { grant: grant_id("hanako", "tax"), encapsulated };
        let body = serde_json::to_string(&PartialsRequest { items: vec![item; 256], routed: Vec::new() }).unwrap();
        let request = posting("/v1/partials", body.len(), &body);
        // One after the other, until nothing more goes through: the site waits for its answers to be read.
        let stuck = async { while deaf.write_all(request.as_bytes()).await.is_ok() {} };
        assert!(tokio::time::timeout(Duration::from_secs(3), stuck).await.is_err(), "it was cut off before");
        let start = Instant::now();
        let order = town.kms.order([revoke_card("hanako")], ONE);
        town.bring(&order, None).await.unwrap();
        assert!(start.elapsed() < SOON, "only after {:?}", start.elapsed());
        let journal = town.journal().await.len();
        let rest = async { while matches!(deaf.read(&mut [0; 4096]).await, Ok(1..)) {} };
        tokio::time::timeout(PATIENCE, rest).await.expect("the connection is still open");
        assert_eq!(town.journal().await.len(), journal, "something was answered after the receipt");
    }
}

test! {
    async fn a_revoked_card_that_hammers_is_a_stranger_among_others(folder) {
        let town = Town::working(folder).await;
        let order = town.kms.order([revoke_card("hanako")], ONE);
        town.bring(&order, None).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..600 {
            let stream = town.tcp("127.0.0.9").await;
            held.push(town.handshake(stream, Some("hanako 9A")).await);
            if held.len() % 200 == 0 {
                town.opens("taro", "team").await;
            }
        }
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::CardNotLive));
    }
}

test! {
    async fn who_brings_orders_slowly_keeps_no_card_from_bringing_one(folder) {
        let town = Town::working(folder).await;
        let slow = posting("/v1/revocations", 1 << 20, "").replace("host:", "expect: 100-continue\r\nhost:");
        // Whoever is told to go on has a seat.
        let begun = async |mut stream: TlsStream<TcpStream>| {
            stream.write_all(slow.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            let mut line = [0; 12];
            stream.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"HTTP/1.1 100");
            stream
        };
        let mut held = Vec::new();
        for source in ["127.0.0.7", "127.0.0.7", "127.0.0.8", "127.0.0.8"] {
            let stream = town.tcp(source).await;
            held.push(begun(town.handshake(stream, None).await).await);
        }
        // One card takes what one card may have.
        for _ in 0..2 {
            held.push(begun(town.connection("taro").await).await);
        }
        let order = town.kms.order([revoke_card("jiro")], ONE);
        let large = warifu_api::wire::Leaves {
            from: 0,
            leaves: vec![warifu_ledger::key::Bytes(vec![7; 64 << 10])],
            checkpoint: String::new(),
        };
        let request = RevocationRequest { order: order.clone(), leaves: Some(large) };
        let tried = async |client: warifu_api::Client| {
            client.post::<warifu_ledger::dsse::Envelope>("/v1/revocations", &request).await.map_err(|e| e.code())
        };
        assert_eq!(tried(town.stranger()).await.map(|_| ()), Err(Some(ErrorCode::Busy)));
        assert_eq!(tried(town.card("taro")).await.map(|_| ()), Err(Some(ErrorCode::Busy)));
        assert_ne!(tried(town.card("sakura")).await.map(|_| ()), Err(Some(ErrorCode::Busy)));
        // What is small needs no seat.
        town.bring(&order, None).await.unwrap();
    }
}

test! {
    async fn a_body_that_does_not_come_to_its_end_is_refused(folder) {
        let town = Town::working(folder).await;
        let begun = posting("/v1/partials", 100, "{");
        let status = status_of(town.connection("hanako").await, begun.as_bytes()).await;
        assert_eq!(status.as_deref(), Some("400"));
    }
}

test! {
    async fn requests_that_are_too_much_are_refused(folder) {
        let town = Town::working(folder).await;
        let order = town.kms.order([revoke_card("jiro")], ONE);
        let checkpoint = String::new();
        let leaves = |count: usize| Leaves { from: 0, leaves: vec![Bytes(Vec::new()); count], checkpoint: checkpoint.clone() };
        let written = |request: &RevocationRequest| serde_json::to_string(request).unwrap();
        let many = written(&RevocationRequest { order: order.clone(), leaves: Some(leaves(LEAVES_LIMIT + 1)) });
        let million = written(&RevocationRequest { order, leaves: Some(leaves(1_000_000)) });
        let deep = "[".repeat(100_000);
        for (what, path, body) in [
            ("too many leaves", "/v1/revocations", many.as_str()),
            ("a million leaves", "/v1/revocations", &million),
            ("deep nesting", "/v1/revocations", &deep),
            ("deep nesting", "/v1/partials", &deep),
            ("a deep field", "/v1/partials", &format!("{{\"items\":{deep}")),
            ("a field twice", "/v1/partials", "{\"items\":[],\"items\":[]}"),
            ("compressed", "/v1/partials", "\u{1f}\u{8b}\u{8}\u{0}"),
            ("too long", "/v1/partials", &"x".repeat(1 << 20)),
        ] {
            let stream = town.connection("hanako").await;
            let request = posting(path, body.len(), body);
            let status = status_of(stream, request.as_bytes()).await;
            assert!(matches!(status.as_deref(), Some("400" | "413")), "{what}: {status:?}");
        }
        let longest = 16 << 20;
        for (length, expected) in [(longest, "400"), (longest + 1, "413")] {
            let request = posting("/v1/revocations", length, &"x".repeat(length));
            let status = status_of(town.connection("hanako").await, request.as_bytes()).await;
            assert_eq!(status.as_deref(), Some(expected), "{length} bytes");
        }
        // A body without end.
        let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20)).repeat(50);
        let endless = format!("POST /v1/partials HTTP/1.1\r\nhost: main\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
        let status = status_of(town.connection("hanako").await, endless.as_bytes()).await;
        assert!(status.is_none_or(|status| status == "413"));
        assert!(town.journal().await.is_empty());
        town.opens("hanako", "tax").await;
    }
}
