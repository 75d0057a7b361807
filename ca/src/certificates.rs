//! The organization's X.509: root, issuing CA, and what is under them (RFC 5280), with the keys in the HSM.
//!
//! Nothing of ours trusts a certificate: services and cards are known by keys that people signed. Certificates are for
//! other software. They carry ids, and no names.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
    date_time_ymd,
};
use tokio::sync::Mutex;
use warifu_api::wire::authority::{Certificate, CertificateKind};
use warifu_hardware::hsm::SigningKey;
use warifu_hardware::signer::CertKey;
use warifu_ledger::key::Bytes;
use warifu_ledger::state::{CardStatus, State};
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};
use warifu_split_key::point::Point;

use crate::keys::Keys;
use crate::vault::{Vault, VaultError, blocking};

/// The id of what is there once: the authority itself, the kms.
pub const NONE: Id = Id([0; 16]);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Other software's clocks may be behind.
const BEFORE: Duration = Duration::from_secs(60 * 60);
const ROOT_DAYS: u32 = 30 * 365;
const ISSUING_DAYS: u32 = 20 * 365;
const LEAF_DAYS: u32 = 5 * 365;

/// The last instant at which certificates are issued: 1 January 9900. X.509 ends with the year 9999, and time comes from a
/// kms that may lie.
const LATEST: Millis = 250_246_627_200_000;

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// `rcgen` or the HSM under it made none.
    #[error("no certificate could be made")]
    NotMade(#[from] rcgen::Error),
    /// A stored chain is not one of this program's.
    #[error("the stored chain of the authority is not whole")]
    NoAuthority,
    /// The time is one that no certificate can name.
    #[error("no certificate can be issued at {time}")]
    Time {
        /// The time, as the kms stamped it.
        time: Millis,
    },
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    Random(#[from] getrandom::Error),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Makes certificates for what is in the ca's own fold, and keeps them: the same subject gets the same one. Cheap to clone.
#[derive(Clone)]
pub struct Certifier {
    keys: Arc<Keys>,
    vault: Vault,
    /// `host:port` of the kms.
    kms_address: Arc<str>,
    /// Root and issuing CA are made once.
    authority: Arc<Mutex<()>>,
}

impl Certifier {
    /// A certifier for the organization whose kms is at `kms_address`.
    #[must_use]
    pub fn new(keys: Arc<Keys>, vault: Vault, kms_address: &str) -> Self {
        Self { keys, vault, kms_address: kms_address.into(), authority: Arc::default() }
    }

    /// The certificate of this kind for this subject, issued at `time` if there is none yet. None if the fold knows no such
    /// subject, or it is over.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub async fn certificate(
        &self,
        state: &State,
        time: Millis,
        kind: CertificateKind,
        id: Id,
    ) -> Result<Option<Certificate>, CertificateError> {
        if let Some(chain) = self.vault.certificate(kind, id).await? {
            return Ok(Some(Certificate { kind, id, chain }));
        }
        let organization = state.organization();
        let authority = self.authority(organization, time).await?;
        let chain = if kind == CertificateKind::Authority {
            authority
        } else {
            let Some(subject) = self.subject(state, kind, id) else { return Ok(None) };
            let issuing = self.keys.issuing.clone();
            let chain = blocking(move || issue(&issuing, &authority, &subject, time)).await?;
            self.vault.keep_certificate(kind, id, &chain).await?
        };
        Ok(Some(Certificate { kind, id, chain }))
    }

    /// The issuing CA's certificate and the root's.
    async fn authority(&self, organization: Digest, time: Millis) -> Result<Vec<Bytes>, CertificateError> {
        let _once = self.authority.lock().await;
        if let Some(chain) = self.vault.certificate(CertificateKind::Authority, NONE).await? {
            return Ok(chain);
        }
        let keys = self.keys.clone();
        let chain = blocking(move || make_authority(&keys, organization, time)).await?;
        Ok(self.vault.keep_certificate(CertificateKind::Authority, NONE, &chain).await?)
    }

    fn subject(&self, state: &State, kind: CertificateKind, id: Id) -> Option<Subject> {
        use CertificateKind as K;
        let uri = |what: &str, id: Id| format!("urn:warifu:{}:{what}:{id}", state.organization());
        let subject = match kind {
            K::Authority => return None,
            K::Service if id == NONE => Subject {
                name: format!("kms {}", state.organization()),
                key: state.founding().kms.tls.0,
                uris: vec![format!("urn:warifu:{}:kms", state.organization())],
                host: host(&self.kms_address),
                usages: vec![KeyUsagePurpose::DigitalSignature],
                extended: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            },
            K::Service => {
                let site = state.site(&id).filter(|site| !site.removed)?;
                Subject {
                    name: format!("site {id}"),
                    key: site.keys.tls.0,
                    uris: vec![uri("site", id)],
                    host: host(&site.address),
                    usages: vec![KeyUsagePurpose::DigitalSignature],
                    extended: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
                }
            }
            K::CardAuthentication | K::CardSignature => {
                let card = state.card(&id).filter(|card| card.status != CardStatus::Revoked)?;
                let authentication = kind == K::CardAuthentication;
                let mut usages = vec![KeyUsagePurpose::DigitalSignature];
                if !authentication {
                    usages.push(KeyUsagePurpose::ContentCommitment);
                }
                let key = if authentication { card.card.authentication } else { card.card.signature };
                Subject {
                    name: format!("card {id}"),
                    key: key.0,
                    uris: vec![uri("card", id)],
                    host: None,
                    usages,
                    extended: if authentication { vec![ExtendedKeyUsagePurpose::ClientAuth] } else { vec![] },
                }
            }
            K::CardShare => {
                let grant = state.grant(&id).filter(|grant| !grant.revoked)?;
                Subject {
                    name: format!("grant {id}"),
                    key: grant.issued.as_ref()?.card_point,
                    uris: vec![uri("grant", id), uri("unit", grant.unit)],
                    host: None,
                    usages: vec![KeyUsagePurpose::KeyAgreement],
                    extended: vec![],
                }
            }
            K::Unit => Subject {
                name: format!("unit {id}"),
                key: state.unit(&id)?.key?.0,
                uris: vec![uri("unit", id)],
                host: None,
                usages: vec![KeyUsagePurpose::KeyAgreement],
                extended: vec![],
            },
        };
        Some(subject)
    }
}

/// What goes into an end entity's certificate.
struct Subject {
    /// Common name: ids only.
    name: String,
    key: Point,
    uris: Vec<String>,
    host: Option<Host>,
    usages: Vec<KeyUsagePurpose>,
    extended: Vec<ExtendedKeyUsagePurpose>,
}

enum Host {
    Ip(IpAddr),
    Name(String),
}

/// The host of `host:port`, if it can be one of a certificate.
fn host(address: &str) -> Option<Host> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    match host.parse() {
        Ok(ip) => Some(Host::Ip(ip)),
        Err(_) if !host.is_empty() && host.is_ascii() => Some(Host::Name(host.to_owned())),
        Err(_) => None,
    }
}

/// A public key whose private half is somewhere else, or nowhere.
struct ForeignKey([u8; 65]);

impl PublicKeyData for ForeignKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn params(name: String, time: Millis, days: u32) -> Result<CertificateParams, CertificateError> {
    if time > LATEST {
        return Err(CertificateError::Time { time });
    }
    let mut serial = [0; 16];
    getrandom::fill(&mut serial)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(time);
    let mut params = CertificateParams::default();
    params.not_before = now - BEFORE;
    params.not_after = now + DAY * days;
    // 128 random bits, written as a positive INTEGER; rcgen puts a zero before a leading one bit.
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = subject;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn ca_params(
    name: String,
    time: Millis,
    days: u32,
    path_length: u8,
) -> Result<CertificateParams, CertificateError> {
    let mut params = params(name, time, days)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn make_authority(keys: &Keys, organization: Digest, time: Millis) -> Result<Vec<Bytes>, CertificateError> {
    let root_key = CertKey::new(Arc::new(keys.root.clone()));
    // A common name holds 64 characters; the digest alone fills it.
    let name = |what: &str| format!("Warifu {what} {}", organization.to_string().split_at(32).0);
    let root_params = ca_params(name("root"), time, ROOT_DAYS, 1)?;
    let root = root_params.self_signed(&root_key)?;
    let root_issuer = Issuer::from_params(&root_params, &root_key);
    let issuing_key = ForeignKey(keys.issuing.public_key().to_uncompressed());
    let issuing =
        ca_params(name("issuing CA"), time, ISSUING_DAYS, 0)?.signed_by(&issuing_key, &root_issuer)?;
    Ok(vec![Bytes(issuing.der().to_vec()), Bytes(root.der().to_vec())])
}

fn issue(
    issuing: &SigningKey,
    authority: &[Bytes],
    subject: &Subject,
    time: Millis,
) -> Result<Vec<Bytes>, CertificateError> {
    let certificate = authority.first().ok_or(CertificateError::NoAuthority)?;
    let certificate = certificate.0.as_slice().into();
    let issuer = Issuer::from_ca_cert_der(&certificate, CertKey::new(Arc::new(issuing.clone())))?;
    let mut params = params(subject.name.clone(), time, LEAF_DAYS)?;
    for uri in &subject.uris {
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri.as_str())?));
    }
    match &subject.host {
        Some(Host::Ip(ip)) => params.subject_alt_names.push(SanType::IpAddress(*ip)),
        Some(Host::Name(name)) => {
            params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(name.as_str())?));
        }
        None => {}
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages.clone_from(&subject.usages);
    params.extended_key_usages.clone_from(&subject.extended);
    let end_entity = params.signed_by(&ForeignKey(subject.key.to_uncompressed()), &issuer)?;
    let mut chain = vec![Bytes(end_entity.der().to_vec())];
    chain.extend_from_slice(authority);
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_an_absurd_time_is_an_error() {
        params("last".to_owned(), LATEST, ROOT_DAYS).unwrap();
        for time in [LATEST + 1, u64::MAX] {
            let refused = params("later".to_owned(), time, LEAF_DAYS);
            assert!(matches!(refused, Err(CertificateError::Time { .. })));
        }
    }
}
