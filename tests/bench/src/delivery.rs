//! One delivery through the box, by real programs and a real card on a virtual reader, against copying and sealing the same file.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use warifu_tests::process::{must, program};
use warifu_tests::town::{MEMBER_READERS, READERS, Town, rage, until};
use warifu_virtual_card::readers::{Readers, in_private};

use crate::figures::say;

/// Set for the process that runs with readers of its own.
const INSIDE: &str = "WARIFU_BENCH_INSIDE";
const OFFICE: &str = "office";
const SERVICES: [&str; 2] = ["kms", OFFICE];
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the memory of a program is looked at that ends before anybody could ask.
const LOOK: Duration = Duration::from_millis(20);
const GIB: u64 = 1 << 30;
/// How often the file is on the disk at a time: in the box, and on its way to or from there.
const AT_ONCE: u64 = 2;

/// Sends and takes out a file of so many GiB.
pub(crate) fn measure(gib: u64) -> Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        let mut inside = in_private(std::env::current_exe()?);
        inside.args(["delivery", "--gib", &gib.to_string()]).env(INSIDE, "1");
        ensure!(inside.stdin(Stdio::null()).status()?.success(), "it did not go through");
        return Ok(());
    }
    println!("A delivery of {gib} GiB");
    let folder = tempfile::tempdir()?;
    let disk = rustix::fs::statvfs(folder.path())?;
    let (free, wanted) = (disk.f_bavail.saturating_mul(disk.f_frsize), (gib * AT_ONCE + 2) * GIB);
    ensure!(free > wanted, "{} GiB have to be free in {}", wanted / GIB, folder.path().display());
    let mut town = Town::new(folder.path(), Readers::start(READERS)?)?;
    town.found_and_people()?;
    town.insert("hanako", MEMBER_READERS[0])?;
    town.wait_for_member_card(OFFICE)?;
    let measured = through(&mut town, gib * GIB);
    town.close();
    measured
}

fn through(town: &mut Town, bytes: u64) -> Result<()> {
    // Nothing but a length: what is read from it takes no room and costs no disk.
    let plain = town.folder().join("plain");
    File::create(&plain)?.set_len(bytes)?;
    must(town.warifu_command(OFFICE, &["unlock", "--pin-stdin"])?, town.pin().as_bytes())?;

    let copied = timed(|| copy(&plain, &town.folder().join("copied")))?;
    let recipient = town.recipient("tax")?;
    let sealed = timed(|| kept(&town.folder().join("sealed"), |to| rage(&[recipient], &plain, to)))?;
    say("cp, to the disk", &seconds(copied));
    say("rage, to the disk", &seconds(sealed));

    let file = plain.to_str().context("its name")?;
    let words = ["send", "--to", "税務課", file, "--title", "bench", "--yes", "--pin-stdin"];
    let sent = watched(town, &words)?;
    told("warifu send, until it lies in the box", &sent, copied + sealed, "cp and rage");
    let id = the_only_one(town)?;

    let folder = town.folder().join("taken");
    fs::create_dir(&folder)?;
    let got = watched(town, &["inbox", "get", &id, "-o", folder.to_str().context("its name")?])?;
    told("warifu inbox get", &got, copied, "cp");
    fs::remove_dir_all(&folder)?;

    let out = town.folder().join("opened");
    let words = ["inbox", "open", &id, "-o", out.to_str().context("its name")?, "--pin-stdin"];
    let opened = watched(town, &words)?;
    told("warifu inbox open -o", &opened, copied, "cp");
    must(same(&plain, &out), &[]).context("another file than the one that was sent")?;
    fs::remove_file(out)?;
    Ok(())
}

/// What a command took, and the most memory that was resident at a time.
struct Watched {
    took: Duration,
    peaks_mib: Vec<(String, u64)>,
}

fn told(what: &str, watched: &Watched, beside: Duration, of: &str) {
    let times = watched.took.as_secs_f64() / beside.as_secs_f64().max(f64::MIN_POSITIVE);
    say(what, &format!("{}: {times:.2} of {of}", seconds(watched.took)));
    for (name, mib) in &watched.peaks_mib {
        say(&format!("  resident at most, {name}"), &format!("{mib} MiB"));
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}

/// Whatever is written there is on the disk, and then deleted.
fn kept(to: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    write(to)?;
    File::open(to)?.sync_all()?;
    Ok(fs::remove_file(to)?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut cp = Command::new("cp");
    cp.arg("--sparse=never").arg(from).arg(to);
    kept(to, |_| must(cp, &[]).map(drop))
}

fn same(a: &Path, b: &Path) -> Command {
    let mut cmp = Command::new("cmp");
    cmp.arg(a).arg(b);
    cmp
}

/// The delivery that lies in the box.
fn the_only_one(town: &Town) -> Result<String> {
    let mut found = None;
    until("it lies in the box", PATIENCE, || {
        let listed = must(town.warifu_command(OFFICE, &["--json", "inbox"])?, &[])?;
        let listed: Value = serde_json::from_str(&listed)?;
        found = listed.pointer("/deliveries/0/id").and_then(Value::as_str).map(str::to_owned);
        Ok(found.is_some())
    })?;
    found.context("no delivery")
}

/// Runs `warifu` to its end, looking at the memory of all that take part.
fn watched(town: &Town, words: &[&str]) -> Result<Watched> {
    let services = || town.processes().filter(|(name, _)| SERVICES.contains(name));
    for (_, process) in services() {
        // Counting begins anew (proc(5), clear_refs).
        fs::write(format!("/proc/{process}/clear_refs"), "5")?;
    }
    let mut command = town.warifu_command(OFFICE, words)?;
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child =
        command.spawn().with_context(|| format!("{}", program("warifu").unwrap_or_default().display()))?;
    child.stdin.take().context("its input")?.write_all(format!("{}\n", town.pin()).as_bytes())?;
    let of_program = ended(&mut child)?;
    let took = started.elapsed();
    let mut peaks_mib = vec![("warifu".to_owned(), of_program)];
    for (name, process) in services() {
        peaks_mib.push((if name == OFFICE { "agent" } else { name }.to_owned(), peak_mib(process)?));
    }
    Ok(Watched { took, peaks_mib })
}

fn ended(child: &mut Child) -> Result<u64> {
    let mut peak = 0;
    loop {
        // Once it has ended there is nothing to be read.
        peak = peak.max(peak_mib(child.id()).unwrap_or_default());
        if let Some(status) = child.try_wait()? {
            let mut said = String::new();
            if let Some(mut errors) = child.stderr.take() {
                std::io::Read::read_to_string(&mut errors, &mut said)?;
            }
            ensure!(status.success(), "{status}: {said}");
            return Ok(peak);
        }
        std::thread::sleep(LOOK);
    }
}

/// The most that was resident (`VmHWM` of proc(5)).
fn peak_mib(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
}
