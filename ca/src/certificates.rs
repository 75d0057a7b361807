//! The organization's X.509: root, issuing CA, and what is under them (RFC 5280), with the keys in the HSM.
//!
//! Nothing of ours trusts a certificate: services and cards are known by keys that people signed. Certificates are for
//! other software. They carry ids, and no names.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType,
    IsCa, Issuer, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
    date_time_ymd,
};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use warifu_api::tls::key_of_der;
use warifu_api::wire::authority::{Certificate, CertificateKind, CrlIssuer};
use warifu_hardware::hsm::SigningKey;
use warifu_hardware::signer::CertKey;
use warifu_ledger::key::Bytes;
use warifu_ledger::state::{CardStatus, State};
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};
use warifu_split_key::point::Point;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag};

use crate::config::Publishing;
use crate::keys::Keys;
use crate::profiles::{self, Profile};
use crate::revocation;
use crate::vault::{Issued, Vault, VaultError, blocking};

/// The id of what is there once: the authority itself, the kms.
pub const NONE: Id = Id([0; 16]);

const DAY_MS: Millis = 24 * 60 * 60 * 1000;
/// Other software's clocks may be behind.
const BEFORE_MS: Millis = 60 * 60 * 1000;
/// A certificate is renewed when it is good for less than this.
pub const RENEWED_BEFORE_MS: Millis = 30 * DAY_MS;
/// Authority Information Access, and in it the issuer's certificate (RFC 5280, section 4.2.2.1).
const AUTHORITY_INFORMATION_ACCESS: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 1];
const CA_ISSUERS: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 48, 2];

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

/// Makes certificates for what is in the ca's own fold, and keeps them: the same subject gets the same one until it has to be
/// renewed. Cheap to clone.
#[derive(Clone)]
pub struct Certifier {
    keys: Arc<Keys>,
    vault: Vault,
    /// `host:port` of the kms.
    kms_address: Arc<str>,
    publishing: Arc<Publishing>,
    /// Root and issuing CA are made once.
    authority: Arc<Mutex<()>>,
}

impl Certifier {
    /// A certifier for the organization whose kms is at `kms_address`.
    #[must_use]
    pub fn new(keys: Arc<Keys>, vault: Vault, kms_address: &str, publishing: Publishing) -> Self {
        Self {
            keys,
            vault,
            kms_address: kms_address.into(),
            publishing: Arc::new(publishing),
            authority: Arc::default(),
        }
    }

    /// Where and for how long CRLs are published.
    #[must_use]
    pub fn publishing(&self) -> &Publishing {
        &self.publishing
    }

    /// The certificate of this kind for this subject, issued at `time` if there is none yet, or the last one ends soon. None
    /// if the fold knows no such subject, or it is over.
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
        if kind == CertificateKind::Authority {
            let chain = self.authority(state.organization(), time).await?.chain;
            return Ok(Some(Certificate { kind, id, chain }));
        }
        let newest = self.vault.certificate(kind, id).await?;
        // Of the kms that has got other keys, the certificate over the lost one is worth nothing.
        let subject = self.subject(state, kind, id);
        let of_this_key = |newest: &Issued| {
            let key = newest.chain.first().and_then(|der| key_of_der(&der.0));
            subject.as_ref().is_none_or(|subject| key == Some(subject.key))
        };
        let generation = match newest {
            Some(newest)
                if newest.not_after > time.saturating_add(RENEWED_BEFORE_MS) && of_this_key(&newest) =>
            {
                return Ok(Some(Certificate { kind, id, chain: newest.chain }));
            }
            Some(newest) => newest.generation.saturating_add(1),
            None => 0,
        };
        if revocation::cause(state, time, kind, &id).is_some_and(revocation::Cause::is_final) {
            return Ok(None);
        }
        let Some(subject) = subject else { return Ok(None) };
        let authority = self.authority(state.organization(), time).await?;
        let (issuing, urls) = (self.keys.issuing.clone(), self.publishing.clone());
        let issued = blocking(move || issue(&issuing, &authority, &subject, generation, time, &urls)).await?;
        let kept = self.vault.keep_certificate(issued).await?;
        Ok(Some(Certificate { kind, id, chain: kept.chain }))
    }

    /// The issuing CA's certificate and the root's.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub async fn authority(&self, organization: Digest, time: Millis) -> Result<Issued, CertificateError> {
        let _once = self.authority.lock().await;
        if let Some(authority) = self.vault.certificate(CertificateKind::Authority, NONE).await? {
            return Ok(authority);
        }
        let (keys, urls) = (self.keys.clone(), self.publishing.clone());
        let authority = blocking(move || make_authority(&keys, organization, time, &urls)).await?;
        Ok(self.vault.keep_certificate(authority).await?)
    }

    fn subject(&self, state: &State, kind: CertificateKind, id: Id) -> Option<Subject> {
        use CertificateKind as K;
        let uri = |what: &str, id: Id| format!("urn:warifu:{}:{what}:{id}", state.organization());
        let subject = match kind {
            K::Authority => return None,
            K::Service if id == NONE => Subject {
                // A common name holds 64 characters; the organization's whole name would fill them.
                kind,
                id,
                name: format!("kms {}", beginning(state.organization())),
                key: state.kms().tls.0,
                uris: vec![format!("urn:warifu:{}:kms", state.organization())],
                host: host(&self.kms_address),
            },
            K::Service => {
                let site = state.site(&id).filter(|site| !site.removed)?;
                Subject {
                    kind,
                    id,
                    name: format!("site {id}"),
                    key: site.keys.tls.0,
                    uris: vec![uri("site", id)],
                    host: host(&site.address),
                }
            }
            K::CardAuthentication | K::CardSignature => {
                let card = state.card(&id).filter(|card| card.status != CardStatus::Revoked)?;
                let authentication = kind == K::CardAuthentication;
                let key = if authentication { card.card.authentication } else { card.card.signature };
                Subject {
                    kind,
                    id,
                    name: format!("card {id}"),
                    key: key.0,
                    uris: vec![uri("card", id)],
                    host: None,
                }
            }
            K::CardShare => {
                let grant = state.grant(&id).filter(|grant| !grant.revoked)?;
                Subject {
                    kind,
                    id,
                    name: format!("grant {id}"),
                    key: grant.issued.as_ref()?.card_point,
                    uris: vec![uri("grant", id), uri("unit", grant.unit)],
                    host: None,
                }
            }
            K::Unit => Subject {
                kind,
                id,
                name: format!("unit {id}"),
                key: state.unit(&id)?.key?.0,
                uris: vec![uri("unit", id)],
                host: None,
            },
        };
        Some(subject)
    }
}

/// What goes into an end entity's certificate.
struct Subject {
    kind: CertificateKind,
    id: Id,
    /// Common name: ids only.
    name: String,
    key: Point,
    uris: Vec<String>,
    host: Option<Host>,
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

/// An instant as certificates and CRLs say it.
///
/// # Errors
/// [`CertificateError::Time`] for one that none of them should name.
pub(crate) fn instant(time: Millis) -> Result<OffsetDateTime, CertificateError> {
    if time > LATEST {
        return Err(CertificateError::Time { time });
    }
    // Whole seconds: X.509 knows no fractions, and what is read again has to be the same.
    Ok(date_time_ymd(1970, 1, 1) + Duration::from_secs(time / 1000))
}

/// Half of the organization's name: enough to tell it by.
fn beginning(organization: Digest) -> String {
    organization.to_string().chars().take(32).collect()
}

/// A random serial number of 128 bits.
fn draw_serial() -> Result<[u8; 16], CertificateError> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial)?;
    Ok(serial)
}

fn params(
    profile: &Profile,
    name: String,
    serial: [u8; 16],
    time: Millis,
    not_after: Millis,
) -> Result<CertificateParams, CertificateError> {
    instant(time)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.not_before = instant(time.saturating_sub(BEFORE_MS))?;
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(not_after / 1000);
    // Written as a positive INTEGER; rcgen puts a zero before a leading one bit.
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = subject;
    params.use_authority_key_identifier_extension = true;
    params.is_ca = match profile.path_length {
        Some(length) => IsCa::Ca(BasicConstraints::Constrained(length)),
        None => IsCa::ExplicitNoCa,
    };
    params.key_usages = profile.usages.to_vec();
    params.extended_key_usages = profile.extended.to_vec();
    Ok(params)
}

/// Says where the issuer's CRL and certificate are.
fn publish(params: &mut CertificateParams, issuer: CrlIssuer, urls: &Publishing) {
    params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![urls.crl_url(issuer)] }];
    let url = urls.certificate_url(issuer);
    let access = yasna::construct_der(|writer: DERWriter<'_>| {
        writer.write_sequence(|writer| {
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&ObjectIdentifier::from_slice(&CA_ISSUERS));
                writer.next().write_tagged_implicit(Tag::context(6), |writer| writer.write_ia5_string(&url));
            });
        });
    });
    params.custom_extensions.push(CustomExtension::from_oid_content(&AUTHORITY_INFORMATION_ACCESS, access));
}

fn ends_at(profile: &Profile, time: Millis) -> Millis {
    time.saturating_add(DAY_MS * Millis::from(profile.days))
}

fn make_authority(
    keys: &Keys,
    organization: Digest,
    time: Millis,
    urls: &Publishing,
) -> Result<Issued, CertificateError> {
    let root_key = CertKey::new(Arc::new(keys.root.clone()));
    let name = |what: &str| format!("Warifu {what} {}", beginning(organization));
    let root_params =
        params(&profiles::ROOT, name("root"), draw_serial()?, time, ends_at(&profiles::ROOT, time))?;
    let root = root_params.self_signed(&root_key)?;
    let root_issuer = Issuer::from_params(&root_params, &root_key);
    let issuing_key = ForeignKey(keys.issuing.public_key().to_uncompressed());
    let (serial, not_after) = (draw_serial()?, ends_at(&profiles::ISSUING, time));
    let mut issuing = params(&profiles::ISSUING, name("issuing CA"), serial, time, not_after)?;
    publish(&mut issuing, CrlIssuer::Root, urls);
    let issuing = issuing.signed_by(&issuing_key, &root_issuer)?;
    let chain = vec![Bytes(issuing.der().to_vec()), Bytes(root.der().to_vec())];
    Ok(Issued { kind: CertificateKind::Authority, id: NONE, generation: 0, serial, not_after, chain })
}

fn issue(
    issuing: &SigningKey,
    authority: &Issued,
    subject: &Subject,
    generation: u32,
    time: Millis,
    urls: &Publishing,
) -> Result<Issued, CertificateError> {
    let profile = profiles::of(subject.kind);
    let certificate = authority.chain.first().ok_or(CertificateError::NoAuthority)?;
    let certificate = certificate.0.as_slice().into();
    let issuer = Issuer::from_ca_cert_der(&certificate, CertKey::new(Arc::new(issuing.clone())))?;
    // Nothing outlives what it hangs from.
    let (serial, not_after) = (draw_serial()?, ends_at(profile, time).min(authority.not_after));
    let mut params = params(profile, subject.name.clone(), serial, time, not_after)?;
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
    publish(&mut params, CrlIssuer::Issuing, urls);
    let end_entity = params.signed_by(&ForeignKey(subject.key.to_uncompressed()), &issuer)?;
    let mut chain = vec![Bytes(end_entity.der().to_vec())];
    chain.extend_from_slice(&authority.chain);
    Ok(Issued { kind: subject.kind, id: subject.id, generation, serial, not_after, chain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_an_absurd_time_is_an_error() {
        let made =
            |time| params(&profiles::ROOT, "root".to_owned(), [1; 16], time, ends_at(&profiles::ROOT, time));
        made(LATEST).unwrap();
        for time in [LATEST + 1, u64::MAX] {
            assert!(matches!(made(time), Err(CertificateError::Time { .. })));
        }
    }
}
