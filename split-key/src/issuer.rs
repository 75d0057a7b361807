//! What the ca holds: the issuer half `s1`, and a card's share `a` while it is on its way to the card.

use zeroize::Zeroizing;

use crate::half::{HalfContext, HalfProof, HalfRole, prove};
use crate::scalar::{ScalarError, drawn_scalar, pkcs8_der, secret_scalar};

drawn_scalar! {
    /// The issuer half `s1`. It only ever exists at the ca: wrapped by its HSM, or in this type inside one call.
    IssuerHalf
}

drawn_scalar! {
    /// A card's share `a` of a unit key.
    ///
    /// Outside its card, together with the site share `b` of the same grant, it *is* the unit key: it is imported
    /// and dropped, never kept beyond the grant.
    CardShare
}

secret_scalar! {
    /// `d = s1 - a`, on its way from the ca to the kms.
    ///
    /// Never stored, not even sealed: with `a` it is `s1`, and with `s2` it is `b`. The kms consumes it in
    /// [`crate::keeper::KeeperHalf::site_share`].
    Delta
}

impl IssuerHalf {
    /// Proves possession of `s1`, always as [`HalfRole::Issuer`]: the context's own role is not heeded, so that
    /// no caller can make an issuer half speak as a keeper's.
    pub fn prove(&self, context: &HalfContext) -> HalfProof {
        prove(&self.0, &HalfContext { role: HalfRole::Issuer, ..*context })
    }

    /// `d = s1 - a (mod n)`; fails with [`ScalarError::Zero`] where `a = s1`.
    pub fn delta(&self, share: &CardShare) -> Result<Delta, ScalarError> {
        self.0.minus(&share.0).map(Delta)
    }
}

impl CardShare {
    /// `a` as a DER PKCS#8 `PrivateKeyInfo` (RFC 5958), 67 bytes: the form that `C_UnwrapKey` takes.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        pkcs8_der(&self.0)
    }
}

impl Delta {
    pub(crate) fn as_scalar(&self) -> &crate::scalar::SecretScalar {
        &self.0
    }
}
