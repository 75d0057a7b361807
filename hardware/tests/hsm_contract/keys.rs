//! Service keys and seals.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use rustls::SignatureScheme;
use sha2::{Digest, Sha256};
use warifu_hardware::hsm::{Hsm, HsmError};

use crate::stage::{Stage, ecdh, ephemeral, user_login};

const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

pub(crate) fn a_seal_opens_only_whole_and_in_its_context(stage: &Stage) {
    let kek = stage.hsm("t").ensure_kek("halves").unwrap();
    let sealed = kek.seal(b"a half of thirty-two bytes length", b"org/tax/issuer").unwrap();
    assert_eq!(sealed.len(), 12 + 33 + 16);
    let broken = |sealed: &[u8], aad: &[u8]| matches!(kek.open(sealed, aad), Err(HsmError::SealBroken));

    for aad in [b"org/front/issuer".as_slice(), b"org/tax/keeper", b"org/tax/issuer ", b""] {
        assert!(broken(&sealed, aad));
    }
    for index in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[index] ^= 0x10;
        assert!(broken(&changed, b"org/tax/issuer"), "byte {index}");
    }
    for length in 0..sealed.len() {
        assert!(broken(&sealed[..length], b"org/tax/issuer"), "{length} bytes");
    }
    assert!(broken(&[sealed.as_slice(), &[0]].concat(), b"org/tax/issuer"));

    assert_eq!(*kek.open(&sealed, b"org/tax/issuer").unwrap(), b"a half of thirty-two bytes length");
    let again = kek.seal(b"a half of thirty-two bytes length", b"org/tax/issuer").unwrap();
    assert_ne!(sealed[..12], again[..12], "a new IV each time");
}

pub(crate) fn a_seal_of_another_key_does_not_open(stage: &Stage) {
    let hsm = stage.hsm("t");
    let sealed = hsm.ensure_kek("one").unwrap().seal(b"secret", b"aad").unwrap();
    assert!(matches!(hsm.ensure_kek("two").unwrap().open(&sealed, b"aad"), Err(HsmError::SealBroken)));
}

pub(crate) fn seals_survive_a_restart(stage: &Stage) {
    let hsm = stage.hsm("t");
    let sealed = hsm.ensure_kek("halves").unwrap().seal(b"secret", b"aad").unwrap();
    drop(hsm);
    stage.lose_sessions();
    let kek = Hsm::open(stage.config("t")).unwrap().ensure_kek("halves").unwrap();
    assert_eq!(*kek.open(&sealed, b"aad").unwrap(), b"secret");
}

pub(crate) fn marks_survive_a_restart(stage: &Stage) {
    let hsm = stage.hsm("t");
    assert_eq!(hsm.marks().unwrap(), [""; 0]);
    hsm.mark("one").unwrap();
    hsm.mark("two").unwrap();
    hsm.mark("one").unwrap();
    // What is no mark is not taken for one.
    hsm.ensure_kek("three").unwrap();
    for label in [b"warifu/other/four".to_vec(), vec![0xff, 0xfe]] {
        let object = [Attribute::Token(true), Attribute::Class(ObjectClass::DATA), Attribute::Label(label)];
        stage.session("t").create_object(&object).unwrap();
    }
    let marks = |hsm: &Hsm| {
        let mut marks = hsm.marks().unwrap();
        marks.sort();
        marks
    };
    assert_eq!(marks(&hsm), ["one", "two"]);
    drop(hsm);
    stage.lose_sessions();
    let hsm = Hsm::open(stage.config("t")).unwrap();
    assert_eq!(marks(&hsm), ["one", "two"]);
    assert_eq!(hsm.grant_keys().unwrap(), [""; 0]);
}

pub(crate) fn an_extractable_key_is_refused(stage: &Stage) {
    let hsm = stage.hsm("t");
    let session = stage.session("t");
    for label in ["warifu/sign/k", "warifu/grant/g"] {
        let label = label.as_bytes().to_vec();
        let public =
            [Attribute::Token(true), Attribute::EcParams(P256.to_vec()), Attribute::Label(label.clone())];
        let private = [
            Attribute::Token(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(true),
            Attribute::Derive(true),
            Attribute::Label(label),
        ];
        session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
    }
    assert!(matches!(hsm.ensure_signing_key("k"), Err(HsmError::KeyExposed { label }) if label == "k"));
    assert!(matches!(hsm.grant_key_generate("g"), Err(HsmError::KeyExposed { label }) if label == "g"));

    let kek = [
        Attribute::Token(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
        Attribute::ValueLen(32.into()),
        Attribute::Label(b"warifu/kek/k".to_vec()),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &kek).unwrap();
    assert!(matches!(hsm.ensure_kek("k"), Err(HsmError::KeyExposed { .. })));
}

fn destroy(stage: &Stage, class: ObjectClass, label: &str) {
    let session = stage.session("t");
    let found = session
        .find_objects(&[Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec())])
        .unwrap();
    assert_eq!(found.len(), 1);
    session.destroy_object(found[0]).unwrap();
}

pub(crate) fn a_key_without_its_public_half_is_refused(stage: &Stage) {
    let hsm = stage.hsm("t");
    hsm.ensure_signing_key("k").unwrap();
    destroy(stage, ObjectClass::PUBLIC_KEY, "warifu/sign/k");
    assert!(matches!(hsm.ensure_signing_key("k"), Err(HsmError::KeyIncomplete { label }) if label == "k"));
}

pub(crate) fn two_keys_of_one_name_are_refused(stage: &Stage) {
    let hsm = stage.hsm("t");
    hsm.ensure_agreement_key("k").unwrap();
    let public = [
        Attribute::Token(true),
        Attribute::EcParams(P256.to_vec()),
        Attribute::Label(b"warifu/agree/k".to_vec()),
    ];
    let private = [Attribute::Token(true), Attribute::Label(b"warifu/agree/k".to_vec())];
    stage.session("t").generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
    assert!(matches!(hsm.ensure_agreement_key("k"), Err(HsmError::KeyAmbiguous { count: 2, .. })));
}

pub(crate) fn a_key_that_went_away_is_named(stage: &Stage) {
    let hsm = stage.hsm("t");
    let key = hsm.ensure_signing_key("k").unwrap();
    destroy(stage, ObjectClass::PRIVATE_KEY, "warifu/sign/k");
    assert!(matches!(key.sign_digest([1; 32]), Err(HsmError::KeyMissing { label }) if label == "k"));
}

pub(crate) fn a_leftover_public_half_is_replaced(stage: &Stage) {
    let hsm = stage.hsm("t");
    let before = hsm.ensure_signing_key("k").unwrap().public_key();
    destroy(stage, ObjectClass::PRIVATE_KEY, "warifu/sign/k");
    let after = hsm.ensure_signing_key("k").unwrap();
    assert_ne!(before, after.public_key());
    after.sign_digest([1; 32]).unwrap();
}

pub(crate) fn keys_are_found_again(stage: &Stage) {
    let hsm = stage.hsm("t");
    let public = |hsm: &Hsm| {
        (
            hsm.ensure_signing_key("same").unwrap().public_key(),
            hsm.ensure_agreement_key("same").unwrap().public_key(),
            hsm.ensure_ed25519_key("same").unwrap().public(),
            hsm.grant_key_generate("same").unwrap(),
        )
    };
    let first = public(&hsm);
    assert!(first.0 != first.1 && first.1 != first.3, "kinds do not share keys");
    assert_ne!(hsm.ensure_signing_key("other").unwrap().public_key(), first.0);
    drop(hsm);
    stage.lose_sessions();
    assert_eq!(public(&Hsm::open(stage.config("t")).unwrap()), first);
}

pub(crate) fn what_was_destroyed_signs_no_more(stage: &Stage) {
    let hsm = stage.hsm("t");
    let missing = |result: Result<(), HsmError>| matches!(result, Err(HsmError::KeyMissing { .. }));
    let (key, other) = (hsm.ensure_signing_key("k").unwrap(), hsm.ensure_signing_key("other").unwrap());
    let log = hsm.ensure_ed25519_key("k").unwrap();
    // Its handle is remembered.
    key.sign_digest([1; 32]).unwrap();
    assert_eq!(hsm.signing_key_there("k").unwrap(), key.public_key());
    assert_eq!(hsm.ed25519_key_there("k").unwrap(), log.public());
    hsm.signing_key_destroy("k").unwrap();
    assert!(missing(key.sign_digest([1; 32]).map(drop)) && missing(hsm.signing_key_there("k").map(drop)));
    assert_eq!(hsm.ed25519_key_there("k").unwrap(), log.public(), "of another kind");
    hsm.ed25519_key_destroy("k").unwrap();
    assert!(missing(log.sign(b"m").map(drop)) && missing(hsm.ed25519_key_there("k").map(drop)));
    other.sign_digest([1; 32]).unwrap();
    let transport = hsm.ensure_agreement_key("k").unwrap();
    let (_, peer) = ephemeral(1);
    transport.agree(&peer).unwrap();
    assert_eq!(hsm.agreement_key_there("k").unwrap(), transport.public_key());
    hsm.agreement_key_destroy("k").unwrap();
    assert!(missing(transport.agree(&peer).map(drop)) && missing(hsm.agreement_key_there("k").map(drop)));
    // Again, or what a crash has left half done.
    hsm.signing_key_destroy("k").unwrap();
    hsm.ensure_signing_key("k").unwrap();
    destroy(stage, ObjectClass::PRIVATE_KEY, "warifu/sign/k");
    hsm.signing_key_destroy("k").unwrap();
    assert_ne!(hsm.ensure_signing_key("k").unwrap().public_key(), key.public_key());
}

pub(crate) fn signatures_verify(stage: &Stage) {
    let hsm = stage.hsm("t");
    let key = hsm.ensure_signing_key("k").unwrap();
    let verifier = VerifyingKey::from_sec1_bytes(&key.public_key().to_uncompressed()).unwrap();
    for message in [b"".as_slice(), b"an order", &[0xee; 100_000]] {
        let signature = Signature::from_slice(&key.sign(message).unwrap()).unwrap();
        verifier.verify_prehash(&Sha256::digest(message), &signature).unwrap();
    }

    let key = hsm.ensure_ed25519_key("k").unwrap();
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let (_, ed25519) =
        algorithms.mapping.iter().find(|(scheme, _)| *scheme == SignatureScheme::ED25519).unwrap();
    for message in [b"a checkpoint".as_slice(), &[0xee; 100_000]] {
        let signature = key.sign(message).unwrap();
        ed25519[0].verify_signature(&key.public(), message, &signature).unwrap();
        assert!(ed25519[0].verify_signature(&key.public(), b"another", &signature).is_err());
    }
}

pub(crate) fn agreement_is_ecdh(stage: &Stage) {
    let key = stage.hsm("t").ensure_agreement_key("transport").unwrap();
    for n in 0..50 {
        let (secret, public) = ephemeral(n);
        assert_eq!(*key.agree(&public).unwrap().expose(), ecdh(&secret, &key.public_key()));
    }
}

pub(crate) fn secrets_cannot_be_read(stage: &Stage) {
    let hsm = stage.hsm("t");
    hsm.ensure_signing_key("k").unwrap();
    hsm.ensure_ed25519_key("k").unwrap();
    hsm.ensure_agreement_key("k").unwrap();
    hsm.ensure_kek("k").unwrap();
    hsm.grant_key_generate("k").unwrap();
    let session = stage.session("t");
    let mut seen = 0;
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY] {
        for object in session.find_objects(&[Attribute::Class(class)]).unwrap() {
            seen += 1;
            assert!(session.get_attributes(object, &[AttributeType::Value]).unwrap().is_empty());
        }
    }
    assert_eq!(seen, 5);
}

pub(crate) fn two_threads_work_in_parallel(stage: &Stage) {
    let hsm = stage.hsm("t");
    let agreement = hsm.ensure_agreement_key("k").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (hsm, agreement) = (hsm.clone(), &agreement);
            scope.spawn(move || {
                let signing = hsm.ensure_signing_key("shared by all").unwrap();
                let kek = hsm.ensure_kek("shared by all").unwrap();
                for n in 0..20 {
                    signing.sign_digest([n; 32]).unwrap();
                    let (secret, public) = ephemeral(n);
                    let x = agreement.agree(&public).unwrap();
                    assert_eq!(*x.expose(), ecdh(&secret, &agreement.public_key()));
                    let sealed = kek.seal(&[n; 32], &[thread]).unwrap();
                    assert_eq!(*kek.open(&sealed, &[thread]).unwrap(), [n; 32]);
                }
            });
        }
    });
    drop((hsm, agreement));
    stage.lose_sessions();
    let session = stage.session("t");
    user_login(&session);
    let found = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap();
    assert_eq!(found.len(), 2, "the threads made one signing key, not four");
}
