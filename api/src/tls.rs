//! Mutual TLS 1.3 with X25519MLKEM768 and nothing else, between keys that each side knows beforehand.
//!
//! A peer is its public key: services know each other from the ledger, sites know cards from the officer-signed
//! `card.enrolled`. Certificates carry the key through the handshake; what they say besides, dates included, is for
//! software that does not read the ledger. A server accepts any P-256 client key and hands it on as [`PeerKey`]: what it
//! may do is decided per request, from the fold. No resumption, no early data.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group::X25519MLKEM768};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, alg_id};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, public_key_to_spki};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, DistinguishedName, Error,
    PeerMisbehaved, ServerConfig, SignatureScheme, version::TLS13,
};
use warifu_hardware::signer::{CertKey, DigestSigner, certified_key};
use warifu_ledger::{Digest, Id};
use warifu_split_key::point::Point;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::{FromDer as _, X509Certificate};

pub mod public;

/// HTTP/2 in ALPN (RFC 9113, section 3.2).
pub const HTTP_2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN (RFC 7301, section 6).
pub const HTTP_1_1: &[u8] = b"http/1.1";

/// The public key that the other end of a connection has proved to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerKey(pub Point);

/// The key that a server has to hold. Clones are the same pin: a client that was made with one goes by what it is *now*, at each
/// handshake.
#[derive(Debug, Clone)]
pub struct Pin(Arc<RwLock<Point>>);

impl From<Point> for Pin {
    fn from(key: Point) -> Self {
        Self(Arc::new(RwLock::new(key)))
    }
}

impl Pin {
    /// The key now.
    #[must_use]
    pub fn key(&self) -> Point {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another key, from the next handshake on.
    pub fn set(&self, key: Point) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

/// Why TLS could not be set up. Nothing here comes from a peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// `rcgen` made no certificate.
    #[error("no certificate could be made for the TLS key")]
    Certificate(#[from] rcgen::Error),
    /// `rustls` refused the configuration.
    #[error("TLS could not be configured")]
    Config(#[from] Error),
}

/// A key in a card or an HSM, with the certificate chain that shows it. The chain can be replaced while in use.
#[derive(Clone)]
pub struct Identity {
    signer: Arc<dyn DigestSigner>,
    current: Arc<RwLock<Arc<CertifiedKey>>>,
}

impl Identity {
    /// An identity with a certificate that the key signs for itself.
    ///
    /// # Errors
    /// [`TlsError`] if the device does not sign.
    pub fn self_signed(signer: Arc<dyn DigestSigner>, name: &str) -> Result<Self, TlsError> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&CertKey::new(signer.clone()))?;
        Self::with_chain(signer, vec![certificate.der().clone()])
    }

    /// An identity with a chain that somebody else issued, end entity first.
    ///
    /// # Errors
    /// [`TlsError::Config`] if the chain is for another key.
    pub fn with_chain(
        signer: Arc<dyn DigestSigner>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<Self, TlsError> {
        let current = certified_key(chain, signer.clone())?;
        Ok(Self { signer, current: Arc::new(RwLock::new(Arc::new(current))) })
    }

    /// Shows another chain from the next handshake on.
    ///
    /// # Errors
    /// [`TlsError::Config`] if the chain is for another key; the old one stays.
    pub fn replace_chain(&self, chain: Vec<CertificateDer<'static>>) -> Result<(), TlsError> {
        let next = Arc::new(certified_key(chain, self.signer.clone())?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> Point {
        self.signer.public_key()
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.public_key()).finish()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }
}

impl rustls::client::ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(|| self.certified())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The server's side: clients may come with a key or without.
///
/// # Errors
/// [`TlsError::Config`].
pub fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let verifier = Arc::new(AnyP256Client { algorithms: provider.signature_verification_algorithms });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(identity.clone()));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// The client's side: the server must hold the key `server`; `identity` is shown to it, if there is one.
///
/// # Errors
/// [`TlsError::Config`].
pub fn client_config(
    server: impl Into<Pin>,
    identity: Option<&Identity>,
) -> Result<Arc<ClientConfig>, TlsError> {
    configured(Some(server.into()), identity)
}

/// The client's side, of whoever answers: for what proves itself, and for nothing else.
///
/// # Errors
/// [`TlsError::Config`].
pub fn config_for_anybody(identity: Option<&Identity>) -> Result<Arc<ClientConfig>, TlsError> {
    configured(None, identity)
}

fn configured(server: Option<Pin>, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = verifying(server)?;
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(identity.clone())),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

fn verifying(server: Option<Pin>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let provider = provider();
    let verifier = Server { pin: server, algorithms: provider.signature_verification_algorithms };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups: vec![X25519MLKEM768], ..default_provider() })
}

/// The P-256 key in a certificate.
///
/// # Errors
/// [`CertificateError::BadEncoding`] if it is no certificate over a P-256 key.
pub fn key_of_certificate(certificate: &CertificateDer<'_>) -> Result<Point, CertificateError> {
    let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let key = parsed.public_key();
    let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
    // The same bytes may be a point of another curve, or no point at all.
    let is_p256 = key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256);
    if !rest.is_empty() || !is_p256 || key.subject_public_key.unused_bits != 0 {
        return Err(CertificateError::BadEncoding);
    }
    Point::from_sec1(&key.subject_public_key.data).map_err(|_| CertificateError::BadEncoding)
}

/// The P-256 key in a certificate in DER; none if it is no certificate over one.
#[must_use]
pub fn key_of_der(certificate: &[u8]) -> Option<Point> {
    key_of_certificate(&CertificateDer::from(certificate)).ok()
}

/// The organization and card that a card's 9A certificate names: `urn:warifu:<organization>:card:<id>` among its
/// alternative names. It is a hint for people; sites go by the key alone (P-7.1).
pub fn card_of_certificate(certificate: &CertificateDer<'_>) -> Option<(Digest, Id)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| {
        let GeneralName::URI(uri) = name else { return None };
        let (organization, card) = uri.strip_prefix("urn:warifu:")?.split_once(":card:")?;
        Some((organization.parse().ok()?, card.parse().ok()?))
    })
}

/// Checks a handshake's signature under the very key that [`key_of_certificate`] gives. The certificate is not read a second
/// time by other code: two parsers that disagree on one certificate would let its bearer pass for somebody else.
fn check_possession(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    // The peer was offered nothing else, but the provider would check others, too.
    if signed.scheme != SignatureScheme::ECDSA_NISTP256_SHA256 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let key = key_of_certificate(certificate)?.to_uncompressed();
    let spki = public_key_to_spki(&alg_id::ECDSA_P256, key);
    verify_tls13_signature_with_raw_key(message, &spki, signed, algorithms)
}

#[derive(Debug)]
struct AnyP256Client {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyP256Client {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        key_of_certificate(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_possession(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[derive(Debug)]
struct Server {
    /// None for whoever answers.
    pin: Option<Pin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Server {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = key_of_certificate(end_entity)?;
        if self.pin.as_ref().is_none_or(|pin| pin.key() == key) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_possession(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
