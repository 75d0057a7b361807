//! Revocation, leases and restarts: I3 and I4 against real processes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use warifu_tests::town::{MEMBER_READERS, READERS, SITES, until};
use warifu_virtual_card::readers::private;

use crate::Play;

/// The contract ends; both sites confirm; neither answers again: not after `kill -9`, nor with its database from before.
#[test]
fn a_contract_that_ended_stays_ended() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let sealed = play.sealed("list", b"content");
        play.insert("taro", "contractor", MEMBER_READERS[1]);
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("contractor", &sealed, b"content");
        play.opens("office", &sealed, b"content");

        // A backup of both sites' databases, made while the contract runs.
        for (site, _) in SITES {
            play.town.kill(site);
            copy(&play.path(site).join("data"), &play.path(&format!("{site}-before")));
            play.restart_site(site);
        }
        play.opens("contractor", &sealed, b"content");

        let words = ["--lang", "ja", "contract", "end", "acme", "--reason", "契約終了", "--watch"];
        let receipts = play.town.admin(&words).unwrap();
        for (_, name) in SITES {
            assert!(receipts.lines().any(|line| line.contains('✓') && line.contains(name)), "{receipts}");
        }
        let over = "contract is over";
        assert!(play.refuses("contractor", &sealed).contains(over));
        play.opens("office", &sealed, b"content");

        // What is wished for a second time is the case already: that is said, and nothing is ordered.
        let again = play.town.try_admin(&words).unwrap();
        let said = String::from_utf8_lossy(&again.stdout).into_owned();
        assert!(again.status.success() && said.contains("すでに終了しています"), "{said}");

        for (site, _) in SITES {
            play.town.kill(site);
            play.restart_site(site);
        }
        assert!(play.refuses("contractor", &sealed).contains(over));

        // The database from before, as an operator might restore it; the HSM's key pair is gone.
        for (site, _) in SITES {
            play.town.kill(site);
            let data = play.path(site).join("data");
            fs::remove_dir_all(&data).unwrap();
            copy(&play.path(&format!("{site}-before")), &data);
            play.restart_site(site);
        }
        assert!(play.refuses("contractor", &sealed).contains(over));
        play.opens("office", &sealed, b"content");
    });
}

/// I4: without the kms, sites stop with their lease, whether they run on or start anew; when the line is back, they go on.
#[test]
fn sites_that_are_cut_off_stop_by_themselves() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 4);
        let sealed = play.sealed("list", b"content");
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");

        // The kms dies with an order before it takes it; both sites have acted on it. Programs are told of no order.
        play.town.stop("kms");
        play.town.start_to_crash("kms", "kms.order.checked").unwrap();
        until("the kms answers", Duration::from_secs(20), || {
            Ok(play.town.try_admin(&["site", "list"])?.status.success())
        })
        .unwrap();
        let done = play.town.try_admin(&["--json", "card", "suspend", "taro", "--watch"]).unwrap();
        let told: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert!(!done.status.success() && told["order"].is_null(), "{told}");
        assert_eq!(told["confirmed"].as_array().map(Vec::len), Some(SITES.len()), "{told}");
        until("the kms is gone", Duration::from_secs(20), || Ok(play.town.ended("kms")?.is_some())).unwrap();
        play.town.kill("kms");

        // I4: without the kms, the sites answer until their lease is over, and not after.
        until("the lease is over", Duration::from_secs(20), || {
            Ok(!play.open("office", &sealed, &[]).0.status.success())
        })
        .unwrap();
        play.refuses("office", &sealed);

        // A site that restarts without the kms answers nothing either.
        play.town.kill("honcho");
        play.town.start("honcho").unwrap();
        play.refuses("office", &sealed);

        // The line is back: nothing was lost.
        play.town.start("kms").unwrap();
        until("the sites answer again", Duration::from_secs(20), || {
            Ok(play.open("office", &sealed, &[]).0.status.success())
        })
        .unwrap();
        play.opens("office", &sealed, b"content");
    });
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
