//! Age files, as senders send them.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io::{BufRead as _, Write as _};
use std::sync::{Arc, Mutex, OnceLock};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::ExposeSecret as _;
use age::{DecryptError, Decryptor, EncryptError, Encryptor, Identity};
use age_core::format::{FileKey as AgeKey, Stanza as AgeStanza};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use p256::SecretKey;
use rand_core::{TryCryptoRng, TryRng};
use warifu_envelope::{
    FileKey, Header, HeaderError, HeaderFault, Overwrite, Sealed, Stanza, TagStanza, UnitRecipient,
    read_header, seal,
};
use warifu_split_key::hpke::{self, OpenError};
use warifu_split_key::partial::{PartialX, join};
use warifu_split_key::point::Point;

use crate::cursor::Cursor;
use crate::fixture::{issuer_half, keeper_half, shares};
use crate::packages;

/// The stanzas as the `age` crate reads them; `None` where it refuses the file before it shows them.
fn stanzas_of_age(file: &[u8]) -> Option<Vec<Stanza>> {
    struct Recorder(Mutex<Vec<Stanza>>);

    impl Identity for Recorder {
        fn unwrap_stanza(&self, stanza: &AgeStanza) -> Option<Result<AgeKey, DecryptError>> {
            self.0.lock().unwrap().push(Stanza {
                kind: stanza.tag.clone(),
                args: stanza.args.clone(),
                body: stanza.body.clone(),
            });
            None
        }
    }

    let decryptor = Decryptor::new_buffered(file).ok()?;
    let recorder = Recorder(Mutex::default());
    let refused = decryptor.decrypt(std::iter::once(&recorder as &dyn Identity)).err().unwrap();
    match refused {
        DecryptError::NoMatchingKeys => Some(recorder.0.into_inner().unwrap()),
        _ => None,
    }
}

/// A header up to its MAC's line, in the one form that the format has.
fn written(header: &Header) -> Vec<u8> {
    let mut text = b"age-encryption.org/v1\n".to_vec();
    for stanza in header.stanzas() {
        let args: String = stanza.args.iter().map(|arg| format!(" {arg}")).collect();
        writeln!(text, "-> {}{args}", stanza.kind).unwrap();
        let body = BASE64_STANDARD_NO_PAD.encode(&stanza.body);
        for line in body.as_bytes().chunks(64) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        if body.len().is_multiple_of(64) {
            text.push(b'\n');
        }
    }
    text.extend_from_slice(b"--- ");
    text
}

/// A header reads in one way: what was read is exactly what was written, and the `age` crate reads the same.
pub(crate) fn header(data: &[u8]) -> bool {
    let ours = read_header(data);
    if data.first().is_some_and(|first| first.is_ascii_whitespace() || *first == b'-') {
        // Armor, which has a target of its own.
        return ours.is_ok();
    }
    // The nonce that follows a header.
    let complete = [data, &[0; 16]].concat();
    match ours {
        Ok(header) => {
            let text = written(&header);
            assert!(data.starts_with(&text), "the header has another form");
            assert_eq!(
                stanzas_of_age(&complete).as_deref(),
                Some(header.stanzas()),
                "age reads something else"
            );
            assert_eq!(Sealed::read(complete.as_slice()).unwrap().stanzas(), header.stanzas());
            for stanza in header.tag_stanzas().unwrap_or_default() {
                let _ = stanza.matches(&Point::generator());
            }
            true
        }
        // The legacy form, whose bodies lack their last, empty line: age reads it, and the format forbids it.
        Err(HeaderError::Malformed { fault: HeaderFault::Body, .. }) => false,
        Err(HeaderError::TooLarge { .. } | HeaderError::ScryptNotAlone) => false,
        Err(refused) => {
            assert!(stanzas_of_age(&complete).is_none(), "age reads what was refused: {refused}");
            false
        }
    }
}

fn testkit() -> Vec<Vec<u8>> {
    let vectors = packages::files("age", "tests/testdata/testkit");
    let file = |(_, vector): (String, Vec<u8>)| {
        // A vector is lines about the file, an empty line, and the file.
        let end = vector.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let about = String::from_utf8_lossy(&vector[..end]).into_owned();
        // Compressed vectors are those of large files.
        (!about.contains("compressed:")).then(|| vector[end + 2..].to_vec())
    };
    vectors.into_iter().filter_map(file).collect()
}

fn sealed_to(units: &[Point], armor: bool, plaintext: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    seal(units, armor, plaintext, &mut file).unwrap();
    file
}

fn unit() -> Point {
    Point::checked_add(&issuer_half("tax").public(), &keeper_half("tax").public()).unwrap()
}

pub(crate) fn header_seeds() -> Vec<Vec<u8>> {
    let mut seeds = testkit();
    for file in &mut seeds {
        // The payload is of no interest here.
        let end = file.windows(4).position(|at| at == b"\n---").map_or(file.len(), |end| end + 60);
        file.truncate(end.max(200));
    }
    seeds.push(sealed_to(&[unit(), Point::generator()], false, b""));
    seeds
}

/// An armored file is the binary file: both read the same, however the lines end, and so do the `age` crate's readers.
pub(crate) fn armor(data: &[u8]) -> bool {
    let accepted = armored(data);
    if data.len() <= 4096 && !data.trim_ascii_start().starts_with(b"-----") {
        let mut writer = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).unwrap();
        writer.write_all(data).unwrap();
        let lines = writer.finish().unwrap();
        let windows = String::from_utf8(lines.clone()).unwrap().replace('\n', "\r\n").into_bytes();
        let binary = read_header(data).ok();
        for text in [lines, windows] {
            assert_eq!(read_header(text.as_slice()).ok(), binary, "armor changes the file");
            let padded = [b" \n\t\n".as_slice(), &text, b"\n \n"].concat();
            assert_eq!(read_header(padded.as_slice()).ok(), binary, "white space around the armor");
        }
    }
    accepted
}

fn armored(data: &[u8]) -> bool {
    let Ok(header) = read_header(data) else { return false };
    let mut file = Vec::new();
    // What comes after the header may be damaged: as much as can be decoded.
    let mut reader = ArmoredReader::new(data.trim_ascii_start());
    while let Ok(piece @ [_, ..]) = reader.fill_buf() {
        file.extend_from_slice(piece);
        let length = piece.len();
        reader.consume(length);
    }
    file.extend_from_slice(&[0; 16]);
    assert_eq!(stanzas_of_age(&file).as_deref(), Some(header.stanzas()), "age reads something else");
    true
}

pub(crate) fn armor_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> =
        testkit().into_iter().filter(|file| file.windows(5).any(|at| at == b"-----")).collect();
    seeds.push(sealed_to(&[unit()], true, b"a list"));
    seeds.push(sealed_to(&[unit()], false, b"a list"));
    seeds
}

/// A stanza has one form; only what was sealed opens, and only to the unit.
pub(crate) fn stanza(data: &[u8]) -> bool {
    let (line, body) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let args = String::from_utf8_lossy(line).split(' ').map(str::to_owned).collect();
    let stanza =
        Stanza { kind: "p256tag".to_owned(), args, body: body.get(1..).unwrap_or_default().to_vec() };
    let Ok(parsed) = TagStanza::parse(&stanza) else { return false };
    let parsed = parsed.unwrap();
    let args =
        [parsed.tag.as_slice(), &parsed.enc.to_uncompressed()].map(|arg| BASE64_STANDARD_NO_PAD.encode(arg));
    assert_eq!((stanza.args.as_slice(), stanza.body.as_slice()), (args.as_slice(), parsed.body.as_slice()));
    let unit = unit();
    let _ = (parsed.matches(&unit), parsed.file_id());
    let candidates = join(&card_partial(&parsed.enc), &site_partial(&parsed.enc)).unwrap();
    let opened = parsed.open(&candidates, &unit).is_ok();
    assert_eq!(opened, genuine().iter().any(|seed| (seed.enc, seed.body) == (parsed.enc, parsed.body)));
    true
}

/// Stanzas that were sealed to the unit, the same in every run: a corpus outlives a run.
fn genuine() -> &'static [TagStanza] {
    static GENUINE: OnceLock<Vec<TagStanza>> = OnceLock::new();
    GENUINE.get_or_init(|| {
        let stanza = |number: u8| {
            let label = b"age-encryption.org/p256tag";
            let sealed = hpke::seal(&mut Numbered(number), &unit(), label, &[], &[number; 16]).unwrap();
            TagStanza {
                tag: [number; 4],
                enc: Point::from_sec1(&sealed.enc).unwrap(),
                body: sealed.ciphertext.try_into().unwrap(),
            }
        };
        (0..4).map(stanza).collect()
    })
}

/// Not random at all.
pub(crate) struct Numbered(pub(crate) u8);

impl TryRng for Numbered {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.into())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.into())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(32) {
            let digest = warifu_ledger::Digest::of(&[self.0]);
            chunk.copy_from_slice(&digest.as_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Numbered {}

pub(crate) fn stanza_seeds() -> Vec<Vec<u8>> {
    let text = |stanza: &TagStanza| {
        let args = [stanza.tag.as_slice(), &stanza.enc.to_uncompressed()]
            .map(|arg| BASE64_STANDARD_NO_PAD.encode(arg));
        [args.join(" ").as_bytes(), b"\n", &stanza.body].concat()
    };
    genuine().iter().map(text).collect()
}

fn ecdh(scalar: &[u8; 32], point: &Point) -> PartialX {
    let secret = SecretKey::from_slice(scalar).unwrap();
    let point = p256::PublicKey::from_sec1_bytes(&point.to_uncompressed()).unwrap();
    PartialX::from_bytes(&secret.diffie_hellman(&point).raw_secret_bytes().0)
}

/// `x(aR)` of hanako's card.
fn card_partial(point: &Point) -> PartialX {
    let share = warifu_split_key::issuer::CardShare::from_bytes(
        warifu_ledger::Digest::of(b"hanako opens tax a").as_bytes(),
    );
    ecdh(&share.unwrap().expose_bytes(), point)
}

/// `x(bR)` of the site.
fn site_partial(point: &Point) -> PartialX {
    let share = warifu_split_key::issuer::CardShare::from_bytes(
        warifu_ledger::Digest::of(b"hanako opens tax a").as_bytes(),
    );
    let site = keeper_half("tax").site_share(issuer_half("tax").delta(&share.unwrap()).unwrap()).unwrap();
    assert_eq!(site.public(), shares("hanako", "tax").1);
    ecdh(&site.expose_bytes(), point)
}

/// Whatever a card and a site answer, a stanza opens with the true answers alone.
pub(crate) fn partials(data: &[u8]) -> bool {
    let mut answers = [[0; 32]; 2];
    for (at, byte) in data.iter().take(64).enumerate() {
        answers[at / 32][at % 32] = *byte;
    }
    let [card, site] = answers.map(|x| PartialX::from_bytes(&x));
    let stanza = &genuine()[0];
    let Ok(candidates) = join(&card, &site) else { return false };
    let opened = stanza.open(&candidates, &unit());
    let truth = [*card_partial(&stanza.enc).expose(), *site_partial(&stanza.enc).expose()];
    let mut given = answers;
    let is_true = given == truth || {
        given.reverse();
        given == truth
    };
    match opened {
        Ok(_) => assert!(is_true, "it opened with other answers"),
        Err(OpenError::DoesNotOpen) => assert!(!is_true, "it did not open"),
        Err(other) => panic!("another error: {other}"),
    }
    true
}

pub(crate) fn partials_seeds() -> Vec<Vec<u8>> {
    let enc = &genuine()[0].enc;
    let (card, site) = (card_partial(enc), site_partial(enc));
    let generator = Point::generator().x();
    let pairs = [
        [card.expose(), site.expose()],
        [site.expose(), card.expose()],
        [card.expose(), card.expose()],
        [&generator; 2],
    ];
    pairs.map(|[one, other]| [one.as_slice(), other].concat()).to_vec()
}

struct Known {
    plaintext: Vec<u8>,
    key: [u8; 16],
    file: Vec<u8>,
    armored: bool,
}

/// Files with known keys, of the lengths around the ends of chunks.
fn known() -> &'static [Known] {
    struct Reveal(Arc<Mutex<[u8; 16]>>);

    impl age::Recipient for Reveal {
        fn wrap_file_key(&self, key: &AgeKey) -> Result<(Vec<AgeStanza>, HashSet<String>), EncryptError> {
            *self.0.lock().unwrap() = *key.expose_secret();
            let stanza = AgeStanza { tag: "revealed".to_owned(), args: Vec::new(), body: Vec::new() };
            Ok((vec![stanza], HashSet::new()))
        }
    }

    static KNOWN: OnceLock<Vec<Known>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let lengths = [0, 1, 65_535, 65_536, 65_537, 140_000];
        let files = lengths.iter().flat_map(|length| [(*length, false), (*length, true)]);
        let make = |(length, armored): (u32, bool)| {
            let plaintext: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let key = Arc::new(Mutex::new([0; 16]));
            let reveal = Reveal(key.clone());
            let encryptor =
                Encryptor::with_recipients(std::iter::once(&reveal as &dyn age::Recipient)).unwrap();
            let format = if armored { Format::AsciiArmor } else { Format::Binary };
            let output = ArmoredWriter::wrap_output(Vec::new(), format).unwrap();
            let mut writer = encryptor.wrap_output(output).unwrap();
            writer.write_all(&plaintext).unwrap();
            let file = writer.finish().unwrap().finish().unwrap();
            let key = *key.lock().unwrap();
            Known { plaintext, key, file, armored }
        };
        files.map(make).collect()
    })
}

/// A damaged file gives a true beginning and then an error, and leaves nothing behind; only the whole file opens.
pub(crate) fn whole(data: &[u8]) -> bool {
    let mut script = Cursor::new(data);
    let choice = script.byte();
    let known = &known()[usize::from(choice & 0x7f) % known().len()];
    let file = damaged(&known.file, &mut script);
    let opens = |sealed: Sealed<&[u8]>| {
        let mut output = Vec::new();
        let result = sealed.open(FileKey::from_bytes(&known.key), &mut output, &|| false);
        assert!(known.plaintext.starts_with(&output), "it gives what was never sealed");
        result.map(|length| assert_eq!((output.len() as u64, &output), (length, &known.plaintext)))
    };
    let opened = match Sealed::read(file.as_slice()) {
        Ok(sealed) => opens(sealed).is_ok(),
        Err(_) => false,
    };
    if opened && !known.armored {
        assert_eq!(file, known.file, "an altered file opens");
    }
    if choice & 0x80 != 0 {
        leaves_nothing_unless(opened, known, &file);
    }
    opened
}

fn damaged(file: &[u8], script: &mut Cursor<'_>) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..8 {
        if script.is_empty() || file.is_empty() {
            break;
        }
        let kind = script.below(7);
        let at = script.number() % file.len();
        match kind {
            0 => file[at] ^= 1 << script.below(8),
            1 => file.truncate(at),
            2 => file.insert(at, script.byte()),
            3 => drop(file.drain(at..(at + script.number()).min(file.len()))),
            4 => file.extend_from_slice(script.piece()),
            5 => {
                let other = script.number() % file.len();
                file.swap(at, other);
            }
            _ => {
                // A chunk of 64 KiB and its tag, doubled.
                let chunk = file[at..(at + 65_552).min(file.len())].to_vec();
                file.splice(at..at, chunk);
            }
        }
    }
    file
}

fn leaves_nothing_unless(opened: bool, known: &Known, file: &[u8]) {
    let folder =
        tempfile::tempdir_in(if std::path::Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" })
            .unwrap();
    let path = folder.path().join("opened");
    let result = Sealed::read(file).map(|sealed| {
        sealed.open_to_path(FileKey::from_bytes(&known.key), &path, Overwrite::Refuse, &|| false)
    });
    assert_eq!(matches!(result, Ok(Ok(_))), opened);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, usize::from(opened), "something was left behind");
    if opened {
        assert_eq!(std::fs::read(&path).unwrap(), known.plaintext);
    }
}

pub(crate) fn whole_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for choice in 0..12 {
        seeds.push(vec![choice]);
        seeds.push(vec![choice | 0x80]);
        for kind in 0..7 {
            seeds.push(vec![choice, kind, 0, choice, 200, 3, 0, 9]);
            seeds.push(vec![choice, kind, 1, 0, 90, 3, 0, 9]);
        }
    }
    // Armor may be followed by white space.
    seeds.push(vec![3, 4, 0, 0, 0, 1, b'\n']);
    seeds
}

/// A recipient has one form but for its case, and the `age` crate takes the same ones.
pub(crate) fn recipient(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let ours = UnitRecipient::parse(text);
    let theirs = text.parse::<age::tag::Recipient>();
    match ours {
        Ok(point) => {
            assert_eq!(UnitRecipient::encode(&point), text.to_ascii_lowercase());
            assert!(theirs.is_ok(), "age does not take it");
            true
        }
        Err(error) => {
            assert!(theirs.is_err(), "age takes it");
            // A secret key pasted by mistake is not repeated.
            assert!(error.to_string().len() < 200);
            false
        }
    }
}

pub(crate) fn recipient_seeds() -> Vec<Vec<u8>> {
    let ours = UnitRecipient::encode(&unit());
    let mut seeds = vec![ours.to_ascii_uppercase(), ours, UnitRecipient::encode(&Point::generator())];
    seeds.push("age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj".to_owned());
    seeds.push("AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX".to_owned());
    seeds.into_iter().map(String::into_bytes).collect()
}
