//! `docs/vectors/backup.json`: the bytes of a manifest and its pieces, for whoever writes a second implementation.
//! `WARIFU_BLESS=1 cargo test -p warifu-backup vectors` writes it anew.

use std::path::PathBuf;

use serde_json::{Value, json};
use warifu_backup::file::Manifest;
use warifu_ledger::dsse::Envelope;

use crate::fixture::*;
use crate::stage::*;

/// The key of the backup as stock age takes it.
pub(crate) const KEY_TEXT: &str =
    "AGE-SECRET-KEY-1KVM25Q3WC8GSAXYWLFQP05XSPG5ZPWGTAQMLM95NRUM0MPS7T69S4S9LKT";

#[test]
fn backup_vector() {
    let (manifest, _) = made();
    let request = request_envelope(&manifest);
    let pieces = brought(&manifest, &crate::stage::request(&manifest), &["sakura", "hanako"]);
    let made = json!({
        "comment": "The first line of a backup of the ca, the request of a new machine, and the pieces of two of three \
    custodians, sealed to it. Private keys are SHA-256 over their labels in UTF-8, big-endian; a custodian's transport key is \
    that of \"NAME 9D\". The two pieces make the key; the age file of the backup is for it.",
        "signer": { "label": "ca signing", "public": public_of("ca signing") },
        "manifest": { "digest": manifest.fingerprint(), "envelope": manifest.envelope() },
        "request": { "label": "new ca signing", "transport": "new ca transport", "digest": request.digest(), "envelope": request },
        "pieces": pieces,
        "key": KEY_TEXT,
    });
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/backup.json");
    if std::env::var_os("WARIFU_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(&path, format!("{made:#}\n")).unwrap();
    }
    let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        file, made,
        "docs/vectors/backup.json differs: WARIFU_BLESS=1 if the format was meant to change"
    );

    // As a second implementation would read it.
    let envelope: Envelope = serde_json::from_value(file["manifest"]["envelope"].clone()).unwrap();
    let manifest = Manifest::try_from(envelope).unwrap();
    manifest.check_signature(&service_keys("ca").signing).unwrap();
    let request = warifu_backup::restore::Request::read(
        &serde_json::from_value(file["request"]["envelope"].clone()).unwrap(),
        &manifest,
    )
    .unwrap();
    let pieces = serde_json::from_value(file["pieces"].clone()).unwrap();
    joined(&manifest, &request, &pieces).unwrap();
}
