//! What a person's hands can do in a town that runs: put cards in and take them out, restart a PC, start a service,
//! connect an HSM. Everything else is done with the programs themselves.

use std::fs;
use std::io::{BufRead as _, Write as _};

use anyhow::{Context as _, Result, bail};

use crate::town::{DESK_READERS, MEMBER_READERS, PIN, Town};

const WORDS: &str = "out CARD · in CARD (where its owner sits) · in CARD desk · restart-pc · start SERVICE · stop SERVICE · hsm-in SERVICE · hsm-out SERVICE · quit";

/// Leaves everything running, with hands to help, until the person says `quit`.
///
/// # Errors
/// Where standard input or output is gone.
pub fn wait(town: &mut Town) -> Result<()> {
    let programs = std::env::current_exe()?;
    let programs = programs.parent().context("path")?.display();
    let folder = town.folder().display().to_string();
    // Whoever is not root got a user namespace, which has to be entered too.
    let is_root = fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains("4294967295"));
    let user = if is_root { "" } else { " --user --preserve-credentials" };
    println!(
        "\nIn another terminal, as the same user:\n\n  \
         nsenter --target {}{user} --net --mount bash\n  export PATH={programs}:$PATH\n  cd {folder}\n\n  \
         warifu --agent office/run/agent.json status\n  \
         warifu --agent office/run/agent.json open residents.csv.age -o out.csv\n  \
         warifu --agent office/run/agent.json doctor\n  \
         warifu-admin --agent desk/run/agent.json site list\n  \
         warifu-admin --agent desk/run/agent.json member revoke hanako --watch\n  \
         SOFTHSM2_CONF=honcho/softhsm2.conf warifu-admin doctor --config honcho/config.toml\n\n\
         Every enrolled card's PIN is {PIN}. Cards: hanako taro ichiro midori kenji, foreign.\n\
         Services: ca kms honcho omachi, each with its folder and config.toml. Here, type\n  {WORDS}",
        std::process::id()
    );
    let mut line = String::new();
    loop {
        print!("> ");
        std::io::stdout().flush()?;
        line.clear();
        if std::io::stdin().lock().read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["quit"] => return Ok(()),
            [] => {}
            words => match act(town, words) {
                Ok(()) => println!("done"),
                Err(error) => println!("{error:#}"),
            },
        }
    }
}

fn act(town: &mut Town, words: &[&str]) -> Result<()> {
    match words {
        ["out", label] => town.remove(label),
        ["in", label] => town.insert(label, reader_of(label)?)?,
        ["in", label, "desk"] => town.insert(label, DESK_READERS - 1)?,
        ["restart-pc"] => {
            town.readers().restart()?;
            town.stop("office");
            town.start("office")?;
        }
        ["start", service] => town.start(service)?,
        ["stop", service] => town.stop(service),
        ["hsm-in", service] => town.connect_hsm(service)?,
        ["hsm-out", service] => town.disconnect_hsm(service)?,
        _ => bail!("{WORDS}"),
    }
    Ok(())
}

/// The reader in front of whoever has this card.
fn reader_of(label: &str) -> Result<usize> {
    let [office, contractor] = MEMBER_READERS;
    Ok(match label {
        "ichiro" => 0,
        "midori" => 1,
        "kenji" => 2,
        "taro" => contractor,
        "hanako" | "foreign" => office,
        _ => bail!("there is no card {label}"),
    })
}
