//! Proposals: orders that wait for a second person, who may sit at another PC, on another day.
//!
//! The kms is their letter box and nothing more: it keeps what the first person has signed, and whoever signs second brings
//! the whole order like any other (P-11.2). What it says of a proposal counts for nothing at a desk, which checks the
//! signatures and every record by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use warifu_api::wire::authority::{OrderRequest, Proposal, ProposalEntry, ProposalStanding, Proposals};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::State;
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use super::error::AuthorityError;
use super::role::OfCard;
use super::store::KeptProposal;
use super::{Authority, Result, blocking, records, whole};

/// How many proposals of one person wait at a time, and how many bytes they have together.
const PROPOSALS_EACH: usize = 20;
const BYTES_EACH: usize = 16 << 20;

impl Authority {
    /// Keeps an order until a second person has signed it, if it is good but for that. The same again changes nothing.
    pub(crate) async fn propose(self: &Arc<Self>, request: OrderRequest) -> Result<()> {
        let state = self.state()?;
        let OrderRequest { envelope, records } = request;
        let digest = envelope.digest();
        match self.standing(&digest).await? {
            None => {}
            Some(ProposalStanding::Waiting) => return Ok(()),
            Some(over) => return Err(AuthorityError::ProposalOver { over }),
        }
        let at = self.now(&state);
        let signers = signers_of(&state, &envelope, at)?;
        let (envelope, order) = blocking(move || {
            let order = state.check_awaiting(&envelope, at)?;
            if state.check_order(&envelope, at).is_ok() {
                return Err(AuthorityError::NoSecondNeeded);
            }
            Ok((envelope, order))
        })
        .await?;
        let records = records::check(&self.store, &order.commitments(), &[], records).await?;
        let request = serde_json::to_string(&OrderRequest { envelope, records })?;
        let this = self.clone();
        whole(async move {
            // An order that is appended meanwhile waits for nobody.
            let _serialized = this.in_turn().await;
            match this.standing(&digest).await? {
                None => {}
                Some(ProposalStanding::Waiting) => return Ok(()),
                Some(over) => return Err(AuthorityError::ProposalOver { over }),
            }
            let kept = KeptProposal { digest, expires_at: order.expires_at, request };
            if !this.store.keep_proposal(&kept, &signers, PROPOSALS_EACH, BYTES_EACH).await? {
                return Err(AuthorityError::TooManyProposals { most: PROPOSALS_EACH });
            }
            reached(CrashPoint::KmsProposalKept).await;
            tracing::info!(proposal = %digest, acts = order.acts.len(), "proposal kept");
            Ok(())
        })
        .await
    }

    /// What waits now, the next to expire first.
    pub(crate) async fn proposals(&self) -> Result<Proposals> {
        let state = self.state()?;
        let at = self.now(&state);
        self.forget_proposals(at).await?;
        let mut waiting = Vec::new();
        for (digest, expires_at) in self.store.proposals().await? {
            let Some(OrderRequest { envelope, .. }) = self.proposed(&digest).await? else { continue };
            let state = state.clone();
            let possible = blocking(move || Ok(state.check_awaiting(&envelope, at).is_ok())).await?;
            waiting.push(ProposalEntry { digest, expires_at, possible });
        }
        Ok(Proposals { waiting })
    }

    /// One proposal, or how it ended.
    pub(crate) async fn proposal(&self, digest: Digest) -> Result<Proposal> {
        let state = self.state()?;
        self.forget_proposals(self.now(&state)).await?;
        let standing = self.standing(&digest).await?;
        let standing = standing.ok_or(AuthorityError::NotFound { what: "proposal" })?;
        let request = match standing {
            ProposalStanding::Waiting => self.proposed(&digest).await?,
            _ => None,
        };
        Ok(Proposal { standing, request })
    }

    /// Erases a proposal, for one of its signers or for an officer. Once more changes nothing.
    pub(crate) async fn withdraw(self: &Arc<Self>, caller: OfCard, digest: Digest) -> Result<()> {
        let state = self.state()?;
        let member = state.card(&caller.card()).map(|found| found.card.member);
        let own = match member {
            Some(member) => self.store.signed_proposal(&digest, &member).await?,
            None => false,
        };
        if !own {
            caller.may_withdraw()?;
        }
        let this = self.clone();
        whole(async move {
            let _serialized = this.in_turn().await;
            match this.standing(&digest).await? {
                None => return Err(AuthorityError::NotFound { what: "proposal" }),
                Some(ProposalStanding::Waiting) => {}
                Some(ProposalStanding::Appended) => {
                    return Err(AuthorityError::ProposalOver { over: ProposalStanding::Appended });
                }
                Some(_) => return Ok(()),
            }
            this.store.withdraw_proposal(&digest).await?;
            reached(CrashPoint::KmsProposalWithdrawn).await;
            tracing::info!(proposal = %digest, "proposal withdrawn");
            Ok(())
        })
        .await
    }

    /// What an order of this digest came to; none if nobody has proposed it. The ledger decides first: an order that is in it
    /// waits for nobody, whatever a crash has left.
    async fn standing(&self, digest: &Digest) -> Result<Option<ProposalStanding>> {
        if self.entry(digest).await?.is_some_and(|entry| entry.is_order) {
            return Ok(Some(ProposalStanding::Appended));
        }
        self.store.proposal_standing(digest).await
    }

    async fn proposed(&self, digest: &Digest) -> Result<Option<OrderRequest>> {
        let request = self.store.proposal(digest).await?;
        request
            .map(|text| serde_json::from_str(&text).map_err(|_| AuthorityError::Damaged { what: "proposal" }))
            .transpose()
    }

    /// Erases what has expired, and what a crash has left of proposals that were appended.
    pub(crate) async fn forget_proposals(&self, at: Millis) -> Result<()> {
        self.store.expire_proposals(at).await?;
        for (digest, _) in self.store.proposals().await? {
            if self.entry(&digest).await?.is_some() {
                self.store.forget_proposal(&digest).await?;
            }
        }
        Ok(())
    }

    /// The order is in the ledger, whatever happens here; the next start tries again.
    pub(crate) async fn forget_proposal_of(&self, digest: &Digest) {
        if let Err(error) = self.store.forget_proposal(digest).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "a proposal that was appended could not be deleted");
        }
    }
}

/// The people who have signed, whose cards are known.
fn signers_of(state: &State, envelope: &Envelope, at: Millis) -> Result<BTreeSet<Id>> {
    let member = |card| state.card(&card).map(|found| found.card.member);
    let mut members = BTreeSet::new();
    for signature in &envelope.signatures {
        members.extend(member(state.may_sign(signature.keyid, at)?));
    }
    Ok(members)
}
