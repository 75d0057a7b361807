//! Signatures with 9C, for what a person has agreed to on this PC: one PIN entry, which the card verifies before anything else is done
//! for it.

use tokio::sync::watch;
use warifu_api::wire::agent::{AgentFault, PinText};
use warifu_hardware::card::{KeyRole, LastTry, Pin, PinEntry};
use warifu_ledger::Digest;
use warifu_ledger::key::PublicKey;

use crate::fault;
use crate::session::Session;
use crate::sources::while_open;

/// A PIN that the card has verified, for the signatures that follow.
pub(crate) struct Verified(Pin);

/// Has the card verify the PIN that was entered for this.
pub(crate) async fn verify(
    session: &Session,
    ending: &watch::Receiver<bool>,
    pin: &PinText,
    spend_last_try: bool,
) -> Result<Verified, AgentFault> {
    let pin = Pin::new(pin.0.as_bytes()).map_err(|_| AgentFault::PinMalformed)?;
    let last_try = if spend_last_try { LastTry::Spend } else { LastTry::Keep };
    let verifying = session.actor.run(move |seat| {
        seat.card()?.verify_pin(PinEntry::with(&pin, last_try))?;
        Ok(Verified(pin))
    });
    while_open(ending, verifying).await?.map_err(fault::of_card)
}

/// Has the card sign (9C). Its key, and one signature a digest, in their order.
pub(crate) async fn sign(
    session: &Session,
    ending: &watch::Receiver<bool>,
    Verified(pin): Verified,
    digests: Vec<Digest>,
) -> Result<(PublicKey, Vec<[u8; 64]>), AgentFault> {
    let key = session.facts().signature.ok_or(AgentFault::ForeignCard)?;
    let signing = session.actor.run(move |seat| {
        let sign =
            |digest: &Digest| seat.card()?.sign(KeyRole::Signature, &digest.0, Some(PinEntry::new(&pin)));
        digests.iter().map(sign).collect::<Result<Vec<_>, _>>()
    });
    let signatures = while_open(ending, signing).await?.map_err(fault::of_card)?;
    Ok((key.into(), signatures))
}
