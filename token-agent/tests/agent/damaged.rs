//! Damaged files: whatever is wrong with one, it is one clear fault, and nothing of it is left anywhere.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use warifu_api::wire::agent::{AgentFault, FileOutcome, OpenTarget};
use warifu_virtual_card::readers::{self, Readers};

use crate::desk::{Desk, opened_folders, processes_with};
use crate::organization::{SoftKey, Unit};

/// Plaintext bytes of a chunk, and bytes of a sealed one.
const CHUNK: usize = 64 * 1024;
const SEALED_CHUNK: usize = CHUNK + 16;
/// Bytes of the payload's nonce.
const NONCE: usize = 16;
/// The most files in one request.
const AT_ONCE: usize = 1024;

/// A PC where files of a unit can be opened.
struct Open {
    desk: Desk,
    unit: Unit,
}

impl Open {
    fn new(readers: Readers) -> Self {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent_with(&["true"]);
        desk.insert_and_unlock(member.index);
        Self { desk, unit }
    }

    fn sealed(&self, length: usize) -> Vec<u8> {
        std::fs::read(self.desk.sealed("good.age", &self.unit.key, &vec![0x5a; length])).unwrap()
    }

    /// None of these opens, and nothing of them is left. What is said of each.
    fn refused(&self, files: &[Vec<u8>]) -> Vec<AgentFault> {
        let folder = self.desk.path("damaged");
        std::fs::create_dir_all(&folder).unwrap();
        let mut faults = Vec::new();
        for files in files.chunks(AT_ONCE) {
            let paths: Vec<PathBuf> =
                (0..files.len()).map(|index| folder.join(format!("{index}.csv.age"))).collect();
            for (path, bytes) in paths.iter().zip(files) {
                std::fs::write(path, bytes).unwrap();
            }
            let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
            for outcome in self.desk.open(&paths, OpenTarget::View).unwrap() {
                let FileOutcome::Failed { fault } = outcome else { panic!("{}: it opened", faults.len()) };
                faults.push(fault);
            }
            assert!(opened_folders(&self.desk).is_empty(), "something is left in memory");
            assert!(processes_with("/damaged/").is_empty(), "something is shown");
        }
        faults
    }

    /// The person is told that the file is damaged, whatever it is.
    fn damaged(&self, files: &[(String, Vec<u8>)]) {
        let bytes: Vec<Vec<u8>> = files.iter().map(|(_, bytes)| bytes.clone()).collect();
        for ((what, _), fault) in files.iter().zip(self.refused(&bytes)) {
            assert_eq!(fault, AgentFault::FileDamaged, "{what}");
        }
        // As well where a file is written out, of which nothing may appear.
        let out = self.desk.path("out");
        let before = std::fs::read_dir(self.desk.folder.path()).unwrap().count();
        for (what, bytes) in files.iter().step_by(files.len().div_ceil(8)) {
            std::fs::write(self.desk.path("damaged/0.csv.age"), bytes).unwrap();
            let exported = self.desk.export(&self.desk.path("damaged/0.csv.age"), &out);
            assert_eq!(exported, Err(AgentFault::FileDamaged), "{what}");
        }
        assert_eq!(std::fs::read_dir(self.desk.folder.path()).unwrap().count(), before);
    }

    /// What is not damaged opens.
    fn opens(&self, bytes: &[u8]) {
        let path = self.desk.path("whole.age");
        std::fs::write(&path, bytes).unwrap();
        self.desk.view(&path).unwrap();
    }
}

/// Where the parts of a binary file begin: each line of the header, the nonce, the chunks; and where it ends.
fn boundaries(file: &[u8]) -> Vec<usize> {
    let mac = file.windows(5).position(|window| window == b"\n--- ").unwrap() + 1;
    let payload = mac + file[mac..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut found: Vec<usize> =
        (0..payload).filter(|index| *index == 0 || file[index - 1] == b'\n').collect();
    found.push(payload);
    found.extend((payload + NONCE..file.len()).step_by(SEALED_CHUNK));
    found.push(file.len());
    found
}

#[test]
fn a_file_that_was_cut_short_or_made_longer_is_damaged_wherever_that_was() {
    readers::private(1, |readers| {
        let open = Open::new(readers);
        let file = open.sealed(3 * CHUNK + 1000);
        let boundaries = boundaries(&file);
        // Version line, stanzas with arguments and body, MAC, nonce, four chunks, end.
        assert!(boundaries.len() >= 10, "{boundaries:?}");
        let mut damaged = Vec::new();
        for end in boundaries.iter().flat_map(|at| [at.saturating_sub(1), *at, at + 1]) {
            if end < file.len() {
                damaged.push((format!("cut at {end}"), file[..end].to_vec()));
            }
        }
        for (begin, end) in boundaries.iter().zip(&boundaries[1..]) {
            damaged.push((format!("cut in {begin}..{end}"), file[..(begin + end) / 2].to_vec()));
            damaged.push((format!("without {begin}..{end}"), [&file[..*begin], &file[*end..]].concat()));
            damaged.push((format!("twice {begin}..{end}"), [&file[..*end], &file[*begin..]].concat()));
        }
        for extra in [&b"\0"[..], b"\n", &[0; 16], &[7; SEALED_CHUNK], &file] {
            damaged.push((format!("{} bytes longer", extra.len()), [&file, extra].concat()));
        }
        let whole = open.sealed(2 * CHUNK);
        damaged.push(("the last chunk is missing".into(), whole[..whole.len() - SEALED_CHUNK].to_vec()));
        open.damaged(&damaged);
        open.opens(&file);
    });
}

#[test]
fn no_byte_of_a_file_can_be_altered() {
    readers::private(1, |readers| {
        let open = Open::new(readers);
        let small = open.sealed(64);
        let altered = |file: &[u8], index: usize| {
            let mut bytes = file.to_vec();
            bytes[index] ^= 1 << (index % 8);
            bytes
        };
        let mut files: Vec<_> = (0..small.len()).map(|index| altered(&small, index)).collect();
        let large = open.sealed(5 * CHUNK);
        files.extend((0..large.len()).step_by(4099).map(|index| altered(&large, index)));
        for (index, fault) in open.refused(&files).into_iter().enumerate() {
            // Whose tag, or what kind of stanza, was altered is nobody's here.
            let clear = matches!(fault, AgentFault::FileDamaged | AgentFault::NotForYou);
            assert!(clear, "{index}: {fault:?}");
            assert!(index < small.len().min(120) || fault == AgentFault::FileDamaged, "{index}: {fault:?}");
        }
        open.opens(&small);
        open.opens(&large);
    });
}

/// 3.3: what a stanza holds is checked to be a point of the curve before the card or a site's HSM sees anything of it.
#[test]
fn a_stanza_without_a_point_of_the_curve_reaches_neither_card_nor_site() {
    readers::private(1, |readers| {
        let open = Open::new(readers);
        let file = open.sealed(64);
        let text = String::from_utf8_lossy(&file).into_owned();
        let key = text.lines().nth(1).unwrap().split(' ').nth(3).unwrap().to_owned();
        let at = file.windows(key.len()).position(|window| window == key.as_bytes()).unwrap();
        let point = STANDARD_NO_PAD.decode(&key).unwrap();
        assert_eq!((point.len(), point[0]), (65, 4));
        let with = |bytes: &[u8]| {
            let encoded = STANDARD_NO_PAD.encode(bytes);
            [&file[..at], encoded.as_bytes(), &file[at + key.len()..]].concat()
        };
        let mut off_curve = point.clone();
        off_curve[64] ^= 1;
        // p = 2²⁵⁶ − 2²²⁴ + 2¹⁹² + 2⁹⁶ − 1; x and y at p and beyond.
        let p = hex::decode("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff").unwrap();
        let other = SoftKey::draw();
        let other = warifu_hardware::signer::DigestSigner::public_key(&*other);
        let compressed = p256::PublicKey::from_sec1_bytes(&point).unwrap().to_sec1_point(true);
        let malformed = [
            ("off the curve", off_curve),
            ("y of another point", [&point[..33], &other.to_uncompressed()[33..]].concat()),
            ("the identity", vec![0]),
            ("zeros", vec![0; 65]),
            ("zeros, marked as a point", [&[4][..], &[0; 64]].concat()),
            ("x = p", [&[4][..], &p, &point[33..]].concat()),
            ("x > p", [&[4][..], &[0xff; 32], &point[33..]].concat()),
            ("y = p", [&point[..33], &p].concat()),
            ("compressed", compressed.as_bytes().to_vec()),
            ("hybrid form", [&[6 + (point[64] & 1)][..], &point[1..]].concat()),
            ("too short", point[..64].to_vec()),
            ("too long", [&point[..], &[0]].concat()),
            ("nothing", Vec::new()),
        ];
        let (card, site) = (open.desk.cards[0].0.agreements(), open.desk.sites[0].state().batches);
        let files: Vec<_> = malformed.iter().map(|(what, bytes)| ((*what).to_owned(), with(bytes))).collect();
        open.damaged(&files);
        // Beside a good stanza as well: a header is whole or it is not.
        let body = text.lines().nth(2).unwrap();
        let stanza = text.lines().nth(1).unwrap();
        let mixed: Vec<_> = malformed
            .iter()
            .map(|(what, bytes)| {
                let bad = stanza.replace(&key, &STANDARD_NO_PAD.encode(bytes));
                let begin = text.lines().next().unwrap().len() + 1;
                let inserted = format!("{bad}\n{body}\n");
                let file = [&file[..begin], inserted.as_bytes(), &file[begin..]].concat();
                (format!("{what}, beside a good one"), file)
            })
            .collect();
        open.damaged(&mixed);
        assert_eq!(open.desk.cards[0].0.agreements(), card, "the card has seen a point");
        assert_eq!(open.desk.sites[0].state().batches, site, "a site has seen a point");
        open.opens(&file);
    });
}
