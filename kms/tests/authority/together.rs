//! Two authorities in two processes over one database: whoever appends or stamps has the ledger to himself.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use warifu_api::wire::authority::{Appended, StampRequest};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::State;
use warifu_ledger::statement::Stamp;
use warifu_ledger::{Digest, checkpoint};
use warifu_replica::clock::{Clock as _, SystemClock};

use crate::fixture::*;
use crate::stage::{Kms, Stage, staged};
use crate::town::Town;

/// Orders of each task, and stamps of each.
const ORDERS: usize = 15;
const STAMPS: usize = 40;
const TASKS: usize = 3;

/// A process, killed in the end.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The program, with a data folder of this name, and with the stage's token and database.
pub(crate) fn program(stage: &Stage, data: &str) -> Command {
    let folder = stage.config.data.parent().unwrap();
    let file = folder.join(format!("{data}.toml"));
    let (hsm, url) = (&stage.config.hsm, &stage.config.database.as_ref().unwrap().url);
    let config = format!(
        "data = \"{data}\"\nlisten = \"127.0.0.1:0\"\naddress = \"kms.example:7443\"\nhelpdesk = \"内線 1234\"\n\
         [hsm]\nmodule = \"{}\"\ntoken_label = \"{}\"\npin_file = \"pin\"\n[database]\nurl = \"{url}\"\n",
        hsm.module.display(),
        hsm.token_label,
    );
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_warifu-kms"));
    command.args(["authority", "--config"]).arg(file).stdin(Stdio::null());
    command
}

/// One that runs, by the machine's clock, and what people and services see of it.
fn running(stage: &Stage, data: &str) -> (Running, Town) {
    std::fs::create_dir_all(Path::new(&stage.config.data).with_file_name(data)).unwrap();
    let mut child = program(stage, data).arg("run").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("ready ").expect("the ready line").to_owned();
    (Running(child), Town::again(Kms::at(address, stage)))
}

staged! {
    async fn p_5_4_two_processes_append_and_stamp_one_after_the_other(stage) {
        stage.clock.set_wall_ms(SystemClock.wall_ms());
        stage.found().await;
        let (_one, first) = running(&stage, "one");
        first.done([site("main"), site("branch")], TWO).await;
        let (_two, second) = running(&stage, "two");
        let towns = [Arc::new(first), Arc::new(second)];
        let organization = towns[0].organization().await;
        // Orders that come to both at once: what they have seen is in both.
        let mut shared = Vec::new();
        for _ in 0..ORDERS {
            shared.push(towns[1].request([suspend("midori"), resume("midori")], TWO).await);
        }
        let shared = Arc::new(shared);

        let (mut appended, mut stamped) = (Vec::new(), Vec::new());
        for town in &towns {
            for task in 0..TASKS {
                let (town_of_orders, shared) = (town.clone(), shared.clone());
                appended.push(tokio::spawn(async move {
                    let mut appended: Vec<Appended> = Vec::new();
                    for order in shared.iter() {
                        let town = &town_of_orders;
                        match task {
                            0 => appended.push(town.stranger().post("/v1/orders", order).await.unwrap()),
                            _ => appended.push(town.done([suspend("midori"), resume("midori")], TWO).await),
                        }
                    }
                    appended
                }));
                let (service, key_of_kms) = (["ca", "main", "branch"][task], stage.keys.signing);
                let client = town.kms.by(key(&format!("{service} tls")));
                stamped.push(tokio::spawn(async move {
                    let mut stamps = Vec::new();
                    for number in 0..STAMPS {
                        let nonce = Digest::of(format!("{service} {number}").as_bytes());
                        let envelope: Envelope = client.post("/v1/stamps", &StampRequest { nonce }).await.unwrap();
                        stamps.push(envelope.verified::<Stamp>(&key_of_kms).unwrap());
                    }
                    stamps
                }));
            }
        }
        let mut answers = Vec::new();
        for task in appended {
            answers.extend(task.await.unwrap());
        }
        let mut stamps = Vec::new();
        for task in stamped {
            let of_one = task.await.unwrap();
            assert!(of_one.is_sorted_by_key(|stamp| stamp.time), "P-5.3");
            stamps.extend(of_one);
        }

        // With its turn, each folds what the other has appended last.
        let mut ledgers = Vec::new();
        for town in &towns {
            let nonce = Digest::of(b"last");
            let _: Envelope = town.ca().post("/v1/stamps", &StampRequest { nonce }).await.unwrap();
            ledgers.push(town.leaves().await);
        }
        let leaves = &ledgers[0];
        assert!(leaves.iter().map(|leaf| leaf.as_bytes()).eq(ledgers[1].iter().map(|leaf| leaf.as_bytes())));
        let each_once = ORDERS + 2 * (TASKS - 1) * ORDERS;
        assert_eq!(leaves.len(), 2 + each_once, "each order once");
        assert_eq!(answers.len(), 2 * TASKS * ORDERS);
        for answer in answers {
            let leaf = &leaves[usize::try_from(answer.index).unwrap()];
            assert_eq!((leaf.envelope().digest(), leaf.at()), (answer.digest, answer.at));
        }
        let state = leaves[1..].iter().fold(State::found(&leaves[0]).unwrap(), |state, leaf| state.apply(leaf).unwrap());
        for stamp in stamps {
            let signer = checkpoint::Signer::Kms;
            let log = stage.keys.log.unwrap();
            let checkpoint =
                checkpoint::Checkpoint::verify(&stamp.checkpoint, &organization, signer, &log).unwrap();
            state.check_against(&checkpoint).unwrap();
            for (leaf, index) in leaves.iter().zip(0..) {
                if index < checkpoint.size {
                    assert!(leaf.at() <= stamp.time, "a stamp is older than leaf {index}, which it contains");
                } else {
                    assert!(leaf.at() >= stamp.time, "leaf {index} is older than a stamp given before it");
                }
            }
        }
    }
}
