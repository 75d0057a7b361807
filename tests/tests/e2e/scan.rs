//! What to look for, and where: secrets in every spelling, in files, in memory, and in what every process shows of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use p256::elliptic_curve::PrimeField as _;
use p256::{NonZeroScalar, ProjectivePoint, Scalar};
use serde_json::Value;

pub(crate) fn scalar(bytes: &[u8]) -> Scalar {
    let bytes: [u8; 32] = bytes.try_into().unwrap();
    Scalar::from_repr(bytes.into()).unwrap()
}

pub(crate) fn raw(secret: &Scalar) -> [u8; 32] {
    secret.to_repr().into()
}

pub(crate) fn point(secret: &Scalar) -> warifu_split_key::point::Point {
    use p256::elliptic_curve::sec1::ToSec1Point as _;
    let secret = NonZeroScalar::new(*secret).unwrap();
    let affine = (ProjectivePoint::GENERATOR * *secret).to_affine();
    warifu_split_key::point::Point::from_sec1(affine.to_sec1_point(true).as_bytes()).unwrap()
}

/// `a` in a virtual card's file: its first retired key slot.
pub(crate) fn card_share(file: &Path) -> Scalar {
    let card: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let keys = card["keys"].as_object().unwrap();
    let key = keys.iter().find(|(slot, _)| slot.starts_with("82")).unwrap().1;
    scalar(&hex::decode(key["scalar"].as_str().unwrap()).unwrap())
}

/// Secrets by name, and how each may be written down.
#[derive(Default)]
pub(crate) struct Secrets {
    names: Vec<String>,
    spellings: Vec<Vec<u8>>,
}

impl Secrets {
    /// Bytes, in either order for numbers.
    pub(crate) fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= 8, "{name} is too short to look for");
        self.spell(name, secret);
    }

    pub(crate) fn add_scalar(&mut self, name: &str, secret: &Scalar) {
        let big = raw(secret);
        let mut little = big;
        little.reverse();
        self.spell(name, &big);
        self.spell(name, &little);
    }

    fn spell(&mut self, name: &str, bytes: &[u8]) {
        let joined = |separator: &str, each: &dyn Fn(&u8) -> String| {
            bytes.iter().map(each).collect::<Vec<_>>().join(separator).into_bytes()
        };
        let mut all = vec![
            bytes.to_vec(),
            hex::encode(bytes).into_bytes(),
            hex::encode_upper(bytes).into_bytes(),
            joined(" ", &|byte| format!("{byte:02x}")),
            joined(" ", &|byte| format!("{byte:02X}")),
            joined(", ", &|byte| byte.to_string()),
            joined(",", &|byte| byte.to_string()),
        ];
        // Base64 at each of three places in a longer text, without the characters that its neighbours change.
        for before in 0..3 {
            let encoded = STANDARD_NO_PAD.encode([&vec![0; before][..], bytes].concat());
            let from = [0, 2, 3][before];
            let to = (before + bytes.len()) * 8 / 6;
            let text = encoded[from..to].to_owned();
            all.push(text.replace('+', "-").replace('/', "_").into_bytes());
            all.push(text.into_bytes());
        }
        for spelling in all {
            self.names.push(name.to_owned());
            self.spellings.push(spelling);
        }
    }

    pub(crate) fn searcher(&self) -> Searcher {
        let searcher = AhoCorasick::new(&self.spellings).unwrap();
        Searcher { searcher, names: self.names.clone() }
    }
}

/// Looks for all secrets at once.
pub(crate) struct Searcher {
    searcher: AhoCorasick,
    names: Vec<String>,
}

impl Searcher {
    /// The names of the secrets in there.
    pub(crate) fn find(&self, content: &[u8]) -> BTreeSet<&str> {
        let found = self.searcher.find_overlapping_iter(content);
        found.map(|found| self.names[found.pattern().as_usize()].as_str()).collect()
    }

    /// The names of the secrets in a process's writable memory, each with the places where it is.
    pub(crate) fn find_in_memory(&self, pid: u32) -> BTreeMap<&str, Vec<String>> {
        let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for_each_writable(pid, |region, content| {
            for one in self.searcher.find_overlapping_iter(content) {
                let name = self.names[one.pattern().as_usize()].as_str();
                found.entry(name).or_default().push(format!("{region} + {:x}", one.start()));
            }
        });
        found
    }
}

/// The command lines and environments of all processes that start while it runs.
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    task: JoinHandle<BTreeSet<Vec<u8>>>,
}

impl Watch {
    pub(crate) fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let before: BTreeSet<u32> = process_ids().collect();
        let task = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !told.load(Ordering::Relaxed) {
                for pid in process_ids().filter(|pid| !before.contains(pid)) {
                    for file in ["cmdline", "environ"] {
                        seen.extend(fs::read(format!("/proc/{pid}/{file}")));
                    }
                }
                // Often enough to see what lives for some milliseconds.
                std::thread::sleep(Duration::from_millis(2));
            }
            seen
        });
        Self { over, task }
    }

    /// Everything that was seen.
    pub(crate) fn end(self) -> BTreeSet<Vec<u8>> {
        self.over.store(true, Ordering::Relaxed);
        self.task.join().unwrap()
    }
}

fn process_ids() -> impl Iterator<Item = u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok())
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// Everything in a process's writable memory, piece by piece.
fn for_each_writable(pid: u32, mut each: impl FnMut(&str, &[u8])) {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut scanned = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        let mut content = Vec::new();
        memory.seek(SeekFrom::Start(start)).unwrap();
        // Some pages are reserved and not there; what lies before them counts.
        let _ = (&mut memory).take(end - start).read_to_end(&mut content);
        scanned += content.len();
        each(line, &content);
    }
    assert!(scanned > 1 << 16, "only {scanned} bytes of process {pid} could be read");
}
