//! Where PINs come from: the person at the terminal, or standard input. Never the command line or the environment.

use std::collections::BTreeMap;
use std::io::BufRead as _;

use warifu_api::wire::agent::{AgentFault, PinText};
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::screen::Screen;

/// PINs by card. In a script all come first, on standard input; at a terminal each is asked for when it is needed.
pub(crate) struct Pins {
    scripted: Option<BTreeMap<u32, Zeroizing<String>>>,
    /// Those that were chosen a moment ago, for the rest of the command.
    chosen: BTreeMap<u32, Zeroizing<String>>,
}

impl Pins {
    pub(crate) fn asked() -> Self {
        Self { scripted: None, chosen: BTreeMap::new() }
    }

    /// Reads `SERIAL PIN` lines up to the end of standard input.
    pub(crate) fn from_stdin() -> Result<Self, Fault> {
        let mut pins = BTreeMap::new();
        for line in std::io::stdin().lock().lines() {
            let line = Zeroizing::new(line.map_err(Fault::Terminal)?);
            if line.trim().is_empty() {
                continue;
            }
            let (serial, pin) = line.trim().split_once(' ').ok_or(Fault::PinLine)?;
            let serial = serial.parse().map_err(|_| Fault::PinLine)?;
            pins.insert(serial, Zeroizing::new(pin.trim().to_owned()));
        }
        Ok(Self { scripted: Some(pins), chosen: BTreeMap::new() })
    }

    pub(crate) fn scripted(&self) -> bool {
        self.scripted.is_some()
    }

    pub(crate) fn knows(&self, serial: u32) -> bool {
        self.scripted.as_ref().is_some_and(|pins| pins.contains_key(&serial))
    }

    /// The PUK of a card and its new PIN. In a script, both stand on the card's line, with a space between.
    pub(crate) fn unblocking(&self, screen: &Screen, serial: u32) -> Result<(PinText, PinText), Fault> {
        let secret = |text: &str| PinText(Zeroizing::new(text.to_owned()));
        if let Some(pins) = &self.scripted {
            let line = pins.get(&serial).ok_or(Fault::PinMissing { serial })?;
            let (puk, pin) = line.split_once(' ').ok_or(Fault::PinLine)?;
            return Ok((secret(puk), secret(pin.trim())));
        }
        let puk = ask(screen, "puk-prompt", serial)?;
        Ok((PinText(puk), PinText(asked_twice(screen, serial)?)))
    }

    /// A PIN that the card's member chooses, typed twice. In a script, it stands on the card's line.
    pub(crate) fn new_pin(&mut self, screen: &Screen, serial: u32) -> Result<PinText, Fault> {
        if let Some(pin) = self.chosen.get(&serial) {
            return Ok(PinText(pin.clone()));
        }
        if let Some(pins) = &self.scripted {
            let line = pins.get(&serial).ok_or(Fault::PinMissing { serial })?;
            // Beside a PUK that is not needed, as the command with one has it.
            let pin = line.rsplit(' ').next().unwrap_or(line);
            return Ok(PinText(Zeroizing::new(pin.to_owned())));
        }
        let pin = asked_twice(screen, serial)?;
        self.choose(serial, pin.clone());
        Ok(PinText(pin))
    }

    /// From now on this is the PIN of the card.
    pub(crate) fn choose(&mut self, serial: u32, pin: Zeroizing<String>) {
        self.chosen.insert(serial, pin);
    }

    /// The cards whose PINs a script has given.
    pub(crate) fn serials(&self) -> impl Iterator<Item = u32> + '_ {
        self.scripted.iter().flat_map(|pins| pins.keys().copied())
    }

    /// Whether a PUK stands on the card's line.
    pub(crate) fn has_puk(&self, serial: u32) -> bool {
        self.scripted.as_ref().and_then(|pins| pins.get(&serial)).is_some_and(|line| line.contains(' '))
    }

    /// The PIN of a card. The tries left are shown before it is asked for; the last one is never spent here.
    pub(crate) fn pin(&self, screen: &Screen, serial: u32, tries_left: u8) -> Result<PinText, Fault> {
        match tries_left {
            0 => return Err(Fault::Agent(AgentFault::PinBlocked)),
            1 => return Err(Fault::Agent(AgentFault::LastTry)),
            _ => {}
        }
        if let Some(pin) = self.chosen.get(&serial) {
            return Ok(PinText(pin.clone()));
        }
        if let Some(pins) = &self.scripted {
            return pins.get(&serial).cloned().map(PinText).ok_or(Fault::PinMissing { serial });
        }
        let prompt =
            screen.text("pin-prompt", &[("serial", serial.to_string()), ("tries", tries_left.to_string())]);
        rpassword::prompt_password(prompt).map(|pin| PinText(Zeroizing::new(pin))).map_err(Fault::Terminal)
    }
}

fn ask(screen: &Screen, key: &str, serial: u32) -> Result<Zeroizing<String>, Fault> {
    let prompt = screen.text(key, &[("serial", serial.to_string())]);
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(Fault::Terminal)
}

/// Asks until the PIN can be one. Whoever still types when a program has ended types into the shell, and its history.
fn asked_twice(screen: &Screen, serial: u32) -> Result<Zeroizing<String>, Fault> {
    screen.say_with("new-pin-member", &[("serial", serial.to_string())]);
    loop {
        let pin = ask(screen, "new-pin-prompt", serial)?;
        if !can_be_new(&pin) {
            screen.say("new-pin-refused");
            continue;
        }
        if pin == ask(screen, "new-pin-again-prompt", serial)? {
            return Ok(pin);
        }
        screen.say("new-pin-differs");
    }
}

/// 6 to 8 digits (SP 800-73-4, part 2, section 2.4.3), and not those that every card comes with.
fn can_be_new(pin: &str) -> bool {
    (6..=8).contains(&pin.len()) && pin.bytes().all(|byte| byte.is_ascii_digit()) && pin != "123456"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_pin_has_six_to_eight_digits_and_is_not_the_factorys() {
        for pin in ["246810", "1234567", "00000000"] {
            assert!(can_be_new(pin), "{pin}");
        }
        for pin in ["", "12345", "123456", "123456789", "24681a", "２４６８１０", "246 810"] {
            assert!(!can_be_new(pin), "{pin}");
        }
    }
}
