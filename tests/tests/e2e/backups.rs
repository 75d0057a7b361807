//! A town loses the machine and the HSM of its ca, then those of its kms. What two of three custodians open is on new machines
//! afterwards, under new tokens, and in no file between.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use warifu_ledger::dsse::Envelope;
use warifu_tests::town::{MEMBER_READERS, READERS, until};
use warifu_virtual_card::readers::private;

use crate::Play;
use crate::scan::{Secrets, files, raw};
use crate::secrets::{scalars, unseal};

/// How long something may take that follows by itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// The reader at the desk that no officer's card is in.
const SPARE: usize = 3;
const CUSTODIANS: [(&str, u32, &str); 3] =
    [("aoi", 3001, "穂高 葵"), ("ren", 3002, "常念 蓮"), ("yui", 3003, "燕 結衣")];

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a console's command says after this word.
pub(crate) fn said(output: &Output, word: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {word} in {text}{}", String::from_utf8_lossy(&output.stderr)))
        .to_owned()
}

impl Play {
    /// A command at a console that has to succeed.
    pub(crate) fn console(&self, name: &str, args: &[&str]) -> Output {
        let output = self.town.at_console(name, args).unwrap();
        assert!(output.status.success(), "{name} {args:?}: {}", text(&output));
        output
    }

    /// A command at a console that has to fail; what it says, in English.
    pub(crate) fn console_refuses(&self, name: &str, args: &[&str]) -> String {
        let output = self.town.at_console(name, &[&["--lang", "en"], args].concat()).unwrap();
        assert!(!output.status.success(), "{name} {args:?} did it");
        text(&output)
    }

    /// Two officers order that the restored ca speaks with its new keys. Old files open, new cards open them too, and who was
    /// revoked after the backup stays so.
    fn the_ca_serves_again(&mut self, sealed: &Path) {
        let number = self.crl_number();
        let statement = self.town.statement("ca");
        let order = ["backup", "recovered", "ca", "--statement", path(&statement)];
        self.town.admin(&order).unwrap();
        self.town.start("ca").unwrap();
        let again = self.town.admin(&[&order[..], &["--json"]].concat()).unwrap();
        assert!(again.contains("already"), "{again}");
        self.opens("office", sealed, b"content");
        self.town.remove("hanako");
        self.town.enroll("sora", 4001, "雷鳥 空", &["--unit", "tax"]).unwrap();
        self.insert("sora", "office", MEMBER_READERS[0]);
        self.opens("office", sealed, b"content");
        self.town.remove("sora");
        self.insert("taro", "contractor", MEMBER_READERS[1]);
        self.refuses("contractor", sealed);
        self.town.remove("taro");
        // Those to whom the unit is known by keys that the ca has no more seal to it all the same.
        let again = self.sealed("again", b"again");
        self.insert("hanako", "office", MEMBER_READERS[0]);
        self.opens("office", &again, b"again");
        until("a CRL of the new ca", PATIENCE, || Ok(self.crl_number() > number)).unwrap();
        // Its half of a unit that is younger than the backup is lost, which it says.
        let again = self.path("ca-2.backup");
        let why = self.console_refuses("ca", &["backup", "--out", path(&again)]);
        assert!(why.contains("--without-lost") && !again.exists(), "{why}");
        let made = self.console("ca", &["backup", "--without-lost", "--out", path(&again)]);
        assert_eq!((said(&made, "halves"), said(&made, "missing").len()), ("3".to_owned(), 32));
        let doctor = self.town.at_console("ca", &["doctor", "--json"]).unwrap();
        assert!(text(&doctor).contains("halves-missing"), "{}", text(&doctor));
    }

    /// The restored kms gets from the ca what it lacks, and then two officers order that it is the kms. Everybody finds it at the
    /// old address, a site that was away too.
    pub(crate) fn the_kms_serves_again(&mut self, sealed: &Path, leaves: u64) {
        self.town.stop("omachi");
        self.town.start("kms").unwrap();
        self.town.stop("desk");
        self.town.open_desk().unwrap();
        // It appends nothing else.
        let early = self.town.try_admin(&["unit", "add", "early", "--name", "早い"]).unwrap();
        assert!(!early.status.success(), "{}", text(&early));
        let statement = self.town.statement("kms");
        let order = ["backup", "recovered", "kms", "--statement", path(&statement)];
        let mut told = String::new();
        let ordered = until("the ca has brought its leaves", PATIENCE, || {
            let output = self.town.try_admin(&order).unwrap();
            told = text(&output);
            Ok(output.status.success())
        });
        assert!(ordered.is_ok(), "{told}\n{}\n{}", self.town.log("kms"), self.town.log("ca"));
        let position = self.town.admin(&["site", "list", "--json"]).unwrap();
        let list: serde_json::Value = serde_json::from_str(&position).unwrap();
        let size = list[0]["ledger_size"].as_u64().unwrap();
        assert!(size > leaves, "{size} leaves, {leaves} of them in the backup");

        self.town.wait_for_lease("honcho").unwrap();
        self.opens("office", sealed, b"content");
        self.town.remove("hanako");
        self.town.start("omachi").unwrap();
        self.town.wait_for_lease("omachi").unwrap();
        self.town.enroll("kaede", 4002, "岩燕 楓", &["--unit", "tax"]).unwrap();
        self.insert("kaede", "office", MEMBER_READERS[0]);
        self.opens("office", sealed, b"content");
        self.town.remove("kaede");
        self.insert("taro", "contractor", MEMBER_READERS[1]);
        self.refuses("contractor", sealed);
        self.town.admin(&["member", "revoke", "hanako", "--watch"]).unwrap();
        self.insert("hanako", "office", MEMBER_READERS[0]);
        self.refuses("office", sealed);
        let out = self.path("kms-2.backup");
        let made = self.console("kms", &["backup", "--without-lost", "--out", path(&out)]);
        assert_eq!(said(&made, "halves"), "3");
    }

    /// A backup of a ca that lacks a half is restored like any other.
    fn the_ca_is_restored_without_what_it_lacked(&mut self, organization: &str) {
        let backup = self.path("ca-2.backup");
        fs::rename(self.path("lost-ca"), self.path("lost-ca-first")).unwrap();
        self.town.lose("ca").unwrap();
        self.town.equip_authority("ca").unwrap();
        let asked = self.console("ca", &["restore", path(&backup)]);
        let (request, fingerprint) = (said(&asked, "request"), said(&asked, "fingerprint"));
        let pieces = self.path("ca-2-pieces.json");
        let open = ["backup", "open", path(&backup), "--request", &request, "--out", path(&pieces)];
        let open = [&open[..], &["--fingerprint", &fingerprint]].concat();
        for (label, serial) in [("ren", 3002), ("yui", 3003)] {
            self.opens_backup(label, serial, &open);
        }
        let restore = ["restore", path(&backup), "--pieces", path(&pieces), "--organization", organization];
        let restored = self.console("ca", &restore);
        assert_eq!(said(&restored, "halves"), "3");
    }

    /// The register has lost the name of the unit that is younger than its backup.
    fn what_has_lost_its_name_is_called_by_its_id(&self) {
        let list: serde_json::Value =
            serde_json::from_str(&self.town.admin(&["unit", "list", "--json"]).unwrap()).unwrap();
        let labels = list.as_array().unwrap().iter().filter_map(|row| row["label"].as_str());
        let nameless: Vec<&str> = labels.filter(|label| label.len() == 32).collect();
        assert_eq!(nameless.len(), 1, "{list}");
        self.town.admin(&["unit", "close", nameless[0]]).unwrap();
    }

    /// The number of the newest CRL that the kms serves, or 0.
    fn crl_number(&self) -> u64 {
        let file = self.path("kms").join("data").join("authority.sqlite");
        let numbers = async {
            let options = SqliteConnectOptions::new().filename(&file);
            let mut database = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::query_scalar::<_, i64>("SELECT max(number) FROM crl")
                .fetch_one(&mut database)
                .await
                .unwrap()
        };
        tokio::runtime::Runtime::new().unwrap().block_on(numbers).unsigned_abs()
    }

    /// A custodian's card alone in the desk's spare reader, for one command.
    fn opens_backup(&mut self, label: &str, serial: u32, args: &[&str]) -> Output {
        self.town.insert(label, SPARE).unwrap();
        self.town.wait_for_card(serial).unwrap();
        let output = self.town.try_admin(args).unwrap();
        self.town.remove(label);
        output
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A copy of a backup that has the signature of another one.
fn sign_as(backup: &Path, other: &Path, copy: &Path) {
    let split = |path| {
        let bytes = fs::read(path).unwrap();
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let manifest: Envelope = serde_json::from_slice(&bytes[..line]).unwrap();
        (manifest, bytes[line..].to_vec())
    };
    let ((mut manifest, content), (signed, _)) = (split(backup), split(other));
    manifest.signatures = signed.signatures;
    fs::write(copy, [serde_json::to_vec(&manifest).unwrap(), content].concat()).unwrap();
}

#[test]
fn what_two_of_three_custodians_open_is_restored() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        // Members whose cards two officers have enrolled: their unit demands it.
        play.town.admin(&["unit", "add", "vault", "--name", "金庫", "--two-people"]).unwrap();
        for (label, serial, name) in CUSTODIANS {
            play.town.enroll(label, serial, name, &["--unit", "vault"]).unwrap();
        }

        let sealed = play.sealed("list", b"content");
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");

        let (ca_backup, kms_backup) = (play.path("ca.backup"), play.path("kms.backup"));
        let why = play.console_refuses("ca", &["backup", "--out", path(&ca_backup)]);
        assert!(why.contains("custodians"), "{why}");
        let custodians = |who: &str, members: &str| {
            play.town.try_admin(&["--lang", "en", "backup", "custodians", who, "--members", members]).unwrap()
        };
        let named = custodians("ca", "aoi,ren,yui");
        assert!(named.status.success(), "{}", text(&named));
        // Nobody is custodian of both, and hanako's card was enrolled by one officer alone.
        for members in ["ichiro,midori,aoi", "ichiro,hanako"] {
            let refused = custodians("kms", members);
            assert_eq!(refused.status.code(), Some(2), "{members}: {}", text(&refused));
        }
        let named = custodians("kms", "ichiro,midori,kenji");
        assert!(named.status.success(), "{}", text(&named));

        let halves: BTreeSet<(&str, [u8; 32])> = scalars(&play)
            .iter()
            .filter(|(name, _)| ["s1", "s2"].contains(name))
            .map(|(name, half)| (*name, raw(half)))
            .collect();
        assert_eq!(halves.len(), 6, "three units");
        let made = play.console("ca", &["backup", "--out", path(&ca_backup)]);
        assert_eq!((said(&made, "custodians"), said(&made, "threshold")), ("3".to_owned(), "2".to_owned()));
        assert_eq!(said(&made, "halves"), "3");
        play.console("kms", &["backup", "--out", path(&kms_backup)]);
        let why = play.console_refuses("kms", &["backup", "--out", path(&kms_backup)]);
        assert!(why.contains("already"), "{why}");

        // After the backups, and before the disaster.
        play.town.admin(&["member", "revoke", "taro", "--watch"]).unwrap();
        play.town.admin(&["unit", "add", "late", "--name", "後から"]).unwrap();

        let organization = play.town.organization().to_owned();
        for (service, backup, other) in [("ca", &ca_backup, &kms_backup), ("kms", &kms_backup, &ca_backup)] {
            play.town.lose(service).unwrap();
            play.town.equip_authority(service).unwrap();
            let why = play.console_refuses(service, &["restore", path(other)]);
            assert!(why.contains("other server"), "{why}");
            let asked = play.console(service, &["restore", path(backup)]);
            let (request, fingerprint) = (said(&asked, "request"), said(&asked, "fingerprint"));
            let pieces = play.path(&format!("{service}-pieces.json"));
            let open = |fingerprint| {
                let args = ["backup", "open", path(backup), "--request", &request, "--out", path(&pieces)];
                [&args[..], &["--fingerprint", fingerprint]].concat()
            };
            let (open, wrong) = (open(&fingerprint), open(&organization));
            let restore =
                ["restore", path(backup), "--pieces", path(&pieces), "--organization", &organization];
            if service == "ca" {
                // One after the other, in one reader. The officers' cards have no piece of the ca's backup.
                let refused = play.opens_backup("aoi", 3001, &wrong);
                assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
                // Nor does a card open anything of a backup that another key than the ca's signed.
                let forged = play.path("forged.backup");
                sign_as(backup, other, &forged);
                let mut open_forged = open.clone();
                open_forged[2] = path(&forged);
                let refused = play.opens_backup("aoi", 3001, &open_forged);
                assert!(!refused.status.success(), "{}", text(&refused));
                assert!(!pieces.exists());
                let first = play.opens_backup("aoi", 3001, &open);
                assert_eq!(first.status.code(), Some(3), "{}", text(&first));
                let why = play.console_refuses(service, &restore);
                assert!(why.contains("1 of 2"), "{why}");
                let again = play.opens_backup("aoi", 3001, &open);
                assert_eq!(again.status.code(), Some(3), "once more is not one more: {}", text(&again));
                let second = play.opens_backup("yui", 3003, &open);
                assert!(second.status.success(), "{}", text(&second));
            } else {
                play.town.admin(&open).unwrap();
            }
            let elsewhere = [&restore[..5], &[fingerprint.as_str()]].concat();
            let why = play.console_refuses(service, &elsewhere);
            assert!(why.contains("organization"), "{why}");
            let restored = play.console(service, &restore);
            assert_eq!(said(&restored, "restored"), organization);
            assert_eq!(said(&restored, "halves"), "3");
            let why = play.console_refuses(service, &restore);
            assert!(why.contains("already"), "{why}");

            let (table, role, name) = match service {
                "ca" => ("issuer_half", "issuer", "s1"),
                _ => ("keeper_half", "keeper", "s2"),
            };
            let there = unseal(&play.path(service), &organization, table, role);
            let there: BTreeSet<_> = there.iter().map(|(_, half)| (name, raw(half))).collect();
            assert_eq!(there, halves.iter().copied().filter(|(found, _)| *found == name).collect());
            match service {
                "ca" => play.the_ca_serves_again(&sealed),
                _ => play.the_kms_serves_again(&sealed, said(&restored, "leaves").parse().unwrap()),
            }
        }

        play.the_ca_is_restored_without_what_it_lacked(&organization);
        play.what_has_lost_its_name_is_called_by_its_id();

        // Neither in the backups nor in what was carried about, nor on any disk.
        let mut secrets = Secrets::default();
        for (name, half) in &halves {
            secrets.add_scalar(name, &crate::scan::scalar(half));
        }
        let searcher = secrets.searcher();
        for file in files(play.folder.path()) {
            let found = searcher.find(&fs::read(&file).unwrap());
            assert!(found.is_empty(), "{found:?} in {}", file.display());
        }
    });
}
