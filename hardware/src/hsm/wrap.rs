//! The wrap that carries a site share into one site's HSM (P-6.4): from the key management service, or out of the HSM
//! of another site, which makes the same bytes inside itself ([`Hsm::rewrap`](super::Hsm::rewrap)).
//!
//! Ephemeral ECDH on P-256 with the site's key for this grant; the raw x-coordinate, 32 bytes, is the AES-256 key of
//! a KWP (RFC 5649) around the share's PKCS#8. No key derivation lies between, because an HSM must be able to go the
//! same way inside itself with `CKD_NULL`, the one derivation that every module offers; the ephemeral key is fresh for
//! each wrap, so each AES key wraps once. KWP's integrity check is deterministic and needs no nonce.

use aes_kw::{KeyInit, KwpAes256};
use p256::elliptic_curve::Generate;
use p256::{NonZeroScalar, PublicKey};
use rand_core::CryptoRng;
use warifu_split_key::point::{Point, PointError};
use zeroize::Zeroizing;

/// Length of the ephemeral point in front of the blob, uncompressed SEC1.
const EPHEMERAL_LEN: usize = 65;
/// A PKCS#8 of a P-256 key has 67 to 138 bytes; what is far from that is not one.
const PKCS8_LEN: std::ops::RangeInclusive<usize> = 64..=256;

/// A site share under one site's key for one grant: ciphertext, and the form in which a site keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedShare {
    ephemeral: Point,
    blob: Vec<u8>,
}

/// Why bytes are no [`WrappedShare`], or a share cannot be wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// Too short, too long, or not a whole number of 8-byte blocks after the ephemeral point.
    #[error("{length} bytes cannot be a wrapped share")]
    Length {
        /// The given length in bytes.
        length: usize,
    },
    /// The ephemeral point is none.
    #[error("the ephemeral key of a wrapped share is not a P-256 point")]
    Ephemeral {
        /// What is wrong with it.
        #[source]
        source: PointError,
    },
    /// What was to be wrapped has a length that no PKCS#8 of a P-256 key has.
    #[error("{length} bytes cannot be the PKCS#8 of a P-256 key")]
    Pkcs8Length {
        /// The given length in bytes.
        length: usize,
    },
}

impl WrappedShare {
    /// The sender's ephemeral public key.
    pub fn ephemeral(&self) -> &Point {
        &self.ephemeral
    }

    /// The KWP ciphertext (RFC 5649), a multiple of 8 bytes.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The ephemeral point, 65 bytes uncompressed, then the KWP ciphertext.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.ephemeral.to_uncompressed().as_slice(), &self.blob].concat()
    }

    /// Reads what [`Self::to_bytes`] writes. The point is validated here; whether the blob unwraps, the HSM finds out.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WrapError> {
        let length = bytes.len();
        let (ephemeral, blob) = bytes.split_at_checked(EPHEMERAL_LEN).ok_or(WrapError::Length { length })?;
        check_blob(blob)?;
        let ephemeral = Point::from_sec1(ephemeral).map_err(|source| WrapError::Ephemeral { source })?;
        Ok(Self { ephemeral, blob: blob.to_vec() })
    }

    /// What a token wrapped under the key agreed with `ephemeral`.
    pub(super) fn from_parts(ephemeral: Point, blob: Vec<u8>) -> Result<Self, WrapError> {
        check_blob(&blob)?;
        Ok(Self { ephemeral, blob })
    }
}

/// RFC 5649, section 3: the padded plaintext and one 8-byte block before it.
fn check_blob(blob: &[u8]) -> Result<(), WrapError> {
    let plain = blob.len().saturating_sub(8);
    if !blob.len().is_multiple_of(8) || !PKCS8_LEN.contains(&plain) {
        return Err(WrapError::Length { length: EPHEMERAL_LEN + blob.len() });
    }
    Ok(())
}

/// Wraps a share, given as the PKCS#8 `PrivateKeyInfo` (RFC 5208) of a P-256 key in DER, to a site's key for the grant.
///
/// The caller must have verified the site's signature over `site_grant_key`: whoever owns that key learns the share.
pub fn wrap_share<R: CryptoRng + ?Sized>(
    rng: &mut R,
    site_grant_key: &Point,
    pkcs8: &[u8],
) -> Result<WrappedShare, WrapError> {
    let length = pkcs8.len();
    if !PKCS8_LEN.contains(&length) {
        return Err(WrapError::Pkcs8Length { length });
    }
    let recipient = PublicKey::from_sec1_bytes(&site_grant_key.to_uncompressed())
        .map_err(|_| WrapError::Ephemeral { source: PointError::NotOnCurve })?;
    let secret = Zeroizing::new(NonZeroScalar::generate_from_rng(rng));
    let ephemeral = Point::from_sec1(&PublicKey::from_secret_scalar(&secret).to_sec1_bytes())
        .map_err(|source| WrapError::Ephemeral { source })?;
    let shared = p256::ecdh::diffie_hellman(&*secret, recipient.as_affine());

    let kwp = KwpAes256::new(shared.raw_secret_bytes());
    let mut blob = vec![0; length.next_multiple_of(8) + 8];
    kwp.wrap_key(pkcs8, &mut blob).map_err(|_| WrapError::Pkcs8Length { length })?;
    Ok(WrappedShare { ephemeral, blob })
}
