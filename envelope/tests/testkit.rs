//! The C2SP age test vectors, as the `age` package carries them: every file in the folder runs.
//!
//! The recipient types that Warifu does not ship open through the `age` crate's identities, here in the test only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails, in its helper functions too"
)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};
use age::{DecryptError, Identity};
use sha2::{Digest, Sha256};
use warifu_envelope::{FileKey, HeaderError, OpenError, Overwrite, Stanza, Unwrap, UnwrapError};
use warifu_envelope::{WholeError, open, open_to_path, read_header};

#[path = "../../tests/fuzz/src/packages.rs"]
mod packages;

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Success,
    NoMatch,
    HmacFailure,
    HeaderFailure,
    ArmorFailure,
    PayloadFailure,
}

struct Vector {
    expect: Outcome,
    payload: Option<String>,
    armored: bool,
    identity: Foreign,
    file: Vec<u8>,
}

/// Identities of recipient types that are not ours.
struct Foreign(Vec<Box<dyn Identity>>);

impl Unwrap for Foreign {
    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Result<FileKey, UnwrapError> {
        let stanzas: Vec<_> = stanzas
            .iter()
            .map(|stanza| age_core::format::Stanza {
                tag: stanza.kind.clone(),
                args: stanza.args.clone(),
                body: stanza.body.clone(),
            })
            .collect();
        match self.0.iter().find_map(|identity| identity.unwrap_stanzas(&stanzas)) {
            Some(Ok(key)) => Ok(FileKey::from_bytes(key.expose_secret())),
            None | Some(Err(DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed)) => {
                Err(UnwrapError::NoMatch)
            }
            Some(Err(source)) => Err(UnwrapError::Refused { source: source.into() }),
        }
    }
}

fn parse(bytes: &[u8]) -> Vector {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").expect("an empty line ends the fields");
    let mut fields: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in std::str::from_utf8(&bytes[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        fields.entry(name).or_default().push(value);
    }
    let mut file = bytes[end + 2..].to_vec();
    let mut identities: Vec<Box<dyn Identity>> = Vec::new();
    let (mut expect, mut payload, mut armored) = (None, None, false);
    for (name, values) in fields {
        match name {
            "expect" => expect = Some(outcome(values[0])),
            "payload" => payload = Some(values[0].to_owned()),
            "armored" => armored = values[0] == "yes",
            "compressed" => {
                assert_eq!(values, ["zlib"]);
                let mut raw = Vec::new();
                flate2::read::ZlibDecoder::new(&file[..]).read_to_end(&mut raw).unwrap();
                file = raw;
            }
            "identity" => identities.extend(
                values
                    .into_iter()
                    .map(|key| Box::new(key.parse::<age::x25519::Identity>().unwrap()) as Box<dyn Identity>),
            ),
            "passphrase" => identities.extend(values.into_iter().map(|phrase| {
                let mut identity = age::scrypt::Identity::new(SecretString::from(phrase.to_owned()));
                identity.set_max_work_factor(16);
                Box::new(identity) as Box<dyn Identity>
            })),
            "file key" | "comment" => {}
            other => panic!("this runner does not know the field {other:?}"),
        }
    }
    Vector { expect: expect.unwrap(), payload, armored, identity: Foreign(identities), file }
}

fn outcome(text: &str) -> Outcome {
    match text {
        "success" => Outcome::Success,
        "no match" => Outcome::NoMatch,
        "HMAC failure" => Outcome::HmacFailure,
        "header failure" => Outcome::HeaderFailure,
        "armor failure" => Outcome::ArmorFailure,
        "payload failure" => Outcome::PayloadFailure,
        other => panic!("this runner does not know the expectation {other:?}"),
    }
}

fn classify(result: &Result<u64, OpenError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Success,
        Err(OpenError::Header(HeaderError::Armor(_)) | OpenError::Armor(_)) => Outcome::ArmorFailure,
        Err(OpenError::Header(_)) => Outcome::HeaderFailure,
        Err(OpenError::Unwrap(UnwrapError::NoMatch)) => Outcome::NoMatch,
        // age's identities refuse malformed stanzas of their own type and excessive work.
        Err(OpenError::Unwrap(UnwrapError::Refused { source })) => {
            match source.downcast_ref::<DecryptError>().expect("only age's identities refuse here") {
                DecryptError::InvalidHeader | DecryptError::ExcessiveWork { .. } => Outcome::HeaderFailure,
                other => panic!("unexpected refusal {other:?}"),
            }
        }
        Err(OpenError::HeaderMac) => Outcome::HmacFailure,
        Err(OpenError::Payload(_)) => Outcome::PayloadFailure,
        Err(other) => panic!("unexpected error {other:?}"),
    }
}

/// With text before the marker, nothing says that the file is armored at all: it is then refused as no age file.
const NOT_RECOGNIZABLY_ARMORED: [&str; 1] = ["armor_garbage_leading"];

fn check(name: &str, vector: &Vector, folder: &Path) -> Result<(), String> {
    let mut payload = Vec::new();
    let result = open(&vector.file[..], &mut payload, &vector.identity, &|| false);
    let mut expected = &vector.expect;
    if NOT_RECOGNIZABLY_ARMORED.contains(&name) {
        assert_eq!(*expected, Outcome::ArmorFailure);
        expected = &Outcome::HeaderFailure;
    }
    let actual = classify(&result);
    if actual != *expected {
        return Err(format!("{name}: expected {expected:?}, got {actual:?} ({result:?})"));
    }
    // On success all, on failure what had been verified by then.
    let digest = hex::encode(Sha256::digest(&payload));
    if vector.payload.as_ref().is_some_and(|expected| *expected != digest) {
        return Err(format!("{name}: the payload's digest is {digest}"));
    }
    if vector.payload.is_none() && !payload.is_empty() {
        return Err(format!("{name}: {} bytes came out", payload.len()));
    }

    // Our own header reader agrees with the way through age, where the outcome hangs on the header alone.
    let header = read_header(&vector.file[..]);
    if matches!(actual, Outcome::Success | Outcome::NoMatch | Outcome::HmacFailure | Outcome::PayloadFailure)
    {
        header.map_err(|error| format!("{name}: the header was not read: {error:?}"))?;
    }

    // A file appears whole or not at all.
    let path = folder.join(name);
    let whole = open_to_path(&vector.file[..], &path, Overwrite::Refuse, &vector.identity, &|| false);
    if classify(&whole) != actual {
        return Err(format!("{name}: into a file, the outcome was {whole:?}"));
    }
    match std::fs::read(&path) {
        Ok(content) if actual == Outcome::Success && content == payload => {
            let again = open_to_path(&vector.file[..], &path, Overwrite::Refuse, &vector.identity, &|| false);
            assert!(matches!(again, Err(OpenError::Whole(WholeError::Exists { .. }))), "{again:?}");
            std::fs::remove_file(&path).unwrap();
        }
        Err(_) if actual != Outcome::Success => {}
        other => return Err(format!("{name}: the file holds {other:?}")),
    }
    Ok(())
}

#[test]
fn c2sp_testkit() {
    let folder = tempfile::tempdir().unwrap();
    let files = packages::files("age", "tests/testdata/testkit");
    let (mut ran, mut armored, mut failures) = (0, 0, Vec::new());
    for (name, bytes) in &files {
        let vector = parse(bytes);
        ran += 1;
        armored += usize::from(vector.armored);
        failures.extend(check(name, &vector, folder.path()).err());
    }
    println!("{ran} vectors ran, {armored} of them armored");
    assert!(failures.is_empty(), "{} of {ran} failed:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(ran, files.len());
    assert!(ran >= 100 && armored >= 30, "{ran} vectors, {armored} armored");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
}
