//! `warifu pin change`: the member's own PIN for another one.

use std::io::BufRead as _;

use warifu_api::wire::agent::{AgentFault, CardInReader, ChangePin, PinText, Standing};
use warifu_token_agent::client::{AgentClient, AgentError};
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::screen::Screen;

pub(crate) async fn change(
    screen: &Screen,
    agent: &AgentClient,
    serial: Option<u32>,
    pin_stdin: bool,
) -> Result<(), Fault> {
    let card = card(agent, serial).await?;
    match card.tries_left {
        0 => return Err(AgentFault::PinBlocked.into()),
        1 => return Err(AgentFault::LastTry.into()),
        _ => {}
    }
    let values = [("serial", card.serial.to_string().into()), ("tries_left", card.tries_left.into())];
    let ask = |prompt: &str| {
        if pin_stdin {
            let mut line = Zeroizing::new(String::new());
            let read = std::io::stdin().lock().read_line(&mut line);
            return read
                .map(|_| Zeroizing::new(line.trim_end().to_owned()))
                .map_err(|_| Fault::PinNotEntered);
        }
        rpassword::prompt_password(screen.texts.with(prompt, &values))
            .map(Zeroizing::new)
            .map_err(|_| Fault::PinNotEntered)
    };
    let (old, new, again) = (ask("pin-prompt")?, ask("new-pin-prompt")?, ask("new-pin-again-prompt")?);
    if new != again {
        return Err(Fault::PinsDiffer);
    }
    let request = ChangePin { serial: Some(card.serial), old: PinText(old), new: PinText(new) };
    let done = agent.change_pin(&request).await?;
    screen.answer(&done);
    screen.say("pin-changed", &[]);
    Ok(())
}

/// The card that is meant: the one that was named, or the only one of this organization.
async fn card(agent: &AgentClient, serial: Option<u32>) -> Result<CardInReader, Fault> {
    let mut cards = agent.cards().await?.cards;
    cards.retain(|card| match serial {
        Some(serial) => card.serial == serial,
        None => card.standing != Standing::Foreign,
    });
    if cards.len() > 1 {
        let serials = cards.iter().map(|card| card.serial.to_string()).collect();
        return Err(AgentFault::SeveralCards { serials }.into());
    }
    match cards.pop() {
        Some(card) => Ok(card),
        None => {
            let state = agent.status().await?.state;
            Err(AgentError::Fault(state.fault().unwrap_or(AgentFault::NoCard)).into())
        }
    }
}
