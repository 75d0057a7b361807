//! `warifu-kills`: real `kill -9` on the real processes of a whole town. See docs/testing/kills.md.

use std::process::{ExitCode, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use warifu_tests::kills::{Plan, READERS, run_kills};
use warifu_virtual_card::readers::{Readers, in_private};

const USAGE: &str = "warifu-kills [--kills N] [--seed S], or --one OPERATION:PROCESS:POINT";
/// Set for the process that runs with readers of its own.
const INSIDE: &str = "WARIFU_KILLS_INSIDE";

fn main() -> ExitCode {
    match play() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result<ExitCode> {
    let (told, plan) = arguments()?;
    if std::env::var_os(INSIDE).is_none() {
        let status = in_private(std::env::current_exe()?)
            .args(&told)
            .env(INSIDE, "1")
            .stdin(Stdio::null())
            .status()?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    println!("warifu-kills {}", told.join(" "));
    let folder = std::env::temp_dir().join(format!("warifu-kills-{}", std::process::id()));
    let began = Instant::now();
    let outcome = run_kills(&folder, Readers::start(READERS)?, plan, &mut |line| println!("{line}"));
    let report = outcome.with_context(|| format!("the town is left in {}", folder.display()))?;
    std::fs::remove_dir_all(&folder)?;
    println!("\nWhat people read:");
    for words in &report.words {
        println!("  {}", words.replace('\n', "\n  "));
    }
    println!();
    for ((operation, victim), count) in &report.by {
        println!("{operation:?}  {victim}  {count}");
    }
    println!(
        "\n{} kills, {} points, {} commands succeeded all the same, {} s",
        report.kills,
        report.points.len(),
        report.unharmed,
        began.elapsed().as_secs()
    );
    Ok(ExitCode::SUCCESS)
}

/// What was asked for, with the seed in it, and the plan.
fn arguments() -> Result<(Vec<String>, Plan)> {
    let mut kills = 200;
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} wants a number"))?;
        match word.as_str() {
            "--kills" => kills = value.parse()?,
            "--seed" => seed = value.parse()?,
            "--one" => return Ok((vec![word, value.clone()], Plan::one(&value).context(USAGE)?)),
            _ => bail!(USAGE),
        }
    }
    let told = ["--kills".to_owned(), kills.to_string(), "--seed".to_owned(), seed.to_string()];
    Ok((told.into(), Plan::new(kills, seed)))
}
