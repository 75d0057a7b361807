//! Keys of people and services, in software, by label.

use std::collections::BTreeSet;
use std::sync::Arc;

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use warifu_api::tls::Identity;
use warifu_hardware::signer::{CertKey, DigestSigner, SignerError};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, PublicKey};
use warifu_ledger::register::{Commitment, Record};
use warifu_ledger::statement::{
    Act, Attestation, Card, Custody, Founding, Millis, Policy, Right, ServiceKeys, Statement, UnitKind,
};
use warifu_ledger::{Digest, Id};
use warifu_split_key::issuer::{CardShare, IssuerHalf};
use warifu_split_key::keeper::{KeeperHalf, SiteShare};
use warifu_split_key::point::Point;

/// When the town is founded.
pub(crate) const T0: Millis = 1_775_000_000_000;
pub(crate) const MINUTE: Millis = 60_000;
pub(crate) const DAY: Millis = 24 * 60 * MINUTE;
/// Short, so that stamps come every second.
pub(crate) const LEASE: Millis = 4_000;
/// When the contract ends by itself.
pub(crate) const ACME_ENDS: Millis = T0 + 30 * DAY;
/// Two officers' cards.
pub(crate) const TWO: &[&str] = &["sakura", "kenji"];
/// One officer's card.
pub(crate) const ONE: &[&str] = &["sakura"];

pub(crate) fn id(label: &str) -> Id {
    Id(Digest::of(label.as_bytes()).0[..16].try_into().unwrap())
}

pub(crate) fn key(label: &str) -> SigningKey {
    SigningKey::from_slice(Digest::of(label.as_bytes()).as_bytes()).unwrap()
}

pub(crate) fn public(label: &str) -> PublicKey {
    PublicKey(Point::from_sec1(key(label).verifying_key().to_sec1_point(true).as_bytes()).unwrap())
}

/// A key that would be in a card or an HSM.
struct Software(SigningKey);

impl DigestSigner for Software {
    fn public_key(&self) -> Point {
        Point::from_sec1(self.0.verifying_key().to_sec1_point(true).as_bytes()).unwrap()
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        let signature: Signature = self.0.sign_prehash(&digest).map_err(SignerError::device)?;
        Ok(signature.to_bytes().into())
    }
}

/// A public key that somebody else holds, for a certificate.
struct Subject([u8; 65]);

impl rcgen::PublicKeyData for Subject {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// A certificate over that key by the ca, and the ca's own; DER.
pub(crate) fn certificate_chain(subject: &Point) -> Vec<Vec<u8>> {
    let key = CertKey::new(Arc::new(Software(key("ca root"))));
    let root = rcgen::CertificateParams::default();
    let root_certificate = root.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(root, key);
    let leaf = rcgen::CertificateParams::new(["main.example".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&Subject(subject.to_uncompressed()), &issuer).unwrap();
    [leaf, root_certificate].map(|certificate| certificate.der().to_vec()).to_vec()
}

/// A TLS identity with the key of that label, and a certificate in a card's name by an authority that mints what it likes.
pub(crate) fn minted(label: &str, organization: Digest, card: Id) -> Identity {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
    use warifu_hardware::signer::CertKey;
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, format!("Warifu issuing CA {organization}"));
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority_key = KeyPair::generate().unwrap();
    let above = authority.self_signed(&authority_key).unwrap().der().clone();
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name.push(DnType::CommonName, format!("card {card}"));
    let uri = format!("urn:warifu:{organization}:card:{card}");
    leaf.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
    let signer: Arc<Software> = Arc::new(Software(key(label)));
    let leaf = leaf.signed_by(&CertKey::new(signer.clone()), &Issuer::new(authority, authority_key)).unwrap();
    Identity::with_chain(signer, vec![leaf.der().clone(), above]).unwrap()
}

/// A TLS identity with the key of that label.
pub(crate) fn identity(label: &str) -> Identity {
    Identity::self_signed(Arc::new(Software(key(label))), label).unwrap()
}

pub(crate) fn log_key(service: &str) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(Digest::of(format!("{service} log").as_bytes()).as_bytes())
}

pub(crate) fn service_keys(service: &str) -> ServiceKeys {
    let of_authority = service.starts_with("ca") || service.starts_with("kms");
    ServiceKeys {
        signing: public(&format!("{service} signing")),
        tls: public(&format!("{service} tls")),
        log: of_authority.then(|| Base64(log_key(service).verifying_key().to_bytes())),
        transport: (!of_authority).then(|| public(&format!("{service} transport"))),
    }
}

pub(crate) fn record(text: &str) -> Record {
    Record { id: id(&format!("record {text}")), key: Base64([7; 32]), text: format!("{text}\n{text} 様") }
}

pub(crate) fn name(text: &str) -> Commitment {
    record(text).commitment()
}

pub(crate) fn card_id(card: &str) -> Id {
    id(&format!("card {card}"))
}

pub(crate) fn card(label: &str, contract: Option<&str>) -> Card {
    let member = label.split(':').next().unwrap();
    Card {
        card: card_id(label),
        member: id(member),
        name: name(member),
        contract: contract.map(id),
        authentication: public(&format!("{label} 9A")),
        signature: public(&format!("{label} 9C")),
        transport: public(&format!("{label} 9D")),
        attestation: Attestation::None,
    }
}

pub(crate) fn founding() -> Founding {
    Founding {
        id: id("omachi"),
        name: name("omachi"),
        zone: "Asia/Tokyo".to_owned(),
        officers: ["sakura", "kenji", "midori"].map(|label| card(label, None)).to_vec(),
        policy: Policy {
            lease_ms: LEASE,
            pin_ceiling_ms: DAY / 3,
            unattested_cards: true,
            separate_roles: false,
        },
        ca: service_keys("ca"),
        kms: service_keys("kms"),
    }
}

pub(crate) fn sign(envelope: &mut Envelope, label: &str) {
    let signature: Signature = key(label).sign_prehash(envelope.digest().as_bytes()).unwrap();
    envelope.add_signature(&public(label), signature.to_bytes().into());
}

pub(crate) fn signed(statement: &impl Statement, labels: impl IntoIterator<Item = String>) -> Envelope {
    let mut envelope = Envelope::unsigned(statement).unwrap();
    for label in labels {
        sign(&mut envelope, &label);
    }
    envelope
}

// Acts.

pub(crate) fn unit(label: &str, contract: Option<&str>, sites: &[&str]) -> Act {
    Act::UnitOrdered {
        unit: id(label),
        name: name(label),
        kind: if contract.is_some() { UnitKind::Contractor } else { UnitKind::Department },
        contract: contract.map(id),
        sites: sites.iter().map(|site| id(site)).collect(),
        routes_to: BTreeSet::new(),
        two_people: false,
        own_pcs: false,
    }
}

pub(crate) fn grant_id(card: &str, unit: &str) -> Id {
    id(&format!("{card} opens {unit}"))
}

pub(crate) fn grant_until(card: &str, unit: &str, expires_at: Option<Millis>) -> Act {
    Act::GrantOrdered {
        grant: grant_id(card, unit),
        card: card_id(card),
        unit: id(unit),
        right: Right::Open,
        custody: Custody::HostMemory,
        starts_at: None,
        expires_at,
    }
}

/// A grant that begins at an instant.
pub(crate) fn grant_from(card: &str, unit: &str, begins: Option<Millis>) -> Act {
    let mut act = grant_until(card, unit, None);
    if let Act::GrantOrdered { starts_at, .. } = &mut act {
        *starts_at = begins;
    }
    act
}

pub(crate) fn grant(card: &str, unit: &str) -> Act {
    grant_until(card, unit, None)
}

pub(crate) fn revoke_grant(card: &str, unit: &str) -> Act {
    Act::GrantRevoked { grant: grant_id(card, unit), effective_at: None, reason: None }
}

pub(crate) fn revoke_card(card: &str) -> Act {
    Act::CardRevoked { card: card_id(card), reason: None }
}

pub(crate) fn revoke_member(member: &str) -> Act {
    Act::MemberRevoked { member: id(member), effective_at: None, reason: None }
}

pub(crate) fn suspend(card: &str) -> Act {
    Act::CardSuspended { card: card_id(card) }
}

pub(crate) fn resume(card: &str) -> Act {
    Act::CardResumed { card: card_id(card) }
}

pub(crate) fn end_contract(label: &str) -> Act {
    Act::ContractEnded { contract: id(label), reason: None }
}

// Halves and shares, by the label of their unit and card.

pub(crate) fn scalar(label: &str) -> [u8; 32] {
    Digest::of(label.as_bytes()).0
}

pub(crate) fn issuer_half(unit: &str) -> IssuerHalf {
    IssuerHalf::from_bytes(&scalar(&format!("{unit} s1"))).unwrap()
}

pub(crate) fn keeper_half(unit: &str) -> KeeperHalf {
    KeeperHalf::from_bytes(&scalar(&format!("{unit} s2"))).unwrap()
}

/// `A` and `b` of a grant, by the steps of ca and kms.
pub(crate) fn shares(card: &str, unit: &str) -> (Point, SiteShare) {
    let share = CardShare::from_bytes(&scalar(&format!("{card} opens {unit} a"))).unwrap();
    let delta = issuer_half(unit).delta(&share).unwrap();
    (share.public(), keeper_half(unit).site_share(delta).unwrap())
}

/// The encapsulated key of a file.
pub(crate) fn file(label: &str) -> Point {
    public(&format!("file {label}")).0
}

/// The id of that file.
pub(crate) fn file_id(label: &str) -> Digest {
    Digest::of(&file(label).x())
}

/// `x(bR)`, computed in software.
pub(crate) fn expected(card: &str, unit: &str, label: &str) -> [u8; 32] {
    let (_, b) = shares(card, unit);
    let b = p256::SecretKey::from_slice(b.expose_bytes().as_slice()).unwrap();
    let r = p256::PublicKey::from_sec1_bytes(&file(label).to_uncompressed()).unwrap();
    (*p256::ecdh::diffie_hellman(b.to_nonzero_scalar(), r.as_affine()).raw_secret_bytes()).into()
}
