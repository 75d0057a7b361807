//! `./demo`: the main job with real parts, each step in plain words, checked while it is told; `./demo w1` and so on: the work
//! of towns that it is for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use warifu_tests::hands;
use warifu_tests::made_up::residents;
use warifu_tests::practice::Broken;
use warifu_tests::process::end_all;
use warifu_tests::scenarios::{Narrator, Scenario, tour};
use warifu_tests::town::{READERS, Town, rage};
use warifu_texts::help::language;
use warifu_virtual_card::readers::Readers;

const RESIDENTS: usize = 2000;

fn main() -> ExitCode {
    let task = match Task::from_arguments() {
        Ok(task) => task,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::FAILURE;
        }
    };
    let folder = std::env::temp_dir().join(format!("warifu-demo-{}", std::process::id()));
    if let Err(error) = clean_up_when_interrupted(folder.clone()) {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    let narrator = Narrator::aloud(language());
    let outcome = narrator.and_then(|narrator| match task {
        Task::Play { keep } => play(&folder, keep, &narrator),
        Task::Practise(broken) => practise(&folder, broken),
        Task::Tell(scenario) => tell(&folder, scenario, &narrator),
    });
    let _ = fs::remove_dir_all(&folder);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n✗ The demonstration stopped here · 実演はここで止まりました\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What to do.
enum Task {
    Play { keep: bool },
    Practise(Broken),
    Tell(Scenario),
}

impl Task {
    fn from_arguments() -> Result<Self, String> {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // Which language, [`language`] finds out.
        let asked = match words.as_slice() {
            [asked @ .., "--lang", "ja" | "en"] => asked,
            asked => asked,
        };
        let named = |name: &str| Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
        let practice = |name: &str| Broken::ALL.into_iter().find(|broken| broken.name() == name);
        match asked {
            [] => Some(Self::Play { keep: false }),
            ["--keep"] => Some(Self::Play { keep: true }),
            ["--practice", name] => practice(name).map(Self::Practise),
            [name] => named(name).map(Self::Tell),
            _ => None,
        }
        .ok_or_else(usage)
    }
}

fn usage() -> String {
    let broken: Vec<&str> = Broken::ALL.iter().map(Broken::name).collect();
    let scenarios: Vec<&str> = Scenario::ALL.into_iter().map(Scenario::name).collect();
    format!(
        "usage: ./demo [{} | --keep | --practice {}] [--lang ja|en]",
        scenarios.join("|"),
        broken.join("|")
    )
}

/// Leaves nothing behind on Ctrl-C either.
fn clean_up_when_interrupted(folder: PathBuf) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut terminate = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        });
        end_all();
        let _ = fs::remove_dir_all(&folder);
        std::process::exit(130);
    });
    Ok(())
}

fn play(folder: &Path, keep: bool, narrator: &Narrator) -> Result<()> {
    let mut town = tour(folder, narrator)?;
    if keep {
        hands::wait(&mut town)?;
    }
    town.close();
    Ok(())
}

/// A town's work, told in the person's language.
fn tell(folder: &Path, scenario: Scenario, narrator: &Narrator) -> Result<()> {
    scenario.play(folder, Readers::start(scenario.readers())?, narrator)
}

/// A town in which something does not work, for whoever wants to find out from the messages alone.
fn practise(folder: &Path, broken: Broken) -> Result<()> {
    println!("\x1b[1m練習\x1b[0m · practice: {}", broken.name());
    let mut town = Town::new(folder, Readers::start(READERS)?)?;
    town.found_and_people()?;
    let list = folder.join("residents.csv");
    fs::write(&list, residents::csv(RESIDENTS))?;
    rage(&[town.recipient("tax")?], &list, &folder.join("residents.csv.age"))?;
    broken.happens(&mut town)?;
    println!(
        "信濃 花子さんは、office のパソコンで residents.csv.age を開こうとしていますが、開けません。\n\
         hanako wants to open residents.csv.age at the PC \"office\", and it does not open."
    );
    hands::wait(&mut town)?;
    town.close();
    Ok(())
}
