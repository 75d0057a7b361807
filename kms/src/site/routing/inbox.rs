//! What other sites have released for this one, from the kms (P-15.5, P-15.12). The kms is believed in nothing but the order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use warifu_api::wire::routing::{Parcel, Parcels, ShownSlip, ShownSlips};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::dsse::EnvelopeError;
use warifu_ledger::slip::{Sent, SlipId, is_way};
use warifu_ledger::state::State;
use warifu_ledger::statement::{Millis, Released};
use warifu_ledger::{Digest, Id};

use super::check::Reader;
use crate::site::error::SiteError;
use crate::site::service::Core;
use crate::site::store::Sealed;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the kms is asked without a reason.
const ERRANDS: Duration = Duration::from_secs(600);

/// Why a parcel is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotTaken {
    /// It is not signed by the site that it speaks of, or is no such statement.
    #[error("it is not signed by the site that it speaks of")]
    NotSigned(#[from] EnvelopeError),
    /// It is for another organization or site, or of another batch than the slips.
    #[error("it is for somebody else, or of other slips")]
    NotForUs,
    /// The ledger does not know that site, has removed it, or does not have it serve the unit.
    #[error("the site {site} does not send for that unit, or has left")]
    Sender {
        /// Who sent it.
        site: Id,
    },
    /// A slip is none, is missing, or its file came another way.
    #[error("the slip {index} is missing, was not signed, or does not go on from those before it")]
    Slip {
        /// The slip's place.
        index: u64,
    },
    /// Slips that were not signed by the card of their grant.
    #[error("the slips were not signed by the card of their grant")]
    Slips,
}

/// What is kept of a parcel.
struct Taken {
    from: Id,
    slips: Vec<(ShownSlips, Id, Millis)>,
    parts: Vec<(SlipId, Sealed)>,
}

impl Core {
    /// Fetches parcels at first, whenever the kms says that there are some, and now and then.
    pub(in crate::site) async fn fetch_slips(self: Arc<Self>) {
        let mut size = self.replica.subscribe();
        let mut pause = FIRST_PAUSE;
        loop {
            size.mark_unchanged();
            let wait = match self.fetch_slips_once().await {
                Ok(true) => {
                    pause = FIRST_PAUSE;
                    continue;
                }
                Ok(false) => {
                    pause = FIRST_PAUSE;
                    ERRANDS
                }
                Err(error) => {
                    tracing::debug!(%error, "slips wait at the kms");
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    wait
                }
            };
            tokio::select! {
                () = self.inbox.notified() => {}
                // What a parcel stands on may have come.
                _ = size.changed(), if wait < ERRANDS => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Takes the next parcels; whether there are more.
    pub(in crate::site) async fn fetch_slips_once(&self) -> Result<bool, SiteError> {
        let state = self.replica.state().ok_or(SiteError::NotJoined)?;
        self.site_id(&state).ok_or(SiteError::NotJoined)?;
        let mut after = self.store.inbox().await?;
        let mut found = self.parcels_after(after).await?;
        if found.newest < after {
            // What was taken already is taken once more, and changes nothing.
            self.store.begin_inbox_anew().await?;
            after = 0;
            found = self.parcels_after(after).await?;
        }
        let Parcels { parcels, more, .. } = found;
        let came = !parcels.is_empty();
        for parcel in parcels {
            if parcel.place <= after {
                continue;
            }
            after = parcel.place;
            self.take_parcel(parcel).await?;
        }
        // A kms that says the same again and again is asked again, but not at once.
        Ok(more && came)
    }

    async fn parcels_after(&self, place: u64) -> Result<Parcels, SiteError> {
        Ok(self.kms.get(&format!("/v1/slips?after={place}")).await?)
    }

    async fn take_parcel(&self, parcel: Parcel) -> Result<(), SiteError> {
        let now = self.now().filter(|now| !now.halted).ok_or(SiteError::NotJoined)?;
        let site = self.site_id(&now.state).ok_or(SiteError::NotJoined)?;
        let place = parcel.place;
        if now.state.tree().size() < parcel.size {
            return Err(SiteError::NotFolded { size: parcel.size });
        }
        let at = now.time.unwrap_or(now.state.last_at());
        match take(&now.state, &site, at, parcel) {
            Ok(Taken { from, slips, parts }) => {
                self.store.put_parcel(place, &slips, &from, &parts).await?;
                self.destroy_dead_parts(&parts).await?;
            }
            Err(error) => {
                tracing::warn!(place, %error, "slips from the kms are not taken");
                self.store.put_parcel(place, &[], &site, &[]).await?;
            }
        }
        reached(CrashPoint::SiteParcelTaken).await;
        Ok(())
    }

    /// What came may have been ended at first sight before, or in between.
    async fn destroy_dead_parts(&self, parts: &[(SlipId, Sealed)]) -> Result<(), SiteError> {
        let came: BTreeSet<Digest> = parts.iter().map(|(slip, _)| slip.slips).collect();
        let (slips, files) = {
            let dead = self.dead();
            let slips = dead.slips.iter().filter(|(batch, _)| came.contains(batch)).copied().collect();
            (slips, dead.files.iter().copied().collect())
        };
        self.store.destroy_parts_of_slips(&slips).await?;
        self.store.destroy_parts_of_files(&files).await
    }
}

/// Checks a parcel against this site's own fold (P-15.5): for us, of this batch, from a site that serves the unit and has not left,
/// signed with the key that it had when the kms took it; each part with its slip, which was signed, goes to a target that is served here, and goes on from those before it.
fn take(state: &State, site: &Id, at: Millis, parcel: Parcel) -> Result<Taken, NotTaken> {
    let Parcel { slips, before, released, size, .. } = parcel;
    let batch = slips.slips.digest();
    let statement = state.read_slips(&slips.slips).map_err(|_| NotTaken::Slips)?;
    let unsigned: Released = released.statement()?;
    let from = unsigned.site;
    let sends =
        state.site(&from).is_some_and(|sender| !sender.removed) && state.serves(&from, &statement.unit);
    // What waited at the kms while its sender got other keys is as good as it was.
    let keys = state.site_keys_at(&from, size).filter(|_| sends).ok_or(NotTaken::Sender { site: from })?;
    let released: Released = released.verified(&keys.signing)?;
    if released.organization != state.organization() || released.to != *site || released.slips != batch {
        return Err(NotTaken::NotForUs);
    }
    let others: BTreeMap<Digest, &ShownSlips> =
        before.iter().map(|shown| (shown.slips.digest(), shown)).chain([(batch, &slips)]).collect();
    let mut reader = Reader::of(state);
    let (mut ways, mut parts) = (Vec::new(), Vec::new());
    for part in &released.parts {
        let no = NotTaken::Slip { index: part.index };
        let id = SlipId { slips: batch, index: part.index };
        let Some(way) = way_from(&others, id) else { return Err(no) };
        let sent: Vec<Sent> = reader.way(&way).ok_or(no)?;
        let no = NotTaken::Slip { index: part.index };
        let first = sent.first().filter(|_| is_way(&sent)).ok_or(no)?;
        // Of what is over, or is served elsewhere by now, nothing is kept; the others count.
        let goes = !first.slips.are_over(at)
            && !sent.iter().any(|sent| state.slip_is_revoked(&sent.id()))
            && !state.is_shredded(&first.slip.file())
            && state.serves(site, &first.slip.target);
        if goes {
            parts.push((id, part.sealed.0));
            ways.push((way, sent));
        }
    }
    Ok(Taken { from, slips: gathered(ways), parts })
}

/// The way from a slip back to the first, among these.
fn way_from(batches: &BTreeMap<Digest, &ShownSlips>, from: SlipId) -> Option<Vec<ShownSlip>> {
    let mut way = Vec::new();
    let mut next = Some(from);
    while let Some(SlipId { slips, index }) = next {
        if way.len() >= warifu_ledger::slip::WAY_LIMIT {
            return None;
        }
        let shown = batches.get(&slips)?;
        let slip = shown.shown.iter().find(|proved| proved.slip.index == index)?.clone();
        next = slip.slip.origin;
        way.push(ShownSlip { slips: shown.slips.clone(), slip });
    }
    Some(way)
}

/// The slips of all these ways, each once, by their batches; with the grant of each batch, and when it is over.
fn gathered(ways: Vec<(Vec<ShownSlip>, Vec<Sent>)>) -> Vec<(ShownSlips, Id, Millis)> {
    let mut batches: BTreeMap<Digest, (ShownSlips, Id, Millis)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (shown, sent) in ways.into_iter().flat_map(|(way, sent)| way.into_iter().zip(sent)) {
        let ShownSlip { slips, slip } = shown;
        let (batch, grant, over) = (sent.batch, sent.slips.grant, sent.slips.expires_at);
        let kept = || (ShownSlips { slips, shown: Vec::new() }, grant, over);
        let (into, ..) = batches.entry(batch).or_insert_with(kept);
        if seen.insert(sent.id()) {
            into.shown.push(slip);
        }
    }
    batches.into_values().collect()
}
