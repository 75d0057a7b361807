//! The client: one kept connection to one service, JSON in and out, and its event streams.
//!
//! People's programs ask one thing after the other, over HTTP/1.1, and open another connection for a stream of events. Services
//! follow the kms and tell it much meanwhile: over HTTP/2 and nothing else, where one connection is enough for all of it.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::{ErrorBody, ErrorCode};
use crate::events::{EventBuffer, EventError};
use crate::tls::public::client_config_of_anybody;
use crate::tls::{HTTP_2, Identity, Pin, TlsError, client_config, config_for_anybody};

pub use crate::events::Event;

/// The largest answer read, in bytes.
const ANSWER_LIMIT: usize = 64 << 20;
/// Room for a body with a secret in it, in bytes.
const BODY_CAPACITY: usize = 4096;
/// Requests that are sent at once before the service has said how many it takes.
const FIRST_REQUESTS: usize = 1;

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The service cannot be reached.
    #[error("{address} cannot be reached")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Something answers, but not with the key that is pinned, or it refused our key.
    #[error("no secure connection to {address}")]
    NotTrusted {
        /// `host:port`.
        address: String,
        /// What TLS said.
        #[source]
        source: std::io::Error,
    },
    /// The service took too long.
    #[error("{address} did not answer in time")]
    TimedOut {
        /// `host:port`.
        address: String,
    },
    /// The connection broke before the answer was whole.
    #[error("the connection to {address} broke")]
    Broken {
        /// `host:port`.
        address: String,
        /// What HTTP said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The service refused; it says why.
    #[error("{address} refused: {} ({:?})", .body.message, .body.code)]
    Refused {
        /// `host:port`.
        address: String,
        /// The HTTP status.
        status: StatusCode,
        /// What it said.
        body: ErrorBody,
    },
    /// The answer is not one of this protocol.
    #[error("the answer of {address} makes no sense: {why}")]
    Nonsense {
        /// `host:port`.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// TLS could not be set up on this side.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl ClientError {
    /// The code, if the service refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { body, .. } => Some(body.code),
            _ => None,
        }
    }
}

/// An answer that is on its way.
pub type Carried<'a> =
    std::pin::Pin<Box<dyn Future<Output = Result<(StatusCode, Bytes), ClientError>> + Send + 'a>>;

/// Carries requests to a service in the same process, without any network: a simulator's.
pub trait Carrier: Send + Sync {
    /// Carries one request there, and the answer back.
    fn carry(&self, method: Method, path: &str, body: Bytes) -> Carried<'_>;
}

/// How requests get to the service.
#[derive(Clone)]
enum Road {
    Tls(Tls),
    Carrier(Arc<dyn Carrier>),
}

#[derive(Clone)]
struct Tls {
    config: Arc<ClientConfig>,
    kept: Arc<Mutex<Option<Connection>>>,
}

impl Tls {
    /// Whether one connection is for everything.
    fn multiplexes(&self) -> bool {
        !self.config.alpn_protocols.is_empty()
    }
}

/// A connection, as requests are sent on it.
enum Connection {
    /// HTTP/1.1: the next request after the answer to this one.
    InTurn(http1::SendRequest<Full<Bytes>>),
    /// HTTP/2: any number of requests at once, streams of events among them.
    AtOnce(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Another handle to it, where it takes another request meanwhile.
    fn shared(&self) -> Option<Self> {
        match self {
            Self::InTurn(_) => None,
            Self::AtOnce(sender) => Some(Self::AtOnce(sender.clone())),
        }
    }

    /// The same connection, if a request can be sent on it as far as is known here.
    async fn ready(mut self) -> Option<Self> {
        let ready = match &mut self {
            Self::InTurn(sender) => sender.ready().await,
            Self::AtOnce(sender) => sender.ready().await,
        };
        ready.is_ok().then_some(self)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::InTurn(sender) => sender.send_request(request).await,
            Self::AtOnce(sender) => sender.send_request(request).await,
        }
    }
}

/// A client of one service. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Client {
    address: String,
    road: Road,
    timeout: Duration,
    /// The largest answer read, in bytes.
    largest: usize,
}

impl Client {
    /// A client of the service at `address` (`host:port`) that holds the key `server`, showing it `identity`.
    ///
    /// # Errors
    /// [`ClientError::Tls`].
    pub fn new(
        address: impl Into<String>,
        server: impl Into<Pin>,
        identity: Option<&Identity>,
    ) -> Result<Self, ClientError> {
        Ok(Self::with(address.into(), client_config(server, identity)?))
    }

    /// As [`Client::new`], for a service that asks the kms: one connection, over HTTP/2, carries all requests at once and the
    /// streams of events. Whoever does not speak HTTP/2 is not asked.
    ///
    /// # Errors
    /// [`ClientError::Tls`].
    pub fn multiplexed(
        address: impl Into<String>,
        server: impl Into<Pin>,
        identity: &Identity,
    ) -> Result<Self, ClientError> {
        let mut config = client_config(server, Some(identity))?;
        Arc::make_mut(&mut config).alpn_protocols = vec![HTTP_2.to_vec()];
        Ok(Self::with(address.into(), config))
    }

    /// A client of whoever answers at `address`, showing it `identity`. Only for what proves itself, such as the order that
    /// gives the kms other keys (protocol P-4.17): no answer is anybody's word.
    ///
    /// # Errors
    /// [`ClientError::Tls`].
    pub fn of_anybody(address: impl Into<String>, identity: Option<&Identity>) -> Result<Self, ClientError> {
        Ok(Self::with(address.into(), config_for_anybody(identity)?))
    }

    /// A client of the public listener at `address`, of whoever it is: only for what proves itself, such as a signed directory
    /// (protocol section 16).
    ///
    /// # Errors
    /// [`ClientError::Tls`].
    pub fn public(address: impl Into<String>) -> Result<Self, ClientError> {
        Ok(Self::with(address.into(), client_config_of_anybody()?))
    }

    fn with(address: String, config: Arc<ClientConfig>) -> Self {
        let road = Road::Tls(Tls { config, kept: Arc::default() });
        Self { address, road, timeout: Duration::from_secs(30), largest: ANSWER_LIMIT }
    }

    /// A client whose requests somebody carries. It has no event streams.
    #[must_use]
    pub fn carried(address: impl Into<String>, carrier: Arc<dyn Carrier>) -> Self {
        let road = Road::Carrier(carrier);
        Self { address: address.into(), road, timeout: Duration::from_secs(30), largest: ANSWER_LIMIT }
    }

    /// The same client with another limit on the time from request to answer (30 s unless told).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same client with another limit on the size of an answer, in bytes (64 MiB unless told): for what comes from strangers.
    #[must_use]
    pub fn with_largest_answer(mut self, bytes: usize) -> Self {
        self.largest = bytes;
        self
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `GET path`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, ClientError> {
        self.call(Method::POST, path, self.json(body)?).await
    }

    /// `PUT path` with a JSON body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, ClientError> {
        self.call(Method::PUT, path, self.json(body)?).await
    }

    /// `PUT path` with a body that is no JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_bytes<A: DeserializeOwned>(&self, path: &str, bytes: Bytes) -> Result<A, ClientError> {
        self.call(Method::PUT, path, bytes).await
    }

    /// `GET path`, where the answer is no JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_bytes(&self, path: &str) -> Result<Bytes, ClientError> {
        let (status, bytes) = self.forward(Method::GET, path, Bytes::new()).await?;
        if status.is_success() { Ok(bytes) } else { Err(self.refusal(status, &bytes)) }
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    /// Any request with a body already written, and the answer as it came: for those who pass requests on.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal by the service is an answer here.
    pub async fn forward(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let tls = match &self.road {
            Road::Carrier(carrier) => return self.in_time(carrier.carry(method, path, body)).await,
            Road::Tls(tls) => tls,
        };
        let exchange = async {
            let answer = self.send(tls, method, path, body).await?;
            let status = answer.status();
            Ok((status, self.collect(answer).await?))
        };
        self.on_the_kept(tls, exchange).await
    }

    /// Opens the server-sent event stream at `path`: over HTTP/2 on the kept connection, and otherwise on one of its own.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(&self, path: &str) -> Result<Events, ClientError> {
        let Road::Tls(tls) = &self.road else {
            let why = "whoever carries requests carries no streams".to_owned();
            return Err(ClientError::Nonsense { address: self.address.clone(), why });
        };
        let open = async {
            let mut connection = self.connection_for_events(tls).await?;
            let request = self.request(&connection, Method::GET, path, Bytes::new())?;
            let answer = connection.send(request).await.map_err(|e| self.broken(e))?;
            if !answer.status().is_success() {
                let status = answer.status();
                let bytes = self.collect(answer).await?;
                return Err(self.refusal(status, &bytes));
            }
            Ok(Events {
                address: self.address.clone(),
                body: answer.into_body(),
                buffer: EventBuffer::new(ANSWER_LIMIT),
                _connection: connection,
            })
        };
        self.on_the_kept(tls, open).await
    }

    async fn connection_for_events(&self, tls: &Tls) -> Result<Connection, ClientError> {
        if !tls.multiplexes() {
            return self.connect(tls).await;
        }
        // Whoever asks meanwhile waits: it is their connection as well.
        let mut kept = tls.kept.lock().await;
        if let Some(shared) = kept.as_ref().and_then(Connection::shared)
            && let Some(ready) = shared.ready().await
        {
            return Ok(ready);
        }
        let connection = self.connect(tls).await?;
        *kept = connection.shared();
        Ok(connection)
    }

    async fn call<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, ClientError> {
        let (status, bytes) = self.forward(method, path, body).await?;
        if !status.is_success() {
            return Err(self.refusal(status, &bytes));
        }
        let answer = serde_json::from_slice(&bytes)
            .map_err(|e| ClientError::Nonsense { address: self.address.clone(), why: e.to_string() });
        // It may hold partials.
        if let Ok(mut bytes) = bytes.try_into_mut() {
            bytes.zeroize();
        }
        answer
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        tokio::time::timeout(self.timeout, work)
            .await
            .unwrap_or_else(|_| Err(ClientError::TimedOut { address: self.address.clone() }))
    }

    /// The same, for what goes over the kept connection. Where nothing was answered in time it may be dead: whoever asks next takes
    /// another one. What else goes on over it goes on.
    async fn on_the_kept<T>(
        &self,
        tls: &Tls,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let answered = self.in_time(work).await;
        if matches!(answered, Err(ClientError::TimedOut { .. }))
            // Whoever has it locked is about to replace it.
            && let Ok(mut kept) = tls.kept.try_lock()
        {
            kept.take();
        }
        answered
    }

    /// Sends on the kept connection, or on a new one if it is gone or was closed while idle.
    async fn send(
        &self,
        tls: &Tls,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        loop {
            let mut kept = tls.kept.lock().await;
            let ready = match kept.take() {
                Some(connection) => connection.ready().await,
                None => None,
            };
            let is_new = ready.is_none();
            let mut connection = match ready {
                Some(connection) => connection,
                None => self.connect(tls).await?,
            };
            let request = self.request(&connection, method.clone(), path, body.clone())?;
            let answered = if let Some(shared) = connection.shared() {
                *kept = Some(shared);
                drop(kept);
                connection.send(request).await
            } else {
                let answered = connection.send(request).await;
                *kept = answered.is_ok().then_some(connection);
                answered
            };
            match answered {
                Ok(answer) => return Ok(answer),
                // The other end had closed it before it read anything: nothing was done, a second try is the first.
                Err(error) if !is_new && (error.is_canceled() || error.is_closed()) => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    async fn connect(&self, tls: &Tls) -> Result<Connection, ClientError> {
        let (this, tls) = (self.clone(), tls.clone());
        let runtime = tokio::runtime::Handle::current();
        // A card or HSM signs inside the handshake and blocks the thread that drives it. That thread cannot be called back:
        // the limit is inside, or whoever accepts connections and says nothing would take one thread after the other.
        tokio::task::spawn_blocking(move || runtime.block_on(this.in_time(this.handshake(&tls))))
            .await
            .map_err(|e| self.broken(e))?
    }

    async fn handshake(&self, tls: &Tls) -> Result<Connection, ClientError> {
        let unreachable = |source| ClientError::Unreachable { address: self.address.clone(), source };
        let stream = TcpStream::connect(&self.address).await.map_err(unreachable)?;
        let _ = stream.set_nodelay(true);
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|e| ClientError::Nonsense { address: self.address.clone(), why: e.to_string() })?;
        let stream = TlsConnector::from(tls.config.clone())
            .connect(name, stream)
            .await
            .map_err(|source| ClientError::NotTrusted { address: self.address.clone(), source })?;
        if !tls.multiplexes() {
            let (sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(e))?;
            tokio::spawn(connection);
            return Ok(Connection::InTurn(sender));
        }
        if stream.get_ref().1.alpn_protocol() != Some(HTTP_2) {
            let why = "it does not speak HTTP/2".to_owned();
            return Err(ClientError::Nonsense { address: self.address.clone(), why });
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_max_send_streams(FIRST_REQUESTS)
            // The other end need not remember the headers of its answers, each of which has another number.
            .header_table_size(0)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.broken(e))?;
        tokio::spawn(connection);
        Ok(Connection::AtOnce(sender))
    }

    fn request(
        &self,
        connection: &Connection,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let request = match connection {
            Connection::InTurn(_) => Request::builder().uri(path).header(HOST, &self.address),
            // RFC 9113, section 8.3.1: with `:scheme` and `:authority`.
            Connection::AtOnce(_) => Request::builder().uri(format!("https://{}{path}", self.address)),
        };
        request
            .method(method)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .body(Full::new(body))
            .map_err(|e| ClientError::Nonsense { address: self.address.clone(), why: e.to_string() })
    }

    async fn collect(&self, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
        let collected = Limited::new(answer.into_body(), self.largest).collect().await;
        Ok(collected
            .map_err(|source| ClientError::Broken { address: self.address.clone(), source })?
            .to_bytes())
    }

    /// A body may hold a `d`: it is wiped when hyper lets go of it, and what holds one does not outgrow its first place.
    fn json(&self, body: &impl Serialize) -> Result<Bytes, ClientError> {
        let mut json = Zeroizing::new(Vec::with_capacity(BODY_CAPACITY));
        serde_json::to_writer(&mut *json, body)
            .map_err(|e| ClientError::Nonsense { address: self.address.clone(), why: e.to_string() })?;
        Ok(Bytes::from_owner(json))
    }

    fn broken(&self, source: impl std::error::Error + Send + Sync + 'static) -> ClientError {
        ClientError::Broken { address: self.address.clone(), source: Box::new(source) }
    }

    fn refusal(&self, status: StatusCode, bytes: &[u8]) -> ClientError {
        match serde_json::from_slice(bytes) {
            Ok(body) => ClientError::Refused { address: self.address.clone(), status, body },
            Err(_) => ClientError::Nonsense { address: self.address.clone(), why: format!("HTTP {status}") },
        }
    }
}

/// An open event stream.
pub struct Events {
    address: String,
    body: Incoming,
    buffer: EventBuffer,
    _connection: Connection,
}

impl Events {
    /// The next event; none when the stream has ended. Comments (keep-alives) are passed over.
    ///
    /// # Errors
    /// [`ClientError::Broken`], or [`ClientError::Nonsense`] for an event that is too large or not UTF-8.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            let nonsense = |why: EventError| ClientError::Nonsense {
                address: self.address.clone(),
                why: why.to_string(),
            };
            if let Some(event) = self.buffer.next_event().map_err(nonsense)? {
                return Ok(Some(event));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(source)) => {
                    return Err(ClientError::Broken {
                        address: self.address.clone(),
                        source: Box::new(source),
                    });
                }
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.push(data);
                    }
                }
            }
        }
    }
}
