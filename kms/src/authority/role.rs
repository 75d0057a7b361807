//! Who is asking: the key at the other end of the connection, against the fold.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use warifu_api::ErrorBody;
use warifu_api::server::Peer;
use warifu_api::tls::PeerKey;
use warifu_ledger::Id;
use warifu_ledger::state::{NotAnswered, State};
use warifu_ledger::statement::{Millis, Role, ServiceId};

use super::error::AuthorityError;
use super::{Authority, Result};

/// The id by which the ca is known among those who follow the ledger.
pub(crate) const CA: Id = Id([0; 16]);

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Nobody's, or no key.
    Stranger,
    /// The ca.
    Ca,
    /// A site that has not left.
    Site(Id),
    /// A site that was removed: it still owes receipts.
    FormerSite(Id),
    /// A key of the ca or a site that others took the place of, with the largest ledger that it spoke for: whoever was away when the
    /// order for other keys came has to read it.
    FormerKey(Id, u64),
    /// A live card.
    Card(OfCard),
    /// A card that is not live.
    DeadCard(NotAnswered),
}

/// A live card, and what its member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OfCard {
    card: Id,
    officer: bool,
    administrator: bool,
    auditor: bool,
}

impl OfCard {
    /// This card's own matters are its own and those of officers.
    pub(crate) fn may_handle(self, card: &Id) -> Result<()> {
        if self.officer || self.card == *card {
            return Ok(());
        }
        Err(AuthorityError::NotAllowed { allowed: "this card and officers" })
    }

    /// What is sealed to officers is handed to officers.
    pub(crate) fn is_officer(self) -> Result<()> {
        if self.officer { Ok(()) } else { Err(AuthorityError::NotAllowed { allowed: "officers" }) }
    }

    /// The card that asks.
    pub(crate) fn card(self) -> Id {
        self.card
    }

    /// The register, and orders that wait for a second person.
    pub(crate) fn may_look(self) -> Result<()> {
        if self.officer || self.administrator || self.auditor {
            return Ok(());
        }
        Err(AuthorityError::NotAllowed { allowed: "officers, administrators and auditors" })
    }

    /// What people have opened.
    pub(crate) fn may_audit(self) -> Result<()> {
        if self.officer || self.auditor {
            return Ok(());
        }
        Err(AuthorityError::NotAllowed { allowed: "officers and auditors" })
    }

    /// What others have proposed.
    pub(crate) fn may_withdraw(self) -> Result<()> {
        if self.officer {
            return Ok(());
        }
        Err(AuthorityError::NotAllowed { allowed: "those who have signed it, and officers" })
    }

    pub(crate) fn may_administer(self) -> Result<()> {
        if self.officer || self.administrator {
            return Ok(());
        }
        Err(AuthorityError::NotAllowed { allowed: "officers and administrators" })
    }
}

/// Whose key this is at the instant `now`.
pub(crate) fn caller(state: &State, key: Option<PeerKey>, now: Millis) -> Caller {
    let Some(PeerKey(key)) = key else { return Caller::Stranger };
    if state.ca().tls.0 == key {
        return Caller::Ca;
    }
    if let Some(card) = state.card_of_authentication_key(&key) {
        if let Err(reason) = state.may_connect(&card, now) {
            return Caller::DeadCard(reason);
        }
        // P-4.5: a card that one officer alone enrolled carries no role.
        let vouched = state.card(&card).filter(|found| found.vouched);
        let roles = vouched.and_then(|found| state.member(&found.card.member)).map(|m| &m.roles);
        let has = |role| roles.is_some_and(|roles| roles.contains(&role));
        return Caller::Card(OfCard {
            card,
            officer: has(Role::Officer),
            administrator: has(Role::Administrator),
            auditor: has(Role::Auditor),
        });
    }
    match state.site_of_tls_key(&key) {
        Some((id, site)) if site.removed => Caller::FormerSite(id),
        Some((id, _)) => Caller::Site(id),
        None => match state.former_service_of_tls_key(&key.into()) {
            Some((ServiceId::Ca, leaves)) => Caller::FormerKey(CA, leaves),
            Some((ServiceId::Site(site), leaves)) => Caller::FormerKey(site, leaves),
            Some((ServiceId::Kms, _)) | None => Caller::Stranger,
        },
    }
}

impl Caller {
    fn refused<T>(self, allowed: &'static str) -> Result<T> {
        match self {
            Self::DeadCard(reason) => Err(AuthorityError::Card(reason)),
            _ => Err(AuthorityError::NotAllowed { allowed }),
        }
    }

    fn ca(self) -> Result<OfCa> {
        if self == Self::Ca { Ok(OfCa) } else { self.refused("the ca") }
    }

    fn site(self) -> Result<OfSite> {
        if let Self::Site(site) = self { Ok(OfSite(site)) } else { self.refused("a site") }
    }

    fn reporter(self) -> Result<OfReporter> {
        match self {
            Self::Site(site) => Ok(OfReporter { site, removed: false }),
            Self::FormerSite(site) => Ok(OfReporter { site, removed: true }),
            _ => self.refused("a site"),
        }
    }

    /// The id by which a service is known that follows the ledger.
    pub(crate) fn service(self) -> Result<OfService> {
        match self {
            Self::Ca => Ok(OfService(CA)),
            Self::Site(site) => Ok(OfService(site)),
            _ => self.refused("the ca and sites"),
        }
    }

    fn follower(self) -> Result<OfFollower> {
        match self {
            // With the order itself, and nothing after it.
            Self::FormerKey(service, leaves) => {
                Ok(OfFollower { service, leaves: Some(leaves.saturating_add(1)) })
            }
            other => other.service().map(|OfService(service)| OfFollower { service, leaves: None }),
        }
    }

    fn reader(self) -> Result<OfReader> {
        match self {
            Self::Ca | Self::Site(_) | Self::Card(_) => Ok(OfReader),
            _ => self.refused("cards and services"),
        }
    }

    fn auditor(self) -> Result<OfAuditor> {
        self.card()?.may_audit().map(|()| OfAuditor)
    }

    fn card(self) -> Result<OfCard> {
        if let Self::Card(card) = self { Ok(card) } else { self.refused("a card") }
    }
}

/// Proof that the ca asks.
pub(crate) struct OfCa;
/// Proof that this site asks.
pub(crate) struct OfSite(pub(crate) Id);
/// Proof that this site asks, which may have been removed: the order that removed it wants its receipt, too.
pub(crate) struct OfReporter {
    pub(crate) site: Id,
    pub(crate) removed: bool,
}
/// Proof that somebody asks who may read the audit journals.
pub(crate) struct OfAuditor;
/// Proof that this site asks, or the ca.
pub(crate) struct OfService(pub(crate) Id);
/// Proof that somebody asks who may follow the ledger: a service; or, for so many leaves, whoever has a former key of one.
pub(crate) struct OfFollower {
    pub(crate) service: Id,
    pub(crate) leaves: Option<u64>,
}
/// Proof that somebody asks who may read the ledger.
pub(crate) struct OfReader;
/// The key of somebody about whom the ledger of a restored kms may know nothing yet.
pub(crate) struct Shown(pub(crate) PeerKey);

impl FromRequestParts<Arc<Authority>> for Caller {
    type Rejection = ErrorBody;

    async fn from_request_parts(
        parts: &mut Parts,
        authority: &Arc<Authority>,
    ) -> std::result::Result<Self, ErrorBody> {
        let state = authority.state().map_err(AuthorityError::into_body)?;
        let key = parts.extensions.get::<Peer>().and_then(|peer| peer.key);
        Ok(caller(&state, key, authority.now(&state)))
    }
}

impl FromRequestParts<Arc<Authority>> for Shown {
    type Rejection = ErrorBody;

    async fn from_request_parts(
        parts: &mut Parts,
        authority: &Arc<Authority>,
    ) -> std::result::Result<Self, ErrorBody> {
        // Nobody's long body is read for nothing.
        if !authority.is_recovering() {
            return Err(AuthorityError::NothingToBring.into_body());
        }
        let key = parts.extensions.get::<Peer>().and_then(|peer| peer.key);
        key.map(Self).ok_or_else(|| AuthorityError::NotAllowed { allowed: "ca" }.into_body())
    }
}

/// Each proof is made here alone, before anything else of the request is read.
macro_rules! proof {
    ($proof:ident, $method:ident) => {
        impl FromRequestParts<Arc<Authority>> for $proof {
            type Rejection = ErrorBody;

            async fn from_request_parts(
                parts: &mut Parts,
                authority: &Arc<Authority>,
            ) -> std::result::Result<Self, ErrorBody> {
                let caller = Caller::from_request_parts(parts, authority).await?;
                caller.$method().map_err(AuthorityError::into_body)
            }
        }
    };
}

proof!(OfCa, ca);
proof!(OfSite, site);
proof!(OfReporter, reporter);
proof!(OfService, service);
proof!(OfFollower, follower);
proof!(OfReader, reader);
proof!(OfCard, card);
proof!(OfAuditor, auditor);
