//! Key derivation of RFC 9180: `ExtractAndExpand` (section 4.1) and `KeySchedule` in base mode (section 5.1).

use hkdf::{Hkdf, HkdfExtract};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::point::Point;

const VERSION: &[u8] = b"HPKE-v1";
const MODE_BASE: u8 = 0;
const KEM_DHKEM_P256: [u8; 2] = [0x00, 0x10];
const KDF_HKDF_SHA256: [u8; 2] = [0x00, 0x01];

/// An AEAD's identifier and key length `Nk` (section 7.3). All of them have 12-byte nonces.
pub(crate) struct AeadId<const NK: usize>(pub(crate) [u8; 2]);

pub(crate) const CHACHA20_POLY1305: AeadId<32> = AeadId([0x00, 0x03]);

/// Key and nonce of one HPKE context.
pub(crate) struct KeySchedule<const NK: usize = 32> {
    pub(crate) key: Zeroizing<[u8; NK]>,
    pub(crate) base_nonce: [u8; 12],
}

/// The KEM's shared secret from the ECDH's x-coordinate: `ExtractAndExpand(dh, enc ‖ pkR)`.
pub(crate) fn decapsulate(ecdh: &[u8], enc: &Point, recipient: &Point) -> Zeroizing<[u8; 32]> {
    let suite: &[&[u8]] = &[b"KEM", &KEM_DHKEM_P256];
    let extracted = labeled_extract(suite, &[], b"eae_prk", ecdh);
    let context: &[&[u8]] = &[&enc.to_uncompressed(), &recipient.to_uncompressed()];
    labeled_expand(&extracted.1, suite, b"shared_secret", context)
}

impl<const NK: usize> KeySchedule<NK> {
    /// Derives key and base nonce for `info`, without a pre-shared key.
    pub(crate) fn derive(aead: &AeadId<NK>, shared: &[u8; 32], info: &[u8]) -> Self {
        let suite: &[&[u8]] = &[b"HPKE", &KEM_DHKEM_P256, &KDF_HKDF_SHA256, &aead.0];
        let psk_id_hash = labeled_extract(suite, &[], b"psk_id_hash", &[]).0;
        let info_hash = labeled_extract(suite, &[], b"info_hash", info).0;
        let context: &[&[u8]] = &[&[MODE_BASE], psk_id_hash.as_slice(), info_hash.as_slice()];

        let secret = labeled_extract(suite, shared, b"secret", &[]).1;
        Self {
            key: labeled_expand(&secret, suite, b"key", context),
            base_nonce: *labeled_expand(&secret, suite, b"base_nonce", context),
        }
    }
}

fn labeled_extract(
    suite: &[&[u8]],
    salt: &[u8],
    label: &[u8],
    ikm: &[u8],
) -> (Zeroizing<[u8; 32]>, Hkdf<Sha256>) {
    let mut extract = HkdfExtract::<Sha256>::new(Some(salt));
    extract.input_ikm(VERSION);
    suite.iter().for_each(|part| extract.input_ikm(part));
    extract.input_ikm(label);
    extract.input_ikm(ikm);
    let (mut prk, hkdf) = extract.finalize();
    let kept = Zeroizing::new(prk.0);
    prk.as_mut_slice().zeroize();
    (kept, hkdf)
}

fn labeled_expand<const N: usize>(
    prk: &Hkdf<Sha256>,
    suite: &[&[u8]],
    label: &[u8],
    info: &[&[u8]],
) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 255 * 32, "HKDF-Expand gives at most 255 blocks (RFC 5869, section 2.3)") };
    let length = [(N >> 8) as u8, (N & 0xff) as u8];
    let mut parts: Vec<&[u8]> = vec![&length, VERSION];
    parts.extend_from_slice(suite);
    parts.push(label);
    parts.extend_from_slice(info);
    let mut out = Zeroizing::new([0; N]);
    if prk.expand_multi_info(&parts, out.as_mut_slice()).is_err() {
        unreachable!("the length was checked at compile time");
    }
    out
}
