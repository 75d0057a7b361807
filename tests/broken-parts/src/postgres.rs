//! A PostgreSQL server of one's own, which can be killed and started again. It listens on a socket in a folder in memory, and
//! ends with the process that made it, however that ends.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What runs beside the server, as the user who may run it: it does what it is told on its standard input, and when that ends
/// it takes everything away.
const KEEPER: &str = r#"
bin=$1 data=$2/data server=
while read -r word; do
    case $word in
    start) "$bin/postgres" -D "$data" >>"$2/log" 2>&1 & server=$!; echo started ;;
    kill) kill -KILL $server; wait $server 2>>"$2/log"; echo killed ;;
    esac
done
kill -QUIT $server; wait $server 2>/dev/null
until rm -rf "$2"; do :; done
"#;

/// As in production but for the disk, which is memory: everything is on it when it is said to be.
const SETTINGS: &str = "
listen_addresses = ''
max_connections = 300
shared_buffers = 32MB
max_wal_size = 64MB
min_wal_size = 32MB
log_min_messages = warning
";

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, and its databases.
pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    keeper: Mutex<Keeper>,
    databases: AtomicU32,
}

struct Keeper {
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
    // Not waited for: it outlives this process by as long as it takes to tidy up.
    _process: Child,
}

static SHARED: LazyLock<io::Result<Cluster>> = LazyLock::new(Cluster::start);

impl Cluster {
    /// The one server of this process.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn shared() -> io::Result<&'static Self> {
        SHARED.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }

    /// A server that is nobody else's.
    ///
    /// # Errors
    /// Where PostgreSQL is not installed, or does not start.
    pub fn start() -> io::Result<Self> {
        let programs = programs()?;
        let place = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
        let made =
            succeeded(as_server("mktemp").args(["-d", "-p", place, "warifu-postgres-XXXXXX"]).output()?)?;
        let folder = PathBuf::from(made.trim());
        let mut init = as_server(programs.join("initdb"));
        init.arg("-D").arg(folder.join("data")).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]);
        succeeded(init.args(["--locale=C.UTF-8", "--wal-segsize=1"]).output()?)?;
        let mut settings = as_server("tee");
        settings.arg("-a").arg(folder.join("data/postgresql.conf"));
        let mut settings = settings.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let text = format!("{SETTINGS}unix_socket_directories = '{}'\n", folder.display());
        settings.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?.write_all(text.as_bytes())?;
        settings.wait()?;
        succeeded(as_server("chmod").arg("755").arg(&folder).output()?)?;

        let mut keeper = as_server("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&programs).arg(&folder);
        let mut process = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let words = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let answers = BufReader::new(process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        let keeper = Mutex::new(Keeper { words, answers, _process: process });
        let cluster = Self { folder, programs, keeper, databases: AtomicU32::new(0) };
        cluster.start_again()?;
        Ok(cluster)
    }

    /// Ends the server by SIGKILL: whatever it had not on the disk is lost.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn kill(&self) -> io::Result<()> {
        self.tell("kill")
    }

    /// Starts it after [`Cluster::kill`], and waits until it answers.
    ///
    /// # Errors
    /// Where it does not.
    pub fn start_again(&self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        self.tell("start")?;
        let mut asked = Instant::now();
        loop {
            let output = self.client("psql").args(["-d", "postgres", "-c", "SELECT 1"]).output()?;
            if output.status.success() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
            }
            // After a kill it gives up where a process of the one before has not ended yet.
            if asked.elapsed() > Duration::from_secs(2) {
                self.tell("start")?;
                asked = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn tell(&self, word: &str) -> io::Result<()> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(keeper.words, "{word}")?;
        keeper.words.flush()?;
        let mut answer = String::new();
        keeper.answers.read_line(&mut answer)?;
        Ok(())
    }

    /// Makes an empty database; its address.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn database(&self) -> io::Result<String> {
        let name = format!("warifu_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        succeeded(self.client("createdb").arg(&name).output()?)?;
        Ok(self.address(&name))
    }

    /// The address of a database.
    #[must_use]
    pub fn address(&self, database: &str) -> String {
        format!("postgres:///{database}?user=postgres&host={}", self.folder.display())
    }

    /// What a statement says, in that database.
    ///
    /// # Errors
    /// Where it says that it is none.
    pub fn ask(&self, database: &str, sql: &str) -> io::Result<String> {
        succeeded(
            self.client("psql")
                .args(["-d", database, "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", sql])
                .output()?,
        )
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.arg("-h").arg(&self.folder).args(["-U", "postgres"]).stdin(Stdio::null());
        command
    }
}

/// The newest that is installed.
fn programs() -> io::Result<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let installed = std::fs::read_dir("/usr/lib/postgresql")?.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = installed.filter(|path| path.join("bin/postgres").exists()).max_by_key(|path| version(path));
    newest.map(|path| path.join("bin")).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// A command by a user whom PostgreSQL serves: it refuses root. In a namespace of its own, root is somebody else there, also where
/// nobody but root is known.
fn as_server(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-user=postgres", "--map-group=postgres", "--"])
        .arg(program)
        .current_dir("/");
    command
}

fn succeeded(output: Output) -> io::Result<String> {
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}
