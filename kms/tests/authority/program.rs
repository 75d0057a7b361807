//! The program itself: the console's commands, the ready line, and the farewell.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;
use warifu_api::Client;
use warifu_api::wire::authority::Status;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{Founding, ServiceStatement};

use crate::fixture::*;
use crate::stage::{MODULE, OFFICERS, Stage, softhsm};

fn program(folder: &Path, conf: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warifu-kms"));
    command.args(["authority", "--config"]).arg(folder.join("authority.toml")).stdin(Stdio::null());
    command.env("SOFTHSM2_CONF", conf);
    command
}

fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn ready(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim().strip_prefix("ready ").expect("the ready line").to_owned()
}

/// How many ports a process listens on.
fn ports_of(process: u32) -> usize {
    let listening = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap());
    let listening = listening.concat();
    let sockets = listening.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let inodes: Vec<_> =
        sockets.filter(|row| row[3] == "0A").map(|row| format!("socket:[{}]", row[9])).collect();
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let mut links: Vec<_> = open
        .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .filter(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
        .collect();
    links.sort();
    links.dedup();
    links.len()
}

#[test]
fn init_found_run_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let conf = softhsm(folder);
    let config = format!(
        "data = \"data\"\nlisten = \"127.0.0.1:0\"\naddress = \"kms.example:7443\"\nhelpdesk = \"内線 1234\"\n\
         [hsm]\nmodule = \"{MODULE}\"\ntoken_label = \"kms\"\npin_file = \"pin\"\n"
    );
    std::fs::write(folder.join("authority.toml"), config).unwrap();

    let told = succeeded(&program(folder, &conf).arg("init").output().unwrap());
    assert_eq!(
        succeeded(&program(folder, &conf).arg("init").output().unwrap()),
        told,
        "a second init changes nothing"
    );
    let statement = std::fs::read(folder.join("data/statement.json")).unwrap();
    let statement: Envelope = serde_json::from_slice(&statement).unwrap();
    assert!(told.contains(&format!("fingerprint {}", statement.digest())));
    let keys = statement.statement::<ServiceStatement>().unwrap().keys;
    statement.verify(&keys.signing).unwrap();
    let tls_key = serde_json::to_value(keys.tls).unwrap();
    assert!(told.contains(&format!("tls-key {}\n", tls_key.as_str().unwrap())), "{told}");

    let founding = Founding { kms: keys.clone(), ..founding() };
    let mut envelope = envelope_by_cards(&founding, OFFICERS);
    add_signature(&mut envelope, &key("ca signing"));
    let (file, records) = (folder.join("founding.json"), folder.join("records.json"));
    std::fs::write(&file, serde_json::to_vec(&envelope).unwrap()).unwrap();
    std::fs::write(&records, serde_json::to_vec(&Stage::founding_records()).unwrap()).unwrap();
    let found = |fingerprint: &[&str]| {
        let mut command = program(folder, &conf);
        command.arg("found").arg(&file).args(fingerprint).arg("--records").arg(&records);
        command.output().unwrap()
    };
    let refused = found(&["--fingerprint", &"0".repeat(64)]);
    assert!(!refused.status.success());
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains(&envelope.digest().to_string()), "{why}");
    let refused = found(&[]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("--fingerprint"), "nobody is at a terminal: {why}");
    let told = succeeded(&found(&["--fingerprint", &envelope.digest().to_string()]));
    assert_eq!(told, format!("founded {}\n", envelope.digest()));
    let completed: Envelope = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    completed.verify(&keys.signing).unwrap();

    let mut child = program(folder, &conf).arg("run").stdout(Stdio::piped()).spawn().unwrap();
    let address = ready(&mut child);
    let client = Client::new(address, keys.tls.0, None).unwrap();
    let status: Status = Runtime::new().unwrap().block_on(client.get("/v1/status")).unwrap();
    assert_eq!((status.organization, status.size), (Some(envelope.digest()), 1));
    let second = program(folder, &conf).arg("run").output().unwrap();
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"));

    let stop = |mut child: Child| {
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(0), None), "SIGTERM ends it in good order");
    };
    assert_eq!(ports_of(child.id()), 2, "one for those with keys, one for CRLs, none for everybody");
    stop(child);

    let file = folder.join("authority.toml");
    let public = "[public]\nlisten = \"127.0.0.1:0\"\naddress = \"public.example:443\"\n";
    let config = format!("{}{public}", std::fs::read_to_string(&file).unwrap());
    std::fs::write(&file, config).unwrap();
    let mut child = program(folder, &conf).arg("run").stdout(Stdio::piped()).spawn().unwrap();
    ready(&mut child);
    assert_eq!(ports_of(child.id()), 3);
    stop(child);
}
