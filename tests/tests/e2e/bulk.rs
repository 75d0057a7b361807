//! Many people by one signature, their cards one by one; and roles.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::Value;
use warifu_ledger::Id;
use warifu_tests::fold::of_database;
use warifu_tests::process::{program, run};
use warifu_tests::town::{OFFICERS, PIN, READERS, Town};
use warifu_texts::day::Zone;
use warifu_virtual_card::readers::private;

fn json(town: &Town, args: &[&str]) -> Value {
    serde_json::from_str(town.admin(&[&["--json"], args].concat()).unwrap().trim()).unwrap()
}

fn fates(answer: &Value) -> Vec<&str> {
    answer["rows"].as_array().unwrap().iter().filter_map(|row| row["fate"].as_str()).collect()
}

/// A card that a command before has unlocked reads the ledger without its PIN.
fn an_unlocked_card_is_not_asked(town: &Town) {
    let mut command = Command::new(program("warifu-admin").unwrap());
    // No PIN is given, and nobody is there to enter one.
    command.arg("--agent").arg(town.bootstrap("desk")).args(["--lang", "en", "unit", "list"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("税務課"),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Where nobody is at the desk, a command waits for a card until the person wants it no more.
fn ctrl_c_ends_waiting(town: &mut Town) {
    let officers: Vec<&str> = OFFICERS.iter().map(|(label, _, _)| *label).collect();
    officers.iter().for_each(|officer| town.remove(officer));
    let mut command = Command::new(program("warifu-admin").unwrap());
    command.arg("--agent").arg(town.bootstrap("desk")).args(["--lang", "en", "unit", "list"]);
    let mut waiting =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(waiting.stdout.take().unwrap()).lines();
    let told = lines.find(|line| line.as_ref().unwrap().contains("Ctrl-C"));
    assert!(told.is_some(), "it says how to stop waiting");
    let id = waiting.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let done = waiting.wait_with_output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(130), "{said}");
    assert!(said.contains("Stopped with Ctrl-C") && said.contains("give the same command again"), "{said}");
}

fn unit(town: &Town, label: &str) -> Id {
    let units = json(town, &["unit", "list"]);
    let row = units.as_array().unwrap().iter().find(|row| row["label"] == label).unwrap();
    serde_json::from_value(row["unit"].clone()).unwrap()
}

/// jiro, whose card is not at the desk, is made an address, by one order. Answers the unit.
fn person_is_an_address(town: &Town) -> Id {
    let words = ["unit", "add", "--person", "jiro"];
    let made = json(town, &words);
    assert_eq!((&made["cards_elsewhere"], &made["grants"]), (&1.into(), &Value::Array(vec![])), "{made}");
    assert!(made["recipient"].as_str().unwrap().starts_with("age1tag1"), "{made}");
    let units = json(town, &["unit", "list"]);
    let row = units.as_array().unwrap().iter().find(|row| row["unit"] == made["unit"]).unwrap();
    let told = (&row["kind"], &row["label"], &row["name"]);
    assert_eq!(told, (&"person".into(), &"jiro".into(), &"次郎".into()), "{row}");
    // Given again, it makes nothing twice; in other words it is another unit, and the label is taken.
    assert_eq!(json(town, &words), made);
    let other = town.try_admin(&["unit", "add", "--person", "jiro", "--own-pcs"]).unwrap();
    assert!(!other.status.success());
    // Only members with a card are persons, and nobody is one and something else.
    for wrong in
        [&["unit", "add", "--person", "taro"][..], &["unit", "add", "--person", "jiro", "--contract", "x"]]
    {
        assert!(!town.try_admin(wrong).unwrap().status.success(), "{wrong:?}");
    }
    unit(town, "jiro")
}

#[test]
fn a_department_is_enrolled_from_a_table_and_moved_by_another() {
    private(READERS, |readers| {
        let folder = tempfile::tempdir().unwrap();
        let mut town = Town::new(folder.path(), readers).unwrap();
        town.equip_authorities().unwrap();
        town.open_desk().unwrap();
        town.found("北アルプス広域連合").unwrap();
        town.add_site("honcho", "本庁").unwrap();
        town.fetch_profile().unwrap();
        for (label, name) in [("tax", "税務課"), ("welfare", "福祉課")] {
            town.admin(&["unit", "add", label, "--name", name]).unwrap();
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();

        // Every mistake at once, by line; and nothing is ordered.
        write(
            "bad.csv",
            "識別名,氏名,部署\nhanako,信濃 花子,税務課\nHANAKO,x,税務課\nhanako,x,税務課\ntaro,太郎,総務課\n",
        );
        let bad = path("bad.csv");
        let refused = town.try_admin(&["--lang", "ja", "member", "enroll-all", "--csv", &bad]).unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success());
        for words in ["3 行目", "4 行目", "5 行目", "総務課", "3 行あるため"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains("2 行目:"), "{said}");
        // Nor does the report say that anything was.
        let report = path("report.csv");
        let refused = town.try_admin(&["member", "enroll-all", "--csv", &bad, "--report", &report]).unwrap();
        let reported = fs::read_to_string(&report).unwrap();
        assert!(
            !refused.status.success() && reported.contains("planned") && reported.contains("bad"),
            "{reported}"
        );
        assert!(!reported.contains("ordered"), "{reported}");

        write(
            "all.csv",
            "\u{feff}識別名,氏名,部署\r\nhanako,𠮷田 花子,税務課\r\ntaro,安曇 太郎,tax、福祉課\r\n",
        );
        let all = path("all.csv");
        let enrol = ["member", "enroll-all", "--csv", &all, "--report", &report];
        previewed(&town, &enrol);
        let reported = fs::read_to_string(&report).unwrap();
        assert!(reported.contains("planned") && !reported.contains("ordered"), "after a no: {reported}");
        let done = json(&town, &enrol);
        assert_eq!((fates(&done), done["orders"].as_array().unwrap().len()), (vec!["ordered", "ordered"], 1));
        let reported = fs::read_to_string(&report).unwrap();
        assert!(reported.contains("𠮷田 花子") && reported.contains("ordered"), "{reported}");
        assert!(!reported.contains("planned"), "{reported}");
        let again = json(&town, &enrol);
        assert_eq!(
            (fates(&again), again["orders"].as_array().unwrap().len()),
            (vec!["already", "already"], 0)
        );
        let members = json(&town, &["member", "list"]);
        assert!(members.as_array().unwrap().iter().any(|member| member["name"] == "𠮷田 花子"));

        // The next without a card, by short name.
        town.new_card("hanako", 2001).unwrap();
        town.insert("hanako", 3).unwrap();
        town.wait_for_card(2001).unwrap();
        let issued = json(&town, &["card", "issue"]);
        assert_eq!(issued["grants"].as_array().unwrap().len(), 1);
        town.remove("hanako");

        // Who was enrolled with a card at once is as a row says that says the same, and not if it says something else.
        town.new_card("jiro", 2003).unwrap();
        town.insert("jiro", 3).unwrap();
        town.wait_for_card(2003).unwrap();
        town.admin(&["member", "enroll", "jiro", "--name", "次郎", "--unit", "tax"]).unwrap();
        town.remove("jiro");
        write("jiro.csv", "識別名,氏名,部署\njiro,次郎,税務課\n");
        let jiro = ["member", "enroll-all", "--csv", &path("jiro.csv")];
        assert_eq!(fates(&json(&town, &jiro)), ["already"]);
        // A person is an address besides, which no table names: a row that says the same still does.
        let own = person_is_an_address(&town);
        assert_eq!(fates(&json(&town, &jiro)), ["already"]);
        write("jiro.csv", "識別名,氏名,部署\njiro,次郎,福祉課\n");
        assert!(!town.try_admin(&jiro).unwrap().status.success());

        // Nor does a reshuffle take it away.
        write("move.csv", "識別名,部署\njiro,福祉課\n");
        let words = ["member", "move", "--csv", &path("move.csv"), "--from", "2099-04-01"];
        assert_eq!(fates(&json(&town, &words)), ["ordered"]);
        let state = of_database(&folder.path().join("kms/data/authority.sqlite")).unwrap();
        let ends = |of: Id| state.grants_of_unit(of).map(|(_, grant)| grant.expires_at).collect::<Vec<_>>();
        assert_eq!(ends(own), [None]);
        assert!(
            ends(unit(&town, "tax")).iter().any(Option::is_some),
            "the department ends for jiro that day"
        );

        write("move.csv", "識別名,部署\nhanako,福祉課\ntaro,福祉課\n");
        let moves = path("move.csv");
        let relocate = ["member", "move", "--csv", &moves, "--from", "2099-04-01"];
        let moved = json(&town, &relocate);
        assert_eq!(
            (fates(&moved), moved["orders"].as_array().unwrap().len()),
            (vec!["ordered", "ordered"], 1)
        );
        assert_eq!(fates(&json(&town, &relocate)), ["already", "already"]);

        // A card that is made between the order and its day is right on that day, too: nothing is left to order for it.
        town.new_card("taro", 2002).unwrap();
        town.insert("taro", 3).unwrap();
        town.wait_for_card(2002).unwrap();
        let issued = json(&town, &["card", "issue", "taro"]);
        // Tax until then, and welfare without an end.
        assert_eq!(issued["grants"].as_array().unwrap().len(), 2);
        town.remove("taro");
        assert_eq!(fates(&json(&town, &relocate)), ["already", "already"]);
        for (day, words) in [("2020-04-01", "過ぎ"), ("令和2年4月1日", "過ぎ"), ("2100-02-29", "日付")]
        {
            let refused =
                town.try_admin(&["--lang", "ja", "member", "move", "--csv", &moves, "--from", day]).unwrap();
            let said = String::from_utf8(refused.stderr).unwrap();
            assert!(refused.status.code() == Some(1) && said.contains(words), "{day}: {said}");
        }

        let role = ["member", "role", "kenji", "--remove", "administrator"];
        assert!(json(&town, &role)["order"].is_string());
        assert_eq!(json(&town, &role)["already"], true);
        assert_eq!(json(&town, &["policy", "change", "--lease-seconds", "300"])["lease_ms"], 300_000);
        // Roles are not kept apart while somebody holds them together; who that is, is said.
        let apart = ["--lang", "en", "policy", "change", "--separate-roles", "true"];
        let refused = town.try_admin(&apart).unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success());
        assert!(said.contains("The policy keeps roles apart") && said.contains("member role"), "{said}");
        assert_eq!(json(&town, &["policy", "show"])["separate_roles"], false);

        assert_eq!(json(&town, &["expiring"]), Value::Array(vec![]));
        let in_a_day = UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(24 * 60 * 60);
        let tomorrow = Zone::named("Asia/Tokyo").last_day_before(in_a_day.as_millis().try_into().unwrap());
        town.admin(&["member", "leave", "taro", "--on", &tomorrow]).unwrap();
        let ends = json(&town, &["expiring"]);
        assert_eq!((&ends[0]["what"], &ends[0]["last_day"]), (&"member".into(), &tomorrow.as_str().into()));
        let said = town.admin(&["--lang", "ja", "unit", "list"]).unwrap();
        assert!(said.contains("「安曇 太郎」さんの最終日は、あと") && said.contains(&tomorrow), "{said}");

        an_unlocked_card_is_not_asked(&town);
        ctrl_c_ends_waiting(&mut town);
        town.close();
    });
}

/// How long ten thousand rows may take until the question is asked, on a slow machine and without optimization.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is shown before the question, which is answered by no, and how long that took.
fn previewed(town: &Town, args: &[&str]) -> (String, Duration) {
    let mut command = Command::new(program("warifu-admin").unwrap());
    command.arg("--agent").arg(town.bootstrap("desk")).args(["--pins-stdin", "--lang", "ja"]).args(args);
    let pins: String = OFFICERS.iter().map(|(_, serial, _)| format!("{serial} {PIN}\n")).collect();
    let began = Instant::now();
    let output = run(command, pins.as_bytes()).unwrap();
    let took = began.elapsed();
    println!("{args:?}: {took:?}");
    assert!(!output.status.success(), "it was ordered without a yes");
    (String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr), took)
}

#[test]
fn ten_thousand_rows_keep_nobody_waiting_and_too_many_are_refused() {
    private(READERS, |readers| {
        let folder = tempfile::tempdir().unwrap();
        let mut town = Town::new(folder.path(), readers).unwrap();
        town.equip_authorities().unwrap();
        town.open_desk().unwrap();
        town.found("北アルプス広域連合").unwrap();
        town.add_site("honcho", "本庁").unwrap();
        town.fetch_profile().unwrap();
        for (label, name) in [("tax", "税務課"), ("welfare", "福祉課")] {
            town.admin(&["unit", "add", label, "--name", name]).unwrap();
        }
        let table = |name: &str, count: usize, unit: &str| {
            let rows = (0..count).map(|at| format!("m{at},𠮷田 {at}号,{unit}\n"));
            let path = folder.path().join(name);
            fs::write(&path, "識別名,氏名,部署\n".to_owned() + &rows.collect::<String>()).unwrap();
            path.display().to_string()
        };
        let (all, moves, too_many) = (
            table("all.csv", 10_000, "税務課"),
            table("moves.csv", 10_000, "福祉課"),
            table("too-many.csv", 100_001, "税務課"),
        );

        let (said, took) = previewed(&town, &["member", "enroll-all", "--csv", &too_many]);
        assert!(said.contains("100000 行") && took < PATIENCE, "{said}");
        let enrol = ["member", "enroll-all", "--csv", &all];
        let (said, took) = previewed(&town, &enrol);
        assert!(said.contains("10000 人を登録します") && took < PATIENCE, "{took:?}: {said}");
        let began = Instant::now();
        let done = json(&town, &enrol);
        println!("{} orders: {:?}", done["orders"].as_array().unwrap().len(), began.elapsed());
        assert_eq!(fates(&done).iter().filter(|fate| **fate == "ordered").count(), 10_000);

        let relocate = ["member", "move", "--csv", &moves, "--from", "2100-04-01"];
        let (said, took) = previewed(&town, &relocate);
        assert!(said.contains("10000 人の所属を変えます") && took < PATIENCE, "{took:?}: {said}");
        town.close();
    });
}
