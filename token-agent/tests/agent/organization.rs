//! An organization made of software keys: what ca, kms and sites would have agreed on.

use std::sync::Arc;

use p256::SecretKey;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use rand_core::UnwrapErr;
use rcgen::{
    CertificateParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};
use warifu_hardware::signer::{DigestSigner, SignerError};
use warifu_ledger::dsse::{Envelope, Signature as EnvelopeSignature};
use warifu_ledger::key::{Base64, PublicKey};
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Act, Fact, FactBody, Order, PublicHalf, ServiceKeys, Statement, UnitKind};
use warifu_ledger::{Digest, Id};
use warifu_split_key::half::{HalfContext, HalfRole};
use warifu_split_key::issuer::{CardShare, IssuerHalf};
use warifu_split_key::keeper::{KeeperHalf, SiteShare};
use warifu_split_key::point::Point;
use warifu_split_key::unit_key;

pub(crate) fn rng() -> UnwrapErr<getrandom::SysRng> {
    UnwrapErr(getrandom::SysRng)
}

/// A key in memory, in place of a service's HSM.
pub(crate) struct SoftKey(SecretKey);

impl SoftKey {
    pub(crate) fn draw() -> Arc<Self> {
        Arc::new(Self(SecretKey::generate_from_rng(&mut rng())))
    }
}

impl DigestSigner for SoftKey {
    fn public_key(&self) -> Point {
        Point::from_sec1(self.0.public_key().to_sec1_point(false).as_bytes()).unwrap()
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        let signature: Signature = SigningKey::from(&self.0).sign_prehash(&digest).unwrap();
        Ok(signature.to_bytes().into())
    }
}

/// A service's keys: one for signing, one for TLS.
pub(crate) struct Service {
    pub(crate) signing: Arc<SoftKey>,
    pub(crate) tls: Arc<SoftKey>,
}

impl Service {
    pub(crate) fn draw() -> Self {
        Self { signing: SoftKey::draw(), tls: SoftKey::draw() }
    }

    pub(crate) fn keys(&self) -> ServiceKeys {
        ServiceKeys {
            signing: self.signing.public_key().into(),
            tls: self.tls.public_key().into(),
            log: None,
            transport: None,
        }
    }
}

pub(crate) fn signed<S: Statement>(statement: &S, signers: &[&Arc<SoftKey>]) -> Envelope {
    let mut envelope = Envelope::unsigned(statement).unwrap();
    let digest = envelope.digest();
    for signer in signers {
        let key = PublicKey(signer.public_key());
        let sig = Base64(signer.sign_digest(digest.0).unwrap());
        envelope.signatures.push(EnvelopeSignature { keyid: key.key_id(), sig });
    }
    envelope
}

/// A unit with its two halves. Only a test may have both in one place.
pub(crate) struct Unit {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) kind: UnitKind,
    issuer: IssuerHalf,
    keeper: KeeperHalf,
    pub(crate) key: Point,
}

impl Unit {
    pub(crate) fn draw(name: &str) -> Self {
        let (issuer, keeper) = (IssuerHalf::draw(&mut rng()), KeeperHalf::draw(&mut rng()));
        let key = unit_key(&issuer.public(), &keeper.public()).unwrap();
        let kind = UnitKind::Department;
        Self { id: Id::draw(&mut rng()), name: name.to_owned(), kind, issuer, keeper, key }
    }

    pub(crate) fn of_kind(kind: UnitKind, name: &str) -> Self {
        Self { kind, ..Self::draw(name) }
    }

    /// A card share and the site share that goes with it.
    pub(crate) fn split(&self) -> (CardShare, SiteShare) {
        let share = CardShare::draw(&mut rng());
        let delta = self.issuer.delta(&share).unwrap();
        (share, self.keeper.site_share(delta).unwrap())
    }

    /// The record that the unit's label and name are in.
    pub(crate) fn record(&self) -> Record {
        let text = Name::new(self.label(), self.name.as_str()).unwrap().to_text();
        Record { id: self.id, key: Base64([7; 32]), text }
    }

    pub(crate) fn label(&self) -> String {
        self.id.to_string()
    }

    /// The order that asked for it.
    pub(crate) fn ordered(&self, organization: Digest) -> Envelope {
        let act = Act::UnitOrdered {
            unit: self.id,
            name: self.record().commitment(),
            kind: self.kind,
            contract: None,
            sites: [].into(),
            routes_to: [].into(),
            two_people: false,
            own_pcs: false,
        };
        let order = Order { organization, id: self.id, expires_at: 1, seen: String::new(), acts: vec![act] };
        Envelope::unsigned(&order).unwrap()
    }

    pub(crate) fn created(&self, organization: Digest, ca: &Service, kms: &Service) -> Envelope {
        self.created_by(self.ordered(organization).digest(), organization, ca, kms)
    }

    /// As [`Unit::created`], in answer to another order.
    pub(crate) fn created_by(
        &self,
        order: Digest,
        organization: Digest,
        ca: &Service,
        kms: &Service,
    ) -> Envelope {
        let context = HalfContext {
            organization: organization.0,
            unit: self.id.0,
            order: order.0,
            role: HalfRole::Issuer,
        };
        let half = |point: Point, proof: [u8; 64]| PublicHalf { point: point.into(), proof: Base64(proof) };
        let fact = FactBody::UnitCreated {
            unit: self.id,
            order,
            issuer: half(self.issuer.public(), self.issuer.prove(&context).0),
            keeper: half(self.keeper.public(), self.keeper.prove(&context).0),
        };
        signed(&Fact { organization, fact }, &[&ca.signing, &kms.signing])
    }
}

struct Spki([u8; 65]);

impl PublicKeyData for Spki {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A certificate for any point, DER, as the ca would issue it.
pub(crate) fn certificate(point: &Point, uri: Option<String>) -> Vec<u8> {
    let issuer = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
    params.signed_by(&Spki(point.to_uncompressed()), &issuer).unwrap().der().to_vec()
}
