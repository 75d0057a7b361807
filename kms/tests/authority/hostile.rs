//! Strangers and members who bring large orders slowly: what they keep in memory is bounded, and so is their time.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use warifu_api::wire::authority::Appended;
use warifu_api::{Client, ErrorCode};

use crate::fixture::*;
use crate::stage::{DEADLINE, code, staged};
use crate::town::Town;

/// More than is read without a seat, and less than a stranger may send.
const LARGE: usize = 200 << 10;

/// Begins to bring an order. Whoever is told to go on has a seat, as long as there are some.
async fn begun(mut stream: TlsStream<TcpStream>) -> TlsStream<TcpStream> {
    let head = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: kms\r\nexpect: 100-continue\r\ncontent-length: {LARGE}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 100");
    stream
}

/// What becomes of something large that is no order.
async fn brought(client: Client) -> ErrorCode {
    code(client.post::<Appended>("/v1/orders", &"x".repeat(LARGE)).await)
}

staged! {
    async fn who_brings_orders_slowly_has_so_many_seats_and_so_much_time(stage) {
        let town = Town::working(&stage).await;
        let mut held = Vec::new();
        for source in ["127.0.0.7", "127.0.0.7", "127.0.0.8", "127.0.0.8"] {
            held.push(begun(town.kms.connection(source, None).await).await);
        }
        // One card takes what one card may have.
        for _ in 0..2 {
            held.push(begun(town.kms.connection("127.0.0.9", Some(card_key("hanako", "9A"))).await).await);
        }
        assert_eq!(brought(town.stranger()).await, ErrorCode::Busy);
        assert_eq!(brought(town.card("hanako")).await, ErrorCode::Busy);
        // Strangers take no seat of a card's, and no card another's; what is small needs none.
        assert_eq!(brought(town.card("sakura")).await, ErrorCode::Malformed);
        let small = town.stranger().post::<Appended>("/v1/orders", &"x").await;
        assert_eq!(code(small), ErrorCode::Malformed);

        // Their time ends, and the seats are free again.
        for mut stream in held {
            let mut answer = Vec::new();
            let told = async {
                while !answer.windows(4).any(|word| word == b"busy") {
                    assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the connection ended without an answer");
                }
            };
            timeout(2 * DEADLINE, told).await.expect("a body without end is waited for");
        }
        assert_eq!(brought(town.stranger()).await, ErrorCode::Malformed);
        assert_eq!(brought(town.card("hanako")).await, ErrorCode::Malformed);
    }
}
