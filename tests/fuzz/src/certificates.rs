//! Certificates, in handshakes and on cards, and attestations.

use std::sync::OnceLock;

use p256::pkcs8::DecodePublicKey as _;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::CertificateDer;
use warifu_api::tls::{card_of_certificate, key_of_certificate};
use warifu_hardware::card::KeyRole;
use warifu_hardware::card::attestation::{AttestedKey, verify};
use warifu_ledger::Digest;

use crate::cursor::Cursor;
use crate::fixture::id;
use crate::packages;

const FIRMWARE: [u64; 9] = [1, 3, 6, 1, 4, 1, 41482, 3, 3];
const SERIAL: [u64; 9] = [1, 3, 6, 1, 4, 1, 41482, 3, 7];
const POLICY: [u64; 9] = [1, 3, 6, 1, 4, 1, 41482, 3, 8];
const ROLES: [KeyRole; 3] = KeyRole::ALL;

/// A certificate has one key, whatever follows or is missing; names are read or passed over.
pub(crate) fn certificate(data: &[u8]) -> bool {
    let der = CertificateDer::from(data);
    let named = card_of_certificate(&der);
    let Ok(key) = key_of_certificate(&der) else { return named.is_some() };
    let longer = [data, &[0]].concat();
    assert!(key_of_certificate(&CertificateDer::from(longer.as_slice())).is_err(), "trailing data");
    for cut in [data.len() - 1, data.len() / 2, 0] {
        assert!(key_of_certificate(&CertificateDer::from(&data[..cut])).is_err(), "a truncated certificate");
    }
    // The key's own encoding, as another parser reads it, is in there.
    let uncompressed = key.to_uncompressed();
    let compressed = key.to_compressed();
    assert!(
        [&uncompressed[..], &compressed[..]]
            .iter()
            .any(|form| data.windows(form.len()).any(|at| at == *form))
    );
    if let Some(at) = data.windows(uncompressed.len()).position(|at| at == uncompressed) {
        // The header of a P-256 SubjectPublicKeyInfo has 26 bytes.
        let spki = at.checked_sub(26).and_then(|start| data.get(start..at + 65)).unwrap_or_default();
        if let Ok(other) = p256::PublicKey::from_public_key_der(spki) {
            assert_eq!(other, p256::PublicKey::from_sec1_bytes(&uncompressed).unwrap());
        }
    }
    true
}

fn key_pair() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

pub(crate) fn certificate_seeds() -> Vec<Vec<u8>> {
    let mut parameters = parameters("信濃 花子");
    let uri = format!("urn:warifu:{}:card:{}", Digest::of(b"x"), id("card"));
    parameters.subject_alt_names = vec![
        SanType::URI(uri.as_str().try_into().unwrap()),
        SanType::DnsName("kms.example".try_into().unwrap()),
        SanType::IpAddress([127, 0, 0, 1].into()),
    ];
    let mut seeds = vec![parameters.self_signed(&key_pair()).unwrap().der().to_vec(), maker().root.clone()];
    let foreign = packages::files("x509-parser", "assets").into_iter();
    seeds.extend(foreign.filter(|(name, _)| name.ends_with(".der")).map(|(_, der)| der));
    seeds
}

/// A maker of cards: its root, and one card's attestation key under it.
struct Maker {
    root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    issuer_der: Vec<u8>,
    key: KeyPair,
    /// A true attestation of the key in 9A, and what it says.
    leaf: Vec<u8>,
    says: AttestedKey,
}

fn maker() -> &'static Maker {
    static MAKER: OnceLock<Maker> = OnceLock::new();
    MAKER.get_or_init(|| {
        let authority = |name: &str, below: u8| {
            let mut parameters = parameters(name);
            parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
            parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            parameters
        };
        let root_key = key_pair();
        let root_parameters = authority("Maker", 1);
        let root = root_parameters.self_signed(&root_key).unwrap().der().to_vec();
        let root_issuer = Issuer::new(root_parameters, root_key);
        let card_key = key_pair();
        let card_parameters = authority("Card", 0);
        let issuer_der = card_parameters.signed_by(&card_key, &root_issuer).unwrap().der().to_vec();
        let issuer = Issuer::new(card_parameters, card_key);
        let key = key_pair();
        let leaf = attest(&issuer, &key, "YubiKey PIV Attestation 9a", &TRUE);
        let says = verify(&[&leaf, &issuer_der], &[&root], KeyRole::Authentication).unwrap();
        Maker { root, issuer, issuer_der, key, leaf, says }
    })
}

/// Firmware, serial number, policies.
const TRUE: [&[u8]; 3] = [&[5, 7, 2], &[2, 3, 1, 2, 3], &[2, 1]];

fn attest(issuer: &Issuer<'_, KeyPair>, key: &KeyPair, name: &str, extensions: &[&[u8]; 3]) -> Vec<u8> {
    let mut parameters = parameters(name);
    parameters.custom_extensions = [FIRMWARE, SERIAL, POLICY]
        .iter()
        .zip(extensions)
        .map(|(oid, content)| CustomExtension::from_oid_content(oid, content.to_vec()))
        .collect();
    parameters.signed_by(key, issuer).unwrap().der().to_vec()
}

/// An attestation is what its maker signed: one that was altered says the same or is refused, and one that says anything
/// under a true signature is read as it says.
pub(crate) fn attestation(data: &[u8]) -> bool {
    let mut script = Cursor::new(data);
    let maker = maker();
    let role = *script.pick(&ROLES);
    match script.below(4) {
        0 => {
            let name = String::from_utf8_lossy(script.piece()).into_owned();
            let extensions = [script.piece(), script.piece(), script.piece()];
            let leaf = attest(&maker.issuer, &maker.key, &name, &extensions);
            let Ok(says) = verify(&[&leaf, &maker.issuer_der], &[&maker.root], role) else { return false };
            assert_eq!(
                (says.role, &says.firmware[..], says.public_key),
                (role, extensions[0], maker.says.public_key)
            );
            let slot = ["9a", "9c", "9d"][ROLES.iter().position(|one| *one == role).unwrap()];
            assert!(name.to_ascii_lowercase().ends_with(slot), "{name} for {slot}");
            true
        }
        1 => {
            // Altered in places.
            let (mut leaf, mut issuer) = (maker.leaf.clone(), maker.issuer_der.clone());
            while !script.is_empty() {
                let der = if script.flag() { &mut leaf } else { &mut issuer };
                let at = script.number() % der.len();
                der[at] = script.byte();
            }
            let Ok(says) = verify(&[&leaf, &issuer], &[&maker.root], role) else { return false };
            assert_eq!(says, maker.says, "an altered attestation says something else");
            true
        }
        2 => {
            // Of anybody's making, with as many certificates as there are pieces.
            let first = script.flag();
            let mut chain: Vec<&[u8]> = if first { vec![&maker.leaf] } else { Vec::new() };
            let rest = script.rest();
            chain.extend(rest.split(|byte| *byte == 0xff).take(6));
            let said = verify(&chain, &[&maker.root], role);
            assert!(
                said.is_err_and(|error| !error.to_string().is_empty()),
                "a foreign attestation is believed"
            );
            false
        }
        _ => {
            // Everything in the wrong place.
            let mut chain = vec![maker.leaf.clone(), maker.issuer_der.clone(), maker.root.clone()];
            let other = script.below(chain.len());
            chain.swap(0, other);
            chain.truncate(script.below(4));
            let roots = if script.flag() { vec![script.rest().to_vec()] } else { vec![maker.root.clone()] };
            let Ok(says) = verify(&chain, &roots, role) else { return false };
            assert_eq!((other, roots.as_slice()), (0, std::slice::from_ref(&maker.root)));
            assert_eq!(says, maker.says);
            true
        }
    }
}

pub(crate) fn attestation_seeds() -> Vec<Vec<u8>> {
    let piece = |bytes: &[u8]| [&[u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let said = |role: u8, name: &str, extensions: &[&[u8]; 3]| {
        [
            vec![role, 0],
            piece(name.as_bytes()),
            piece(extensions[0]),
            piece(extensions[1]),
            piece(extensions[2]),
        ]
        .concat()
    };
    vec![
        said(0, "YubiKey PIV Attestation 9a", &TRUE),
        said(1, "YubiKey PIV Attestation 9c", &TRUE),
        said(2, "YubiKey PIV Attestation 9d", &[&[5, 4, 3], &[2, 4, 0, 0xff, 0xff, 0xff], &[3, 3]]),
        said(2, "YubiKey PIV Attestation 9d", &[&[5], &[2, 5, 1, 0xff, 0xff, 0xff, 0xff], &[0, 0]]),
        vec![0, 1],
        vec![0, 1, 1, 0, 0, 100, 7, 0, 0, 1, 9, 3],
        [&[0, 2, 0][..], &maker().issuer_der].concat(),
        [&[0, 2, 1][..], &maker().issuer_der].concat(),
        vec![0, 3, 0, 3, 0],
        vec![0, 3, 0, 2, 0],
        [&[0, 3, 0, 3, 1][..], &maker().leaf].concat(),
    ]
}
