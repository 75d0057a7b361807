//! The four services of a town, each in a runtime of its own whose threads bear its name, and their end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use warifu_ca::config::Crls;
use warifu_ca::keys::Keys;
use warifu_ca::service::Service;
use warifu_console::Token;
use warifu_crash_point::rehearsal;
use warifu_kms::authority::{self, Authority};
use warifu_kms::site::{Rate, Settings, Site};
use warifu_ledger::Digest;
use warifu_replica::clock::SystemClock;
use warifu_replica::storage;
use warifu_split_key::point::Point;

use crate::words::Strike;

/// How long the end of a service, or its start, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Who {
    Kms,
    Ca,
    Main,
    Branch,
}

impl Who {
    pub(crate) const ALL: [Self; 4] = [Self::Kms, Self::Ca, Self::Main, Self::Branch];
    pub(crate) const SITES: [Self; 2] = [Self::Main, Self::Branch];

    /// The name of its threads.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kms => "kms",
            Self::Ca => "ca",
            Self::Main => "main",
            Self::Branch => "branch",
        }
    }

    /// Its database file.
    pub(crate) fn database(self, town: &Path) -> PathBuf {
        let file = match self {
            Self::Kms => "authority.sqlite",
            Self::Ca => "ca.sqlite",
            Self::Main | Self::Branch => "site.sqlite",
        };
        town.join(self.name()).join(file)
    }
}

/// Services that have just ended at a point.
pub(crate) type Struck = BTreeSet<Who>;

/// Where everything of a town is.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    /// The host that nobody else's ports are on.
    pub(crate) host: String,
    pub(crate) organization: Digest,
    pub(crate) kms_tls: Point,
}

impl Place {
    pub(crate) fn token(&self, who: Who) -> Token {
        Token {
            module: "/usr/lib/softhsm/libsofthsm2.so".into(),
            token_label: who.name().to_owned(),
            pin_file: self.folder.join(format!("{}.pin", who.name())),
            data: self.folder.clone(),
        }
    }

    /// Where it listens. It comes back to the same address.
    pub(crate) fn address(&self, who: Who) -> String {
        let port = match who {
            Who::Kms => 7443,
            Who::Ca => 0,
            Who::Main => 8443,
            Who::Branch => 8444,
        };
        format!("{}:{port}", self.host)
    }

    pub(crate) fn authority(&self) -> authority::Config {
        authority::Config {
            data: self.folder.join(Who::Kms.name()),
            listen: self.address(Who::Kms),
            crl_listen: None,
            public: None,
            deliveries: Default::default(),
            monitor: None,
            database: None,
            address: self.address(Who::Kms),
            helpdesk: "内線 1234".to_owned(),
            journal_seconds: 3600,
            hsm: self.token(Who::Kms),
        }
    }

    async fn live(self, who: Who, ready: &mut Option<oneshot::Sender<Result<()>>>) -> Result<()> {
        let mut is_ready = || {
            if let Some(ready) = ready.take() {
                // The driver may have heard of the service's end before.
                let _ = ready.send(Ok(()));
            }
        };
        match who {
            Who::Kms => {
                let authority = Authority::open(&self.authority(), Arc::new(SystemClock)).await?;
                let listener = TcpListener::bind(self.address(who)).await?;
                is_ready();
                authority.serve(listener, std::future::pending()).await?;
            }
            Who::Ca => {
                let token = self.token(who);
                let keys = blocking(move || Ok(Keys::ensure(&token.open()?)?)).await?;
                let pool = ca_database(&self.folder).await?;
                let (kms, clock) = (self.address(Who::Kms), Arc::new(SystemClock));
                let service = Service::start_with(
                    &kms,
                    Crls::default().publishing(&kms),
                    Some(self.kms_tls),
                    keys,
                    pool,
                    None,
                    clock,
                )
                .await?;
                is_ready();
                service.run(std::future::pending()).await?;
            }
            Who::Main | Who::Branch => {
                let token = self.token(who);
                let site = Site::start(Settings {
                    pool: Site::database(&who.database(&self.folder)).await?,
                    hsm: blocking(move || Ok(token.open()?)).await?,
                    organization: self.organization,
                    kms_address: self.address(Who::Kms),
                    kms_tls_key: self.kms_tls,
                    data: None,
                    clock: Arc::new(SystemClock),
                    rate: Rate { burst: 1 << 20, ..Rate::default() },
                })
                .await?;
                let listener = TcpListener::bind(self.address(who)).await?;
                is_ready();
                site.serve(listener, std::future::pending()).await?;
            }
        }
        Ok(())
    }
}

pub(crate) async fn ca_database(town: &Path) -> Result<sqlx::AnyPool> {
    let path = Who::Ca.database(town);
    Ok(storage::open(&path, sqlx::migrate!("../../ca/migrations")).await?)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// The services, those that run and those that do not.
pub(crate) struct Services {
    pub(crate) place: Place,
    lives: BTreeMap<Who, Runtime>,
    struck: mpsc::UnboundedReceiver<Struck>,
    strikes: mpsc::UnboundedSender<Struck>,
}

impl Services {
    pub(crate) fn new(place: Place) -> Self {
        let (strikes, struck) = mpsc::unbounded_channel();
        Self { place, lives: BTreeMap::new(), struck, strikes }
    }

    /// Has the next run end at this point.
    pub(crate) fn arm(&self, strike: Strike) {
        let ends: Struck =
            if strike.everybody { Who::ALL.into_iter().collect() } else { BTreeSet::from([strike.who]) };
        let strikes = self.strikes.clone();
        let names: Vec<String> = ends.iter().map(|who| who.name().to_owned()).collect();
        rehearsal::arm(strike.who.name(), strike.point, strike.nth, names, move || {
            // Nobody listens once the driver has failed.
            let _ = strikes.send(ends);
        });
    }

    /// The services that end, when they do.
    pub(crate) async fn struck(&mut self) -> Struck {
        match self.struck.recv().await {
            Some(struck) => struck,
            None => std::future::pending().await,
        }
    }

    /// Those that have ended meanwhile, and nothing will from now on.
    pub(crate) fn disarm(&mut self) -> Option<Struck> {
        rehearsal::disarm();
        self.struck.try_recv().ok()
    }

    /// Runs a command of a service to its end, as a process of its own; none if it was struck.
    pub(crate) async fn command<T: Send + 'static>(
        &mut self,
        who: Who,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Option<T>> {
        let runtime = runtime(who)?;
        let (sender, done) = oneshot::channel();
        runtime.spawn(async move {
            let _ = sender.send(work.await);
        });
        self.lives.insert(who, runtime);
        let done = tokio::select! {
            done = done => Some(done??),
            _ = self.struck() => None,
        };
        self.kill(who).await?;
        Ok(done)
    }

    /// Starts everybody who does not run, in this order. Answers who was struck meanwhile.
    pub(crate) async fn bring_up(&mut self, order: impl IntoIterator<Item = Who>) -> Result<Option<Struck>> {
        for who in order {
            if self.lives.contains_key(&who) {
                continue;
            }
            let runtime = runtime(who)?;
            let (ready, is_ready) = oneshot::channel();
            let place = self.place.clone();
            runtime.spawn(async move {
                let mut ready = Some(ready);
                if let Err(error) = place.live(who, &mut ready).await
                    && let Some(ready) = ready
                {
                    let _ = ready.send(Err(error));
                }
            });
            self.lives.insert(who, runtime);
            tokio::select! {
                biased;
                struck = self.struck() => return Ok(Some(struck)),
                started = tokio::time::timeout(PATIENCE, is_ready) => {
                    started.context("a service does not start")?
                        .context("a service ended while it started")?
                        .with_context(|| format!("{} does not start", who.name()))?;
                }
            }
        }
        Ok(None)
    }

    /// Ends a service where it stands, and returns when nothing of it is left.
    ///
    /// A zombie write is impossible after this: all tasks are dropped and all blocking calls (the HSM's) have returned when
    /// the runtime is down, which is waited for; the one thing that outlives a runtime is SQLite's own threads, each of
    /// which holds its database open until it has done its last command, so that no file of the service's folder is open
    /// in this process once they are gone. What was under way then has happened, or has not: as when the power goes.
    pub(crate) async fn kill(&mut self, who: Who) -> Result<()> {
        rehearsal::end(who.name());
        if let Some(runtime) = self.lives.remove(&who) {
            rehearsal::release(who.name());
            let begun = Instant::now();
            // It blocks, which the driver's own thread must not: the driver looks into databases, too, and closes them.
            tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE)).await?;
            ensure!(begun.elapsed() < PATIENCE, "{} does not end", who.name());
            let folder = self.place.folder.join(who.name());
            while is_open(&folder)? {
                ensure!(begun.elapsed() < PATIENCE, "{} has left a database open", who.name());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        rehearsal::clear(who.name());
        Ok(())
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        // The town is over; its process ends.
        for (who, runtime) in std::mem::take(&mut self.lives) {
            rehearsal::end(who.name());
            runtime.shutdown_background();
        }
    }
}

fn runtime(who: Who) -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).thread_name(who.name()).enable_all().build()?)
}

/// Whether this process has a file under that folder open.
fn is_open(folder: &Path) -> Result<bool> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        // It may be closed by now.
        if let Ok(target) = std::fs::read_link(entry?.path())
            && target.starts_with(folder)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An address of this process's own on the loopback interface.
pub(crate) fn own_host() -> Result<String> {
    let id = std::process::id();
    let [.., high, low] = id.to_be_bytes();
    if high == 0 && low <= 1 {
        bail!("an unlucky process id");
    }
    Ok(format!("127.77.{high}.{low}"))
}
