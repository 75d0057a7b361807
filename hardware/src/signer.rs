//! Certificates and TLS with a P-256 key that stays in a card or an HSM.
//!
//! Whatever signs a SHA-256 digest is a [`DigestSigner`]; [`CertKey`] lets `rcgen` sign with it, [`tls_key`] lets
//! `rustls` authenticate with it.

use std::fmt;
use std::sync::Arc;

use p256::ecdsa::Signature;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, alg_id};
use rustls::sign::{CertifiedKey, Signer, public_key_to_spki};
use rustls::{SignatureAlgorithm as TlsAlgorithm, SignatureScheme};
use sha2::{Digest, Sha256};
use warifu_split_key::point::Point;

/// A P-256 private key that signs digests and cannot be had.
pub trait DigestSigner: Send + Sync {
    /// The public key.
    fn public_key(&self) -> Point;

    /// ECDSA over a SHA-256 digest: `r ‖ s`, 32 bytes each, big-endian.
    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError>;
}

/// Why a [`DigestSigner`] gave no signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// The card or HSM failed.
    #[error("the device that holds the key gave no signature")]
    Device {
        /// Its own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What the device gave is no pair of scalars in `1..n`.
    #[error("the device's answer is no P-256 signature")]
    SignatureMalformed,
}

impl SignerError {
    /// Wraps a device's error.
    pub fn device(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Device { source: Box::new(source) }
    }
}

/// Signs a message's SHA-256 digest and gives the signature in DER (`Ecdsa-Sig-Value`, RFC 3279, section 2.2.3).
pub fn sign_der(signer: &dyn DigestSigner, message: &[u8]) -> Result<Vec<u8>, SignerError> {
    let signature = signer.sign_digest(Sha256::digest(message).into())?;
    let signature = Signature::from_slice(&signature).map_err(|_| SignerError::SignatureMalformed)?;
    Ok(signature.to_der().as_bytes().to_vec())
}

/// A device's key for `rcgen`: subject and issuer of certificates, signer of CRLs and requests.
#[derive(Clone)]
pub struct CertKey {
    signer: Arc<dyn DigestSigner>,
    sec1: [u8; 65],
}

impl CertKey {
    /// Reads the public key once.
    pub fn new(signer: Arc<dyn DigestSigner>) -> Self {
        let sec1 = signer.public_key().to_uncompressed();
        Self { signer, sec1 }
    }
}

impl PublicKeyData for CertKey {
    /// The uncompressed SEC1 point, 65 bytes.
    fn der_bytes(&self) -> &[u8] {
        &self.sec1
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for CertKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        sign_der(&*self.signer, message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// A device's key for `rustls`, with `ecdsa_secp256r1_sha256` (RFC 8446, section 4.2.3) and nothing else.
///
/// The device signs in the handshake, on the thread that drives it.
pub fn tls_key(signer: Arc<dyn DigestSigner>) -> Arc<dyn rustls::sign::SigningKey> {
    Arc::new(TlsKey { signer })
}

/// A certificate chain, end entity first, with the device's key.
///
/// # Errors
///
/// `rustls` says so where the certificate is for another key, or there is none.
pub fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    signer: Arc<dyn DigestSigner>,
) -> Result<CertifiedKey, rustls::Error> {
    let certified = CertifiedKey::new(chain, tls_key(signer));
    certified.keys_match()?;
    Ok(certified)
}

#[derive(Clone)]
struct TlsKey {
    signer: Arc<dyn DigestSigner>,
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsKey").field(&self.signer.public_key()).finish()
    }
}

impl rustls::sign::SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(public_key_to_spki(&alg_id::ECDSA_P256, self.signer.public_key().to_uncompressed()))
    }

    fn algorithm(&self) -> TlsAlgorithm {
        TlsAlgorithm::ECDSA
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        sign_der(&*self.signer, message)
            .map_err(|error| rustls::Error::Other(rustls::OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
