//! Replays seeds and past findings, and checks that nothing that is read from outside lacks a target.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails, in its helper functions too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use warifu_fuzz::{TARGETS, payload_types, wire};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn every_target_accepts_one_of_its_seeds_and_refuses_nonsense() {
    let mut names = BTreeSet::new();
    for target in TARGETS {
        assert!(names.insert(target.name), "{} comes twice", target.name);
        let seeds = (target.seeds)();
        assert!(
            seeds.iter().any(|seed| seed.len() <= target.longest && (target.run)(seed)),
            "{}",
            target.name
        );
        for nonsense in [&b""[..], b"\xff", b"\xff\xfe\xfd\xfc"] {
            (target.run)(nonsense);
        }
    }
}

/// The inputs that found something once, and those that a finding is known by.
#[test]
fn what_was_found_once_is_not_found_again() {
    let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions")).unwrap();
    for folder in folders {
        let folder = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let target = TARGETS.iter().find(|target| target.name == name);
        let target = target.unwrap_or_else(|| panic!("{name} is the folder of no target"));
        for input in std::fs::read_dir(&folder).unwrap() {
            let input = input.unwrap().path();
            println!("{}", input.display());
            (target.run)(&std::fs::read(&input).unwrap());
        }
    }
}

/// The source files of the programs and libraries, with their text up to where their own tests begin.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for member in [
        "admin-cli",
        "api",
        "audit",
        "backup",
        "ca",
        "console",
        "directory",
        "envelope",
        "hardware",
        "kms",
        "ledger",
        "replica",
        "split-key",
        "texts",
        "token-agent",
    ] {
        collect(&root().join(member).join("src"), &mut found);
    }
    assert!(found.len() > 100);
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" && name != "vectors.rs" {
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            found.push((path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text));
        }
    }
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').collect()
}

/// A type of the wire that is in no other one is read by itself: it has to be in the target's list.
#[test]
fn every_type_of_the_wire_has_a_target() {
    let known: BTreeSet<&str> = wire::names().into_iter().collect();
    let files: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| path.starts_with("api/src/wire") || path == "api/src/error.rs")
        .collect();
    assert!(files.len() >= 5);
    let code: String = files
        .iter()
        .flat_map(|(_, text)| text.lines())
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    // What fields, of structs and of variants, are made of.
    let fields: BTreeSet<&str> =
        code.lines().filter_map(|line| line.split_once(": ")).flat_map(|(_, kind)| words(kind)).collect();
    let mut types = 0;
    for item in code.split("Deserialize").skip(1) {
        let declared = ["pub struct ", "pub enum "]
            .iter()
            .filter_map(|kind| item.split_once(kind))
            .map(|(_, rest)| rest);
        let Some(name) =
            declared.map(|rest| words(rest.split(['{', '(', ';']).next().unwrap_or_default())).next()
        else {
            continue;
        };
        let name = name.into_iter().find(|name| !name.is_empty()).unwrap();
        types += 1;
        assert!(
            known.contains(name) || fields.contains(name),
            "{name} has no target: add it to tests/fuzz/src/wire.rs"
        );
    }
    assert!(types > 50, "{types}");
}

#[test]
fn every_kind_of_statement_has_a_target() {
    let known = payload_types();
    let (_, text) = sources().into_iter().find(|(path, _)| path == "ledger/src/statement.rs").unwrap();
    let media: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("statement!(")?.split('"').nth(1)).collect();
    assert!(media.len() >= 8);
    for kind in media {
        let payload_type = format!("application/vnd.warifu.{kind}.v1+json");
        assert!(
            known.contains(&payload_type.as_str()),
            "{kind} has no target: add it to tests/fuzz/src/statements.rs"
        );
    }
}

/// Where bytes from outside become values, and by which targets that is fuzzed. The empty list says that the bytes are the
/// program's own, from its own database or its own process.
const READERS: &[(&str, &[&str])] = &[
    ("admin-cli/src/command/draft.rs", &[]),
    ("admin-cli/src/desk.rs", &["wire"]),
    ("admin-cli/src/file.rs", &["envelope", "statement"]),
    ("admin-cli/src/sheet.rs", &["table"]),
    ("api/src/client.rs", &["wire"]),
    ("api/src/crl.rs", &["crl"]),
    ("api/src/tls.rs", &["certificate"]),
    ("audit/src/file.rs", &["audit-file"]),
    ("backup/src/file.rs", &["backup", "backup-content"]),
    ("ca/src/vault/certificates.rs", &[]),
    ("console/src/config.rs", &["config"]),
    ("console/src/file.rs", &["envelope", "statement"]),
    ("directory/src/signed.rs", &["wire"]),
    ("envelope/src/header.rs", &["age-header", "age-armor"]),
    ("envelope/src/tag.rs", &["age-stanza"]),
    ("hardware/src/card/attestation.rs", &["attestation"]),
    ("hardware/src/card/piv.rs", &["certificate"]),
    ("hardware/src/card/piv/channel.rs", &["card-answers"]),
    ("hardware/src/card/pkcs11/token.rs", &["certificate"]),
    ("hardware/src/card/pkcs11/wire.rs", &["module-answers"]),
    ("kms/src/authority/deliveries/objects/s3.rs", &[]),
    ("kms/src/authority/http.rs", &["wire"]),
    ("kms/src/authority/proposals.rs", &[]),
    ("kms/src/authority/store.rs", &[]),
    ("kms/src/authority/store/deliveries.rs", &[]),
    ("kms/src/authority/store/grants.rs", &[]),
    ("kms/src/authority/store/journals.rs", &[]),
    ("kms/src/authority/store/slips.rs", &[]),
    ("kms/src/authority/store/trusts.rs", &[]),
    ("kms/src/site/http.rs", &["wire"]),
    ("kms/src/site/store.rs", &[]),
    ("kms/src/site/store/slips.rs", &[]),
    ("ledger/src/dsse.rs", &["statement"]),
    ("ledger/src/leaf.rs", &["leaf"]),
    ("ledger/src/checkpoint.rs", &["checkpoint"]),
    ("replica/src/follow.rs", &["wire", "events"]),
    ("replica/src/replica/snapshot.rs", &["snapshot"]),
    ("texts/src/findings.rs", &[]),
    ("token-agent/src/bin/warifu/doctor/cards.rs", &["wire"]),
    ("token-agent/src/bin/warifu/doctor/services.rs", &["wire"]),
    ("token-agent/src/client.rs", &["wire"]),
    ("token-agent/src/deliveries/outbox.rs", &[]),
    ("token-agent/src/facts.rs", &["certificate"]),
    ("token-agent/src/follow.rs", &["wire", "events"]),
    ("token-agent/src/forward.rs", &["wire"]),
    ("token-agent/src/http.rs", &["wire"]),
    ("token-agent/src/makers.rs", &["attestation"]),
    ("token-agent/src/profile.rs", &["profile"]),
];

/// What reading looks like in the code.
const READING: &[&str] = &[
    "serde_json::from_",
    "State::from_snapshot(",
    "toml::from_",
    "csv::Reader",
    "Certificate::from_der(",
    "CertificateRevocationList::from_der(",
    "Signature::from_der(",
    "Json::<",
    "Note::from_bytes(",
    "STANDARD_NO_PAD.decode(",
    "pem::Pem::",
];

#[test]
fn whatever_reads_has_a_target() {
    let known: BTreeMap<&str, &[&str]> = READERS.iter().copied().collect();
    let mut reading = BTreeSet::new();
    for (path, text) in sources() {
        if READING.iter().any(|call| text.contains(call)) {
            assert!(known.contains_key(path.as_str()), "{path} reads something: name its target in READERS");
            reading.insert(path);
        }
    }
    for (path, targets) in READERS {
        assert!(reading.contains(*path), "{path} reads nothing: take it out of READERS");
        for name in *targets {
            assert!(TARGETS.iter().any(|target| target.name == *name), "{path}: there is no target {name}");
        }
    }
}
