//! A TLS listener for an `axum` router: limits on time and number, and connections that can be ended by their peer's key.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::tls::{Identity, PeerKey, TlsError, key_of_certificate, server_config};

/// The limits of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// How long a handshake or a request's header may take.
    pub header: Duration,
    /// How long a connection may live.
    pub lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, header: Duration::from_secs(10), lifetime: Duration::from_secs(600) }
    }
}

/// Who is at the other end of a request's connection: an `axum` extension of every request.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The key it has proved to hold; none if it came without.
    pub key: Option<PeerKey>,
    /// Where it is.
    pub address: SocketAddr,
}

/// The open connections, by the key of their peer.
#[derive(Clone, Default)]
pub struct Connections(Arc<Inner>);

#[derive(Default)]
struct Inner {
    open: Mutex<Open>,
    closed: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_id: HashMap<u64, (Option<PeerKey>, Arc<Notify>)>,
}

impl Connections {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, key: Option<PeerKey>) -> Registered {
        let end = Arc::new(Notify::new());
        let mut open = self.open();
        let id = open.next;
        open.next += 1;
        open.by_id.insert(id, (key, end.clone()));
        Registered { connections: self.clone(), id, end }
    }

    /// Ends every connection that this peer has now and returns when none of them is left. Nothing more leaves on them.
    ///
    /// Those that it opens from now on are not waited for: a peer that keeps coming back cannot hold up a revocation.
    /// Whoever calls this has made sure before that they are refused.
    pub async fn end(&self, key: PeerKey) {
        let next = self.open().next;
        loop {
            let closed = self.0.closed.notified();
            let mut left = false;
            for (id, (peer, end)) in &self.open().by_id {
                if *peer == Some(key) && *id < next {
                    left = true;
                    end.notify_one();
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
        self.connections.0.closed.notify_waiters();
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
    let acceptor = TlsAcceptor::from(server_config(identity)?);
    let slots = Arc::new(Semaphore::new(limits.connections));
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most often: others have to close first.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Over the limit, the newcomer is turned away at once rather than left to wait.
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let (acceptor, router, connections) = (acceptor.clone(), router.clone(), connections.clone());
        tokio::spawn(async move {
            let served = connection(stream, address, acceptor, router, limits, connections);
            let _ = tokio::time::timeout(limits.lifetime, served).await;
            drop(slot);
        });
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    limits: Limits,
    connections: Connections,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(limits.header, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "handshake failed");
            return;
        }
        Err(_) => return,
    };
    let key = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(|certificate| key_of_certificate(certificate).ok())
        .map(PeerKey);
    let registered = connections.register(key);
    let peer = Peer { key, address };
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.map(axum::body::Body::new)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::select! {
        () = registered.end.notified() => {}
        result = served => {
            if let Err(error) = result {
                tracing::debug!(%address, %error, "connection ended");
            }
        }
    }
}
