//! Who opened what, and whether the records of it are whole: asked at the desk, exported, verified offline, and forged.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use warifu_tests::town::{MEMBER_READERS, READERS, SITES, until};
use warifu_virtual_card::readers::private;

use crate::Play;

const PATIENCE: Duration = Duration::from_secs(40);

impl Play {
    fn answered(&self, args: &[&str]) -> Value {
        let args = [&["--json"][..], args].concat();
        serde_json::from_str(&self.town.admin(&args).unwrap()).unwrap()
    }

    /// Only this site answers.
    fn alone_at(&mut self, site: &str) {
        for (other, _) in SITES.iter().filter(|(other, _)| *other != site) {
            self.town.kill(other);
        }
    }

    fn together(&mut self, site: &str) {
        for (other, _) in SITES.iter().filter(|(other, _)| *other != site) {
            self.restart_site(other);
        }
    }

    fn until_committed(&self, rows: &[u64]) {
        until("all rows are under heads in the ledger", PATIENCE, || {
            let journals = self.answered(&["audit", "status"]);
            let of = |field: &str| -> Vec<u64> {
                journals.as_array().unwrap().iter().map(|journal| journal[field].as_u64().unwrap()).collect()
            };
            let mut found = of("rows");
            found.sort_unstable();
            Ok(found == rows && of("rows") == of("committed"))
        })
        .unwrap();
    }

    fn exported(&self, name: &str) -> PathBuf {
        let out = self.path(name);
        self.answered(&["audit", "export", "-o", out.to_str().unwrap()]);
        out
    }

    /// What `verify` finds, and its exit code.
    fn verified(&self, file: &Path, more: &[&str]) -> (Vec<Value>, Option<i32>) {
        let organization = self.town.organization().to_owned();
        let mut args =
            vec!["--json", "audit", "verify", file.to_str().unwrap(), "--organization", &organization];
        args.extend(more);
        let output = self.town.try_admin(&args).unwrap();
        let told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        (told["findings"].as_array().unwrap().clone(), output.status.code())
    }

    /// A copy of a file with each line changed.
    fn forged(&self, file: &Path, mut change: impl FnMut(&mut Value)) -> PathBuf {
        let text = fs::read_to_string(file).unwrap();
        let lines = text.lines().map(|line| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            let before = value.clone();
            change(&mut value);
            // What was not changed keeps its bytes.
            if value == before { line.to_owned() } else { value.to_string() }
        });
        let forged = self.path("forged");
        fs::write(&forged, lines.filter(|line| line != "null").map(|line| line + "\n").collect::<String>())
            .unwrap();
        forged
    }
}

#[test]
fn who_opened_is_known_and_whoever_changes_the_records_is_found_out() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        play.town.stop("kms");
        let configuration = play.town.configuration("kms");
        let text = fs::read_to_string(&configuration).unwrap();
        fs::write(&configuration, format!("journal_seconds = 1\n{text}")).unwrap();
        play.town.start("kms").unwrap();
        let (sealed, other) = (play.sealed("list", b"content"), play.sealed("other", b"other"));
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.insert("taro", "contractor", MEMBER_READERS[1]);
        let [(first, first_name), (second, second_name)] = [SITES[0], SITES[1]];
        play.alone_at(first);
        play.opens("office", &sealed, b"content");
        play.together(first);
        play.alone_at(second);
        play.opens("contractor", &sealed, b"content");
        play.together(second);

        // The file itself is the question.
        let (path, unopened) = (sealed.to_str().unwrap(), other.to_str().unwrap());
        let mut rows = Value::Null;
        until("both openings are known", PATIENCE, || {
            rows = play.answered(&["audit", "who-opened", path, unopened]);
            Ok(rows.as_array().map(Vec::len) == Some(2))
        })
        .unwrap();
        for (row, name, site) in [(&rows[0], "花子", first_name), (&rows[1], "太郎", second_name)] {
            assert!(row["name"].as_str().unwrap().contains(name), "{rows}");
            assert_eq!((row["site"].as_str(), row["path"].as_str()), (Some(site), Some(path)), "{rows}");
        }
        let said = play.town.admin(&["--lang", "ja", "audit", "who-opened", unopened]).unwrap();
        assert!(said.contains("記録はありません"), "{said}");
        let plain = play.path("list");
        let refused = play.town.try_admin(&["audit", "who-opened", plain.to_str().unwrap()]).unwrap();
        assert_eq!(refused.status.code(), Some(1));

        // A table for a spreadsheet.
        let sheet = play.path("sheet.csv");
        play.answered(&["audit", "export", "--csv", "--out", sheet.to_str().unwrap()]);
        let bytes = fs::read(&sheet).unwrap();
        assert!(bytes.starts_with(b"\xef\xbb\xbf"));
        assert_eq!(String::from_utf8(bytes).unwrap().lines().count(), 3);

        // Everything, and it is as it was signed.
        play.until_committed(&[1, 1]);
        play.town.admin(&["contract", "end", "acme", "--reason", "契約終了", "--watch"]).unwrap();
        let file = play.exported("first.audit");
        assert_eq!(play.verified(&file, &[]), (vec![], Some(0)));

        // What it proves of a member's cards, to be printed.
        let organization = play.town.organization().to_owned();
        let printed = play.path("evidence.txt");
        let words =
            ["--lang", "ja", "audit", "evidence", file.to_str().unwrap(), "--organization", &organization];
        let more = ["--member", "taro", "-o", printed.to_str().unwrap()];
        play.town.admin(&[&words[..], &more].concat()).unwrap();
        let text = fs::read_to_string(&printed).unwrap();
        for part in ["太郎", first_name, second_name, "受領", "応じた拠点はありません"] {
            assert!(text.contains(part), "{part}: {text}");
        }

        // One row is changed.
        let forged = play.forged(&file, |line| {
            if let Some(row) = line.pointer_mut("/row/row").filter(|row| row["index"] == 0) {
                row["time"] = json!(row["time"].as_u64().unwrap() + 1);
            }
        });
        let (findings, code) = play.verified(&forged, &[]);
        assert_eq!((findings.len(), code), (2, Some(2)), "{findings:?}");
        for finding in &findings {
            assert_eq!(
                (&finding["finding"], &finding["first"]),
                (&json!("row-changed"), &json!(0)),
                "{findings:?}"
            );
        }
        // One is left out.
        let mut left_out = false;
        let forged = play.forged(&file, |line| {
            if !left_out && line.get("row").is_some() {
                left_out = true;
                *line = Value::Null;
            }
        });
        let (findings, _) = play.verified(&forged, &[]);
        assert_eq!(findings[0]["finding"], "rows-missing", "{findings:?}");
        assert!([first_name, second_name].contains(&findings[0]["site"].as_str().unwrap()), "{findings:?}");
        // A receipt is forged: one site's signature under the other's name.
        let mut signatures = Vec::new();
        let forged = play.forged(&file, |line| {
            if let Some(receipt) = line.get_mut("receipt") {
                signatures.push(receipt["signatures"].clone());
                receipt["signatures"] = signatures[0].clone();
            }
        });
        assert!(signatures.len() > 1);
        let (findings, _) = play.verified(&forged, &[]);
        assert_eq!(findings[0]["finding"], "receipt-forged", "{findings:?}");
        // The last leaf is taken off, or another takes its place.
        let leaves =
            fs::read_to_string(&file).unwrap().lines().filter(|line| line.starts_with("{\"leaf\"")).count();
        let (mut at, mut kept) = (0, Value::Null);
        let forged = play.forged(&file, |line| {
            if line.get("leaf").is_some() {
                at += 1;
                if at == leaves {
                    *line = Value::Null;
                }
            }
        });
        assert_eq!(play.verified(&forged, &[]).0[0]["finding"], "leaves-missing");
        at = 0;
        let forged = play.forged(&file, |line| {
            if line.get("leaf").is_some() {
                at += 1;
                match at {
                    2 => kept = line.clone(),
                    at if at == leaves => *line = kept.clone(),
                    _ => {}
                }
            }
        });
        assert_eq!(play.verified(&forged, &[]).0[0]["finding"], "ledger-refused");

        // Nobody opens it again, anywhere.
        let said = play.town.admin(&["--lang", "ja", "audit", "shred", path, "--watch"]).unwrap();
        assert!(said.contains("開かれた回数: 2"), "{said}");
        for (site, _) in SITES {
            play.alone_at(site);
            play.refuses("office", &sealed);
            play.opens("office", &other, b"other");
            play.together(site);
        }
        let again = play.answered(&["audit", "shred", path]);
        assert_eq!(again["already"], true);

        // Later, the earlier file still tells whether anything was taken back.
        play.until_committed(&[2, 2]);
        let later = play.exported("later.audit");
        assert_eq!(play.verified(&later, &["--earlier", file.to_str().unwrap()]), (vec![], Some(0)));
        let (findings, code) = play.verified(&file, &["--earlier", later.to_str().unwrap()]);
        assert_eq!((&findings[0]["finding"], code), (&json!("rolled-back"), Some(2)), "{findings:?}");
    });
}

/// A contract ends while one site is cut off: what is written of it stands by itself, and whatever is changed in it is named.
#[test]
fn the_evidence_of_a_revocation_stands_without_any_service_and_no_forgery_does() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let [(confirmed, confirmed_name), (_, cut_off_name)] = [SITES[0], SITES[1]];
        play.alone_at(confirmed);
        let out = play.path("acme.evidence");
        let words =
            ["--lang", "ja", "contract", "end", "acme", "--reason", "契約終了", "--watch", "--evidence"];
        let told = play.town.try_admin(&[&words[..], &[out.to_str().unwrap()]].concat()).unwrap();
        let said = String::from_utf8_lossy(&told.stdout).into_owned();
        // Not every site has confirmed, and each is shown: one in milliseconds, one with the moment by which its lease is over.
        assert_eq!(told.status.code(), Some(5), "{said}");
        let line = |name: &str| said.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned();
        assert!(line(confirmed_name).contains('✓') && line(confirmed_name).contains("ミリ秒"), "{said}");
        assert!(
            said.lines().any(|line| line.contains(cut_off_name) && line.contains("自動的に止まります")),
            "{said}"
        );
        let printed = fs::read_to_string(play.path("acme.evidence.txt")).unwrap();
        for part in [confirmed_name, cut_off_name, "受領なし", "アクメ", "署名"] {
            assert!(printed.contains(part), "{part}: {printed}");
        }
        assert!(!printed.contains("契約終了"), "the reason stays in the register");

        // Without any service.
        for service in ["kms", "ca", confirmed] {
            play.town.kill(service);
        }
        assert_eq!(play.verified(&out, &[]), (vec![], Some(0)));
        let organization = play.town.organization().to_owned();
        let verify = ["--json", "audit", "verify", out.to_str().unwrap(), "--organization", &organization];
        let shown: Value = serde_json::from_str(&play.town.admin(&verify).unwrap()).unwrap();
        assert_eq!(shown["order"]["confirmed"][0]["site"], confirmed_name, "{shown}");
        assert_eq!(shown["order"]["outstanding"], json!([cut_off_name]), "{shown}");
        assert!(shown["order"]["leases_end"].as_u64() > shown["order"]["at"].as_u64(), "{shown}");
        let other = "0".repeat(64);
        let verify = ["audit", "verify", out.to_str().unwrap(), "--organization", &other];
        assert_eq!(
            play.town.try_admin(&verify).unwrap().status.code(),
            Some(2),
            "pinned to another founding"
        );
        let of_member = ["audit", "evidence", out.to_str().unwrap(), "--organization", &organization];
        let of_member = [&of_member[..], &["--member", "taro", "-o", "none"]].concat();
        assert_eq!(play.town.try_admin(&of_member).unwrap().status.code(), Some(1), "it has no journals");

        let named = |play: &Play, change: &mut dyn FnMut(&mut Value)| {
            let forged = play.forged(&out, change);
            let (findings, code) = play.verified(&forged, &[]);
            assert_eq!(code, Some(2), "{findings:?}");
            findings.iter().map(|finding| finding["finding"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let found = named(&play, &mut |line| {
            if let Some(order) = line.pointer_mut("/order/order") {
                *order = json!("0".repeat(64));
            }
        });
        assert!(found.contains(&"order-missing".to_owned()), "another order: {found:?}");
        let found = named(&play, &mut |line| {
            if let Some(signature) = line.pointer_mut("/receipt/signatures/0/sig") {
                *signature = json!(format!("{}A==", "A".repeat(85)));
            }
        });
        assert_eq!(found, ["receipt-forged"], "another key's signature");
        let found = named(&play, &mut |line| {
            if let Some(payload) = line.pointer_mut("/receipt/payload") {
                use base64::Engine as _;
                let engine = base64::prelude::BASE64_STANDARD;
                let bytes = engine.decode(payload.as_str().unwrap()).unwrap();
                let mut receipt: Value = serde_json::from_slice(&bytes).unwrap();
                receipt["time"] = json!(receipt["time"].as_u64().unwrap() - 60_000);
                *payload = json!(engine.encode(receipt.to_string()));
            }
        });
        assert_eq!(found, ["receipt-forged"], "another time");
        let found = named(&play, &mut |line| {
            if line.get("receipt").is_some() {
                *line = Value::Null;
            }
        });
        assert_eq!(found, ["receipt-missing"], "a receipt taken out");
        let found = named(&play, &mut |line| {
            if let Some(note) = line.get_mut("checkpoint") {
                let without =
                    note.as_str().unwrap().lines().filter(|line| !line.contains("/ca ")).collect::<Vec<_>>();
                *note = json!(without.join("\n") + "\n");
            }
        });
        assert_eq!(found, ["checkpoint-not-signed"], "no cosignature");
    });
}
