//! Each test runs in a process of its own, told so by its environment, with a folder and SoftHSM tokens of its own.

use std::path::{Path, PathBuf};

use warifu_broken_parts::Place;

const CHILD: &str = "WARIFU_SITE_TEST_FOLDER";
pub(crate) const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The PKCS#11 module of the test in this folder.
pub(crate) fn module(folder: &Path) -> PathBuf {
    let pullable = folder.join("pullable.so");
    if pullable.exists() { pullable } else { SOFTHSM.into() }
}

/// Runs `body` in a child process: this same test again.
pub(crate) fn run<F: Future<Output = ()>>(test: &str, place: Place, body: impl FnOnce(PathBuf) -> F) {
    assert!(std::path::Path::new(SOFTHSM).exists(), "SoftHSM2 is not installed");
    if let Some(folder) = std::env::var_os(CHILD) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(body(folder.into()));
    }
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let conf = folder.path().join("softhsm2.conf");
    std::fs::write(&conf, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))
        .unwrap();
    let program = std::env::current_exe().unwrap();
    let output = place
        .command(folder.path(), program)
        .unwrap()
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("SOFTHSM2_CONF", conf)
        .env(CHILD, folder.path())
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{test}\n{text}");
}

/// An asynchronous test in a process of its own; it is given its folder.
macro_rules! test {
    (async fn $name:ident($folder:ident) $body:block) => {
        crate::stage::test! { in Default::default(); async fn $name($folder) $body }
    };
    (in $place:expr; async fn $name:ident($folder:ident) $body:block) => {
        #[test]
        fn $name() {
            let path = concat!(module_path!(), "::", stringify!($name));
            let path = path.split_once("::").unwrap().1;
            crate::stage::run(path, $place, |$folder: std::path::PathBuf| async move { $body });
        }
    };
}
pub(crate) use test;
