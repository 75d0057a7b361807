//! Real processes: started, waited for until they say they are ready, and killed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a service may take to say that it is ready.
const READY: Duration = Duration::from_secs(60);
/// How long a service may take to stop.
const STOPS: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// A program of this workspace, built beside the one that runs.
pub fn program(name: &str) -> Result<PathBuf> {
    let mut folder = std::env::current_exe().context("where this program is")?;
    // target/debug/deps/test or target/debug/program.
    for _ in 0..2 {
        folder.pop();
        let candidate = folder.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!("{name} is not built: run `cargo build --workspace --bins` first, or ./test, which does")
}

/// A command for a program, in a network namespace of this name, if one is named.
pub fn within(namespace: Option<&str>, program: &Path) -> Command {
    let Some(namespace) = namespace else { return Command::new(program) };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// The process ids of all running services: for a program that is interrupted and has to leave nothing behind.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Tells every running service to stop, and kills what does not.
pub fn end_all() {
    let ids = std::mem::take(&mut *RUNNING.lock().unwrap_or_else(PoisonError::into_inner));
    for id in &ids {
        signal(*id, Signal::TERM);
    }
    let deadline = Instant::now() + STOPS;
    let runs = |id: &u32| Path::new("/proc").join(id.to_string()).join("exe").read_link().is_ok();
    while ids.iter().any(runs) && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    for id in &ids {
        signal(*id, Signal::KILL);
    }
}

fn signal(id: u32, signal: Signal) {
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(id, signal);
    }
}

/// A running service.
pub struct Service {
    name: String,
    child: Child,
    log: PathBuf,
    /// Whether it has said that it is ready.
    is_ready: bool,
}

/// How a service is started: again and again with the same words.
#[derive(Clone)]
pub struct Recipe {
    /// A name for its log.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// What its environment has besides `PATH`.
    pub env: Vec<(OsString, OsString)>,
    /// The folder of its log.
    pub logs: PathBuf,
    /// How it says that it is ready.
    pub ready: Ready,
    /// The network namespace it runs in, if not in ours.
    pub inside: Option<String>,
}

/// How a service says that it is ready.
#[derive(Clone)]
pub enum Ready {
    /// A line on standard output that begins with `ready`.
    Line,
    /// This file appears.
    File(PathBuf),
}

impl Recipe {
    /// A command for it, with an environment of its own.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = within(self.inside.as_deref(), &self.program);
        command.args(&self.args).env_clear().envs(self.env.iter().cloned());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Result<Service> {
        let mut service = self.begin()?;
        if !service.is_ready {
            service.kill();
            bail!("{} is not ready:\n{}", self.name, service.log_text());
        }
        Ok(service)
    }

    /// Starts it and waits until it is ready, or has ended: at a crash point that it passes before.
    pub fn begin(&self) -> Result<Service> {
        if let Ready::File(path) = &self.ready {
            let _ = std::fs::remove_file(path);
        }
        let log = self.logs.join(format!("{}.log", self.name));
        let errors = File::options().create(true).append(true).open(&log).context("log")?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().with_context(|| format!("starting {}", self.name))?;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id());
        let output = child.stdout.take().context("its standard output")?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Nobody listens once it is ready; reading on keeps the pipe from filling.
                let _ = sender.send(line);
            }
        });
        let mut service = Service { name: self.name.clone(), child, log, is_ready: false };
        let deadline = Instant::now() + READY;
        while !service.is_ready && Instant::now() < deadline && matches!(service.child.try_wait(), Ok(None)) {
            let line = receiver.recv_timeout(POLL).ok();
            service.is_ready = match &self.ready {
                Ready::Line => line.is_some_and(|line| line.starts_with("ready")),
                Ready::File(path) => path.exists(),
            };
        }
        Ok(service)
    }
}

impl Service {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.child.id());
    }

    /// Tells it to stop (SIGTERM), and waits until it is gone; kills it if it does not go.
    pub fn stop(&mut self) {
        signal(self.child.id(), Signal::TERM);
        let deadline = Instant::now() + STOPS;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        self.kill();
    }

    /// Sends a signal and waits for its end.
    pub fn signalled(mut self, with: Signal) -> Result<ExitStatus> {
        let deadline = Instant::now() + STOPS;
        loop {
            // Again and again: Rust's runtime lets the first SIGSEGV pass that no access to memory has caused.
            signal(self.child.id(), with);
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} does not end", self.name);
            }
            std::thread::sleep(POLL);
        }
    }

    /// What it wrote on standard error.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a command to its end with `input` on standard input.
pub fn run(mut command: Command, input: &[u8]) -> Result<Output> {
    let name = Path::new(command.get_program()).file_name().unwrap_or(OsStr::new("?")).to_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {}", name.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input closes it early.
        let _ = stdin.write_all(input);
    }
    child.wait_with_output().with_context(|| format!("waiting for {}", name.display()))
}

/// Runs a command that has to succeed; its standard output.
pub fn must(command: Command, input: &[u8]) -> Result<String> {
    let words = format!("{command:?}");
    let output = run(command, input)?;
    if !output.status.success() {
        bail!(
            "{words}\n{}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8(output.stdout).context("its output")
}

/// Whether a process of this machine has this path on its command line: a viewer that shows it.
#[must_use]
pub fn is_shown(path: &Path) -> bool {
    let needle = path.as_os_str().as_encoded_bytes();
    shows(|word| word == needle)
}

/// Whether a process of this machine has a word like this on its command line.
#[must_use]
pub fn shows(is_it: impl Fn(&[u8]) -> bool) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        std::fs::read(process.path().join("cmdline"))
            .is_ok_and(|words| words.split(|byte| *byte == 0).any(&is_it))
    })
}
