//! The units for systemd, as systemd itself reads them.

use std::fs;
use std::path::Path;
use std::process::Command;

use warifu_tests::process::program;
use warifu_tests::town::workspace;

/// Unit, and the program that it starts.
const UNITS: [(&str, &str); 4] = [
    ("kms/systemd/warifu-authority.service", "warifu-kms"),
    ("kms/systemd/warifu-site.service", "warifu-kms"),
    ("ca/systemd/warifu-ca.service", "warifu-ca"),
    ("token-agent/systemd/warifu-agent.service", "warifu-agent"),
];
/// The most exposure that systemd's own analysis may find in a service that holds halves: a tenth of its scale is 10.
const EXPOSURE: &str = "--threshold=20";

fn analyze(words: &[&str], unit: &Path) -> String {
    let output = Command::new("systemd-analyze").args(words).arg(unit).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{}: {said}", unit.display());
    said
}

#[test]
fn units_are_sound_and_give_services_little() {
    let folder = tempfile::tempdir().unwrap();
    for (unit, name) in UNITS {
        let text = fs::read_to_string(workspace().join(unit)).unwrap();
        let here = program(name).unwrap();
        let installed = format!("/usr/local/bin/{name}");
        assert!(text.contains(&format!("ExecStart={installed}")), "{unit}");
        let copy = folder.path().join(Path::new(unit).file_name().unwrap());
        fs::write(&copy, text.replace(&installed, &here.display().to_string())).unwrap();
        let said = analyze(&["verify", "--man=no", "--recursive-errors=no"], &copy);
        assert_eq!(said, "", "{unit}");
        if name != "warifu-agent" {
            analyze(&["security", "--offline=true", EXPOSURE, "--no-pager"], &copy);
        }
    }
}
