//! HTTP/1.1 to one S3, over TLS 1.3 as everywhere else in this program. No proxy is asked, no redirection followed: what is signed for one
//! host goes to no other.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::header::HOST;
use axum::http::{HeaderValue, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::S3Fault;

/// The largest answer that is read, in bytes: a part, or a page of a list.
const LARGEST_ANSWER: usize = 16 << 20;
/// Connections that are kept for whoever asks next.
const KEPT: usize = 16;

/// Where an S3 is.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    host: String,
    port: u16,
    tls: bool,
}

impl Endpoint {
    /// `https://HOST[:PORT]`; to this machine itself also `http`.
    pub(super) fn parse(text: &str) -> Result<Self, S3Fault> {
        let uri: Uri = text.parse().map_err(|_| S3Fault::Endpoint)?;
        let authority = uri.authority().filter(|_| uri.path().len() <= 1 && uri.query().is_none());
        // Nobody's name and password belong here.
        let authority =
            authority.filter(|authority| !authority.as_str().contains('@')).ok_or(S3Fault::Endpoint)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        match uri.scheme_str() {
            Some("https") => Ok(Self { host, port: authority.port_u16().unwrap_or(443), tls: true }),
            Some("http") if here => Ok(Self { host, port: authority.port_u16().unwrap_or(80), tls: false }),
            _ => Err(S3Fault::Endpoint),
        }
    }
}

/// Whose certificates are believed, instead of those that browsers believe.
pub(super) struct Authorities(RootCertStore);

impl Authorities {
    /// Of a file in PEM; none if it has no certificate, or one that cannot be read.
    pub(super) fn of(pem: &[u8]) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.ok()?).ok()?;
        }
        (!roots.is_empty()).then_some(Self(roots))
    }
}

/// Connections to one S3. Clones share them.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    tls: Arc<ClientConfig>,
    kept: Mutex<Vec<SendRequest<HttpRequestBody>>>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.endpoint.fmt(f)
    }
}

impl HttpConnector for Connections {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl HttpService for Connections {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (mut head, body) = request.into_parts();
        // To a server one sends the path alone, and its name in a header (RFC 9112, section 3.2.1): as it was signed.
        let name = head.uri.authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
        head.headers.extend(name.map(|name| (HOST, name)));
        head.uri = head.uri.path_and_query().map(|path| Uri::from(path.clone())).unwrap_or_default();
        let mut connection = match self.ready() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let answered = connection.send_request(HttpRequest::from_parts(head, body)).await.map_err(broken)?;
        self.keep(connection);
        let (head, body) = answered.into_parts();
        let unreadable = |error| HttpError::new_boxed(HttpErrorKind::Interrupted, error);
        let body = HttpResponseBody::new(Limited::new(body, LARGEST_ANSWER).map_err(unreadable));
        Ok(HttpResponse::from_parts(head, body))
    }
}

impl Connections {
    pub(super) fn new(endpoint: Endpoint, authorities: Option<&Authorities>) -> Result<Self, S3Fault> {
        let public = || RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let roots = authorities.map_or_else(public, |Authorities(roots)| roots.clone());
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(Inner { endpoint, tls: Arc::new(tls), kept: Mutex::default() })))
    }

    /// A connection whose last answer was read to its end.
    fn ready(&self) -> Option<SendRequest<HttpRequestBody>> {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|connection| !connection.is_closed());
        let ready = kept.iter().position(SendRequest::is_ready)?;
        Some(kept.swap_remove(ready))
    }

    fn keep(&self, connection: SendRequest<HttpRequestBody>) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(connection);
        }
    }

    async fn open(&self) -> Result<SendRequest<HttpRequestBody>, HttpError> {
        let Endpoint { host, port, tls } = &self.0.endpoint;
        let unreachable = |error| HttpError::new(HttpErrorKind::Connect, error);
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
        let _ = stream.set_nodelay(true);
        if !tls {
            return begun(stream).await;
        }
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        // Whoever is not believed now is not in a moment either.
        let untrusted = |error| HttpError::new(HttpErrorKind::Unknown, error);
        begun(TlsConnector::from(self.0.tls.clone()).connect(name, stream).await.map_err(untrusted)?).await
    }
}

async fn begun(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<HttpRequestBody>, HttpError> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// What was never sent is tried again whatever it was; what broke in the middle, if it may be done twice.
fn broken(error: hyper::Error) -> HttpError {
    let unsent = error.is_canceled() || error.is_closed();
    HttpError::new(if unsent { HttpErrorKind::Request } else { HttpErrorKind::Interrupted }, error)
}
