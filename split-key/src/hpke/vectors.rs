//! The RFC 9180 test vectors for DHKEM(P-256, HKDF-SHA256) in base mode, from the JSON that the `hpke` package carries.

use std::path::PathBuf;
use std::process::Command;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use p256::SecretKey;
use serde_json::Value;

use super::schedule::{AeadId, KeySchedule, decapsulate};
use crate::hpke::{open, open_with_x};
use crate::issuer::{CardShare, IssuerHalf};
use crate::keeper::KeeperHalf;
use crate::partial::{PartialX, join};
use crate::point::Point;

const KDF_SHA256: u64 = 1;

fn vectors_file() -> PathBuf {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", host])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|package| {
            package["name"] == "hpke" && package["version"].as_str().unwrap().starts_with("0.12.")
        })
        .expect("age 0.12 depends on hpke 0.12");
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    manifest.with_file_name("test-vectors-5f503c5.json")
}

fn p256_base_vectors() -> Vec<Value> {
    let json = std::fs::read(vectors_file()).unwrap();
    let all: Vec<Value> = serde_json::from_slice(&json).unwrap();
    let found: Vec<_> = all.into_iter().filter(|v| v["mode"] == 0 && v["kem_id"] == 0x10).collect();
    assert_eq!(found.len(), 8, "two KDFs times three AEADs and export-only");
    found
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    hex::decode(vector[field].as_str().unwrap()).unwrap()
}

fn point(vector: &Value, field: &str) -> Point {
    Point::from_sec1(&bytes(vector, field)).unwrap()
}

fn ecdh(secret: &[u8], public: &Point) -> [u8; 32] {
    let secret = SecretKey::from_slice(secret).unwrap();
    let public = p256::PublicKey::from_sec1_bytes(&public.to_uncompressed()).unwrap();
    secret.diffie_hellman(&public).raw_secret_bytes().0
}

/// The shared secret does not depend on KDF and AEAD of the context, so all eight entries check the KEM.
#[test]
fn shared_secrets() {
    for vector in p256_base_vectors() {
        let enc = point(&vector, "enc");
        let recipient = point(&vector, "pkRm");
        let x = ecdh(&bytes(&vector, "skRm"), &enc);
        assert_eq!(x, ecdh(&bytes(&vector, "skEm"), &recipient));
        let shared = decapsulate(&x, &enc, &recipient);
        assert_eq!(shared.as_slice(), bytes(&vector, "shared_secret"));
    }
}

fn check_schedule<const NK: usize>(vector: &Value, aead: [u8; 2]) {
    let shared: [u8; 32] = bytes(vector, "shared_secret").try_into().unwrap();
    let schedule = KeySchedule::derive(&AeadId::<NK>(aead), &shared, &bytes(vector, "info"));
    assert_eq!(schedule.key.as_slice(), bytes(vector, "key"));
    assert_eq!(schedule.base_nonce.as_slice(), bytes(vector, "base_nonce"));
}

#[test]
fn keys_and_nonces() {
    let mut checked = 0;
    for vector in p256_base_vectors().iter().filter(|v| v["kdf_id"] == KDF_SHA256) {
        match vector["aead_id"].as_u64().unwrap() {
            1 => check_schedule::<16>(vector, [0, 1]),
            2 => check_schedule::<32>(vector, [0, 2]),
            3 => check_schedule::<32>(vector, [0, 3]),
            0xffff => continue,
            other => panic!("unknown AEAD {other}"),
        }
        checked += 1;
    }
    assert_eq!(checked, 3);
}

fn chacha_vector() -> Value {
    p256_base_vectors().into_iter().find(|v| v["kdf_id"] == KDF_SHA256 && v["aead_id"] == 3).unwrap()
}

/// Every message of the ChaCha20Poly1305 entry, each under its own nonce.
#[test]
fn ciphertexts() {
    let vector = chacha_vector();
    let shared: [u8; 32] = bytes(&vector, "shared_secret").try_into().unwrap();
    let schedule = KeySchedule::derive(&super::CHACHA20_POLY1305, &shared, &bytes(&vector, "info"));
    let cipher = ChaCha20Poly1305::new((&*schedule.key).into());
    let encryptions = vector["encryptions"].as_array().unwrap();
    assert!(encryptions.len() >= 100);
    for message in encryptions {
        let nonce: [u8; 12] = bytes(message, "nonce").try_into().unwrap();
        let payload = Payload { msg: &bytes(message, "ct"), aad: &bytes(message, "aad") };
        assert_eq!(cipher.decrypt(&Nonce::from(nonce), payload).unwrap(), bytes(message, "pt"));
    }
}

/// The first message opens through the public functions: with the whole ECDH, and with the private key split as
/// the system splits it.
#[test]
fn first_message_opens_whole_and_split() {
    let vector = chacha_vector();
    let message = &vector["encryptions"][0];
    let (enc, recipient) = (point(&vector, "enc"), point(&vector, "pkRm"));
    let (info, aad, ct) = (bytes(&vector, "info"), bytes(message, "aad"), bytes(message, "ct"));
    let private: [u8; 32] = bytes(&vector, "skRm").try_into().unwrap();

    let whole = PartialX::from_bytes(&ecdh(&private, &enc));
    assert_eq!(*open_with_x(&whole, &enc, &recipient, &info, &aad, &ct).unwrap(), bytes(message, "pt"));

    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let s1 = IssuerHalf::draw(&mut rng);
    let x = crate::scalar::SecretScalar::from_bytes(&private).unwrap();
    let s1_scalar = crate::scalar::SecretScalar::from_bytes(&s1.expose_bytes()).unwrap();
    let s2 = KeeperHalf::from_bytes(&x.minus(&s1_scalar).unwrap().expose_bytes()).unwrap();
    let a = CardShare::draw(&mut rng);
    let b = s2.site_share(s1.delta(&a).unwrap()).unwrap();
    let card = PartialX::from_bytes(&ecdh(a.expose_bytes().as_slice(), &enc));
    let site = PartialX::from_bytes(&ecdh(b.expose_bytes().as_slice(), &enc));
    let candidates = join(&card, &site).unwrap();
    assert_eq!(*open(&candidates, &enc, &recipient, &info, &aad, &ct).unwrap(), bytes(message, "pt"));
}
