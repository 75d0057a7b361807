//! What keeps a service from starting is said at its console, by name; and a PIN that an HSM refused is not shown to it again
//! by a supervisor that starts the service over and over.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use warifu_broken_parts::PullableHsm;
use warifu_tests::process::program;

/// A service that has its keys and was started by nobody yet.
struct Console {
    folder: TempDir,
    hsm: PullableHsm,
    service: &'static str,
    text: String,
    told: String,
}

impl Console {
    /// `settings` is what the configuration has besides `data` and `[hsm]`.
    fn new(service: &'static str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir(path.join("tokens")).unwrap();
        let softhsm = format!("directories.tokendir = {}\n", path.join("tokens").display());
        fs::write(path.join("softhsm2.conf"), softhsm).unwrap();
        let hsm = PullableHsm::build(path).unwrap();
        let text = format!(
            "data = \"data\"\n{settings}\n[hsm]\nmodule = \"pullable.so\"\ntoken_label = \"t\"\npin_file = \"pin\"\n"
        );
        let mut console = Self { folder, hsm, service, text, told: String::new() };
        let output = console.with(&console.text, "init");
        assert!(output.status.success(), "{output:?}");
        console.told = String::from_utf8(output.stdout).unwrap();
        console
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, config: &Path, word: &str) -> Output {
        let (binary, part): (_, &[&str]) = match self.service {
            "ca" => ("warifu-ca", &[]),
            part => (
                "warifu-kms",
                std::slice::from_ref(match part {
                    "authority" => &"authority",
                    _ => &"site",
                }),
            ),
        };
        // It is to end by itself; if it does not, that is a failure of its own.
        let mut command = Command::new("timeout");
        command.arg("30").arg(program(binary).unwrap()).args(part).arg(word).arg("--config").arg(config);
        command.env("SOFTHSM2_CONF", self.path("softhsm2.conf")).env("LC_ALL", "C.UTF-8").output().unwrap()
    }

    fn with(&self, text: &str, word: &str) -> Output {
        let config = self.path("config.toml");
        fs::write(&config, text).unwrap();
        self.command(&config, word)
    }

    /// It does not start; what it says.
    fn refused(&self, text: &str) -> String {
        let output = self.with(text, "run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ended = matches!(output.status.code(), Some(code) if code != 0 && code != 124);
        assert!(ended && output.stdout.is_empty(), "{text}\n{output:?}");
        said
    }
}

fn consoles() -> [Console; 3] {
    let authority =
        Console::new("authority", "listen = \"127.0.0.1:0\"\naddress = \"kms:1\"\nhelpdesk = \"内線\"\n");
    let key = authority.told.lines().find_map(|line| line.strip_prefix("tls-key ")).unwrap().to_owned();
    let kms = format!("[kms]\naddress = \"127.0.0.1:9\"\ntls_key = \"{key}\"\n");
    let ca = Console::new("ca", &kms);
    let organization = "0".repeat(64);
    let settings =
        format!("listen = \"127.0.0.1:0\"\naddress = \"site:1\"\norganization = \"{organization}\"\n{kms}");
    [authority, ca, Console::new("site", &settings)]
}

#[test]
fn where_the_hsm_is_missing_init_makes_no_keys_in_the_place_of_those_in_it() {
    for console in consoles() {
        let statement = console.path("data").join("statement.json");
        let before = fs::read(&statement).unwrap();
        fs::rename(console.path("tokens"), console.path("away")).unwrap();
        fs::create_dir(console.path("tokens")).unwrap();
        let refused = console.with(&console.text, "init");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("no token labelled"), "{said}");
        assert_eq!(fs::read_dir(console.path("tokens")).unwrap().count(), 0, "another token");
        assert_eq!(fs::read(&statement).unwrap(), before, "another statement");
        fs::remove_dir(console.path("tokens")).unwrap();
        fs::rename(console.path("away"), console.path("tokens")).unwrap();
        let again = console.with(&console.text, "init");
        assert_eq!(String::from_utf8(again.stdout).unwrap(), console.told, "other keys");
    }
}

#[test]
fn each_service_names_what_keeps_it_from_starting() {
    for console in consoles() {
        let (service, text) = (console.service, &console.text);
        let nowhere = console.command(&console.path("nowhere.toml"), "run");
        let said = String::from_utf8_lossy(&nowhere.stderr).into_owned();
        assert!(!nowhere.status.success() && said.contains("nowhere.toml"), "{service}: {said}");

        let pin = console.path("pin");
        let database = console.path(&format!("data/{service}.sqlite"));
        let cases: [(&str, String, &str); 7] = [
            ("an unknown key", format!("colour = \"red\"\n{text}"), "colour"),
            ("a wrong type", text.replace("\"data\"", "5"), "invalid type"),
            ("a folder that cannot be made", text.replace("\"data\"", "\"/proc/nothing\""), "/proc/nothing"),
            ("no module", text.replace("pullable.so", "/nowhere/module.so"), "/nowhere/module.so"),
            ("no token", text.replace("token_label = \"t\"", "token_label = \"elsewhere\""), "elsewhere"),
            ("no PIN file", text.replace("\"pin\"", "\"no-pin\""), "no-pin"),
            ("half a configuration", text.replace("token_label = \"t\"\n", ""), "token_label"),
        ];
        for (what, text, named) in &cases {
            let said = console.refused(text);
            assert!(said.contains(named), "{service}, {what}: {said}");
        }
        fs::set_permissions(&pin, fs::Permissions::from_mode(0o644)).unwrap();
        let said = console.refused(text);
        assert!(said.contains(pin.to_str().unwrap()), "{service}: {said}");
        fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();

        // A database that is none: it is named, and left as it is.
        // What a run before left in its write-ahead log would make the file whole again, and belongs to the good one.
        let parts = ["", "-wal", "-shm"].map(|suffix| format!("{}{suffix}", database.display()));
        let aside = |part: &String| format!("{part}.good");
        for part in &parts {
            drop(fs::rename(part, aside(part)));
        }
        let garbage = b"this was a database once\n".repeat(500);
        fs::write(&database, &garbage).unwrap();
        let said = console.refused(text);
        assert!(said.contains(database.to_str().unwrap()), "{service}: {said}");
        assert!(fs::read(&database).unwrap() == garbage, "{service}: the damaged file was changed");
        for part in &parts {
            drop(fs::remove_file(part));
            drop(fs::rename(aside(part), part));
        }

        // Somebody serves the folder already.
        let lock = fs::File::options().create(true).append(true).open(console.path("data/lock")).unwrap();
        lock.lock().unwrap();
        let said = console.refused(text);
        assert!(said.contains(console.path("data").to_str().unwrap()), "{service}: {said}");
        drop(lock);

        if service == "ca" {
            let said = console.refused(text);
            assert!(said.contains("found"), "{service}: {said}");
        } else {
            let taken = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = taken.local_addr().unwrap().to_string();
            let said = console
                .refused(&text.replace("listen = \"127.0.0.1:0\"", &format!("listen = \"{address}\"")));
            assert!(said.contains(&address), "{service}: {said}");
        }
        if service == "site" {
            let organization = format!("organization = \"{}\"\n", "0".repeat(64));
            let said = console.refused(&text.replace(&organization, ""));
            assert!(said.contains("organization"), "{service}: {said}");
            let key = text.lines().find(|line| line.starts_with("tls_key")).unwrap();
            let said = console.refused(&text.replace(key, ""));
            assert!(said.contains("tls_key"), "{service}: {said}");
        }
    }
}

#[test]
fn a_refused_pin_is_shown_once_however_often_a_service_is_started() {
    for console in consoles() {
        let pin = console.path("pin");
        let right = fs::read(&pin).unwrap();
        fs::write(&pin, "not the PIN").unwrap();
        let logins = console.hsm.logins();
        for _ in 0..3 {
            let said = console.refused(&console.text);
            assert!(said.contains("PIN"), "{said}");
        }
        assert_eq!(
            console.hsm.logins(),
            logins + 1,
            "{}: an HSM that counts would be locked",
            console.service
        );
        // Whoever corrects the file has the service show it again.
        fs::write(&pin, "also wrong").unwrap();
        console.refused(&console.text);
        assert_eq!(console.hsm.logins(), logins + 2);
        fs::write(&pin, &right).unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = format!("listen = \"{}\"", taken.local_addr().unwrap());
        // It gets as far as the next fault.
        let said = console.refused(&console.text.replace("listen = \"127.0.0.1:0\"", &listen));
        assert!(!said.contains("PIN"), "{}: {said}", console.service);
        assert_eq!(console.hsm.logins(), logins + 3);
    }
}
