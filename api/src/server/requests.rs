//! The requests of a listener: each with a random number for the log, and counted, so that it can wait for their answers when it stops.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures_util::StreamExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::Instrument as _;

/// The header with a request's number in its answer.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// How long the answers to what was asked before a listener was told to stop may take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What a listener that stops waits for. Clones are the same.
#[derive(Clone)]
pub(super) struct Closing {
    /// Requests that are being answered.
    open: Arc<watch::Sender<usize>>,
    /// Whether it stops.
    stops: Arc<watch::Sender<bool>>,
}

impl Default for Closing {
    fn default() -> Self {
        Self { open: Arc::new(watch::Sender::new(0)), stops: Arc::new(watch::Sender::new(false)) }
    }
}

/// One request, until its answer has been handed to the connection.
struct Open(Arc<watch::Sender<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

impl Closing {
    /// The same router, each of whose requests is numbered and waited for.
    pub(super) fn watch(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), answered))
    }

    /// Ends the streams of events, and waits for the answers to all other requests.
    pub(super) async fn close(&self) {
        self.stops.send_replace(true);
        let mut open = self.open.subscribe();
        if timeout(LAST_ANSWERS, open.wait_for(|open| *open == 0)).await.is_err() {
            tracing::warn!(
                requests = *self.open.borrow(),
                "the listener stops before all requests were answered"
            );
        }
    }
}

/// A number that finds a request in the log again. Counted, it would tell whoever asks twice how much others ask.
fn draw() -> u64 {
    // Zero, where the system has no randomness: nothing hangs on it, and no connection is made without.
    getrandom::u64().unwrap_or_default()
}

async fn answered(State(closing): State<Closing>, request: Request, next: Next) -> Response {
    let number = draw();
    closing.open.send_modify(|open| *open += 1);
    let open = Open(closing.open.clone());
    // Paths hold ids and digests alone; what is personal or secret is in bodies.
    let span =
        tracing::info_span!("request", number, method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span.clone()).await;
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    response.headers_mut().insert(REQUEST_ID, HeaderValue::from(number));
    let content = response.headers().get(CONTENT_TYPE);
    if content.is_some_and(|content| content.as_bytes().starts_with(b"text/event-stream")) {
        // Events have no end to wait for: they end with the listener.
        let mut stops = closing.stops.subscribe();
        let stopping = Box::pin(async move { drop(stops.wait_for(|stops| *stops).await.map(drop)) });
        return response.map(|body| Body::from_stream(body.into_data_stream().take_until(stopping)));
    }
    response.map(|body| Body::new(Counted { body, _open: open }))
}

/// A body whose request is open until its last byte was taken.
struct Counted {
    body: Body,
    _open: Open,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
