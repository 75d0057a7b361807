//! Judging a card maker's certificate that a key was made on a card and cannot leave it.
//!
//! The format is Yubico's: <https://developers.yubico.com/PIV/Introduction/PIV_attestation.html>. Which roots to trust is
//! the caller's decision; there is no default, and the root of virtual test cards must never become one.

use warifu_split_key::point::Point;
use x509_parser::der_parser::asn1_rs::{Integer, Oid, oid};
use x509_parser::oid_registry::{
    OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::KeyRole;

const FIRMWARE: Oid<'static> = oid!(1.3.6.1.4.1.41482.3.3);
const SERIAL: Oid<'static> = oid!(1.3.6.1.4.1.41482.3.7);
const POLICY: Oid<'static> = oid!(1.3.6.1.4.1.41482.3.8);
const SUBJECT: &str = "YubiKey PIV Attestation ";
const LONGEST_CHAIN: usize = 5;

/// When a key wants the PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinPolicy {
    /// Never.
    Never,
    /// Once after insertion.
    Once,
    /// Before every use.
    Always,
}

/// When a key wants the card to be touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TouchPolicy {
    /// Never.
    Never,
    /// At every use.
    Always,
    /// At most every 15 seconds.
    Cached,
}

/// A key that was made on a card, on the word of the card's maker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttestedKey {
    /// The card's serial number.
    pub serial: u32,
    /// The firmware: major, minor, patch.
    pub firmware: [u8; 3],
    /// The slot the key is in.
    pub role: KeyRole,
    /// When the key wants the PIN.
    pub pin_policy: PinPolicy,
    /// When the key wants a touch.
    pub touch_policy: TouchPolicy,
    /// The key.
    pub public_key: Point,
}

/// Why an attestation was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// No certificate, or more than five.
    #[error("an attestation has 1 to {LONGEST_CHAIN} certificates, not {length}")]
    Length {
        /// How many there were.
        length: usize,
    },
    /// A certificate is not DER X.509.
    #[error("certificate {index} of the attestation is malformed")]
    Malformed {
        /// Which, from 0, the attestation itself; roots count on after the chain.
        index: usize,
    },
    /// A certificate that signed another is not one of an authority.
    #[error("certificate {index} of the attestation may not sign certificates")]
    NotAnAuthority {
        /// Which, from 0.
        index: usize,
    },
    /// A signature is wrong, made with an outdated algorithm, or by somebody other than the certificate says.
    #[error("certificate {index} of the attestation was not signed by the next one")]
    BadSignature {
        /// Which, from 0.
        index: usize,
    },
    /// The chain ends at none of the trusted roots.
    #[error("the attestation leads to no trusted maker")]
    UnknownMaker,
    /// The attestation is for a key in another slot.
    #[error("the attestation is for another key of the card")]
    WrongSlot {
        /// The slot's number, where it could be read.
        slot: Option<u8>,
    },
    /// The attested key is not on P-256.
    #[error("the attested key is not a P-256 key")]
    NotP256,
    /// The attestation is another card's.
    #[error("the attestation is of the card {serial}")]
    OtherCard {
        /// That card's serial number.
        serial: u32,
    },
    /// The attestation is for another key than the one in the slot.
    #[error("the attestation is for another key than the one in the slot")]
    OtherKey,
    /// The card would use the key without the PIN.
    #[error("the key may be used without the PIN")]
    NoPin,
    /// A statement that an attestation must make is missing or malformed.
    #[error("the attestation does not state the card's {what}")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
}

/// As [`verify`], of just this key on the card with this serial number, which uses it only after the PIN. What a touch is wanted
/// for is the card's own affair.
///
/// # Errors
/// [`AttestationError`].
pub fn verify_key(
    chain: &[impl AsRef<[u8]>],
    roots: &[impl AsRef<[u8]>],
    role: KeyRole,
    key: &Point,
    serial: u32,
) -> Result<AttestedKey, AttestationError> {
    let attested = verify(chain, roots, role)?;
    if attested.serial != serial {
        return Err(AttestationError::OtherCard { serial: attested.serial });
    }
    if attested.public_key != *key {
        return Err(AttestationError::OtherKey);
    }
    if attested.pin_policy == PinPolicy::Never {
        return Err(AttestationError::NoPin);
    }
    Ok(attested)
}

/// Judges `chain` (DER; the attestation first, then the certificate that signed it, and so on; a root at the end is
/// allowed) by `roots` (DER), for the key of `role`.
///
/// Dates are not looked at: a card has no clock, and Yubico's certificates are made to outlive theirs.
pub fn verify(
    chain: &[impl AsRef<[u8]>],
    roots: &[impl AsRef<[u8]>],
    role: KeyRole,
) -> Result<AttestedKey, AttestationError> {
    if !(1..=LONGEST_CHAIN).contains(&chain.len()) {
        return Err(AttestationError::Length { length: chain.len() });
    }
    let certificates = parse_all(chain, 0)?;
    let roots = parse_all(roots, chain.len())?;

    for (index, (certificate, issuer)) in certificates.iter().zip(certificates.iter().skip(1)).enumerate() {
        signed_by(certificate, issuer, index)?;
        if !is_authority(issuer) {
            return Err(AttestationError::NotAnAuthority { index: index + 1 });
        }
    }
    let last = certificates.last().ok_or(AttestationError::Length { length: 0 })?;
    let trusted = roots.iter().any(|root| {
        same_key(root, last) || (is_authority(root) && signed_by(last, root, certificates.len() - 1).is_ok())
    });
    // A chain of one certificate would be a root that attests, which no maker does.
    if !trusted || (certificates.len() == 1 && roots.iter().any(|root| same_key(root, last))) {
        return Err(AttestationError::UnknownMaker);
    }
    certificates.first().ok_or(AttestationError::Length { length: 0 }).and_then(|leaf| statement(leaf, role))
}

fn parse_all(
    encoded: &[impl AsRef<[u8]>],
    first: usize,
) -> Result<Vec<X509Certificate<'_>>, AttestationError> {
    let parsed =
        encoded.iter().enumerate().map(|(index, der)| match X509Certificate::from_der(der.as_ref()) {
            Ok(([], certificate)) => Ok(certificate),
            _ => Err(AttestationError::Malformed { index: first + index }),
        });
    parsed.collect()
}

fn signed_by(
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    index: usize,
) -> Result<(), AttestationError> {
    let algorithm = &certificate.signature_algorithm;
    // x509-parser would take SHA-1 as well.
    let current = [
        OID_SIG_ECDSA_WITH_SHA256,
        OID_SIG_ECDSA_WITH_SHA384,
        OID_PKCS1_SHA256WITHRSA,
        OID_PKCS1_SHA384WITHRSA,
        OID_PKCS1_SHA512WITHRSA,
    ]
    .contains(&algorithm.algorithm);
    let consistent = certificate.tbs_certificate.signature == *algorithm
        && certificate.issuer().as_raw() == issuer.subject().as_raw();
    if current && consistent && certificate.verify_signature(Some(issuer.public_key())).is_ok() {
        Ok(())
    } else {
        Err(AttestationError::BadSignature { index })
    }
}

fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    let authority = matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca);
    let may_sign = match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    authority && may_sign
}

fn same_key(left: &X509Certificate<'_>, right: &X509Certificate<'_>) -> bool {
    left.public_key().raw == right.public_key().raw && left.subject().as_raw() == right.subject().as_raw()
}

fn statement(leaf: &X509Certificate<'_>, role: KeyRole) -> Result<AttestedKey, AttestationError> {
    let slot = leaf
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .and_then(|name| name.strip_prefix(SUBJECT))
        .and_then(|slot| u8::from_str_radix(slot, 16).ok());
    let expected = match role {
        KeyRole::Authentication => 0x9a,
        KeyRole::Signature => 0x9c,
        KeyRole::Transport => 0x9d,
    };
    if slot != Some(expected) {
        return Err(AttestationError::WrongSlot { slot });
    }

    let extension = |oid: &Oid<'_>, what| match leaf.get_extension_unique(oid) {
        Ok(Some(extension)) => Ok(extension.value),
        _ => Err(AttestationError::Missing { what }),
    };
    let firmware = extension(&FIRMWARE, "firmware")?;
    let serial = match Integer::from_der(extension(&SERIAL, "serial number")?) {
        Ok(([], serial)) => serial.as_u32().ok(),
        _ => None,
    };
    let policies = match extension(&POLICY, "policies")? {
        [pin, touch] => pin_policy(*pin).zip(touch_policy(*touch)),
        _ => None,
    };
    let (pin_policy, touch_policy) = policies.ok_or(AttestationError::Missing { what: "policies" })?;
    Ok(AttestedKey {
        serial: serial.ok_or(AttestationError::Missing { what: "serial number" })?,
        firmware: firmware.try_into().map_err(|_| AttestationError::Missing { what: "firmware" })?,
        role,
        pin_policy,
        touch_policy,
        public_key: Point::from_sec1(&leaf.public_key().subject_public_key.data)
            .map_err(|_| AttestationError::NotP256)?,
    })
}

fn pin_policy(byte: u8) -> Option<PinPolicy> {
    match byte {
        1 => Some(PinPolicy::Never),
        2 => Some(PinPolicy::Once),
        3 => Some(PinPolicy::Always),
        _ => None,
    }
}

fn touch_policy(byte: u8) -> Option<TouchPolicy> {
    match byte {
        1 => Some(TouchPolicy::Never),
        2 => Some(TouchPolicy::Always),
        3 => Some(TouchPolicy::Cached),
        _ => None,
    }
}
