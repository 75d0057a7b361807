//! Virtual readers: a pcscd of one's own, and a place to run it.
//!
//! There is one pcscd to a `/run/pcscd`, and vpcd listens on every network interface. So [`Readers::start`] runs only in
//! private network and mount namespaces, which [`private`] gives to each test and the script `with-readers` to any
//! command.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Set by `with-readers` for the command it runs.
const MARK: &str = "WARIFU_READERS";
/// Set by [`private`] to the name of the one test that runs inside.
const TEST: &str = "WARIFU_READERS_TEST";
const WITH_READERS: &str = include_str!("../with-readers");

const FRIENDLY_NAME: &str = "Yubico YubiKey OTP+FIDO+CCID";
/// Below the ports that the kernel gives out by itself: a card that looks for its reader would find itself there.
const FIRST_PORT: u16 = 25_963;
const SLOTS_PER_ENTRY: usize = 2;
/// pcscd's own limit is 16 readers.
const MOST_READERS: usize = 16;
const PCSCD: &str = "/usr/sbin/pcscd";
const RUN: &str = "/run/pcscd";
const DRIVERS: [&str; 2] =
    ["/usr/lib/pcsc/drivers/serial/libifdvpcd.so", "/usr/lib/pcsc/drivers/serial/libifdvpcd.so.0"];
const START_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Kills pcscd when its standard input ends, that is also when the process that wanted the readers is killed.
const SUPERVISOR: &str = r#"
"$@" </dev/null &
trap 'kill -KILL $!; wait $! 2>/dev/null' EXIT
read -r _ || true
"#;

/// Why there are no virtual readers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadersError {
    /// More readers than pcscd has room for.
    #[error("{count} virtual readers were asked for, and at most {MOST_READERS} are possible")]
    Count {
        /// The number asked for.
        count: usize,
    },
    /// The process is not in namespaces of its own.
    #[error("virtual readers need a private network and /run/pcscd: run the command by way of with-readers")]
    NotPrivate,
    /// Debian's package `vsmartcard-vpcd` is missing.
    #[error("the virtual reader driver is missing: install the package vsmartcard-vpcd")]
    NoDriver,
    /// A file could not be written or a process not started.
    #[error("the reader service cannot be started")]
    Start(#[from] io::Error),
    /// pcscd did not show its readers in time; its output is attached.
    #[error("pcscd did not show its {count} readers in time: {output}")]
    NotReady {
        /// The number of readers asked for.
        count: usize,
        /// What pcscd printed.
        output: String,
    },
}

/// A running pcscd with virtual readers. Dropping it ends pcscd.
pub struct Readers {
    folder: TempDir,
    count: usize,
    daemon: Option<Child>,
}

impl Readers {
    /// Writes a configuration with `count` virtual readers (at most 16; none is a PC without readers) and starts pcscd with
    /// it. Returns when PC/SC lists them all.
    pub fn start(count: usize) -> Result<Self, ReadersError> {
        if count > MOST_READERS {
            return Err(ReadersError::Count { count });
        }
        if std::env::var_os(MARK).is_none_or(|mark| mark != "private") {
            return Err(ReadersError::NotPrivate);
        }
        let driver = DRIVERS.iter().map(PathBuf::from).find(|path| path.exists());
        let driver = driver.ok_or(ReadersError::NoDriver)?;
        let folder = tempfile::tempdir()?;
        let entries = count.div_ceil(SLOTS_PER_ENTRY);
        let mut configuration = String::new();
        for entry in 0..entries {
            // Two entries with the same library path deadlock pcscd.
            let library = folder.path().join(format!("libifdvpcd-{entry}.so"));
            fs::copy(&driver, &library)?;
            let port = port_of(entry * SLOTS_PER_ENTRY);
            configuration.push_str(&format!(
                "FRIENDLYNAME \"{}\"\nDEVICENAME /dev/null:{port}\nLIBPATH {}\nCHANNELID {port}\n\n",
                friendly_name(entry),
                library.display(),
            ));
        }
        let conf = folder.path().join("reader.conf.d");
        fs::create_dir(&conf)?;
        fs::write(conf.join("virtual.conf"), configuration)?;
        let mut readers = Self { folder, count, daemon: None };
        readers.restart()?;
        Ok(readers)
    }

    /// How many readers there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The TCP port of a reader, counted from 0: what [`crate::VirtualCard::insert`] wants.
    pub fn port(&self, reader: usize) -> u16 {
        port_of(reader)
    }

    /// The PC/SC name of a reader, counted from 0.
    pub fn name(&self, reader: usize) -> String {
        format!("{} 00 {:02X}", friendly_name(reader / SLOTS_PER_ENTRY), reader % SLOTS_PER_ENTRY)
    }

    /// Kills pcscd (SIGKILL). Cards stay where they are and are in their readers again after [`Readers::restart`].
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.stdin.take());
            // Waiting cannot fail for a child that nobody else waits for.
            let _ = daemon.wait();
        }
    }

    /// Starts pcscd, killing a running one first. Returns when PC/SC lists all readers.
    pub fn restart(&mut self) -> Result<(), ReadersError> {
        self.kill();
        for left_over in ["pcscd.comm", "pcscd.pid"] {
            match fs::remove_file(PathBuf::from(RUN).join(left_over)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        let deadline = Instant::now() + START_DEADLINE;
        // The previous daemon's ports are free once the kernel has buried it.
        for reader in 0..self.count.next_multiple_of(SLOTS_PER_ENTRY) {
            while let Err(error) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port_of(reader))) {
                if Instant::now() > deadline {
                    return Err(error.into());
                }
                std::thread::sleep(POLL);
            }
        }
        let log = self.folder.path().join("pcscd.log");
        let output = fs::File::create(&log)?;
        let daemon = Command::new("sh")
            .args(["-c", SUPERVISOR, "pcscd-supervisor", PCSCD, "--foreground", "--error", "--config"])
            .arg(self.folder.path().join("reader.conf.d"))
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        self.daemon = Some(daemon);
        while self.listed().is_none_or(|listed| listed < self.count) {
            if Instant::now() > deadline {
                let output = fs::read_to_string(&log).unwrap_or_default();
                return Err(ReadersError::NotReady { count: self.count, output });
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// How many of our readers PC/SC lists now; none where the service does not answer.
    fn listed(&self) -> Option<usize> {
        let context = pcsc::Context::establish(pcsc::Scope::User).ok()?;
        // Fails where there is no reader.
        let names = context.list_readers_owned().unwrap_or_default();
        let is_listed =
            |reader: &usize| names.iter().any(|name| name.to_bytes() == self.name(*reader).as_bytes());
        Some((0..self.count).filter(is_listed).count())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.kill();
    }
}

/// pcscd counts readers up only within one library path, so that equal names would collide.
fn friendly_name(entry: usize) -> String {
    match entry {
        0 => FRIENDLY_NAME.to_owned(),
        _ => format!("{FRIENDLY_NAME} [{}]", entry + 1),
    }
}

fn port_of(reader: usize) -> u16 {
    // `reader` is below 16.
    FIRST_PORT + u16::try_from(reader).unwrap_or_default()
}

/// A command that will run in private namespaces, by way of `with-readers`.
pub fn in_private(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", WITH_READERS, "with-readers"]).arg(program);
    command
}

/// For tests: runs `body` with `count` virtual readers, in namespaces and with a pcscd of its own.
///
/// The test binary runs itself again, by way of `with-readers`, for this one test, which is known by the type of
/// `body`: **`body` must be a closure written in the `#[test]` function itself.**
///
/// # Panics
/// Where the readers cannot be started, or the test fails inside.
pub fn private<F: FnOnce(Readers)>(count: usize, body: F) {
    let test = test_name::<F>();
    if std::env::var_os(TEST).is_some_and(|inside| inside == test) {
        match Readers::start(count) {
            Ok(readers) => return body(readers),
            Err(error) => fail(&format!("{error}: {error:?}")),
        }
    }
    match run_again(test) {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("inside the private namespaces: {status}")),
        Err(error) => fail(&format!("the test cannot run itself again: {error}")),
    }
}

fn run_again(test: &str) -> io::Result<ExitStatus> {
    let output = in_private(std::env::current_exe()?)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(TEST, test)
        .stdin(Stdio::null())
        .output()?;
    // Through the macros, so that the outer test's output is captured like any other's.
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    if output.status.success()
        && !String::from_utf8_lossy(&output.stdout).contains("test result: ok. 1 passed")
    {
        return Err(io::Error::other(format!("no test is called {test}")));
    }
    Ok(output.status)
}

/// `crate::module::test::{{closure}}` without crate and closure.
fn test_name<F>() -> &'static str {
    let full = std::any::type_name::<F>();
    let path = full.split_once("::").map_or(full, |(_, path)| path);
    path.strip_suffix("::{{closure}}").unwrap_or(path)
}

#[allow(clippy::panic, reason = "a test's way to fail")]
fn fail(why: &str) -> ! {
    panic!("{why}")
}
