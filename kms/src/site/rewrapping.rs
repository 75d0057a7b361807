//! A share goes on to a site that comes later: this site wraps it, inside its HSM, to a key that the other site signed
//! (P-6.9). What the kms offers is believed in nothing: the fold says which sites serve a grant, and by which keys they sign.

use std::sync::Arc;
use std::time::Duration;

use warifu_api::error::ErrorCode;
use warifu_api::wire::Done;
use warifu_api::wire::authority::{Rewrap, Rewraps};
use warifu_ledger::Id;
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::key::{Bytes, PublicKey};
use warifu_ledger::statement::GrantKey;
use warifu_split_key::point::Point;

use super::check::View;
use super::error::SiteError;
use super::provisioning::{Wanted, wanted};
use super::service::Core;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the kms is asked without a reason: a site may have lost what it had.
const ERRANDS: Duration = Duration::from_secs(600);

/// That this site may wrap its share of a grant to another site's key: only [`may_rewrap`] makes one, and the HSM wraps for
/// nothing else.
pub(super) struct MayRewrap {
    grant: Id,
    to: Id,
    key: Point,
}

impl MayRewrap {
    pub(super) fn grant(&self) -> &Id {
        &self.grant
    }

    /// The other site's key for this grant.
    pub(super) fn key(&self) -> &Point {
        &self.key
    }
}

/// Why a share is not wrapped to a key that the kms offered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotRewrapped {
    /// A site without a lease does not know who has left.
    #[error("no lease runs here")]
    NoLease,
    /// The key is not signed by the site that it speaks of.
    #[error("the key is not signed by the site that it speaks of")]
    NotSigned(#[from] EnvelopeError),
    /// The key is for another organization.
    #[error("the key is for another organization")]
    OtherOrganization,
    /// The ledger does not know that site, or has removed it.
    #[error("the ledger does not know the site {site}, or has removed it")]
    NoSite {
        /// The site that the key speaks of.
        site: Id,
    },
    /// The key is this site's own.
    #[error("the key is this site's own")]
    Ourselves,
    /// The grant is over, not issued, or not served here.
    #[error("the grant {grant} is over, not issued, or not served here")]
    NotOurs {
        /// The grant.
        grant: Id,
    },
    /// The ledger does not have that site serve the grant.
    #[error("the ledger does not have the site {site} serve the grant {grant}")]
    NotServed {
        /// The site that the key speaks of.
        site: Id,
        /// The grant.
        grant: Id,
    },
}

/// Asks this site's own fold: the lease runs · the key is signed by a site that has not left, with the key that the ledger
/// has of it · the grant is live and served here · and there.
pub(super) fn may_rewrap(view: &View<'_>, envelope: &Envelope) -> Result<MayRewrap, NotRewrapped> {
    let at = view.time.filter(|_| !view.halted).ok_or(NotRewrapped::NoLease)?;
    let GrantKey { organization, site, grant, key: PublicKey(key) } = envelope.statement()?;
    let state = view.state;
    if organization != state.organization() {
        return Err(NotRewrapped::OtherOrganization);
    }
    let found = state.site(&site).filter(|found| !found.removed).ok_or(NotRewrapped::NoSite { site })?;
    envelope.verify(&found.keys.signing)?;
    if site == view.site {
        return Err(NotRewrapped::Ourselves);
    }
    if !matches!(wanted(state, view.dead, &view.site, &grant, at), Wanted::Share(_)) {
        return Err(NotRewrapped::NotOurs { grant });
    }
    if !state.grant(&grant).is_some_and(|found| state.serves(&site, &found.unit)) {
        return Err(NotRewrapped::NotServed { site, grant });
    }
    Ok(MayRewrap { grant, to: site, key })
}

impl Core {
    /// Wraps shares for other sites as long as any lacks one; then waits for the ledger to name another.
    pub(super) async fn serve_later_sites(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let wait = match self.serve_once().await {
                Ok(Served::Some) => {
                    pause = FIRST_PAUSE;
                    continue;
                }
                // Not at once, whatever the kms answers.
                Ok(Served::Waits) => FIRST_PAUSE,
                Ok(Served::All) => {
                    pause = FIRST_PAUSE;
                    ERRANDS
                }
                Ok(Served::Nothing) | Err(_) => {
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    wait
                }
            };
            tokio::select! {
                () = self.others.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    pub(super) async fn serve_once(&self) -> Result<Served, SiteError> {
        let state = self.replica.state().ok_or(SiteError::NotJoined)?;
        self.site_id(&state).ok_or(SiteError::NotJoined)?;
        let Rewraps { keys, outstanding } = self.kms.get("/v1/rewraps").await?;
        let mut refused = 0;
        for key in &keys {
            if let Err(error) = self.rewrap_for(key).await {
                let source = std::error::Error::source(&error);
                tracing::warn!(%error, ?source, "a share is not wrapped to another site");
                refused += 1;
            }
        }
        Ok(match keys.len() - refused {
            0 if refused > 0 => Served::Nothing,
            0 if outstanding => Served::Waits,
            0 => Served::All,
            _ if refused > 0 => Served::Waits,
            _ => Served::Some,
        })
    }

    fn may_rewrap(&self, envelope: &Envelope) -> Result<MayRewrap, SiteError> {
        let now = self.now().ok_or(SiteError::NotJoined)?;
        let site = self.site_id(&now.state).ok_or(SiteError::NotJoined)?;
        let dead = self.dead();
        Ok(may_rewrap(&self.view(site, &now, &dead), envelope)?)
    }

    /// Wraps one share to this key and gives it to the kms.
    async fn rewrap_for(&self, envelope: &Envelope) -> Result<(), SiteError> {
        let asked = self.may_rewrap(envelope)?;
        let share = self.store.shares([asked.grant]).await?.remove(&asked.grant);
        // Restored from an old copy, perhaps: others have it.
        let share = share.ok_or(NotRewrapped::NotOurs { grant: asked.grant })?;
        let keys = self.vault.keys().await;
        // Asked again now that nobody destroys anything: what is revoked is never wrapped again.
        let may = self.may_rewrap(envelope)?;
        let (grant, to, key) = (may.grant, may.to, may.key);
        let (keys, rewrapped) = keys.rewrap(may, share).await?;
        drop(keys);
        let rewrap = Rewrap { key: PublicKey(key), wrapped: Bytes(rewrapped.to_bytes()) };
        match self.kms.put::<Done>(&format!("/v1/wraps/{grant}/{to}"), &rewrap).await {
            Ok(Done {}) => {}
            // Over meanwhile, or the other site has come to a new key: it is asked for again if it is needed.
            Err(error) if error.code().is_some_and(is_too_late) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// What came of asking the kms once.
pub(super) enum Served {
    /// Nobody lacks anything.
    All,
    /// All that was asked for; there may be more.
    Some,
    /// Another site lacks something that cannot be had yet, or not here.
    Waits,
    /// Nothing of what was asked for is to be had here.
    Nothing,
}

fn is_too_late(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotFound
            | ErrorCode::Rejected
            | ErrorCode::GrantNotLive
            | ErrorCode::GrantExpired
            | ErrorCode::ContractOver
            | ErrorCode::CardNotLive
            | ErrorCode::UnitClosed
            | ErrorCode::NotServedHere
    )
}
