//! The way of the pieces to the machine that restores a backup.
//!
//! That machine's token holds a fresh key, and a request signed by its fresh signing key names it. Each custodian's card opens
//! its piece at the desk, which seals it to that key at once, for that request alone. In the service the pieces become the
//! key again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::RestoreRequest;
use warifu_ledger::{Digest, Id};
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;

use crate::file::{BackupError, Manifest};
use crate::pieces::{BackupKey, SealedPiece};

/// Pieces on their way: what the desk writes and the service reads, JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoredPieces {
    /// The digest of the request that they are sealed for.
    pub request: Digest,
    /// One a custodian.
    pub pieces: Vec<RestoredPiece>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoredPiece {
    /// The custodian's card.
    pub card: Id,
    /// The piece, sealed to the service (P-10.6).
    pub sealed: Bytes,
}

/// A request for the pieces of one backup, signed by the key in it.
#[derive(Debug, Clone)]
pub struct Request {
    fingerprint: Digest,
    request: RestoreRequest,
}

impl Request {
    /// Checks that it is one for this backup, and signed by the key in it. That the key is the new machine's own, people
    /// tell by the fingerprint.
    ///
    /// # Errors
    /// [`BackupError::Manifest`], [`BackupError::OtherBackup`].
    pub fn read(envelope: &Envelope, manifest: &Manifest) -> Result<Self, BackupError> {
        let request: RestoreRequest = envelope.statement()?;
        envelope.verify(&request.keys.signing)?;
        if request.backup != manifest.fingerprint() {
            return Err(BackupError::OtherBackup);
        }
        Ok(Self { fingerprint: envelope.digest(), request })
    }

    /// What people compare.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// What it says.
    #[must_use]
    pub fn request(&self) -> &RestoreRequest {
        &self.request
    }
}

/// Joins the pieces that custodians gave for this request. `agree` is the token's answer for the transport key: the
/// x-coordinate of its product with a point.
///
/// # Errors
/// [`BackupError::OtherRequest`], [`BackupError::TooFew`], [`BackupError::NoCustodian`]; [`BackupError::Piece`] names the card
/// whose piece is not the one it was given; and those of `agree`.
pub fn join<E: From<BackupError>>(
    manifest: &Manifest,
    request: &Request,
    brought: &RestoredPieces,
    mut agree: impl FnMut(&Point) -> Result<PartialX, E>,
) -> Result<BackupKey, E> {
    if brought.request != request.fingerprint {
        return Err(BackupError::OtherRequest.into());
    }
    let transport = request.request.transport.0;
    let (mut cards, mut pieces) = (BTreeSet::new(), Vec::new());
    for RestoredPiece { card, sealed } in &brought.pieces {
        let (place, expected) = manifest.piece(card).ok_or(BackupError::NoCustodian { card: *card })?;
        // One custodian who comes twice is one.
        if !cards.insert(*card) {
            continue;
        }
        let sealed = SealedPiece::read(place, sealed).map_err(BackupError::from)?;
        let x = agree(&sealed.encapsulated())?;
        let piece = sealed.open_with_token(&x, &transport, &request.fingerprint, expected);
        pieces.push(piece.map_err(BackupError::from)?);
    }
    let needed = manifest.backup().threshold;
    if pieces.len() < usize::from(needed) {
        return Err(BackupError::TooFew { have: pieces.len(), needed }.into());
    }
    Ok(BackupKey::join(&pieces).ok_or(BackupError::NoKey)?)
}
