//! A process that holds secrets and runs until it is told to stop.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use warifu_texts::{Sources, Spoken, Texts, help};

use crate::ConsoleError;
use crate::words::CONSOLE;

/// What is logged unless `WARIFU_LOG` says otherwise. The PKCS#11 binding calls it an error when a token lists a mechanism
/// that it has no name for.
const LOGGED: &str = "info,cryptoki::mechanism=off";

/// Files that a service with as many connections as it serves at once may have open.
const FILES: u64 = 5000;

/// How long work under way may take when the process ends.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Switches core dumps off: halves and shares are in memory for the length of a call, and must not reach a disk.
///
/// # Errors
/// [`ConsoleError::System`].
pub fn forbid_core_dumps() -> Result<(), ConsoleError> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable))
        .map_err(|error| ConsoleError::System(error.into()))
}

/// Logs to standard error, as much as `WARIFU_LOG` says (the syntax of `tracing_subscriber`), and one JSON object a line where
/// `WARIFU_LOG_FORMAT` is `json`.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("WARIFU_LOG").unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Set already where a test runs two services in one process.
    let _ = if std::env::var_os("WARIFU_LOG_FORMAT").is_some_and(|format| format == "json") {
        log.json().try_init()
    } else {
        log.with_ansi(io::stderr().is_terminal()).try_init()
    };
}

/// A service's program from its first line to its last: reads the command line, gets ready to hold secrets, does what it is
/// told. What kept it from that is in the log for operators, and last on standard error in the person's language.
pub fn program<C, E>(own: Sources, command: impl FnOnce(C) -> Result<ExitCode, E>) -> ExitCode
where
    C: Parser,
    E: Spoken + Error + From<ConsoleError> + 'static,
{
    let texts = match Texts::load(help::language(), &[CONSOLE, own]) {
        Ok(texts) => texts,
        // No texts, no words.
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let arguments = match help::read(&texts) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let done = forbid_core_dumps().map_err(E::from).and_then(|()| {
        log_to_stderr();
        command(arguments)
    });
    let fault = match done {
        Ok(code) => return code,
        Err(fault) => fault,
    };
    tracing::error!(error = &fault as &dyn Error, "the program ends");
    warifu_texts::complain(&texts, &texts.explain(&fault.message()), None);
    ExitCode::FAILURE
}

/// Says a line on standard output, at once: the operator, or a supervisor, waits for it.
///
/// # Errors
/// [`ConsoleError::System`].
pub fn say(line: &str) -> Result<(), ConsoleError> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).map_err(ConsoleError::System)
}

/// Does what has to wait for others, with threads of its own, which end with it.
///
/// # Errors
/// [`ConsoleError::System`], and those of the work.
pub fn run<T, E: From<ConsoleError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let runtime = Runtime::new().map_err(ConsoleError::System)?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WORK);
    result
}

/// As many connections at once as the operating system allows: what it allows without being asked may be few.
fn open_as_many_files_as_allowed() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
    if limit.maximum.is_some_and(|files| files < FILES) {
        tracing::warn!(
            files = limit.maximum,
            wanted = FILES,
            "few open files are allowed: raise LimitNOFILE"
        );
    }
}

/// Listens, and says so: `ready ADDRESS`, with the port that the operating system chose for port 0.
///
/// # Errors
/// [`ConsoleError::Listen`], [`ConsoleError::System`].
pub async fn listen(address: &str) -> Result<TcpListener, ConsoleError> {
    let listener = bind(address).await?;
    let own = listener
        .local_addr()
        .map_err(|source| ConsoleError::Listen { address: address.to_owned(), source })?;
    say(&format!("ready {own}"))?;
    Ok(listener)
}

/// As [`listen`], and says nothing yet.
///
/// # Errors
/// [`ConsoleError::Listen`].
pub async fn bind(address: &str) -> Result<TcpListener, ConsoleError> {
    open_as_many_files_as_allowed();
    let fault = |source| ConsoleError::Listen { address: address.to_owned(), source };
    TcpListener::bind(address).await.map_err(fault)
}

/// A port on which one listener follows another: whoever comes in between waits for the next.
pub struct Port(std::net::TcpListener);

impl Port {
    /// Keeps the port of this listener.
    ///
    /// # Errors
    /// [`ConsoleError::System`].
    pub fn of(listener: TcpListener) -> Result<Self, ConsoleError> {
        listener.into_std().map(Self).map_err(ConsoleError::System)
    }

    /// A listener on it.
    ///
    /// # Errors
    /// [`ConsoleError::System`].
    pub fn listener(&self) -> Result<TcpListener, ConsoleError> {
        self.0.try_clone().and_then(TcpListener::from_std).map_err(ConsoleError::System)
    }
}

/// Why a service has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// The ledger names other keys than those with which it was started: it is to begin anew with them (P-4.20).
    OtherKeys,
}

/// SIGTERM and SIGINT, from now on.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Begins to listen. Needs a `tokio` runtime.
    ///
    /// # Errors
    /// [`ConsoleError::System`].
    pub fn listen() -> Result<Self, ConsoleError> {
        let listen = |kind| signal(kind).map_err(ConsoleError::System);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Resolves when the process is told to stop.
    pub async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
