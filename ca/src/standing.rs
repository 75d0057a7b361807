//! What the ca may draw secrets for: units and grants that people have ordered in the ca's *own* fold, and that are not over.
//!
//! [`OrderedUnit`] and [`OrderedGrant`] can be made here only, from a fold whose lease runs, and the vault draws for nothing
//! else: what the kms asks for counts nothing (I8).

use warifu_ledger::state::NotAnswered;
use warifu_ledger::statement::Custody;
use warifu_ledger::{Digest, Id};
use warifu_replica::follow::Fresh;
use warifu_split_key::point::Point;

/// How something that was ordered stands.
pub enum Standing<T> {
    /// It waits for the ca.
    Open(T),
    /// It waits for something else.
    Later,
    /// It is there already, or over for ever.
    Over,
    /// The ca's own fold knows nothing of it.
    NotOrdered,
}

/// A unit that was ordered and has no key yet.
pub struct OrderedUnit {
    organization: Digest,
    unit: Id,
    order: Digest,
}

impl OrderedUnit {
    /// Looks it up in the ca's own fold.
    #[must_use]
    pub fn in_fold(fresh: &Fresh, id: Id) -> Standing<Self> {
        let Some(unit) = fresh.state.unit(&id) else { return Standing::NotOrdered };
        let contract_over =
            unit.contract.is_some_and(|contract| fresh.state.contract_is_over(&contract, fresh.time));
        if unit.key.is_some() || contract_over || fresh.state.unit_is_closed(&id, fresh.time) {
            return Standing::Over;
        }
        Standing::Open(Self { organization: fresh.state.organization(), unit: id, order: unit.order })
    }

    /// The organization.
    #[must_use]
    pub fn organization(&self) -> Digest {
        self.organization
    }

    /// The unit.
    #[must_use]
    pub fn unit(&self) -> Id {
        self.unit
    }

    /// The order that asked for it.
    #[must_use]
    pub fn order(&self) -> Digest {
        self.order
    }
}

/// A grant that was ordered, is live, and has no shares yet.
pub struct OrderedGrant {
    organization: Digest,
    grant: Id,
    unit: Id,
    unit_key: Point,
    transport: Point,
    custody: Custody,
}

impl OrderedGrant {
    /// Looks it up in the ca's own fold.
    #[must_use]
    pub fn in_fold(fresh: &Fresh, id: Id) -> Standing<Self> {
        let (state, time) = (&fresh.state, fresh.time);
        let Some(grant) = state.grant(&id) else { return Standing::NotOrdered };
        // A grant that has not begun gets its shares all the same: they are on the card when it does.
        if grant.issued.is_some() || state.live_grant(&id, time).is_err() {
            return Standing::Over;
        }
        if state.may_connect(&grant.card, time) == Err(NotAnswered::CardSuspended) {
            return Standing::Later;
        }
        let (Some(unit), Some(card)) = (state.unit(&grant.unit), state.card(&grant.card)) else {
            return Standing::NotOrdered;
        };
        let Some((unit_key, _)) = unit.key else { return Standing::Later };
        Standing::Open(Self {
            organization: state.organization(),
            grant: id,
            unit: grant.unit,
            unit_key,
            transport: card.card.transport.0,
            custody: grant.custody,
        })
    }

    /// The organization.
    #[must_use]
    pub fn organization(&self) -> Digest {
        self.organization
    }

    /// The grant.
    #[must_use]
    pub fn grant(&self) -> Id {
        self.grant
    }

    /// Its unit.
    #[must_use]
    pub fn unit(&self) -> Id {
        self.unit
    }

    /// `P`.
    #[must_use]
    pub fn unit_key(&self) -> Point {
        self.unit_key
    }

    /// The card's transport key (9D), which an officer signed.
    #[must_use]
    pub fn transport(&self) -> Point {
        self.transport
    }

    /// How the share comes onto the card.
    #[must_use]
    pub fn custody(&self) -> Custody {
        self.custody
    }
}
