//! Slips on their way from one site to others (protocol section 15): kept with what sites have released, handed to the sites that
//! it is for, and committed into the ledger by their digests.
//!
//! Nothing here opens anything: parts are sealed to cards and sites. What is kept was checked as the receiving site will.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use warifu_api::wire::routing::{
    Batch, PARCELS_LIMIT, Parcel, Parcels, ReleasedParts, ShownSlips, SlipsBatch,
};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::slip::{BATCHES_LIMIT, LONGEST_SLIP_MS, Sent, SlipId, WAY_LIMIT, is_way};
use warifu_ledger::state::{NotRouted, State};
use warifu_ledger::statement::{Act, Fact, FactBody, Order, Released, Slips};
use warifu_ledger::{Digest, Id};

use super::error::AuthorityError;
use super::store::KeptParcel;
use super::{Authority, Result};

/// No further parcel is put into an answer that has this many bytes.
const ENOUGH_BYTES: usize = 1 << 20;

/// The places of the newest parcels, for those who follow.
pub(crate) struct NewestParcels {
    by_site: Mutex<BTreeMap<Id, u64>>,
    changed: watch::Sender<()>,
}

impl NewestParcels {
    pub(crate) fn new(by_site: BTreeMap<Id, u64>) -> Self {
        Self { by_site: Mutex::new(by_site), changed: watch::Sender::new(()) }
    }

    /// The place of the newest one for this site.
    pub(crate) fn of(&self, site: &Id) -> Option<u64> {
        self.by_site.lock().unwrap_or_else(PoisonError::into_inner).get(site).copied()
    }

    /// Whenever there is one.
    pub(crate) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn came(&self, site: Id, place: u64) {
        let mut by_site = self.by_site.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = by_site.entry(site).or_default();
        *newest = place.max(*newest);
        drop(by_site);
        self.changed.send_replace(());
    }
}

/// A batch as it is here, read.
struct Read {
    batch: Batch,
    slips: Slips,
}

impl Read {
    fn sent(&self, digest: Digest, index: u64) -> Option<Sent> {
        let slip = self.batch.items.get(usize::try_from(index).ok()?)?.clone();
        Some(Sent { batch: digest, slips: self.slips.clone(), slip })
    }
}

impl Authority {
    /// Keeps the slips that a site has taken: signed, all there, not over, and of a unit that it serves. Whether each goes on from
    /// where its file came is asked of those that something is released of: the site has refused the others.
    pub(crate) async fn keep_slips(&self, site: Id, batch: Batch) -> Result<()> {
        let state = self.state()?;
        let now = self.now(&state);
        let slips = state.read_slips(&batch.slips)?;
        if !state.serves(&site, &slips.unit) {
            return Err(AuthorityError::NotOneself);
        }
        if slips.are_over(now) {
            return Err(NotRouted::Over { expires_at: slips.expires_at }.into());
        }
        if slips.expires_at > now.saturating_add(LONGEST_SLIP_MS) {
            return Err(NotRouted::TooFarAhead { expires_at: slips.expires_at }.into());
        }
        if !slips.are(&batch.items) {
            let why = "these are not the slips that were signed".to_owned();
            return Err(AuthorityError::Malformed { why });
        }
        self.store.forget_slips(now).await?;
        self.store.keep_slips(&batch, slips.expires_at, now).await?;
        reached(CrashPoint::KmsSlipsKept).await;
        Ok(())
    }

    /// The way of a slip back to the first, from batches that are here; these are read into `read` as they are needed.
    async fn way(&self, read: &mut BTreeMap<Digest, Read>, from: SlipId) -> Result<Vec<Sent>> {
        let mut way: Vec<Sent> = Vec::new();
        let mut next = Some(from);
        while let Some(SlipId { slips: digest, index }) = next {
            if way.len() >= WAY_LIMIT {
                return Err(NotRouted::OtherOrigin.into());
            }
            if let Entry::Vacant(place) = read.entry(digest) {
                let batch = self.store.slips(&digest).await?;
                let batch = batch.ok_or(AuthorityError::NotFound { what: "slips" })?;
                place.insert(Read { slips: batch.slips.statement()?, batch });
            }
            let sent = read.get(&digest).and_then(|read| read.sent(digest, index));
            let sent = sent.ok_or(NotRouted::OtherOrigin)?;
            next = sent.slip.origin;
            way.push(sent);
        }
        if is_way(&way) { Ok(way) } else { Err(NotRouted::OtherOrigin.into()) }
    }

    /// Keeps what a site has released of a batch for another, which serves the targets, and tells that one.
    pub(crate) async fn keep_released(&self, site: Id, parts: ReleasedParts) -> Result<()> {
        let state = self.state()?;
        let size = state.tree().size();
        let ReleasedParts { released: envelope, key } = parts;
        let signer = state.site(&site).ok_or(AuthorityError::NotOneself)?.keys.signing;
        let released: Released = envelope.verified(&signer)?;
        if released.site != site || released.organization != state.organization() {
            return Err(AuthorityError::NotOneself);
        }
        let to = state.site(&released.to).filter(|to| !to.removed);
        if to.and_then(|to| to.keys.transport) != Some(key) {
            return Err(AuthorityError::OtherTransportKey);
        }
        let batch = self.store.slips(&released.slips).await?;
        let batch = batch.ok_or(AuthorityError::NotFound { what: "slips" })?;
        let slips: Slips = batch.slips.statement()?;
        if !state.serves(&site, &slips.unit) {
            return Err(AuthorityError::NotOneself);
        }
        if slips.are_over(self.now(&state)) {
            return Err(NotRouted::Over { expires_at: slips.expires_at }.into());
        }
        may_take(&state, &batch, &released)?;
        let mut read = BTreeMap::from([(released.slips, Read { slips, batch })]);
        for part in &released.parts {
            let way = self.way(&mut read, SlipId { slips: released.slips, index: part.index }).await?;
            if way.iter().any(|sent| state.slip_is_revoked(&sent.id())) {
                return Err(NotRouted::Revoked.into());
            }
        }
        let place = self.store.keep_released(&released.slips, (&site, &released.to), size, &envelope).await?;
        reached(CrashPoint::KmsReleasedKept).await;
        self.parcels.came(released.to, place);
        Ok(())
    }

    /// Parcels for a site, those after a place.
    pub(crate) async fn parcels(&self, site: Id, after: u64) -> Result<Parcels> {
        let mut kept = self.store.parcels(&site, after, PARCELS_LIMIT + 1).await?;
        let mut more = kept.len() > PARCELS_LIMIT;
        kept.truncate(PARCELS_LIMIT);
        let (mut parcels, mut bytes) = (Vec::new(), 0);
        for parcel in kept {
            if bytes >= ENOUGH_BYTES {
                more = true;
                break;
            }
            // What cannot be shown any more, because a slip before it is over, keeps nobody from what can.
            if let Some(parcel) = self.parcel(parcel).await? {
                bytes += serde_json::to_vec(&parcel)?.len();
                parcels.push(parcel);
            }
        }
        let newest = self.parcels.of(&site).unwrap_or_default();
        Ok(Parcels { parcels, more, newest })
    }

    async fn parcel(&self, kept: KeptParcel) -> Result<Option<Parcel>> {
        let KeptParcel { place, batch: digest, size, released } = kept;
        let parts: Released = released.statement()?;
        let mut read = BTreeMap::new();
        let mut wanted: BTreeMap<Digest, BTreeSet<u64>> = BTreeMap::new();
        for part in &parts.parts {
            match self.way(&mut read, SlipId { slips: digest, index: part.index }).await {
                Ok(way) => way.into_iter().for_each(|sent| {
                    wanted.entry(sent.batch).or_default().insert(sent.slip.index);
                }),
                Err(AuthorityError::NotFound { .. } | AuthorityError::Slips(_)) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let (mut own, mut before) = (None, Vec::new());
        for (batch, indexes) in wanted {
            let Some(Read { batch: brought, slips }) = read.remove(&batch) else { continue };
            let mut shown = slips.prove(brought.items)?;
            shown.retain(|proved| indexes.contains(&proved.slip.index));
            let shown = ShownSlips { slips: brought.slips, shown };
            if batch == digest { own = Some(shown) } else { before.push(shown) }
        }
        let slips = own.ok_or(AuthorityError::Damaged { what: "slip" })?;
        Ok(Some(Parcel { place, size, slips, before, released }))
    }

    /// The statement of a batch that is here.
    pub(crate) async fn slips(&self, batch: Digest) -> Result<Envelope> {
        let batch = self.store.slips(&batch).await?;
        Ok(batch.ok_or(AuthorityError::NotFound { what: "slips" })?.slips)
    }

    /// The fact that says which slips there are, once the first of them has waited for long enough (P-15.8).
    pub(crate) async fn slips_batch(&self) -> Result<SlipsBatch> {
        let state = self.state()?;
        let now = self.now(&state);
        let waiting = self.store.waiting_slips(BATCHES_LIMIT).await?;
        let due = waiting.first().is_some_and(|(since, _)| since.saturating_add(self.journal_ms) <= now);
        if !due {
            return Ok(SlipsBatch { fact: None });
        }
        let slips = waiting.into_iter().map(|(_, batch)| batch).collect();
        let fact = Fact { organization: state.organization(), fact: FactBody::SlipsBatched { slips } };
        state.check_unsigned_fact(&fact)?;
        Ok(SlipsBatch { fact: Some(self.sign(fact).await?) })
    }

    /// What an order revokes waits for no site any more.
    pub(super) async fn forget_revoked_slips(&self, order: &Order) {
        for act in &order.acts {
            if let Act::SlipRevoked { slips, index: None } = act
                && let Err(error) = self.store.forget_parcels(slips).await
            {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the parts of revoked slips could not be deleted");
            }
        }
    }
}

/// Whether that site serves the target of every part, each being of one of the slips.
fn may_take(state: &State, batch: &Batch, released: &Released) -> Result<()> {
    let mut seen = BTreeSet::new();
    if released.parts.is_empty() {
        return Err(AuthorityError::Malformed { why: "no parts".to_owned() });
    }
    for part in &released.parts {
        let slip = usize::try_from(part.index).ok().and_then(|index| batch.items.get(index));
        let slip = slip.filter(|_| seen.insert(part.index));
        let slip = slip.ok_or(AuthorityError::Malformed { why: "a part of no slip".to_owned() })?;
        if !state.serves(&released.to, &slip.target) {
            return Err(AuthorityError::NotOneself);
        }
        if state.slip_is_revoked(&SlipId { slips: released.slips, index: part.index }) {
            return Err(NotRouted::Revoked.into());
        }
    }
    Ok(())
}
