//! The ledger for those who read or follow it.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::response::sse::Event;
use futures_util::Stream;
use tokio::sync::watch;
use warifu_api::tls::PeerKey;
use warifu_api::wire::routing::SlipsEvent;
use warifu_api::wire::{LEAVES_LIMIT, LeafEvent, Leaves};
use warifu_ledger::Id;
use warifu_ledger::key::Bytes;

use super::error::AuthorityError;
use super::figures::OpenStream;
use super::role::{OfFollower, caller};
use super::{Authority, Result};

/// No further leaf is put into an answer that has this many bytes.
const ENOUGH_BYTES: usize = 1 << 20;
/// How many leaves are read from the database at a time.
const CHUNK: u32 = 50;
/// How many of the newest leaves are kept as events, and up to how many bytes each: a mebibyte in all.
const NEWEST: usize = 64;
const SMALL: usize = 16 << 10;

impl Authority {
    /// Leaves from index `from` on, as many as fit into an answer.
    pub(crate) async fn leaves(&self, from: u64) -> Result<Leaves> {
        let state = self.state()?;
        self.check_index(from)?;
        let mut leaves = Vec::new();
        let mut bytes = 0;
        let size = state.tree().size();
        'reading: loop {
            let next = from + leaves.len() as u64;
            let limit = u32::try_from(size.saturating_sub(next)).unwrap_or(CHUNK).min(CHUNK);
            let chunk = self.replica.leaves(next, limit).await?;
            if chunk.is_empty() {
                break;
            }
            for leaf in chunk {
                if leaves.len() == LEAVES_LIMIT || bytes >= ENOUGH_BYTES {
                    break 'reading;
                }
                bytes += leaf.len();
                leaves.push(Bytes(leaf));
            }
        }
        Ok(Leaves { from, leaves, checkpoint: self.checkpoint(&state).await? })
    }

    /// Whoever asks for what follows a leaf that is not here has seen another ledger.
    fn check_index(&self, from: u64) -> Result<()> {
        if from > self.replica.size() {
            return Err(AuthorityError::NotFound { what: "place in the ledger" });
        }
        Ok(())
    }

    /// Every leaf from index `from` on, and then each as it is appended, until the key at the other end is no longer that
    /// of a service; for a former key, up to the order that others took its place by.
    pub(crate) fn stream(
        self: &Arc<Self>,
        follower: &OfFollower,
        key: Option<PeerKey>,
        from: u64,
    ) -> Result<impl Stream<Item = std::result::Result<Event, Infallible>> + use<>> {
        self.check_index(from)?;
        let sizes = self.replica.subscribe();
        let open = self.figures.stream_opened(&follower.service);
        let tail = Tail {
            authority: self.clone(),
            open,
            site: follower.service,
            key,
            sizes,
            parcels: self.parcels.changed(),
            told: 0,
            next: from,
            end: follower.leaves.unwrap_or(u64::MAX),
            read: VecDeque::new(),
        };
        Ok(futures_util::stream::unfold(tail, |mut tail| async {
            match tail.event().await {
                Ok(event) => event.map(|event| (Ok(event), tail)),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "a ledger stream broke");
                    None
                }
            }
        }))
    }
}

struct Tail {
    authority: Arc<Authority>,
    open: OpenStream,
    site: Id,
    key: Option<PeerKey>,
    sizes: watch::Receiver<u64>,
    parcels: watch::Receiver<()>,
    /// The place of the newest parcel that the site was told of.
    told: u64,
    next: u64,
    /// How many leaves there are for whoever asks.
    end: u64,
    /// Events that were read and not sent.
    read: VecDeque<Arc<str>>,
}

/// The newest leaves as events, so that what ten thousand followers hear of at once is read and written once.
#[derive(Default)]
pub(crate) struct Newest(Mutex<BTreeMap<u64, Arc<str>>>);

impl Newest {
    fn from(&self, index: u64) -> Vec<Arc<str>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let consecutive = kept.range(index..).zip(index..);
        consecutive
            .take_while(|((at, _), wanted)| *at == wanted)
            .map(|((_, event), _)| event.clone())
            .collect()
    }

    fn keep(&self, index: u64, event: Arc<str>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(index, event);
        while kept.len() > NEWEST {
            kept.pop_first();
        }
    }
}

impl Authority {
    /// Leaves from index `from` on as events, some at a time; none where there are no more.
    async fn events(&self, from: u64) -> Result<VecDeque<Arc<str>>> {
        let kept = self.newest.from(from);
        if !kept.is_empty() {
            return Ok(kept.into());
        }
        let mut events = VecDeque::new();
        for (leaf, index) in self.replica.leaves(from, CHUNK).await?.into_iter().zip(from..) {
            let event: Arc<str> = serde_json::to_string(&LeafEvent { index, leaf: Bytes(leaf) })?.into();
            // Whoever is far behind reads what nobody else asks for.
            if index + NEWEST as u64 >= self.replica.size() && event.len() <= SMALL {
                self.newest.keep(index, event.clone());
            }
            events.push_back(event);
        }
        Ok(events)
    }
}

enum Next {
    /// The site is told that there are parcels for it.
    Parcel(Event),
    /// There is another leaf.
    Leaf,
    End,
}

impl Tail {
    async fn event(&mut self) -> Result<Option<Event>> {
        loop {
            if self.next >= self.end {
                return Ok(None);
            }
            if let Some(event) = self.read.pop_front() {
                self.next += 1;
                self.open.sent(self.next);
                return Ok(Some(Event::default().event("leaf").data(event)));
            }
            self.sizes.mark_unchanged();
            self.read = self.authority.events(self.next).await?;
            if !self.read.is_empty() {
                continue;
            }
            // After the last leaf, so that a site that was removed has read so.
            let state = self.authority.state()?;
            if caller(&state, self.key, self.authority.now(&state)).service().is_err() {
                return Ok(None);
            }
            self.open.sent(self.next);
            // After the leaves that these stand on.
            match self.parcel_or_leaf().await? {
                Next::Parcel(event) => return Ok(Some(event)),
                Next::Leaf => {}
                Next::End => return Ok(None),
            }
        }
    }

    /// What is next for a site that has all leaves. Parcels for others cost it a look into memory.
    async fn parcel_or_leaf(&mut self) -> Result<Next> {
        loop {
            self.parcels.mark_unchanged();
            if let Some(place) = self.authority.parcels.of(&self.site).filter(|place| *place > self.told) {
                self.told = place;
                let event = serde_json::to_string(&SlipsEvent { place })?;
                return Ok(Next::Parcel(Event::default().event("slips").data(event)));
            }
            tokio::select! {
                changed = self.sizes.changed() => {
                    return Ok(if changed.is_ok() { Next::Leaf } else { Next::End });
                }
                changed = self.parcels.changed() => if changed.is_err() {
                    return Ok(Next::End);
                },
            }
        }
    }
}
