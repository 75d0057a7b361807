//! I1: in no file and in no process of a running town is a unit's private key, nor what would make it of what is there.
//!
//! The test itself is the one place where both halves meet: it takes them out of the two authorities' databases with the
//! two HSMs, as a thief of both would, to know what to look for.

use std::fs;
use std::path::Path;
use std::process::Command;

use p256::Scalar;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use warifu_hardware::hsm::{Hsm, HsmConfig, PinSource};
use warifu_tests::town::{MEMBER_READERS, READERS};
use warifu_virtual_card::readers::private;

use crate::Play;
use crate::scan::{Secrets, card_share, files, point, scalar};

/// What the second process is told: folder of the service, database, table, context of the seal.
const UNSEAL: &str = "WARIFU_TEST_UNSEAL";

#[test]
fn the_whole_key_is_nowhere() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let sealed = play.sealed("list", b"content");
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");

        let known = scalars(&play);
        let derived = known.iter().filter(|(name, _)| ["x", "d", "b"].contains(name));
        let (mut whole, mut secrets) = (Secrets::default(), Secrets::default());
        for (name, secret) in derived {
            secrets.add_scalar(name, secret);
            if *name == "x" {
                whole.add_scalar(name, secret);
            }
        }
        let searcher = secrets.searcher();
        for file in files(play.folder.path()) {
            let found = searcher.find(&fs::read(&file).unwrap());
            assert!(found.is_empty(), "{found:?} in {}", file.display());
        }
        // The scan finds what is there: the card's own share is in its file.
        let mut planted = Secrets::default();
        planted.add_scalar("a", &card_share(&play.path("cards/hanako")));
        assert!(!planted.searcher().find(&fs::read(play.path("cards/hanako")).unwrap()).is_empty());

        let searcher = whole.searcher();
        for (name, pid) in play.town.processes() {
            let found = searcher.find_in_memory(pid);
            assert!(found.is_empty(), "{found:?} in the memory of {name}");
        }
    });
}

/// All that a town's keys are split into, and what would join it, by the names of `docs/architecture.md`.
pub(crate) fn scalars(play: &Play) -> Vec<(&'static str, Scalar)> {
    let organization = play.town.organization().to_owned();
    let s1 = unseal(&play.path("ca"), &organization, "issuer_half", "issuer");
    let s2 = unseal(&play.path("kms"), &organization, "keeper_half", "keeper");
    // Units are stored under random ids: which is whose is told by the directory.
    let units: Value = serde_json::from_str(&play.town.admin(&["unit", "list", "--json"]).unwrap()).unwrap();
    let recipients: Vec<&str> =
        units.as_array().unwrap().iter().filter_map(|unit| unit["recipient"].as_str()).collect();
    let shares = ["hanako", "taro"].map(|card| card_share(&play.path("cards").join(card)));
    let mut all: Vec<_> = shares.iter().map(|a| ("a", *a)).collect();
    for (unit, s1) in &s1 {
        let s2 = s2.iter().find(|(other, _)| other == unit).map(|(_, s2)| *s2).unwrap();
        let x = *s1 + s2;
        let recipient = warifu_envelope::UnitRecipient::encode(&point(&x));
        assert!(recipients.contains(&recipient.as_str()), "these are the halves of a unit of this town");
        all.extend([("s1", *s1), ("s2", s2), ("x", x)]);
        for a in &shares {
            all.extend([("d", *s1 - a), ("b", x - a)]);
        }
    }
    all
}

/// Takes all halves out of a service's database with its HSM, in a process of its own: SoftHSM is configured by the
/// environment.
pub(crate) fn unseal(folder: &Path, organization: &str, table: &str, role: &str) -> Vec<(Vec<u8>, Scalar)> {
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
    assert!(halves.len() >= 2, "{text}{}", String::from_utf8_lossy(&output.stderr));
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
