//! A card in a reader, and what is open because of it.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use warifu_api::wire::agent::AgentFault;
use warifu_api::wire::site::MyGrant;
use warifu_api::{Client, ErrorCode, tls};
use warifu_hardware::card::{self, AgreementKey, CardError, LastTry, Pin, PinEntry, Secrets, ShareSlot};
use warifu_ledger::statement::{Custody, Right};
use warifu_ledger::{Digest, Id};
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use crate::actor::{AuthenticationKey, CardActor, Place, Seat};
use crate::facts::Facts;
use crate::fault;
use crate::platform::remove_folder;
use crate::site::{Link, Sites};

/// A card from insertion to removal.
pub(crate) struct Session {
    pub(crate) reader: String,
    pub(crate) serial: u32,
    pub(crate) actor: CardActor,
    facts: Mutex<Facts>,
    phase: Mutex<Phase>,
    /// Units whose shares came onto the card by themselves.
    brought: Mutex<Vec<String>>,
    /// One PIN entry, preparation or personalization at a time.
    pub(crate) gate: tokio::sync::Mutex<()>,
}

/// How far the card has been opened.
#[derive(Clone)]
pub(crate) enum Phase {
    /// The PIN has not been entered.
    Locked,
    /// It has, and holds.
    Open(Arc<Unlocked>),
    /// It had, and the sites want no more of this card.
    Refused(ErrorCode),
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number by which people and programs name a card: the serial number, where that is one. Tokens of vendors have serial
/// numbers of letters and digits: for these, the first 31 bits of its SHA-256, so that the number is the same each time.
fn number_of(serial: &str) -> u32 {
    serial.parse().unwrap_or_else(|_| {
        let [a, b, c, d, ..] = Digest::of(serial.as_bytes()).0;
        u32::from_be_bytes([a, b, c, d]) >> 1
    })
}

impl Session {
    /// Opens the card in a place and reads what it tells.
    pub(crate) async fn open(reader: &str, place: Place) -> Result<Self, CardError> {
        let actor = CardActor::open(place).await?;
        let serial = number_of(&actor.identity().serial);
        let facts = actor.run(|seat| Facts::read(seat.card()?)).await?;
        Ok(Self {
            reader: reader.to_owned(),
            serial,
            actor,
            facts: Mutex::new(facts),
            phase: Mutex::new(Phase::Locked),
            brought: Mutex::default(),
            gate: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn facts(&self) -> Facts {
        held(&self.facts).clone()
    }

    /// How shares are ordered for this card.
    pub(crate) fn custody(&self) -> Custody {
        match self.actor.custody() {
            card::Custody::HostMemory => Custody::HostMemory,
            card::Custody::TokenUnwrap => Custody::TokenUnwrap,
        }
    }

    /// Reads again what the card tells, after it was changed.
    pub(crate) async fn reread(&self) -> Result<(), CardError> {
        let facts = self.actor.run(|seat| Facts::read(seat.card()?)).await?;
        *held(&self.facts) = facts;
        Ok(())
    }

    pub(crate) fn phase(&self) -> Phase {
        held(&self.phase).clone()
    }

    /// What is open, if the PIN was entered.
    pub(crate) fn unlocked(&self) -> Option<Arc<Unlocked>> {
        match self.phase() {
            Phase::Open(unlocked) => Some(unlocked),
            Phase::Locked | Phase::Refused(_) => None,
        }
    }

    pub(crate) fn set_open(&self, unlocked: Arc<Unlocked>) {
        *held(&self.phase) = Phase::Open(unlocked);
    }

    /// Units whose shares came onto the card by themselves since it was inserted.
    pub(crate) fn brought(&self) -> Vec<String> {
        held(&self.brought).clone()
    }

    /// A unit's share came onto the card by itself.
    pub(crate) fn has_brought(&self, unit: String) {
        held(&self.brought).push(unit);
    }

    /// Tries left for the PIN.
    pub(crate) async fn tries_left(&self) -> Result<u8, CardError> {
        self.actor.run(|seat| seat.card()?.tries_left()).await
    }

    /// The PIN has to be entered first: with the tries left, and other faults where the card says so.
    pub(crate) async fn pin_needed(&self) -> AgentFault {
        match self.tries_left().await {
            Ok(0) => AgentFault::PinBlocked,
            Ok(tries_left) => AgentFault::PinNeeded { tries_left },
            Err(error) => fault::of_card(error),
        }
    }

    /// Checks a PIN that was just entered, for what follows on this card.
    pub(crate) async fn verify(&self, pin: Zeroizing<String>, last_try: LastTry) -> Result<(), AgentFault> {
        if !(6..=8).contains(&pin.len()) || !pin.bytes().all(|b| b.is_ascii_digit()) {
            return Err(AgentFault::PinMalformed);
        }
        self.actor.run(move |seat| seat.unlock(pin.as_bytes(), last_try)).await.map_err(fault::of_card)
    }

    /// Tries left for the PUK, where the card tells, and which secrets are still the factory's.
    pub(crate) async fn own_secrets(&self) -> Result<(Option<u8>, Secrets), CardError> {
        let both = |seat: &mut Seat| Ok((seat.card()?.puk_tries_left()?, seat.card()?.secrets()?));
        self.actor.run(both).await
    }

    /// Replaces the PIN by another one.
    pub(crate) async fn change_pin(
        &self,
        old: Zeroizing<String>,
        new: Zeroizing<String>,
    ) -> Result<(), AgentFault> {
        let parse =
            |digits: &Zeroizing<String>| Pin::new(digits.as_bytes()).map_err(|_| AgentFault::PinMalformed);
        let (old, new) = (parse(&old)?, parse(&new)?);
        if new.is(&Pin::factory()) {
            return Err(AgentFault::FactoryPin);
        }
        let work = move |seat: &mut Seat| seat.card()?.change_pin(PinEntry::new(&old), &new);
        self.actor.run(work).await.map_err(fault::of_card)
    }

    /// Sets a new PIN with the PUK.
    pub(crate) async fn unblock(
        &self,
        puk: Zeroizing<String>,
        pin: Zeroizing<String>,
        last_try: LastTry,
    ) -> Result<(), AgentFault> {
        let parse =
            |digits: &Zeroizing<String>| Pin::new(digits.as_bytes()).map_err(|_| AgentFault::PinMalformed);
        let (puk, pin) = (parse(&puk)?, parse(&pin)?);
        if pin.is(&Pin::factory()) {
            return Err(AgentFault::FactoryPin);
        }
        let work = move |seat: &mut Seat| seat.card()?.unblock_pin(PinEntry::with(&puk, last_try), &pin);
        self.actor.run(work).await.map_err(fault::of_card)
    }

    /// The card as TLS client: with its certificate, or one it signs itself. The PIN must have been entered.
    pub(crate) async fn tls_identity(&self) -> Result<tls::Identity, AgentFault> {
        let facts = self.facts();
        let key = facts.authentication.ok_or(AgentFault::ForeignCard)?;
        let signer = Arc::new(AuthenticationKey::new(self.actor.clone(), key));
        let made = tokio::task::spawn_blocking(move || match facts.certificate {
            Some(der) => tls::Identity::with_chain(signer, vec![CertificateDer::from(der)]),
            None => tls::Identity::self_signed(signer, "card"),
        });
        match made.await {
            Ok(Ok(identity)) => Ok(identity),
            Ok(Err(error)) => Err(AgentFault::CardFault { why: fault::chain(&error) }),
            Err(error) => Err(AgentFault::CardFault { why: error.to_string() }),
        }
    }

    /// Ends everything that is open because of this card, wipes the PIN, and makes the card forget it. Returns when
    /// nothing is left.
    pub(crate) async fn end(&self, refused: Option<ErrorCode>) {
        self.actor.forget_pin();
        let next = match refused {
            Some(code) => Phase::Refused(code),
            None => Phase::Locked,
        };
        let before = std::mem::replace(&mut *held(&self.phase), next);
        let ended = async {
            if let Phase::Open(unlocked) = before {
                unlocked.end().await;
            }
        };
        // At the same time: a file that is read from a disk that hangs must not keep the card open to other programs. The
        // card's thread, too, may be waiting for a card that is gone: nobody has to wait for it.
        let locked = self.actor.run(|seat| {
            seat.lock();
            Ok(())
        });
        let (_, locked) = tokio::join!(ended, tokio::time::timeout(Duration::from_millis(200), locked));
        if locked.is_err() {
            // The PIN is in the memory of the module's process, too.
            self.actor.interrupt();
        }
    }
}

/// What one PIN entry has opened. Whatever works for it holds a receiver of `ending`, so that the end can be waited for.
pub(crate) struct Unlocked {
    pub(crate) sites: Sites,
    pub(crate) identity: tls::Identity,
    /// Clients of other services, by address and key.
    clients: Mutex<HashMap<(String, Point), Client>>,
    ending: watch::Sender<bool>,
    /// Files in viewers.
    pub(crate) viewing: AtomicUsize,
    /// Ends single viewers: whoever shows a file of a grant that is not in the set any more.
    grants: watch::Sender<Option<std::collections::BTreeSet<Id>>>,
}

impl Unlocked {
    pub(crate) fn new(identity: tls::Identity, sites: Sites) -> Self {
        Self {
            sites,
            identity,
            clients: Mutex::default(),
            ending: watch::Sender::new(false),
            viewing: AtomicUsize::new(0),
            grants: watch::Sender::new(None),
        }
    }

    /// Held by whoever works for this unlocking; true once it is over.
    pub(crate) fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }

    /// The grants as the site last told them.
    pub(crate) fn grants(&self) -> watch::Receiver<Option<std::collections::BTreeSet<Id>>> {
        self.grants.subscribe()
    }

    /// The site has told the grants anew: files of others do not stay open.
    pub(crate) fn told(&self, grants: std::collections::BTreeSet<Id>) {
        self.grants.send_replace(Some(grants));
    }

    /// A client of another service that shows this card's 9A key.
    pub(crate) fn client(&self, address: &str, server: Point) -> Result<Client, warifu_api::ClientError> {
        let mut clients = held(&self.clients);
        let service = (address.to_owned(), server);
        if let Some(client) = clients.get(&service) {
            return Ok(client.clone());
        }
        let client = Client::new(address, server, Some(&self.identity))?;
        clients.insert(service, client.clone());
        Ok(client)
    }

    async fn end(&self) {
        self.ending.send_replace(true);
        self.sites.disconnect();
        held(&self.clients).clear();
        self.ending.closed().await;
        // A request that was under way may have connected once more.
        self.sites.disconnect();
    }
}

/// A grant of the card that can be used now: the site serves it, and the card has its share.
#[derive(Clone)]
pub(crate) struct Usable {
    pub(crate) grant: MyGrant,
    pub(crate) slot: ShareSlot,
}

impl Session {
    /// Those whose shares the card has, whatever they allow.
    pub(crate) fn held(&self, grants: &[MyGrant]) -> Vec<Usable> {
        let facts = held(&self.facts);
        // A share belongs to one grant (P-4.9): a site that tells of thousands for it would have each tried on each stanza.
        let mut told = BTreeSet::new();
        grants
            .iter()
            .filter_map(|grant| {
                let slot = *facts.shares.get(&grant.card_point.0)?;
                told.insert(grant.card_point.0).then(|| Usable { grant: grant.clone(), slot })
            })
            .collect()
    }

    /// Names of the units whose files the card can open, as its site tells.
    pub(crate) fn units(&self, link: &Link) -> Vec<String> {
        self.begun(link, Right::Open)
    }

    /// Names of the front desks whose files the card can route, as its site tells.
    pub(crate) fn desks(&self, link: &Link) -> Vec<String> {
        self.begun(link, Right::Route)
    }

    fn begun(&self, link: &Link, right: Right) -> Vec<String> {
        let held = self.held(&link.me.grants).into_iter().map(|held| held.grant);
        let begun = held.filter(|grant| grant.right == right && grant.starts_at.is_none());
        begun.map(|grant| grant.unit_name).collect()
    }

    /// How many of the grants to open have no share on the card.
    pub(crate) fn missing(&self, grants: &[MyGrant]) -> usize {
        let facts = held(&self.facts);
        grants
            .iter()
            .filter(|grant| grant.right == Right::Open && !facts.shares.contains_key(&grant.card_point.0))
            .count()
    }

    /// `x(aR)` for many points, in their order.
    pub(crate) async fn partials(&self, points: Vec<(ShareSlot, Point)>) -> Result<Vec<PartialX>, CardError> {
        self.actor
            .run(move |seat| {
                points
                    .iter()
                    .map(|(slot, point)| seat.with_pin(|card| card.agree(AgreementKey::Share(*slot), point)))
                    .collect()
            })
            .await
    }
}

/// A file in a viewer: counted while it lives, its folder wiped when it is dropped.
pub(crate) struct OpenFile {
    unlocked: Arc<Unlocked>,
    folder: PathBuf,
}

impl OpenFile {
    pub(crate) fn new(unlocked: Arc<Unlocked>, folder: PathBuf) -> Self {
        unlocked.viewing.fetch_add(1, Ordering::Relaxed);
        Self { unlocked, folder }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let remains = remove_folder(&self.folder);
        // Overwriting a large file takes time that nobody has to wait.
        std::thread::spawn(move || remains.overwrite());
        self.unlocked.viewing.fetch_sub(1, Ordering::Relaxed);
    }
}
