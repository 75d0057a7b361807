//! X.509 signed by the token: [`SigningKey`] as `rcgen` sees it.

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};

use super::SigningKey;
use crate::signer::sign_der;

impl PublicKeyData for SigningKey {
    /// The uncompressed SEC1 point, 65 bytes.
    fn der_bytes(&self) -> &[u8] {
        &self.sec1
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        sign_der(self, message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
