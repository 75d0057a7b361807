//! Other people's software: OpenSSL, GnuTLS, rustls-webpki.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

fn run(program: &str, folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).env("TZ", "UTC").current_dir(folder).output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// Runs a tool of `openssl` on files, and has it succeed.
pub(crate) fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let (success, text) = run("openssl", folder, arguments);
    assert!(success, "openssl {arguments:?}: {text}");
    text
}

pub(crate) fn pem(folder: &Path, name: &str, der: &[u8]) {
    std::fs::write(folder.join("der"), der).unwrap();
    openssl(folder, &["x509", "-inform", "der", "-in", "der", "-out", name]);
}

pub(crate) fn crl_pem(folder: &Path, name: &str, der: &[u8]) {
    std::fs::write(folder.join("der"), der).unwrap();
    openssl(folder, &["crl", "-inform", "der", "-in", "der", "-out", name]);
}

/// What OpenSSL thinks of `leaf.pem` under `issuing.pem` and `root.pem`, with `ca.crl.pem` and `root.crl.pem`, at a time in
/// seconds.
pub(crate) fn openssl_judges(folder: &Path, seconds: u64, purpose: &str) -> (bool, String) {
    let time = seconds.to_string();
    let all: Vec<u8> = ["ca.crl.pem", "root.crl.pem"]
        .iter()
        .flat_map(|name| std::fs::read(folder.join(name)).unwrap())
        .collect();
    std::fs::write(folder.join("crls.pem"), all).unwrap();
    let mut arguments =
        vec!["verify", "-x509_strict", "-crl_check_all", "-attime", &time, "-CAfile", "root.pem"];
    arguments.extend(["-CRLfile", "crls.pem", "-untrusted", "issuing.pem"]);
    if !purpose.is_empty() {
        arguments.extend(["-purpose", purpose]);
    }
    arguments.push("leaf.pem");
    run("openssl", folder, &arguments)
}

/// What OpenSSL and GnuTLS think of the same: none if it is good, else why not. They have to agree.
pub(crate) fn judged(folder: &Path, seconds: u64, purpose: &str) -> Option<String> {
    let (good, openssl_said) = openssl_judges(folder, seconds, purpose);

    let chain: Vec<u8> = ["leaf.pem", "issuing.pem"]
        .iter()
        .flat_map(|name| std::fs::read(folder.join(name)).unwrap())
        .collect();
    std::fs::write(folder.join("chain.pem"), chain).unwrap();
    let certtool =
        ["-f", &format!("@{}", date(folder, seconds)), "certtool", "--verify", "--infile", "chain.pem"];
    let roots = ["--load-ca-certificate", "root.pem", "--load-crl", "crls.pem"];
    let (also_good, certtool_said) = run("faketime", folder, &[&certtool[..], &roots[..]].concat());
    assert_eq!(good, also_good, "they do not agree.\nopenssl: {openssl_said}\ncerttool: {certtool_said}");
    (!good).then(|| format!("{openssl_said}{certtool_said}"))
}

/// What rustls-webpki thinks of a chain (DER, the root last) as a client's, or as a server's under its name, with CRLs for all of
/// it, at a time in seconds.
pub(crate) fn webpki_judges(
    chain: &[Vec<u8>],
    crls: [Vec<u8>; 2],
    server_name: Option<&str>,
    seconds: u64,
) -> Result<(), rustls::Error> {
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::server::WebPkiClientVerifier;
    let mut roots = RootCertStore::empty();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let ders: Vec<CertificateDer<'static>> = chain.iter().map(|der| der.clone().into()).collect();
    let [leaf, issuing, root] = ders.as_slice() else { panic!("a chain of {}", chain.len()) };
    roots.add(root.clone()).unwrap();
    let roots = Arc::new(roots);
    let crls = crls.into_iter().map(Into::into);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let above = [issuing.clone()];
    match server_name {
        Some(name) => {
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .with_crls(crls)
                .enforce_revocation_expiration();
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.build().unwrap().verify_server_cert(leaf, &above, &name, &[], now).map(drop)
        }
        None => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .with_crls(crls)
                .enforce_revocation_expiration();
            verifier.build().unwrap().verify_client_cert(leaf, &above, now).map(drop)
        }
    }
}

fn date(folder: &Path, seconds: u64) -> String {
    run("date", folder, &["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%d %H:%M:%S"]).1.trim().to_owned()
}

/// Whether GnuTLS takes a CRL (PEM) as this certificate's, at a time in seconds.
pub(crate) fn certtool_takes_crl(folder: &Path, seconds: u64, crl: &str, certificate: &str) -> bool {
    let at = format!("@{}", date(folder, seconds));
    let arguments =
        ["-f", &at, "certtool", "--verify-crl", "--infile", crl, "--load-ca-certificate", certificate];
    let (success, text) = run("faketime", folder, &arguments);
    success && !text.contains("Not verified")
}
