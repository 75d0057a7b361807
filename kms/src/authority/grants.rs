//! A grant on its way: the sites' keys, their wraps, and the card's package.

use tokio::time::{Instant, timeout_at};
use warifu_api::wire::authority::{CertificateKind, Package, PackagedShare, Readiness, Wrap};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::Id;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Bytes;
use warifu_ledger::state::{Grant, Issued, NotAnswered, State};
use warifu_ledger::statement::{GrantKey, Millis};

use super::error::AuthorityError;
use super::{Authority, LONG_POLL, Result};

/// A grant that is not over. One that has not begun is not: its shares are handed out ahead.
pub(crate) fn live_grant<'s>(state: &'s State, grant: &Id, now: Millis) -> Result<&'s Grant> {
    state.grant(grant).ok_or(AuthorityError::NotFound { what: "grant" })?;
    Ok(state.live_grant(grant, now)?)
}

/// A grant is served by its unit's sites of today.
pub(crate) fn must_serve(state: &State, site: &Id, grant: &Grant) -> Result<()> {
    if state.serves(site, &grant.unit) { Ok(()) } else { Err(NotAnswered::NotServedHere.into()) }
}

impl Authority {
    /// Keeps a site's public key for a grant. Until shares are made, the first one stays; after that it is the key of a site
    /// that has no share, and waits for one from another site (P-6.9).
    pub(crate) async fn grant_key(&self, site: Id, envelope: &Envelope) -> Result<()> {
        let state = self.state()?;
        let keys = &state.site(&site).ok_or(AuthorityError::NotFound { what: "site" })?.keys;
        let statement: GrantKey = envelope.verified(&keys.signing)?;
        if statement.site != site || statement.organization != state.organization() {
            return Err(AuthorityError::NotOneself);
        }
        let grant = live_grant(&state, &statement.grant, self.now(&state))?;
        must_serve(&state, &site, grant)?;
        let (id, key) = (&statement.grant, statement.key.0);
        if grant.issued.is_some() {
            self.store.keep_later_key(id, &site, &key, envelope).await?;
        } else if self.store.keep_grant_key(id, &site, &key, envelope).await? != key {
            return Err(AuthorityError::KeyTaken);
        }
        reached(CrashPoint::KmsGrantKeyKept).await;
        self.progressed();
        Ok(())
    }

    /// The sites whose keys are missing; waits for them for a while.
    pub(crate) async fn readiness(&self, grant: Id) -> Result<Readiness> {
        let deadline = Instant::now() + LONG_POLL;
        let mut progress = self.progress.subscribe();
        loop {
            progress.mark_unchanged();
            let state = self.state()?;
            let found = live_grant(&state, &grant, self.now(&state))?;
            let keys = self.store.grant_keys(&grant).await?;
            let sites = state.serving_sites(&found.unit);
            let waiting_for: Vec<Id> = sites.into_iter().filter(|site| !keys.contains_key(site)).collect();
            let over = waiting_for.is_empty() || timeout_at(deadline, progress.changed()).await.is_err();
            if over {
                return Ok(Readiness { waiting_for });
            }
        }
    }

    /// The site's own wrap, once the ledger says what is in it.
    pub(crate) async fn wrap(&self, site: Id, grant: Id) -> Result<Wrap> {
        let state = self.state()?;
        let found = live_grant(&state, &grant, self.now(&state))?;
        found.issued.as_ref().ok_or(NotAnswered::NotIssued)?;
        must_serve(&state, &site, found)?;
        let wrapped = self.store.wrap(&grant, &site).await?;
        Ok(Wrap { wrapped: Bytes(wrapped.ok_or(AuthorityError::NotFound { what: "wrap" })?) })
    }

    /// The site has its share, checked and durable.
    pub(crate) async fn acknowledge(&self, site: Id, grant: Id) -> Result<()> {
        let state = self.state()?;
        let found = live_grant(&state, &grant, self.now(&state))?;
        found.issued.as_ref().ok_or(NotAnswered::NotIssued)?;
        must_serve(&state, &site, found)?;
        self.store.acknowledge(&grant, &site).await?;
        reached(CrashPoint::KmsAckKept).await;
        self.progressed();
        Ok(())
    }

    /// What has to go onto a card: a share only once all its sites hold theirs (P-6.5).
    pub(crate) async fn package(&self, card: Id) -> Result<Package> {
        let state = self.state()?;
        let now = self.now(&state);
        state.may_connect(&card, now)?;
        let mut shares = Vec::new();
        let mut pending = Vec::new();
        for (grant, found) in state.grants_of_card(card) {
            if live_grant(&state, &grant, now).is_err() {
                continue;
            }
            let Some(issued) = &found.issued else {
                pending.push(grant);
                continue;
            };
            // Gone once the card has it.
            let Some(share) = self.store.card_share(&grant).await? else { continue };
            let chain = self.store.certificate(CertificateKind::CardShare, &grant).await?;
            let certificate = chain.and_then(|chain| chain.into_iter().next());
            match certificate {
                Some(certificate) if self.is_everywhere(&state, &grant, found, issued).await? => {
                    shares.push(PackagedShare {
                        grant,
                        unit: found.unit,
                        custody: found.custody,
                        card_point: issued.card_point.into(),
                        sealed: Bytes(share.sealed),
                        certificate,
                    });
                }
                _ => pending.push(grant),
            }
        }
        let authentication = self.store.certificate(CertificateKind::CardAuthentication, &card).await?;
        let signature = self.store.certificate(CertificateKind::CardSignature, &card).await?;
        Ok(Package { authentication, signature, shares, pending })
    }

    async fn is_everywhere(&self, state: &State, id: &Id, grant: &Grant, issued: &Issued) -> Result<bool> {
        let acknowledged = self.store.acknowledged(id).await?;
        let serves = |site: &Id| state.serves(site, &grant.unit);
        Ok(issued.sites.iter().all(|site| acknowledged.contains(site) || !serves(site)))
    }

    /// The card has its share.
    pub(crate) async fn imported(&self, card: Id, grant: Id) -> Result<()> {
        let state = self.state()?;
        let found = state.grant(&grant).filter(|found| found.card == card && found.issued.is_some());
        if found.is_none() {
            return Err(AuthorityError::NotFound { what: "issued grant of this card" });
        }
        self.store.forget_card_share(&grant).await?;
        reached(CrashPoint::KmsImportKept).await;
        Ok(())
    }
}
