//! Secrets stay secret while everything says all that it can: no log, no file, no command line, no environment and no core
//! file has a PIN, a share, a half, a key, or what the files say.

use std::fs;
use std::io::Cursor;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use p256::elliptic_curve::sec1::FromSec1Point as _;
use p256::{AffinePoint, ProjectivePoint, Scalar, Sec1Point};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use warifu_envelope::Sealed;
use warifu_split_key::partial::{PartialX, join};
use warifu_tests::process::is_shown;
use warifu_tests::town::{MEMBER_READERS, READERS, Town, until};
use warifu_virtual_card::readers::private;

use crate::scan::{Searcher, Secrets, Watch, files, point};
use crate::{Play, secrets};

const PIN: &str = "83619407";
/// Another one: what is planted is no leak of what runs beside it.
const PLANTED: &str = "60918347";
const WRONG_PIN: &str = "70591836";
const MARKER: &str = "整理番号 93175-44871-26508";

/// What is where it belongs: `(secret, how the path below the town's folder begins)`.
const AT_HOME: [(&str, &str); 13] = [
    ("PIN", "cards/"),
    ("a", "cards/"),
    ("PIN of the token of ca", "ca/pin"),
    ("PIN of the token of kms", "kms/pin"),
    ("PIN of the token of honcho", "honcho/pin"),
    ("PIN of the token of omachi", "omachi/pin"),
    ("SO PIN of ca", "ca/so-pin"),
    ("SO PIN of kms", "kms/so-pin"),
    ("SO PIN of honcho", "honcho/so-pin"),
    ("SO PIN of omachi", "omachi/so-pin"),
    // In its bootstrap file, mode 0600.
    ("token of office", "office/run/agent.json"),
    ("token of desk", "desk/run/agent.json"),
    ("token of contractor", "contractor/run/agent.json"),
];

#[test]
fn nothing_secret_is_written_down_by_anybody() {
    private(READERS, |readers| {
        let began = SystemTime::now();
        let watch = Watch::begin();
        // Where core files are off for everybody, nobody would be seen to leave them on.
        let Rlimit { maximum, .. } = getrlimit(Resource::Core);
        setrlimit(Resource::Core, Rlimit { current: maximum, maximum }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut town = Town::verbose(folder.path(), readers, PIN).unwrap();
        town.lease_seconds = 60;
        let mut play = Play::in_town(town, folder);
        let content = format!("氏名,番号\n信濃 花子,{MARKER}\n").repeat(2000).into_bytes();
        let sealed = play.sealed("list", &content);
        fs::remove_file(play.path("list")).unwrap();

        let mut secrets = Secrets::default();
        secrets.add("PIN", PIN.as_bytes());
        // As a card is shown it.
        secrets.add("PIN", &[PIN.as_bytes(), &[0xff; 8][PIN.len()..]].concat());
        secrets.add("wrong PIN", WRONG_PIN.as_bytes());
        secrets.add("plaintext", MARKER.as_bytes());
        for service in ["ca", "kms", "honcho", "omachi"] {
            for (name, file) in [("PIN of the token of", "pin"), ("SO PIN of", "so-pin")] {
                let text = fs::read_to_string(play.path(service).join(file)).unwrap();
                secrets.add(&format!("{name} {service}"), text.trim().as_bytes());
            }
        }
        for agent in ["desk", "office", "contractor"] {
            let bootstrap: serde_json::Value =
                serde_json::from_slice(&fs::read(play.town.bootstrap(agent)).unwrap()).unwrap();
            secrets.add(&format!("token of {agent}"), bootstrap["token"].as_str().unwrap().as_bytes());
        }
        let scalars = secrets::scalars(&play);
        for (name, secret) in &scalars {
            secrets.add_scalar(name, secret);
        }
        let x: Vec<_> = scalars.iter().filter(|(name, _)| *name == "x").map(|(_, x)| *x).collect();
        for key in file_keys(&sealed, &x) {
            secrets.add("file key", &key);
        }
        let searcher = secrets.searcher();

        the_whole_job(&mut play, &sealed, &content);

        // What has ended with the card has ended in memory, too.
        let office = play.town.service("office").unwrap().id();
        let lately = || {
            let found = searcher.find_in_memory(office);
            found.into_iter().filter(|(name, _)| FORGOTTEN.contains(name)).collect::<Vec<_>>()
        };
        let forgotten = until("the agent forgets", Duration::from_secs(5), || Ok(lately().is_empty()));
        assert!(forgotten.is_ok(), "in the agent's memory after the card is out: {:?}", lately());

        for agent in ["office", "contractor", "desk"] {
            assert!(play.town.log(agent).lines().count() > 3, "{agent} is not verbose");
        }
        nobody_leaves_a_core(&mut play);
        look_for(&searcher, &play, began);
        let seen = watch.end();
        for shown in &seen {
            let found = searcher.find(shown);
            assert!(found.is_empty(), "{found:?} in {:?}", String::from_utf8_lossy(shown));
        }
        assert!(seen.len() > 50, "only {} command lines and environments were seen", seen.len());
    });
}

/// What is not in the memory of an agent whose card is out.
const FORGOTTEN: [&str; 5] = ["PIN", "wrong PIN", "plaintext", "file key", "x"];

/// Opening in each way, each fault, suspension and revocation.
fn the_whole_job(play: &mut Play, sealed: &Path, content: &[u8]) {
    play.insert("hanako", "office", MEMBER_READERS[0]);
    let wrong = play.town.warifu("office", &["unlock", "--pin-stdin"], WRONG_PIN).unwrap();
    assert!(!wrong.status.success());
    play.opens("office", sealed, content);
    fs::remove_file(play.path("out")).unwrap();

    let mut damaged = fs::read(sealed).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(play.path("damaged.age"), &damaged).unwrap();
    play.refuses("office", &play.path("damaged.age"));

    let words = ["open", "--pin-stdin", "--json", sealed.to_str().unwrap()];
    let shown = play.town.warifu("office", &words, PIN).unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let path = shown.pointer("/files/0/path").and_then(|path| path.as_str()).unwrap().to_owned();
    assert!(fs::read(&path).unwrap() == content && is_shown(Path::new(&path)));

    play.insert("taro", "contractor", MEMBER_READERS[1]);
    play.opens("contractor", sealed, content);
    fs::remove_file(play.path("out")).unwrap();
    play.town.admin(&["card", "suspend", "taro"]).unwrap();
    play.refuses("contractor", sealed);
    play.town.admin(&["card", "resume", "taro"]).unwrap();
    play.town.admin(&["contract", "end", "acme", "--reason", "契約終了", "--watch"]).unwrap();
    play.refuses("contractor", sealed);

    play.town.remove("hanako");
    until("viewer and plaintext are gone", Duration::from_secs(5), || {
        Ok(fs::metadata(&path).is_err() && !is_shown(Path::new(&path)))
    })
    .unwrap();
}

/// The file keys that a file's stanzas hold for these units, found as only this test can.
fn file_keys(sealed: &Path, x: &[Scalar]) -> Vec<[u8; 16]> {
    let header = Sealed::read(Cursor::new(fs::read(sealed).unwrap())).unwrap();
    let stanzas = header.header().tag_stanzas().unwrap();
    let mut keys = Vec::new();
    for stanza in &stanzas {
        for x in x.iter().filter(|x| stanza.matches(&point(x))) {
            let enc = Sec1Point::from_bytes(stanza.enc.to_uncompressed()).unwrap();
            let r = ProjectivePoint::from(AffinePoint::from_sec1_point(&enc).unwrap());
            // Any two summands will do.
            let half = Scalar::from(0x5eed_u64);
            let partial = |k: Scalar| {
                let product = point_bytes(&(r * k));
                PartialX::from_bytes(&product)
            };
            let candidates = join(&partial(half), &partial(*x - half)).unwrap();
            keys.push(*stanza.open(&candidates, &point(x)).unwrap().expose());
        }
    }
    assert!(!keys.is_empty());
    keys
}

fn point_bytes(point: &ProjectivePoint) -> [u8; 32] {
    use p256::elliptic_curve::point::AffineCoordinates as _;
    point.to_affine().x().into()
}

/// Every process is ended in the two ways in which the system would write its memory to a disk.
fn nobody_leaves_a_core(play: &mut Play) {
    // Here it does, for those who let it.
    let folder = play.path("tmp");
    let mut careless = Command::new("sh");
    careless.args(["-c", "ulimit -c unlimited; kill -SEGV $$"]).current_dir(&folder);
    assert!(careless.status().unwrap().core_dumped(), "nothing leaves a core file here");

    for program in ["warifu", "warifu-admin"] {
        let mut command = match program {
            "warifu" => play.town.warifu_command("office", &["unlock", "--pin-stdin"]).unwrap(),
            _ => {
                let admin =
                    std::process::Command::new(warifu_tests::process::program("warifu-admin").unwrap());
                play.town.admin_command(admin, &["site", "list"]).unwrap().0
            }
        };
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let limits = format!("/proc/{}/limits", child.id());
        let closed = |text: &str| {
            let line = text.lines().find(|line| line.starts_with("Max core file size"));
            line.is_some_and(|line| line.split_whitespace().nth(4) == Some("0"))
        };
        until("core files are off", Duration::from_secs(10), || Ok(closed(&fs::read_to_string(&limits)?)))
            .unwrap_or_else(|error| panic!("{program}: {error:#}"));
        let _ = child.kill();
        child.wait().unwrap();
    }
    let names: Vec<String> = play.town.processes().map(|(name, _)| name.to_owned()).collect();
    for (name, signal) in names.iter().zip([Signal::SEGV, Signal::ABORT].into_iter().cycle()) {
        let status = play.town.take(name).unwrap().signalled(signal).unwrap();
        assert!(status.signal().is_some() && !status.core_dumped(), "{name}: {status}");
    }
}

/// Every file of the town, and every file that anybody has touched meanwhile where files are temporary.
fn look_for(searcher: &Searcher, play: &Play, began: SystemTime) {
    let mut seen_at_home = 0;
    for file in files(play.folder.path()) {
        let below = file.strip_prefix(play.folder.path()).unwrap().to_str().unwrap().to_owned();
        for found in searcher.find(&fs::read(&file).unwrap()) {
            let at_home = |(name, place): &(&str, &str)| *name == found && below.starts_with(place);
            assert!(AT_HOME.iter().any(at_home), "{found} is in {below}");
            seen_at_home += 1;
        }
    }
    // The search finds what is there.
    assert!(seen_at_home >= AT_HOME.len() - 1, "only {seen_at_home} secrets are where they belong");
    for folder in ["/tmp", "/var/tmp", "/dev/shm"] {
        for file in recent(Path::new(folder), play.folder.path(), began) {
            let Ok(content) = fs::read(&file) else { continue };
            let found = searcher.find(&content);
            assert!(found.is_empty(), "{found:?} in {}", file.display());
        }
    }
}

/// Files of at most 16 MiB that have changed, without what is below `except` and what other tests have in folders of their own.
/// What goes away meanwhile is none of ours.
fn recent(folder: &Path, except: &Path, began: SystemTime) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let name = entry.file_name();
        let others = [".tmp", "warifu-"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix));
        if path == except || (others && folder == Path::new("/tmp")) {
            continue;
        } else if metadata.is_dir() {
            found.extend(recent(&path, except, began));
        } else if metadata.is_file()
            && metadata.len() <= 16 << 20
            && metadata.modified().is_ok_and(|modified| modified >= began)
        {
            found.push(path);
        }
    }
    found
}

/// Each way of looking sees what is there to be seen.
#[test]
fn what_is_planted_is_found() {
    let mut secrets = Secrets::default();
    secrets.add("PIN", PLANTED.as_bytes());
    secrets.add("key", &[0xc5; 16]);
    let searcher = secrets.searcher();
    let hex = "3630393138333437ffff";
    let base64 = "eyJwaW4iOiI2MDkxODM0NyJ9";
    for text in [
        PLANTED,
        hex,
        "36 30 39 31 38 33 34 37",
        "[0, 54, 48, 57, 49, 56, 51, 52, 55]",
        base64,
        "c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5",
        "{\"pin\":\"60918347\"}",
    ] {
        assert_eq!(searcher.find(text.as_bytes()).len(), 1, "{text}");
    }
    assert!(searcher.find(b"6091834, 7").is_empty());

    let watch = Watch::begin();
    let mut shown = Command::new("sleep");
    shown.arg("60").env("PLANTED", PLANTED);
    let mut child = shown.spawn().unwrap();
    let environment = format!("/proc/{}/environ", child.id());
    until("it runs", Duration::from_secs(5), || Ok(!searcher.find(&fs::read(&environment)?).is_empty()))
        .unwrap();
    // The watch looks again and again; this is more than one of its looks.
    let looked = std::time::Instant::now();
    until("the watch looks", Duration::from_secs(5), || Ok(looked.elapsed() > Duration::from_secs(1)))
        .unwrap();
    assert!(!searcher.find_in_memory(child.id()).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(watch.end().iter().any(|shown| !searcher.find(shown).is_empty()), "the watch has not seen it");
}
