//! Key pairs and shares: for each live grant that is served here, one EC key pair in the HSM, then the share that the kms
//! wrapped to it (P-6.4), or another site (P-6.9).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use warifu_api::error::ErrorCode;
use warifu_api::wire::Done;
use warifu_api::wire::authority::Wrap;
use warifu_crash_point::{CrashPoint, Guard, reached, stands};
use warifu_hardware::hsm::WrappedShare;
use warifu_ledger::Id;
use warifu_ledger::key::PublicKey;
use warifu_ledger::state::State;
use warifu_ledger::statement::{GrantKey, Millis};
use warifu_split_key::point::Point;

use super::dead::Dead;
use super::error::SiteError;
use super::service::Core;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a grant wants of this site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    /// A key pair, announced to the kms.
    KeyPair,
    /// The share `b` of this `B`, for which there has to be a key pair.
    Share(Point),
}

/// What this grant wants at `at`, as far as the ledger and what is dead here say.
pub(super) fn wanted(state: &State, dead: &Dead, site: &Id, id: &Id, at: Millis) -> Wanted {
    let Some(grant) = state.grant(id) else { return Wanted::Nothing };
    let over =
        (dead.is_over(state, id) && stands(Guard::NoneForTheDead)) || state.live_grant(id, at).is_err();
    match &grant.issued {
        _ if over || !state.serves(site, &grant.unit) => Wanted::Nothing,
        // Also where it was issued without this site, which came later (P-6.9).
        Some(issued) => Wanted::Share(issued.site_point),
        None => Wanted::KeyPair,
    }
}

impl Core {
    /// Has these grants looked at.
    pub(super) fn want(&self, grants: impl IntoIterator<Item = Id>) {
        self.wanting().extend(grants);
        self.provision.notify_one();
    }

    /// Gives every grant what it wants; at first all that the ledger has, then those that leaves name.
    pub(super) async fn provision(self: Arc<Self>) {
        self.want_all();
        let mut pause = FIRST_PAUSE;
        loop {
            if self.provide_once().await {
                tokio::select! {
                    () = self.provision.notified() => pause = FIRST_PAUSE,
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                }
            } else {
                pause = FIRST_PAUSE;
                self.provision.notified().await;
            }
        }
    }

    /// Has every grant of the ledger looked at.
    pub(super) fn want_all(&self) {
        if let Some(state) = self.replica.state() {
            self.want(state.grants().filter(|(_, grant)| !grant.revoked).map(|(id, _)| *id));
        }
    }

    /// One try for each grant that is to be looked at; whether any has to wait for the next.
    pub(super) async fn provide_once(&self) -> bool {
        // Taken out first: what a leaf adds meanwhile is looked at again.
        let batch = std::mem::take(&mut *self.wanting());
        let mut waiting = BTreeSet::new();
        for grant in batch {
            match self.provide(grant).await {
                Ok(true) => {}
                Ok(false) => {
                    waiting.insert(grant);
                }
                Err(error) => {
                    let source = std::error::Error::source(&error);
                    tracing::warn!(%grant, %error, ?source, "a grant waits");
                    waiting.insert(grant);
                }
            }
        }
        let any = !waiting.is_empty();
        self.wanting().extend(waiting);
        any
    }

    fn wanted(&self, grant: &Id) -> Option<(Id, Wanted)> {
        let now = self.now()?;
        let site = self.site_id(&now.state)?;
        // After a start, what was over before it still is.
        let (_, stamped) = self.replica.last_stamp().unwrap_or_default();
        let at = now.time.unwrap_or(now.state.last_at().max(stamped));
        Some((site, wanted(&now.state, &self.dead(), &site, grant, at)))
    }

    /// Gives one grant what it wants. False if that has to wait for the kms.
    async fn provide(&self, grant: Id) -> Result<bool, SiteError> {
        let Some((site, wanted)) = self.wanted(&grant) else { return Ok(false) };
        match wanted {
            Wanted::Nothing => Ok(true),
            Wanted::KeyPair => {
                if !self.store.is_announced(&grant).await? {
                    self.make_key_pair(site, grant).await?;
                }
                Ok(true)
            }
            Wanted::Share(site_point) => match self.store.has_share(&grant).await? {
                Some(true) => Ok(true),
                Some(false) => self.acknowledge(grant).await,
                None => {
                    if !self.store.is_announced(&grant).await? {
                        self.make_key_pair(site, grant).await?;
                    }
                    match self.kms.get::<Wrap>(&format!("/v1/wraps/{grant}")).await {
                        Ok(wrap) => self.take_share(grant, site_point, &wrap).await,
                        Err(error)
                            if matches!(error.code(), Some(ErrorCode::NotFound | ErrorCode::NotReady)) =>
                        {
                            Ok(false)
                        }
                        Err(error) => Err(error.into()),
                    }
                }
            },
        }
    }

    async fn make_key_pair(&self, site: Id, grant: Id) -> Result<(), SiteError> {
        let keys = self.vault.keys().await;
        // Asked again now that nobody destroys anything: a revocation comes entirely before or entirely after.
        if !matches!(self.wanted(&grant), Some((_, Wanted::KeyPair | Wanted::Share(_)))) {
            return Ok(());
        }
        let (keys, key) = keys.generate(grant).await?;
        reached(CrashPoint::SiteKeyPairMade).await;
        drop(keys);
        let organization = self.replica.state().ok_or(SiteError::NotJoined)?.organization();
        let statement = self.signed(&GrantKey { organization, site, grant, key: PublicKey(key) }).await?;
        let Done {} = self.kms.post("/v1/grant-keys", &statement).await?;
        reached(CrashPoint::SiteKeyPairPosted).await;
        // Again: what a revocation has forgotten meanwhile stays forgotten.
        let keys = self.vault.keys().await;
        if !matches!(self.wanted(&grant), Some((_, Wanted::Nothing))) {
            self.store.announced(&grant).await?;
        }
        drop(keys);
        reached(CrashPoint::SiteKeyPairAnnounced).await;
        Ok(())
    }

    async fn take_share(&self, grant: Id, site_point: Point, wrap: &Wrap) -> Result<bool, SiteError> {
        let share = WrappedShare::from_bytes(&wrap.wrapped.0)
            .map_err(|_| SiteError::Damaged { what: "wrapped share" })?;
        let keys = self.vault.keys().await;
        if !matches!(self.wanted(&grant), Some((_, Wanted::Share(point))) if point == site_point) {
            return Ok(true);
        }
        let keys = match keys.check_share(grant, share.clone(), site_point).await {
            Ok(keys) => keys,
            Err(error) if error.refuses_share() => {
                self.refuse_wrap(grant).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        reached(CrashPoint::SiteShareChecked).await;
        // Before the right to the keys is given up: a revocation that comes now finds the row and deletes it.
        self.store.put_share(&grant, &share).await?;
        drop(keys);
        reached(CrashPoint::SiteShareStored).await;
        self.acknowledge(grant).await
    }

    /// Tells the kms that what another site wrapped is no share, so that the next may try.
    async fn refuse_wrap(&self, grant: Id) -> Result<(), SiteError> {
        match self.kms.post(&format!("/v1/wraps/{grant}/refusal"), &Done {}).await {
            Ok(Done {}) => Ok(()),
            // The kms itself has made this wrap, and there is no other: an operator has to look.
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn acknowledge(&self, grant: Id) -> Result<bool, SiteError> {
        match self.kms.delete::<Done>(&format!("/v1/wraps/{grant}")).await {
            Ok(Done {}) => {}
            // An acknowledgement whose answer was lost.
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        reached(CrashPoint::SiteShareAcknowledged).await;
        self.store.acknowledged(&grant).await?;
        reached(CrashPoint::SiteShareSettled).await;
        Ok(true)
    }
}
