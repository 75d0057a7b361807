//! I1: in no file and in no process of a running town is a unit's private key, nor what would make it of what is there.
//!
//! The test itself is the one place where both halves meet: it takes them out of the two authorities' databases with the
//! two HSMs, as a thief of both would, to know what to look for.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use p256::elliptic_curve::PrimeField as _;
use p256::{NonZeroScalar, ProjectivePoint, Scalar};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use warifu_hardware::hsm::{Hsm, HsmConfig, PinSource};
use warifu_tests::town::{MEMBER_READERS, READERS};
use warifu_virtual_card::readers::private;

use crate::Play;

/// What the second process is told: folder of the service, database, table, context of the seal.
const UNSEAL: &str = "WARIFU_TEST_UNSEAL";

#[test]
fn the_whole_key_is_nowhere() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let sealed = play.sealed("list", b"content");
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");

        let organization = play.town.organization().to_owned();
        let s1 = unseal(&play.path("ca"), &organization, "issuer_half", "issuer");
        let s2 = unseal(&play.path("kms"), &organization, "keeper_half", "keeper");
        // Units are stored under random ids: which of the two is the department's is told by the directory.
        let recipients = [play.town.recipient("tax").unwrap(), play.town.recipient("acme-team").unwrap()];
        let mut secrets = Vec::new();
        for (unit, s1) in &s1 {
            let s2 = s2.iter().find(|(other, _)| other == unit).map(|(_, s2)| *s2).unwrap();
            let x = *s1 + s2;
            let recipient = warifu_envelope::UnitRecipient::encode(&point(&x));
            assert!(recipients.contains(&recipient), "these are the halves of a unit of this town");
            secrets.push(("x", x));
        }
        for card in ["hanako", "taro"] {
            let a = card_share(&play.path("cards").join(card));
            for (_, s1) in &s1 {
                secrets.push(("d", *s1 - a));
            }
            for (_, x) in secrets.clone().iter().filter(|(name, _)| *name == "x") {
                secrets.push(("b", *x - a));
            }
        }
        for (name, secret) in &secrets {
            for file in files(play.folder.path()) {
                let content = fs::read(&file).unwrap();
                for spelling in spellings(secret) {
                    assert!(!holds(&content, &spelling), "{name} is in {}", file.display());
                }
            }
        }
        // The scan finds what is there: the card's own share is in its file.
        let a = card_share(&play.path("cards/hanako"));
        let content = fs::read(play.path("cards/hanako")).unwrap();
        assert!(spellings(&a).iter().any(|spelling| holds(&content, spelling)));

        for (name, pid) in play.town.processes() {
            for (secret_name, secret) in secrets.iter().filter(|(name, _)| *name == "x") {
                let raw = raw(secret);
                assert!(!memory_holds(pid, &raw), "{secret_name} is in the memory of {name}");
            }
        }
    });
}

/// Takes all halves out of a service's database with its HSM, in a process of its own: SoftHSM is configured by the
/// environment.
fn unseal(folder: &Path, organization: &str, table: &str, role: &str) -> Vec<(Vec<u8>, Scalar)> {
    let task = [folder.to_str().unwrap(), organization, table, role].join("\n");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "secrets::a_thief_of_token_and_database", "--nocapture"])
        .env(UNSEAL, task)
        .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let halves: Vec<(Vec<u8>, Scalar)> = text
        .lines()
        .filter_map(|line| line.split_once("half "))
        .map(|(_, line)| {
            let (unit, half) = line.split_once(' ').unwrap();
            (hex::decode(unit).unwrap(), scalar(&hex::decode(half).unwrap()))
        })
        .collect();
    assert!(halves.len() == 2, "{text}{}", String::from_utf8_lossy(&output.stderr));
    halves
}

/// The second process of [`unseal`]; by itself it has nothing to do.
#[test]
fn a_thief_of_token_and_database() {
    let Ok(task) = std::env::var(UNSEAL) else { return };
    let [folder, organization, table, role] = task.lines().collect::<Vec<_>>().try_into().unwrap();
    let folder = Path::new(folder);
    let label = folder.file_name().unwrap().to_str().unwrap();
    let pin = PinSource::File(folder.join("pin"));
    let hsm = Hsm::open(HsmConfig::new("/usr/lib/softhsm/libsofthsm2.so", label, pin)).unwrap();
    let kek = hsm.ensure_kek("halves").unwrap();
    let database =
        files(folder).into_iter().find(|file| file.extension().is_some_and(|e| e == "sqlite")).unwrap();
    let query = match table {
        "issuer_half" => "SELECT unit, sealed FROM issuer_half",
        _ => "SELECT unit, sealed FROM keeper_half",
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(database);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        sqlx::query(query).fetch_all(&pool).await.unwrap()
    });
    for row in rows {
        let (unit, sealed): (Vec<u8>, Vec<u8>) = (row.get(0), row.get(1));
        let context = [hex::decode(organization).unwrap(), unit.clone(), role.as_bytes().to_vec()].concat();
        let half = kek.open(&sealed, &context).unwrap();
        println!("half {} {}", hex::encode(unit), hex::encode(half.as_slice()));
    }
}

fn scalar(bytes: &[u8]) -> Scalar {
    let bytes: [u8; 32] = bytes.try_into().unwrap();
    Scalar::from_repr(bytes.into()).unwrap()
}

fn raw(secret: &Scalar) -> [u8; 32] {
    secret.to_repr().into()
}

fn point(secret: &Scalar) -> warifu_split_key::point::Point {
    use p256::elliptic_curve::sec1::ToSec1Point as _;
    let secret = NonZeroScalar::new(*secret).unwrap();
    let affine = (ProjectivePoint::GENERATOR * *secret).to_affine();
    warifu_split_key::point::Point::from_sec1(affine.to_sec1_point(true).as_bytes()).unwrap()
}

/// `a` in a virtual card's file: its first retired key slot.
fn card_share(file: &Path) -> Scalar {
    let card: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let keys = card["keys"].as_object().unwrap();
    let key = keys.iter().find(|(slot, _)| slot.starts_with("82")).unwrap().1;
    scalar(&hex::decode(key["scalar"].as_str().unwrap()).unwrap())
}

/// How 32 bytes may be written down.
fn spellings(secret: &Scalar) -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let big = raw(secret);
    let mut little = big;
    little.reverse();
    let mut all = vec![big.to_vec(), little.to_vec()];
    all.push(hex::encode(big).into_bytes());
    all.push(hex::encode_upper(big).into_bytes());
    all.push(base64::engine::general_purpose::STANDARD_NO_PAD.encode(big).into_bytes());
    all.push(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(big).into_bytes());
    all
}

fn holds(content: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return false };
    let mut rest = content;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = &rest[at..];
        if rest.starts_with(needle) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

fn files(folder: &Path) -> Vec<PathBuf> {
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

/// Whether a process has these bytes, in either order, in memory that it may write to.
fn memory_holds(pid: u32, big: &[u8; 32]) -> bool {
    let mut little = *big;
    little.reverse();
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
        // Some pages are reserved and not there.
        if (&mut memory).take(end - start).read_to_end(&mut content).is_err() {
            continue;
        }
        scanned += content.len();
        if holds(&content, big) || holds(&content, &little) {
            return true;
        }
    }
    assert!(scanned > 1 << 20, "only {scanned} bytes of process {pid} could be read");
    false
}
