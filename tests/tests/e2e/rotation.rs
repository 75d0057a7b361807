//! Kms, ca and a site go on with new keys in a town that works (P-4.20): files open as before, at the same card; with a `kill -9`
//! between the order and the switch, too, and another one while the former keys are destroyed.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use warifu_api::client::{Client, ClientError};
use warifu_ledger::key::PublicKey;
use warifu_tests::town::{MEMBER_READERS, READERS, until};
use warifu_virtual_card::readers::private;

use crate::Play;

const PATIENCE: Duration = Duration::from_secs(30);

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// New keys that wait in a service's token.
struct Waiting {
    statement: String,
    fingerprint: String,
}

impl Play {
    /// Makes new keys at a service's console, whether it runs or not; once more makes no others.
    fn rotate(&self, name: &str) -> Waiting {
        let made = || {
            let output = self.town.at_console(name, &["rotate"]).unwrap();
            assert!(output.status.success(), "{name}: {}", text(&output));
            let said = text(&output);
            let word = |word: &str| {
                let line = said.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
                line.unwrap_or_else(|| panic!("no {word} in {said}")).to_owned()
            };
            Waiting { statement: word("statement"), fingerprint: word("fingerprint") }
        };
        let (first, again) = (made(), made());
        assert_eq!(first.fingerprint, again.fingerprint);
        first
    }

    fn order_keys(&self, service: &str, of: &Waiting) -> Output {
        let Waiting { statement, fingerprint } = of;
        let args = ["--lang", "en", "key", "rotate", service, "--statement", statement];
        self.town.try_admin(&[&args[..], &["--fingerprint", fingerprint]].concat()).unwrap()
    }

    /// Whether whoever answers at a service's address holds this key.
    fn answers_with(&self, address: &str, key: PublicKey) -> bool {
        let asked = async {
            let client = Client::new(address, key.0, None).unwrap();
            match client.get::<serde_json::Value>("/v1/status").await {
                Ok(_) | Err(ClientError::Refused { .. }) => true,
                Err(ClientError::NotTrusted { .. }) => false,
                Err(other) => panic!("{other}"),
            }
        };
        tokio::runtime::Runtime::new().unwrap().block_on(asked)
    }

    /// The labels of the private keys with which a service speaks, in its token.
    fn own_private_keys(&self, name: &str) -> Vec<String> {
        let folder = self.path(name);
        let pin = std::fs::read_to_string(folder.join("pin")).unwrap();
        let output = Command::new("pkcs11-tool")
            .args(["--module", "/usr/lib/softhsm/libsofthsm2.so", "--token-label", name, "--login"])
            .args(["--pin", pin.trim(), "--list-objects", "--type", "privkey"])
            .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let labels = said.lines().filter_map(|line| line.trim().strip_prefix("label:")).map(str::trim);
        let ours = |label: &&str| {
            // Others than those that a service speaks with: they stay what they are.
            let stays = ["warifu/sign/root", "warifu/sign/issuing", "warifu/sign/snapshots"].contains(label);
            !stays && (label.starts_with("warifu/sign/") || label.starts_with("warifu/ed25519/"))
        };
        let mut labels: Vec<String> = labels.filter(ours).map(str::to_owned).collect();
        labels.sort();
        labels
    }

    fn dies(&mut self, name: &str) {
        let mut signal = None;
        let died = until("it dies", PATIENCE, || {
            signal = self.town.ended(name)?.and_then(|status| status.signal());
            Ok(signal.is_some())
        });
        assert!(died.is_ok() && signal == Some(9), "{name} lives: {}", self.town.log(name));
    }

    /// It opens at the card that is in. What the former kms stamped counts no more: the sites have to get a stamp of the new one,
    /// which takes a moment.
    fn opens_again(&self, sealed: &Path) {
        until("it opens", PATIENCE, || {
            let (output, out) = self.open("office", sealed, &[]);
            Ok(output.status.success() && std::fs::read(out).is_ok_and(|content| content == b"content"))
        })
        .unwrap();
    }

    /// A member is enrolled, and opens what was sealed before; another one leaves, and every site says so.
    fn all_works(&mut self, label: &str, serial: u32, sealed: &Path) {
        for site in ["honcho", "omachi"] {
            self.town.wait_for_lease(site).unwrap();
        }
        self.town.enroll(label, serial, "常念 蓮", &["--unit", "tax"]).unwrap();
        self.insert(label, "contractor", MEMBER_READERS[1]);
        self.opens("contractor", sealed, b"content");
        self.town.admin(&["member", "revoke", label, "--watch"]).unwrap();
        self.refuses("contractor", sealed);
        self.town.remove(label);
        // Nobody has touched this one.
        self.opens("office", sealed, b"content");
    }
}

/// The labels of what a service speaks with, in either place.
fn labels(name: &str, place: &str) -> Vec<String> {
    let own: &[&str] = match name {
        "kms" => &["ed25519/log", "sign/signing", "sign/tls"],
        "ca" => &["ed25519/cosignatures", "sign/statements", "sign/tls"],
        _ => &["sign/signing", "sign/tls"],
    };
    own.iter().map(|label| format!("warifu/{label}{place}")).collect()
}

#[test]
fn kms_ca_and_a_site_go_on_with_new_keys() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let sealed = play.sealed("list", b"content");
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");

        for name in ["honcho", "kms", "ca"] {
            let before = play.town.tls_key(name).unwrap();
            let waiting = play.rotate(name);
            // Nothing has changed, after a restart neither.
            assert_eq!(play.town.tls_key(name).unwrap(), before);
            if name == "honcho" {
                play.town.kill(name);
                play.restart_site(name);
                let omachi = play.rotate("omachi");
                let refused = play.order_keys("honcho", &omachi);
                assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
                assert!(text(&refused).contains("not signed with the keys"), "{}", text(&refused));
                let joining = play.town.statement("omachi").display().to_string();
                let refused = play.order_keys("omachi", &Waiting { statement: joining, ..omachi });
                assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
            }
            if name == "honcho" {
                // So that there is no other one to go to.
                play.town.stop("omachi");
            }
            let wrong = Waiting { fingerprint: "00".repeat(32), statement: waiting.statement.clone() };
            assert_eq!(play.order_keys(name, &wrong).status.code(), Some(2));
            let ordered = play.order_keys(name, &waiting);
            assert!(ordered.status.success(), "{}\n{}", text(&ordered), play.town.log(name));
            assert!(text(&ordered).contains("goes on with its new keys"), "{}", text(&ordered));
            let goes_on = || Ok(play.town.tls_key(name)? != before);
            let gone_on = until("it goes on with its new keys", PATIENCE, goes_on);
            assert!(gone_on.is_ok(), "{name}: {}\n{}", play.town.log(name), play.town.log("kms"));
            until("the former keys are gone", PATIENCE, || {
                Ok(play.own_private_keys(name) == labels(name, "-2"))
            })
            .unwrap();
            if name != "ca" {
                let address = play.town.address(name).unwrap();
                assert!(play.answers_with(&address, play.town.tls_key(name).unwrap()));
                assert!(!play.answers_with(&address, before), "the former key");
            }
            play.opens_again(&sealed);
            if name == "honcho" {
                play.restart_site("omachi");
            }
            let again = play.order_keys(name, &waiting);
            assert!(text(&again).contains("already"), "{}", text(&again));
        }
        play.all_works("ren", 4001, &sealed);

        // Back in the first place; and the service dies when it has the order and speaks with the old keys still.
        for (name, point) in [
            ("kms", "kms.order.appended"),
            ("ca", "replica.leaves.stored"),
            ("honcho", "replica.leaves.stored"),
        ] {
            let before = play.town.tls_key(name).unwrap();
            let waiting = play.rotate(name);
            // So that its next leaf is the order.
            until("it has all of the ledger", PATIENCE, || {
                let leaves = |service| play.figure(service, "warifu_ledger_leaves");
                Ok(leaves(name) == leaves("kms"))
            })
            .unwrap();
            play.town.stop(name);
            if name == "kms" {
                play.town.start_to_crash(name, point).unwrap();
                let died = play.order_keys(name, &waiting);
                assert!(!died.status.success(), "{}", text(&died));
            } else {
                play.town.start_to_crash(name, point).unwrap();
                let ordered = play.order_keys(name, &waiting);
                assert!(ordered.status.success(), "{}", text(&ordered));
            }
            play.dies(name);
            assert_eq!(play.own_private_keys(name).len(), 2 * labels(name, "").len());
            // Once more while the former keys are destroyed.
            play.town.start_to_crash(name, "replica.former-key.destroyed").unwrap();
            play.dies(name);
            assert_eq!(play.own_private_keys(name).len(), 2 * labels(name, "").len() - 1);
            play.town.start(name).unwrap();
            until("the former keys are gone", PATIENCE, || {
                Ok(play.own_private_keys(name) == labels(name, ""))
            })
            .unwrap();
            assert_ne!(play.town.tls_key(name).unwrap(), before);
            let again = play.order_keys(name, &waiting);
            assert!(again.status.success() && text(&again).contains("already"), "{}", text(&again));
            play.opens_again(&sealed);
        }
        // Who was away when the order came learns of it from the ledger.
        for name in ["ca", "honcho"] {
            let before = play.town.tls_key(name).unwrap();
            let waiting = play.rotate(name);
            play.town.stop(name);
            let ordered = play.order_keys(name, &waiting);
            assert!(ordered.status.success(), "{}", text(&ordered));
            play.town.start(name).unwrap();
            let gone_on =
                until("it goes on with its new keys", PATIENCE, || Ok(play.town.tls_key(name)? != before));
            assert!(gone_on.is_ok(), "{name}: {}\n{}", play.town.log(name), play.town.log("kms"));
        }
        play.all_works("yui", 4002, &sealed);
    });
}
