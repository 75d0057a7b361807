//! Attestations of a maker in software: what is believed, and what is not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, date_time_ymd,
};
use warifu_hardware::card::KeyRole;
use warifu_hardware::card::attestation::{AttestationError, verify_key};
use warifu_split_key::point::Point;

const YUBICO: [u64; 8] = [1, 3, 6, 1, 4, 1, 41482, 3];
const SERIAL: u32 = 1001;

fn key_pair() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn point(key: &KeyPair) -> Point {
    Point::from_sec1(key.der_bytes()).unwrap()
}

fn parameters(name: &str, last_year: i32) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.not_before = date_time_ymd(2016, 3, 14);
    parameters.not_after = date_time_ymd(last_year, 4, 17);
    parameters
}

/// A maker's root, and the attestation key of one card under it.
struct Maker {
    root: Vec<u8>,
    card: Issuer<'static, KeyPair>,
    card_der: Vec<u8>,
}

impl Maker {
    fn new(last_year: i32) -> Self {
        let authority = |name: &str, below: u8| {
            let mut parameters = parameters(name, last_year);
            parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
            parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            parameters
        };
        let (root_key, card_key) = (key_pair(), key_pair());
        let root = authority("Maker", 1).self_signed(&root_key).unwrap().der().to_vec();
        let root_issuer = Issuer::new(authority("Maker", 1), root_key);
        let card_der = authority("Card", 0).signed_by(&card_key, &root_issuer).unwrap().der().to_vec();
        Self { root, card: Issuer::new(authority("Card", 0), card_key), card_der }
    }

    fn attests(&self, key: &KeyPair, says: &Says) -> Vec<Vec<u8>> {
        let name = format!("YubiKey PIV Attestation {:02x}", says.slot);
        let mut parameters = parameters(&name, says.last_year);
        let [a, b, c, d] = says.serial.to_be_bytes();
        let extensions =
            [(3, says.firmware.to_vec()), (7, vec![2, 5, 0, a, b, c, d]), (8, vec![says.pin, 1])];
        // DER has no superfluous zeros.
        let shortest = |content: Vec<u8>| match content.as_slice() {
            [2, 5, 0, 0, 0, high, low] => vec![2, 2, *high, *low],
            _ => content,
        };
        parameters.custom_extensions = extensions
            .into_iter()
            .map(|(last, content)| {
                CustomExtension::from_oid_content(&[&YUBICO[..], &[last]].concat(), shortest(content))
            })
            .collect();
        vec![parameters.signed_by(key, &self.card).unwrap().der().to_vec(), self.card_der.clone()]
    }
}

/// What an attestation says.
struct Says {
    slot: u8,
    serial: u32,
    firmware: [u8; 3],
    pin: u8,
    last_year: i32,
}

fn truth(role: KeyRole) -> Says {
    let slot = match role {
        KeyRole::Authentication => 0x9a,
        KeyRole::Signature => 0x9c,
        KeyRole::Transport => 0x9d,
    };
    Says { slot, serial: SERIAL, firmware: [5, 7, 2], pin: 2, last_year: 2052 }
}

/// The verdict on a card's signature key, of which `maker` says something else than the truth.
fn verdict(roots: &[&[u8]], maker: &Maker, alter: impl Fn(&mut Says)) -> Result<[u8; 3], AttestationError> {
    let (key, mut says) = (key_pair(), truth(KeyRole::Signature));
    alter(&mut says);
    let chain = maker.attests(&key, &says);
    verify_key(&chain, roots, KeyRole::Signature, &point(&key), SERIAL).map(|attested| attested.firmware)
}

#[test]
fn a_key_is_believed_to_be_what_its_maker_says() {
    let maker = Maker::new(2052);
    let judge = |alter: &dyn Fn(&mut Says)| verdict(&[&maker.root], &maker, alter);
    assert_eq!(judge(&|_| {}), Ok([5, 7, 2]));
    assert_eq!(judge(&|says| says.pin = 3), Ok([5, 7, 2]), "the PIN every time");
    assert_eq!(judge(&|says| says.serial = 1002), Err(AttestationError::OtherCard { serial: 1002 }));
    assert_eq!(judge(&|says| says.slot = 0x9a), Err(AttestationError::WrongSlot { slot: Some(0x9a) }));
    assert_eq!(judge(&|says| says.slot = 0x82), Err(AttestationError::WrongSlot { slot: Some(0x82) }));
    assert_eq!(judge(&|says| says.pin = 1), Err(AttestationError::NoPin));
    assert_eq!(judge(&|says| says.pin = 9), Err(AttestationError::Missing { what: "policies" }));
    assert_eq!(judge(&|says| says.firmware = [5, 4, 3]), Ok([5, 4, 3]));
}

#[test]
fn another_maker_is_not_believed() {
    let (maker, other) = (Maker::new(2052), Maker::new(2052));
    let judged = |roots: &[&[u8]], by: &Maker| verdict(roots, by, |_| {});
    assert_eq!(judged(&[], &maker), Err(AttestationError::UnknownMaker));
    assert_eq!(judged(&[&other.root], &maker), Err(AttestationError::UnknownMaker));
    assert_eq!(judged(&[&maker.root], &other), Err(AttestationError::UnknownMaker));
    assert_eq!(judged(&[&other.root, &maker.root], &other), Ok([5, 7, 2]), "two makers, both trusted");
    assert!(matches!(judged(&[b"garbage"], &maker), Err(AttestationError::Malformed { .. })));
}

/// A key that was imported has no attestation; a card that is altered shows that of the key that was there before.
#[test]
fn an_imported_key_is_not_the_attested_one() {
    let maker = Maker::new(2052);
    let (generated, imported) = (key_pair(), key_pair());
    let chain = maker.attests(&generated, &truth(KeyRole::Authentication));
    let judge = |chain: &[Vec<u8>], key: &KeyPair| {
        let verdict = verify_key(chain, &[&maker.root], KeyRole::Authentication, &point(key), SERIAL);
        verdict.map(|attested| attested.firmware)
    };
    assert_eq!(judge(&chain, &generated), Ok([5, 7, 2]));
    assert_eq!(judge(&chain, &imported), Err(AttestationError::OtherKey));
    // One that the imported key signs for itself, and garbage.
    let says = parameters("YubiKey PIV Attestation 9a", 2052).self_signed(&imported).unwrap().der().to_vec();
    assert!(judge(std::slice::from_ref(&says), &imported).is_err());
    assert!(judge(&[says, maker.card_der.clone()], &imported).is_err());
    assert_eq!(judge(&[b"garbage".to_vec()], &imported), Err(AttestationError::Malformed { index: 0 }));
    assert_eq!(judge(&[], &imported), Err(AttestationError::Length { length: 0 }));
}

/// Dates are not looked at: a card has no clock, and the makers' roots are replaced before they end. A chain whose dates are over
/// is believed for as long as its root is configured.
#[test]
fn dates_are_not_looked_at() {
    let maker = Maker::new(2020);
    assert_eq!(verdict(&[&maker.root], &maker, |says| says.last_year = 2020), Ok([5, 7, 2]));
}
