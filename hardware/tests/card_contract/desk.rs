//! A desk with readers, a card and what goes with it.

use std::time::{Duration, Instant};

use p256::elliptic_curve::sec1::FromSec1Point;
use p256::pkcs8::EncodePublicKey;
use rcgen::{CertificateParams, Issuer, KeyPair, SubjectPublicKeyInfo};
use warifu_hardware::card::{Card, CardError, ManagementKey, Pin, PinEntry};
use warifu_split_key::issuer::CardShare;
use warifu_split_key::point::Point;
use warifu_virtual_card::readers::Readers;
use warifu_virtual_card::{Inserted, TestRoot, VirtualCard};

const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) type Open = fn(&str) -> Result<Box<dyn Card>, CardError>;

pub(crate) struct Desk {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) root: TestRoot,
    pub(crate) card: VirtualCard,
    pub(crate) inserted: Option<Inserted>,
    pub(crate) readers: Readers,
    pub(crate) open: Open,
}

impl Desk {
    /// With a factory-new card in the first reader.
    pub(crate) fn new(readers: Readers, open: Open) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = TestRoot::open(folder.path()).unwrap();
        let card = VirtualCard::create(&folder.path().join("card.json"), 1_234_567, &root).unwrap();
        let inserted = Some(card.insert(readers.port(0)).unwrap());
        Self { folder, root, card, inserted, readers, open }
    }

    /// Opens the card in a reader, as soon as it is seen there.
    pub(crate) fn open_in(&self, reader: usize) -> Box<dyn Card> {
        until(|| match (self.open)(&self.readers.name(reader)) {
            Err(CardError::NoCard) => None,
            other => Some(other.unwrap()),
        })
    }

    pub(crate) fn open(&self) -> Box<dyn Card> {
        self.open_in(0)
    }

    /// Opens the card, with its management key.
    pub(crate) fn open_managed(&self) -> Box<dyn Card> {
        let mut card = self.open();
        card.authenticate_management(&ManagementKey::factory()).unwrap();
        card
    }

    pub(crate) fn remove(&mut self) {
        self.inserted.take().unwrap().remove();
    }

    pub(crate) fn insert(&mut self) {
        self.inserted = Some(self.card.insert(self.readers.port(0)).unwrap());
    }
}

/// Polls until there is a result.
pub(crate) fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn pin(digits: &str) -> Pin {
    Pin::new(digits.as_bytes()).unwrap()
}

pub(crate) fn verify(card: &mut dyn Card, digits: &str) -> Result<(), CardError> {
    card.verify_pin(PinEntry::new(&pin(digits)))
}

pub(crate) fn draw_share() -> CardShare {
    CardShare::draw(&mut rand_core::UnwrapErr(getrandom::SysRng))
}

/// Some authority's certificate for a point, DER.
pub(crate) fn certificate_for(point: &Point) -> Vec<u8> {
    let key = p256::PublicKey::from_sec1_bytes(&point.to_uncompressed()).unwrap();
    let spki = SubjectPublicKeyInfo::from_der(key.to_public_key_der().unwrap().as_bytes()).unwrap();
    let issuer = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    CertificateParams::default().signed_by(&spki, &issuer).unwrap().der().to_vec()
}

/// A scalar and its point, in software.
pub(crate) fn software_key() -> (p256::SecretKey, Point) {
    let share = draw_share();
    (p256::SecretKey::from_slice(&*share.expose_bytes()).unwrap(), share.public())
}

/// The x-coordinate of the ECDH in software.
pub(crate) fn software_ecdh(secret: &p256::SecretKey, point: &Point) -> Vec<u8> {
    let point = p256::Sec1Point::from_bytes(point.to_uncompressed()).unwrap();
    let point = p256::PublicKey::from_sec1_point(&point).unwrap();
    p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), point.as_affine()).raw_secret_bytes().to_vec()
}
