//! Certificate revocation lists, as the kms reads them before it serves them to others (RFC 5280, section 5).

use warifu_ledger::statement::Millis;
use x509_parser::oid_registry::OID_SIG_ECDSA_WITH_SHA256;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};
use x509_parser::x509::X509Version;

/// What a CRL says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlSummary {
    /// Its number; that of a later one is larger.
    pub number: u64,
    /// When it was made, in whole seconds.
    pub this_update: Millis,
    /// When there is another one at the latest, in whole seconds.
    pub next_update: Millis,
    /// How many certificates it lists.
    pub revoked: usize,
}

/// Why something is no CRL of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// It does not parse, or something follows.
    #[error("it does not parse")]
    Malformed,
    /// The issuer's certificate does not parse, or may not sign CRLs.
    #[error("the issuer's certificate is none that signs CRLs")]
    Issuer,
    /// It is another issuer's.
    #[error("it is another issuer's")]
    OtherIssuer,
    /// The issuer did not sign it.
    #[error("its signature is not the issuer's")]
    Signature,
    /// It has no number, or one of more than 63 bits.
    #[error("it has no number that fits")]
    Number,
    /// It says no times that follow each other.
    #[error("its times make no sense")]
    Times,
    /// It is not the whole of what its issuer revoked: a delta, or limited to some certificates.
    #[error("it is not the whole list of its issuer")]
    Partial,
}

/// Reads a CRL in DER, if the issuer with this certificate (DER) signed it, with ECDSA and SHA-256.
///
/// # Errors
/// [`CrlError`].
pub fn verified(der: &[u8], issuer: &[u8]) -> Result<CrlSummary, CrlError> {
    let (rest, issuer) = X509Certificate::from_der(issuer).map_err(|_| CrlError::Issuer)?;
    let signs = issuer.key_usage().ok().flatten().is_some_and(|usage| usage.value.crl_sign());
    if !rest.is_empty() || !signs {
        return Err(CrlError::Issuer);
    }
    let (rest, crl) = CertificateRevocationList::from_der(der).map_err(|_| CrlError::Malformed)?;
    if !rest.is_empty() || crl.version() != Some(X509Version::V2) {
        return Err(CrlError::Malformed);
    }
    if crl.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(CrlError::OtherIssuer);
    }
    let ecdsa = [&crl.signature_algorithm, &crl.tbs_cert_list.signature]
        .iter()
        .all(|algorithm| algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA256);
    if !ecdsa || crl.verify_signature(issuer.public_key()).is_err() {
        return Err(CrlError::Signature);
    }
    // Only the two extensions that every CRL has; all others narrow what it says.
    let known =
        crl.extensions().iter().all(|extension| KNOWN.contains(&extension.oid.to_id_string().as_str()));
    if !known {
        return Err(CrlError::Partial);
    }
    let number = crl.crl_number().and_then(|number| u64::try_from(number).ok()).ok_or(CrlError::Number)?;
    if i64::try_from(number).is_err() {
        return Err(CrlError::Number);
    }
    let millis = |seconds: i64| u64::try_from(seconds).ok().map(|seconds| seconds.saturating_mul(1000));
    let this_update = millis(crl.last_update().timestamp()).ok_or(CrlError::Times)?;
    let next_update = crl.next_update().and_then(|time| millis(time.timestamp())).ok_or(CrlError::Times)?;
    if next_update <= this_update {
        return Err(CrlError::Times);
    }
    Ok(CrlSummary { number, this_update, next_update, revoked: crl.iter_revoked_certificates().count() })
}

/// Authority key identifier, CRL number.
const KNOWN: [&str; 2] = ["2.5.29.35", "2.5.29.20"];
