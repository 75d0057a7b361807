//! What the kms holds: the keeper half `s2`, and a site's share `b` until it is wrapped to the sites.

use zeroize::Zeroizing;

use crate::half::{HalfContext, HalfProof, HalfRole, prove};
use crate::issuer::Delta;
use crate::scalar::{ScalarError, drawn_scalar, pkcs8_der, secret_scalar};

drawn_scalar! {
    /// The keeper half `s2`. It only ever exists at the kms: wrapped by its HSM, or in this type inside one call.
    KeeperHalf
}

secret_scalar! {
    /// A site's share `b` of a unit key, for one grant.
    SiteShare
}

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
        pkcs8_der(&self.0)
    }
}
