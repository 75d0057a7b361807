//! The agent: what is in the readers, and what people and programs on this PC may ask of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use warifu_api::wire::agent::{
    AgentFault, AgentState, BrokenModule, CardInReader, CardSecrets, Cards, ChangePin, ManagementKeyKind,
    Standing, Status, Unblock, Unlock,
};
use warifu_api::{Client, ClientError, ErrorCode};
use warifu_crash_point::{CrashPoint, reached};
use warifu_hardware::card::pkcs11::{ModuleConfig, ModuleEvent};
use warifu_hardware::card::readers::ReaderEvent;
use warifu_hardware::card::{CardError, LastTry, Management, Secrets};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::Profile;
use warifu_split_key::point::Point;
use warifu_texts::day::Zone;

use crate::actor::Place;
use crate::ending::{self, Told};
use crate::fault;
use crate::follow;
use crate::new_keys;
use crate::opening::Meter;
use crate::pickup;
use crate::platform::{Claim, Viewer, write_private};
use crate::profile::{self, ProfileError, Successor};
use crate::session::{Phase, Session, Unlocked};
use crate::site::Sites;

/// How long after insertion a card that another program has for itself is tried again.
const RETRY: Duration = Duration::from_millis(400);

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
    /// Root certificates (DER) of makers whose attestations are believed.
    pub attestation_roots: Vec<Vec<u8>>,
}

/// The state of a running agent.
pub(crate) struct Agent {
    pub(crate) config: Config,
    profile: RwLock<Option<Arc<Profile>>>,
    world: Mutex<World>,
    claim: Claim,
    folders: AtomicU64,
    pub(crate) meter: Meter,
    pub(crate) viewer: Viewer,
    told: Told,
}

#[derive(Default)]
struct World {
    service: bool,
    /// By the reader's name; slots of modules have the module's name behind it.
    readers: BTreeMap<String, Slot>,
    /// What the modules show.
    tokens: BTreeMap<String, TokenPlace>,
    /// The modules that do not work, by their place in the configuration, and whether they hung.
    broken: BTreeMap<usize, bool>,
    insertions: u64,
}

/// Where a module shows a token.
#[derive(Clone)]
struct TokenPlace {
    module: ModuleConfig,
    /// The slot's description: where the reader is on PC/SC, its name, as far as it fits.
    description: String,
}

/// Bytes of a slot's description (PKCS#11 2.40, section 3.2).
const DESCRIPTION: usize = 64;

impl TokenPlace {
    fn is_in(&self, reader: &str) -> bool {
        self.description == reader
            || (self.description.len() == DESCRIPTION && reader.starts_with(&self.description))
    }
}

/// What is in a reader.
enum Slot {
    Empty,
    /// A card that is being looked at; the number says which insertion it is.
    Opening(u64),
    Foreign,
    Card(Arc<Session>),
}

/// Whether a card behind a module is in a PC/SC reader as well.
enum Native {
    /// It is being looked at.
    Unknown,
    /// It is, and can be used without the module.
    Used,
    /// It is not, or only the module knows the card.
    None,
}

impl Agent {
    pub(crate) fn new(config: Config, claim: Claim) -> Result<Arc<Self>, ProfileError> {
        let profile = match profile::read(&config.profile) {
            Ok(profile) => Some(Arc::new(profile)),
            Err(ProfileError::Read(error)) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let viewer = Viewer::new(config.viewer.clone(), config.runtime_dir.clone());
        Ok(Arc::new(Self {
            config,
            profile: RwLock::new(profile),
            world: Mutex::default(),
            claim,
            folders: AtomicU64::new(0),
            meter: Meter::default(),
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
        let envelope: Envelope = match self.authority(None)?.get("/v1/profile").await {
            Err(ClientError::NotTrusted { .. }) => self.whoever_answers(None)?.get("/v1/profile").await,
            answered => answered,
        }
        .map_err(fault::of_authority)?;
        let text = match profile::successor(&old, &envelope)? {
            Successor::Same => return Ok(()),
            Successor::Next(text) => text,
            Successor::OtherKeys(new, text) => {
                let open = self.sessions().iter().find_map(|session| session.unlocked());
                let why = || "ca or kms have other keys: a card has to be open to read why".to_owned();
                let identity =
                    open.ok_or_else(|| AgentFault::NotTrustworthy { why: why() })?.identity.clone();
                new_keys::prove(&self.whoever_answers(Some(&identity))?, &old, &new).await?;
                self.write_profile(&text).await?;
                *self.profile.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(*new));
                return Ok(());
            }
        };
        self.write_profile(&text).await?;
        self.reload_profile()
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

    /// Takes note of what happens at the readers. Returns at once: a slow card must not hide that another one goes.
    pub(crate) fn on_reader(self: &Arc<Self>, event: ReaderEvent) {
        let mut world = self.world();
        match event {
            ReaderEvent::ServiceUp => world.service = true,
            ReaderEvent::ServiceDown => world.service = false,
            ReaderEvent::ReaderAdded { reader } => {
                world.readers.insert(reader, Slot::Empty);
            }
            ReaderEvent::ReaderRemoved { reader } => {
                let slot = world.readers.remove(&reader);
                Self::gone(slot);
            }
            ReaderEvent::CardInserted { reader } => {
                self.inserted(&mut world, reader.clone(), Place::Reader(reader.clone()));
                // A module that has not looked meanwhile still shows the card that was here before.
                let shown = world.tokens.iter().filter(|(_, token)| token.is_in(&reader));
                for (key, token) in shown.map(|(key, token)| (key.clone(), token.clone())).collect::<Vec<_>>()
                {
                    self.inserted(&mut world, key, Place::Module(token.module, token.description));
                }
            }
            ReaderEvent::CardRemoved { reader } => {
                // The reader service tells it before the modules do, if they do.
                let shown = world.tokens.iter().filter(|(_, token)| token.is_in(&reader));
                for key in shown.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
                    Self::gone(world.readers.insert(key, Slot::Empty));
                }
                Self::gone(world.readers.insert(reader, Slot::Empty));
            }
            _ => {}
        }
    }

    /// Takes note of what happens at a module, by its place in the configuration. Returns at once.
    pub(crate) fn on_module(self: &Arc<Self>, index: usize, event: ModuleEvent) {
        let Some(module) = self.config.modules.get(index) else { return };
        let name = module.module.file_name().unwrap_or_default().to_string_lossy();
        let key = |reader: &str| format!("{reader} ({name})");
        let mut world = self.world();
        match event {
            ModuleEvent::Up => drop(world.broken.remove(&index)),
            ModuleEvent::Down { hung } => {
                tracing::warn!(module = %module.module.display(), hung, "a card module does not work");
                world.broken.insert(index, hung);
            }
            ModuleEvent::TokenInserted { reader } => {
                let token = TokenPlace { module: module.clone(), description: reader.clone() };
                world.tokens.insert(key(&reader), token);
                self.inserted(&mut world, key(&reader), Place::Module(module.clone(), reader));
            }
            ModuleEvent::TokenRemoved { reader } => {
                world.tokens.remove(&key(&reader));
                Self::gone(world.readers.remove(&key(&reader)));
            }
            _ => {}
        }
    }

    fn inserted(self: &Arc<Self>, world: &mut World, reader: String, place: Place) {
        world.insertions += 1;
        let number = world.insertions;
        Self::gone(world.readers.insert(reader.clone(), Slot::Opening(number)));
        tokio::spawn(self.clone().look_at(reader, place, number));
    }

    fn gone(slot: Option<Slot>) {
        if let Some(Slot::Card(session)) = slot {
            tracing::info!(serial = session.serial, "card out");
            tokio::spawn(async move { session.end(None).await });
        }
    }

    async fn look_at(self: Arc<Self>, reader: String, place: Place, number: u64) {
        loop {
            let opened = match self.native(&place) {
                Native::Unknown => Err(CardError::InUse),
                // One card is one session: the direct way is the better one.
                Native::Used => Err(CardError::NoCard),
                Native::None => Session::open(&reader, place.clone()).await,
            };
            if self.settle(&reader, number, opened) {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Whether a token of a module is a card that is used without the module.
    fn native(&self, place: &Place) -> Native {
        let Place::Module(module, description) = place else { return Native::None };
        let token = TokenPlace { module: module.clone(), description: description.clone() };
        match self.world().readers.iter().find(|(reader, _)| token.is_in(reader)) {
            Some((_, Slot::Opening(_))) => Native::Unknown,
            Some((_, Slot::Card(_))) => Native::Used,
            Some((_, Slot::Empty | Slot::Foreign)) | None => Native::None,
        }
    }

    /// Puts what was found in its place; false if the card has to be looked at again.
    fn settle(&self, reader: &str, number: u64, opened: Result<Session, CardError>) -> bool {
        let mut world = self.world();
        let number_is_of_token = world.tokens.contains_key(reader);
        let Some(slot) = world.readers.get_mut(reader) else { return true };
        if !matches!(slot, Slot::Opening(current) if *current == number) {
            // It was pulled meanwhile.
            return true;
        }
        match opened {
            Ok(session) => {
                tracing::info!(serial = session.serial, "card in");
                *slot = Slot::Card(Arc::new(session));
                true
            }
            Err(CardError::NoCard) if number_is_of_token => {
                *slot = Slot::Empty;
                true
            }
            Err(CardError::ForeignCard) => {
                *slot = Slot::Foreign;
                true
            }
            Err(error) => {
                tracing::info!(error = fault::chain(&error), "the card does not answer yet");
                false
            }
        }
    }

    /// The cards that can be talked to, in the order of their readers.
    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        let sessions = |slot: &Slot| match slot {
            Slot::Card(session) => Some(session.clone()),
            Slot::Empty | Slot::Opening(_) | Slot::Foreign => None,
        };
        self.world().readers.values().filter_map(sessions).collect()
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

    /// A card of this organization with shares that waits for its PIN, and how often that may be tried.
    pub(crate) async fn waiting_card(&self) -> Option<(u32, u8)> {
        for session in self.sessions() {
            let waits = matches!(session.phase(), Phase::Locked) && !session.facts().shares.is_empty();
            if waits
                && self.is_ours(&session)
                && let Ok(tries_left @ 1..) = session.tries_left().await
            {
                return Some((session.serial, tries_left));
            }
        }
        None
    }

    /// What is wrong where there is no card of this organization.
    fn without_card(&self) -> AgentFault {
        let world = self.world();
        let any = |wanted: fn(&Slot) -> bool| world.readers.values().any(wanted);
        if !world.service {
            AgentFault::NoReaderService
        } else if world.readers.is_empty() {
            AgentFault::NoReader
        } else if any(|slot| matches!(slot, Slot::Foreign | Slot::Card(_))) {
            AgentFault::ForeignCard
        } else {
            AgentFault::NoCard
        }
    }

    /// Why no file can be opened now.
    pub(crate) async fn why_not_open(&self) -> AgentFault {
        match self.status().await.state {
            // The card may be resumed by now. To ask a site again takes its key, and that the PIN, which is wiped.
            AgentState::Refused { code: Some(ErrorCode::CardSuspended), serial, .. } => {
                match self.session(serial) {
                    Ok(session) => session.pin_needed().await,
                    Err(fault) => fault,
                }
            }
            AgentState::ForeignCard { .. } | AgentState::Refused { code: None, .. }
                if self.profile().is_none() =>
            {
                AgentFault::NoProfile
            }
            state => state.fault().unwrap_or(AgentFault::SiteUnreachable),
        }
    }

    /// Where the agent stands: of several cards, the one that can do most first.
    pub(crate) async fn status(&self) -> Status {
        let profile = self.profile();
        let mut states = Vec::new();
        for session in self.sessions() {
            states.push(self.state_of(&session).await);
        }
        states.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let mut states = states.into_iter().map(|(_, state)| state);
        let state = states.next().unwrap_or_else(|| self.state_without_card());
        let others = states
            .filter(|state| !matches!(state, AgentState::ForeignCard { .. } | AgentState::NoCard))
            .collect();
        Status {
            state,
            others,
            brought: self.sessions().iter().flat_map(|session| session.brought()).collect(),
            organization: profile.as_ref().map(|profile| profile.name.clone()),
            ends: ending::of_all(&self.sessions(), &self.zone()),
            helpdesk: profile.as_ref().map(|profile| profile.helpdesk.clone()),
        }
    }

    fn state_without_card(&self) -> AgentState {
        match self.without_card() {
            AgentFault::NoReaderService => AgentState::NoReaderService,
            AgentFault::NoReader => AgentState::NoReader,
            AgentFault::ForeignCard => {
                let world = self.world();
                let foreign = world.readers.iter().find(|(_, slot)| matches!(slot, Slot::Foreign));
                AgentState::ForeignCard {
                    reader: foreign.map(|(reader, _)| reader.clone()).unwrap_or_default(),
                }
            }
            _ => AgentState::NoCard,
        }
    }

    /// Where a card stands, and how much it can do. An officer's card that opens no files does not hide a member's that
    /// waits for its PIN.
    async fn state_of(&self, session: &Session) -> (u8, AgentState) {
        let (reader, serial) = (session.reader.clone(), session.serial);
        match session.phase() {
            Phase::Open(unlocked) => match unlocked.sites.current() {
                Some(link) => {
                    let units = session.units(&link);
                    let rank = if units.is_empty() { 5 } else { 8 };
                    let open_files = unlocked.viewing.load(Ordering::Relaxed);
                    let state = AgentState::Open {
                        reader,
                        serial,
                        member: link.me.member_name.clone(),
                        units,
                        site: link.site.name.clone(),
                        lease_left_ms: link.lease_left_ms(),
                        open_files,
                    };
                    (rank, state)
                }
                None => (7, AgentState::Refused { reader, serial, code: None }),
            },
            Phase::Refused(code) => (4, AgentState::Refused { reader, serial, code: Some(code) }),
            Phase::Locked if !self.is_ours(session) => (1, AgentState::ForeignCard { reader }),
            Phase::Locked => match session.tries_left().await {
                Ok(0) => (3, AgentState::PinBlocked { reader, serial }),
                Ok(tries_left) => (6, AgentState::PinNeeded { reader, serial, tries_left }),
                Err(_) => (0, AgentState::NoCard),
            },
        }
    }

    /// What is in the readers.
    pub(crate) async fn cards(&self) -> Cards {
        let mut cards = Vec::new();
        for session in self.sessions() {
            let Ok(tries_left) = session.tries_left().await else { continue };
            let Ok((puk_tries_left, secrets)) = session.own_secrets().await else { continue };
            let facts = session.facts();
            cards.push(CardInReader {
                reader: session.reader.clone(),
                serial: session.serial,
                firmware: session.actor.identity().firmware.clone(),
                model: session.actor.identity().model.clone(),
                tries_left,
                puk_tries_left,
                secrets: secrets_of(secrets),
                keys: facts.keys(),
                shares: facts.shares.len(),
                share_points: facts.shares.keys().map(|point| (*point).into()).collect(),
                certificate: facts.certificate_says.clone(),
                custody: session.custody(),
                standing: self.standing(&session),
            });
        }
        let world = self.world();
        let unusable = world.readers.iter().filter(|(_, slot)| matches!(slot, Slot::Foreign));
        // What is used by way of a module is not unusable.
        let by_module = |reader: &str| {
            world.tokens.iter().any(|(key, token)| {
                token.is_in(reader) && matches!(world.readers.get(key), Some(Slot::Card(_)))
            })
        };
        let unusable =
            unusable.map(|(reader, _)| reader.clone()).filter(|reader| !by_module(reader)).collect();
        let modules = world.broken.iter().filter_map(|(index, hung)| {
            let module = self.config.modules.get(*index)?.module.display().to_string();
            Some(BrokenModule { module, hung: *hung })
        });
        Cards { cards, unusable, modules: modules.collect() }
    }

    fn standing(&self, session: &Session) -> Standing {
        match session.phase() {
            Phase::Locked if !self.is_ours(session) => Standing::Foreign,
            Phase::Locked => Standing::Locked,
            Phase::Refused(code) => Standing::Refused { code },
            Phase::Open(unlocked) => match unlocked.sites.current() {
                None => Standing::Unanswered,
                Some(link) => {
                    Standing::Open { units: session.units(&link), missing: session.missing(&link.me.grants) }
                }
            },
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
        let sites =
            profile.as_deref().map(|p| profile::sites(p, self.config.site.as_deref())).unwrap_or_default();
        let unlocked = Arc::new(Unlocked::new(identity.clone(), Sites::new(identity, sites)));
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

fn secrets_of(secrets: Secrets) -> CardSecrets {
    CardSecrets {
        factory_pin: secrets.factory_pin,
        factory_puk: secrets.factory_puk,
        management_key: match secrets.management {
            Management::Factory => ManagementKeyKind::Factory,
            Management::Protected => ManagementKeyKind::Protected,
            Management::Unknown => ManagementKeyKind::Unknown,
        },
    }
}
