//! When a certificate stops counting: read from the ca's own fold, and from nothing else.
//!
//! Nothing of ours asks for a CRL: sites refuse a card by their own fold, within moments. CRLs tell other software.

use rcgen::RevocationReason;
use warifu_api::wire::authority::CertificateKind;
use warifu_ledger::Id;
use warifu_ledger::state::{CardStatus, State};
use warifu_ledger::statement::Millis;

/// Why a certificate does not count. That a key was compromised is never guessed: an order's reason is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The member has left, at once or on the last day.
    MemberLeft,
    /// The contract of the member or unit is over, by order or by its date.
    ContractOver,
    /// The card was revoked: lost, broken, replaced.
    CardRevoked,
    /// The grant was revoked, or has expired.
    GrantOver,
    /// The site was removed.
    SiteRemoved,
    /// The unit was closed, at once or on its day.
    UnitClosed,
    /// Another unit, with another key, has taken the unit's place.
    UnitRekeyed,
    /// The card is suspended. It may come back.
    Suspended,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 8] = [
        Self::MemberLeft,
        Self::ContractOver,
        Self::CardRevoked,
        Self::GrantOver,
        Self::SiteRemoved,
        Self::UnitClosed,
        Self::UnitRekeyed,
        Self::Suspended,
    ];

    /// What a CRL says (RFC 5280, section 5.3.1); nothing where none of its reasons is known to be true.
    #[must_use]
    pub fn reason(self) -> Option<RevocationReason> {
        match self {
            Self::MemberLeft => Some(RevocationReason::AffiliationChanged),
            Self::ContractOver | Self::SiteRemoved | Self::UnitClosed => {
                Some(RevocationReason::CessationOfOperation)
            }
            Self::UnitRekeyed => Some(RevocationReason::Superseded),
            Self::CardRevoked => None,
            Self::GrantOver => Some(RevocationReason::PrivilegeWithdrawn),
            Self::Suspended => Some(RevocationReason::CertificateHold),
        }
    }

    /// Its name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MemberLeft => "member-left",
            Self::ContractOver => "contract-over",
            Self::CardRevoked => "card-revoked",
            Self::GrantOver => "grant-over",
            Self::SiteRemoved => "site-removed",
            Self::UnitClosed => "unit-closed",
            Self::UnitRekeyed => "unit-rekeyed",
            Self::Suspended => "suspended",
        }
    }

    /// The cause of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }

    /// Whether what is over for this cause stays over.
    #[must_use]
    pub fn is_final(self) -> bool {
        self != Self::Suspended
    }

    /// What is to be said of a certificate of which `self` was said, if it is `now` over for that: what is final stays.
    #[must_use]
    pub fn followed_by(self, now: Option<Self>) -> Option<Self> {
        if self.is_final() { Some(self) } else { now }
    }
}

/// Why a certificate of this kind for this subject does not count at `time`, if it does not.
#[must_use]
pub fn cause(state: &State, time: Millis, kind: CertificateKind, id: &Id) -> Option<Cause> {
    match kind {
        CertificateKind::Authority => None,
        // The kms's own is for nobody's id, and no site has that.
        CertificateKind::Service => state.site(id).filter(|site| site.removed).map(|_| Cause::SiteRemoved),
        CertificateKind::CardAuthentication | CertificateKind::CardSignature => {
            card_over(state, time, id).or_else(|| card_held(state, id))
        }
        CertificateKind::CardShare => {
            let grant = state.grant(id)?;
            let expired = grant.expires_at.is_some_and(|end| end <= time);
            card_over(state, time, &grant.card)
                .or_else(|| unit_over(state, time, &grant.unit))
                .or_else(|| (grant.revoked || expired).then_some(Cause::GrantOver))
                .or_else(|| card_held(state, &grant.card))
        }
        CertificateKind::Unit => unit_over(state, time, id).or_else(|| rekeyed(state, id)),
    }
}

fn card_over(state: &State, time: Millis, id: &Id) -> Option<Cause> {
    let card = state.card(id)?;
    let member = state.member(&card.card.member)?;
    if state.member_is_over(&card.card.member, time) {
        Some(Cause::MemberLeft)
    } else if member.contract.is_some_and(|contract| state.contract_is_over(&contract, time)) {
        Some(Cause::ContractOver)
    } else {
        (card.status == CardStatus::Revoked).then_some(Cause::CardRevoked)
    }
}

fn card_held(state: &State, id: &Id) -> Option<Cause> {
    state.card(id).filter(|card| card.status == CardStatus::Suspended).map(|_| Cause::Suspended)
}

fn unit_over(state: &State, time: Millis, id: &Id) -> Option<Cause> {
    let unit = state.unit(id)?;
    if unit.contract.is_some_and(|contract| state.contract_is_over(&contract, time)) {
        return Some(Cause::ContractOver);
    }
    state.unit_is_closed(id, time).then_some(Cause::UnitClosed)
}

/// Old files still open with the old key; nobody is to encrypt to it any more.
fn rekeyed(state: &State, id: &Id) -> Option<Cause> {
    let successor = state.unit(&state.unit(id)?.successor?)?;
    successor.key.map(|_| Cause::UnitRekeyed)
}

/// The next instant after `time` at which something ends by its date alone.
#[must_use]
pub fn next_end(state: &State, time: Millis) -> Option<Millis> {
    let contracts = state.contracts().filter(|(_, contract)| !contract.ended).map(|(_, c)| c.ends_at);
    let grants = state.grants().filter(|(_, grant)| !grant.revoked).filter_map(|(_, g)| g.expires_at);
    let members = state.members().filter(|(_, member)| !member.revoked).filter_map(|(_, m)| m.ends_at);
    let units = state.units().filter(|(_, unit)| !unit.closed).filter_map(|(_, u)| u.closes_at);
    contracts.chain(grants).chain(members).chain(units).filter(|end| *end > time).min()
}
