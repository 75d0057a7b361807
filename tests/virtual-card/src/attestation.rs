//! Attestation as a YubiKey makes it: test root → the card's attestation certificate → a certificate for the key.
//!
//! See <https://developers.yubico.com/PIV/Introduction/PIV_attestation.html> for the extensions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use p256::pkcs8::{Document, EncodePrivateKey, EncodePublicKey};
use p256::{PublicKey, SecretKey};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, SubjectPublicKeyInfo, date_time_ymd,
};

use crate::state::{create_private, write_public};

const YUBICO: [u64; 7] = [1, 3, 6, 1, 4, 1, 41482];
const FIRMWARE: u64 = 3;
const SERIAL: u64 = 7;
const POLICY: u64 = 8;
const FORM_FACTOR: u64 = 9;
const USB_A_KEYCHAIN: u8 = 1;

const KEY_FILE: &str = "attestation-root.key.pem";
const CERTIFICATE_FILE: &str = "attestation-root.pem";

/// Why a certificate could not be made, or the test root not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// A file of the test root could not be read or written.
    #[error("the test root in {path} cannot be read or written")]
    File {
        /// Its folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error("no certificate could be made")]
    Certificate(#[from] rcgen::Error),
    /// A key could not be encoded or decoded.
    #[error("a key is malformed")]
    Key,
}

/// A certification authority for test cards, standing in for Yubico's. **No program of ours may trust it by default.**
pub struct TestRoot {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    certificate: PathBuf,
}

impl TestRoot {
    /// Opens the root in `folder`, making it first where there is none, so that several cards can share it. The key
    /// is in `attestation-root.key.pem`, the certificate also in `attestation-root.pem`.
    pub fn open(folder: &Path) -> Result<Self, AttestationError> {
        let file_error = |source| AttestationError::File { path: folder.to_path_buf(), source };
        let path = folder.join(KEY_FILE);
        if !path.exists() {
            let made = create_private(&path, new_root()?.as_bytes());
            // Somebody else's root, made at the same time, is as good.
            made.or_else(|error| if path.exists() { Ok(()) } else { Err(error) }).map_err(file_error)?;
        }
        let both = fs::read_to_string(&path).map_err(file_error)?;
        let begin = both.find("-----BEGIN CERTIFICATE").ok_or(AttestationError::Key)?;
        let (key, certificate) = both.split_at_checked(begin).ok_or(AttestationError::Key)?;
        let public = folder.join(CERTIFICATE_FILE);
        if !public.exists() {
            write_public(&public, certificate.as_bytes()).map_err(file_error)?;
        }
        let (_, der) = Document::from_pem(certificate).map_err(|_| AttestationError::Key)?;
        let der = der.into_vec();
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        Ok(Self { issuer, der, certificate: public })
    }

    /// The root certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The file with the root certificate, PEM.
    pub fn certificate_path(&self) -> &Path {
        &self.certificate
    }

    /// The certificate of a card's attestation key, DER.
    pub(crate) fn certify(&self, secret: &SecretKey) -> Result<Vec<u8>, AttestationError> {
        let mut parameters = parameters("Warifu Test PIV Attestation")?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(parameters.signed_by(&spki(&secret.public_key())?, &self.issuer)?.der().to_vec())
    }
}

fn new_root() -> Result<String, AttestationError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut parameters = parameters("Warifu TEST PIV Attestation Root (not Yubico)")?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = parameters.self_signed(&key)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

/// What an attestation says.
pub(crate) struct Statement {
    pub(crate) slot: u8,
    pub(crate) serial: u32,
    pub(crate) firmware: [u8; 3],
    pub(crate) pin_policy: u8,
    pub(crate) touch_policy: u8,
    pub(crate) public: PublicKey,
}

impl Statement {
    /// The attestation certificate, DER, signed by a card's attestation key.
    pub(crate) fn signed(
        &self,
        secret: &SecretKey,
        issuer_certificate: &[u8],
    ) -> Result<Vec<u8>, AttestationError> {
        let pkcs8 = secret.to_pkcs8_der().map_err(|_| AttestationError::Key)?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.as_bytes().into(), &PKCS_ECDSA_P256_SHA256)?;
        let issuer = Issuer::from_ca_cert_der(&issuer_certificate.into(), key)?;

        let mut parameters = parameters(&format!("YubiKey PIV Attestation {:02x}", self.slot))?;
        parameters.custom_extensions = vec![
            extension(FIRMWARE, self.firmware.to_vec()),
            extension(SERIAL, integer(self.serial)),
            extension(POLICY, vec![self.pin_policy, self.touch_policy]),
            extension(FORM_FACTOR, vec![USB_A_KEYCHAIN]),
        ];
        Ok(parameters.signed_by(&spki(&self.public)?, &issuer)?.der().to_vec())
    }
}

fn parameters(common_name: &str) -> Result<CertificateParams, AttestationError> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|_| AttestationError::Key)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    let mut parameters = CertificateParams::default();
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    // The dates of Yubico's own: a card has no clock.
    parameters.not_before = date_time_ymd(2016, 3, 14);
    parameters.not_after = date_time_ymd(2052, 4, 17);
    Ok(parameters)
}

fn spki(public: &PublicKey) -> Result<SubjectPublicKeyInfo, AttestationError> {
    let der = public.to_public_key_der().map_err(|_| AttestationError::Key)?;
    Ok(SubjectPublicKeyInfo::from_der(der.as_bytes())?)
}

fn extension(last: u64, value: Vec<u8>) -> CustomExtension {
    let mut oid = YUBICO.to_vec();
    oid.extend([3, last]);
    CustomExtension::from_oid_content(&oid, value)
}

/// DER INTEGER of a non-negative number.
fn integer(value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let mut content: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    if content.first().is_none_or(|first| first & 0x80 != 0) {
        content.insert(0, 0);
    }
    crate::tlv::one(&[0x02], &content)
}
