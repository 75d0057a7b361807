//! Evidence of one order: who signed it, where it stands in the ledger, which sites have confirmed, and by when no other one can
//! answer without it (P-14.4).

use std::collections::{BTreeMap, BTreeSet};

use warifu_ledger::checkpoint::Checkpoint;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{Act, Founding, Millis, Order, Receipt};
use warifu_ledger::{Digest, Id};

use crate::file::Subject;
use crate::verify::Finding;

/// What a file proves of the order that it is evidence of.
pub struct OrderReport {
    /// The order, as people signed it.
    pub envelope: Envelope,
    /// What it says.
    pub order: Order,
    /// Its place in the ledger.
    pub index: u64,
    /// When it was appended.
    pub at: Millis,
    /// The sites that were to act on it and whose receipts are not in the file.
    pub outstanding: BTreeSet<Id>,
    /// From this instant on no site answers by a stamp that was given without the order: no stamp is later than it that does not
    /// contain it (P-5.4), and no lease was longer then than the policy allowed.
    pub leases_end: Millis,
}

/// Follows the ledger for orders that call for receipts.
#[derive(Default)]
pub(crate) struct Orders {
    /// How many leaves each order stands on: who has not folded them cannot have acted on it.
    seen: BTreeMap<Digest, u64>,
    subject: Option<Subject>,
    found: Option<OrderReport>,
    /// The lease that the policy allows after the leaves so far, in milliseconds.
    lease_ms: u64,
    /// By when leases are over that a longer one of an earlier policy let run.
    earlier_leases_end: Millis,
    /// The sites that have joined and not left.
    sites: BTreeSet<Id>,
    /// By when the lease of a site that has left is over.
    left: BTreeMap<Id, Millis>,
}

impl Orders {
    pub(crate) fn of(subject: Option<Subject>) -> Self {
        Self { subject, ..Self::default() }
    }

    /// Whether the file is evidence of one order, and has nothing else.
    pub(crate) fn is_of_one(&self) -> bool {
        self.subject.is_some()
    }

    /// The next leaf, which the fold has taken.
    pub(crate) fn leaf(&mut self, leaf: &Leaf, index: u64) {
        if let Ok(founding) = leaf.envelope().statement::<Founding>() {
            self.lease_ms = founding.policy.lease_ms;
        }
        let Ok(order) = leaf.envelope().statement::<Order>() else { return };
        let changes: Vec<Change> = order.acts.iter().filter_map(Change::of).collect();
        if order.acts.iter().any(Act::calls_for_receipt) {
            self.note(leaf, index, order);
        }
        for change in changes {
            match change {
                Change::Joined(site) => _ = self.sites.insert(site),
                Change::Left(site) => {
                    self.sites.remove(&site);
                    self.left.insert(site, self.leases_end(leaf));
                }
                Change::Lease(lease_ms) => {
                    let end = leaf.at().saturating_add(self.lease_ms);
                    self.earlier_leases_end = self.earlier_leases_end.max(end);
                    self.lease_ms = lease_ms;
                }
            }
        }
    }

    /// An order that calls for receipts, as the ledger was before it.
    fn note(&mut self, leaf: &Leaf, index: u64, order: Order) {
        let digest = leaf.envelope().digest();
        if let Ok(seen) = Checkpoint::read(&order.seen, &order.organization) {
            self.seen.insert(digest, seen.size);
        }
        if self.subject.as_ref().is_some_and(|subject| subject.order == digest) {
            // Whoever has left may not know it yet.
            let leaving = self.left.iter().filter(|(_, end)| **end > leaf.at()).map(|(site, _)| *site);
            self.found = Some(OrderReport {
                envelope: leaf.envelope().clone(),
                order,
                index,
                at: leaf.at(),
                outstanding: self.sites.iter().copied().chain(leaving).collect(),
                leases_end: self.leases_end(leaf),
            });
        }
    }

    /// By when all leases are over that a stamp from before this leaf let run.
    fn leases_end(&self, leaf: &Leaf) -> Millis {
        self.earlier_leases_end.max(leaf.at().saturating_add(self.lease_ms))
    }

    /// Whether whoever signed had read as much of the ledger as the order stands on: a site's former key speaks for no more of
    /// it than it was the site's key for (P-8.6).
    pub(crate) fn has_read_enough(&self, receipt: &Receipt) -> bool {
        self.seen.get(&receipt.order).is_none_or(|seen| receipt.folded >= *seen)
    }

    /// What the file shows of its order, held against what it says that it shows.
    pub(crate) fn report(self, receipts: &[Receipt], findings: &mut Vec<Finding>) -> Option<OrderReport> {
        let subject = self.subject?;
        for receipt in receipts.iter().filter(|receipt| receipt.order != subject.order) {
            let Receipt { site, order, .. } = receipt;
            findings.push(Finding::ReceiptOfOtherOrder { site: *site, order: *order });
        }
        let confirmed: BTreeSet<Id> =
            receipts.iter().filter(|receipt| receipt.order == subject.order).map(|r| r.site).collect();
        for site in subject.confirmed.difference(&confirmed) {
            let forged = |finding: &Finding| matches!(finding, Finding::ReceiptForged { site: Some(s), .. } | Finding::ReceiptOutdated { site: s, .. } if s == site);
            if !findings.iter().any(forged) {
                findings.push(Finding::ReceiptMissing { site: *site });
            }
        }
        let Some(mut found) = self.found else {
            findings.push(Finding::OrderMissing { order: subject.order });
            return None;
        };
        found.outstanding.retain(|site| !confirmed.contains(site));
        Some(found)
    }
}

/// What an act changes of sites and their leases.
enum Change {
    Joined(Id),
    Left(Id),
    Lease(u64),
}

impl Change {
    fn of(act: &Act) -> Option<Self> {
        match act {
            Act::SiteJoined { site, .. } => Some(Self::Joined(*site)),
            Act::SiteRemoved { site } => Some(Self::Left(*site)),
            Act::PolicyChanged { policy } => Some(Self::Lease(policy.lease_ms)),
            _ => None,
        }
    }
}
