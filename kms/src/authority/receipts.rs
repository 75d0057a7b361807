//! Receipts: which sites have acted on an order, and by when the others' leases are over.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::time::{Instant, timeout_at};
use warifu_api::wire::authority::{Receipts, SiteReceipt};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::checkpoint::Checkpoint;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::LONGEST_LEASE_MS;
use warifu_ledger::statement::{Millis, Order, Receipt};
use warifu_ledger::{Digest, Id};

use super::error::AuthorityError;
use super::role::OfReporter;
use super::store::{Entry, ReceivedReceipt};
use super::{Authority, LONG_POLL, Result};

/// So many orders are remembered by what they stand on.
const ORDERS_REMEMBERED: usize = 16;

/// What orders of the ledger stand on, which never changes: ten thousand receipts for one are one look into the ledger.
#[derive(Default)]
pub(crate) struct Standing {
    remembered: Mutex<VecDeque<(Digest, u64)>>,
    /// Held while somebody looks: those who come meanwhile, by the thousand, wait for what it finds.
    looking: tokio::sync::Mutex<()>,
}

impl Standing {
    fn of(&self, order: &Digest) -> Option<u64> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.iter().find(|(one, _)| one == order).map(|(_, size)| *size)
    }

    fn remember(&self, order: Digest, size: u64) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.iter().all(|(one, _)| *one != order) {
            if remembered.len() >= ORDERS_REMEMBERED {
                remembered.pop_front();
            }
            remembered.push_back((order, size));
        }
    }
}

impl Authority {
    /// Keeps a site's receipt. It may come before the order itself, which the administrator brought to the site; from a site
    /// that was removed, only receipts for orders in the ledger are of interest.
    pub(crate) async fn receipt(&self, reporter: OfReporter, envelope: Envelope) -> Result<()> {
        let OfReporter { site, removed } = reporter;
        let state = self.state()?;
        let receipt: Receipt = envelope.statement()?;
        // A site has folded nothing that is not here; a kms that was restored may have yet to get it.
        if receipt.folded > state.tree().size() {
            return Err(AuthorityError::NotYet { what: "the site has read more of the ledger" });
        }
        // Signed before the site got other keys, perhaps, and on its way since (P-8.6).
        let keys = state.site_keys_at(&site, receipt.folded);
        envelope.verify(&keys.ok_or(AuthorityError::NotFound { what: "site" })?.signing)?;
        if receipt.site != site || receipt.organization != state.organization() {
            return Err(AuthorityError::NotOneself);
        }
        match self.stands_on(&receipt.order).await? {
            Some(needed) if receipt.folded < needed => return Err(AuthorityError::NotOneself),
            None if removed => return Err(AuthorityError::NotFound { what: "order" }),
            _ => {}
        }
        let received_at = self.clock.wall_ms();
        self.keeping.keep(ReceivedReceipt { order: receipt.order, site, envelope, received_at }).await?;
        reached(CrashPoint::KmsReceiptKept).await;
        self.figures.receipts.inc();
        self.progressed();
        Ok(())
    }

    /// How many leaves an order of the ledger stands on: who has read fewer cannot have acted on it, and a site's former key
    /// speaks for no more than it was the site's key for (P-8.6). None if it is no order of the ledger.
    async fn stands_on(&self, order: &Digest) -> Result<Option<u64>> {
        if let Some(size) = self.standing.of(order) {
            return Ok(Some(size));
        }
        let _looking = self.standing.looking.lock().await;
        if let Some(size) = self.standing.of(order) {
            return Ok(Some(size));
        }
        let Some(entry) = self.entry(order).await?.filter(|entry| entry.is_order) else { return Ok(None) };
        let said: Order = self.leaf(entry.position).await?.envelope().statement()?;
        let size = Checkpoint::read(&said.seen, &said.organization)?.size;
        self.standing.remember(*order, size);
        Ok(Some(size))
    }

    /// The receipts for an order; waits for a while for more than `known`.
    pub(crate) async fn receipts(&self, order: Digest, known: Option<usize>) -> Result<Receipts> {
        let entry = self.entry(&order).await?.filter(|entry| entry.is_order);
        let entry = entry.ok_or(AuthorityError::NotFound { what: "order" })?;
        let deadline = Instant::now() + LONG_POLL;
        let mut progress = self.progress.subscribe();
        loop {
            progress.mark_unchanged();
            let receipts = self.receipts_now(&entry).await?;
            let count = receipts.sites.iter().filter(|site| site.receipt.is_some()).count();
            let enough = known.is_none_or(|known| count > known);
            if enough || timeout_at(deadline, progress.changed()).await.is_err() {
                return Ok(receipts);
            }
        }
    }

    async fn receipts_now(&self, order: &Entry) -> Result<Receipts> {
        let state = self.state()?;
        let mut received = self.store.receipts(&order.digest).await?;
        // One that came before the order could not be held against it then.
        let stands_on = self.stands_on(&order.digest).await?.unwrap_or_default();
        let has_read = |envelope: &Envelope| envelope.statement::<Receipt>().map(|said| said.folded);
        received.retain(|_, (receipt, _)| has_read(receipt).is_ok_and(|folded| folded >= stands_on));
        let mut sites = Vec::new();
        for (id, site) in state.sites() {
            let (receipt, received_at) = received.remove(id).unzip();
            if site.removed && receipt.is_none() {
                continue;
            }
            let name = self.name(&site.name).await?.name;
            let lease_ends_at = self.lease_ends_at(id, order).await?;
            sites.push(SiteReceipt { site: *id, name, receipt, received_at, lease_ends_at });
        }
        let cosigned_size = self.store.cosignature().await?.map_or(0, |(size, _)| size);
        Ok(Receipts { appended_at: order.at, cosigned: cosigned_size > order.position, sites })
    }

    /// The last stamp without the order, plus the lease: a site that has a later one has the order, too (P-5.2). None for
    /// a site that never had a stamp before it.
    async fn lease_ends_at(&self, site: &Id, order: &Entry) -> Result<Option<Millis>> {
        let stamp = self.store.stamp_before(site, order.position).await?;
        if let Some((time, lease_ms)) = stamp {
            // A site that has folded a longer lease since that stamp uses it.
            return Ok(Some(time.saturating_add(lease_ms.max(order.lease_ms))));
        }
        // Old stamps are forgotten. None was later than the order, and no lease lasts longer than this.
        let latest = order.at.saturating_add(LONGEST_LEASE_MS);
        Ok((latest < self.clock.wall_ms()).then_some(latest))
    }
}
