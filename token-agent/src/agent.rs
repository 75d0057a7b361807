//! The agent: what is in the readers, and what people and programs on this PC may ask of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use warifu_api::wire::agent::{AgentFault, ChangePin, Status, Unblock, Unlock};
use warifu_api::{Client, ClientError, ErrorCode};
use warifu_crash_point::{CrashPoint, reached};
use warifu_hardware::card::pkcs11::ModuleConfig;
use warifu_hardware::card::{CardError, LastTry};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{Profile, ProfileSite};
use warifu_split_key::point::Point;
use warifu_texts::day::Zone;

use crate::deliveries::{self, outbox::Outbox};
use crate::ending::Told;
use crate::fault;
use crate::follow;
use crate::new_keys;
use crate::opening::Meter;
use crate::pickup;
use crate::platform::{Claim, Viewer, write_private};
use crate::profile::{self, ProfileError, Successor};
use crate::session::{Phase, Session, Unlocked};
use crate::site::Sites;

mod readers;
mod standing;

use readers::World;

/// The longest that one PIN entry can last, whatever the profile says.
const LONGEST_PIN_ENTRY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the agent is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The profile's file; it need not exist yet.
    pub profile: PathBuf,
    /// Only readers whose name contains one of these; all if there is none.
    pub readers: Vec<String>,
    /// PKCS#11 modules whose tokens are cards, too.
    pub modules: Vec<ModuleConfig>,
    /// Where the bootstrap file is written: a folder that only this user can enter.
    pub runtime_dir: PathBuf,
    /// The command that shows files, to which the path is appended; the desktop's own choice if empty.
    pub viewer: Vec<String>,
    /// The site to ask first: its name or id.
    pub site: Option<String>,
    /// The kms's address and TLS key, to be used in the place of those in the profile: while there is none, and while the kms has
    /// other keys that no profile names yet.
    pub kms: Option<(String, Point)>,
    /// Where deliveries lie that have not arrived yet: a folder of this user's.
    pub deliveries: PathBuf,
    /// Root certificates (DER) of makers whose attestations are believed.
    pub attestation_roots: Vec<Vec<u8>>,
}

/// The state of a running agent.
pub(crate) struct Agent {
    pub(crate) config: Config,
    profile: RwLock<Option<Arc<Profile>>>,
    /// Whether the profile has outdone the kms's key that was told at the start.
    pub(crate) told_kms_is_over: AtomicBool,
    world: Mutex<World>,
    claim: Claim,
    folders: AtomicU64,
    pub(crate) meter: Meter,
    /// How many of the parts are computed of files that are being routed.
    pub(crate) routing: Meter,
    /// How much is sealed, brought and taken out of deliveries.
    pub(crate) carrying: Meter,
    pub(crate) outbox: Outbox,
    pub(crate) bringing: deliveries::Turns,
    pub(crate) viewer: Viewer,
    told: Told,
}

impl Agent {
    pub(crate) fn new(config: Config, claim: Claim) -> Result<Arc<Self>, ProfileError> {
        let profile = match profile::read(&config.profile) {
            Ok(profile) => Some(Arc::new(profile)),
            Err(ProfileError::Read(error)) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let viewer = Viewer::new(config.viewer.clone(), config.runtime_dir.clone());
        let outbox = Outbox::new(config.deliveries.join("outbox"));
        outbox.tidy();
        deliveries::forget_fetched(&config);
        Ok(Arc::new(Self {
            config,
            profile: RwLock::new(profile),
            told_kms_is_over: AtomicBool::new(false),
            world: Mutex::default(),
            claim,
            folders: AtomicU64::new(0),
            meter: Meter::default(),
            routing: Meter::default(),
            carrying: Meter::default(),
            outbox,
            bringing: deliveries::Turns::default(),
            viewer,
            told: Told::default(),
        }))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn profile(&self) -> Option<Arc<Profile>> {
        self.profile.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The organization's time zone.
    pub(crate) fn zone(&self) -> Zone {
        Zone::named(self.profile().as_ref().map_or("UTC", |profile| &profile.zone))
    }

    /// Reads the profile file again. What is open goes on under the old one until the next PIN entry.
    pub(crate) fn reload_profile(&self) -> Result<(), AgentFault> {
        let new = profile::read(&self.config.profile)?;
        let mut profile = self.profile.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = profile.as_deref() {
            profile::check_successor(old, &new)?;
        }
        *profile = Some(Arc::new(new));
        Ok(())
    }

    /// Fetches the profile from the kms, writes it to the profile file if it may take the old one's place, and uses it. Where ca
    /// or kms have got other keys, a card that is open reads the ledger that proves it.
    pub(crate) async fn refresh_profile(&self) -> Result<(), AgentFault> {
        let old = self.profile().ok_or(AgentFault::NoProfile)?;
        let (envelope, elsewhere): (Envelope, bool) = match self.authority(None)?.get("/v1/profile").await {
            Err(ClientError::NotTrusted { .. }) => {
                (self.whoever_answers(None)?.get("/v1/profile").await.map_err(fault::of_authority)?, true)
            }
            answered => (answered.map_err(fault::of_authority)?, false),
        };
        self.take_profile(&old, &envelope).await?;
        if elsewhere {
            // Whatever this PC was told at its start: the kms has the keys of the profile now.
            self.told_kms_is_over.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn take_profile(&self, old: &Profile, envelope: &Envelope) -> Result<(), AgentFault> {
        let text = match profile::successor(old, envelope)? {
            Successor::Same => return Ok(()),
            Successor::Next(text) => text,
            Successor::OtherKeys(new, text) => {
                let open = self.sessions().iter().find_map(|session| session.unlocked());
                let why = || "ca or kms have other keys: a card has to be open to read why".to_owned();
                let identity =
                    open.ok_or_else(|| AgentFault::NotTrustworthy { why: why() })?.identity.clone();
                new_keys::prove(&self.whoever_answers(Some(&identity))?, old, &new).await?;
                self.write_profile(&text).await?;
                *self.profile.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(*new));
                return Ok(());
            }
        };
        self.write_profile(&text).await?;
        self.reload_profile()
    }

    /// A site has shown another key than the profile names: the kms is asked whether it has got one. True if the sites are to be
    /// asked again: not where they are those of before, or whoever shows a site's address another key would keep kms and agent busy.
    pub(crate) async fn learn_keys(&self, unlocked: &Unlocked) -> bool {
        if !unlocked.sites.saw_other_key() {
            return false;
        }
        if let Err(why) = self.refresh_profile().await {
            tracing::info!(?why, "no new profile, though a site shows another key");
            return false;
        }
        unlocked.sites.learn(self.sites())
    }

    /// The sites of the profile, in the order in which they are asked.
    fn sites(&self) -> Vec<ProfileSite> {
        let profile = self.profile();
        profile.as_deref().map(|p| profile::sites(p, self.config.site.as_deref())).unwrap_or_default()
    }

    async fn write_profile(&self, text: &[u8]) -> Result<(), AgentFault> {
        write_private(&self.config.profile, text)
            .map_err(|error| AgentFault::OutputUnwritable { why: error.to_string() })?;
        reached(CrashPoint::AgentProfileWritten).await;
        Ok(())
    }

    /// Whoever answers in the place of the kms: for what proves itself.
    fn whoever_answers(&self, identity: Option<&warifu_api::tls::Identity>) -> Result<Client, AgentFault> {
        let (address, _) = self.authority_address()?;
        Client::of_anybody(address, identity).map_err(fault::of_authority)
    }

    /// A name for a new folder in memory.
    pub(crate) fn new_folder(&self) -> PathBuf {
        self.claim.folder().join(self.folders.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// The card with this serial number.
    pub(crate) fn session(&self, serial: u32) -> Result<Arc<Session>, AgentFault> {
        self.sessions().into_iter().find(|session| session.serial == serial).ok_or(AgentFault::NoCard)
    }

    /// Whether the card says it is one of this organization's, or a site has said so.
    fn is_ours(&self, session: &Session) -> bool {
        let named = session.facts().organization();
        let ours = self.profile().map(|profile| profile.organization);
        (named.is_some() && named == ours) || !matches!(session.phase(), Phase::Locked)
    }

    /// The card that is meant where none is named: the only one of this organization.
    fn only_session(&self) -> Result<Arc<Session>, AgentFault> {
        let mut ours: Vec<_> = self.sessions().into_iter().filter(|session| self.is_ours(session)).collect();
        if ours.len() > 1 {
            ours.retain(|session| session.unlocked().is_none());
        }
        match ours.as_slice() {
            [] => Err(self.without_card()),
            [session] => Ok(session.clone()),
            several => Err(AgentFault::SeveralCards {
                serials: several.iter().map(|session| session.serial.to_string()).collect(),
            }),
        }
    }

    /// One PIN entry for this insertion.
    pub(crate) async fn unlock(self: &Arc<Self>, request: Unlock) -> Result<Status, AgentFault> {
        let session = match request.serial {
            Some(serial) => self.session(serial)?,
            None => self.only_session()?,
        };
        let gate = session.gate.lock().await;
        if session.unlocked().is_none() {
            let last_try = if request.spend_last_try { LastTry::Spend } else { LastTry::Keep };
            session.verify(request.pin.0, last_try).await?;
            if let Err(fault) = self.open_session(&session).await {
                session.end(None).await;
                return Err(fault);
            }
        }
        drop(gate);
        let mut status = self.status().await;
        self.told.note(session.serial, &mut status.ends);
        Ok(status)
    }

    /// A new PIN by the card's PUK. The card is locked afterwards: its member enters the new one.
    pub(crate) async fn unblock(&self, request: Unblock) -> Result<(), AgentFault> {
        let session = self.session(request.serial)?;
        let _gate = session.gate.lock().await;
        let last_try = if request.spend_last_try { LastTry::Spend } else { LastTry::Keep };
        let outcome = session.unblock(request.puk.0, request.pin.0, last_try).await;
        session.end(None).await;
        outcome
    }

    /// Another PIN, by the present one. The card is locked afterwards: its member enters the new one.
    pub(crate) async fn change_pin(&self, request: ChangePin) -> Result<(), AgentFault> {
        let session = match request.serial {
            Some(serial) => self.session(serial)?,
            None => self.only_session()?,
        };
        let _gate = session.gate.lock().await;
        let outcome = session.change_pin(request.old.0, request.new.0).await;
        session.end(None).await;
        outcome
    }

    /// The PIN holds: connect to a site and follow it.
    async fn open_session(self: &Arc<Self>, session: &Arc<Session>) -> Result<(), AgentFault> {
        let identity = session.tls_identity().await?;
        let profile = self.profile();
        let unlocked = Arc::new(Unlocked::new(identity.clone(), Sites::new(identity, self.sites())));
        // Before the site is asked, so that a card that is pulled meanwhile ends it.
        session.set_open(unlocked.clone());
        if self.session(session.serial).is_err() {
            return Err(AgentFault::CardRemoved);
        }
        let ending = unlocked.ending();
        // The kms signs the profile alone, but no ledger has a policy beyond this.
        let told = profile.as_ref().map(|profile| Duration::from_millis(profile.pin_ceiling_ms));
        let ceiling = told.unwrap_or(LONGEST_PIN_ENTRY).min(LONGEST_PIN_ENTRY);
        let connected = {
            let mut over = ending.clone();
            tokio::select! {
                connected = unlocked.sites.connect(None) => connected,
                _ = over.wait_for(|over| *over) => Err(AgentFault::CardRemoved),
            }
        };
        match connected {
            Ok(link) => unlocked.told(link.grants()),
            Err(AgentFault::SiteRefused { code }) if fault::ends_card(code) => {
                drop(ending);
                session.end(Some(code)).await;
                return Ok(());
            }
            Err(AgentFault::CardRemoved) => return Err(AgentFault::CardRemoved),
            // The card is unlocked all the same: a site may answer later, and the kms knows the key.
            Err(fault) => tracing::info!(?fault, "no site answers"),
        }
        tokio::spawn(pickup::pick_up(Arc::downgrade(self), session.clone(), unlocked.ending()));
        tokio::spawn(follow::follow(Arc::downgrade(self), session.clone(), unlocked, ending, ceiling));
        // A site that came since is asked after the next PIN entry. Nothing depends on it.
        let agent = self.clone();
        tokio::spawn(async move {
            if let Err(why) = agent.refresh_profile().await {
                tracing::debug!(?why, "no new profile");
            }
        });
        Ok(())
    }

    /// Forgets all PINs and closes what is open.
    pub(crate) async fn lock(&self) {
        for session in self.sessions() {
            session.end(None).await;
        }
    }

    /// A site has spoken: where it says that the card is over, everything ends as if the card were pulled.
    pub(crate) fn heard(&self, session: &Arc<Session>, fault: &AgentFault) {
        if let AgentFault::SiteRefused { code } = fault
            && fault::ends_card(*code)
        {
            let (session, code) = (session.clone(), *code);
            tokio::spawn(async move { session.end(Some(code)).await });
        }
    }

    /// A card has failed at something that needs the PIN: where it could not be restored, the card is locked.
    pub(crate) async fn card_failed(&self, session: &Arc<Session>, error: CardError) -> AgentFault {
        if !matches!(error, CardError::PinNeeded) {
            return fault::of_card(error);
        }
        let fault = session.pin_needed().await;
        let session = session.clone();
        tokio::spawn(async move { session.end(None).await });
        fault
    }

    /// A site has refused one item: the card may be over, or the grant, in which case the site is asked anew.
    pub(crate) fn heard_of_grant(&self, session: &Arc<Session>, code: ErrorCode) {
        match code {
            ErrorCode::CardNotLive | ErrorCode::CardSuspended => {
                self.heard(session, &AgentFault::SiteRefused { code });
            }
            ErrorCode::GrantNotLive
            | ErrorCode::GrantExpired
            | ErrorCode::ContractOver
            | ErrorCode::UnitClosed => {
                let session = session.clone();
                tokio::spawn(async move { follow::ask_again(&session).await });
            }
            _ => {}
        }
    }

    /// Ends everything, and leaves nothing in memory.
    pub(crate) async fn shut_down(&self) {
        let ends: Vec<_> = self
            .sessions()
            .into_iter()
            .map(|session| tokio::spawn(async move { session.end(None).await }))
            .collect();
        for end in ends {
            let _ = end.await;
        }
        // Not left to the last owner of this value: a request that still runs may be one.
        self.claim.wipe();
    }
}
