//! What the kms holds: the keeper half `s2`, and a site's share `b` until it is wrapped to the sites.

use zeroize::Zeroizing;

use crate::half::{HalfContext, HalfProof, HalfRole, prove};
use crate::issuer::Delta;
use crate::scalar::{ScalarError, drawn_scalar, secret_scalar};

drawn_scalar! {
    /// The keeper half `s2`. It only ever exists at the kms: wrapped by its HSM, or in this type inside one call.
    KeeperHalf
}

secret_scalar! {
    /// A site's share `b` of a unit key, for one grant.
    SiteShare
}

/// Everything of the 67-byte PKCS#8 before the scalar (RFC 5958 version 0 around RFC 5915 version 1, curve in the
/// algorithm identifier, no public key).
const PKCS8_PREFIX: [u8; 35] = [
    0x30, 0x41, // SEQUENCE PrivateKeyInfo
    0x02, 0x01, 0x00, // version 0
    0x30, 0x13, // SEQUENCE AlgorithmIdentifier
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, // id-ecPublicKey
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, // prime256v1
    0x04, 0x27, // OCTET STRING privateKey
    0x30, 0x25, // SEQUENCE ECPrivateKey
    0x02, 0x01, 0x01, // version 1
    0x04, 0x20, // OCTET STRING, the scalar follows
];

impl KeeperHalf {
    /// Proves possession of `s2`, always as [`HalfRole::Keeper`]: the context's own role is not heeded, so that
    /// no caller can make a keeper half speak as an issuer's.
    pub fn prove(&self, context: &HalfContext) -> HalfProof {
        prove(&self.0, &HalfContext { role: HalfRole::Keeper, ..*context })
    }

    /// `b = s2 + d (mod n)`, consuming `d`; fails with [`ScalarError::Zero`] where `d = -s2`.
    pub fn site_share(&self, delta: Delta) -> Result<SiteShare, ScalarError> {
        self.0.plus(delta.as_scalar()).map(SiteShare)
    }
}

impl SiteShare {
    /// `b` as a DER PKCS#8 `PrivateKeyInfo` (RFC 5958), 67 bytes: the form that `C_UnwrapKey` takes.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(67));
        der.extend_from_slice(&PKCS8_PREFIX);
        der.extend_from_slice(self.expose_bytes().as_slice());
        der
    }
}
