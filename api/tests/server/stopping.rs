//! What a listener that is told to stop still answers, and the numbers of requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use warifu_api::server::{Connections, Limits, serve};
use warifu_api::tls::Identity;

use crate::stage::{DEADLINE, client, handshake, key, served};

/// A server that can be told to stop.
struct Stoppable {
    address: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

async fn stoppable(router: Router) -> Stoppable {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let identity = Identity::self_signed(key(1), "server").unwrap();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(async move {
        let told = async { drop(stopped.await) };
        serve(listener, &identity, router, Limits::default(), Connections::default(), told).await.unwrap();
    });
    Stoppable { address, stop, served }
}

#[tokio::test]
async fn what_was_asked_before_is_answered_and_nothing_after() {
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (at, go_on) = (asked.clone(), answer.clone());
    let slow = move || async move {
        at.notify_one();
        go_on.notified().await;
        Json("done".repeat(20_000))
    };
    let server = stoppable(Router::new().route("/slow", get(slow))).await;
    let address = server.address.clone();
    let asking = tokio::spawn(async move { client(&address, None).get::<String>("/slow").await });
    timeout(DEADLINE, asked.notified()).await.unwrap();
    server.stop.send(()).unwrap();
    // The listener is closed before the answer is there.
    while TcpStream::connect(&server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.served.is_finished(), "it did not wait for the answer");
    answer.notify_one();
    assert_eq!(asking.await.unwrap().unwrap(), "done".repeat(20_000));
    timeout(DEADLINE, server.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_is_never_answered_keeps_nobody_waiting_for_long() {
    let asked = Arc::new(Notify::new());
    let at = asked.clone();
    let never = move || async move {
        at.notify_one();
        std::future::pending::<Json<()>>().await
    };
    let server = stoppable(Router::new().route("/never", get(never))).await;
    let address = server.address.clone();
    let asking = tokio::spawn(async move { client(&address, None).get::<()>("/never").await });
    timeout(DEADLINE, asked.notified()).await.unwrap();
    server.stop.send(()).unwrap();
    timeout(DEADLINE, server.served).await.unwrap().unwrap();
    asking.abort();
}

#[tokio::test]
async fn a_stream_of_events_ends_with_its_listener() {
    let events = || async {
        let first = stream::once(async { Ok::<_, Infallible>(Event::default().data("first")) });
        Sse::new(first.chain(stream::pending()))
    };
    let server = stoppable(Router::new().route("/events", get(events))).await;
    let mut events = client(&server.address, None).events("/events").await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().data, "first");
    server.stop.send(()).unwrap();
    timeout(Duration::from_millis(900), server.served).await.expect("it waited for the stream").unwrap();
    assert!(!matches!(timeout(DEADLINE, events.next()).await.unwrap(), Ok(Some(_))), "the stream went on");
}

#[tokio::test]
async fn every_answer_has_a_number_of_its_request_that_tells_nothing_of_others() {
    let address = served(Router::new().route("/who", get(|| async { Json("you") }))).await;
    let mut numbers = Vec::new();
    for path in ["/who", "/who", "/nowhere"] {
        let stream = TcpStream::connect(&address).await.unwrap();
        let mut stream = handshake(stream, Some(2)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        let number = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect(&answer);
        numbers.push(number.parse::<u64>().unwrap());
    }
    // By chance, they are so near each other once in a quintillion times.
    assert!(numbers.windows(2).all(|two| two[0].abs_diff(two[1]) > 100), "{numbers:?}");
}
