use std::convert::Infallible;

use p256::elliptic_curve::sec1::FromSec1Point as _;
use rand_core::TryRng;
use serde_json::{Value, json};

use super::*;

/// `docs/vectors/`: a private key is SHA-256 over its label.
fn scalar(label: &str) -> p256::SecretKey {
    p256::SecretKey::from_slice(Digest::of(label.as_bytes()).as_bytes()).unwrap()
}

fn public(label: &str) -> PublicKey {
    let point = p256::Sec1Point::from(scalar(label).public_key());
    Point::from_sec1(point.as_bytes()).unwrap().into()
}

fn agree(label: &str, point: &Point) -> PartialX {
    let point = p256::Sec1Point::from_bytes(point.to_uncompressed()).unwrap();
    let point = p256::PublicKey::from_sec1_point(&point).unwrap();
    let shared = p256::ecdh::diffie_hellman(scalar(label).to_nonzero_scalar(), point.as_affine());
    PartialX::from_bytes(shared.raw_secret_bytes().as_slice().try_into().unwrap())
}

/// The same bytes for ever: the ephemeral key of the vector.
struct Fixed([u8; 32]);

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(7)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(7)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.iter_mut().zip(self.0.iter().cycle()).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Fixed {}

fn sealed() -> (Digest, Id, PukEscrow) {
    let organization = Digest::of(b"organization");
    let card = Id(Digest::of(b"card").as_bytes()[..16].try_into().unwrap());
    let officers = [public("ichiro transport"), public("jiro transport")];
    let mut rng = Fixed(*Digest::of(b"ephemeral").as_bytes());
    let escrow = seal(&mut rng, &organization, &card, b"40718265", &officers).unwrap();
    (organization, card, escrow)
}

#[test]
fn every_officer_opens_it_and_nobody_else() {
    let (organization, card, escrow) = sealed();
    let open = |label: &str, organization: &Digest, card: &Id| {
        let transport = public(label).0;
        let seal = Seal::find(&escrow, &transport, organization, card)?;
        seal.open(&agree(label, seal.encapsulated())).ok().map(|puk| puk.expose().to_vec())
    };
    for officer in ["ichiro transport", "jiro transport"] {
        assert_eq!(open(officer, &organization, &card).unwrap(), b"40718265");
        assert_eq!(open(officer, &organization, &Id([9; 16])), None, "for another card");
        assert_eq!(open(officer, &Digest::of(b"another"), &card), None, "for another organization");
    }
    assert_eq!(open("saburo transport", &organization, &card), None);
    // The kms may swap two seals, which then open for nobody.
    let mut swapped = escrow.clone();
    let first = swapped.seals[0].sealed.clone();
    swapped.seals[1].sealed = first;
    let seal = Seal::find(&swapped, &public("jiro transport").0, &organization, &card).unwrap();
    assert!(seal.open(&agree("jiro transport", seal.encapsulated())).is_err());
    for length in [0, 64, 65, 88, 90] {
        let mut other = escrow.clone();
        other.seals[0].sealed.0.resize(length, 0);
        assert!(Seal::find(&other, &public("ichiro transport").0, &organization, &card).is_none());
    }
}

#[test]
fn the_vector_is_what_the_code_makes() {
    let (organization, card, escrow) = sealed();
    let made = json!({
        "comment": "A card's PUK, 40718265, HPKE-sealed to two officers' transport keys (P-6.6). A private key is SHA-256 over its label, big-endian; the organization SHA-256 of \"organization\", the card the first 16 bytes of SHA-256 of \"card\"; the ephemeral key of both seals is SHA-256 of \"ephemeral\".",
        "organization": organization,
        "card": card,
        "info": "warifu/puk/v1 ‖ organization ‖ card",
        "puk": "40718265",
        "labels": ["ichiro transport", "jiro transport"],
        "escrow": escrow,
    });
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors/sealed-puk.json");
    if std::env::var_os("WARIFU_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(path, format!("{made:#}\n")).unwrap();
    }
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(
        file, made,
        "docs/vectors/sealed-puk.json differs: WARIFU_BLESS=1 if the format was meant to change"
    );
}
