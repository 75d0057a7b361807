//! `warifu-ca run`: follow the ledger, and do what it asks for.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::AnyPool;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use warifu_api::client::{Client, ClientError};
use warifu_api::tls::{Identity, Pin, TlsError};
use warifu_api::wire::authority::{CertificateKind, CrlIssuer};
use warifu_console::monitor::Watched;
use warifu_console::process::Ended;
use warifu_hardware::hsm::{Hsm, HsmError};
use warifu_ledger::Id;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, Fact, FactBody, HalfHolder, Millis, Order, ServiceId, Statement as _};
use warifu_replica::clock::{Clock, SystemClock};
use warifu_replica::follow::{FollowError, Follower, Following, Fresh};
use warifu_replica::{Appended, Replica, ReplicaError, Snapshots};
use warifu_split_key::point::Point;

use crate::certificates::{Certifier, NONE, RENEWED_BEFORE_MS};
use crate::config::{Config, Publishing};
use crate::cosign::{CosignError, Cosigned, Cosigner};
use crate::figures::{Figures, Watching};
use crate::issue::{IssueError, Issuing, Progress};
use crate::keys::Keys;
use crate::queue::{Job, Queue};
use crate::revocation;
use crate::vault::{self, Vault, VaultError, blocking};

/// The ca follows under this id: it is no site.
const FOLLOWER: Id = Id([0; 16]);
/// How many things are done at once.
const WORKERS: usize = 8;
/// How many leaves may wait to be looked at.
const BACKLOG: usize = 1024;
/// The longest time between two looks at the kms's checkpoint.
const COSIGN_INTERVAL: Duration = Duration::from_secs(30);
/// How often the kms is asked whether heads of audit journals are due.
const JOURNAL_LOOK: Duration = Duration::from_secs(5);
/// The pause after a checkpoint that could not be cosigned.
const COSIGN_PAUSE: Duration = Duration::from_millis(500);

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// `found` was never run.
    #[error(
        "this ca has no organization yet: run `warifu-ca found` with the founding that the officers signed"
    )]
    NotFounded,
    /// The configuration names another kms key than the founding.
    #[error("the kms's TLS key in the configuration is not the one in the founding")]
    OtherKms,
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The ledger could not be read.
    #[error("the ledger could not be read")]
    Replica(#[from] ReplicaError),
    /// The kms cannot be followed.
    #[error("the kms cannot be followed")]
    Follow(#[from] FollowError),
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The HSM failed.
    #[error("the HSM failed")]
    Hsm(#[from] HsmError),
    /// No TLS identity could be made.
    #[error("the TLS key cannot be used")]
    Tls(#[from] TlsError),
}

/// The running service.
pub struct Service {
    follower: Arc<Follower>,
    issuing: Issuing,
    vault: Vault,
    replica: Replica,
    appended: mpsc::Receiver<Appended>,
    /// Everything goes over its one connection, the ledger too.
    client: Client,
    cosigner: Cosigner,
    figures: Figures,
    keys: Arc<Keys>,
    /// Whether the ledger named these keys when this began.
    named_at_start: bool,
}

impl Service {
    /// Opens the ledger, starts to follow, and gets ready to work. `configured_kms` is the kms's TLS key in the configuration,
    /// if there is one.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn start(
        config: &Config,
        configured_kms: Option<Point>,
        keys: Keys,
        pool: AnyPool,
    ) -> Result<Self, ServiceError> {
        let (address, clock) = (&config.kms.address, Arc::new(SystemClock));
        let (data, publishing) = (Some(config.data.as_path()), config.crl.publishing(address));
        Self::start_with(address, publishing, configured_kms, keys, pool, data, clock).await
    }

    /// As [`Service::start`], on any clock; without a folder for it, no snapshot of the ledger is kept.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn start_with(
        kms_address: &str,
        publishing: Publishing,
        configured_kms: Option<Point>,
        keys: Keys,
        pool: AnyPool,
        data: Option<&Path>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServiceError> {
        let pin = vault::pinned(&pool).await?.ok_or(ServiceError::NotFounded)?;
        let own = keys.own.clone();
        let key = blocking(move || Ok::<_, ServiceError>(own.snapshot_key()?)).await?;
        let snapshots = data.map(|data| Snapshots::new(data, Arc::new(key)));
        let replica = Replica::open_with_snapshots(pool.clone(), Some(pin.organization), snapshots).await?;
        // Once the ledger is here, it says with which keys the kms speaks.
        if replica.state().is_none() && configured_kms.is_some_and(|key| key != pin.kms_tls) {
            return Err(ServiceError::OtherKms);
        }
        let keys = match replica.state() {
            Some(state) => blocking(move || in_use(keys, &state)).await?,
            None => keys,
        };
        let identity = Identity::self_signed(Arc::new(keys.own.tls.clone()), "warifu-ca")?;
        let kms = Pin::from(pin.kms_tls);
        let client = Client::multiplexed(kms_address, kms.clone(), &identity)?;

        let following = Following {
            brings_leaves: true,
            client: Some(client.clone()),
            ..Following::new(FOLLOWER, identity.clone(), kms_address, kms, clock)
        };
        let (sender, appended) = mpsc::channel(BACKLOG);
        let keys = Arc::new(keys);
        let vault = Vault::new(pool, keys.kek.clone());
        let certifier = Certifier::new(keys.clone(), vault.clone(), kms_address, publishing);
        // What the ledger says from here on, it may say before anybody looks.
        let named_at_start = replica.state().is_some_and(|state| *state.ca() == keys.service_keys());
        let follower = Arc::new(Follower::start(following, replica.clone(), sender)?);
        tracing::info!(organization = %pin.organization, leaves = replica.size(), "following the kms");
        Ok(Self {
            issuing: Issuing::new(follower.clone(), keys.clone(), vault.clone(), certifier),
            cosigner: Cosigner::new(follower.clone(), keys.clone(), vault.clone()),
            client,
            keys,
            named_at_start,
            follower,
            vault,
            replica,
            appended,
            figures: Figures::default(),
        })
    }

    /// What the ca follows.
    #[must_use]
    pub fn follower(&self) -> &Follower {
        &self.follower
    }

    /// What it shows to whoever watches it; `hsm` is where its keys are.
    #[must_use]
    pub fn watched(&self, hsm: Hsm) -> Arc<dyn Watched> {
        Arc::new(Watching { figures: self.figures.clone(), follower: self.follower.clone(), hsm })
    }

    /// The keys with which it speaks.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Whether the ledger names these keys as the ca's.
    fn is_the_ca(&self) -> bool {
        self.replica.state().is_some_and(|state| *state.ca() == self.keys.service_keys())
    }

    /// Works until `shutdown` resolves, or the ledger names other keys for the ca in the place of these. Whatever is cut off is
    /// taken up at the next start.
    ///
    /// # Errors
    /// [`ServiceError::Vault`] if the backlog cannot be read.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<Ended, ServiceError> {
        let mut queue = self.backlog().await?;
        // Settled time at which CRLs and certificates are looked at again: at once.
        let mut round: Millis = 0;
        let mut status = self.follower.status();
        let mut running: JoinSet<(Job, Result<Progress, IssueError>)> = JoinSet::new();
        let cosigning = keep_cosigning(
            (self.cosigner.clone(), self.client.clone()),
            self.replica.subscribe(),
            self.figures.clone(),
        );
        let cosigning = tokio::spawn(cosigning);
        let committing = tokio::spawn(keep_committing(self.issuing.clone(), self.client.clone()));
        tokio::pin!(shutdown);
        let mut was_the_ca = self.named_at_start;
        let ended = loop {
            let is_the_ca = self.is_the_ca();
            if was_the_ca && !is_the_ca {
                break Ended::OtherKeys;
            }
            was_the_ca |= is_the_ca;
            let mut due = Instant::now() + LEASE_LOOK;
            self.figures.to_do(queue.len());
            // Nothing is begun without a lease: it could not be finished.
            if let Some(fresh) = self.follower.fresh() {
                if fresh.settled >= round {
                    round = self.look_round(&mut queue, &fresh).await;
                }
                while running.len() < WORKERS {
                    let Some(job) = queue.next(Instant::now()) else {
                        due = queue.due().map_or(due, |first| first.min(due));
                        break;
                    };
                    let (issuing, client) = (self.issuing.clone(), self.client.clone());
                    running.spawn(async move { (job, work(&issuing, &client, job).await) });
                }
            }
            tokio::select! {
                () = &mut shutdown => break Ended::Told,
                Some(finished) = running.join_next() => match finished {
                    Ok((job, outcome)) => {
                        settle(&mut queue, job, outcome);
                        self.look_behind(&mut queue, job);
                    }
                    Err(error) => tracing::error!(%error, "a worker ended early"),
                },
                Some(appended) = self.appended.recv() => {
                    let state = &appended.after;
                    if let Some(end) = revocation::next_end(state, state.last_at()) {
                        round = round.min(end);
                    }
                    self.look_at(&mut queue, &appended).await;
                }
                Ok(()) = status.changed() => {}
                () = tokio::time::sleep_until(due) => {}
            }
        };
        cosigning.abort();
        committing.abort();
        running.shutdown().await;
        self.replica.keep_snapshot().await;
        Ok(ended)
    }

    /// Everything in the ledger that is ordered and not there yet.
    async fn backlog(&self) -> Result<Queue, ServiceError> {
        let mut queue = Queue::default();
        // Their grants may have been issued, or ended, while the ca was not running.
        for grant in self.vault.shares().await? {
            queue.add(Job::Grant(grant));
        }
        let sent: BTreeSet<_> = self.vault.certificates_sent().await?.into_iter().collect();
        if let Some(state) = self.replica.state() {
            for job in jobs_of(&state) {
                if !matches!(job, Job::Certificate(kind, id) if sent.contains(&(kind, id))) {
                    queue.add(job);
                }
            }
        }
        Ok(queue)
    }

    /// What is due by the time alone: CRLs that run out, certificates that end soon, and whatever ended by its date. Answers
    /// when to look again.
    async fn look_round(&self, queue: &mut Queue, fresh: &Fresh) -> Millis {
        crls().for_each(|job| queue.add(job));
        match self.vault.certificates_ending(fresh.time.saturating_add(RENEWED_BEFORE_MS)).await {
            Ok(ending) => ending.into_iter().for_each(|(kind, id)| {
                let ended = revocation::cause(&fresh.state, fresh.settled, kind, &id);
                if kind != CertificateKind::Authority && ended.is_none() {
                    queue.add(Job::Certificate(kind, id));
                }
            }),
            Err(error) => tracing::error!(%error, "the certificates could not be looked through"),
        }
        let next = fresh.settled.saturating_add(ROUND_MS);
        revocation::next_end(&fresh.state, fresh.settled).map_or(next, |end| end.min(next))
    }

    /// A certificate may have been made for something that ended meanwhile, after the CRL that should name it.
    fn look_behind(&self, queue: &mut Queue, job: Job) {
        let (Job::Certificate(kind, id), Some(fresh)) = (job, self.follower.fresh()) else { return };
        if revocation::cause(&fresh.state, fresh.settled, kind, &id).is_some() {
            queue.add(Job::Crl(CrlIssuer::Issuing));
        }
    }

    /// What a leaf asks for.
    async fn look_at(&self, queue: &mut Queue, appended: &Appended) {
        let envelope = appended.leaf.envelope();
        if appended.index == 0 {
            jobs_of(&appended.after).for_each(|job| queue.add(job));
        } else if envelope.payload_type == Order::PAYLOAD_TYPE {
            for job in jobs_of_order(envelope) {
                queue.add(job);
            }
            if ends_something(envelope) {
                queue.add(Job::Crl(CrlIssuer::Issuing));
            }
            // An order may have ended grants that were on their way.
            match self.vault.shares().await {
                Ok(shares) => self.drop_ended(queue, &appended.after, shares).await,
                Err(error) => tracing::error!(%error, "the card shares could not be looked through"),
            }
        } else if let Ok(Fact { fact, .. }) = envelope.statement() {
            match fact {
                FactBody::UnitCreated { unit, .. } => {
                    queue.remove(Job::Unit(unit));
                    queue.add(Job::Certificate(CertificateKind::Unit, unit));
                    // It may take the place of another one.
                    queue.add(Job::Crl(CrlIssuer::Issuing));
                    // Grants may have been ordered before their unit had a key.
                    queue.wake();
                }
                FactBody::GrantIssued { grant, .. } => {
                    queue.remove(Job::Grant(grant));
                    self.forget(queue, grant).await;
                    queue.add(Job::Certificate(CertificateKind::CardShare, grant));
                }
                _ => {}
            }
        }
    }

    async fn drop_ended(&self, queue: &mut Queue, state: &State, shares: Vec<Id>) {
        for grant in shares {
            if state.grant(&grant).is_none_or(|grant| grant.revoked || grant.issued.is_some()) {
                queue.remove(Job::Grant(grant));
                self.forget(queue, grant).await;
            }
        }
    }

    async fn forget(&self, queue: &mut Queue, grant: Id) {
        if let Err(error) = self.vault.forget_share(grant).await {
            tracing::error!(%error, %grant, "a card share could not be forgotten yet");
            queue.add(Job::Grant(grant));
        }
    }
}

/// The keys that this ledger names; what they took the place of is destroyed. Blocks.
fn in_use(keys: Keys, state: &State) -> Result<Keys, ServiceError> {
    let keys = keys.named_in(state)?;
    keys.destroy_former(state)?;
    Ok(keys)
}

/// How often CRLs are given to the kms anew, and looked at for their age: it may have lost what it had.
const ROUND_MS: Millis = 30 * 60 * 1000;
/// A lease begins and ends without an event: how often to look at the latest.
const LEASE_LOOK: Duration = Duration::from_millis(500);

async fn work(issuing: &Issuing, client: &Client, job: Job) -> Result<Progress, IssueError> {
    match job {
        Job::Unit(unit) => issuing.create_unit(client, unit).await,
        Job::Grant(grant) => issuing.issue_grant(client, grant).await,
        Job::Certificate(kind, id) => issuing.certify(client, kind, id).await,
        Job::Crl(issuer) => issuing.publish_crl(client, issuer).await,
    }
}

fn settle(queue: &mut Queue, job: Job, outcome: Result<Progress, IssueError>) {
    match outcome {
        Ok(Progress::Done) => queue.done(job),
        Ok(Progress::Waiting) => queue.again(job, Instant::now()),
        Err(error) => {
            use IssueError as E;
            let source = std::error::Error::source(&error).map(tracing::field::display);
            match &error {
                E::NoLease | E::Kms(_) => tracing::warn!(?job, %error, source, "not done yet"),
                // Only a kms that lies, or two that do not agree, comes here.
                E::NotOrdered { .. } | E::Answer(_) | E::OtherFact | E::NotOurPoint | E::Rejected(_) => {
                    tracing::error!(?job, %error, source, "REFUSED: nothing was signed");
                }
                _ => tracing::error!(?job, %error, source, "not done"),
            }
            queue.again(job, Instant::now());
        }
    }
}

/// Everything that the state asks of the ca, done or not, but for grants and units that have their keys.
fn jobs_of(state: &State) -> impl Iterator<Item = Job> + '_ {
    use CertificateKind as K;
    let services = std::iter::once(NONE).chain(state.sites().filter(|(_, s)| !s.removed).map(|(id, _)| *id));
    let units = state.units().map(|(&id, unit)| match unit.key {
        None => Job::Unit(id),
        Some(_) => Job::Certificate(K::Unit, id),
    });
    let grants = state.grants().filter(|(_, grant)| !grant.revoked).map(|(&id, grant)| match grant.issued {
        None => Job::Grant(id),
        Some(_) => Job::Certificate(K::CardShare, id),
    });
    std::iter::once(Job::Certificate(K::Authority, NONE))
        .chain(services.map(|id| Job::Certificate(K::Service, id)))
        .chain(state.cards().flat_map(|(&id, _)| jobs_of_card(id)))
        .chain(units)
        .chain(grants)
}

fn jobs_of_card(card: Id) -> [Job; 2] {
    [CertificateKind::CardAuthentication, CertificateKind::CardSignature]
        .map(|kind| Job::Certificate(kind, card))
}

fn crls() -> impl Iterator<Item = Job> {
    [CrlIssuer::Issuing, CrlIssuer::Root].into_iter().map(Job::Crl)
}

/// Whether an order ends anything that a certificate speaks of, or lets it live again. A contract's new end counts, too: it may
/// be an earlier one.
fn ends_something(envelope: &Envelope) -> bool {
    let Ok(order) = envelope.statement::<Order>() else { return false };
    order.acts.iter().any(|act| {
        !matches!(
            act,
            Act::RoleChanged { .. }
                | Act::PolicyChanged { .. }
                | Act::SiteJoined { .. }
                | Act::ContractOpened { .. }
                | Act::UnitOrdered { .. }
                | Act::UnitChanged { .. }
                | Act::UnitMerged { .. }
                | Act::MemberEnrolled { .. }
                | Act::MemberPlaced { .. }
                | Act::CardEnrolled(_)
                | Act::GrantOrdered { .. }
                | Act::FileShredded { .. }
                | Act::SlipRevoked { .. }
                | Act::TrustAdded { .. }
                | Act::TrustEnded { .. }
        )
    })
}

fn jobs_of_order(envelope: &Envelope) -> Vec<Job> {
    // The fold has read it before.
    let Ok(order) = envelope.statement::<Order>() else { return Vec::new() };
    order
        .acts
        .iter()
        .flat_map(|act| match act {
            Act::UnitOrdered { unit, .. } | Act::UnitRekeyed { successor: unit, .. } => {
                vec![Job::Unit(*unit)]
            }
            Act::GrantOrdered { grant, .. } => vec![Job::Grant(*grant)],
            Act::CardEnrolled(card) => jobs_of_card(card.card).to_vec(),
            Act::SiteJoined { site, .. } => vec![Job::Certificate(CertificateKind::Service, *site)],
            Act::AuthorityRecovered { service: HalfHolder::Kms, .. }
            | Act::KeyRotated { service: ServiceId::Kms, .. } => {
                vec![Job::Certificate(CertificateKind::Service, NONE)]
            }
            Act::KeyRotated { service: ServiceId::Site(site), .. } => {
                vec![Job::Certificate(CertificateKind::Service, *site)]
            }
            _ => Vec::new(),
        })
        .collect()
}

/// Commits the heads of sites' audit journals, and which slips there are, whenever the kms says that they are due.
async fn keep_committing(issuing: Issuing, client: Client) {
    loop {
        match issuing.commit_journals(&client).await {
            Ok(()) => {}
            Err(error @ (IssueError::Answer(_) | IssueError::OtherFact | IssueError::Rejected(_))) => {
                tracing::error!(%error, "REFUSED: no heads of journals were signed");
            }
            Err(error) => tracing::debug!(%error, "heads of journals wait"),
        }
        match issuing.commit_slips(&client).await {
            Ok(()) => {}
            Err(error @ (IssueError::Answer(_) | IssueError::OtherFact | IssueError::Rejected(_))) => {
                tracing::error!(%error, "REFUSED: that there are slips was not signed");
            }
            Err(error) => tracing::debug!(%error, "slips wait to be committed"),
        }
        tokio::time::sleep(JOURNAL_LOOK).await;
    }
}

/// Cosigns whenever the ledger has grown.
async fn keep_cosigning(
    (cosigner, client): (Cosigner, Client),
    mut sizes: watch::Receiver<u64>,
    figures: Figures,
) {
    loop {
        let seen = *sizes.borrow_and_update();
        let pause = if seen == 0 {
            COSIGN_INTERVAL
        } else {
            let cosigned = cosigner.cosign(&client).await;
            if let Ok(Cosigned::Up(size)) = cosigned {
                figures.cosigned(size);
            }
            match cosigned {
                Ok(Cosigned::Up(size)) if size >= seen => COSIGN_INTERVAL,
                Ok(_) => COSIGN_PAUSE,
                Err(CosignError::Halted) => return,
                Err(error @ (CosignError::Fork { .. } | CosignError::Shrunk { .. })) => {
                    tracing::error!(%error, "REFUSED: nothing was cosigned");
                    COSIGN_INTERVAL
                }
                Err(error) => {
                    tracing::debug!(%error, "not cosigned yet");
                    COSIGN_PAUSE
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = sizes.changed() => if changed.is_err() { return },
        }
    }
}
