//! What a statement commits to in the register (P-3.1).

use super::{Act, Founding, Order};
use crate::register::Commitment;

impl Act {
    /// The name that this act gives to something, or by which it brings a card or a member.
    #[must_use]
    pub fn name(&self) -> Option<Commitment> {
        match self {
            Self::SiteJoined { name, .. }
            | Self::ContractOpened { name, .. }
            | Self::UnitOrdered { name, .. }
            | Self::TrustAdded { name, .. }
            | Self::MemberEnrolled { name, .. } => Some(*name),
            Self::UnitChanged { name, .. } => *name,
            Self::CardEnrolled(card) => Some(card.name),
            _ => None,
        }
    }

    /// Why it is done.
    #[must_use]
    pub fn reason(&self) -> Option<Commitment> {
        match self {
            Self::ContractEnded { reason, .. }
            | Self::GrantRevoked { reason, .. }
            | Self::CardRevoked { reason, .. }
            | Self::MemberRevoked { reason, .. } => *reason,
            _ => None,
        }
    }
}

impl Order {
    /// Every commitment of its acts, names and reasons.
    #[must_use]
    pub fn commitments(&self) -> Vec<Commitment> {
        self.acts.iter().flat_map(|act| act.name().into_iter().chain(act.reason())).collect()
    }
}

impl Founding {
    /// The names of the organization and of its first officers.
    #[must_use]
    pub fn commitments(&self) -> Vec<Commitment> {
        std::iter::once(self.name).chain(self.officers.iter().map(|card| card.name)).collect()
    }
}
