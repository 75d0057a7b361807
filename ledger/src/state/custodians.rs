//! Who holds the pieces of the backups of ca and kms (P-10.1).
//!
//! The backup of the ca opens every `s1`, that of the kms every `s2`: whoever opened both would have every unit's key. So no
//! person is custodian of both, none is twice custodian of one, and no single person opens either. What a custodian's card
//! opened once it opens for ever, so whoever was custodian of one never becomes custodian of the other.

use std::collections::BTreeSet;

use super::{CardStatus, Kind, Rejected, State};
use crate::Id;
use crate::statement::{HalfHolder, Millis};

/// How many custodians a service has at most.
pub const CUSTODIANS_LIMIT: usize = 16;

/// Who opens a service's backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custodians {
    /// How many of them do it together.
    pub threshold: u8,
    /// Their cards, one a person.
    pub cards: BTreeSet<Id>,
}

impl State {
    /// Who opens the backups that this service makes; none until two officers have said so.
    #[must_use]
    pub fn custodians(&self, service: HalfHolder) -> Option<&Custodians> {
        self.custodians.get(&service)
    }

    pub(super) fn change_custodians(
        &mut self,
        service: HalfHolder,
        threshold: u8,
        cards: &BTreeSet<Id>,
        at: Millis,
    ) -> Result<(), Rejected> {
        let malformed = |why| Err(Rejected::CustodiansMalformed { service, why });
        if threshold < 2 {
            return malformed("one person alone would open a backup");
        }
        if cards.len() < usize::from(threshold) {
            return malformed("they are fewer than have to come together");
        }
        if cards.len() > CUSTODIANS_LIMIT {
            return malformed("they are more than sixteen");
        }
        let mut people = BTreeSet::new();
        for card in cards {
            let found = self.known_card(card)?;
            let member = found.card.member;
            if found.status == CardStatus::Suspended {
                return Err(Rejected::CardSuspended { card: *card });
            }
            if !self.card_is_live(card, at) {
                return Err(Rejected::Over { kind: Kind::Card, id: *card });
            }
            // As for roles (P-4.5): the card that one officer enrolled may be in his own drawer.
            if !found.vouched {
                return malformed("one officer alone enrolled a card of theirs");
            }
            if found.card.contract.is_some() {
                return malformed("somebody among them works under a contract");
            }
            if !people.insert(member) {
                return malformed("one person is among them with two cards");
            }
            if self.ever_custodians.contains(&(service.other(), member)) {
                return Err(Rejected::CustodianOfBoth { member });
            }
        }
        for member in people {
            self.ever_custodians.insert_mut((service, member));
        }
        self.custodians.insert_mut(service, Custodians { threshold, cards: cards.clone() });
        Ok(())
    }
}
