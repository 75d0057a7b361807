//! Stock age programs that know nothing but a unit's recipient encrypt, and the file opens with split shares.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails, in its helper functions too"
)]

mod member;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use member::Member;
use warifu_envelope::{UnitRecipient, open, read_header};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn rage() -> PathBuf {
    let path = match std::env::var_os("WARIFU_RAGE") {
        Some(path) => PathBuf::from(path),
        None => repository().join(".cache/bin/rage"),
    };
    assert!(path.is_file(), "{} is missing; ./test installs it (or name one in WARIFU_RAGE)", path.display());
    path
}

fn seal_script() -> PathBuf {
    let folder = repository().join("tests/foreign-senders");
    assert!(
        folder.join("node_modules/age-encryption").is_dir(),
        "{} has no node_modules; ./test installs them (npm ci)",
        folder.display()
    );
    folder.join("seal.mjs")
}

fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // Dropping the pipe at the end of the closure is what ends the sender's input.
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Two units get a file; the members of both open it, a third unit's does not.
fn check(seal: impl Fn(&[String], &[u8]) -> Vec<u8>) {
    let (tax, contractor, stranger) = (Member::draw(), Member::draw(), Member::draw());
    let recipients = [&tax, &contractor].map(|member| UnitRecipient::encode(&member.unit));
    for length in [0, 1, 64 * 1024, 200_000] {
        let text: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[at as usize % 3]).collect();
        let file = seal(&recipients, &text);

        let stanzas = read_header(&file[..]).unwrap().tag_stanzas().unwrap();
        for member in [&tax, &contractor] {
            assert_eq!(stanzas.iter().filter(|stanza| stanza.matches(&member.unit)).count(), 1);
            let mut opened = Vec::new();
            open(&file[..], &mut opened, member, &|| false).unwrap();
            assert!(opened == text, "{length} bytes came back differently");
        }
        assert!(open(&file[..], std::io::sink(), &stranger, &|| false).is_err());
    }
}

fn rage_seals(armor: bool) {
    let rage = rage();
    check(|recipients, text| {
        let mut command = Command::new(&rage);
        command.arg("--encrypt");
        if armor {
            command.arg("--armor");
        }
        recipients.iter().for_each(|recipient| {
            command.args(["--recipient", recipient]);
        });
        run(&mut command, text)
    });
}

fn age_encryption_seals(armor: bool) {
    let script = seal_script();
    check(|recipients, text| {
        let mut command = Command::new("node");
        command.arg(&script);
        if armor {
            command.arg("--armor");
        }
        run(command.args(recipients), text)
    });
}

#[test]
fn rage_binary() {
    rage_seals(false);
}

#[test]
fn rage_armored() {
    rage_seals(true);
}

#[test]
fn npm_age_encryption_binary() {
    age_encryption_seals(false);
}

#[test]
fn npm_age_encryption_armored() {
    age_encryption_seals(true);
}
