//! Opening a batch: read the headers, ask card and sites at the same time, join, decrypt.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt as _;
use warifu_api::wire::agent::{AgentFault, FileOutcome, OpenRequest, OpenTarget, Progress};
use warifu_crash_point::{CrashPoint, reached, reached_blocking};
use warifu_envelope::{FileKey, OpenError, Overwrite, write_whole};

use crate::agent::Agent;
use crate::fault;
use crate::pending::{Pending, read_headers};
use crate::platform::private_subfolder;
use crate::session::OpenFile;
use crate::sources::{Source, sources, while_open};

pub(crate) mod keys;

use keys::{Keyed, keys};

/// The most files in one request.
const FILES_LIMIT: usize = 1024;
/// How many files are decrypted at once.
const AT_ONCE: usize = 4;
/// How often an export is brought to the disk, so that the end of it takes no time: in bytes.
const SYNC_EVERY: u64 = 16 << 20;
/// The longest file name that is kept for viewers, in bytes.
const NAME_LIMIT: usize = 120;

/// How much of what is being done is done.
#[derive(Default)]
pub(crate) struct Meter {
    done: AtomicU64,
    total: AtomicU64,
}

impl Meter {
    pub(crate) fn read(&self) -> Progress {
        Progress { done: self.done.load(Ordering::Relaxed), total: self.total.load(Ordering::Relaxed) }
    }
}

/// One task's share in a meter, taken out again at its end.
pub(crate) struct Measured<'a> {
    meter: &'a Meter,
    done: u64,
    total: u64,
}

impl<'a> Measured<'a> {
    pub(crate) fn new(meter: &'a Meter, total: u64) -> Self {
        meter.total.fetch_add(total, Ordering::Relaxed);
        Self { meter, done: 0, total }
    }

    pub(crate) fn add(&mut self, count: u64) {
        self.done += count;
        self.meter.done.fetch_add(count, Ordering::Relaxed);
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.meter.done.fetch_sub(self.done, Ordering::Relaxed);
        self.meter.total.fetch_sub(self.total, Ordering::Relaxed);
    }
}

/// Opens files; one outcome a file, in their order.
///
/// # Errors
/// [`AgentFault`] where nothing can be opened at all.
pub(crate) async fn open(agent: &Arc<Agent>, request: OpenRequest) -> Result<Vec<FileOutcome>, AgentFault> {
    check(&request)?;
    let mut sources = sources(agent).await?;
    let files = read_headers(request.files.iter().map(PathBuf::from).collect()).await;
    let mut keys = keys(agent, &mut sources, &files).await;
    if keys.iter().any(|key| matches!(key, Err(AgentFault::NotForYou)))
        && let Some((serial, tries_left)) = agent.waiting_card().await
    {
        // Perhaps for that one: without its PIN nobody says.
        for key in keys.iter_mut().filter(|key| matches!(key, Err(AgentFault::NotForYou))) {
            *key = Err(AgentFault::AnotherCardLocked { serial, tries_left });
        }
    }

    let (sources, target) = (&sources, &request.target);
    let mut work: Vec<Pin<Box<dyn Future<Output = FileOutcome> + Send + '_>>> = Vec::new();
    for ((path, file), key) in request.files.iter().zip(files).zip(keys) {
        work.push(match (file, key) {
            (Err(fault), _) | (Ok(_), Err(fault)) => {
                Box::pin(std::future::ready(FileOutcome::Failed { fault }))
            }
            (Ok(file), Ok(keyed)) => Box::pin(one(agent, sources, Path::new(path), file, keyed, target)),
        });
    }
    Ok(futures_util::stream::iter(work).buffered(AT_ONCE).collect().await)
}

fn check(request: &OpenRequest) -> Result<(), AgentFault> {
    let malformed = |why: &str| Err(AgentFault::Malformed { why: why.to_owned() });
    if request.files.is_empty() || request.files.len() > FILES_LIMIT {
        return malformed("a request opens 1 to 1024 files");
    }
    if request.files.iter().any(|path| !Path::new(path).is_absolute()) {
        return malformed("paths have to be absolute");
    }
    match &request.target {
        OpenTarget::Export { path, .. } if !Path::new(path).is_absolute() => {
            malformed("paths have to be absolute")
        }
        OpenTarget::Export { .. } if request.files.len() != 1 => malformed("one file at a time is exported"),
        _ => Ok(()),
    }
}

async fn one(
    agent: &Arc<Agent>,
    sources: &[Source],
    path: &Path,
    file: Pending,
    keyed: Keyed,
    target: &OpenTarget,
) -> FileOutcome {
    let Some(source) = sources.get(keyed.source) else {
        return FileOutcome::Failed { fault: AgentFault::CardRemoved };
    };
    let (unit, routed) = (keyed.usable.grant.unit_name.clone(), keyed.routed);
    let grant = keyed.usable.grant.grant;
    match target {
        OpenTarget::Export { path, overwrite } => {
            let overwrite = if *overwrite { Overwrite::Replace } else { Overwrite::Refuse };
            match decrypt(agent, source, file, keyed.key, PathBuf::from(path), overwrite).await {
                Ok(bytes) => FileOutcome::Exported { bytes, unit, routed },
                Err(fault) => FileOutcome::Failed { fault },
            }
        }
        OpenTarget::View => match view(agent, source, path, file, keyed.key, grant).await {
            Ok(path) => FileOutcome::Viewing { path: path.to_string_lossy().into_owned(), unit, routed },
            Err(fault) => FileOutcome::Failed { fault },
        },
    }
}

/// Decrypts into a file that appears whole or not at all, and not once the card is out.
async fn decrypt(
    agent: &Arc<Agent>,
    source: &Source,
    file: Pending,
    key: FileKey,
    path: PathBuf,
    overwrite: Overwrite,
) -> Result<u64, AgentFault> {
    let (ending, agent) = (source.ending.clone(), agent.clone());
    let work = tokio::task::spawn_blocking(move || {
        let over = || *ending.borrow();
        let mut measured = Measured::new(&agent.meter, file.length);
        write_whole(&path, overwrite, |output| {
            let metered = Metered { output: &mut *output, measured: &mut measured, unsynced: 0 };
            let bytes = file.sealed.open(key, metered, &over)?;
            // Before the last question: bringing a large file to a disk takes time, in which the card may go.
            output.sync_all().map_err(OpenError::Write)?;
            reached_blocking(CrashPoint::AgentOutputWritten);
            if over() { Err(OpenError::Cancelled) } else { Ok(bytes) }
        })
        .map_err(fault::of_opening)
    });
    work.await.unwrap_or_else(|error| Err(AgentFault::OutputUnwritable { why: error.to_string() }))
}

struct Metered<'a, 'b> {
    output: &'a mut File,
    measured: &'a mut Measured<'b>,
    unsynced: u64,
}

impl Write for Metered<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.measured.add(count as u64);
        self.unsynced += count as u64;
        if self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            self.output.sync_data()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

/// Decrypts into a folder of its own in memory and starts a viewer that ends with the card, or with the grant.
async fn view(
    agent: &Arc<Agent>,
    source: &Source,
    path: &Path,
    file: Pending,
    key: FileKey,
    grant: warifu_ledger::Id,
) -> Result<PathBuf, AgentFault> {
    let unwritable = |error: std::io::Error| AgentFault::OutputUnwritable { why: error.to_string() };
    let folder = agent.new_folder();
    private_subfolder(&folder).map_err(unwritable)?;
    // From here on, whatever happens, the folder is wiped.
    let open_file = OpenFile::new(source.unlocked.clone(), folder.clone());
    private_subfolder(&folder.join("home")).map_err(unwritable)?;
    let plaintext = folder.join(name_for_viewer(path));
    decrypt(agent, source, file, key, plaintext.clone(), Overwrite::Refuse).await?;
    reached(CrashPoint::AgentPlaintextWritten).await;

    let mut ending = source.ending.clone();
    let mut grants = source.unlocked.grants();
    if *ending.borrow() {
        return Err(AgentFault::CardRemoved);
    }
    // The viewer, if it runs already, is killed by being dropped.
    let started = while_open(&source.ending, agent.viewer.start(&folder, &plaintext)).await?;
    let mut viewer = started.map_err(|error| AgentFault::ViewerFailed { why: fault::chain(&error) })?;
    tokio::spawn(async move {
        let by_itself = tokio::select! {
            () = viewer.ended() => true,
            _ = ending.wait_for(|over| *over) => false,
            _ = grants.wait_for(|told| told.as_ref().is_some_and(|told| !told.contains(&grant))) => false,
        };
        if !by_itself {
            viewer.kill().await;
        }
        drop(open_file);
        drop(ending);
    });
    Ok(plaintext)
}

/// The file's own name, without `.age`, and without what could trouble a viewer.
fn name_for_viewer(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.strip_suffix(".age").unwrap_or(&name);
    let mut clean: String =
        name.chars().map(|c| if c.is_control() || matches!(c, '/' | '\u{fffd}') { '_' } else { c }).collect();
    while clean.len() > NAME_LIMIT {
        // From the front, so that the extension stays.
        clean.remove(0);
    }
    // A name that begins with a hyphen is an option to most programs, and one that begins with a dot is hidden.
    let clean = clean.trim_start_matches(['-', '.']).to_owned();
    if clean.is_empty() || clean == "home" { "opened".to_owned() } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_far_as_viewers_can_take_them() {
        let name = |path: &str| name_for_viewer(Path::new(path));
        assert_eq!(name("/a/住民.csv.age"), "住民.csv");
        assert_eq!(name("/a/-rf.age"), "rf");
        assert_eq!(name("/a/..age"), "opened");
        assert_eq!(name("/a/home"), "opened");
        assert_eq!(name("/a/x\ny.pdf"), "x_y.pdf");
        assert!(name(&format!("/a/{}.csv", "名".repeat(80))).len() <= NAME_LIMIT);
        assert!(name(&format!("/a/{}.csv", "名".repeat(80))).ends_with(".csv"));
    }
}
