//! What lies in which reader, and behind which module: events come in, sessions begin and end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use warifu_hardware::card::CardError;
use warifu_hardware::card::pkcs11::{ModuleConfig, ModuleEvent};
use warifu_hardware::card::readers::ReaderEvent;

use super::Agent;
use crate::actor::Place;
use crate::fault;
use crate::session::Session;

/// How long after insertion a card that another program has for itself is tried again.
const RETRY: Duration = Duration::from_millis(400);

#[derive(Default)]
pub(super) struct World {
    pub(super) service: bool,
    /// By the reader's name; slots of modules have the module's name behind it.
    pub(super) readers: BTreeMap<String, Slot>,
    /// What the modules show.
    pub(super) tokens: BTreeMap<String, TokenPlace>,
    /// The modules that do not work, by their place in the configuration, and whether they hung.
    pub(super) broken: BTreeMap<usize, bool>,
    insertions: u64,
}

/// Where a module shows a token.
#[derive(Clone)]
pub(super) struct TokenPlace {
    module: ModuleConfig,
    /// The slot's description: where the reader is on PC/SC, its name, as far as it fits.
    description: String,
}

/// Bytes of a slot's description (PKCS#11 2.40, section 3.2).
const DESCRIPTION: usize = 64;

impl TokenPlace {
    pub(super) fn is_in(&self, reader: &str) -> bool {
        self.description == reader
            || (self.description.len() == DESCRIPTION && reader.starts_with(&self.description))
    }
}

/// What is in a reader.
pub(super) enum Slot {
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
}
