//! `warifu-admin doctor`: at the desk and at the services' machines, where all is well and where something is not; every finding
//! has its remedy in both languages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use warifu_broken_parts::disk::{self, Full};
use warifu_tests::process::program;
use warifu_tests::town::{READERS, until};
use warifu_virtual_card::readers::private;

use crate::Play;

const DISK_KIB: u32 = 64 << 10;

/// The findings of a doctor that answered in JSON, as `finding state`.
pub(crate) fn found(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let findings: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
    let findings: Vec<String> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            format!("{} {}", finding["finding"].as_str().unwrap(), finding["state"].as_str().unwrap())
        })
        .collect();
    let fault = findings.iter().any(|finding| finding.ends_with(" fault"));
    assert_eq!(output.status.code(), Some(if fault { 6 } else { 0 }), "{findings:?}");
    findings
}

pub(crate) fn has(findings: &[String], wanted: &str) {
    assert!(findings.iter().any(|finding| finding == wanted), "no {wanted} in {findings:?}");
}

impl Play {
    fn doctor_at(&self, service: &str, config: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(program("warifu-admin").unwrap());
        command.args(more).arg("doctor").arg("--config").arg(config);
        command.env("SOFTHSM2_CONF", self.path(service).join("softhsm2.conf"));
        command
    }

    fn found_at(&self, service: &str, config: &Path) -> Vec<String> {
        found(&self.doctor_at(service, config, &["--json"]).output().unwrap())
    }

    /// The configuration with something else in it.
    fn variant(&self, service: &str, from: &str, to: &str) -> PathBuf {
        let text = fs::read_to_string(self.town.configuration(service)).unwrap();
        assert!(text.contains(from), "{text}");
        let path = self.path(service).join("variant.toml");
        fs::write(&path, text.replace(from, to)).unwrap();
        path
    }

    /// As people read it: every line that is not in order is followed by its remedy, in both languages.
    fn reads_well(&self, service: &str, config: &Path) {
        for lang in ["ja", "en"] {
            let output = self.doctor_at(service, config, &["--lang", lang]).output().unwrap();
            well_said(&String::from_utf8(output.stdout).unwrap());
        }
    }
}

fn well_said(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    assert!(!lines.is_empty() && !text.contains("doctor-"), "{text}");
    for pair in lines.windows(2) {
        let good = pair[0].starts_with("[ok]") || pair[0].starts_with("[正常]");
        if pair[0].starts_with('[') && !good {
            assert!(pair[1].starts_with('→'), "no remedy: {text}");
        }
    }
    println!("{text}");
}

#[test]
fn the_machines_of_a_town_are_well_or_told_by_name_what_is_not() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        for service in ["ca", "kms", "honcho"] {
            let config = play.town.configuration(service);
            let findings = play.found_at(service, &config);
            assert!(findings.iter().all(|finding| !finding.ends_with(" fault")), "{service}: {findings:?}");
            for wanted in ["configuration ok", "token ok", "keys ok", "database ok", "founded ok"] {
                has(&findings, wanted);
            }
            play.reads_well(service, &config);
        }
        has(&play.found_at("honcho", &play.town.configuration("honcho")), "listener ok");
        let nowhere = Command::new(program("warifu-ca").unwrap())
            .args(["--config", "/nowhere/ca.toml", "doctor", "--json"])
            .output()
            .unwrap();
        assert_eq!(found(&nowhere), ["configuration-missing fault"]);
        has(&play.found_at("honcho", &play.town.configuration("honcho")), "stamp ok");
        has(&play.found_at("kms", &play.town.configuration("kms")), "ca ok");

        // One thing after the other, beside the running services, which notice nothing.
        for service in ["ca", "kms", "honcho"] {
            let config = play.variant(service, "[hsm]\n", "colour = \"red\"\n[hsm]\n");
            has(&play.found_at(service, &config), "configuration-bad fault");
            let config = play.variant(service, "[hsm]\n", "[hsm]\nmodule = \"/nowhere.so\"\n");
            has(&play.found_at(service, &config), "module-bad fault");
            let config =
                play.variant(service, &format!("token_label = \"{service}\""), "token_label = \"elsewhere\"");
            has(&play.found_at(service, &config), "token-missing fault");
            let pin = play.path(service).join("wrong-pin");
            fs::write(&pin, "not the PIN").unwrap();
            has(
                &play.found_at(
                    service,
                    &play.variant(service, "pin_file = \"pin\"", "pin_file = \"wrong-pin\""),
                ),
                "pin-file-exposed fault",
            );
            fs::set_permissions(&pin, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            let config = play.variant(service, "pin_file = \"pin\"", "pin_file = \"wrong-pin\"");
            has(&play.found_at(service, &config), "pin-wrong fault");
            // Not shown again: an HSM that counts would lock itself.
            has(&play.found_at(service, &config), "pin-refused-before fault");
            play.reads_well(service, &config);

            // Another folder for the data: a copy of the database that is damaged, on a disk that fills.
            let data = play.path(&format!("{service}-copy"));
            disk::mount(&data, DISK_KIB).unwrap();
            let name = if service == "kms" {
                "authority"
            } else if service == "ca" {
                "ca"
            } else {
                "site"
            };
            fs::copy(play.path(service).join("data/statement.json"), data.join("statement.json")).unwrap();
            let config = play.variant(service, "data = \"data\"", &format!("data = \"{}\"", data.display()));
            let findings = play.found_at(service, &config);
            has(&findings, "disk-nearly-full warning");
            has(&findings, "database-missing fault");
            fs::write(data.join(format!("{name}.sqlite")), b"no database".repeat(1000)).unwrap();
            let full = Full::fill(&data).unwrap();
            let findings = play.found_at(service, &config);
            has(&findings, "disk-full fault");
            has(&findings, "database-damaged fault");
            play.reads_well(service, &config);
            drop(full);
        }
        for service in ["kms", "honcho"] {
            let address = play.town.address(service).unwrap();
            let other = if service == "kms" { "honcho" } else { "kms" };
            let other = play.town.address(other).unwrap();
            let from = format!("listen = \"{address}\"");
            let config = play.variant(service, &from, &format!("listen = \"{other}\""));
            has(&play.found_at(service, &config), "port-taken fault");
            let config = play.variant(service, &from, "listen = \"127.0.0.1:9\"");
            has(&play.found_at(service, &config), "not-listening fault");
        }

        // The kms is off: ten minutes later there has been no stamp.
        play.town.kill("kms");
        has(&play.found_at("kms", &play.town.configuration("kms")), "not-listening fault");
        for service in ["ca", "honcho"] {
            let inside = play.doctor_at(service, &play.town.configuration(service), &["--json"]);
            let mut later = Command::new("faketime");
            later.args(["-f", "+10m"]).arg(inside.get_program()).args(inside.get_args());
            later.env("SOFTHSM2_CONF", play.path(service).join("softhsm2.conf"));
            later.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            let findings = found(&later.output().unwrap());
            has(&findings, "kms-unreachable fault");
            has(&findings, "stamp-old fault");
        }
        play.town.start("kms").unwrap();
    });
}

#[test]
fn the_desk_sees_every_site_and_what_waits_for_whom() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let look = |play: &Play| found(&play.town.try_admin(&["--json", "doctor"]).unwrap());
        let findings = look(&play);
        for wanted in ["agent ok", "authority ok", "clock ok", "site ok", "card-officer ok"] {
            has(&findings, wanted);
        }
        assert_eq!(findings.iter().filter(|finding| *finding == "site ok").count(), 2, "{findings:?}");
        assert!(!findings.iter().any(|finding| finding.starts_with("contract")), "{findings:?}");

        // Without a PIN, what can be seen without one.
        let mut without = Command::new(program("warifu-admin").unwrap());
        without.arg("--agent").arg(play.town.bootstrap("desk")).args(["--json", "doctor"]);
        has(&found(&without.output().unwrap()), "ledger-not-read warning");

        // A site is off, and the ca is: a unit waits for its key.
        play.town.kill("omachi");
        play.town.kill("ca");
        let ordering = play
            .town
            .try_admin_for(Duration::from_secs(15), &["unit", "add", "late", "--name", "遅延課"])
            .unwrap();
        assert!(!ordering.status.success());
        let findings = look(&play);
        for wanted in ["site-bad fault", "ca-behind warning", "unit-waits warning"] {
            has(&findings, wanted);
        }
        for lang in ["ja", "en"] {
            let output = play.town.try_admin(&["--lang", lang, "doctor"]).unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            well_said(&text);
            assert!(text.contains("大町支所") && text.contains("遅延課"), "{text}");
            assert!(text.contains("2210"), "whom to call: {text}");
        }
        play.town.start("ca").unwrap();
        play.restart_site("omachi");
        until("all is well again", Duration::from_secs(30), || {
            Ok(look(&play).iter().all(|finding| finding.ends_with(" ok")))
        })
        .unwrap();

        // The kms is off; then the agent.
        play.town.kill("kms");
        has(&look(&play), "authority-bad fault");
        play.town.kill("desk");
        has(&look(&play), "agent-bad fault");
    });
}
