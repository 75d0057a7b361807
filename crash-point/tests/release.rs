//! A release build has no crash points: nobody who can set a service's environment stops it at a place of his choosing.

#![allow(clippy::expect_used, reason = "helpers of tests, which clippy does not know as such")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Compiles this crate, or what uses it, as a release build does or as a debug build, without what it depends on.
fn compiled(source: &Path, to: &Path, debug_assertions: bool, more: &[&str]) -> Output {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let assertions = if debug_assertions { "on" } else { "off" };
    Command::new(rustc)
        .args(["--edition=2024", "-C", &format!("debug-assertions={assertions}"), "-o"])
        .arg(to)
        .args(more)
        .arg(source)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name != "RUSTFLAGS"))
        .output()
        .expect("rustc runs")
}

#[test]
fn a_release_build_has_no_crash_points() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let rlib = folder.join("libwarifu_crash_point.rlib");
    let as_library = ["--crate-type=rlib", "--crate-name=warifu_crash_point"];

    // What reads the environment and kills needs another crate, which is not given here.
    let debug = compiled(&library, &folder.join("libdebug.rlib"), true, &as_library);
    assert!(!debug.status.success(), "this test sees nothing");
    let release = compiled(&library, &rlib, false, &as_library);
    assert!(release.status.success(), "{}", String::from_utf8_lossy(&release.stderr));

    let program = |name: &str, text: &str| {
        let source = folder.join(format!("{name}.rs"));
        std::fs::write(&source, text).expect("a source is written");
        let extern_ = format!("warifu_crash_point={}", rlib.display());
        (folder.join(name), compiled(&source, &folder.join(name), false, &["--extern", &extern_]))
    };
    let (_, drives) = program("drives", "fn main() { warifu_crash_point::rehearsal::watch() }");
    assert!(!drives.status.success(), "a release build can be driven");
    let passes = "use warifu_crash_point::{CrashPoint, reached_blocking};\n\
                  fn main() { CrashPoint::ALL.iter().for_each(|point| reached_blocking(*point)); print!(\"alive\") }";
    let (passes, compiled) = program("passes", passes);
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let named = Command::new(passes).env("WARIFU_CRASH_AT", "kms.order.checked").output().expect("it runs");
    assert!(named.status.success() && named.stdout == b"alive", "{named:?}");
}

#[test]
fn the_release_profile_does_not_turn_them_on() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let manifest = std::fs::read_to_string(workspace).expect("the workspace's manifest");
    assert!(!manifest.contains("debug-assertions"), "a profile changes what a release build has");
}
