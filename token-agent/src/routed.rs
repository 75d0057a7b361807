//! What a site releases of a file that was routed to one of the card's units (P-15.6, P-15.13), and how it opens.
//!
//! Slips say for which file, unit and card's part they are. Whether whoever signed one might, the sites judge, which fold the
//! ledger: nothing of what is opened here depends on it. A part opens the very stanza that was asked for, or nothing.

#[cfg(test)]
mod tests;

use warifu_api::wire::routing::{ReleasedPart, ShownSlip};
use warifu_envelope::{FileKey, TagStanza};
use warifu_ledger::dsse::EnvelopeError;
use warifu_ledger::slip::{Sent, is_way};
use warifu_ledger::statement::{Right, Slips};
use warifu_ledger::{Digest, Id};
use warifu_split_key::partial::{PartialX, join};
use warifu_split_key::point::Point;
use warifu_split_key::routing::ephemeral_of;

use crate::session::Usable;

/// Why a part that a site released is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NotUsed {
    /// It is released under a grant that the card does not open files with.
    #[error("the card opens nothing under the grant {grant}")]
    Grant {
        /// The grant.
        grant: Id,
    },
    /// A statement is none of slips.
    #[error("a slip's statement cannot be read")]
    Statement(#[from] EnvelopeError),
    /// A slip is not among those that its statement is of.
    #[error("a slip is not among those that its statement is of")]
    NotAmong,
    /// The slips are another organization's.
    #[error("the slips are of the organization {found}")]
    OtherOrganization {
        /// Whose.
        found: Digest,
    },
    /// The slips are not the way of one file.
    #[error("the slips are not the way of one file")]
    OtherWay,
    /// They are of another file, or lead to another unit.
    #[error("the slips are of another file, or lead to another unit")]
    OtherFile,
    /// The stanza is for another key than the site says.
    #[error("the stanza does not bear the tag of the key that the site names")]
    OtherKey,
    /// The card's part, or what is in it, does not open.
    #[error("what was released does not open the file")]
    DoesNotOpen,
}

/// A part that fits the file, the card and its slips.
pub(crate) struct Released {
    usable: Usable,
    sent: Sent,
    unit_key: Point,
    encapsulated: Point,
    /// `x(b'E)`.
    seal_x: PartialX,
    /// `x(bR)`.
    file_x: PartialX,
}

/// A file that was routed, opened.
pub(crate) struct Opened {
    /// The grant under which it was.
    pub(crate) usable: Usable,
    /// The slip that brought it.
    pub(crate) sent: Sent,
    /// `x(aR)`: the card's part of whoever routed it first.
    pub(crate) card: PartialX,
    pub(crate) key: FileKey,
}

impl Released {
    /// Checks all that can be checked without the card.
    pub(crate) fn check(
        part: ReleasedPart,
        stanza: &TagStanza,
        organization: Digest,
        held: &[Usable],
    ) -> Result<Self, NotUsed> {
        let opens = |held: &&Usable| held.grant.grant == part.grant && held.grant.right == Right::Open;
        let usable = held.iter().find(opens).ok_or(NotUsed::Grant { grant: part.grant })?;
        let way =
            part.way.into_iter().map(|shown| read(shown, organization)).collect::<Result<Vec<_>, _>>()?;
        if !is_way(&way) {
            return Err(NotUsed::OtherWay);
        }
        let sent = way.into_iter().next().ok_or(NotUsed::OtherWay)?;
        let is_of_this_file = sent.slip.ephemeral.0 == stanza.enc && sent.slip.stanza.0 == stanza.digest();
        if !is_of_this_file || sent.slip.target != usable.grant.unit {
            return Err(NotUsed::OtherFile);
        }
        if !stanza.matches(&part.unit_key.0) {
            return Err(NotUsed::OtherKey);
        }
        Ok(Self {
            usable: usable.clone(),
            unit_key: part.unit_key.0,
            encapsulated: ephemeral_of(&sent.slip.seal.0).map_err(|_| NotUsed::DoesNotOpen)?,
            sent,
            seal_x: PartialX::from_bytes(&part.seal_x.0),
            file_x: PartialX::from_bytes(&part.file_x.0),
        })
    }

    /// For which the card has to give its part, and with which share.
    pub(crate) fn question(&self) -> (warifu_hardware::card::ShareSlot, Point) {
        (self.usable.slot, self.encapsulated)
    }

    /// Until when the slip that brought the file is good.
    pub(crate) fn expires_at(&self) -> u64 {
        self.sent.slips.expires_at
    }

    /// Opens the seal with the card's answer to [`Released::question`], and with what is in it the stanza.
    pub(crate) fn open(self, answer: &PartialX, stanza: &TagStanza) -> Result<Opened, NotUsed> {
        let seals = join(answer, &self.seal_x).map_err(|_| NotUsed::DoesNotOpen)?;
        let file = self.sent.slip.routed_file(&self.sent.slips);
        let card = file
            .open_card_part(&seals, &self.usable.grant.unit_key.0, &self.sent.slip.seal.0)
            .map_err(|_| NotUsed::DoesNotOpen)?;
        let candidates = join(&card, &self.file_x).map_err(|_| NotUsed::DoesNotOpen)?;
        let key = stanza.open(&candidates, &self.unit_key).map_err(|_| NotUsed::DoesNotOpen)?;
        Ok(Opened { usable: self.usable, sent: self.sent, card, key })
    }
}

fn read(shown: ShownSlip, organization: Digest) -> Result<Sent, NotUsed> {
    let slips: Slips = shown.slips.statement()?;
    if slips.organization != organization {
        return Err(NotUsed::OtherOrganization { found: slips.organization });
    }
    if !slips.has(&shown.slip) {
        return Err(NotUsed::NotAmong);
    }
    Ok(Sent { batch: shown.slips.digest(), slips, slip: shown.slip.slip })
}
