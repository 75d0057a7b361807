//! A site comes later to a unit: it gets its shares from a site that has them, wrapped inside that site's HSM (P-6.9). The
//! kms carries them, and could open none.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use warifu_api::wire::authority::{Holdings, Rewrap, Rewraps};
use warifu_crash_point::waiting;
use warifu_hardware::hsm::WrappedShare;
use warifu_ledger::Id;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::{NotAnswered, State};
use warifu_ledger::statement::Millis;

use super::error::AuthorityError;
use super::grants::{live_grant, must_serve};
use super::store::KeyKept;
use super::{Authority, LONG_POLL, Result, blocking, whole};

/// Keys in one answer.
const KEYS: usize = 64;
/// Keys read at once: many may be of grants that are over.
const PAGE: u32 = 256;
/// Grants named in one answer.
const MISSING: usize = 10_000;

impl Authority {
    /// The keys to which `site` can wrap shares; waits for the first for a while, if one is to come.
    pub(crate) async fn rewraps(&self, site: Id) -> Result<Rewraps> {
        let deadline = Instant::now() + LONG_POLL;
        let mut progress = self.progress.subscribe();
        let outstanding = self.others_lack(&site).await?;
        loop {
            progress.mark_unchanged();
            let keys = self.keys_that_wait(&site).await?;
            let over = !outstanding || !keys.is_empty();
            if over || timeout_at(deadline, waiting(progress.changed())).await.is_err() {
                return Ok(Rewraps { outstanding: outstanding || !keys.is_empty(), keys });
            }
        }
    }

    async fn keys_that_wait(&self, by: &Id) -> Result<Vec<Envelope>> {
        let state = self.state()?;
        let now = self.now(&state);
        let may = |grant: &Id, to: &Id| {
            live_grant(&state, grant, now).is_ok_and(|found| {
                found.issued.is_some() && [by, to].iter().all(|site| must_serve(&state, site, found).is_ok())
            })
        };
        let mut keys = Vec::new();
        // Before the first: ids are drawn, and none is all zero.
        let mut after = Some((Id([0; 16]), Id([0; 16])));
        while let Some(cursor) = after.take() {
            let page = self.store.keys_that_wait(by, cursor, PAGE).await?;
            // A short page is the last one.
            after = page.last().filter(|_| page.len() == PAGE as usize).map(|(grant, to, _)| (*grant, *to));
            keys.extend(page.into_iter().filter(|(grant, to, _)| may(grant, to)).map(|(_, _, key)| key));
            if keys.len() >= KEYS {
                keys.truncate(KEYS);
                break;
            }
        }
        Ok(keys)
    }

    /// Whether another site serves a unit together with `site` and has not all shares.
    async fn others_lack(&self, site: &Id) -> Result<bool> {
        let state = self.state()?;
        let now = self.now(&state);
        let ours = Arc::new(served(&state, site));
        let others = state.sites().filter(|(other, found)| *other != site && !found.removed);
        for other in others.map(|(other, _)| *other).collect::<Vec<_>>() {
            let (state, ours) = (state.clone(), ours.clone());
            // All grants of a city are some 100,000: nobody else is to wait for that.
            let wanted = blocking(move || {
                let shared = served(&state, &other).intersection(&ours).copied().collect();
                Ok(grants_of(&state, &shared, now))
            });
            let wanted = wanted.await?;
            if !wanted.is_empty() && !wanted.is_subset(&self.store.held_by(&other).await?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a share that `by` wrapped to a key of `to`. One suffices: if something is there already, it stays.
    pub(crate) async fn rewrapped(self: &Arc<Self>, by: Id, grant: Id, to: Id, rewrap: Rewrap) -> Result<()> {
        let malformed = |error: warifu_hardware::hsm::wrap::WrapError| AuthorityError::Malformed {
            why: error.to_string(),
        };
        let wrapped = WrappedShare::from_bytes(&rewrap.wrapped.0).map_err(malformed)?;
        let this = self.clone();
        whole(async move {
            // An order that ends the grant comes before, and this is refused, or after, and finds the wrap to delete.
            let _serialized = this.in_turn().await;
            let state = this.state()?;
            let found = live_grant(&state, &grant, this.now(&state))?;
            found.issued.as_ref().ok_or(NotAnswered::NotIssued)?;
            must_serve(&state, &by, found)?;
            must_serve(&state, &to, found)?;
            if by == to || !this.store.acknowledged(&grant).await?.contains(&by) {
                return Err(AuthorityError::NotAllowed { allowed: "another site that has the share" });
            }
            match this.store.keep_rewrap(&grant, &to, &by, &rewrap.key.0, &wrapped.to_bytes()).await? {
                KeyKept::Same => {}
                KeyKept::Another => return Err(AuthorityError::KeyTaken),
                KeyKept::None => {
                    return Err(AuthorityError::NotFound { what: "key of that site for the grant" });
                }
            }
            this.progressed();
            Ok(())
        })
        .await
    }

    /// What another site wrapped is not the share of this grant: the next may try.
    pub(crate) async fn wrap_refused(&self, site: Id, grant: Id) -> Result<()> {
        let state = self.state()?;
        let found = live_grant(&state, &grant, self.now(&state))?;
        must_serve(&state, &site, found)?;
        let mut able = state.serving_sites(&found.unit);
        able.remove(&site);
        let held = self.store.acknowledged(&grant).await?;
        able.retain(|other| held.contains(other));
        let by = self.store.refuse_wrap(&grant, &site, &able).await?;
        let by = by.ok_or(AuthorityError::NotFound { what: "wrap by another site" })?;
        tracing::warn!(%grant, %site, %by, "what one site wrapped, the other refuses");
        self.progressed();
        Ok(())
    }

    /// How far a site has come.
    pub(crate) async fn holdings(&self, site: Id) -> Result<Holdings> {
        let state = self.state()?;
        state.site(&site).ok_or(AuthorityError::NotFound { what: "site" })?;
        let now = self.now(&state);
        let wanted = blocking(move || Ok(grants_of(&state, &served(&state, &site), now))).await?;
        let held = self.store.held_by(&site).await?;
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let on_the_way = self.store.wrapped_for(&site).await?;
        let missing = wanted.difference(&held).filter(|grant| !on_the_way.contains(grant));
        let missing = missing.copied().take(MISSING).collect();
        Ok(Holdings { grants: count(wanted.len()), held: count(wanted.intersection(&held).count()), missing })
    }
}

/// The live grants of these units that have shares.
fn grants_of(state: &State, units: &BTreeSet<Id>, now: Millis) -> BTreeSet<Id> {
    let grants = units.iter().flat_map(|unit| state.grants_of_unit(*unit));
    let live = grants.filter(|(id, grant)| grant.issued.is_some() && live_grant(state, id, now).is_ok());
    live.map(|(id, _)| id).collect()
}

/// The units that a site serves.
fn served(state: &State, site: &Id) -> BTreeSet<Id> {
    state.units().map(|(id, _)| *id).filter(|unit| state.serves(site, unit)).collect()
}
