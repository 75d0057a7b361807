//! What an order ends at a site. Pure: the acts and the fold decide.

use std::collections::BTreeSet;

use warifu_ledger::state::State;
use warifu_ledger::statement::Act;
use warifu_ledger::{Digest, Id};

/// What the revoking acts of an order end. Everything but a suspension is over for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ending {
    /// Grants whose key pairs are to be destroyed.
    pub(super) grants: BTreeSet<Id>,
    pub(super) cards: BTreeSet<Id>,
    pub(super) members: BTreeSet<Id>,
    pub(super) contracts: BTreeSet<Id>,
    pub(super) files: BTreeSet<Digest>,
    /// Slips, one of a batch or all.
    pub(super) slips: BTreeSet<(Digest, Option<u64>)>,
    /// Cards that answer for nothing for now.
    pub(super) suspended: BTreeSet<Id>,
    /// This site has left: it answers for nothing any more.
    pub(super) leaves: bool,
    /// Cards that may have an answer or an event stream under way which this order ends.
    pub(super) touched: BTreeSet<Id>,
}

impl Ending {
    /// What `acts` end at `site`, as far as `state` knows. The fold forgets none of what an act once ended, so a later
    /// state than the order's own answers the same.
    pub(super) fn of(state: &State, site: &Id, acts: &[Act]) -> Self {
        let mut ending = Self::default();
        for act in acts {
            match act {
                Act::CardRevoked { card, .. } => {
                    ending.cards.insert(*card);
                    ending.touched.insert(*card);
                }
                Act::MemberRevoked { member, effective_at: None, .. } => {
                    ending.members.insert(*member);
                    ending.touched.extend(state.cards_of_member(*member).map(|(card, _)| card));
                }
                Act::ContractEnded { contract, .. } => {
                    ending.contracts.insert(*contract);
                    let cards = state.members_of_contract(*contract).flat_map(|m| state.cards_of_member(m));
                    ending.touched.extend(cards.map(|(card, _)| card));
                }
                Act::CardSuspended { card } => {
                    ending.suspended.insert(*card);
                    ending.touched.insert(*card);
                }
                Act::FileShredded { file } => {
                    ending.files.insert(*file);
                }
                Act::SlipRevoked { slips, index } => {
                    ending.slips.insert((*slips, *index));
                }
                Act::SiteRemoved { site: removed } => ending.leaves |= removed == site,
                _ => {}
            }
            ending.grants.extend(state.ended_by(act));
        }
        let cards = ending.grants.iter().filter_map(|grant| state.grant(grant)).map(|grant| grant.card);
        ending.touched.extend(cards);
        ending
    }

    /// Whether nothing of it can be acted on before the ledger has the order.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
