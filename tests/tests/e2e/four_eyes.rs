//! What two people have to sign, signed by one at a time (P-11.2).

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::UNIX_EPOCH;

use serde_json::Value;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use warifu_tests::process::{program, run};
use warifu_tests::town::{MEMBER_READERS, PIN, READERS, SITES, Town};
use warifu_virtual_card::readers::private;

use crate::Play;

const OPEN: [&str; 7] = ["contract", "open", "beta", "--name", "ベータ(株)", "--ends", "2099-03-31"];

/// The desk with the cards of these officers and nobody else's.
fn at_the_desk(town: &mut Town, who: &[(&str, u32)]) {
    for label in ["ichiro", "midori", "kenji"] {
        town.remove(label);
    }
    for (reader, (label, serial)) in who.iter().enumerate() {
        town.insert(label, reader).unwrap();
        town.wait_for_card(*serial).unwrap();
    }
}

fn json(town: &Town, args: &[&str]) -> Value {
    serde_json::from_str(town.admin(&[&["--json"], args].concat()).unwrap().trim()).unwrap()
}

/// What is said about a refusal, with its exit code.
fn refused(town: &Town, args: &[&str]) -> (String, Option<i32>) {
    let output = town.try_admin(&[&["--lang", "ja"], args].concat()).unwrap();
    assert!(!output.status.success(), "{args:?} was done");
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

/// The kms's own hand in its database.
fn at_the_kms(data: &Path, statement: &'static str, values: [&str; 2]) {
    let options = SqliteConnectOptions::new().filename(data.join("authority.sqlite"));
    let work = async {
        let mut database = SqliteConnection::connect_with(&options).await.unwrap();
        let query = sqlx::query(statement).bind(values[0]).bind(values[1]);
        assert_eq!(query.execute(&mut database).await.unwrap().rows_affected(), 1);
        database.close().await.unwrap();
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

#[test]
fn a_second_person_signs_on_another_day_what_the_first_one_proposed() {
    private(READERS, |readers| {
        let folder = tempfile::tempdir().unwrap();
        let mut town = Town::new(folder.path(), readers).unwrap();
        town.equip_authorities().unwrap();
        town.open_desk().unwrap();
        town.found("北アルプス広域連合").unwrap();
        town.fetch_profile().unwrap();

        let (ichiro, midori) = (("ichiro", 1001), ("midori", 1002));
        at_the_desk(&mut town, &[ichiro]);
        // One person is not enough, and nothing is asked of her card.
        let (said, code) = refused(&town, &OPEN);
        assert!(said.contains("二人の署名が必要です") && code == Some(2), "{said}");
        let propose = [&["--propose"], &OPEN[..]].concat();
        let first = json(&town, &propose);
        let hash = first["proposed"].as_str().unwrap().to_owned();
        // Given again it is the same one.
        assert_eq!(json(&town, &propose)["proposed"], hash.as_str());
        let list = json(&town, &["proposal", "list"]);
        assert_eq!(list.as_array().unwrap().len(), 1);
        assert_eq!((&list[0]["proposal"], &list[0]["possible"]), (&hash.as_str().into(), &true.into()));
        assert_eq!(list[0]["signed_by"][0], "信濃 一郎");
        assert_eq!(json(&town, &["contract", "list"]), Value::Array(vec![]), "nothing has happened yet");
        // The same person is not the second one.
        let (said, _) = refused(&town, &["proposal", "sign", &hash]);
        assert!(said.contains("二人の署名が必要です"), "{said}");

        at_the_desk(&mut town, &[midori]);
        let said = town.admin(&["--lang", "ja", "contract", "list"]).unwrap();
        assert!(said.contains("1 件の指図が承認待ち"), "{said}");
        let said = town.admin(&["--lang", "ja", "proposal", "show", &hash[..8]]).unwrap();
        for word in ["信濃 一郎", "ベータ(株)", "2099-03-31", hash.as_str()] {
            assert!(said.contains(word), "{word} is not in {said}");
        }
        // Somebody else's of that name is not proposed beside it.
        let (said, _) = refused(&town, &propose);
        assert!(said.contains("承認待ちです") && said.contains(&hash), "{said}");

        // Another name than the one that was signed, put in its place at the kms: nothing of it is shown, or signed.
        let data = folder.path().join("kms").join("data");
        let (honest, altered) = ("ベータ(株)", "アルファ(株)");
        town.stop("kms");
        let swap = "UPDATE proposal SET request = replace(request, ?, ?)";
        at_the_kms(&data, swap, [honest, altered]);
        town.start("kms").unwrap();
        for command in ["show", "sign"] {
            let (said, code) = refused(&town, &["proposal", command, &hash]);
            assert!(said.contains("署名された内容と違います") && code == Some(2), "{said}");
            assert!(!said.contains(altered), "{said}");
        }
        let said = town.admin(&["--lang", "ja", "proposal", "list"]).unwrap();
        assert!(said.contains("改ざん") && !said.contains(altered), "{said}");
        assert_eq!(json(&town, &["proposal", "list"])[0]["altered"], true);
        town.stop("kms");
        at_the_kms(&data, swap, [altered, honest]);
        town.start("kms").unwrap();

        let said = town.admin(&["--lang", "ja", "proposal", "sign", &hash[..8]]).unwrap();
        assert!(said.contains("ベータ(株)") && said.contains("二人の署名がそろい"), "{said}");
        assert_eq!(json(&town, &["contract", "list"])[0]["label"], "beta");
        assert_eq!(json(&town, &["proposal", "sign", &hash])["already"], true);
        assert_eq!(json(&town, &["proposal", "list"]), Value::Array(vec![]));
        let (said, _) = refused(&town, &["proposal", "show", &hash]);
        assert!(said.contains("すでに二人の署名がそろって"), "{said}");

        // What is withdrawn is gone; what one person may do alone waits for nobody.
        let extend = ["--propose", "contract", "extend", "beta", "--ends", "2099-04-30"];
        let hash = json(&town, &extend)["proposed"].as_str().unwrap().to_owned();
        assert_eq!(json(&town, &["proposal", "withdraw", &hash])["withdrawn"], hash.as_str());
        let (said, _) = refused(&town, &["proposal", "sign", &hash]);
        assert!(said.contains("取り下げられました"), "{said}");
        let end = ["--propose", "contract", "end", "beta", "--reason", "契約終了"];
        assert!(json(&town, &end)["order"].is_string());
        // The list says when it ended, not until when it would have run.
        let list = json(&town, &["contract", "list"]);
        let now = u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        assert!(list[0]["ended"] == true && list[0]["ends_at"].as_u64().unwrap() <= now, "{list}");
        assert!(!town.admin(&["contract", "list"]).unwrap().contains("2099"));
        // What is over is not extended, and nobody has to sign first to hear it.
        for extend in [&extend[..], &extend[1..]] {
            let (said, _) = refused(&town, extend);
            assert!(said.contains("すでに終わっていて"), "{said}");
        }
        assert!(fs::exists(&data).unwrap());
        town.close();
    });
}

/// `warifu-admin` at the second officer's own PC, where her card is.
fn at_the_branch(play: &Play, args: &[&str]) -> Output {
    let mut command = Command::new(program("warifu-admin").unwrap());
    command.arg("--agent").arg(play.town.bootstrap("branch"));
    command.args(["--pins-stdin", "--yes", "--lang", "ja"]).args(args);
    command.env("XDG_STATE_HOME", play.path("branch-state"));
    run(command, format!("1002 {PIN}\n").as_bytes()).unwrap()
}

/// What ends access needs a second person too, and its receipts are shown where she signs.
#[test]
fn an_end_that_was_proposed_is_signed_at_another_desk_and_watched_there() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let sealed = play.sealed("list", b"content");
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");

        at_the_desk(&mut play.town, &[("ichiro", 1001)]);
        let close = ["--propose", "unit", "close", "tax", "--watch"];
        let hash = json(&play.town, &close)["proposed"].as_str().unwrap().to_owned();
        // A proposal ends nothing.
        play.opens("office", &sealed, b"content");
        // A day is settled by the ledger alone: there is nothing to wait for.
        let (_, code) = refused(&play.town, &[&close[..], &["--from", "2099-04-01"]].concat());
        assert_eq!(code, Some(1));

        play.town.stop("contractor");
        play.town.add_agent("branch", &[MEMBER_READERS[1]], false, &[]).unwrap();
        play.town.start("branch").unwrap();
        play.insert("midori", "branch", MEMBER_READERS[1]);
        let sign = ["proposal", "sign", &hash[..8], "--watch"];
        let signed = at_the_branch(&play, &sign);
        let said = String::from_utf8(signed.stdout).unwrap();
        assert!(signed.status.success(), "{said}{}", String::from_utf8_lossy(&signed.stderr));
        assert!(said.contains("信濃 一郎") && said.contains("税務課"), "{said}");
        for (_, name) in SITES {
            assert!(said.lines().any(|line| line.contains('✓') && line.contains(name)), "{name}: {said}");
        }
        play.refuses("office", &sealed);
        // The answer was lost: given again, nothing is ordered twice.
        let again = at_the_branch(&play, &["--json", "proposal", "sign", &hash, "--watch"]);
        let again: Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(again["already"], true);
        play.town.close();
    });
}
