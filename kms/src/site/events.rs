//! The event streams of cards: nothing is said on them until a card is told that it is over.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, KeepAliveStream, Sse};
use futures_util::stream::{self, Stream};
use tokio::sync::oneshot;
use warifu_api::error::{ErrorBody, ErrorCode};
use warifu_ledger::Id;

/// Streams of one card at once.
const STREAMS_PER_CARD: usize = 8;
/// How often a silent stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long the last event may take to leave before the connections are ended all the same.
const FAREWELL: Duration = Duration::from_millis(250);

/// The open streams.
#[derive(Default)]
pub(super) struct Streams(Mutex<Vec<Open>>);

struct Open {
    card: Id,
    tell: oneshot::Sender<ErrorCode>,
    /// Resolves when the stream is gone.
    gone: oneshot::Receiver<Infallible>,
}

/// One stream's end.
pub(super) struct Subscription {
    told: oneshot::Receiver<ErrorCode>,
    _gone: oneshot::Sender<Infallible>,
}

impl Streams {
    fn open(&self) -> MutexGuard<'_, Vec<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream. The caller asks afterwards whether the card may have one: a revocation either finds the stream here
    /// or is found by that question.
    ///
    /// # Errors
    /// [`ErrorCode::Busy`].
    pub(super) fn subscribe(&self, card: Id) -> Result<Subscription, ErrorCode> {
        let mut open = self.open();
        open.retain(|one| !one.tell.is_closed());
        if open.iter().filter(|one| one.card == card).count() >= STREAMS_PER_CARD {
            return Err(ErrorCode::Busy);
        }
        let (tell, told) = oneshot::channel();
        let (gone, is_gone) = oneshot::channel();
        open.push(Open { card, tell, gone: is_gone });
        Ok(Subscription { told, _gone: gone })
    }

    /// The cards that have a stream.
    pub(super) fn cards(&self) -> Vec<Id> {
        self.open().iter().map(|one| one.card).collect()
    }

    /// Tells these cards that they are over, and gives the words a moment to leave. Their streams end with them.
    pub(super) async fn tell(&self, cards: &BTreeSet<Id>, code: ErrorCode) {
        let told: Vec<_> = {
            let mut open = self.open();
            open.extract_if(.., |one| cards.contains(&one.card)).collect()
        };
        let waiting: Vec<_> =
            told.into_iter().filter_map(|one| one.tell.send(code).is_ok().then_some(one.gone)).collect();
        let all_gone = async {
            for gone in waiting {
                let _ = gone.await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, all_gone).await;
    }
}

impl Subscription {
    /// The stream as an answer: silence, then one event with the reason, then its end. It is `revoked` if the card is over
    /// or suspended, and `grants` if something that it had is over, while the card itself goes on.
    pub(super) fn into_answer(
        self,
    ) -> Sse<KeepAliveStream<impl Stream<Item = Result<Event, Infallible>> + Send + 'static>> {
        let events = stream::unfold((self, false), |(mut subscription, told)| async move {
            if told {
                return None;
            }
            let code = (&mut subscription.told).await.ok()?;
            let body = ErrorBody::new(code, "this card is not answered any more");
            let data = serde_json::to_string(&body).unwrap_or_default();
            let name = if code == ErrorCode::GrantNotLive { "grants" } else { "revoked" };
            Some((Ok(Event::default().event(name).data(data)), (subscription, true)))
        });
        Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
    }
}
