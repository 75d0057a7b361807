//! Batches on their way to the kms, and with them this site's parts, sealed to the sites of the targets (P-15.5, P-15.11).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use warifu_api::wire::Done;
use warifu_api::wire::routing::{Batch, ReleasedParts};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::key::{Base64, PublicKey};
use warifu_ledger::slip::SlipId;
use warifu_ledger::statement::{Released, SitePart, Slips};
use warifu_ledger::{Digest, Id};

use super::check::{MayHandOver, Reader, may_hand_over};
use crate::site::error::SiteError;
use crate::site::service::Core;
use crate::site::store::Sealed;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Core {
    /// Brings each batch to the kms until it has all of it.
    pub(in crate::site) async fn bring_slips(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.bring_slips_once().await {
                Ok(true) => {
                    pause = FIRST_PAUSE;
                    self.outbox.notified().await;
                }
                Ok(false) => pause = FIRST_PAUSE,
                Err(error) => {
                    tracing::debug!(%error, "slips wait for the kms");
                    tokio::select! {
                        () = self.outbox.notified() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// One try for each batch; whether there was none. The last failure, if there was one.
    pub(in crate::site) async fn bring_slips_once(&self) -> Result<bool, SiteError> {
        let (mut result, mut last) = (Ok(true), None);
        loop {
            let waiting = self.store.outbox(last.as_ref()).await?;
            let Some(batch) = waiting.last() else { return result };
            last = Some(batch.slips.digest());
            result = result.map(|_| false);
            for batch in waiting {
                // What cannot go now keeps no other batch.
                if let Err(error) = self.bring(&batch).await {
                    result = Err(error);
                }
            }
        }
    }

    async fn bring(&self, brought: &Batch) -> Result<(), SiteError> {
        let digest = brought.slips.digest();
        let now = self.now().ok_or(SiteError::NotJoined)?;
        let site = self.site_id(&now.state).ok_or(SiteError::NotJoined)?;
        let at = now.time.ok_or(SiteError::NoLease)?;
        let slips: Slips = brought.slips.statement()?;
        let own = self.store.own_parts(&digest, &site).await?;
        let parts: BTreeSet<u64> = own.iter().map(|(index, _)| *index).collect();
        let targets: BTreeSet<Id> =
            brought.items.iter().filter(|slip| parts.contains(&slip.index)).map(|slip| slip.target).collect();
        let serves = now.state.serves(&site, &slips.unit);
        if !serves {
            tracing::error!(slips = %digest, "this site serves the unit no more: its parts of these slips go nowhere");
        }
        if serves && !slips.are_over(at) {
            let Done {} = self.kms.post("/v1/slips", brought).await?;
            let sites = targets.iter().flat_map(|target| now.state.serving_sites(target));
            let others: BTreeSet<Id> = sites.filter(|to| *to != site).collect();
            for to in others {
                self.hand_over(digest, &own, to).await?;
            }
            reached(CrashPoint::SiteSlipsBrought).await;
        }
        let served = targets.into_iter().filter(|target| now.state.serves(&site, target)).collect();
        self.store.sent(&digest, &site, &served).await?;
        reached(CrashPoint::SiteSlipsSettled).await;
        Ok(())
    }

    /// Seals what is for one site to it, and gives it to the kms; ends with an error as soon as an order is marked.
    async fn hand_over(&self, slips: Digest, own: &[(u64, Sealed)], to: Id) -> Result<(), SiteError> {
        let mut marked = self.marked.subscribe();
        let _going = self.handing_over.read().await;
        tokio::select! {
            biased;
            _ = marked.changed() => Err(SiteError::OrderMarked),
            handed = self.hand_over_unless_marked(slips, own, to) => handed,
        }
    }

    async fn hand_over_unless_marked(
        &self,
        slips: Digest,
        own: &[(u64, Sealed)],
        to: Id,
    ) -> Result<(), SiteError> {
        let mut ways = Vec::new();
        for (index, sealed) in own {
            ways.push((self.store.way(SlipId { slips, index: *index }).await?, *sealed));
        }
        // Asked now: what has ended since it was taken goes nowhere.
        let now = self.now().ok_or(SiteError::NotJoined)?;
        let site = self.site_id(&now.state).ok_or(SiteError::NotJoined)?;
        let mut reader = Reader::of(&now.state);
        reader.read_ahead(ways.iter().map(|(way, _)| way.as_slice()));
        let may: Vec<MayHandOver> = {
            let dead = self.dead();
            let view = self.view(site, &now, &dead);
            let mut may = |(way, sealed): &(Vec<_>, _)| may_hand_over(&view, &mut reader, way, *sealed, to);
            ways.iter().filter_map(&mut may).collect()
        };
        let Some(key) = may.first().map(|one| PublicKey(*one.key())) else { return Ok(()) };
        let mut parts = Vec::new();
        for part in self.vault.hand_over(site, may).await? {
            let (index, sealed) = part?;
            parts.push(SitePart { index, sealed: Base64(sealed) });
        }
        let organization = now.state.organization();
        let released = self.signed(&Released { organization, site, slips, to, parts }).await?;
        let Done {} = self.kms.post("/v1/released", &ReleasedParts { released, key }).await?;
        Ok(())
    }
}
