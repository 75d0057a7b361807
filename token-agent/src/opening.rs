//! Opening a batch: read the headers, ask card and sites at the same time, join, decrypt.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::watch;
use warifu_api::wire::agent::{AgentFault, FileOutcome, OpenRequest, OpenTarget, Progress};
use warifu_api::wire::site::{ITEMS_LIMIT, PartialItem, PartialOutcome};
use warifu_api::{ClientError, ErrorCode};
use warifu_crash_point::{CrashPoint, reached, reached_blocking};
use warifu_envelope::{FileKey, OpenError, Overwrite, Sealed, TagStanza, write_whole};
use warifu_ledger::key::Bytes;
use warifu_split_key::partial::{PartialX, join};
use warifu_texts::day::Zone;

use crate::agent::Agent;
use crate::fault;
use crate::platform::{open_regular, private_subfolder};
use crate::session::{OpenFile, Session, Unlocked, Usable};
use crate::site::Link;

/// The most files in one request.
const FILES_LIMIT: usize = 1024;
/// The most stanzas of one file that are asked for: a file with thousands that bear the card's tag is an attack.
const STANZAS_LIMIT: usize = 8;
/// How many files are decrypted at once.
const AT_ONCE: usize = 4;
/// Before a file is said to be for nobody here, a site's word that is older than this is asked for again.
const STALE: Duration = Duration::from_secs(2);
/// How often an export is brought to the disk, so that the end of it takes no time: in bytes.
const SYNC_EVERY: u64 = 16 << 20;
/// The longest file name that is kept for viewers, in bytes.
const NAME_LIMIT: usize = 120;

/// How many bytes are being opened.
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

/// One file's share in the meter, taken out again at its end.
struct Measured<'a> {
    meter: &'a Meter,
    done: u64,
    total: u64,
}

impl<'a> Measured<'a> {
    fn new(meter: &'a Meter, total: u64) -> Self {
        meter.total.fetch_add(total, Ordering::Relaxed);
        Self { meter, done: 0, total }
    }

    fn add(&mut self, count: u64) {
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

/// A card that can open files now, with the site that answers for it.
struct Source {
    session: Arc<Session>,
    unlocked: Arc<Unlocked>,
    link: Arc<Link>,
    usable: Vec<Usable>,
    ending: watch::Receiver<bool>,
}

/// A file whose header has been read.
struct Pending {
    sealed: Sealed<File>,
    stanzas: Vec<TagStanza>,
    length: u64,
}

/// One stanza to be opened by one source's grant.
struct Item {
    file: usize,
    stanza: TagStanza,
    usable: Usable,
}

/// A file that has its key, and who gave it.
struct Keyed {
    key: FileKey,
    source: usize,
    usable: Usable,
}

/// Opens files; one outcome a file, in their order.
///
/// # Errors
/// [`AgentFault`] where nothing can be opened at all.
pub(crate) async fn open(agent: &Arc<Agent>, request: OpenRequest) -> Result<Vec<FileOutcome>, AgentFault> {
    check(&request)?;
    let mut sources = sources(agent).await?;
    let mut files = Vec::new();
    for path in &request.files {
        files.push(read_header(PathBuf::from(path)).await);
    }
    if files.iter().flatten().any(|file| matching(&sources, file).is_empty()) {
        refresh(agent, &mut sources).await;
        look_elsewhere(&mut sources, &files).await;
    }
    let mut keys = keys(agent, &sources, &files).await;
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

/// Waits for something, but not beyond the end of what the card has opened.
async fn while_open<T>(
    ending: &watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Result<T, AgentFault> {
    let mut ending = ending.clone();
    tokio::select! {
        done = work => Ok(done),
        _ = ending.wait_for(|over| *over) => Err(AgentFault::CardRemoved),
    }
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

/// The unlocked cards with a site, or why there is none.
async fn sources(agent: &Arc<Agent>) -> Result<Vec<Source>, AgentFault> {
    let mut sources = Vec::new();
    let mut why = None;
    for session in agent.sessions() {
        let Some(unlocked) = session.unlocked() else { continue };
        let ending = unlocked.ending();
        let link = match unlocked.sites.current() {
            Some(link) => Ok(link),
            None => while_open(&ending, connect(agent, &unlocked)).await.flatten(),
        };
        match link {
            Ok(link) => {
                let usable = session.usable(&link.me.grants);
                sources.push(Source { session, unlocked, link, usable, ending });
            }
            Err(fault) => {
                drop(ending);
                agent.heard(&session, &fault);
                why = Some(fault);
            }
        }
    }
    match (sources.is_empty(), why) {
        (false, _) => Ok(sources),
        (true, Some(fault)) => Err(fault),
        (true, None) => Err(agent.why_not_open().await),
    }
}

/// The first site that answers; one that shows another key than before may have got it.
async fn connect(agent: &Agent, unlocked: &Unlocked) -> Result<Arc<Link>, AgentFault> {
    match unlocked.sites.connect(None).await {
        Err(AgentFault::SiteUnreachable) if agent.learn_keys(unlocked).await => {
            unlocked.sites.connect(None).await
        }
        connected => connected,
    }
}

/// Asks again what the cards may open: a grant may be newer than what the sites said last.
async fn refresh(agent: &Arc<Agent>, sources: &mut [Source]) {
    for source in sources {
        if source.link.age() < STALE {
            continue;
        }
        match while_open(&source.ending, source.unlocked.sites.refresh()).await.flatten() {
            Ok(link) => {
                source.unlocked.told(link.grants());
                source.usable = source.session.usable(&link.me.grants);
                source.link = link;
            }
            Err(fault) => agent.heard(&source.session, &fault),
        }
    }
}

/// Asks other sites where a card has shares that its site does not tell of: a unit may be served by some sites only.
async fn look_elsewhere(sources: &mut [Source], files: &[Result<Pending, AgentFault>]) {
    for index in 0..sources.len() {
        let unserved: Vec<&Pending> =
            files.iter().flatten().filter(|file| matching(sources, file).is_empty()).collect();
        let Some(source) = sources.get_mut(index) else { return };
        if unserved.is_empty() || source.session.facts().shares.len() <= source.usable.len() {
            continue;
        }
        let serves = |link: &Link| {
            let usable = source.session.usable(&link.me.grants);
            let mut stanzas = unserved.iter().flat_map(|file| &file.stanzas);
            stanzas.any(|stanza| usable.iter().any(|usable| stanza.matches(&usable.grant.unit_key.0)))
        };
        if let Ok(Some(link)) = while_open(&source.ending, source.unlocked.sites.find(serves)).await {
            source.unlocked.told(link.grants());
            source.usable = source.session.usable(&link.me.grants);
            source.link = link;
        }
    }
}

async fn read_header(path: PathBuf) -> Result<Pending, AgentFault> {
    let read = tokio::task::spawn_blocking(move || {
        let unreadable = |error: std::io::Error| AgentFault::FileUnreadable { why: error.to_string() };
        let file = open_regular(&path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let sealed = Sealed::read(file).map_err(fault::of_header)?;
        let stanzas = sealed.header().tag_stanzas().map_err(fault::of_header)?;
        Ok(Pending { sealed, stanzas, length })
    });
    read.await.unwrap_or_else(|error| Err(AgentFault::FileUnreadable { why: error.to_string() }))
}

/// The stanzas that bear the tag of a unit that a card can open.
fn matching(sources: &[Source], file: &Pending) -> Vec<(usize, TagStanza, Usable)> {
    let mut found = Vec::new();
    for stanza in &file.stanzas {
        for (index, source) in sources.iter().enumerate() {
            for usable in source.usable.iter().filter(|usable| stanza.matches(&usable.grant.unit_key.0)) {
                found.push((index, stanza.clone(), usable.clone()));
            }
        }
        if found.len() >= STANZAS_LIMIT {
            break;
        }
    }
    found.truncate(STANZAS_LIMIT);
    found
}

/// The file keys: one request to each card's site for the whole batch.
async fn keys(
    agent: &Arc<Agent>,
    sources: &[Source],
    files: &[Result<Pending, AgentFault>],
) -> Vec<Result<Keyed, AgentFault>> {
    let mut keys: Vec<Result<Keyed, AgentFault>> = files.iter().map(|_| Err(AgentFault::NotForYou)).collect();
    let mut asked: Vec<Vec<Item>> = sources.iter().map(|_| Vec::new()).collect();
    for (file, pending) in files.iter().enumerate() {
        let Ok(pending) = pending else { continue };
        for (source, stanza, usable) in matching(sources, pending) {
            if let Some(items) = asked.get_mut(source) {
                items.push(Item { file, stanza, usable });
            }
        }
    }
    for (index, (source, mut items)) in sources.iter().zip(asked).enumerate() {
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(ITEMS_LIMIT));
            let chunk = std::mem::replace(&mut items, rest);
            let answers = ask(agent, source, &chunk).await;
            for (item, answer) in chunk.into_iter().zip(answers) {
                let Some(slot) = keys.get_mut(item.file).filter(|slot| slot.is_err()) else { continue };
                *slot = answer.map(|key| Keyed { key, source: index, usable: item.usable });
            }
        }
    }
    keys
}

/// Card and site at the same time, then the joining.
async fn ask(agent: &Arc<Agent>, source: &Source, items: &[Item]) -> Vec<Result<FileKey, AgentFault>> {
    let points = items.iter().map(|item| (item.usable.slot, item.stanza.enc)).collect();
    let wire: Vec<PartialItem> = items
        .iter()
        .map(|item| PartialItem {
            grant: item.usable.grant.grant,
            encapsulated: Bytes(item.stanza.enc.to_uncompressed().to_vec()),
        })
        .collect();
    let both = async { tokio::join!(source.session.partials(points), ask_site(source, wire)) };
    let (card, site) = match while_open(&source.ending, both).await {
        Ok(both) => both,
        Err(fault) => return all(items, fault),
    };
    let card = match card {
        Ok(card) => card,
        Err(error) => return all(items, agent.card_failed(&source.session, error).await),
    };
    let site = match site {
        Ok(site) => site,
        Err(fault) => {
            agent.heard(&source.session, &fault);
            return all(items, fault);
        }
    };
    for answer in &site {
        if let PartialOutcome::Refused { code } = answer {
            agent.heard_of_grant(&source.session, *code);
        }
    }
    let joined = items.iter().zip(card).zip(site);
    let zone = agent.zone();
    joined.map(|((item, card), site)| open_stanza(item, &card, site, &zone)).collect()
}

fn all(items: &[Item], fault: AgentFault) -> Vec<Result<FileKey, AgentFault>> {
    items.iter().map(|_| Err(fault.clone())).collect()
}

/// Asks the site, and where it cannot answer for now, the next one.
async fn ask_site(source: &Source, items: Vec<PartialItem>) -> Result<Vec<PartialOutcome>, AgentFault> {
    let link = source.unlocked.sites.current().unwrap_or_else(|| source.link.clone());
    let refused = |outcome: &PartialOutcome| match outcome {
        PartialOutcome::Refused { code } => fault::concerns_site(*code),
        PartialOutcome::Partial { .. } => false,
    };
    let first = match link.partials(items.clone()).await {
        Ok(answer) if answer.items.iter().any(refused) => Ok(answer.items),
        Ok(answer) => return Ok(answer.items),
        Err(ClientError::Refused { body, .. }) if !fault::concerns_site(body.code) => {
            return Err(AgentFault::SiteRefused { code: body.code });
        }
        Err(error) => Err(fault::of_site(error)),
    };
    match source.unlocked.sites.connect(Some(link.site.site)).await {
        Ok(next) => next.partials(items).await.map(|answer| answer.items).map_err(fault::of_site),
        // The first one's reason says more than that no other could be reached.
        Err(AgentFault::SiteUnreachable) => first,
        Err(other) => Err(other),
    }
}

fn open_stanza(
    item: &Item,
    card: &PartialX,
    site: PartialOutcome,
    zone: &Zone,
) -> Result<FileKey, AgentFault> {
    let site = match site {
        PartialOutcome::Partial { x } => PartialX::from_bytes(&x.0),
        PartialOutcome::Refused { code: ErrorCode::InvalidPoint } => return Err(AgentFault::FileDamaged),
        PartialOutcome::Refused { code } => {
            let begins = item.usable.grant.starts_at.filter(|_| code == ErrorCode::GrantNotStarted);
            let from = begins.map(|at| zone.minute(at));
            return Err(from.map_or(AgentFault::SiteRefused { code }, |from| AgentFault::NotBegun { from }));
        }
    };
    // One error for everything: what exactly did not fit is nobody's business.
    let candidates = join(card, &site).map_err(|_| AgentFault::FileDamaged)?;
    item.stanza.open(&candidates, &item.usable.grant.unit_key.0).map_err(|_| AgentFault::FileDamaged)
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
    let unit = keyed.usable.grant.unit_name.clone();
    let grant = keyed.usable.grant.grant;
    match target {
        OpenTarget::Export { path, overwrite } => {
            let overwrite = if *overwrite { Overwrite::Replace } else { Overwrite::Refuse };
            match decrypt(agent, source, file, keyed.key, PathBuf::from(path), overwrite).await {
                Ok(bytes) => FileOutcome::Exported { bytes, unit },
                Err(fault) => FileOutcome::Failed { fault },
            }
        }
        OpenTarget::View => match view(agent, source, path, file, keyed.key, grant).await {
            Ok(path) => FileOutcome::Viewing { path: path.to_string_lossy().into_owned(), unit },
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
