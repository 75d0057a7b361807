//! Whether a site may answer: the one question of P-7.2 that the ledger decides.

use super::{CardStatus, Grant, Rejected, State};
use crate::Id;
use crate::statement::{Millis, Right};

/// Why a site answers nothing for a card and a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAnswered {
    /// No such card, or it was revoked.
    #[error("the card is not enrolled or was revoked")]
    CardNotLive,
    /// The card is suspended.
    #[error("the card is suspended")]
    CardSuspended,
    /// The member has left.
    #[error("the member has left")]
    MemberGone,
    /// The contract of the member or of the unit is over.
    #[error("the contract is over")]
    ContractOver,
    /// No such grant on this card, or it was revoked.
    #[error("the card has no such grant, or it was revoked")]
    GrantNotLive,
    /// The grant has expired.
    #[error("the grant has expired")]
    GrantExpired,
    /// The grant has not begun.
    #[error("the grant begins at {starts_at}")]
    GrantNotStarted {
        /// The first instant at which it is answered for.
        starts_at: Millis,
    },
    /// The unit is closed.
    #[error("the unit is closed")]
    UnitClosed,
    /// Its shares are not there yet.
    #[error("the grant is not issued yet")]
    NotIssued,
    /// The grant allows something else.
    #[error("the grant does not allow this")]
    WrongRight,
    /// Another site serves it.
    #[error("this site does not serve the unit")]
    NotServedHere,
}

impl State {
    /// Whether `card` is somebody's who may be here at all, at the instant `at`.
    ///
    /// # Errors
    /// [`NotAnswered`].
    pub fn may_connect(&self, card: &Id, at: Millis) -> Result<(), NotAnswered> {
        let found = self.cards.get(card).ok_or(NotAnswered::CardNotLive)?;
        match found.status {
            CardStatus::Live => {}
            CardStatus::Suspended => return Err(NotAnswered::CardSuspended),
            CardStatus::Revoked => return Err(NotAnswered::CardNotLive),
        }
        let member = self.members.get(&found.card.member).ok_or(NotAnswered::CardNotLive)?;
        if self.member_is_over(&found.card.member, at) {
            return Err(NotAnswered::MemberGone);
        }
        if member.contract.is_some_and(|contract| self.contract_is_over(&contract, at)) {
            return Err(NotAnswered::ContractOver);
        }
        Ok(())
    }

    /// Whether `site` may give `card` partials for `grant` under `right`, at the instant `at`.
    ///
    /// # Errors
    /// [`NotAnswered`]: the first reason not to.
    pub fn may_answer(
        &self,
        site: &Id,
        card: &Id,
        grant: &Id,
        right: Right,
        at: Millis,
    ) -> Result<&Grant, NotAnswered> {
        self.may_connect(card, at)?;
        self.grants.get(grant).filter(|g| g.card == *card).ok_or(NotAnswered::GrantNotLive)?;
        let found = self.live_grant(grant, at)?;
        if let Some(starts_at) = found.starts_at.filter(|start| *start > at) {
            return Err(NotAnswered::GrantNotStarted { starts_at });
        }
        if found.right != right {
            return Err(NotAnswered::WrongRight);
        }
        if found.issued.is_none() {
            return Err(NotAnswered::NotIssued);
        }
        if !self.serves(site, &found.unit) {
            return Err(NotAnswered::NotServedHere);
        }
        Ok(found)
    }

    /// The card whose key signed under `keyid`, if it may sign at `at`.
    ///
    /// # Errors
    /// [`Rejected::UnknownSigner`] or [`Rejected::SignerNotLive`].
    pub fn may_sign(&self, keyid: crate::Digest, at: Millis) -> Result<Id, Rejected> {
        let &card = self.signers.get(&keyid).ok_or(Rejected::UnknownSigner { keyid })?;
        if self.card_is_live(&card, at) { Ok(card) } else { Err(Rejected::SignerNotLive { card }) }
    }
}
