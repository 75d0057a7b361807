//! Following a kms authority: its ledger stream and its stamps.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use warifu_api::client::{Client, ClientError, Event, Events};
use warifu_api::tls::{Identity, Pin};
use warifu_api::wire::LeafEvent;
use warifu_crash_point::{Guard, stands};
use warifu_ledger::leaf::{Leaf, LeafError};
use warifu_ledger::state::{LONGEST_LEASE_MS, Rejected, State};
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use crate::clock::Clock;
use crate::lease::Lease;
use crate::replica::{Appended, Replica, ReplicaError};

mod stamping;
#[cfg(debug_assertions)]
mod steps;
mod succession;

/// The first pause before another try; it doubles with every failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before another try.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The most leaves of the stream that one transaction appends.
const BATCH: usize = 256;

/// Why a follower stopped for good. Only a person can decide what happens next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Halt {
    /// The kms sent a leaf that the fold refuses (protocol P-4.3).
    #[error("the kms sent leaf {index}, which the fold refuses")]
    Refused {
        /// Its index.
        index: u64,
        /// Why.
        #[source]
        why: Rejected,
    },
    /// The kms sent bytes that are no leaf.
    #[error("the kms sent bytes that are no leaf in place of leaf {index}")]
    NotALeaf {
        /// Its index.
        index: u64,
        /// Why.
        #[source]
        why: LeafError,
    },
    /// The kms showed two different ledgers.
    #[error("FORK: the kms showed two different ledgers, which differ at {size} leaves or before")]
    Fork {
        /// The size at which they are known to differ.
        size: u64,
    },
    /// The kms appended a leaf with an instant before that of a stamp it had given (protocol P-5.4): so it could still
    /// execute an order that has expired, or extend a contract that is over.
    #[error("the kms dated leaf {index} to {at}, before a stamp of {stamped} that it gave earlier")]
    Backdated {
        /// Its index.
        index: u64,
        /// Its instant.
        at: Millis,
        /// The stamp's time.
        stamped: Millis,
    },
    /// The kms sent the founding of another organization.
    #[error("the kms sent the founding of {found}, not of {expected}")]
    OtherOrganization {
        /// The organization that is pinned.
        expected: Digest,
        /// The one that was sent.
        found: Digest,
    },
}

/// Why a follower could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// Without the first leaf and without an organization to wait for, any founding would be taken.
    #[error("no organization is pinned")]
    NothingPinned,
    /// The connection could not be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Whom to follow, and as whom.
pub struct Following {
    /// The follower's id: its site, or all zeroes for the ca.
    pub service_id: Id,
    /// Its TLS key.
    pub identity: Identity,
    /// `host:port` of the kms.
    pub kms_address: String,
    /// The kms's TLS key: what is told counts until the ledger is here, and names it. Whoever else talks to the kms shares this
    /// pin, and follows the ledger with it.
    pub kms: Pin,
    /// What else the service asks the kms goes over this client's connection, and so does the following; over one of its own if
    /// there is none.
    pub client: Option<Client>,
    /// The clock that the lease runs on.
    pub clock: Arc<dyn Clock>,
    /// The longest lease that this follower takes, in milliseconds, whatever the policy allows.
    pub longest_lease_ms: u64,
    /// Whether it brings its leaves to a kms that was restored from a backup and lacks them: the ca does.
    pub brings_leaves: bool,
    /// No time that it gives is before this one: the latest that it has written down before it was started.
    pub not_before: Millis,
    /// Whether a fork halts it for good, restarts included: a site answers nothing any more until people have set it up anew.
    pub halts_for_good: bool,
    /// The file that keeps that where the database can take nothing any more: it needs no room on the disk.
    pub halt_mark: Option<PathBuf>,
    /// Told whenever the stream says that there are slips.
    pub slips: Arc<Notify>,
}

impl Following {
    /// Follows for as long as the policy's lease allows.
    #[must_use]
    pub fn new(
        service_id: Id,
        identity: Identity,
        kms_address: impl Into<String>,
        kms: impl Into<Pin>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            service_id,
            identity,
            kms_address: kms_address.into(),
            kms: kms.into(),
            client: None,
            clock,
            longest_lease_ms: LONGEST_LEASE_MS,
            brings_leaves: false,
            not_before: 0,
            halts_for_good: false,
            halt_mark: None,
            slips: Arc::default(),
        }
    }
}

impl Following {
    /// Notes a fork at `size` leaves in the file for that. Its length is the size: it has no content, which a full disk would not
    /// take.
    fn mark(&self, size: u64) -> io::Result<()> {
        let Some(path) = &self.halt_mark else { return Err(io::ErrorKind::NotFound.into()) };
        let file = File::create(path)?;
        file.set_len(size)?;
        file.sync_all()?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// The size that was noted. What cannot be looked at counts as noted.
    fn marked(&self) -> Option<u64> {
        match fs::metadata(self.halt_mark.as_ref()?) {
            Ok(mark) => Some(mark.len()),
            Err(error) => (error.kind() != io::ErrorKind::NotFound).then_some(0),
        }
    }
}

/// How the following goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowStatus {
    /// Whether the stream is open.
    pub connected: bool,
    /// How many stamps counted since the start.
    pub stamps: u64,
    /// Why it stopped for good, if it did. The lease has ended then.
    pub halted: Option<Halt>,
}

/// A state and the time, both good for acting on: the lease runs, and all that its stamp speaks of is folded.
#[derive(Clone)]
pub struct Fresh {
    /// What the ledger says.
    pub state: State,
    /// Site time.
    pub time: Millis,
    /// The instant before which nothing will be appended any more (P-5.4): the time of the lease's stamp, or that of the last
    /// leaf. What is over by then stays over, while what is over by site time only may yet be extended.
    pub settled: Millis,
    /// How long the lease still runs, in milliseconds.
    pub left_ms: u64,
}

/// Follows a kms authority until it is dropped, shut down, or halts.
pub struct Follower {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    following: Following,
    replica: Replica,
    lease: Mutex<Lease>,
    status: watch::Sender<FollowStatus>,
    appended: mpsc::Sender<Appended>,
    /// The stream has to be opened anew.
    reopen: Notify,
    /// A stamp is wanted now.
    stamp_now: Notify,
}

impl Follower {
    /// Starts to follow. Every leaf that this follower appends is sent to `appended`, and it waits while that is full; a
    /// closed one is no fault. Leaves that others append to the same replica are not reported here.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn start(
        following: Following,
        replica: Replica,
        appended: mpsc::Sender<Appended>,
    ) -> Result<Self, FollowError> {
        let shared = Arc::new(Shared::new(following, replica, appended)?);
        let following = &shared.following;
        let client = match &following.client {
            Some(client) => client.clone(),
            None => Client::multiplexed(&*following.kms_address, following.kms.clone(), &following.identity)?,
        };
        let tasks = vec![
            tokio::spawn(shared.clone().follow_stream(client.clone())),
            tokio::spawn(shared.clone().ask_for_stamps(client)),
        ];
        Ok(Self { shared, tasks })
    }

    /// State and time, if they are good for acting on now. Ask again for every act.
    #[must_use]
    pub fn fresh(&self) -> Option<Fresh> {
        self.shared.fresh()
    }

    /// Site time, if the lease runs and all that its stamp speaks of is folded.
    #[must_use]
    pub fn site_time(&self) -> Option<Millis> {
        self.fresh().map(|fresh| fresh.time)
    }

    /// How long may still be acted without news, in milliseconds; 0 if not at all.
    #[must_use]
    pub fn left_ms(&self) -> u64 {
        self.fresh().map_or(0, |fresh| fresh.left_ms)
    }

    /// How the following goes, now and whenever that changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<FollowStatus> {
        self.shared.status.subscribe()
    }

    /// The ledger that it follows into.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.shared.replica
    }

    /// Stops for good, for a reason found elsewhere: an order brought by somebody may be the proof of a fork.
    pub async fn halt(&self, why: Halt) {
        self.shared.halt(why).await;
    }

    /// Looks whether leaves that somebody else has appended contradict the last stamp: then the kms has signed two ledgers.
    pub async fn compare(&self) {
        if let Err(Stopped::Halt(why)) = self.shared.compare() {
            self.shared.halt(why).await;
        }
    }

    /// Ends the connections and waits until nothing of the follower runs any more. What is being appended is finished.
    pub async fn shutdown(mut self) {
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            // An aborted task says so; there is nothing else to hear.
            let _ = task.await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Why a connection was given up.
enum Stopped {
    Halt(Halt),
    /// Another try may succeed; whether this one brought anything.
    Retry {
        progress: bool,
    },
}

impl Shared {
    fn new(
        following: Following,
        replica: Replica,
        appended: mpsc::Sender<Appended>,
    ) -> Result<Self, FollowError> {
        if replica.state().is_none() && replica.pinned().is_none() {
            return Err(FollowError::NothingPinned);
        }
        if let Some(state) = replica.state() {
            following.kms.set(state.kms().tls.0);
        }
        let fork = replica.fork().or_else(|| following.marked());
        let fork = fork.filter(|_| following.halts_for_good && stands(Guard::HaltKept));
        if let Some(size) = fork {
            tracing::error!(size, "HALTED: the kms has shown two ledgers before the restart");
        }
        let halted = fork.map(|size| Halt::Fork { size });
        Ok(Self {
            lease: Mutex::new(
                Lease::new(following.longest_lease_ms)
                    .after(replica.last_stamp())
                    .not_before(following.not_before),
            ),
            following,
            replica,
            status: watch::Sender::new(FollowStatus { halted, ..FollowStatus::default() }),
            appended,
            reopen: Notify::new(),
            stamp_now: Notify::new(),
        })
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> Option<Fresh> {
        let mut lease = self.lease();
        if self.status.borrow().halted.is_some() {
            return None;
        }
        let state = self.replica.state()?;
        // Somebody brought the leaf that gives the kms other keys: the lease is about to end.
        if self.following.kms.key() != state.kms().tls.0 {
            return None;
        }
        let now = self.following.clock.boot_ms();
        let time = lease.site_time(now, &state)?;
        let (_, stamped) = lease.stamped()?;
        let settled = stamped.max(state.last_at());
        let left_ms = lease.left_ms(now, &state);
        Some(Fresh { state, time, settled, left_ms })
    }

    async fn halt(&self, why: Halt) {
        let fork = if let Halt::Fork { size } = &why { Some(*size) } else { None };
        self.stop(why);
        if let Some(size) = fork.filter(|_| self.following.halts_for_good)
            && let Err(error) = self.replica.forked(size).await
        {
            match self.following.mark(size) {
                Ok(()) => tracing::error!(%error, "the database could not take the halt: a file keeps it"),
                Err(unmarked) => tracing::error!(
                    %error, %unmarked, "DO NOT RESTART: a restart will have forgotten that the kms has shown two ledgers"
                ),
            }
        }
    }

    /// From here on nothing is fresh any more.
    fn stop(&self, why: Halt) {
        let mut lease = self.lease();
        lease.end();
        self.status.send_if_modified(|status| {
            if status.halted.is_some() {
                return false;
            }
            tracing::error!(%why, source = ?std::error::Error::source(&why), "HALTED: nothing is followed any more");
            status.halted = Some(why);
            status.connected = false;
            true
        });
    }

    fn is_halted(&self) -> bool {
        self.status.borrow().halted.is_some()
    }

    /// Resolves once somebody halted the follower.
    async fn halted(&self) {
        let mut status = self.status.subscribe();
        // The sender lives as long as `self`.
        let _ = status.wait_for(|status| status.halted.is_some()).await;
    }

    async fn follow_stream(self: Arc<Self>, client: Client) {
        let mut pause = FIRST_PAUSE;
        while !self.is_halted() {
            let stopped = tokio::select! {
                () = self.halted() => return,
                stopped = self.follow_once(&client) => stopped,
            };
            self.status.send_if_modified(|status| std::mem::take(&mut status.connected));
            match stopped {
                Stopped::Halt(why) => return self.halt(why).await,
                Stopped::Retry { progress } => {
                    if progress {
                        pause = FIRST_PAUSE;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn follow_once(&self, client: &Client) -> Stopped {
        if let Some(state) = self.replica.state() {
            self.go_by(&state, &mut self.lease());
        }
        let path = format!("/v1/ledger/stream?from={}", self.replica.size());
        let mut events = match client.events(&path).await {
            Ok(events) => events,
            Err(error) => {
                tracing::debug!(%error, "the ledger stream could not be opened");
                let elsewhere = matches!(error, ClientError::NotTrusted { .. });
                return match self.replica.state().filter(|_| elsewhere) {
                    Some(state) => self.find_successor(state).await,
                    None => Stopped::Retry { progress: false },
                };
            }
        };
        self.status.send_modify(|status| status.connected = true);
        self.stamp_now.notify_one();
        let mut progress = false;
        loop {
            let first = tokio::select! {
                () = self.reopen.notified() => return Stopped::Retry { progress },
                first = events.next() => first,
            };
            match self.take(first, &mut events).await {
                Ok(()) => progress = true,
                Err(Stopped::Halt(why)) => return Stopped::Halt(why),
                Err(Stopped::Retry { .. }) => return Stopped::Retry { progress },
            }
        }
    }

    /// Appends the leaf that came, and those that have come with it.
    async fn take(
        &self,
        first: Result<Option<Event>, ClientError>,
        events: &mut Events,
    ) -> Result<(), Stopped> {
        let mut batch: Vec<(u64, Leaf)> = Vec::new();
        let mut bad = None;
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                Ok(Some(event)) if event.name == "leaf" => match read_leaf(&event) {
                    // Consecutive, or it starts anew from here.
                    Ok((index, _)) if batch.last().is_some_and(|(last, _)| last + 1 != index) => {
                        bad = Some(Stopped::Retry { progress: true });
                    }
                    Ok(leaf) => batch.push(leaf),
                    Err(stopped) => bad = Some(stopped),
                },
                Ok(Some(event)) if event.name == "slips" => self.following.slips.notify_one(),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => bad = Some(Stopped::Retry { progress: true }),
            }
            if bad.is_some() || batch.len() >= BATCH {
                break;
            }
            next = events.next().now_or_never();
        }
        self.append(batch).await?;
        bad.map_or(Ok(()), Err)
    }

    async fn append(&self, batch: Vec<(u64, Leaf)>) -> Result<(), Stopped> {
        let Some(&(from, _)) = batch.first() else { return Ok(()) };
        let leaves: Vec<Leaf> = batch.into_iter().map(|(_, leaf)| leaf).collect();
        match self.replica.append_many(from, leaves.clone()).await {
            Ok(appended) => self.report(appended).await,
            Err(_) if leaves.len() > 1 => {
                // Up to the one that does not fit, they count: a revocation may be among them.
                for (leaf, index) in leaves.into_iter().zip(from..) {
                    match self.replica.append_many(index, vec![leaf]).await {
                        Ok(appended) => self.report(appended).await?,
                        Err(error) => return Err(stopped_by(error, index)),
                    }
                }
                Ok(())
            }
            Err(error) => Err(stopped_by(error, from)),
        }
    }

    /// Goes by the keys that the ledger has of the kms, whoever brought the leaf that names them. What former keys stamped counts
    /// no more.
    fn go_by(&self, state: &State, lease: &mut Lease) {
        let kms = state.kms().tls.0;
        if self.following.kms.key() != kms {
            lease.end();
            self.following.kms.set(kms);
            self.stamp_now.notify_one();
        }
    }

    async fn report(&self, appended: Vec<Appended>) -> Result<(), Stopped> {
        if let Some(last) = appended.last() {
            let mut lease = self.lease();
            lease.set_lease_ms(last.after.policy().lease_ms.min(self.following.longest_lease_ms));
            self.go_by(&last.after, &mut lease);
        }
        for leaf in appended {
            // Nobody listening is no fault.
            let _ = self.appended.send(leaf).await;
        }
        self.compare()
    }

    /// What is folded, whoever appended it, must not contradict the last stamp.
    fn compare(&self) -> Result<(), Stopped> {
        let contradiction = self.replica.state().and_then(|state| self.lease().contradicted_by(&state));
        contradiction.map_or(Ok(()), |size| Err(Stopped::Halt(Halt::Fork { size })))
    }
}

fn read_leaf(event: &Event) -> Result<(u64, Leaf), Stopped> {
    let event: LeafEvent = serde_json::from_str(&event.data).map_err(|error| {
        tracing::warn!(%error, "an event that makes no sense");
        Stopped::Retry { progress: false }
    })?;
    match Leaf::from_bytes(event.leaf.0) {
        Ok(leaf) => Ok((event.index, leaf)),
        Err(why) => Err(Stopped::Halt(Halt::NotALeaf { index: event.index, why })),
    }
}

fn stopped_by(error: ReplicaError, index: u64) -> Stopped {
    match error {
        ReplicaError::Rejected(Rejected::Fork { size }) => Stopped::Halt(Halt::Fork { size }),
        ReplicaError::Rejected(why) => Stopped::Halt(Halt::Refused { index, why }),
        ReplicaError::Leaf(why) => Stopped::Halt(Halt::NotALeaf { index, why }),
        ReplicaError::OtherOrganization { expected, found } => {
            Stopped::Halt(Halt::OtherOrganization { expected, found })
        }
        ReplicaError::Backdated { index, at, stamped } => {
            Stopped::Halt(Halt::Backdated { index, at, stamped })
        }
        ReplicaError::Contradicts { index } => Stopped::Halt(Halt::Fork { size: index + 1 }),
        error => {
            tracing::warn!(%error, "a leaf could not be appended");
            Stopped::Retry { progress: false }
        }
    }
}
