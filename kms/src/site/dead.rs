//! What is dead here whatever the ledger says: what this site acted on at first sight (P-8.1).

use std::collections::{BTreeMap, HashMap, HashSet};

use warifu_api::error::ErrorCode;
use warifu_ledger::state::{Grant, State};
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use super::ending::Ending;

/// The dead, in memory. It only ever grows, but for suspensions.
#[derive(Debug, Default)]
pub(super) struct Dead {
    pub(super) grants: HashSet<Id>,
    pub(super) cards: HashSet<Id>,
    pub(super) members: HashSet<Id>,
    pub(super) contracts: HashSet<Id>,
    pub(super) files: HashSet<Digest>,
    /// Slips, one of a batch or all.
    pub(super) slips: HashSet<(Digest, Option<u64>)>,
    /// Cards with the orders that suspend them, and the last instants at which these do.
    pub(super) suspended: HashMap<Id, BTreeMap<Digest, Millis>>,
    pub(super) left: bool,
}

impl Dead {
    /// Adds what an order ends. `until` is the order's expiry if it was brought by hand; a suspension that the ledger
    /// confirms is the ledger's to end.
    pub(super) fn add(&mut self, order: Digest, ending: &Ending, until: Option<Millis>) {
        self.grants.extend(&ending.grants);
        self.cards.extend(&ending.cards);
        self.members.extend(&ending.members);
        self.contracts.extend(&ending.contracts);
        self.files.extend(&ending.files);
        self.slips.extend(&ending.slips);
        self.left |= ending.leaves;
        match until {
            Some(until) => {
                for card in &ending.suspended {
                    self.suspended.entry(*card).or_default().insert(order, until);
                }
            }
            None => {
                for card in &ending.suspended {
                    if let Some(orders) = self.suspended.get_mut(card) {
                        orders.remove(&order);
                    }
                }
            }
        }
    }

    /// Whether the card may not be answered at `at`, and why.
    pub(super) fn refuses_card(&self, state: &State, card: &Id, at: Millis) -> Option<ErrorCode> {
        let member = state.card(card).map(|found| found.card.member);
        let gone = |member: &Id| self.members.contains(member);
        let contract = |member: &Id| state.member(member).and_then(|m| m.contract);
        if self.cards.contains(card) || member.as_ref().is_some_and(gone) {
            return Some(ErrorCode::CardNotLive);
        }
        if self.suspended.get(card).is_some_and(|orders| orders.values().any(|&until| at <= until)) {
            return Some(ErrorCode::CardSuspended);
        }
        let over = member.as_ref().and_then(contract).is_some_and(|c| self.contracts.contains(&c));
        over.then_some(ErrorCode::ContractOver)
    }

    /// Whether the grant is over here for ever, and why: by itself, or with its card, member, contract or this site.
    pub(super) fn refuses_grant(&self, state: &State, id: &Id, grant: &Grant) -> Option<ErrorCode> {
        if self.left {
            return Some(ErrorCode::NotServedHere);
        }
        if self.grants.contains(id) {
            return Some(ErrorCode::GrantNotLive);
        }
        let member = state.card(&grant.card).map(|found| found.card.member);
        if self.cards.contains(&grant.card) || member.is_some_and(|m| self.members.contains(&m)) {
            return Some(ErrorCode::CardNotLive);
        }
        let of_member = member.and_then(|m| state.member(&m)).and_then(|m| m.contract);
        let of_unit = state.unit(&grant.unit).and_then(|unit| unit.contract);
        let over = [of_member, of_unit].into_iter().flatten().any(|c| self.contracts.contains(&c));
        over.then_some(ErrorCode::ContractOver)
    }

    /// Whether a key pair for this grant must not exist here any more.
    pub(super) fn is_over(&self, state: &State, id: &Id) -> bool {
        self.left
            || self.grants.contains(id)
            || state
                .grant(id)
                .is_some_and(|grant| grant.revoked || self.refuses_grant(state, id, grant).is_some())
    }
}
