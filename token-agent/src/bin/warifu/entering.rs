//! A PIN that is entered once for all that one command has the card do.

use warifu_api::wire::agent::{AgentFault, PinText, Unlock};
use warifu_token_agent::client::AgentClient;
use zeroize::Zeroizing;

use crate::args::PinArgs;
use crate::fault::Fault;
use crate::open::card_to_unlock;
use crate::screen::Screen;

/// A PIN that was entered, and for which card.
pub(crate) struct Entered {
    pub(crate) serial: u32,
    pin: Zeroizing<String>,
    pub(crate) spend_last_try: bool,
}

impl Entered {
    pub(crate) fn pin(&self) -> PinText {
        PinText(Zeroizing::new(self.pin.to_string()))
    }
}

/// The PIN, entered for the card that is meant, which it unlocks.
pub(crate) async fn unlock(screen: &Screen, agent: &AgentClient, args: &PinArgs) -> Result<Entered, Fault> {
    let cards = agent.cards().await?.cards;
    let Some(card) = card_to_unlock(&cards, args.serial)? else {
        return Err(agent.status().await?.state.fault().unwrap_or(AgentFault::NoCard).into());
    };
    let (PinText(pin), spend_last_try) = screen.pin(args, card)?;
    let entered = Entered { serial: card.serial, pin, spend_last_try };
    let request = Unlock { serial: Some(entered.serial), pin: entered.pin(), spend_last_try };
    let status = agent.unlock(&request).await?;
    if let Some(refused @ AgentFault::SiteRefused { .. }) = status.state.fault() {
        return Err(refused.into());
    }
    screen.news(&status.ends);
    Ok(entered)
}

/// The PIN for a signature, of a card that is unlocked already.
pub(crate) async fn enter(
    screen: &Screen,
    agent: &AgentClient,
    args: &PinArgs,
    serial: u32,
) -> Result<Entered, Fault> {
    let cards = agent.cards().await?.cards;
    let card = cards.iter().find(|card| card.serial == serial).ok_or(AgentFault::NoCard)?;
    if card.tries_left == 0 {
        return Err(AgentFault::PinBlocked.into());
    }
    let (PinText(pin), spend_last_try) = screen.pin(args, card)?;
    Ok(Entered { serial, pin, spend_last_try })
}
