//! The sandbox that viewers run in: a PID namespace that ends as a whole, with a private home, no network, no services (over
//! a bus a viewer would hand the file to a program outside, and over the reader service it would use the card), and one
//! folder that it may write to. Sockets can be connected to on a read-only file system, too, so they are hidden.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

const PROGRAM: &str = "bwrap";
/// What opens a file of any kind, in order of preference.
const VIEWERS: [&[&str]; 3] = [&["xdg-open"], &["gio", "open"], &["exo-open"]];
/// What some systems keep in `/run` that is no service: drivers and programs.
const SYSTEM_IN_RUN: [&str; 2] = ["/run/opengl-driver", "/run/current-system"];
/// How long a viewer is watched for failing at once.
const SETTLE: Duration = Duration::from_millis(200);
/// How long the end of a killed sandbox is waited for.
const REAP: Duration = Duration::from_millis(500);
/// How much of a viewer's complaint is kept, in bytes.
const COMPLAINT_LIMIT: usize = 400;

/// Why no viewer runs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// The sandbox program is missing.
    #[error("bubblewrap (bwrap) is not installed")]
    NoSandbox,
    /// The viewer is missing.
    #[error("{program} is not installed")]
    NoViewer {
        /// What was looked for.
        program: String,
    },
    /// It could not be started.
    #[error("the sandbox could not be started")]
    Start(#[source] io::Error),
    /// It ended at once.
    #[error("{complaint}")]
    Ended {
        /// What it said.
        complaint: String,
    },
}

/// The path of the sandbox program, if it is installed.
pub(crate) fn sandbox_program() -> Option<PathBuf> {
    find(PROGRAM)
}

/// Whether this PC lets the sandbox program make the namespaces that viewers run in.
pub(crate) fn sandbox_works(program: &Path) -> bool {
    let words = ["--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--proc", "/proc", "--", "true"];
    let done = std::process::Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    done.is_ok_and(|status| status.success())
}

fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The command that shows files.
#[derive(Debug, Clone)]
pub(crate) struct Viewer {
    command: Vec<String>,
    /// The agent's runtime directory, whose token no viewer shall read.
    hidden: PathBuf,
}

impl Viewer {
    /// The command to which the file's path is appended; none for the desktop's own choice.
    pub(crate) fn new(command: Vec<String>, hidden: PathBuf) -> Self {
        Self { command, hidden }
    }

    fn resolve(&self) -> Result<Vec<String>, SandboxError> {
        let candidates: Vec<Vec<String>> = match self.command.as_slice() {
            [] => VIEWERS.iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect()).collect(),
            command => vec![command.to_vec()],
        };
        let first = |words: &Vec<String>| words.first().cloned().unwrap_or_default();
        let wanted = candidates.first().map(first).unwrap_or_default();
        candidates
            .into_iter()
            .find(|words| find(&first(words)).is_some())
            .ok_or(SandboxError::NoViewer { program: wanted })
    }

    /// Starts the viewer for `file`, which lies in `folder`. Must be called on a thread that lives as long as the
    /// agent (an asynchronous task's, not a blocking one's): the sandbox dies with the thread that started it.
    pub(crate) async fn start(&self, folder: &Path, file: &Path) -> Result<Sandboxed, SandboxError> {
        let sandbox = sandbox_program().ok_or(SandboxError::NoSandbox)?;
        let viewer = self.resolve()?;
        let child = Command::new(sandbox)
            .args(self.arguments(folder, viewer.first().and_then(|program| find(program))))
            .arg("--")
            .args(viewer)
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(SandboxError::Start)?;
        Sandboxed { child }.settled().await
    }

    fn arguments(&self, folder: &Path, program: Option<PathBuf>) -> Vec<OsString> {
        let mut list = Arguments(Vec::new());
        list.words(&[
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-net",
            "--die-with-parent",
            "--new-session",
            "--cap-drop",
            "ALL",
        ]);
        list.words(&["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]);
        list.words(&["--tmpfs", "/run"]);
        for graphics in SYSTEM_IN_RUN {
            list.bind("--ro-bind-try", Path::new(graphics));
        }
        list.words(&["--dev-bind-try", "/dev/dri", "/dev/dri"]);
        list.bind("--ro-bind-try", Path::new("/tmp/.X11-unix"));
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // Sockets of the session lie in the runtime directory: of them all, only the display is needed.
        if let Some(runtime) = set("XDG_RUNTIME_DIR").filter(|path| path.is_dir()) {
            list.path("--tmpfs", &runtime);
            if let Some(display) = set("WAYLAND_DISPLAY") {
                list.bind("--ro-bind-try", &runtime.join(display));
            }
        }
        let home = set("HOME").and_then(|home| home.canonicalize().ok());
        if let Some(home) = home.filter(|home| home.is_dir() && home.parent().is_some()) {
            list.path("--tmpfs", &home);
            if let Some(program) = program.filter(|program| program.starts_with(&home)) {
                list.bind("--ro-bind", &program);
            }
        }
        if let Some(authority) = set("XAUTHORITY") {
            list.bind("--ro-bind-try", &authority);
        }
        if self.hidden.is_dir() {
            list.path("--tmpfs", &self.hidden);
        }
        list.bind("--bind", folder);
        let home = folder.join("home");
        for name in ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            list.words(&["--setenv", name]);
            list.0.push(home.clone().into_os_string());
        }
        list.words(&["--setenv", "TMPDIR", "/tmp", "--unsetenv", "DBUS_SESSION_BUS_ADDRESS"]);
        list.path("--chdir", folder);
        list.0
    }
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn path(&mut self, word: &str, path: &Path) {
        self.0.extend([OsString::from(word), path.as_os_str().to_owned()]);
    }

    /// At the same place inside as outside.
    fn bind(&mut self, word: &str, path: &Path) {
        self.path(word, path);
        self.0.push(path.as_os_str().to_owned());
    }
}

/// A viewer in its sandbox. Dropping it kills it without waiting.
pub(crate) struct Sandboxed {
    child: Child,
}

impl Sandboxed {
    /// Gives the viewer a moment to fail, so that a person is told why.
    async fn settled(mut self) -> Result<Self, SandboxError> {
        let stderr = self.child.stderr.take();
        let complaint = async {
            let mut text = Vec::new();
            if let Some(mut stderr) = stderr {
                let _ = (&mut stderr).take(COMPLAINT_LIMIT as u64).read_to_end(&mut text).await;
                // A pipe that nobody reads would block the viewer.
                tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
            }
            String::from_utf8_lossy(&text).trim().to_owned()
        };
        let complaint = tokio::spawn(complaint);
        match tokio::time::timeout(SETTLE, self.child.wait()).await {
            Ok(Ok(status)) if !status.success() => {
                let said = tokio::time::timeout(SETTLE, complaint).await.ok().and_then(Result::ok);
                let complaint = said.filter(|said| !said.is_empty()).unwrap_or_else(|| status.to_string());
                Err(SandboxError::Ended { complaint })
            }
            Ok(Err(error)) => Err(SandboxError::Start(error)),
            Ok(Ok(_)) | Err(_) => Ok(self),
        }
    }

    /// Returns when everything in the sandbox has ended by itself.
    pub(crate) async fn ended(&mut self) {
        // Fails only for a child that was waited for already, which has ended.
        let _ = self.child.wait().await;
    }

    /// Kills everything in the sandbox and returns when it is gone.
    pub(crate) async fn kill(mut self) {
        let inside = self.inside();
        let _ = self.child.start_kill();
        let gone = async {
            let _ = self.child.wait().await;
            let _ = tokio::task::spawn_blocking(move || inside.iter().for_each(wait_for_end)).await;
        };
        if tokio::time::timeout(REAP, gone).await.is_err() {
            tracing::error!("a viewer did not end in time");
        }
    }

    /// The first process of the PID namespace, which is the sandbox program's child.
    fn inside(&self) -> Vec<OwnedFd> {
        let Some(id) = self.child.id() else { return Vec::new() };
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|child| Pid::from_raw(child.parse().ok()?))
            .filter_map(|child| pidfd_open(child, PidfdFlags::NONBLOCK).ok())
            .collect()
    }
}

/// A process's descriptor is readable once it has ended, and the first of a PID namespace ends last.
fn wait_for_end(process: &OwnedFd) {
    let limit = Timespec::try_from(REAP).ok();
    let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], limit.as_ref());
}
