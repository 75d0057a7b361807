use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::ops::Reduce;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::elliptic_curve::{Generate, PrimeField};
use p256::{NonZeroScalar, ProjectivePoint, PublicKey, Scalar};
use sha2::{Digest, Sha256};
use warifu_split_key::half::{HalfContext, HalfError, HalfProof, HalfRole, verify_half};
use warifu_split_key::hpke::{open_with_x, seal};
use warifu_split_key::issuer::IssuerHalf;
use warifu_split_key::keeper::KeeperHalf;
use warifu_split_key::point::Point;
use warifu_split_key::unit_key;

use crate::{rng, software_partial};

fn context(role: HalfRole) -> HalfContext {
    HalfContext { organization: [1; 32], unit: [2; 16], order: [3; 32], role }
}

#[test]
fn the_message_is_the_documented_one() {
    let message = context(HalfRole::Keeper).message(&Point::generator());
    let mut expected = b"warifu/half/v1".to_vec();
    expected.extend([1; 32]);
    expected.extend([2; 16]);
    expected.extend([3; 32]);
    expected.push(2);
    expected.extend(Point::generator().to_compressed());
    assert_eq!(message, expected);
    assert_eq!(message.len(), 128);
    assert_eq!(context(HalfRole::Issuer).message(&Point::generator())[94], 1);
}

#[test]
fn a_half_proves_itself_and_nothing_else() {
    let s1 = IssuerHalf::draw(&mut rng());
    let issuer = context(HalfRole::Issuer);
    let proof = s1.prove(&issuer);
    assert_eq!(verify_half(&issuer, &s1.public(), &proof), Ok(()));

    let forged = Err(HalfError::Forged);
    assert_eq!(verify_half(&HalfContext { organization: [9; 32], ..issuer }, &s1.public(), &proof), forged);
    assert_eq!(verify_half(&HalfContext { unit: [9; 16], ..issuer }, &s1.public(), &proof), forged);
    assert_eq!(verify_half(&HalfContext { order: [9; 32], ..issuer }, &s1.public(), &proof), forged);
    assert_eq!(verify_half(&context(HalfRole::Keeper), &s1.public(), &proof), forged);
    let other = IssuerHalf::draw(&mut rng()).public();
    assert_eq!(verify_half(&issuer, &other, &proof), forged);

    let s2 = KeeperHalf::draw(&mut rng());
    let keeper = context(HalfRole::Keeper);
    assert_eq!(verify_half(&keeper, &s2.public(), &s2.prove(&keeper)), Ok(()));
    // Asked in the other's role, a half still speaks in its own.
    assert_eq!(verify_half(&issuer, &s2.public(), &s2.prove(&issuer)), forged);
    assert_eq!(s2.prove(&issuer), s2.prove(&keeper));
    assert_eq!(s1.prove(&keeper), s1.prove(&issuer));
}

#[test]
fn malformed_and_altered_proofs_are_refused() {
    let s1 = IssuerHalf::draw(&mut rng());
    let issuer = context(HalfRole::Issuer);
    for bytes in [[0; 64], [0xff; 64]] {
        assert_eq!(verify_half(&issuer, &s1.public(), &HalfProof(bytes)), Err(HalfError::Malformed));
    }
    let proof = s1.prove(&issuer);
    for byte in 0..64 {
        let mut altered = proof;
        altered.0[byte] ^= 0x10;
        assert!(verify_half(&issuer, &s1.public(), &altered).is_err(), "byte {byte}");
    }
}

fn to_point(point: ProjectivePoint) -> Point {
    Point::from_sec1(point.to_affine().to_sec1_point(true).as_bytes()).unwrap()
}

fn from_point(point: &Point) -> ProjectivePoint {
    PublicKey::from_sec1_bytes(&point.to_uncompressed()).unwrap().to_projective()
}

fn reduce(bytes: &[u8]) -> Scalar {
    Scalar::reduce(&p256::FieldBytes::try_from(bytes).unwrap())
}

/// The message without `S`, as a proof must not be made; written out, so that it does not follow the code under test.
fn shorter_message(context: &HalfContext) -> Vec<u8> {
    let role = [context.role.byte()];
    [b"warifu/half/v1".as_slice(), &context.organization, &context.unit, &context.order, &role].concat()
}

fn shorter_verify(context: &HalfContext, public: &Point, proof: &HalfProof) -> bool {
    let key = VerifyingKey::from_sec1_bytes(&public.to_uncompressed()).unwrap();
    key.verify(&shorter_message(context), &Signature::from_slice(&proof.0).unwrap()).is_ok()
}

/// Design 3.1: a keeper who sees `S1` first and whose proof does not cover `S2` picks `R = αG + βS1`, `r = x(R)`,
/// `s = -r/β` and gets a valid signature for `S2 = tG - S1` with `t = (sα - h)/r`. He cannot know `s2`, yet
/// `P = tG`, and he knows all of `x = t`.
#[test]
fn half_forgery() {
    let s1 = IssuerHalf::draw(&mut rng());
    let keeper = context(HalfRole::Keeper);
    let h = reduce(&Sha256::digest(shorter_message(&keeper)));

    let alpha = NonZeroScalar::generate_from_rng(&mut rng());
    let beta = NonZeroScalar::generate_from_rng(&mut rng());
    let commitment = ProjectivePoint::GENERATOR * *alpha + from_point(&s1.public()) * *beta;
    let r = reduce(&to_point(commitment).x());
    let s = -r * beta.invert().unwrap();
    let t = (s * *alpha - h) * r.invert().unwrap();
    let rogue = to_point(ProjectivePoint::GENERATOR * t - from_point(&s1.public()));
    let forged = HalfProof([r.to_repr().0, s.to_repr().0].concat().try_into().unwrap());

    // The shorter message is fooled, and one party has the whole key.
    assert!(shorter_verify(&keeper, &rogue, &forged));
    let p = unit_key(&s1.public(), &rogue).unwrap();
    let sealed = seal(&mut rng(), &p, b"info", b"", b"for two parties only").unwrap();
    let enc = Point::from_sec1(&sealed.enc).unwrap();
    let alone = software_partial(&t.to_repr().0, &enc);
    let opened = open_with_x(&alone, &enc, &p, b"info", b"", &sealed.ciphertext).unwrap();
    assert_eq!(opened.as_slice(), b"for two parties only");

    // The full message is not.
    assert_eq!(verify_half(&keeper, &rogue, &forged), Err(HalfError::Forged));
}

/// For `S2 = T - S1` with `t` chosen freely, nothing that the forger can sign or has seen is a proof.
#[test]
fn a_rogue_half_has_no_proof() {
    let (s1, t) = (IssuerHalf::draw(&mut rng()), KeeperHalf::draw(&mut rng()));
    let (issuer, keeper) = (context(HalfRole::Issuer), context(HalfRole::Keeper));
    let rogue = Point::checked_sub(&t.public(), &s1.public()).unwrap();
    assert_eq!(unit_key(&s1.public(), &rogue).unwrap(), t.public());

    let t_key = SigningKey::from(crate::scalar(&t.expose_bytes()));
    let over_rogue: Signature = t_key.sign(&keeper.message(&rogue));
    for proof in [t.prove(&keeper), s1.prove(&issuer), HalfProof(over_rogue.to_bytes().0)] {
        assert_eq!(verify_half(&keeper, &rogue, &proof), Err(HalfError::Forged));
    }
}
