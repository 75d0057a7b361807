//! Who may talk to the agent.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use warifu_api::wire::agent::Bootstrap;
use warifu_token_agent::client::{AgentClient, AgentError};
use warifu_virtual_card::readers;

use crate::desk::{Desk, until};

fn ask(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{head}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn only_who_read_the_bootstrap_file_is_answered() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        desk.start_agent();
        let mode = |path: std::path::PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(desk.bootstrap()), mode(desk.path("run"))), (0o600, 0o700));
        let bootstrap: Bootstrap = serde_json::from_slice(&std::fs::read(desk.bootstrap()).unwrap()).unwrap();
        let (address, token) = (bootstrap.address, bootstrap.token);
        assert!(address.starts_with("127.0.0.1:"));
        assert_eq!(token.len(), 64);

        let good = format!("GET /v1/status HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}");
        let answer = ask(&address, &good);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.to_lowercase().contains("cache-control: no-store"), "{answer}");

        let zeroes = "0".repeat(64);
        for (head, status) in [
            (format!("GET /v1/status HTTP/1.1\r\nHost: {address}"), 401),
            (format!("GET /v1/status HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {zeroes}"), 401),
            (
                format!(
                    "GET /v1/status HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}",
                    &token[..63]
                ),
                401,
            ),
            (format!("GET /v1/status HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {token}"), 401),
            (format!("{good}\r\nAuthorization: Bearer {token}"), 401),
            (format!("GET /v1/status HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {token}"), 403),
            (format!("{good}\r\nOrigin: http://{address}"), 403),
            (format!("{good}\r\nOrigin: null"), 403),
            (good.replace("/v1/status", "/v1/nothing"), 404),
            (good.replace("GET", "POST"), 405),
            (
                format!(
                    "{}\r\nContent-Length: 2\r\nContent-Type: text/plain",
                    good.replace("GET /v1/status", "POST /v1/lock")
                ),
                415,
            ),
        ] {
            let answer = ask(&address, &head);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
            assert!(answer.to_lowercase().contains("cache-control: no-store"), "{answer}");
        }
    });
}

#[test]
fn a_runtime_directory_has_one_agent() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        desk.start_agent();
        let second = std::process::Command::new(env!("CARGO_BIN_EXE_warifu-agent"))
            .arg("--profile")
            .arg(desk.path("profile.json"))
            .arg("--runtime-dir")
            .arg(desk.path("run"))
            .output()
            .unwrap();
        assert!(!second.status.success());
        desk.status();
    });
}

#[test]
fn a_profile_is_read_again_and_only_the_same_organizations() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let profile = desk.profile();
        std::fs::rename(desk.path("profile.json"), desk.path("later.json")).unwrap();
        desk.start_agent();
        assert_eq!(desk.status().organization, None);
        std::fs::rename(desk.path("later.json"), desk.path("profile.json")).unwrap();
        desk.signal_agent("-HUP");
        until("the profile is there", || desk.status().organization);
        assert_eq!(desk.runtime.block_on(desk.client().profile()).unwrap(), profile);

        let mut bytes = std::fs::read(desk.path("profile.json")).unwrap();
        let envelope: warifu_ledger::dsse::Envelope = serde_json::from_slice(&bytes).unwrap();
        let mut forged = envelope.clone();
        forged.signatures.clear();
        bytes = serde_json::to_vec(&forged).unwrap();
        std::fs::write(desk.path("profile.json"), bytes).unwrap();
        assert!(desk.runtime.block_on(desk.client().reload_profile()).is_err());

        desk.organization = warifu_ledger::Digest::of(b"another");
        desk.write_profile(profile.kms_address.clone(), profile.sites.clone(), profile.pin_ceiling_ms);
        assert!(desk.runtime.block_on(desk.client().reload_profile()).is_err());
        assert_eq!(desk.runtime.block_on(desk.client().profile()).unwrap(), profile);
    });
}

#[test]
fn a_bootstrap_file_of_somebody_else_gets_no_pin() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let write = |path: &std::path::Path, address: &str| {
        let bootstrap = Bootstrap { address: address.to_owned(), token: "0".repeat(64) };
        std::fs::write(path, serde_json::to_vec(&bootstrap).unwrap()).unwrap();
    };
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let path = folder.path().join("agent.json");
    let read = || AgentClient::from_bootstrap(&path);
    write(&path, &listener.local_addr().unwrap().to_string());
    mode(&path, 0o600);
    assert!(read().is_ok());
    for others in [0o640, 0o604, 0o620, 0o602] {
        mode(&path, others);
        assert!(matches!(read(), Err(AgentError::Bootstrap { .. })), "{others:o}");
    }
    mode(&path, 0o600);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        assert!(matches!(read(), Err(AgentError::Bootstrap { .. })), "another user's");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        // An agent that was killed leaves its file, and its port to whoever comes next.
        let mut squatter = std::process::Command::new("python3")
            .args(["-c", "import os,socket,sys\nos.setuid(65534)\ns=socket.socket()\ns.bind(('127.0.0.1',0))\ns.listen()\nprint(s.getsockname()[1],flush=True)\nc,_=s.accept()\nprint(c.recv(9),flush=True)"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = std::io::BufReader::new(squatter.stdout.take().unwrap());
        let mut port = String::new();
        std::io::BufRead::read_line(&mut said, &mut port).unwrap();
        write(&path, &format!("127.0.0.1:{}", port.trim()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = runtime.block_on(read().unwrap().status());
        assert!(matches!(asked, Err(AgentError::Unreachable { .. })), "{:?}", asked.map(|_| ()));
        drop(runtime);
        let mut heard = String::new();
        said.read_to_string(&mut heard).unwrap();
        squatter.wait().unwrap();
        assert_eq!(heard, "b''\n", "it has heard nothing");
    }
}
