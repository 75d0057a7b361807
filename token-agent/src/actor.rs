//! One thread for each card: PC/SC blocks, and a card does one thing at a time.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use warifu_hardware::card::pkcs11::ModuleConfig;
use warifu_hardware::card::{
    Card, CardError, Custody, Identity, Interrupt, KeyRole, LastTry, ModuleCard, Pin, PinEntry, PivCard,
};
use warifu_hardware::signer::{DigestSigner, SignerError};
use warifu_split_key::point::Point;

use crate::platform::LockedSecret;

type Job = Box<dyn FnOnce(&mut Seat) + Send>;

/// Where a card is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In the PC/SC reader of this name: a PIV card.
    Reader(String),
    /// In the slot of this description, behind a module.
    Module(ModuleConfig, String),
}

impl Place {
    fn open(&self) -> Result<Box<dyn Card>, CardError> {
        match self {
            Self::Reader(reader) => Ok(Box::new(PivCard::open(reader)?)),
            Self::Module(module, reader) => Ok(Box::new(ModuleCard::open(module, reader)?)),
        }
    }
}

/// A card in a reader, as everybody but its thread sees it. Clones are the same card; the last one dropped ends the thread.
#[derive(Clone)]
pub(crate) struct CardActor {
    jobs: Sender<Job>,
    pin: Arc<Mutex<Option<LockedSecret>>>,
    identity: Identity,
    custody: Custody,
    interrupt: Arc<Mutex<Option<Interrupt>>>,
}

/// The card as its thread sees it.
pub(crate) struct Seat {
    place: Place,
    identity: Identity,
    card: Option<Box<dyn Card>>,
    pin: Arc<Mutex<Option<LockedSecret>>>,
    /// What ends the card's process, where it has one.
    interrupt: Arc<Mutex<Option<Interrupt>>>,
}

impl CardActor {
    /// Opens the card in a place.
    pub(crate) async fn open(place: Place) -> Result<Self, CardError> {
        let (opened, answer) = oneshot::channel();
        let (jobs, inbox) = channel::<Job>();
        let pin: Arc<Mutex<Option<LockedSecret>>> = Arc::default();
        let interrupt: Arc<Mutex<Option<Interrupt>>> = Arc::default();
        let (kept, ending) = (pin.clone(), interrupt.clone());
        std::thread::spawn(move || {
            let card = match place.open() {
                Ok(card) => card,
                Err(error) => {
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            *held(&ending) = card.interrupt();
            let _ = opened.send(Ok((card.identity(), card.custody())));
            let mut seat =
                Seat { place, identity: card.identity(), card: Some(card), pin: kept, interrupt: ending };
            while let Ok(job) = inbox.recv() {
                job(&mut seat);
            }
        });
        let (identity, custody) = answer.await.unwrap_or(Err(CardError::Removed))?;
        Ok(Self { jobs, pin, identity, custody, interrupt })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How shares come onto the card.
    pub(crate) fn custody(&self) -> Custody {
        self.custody
    }

    /// Kills the card's process, where it has one, whatever the card's thread waits for.
    pub(crate) fn interrupt(&self) {
        if let Some(interrupt) = held(&self.interrupt).clone() {
            interrupt.kill();
        }
    }

    /// Has the card's thread do something. Its thread ends only with the card.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Seat) -> Result<T, CardError> + Send + 'static,
    ) -> Result<T, CardError> {
        let (done, answer) = oneshot::channel();
        // Nobody waits any more where sending fails.
        let job: Job = Box::new(move |seat| drop(done.send(work(seat))));
        self.jobs.send(job).map_err(|_| CardError::Removed)?;
        answer.await.unwrap_or(Err(CardError::Removed))
    }

    /// The same for code that is not asynchronous; blocks the calling thread.
    fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Seat) -> Result<T, CardError> + Send + 'static,
    ) -> Result<T, CardError> {
        let (done, answer) = channel();
        let job: Job = Box::new(move |seat| drop(done.send(work(seat))));
        self.jobs.send(job).map_err(|_| CardError::Removed)?;
        answer.recv().unwrap_or(Err(CardError::Removed))
    }

    /// Whether the PIN is still kept.
    pub(crate) fn has_pin(&self) -> bool {
        held(&self.pin).is_some()
    }

    /// Wipes the PIN now, whatever the card's thread is doing.
    pub(crate) fn forget_pin(&self) {
        *held(&self.pin) = None;
    }
}

fn held<T>(kept: &Mutex<Option<T>>) -> MutexGuard<'_, Option<T>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seat {
    /// The card itself.
    pub(crate) fn card(&mut self) -> Result<&mut dyn Card, CardError> {
        // A module's process that was killed is started again.
        let ended = matches!(self.place, Place::Module(..))
            && self.card.as_ref().is_some_and(|card| card.interrupt().is_none());
        if self.card.is_none() || ended {
            self.card = None;
            let card = self.place.open().map_err(|error| match error {
                CardError::NoCard | CardError::NoReader { .. } => CardError::Removed,
                other => other,
            })?;
            // Or what was meant for one card would be done to the next one.
            if card.identity() != self.identity {
                return Err(CardError::Removed);
            }
            *held(&self.interrupt) = card.interrupt();
            self.card = Some(card);
        }
        match &mut self.card {
            Some(card) => Ok(card.as_mut()),
            None => Err(CardError::Removed),
        }
    }

    /// Verifies a PIN that a person has just entered, and keeps it for as long as the card is unlocked.
    pub(crate) fn unlock(&mut self, pin: &[u8], last_try: LastTry) -> Result<(), CardError> {
        let entry = Pin::new(pin).map_err(|_| CardError::PinNeeded)?;
        self.card()?.verify_pin(PinEntry::with(&entry, last_try))?;
        *held(&self.pin) = Some(LockedSecret::new(pin));
        Ok(())
    }

    /// Wipes the PIN and makes the card forget it: closing the last connection resets the card.
    pub(crate) fn lock(&mut self) {
        *held(&self.pin) = None;
        self.card = None;
    }

    /// Does something that needs the PIN verified. Where another program has reset the card, the kept PIN is tried
    /// once more, and only once: one that fails is wiped.
    pub(crate) fn with_pin<T>(
        &mut self,
        mut work: impl FnMut(&mut dyn Card) -> Result<T, CardError>,
    ) -> Result<T, CardError> {
        match work(self.card()?) {
            Err(CardError::PinNeeded) => {}
            done => return done,
        }
        // Not held while the card is asked, which may take for ever where it is being pulled: whoever ends everything
        // wipes the kept PIN first.
        let pin = held(&self.pin).as_ref().and_then(|kept| Pin::new(kept.expose()).ok());
        let Some(pin) = pin else { return Err(CardError::PinNeeded) };
        let restored = self.card().and_then(|card| card.verify_pin(PinEntry::new(&pin)));
        drop(pin);
        if restored.is_err() {
            *held(&self.pin) = None;
            return Err(CardError::PinNeeded);
        }
        if held(&self.pin).is_none() {
            // Everything was ended meanwhile.
            self.lock();
            return Err(CardError::PinNeeded);
        }
        work(self.card()?)
    }
}

/// A card's 9A key for TLS.
pub(crate) struct AuthenticationKey {
    actor: CardActor,
    key: Point,
}

impl AuthenticationKey {
    pub(crate) fn new(actor: CardActor, key: Point) -> Self {
        Self { actor, key }
    }
}

impl DigestSigner for AuthenticationKey {
    fn public_key(&self) -> Point {
        self.key
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        self.actor
            .run_blocking(move |seat| seat.with_pin(|card| card.sign(KeyRole::Authentication, &digest, None)))
            .map_err(SignerError::device)
    }
}
