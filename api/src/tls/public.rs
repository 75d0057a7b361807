//! TLS 1.3 of a listener that anybody comes to, browsers among them: the server alone shows a certificate, and beside
//! X25519MLKEM768 there is X25519. What is served there proves itself by its signatures; our own programs, which go by those,
//! take any certificate.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{
    default_provider,
    kx_group::{X25519, X25519MLKEM768},
};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WantsServerCert};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, PeerIncompatible, ServerConfig,
    SignatureScheme, version::TLS13,
};

use super::{HTTP_1_1, Identity, TlsError};

/// The server's side, with the key that it has elsewhere.
///
/// # Errors
/// [`TlsError::Config`].
pub fn server_config_for_anybody(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    Ok(finished(offering()?.with_cert_resolver(Arc::new(identity.clone()))))
}

/// The server's side, with a certificate that browsers know, end entity first, and its private key.
///
/// # Errors
/// [`TlsError::Config`] if the key is not that of the certificate, or of a kind that is not known.
pub fn server_config_of_certificate(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    Ok(finished(offering()?.with_single_cert(chain, key)?))
}

/// The client's side, of what proves itself and for nothing else: whoever answers, with any certificate.
///
/// # Errors
/// [`TlsError::Config`].
pub fn client_config_of_anybody() -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let verifier = Anybody { algorithms: provider.signature_verification_algorithms };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups: vec![X25519MLKEM768, X25519], ..default_provider() })
}

fn offering() -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider());
    Ok(builder.with_protocol_versions(&[&TLS13])?.with_no_client_auth())
}

/// No tickets and no early data, as everywhere; one request at a time on a connection.
fn finished(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Arc::new(config)
}

#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
