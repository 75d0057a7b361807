//! Files of our own making: round trips, bad input, and what stays behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails, in its helper functions too"
)]

mod member;

use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use member::Member;
use serde::Serialize;
use sha2::{Digest, Sha256};
use static_assertions::assert_not_impl_any;
use warifu_envelope::*;
use warifu_split_key::point::{Point, PointError};

assert_not_impl_any!(FileKey: Debug, Display, Clone, Copy, Serialize);

const GO_ON: &dyn Fn() -> bool = &|| false;
/// Of the `age` crate's own tests.
const KNOWN_RECIPIENT: &str = "age1tag1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53ut6elz5c4swx2yqdj4e";

fn sealed_to(members: &[&Member], armor: bool, text: &[u8]) -> Vec<u8> {
    let units: Vec<_> = members.iter().map(|member| member.unit).collect();
    let mut file = Vec::new();
    assert_eq!(seal(&units, armor, text, &mut file).unwrap(), text.len() as u64);
    file
}

fn opened(file: &[u8], member: &Member) -> Result<Vec<u8>, OpenError> {
    let mut text = Vec::new();
    open(file, &mut text, member, GO_ON).map(|_| text)
}

fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn round_trips() {
    let members = [Member::draw(), Member::draw(), Member::draw()];
    let stranger = Member::draw();
    for armor in [false, true] {
        for length in [0, 1, 47, 48, 49, 65_535, 65_536, 65_537, 131_072, 200_001] {
            let text = sample(length);
            let file = sealed_to(&members.each_ref(), armor, &text);
            assert_eq!(file.starts_with(b"-----BEGIN"), armor);
            for member in &members {
                assert!(opened(&file, member).unwrap() == text);
            }
            let refused = opened(&file, &stranger);
            assert!(matches!(refused, Err(OpenError::Unwrap(UnwrapError::NoMatch))));
        }
    }
}

/// The way of the agent: all headers first, one round trip, then the payloads.
#[test]
fn a_batch_opens_in_two_phases() {
    let member = Member::draw();
    let files: Vec<_> = (0..5).map(|n| sealed_to(&[&member], n % 2 == 0, &sample(n * 1000))).collect();
    let sealed: Vec<_> = files.iter().map(|file| Sealed::read(&file[..]).unwrap()).collect();
    let keys: Vec<_> = sealed
        .iter()
        .map(|sealed| {
            let stanzas = sealed.header().tag_stanzas().unwrap();
            let mine = stanzas.iter().find(|stanza| stanza.matches(&member.unit)).unwrap();
            assert_eq!(mine.file_id(), <[u8; 32]>::from(Sha256::digest(mine.enc.x())));
            mine.open(&member.candidates(mine), &member.unit).unwrap()
        })
        .collect();
    for (n, (sealed, key)) in sealed.into_iter().zip(keys).enumerate() {
        let mut text = Vec::new();
        sealed.open(key, &mut text, GO_ON).unwrap();
        assert_eq!(text, sample(n * 1000));
    }
}

#[test]
fn many_recipients_fit_and_too_many_are_refused() {
    let member = Member::draw();
    let mut units = vec![Point::generator(); RECIPIENT_LIMIT - 1];
    units.push(member.unit);
    let mut file = Vec::new();
    seal(&units, true, &b"for all"[..], &mut file).unwrap();
    assert_eq!(opened(&file, &member).unwrap(), b"for all");

    units.push(member.unit);
    let refused = seal(&units, false, &b""[..], io::sink());
    assert!(matches!(refused, Err(SealError::TooManyRecipients { count: 4097, limit: 4096 })));
    assert!(matches!(seal(&[], false, &b""[..], io::sink()), Err(SealError::NoRecipients)));
}

#[test]
fn recipients_are_age_s_own() {
    let point = UnitRecipient::parse(KNOWN_RECIPIENT).unwrap();
    assert_eq!(UnitRecipient::encode(&point), KNOWN_RECIPIENT);
    let unit = Member::draw().unit;
    let text = UnitRecipient::encode(&unit);
    assert_eq!(text.parse::<age::tag::Recipient>().unwrap().to_string(), text);
    assert_eq!(UnitRecipient::parse(&text).unwrap(), unit);
}

/// `printf %s age1tag1… | sha256sum | cut -c 1-32`.
#[test]
fn p_17_6_a_fingerprint_is_what_anybody_can_compute() {
    let point = UnitRecipient::parse(KNOWN_RECIPIENT).unwrap();
    assert_eq!(UnitRecipient::fingerprint(&point), "762f e72f 25fe db52 98bd 8983 7e13 30f0");
    assert_ne!(UnitRecipient::fingerprint(&Member::draw().unit), UnitRecipient::fingerprint(&point));
}

#[test]
fn texts_that_are_no_recipient_are_refused() {
    for text in ["", "age1tag1", "hello", &KNOWN_RECIPIENT[1..], &KNOWN_RECIPIENT[..60]] {
        assert!(matches!(UnitRecipient::parse(text), Err(RecipientError::Encoding(_))), "{text}");
    }
    let mut mistyped = KNOWN_RECIPIENT.to_owned();
    mistyped.replace_range(20..21, "q");
    assert!(matches!(UnitRecipient::parse(&mistyped), Err(RecipientError::Encoding(_))));

    let other = age::x25519::Identity::generate();
    let refused = UnitRecipient::parse(&other.to_public().to_string());
    assert!(matches!(refused, Err(RecipientError::Prefix { prefix }) if prefix == "age"));
    let secret = age::secrecy::ExposeSecret::expose_secret(&other.to_string()).to_owned();
    let refused = UnitRecipient::parse(&secret).unwrap_err().to_string();
    assert!(!refused.contains(&secret[20..]));

    let hrp = bech32::Hrp::parse("age1tag").unwrap();
    let encode = |bytes: &[u8]| age_core::primitives::bech32_encode(hrp, bytes);
    let short = UnitRecipient::parse(&encode(&[2; 32]));
    assert!(matches!(short, Err(RecipientError::Length { length: 32 })));
    let uncompressed = UnitRecipient::parse(&encode(&Point::generator().to_uncompressed()));
    assert!(matches!(uncompressed, Err(RecipientError::Length { length: 65 })));
    let off_curve = UnitRecipient::parse(&encode(&[&[2][..], &[0xff; 32]].concat()));
    assert!(matches!(off_curve, Err(RecipientError::Point(PointError::NotOnCurve))));
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

/// Nothing that is not the whole file opens, and nothing is left behind by the attempt.
#[track_caller]
fn refused(file: &[u8], member: &Member) -> OpenError {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let error = open_to_path(file, &path, Overwrite::Refuse, member, GO_ON).unwrap_err();
    assert!(is_empty(folder.path()));
    error
}

#[test]
fn truncated_files_are_refused_wherever_they_end() {
    let member = Member::draw();
    for armor in [false, true] {
        let file = sealed_to(&[&member], armor, &sample(70_000));
        let ends = (0..1200).chain((1200..file.len()).step_by(9973)).chain([file.len() - 1]);
        for end in ends.filter(|end| *end < file.len()) {
            // Only the newline after the armor's end marker may be missing.
            if armor && end == file.len() - 1 {
                continue;
            }
            refused(&file[..end], &member);
        }
    }
}

#[test]
fn extended_files_are_refused() {
    let member = Member::draw();
    for length in [0, 10, 65_536 - 16, 65_536, 131_072] {
        let file = sealed_to(&[&member], false, &sample(length));
        for extra in [&b"\0"[..], b"\n", &[0; 16], &[7; 70_000], &file] {
            let error = refused(&[&file, extra].concat(), &member);
            assert!(matches!(error, OpenError::Payload(_)), "{length}: {error:?}");
        }
        let armored = sealed_to(&[&member], true, &sample(length));
        let error = refused(&[&armored[..], b"x"].concat(), &member);
        assert!(matches!(error, OpenError::Armor(_) | OpenError::Header(HeaderError::Armor(_))), "{error:?}");
        assert!(opened(&[&armored[..], b" \r\n\n"].concat(), &member).is_ok());
    }
}

#[test]
fn no_bit_can_be_flipped() {
    let member = Member::draw();
    let file = sealed_to(&[&member], false, &sample(100));
    for bit in 0..file.len() * 8 {
        let mut altered = file.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(opened(&altered, &member).is_err(), "bit {bit}");
    }
}

#[test]
fn garbage_is_no_age_file() {
    let member = Member::draw();
    for garbage in [&b""[..], b"\n", b"PK\x03\x04", &[0; 100_000], &[0xff; 3], "課税台帳".as_bytes()] {
        let error = refused(garbage, &member);
        assert!(
            matches!(error, OpenError::Header(HeaderError::NotAge | HeaderError::Truncated)),
            "{error:?}"
        );
    }
    assert!(matches!(read_header(&b"age-encryption.org/v2\n"[..]), Err(HeaderError::UnsupportedVersion)));
    assert!(matches!(read_header(&b"age-encryption"[..]), Err(HeaderError::Truncated)));
    assert!(matches!(read_header(&vec![b' '; 5000][..]), Err(HeaderError::NotAge)));
}

#[test]
fn headers_and_lines_without_end_are_not_read_into_memory() {
    let stanza = b"-> x\n\n".repeat(HEADER_LIMIT);
    let endless = [&b"age-encryption.org/v1\n"[..], &stanza].concat();
    assert!(matches!(read_header(&endless[..]), Err(HeaderError::TooLarge { limit: HEADER_LIMIT })));
    let line = b"age-encryption.org/v1\n-> ".chain(io::repeat(b'x'));
    assert!(matches!(read_header(line), Err(HeaderError::TooLarge { .. })));
    let armor = b"-----BEGIN AGE ENCRYPTED FILE-----\n".chain(io::repeat(b'A'));
    assert!(matches!(read_header(armor), Err(HeaderError::Armor(ArmorError::LineTooLong { .. }))));
    assert!(matches!(read_header(io::repeat(b' ')), Err(HeaderError::NotAge)));
}

fn header(stanzas: &str) -> Vec<u8> {
    format!("age-encryption.org/v1\n{stanzas}--- {}\n", BASE64_STANDARD_NO_PAD.encode([0; 32])).into_bytes()
}

fn tag_error(arguments: &str, body: &[u8]) -> TagError {
    let file = header(&format!("-> p256tag{arguments}\n{}\n", BASE64_STANDARD_NO_PAD.encode(body)));
    match read_header(&file[..]).unwrap().tag_stanzas() {
        Err(HeaderError::Tag { index: 0, source }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn malformed_tag_stanzas_are_refused() {
    let point = Point::generator();
    let enc = BASE64_STANDARD_NO_PAD.encode(point.to_uncompressed());
    let encode = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
    let body = [0; 32];

    let good = header(&format!("-> p256tag AAAAAA {enc}\n{}\n", encode(&body)));
    let parsed = read_header(&good[..]).unwrap().tag_stanzas().unwrap();
    assert_eq!(parsed, [TagStanza { tag: [0; 4], enc: point, body }]);
    assert!(!parsed[0].matches(&point));

    assert_eq!(tag_error("", &body), TagError::Arguments { count: 0 });
    assert_eq!(tag_error(" AAAAAA", &body), TagError::Arguments { count: 1 });
    assert_eq!(tag_error(&format!(" AAAAAA {enc} x"), &body), TagError::Arguments { count: 3 });
    for tag in ["AAAA", "AAAAAAA", "AAAAAAAA", "AAAAAA==", "AAAAAB", "!!!!!!"] {
        assert_eq!(tag_error(&format!(" {tag} {enc}"), &body), TagError::Tag, "{tag}");
    }
    let compressed = encode(&point.to_compressed());
    assert_eq!(tag_error(&format!(" AAAAAA {compressed}"), &body), TagError::EncodedKey);
    assert_eq!(tag_error(&format!(" AAAAAA {enc}="), &body), TagError::EncodedKey);
    let mut off_curve = point.to_uncompressed();
    off_curve[64] ^= 1;
    let off_curve = format!(" AAAAAA {}", encode(&off_curve));
    assert_eq!(tag_error(&off_curve, &body), TagError::Key(PointError::NotOnCurve));
    let identity = format!(" AAAAAA {}", encode(&[0; 65]));
    assert_eq!(tag_error(&identity, &body), TagError::Key(PointError::Encoding { tag: 0 }));
    for length in [0, 16, 31, 33] {
        assert_eq!(tag_error(&format!(" AAAAAA {enc}"), &sample(length)), TagError::Body { length });
    }
}

/// A file that claims a unit's tag with a key that the unit's shares do not fit.
#[test]
fn a_false_tag_opens_nothing() {
    let (member, other) = (Member::draw(), Member::draw());
    let file = sealed_to(&[&other], false, b"text");
    let sealed = Sealed::read(&file[..]).unwrap();
    let stanza = &sealed.header().tag_stanzas().unwrap()[0];
    assert!(stanza.open(&member.candidates(stanza), &member.unit).is_err());
    assert!(stanza.open(&other.candidates(stanza), &member.unit).is_err());
    assert!(stanza.open(&member.candidates(stanza), &other.unit).is_err());
    assert!(stanza.open(&other.candidates(stanza), &other.unit).is_ok());
    let mismatched = sealed.open(FileKey::from_bytes(&[0; 16]), io::sink(), GO_ON);
    assert!(matches!(mismatched, Err(OpenError::HeaderMac)));
}

#[test]
fn a_passphrase_stanza_stands_alone() {
    let two = header("-> scrypt AAAA 10\n\n-> x\n\n");
    assert!(matches!(read_header(&two[..]), Err(HeaderError::ScryptNotAlone)));
    let none = header("");
    let error = read_header(&none[..]);
    let fault = HeaderFault::StanzaStart;
    assert!(matches!(error, Err(HeaderError::Malformed { line: 2, fault: found }) if found == fault));
}

/// Card out in the middle of a large file: opening stops within a chunk, and nothing is left.
#[test]
fn cancelling_mid_file_leaves_nothing() {
    let member = Member::draw();
    let file = sealed_to(&[&member], false, &sample(64 * 65_536));
    for stop_at in [0, 1, 40, 64, 65] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let asked = Cell::new(0);
        let cancelled = || {
            let count = asked.get();
            asked.set(count + 1);
            count >= stop_at
        };
        let result = open_to_path(&file[..], &path, Overwrite::Refuse, &member, &cancelled);
        assert!(matches!(result, Err(OpenError::Cancelled)), "{stop_at}: {result:?}");
        assert_eq!(asked.get(), stop_at + 1, "stopped at the first yes");
        assert!(is_empty(folder.path()));
    }
}

#[test]
fn existing_files_are_not_overwritten_unless_told() {
    let member = Member::draw();
    let file = sealed_to(&[&member], true, b"new");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    fs::write(&path, b"old").unwrap();
    let open_with = |file: &[u8], overwrite| open_to_path(file, &path, overwrite, &member, GO_ON);

    let result = open_with(&file, Overwrite::Refuse);
    assert!(matches!(result, Err(OpenError::Whole(WholeError::Exists { .. }))));
    assert_eq!(fs::read(&path).unwrap(), b"old");

    // What fails does not harm what is there either.
    assert!(open_with(&file[..file.len() - 50], Overwrite::Replace).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");

    open_with(&file, Overwrite::Replace).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A file that comes into being while ours is written wins.
#[test]
fn a_file_that_appears_meanwhile_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let result = write_whole(&path, Overwrite::Refuse, |_| {
        fs::write(&path, b"first").map_err(|source| WholeError::Publish { path: path.clone(), source })
    });
    assert!(matches!(result, Err(WholeError::Exists { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn opened_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let member = Member::draw();
    let file = sealed_to(&[&member], false, b"text");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    open_to_path(&file[..], &path, Overwrite::Refuse, &member, GO_ON).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let nowhere = folder.path().join("missing/out");
    let result = open_to_path(&file[..], &nowhere, Overwrite::Refuse, &member, GO_ON);
    assert!(matches!(result, Err(OpenError::Whole(WholeError::Create { .. }))));
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    }
}

#[test]
fn failing_readers_and_writers_are_told_apart() {
    let member = Member::draw();
    let file = sealed_to(&[&member], false, &sample(200_000));
    assert!(matches!(read_header(Failing), Err(HeaderError::Read(_))));
    let cut = (&file[..100_000]).chain(Failing);
    assert!(matches!(open(cut, io::sink(), &member, GO_ON), Err(OpenError::Read(_))));
    let mut full = [0; 1000];
    assert!(matches!(open(&file[..], &mut full[..], &member, GO_ON), Err(OpenError::Write(_))));
    assert!(matches!(seal(&[member.unit], false, Failing, io::sink()), Err(SealError::Read(_))));
    let mut full = [0; 1000];
    let result = seal(&[member.unit], false, &file[..], &mut full[..]);
    assert!(matches!(result, Err(SealError::Write(_))));
}
