//! Opening by slips: the files in `POST /v1/partials` that are sealed to none of the card's units, but may have been routed to one
//! (P-15.6, P-15.13).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use warifu_api::error::ErrorCode;
use warifu_api::wire::SecretBytes;
use warifu_api::wire::routing::{RELEASES_LIMIT, ReleasedPart, RoutedItem, RoutedOutcome, ShownSlip};
use warifu_crash_point::{CrashPoint, reached};
use warifu_hardware::hsm::WrappedShare;
use warifu_ledger::Id;
use warifu_ledger::key::PublicKey;
use warifu_ledger::slip::Sent;
use warifu_ledger::statement::Right;
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use super::check::{MayRelease, Reader, may_release, sealed_to};
use crate::site::error::SiteError;
use crate::site::gate::Turn;
use crate::site::service::{Core, Now};
use crate::site::store::Kept;

/// A part that may be released, and what is said with it.
struct Candidate {
    /// Which of the items it is for.
    item: usize,
    grant: Id,
    way: Vec<ShownSlip>,
    sent: Vec<Sent>,
    unit_key: PublicKey,
}

/// The slips for one item, each with the ways back to their first ones.
type Found = Vec<(Kept, Vec<ShownSlip>)>;

impl Core {
    /// The card's grants to open, by their units.
    pub(in crate::site) fn grants_to_open(now: &Now, card: Id) -> BTreeMap<Id, Vec<Id>> {
        let mut grants: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
        for (id, grant) in now.state.grants_of_card(card).filter(|(_, grant)| grant.right == Right::Open) {
            grants.entry(grant.unit).or_default().push(id);
        }
        grants
    }

    /// The slips by which each of these files may have come to one of these units.
    pub(in crate::site) async fn slips_for(
        &self,
        items: &[RoutedItem],
        units: &BTreeSet<Id>,
    ) -> Result<Vec<Found>, SiteError> {
        let mut all = Vec::new();
        for item in items {
            let mut found = Vec::new();
            if let Ok(ephemeral) = Point::from_sec1(&item.encapsulated.0) {
                for kept in self.store.slips_of(&item.stanza, &PublicKey(ephemeral), units).await? {
                    let mut way = vec![kept.shown.clone()];
                    if let Some(origin) = kept.shown.slip.slip.origin {
                        way.extend(self.store.way(origin).await?);
                    }
                    found.push((kept, way));
                }
            }
            all.push(found);
        }
        Ok(all)
    }

    /// Releases what may be released: of each file the parts by slips under different grants and from different sites, at most
    /// [`RELEASES_LIMIT`]. Their rows are durable before anything is computed.
    pub(in crate::site) async fn release(
        &self,
        site: Id,
        turn: &Arc<Turn>,
        shares: &BTreeMap<Id, WrappedShare>,
        found: Vec<Found>,
    ) -> Result<Vec<RoutedOutcome>, SiteError> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.now().ok_or(SiteError::NotJoined)?;
        let count = found.len();
        let (mut may, mut candidates) = (Vec::new(), Vec::new());
        let mut reader = Reader::of(&now.state);
        reader.read_ahead(found.iter().flatten().map(|(_, way)| way.as_slice()));
        {
            let dead = self.dead();
            let view = self.view(site, &now, &dead);
            if let Err(code) = view.may_connect(&turn.card()) {
                return Ok(found.iter().map(|_| RoutedOutcome::Refused { code }).collect());
            }
            let grants = Self::grants_to_open(&now, turn.card());
            for (item, found) in found.into_iter().enumerate() {
                let mut senders = BTreeSet::new();
                for (Kept { parts, .. }, way) in found {
                    let Some(sent) = reader.way(&way) else { continue };
                    let Some(first) = sent.first() else { continue };
                    let Some(unit_key) = sealed_to(&now.state, &sent) else { continue };
                    let under = (first.slips.grant, first.slip.target);
                    for ((by, sealed), grant) in parts
                        .iter()
                        .flat_map(|part| grants.get(&under.1).into_iter().flatten().map(move |g| (part, g)))
                    {
                        if senders.len() >= RELEASES_LIMIT || senders.contains(&(under.0, *by)) {
                            continue;
                        }
                        if let Ok(one) = may_release(turn, &view, shares, grant, &sent, *sealed) {
                            senders.insert((under.0, *by));
                            may.push(one);
                            let (way, sent) = (way.clone(), sent.clone());
                            candidates.push(Candidate { item, grant: *grant, way, sent, unit_key });
                        }
                    }
                }
            }
        }
        let mut parts: Vec<Vec<ReleasedPart>> = Vec::new();
        parts.resize_with(count, Vec::new);
        self.release_to(site, turn, &now, may, candidates, &mut parts).await?;
        let outcome = |parts: Vec<ReleasedPart>| match parts.is_empty() {
            true => RoutedOutcome::Refused { code: ErrorCode::NotFound },
            false => RoutedOutcome::Released { parts },
        };
        Ok(parts.into_iter().map(outcome).collect())
    }

    async fn release_to(
        &self,
        site: Id,
        turn: &Arc<Turn>,
        now: &Now,
        may: Vec<MayRelease>,
        candidates: Vec<Candidate>,
        parts: &mut [Vec<ReleasedPart>],
    ) -> Result<(), SiteError> {
        let recorded = self.recorder.record(now.state.organization(), site, turn.clone(), may).await?;
        reached(CrashPoint::SiteJournalRecorded).await;
        let computed = self.vault.release(site, recorded).await?;
        reached(CrashPoint::SitePartialComputed).await;
        // The machine may have slept in between, and woken to another lease: what ends by its date may be over.
        let later = self.now().ok_or(SiteError::NotJoined)?;
        for (candidate, computed) in candidates.into_iter().zip(computed) {
            let Candidate { item, grant, way, sent, unit_key } = candidate;
            let may = |at| later.state.may_release(&site, &turn.card(), &grant, &sent, at).is_ok();
            // A part that does not open here was sealed to another key, or by somebody who meant harm: others may be good.
            let (Some((seal_x, file_x)), true) = (computed, later.time.is_some_and(may)) else { continue };
            let secret = |x: warifu_split_key::partial::PartialX| SecretBytes(Zeroizing::new(*x.expose()));
            let (seal_x, file_x) = (secret(seal_x), secret(file_x));
            if let Some(parts) = parts.get_mut(item) {
                parts.push(ReleasedPart { grant, way, unit_key, seal_x, file_x });
            }
        }
        Ok(())
    }
}
