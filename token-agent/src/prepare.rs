//! A card from the factory becomes one of ours: its member's PIN, a management key behind that PIN, and its three keys.
//!
//! The steps are in the order in which a card can be pulled after any of them and the next attempt goes on: what that attempt
//! needs is the PIN, which its member knows, and nothing that was in this program's memory. The PUK is replaced later, when
//! there is a kms to keep it (`personalize`).

use warifu_api::wire::agent::{AgentFault, CardKeys, Prepare, Prepared};
use warifu_crash_point::{CrashPoint, reached_blocking};
use warifu_hardware::card::{Card, CardError, KeyRole, LastTry, Pin, PinEntry, attestation};
use warifu_ledger::Digest;
use warifu_ledger::statement::Attestation;
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use crate::agent::Agent;
use crate::session::Session;
use crate::{fault, rng};

/// Gives a new card its PIN and management key, generates the three keys that it lacks, and asks the card to prove them.
///
/// Keys that are there already are those of an attempt that was interrupted if the card attests them and was not given to
/// anybody since: they are kept, so that an enrolment can be begun again. Keys of unknown origin are never overwritten.
pub(crate) async fn prepare(agent: &Agent, request: Prepare) -> Result<Prepared, AgentFault> {
    let session = agent.session(request.serial)?;
    let _gate = session.gate.lock().await;
    session.reread().await.map_err(fault::of_card)?;
    if session.facts().is_personalized() {
        return Err(AgentFault::CardInUse);
    }
    let roots = agent.config.attestation_roots.clone();
    let serial = session.serial;
    let judged = session.actor.run(move |seat| has_foreign_keys(seat.card()?, serial, &roots));
    if judged.await.map_err(fault::of_card)? {
        return Err(AgentFault::CardInUse);
    }
    let made = make(agent, &session, request.pin.0).await;
    session.end(None).await;
    made
}

async fn make(agent: &Agent, session: &Session, pin: Zeroizing<String>) -> Result<Prepared, AgentFault> {
    enter_pin(session, pin).await?;
    let roots = agent.config.attestation_roots.clone();
    let serial = session.serial;
    let made = session.actor.run(move |seat| {
        seat.with_pin(|card| card.protect_management(&mut rng()))?;
        let card = seat.card()?;
        for role in KeyRole::ALL {
            if key(card, role)?.is_none() {
                card.generate(role)?;
            }
        }
        reached_blocking(CrashPoint::AgentKeysGenerated);
        let keys = CardKeys {
            authentication: card.public_key(KeyRole::Authentication)?.into(),
            signature: card.public_key(KeyRole::Signature)?.into(),
            transport: card.public_key(KeyRole::Transport)?.into(),
        };
        Ok((keys, attest(card, serial, &roots)?))
    });
    let (keys, attestation) = made.await.map_err(fault::of_card)?;
    session.reread().await.map_err(fault::of_card)?;
    Ok(Prepared { keys, attestation, custody: session.custody() })
}

/// The PIN that was just entered takes the place of the factory's, or is checked. The factory's is used where the card itself
/// says that it holds, so that no try is lost.
async fn enter_pin(session: &Session, pin: Zeroizing<String>) -> Result<(), AgentFault> {
    let new = Pin::new(pin.as_bytes()).map_err(|_| AgentFault::PinMalformed)?;
    if new.is(&Pin::factory()) {
        return Err(AgentFault::FactoryPin);
    }
    let changed = session.actor.run(move |seat| {
        let card = seat.card()?;
        if card.secrets()?.factory_pin {
            card.change_pin(PinEntry::new(&Pin::factory()), &new)?;
            reached_blocking(CrashPoint::AgentPinChanged);
        }
        Ok(())
    });
    changed.await.map_err(fault::of_card)?;
    session.verify(pin, LastTry::Keep).await
}

fn key(card: &mut dyn Card, role: KeyRole) -> Result<Option<Point>, CardError> {
    match card.public_key(role) {
        Ok(key) => Ok(Some(key)),
        Err(CardError::KeyMissing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether there are keys that the card does not prove to have made.
fn has_foreign_keys(card: &mut dyn Card, serial: u32, roots: &[Vec<u8>]) -> Result<bool, CardError> {
    for role in KeyRole::ALL {
        if let Some(key) = key(card, role)?
            && attested(card, role, key, serial, roots)?.is_none()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the card's maker says about its keys, if a maker that is believed says so of all three.
fn attest(card: &mut dyn Card, serial: u32, roots: &[Vec<u8>]) -> Result<Attestation, CardError> {
    let mut evidence = Vec::new();
    let mut firmware = [0; 3];
    for role in KeyRole::ALL {
        let key = card.public_key(role)?;
        let Some(proof) = attested(card, role, key, serial, roots)? else { return Ok(Attestation::None) };
        firmware = proof.firmware;
        evidence.extend(proof.certificate);
    }
    let firmware = firmware.map(|part| part.to_string()).join(".");
    Ok(Attestation::Generated { serial, firmware, evidence: Digest::of(&evidence) })
}

/// Proof that a key was made on this card.
struct Attested {
    firmware: [u8; 3],
    certificate: Vec<u8>,
}

fn attested(
    card: &mut dyn Card,
    role: KeyRole,
    key: Point,
    serial: u32,
    roots: &[Vec<u8>],
) -> Result<Option<Attested>, CardError> {
    let chain = match card.attestation(role) {
        Ok(chain) => chain,
        Err(CardError::NotAttested) => return Ok(None),
        Err(error) => return Err(error),
    };
    match attestation::verify_key(&chain, roots, role, &key, serial) {
        Ok(found) => {
            let certificate = chain.into_iter().next().unwrap_or_default();
            Ok(Some(Attested { firmware: found.firmware, certificate }))
        }
        Err(error) => {
            tracing::warn!(serial, %error, "the card's attestation is not believed");
            Ok(None)
        }
    }
}
