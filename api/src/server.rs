//! Listeners for an `axum` router: limits on time and number, and connections that can be ended by their peer's key.
//!
//! What a stranger can take is bounded, and apart from what those have who are known: by the key that a connection has
//! proved to hold ([`serve`]), or by the token that a request has shown ([`serve_plain`]).
//!
//! Each request has a number, which is in every line of the log that comes of it and in its answer's `x-request-id`. A
//! listener that is told to stop takes nothing more, and lets what it was asked before be answered.

mod patient;
mod rates;
mod requests;
mod room;

use std::collections::HashMap;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::server::Acceptor;
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use crate::tls::{HTTP_1_1, HTTP_2, Identity, PeerKey, TlsError, key_of_certificate, server_config};

use patient::Patient;
pub use rates::Rates;
use requests::Closing;
pub use room::{Network, Seat, Seats};
use room::{Place, Room};

/// Handshakes that are computed at once, each with its signature by the HSM: others wait for their turn, and what else the
/// HSM has to do waits for one of them at most.
const HANDSHAKES: usize = 1;
/// A header of a request up to so many bytes is read; hyper, which looks at the bound before it reads more, answers at the latest
/// one of twice as many with 431.
const HEADER_BYTES: usize = 16 << 10;
/// The same over HTTP/2, where each field counts 32 bytes more (RFC 9113, section 6.5.2).
const HEADER_LIST: u32 = 16 << 10;
/// The most fields in it.
const HEADER_FIELDS: usize = 64;
/// The most that one connection over HTTP/2 may have sent and nobody read, in bytes.
const WINDOW: u32 = 64 << 10;
/// Of an answer over HTTP/2, so much is written ahead, in bytes.
const WRITTEN_AHEAD: usize = 64 << 10;
/// Requests over HTTP/2 that are malformed each by itself before the connection is.
const MALFORMED: usize = 16;

/// The limits of a listener. Where they are reached, connections of whoever has the most of them are ended, the oldest first.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once of those who are known.
    pub members: usize,
    /// Connections at once with one known key.
    pub each: usize,
    /// Requests at once on one connection of a service: with more than one, HTTP/2 is offered beside HTTP/1.1.
    pub requests: u32,
    /// The same, of anybody else.
    pub others_requests: u32,
    /// Connections at once of everybody else, those that have not proved a key yet among them.
    pub strangers: usize,
    /// How long a handshake or a stranger's request header may take, and a stranger's connection be silent between requests. Over
    /// HTTP/2, how long nothing at all may come.
    pub header: Duration,
    /// The same, but for handshakes, for somebody known: whoever comes back every half minute keeps his connection.
    pub silence: Duration,
    /// How long the other end may take in nothing of what is sent to it.
    pub stall: Duration,
    /// How long a connection of somebody known may live.
    pub lifetime: Duration,
    /// How long a connection of anybody else may live.
    pub strangers_lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members: 4096,
            each: 16,
            requests: 1,
            others_requests: 1,
            strangers: 512,
            header: Duration::from_secs(10),
            silence: Duration::from_secs(90),
            stall: Duration::from_secs(10),
            lifetime: Duration::from_secs(600),
            strangers_lifetime: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Of whoever is asked as [`crate::Client::multiplexed`] does: a service's stream of events, and stamps, receipts, journals and
    /// questions that wait beside it. Others have enough for a service that a restored kms does not know again yet.
    #[must_use]
    pub fn multiplexed() -> Self {
        Self { requests: 16, others_requests: 4, ..Self::default() }
    }
}

/// Who is at the other end of a request's connection: an `axum` extension of every request.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The key it has proved to hold; none if it came without.
    pub key: Option<PeerKey>,
    /// Whether the key was that of somebody known when the connection began. What it may do is another question.
    pub known: bool,
    /// Where it is.
    pub address: SocketAddr,
}

/// Whether a key is that of somebody known, or of a service.
type Known = dyn Fn(&PeerKey) -> bool + Send + Sync;

/// The open connections, by the key of their peer.
#[derive(Clone, Default)]
pub struct Connections {
    inner: Arc<Inner>,
    known: Option<Arc<Known>>,
    services: Option<Arc<Known>>,
}

#[derive(Default)]
struct Inner {
    open: Mutex<Open>,
    closed: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_id: HashMap<u64, Opened>,
}

struct Opened {
    key: Option<PeerKey>,
    /// Whether it has, or is about to have, the place of somebody known.
    as_known: bool,
    end: Arc<Notify>,
}

impl Connections {
    /// The same connections, where those with keys of which `known` says so are not among the strangers. Unless told so,
    /// everybody is one.
    #[must_use]
    pub fn knowing(mut self, known: impl Fn(&PeerKey) -> bool + Send + Sync + 'static) -> Self {
        self.known = Some(Arc::new(known));
        self
    }

    /// The same connections, where those with keys of which `service` says so may have [`Limits::requests`] at once. Unless told
    /// so, nobody may.
    #[must_use]
    pub fn serving(mut self, service: impl Fn(&PeerKey) -> bool + Send + Sync + 'static) -> Self {
        self.services = Some(Arc::new(service));
        self
    }

    fn serve(&self, key: &PeerKey) -> bool {
        self.services.as_ref().is_some_and(|service| service(key))
    }

    fn know(&self, key: &PeerKey) -> bool {
        self.known.as_ref().is_some_and(|known| known(key))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.inner.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, key: Option<PeerKey>) -> Registered {
        let end = Arc::new(Notify::new());
        let mut open = self.open();
        let id = open.next;
        open.next += 1;
        open.by_id.insert(id, Opened { key, as_known: false, end: end.clone() });
        Registered { connections: self.clone(), id, end }
    }

    /// Whether this connection gets the place of somebody known.
    fn admit(&self, id: u64, key: &PeerKey) -> bool {
        if !self.know(key) {
            return false;
        }
        if let Some(opened) = self.open().by_id.get_mut(&id) {
            opened.as_known = true;
        }
        // What has changed meanwhile is seen here; what changes from now on, by `end_unknown`.
        self.know(key)
    }

    /// Ends the connections of those who were known when they came and are no longer: they would keep the places of others.
    pub fn end_unknown(&self) {
        let admitted: Vec<(PeerKey, Arc<Notify>)> = {
            let open = self.open();
            let admitted = open.by_id.values().filter(|opened| opened.as_known);
            admitted.filter_map(|opened| Some((opened.key?, opened.end.clone()))).collect()
        };
        for (key, end) in admitted {
            if !self.know(&key) {
                end.notify_one();
            }
        }
    }

    /// Ends every connection that is open now, and waits until all of them are closed.
    pub async fn end_all(&self) {
        self.end_those(|_| true).await;
    }

    /// Ends every connection that this peer has now and returns when none of them is left. Nothing more leaves on them.
    ///
    /// Those that it opens from now on are not waited for: a peer that keeps coming back cannot hold up a revocation.
    /// Whoever calls this has made sure before that they are refused.
    pub async fn end(&self, key: PeerKey) {
        self.end_those(|shown| shown == Some(key)).await;
    }

    async fn end_those(&self, which: impl Fn(Option<PeerKey>) -> bool) {
        let next = self.open().next;
        loop {
            let closed = self.inner.closed.notified();
            let mut left = false;
            for (id, opened) in &self.open().by_id {
                if which(opened.key) && *id < next {
                    left = true;
                    opened.end.notify_one();
                }
            }
            if !left {
                return;
            }
            closed.await;
        }
    }
}

struct Registered {
    connections: Connections,
    id: u64,
    end: Arc<Notify>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.open().by_id.remove(&self.id);
        self.connections.inner.closed.notify_waiters();
    }
}

/// What the connections of one listener share.
struct Door {
    config: Arc<ServerConfig>,
    router: Router,
    limits: Limits,
    connections: Connections,
    members: Room<PeerKey>,
    handshakes: Arc<Semaphore>,
    queues: Queues,
}

/// Where handshakes wait for their turn: those of one network behind each other, so that hundreds of them keep others waiting
/// no longer than one does.
#[derive(Default)]
struct Queues(Mutex<HashMap<Network, Weak<Semaphore>>>);

impl Queues {
    fn of(&self, network: Network) -> Arc<Semaphore> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(&network).and_then(Weak::upgrade) {
            return queue;
        }
        queues.retain(|_, queue| queue.strong_count() > 0);
        let queue = Arc::new(Semaphore::new(1));
        queues.insert(network, Arc::downgrade(&queue));
        queue
    }
}

/// Serves `router` on `listener` until `shutdown` resolves.
///
/// # Errors
/// [`TlsError`] if TLS cannot be set up. Faults of single connections end those connections only.
pub async fn serve(
    listener: TcpListener,
    identity: &Identity,
    router: Router,
    limits: Limits,
    connections: Connections,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), TlsError> {
    let mut config = server_config(identity)?;
    if limits.requests > 1 {
        Arc::make_mut(&mut config).alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
    }
    serve_with(listener, config, router, limits, connections, shutdown).await;
    Ok(())
}

/// Serves `router` to anybody on `listener` until `shutdown` resolves: with a configuration of [`crate::tls::public`], under
/// which nobody shows a key. All are strangers.
pub async fn serve_anybody(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    serve_with(listener, config, router, limits, Connections::default(), shutdown).await;
}

async fn serve_with(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    router: Router,
    limits: Limits,
    connections: Connections,
    shutdown: impl Future<Output = ()> + Send,
) {
    let closing = Closing::default();
    let door = Arc::new(Door {
        config,
        router: closing.watch(router),
        limits,
        connections,
        members: Room::new(limits.members, limits.each),
        handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
        queues: Queues::default(),
    });
    let strangers = Room::new(limits.strangers, limits.strangers);
    accept(listener, shutdown, |stream, address| {
        tokio::spawn(door.clone().receive(stream, address, strangers.enter(address.ip().into())));
    })
    .await;
    closing.close().await;
}

async fn accept(
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
    received: impl Fn(TcpStream, SocketAddr),
) {
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let _ = stream.set_nodelay(true);
                received(stream, address);
            }
            Err(error) => {
                // Out of file descriptors, most often: others have to close first.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// A connection after its handshake.
struct Shaken {
    stream: TlsStream<Patient<TcpStream>>,
    peer: Peer,
    registered: Registered,
}

impl Door {
    async fn receive(self: Arc<Self>, stream: TcpStream, address: SocketAddr, place: Place<Network>) {
        let as_stranger = async {
            let shaken = self.handshake(stream, address).await?;
            match shaken.peer.key {
                Some(key) if shaken.peer.known => Some((key, shaken)),
                _ => {
                    self.serve(shaken).await;
                    None
                }
            }
        };
        // On the heap: a connection that stays does not keep the room that its handshake needed.
        let as_stranger = Box::pin(timeout(self.limits.strangers_lifetime, as_stranger));
        let known = tokio::select! {
            () = place.taken() => return,
            known = as_stranger => known.ok().flatten(),
        };
        let Some((key, shaken)) = known else { return };
        let members_place = self.members.enter(key);
        drop(place);
        tokio::select! {
            () = members_place.taken() => {}
            _ = timeout(self.limits.lifetime, Box::pin(self.serve(shaken))) => {}
        }
    }

    async fn handshake(&self, stream: TcpStream, address: SocketAddr) -> Option<Shaken> {
        let shake = async {
            let stream = Patient::new(stream, self.limits.stall);
            let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
            let queue = self.queues.of(address.ip().into());
            let first = queue.acquire_owned().await.map_err(std::io::Error::other)?;
            let turn = self.handshakes.clone().acquire_owned().await.map_err(std::io::Error::other)?;
            let config = self.config.clone();
            // Here the HSM signs. Whoever is gone meanwhile has its turn to the end all the same.
            let answered = tokio::task::spawn_blocking(move || {
                let mut kind = None;
                let answered =
                    start.into_stream_with(config, |connection| kind = connection.handshake_kind());
                drop((first, turn));
                (answered, kind)
            });
            match answered.await? {
                // Its second hello would be answered, and signed, out of turn. Ours have the right key share in the first.
                (_, Some(HandshakeKind::FullWithHelloRetryRequest)) => Err(ErrorKind::Unsupported.into()),
                (answered, _) => answered.await,
            }
        };
        let stream = match timeout(self.limits.header, shake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "handshake failed");
                return None;
            }
            Err(_) => return None,
        };
        let chain = stream.get_ref().1.peer_certificates();
        let certificate = chain.and_then(|chain| chain.first());
        let key = certificate.and_then(|certificate| key_of_certificate(certificate).ok()).map(PeerKey);
        let registered = self.connections.register(key);
        let known = key.is_some_and(|key| self.connections.admit(registered.id, &key));
        Some(Shaken { stream, peer: Peer { key, known, address }, registered })
    }

    async fn serve(&self, Shaken { stream, peer, registered }: Shaken) {
        let limits = &self.limits;
        let silence = if peer.known { limits.silence } else { limits.header };
        let service = peer.key.is_some_and(|key| self.connections.serve(&key));
        let requests = if service { limits.requests } else { limits.others_requests };
        let at_once = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
        let answering: Pin<Box<dyn Future<Output = ()> + Send>> = match at_once {
            true => Box::pin(answer_at_once(stream, &self.router, silence, requests, peer)),
            false => Box::pin(answer(stream, &self.router, silence, peer)),
        };
        tokio::select! {
            () = registered.end.notified() => {}
            () = answering => {}
        }
    }
}

/// The same router, each of whose requests has `extension` among its extensions.
fn extended<E: Clone + Send + Sync + 'static>(
    router: &Router,
    extension: E,
) -> impl tower::Service<
    hyper::Request<hyper::body::Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone
+ use<E> {
    router.clone().map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(extension.clone());
        request.map(axum::body::Body::new)
    })
}

/// Answers the requests on one connection, between which it may be silent for so long; each has `extension` among its extensions.
async fn answer<E: Clone + Send + Sync + 'static>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: &Router,
    silence: Duration,
    extension: E,
) {
    let service = TowerToHyperService::new(extended(router, extension));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(silence)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADER_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "connection ended");
    }
}

/// Answers so many requests at once on one connection, over HTTP/2, as long as something comes at least so often. Each is a task
/// of its own, which ends with the connection.
async fn answer_at_once(
    mut stream: TlsStream<Patient<TcpStream>>,
    router: &Router,
    silence: Duration,
    requests: u32,
    peer: Peer,
) {
    stream.get_mut().0.hear_within(silence);
    let service = TowerToHyperService::new(extended(router, peer));
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(requests)
        .max_header_list_size(HEADER_LIST)
        // Nothing is remembered of headers (RFC 7541, section 4.2): ten thousand tables are more than what they would save.
        .header_table_size(0)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(WRITTEN_AHEAD)
        .max_local_error_reset_streams(MALFORMED)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "connection ended");
    }
}

/// Who is at the other end of a connection of [`serve_plain`]: a stranger until a request has shown what proves otherwise. An
/// `axum` extension of every request.
#[derive(Clone)]
pub struct Guest(Arc<Visit>);

struct Visit {
    place: Place<Network>,
    trusted: AtomicBool,
}

impl Guest {
    /// From now on the limits on strangers do not count for this connection.
    pub fn trust(&self) {
        self.0.trusted.store(true, Ordering::Relaxed);
        self.0.place.leave();
    }

    /// Resolves when a stranger has been here for too long.
    async fn overstayed(&self, lifetime: Duration) {
        sleep(lifetime).await;
        if self.0.trusted.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }
}

/// Serves `router` without TLS until `shutdown` resolves: on a `listener` that only programs of this machine reach, or for
/// what is public and signed by itself.
pub async fn serve_plain(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let strangers = Room::new(limits.strangers, limits.strangers);
    let closing = Closing::default();
    let router = closing.watch(router);
    accept(listener, shutdown, |stream, address| {
        let place = strangers.enter(address.ip().into());
        let (guest, router) =
            (Guest(Arc::new(Visit { place, trusted: AtomicBool::new(false) })), router.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = guest.0.place.taken() => {}
                () = guest.overstayed(limits.strangers_lifetime) => {}
                () = answer(Patient::new(stream, limits.stall), &router, limits.header, guest.clone()) => {}
            }
        });
    })
    .await;
    closing.close().await;
}
