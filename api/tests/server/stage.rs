//! A server with its key in software, and those who come to it.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use warifu_api::client::Client;
use warifu_api::server::{Connections, Limits, serve};
use warifu_api::tls::{Identity, client_config};
use warifu_hardware::signer::{CertKey, DigestSigner, SignerError, tls_key};
use warifu_split_key::point::Point;

/// How long anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct SoftKey(SigningKey);

impl DigestSigner for SoftKey {
    fn public_key(&self) -> Point {
        Point::from_sec1(self.0.verifying_key().to_sec1_point(true).as_bytes()).unwrap()
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        let signature: Signature = self.0.sign_prehash(&digest).map_err(SignerError::device)?;
        Ok(signature.to_bytes().into())
    }
}

pub(crate) fn key(seed: u8) -> Arc<SoftKey> {
    Arc::new(SoftKey(SigningKey::from_slice(&[seed; 32]).unwrap()))
}

pub(crate) fn certificate(key: Arc<SoftKey>) -> CertificateDer<'static> {
    rcgen::CertificateParams::default().self_signed(&CertKey::new(key)).unwrap().der().clone()
}

/// A server that takes whoever holds `key(2)` or `key(3)` for somebody known.
pub(crate) async fn serving(router: Router, limits: Limits, identity: Identity) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let known = [key(2).public_key(), key(3).public_key()];
    let connections = Connections::default().knowing(move |key| known.contains(&key.0));
    tokio::spawn(async move {
        serve(listener, &identity, router, limits, connections, pending()).await.unwrap();
    });
    address
}

pub(crate) async fn served(router: Router) -> String {
    serving(router, Limits::default(), Identity::self_signed(key(1), "server").unwrap()).await
}

/// A connection from an address of this machine.
pub(crate) async fn from(source: &str, address: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{source}:0").parse().unwrap())?;
    socket.connect(address.parse().unwrap()).await
}

/// A handshake on it, with a key or without.
pub(crate) async fn handshake(stream: TcpStream, seed: Option<u8>) -> std::io::Result<TlsStream<TcpStream>> {
    let identity = seed.map(|seed| Identity::self_signed(key(seed), "client").unwrap());
    let config = client_config(key(1).public_key(), identity.as_ref()).unwrap();
    TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

pub(crate) fn client(address: &str, identity: Option<&Identity>) -> Client {
    Client::new(address, key(1).public_key(), identity).unwrap()
}

/// Shows one certificate and signs with whatever key, as no honest client would.
#[derive(Debug)]
pub(crate) struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What the server answers to who shows `certificate` and signs with `signer`; none if it hangs up.
pub(crate) async fn answer_to(
    address: &str,
    certificate: CertificateDer<'static>,
    signer: Arc<SoftKey>,
) -> Option<String> {
    answer_with_chain(address, vec![certificate], signer).await
}

/// As [`answer_to`], with a whole chain.
pub(crate) async fn answer_with_chain(
    address: &str,
    chain: Vec<CertificateDer<'static>>,
    signer: Arc<SoftKey>,
) -> Option<String> {
    let mut config = (*client_config(key(1).public_key(), None).unwrap()).clone();
    let shown = CertifiedKey::new(chain, tls_key(signer));
    config.client_auth_cert_resolver = Arc::new(Shows(Arc::new(shown)));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    stream.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\n\r\n").await.ok()?;
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer).await.ok()?;
    answer.truncate(length);
    String::from_utf8(answer).ok()
}
