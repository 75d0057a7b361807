//! Keys and signatures for tests, each known by a label.

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::PublicKey;
use warifu_ledger::statement::Statement;
use warifu_split_key::point::Point;

fn key(label: &str) -> SigningKey {
    SigningKey::from_slice(Digest::of(label.as_bytes()).as_bytes()).unwrap()
}

pub(super) fn public(label: &str) -> PublicKey {
    Point::from_sec1(key(label).verifying_key().to_sec1_point(true).as_bytes()).unwrap().into()
}

pub(super) fn signed(statement: &impl Statement, by: &str) -> Envelope {
    let mut envelope = Envelope::unsigned(statement).unwrap();
    let signature: p256::ecdsa::Signature = key(by).sign_prehash(envelope.digest().as_bytes()).unwrap();
    envelope.add_signature(&public(by), signature.to_bytes().into());
    envelope
}
