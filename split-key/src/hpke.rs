//! HPKE base mode (RFC 9180) for one suite, with the ECDH result coming from outside.
//!
//! DHKEM(P-256, HKDF-SHA256) `0x0010`, HKDF-SHA256 `0x0001`, ChaCha20Poly1305 `0x0003`: what age's `p256tag` stanzas
//! use. Decapsulation needs only the public points and `x(xR)`, so it works where the private key exists nowhere.
//! Contexts are single-shot (sequence number 0 only): a nonce cannot repeat, as every seal draws a fresh ephemeral key.

pub(crate) mod schedule;
#[cfg(test)]
mod vectors;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce};
use p256::ecdh::diffie_hellman;
use rand_core::CryptoRng;
use subtle::Choice;
use zeroize::Zeroizing;

use crate::partial::{Candidate, PartialX};
use crate::point::Point;
use crate::scalar::SecretScalar;
use schedule::{CHACHA20_POLY1305, KeySchedule, decapsulate};

/// What [`seal`] produces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The encapsulated key: the ephemeral point, uncompressed SEC1, 65 bytes.
    pub enc: [u8; 65],
    /// The ciphertext, 16 bytes longer than the plaintext.
    pub ciphertext: Vec<u8>,
}

/// The ciphertext did not open. Whether a key, the additional data or the ciphertext was wrong is deliberately not
/// said: an attacker who sends files learns nothing from the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No candidate opened it, or more than one did.
    #[error("the sealed data does not open with this key")]
    DoesNotOpen,
}

/// Why nothing could be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Longer than ChaCha20Poly1305 takes under one nonce (2³⁸ − 64 bytes).
    #[error("{length} bytes are too long for one sealed message")]
    TooLong {
        /// The plaintext's length in bytes.
        length: usize,
    },
}

/// Opens a ciphertext sealed to `recipient` with encapsulated key `enc`, given the candidates for the x-coordinate of
/// the ECDH of the two (see [`crate::partial::join`]).
///
/// Every candidate is tried, whatever the others gave; exactly one must open.
pub fn open(
    candidates: &[Candidate],
    enc: &Point,
    recipient: &Point,
    info: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let mut opened = None;
    let mut count = 0_usize;
    for candidate in candidates {
        if let Some(plaintext) =
            try_open(candidate.x(), candidate.is_usable(), enc, recipient, info, aad, ciphertext)
        {
            count += 1;
            opened = Some(plaintext);
        }
    }
    match (opened, count) {
        (Some(plaintext), 1) => Ok(plaintext),
        _ => Err(OpenError::DoesNotOpen),
    }
}

/// Like [`open`], for an ECDH result that is known: the x-coordinate that one card or HSM computed with a key of its
/// own, such as a transport key.
pub fn open_with_x(
    x: &PartialX,
    enc: &Point,
    recipient: &Point,
    info: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    try_open(x.expose(), Choice::from(1), enc, recipient, info, aad, ciphertext).ok_or(OpenError::DoesNotOpen)
}

/// Seals to `recipient` under a fresh ephemeral key (RFC 9180, section 6.1, `SealBase`).
pub fn seal(
    rng: &mut (impl CryptoRng + ?Sized),
    recipient: &Point,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Sealed, SealError> {
    let ephemeral = SecretScalar::draw(rng);
    let enc = ephemeral.public();
    let ecdh = diffie_hellman(ephemeral.as_nonzero(), recipient.as_affine());
    let shared = decapsulate(ecdh.raw_secret_bytes(), &enc, recipient);
    let ciphertext = seal_under(&shared, info, aad, plaintext)?;
    Ok(Sealed { enc: enc.to_uncompressed(), ciphertext })
}

pub(crate) fn seal_under(
    shared: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let schedule = KeySchedule::derive(&CHACHA20_POLY1305, shared, info);
    cipher(&schedule)
        .encrypt(&Nonce::from(schedule.base_nonce), Payload { msg: plaintext, aad })
        .map_err(|_| SealError::TooLong { length: plaintext.len() })
}

fn try_open(
    x: &[u8],
    usable: Choice,
    enc: &Point,
    recipient: &Point,
    info: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let shared = decapsulate(x, enc, recipient);
    let schedule = KeySchedule::derive(&CHACHA20_POLY1305, &shared, info);
    let opened = cipher(&schedule)
        .decrypt(&Nonce::from(schedule.base_nonce), Payload { msg: ciphertext, aad })
        .ok()
        .map(Zeroizing::new);
    // Last, so that an unusable candidate costs the same work as any other.
    opened.filter(|_| bool::from(usable))
}

fn cipher(schedule: &KeySchedule) -> ChaCha20Poly1305 {
    let key: &Key = (&*schedule.key).into();
    ChaCha20Poly1305::new(key)
}
