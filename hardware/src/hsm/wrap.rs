//! The wrap that carries a site share into one site's HSM (P-6.4): from the key management service, or out of the HSM
//! of another site, which makes the same bytes inside itself ([`Token::rewrap`](super::Token::rewrap)).
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use p256::{PublicKey, SecretKey};
    use serde_json::{Value, json};
    use warifu_split_key::issuer::CardShare;

    use super::*;

    const COMMENT: &str = "A card share for a token that unwraps it inside (P-6.3b): 65 bytes of ephemeral key, then KWP \
        (RFC 5649) under the x-coordinate of the ECDH with the card's transport key. All in hexadecimal.";

    /// As a token does it, in software.
    fn unwrapped(transport: &SecretKey, wrapped: &WrappedShare) -> Vec<u8> {
        let peer = PublicKey::from_sec1_bytes(&wrapped.ephemeral().to_uncompressed()).unwrap();
        let shared = p256::ecdh::diffie_hellman(transport.to_nonzero_scalar(), peer.as_affine());
        let mut pkcs8 = vec![0; wrapped.blob().len()];
        let pkcs8 = KwpAes256::new(shared.raw_secret_bytes()).unwrap_key(wrapped.blob(), &mut pkcs8).unwrap();
        pkcs8.to_vec()
    }

    /// `docs/vectors/card-share-wrap.json`, for whoever writes a second implementation; `WARIFU_BLESS=1` makes a new one.
    #[test]
    fn the_vector_unwraps_to_the_share() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/card-share-wrap.json");
        if std::env::var_os("WARIFU_BLESS").is_some_and(|bless| bless == "1") {
            let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
            let (transport, share) = (CardShare::draw(&mut rng), CardShare::draw(&mut rng));
            let wrapped = wrap_share(&mut rng, &transport.public(), &share.to_pkcs8_der()).unwrap();
            let vector = json!({
                "comment": COMMENT,
                "transport_private": hex::encode(*transport.expose_bytes()),
                "transport_public": hex::encode(transport.public().to_compressed()),
                "share": hex::encode(*share.expose_bytes()),
                "share_public": hex::encode(share.public().to_compressed()),
                "share_pkcs8": hex::encode(share.to_pkcs8_der().as_slice()),
                "wrapped": hex::encode(wrapped.to_bytes()),
            });
            std::fs::write(&path, format!("{vector:#}\n")).unwrap();
        }
        let vector: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let bytes = |field: &str| hex::decode(vector[field].as_str().unwrap()).unwrap();
        let transport = SecretKey::from_slice(&bytes("transport_private")).unwrap();
        let public = Point::from_sec1(&transport.public_key().to_sec1_bytes()).unwrap();
        assert_eq!(public.to_compressed().as_slice(), bytes("transport_public"));
        assert_eq!(bytes("wrapped").len(), 65 + 80);
        let wrapped = WrappedShare::from_bytes(&bytes("wrapped")).unwrap();
        let pkcs8 = unwrapped(&transport, &wrapped);
        assert_eq!(pkcs8, bytes("share_pkcs8"));
        let share = CardShare::from_bytes(bytes("share").as_slice().try_into().unwrap()).unwrap();
        assert_eq!(*share.to_pkcs8_der(), pkcs8);
        assert_eq!(share.public().to_compressed().as_slice(), bytes("share_public"));
    }
}
