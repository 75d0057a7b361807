//! Tests of the public interface; the vectors that need the inside are unit tests.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails, in its helper functions too"
)]

mod grants;
mod half_proofs;
mod interop;
mod opening;
mod routing;
mod secrets;

use p256::{NonZeroScalar, PublicKey, SecretKey};
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;

/// The system's randomness, as the parameter that the crate wants.
pub fn rng() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// What a card or an HSM answers for a share and a file's ephemeral key.
pub fn software_partial(secret: &[u8; 32], r: &Point) -> PartialX {
    let public = PublicKey::from_sec1_bytes(&r.to_uncompressed()).unwrap();
    let shared = SecretKey::from_slice(secret).unwrap().diffie_hellman(&public);
    PartialX::from_bytes(&shared.raw_secret_bytes().0)
}

/// For arithmetic that the crate itself does not offer.
pub fn scalar(bytes: &[u8; 32]) -> NonZeroScalar {
    NonZeroScalar::from_repr((*bytes).into()).unwrap()
}
