//! One thread for each card: PC/SC blocks, and a card does one thing at a time.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use warifu_hardware::card::{Card, CardError, Identity, KeyRole, LastTry, Pin, PinEntry, PivCard};
use warifu_hardware::signer::{DigestSigner, SignerError};
use warifu_split_key::point::Point;

use crate::platform::LockedSecret;

type Job = Box<dyn FnOnce(&mut Seat) + Send>;

/// A card in a reader, as everybody but its thread sees it. Clones are the same card; the last one dropped ends the thread.
#[derive(Clone)]
pub(crate) struct CardActor {
    jobs: Sender<Job>,
    pin: Arc<Mutex<Option<LockedSecret>>>,
    identity: Identity,
}

/// The card as its thread sees it.
pub(crate) struct Seat {
    reader: String,
    identity: Identity,
    card: Option<PivCard>,
    pin: Arc<Mutex<Option<LockedSecret>>>,
}

impl CardActor {
    /// Opens the card in the reader of this name.
    pub(crate) async fn open(reader: &str) -> Result<Self, CardError> {
        let (opened, answer) = oneshot::channel();
        let (jobs, inbox) = channel::<Job>();
        let pin: Arc<Mutex<Option<LockedSecret>>> = Arc::default();
        let (reader, kept) = (reader.to_owned(), pin.clone());
        std::thread::spawn(move || {
            let card = match PivCard::open(&reader) {
                Ok(card) => card,
                Err(error) => {
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            let _ = opened.send(Ok(card.identity()));
            let mut seat = Seat { reader, identity: card.identity(), card: Some(card), pin: kept };
            while let Ok(job) = inbox.recv() {
                job(&mut seat);
            }
        });
        let identity = answer.await.unwrap_or(Err(CardError::Removed))?;
        Ok(Self { jobs, pin, identity })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
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

fn held(pin: &Mutex<Option<LockedSecret>>) -> MutexGuard<'_, Option<LockedSecret>> {
    pin.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seat {
    /// The card itself.
    pub(crate) fn card(&mut self) -> Result<&mut PivCard, CardError> {
        if self.card.is_none() {
            let card = PivCard::open(&self.reader).map_err(|error| match error {
                CardError::NoCard | CardError::NoReader { .. } => CardError::Removed,
                other => other,
            })?;
            // Or what was meant for one card would be done to the next one.
            if card.identity() != self.identity {
                return Err(CardError::Removed);
            }
            self.card = Some(card);
        }
        self.card.as_mut().ok_or(CardError::Removed)
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
        mut work: impl FnMut(&mut PivCard) -> Result<T, CardError>,
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
