//! CRLs, as the ca posts them to the kms.

use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevocationReason, RevokedCertParams, SerialNumber,
    SigningKey as _, date_time_ymd,
};
use warifu_api::crl::{CrlSummary, verified};

use crate::cursor::Cursor;

/// An issuer, and a CRL that it signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
    crl: Vec<u8>,
    says: CrlSummary,
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        let issuer = Issuer::new(params, key);
        let revoked = |serial: u8, reason| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[serial; 16]),
            revocation_time: date_time_ymd(2026, 4, 1),
            reason_code: reason,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 4, 1),
            next_update: date_time_ymd(2026, 4, 2),
            crl_number: SerialNumber::from(1_775_000_000),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked(1, None), revoked(0xff, Some(RevocationReason::CertificateHold))],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let crl = params.signed_by(&issuer).unwrap().der().to_vec();
        let says = verified(&crl, &certificate).unwrap();
        Authority { issuer, certificate, crl, says }
    })
}

/// DER of a SEQUENCE or BIT STRING.
fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82, high, low], content].concat()
}

/// The algorithm identifier of ecdsa-with-SHA256.
const ECDSA_SHA256: [u8; 12] = [0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// The part of a CRL that is signed.
fn to_be_signed(crl: &[u8]) -> &[u8] {
    // A SEQUENCE with a length in two bytes, and in it another one, with one in one or two.
    let end = match crl[5] {
        0x81 => 7 + usize::from(crl[6]),
        _ => 8 + usize::from(u16::from_be_bytes([crl[6], crl[7]])),
    };
    &crl[4..end]
}

/// A CRL is what its issuer signed: one that was altered says the same or is refused, and anything under a true signature is
/// read as it says, or refused.
pub(crate) fn crl(data: &[u8]) -> bool {
    let authority = authority();
    let mut script = Cursor::new(data);
    if script.flag() {
        let mut altered = authority.crl.clone();
        while !script.is_empty() {
            let at = script.number() % altered.len();
            altered[at] = script.byte();
        }
        let Ok(says) = verified(&altered, &authority.certificate) else { return false };
        assert_eq!(says, authority.says, "an altered CRL says something else");
        return true;
    }
    let tbs = script.rest();
    let signature = authority.issuer.key().sign(tbs).unwrap();
    let signature = wrapped(3, &[&[0], &signature[..]].concat());
    let crl = wrapped(0x30, &[tbs, &ECDSA_SHA256, &signature].concat());
    // Unsigned, it is nobody's.
    assert!(verified(tbs, &authority.certificate).is_err());
    let Ok(says) = verified(&crl, &authority.certificate) else { return false };
    assert!(i64::try_from(says.number).is_ok() && says.this_update < says.next_update);
    assert!(says.revoked <= tbs.len() / 16, "more entries than there is room for");
    true
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let tbs = to_be_signed(&authority().crl);
    vec![[&[0], tbs].concat(), vec![1], vec![1, 0, 9, 1]]
}
