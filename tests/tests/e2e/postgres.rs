//! A town whose authority moves from its file to PostgreSQL, loses both to `kill -9` in the middle of a revocation, and then the
//! machine with its HSM.

use std::fs;
use std::time::Duration;

use warifu_broken_parts::postgres::Cluster;
use warifu_tests::town::{MEMBER_READERS, READERS, until};
use warifu_virtual_card::readers::private;

use crate::Play;
use crate::backups::said;

/// How long something may take that follows by itself.
const PATIENCE: Duration = Duration::from_secs(30);

impl Play {
    /// From now on the authority's configuration names this database.
    fn configure(&self, address: &str) {
        let file = self.town.configuration("kms");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}[database]\nurl = \"{address}\"\n")).unwrap();
    }

    /// Entries of the ledger, as the desk sees them.
    fn size(&self) -> u64 {
        let status = self.town.admin(&["site", "list", "--json"]).unwrap();
        let list: serde_json::Value = serde_json::from_str(&status).unwrap();
        list[0]["ledger_size"].as_u64().unwrap()
    }
}

#[test]
fn a_town_moves_to_postgresql_and_loses_nothing_there() {
    private(READERS, |readers| {
        let cluster = Cluster::start().unwrap();
        let mut play = Play::new(readers, 60);
        let sealed = play.sealed("list", b"content");
        let units = play.town.admin(&["unit", "list", "--json"]).unwrap();
        let members = play.town.admin(&["member", "list", "--json"]).unwrap();

        // Not while it runs, and nothing runs on two.
        play.configure(&cluster.database().unwrap());
        let why = play.console_refuses("kms", &["move-database"]);
        assert!(why.contains("in use"), "{why}");
        play.town.stop("kms");
        let why = play.console_refuses("kms", &["run"]);
        assert!(why.contains("move-database"), "{why}");
        let moved = play.console("kms", &["move-database"]);
        let leaves: u64 = said(&moved, "moved").parse().unwrap();
        assert!(said(&moved, "kept").ends_with("authority.sqlite.moved"));
        play.town.start("kms").unwrap();

        // Everything is there: names, cards, and what sites have.
        assert!(play.size() >= leaves);
        assert_eq!(play.town.admin(&["unit", "list", "--json"]).unwrap(), units);
        assert_eq!(play.town.admin(&["member", "list", "--json"]).unwrap(), members);
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");
        play.town.remove("hanako");
        play.town.enroll("sora", 4001, "雷鳥 空", &["--unit", "tax"]).unwrap();
        play.insert("sora", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");
        play.town.remove("sora");
        let doctor =
            String::from_utf8(play.town.at_console("kms", &["doctor", "--json"]).unwrap().stdout).unwrap();
        assert!(!doctor.contains("database-"), "{doctor}");

        // The database is killed: orders are refused, and taken again once it is back.
        let before = play.size();
        cluster.kill().unwrap();
        let refused = play.town.try_admin(&["unit", "add", "early", "--name", "早い"]).unwrap();
        assert!(!refused.status.success());
        cluster.start_again().unwrap();
        until("the authority goes on", PATIENCE, || {
            Ok(play.town.try_admin(&["unit", "add", "later", "--name", "後から"]).unwrap().status.success())
        })
        .unwrap();
        assert!(play.size() > before);

        // Authority and database are killed, after the order is in the ledger and before anybody is told.
        play.town.stop("kms");
        play.town.start_to_crash("kms", "kms.order.appended").unwrap();
        let _ = play.town.try_admin(&["member", "revoke", "taro"]).unwrap();
        until("the authority is killed", PATIENCE, || Ok(play.town.ended("kms")?.is_some())).unwrap();
        cluster.kill().unwrap();
        cluster.start_again().unwrap();
        play.town.start("kms").unwrap();
        play.town.admin(&["member", "revoke", "taro", "--watch"]).unwrap();
        play.insert("taro", "contractor", MEMBER_READERS[1]);
        play.refuses("contractor", &sealed);
        play.town.remove("taro");
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");

        // A backup of it is a backup like any other; what is restored is moved once more.
        play.town.admin(&["backup", "custodians", "kms", "--members", "ichiro,midori,kenji"]).unwrap();
        let backup = play.path("kms.backup");
        let backup = backup.to_str().unwrap();
        let made = play.console("kms", &["backup", "--out", backup]);
        assert_eq!(said(&made, "halves"), "3");
        play.town.admin(&["unit", "add", "last", "--name", "最後"]).unwrap();
        let organization = play.town.organization().to_owned();
        play.town.lose("kms").unwrap();
        play.town.equip_authority("kms").unwrap();
        play.configure(&cluster.database().unwrap());
        let asked = play.console("kms", &["restore", backup]);
        let (request, fingerprint) = (said(&asked, "request"), said(&asked, "fingerprint"));
        let pieces = play.path("pieces.json");
        let pieces = pieces.to_str().unwrap();
        let open =
            ["backup", "open", backup, "--request", &request, "--out", pieces, "--fingerprint", &fingerprint];
        play.town.admin(&open).unwrap();
        let restored =
            play.console("kms", &["restore", backup, "--pieces", pieces, "--organization", &organization]);
        let moved = play.console("kms", &["move-database"]);
        assert_eq!(said(&moved, "moved"), said(&restored, "leaves"));
        play.the_kms_serves_again(&sealed, said(&moved, "moved").parse().unwrap());
    });
}
