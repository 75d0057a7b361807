//! A custodian's part when a backup is restored: the card opens the piece that is sealed to it, and the piece leaves this process
//! sealed to the new machine's token (protocol P-10.6). No program gets the piece itself.

use getrandom::SysRng;
use rand_core::UnwrapErr;
use warifu_api::wire::agent::{AgentFault, GivePiece, GivenPiece};
use warifu_backup::file::{BackupError, Manifest};
use warifu_backup::pieces::{PieceError, SealedPiece};
use warifu_backup::restore::Request;
use warifu_hardware::card::{AgreementKey, CardError, LastTry};

use crate::agent::Agent;
use crate::fault;

/// Opens the piece of a card and seals it to the machine that asks.
pub(crate) async fn give_piece(agent: &Agent, given: GivePiece) -> Result<GivenPiece, AgentFault> {
    let profile = agent.profile().ok_or(AgentFault::NoProfile)?;
    let manifest = Manifest::try_from(given.manifest).map_err(untrusted)?;
    if manifest.backup().organization != profile.organization {
        return Err(AgentFault::NotTrustworthy { why: "a backup of another organization".to_owned() });
    }
    let signer = profile.signing_key_at(manifest.backup().service, manifest.backup().size);
    manifest.check_signature(&signer).map_err(untrusted)?;
    let asked = Request::read(&given.request, &manifest).map_err(untrusted)?;
    let session = agent.session(given.serial)?;
    let transport = session.facts().transport.ok_or_else(|| fault::of_card(CardError::KeyMissing))?;
    let mut pieces = manifest.backup().pieces.iter();
    let card = pieces.find(|piece| piece.transport.0 == transport).ok_or(AgentFault::NoPiece)?.card;
    let (place, piece) = manifest.piece(&card).ok_or(AgentFault::NoPiece)?;
    let sealed = SealedPiece::read(place, &piece.sealed).map_err(of_piece)?;

    let _gate = session.gate.lock().await;
    let was_open = session.unlocked().is_some();
    session.verify(given.pin.0, LastTry::Keep).await?;
    let encapsulated = sealed.encapsulated();
    let x = session
        .actor
        .run(move |seat| seat.with_pin(|card| card.agree(AgreementKey::Transport, &encapsulated)))
        .await;
    if !was_open {
        session.end(None).await;
    }
    let opened = sealed.open_with_card(&x.map_err(fault::of_card)?, piece).map_err(of_piece)?;
    let to = asked.request().transport.0;
    let sealed = opened.for_service(&place, &asked.fingerprint(), to, &mut UnwrapErr(SysRng));
    Ok(GivenPiece { card, sealed: sealed.map_err(of_piece)? })
}

fn untrusted(error: BackupError) -> AgentFault {
    AgentFault::NotTrustworthy { why: fault::chain(&error) }
}

fn of_piece(error: PieceError) -> AgentFault {
    AgentFault::NotTrustworthy { why: fault::chain(&error) }
}
