//! Taking slips from a card: `POST /v1/routes`, in the order of P-7.2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use warifu_api::error::ErrorCode;
use warifu_api::tls::PeerKey;
use warifu_api::wire::routing::{Batch, RefusedSlip, Routed};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::slip::SlipId;
use warifu_ledger::statement::{Slips, Statement as _};

use super::check::{Judged, MayRoute, Origin, Reader, may_route};
use crate::site::answering::refused;
use crate::site::error::SiteError;
use crate::site::service::Core;
use crate::site::store::Accepted;
use crate::site::vault::PartFault;

/// The most slips under one grant that are here and not over: some hundred megabytes.
const SLIPS_OF_A_GRANT: u64 = 1 << 17;

impl Core {
    /// Takes a batch: when this returns, the slips that it does not name are on their way.
    pub(in crate::site) async fn route(
        &self,
        peer: Option<PeerKey>,
        brought: Batch,
    ) -> Result<Routed, SiteError> {
        let (_, site, card) = self.card_of(peer)?;
        let turn = self
            .gates
            .enter(card, brought.items.len(), self.clock.boot_ms())
            .await
            .map_err(|code| refused(code, "too many requests of this card"))?;
        let turn = Arc::new(turn);
        if brought.slips.payload_type != Slips::PAYLOAD_TYPE {
            return Err(refused(ErrorCode::Malformed, "these are no slips"));
        }
        let grant = brought.slips.statement::<Slips>()?.grant;
        let batch = brought.slips.digest();
        let shares = self.store.shares([grant]).await?;
        let origins = self.origins(&brought).await?;
        let before = self.store.routed(&batch).await?;
        let crowded = before.is_none()
            && self.store.brought_under(&grant).await?.saturating_add(brought.items.len() as u64)
                > SLIPS_OF_A_GRANT;
        // Only now, under the card's lock: whatever ended before is seen here, and whatever ends later waits for the turn.
        let now = self.now().ok_or(SiteError::NotJoined)?;
        let mut reader = Reader::of(&now.state);
        reader.read_ahead(origins.values().map(|origin| origin.way.as_slice()));
        let Judged { slips, outcomes } = {
            let dead = self.dead();
            may_route(&turn, &self.view(site, &now, &dead), &mut reader, &shares, &origins, &brought)?
        };
        if let Some(before) = before {
            return Ok(before);
        }
        if crowded {
            return Err(refused(ErrorCode::Busy, "too many slips under this grant are on their way"));
        }

        let (mut may, mut answer) = (Vec::new(), Routed { refused: Vec::new() });
        for (outcome, slip) in outcomes.into_iter().zip(&brought.items) {
            match outcome {
                Ok(one) => may.push(one),
                Err(code) => answer.refused.push(RefusedSlip { index: slip.index, code }),
            }
        }
        if may.is_empty() {
            return Ok(answer);
        }
        let indexes: Vec<u64> = may.iter().map(MayRoute::index).collect();
        let recorded = self.recorder.record(now.state.organization(), site, turn.clone(), may).await?;
        reached(CrashPoint::SiteRoutesRecorded).await;
        let mut parts = Vec::new();
        for (index, part) in indexes.into_iter().zip(self.vault.own_parts(site, recorded).await?) {
            match part {
                Ok(part) => parts.push(part),
                // What came by the slip before opens nothing: whoever sent it sealed what he liked.
                Err(PartFault::DoesNotOpen) => {
                    answer.refused.push(RefusedSlip { index, code: ErrorCode::NotFound });
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        answer.refused.sort_unstable_by_key(|refused| refused.index);
        if parts.is_empty() {
            return Ok(answer);
        }
        // The machine may have slept in between, and woken to another lease: what ends by its date may be over.
        let later = self.now().ok_or(SiteError::NotJoined)?;
        let time = later.time.ok_or_else(|| refused(ErrorCode::LeaseExpired, "no lease runs"))?;
        if let Err(why) = later.state.may_route(&site, &card, &brought.slips, time) {
            return Err(refused(ErrorCode::Rejected, &why.to_string()));
        }

        let kept: BTreeSet<u64> = parts.iter().map(|(index, _)| *index).collect();
        let mut proved = slips
            .prove(brought.items.clone())
            .map_err(|_| refused(ErrorCode::Malformed, "these are not the slips that were signed"))?;
        proved.retain(|proved| kept.contains(&proved.slip.index));
        let expires_at = slips.expires_at;
        let accepted =
            Accepted { batch: &brought, expires_at, answer: &answer, slips: &proved, parts: &parts };
        self.store.put_accepted(&site, &grant, &accepted).await?;
        reached(CrashPoint::SiteRoutesKept).await;
        self.outbox.notify_one();
        Ok(answer)
    }

    /// The ways by which files came that are sent on, with their parts.
    async fn origins(&self, brought: &Batch) -> Result<BTreeMap<SlipId, Origin>, SiteError> {
        let mut origins = BTreeMap::new();
        let all: BTreeSet<SlipId> = brought.items.iter().filter_map(|slip| slip.origin).collect();
        for origin in all {
            let way = self.store.way(origin).await?;
            let parts = self.store.parts(&origin.slips, origin.index).await?;
            origins.insert(origin, Origin { way, parts });
        }
        Ok(origins)
    }
}
