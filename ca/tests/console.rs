//! What the program says at its console when it cannot go on.

use std::process::{Command, Output};

fn ca(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_warifu-ca")).args(arguments).env("WARIFU_LOG", "off").output()
}

#[test]
fn a_fault_is_said_last_in_the_persons_language_with_the_one_thing_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ca.toml");
    let config = config.to_str().unwrap();
    let said = |language: &str| {
        let output = ca(&["run", "--config", config, "--lang", language]).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(
        said("ja"),
        format!(
            "できませんでした: {config} を使えません（ありません）。\n→ ファイルの場所と権限を確かめてください。\n"
        )
    );
    assert_eq!(
        said("en"),
        format!(
            "That did not work: {config} cannot be used (it is not there).\n\
             → Check where the file is, and its permissions.\n"
        )
    );

    let text = "data = \"data\"\n[hsm]\ntoken_label = \"ca\"\npin_file = \"pin\"\ncolour = \"red\"\n";
    std::fs::write(config, text).unwrap();
    let said = said("ja");
    assert!(said.contains("line 5") && said.contains("colour"), "{said}");
    assert!(said.ends_with("\n→ 示された行を直してください。\n"), "{said}");
}

#[test]
fn a_mistake_in_the_command_line_is_said_likewise() {
    let output = ca(&["found", "--lang", "ja", "--fingerprint", "xyz", "founding.json"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("できませんでした: 「--fingerprint <HEX>」の値として「xyz」は使えません。\n→ "),
        "{said}"
    );
    assert!(said.contains("warifu-ca found --help"), "{said}");

    let output = ca(&["--help", "--lang", "ja"]).unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("設定ファイル（TOML） [既定: /etc/warifu/ca.toml]"), "{help}");
    assert!(!help.contains("default") && !help.contains("Options"), "{help}");
}
