//! The organization's certificate profiles, all in one table (RFC 5280, section 4).
//!
//! Each has critical basic constraints and key usages, a random serial number of 128 bits, key identifiers, and ids for
//! names. What is below the root says where its issuer's CRL and certificate are (sections 4.2.1.13 and 4.2.2.1).
//!
//! | profile | issuer | days | key usage | extended | names |
//! |---|---|---|---|---|---|
//! | root | itself | 30 × 365 | keyCertSign, cRLSign; path length 1 | | |
//! | issuing CA | root | 20 × 365 | keyCertSign, cRLSign; path length 0 | | |
//! | service | issuing CA | 5 × 365 | digitalSignature | serverAuth, clientAuth | DNS or IP, URI |
//! | card authentication (9A) | issuing CA | 5 × 365 | digitalSignature | clientAuth | URI |
//! | card signature (9C) | issuing CA | 5 × 365 | digitalSignature, contentCommitment | | URI |
//! | card share (`A`) | issuing CA | 5 × 365 | keyAgreement | | URIs of grant and unit |
//! | unit (`P`) | issuing CA | 5 × 365 | keyAgreement | | URI |

use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use warifu_api::wire::authority::CertificateKind;

/// What certificates of one kind have in common.
#[derive(Debug)]
pub struct Profile {
    /// How long one is good for.
    pub days: u32,
    /// How many authorities may be below it; none for an end entity.
    pub path_length: Option<u8>,
    /// Critical.
    pub usages: &'static [KeyUsagePurpose],
    /// Empty for none.
    pub extended: &'static [ExtendedKeyUsagePurpose],
}

const LEAF_DAYS: u32 = 5 * 365;
const AUTHORITY: &[KeyUsagePurpose] = &[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];

/// The root of everything, with a key that signs nothing but the issuing CA and one CRL.
pub const ROOT: Profile = Profile { days: 30 * 365, path_length: Some(1), usages: AUTHORITY, extended: &[] };
/// The issuing CA.
pub const ISSUING: Profile =
    Profile { days: 20 * 365, path_length: Some(0), usages: AUTHORITY, extended: &[] };
/// TLS of the kms and of sites, as server and as client.
pub const SERVICE: Profile = Profile {
    days: LEAF_DAYS,
    path_length: None,
    usages: &[KeyUsagePurpose::DigitalSignature],
    extended: &[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
};
/// A card's 9A key.
pub const CARD_AUTHENTICATION: Profile = Profile {
    days: LEAF_DAYS,
    path_length: None,
    usages: &[KeyUsagePurpose::DigitalSignature],
    extended: &[ExtendedKeyUsagePurpose::ClientAuth],
};
/// A card's 9C key.
pub const CARD_SIGNATURE: Profile = Profile {
    days: LEAF_DAYS,
    path_length: None,
    usages: &[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment],
    extended: &[],
};
/// `A`: a key shows in PKCS#11 middleware only with a certificate over it. It agrees on keys with a half of a unit's key, and
/// is of no use without the site.
pub const CARD_SHARE: Profile =
    Profile { days: LEAF_DAYS, path_length: None, usages: &[KeyUsagePurpose::KeyAgreement], extended: &[] };
/// `P`, whose private key exists nowhere.
pub const UNIT: Profile =
    Profile { days: LEAF_DAYS, path_length: None, usages: &[KeyUsagePurpose::KeyAgreement], extended: &[] };

/// The profile of a kind of certificate.
#[must_use]
pub fn of(kind: CertificateKind) -> &'static Profile {
    match kind {
        CertificateKind::Authority => &ISSUING,
        CertificateKind::Service => &SERVICE,
        CertificateKind::CardAuthentication => &CARD_AUTHENTICATION,
        CertificateKind::CardSignature => &CARD_SIGNATURE,
        CertificateKind::CardShare => &CARD_SHARE,
        CertificateKind::Unit => &UNIT,
    }
}
