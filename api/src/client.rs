//! The client: one kept connection to one service, JSON in and out, and its event streams.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
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
use crate::tls::{Identity, Pin, TlsError, client_config, config_for_anybody};

pub use crate::events::Event;

/// The largest answer read, in bytes.
const ANSWER_LIMIT: usize = 64 << 20;
/// Room for a body with a secret in it, in bytes.
const BODY_CAPACITY: usize = 4096;

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
    kept: Arc<Mutex<Option<SendRequest<Full<Bytes>>>>>,
}

/// A client of one service. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Client {
    address: String,
    road: Road,
    timeout: Duration,
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

    /// A client of whoever answers at `address`, showing it `identity`. Only for what proves itself, such as the order that
    /// gives the kms other keys (protocol P-4.17): no answer is anybody's word.
    ///
    /// # Errors
    /// [`ClientError::Tls`].
    pub fn of_anybody(address: impl Into<String>, identity: Option<&Identity>) -> Result<Self, ClientError> {
        Ok(Self::with(address.into(), config_for_anybody(identity)?))
    }

    fn with(address: String, config: Arc<ClientConfig>) -> Self {
        let road = Road::Tls(Tls { config, kept: Arc::default() });
        Self { address, road, timeout: Duration::from_secs(30) }
    }

    /// A client whose requests somebody carries. It has no event streams.
    #[must_use]
    pub fn carried(address: impl Into<String>, carrier: Arc<dyn Carrier>) -> Self {
        let road = Road::Carrier(carrier);
        Self { address: address.into(), road, timeout: Duration::from_secs(30) }
    }

    /// The same client with another limit on the time from request to answer (30 s unless told).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
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
        let exchange = async {
            match &self.road {
                Road::Carrier(carrier) => carrier.carry(method, path, body).await,
                Road::Tls(tls) => {
                    let answer = self.send(tls, method, path, body).await?;
                    let status = answer.status();
                    Ok((status, self.collect(answer).await?))
                }
            }
        };
        self.in_time(exchange).await
    }

    /// Opens the server-sent event stream at `path`, on a connection of its own.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(&self, path: &str) -> Result<Events, ClientError> {
        let Road::Tls(tls) = &self.road else {
            let why = "whoever carries requests carries no streams".to_owned();
            return Err(ClientError::Nonsense { address: self.address.clone(), why });
        };
        let open = async {
            let mut sender = self.connect(tls).await?;
            let answer = sender
                .send_request(self.request(Method::GET, path, Bytes::new())?)
                .await
                .map_err(|e| self.broken(e))?;
            if !answer.status().is_success() {
                let status = answer.status();
                let bytes = self.collect(answer).await?;
                return Err(self.refusal(status, &bytes));
            }
            Ok(Events {
                address: self.address.clone(),
                body: answer.into_body(),
                buffer: EventBuffer::new(ANSWER_LIMIT),
                _sender: sender,
            })
        };
        self.in_time(open).await
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

    /// Sends on the kept connection, or on a new one if it is gone or was closed while idle.
    async fn send(
        &self,
        tls: &Tls,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut kept = tls.kept.lock().await;
        if let Some(mut sender) = kept.take()
            && sender.ready().await.is_ok()
        {
            let request = self.request(method.clone(), path, body.clone())?;
            match sender.send_request(request).await {
                Ok(answer) => {
                    *kept = Some(sender);
                    return Ok(answer);
                }
                // The other end had closed it before it read anything: nothing was done, a second try is the first.
                Err(error) if error.is_canceled() || error.is_closed() => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
        let mut sender = self.connect(tls).await?;
        let answer =
            sender.send_request(self.request(method, path, body)?).await.map_err(|e| self.broken(e))?;
        *kept = Some(sender);
        Ok(answer)
    }

    async fn connect(&self, tls: &Tls) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let (this, config) = (self.clone(), tls.config.clone());
        let runtime = tokio::runtime::Handle::current();
        // A card or HSM signs inside the handshake and blocks the thread that drives it. That thread cannot be called back:
        // the limit is inside, or whoever accepts connections and says nothing would take one thread after the other.
        tokio::task::spawn_blocking(move || runtime.block_on(this.in_time(this.handshake(config))))
            .await
            .map_err(|e| self.broken(e))?
    }

    async fn handshake(&self, config: Arc<ClientConfig>) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let unreachable = |source| ClientError::Unreachable { address: self.address.clone(), source };
        let stream = TcpStream::connect(&self.address).await.map_err(unreachable)?;
        let _ = stream.set_nodelay(true);
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|e| ClientError::Nonsense { address: self.address.clone(), why: e.to_string() })?;
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|source| ClientError::NotTrusted { address: self.address.clone(), source })?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(e))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, ClientError> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .body(Full::new(body))
            .map_err(|e| ClientError::Nonsense { address: self.address.clone(), why: e.to_string() })
    }

    async fn collect(&self, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
        let collected = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
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
    _sender: SendRequest<Full<Bytes>>,
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
