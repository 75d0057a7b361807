//! What services show to whoever watches them is true, whatever happens in the town; and the page says all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use warifu_tests::process::{program, run};
use warifu_tests::town::{MEMBER_READERS, READERS, SITES, until, workspace};
use warifu_virtual_card::readers::private;

use crate::Play;

const PAGE: &str = "docs/operations/monitoring.md";
const ALERTS: &str = "docs/operations/alerts.yaml";
const SERVICES: [&str; 4] = ["kms", "ca", "honcho", "omachi"];
const PATIENCE: Duration = Duration::from_secs(20);

impl Play {
    /// A service's figures, each by its name and labels as they are written.
    fn figures(&self, service: &str) -> BTreeMap<String, f64> {
        let (status, text) = self.town.watched(service, "/metrics").expect("nobody answers");
        assert_eq!(status, 200);
        assert!(text.trim_end().ends_with("# EOF"), "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    }

    pub(crate) fn figure(&self, service: &str, name: &str) -> f64 {
        self.figures(service).get(name).copied().unwrap_or_default()
    }

    /// Waits until a figure is what it should be.
    fn shows(&self, service: &str, name: &str, right: impl Fn(f64) -> bool) {
        let what = format!("{service}: {name}");
        let shown = until(&what, PATIENCE, || Ok(right(self.figure(service, name))));
        assert!(shown.is_ok(), "{what}: {:#?}", self.figures(service));
    }

    fn ready(&self, service: &str) -> (u16, String) {
        self.town.watched(service, "/readyz").expect("nobody answers")
    }

    fn site_id(&self, label: &str) -> String {
        let list = self.town.admin(&["site", "list", "--json"]).unwrap();
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let row = list.as_array().unwrap().iter().find(|row| row["label"] == label).unwrap();
        row["site"].as_str().unwrap().to_owned()
    }
}

/// All that begins with `warifu_` in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices("warifu_")
        .map(|(at, _)| text[at..].split(|c| !is_of_name(c)).next().unwrap_or_default())
        .collect()
}

#[test]
fn figures_and_readiness_follow_what_happens() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 8);
        let sealed = play.sealed("list", b"content");
        for service in SERVICES {
            until("it is ready", PATIENCE, || Ok(play.ready(service) == (200, "ready\n".to_owned())))
                .unwrap();
            assert_eq!(play.town.watched(service, "/healthz"), Some((200, "alive\n".to_owned())));
            assert_eq!(play.figure(service, "warifu_ready"), 1.0);
            assert_eq!(play.figure(service, "warifu_hsm_failures_total"), 0.0);
        }
        let leaves = play.figure("kms", "warifu_ledger_leaves");
        assert!(leaves > 10.0);
        for service in ["ca", "honcho", "omachi"] {
            play.shows(service, "warifu_ledger_leaves", |folded| folded == leaves);
            play.shows(service, "warifu_kms_connected", |connected| connected == 1.0);
            play.shows(service, "warifu_lease_seconds", |left| left > 0.0 && left <= 8.0);
        }
        play.shows("ca", "warifu_jobs", |jobs| jobs == 0.0);
        for service in ["ca", "kms"] {
            play.shows(service, "warifu_cosigned_leaves", |cosigned| cosigned == leaves);
        }
        for issuer in ["issuing", "root"] {
            let name = format!("warifu_crl_ends_seconds{{issuer=\"{issuer}\"}}");
            play.shows("kms", &name, |at| at > 1.7e9);
        }

        // A file is opened, and a contract ended: a card that is over tries on.
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");
        let partials = |play: &Play| {
            SITES.map(|(site, _)| play.figure(site, "warifu_partials_total")).iter().sum::<f64>()
        };
        assert_eq!(partials(&play), 1.0);
        play.insert("taro", "contractor", MEMBER_READERS[1]);
        play.opens("contractor", &sealed, b"content");
        assert_eq!(partials(&play), 2.0);
        let appended = "warifu_orders_total{outcome=\"appended\"}";
        let before = play.figure("kms", appended);
        play.town.admin(&["contract", "end", "acme", "--watch"]).unwrap();
        assert_eq!(play.figure("kms", appended), before + 1.0);
        play.shows("kms", "warifu_receipts_total", |receipts| receipts == 2.0);
        for (site, _) in SITES {
            play.shows(site, "warifu_receipts_total", |receipts| receipts == 1.0);
        }
        play.refuses("contractor", &sealed);

        // A site whose HSM is gone says so; one that is off has no stream.
        let hsm = play.on_parts_that_break("honcho");
        play.town.kill("omachi");
        play.shows("kms", &format!("warifu_streams{{site=\"{}\"}}", play.site_id("omachi")), |open| {
            open == 0.0
        });
        play.shows("kms", &format!("warifu_streams{{site=\"{}\"}}", play.site_id("honcho")), |open| {
            open == 1.0
        });
        play.opens_in_time("office", &sealed);
        hsm.pull().unwrap();
        play.refuses("office", &sealed);
        play.shows("honcho", "warifu_hsm_failures_total", |failures| failures > 0.0);
        play.shows("honcho", "warifu_refusals_total{reason=\"hsm-unavailable\"}", |refused| refused > 0.0);
        hsm.put_back().unwrap();
        // By now there is something to count of every kind.
        the_page_says_what_there_is(&play);

        // Without the authority, nobody is ready for longer than the lease.
        play.town.kill("kms");
        for service in ["honcho", "ca"] {
            let why = (503, "no-lease\n".to_owned());
            until("it is not ready", PATIENCE, || Ok(play.ready(service) == why)).unwrap();
            assert_eq!(play.figure(service, "warifu_ready"), 0.0);
            assert_eq!(play.figure(service, "warifu_lease_seconds"), 0.0);
            assert_eq!(play.figure(service, "warifu_kms_connected"), 0.0);
        }
        play.town.close();
    });
}

/// Every figure that services show is on the page, and every one on the page, or in an alert, is shown.
fn the_page_says_what_there_is(play: &Play) {
    // A site that is off is like the other one.
    let shown: Vec<String> =
        SERVICES.iter().filter_map(|service| Some(play.town.watched(service, "/metrics")?.1)).collect();
    let page = fs::read_to_string(workspace().join(PAGE)).unwrap();
    let alerts = fs::read_to_string(workspace().join(ALERTS)).unwrap();
    let text = shown.join("\n");
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let families: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    let on_page = names(&page);
    for family in &families {
        let written = ["", "_total", "_info"].map(|suffix| format!("{family}{suffix}"));
        assert!(
            written.iter().any(|name| on_page.contains(name.as_str())),
            "{PAGE} says nothing of {family}"
        );
    }
    for (file, names) in [(PAGE, on_page), (ALERTS, names(&alerts))] {
        assert!(names.len() > 6, "{file}");
        for name in names {
            let family = name.strip_suffix("_total").or(name.strip_suffix("_info")).unwrap_or(name);
            assert!(families.contains(family), "{file} speaks of {name}, and there is none");
        }
    }
}

#[test]
fn logs_are_json_where_that_is_asked_for() {
    let mut site = std::process::Command::new(program("warifu-kms").unwrap());
    site.args(["site", "--config", "/nowhere.toml", "run"]).env("WARIFU_LOG_FORMAT", "json");
    let output = run(site, b"").unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let first = said.lines().next().unwrap();
    let event: serde_json::Value = serde_json::from_str(first).expect(first);
    assert_eq!(event["level"], "ERROR");
    assert!(event["fields"]["error"].as_str().unwrap().contains("/nowhere.toml"), "{first}");
}
