//! `./demo`: the main job with real parts, each step in plain words, checked while it is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use warifu_tests::hands;
use warifu_tests::practice::Broken;
use warifu_tests::process::{end_all, is_shown};
use warifu_tests::residents;
use warifu_tests::town::{MEMBER_READERS, PIN, READERS, SITES, Town, rage, until};
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
    let outcome = match task {
        Task::Play { keep } => play(&folder, keep),
        Task::Practise(broken) => practise(&folder, broken),
    };
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
}

impl Task {
    fn from_arguments() -> Result<Self, String> {
        let words: Vec<String> = std::env::args().skip(1).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => Ok(Self::Play { keep: false }),
            ["--keep"] => Ok(Self::Play { keep: true }),
            ["--practice", name] => match Broken::ALL.into_iter().find(|broken| broken.name() == *name) {
                Some(broken) => Ok(Self::Practise(broken)),
                None => Err(usage()),
            },
            _ => Err(usage()),
        }
    }
}

fn usage() -> String {
    let broken: Vec<&str> = Broken::ALL.iter().map(Broken::name).collect();
    format!("usage: ./demo [--keep | --practice {}]", broken.join("|"))
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

/// Tells the story: numbered steps, and what was seen at each.
struct Teller {
    step: usize,
    started: Instant,
}

impl Teller {
    fn step(&mut self, japanese: &str, english: &str) {
        self.step += 1;
        println!("\n\x1b[1m{:2}. {japanese}\x1b[0m\n    {english}", self.step);
    }

    fn seen(&self, text: impl AsRef<str>) {
        for line in text.as_ref().lines() {
            println!("    \x1b[32m✓\x1b[0m {line}");
        }
    }

    fn said(&self, text: &str) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            println!("    \x1b[2m│\x1b[0m {line}");
        }
    }

    /// Long work, with something that moves.
    fn during<T>(&self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(120));
        let result = work();
        spinner.finish_and_clear();
        result
    }
}

fn play(folder: &Path, keep: bool) -> Result<()> {
    let mut tell = Teller { step: 0, started: Instant::now() };

    tell.step(
        "カードとリーダーを用意します",
        "Readers and PIV cards appear: virtual ones, behind the real reader service.",
    );
    let mut town = Town::new(folder, Readers::start(READERS)?)?;
    tell.seen("three officers' cards are in their readers · セキュリティ担当のカード 3 枚");

    tell.step(
        "ca と kms が、それぞれの HSM に鍵を作ります",
        "The ca and the kms make their keys, each in an HSM token of its own.",
    );
    tell.during("SoftHSM", || town.equip_authorities())?;
    town.open_desk()?;

    tell.step(
        "セキュリティ担当 3 人のカードで組織を設立します",
        "Three officers' cards found the organization; ca and kms verify and sign as well.",
    );
    tell.during("founding", || town.found("北アルプス広域連合"))?;
    tell.seen(format!("founding hash {}…", town.organization().get(..16).unwrap_or_default()));

    tell.step(
        "二つの拠点が加わります",
        "Two sites join, by two officers' order, each a process with its own HSM and database.",
    );
    for (label, name) in SITES {
        tell.during(name, || town.add_site(label, name))?;
        tell.seen(name);
    }
    town.fetch_profile()?;

    tell.step(
        "部署と委託先を作ります",
        "A department and a contractor are created; their keys exist nowhere whole.",
    );
    tell.during("tax", || town.admin(&["unit", "add", "tax", "--name", "税務課"]))?;
    town.admin(&["contract", "open", "acme", "--name", "アクメ株式会社", "--ends", "2099-03-31"])?;
    tell.during("acme", || {
        town.admin(&["unit", "add", "acme-team", "--name", "アクメ 奨学金担当", "--contract", "acme"])
    })?;
    let recipients = [town.recipient("tax")?, town.recipient("acme-team")?];
    for recipient in &recipients {
        tell.seen(recipient);
    }

    tell.step(
        "職員と受託者に、カードを渡します",
        "Two members get cards: the officers sign, ca, kms and sites make the shares.",
    );
    tell.during("hanako", || town.enroll("hanako", 2001, "信濃 花子", &["--unit", "tax"]))?;
    tell.seen("信濃 花子 (税務課)");
    tell.during("taro", || {
        town.enroll("taro", 2002, "委託 太郎", &["--unit", "acme-team", "--contract", "acme"])
    })?;
    tell.seen("委託 太郎 (アクメ株式会社)");
    for (agent, reader) in ["office", "contractor"].into_iter().zip(MEMBER_READERS) {
        town.add_agent(agent, &[reader], false, &[])?;
        town.start(agent)?;
    }

    tell.step(
        "住民 2,000 人の名簿を、普通の rage で暗号化します",
        "A list of 2,000 made-up residents is encrypted by stock rage, given only the two recipients.",
    );
    let list = folder.join("residents.csv");
    fs::write(&list, residents::csv(RESIDENTS))?;
    let sealed = folder.join("residents.csv.age");
    rage(&recipients, &list, &sealed)?;
    let before = fs::read(&sealed)?;
    tell.seen(format!("residents.csv.age, {} bytes", before.len()));

    tell.step(
        "職員のカードを入れ、PIN を一度入力すると、開きます",
        "A member's card goes in, the PIN once, and the file opens.",
    );
    let opened = folder.join("opened.csv");
    let [office, contractor] = MEMBER_READERS;
    town.insert("hanako", office)?;
    card_seen(&town, "office")?;
    export(&town, "office", &sealed, &opened)?;
    ensure!(fs::read(&opened)? == fs::read(&list)?, "what was opened is not what was sealed");
    tell.seen("the same 2,000 residents · 同じ 2,000 人です");
    let shown = view(&town, "office", &sealed)?;
    tell.seen(format!("and in a viewer: {}", shown.display()));

    tell.step(
        "カードを抜くと、開いていたものは消えます",
        "The card comes out: what was open is gone, and the file does not open.",
    );
    let pulled = Instant::now();
    town.remove("hanako");
    until("viewer and plaintext are gone", Duration::from_secs(5), || {
        Ok(!shown.exists() && !is_shown(&shown))
    })?;
    tell.seen(format!("viewer ended, plaintext wiped, after {} ms", pulled.elapsed().as_millis()));
    refused(&tell, &town, "office", &sealed)?;

    tell.step("受託者も開けます", "The contractor's member opens it too.");
    town.insert("taro", contractor)?;
    card_seen(&town, "contractor")?;
    let opened_there = folder.join("opened-there.csv");
    export(&town, "contractor", &sealed, &opened_there)?;
    ensure!(fs::read(&opened_there)? == fs::read(&list)?, "what was opened is not what was sealed");
    tell.seen("the same 2,000 residents · 同じ 2,000 人です");

    tell.step(
        "管理者が契約を終了します",
        "The administrator ends the contract, and every site confirms by name.",
    );
    let receipts =
        town.admin(&["--lang", "ja", "contract", "end", "acme", "--reason", "契約終了", "--watch"])?;
    tell.said(&receipts);
    for (_, name) in SITES {
        ensure!(
            receipts.lines().any(|line| line.contains('✓') && line.contains(name)),
            "no receipt of {name}"
        );
    }

    tell.step(
        "カードは入ったままですが、どの拠点でも開けません",
        "The contractor's card is still in the reader: it opens the file at neither site.",
    );
    for (label, name) in SITES {
        let agent = format!("contractor-{label}");
        town.stop("contractor");
        town.add_agent(&agent, &[contractor], false, &["--site", name])?;
        town.start(&agent)?;
        card_seen(&town, &agent)?;
        println!("    {name}:");
        refused(&tell, &town, &agent, &sealed)?;
        town.stop(&agent);
    }
    town.start("contractor")?;

    tell.step(
        "職員は、これまでどおり開けます",
        "The department's member still opens it. No file was touched.",
    );
    town.insert("hanako", office)?;
    card_seen(&town, "office")?;
    let again = folder.join("again.csv");
    export(&town, "office", &sealed, &again)?;
    ensure!(fs::read(&again)? == fs::read(&list)?, "what was opened is not what was sealed");
    ensure!(fs::read(&sealed)? == before, "the file was touched");
    tell.seen(
        "the same 2,000 residents, the same file, byte for byte · ファイルは 1 バイトも変わっていません",
    );

    println!("\n\x1b[1m終わり · done\x1b[0m ({} s)", tell.started.elapsed().as_secs());
    if keep {
        hands::wait(&mut town)?;
    }
    town.close();
    Ok(())
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

fn card_seen(town: &Town, agent: &str) -> Result<()> {
    town.wait_for_member_card(agent)
}

fn export(town: &Town, agent: &str, sealed: &Path, to: &Path) -> Result<()> {
    let (sealed, to) = (sealed.to_str().context("path")?, to.to_str().context("path")?);
    let output = town.warifu(agent, &["open", "--pin-stdin", "-o", to, sealed], PIN)?;
    ensure!(
        output.status.success(),
        "warifu open: {}{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        town.log(agent)
    );
    Ok(())
}

/// Opens a file in a viewer; where its plaintext is.
fn view(town: &Town, agent: &str, sealed: &Path) -> Result<PathBuf> {
    let sealed = sealed.to_str().context("path")?;
    let output = town.warifu(agent, &["open", "--pin-stdin", "--json", sealed], PIN)?;
    ensure!(output.status.success(), "warifu open: {}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let path = answer.pointer("/files/0/path").and_then(serde_json::Value::as_str).context("no viewer")?;
    ensure!(Path::new(path).exists() && is_shown(Path::new(path)), "{path} is not shown");
    Ok(path.into())
}

/// Tries to open a file, and shows the words of the refusal.
fn refused(tell: &Teller, town: &Town, agent: &str, sealed: &Path) -> Result<()> {
    let out = sealed.with_extension("should-not-be");
    let (sealed, to) = (sealed.to_str().context("path")?, out.to_str().context("path")?);
    let output = town.warifu(agent, &["--lang", "ja", "open", "--pin-stdin", "-o", to, sealed], PIN)?;
    ensure!(!output.status.success() && !out.exists(), "it opened");
    tell.said(&String::from_utf8_lossy(&output.stderr));
    Ok(())
}
