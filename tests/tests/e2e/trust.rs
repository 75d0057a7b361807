//! Two organizations, with no secret and no server in common: one pins the other by its fingerprint, seals to one of its units, and a
//! member there opens it. What answers in the other's place is refused by name.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::Value;
use tempfile::TempDir;
use warifu_api::server::{Limits, serve_anybody};
use warifu_api::tls::public::server_config_of_certificate;
use warifu_tests::town::{SITES, Town, until};
use warifu_virtual_card::readers::{Readers, private};

const PATIENCE: Duration = Duration::from_secs(30);
/// A member's PC in each town.
pub(crate) const OFFICE: usize = 4;
/// What one town needs: the desk, and one PC.
pub(crate) const OF_ONE: usize = OFFICE + 1;

/// 大町市, and the union that it sends to.
pub(crate) struct Two {
    pub(crate) city: Town,
    pub(crate) union: Town,
    pub(crate) folder: TempDir,
}

impl Two {
    pub(crate) fn founded(readers: Readers) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut city = Town::new(&folder.path().join("city"), readers).unwrap();
        city.found_with_sites("大町市", &SITES[..1]).unwrap();
        city.admin(&["unit", "add", "tax", "--name", "税務課"]).unwrap();
        let mut union = city.beside(&folder.path().join("union"), OF_ONE).unwrap();
        union.found_with_sites("北アルプス広域連合", &SITES[..1]).unwrap();
        union.admin(&["unit", "add", "kaigo", "--name", "介護保険課"]).unwrap();
        union.enroll("hanako", 2001, "信濃 花子", &["--unit", "kaigo"]).unwrap();
        for town in [&mut city, &mut union] {
            town.add_agent("office", &[OFFICE], false, &[]).unwrap();
            town.start("office").unwrap();
        }
        Self { city, union, folder }
    }

    fn fingerprint(&self) -> String {
        let told: Value =
            serde_json::from_str(&self.union.admin(&["trust", "fingerprint", "--json"]).unwrap()).unwrap();
        told["fingerprint"].as_str().unwrap().to_owned()
    }

    /// The city's officers pin the union, by a fingerprint that was read out to them.
    fn pin(&mut self, fingerprint: &str) -> std::process::Output {
        self.pin_as("北アルプス広域連合", fingerprint)
    }

    fn pin_as(&mut self, name: &str, fingerprint: &str) -> std::process::Output {
        let address = self.union.public_address().unwrap();
        let words =
            ["trust", "add", &address, "--label", "alps", "--name", name, "--fingerprint", fingerprint];
        self.city.try_admin(&words).unwrap()
    }

    fn listed(&self) -> Value {
        let all: Value =
            serde_json::from_str(&self.city.admin(&["trust", "list", "--json"]).unwrap()).unwrap();
        all[0].clone()
    }

    /// Seals at the city's office, where no card is.
    fn seal(&self, to: &str, out: &Path) -> std::process::Output {
        let plain = self.folder.path().join("list.csv");
        fs::write(&plain, "番号,氏名\n1,安曇野 一\n").unwrap();
        let words = ["--lang", "en", "seal", "-r", to, plain.to_str().unwrap(), "-o", out.to_str().unwrap()];
        self.city.warifu("office", &[&words[..], &["--overwrite"]].concat(), "").unwrap()
    }
}

fn said(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What an organization shows to everybody.
fn shown_by(address: &str) -> String {
    let mut curl = std::process::Command::new("curl");
    let curl = curl.args(["-sSfk", &format!("https://{address}/v1/directory")]).output().unwrap();
    String::from_utf8(curl.stdout).unwrap()
}

/// This directory, with what another key or another time signed.
fn signed_as(directory: &str, other: &str) -> String {
    let mut altered: Value = serde_json::from_str(directory).unwrap();
    let other: Value = serde_json::from_str(other).unwrap();
    altered["statement"]["signatures"] = other["statement"]["signatures"].clone();
    altered.to_string()
}

/// What the city says of the union's directory after its kms has asked for it anew.
fn asks_again(city: &mut Town) {
    city.stop("kms");
    city.start("kms").unwrap();
}

/// Answers at an address as if it were the union: with what is in there, whatever it is.
fn answers_in_its_place(address: &str, answer: Arc<Mutex<String>>) -> std::thread::JoinHandle<()> {
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let key = made.signing_key.serialize_der().try_into().unwrap();
            let config = server_config_of_certificate(vec![made.cert.der().clone()], key).unwrap();
            let shown = async move || answer.lock().unwrap().clone();
            let router = Router::new().route("/v1/directory", get(shown));
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            serve_anybody(listener, config, router, Limits::default(), std::future::pending()).await;
        });
    })
}

#[test]
fn a_file_goes_to_a_unit_of_another_organization_that_officers_have_pinned() {
    private(2 * OF_ONE, |readers| {
        let mut two = Two::founded(readers);
        let sealed = two.folder.path().join("list.csv.age");
        let unknown = two.seal("北アルプス広域連合/介護保険課", &sealed);
        assert!(
            !unknown.status.success() && said(&unknown).contains("No organization called"),
            "{unknown:?}"
        );

        // Read wrongly over the telephone.
        let wrong = two.pin(&"0".repeat(64));
        assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
        assert!(two.listed().is_null(), "nothing was pinned");
        // Members would not tell it from their own town.
        let alike = two.pin_as("大町市", &two.fingerprint());
        assert!(alike.status.code() == Some(1) && said(&alike).contains("大町市"), "{alike:?}");
        let older = shown_by(&two.union.public_address().unwrap());
        two.union.admin(&["unit", "add", "soumu", "--name", "総務課"]).unwrap();
        let pinned = two.pin(&two.fingerprint());
        assert!(pinned.status.success(), "{pinned:?}");
        let row = two.listed();
        assert_eq!((row["label"].as_str(), row["alarm"].is_null()), (Some("alps"), true), "{row}");
        assert!(row["directory_size"].as_u64().is_some_and(|size| size > 1), "{row}");
        let again = two.pin(&two.fingerprint());
        assert!(again.status.success() && said(&again).contains("北アルプス広域連合"), "{again:?}");

        let units = two.city.warifu("office", &["units"], "").unwrap();
        assert!(said(&units).contains("北アルプス広域連合/介護保険課"), "{units:?}");
        for to in ["北アルプス広域連合/介護保険課", "alps/kaigo"] {
            let done = two.seal(to, &sealed);
            assert!(done.status.success(), "{done:?}");
        }
        let elsewhere = two.seal("alps/tax", &sealed);
        assert!(!elsewhere.status.success(), "one's own unit is none of theirs: {elsewhere:?}");

        two.union.insert("hanako", OFFICE).unwrap();
        two.union.wait_for_member_card("office").unwrap();
        let opened = two.folder.path().join("opened.csv");
        let words = ["open", "--pin-stdin", "-o", opened.to_str().unwrap(), sealed.to_str().unwrap()];
        let done = two.union.warifu("office", &words, two.union.pin()).unwrap();
        assert!(done.status.success(), "{done:?}");
        assert_eq!(fs::read(&opened).unwrap(), fs::read(two.folder.path().join("list.csv")).unwrap());

        // Somebody else answers at the union's address: what it shows is another organization's, is not signed by the union's kms, or
        // is older than what was there.
        let (theirs, ours) = (two.union.public_address().unwrap(), two.city.public_address().unwrap());
        let (own, newest) = (shown_by(&ours), shown_by(&theirs));
        two.union.kill("kms");
        let shown = Arc::new(Mutex::new(String::new()));
        let _stranger = answers_in_its_place(&theirs, shown.clone());
        for (lie, alarm) in
            [(own, "other-organization"), (signed_as(&newest, &older), "not-signed"), (older, "downgraded")]
        {
            *shown.lock().unwrap() = lie;
            asks_again(&mut two.city);
            until(alarm, PATIENCE, || Ok(two.listed()["alarm"] == alarm)).unwrap();
            let doctor = two.city.try_admin(&["doctor", "--json"]).unwrap();
            assert!(said(&doctor).contains("trust-alarm"), "{alarm}: {doctor:?}");
            let listed = two.city.admin(&["--lang", "en", "trust", "list"]).unwrap();
            assert!(listed.contains("until 2"), "what was good before counts until it expires: {listed}");
            assert!(two.seal("alps/kaigo", &sealed).status.success());
        }

        // Which it does: nothing takes its place.
        *shown.lock().unwrap() = newest;
        for name in ["kms", "office"] {
            two.city.stop(name);
            two.city.give_clock(name).unwrap();
            two.city.set_clock(name, "+8d").unwrap();
            two.city.start(name).unwrap();
        }
        until("it has expired", PATIENCE, || Ok(two.listed()["trouble"] == "expired")).unwrap();
        let listed = two.city.admin(&["--lang", "en", "trust", "list"]).unwrap();
        assert!(listed.contains("expired"), "{listed}");
        let file = two.folder.path().join("list.csv");
        let words = ["--lang", "en", "send", file.to_str().unwrap(), "--to", "alps/kaigo", "--title", "list"];
        for refused in [two.city.warifu("office", &words, "").unwrap(), two.seal("alps/kaigo", &sealed)] {
            assert_eq!(refused.status.code(), Some(2), "{refused:?}");
            assert!(said(&refused).contains("北アルプス広域連合"), "{refused:?}");
        }

        two.city.admin(&["trust", "end", "alps"]).unwrap();
        let over = two.seal("alps/kaigo", &sealed);
        assert!(!over.status.success() && said(&over).contains("No organization called"), "{over:?}");
    });
}
