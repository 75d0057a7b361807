//! The card's own keys.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use warifu_hardware::card::attestation::{self, AttestationError, PinPolicy, TouchPolicy};
use warifu_hardware::card::{AgreementKey, CardError, KeyRole, PinEntry};
use warifu_split_key::point::{Point, PointError};
use warifu_virtual_card::{TestRoot, ins};

use super::desk::{Backend, Desk, certificate_for, pin, software_ecdh, software_key, until, verify};

fn is_signed(point: &Point, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    let key = VerifyingKey::from_sec1_bytes(&point.to_uncompressed()).unwrap();
    key.verify_prehash(digest, &Signature::from_slice(signature).unwrap()).is_ok()
}

pub(crate) fn keys_need_the_pin(desk: &mut Desk) {
    let (mut card, [authentication, _]) = desk.with_keys([KeyRole::Authentication, KeyRole::Transport]);
    let (_, point) = software_key();
    assert!(matches!(card.sign(KeyRole::Authentication, &[7; 32], None), Err(CardError::PinNeeded)));
    assert!(matches!(card.agree(AgreementKey::Transport, &point), Err(CardError::PinNeeded)));
    verify(&mut *card, "123456").unwrap();
    for digest in [[7; 32], [8; 32]] {
        let signature = card.sign(KeyRole::Authentication, &digest, None).unwrap();
        assert!(is_signed(&authentication, &digest, &signature));
        assert!(!is_signed(&authentication, &[9; 32], &signature));
    }
    card.agree(AgreementKey::Transport, &point).unwrap();
    assert!(matches!(verify(&mut *card, "999999"), Err(CardError::PinWrong { .. })));
    assert!(matches!(card.agree(AgreementKey::Transport, &point), Err(CardError::PinNeeded)));
}

pub(crate) fn the_signature_key_needs_the_pin_every_time(desk: &mut Desk) {
    let (mut card, [point]) = desk.with_keys([KeyRole::Signature]);
    verify(&mut *card, "123456").unwrap();
    let sent = desk.card.seen(ins::AUTHENTICATE);
    assert!(matches!(card.sign(KeyRole::Signature, &[7; 32], None), Err(CardError::PinNeeded)));
    assert_eq!(desk.card.seen(ins::AUTHENTICATE), sent, "the card was not asked");
    let before = desk.pins_shown();

    let (right, wrong) = (pin("123456"), pin("999999"));
    for digest in [[7; 32], [8; 32]] {
        let signature = card.sign(KeyRole::Signature, &digest, Some(PinEntry::new(&right))).unwrap();
        assert!(is_signed(&point, &digest, &signature));
    }
    let signed = card.sign(KeyRole::Signature, &[7; 32], Some(PinEntry::new(&wrong)));
    assert!(matches!(signed, Err(CardError::PinWrong { tries_left: 2 })));
    assert_eq!(desk.pins_shown(), before + 3, "each PIN once");
    if desk.backend != Backend::SoftHsm {
        assert_eq!(desk.card.signatures(), 2);
    }
}

pub(crate) fn the_transport_key_does_not_sign(desk: &mut Desk) {
    let (mut card, _) = desk.with_keys([KeyRole::Transport]);
    verify(&mut *card, "123456").unwrap();
    assert!(matches!(card.sign(KeyRole::Transport, &[7; 32], None), Err(CardError::WrongRole)));
    assert_eq!(desk.card.signatures(), 0);
}

pub(crate) fn missing_keys_are_missing(desk: &mut Desk) {
    let mut card = desk.open();
    verify(&mut *card, "123456").unwrap();
    let (_, point) = software_key();
    for role in KeyRole::ALL {
        assert!(matches!(card.public_key(role), Err(CardError::KeyMissing)));
        assert!(matches!(card.attestation(role), Err(CardError::NotAttested)));
        assert_eq!(card.certificate(role).unwrap(), None);
    }
    assert!(matches!(card.sign(KeyRole::Authentication, &[7; 32], None), Err(CardError::KeyMissing)));
    assert!(matches!(card.agree(AgreementKey::Transport, &point), Err(CardError::KeyMissing)));
}

pub(crate) fn points_off_the_curve_never_reach_the_card(desk: &mut Desk) {
    let mut card = desk.open_managed();
    card.generate(KeyRole::Transport).unwrap();
    verify(&mut *card, "123456").unwrap();
    let sent = desk.card.seen(ins::AUTHENTICATE);
    let mut off = software_key().1.to_uncompressed();
    off[64] ^= 1;
    // There is no other way to a point, and the card takes nothing else.
    assert_eq!(Point::from_sec1(&off).err(), Some(PointError::NotOnCurve));
    assert!(Point::from_sec1(&[0]).is_err());
    assert_eq!(desk.card.seen(ins::AUTHENTICATE), sent);

    // A card that refuses a valid point is reported.
    desk.card.answer_with(ins::AUTHENTICATE, &[0x6a, 0x80]);
    let agreed = card.agree(AgreementKey::Transport, &software_key().1);
    assert!(matches!(agreed, Err(CardError::InvalidPoint)));
}

pub(crate) fn ecdh_equals_software(desk: &mut Desk) {
    let (mut card, [transport]) = desk.with_keys([KeyRole::Transport]);
    assert_eq!(card.public_key(KeyRole::Transport).unwrap(), transport);
    verify(&mut *card, "123456").unwrap();
    for _ in 0..8 {
        let (secret, point) = software_key();
        let x = card.agree(AgreementKey::Transport, &point).unwrap();
        assert_eq!(x.expose().as_slice(), software_ecdh(&secret, &transport));
    }
    if desk.backend != Backend::SoftHsm {
        assert_eq!(desk.card.agreements(), 8);
    }
}

pub(crate) fn a_certificate_for_another_key_is_refused(desk: &mut Desk) {
    let mut card = desk.open_managed();
    let authentication = card.generate(KeyRole::Authentication).unwrap();
    let signature = card.generate(KeyRole::Signature).unwrap();
    let certificate = certificate_for(&authentication);
    for bad in
        [certificate_for(&signature), b"nonsense".to_vec(), Vec::new(), [&certificate[..], &[0]].concat()]
    {
        let written = card.write_certificate(KeyRole::Authentication, &bad);
        assert!(matches!(written, Err(CardError::CertificateMismatch)));
    }
    assert_eq!(card.certificate(KeyRole::Authentication).unwrap(), None);
    card.write_certificate(KeyRole::Authentication, &certificate).unwrap();
    assert_eq!(card.certificate(KeyRole::Authentication).unwrap(), Some(certificate));
    assert_eq!(card.certificate(KeyRole::Signature).unwrap(), None);
}

pub(crate) fn keys_survive_reinsertion(desk: &mut Desk) {
    let (mut card, points) = desk.with_keys(KeyRole::ALL);
    verify(&mut *card, "123456").unwrap();
    desk.remove();
    until(|| (!card.is_present()).then_some(()));
    desk.insert();
    let mut card = desk.open();
    assert_eq!(KeyRole::ALL.map(|role| card.public_key(role).unwrap()), points);
    let (secret, point) = software_key();
    assert!(matches!(card.agree(AgreementKey::Transport, &point), Err(CardError::PinNeeded)));
    verify(&mut *card, "123456").unwrap();
    let x = card.agree(AgreementKey::Transport, &point).unwrap();
    assert_eq!(x.expose().as_slice(), software_ecdh(&secret, &points[2]));
}

pub(crate) fn generated_keys_are_attested_and_others_are_not(desk: &mut Desk) {
    let mut card = desk.open_managed();
    let roots = [desk.root.der()];
    for (role, policy) in [
        (KeyRole::Authentication, PinPolicy::Once),
        (KeyRole::Signature, PinPolicy::Always),
        (KeyRole::Transport, PinPolicy::Once),
    ] {
        let point = card.generate(role).unwrap();
        let chain = card.attestation(role).unwrap();
        let attested = attestation::verify(&chain, &roots, role).unwrap();
        assert_eq!(attested.public_key, point);
        assert_eq!((attested.serial, attested.firmware, attested.role), (1_234_567, [5, 4, 3], role));
        assert_eq!((attested.pin_policy, attested.touch_policy), (policy, TouchPolicy::Never));
    }

    let chain = card.attestation(KeyRole::Authentication).unwrap();
    let verify =
        |chain: &[Vec<u8>], roots: &[&[u8]]| attestation::verify(chain, roots, KeyRole::Authentication);
    let wrong_slot = attestation::verify(&chain, &roots, KeyRole::Signature);
    assert_eq!(wrong_slot, Err(AttestationError::WrongSlot { slot: Some(0x9a) }));
    let elsewhere = tempfile::tempdir().unwrap();
    let other = TestRoot::open(elsewhere.path()).unwrap();
    assert_eq!(verify(&chain, &[other.der()]), Err(AttestationError::UnknownMaker));
    assert_eq!(verify(&chain, &[]), Err(AttestationError::UnknownMaker));
    assert_eq!(verify(&chain[..1], &roots), Err(AttestationError::UnknownMaker));
    assert_eq!(verify(&[], &roots), Err(AttestationError::Length { length: 0 }));
    assert_eq!(
        verify(&[chain[0].clone(), chain[0].clone()], &roots),
        Err(AttestationError::BadSignature { index: 0 })
    );
    verify(&[chain[0].clone(), chain[1].clone(), desk.root.der().to_vec()], &roots).unwrap();
    // A certificate that an attested key would sign is no attestation, and neither is the maker's own.
    assert!(verify(&chain[1..], &roots).is_err());
    assert!(verify(&[desk.root.der().to_vec()], &roots).is_err());
    // All that is signed, and the signature; what lies between names the algorithm once more.
    let signed = {
        use x509_parser::prelude::{FromDer, X509Certificate};
        let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
        4 + leaf.tbs_certificate.as_ref().len()
    };
    for position in (0..signed).chain(chain[0].len() - 64..chain[0].len()) {
        let mut tampered = chain.clone();
        tampered[0][position] ^= 1;
        assert!(verify(&tampered, &roots).is_err(), "byte {position}");
    }
    let mut longer = chain.clone();
    longer[0].push(0);
    assert_eq!(verify(&longer, &roots), Err(AttestationError::Malformed { index: 0 }));
}
