//! Programs that know nothing of us use the virtual card as they use a YubiKey: yubico-piv-tool, OpenSC, ykcs11.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use warifu_virtual_card::readers::{self, Readers};
use warifu_virtual_card::{Inserted, TestRoot, VirtualCard, ins};

const DEADLINE: Duration = Duration::from_secs(10);

struct Desk {
    folder: tempfile::TempDir,
    card: VirtualCard,
    root: TestRoot,
    inserted: Option<Inserted>,
    _readers: Readers,
}

impl Desk {
    fn new(readers: Readers) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = TestRoot::open(folder.path()).unwrap();
        let card = VirtualCard::create(&folder.path().join("card.json"), 4711, &root).unwrap();
        let inserted = Some(card.insert(readers.port(0)).unwrap());
        until("the card is seen", || listed().contains("Yes"));
        Self { folder, card, root, inserted, _readers: readers }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, line: &str) -> Output {
        let words: Vec<_> = line.split(' ').filter(|word| !word.is_empty()).collect();
        Command::new(words[0]).args(&words[1..]).current_dir(self.folder.path()).output().expect(line)
    }

    /// Runs a command that must succeed; its standard output and error.
    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "{line}: {text}");
        text
    }

    fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(!output.status.success(), "{line} must fail");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// A key of OpenSSL's imported into `slot` with its certificate: what OpenSC needs to show it.
    fn import(&self, slot: &str) {
        self.ok(&format!("openssl ecparam -name prime256v1 -genkey -noout -out {slot}.key"));
        self.ok(&format!("openssl pkey -in {slot}.key -pubout -out {slot}.pub"));
        self.ok(&format!(
            "openssl req -x509 -new -key {slot}.key -subj /CN=slot-{slot} -days 9 -out {slot}.pem"
        ));
        self.ok(&format!("yubico-piv-tool -a import-key -s {slot} -i {slot}.key"));
        self.ok(&format!("yubico-piv-tool -a import-certificate -s {slot} -i {slot}.pem"));
    }
}

fn listed() -> String {
    let output = Command::new("opensc-tool").arg("-l").output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn library(name: &str) -> String {
    let found = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed")).display().to_string()
}

#[test]
fn wrong_pin_counts_down_and_blocks_for_yubico_piv_tool() {
    readers::private(1, |readers| {
        let desk = Desk::new(readers);
        desk.ok("yubico-piv-tool -a verify-pin -P 123456");
        assert!(desk.fails("yubico-piv-tool -a verify-pin -P 999999").contains("2 tries left"));
        assert!(desk.ok("yubico-piv-tool -a status").contains("PIN tries left:\t2"));
        desk.fails("yubico-piv-tool -a verify-pin -P 999999");
        desk.fails("yubico-piv-tool -a verify-pin -P 999999");
        desk.fails("yubico-piv-tool -a verify-pin -P 123456");
        assert!(desk.ok("yubico-piv-tool -a status").contains("PIN tries left:\t0"));
        desk.ok("yubico-piv-tool -a unblock-pin -P 12345678 -N 654321");
        desk.ok("yubico-piv-tool -a verify-pin -P 654321");
    });
}

#[test]
fn a_blocked_card_is_blocked() {
    readers::private(1, |readers| {
        let desk = Desk::new(readers);
        desk.card.block_pin().unwrap();
        desk.fails("yubico-piv-tool -a verify-pin -P 123456");
    });
}

#[test]
fn a_wrong_management_key_manages_nothing() {
    readers::private(1, |readers| {
        let desk = Desk::new(readers);
        // The lowest bit of a byte of a DES key is parity, and would not make it wrong.
        let wrong = "010203040506070801020304050607080102030405060718";
        desk.fails(&format!("yubico-piv-tool -k{wrong} -a generate -s 9a -A ECCP256 -o pub.pem"));
        assert_eq!(desk.card.seen(ins::GENERATE), 0);
        let new = "0b0c0d0e0f1011120b0c0d0e0f1011120b0c0d0e0f101113";
        desk.ok(&format!("yubico-piv-tool -a set-mgm-key -n {new}"));
        desk.fails("yubico-piv-tool -a generate -s 9a -A ECCP256 -o pub.pem");
        desk.ok(&format!("yubico-piv-tool -k{new} -a generate -s 9a -A ECCP256 -o pub.pem"));
    });
}

#[test]
fn only_generated_p256_keys_are_attested_and_openssl_verifies_the_chain() {
    readers::private(1, |readers| {
        let desk = Desk::new(readers);
        desk.fails("yubico-piv-tool -a generate -s 9a -A RSA2048 -o rsa.pem");
        desk.import("9d");
        desk.fails("yubico-piv-tool -a attest -s 9d");
        desk.fails("yubico-piv-tool -a attest -s 9c");

        desk.ok("yubico-piv-tool -a generate -s 9a -A ECCP256 -o 9a.pub");
        desk.ok("yubico-piv-tool -a attest -s 9a -o attestation.pem");
        desk.ok("yubico-piv-tool -a read-certificate -s f9 -o f9.pem");
        let root = desk.root.certificate_path().display();
        desk.ok(&format!("openssl verify -CAfile {root} -untrusted f9.pem attestation.pem"));
        desk.fails(&format!("openssl verify -CAfile {root} attestation.pem"));
        let attested = desk.ok("openssl x509 -in attestation.pem -noout -pubkey");
        assert_eq!(attested, std::fs::read_to_string(desk.file("9a.pub")).unwrap());
        let text = desk.ok("openssl x509 -in attestation.pem -noout -text");
        for extension in ["41482.3.3", "41482.3.7", "41482.3.8", "41482.3.9", "YubiKey PIV Attestation 9a"] {
            assert!(text.contains(extension), "{extension} in {text}");
        }
    });
}

#[test]
fn yubico_piv_tool_finds_its_way() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        desk.ok("yubico-piv-tool -a set-chuid -a set-ccc");
        desk.import("82");
        let status = desk.ok("yubico-piv-tool -a status");
        for expected in ["Version:\t5.4.3", "Serial Number:\t4711", "CN=slot-82", "PIN tries left:\t3"] {
            assert!(status.contains(expected), "{expected} in {status}");
        }
        desk.ok("yubico-piv-tool -a verify-pin -P 123456 -a test-decipher -s 82 -i 82.pem");

        // Out of the reader it is not there; back in, its keys are.
        desk.inserted = None;
        until("the card is gone", || !listed().contains("Yes"));
        desk.fails("yubico-piv-tool -a status");
        desk.inserted = Some(desk.card.insert(desk._readers.port(0)).unwrap());
        until("the card is back", || listed().contains("Yes"));
        assert!(desk.ok("yubico-piv-tool -a status").contains("CN=slot-82"));
    });
}

#[test]
fn opensc_and_ykcs11_sign_and_derive() {
    readers::private(1, |readers| {
        let desk = Desk::new(readers);
        desk.import("9a");
        desk.import("9d");
        desk.ok("openssl ecparam -name prime256v1 -genkey -noout -out other.key");
        desk.ok("openssl pkey -in other.key -pubout -outform DER -out other.der");
        desk.ok("openssl pkeyutl -derive -inkey other.key -peerkey 9d.pub -out expected.bin");
        std::fs::write(desk.file("digest"), [7; 32]).unwrap();

        for (module, mut agreements) in [("opensc-pkcs11.so", 0), ("libykcs11.so", 1)] {
            let tool = format!("pkcs11-tool --module {} --login --pin 123456", library(module));
            assert!(
                desk.run(&tool.replace("123456", "999999")).status.code() != Some(0),
                "a wrong PIN opens"
            );
            desk.ok(&format!("{tool} --derive --id 03 -m ECDH1-DERIVE -i other.der -o shared.bin"));
            agreements += 1;
            assert_eq!(desk.card.agreements(), agreements);
            let read = |name| std::fs::read(desk.file(name)).unwrap();
            assert_eq!(read("shared.bin"), read("expected.bin"), "{module}");

            desk.ok(&format!("{tool} --sign --id 01 -m ECDSA -f openssl -i digest -o signature"));
            desk.ok("openssl pkeyutl -verify -pubin -inkey 9a.pub -in digest -sigfile signature");
        }
    });
}
