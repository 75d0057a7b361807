//! The simulated town: who runs, what is on the way, what time it is; and what happens to it, one step after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use hyper::Method;
use tempfile::TempDir;
use warifu_api::Client;
use warifu_api::tls::PeerKey;
use warifu_api::wire::Leaves;
use warifu_api::wire::authority::OrderRequest;
use warifu_api::wire::site::{PartialItem, PartialsRequest, RevocationRequest};
use warifu_hardware::hsm::Hsm;
use warifu_kms::authority::Authority;
use warifu_kms::site::steps::Steps;
use warifu_kms::site::{Rate, Settings};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Bytes as JsonBytes;
use warifu_ledger::statement::{Millis, Order};
use warifu_ledger::{Digest, Id};
use warifu_replica::Replica;
use warifu_replica::clock::ManualClock;

use crate::base::{self, Base, Disk, EPOCH, Tokens};
use crate::ca::CaSteps;
use crate::draw::Draw;
use crate::fixture::{self, id};
use crate::keys;
use crate::liar::{History, Liar};
use crate::life::{At, Life, TaskId};
use crate::model::{Book, Cosigned, Kept};
use crate::token::MemoryToken;
use crate::work::{Done, Errand};

mod letters;
mod observed;

pub(crate) use letters::{Letter, Place, Sender};

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Kms,
    Ca,
    Main,
    Branch,
}

impl Who {
    pub(crate) const ALL: [Self; 4] = [Self::Kms, Self::Ca, Self::Main, Self::Branch];
    pub(crate) const SITES: [Self; 2] = [Self::Main, Self::Branch];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kms => "kms",
            Self::Ca => "ca",
            Self::Main => "main",
            Self::Branch => "branch",
        }
    }

    /// The id by which it follows the ledger.
    pub(crate) fn id(self) -> Id {
        if self == Self::Ca { Id([0; 16]) } else { id(self.name()) }
    }

    pub(crate) fn database(self, folder: &Path) -> PathBuf {
        let file = match self {
            Self::Kms => "authority.sqlite",
            Self::Ca => "ca.sqlite",
            Self::Main | Self::Branch => "site.sqlite",
        };
        folder.join(self.name()).join(file)
    }
}

/// What a task does, for the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Starting,
    Errand(Errand),
    Answering,
    Acting,
    Serving,
}

/// An order that somebody signed.
pub(crate) struct Ordered {
    pub(crate) envelope: Envelope,
    pub(crate) order: Order,
    pub(crate) what: String,
}

/// Counts of what was seen, so that nobody is content with nothing.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally(pub(crate) BTreeMap<&'static str, u64>);

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}

/// An older database, with what it knew.
struct Copy {
    disk: Disk,
    book: (Kept, Vec<Vec<u8>>),
}

pub(crate) struct World {
    pub(crate) draw: Draw,
    /// In so many of a hundred cases a task stops at a point.
    stopping: usize,
    pub(crate) now: u64,
    organization: Digest,
    clocks: BTreeMap<Who, Arc<ManualClock>>,
    /// How far the kms's wall clock is ahead of true time.
    pub(crate) skew: i64,
    pub(crate) lives: BTreeMap<Who, Life>,
    numbers: BTreeMap<Who, u64>,
    kms: Option<(Arc<Authority>, Router, Replica)>,
    pub(crate) sites: BTreeMap<Who, Steps>,
    ca: Option<CaSteps>,
    pub(crate) doing: BTreeMap<(Who, TaskId), Doing>,
    pub(crate) letters: Vec<Letter>,
    written: u64,
    tokens: Tokens,
    pub(crate) books: BTreeMap<Who, Book>,
    pub(crate) honest: History,
    /// Leaves of the town as every run begins.
    pub(crate) floor: usize,
    given: Vec<(u64, Millis)>,
    cosigned: Cosigned,
    pub(crate) orders: Vec<Ordered>,
    copies: BTreeMap<Who, Copy>,
    /// Services whose line is cut.
    pub(crate) cut: BTreeSet<Who>,
    pub(crate) liar: Option<Liar>,
    pub(crate) tally: Tally,
    pub(crate) trace: Vec<String>,
    // Dropped last.
    folder: TempDir,
}

impl World {
    /// The town of `base`, in a folder of its own, with everybody running.
    pub(crate) fn begin(base: &Base, seed: u64, draw: Draw, stopping: usize) -> Result<Self> {
        let folder = base::folder()?;
        let mut clocks = BTreeMap::new();
        for (who, disk) in &base.disks {
            std::fs::create_dir_all(folder.path().join(who.name()))?;
            disk.write(&who.database(folder.path()))?;
            let clock = ManualClock::new(1_000_000 + base.now, EPOCH + base.now);
            clocks.insert(*who, Arc::new(clock));
        }
        let tokens =
            base.tokens.iter().map(|(who, pairs)| (*who, MemoryToken::new(who.name(), pairs.clone())));
        let mut world = Self {
            draw,
            stopping: 0,
            now: base.now,
            organization: base.organization,
            clocks,
            skew: 0,
            lives: BTreeMap::new(),
            numbers: BTreeMap::new(),
            kms: None,
            sites: BTreeMap::new(),
            ca: None,
            doing: BTreeMap::new(),
            letters: Vec::new(),
            written: 0,
            tokens: tokens.collect(),
            books: Who::SITES.map(|who| (who, Book::new(who.id()))).into(),
            honest: History::default(),
            floor: 0,
            given: Vec::new(),
            cosigned: Cosigned::default(),
            orders: Vec::new(),
            copies: BTreeMap::new(),
            cut: BTreeSet::new(),
            liar: None,
            tally: Tally::default(),
            trace: vec![format!("seed {seed}")],
            folder,
        };
        for who in Who::ALL {
            world.start(who)?;
        }
        world.floor = world.honest.leaves.len();
        world.stopping = stopping;
        Ok(world)
    }

    pub(crate) fn say(&mut self, what: impl AsRef<str>) {
        self.trace.push(format!("{:>9} {}", self.now, what.as_ref()));
    }

    fn number(&self, who: Who) -> u64 {
        self.numbers.get(&who).copied().unwrap_or_default()
    }

    fn clock(&self, who: Who) -> Result<Arc<ManualClock>> {
        self.clocks.get(&who).cloned().context("no clock")
    }

    fn token(&self, who: Who) -> Result<Arc<MemoryToken>> {
        self.tokens.get(&who).cloned().context("no token")
    }

    pub(crate) fn life(&mut self, who: Who) -> Result<&mut Life> {
        self.lives.get_mut(&who).with_context(|| format!("{} does not run", who.name()))
    }

    /// The kms's wall clock.
    pub(crate) fn wall(&self) -> Millis {
        (EPOCH + self.now).saturating_add_signed(self.skew)
    }

    // Lives.

    /// Starts a service.
    pub(crate) fn start(&mut self, who: Who) -> Result<()> {
        let path = who.database(self.folder.path());
        let percent = self.stopping;
        let draw = Draw::new(self.draw.next());
        let life = Life::begin(base::open(path), draw, percent)?;
        let (pool, line) = (life.pool.clone(), life.line());
        let hsm = Hsm::of(self.token(who)?);
        let clock = self.clock(who)?;
        *self.numbers.entry(who).or_default() += 1;
        self.lives.insert(who, life);
        let kms = Client::carried("kms", line);
        let organization = self.organization;
        match who {
            Who::Kms => {
                let config = base::config(self.folder.path());
                self.task(who, Doing::Starting, async move {
                    let opened = async {
                        let replica = Replica::open_recalling(pool, None, base::from_snapshot).await?;
                        let authority = Authority::open_idle(&config, &hsm, replica.clone(), clock).await?;
                        anyhow::Ok((authority, replica))
                    };
                    Done::Kms(opened.await.map_err(|error| format!("{error:?}")))
                })?;
            }
            Who::Ca => {
                self.task(who, Doing::Starting, async move {
                    let opened = async {
                        let replica =
                            Replica::open_recalling(pool, Some(organization), base::from_snapshot).await?;
                        CaSteps::open(&hsm, replica, kms, clock)
                    };
                    Done::Ca(opened.await.map_err(|error| format!("{error:?}")))
                })?;
            }
            Who::Main | Who::Branch => {
                self.book(who)?.begins(None)?;
                self.task(who, Doing::Starting, async move {
                    let opened = async {
                        let replica =
                            Replica::open_recalling(pool.clone(), Some(organization), base::from_snapshot)
                                .await?;
                        let settings = Settings {
                            pool,
                            hsm,
                            organization,
                            kms_address: "kms".to_owned(),
                            kms_tls_key: keys::public("kms tls"),
                            data: None,
                            clock,
                            rate: Rate { burst: 1 << 20, in_flight: 8, ..Rate::default() },
                        };
                        anyhow::Ok(Steps::open(settings, replica, kms).await?)
                    };
                    Done::Site(Box::new(opened.await.map_err(|error| format!("{error:?}"))))
                })?;
            }
        }
        Ok(())
    }

    /// Ends a service where it stands.
    pub(crate) fn crash(&mut self, who: Who) -> Result<()> {
        match who {
            Who::Kms => self.kms = None,
            Who::Ca => self.ca = None,
            Who::Main | Who::Branch => drop(self.sites.remove(&who)),
        }
        self.doing.retain(|(of, _), _| *of != who);
        for letter in &mut self.letters {
            if who == Who::Kms && matches!(letter.place, Place::AtKms(_)) {
                letter.place = Place::Lost;
            }
            if letter.from.service() == Some(who) {
                letter.asked = None;
            }
        }
        match self.lives.remove(&who) {
            Some(life) => life.end(),
            None => Ok(()),
        }
    }

    pub(crate) fn is_up(&self, who: Who) -> bool {
        match who {
            Who::Kms => self.kms.is_some(),
            Who::Ca => self.ca.is_some(),
            Who::Main | Who::Branch => self.sites.contains_key(&who),
        }
    }

    /// A machine starts anew: its boot clock counts from there.
    pub(crate) fn reboot(&mut self, who: Who) -> Result<()> {
        self.clock(who)?.set_boot_ms(17);
        Ok(())
    }

    pub(crate) fn copy(&mut self, who: Who) -> Result<()> {
        let disk = Disk::read(&who.database(self.folder.path()))?;
        let book = self.book(who)?.snapshot();
        self.copies.insert(who, Copy { disk, book });
        Ok(())
    }

    /// Puts an older database in the place of a site's, which does not run.
    pub(crate) fn restore(&mut self, who: Who) -> Result<bool> {
        let Some(Copy { disk, book }) = self.copies.get(&who) else { return Ok(false) };
        disk.write(&who.database(self.folder.path()))?;
        let book = book.clone();
        self.book(who)?.begins(Some(book))?;
        Ok(true)
    }

    pub(crate) fn has_copy(&self, who: Who) -> bool {
        self.copies.contains_key(&who)
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now += ms;
        for clock in self.clocks.values() {
            clock.advance_ms(ms);
        }
    }

    /// The kms's wall clock is set; those of others jump as well, and nobody may notice.
    pub(crate) fn jump(&mut self, skew: i64) -> Result<()> {
        self.skew = skew;
        let wall = self.wall();
        self.clock(Who::Kms)?.set_wall_ms(wall);
        for who in [Who::Ca, Who::Main, Who::Branch] {
            let other = self.draw.next() % (2 * wall);
            self.clock(who)?.set_wall_ms(other);
        }
        Ok(())
    }

    // Tasks.

    fn task(
        &mut self,
        who: Who,
        doing: Doing,
        work: impl Future<Output = Done> + Send + 'static,
    ) -> Result<TaskId> {
        let task = self.life(who)?.start(work)?;
        self.doing.insert((who, task), doing);
        self.observe(who)?;
        Ok(task)
    }

    pub(crate) fn go_on(&mut self, who: Who, index: usize) -> Result<()> {
        self.life(who)?.go_on(index)?;
        self.observe(who)
    }

    pub(crate) fn is_busy(&self, who: Who, errand: Errand) -> bool {
        self.doing.iter().any(|((of, _), doing)| *of == who && *doing == Doing::Errand(errand))
    }

    /// Whoever waits for an answer hangs up.
    pub(crate) fn hang_up(&mut self, who: Who, task: TaskId) -> Result<()> {
        self.doing.remove(&(who, task));
        self.life(who)?.drop_task(task)?;
        self.observe(who)
    }

    /// A site's or the ca's own errand.
    pub(crate) fn errand(&mut self, who: Who, errand: Errand) -> Result<()> {
        if who == Who::Ca {
            let Some(ca) = self.ca.clone() else { return Ok(()) };
            let work = async move {
                match errand {
                    Errand::Ask => {
                        ca.ask().await;
                        Done::Errand(errand, Ok(()))
                    }
                    _ => Done::Errand(errand, ca.cosign().await.map(drop).map_err(|e| e.to_string())),
                }
            };
            self.task(who, Doing::Errand(errand), work)?;
            return Ok(());
        }
        let Some(steps) = self.sites.get(&who).cloned() else { return Ok(()) };
        let work = async move {
            let done = match errand {
                Errand::Ask => {
                    steps.ask().await;
                    Ok(())
                }
                Errand::Act => steps.act_on_leaves().await,
                Errand::Provide => {
                    steps.provide().await;
                    Ok(())
                }
                Errand::Rewrap => steps.rewrap().await,
                Errand::Sweep => steps.sweep().await,
                Errand::Deliver => steps.deliver().await,
                Errand::Courier => steps.courier().await,
                Errand::Journal => steps.journal().await,
                Errand::Hear | Errand::Cosign => Ok(()),
            };
            Done::Errand(errand, done.map_err(|error| error.to_string()))
        };
        self.task(who, Doing::Errand(errand), work)?;
        Ok(())
    }

    fn hear(&mut self, who: Who, leaves: Leaves) -> Result<()> {
        if self.is_busy(who, Errand::Hear) || leaves.leaves.is_empty() {
            return Ok(());
        }
        let from = leaves.from;
        let leaves: Vec<Vec<u8>> = leaves.leaves.into_iter().map(|leaf| leaf.0).collect();
        if let Some(steps) = self.sites.get(&who).cloned() {
            self.book(who)?.hears(from, &leaves);
            self.task(who, Doing::Errand(Errand::Hear), async move {
                steps.follower().hear(from, leaves).await;
                Done::Errand(Errand::Hear, Ok(()))
            })?;
        } else if let Some(ca) = self.ca.clone().filter(|_| who == Who::Ca) {
            self.task(who, Doing::Errand(Errand::Hear), async move {
                ca.follower.hear(from, leaves).await;
                Done::Errand(Errand::Hear, Ok(()))
            })?;
        }
        Ok(())
    }

    /// A card asks a site to open files.
    pub(crate) fn open(&mut self, who: Who, card: &str, items: Vec<(Id, usize)>) -> Result<()> {
        let Some(steps) = self.sites.get(&who).cloned() else { return Ok(()) };
        let folded = self.book(who)?.size();
        let key = PeerKey(keys::public(&format!("{card} 9A")));
        let card = fixture::card_id(card);
        let request = PartialsRequest {
            items: items
                .iter()
                .map(|(grant, file)| PartialItem {
                    grant: *grant,
                    encapsulated: JsonBytes(file_key(*file).to_vec()),
                })
                .collect(),
            routed: Vec::new(),
        };
        self.task(who, Doing::Answering, async move {
            let answer = steps.partials(key, request).await.map(|leaving| leaving.body);
            Done::Partials { card, items, folded, answer }
        })?;
        Ok(())
    }

    /// Somebody brings an order to a site by hand.
    pub(crate) fn bring(&mut self, who: Who, order: usize, leaves: Option<Leaves>) -> Result<()> {
        let Some(steps) = self.sites.get(&who).cloned() else { return Ok(()) };
        let order = self.orders.get(order).context("no such order")?.envelope.clone();
        self.task(who, Doing::Acting, async move {
            Done::Brought(order.digest(), steps.bring(RevocationRequest { order, leaves }).await)
        })?;
        Ok(())
    }

    /// Everybody runs, every line is mended, everything that is under way ends, and everybody hears everything.
    pub(crate) fn calm(&mut self) -> Result<()> {
        self.cut.clear();
        for _ in 0..6 {
            for who in Who::ALL {
                if !self.lives.contains_key(&who) {
                    self.start(who)?;
                }
            }
            self.clear()?;
            for who in [Who::Main, Who::Branch, Who::Ca] {
                self.pull(who)?;
                self.clear()?;
                let errands: &[Errand] = match who {
                    Who::Ca => &[Errand::Ask, Errand::Cosign],
                    _ => &[
                        Errand::Ask,
                        Errand::Act,
                        Errand::Provide,
                        Errand::Sweep,
                        Errand::Deliver,
                        Errand::Courier,
                        Errand::Journal,
                    ],
                };
                for errand in errands {
                    if !self.is_busy(who, *errand) {
                        self.errand(who, *errand)?;
                    }
                    self.clear()?;
                }
            }
        }
        Ok(())
    }

    /// Lets everything go on until nothing is under way.
    fn clear(&mut self) -> Result<()> {
        for _ in 0..10_000 {
            if !self.letters.is_empty()
                && let Some(index) =
                    self.letters.iter().position(|letter| !matches!(letter.place, Place::AtKms(_)))
            {
                self.deliver(index)?;
                continue;
            }
            let stopped = self.lives.iter().find(|(_, life)| !life.stops().is_empty()).map(|(who, _)| *who);
            match stopped {
                Some(who) => self.go_on(who, 0)?,
                None => return Ok(()),
            }
        }
        bail!("it never ends")
    }

    /// Reads the ledger stream of a service.
    pub(crate) fn pull(&mut self, who: Who) -> Result<()> {
        let size = match (who, &self.ca) {
            (Who::Ca, Some(ca)) => ca.follower.replica().size(),
            (Who::Ca, None) => return Ok(()),
            _ => self.book(who)?.size() as u64,
        };
        self.send(Sender::Stream(who), Method::GET, format!("/v1/ledger?from={size}"), Vec::new());
        Ok(())
    }

    /// Ends everybody, and keeps what is on the disks.
    pub(crate) fn freeze(mut self) -> Result<Base> {
        let mut disks = BTreeMap::new();
        for who in Who::ALL {
            self.crash(who)?;
            disks.insert(who, Disk::read(&who.database(self.folder.path()))?);
        }
        let tokens = self.tokens.iter().map(|(who, token)| (*who, token.contents())).collect();
        Ok(Base { disks, tokens, organization: self.organization, now: self.now })
    }

    /// Ends everybody.
    pub(crate) fn end(mut self) -> Result<(Vec<String>, Tally)> {
        for who in Who::ALL {
            self.crash(who)?;
        }
        Ok((std::mem::take(&mut self.trace), std::mem::take(&mut self.tally)))
    }

    /// Where tasks have stopped.
    pub(crate) fn stops(&self) -> Vec<(Who, usize, TaskId, At)> {
        let of = |(who, life): (&Who, &Life)| {
            let who = *who;
            life.stops().into_iter().enumerate().map(move |(index, (task, at))| (who, index, task, at))
        };
        self.lives.iter().flat_map(of).collect()
    }

    /// An order that nobody has been told of yet.
    pub(crate) fn keep_order(&mut self, envelope: Envelope, what: String) -> Result<usize> {
        let order = envelope.statement()?;
        self.orders.push(Ordered { envelope, order, what });
        Ok(self.orders.len() - 1)
    }

    /// The desk sends an order to the kms.
    pub(crate) fn order(&mut self, index: usize) -> Result<()> {
        let envelope = self.orders.get(index).context("no such order")?.envelope.clone();
        let body = serde_json::to_vec(&OrderRequest { envelope, records: Vec::new() })?;
        self.send(Sender::Desk, Method::POST, "/v1/orders".to_owned(), body);
        Ok(())
    }
}

/// `R` of a file, SEC1, uncompressed.
fn file_key(file: usize) -> [u8; 65] {
    keys::public(&format!("file {file}")).to_uncompressed()
}

pub(crate) fn file_id(file: usize) -> Digest {
    Digest::of(&keys::public(&format!("file {file}")).x())
}
