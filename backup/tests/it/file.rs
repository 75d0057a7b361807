//! The file: whole, or refused (P-10.2, P-10.5).

use std::io::Read as _;

use warifu_backup::file::{BackupError, Content, Manifest, Writer, open};
use warifu_backup::pieces::BackupKey;
use warifu_ledger::statement::{Backup, BackupPiece};
use warifu_ledger::{Digest, Id};

use crate::fixture::*;
use crate::stage::*;

/// Halves, database, digest.
type Whole = (Vec<(Id, [u8; 32])>, Vec<u8>, Digest);

/// Reads a whole file with the key; halves, database, digest.
fn read(file: &[u8], key: &BackupKey) -> Result<Whole, BackupError> {
    let mut input = file;
    Manifest::read(&mut input)?.check_signature(&service_keys("ca").signing)?;
    let mut content = open(input, key)?;
    let mut halves = Vec::new();
    while let Some((unit, half)) = content.next_half()? {
        halves.push((unit, *half));
    }
    let mut database = Vec::new();
    let digest = content.database(&mut database, |_| {})?;
    Ok((halves, database, digest))
}

#[test]
fn what_was_written_is_read() {
    let (manifest, key) = made();
    let (file, digest) = written(&manifest, &key);
    let (read_halves, database, read_digest) = read(&file, &key).unwrap();
    let expected: Vec<_> = halves().into_iter().map(|(unit, half)| (unit, *half)).collect();
    assert_eq!((read_halves, database.as_slice(), read_digest), (expected, DATABASE, digest));
    let head = file.iter().position(|byte| *byte == b'\n').unwrap();
    assert!(!file.windows(DATABASE.len()).any(|part| part == DATABASE), "in the clear");
    assert!(file[head + 1..].starts_with(b"age-encryption.org/v1\n"));
}

#[test]
fn every_byte_counts() {
    let (manifest, key) = made();
    let (file, _) = written(&manifest, &key);
    for at in 0..file.len() {
        let mut bent = file.clone();
        bent[at] ^= 1;
        assert!(read(&bent, &key).is_err(), "byte {at} of {}", file.len());
    }
    for length in (0..file.len()).step_by(13) {
        assert!(read(&file[..length], &key).is_err(), "the first {length} bytes");
    }
    assert!(read(&[file.as_slice(), b"0"].concat(), &key).is_err());
}

#[test]
fn a_manifest_that_makes_no_sense_is_refused() {
    let (manifest, _) = made();
    let senseless = |change: fn(&mut Backup)| {
        let mut backup = manifest.backup().clone();
        change(&mut backup);
        let refused = Manifest::try_from(envelope_by_services(&backup, &["ca"])).err().unwrap();
        assert!(matches!(refused, BackupError::Senseless { .. }), "{refused}");
    };
    senseless(|backup| backup.threshold = 1);
    senseless(|backup| backup.threshold = 4);
    senseless(|backup| backup.pieces[1].card = backup.pieces[0].card);
    senseless(|backup| {
        let first = backup.pieces[0].clone();
        backup.pieces = (0..17).map(|n| BackupPiece { card: Id([n; 16]), ..first.clone() }).collect();
    });
}

#[test]
fn a_manifest_counts_if_its_service_signed_it() {
    let (manifest, _) = made();
    manifest.check_signature(&service_keys("ca").signing).unwrap();
    assert!(matches!(manifest.check_signature(&service_keys("kms").signing), Err(BackupError::Manifest(_))));
}

#[test]
fn the_first_line_ends() {
    for text in [&b""[..], b"\n", b"{}\n", b"age-encryption.org/v1\n"] {
        assert!(Manifest::read(&mut &text[..]).is_err());
    }
    let endless = vec![b' '; 80 * 1024];
    assert!(matches!(Manifest::read(&mut endless.as_slice()), Err(BackupError::NoManifest)));
}

#[test]
fn all_halves_come_that_were_said() {
    let (manifest, key) = made();
    let [(unit, half), _] = halves().try_into().ok().unwrap();
    let begun = |count| Writer::new(Vec::new(), manifest.envelope(), &key, count).unwrap();
    let missing = begun(1).database(DATABASE, |_| {});
    assert!(matches!(missing, Err(BackupError::Senseless { .. })));
    let surplus = begun(0).half(&unit, &half);
    assert!(matches!(surplus, Err(BackupError::Senseless { .. })));
    // Whoever reads is not told that there is an end where there is none.
    let mut content = Content::begin(&[0, 0, 0, 2, 1, 2, 3][..]).unwrap();
    assert!(matches!(content.next_half(), Err(BackupError::Io(_))));
    assert!(matches!(Content::begin(&[0, 0][..]), Err(BackupError::Io(_))));
}

/// The key is an age identity, so a town that has nothing of ours left opens the file with stock `age`.
#[test]
fn the_age_crate_alone_opens_it() {
    let (manifest, key) = made();
    let (file, _) = written(&manifest, &key);
    let begin = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let identity: age::x25519::Identity = crate::vectors::KEY_TEXT.parse().unwrap();
    let decryptor = age::Decryptor::new_buffered(&file[begin..]).unwrap();
    let mut content = Vec::new();
    let identities: [&dyn age::Identity; 1] = [&identity];
    decryptor.decrypt(identities.into_iter()).unwrap().read_to_end(&mut content).unwrap();
    assert_eq!(content[..4], [0, 0, 0, 2]);
    assert!(content.ends_with(DATABASE));
}
