//! Orders by which many members get something: what can be ordered for some does not wait for what cannot for others.

use std::collections::{BTreeMap, BTreeSet};

use warifu_ledger::Id;
use warifu_ledger::state::{CardStatus, GRANTS_PER_CARD, Rejected};
use warifu_ledger::statement::Act;

use crate::desk::{Book, Desk};
use crate::fault::Fault;

/// Gains in one order: some 400 bytes each, of the 4 MiB that an order may have (P-2.3).
const AT_ONCE: usize = 5_000;

/// What one card gets.
pub(super) struct Gain {
    pub(super) member: Id,
    pub(super) card: Id,
    pub(super) acts: Vec<Act>,
}

/// What is to be ordered, and whose cards cannot get it as they are.
pub(super) struct Gains {
    pub(super) possible: Vec<Gain>,
    suspended: BTreeSet<Id>,
    full: BTreeSet<Id>,
}

/// What was ordered, and for whom it was not, by name.
pub(super) struct Ordered {
    pub(super) orders: Vec<warifu_ledger::Digest>,
    pub(super) left: BTreeSet<String>,
}

impl Gains {
    /// One card that is suspended or full would have an order refused that is for all.
    pub(super) fn new(book: &Book, gains: impl IntoIterator<Item = Gain>) -> Self {
        let mut sorted = Self { possible: Vec::new(), suspended: BTreeSet::new(), full: BTreeSet::new() };
        for gain in gains {
            let takes = |act: &Act| matches!(act, Act::GrantRevoked { .. });
            match book.state.card(&gain.card).map(|card| card.status) {
                Some(CardStatus::Live) => {}
                Some(CardStatus::Suspended) => {
                    sorted.suspended.insert(gain.member);
                    continue;
                }
                Some(CardStatus::Revoked) | None => continue,
            }
            if book.live_grants(gain.card).count() >= GRANTS_PER_CARD && !gain.acts.iter().any(takes) {
                sorted.full.insert(gain.member);
                continue;
            }
            sorted.possible.push(gain);
        }
        sorted
    }

    pub(super) fn is_empty(&self) -> bool {
        self.possible.is_empty() && self.suspended.is_empty() && self.full.is_empty()
    }

    /// Orders `first`, and with it what people without a role get; then, each in an order of his own, what people with a role
    /// get, since nobody signs for himself (P-4.7). Says who is left.
    ///
    /// # Errors
    /// What an order is refused for, unless it is that the signer would get something himself.
    pub(super) async fn order(
        self,
        desk: &mut Desk<'_>,
        book: &Book,
        first: Vec<Act>,
    ) -> Result<Ordered, Fault> {
        let has_role = |member: &Id| book.state.member(member).is_some_and(|found| !found.roles.is_empty());
        let (own, others): (Vec<Gain>, Vec<Gain>) =
            self.possible.into_iter().partition(|gain| has_role(&gain.member));
        let mut orders: Vec<(Option<Id>, Vec<Act>)> = vec![(None, first)];
        for (at, gain) in others.into_iter().enumerate() {
            if at > 0 && at % AT_ONCE == 0 {
                orders.push((None, Vec::new()));
            }
            orders.last_mut().into_iter().for_each(|(_, acts)| acts.extend(gain.acts.iter().cloned()));
        }
        let mut of_each: BTreeMap<Id, Vec<Act>> = BTreeMap::new();
        own.into_iter().for_each(|gain| of_each.entry(gain.member).or_default().extend(gain.acts));
        orders.extend(of_each.into_iter().map(|(member, acts)| (Some(member), acts)));

        let mut done = Vec::new();
        let mut signers = BTreeSet::new();
        for (whose, acts) in orders.into_iter().filter(|(_, acts)| !acts.is_empty()) {
            match (desk.order(book, acts, Vec::new()).await, whose) {
                (Ok(appended), _) => done.push(appended.digest),
                (Err(Fault::Rejected(Rejected::ForOneself { .. })), Some(member)) => {
                    signers.insert(member);
                }
                (Err(fault), _) => return Err(fault),
            }
        }
        let mut left = BTreeSet::new();
        for (key, members) in
            [("gains-left", signers), ("gains-suspended", self.suspended), ("gains-full", self.full)]
        {
            let names: BTreeSet<String> = members.iter().map(|member| book.member_name(member)).collect();
            if names.is_empty() {
                continue;
            }
            let shown: Vec<String> = names.iter().cloned().collect();
            desk.screen.warn(key, &[("names", shown.join(desk.screen.separator()))]);
            left.extend(names);
        }
        Ok(Ordered { orders: done, left })
    }
}
