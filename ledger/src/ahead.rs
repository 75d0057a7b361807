//! What can be found out about leaves before their turn in the fold: what they say, and which of their signatures verify.
//!
//! The fold takes one leaf after the other, but nearly all of its time goes into reading leaves and verifying signatures, for
//! which it needs nothing of the leaves before but keys. [`Ahead`] does that for many leaves at once, on all cores.
//!
//! Nothing is decided here. The fold asks every question that it asks of any leaf, with the key that *its* state names; an
//! answer that was found ahead stands in for the same question alone: this signature, of this envelope, under that very key.
//! What was not found ahead, or was found false, is verified in its turn. So a state, and a refusal, is the same with it and
//! without it, and a key that is guessed wrongly here costs time and nothing else.

use std::collections::HashMap;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

use crate::checkpoint::{Checkpoint, LogKey, Signer};
use crate::dsse::{Envelope, EnvelopeError, Signature};
use crate::journal::SignedHead;
use crate::key::{Base64, PublicKey};
use crate::leaf::{Leaf, LeafError};
use crate::state::{Refused, State};
use crate::statement::{Act, Fact, FactBody, Founding, HalfHolder, Order, ServiceId, ServiceKeys, Statement};
use crate::{Digest, Id};

/// Fewer leaves than these for each thread are not worth a thread.
const LEAVES_PER_THREAD: usize = 8;

/// A leaf, with what was found out about it ahead of its turn. [`State::apply_checked`] folds it.
#[derive(Debug, Clone)]
pub struct Checked {
    leaf: Leaf,
    found: Found,
}

impl Checked {
    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// The leaf alone.
    #[must_use]
    pub fn into_leaf(self) -> Leaf {
        self.leaf
    }

    pub(crate) fn found(&self) -> &Found {
        &self.found
    }
}

/// What an envelope says, and which of its signatures are known to verify.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    digest: Digest,
    said: Result<Said, EnvelopeError>,
    /// For each signature, up to the first that did not verify, the key under which it did.
    signed: Vec<PublicKey>,
    seen: Option<Seen>,
    /// The same for each head of a `journals.batched`.
    heads: Vec<PublicKey>,
}

/// The statement in an envelope, of those that the fold knows.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Founding(Box<Founding>),
    Order(Order),
    Fact(Box<Fact>),
    Other,
}

/// A kms's checkpoint note that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    organization: Digest,
    key: Base64<32>,
    checkpoint: Checkpoint,
}

impl Found {
    /// Reads an envelope, and verifies nothing.
    pub(crate) fn of(envelope: &Envelope) -> Self {
        let said = envelope.check_size().and_then(|()| match envelope.payload_type.as_str() {
            Order::PAYLOAD_TYPE => envelope.statement().map(Said::Order),
            Fact::PAYLOAD_TYPE => envelope.statement().map(|fact| Said::Fact(Box::new(fact))),
            Founding::PAYLOAD_TYPE => envelope.statement().map(|founding| Said::Founding(Box::new(founding))),
            _ => Ok(Said::Other),
        });
        Self { digest: envelope.digest(), said, signed: Vec::new(), seen: None, heads: Vec::new() }
    }

    /// [`Envelope::digest`].
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// The order in the envelope of which this is known.
    pub(crate) fn order(&self, envelope: &Envelope) -> Result<&Order, EnvelopeError> {
        match &self.said {
            Ok(Said::Order(order)) => Ok(order),
            Err(error) if envelope.payload_type == Order::PAYLOAD_TYPE => Err(error.clone()),
            _ => Err(envelope.is_not_of(Order::PAYLOAD_TYPE)),
        }
    }

    /// The fact in the envelope of which this is known.
    pub(crate) fn fact(&self, envelope: &Envelope) -> Result<&Fact, EnvelopeError> {
        match &self.said {
            Ok(Said::Fact(fact)) => Ok(fact),
            Err(error) if envelope.payload_type == Fact::PAYLOAD_TYPE => Err(error.clone()),
            _ => Err(envelope.is_not_of(Fact::PAYLOAD_TYPE)),
        }
    }

    /// Whether the envelope's signature at this place is `signer`'s.
    pub(crate) fn verifies(&self, place: usize, signature: &Signature, signer: &PublicKey) -> bool {
        is_found(&self.signed, place, signer) || signature.verifies(signer, &self.digest)
    }

    /// As [`Envelope::verify`], for the envelope of which this is known.
    pub(crate) fn is_signed_by(&self, envelope: &Envelope, signer: &PublicKey) -> Result<(), EnvelopeError> {
        let keyid = signer.key_id();
        let mut signatures = envelope.signatures.iter().enumerate();
        let signed = signatures.any(|(place, s)| s.keyid == keyid && self.verifies(place, s, signer));
        if signed { Ok(()) } else { Err(EnvelopeError::NotSigned { signer: keyid }) }
    }

    /// Whether the head at this place is signed with a site's key.
    pub(crate) fn head_is_signed(
        &self,
        place: usize,
        head: &SignedHead,
        organization: &Digest,
        key: &PublicKey,
    ) -> bool {
        is_found(&self.heads, place, key) || head.is_signed(organization, key)
    }

    /// The checkpoint that the order's signers saw, if it was found to be signed with this key.
    pub(crate) fn seen(&self, organization: &Digest, key: &Base64<32>) -> Option<Checkpoint> {
        let seen = self.seen.as_ref()?;
        (seen.organization == *organization && seen.key == *key).then_some(seen.checkpoint)
    }
}

fn is_found(found: &[PublicKey], place: usize, key: &PublicKey) -> bool {
    found.get(place) == Some(key)
}

/// The state after all of these leaves, the first of which is the founding where there is no state before; none where there are
/// no leaves either.
///
/// # Errors
/// [`Refused`]: the state before all of them stays the truth.
pub fn fold(before: Option<&State>, leaves: &[Checked]) -> Result<Option<State>, Refused> {
    match (before, leaves) {
        (Some(before), _) => before.apply_all(leaves).map(Some),
        (None, [founding, rest @ ..]) => {
            let founded = State::found(&founding.leaf).map_err(|why| Refused { place: 0, why })?;
            let later = |refused: Refused| Refused { place: refused.place.saturating_add(1), ..refused };
            founded.apply_all(rest).map(Some).map_err(later)
        }
        (None, []) => Ok(None),
    }
}

/// Leaves that were read, each or why it is none.
pub type ReadLeaves = Vec<Result<Checked, LeafError>>;

/// Checks leaves ahead of the fold, so many at a time, in their order.
#[derive(Default)]
pub struct Ahead {
    /// Keys that the leaves of the last two calls bring: the fold may not have come to them.
    brought: [Keys; 2],
}

/// Keys that leaves bring into the ledger, whether or not the fold will accept them.
#[derive(Default)]
struct Keys {
    signing: HashMap<Digest, PublicKey>,
    sites: HashMap<Id, PublicKey>,
    log: Vec<Base64<32>>,
}

impl Ahead {
    /// Reads the next leaves from their exact bytes and checks what can be checked. `state` is a state from before them: the
    /// newest that there is, at least that before the leaves of the call before.
    pub fn read(&mut self, state: Option<&State>, leaves: Vec<Vec<u8>>) -> ReadLeaves {
        let found = on_all_cores(leaves, |leaves| {
            leaves.into_iter().map(|bytes| Leaf::from_bytes(bytes).map(read)).collect()
        });
        self.verify(state, found)
    }

    /// Folds `checked` onto `before`, as [`fold`] does, while the leaves after them are read, as [`Ahead::read`] does.
    pub fn fold_and_read(
        &mut self,
        before: Option<&State>,
        checked: &[Checked],
        next: Vec<Vec<u8>>,
    ) -> (Result<Option<State>, Refused>, ReadLeaves) {
        if next.is_empty() {
            return (fold(before, checked), Vec::new());
        }
        thread::scope(|scope| {
            let reading = scope.spawn(|| self.read(before, next));
            let folded = fold(before, checked);
            (folded, reading.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }

    /// As [`Ahead::read`], for leaves that were read before.
    pub fn check(&mut self, state: Option<&State>, leaves: Vec<Leaf>) -> Vec<Checked> {
        let found = on_all_cores(leaves, |leaves| leaves.into_iter().map(|leaf| Ok(read(leaf))).collect());
        self.verify(state, found).into_iter().flatten().collect()
    }

    fn verify(&mut self, state: Option<&State>, read: ReadLeaves) -> ReadLeaves {
        let mut keys = Keys::default();
        read.iter().flatten().for_each(|leaf| keys.brought_by(&leaf.found));
        self.brought.rotate_left(1);
        let [before, now] = &mut self.brought;
        *now = keys;
        let known = Known { state, brought: [before, now] };
        on_all_cores(read, |mut leaves| {
            let mut notes = Notes::default();
            leaves.iter_mut().flatten().for_each(|leaf| known.verify(leaf, &mut notes));
            leaves
        })
    }
}

fn read(leaf: Leaf) -> Checked {
    Checked { found: Found::of(leaf.envelope()), leaf }
}

impl Keys {
    fn brought_by(&mut self, found: &Found) {
        match &found.said {
            Ok(Said::Founding(founding)) => {
                founding.officers.iter().for_each(|card| self.signs(card.signature));
                self.service(ServiceId::Ca, &founding.ca);
                self.service(ServiceId::Kms, &founding.kms);
            }
            Ok(Said::Order(order)) => {
                for act in &order.acts {
                    match act {
                        Act::CardEnrolled(card) => self.signs(card.signature),
                        Act::SiteJoined { site, keys, .. } => self.service(ServiceId::Site(*site), keys),
                        Act::AuthorityRecovered { service, keys } => self.service((*service).into(), keys),
                        Act::KeyRotated { service, keys } => self.service(*service, keys),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn signs(&mut self, key: PublicKey) {
        self.signing.insert(key.key_id(), key);
    }

    fn service(&mut self, service: ServiceId, keys: &ServiceKeys) {
        self.signs(keys.signing);
        match service {
            ServiceId::Site(site) => drop(self.sites.insert(site, keys.signing)),
            ServiceId::Kms => self.log.extend(keys.log),
            ServiceId::Ca => {}
        }
    }
}

/// Where keys are looked up.
struct Known<'a> {
    state: Option<&'a State>,
    brought: [&'a Keys; 2],
}

impl Known<'_> {
    /// Notes which signatures of a leaf verify.
    fn verify(&self, leaf: &mut Checked, notes: &mut Notes) {
        let (envelope, found) = (leaf.leaf.envelope(), &mut leaf.found);
        // Up to the first that does not verify, as the fold goes on no further.
        let verified = |signature: &Signature| {
            self.signer(&signature.keyid).filter(|key| signature.verifies(key, &found.digest))
        };
        let all_verified = |signatures: &[Signature]| signatures.iter().map_while(verified).collect();
        match &found.said {
            Ok(Said::Order(order)) => {
                found.signed = all_verified(&envelope.signatures);
                found.seen = self.seen(order, notes);
            }
            Ok(Said::Fact(fact)) => {
                found.signed = all_verified(&envelope.signatures);
                if let FactBody::JournalsBatched { heads } = &fact.fact {
                    let signed = |head: &SignedHead| {
                        self.site(&head.site).filter(|key| head.is_signed(&fact.organization, key))
                    };
                    found.heads = heads.iter().map_while(signed).collect();
                }
            }
            _ => {}
        }
    }

    fn signer(&self, keyid: &Digest) -> Option<PublicKey> {
        let known = self.state.and_then(|state| state.signing_key(keyid));
        known.or_else(|| self.brought.iter().find_map(|keys| keys.signing.get(keyid).copied()))
    }

    fn site(&self, site: &Id) -> Option<PublicKey> {
        // The newest first: a site may have got other keys.
        let brought = self.brought.iter().rev().find_map(|keys| keys.sites.get(site).copied());
        brought.or_else(|| Some(self.state?.site(site)?.keys.signing))
    }

    fn seen(&self, order: &Order, notes: &mut Notes) -> Option<Seen> {
        let recovered = order.acts.iter().find_map(|act| match act {
            Act::AuthorityRecovered { service: HalfHolder::Kms, keys } => keys.log,
            _ => None,
        });
        let logs = recovered.into_iter().chain(self.state.and_then(|state| state.kms().log));
        let mut logs = logs.chain(self.brought.iter().flat_map(|keys| keys.log.iter().copied()));
        logs.find_map(|key| notes.verified(&order.seen, order.organization, key))
    }
}

/// What one thread keeps of the notes that it has verified: those who order much have seen one checkpoint for much of it, and
/// nearly all are signed with one key.
#[derive(Default)]
struct Notes {
    key: Option<(Digest, Base64<32>, LogKey)>,
    last: Option<(String, Seen)>,
}

impl Notes {
    fn verified(&mut self, note: &str, organization: Digest, key: Base64<32>) -> Option<Seen> {
        if let Some((last, seen)) = &self.last
            && last == note
            && (seen.organization, seen.key) == (organization, key)
        {
            return Some(seen.clone());
        }
        let same = self.key.take().filter(|(of, with, _)| (*of, *with) == (organization, key));
        let (.., log) = self.key.insert(
            same.unwrap_or_else(|| (organization, key, LogKey::new(organization, Signer::Kms, &key))),
        );
        let checkpoint = log.verify(note).ok()?;
        let seen = Seen { organization, key, checkpoint };
        self.last = Some((note.to_owned(), seen.clone()));
        Some(seen)
    }
}

/// Does `work` on parts of `items`, each in a thread of its own, and puts what comes of it together in the same order.
fn on_all_cores<T: Send, U: Send>(mut items: Vec<T>, work: impl Fn(Vec<T>) -> Vec<U> + Sync) -> Vec<U> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(items.len() / LEAVES_PER_THREAD).max(1);
    let share = items.len().div_ceil(threads);
    thread::scope(|scope| {
        let mut parts = Vec::with_capacity(threads);
        while items.len() > share {
            let part = items.split_off(items.len() - share);
            parts.push(scope.spawn(|| work(part)));
        }
        let mut done = work(items);
        for part in parts.into_iter().rev() {
            done.extend(part.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    })
}
