//! PIN, PUK and management key.

use super::{Answer, Applet, Session};
use crate::apdu::{Command, sw};
use crate::state::{FACTORY_PIN, FACTORY_PUK, ManagementKey, Reference, State};
use crate::{management, tlv};

pub(super) const PIN: u8 = 0x80;
pub(super) const PUK: u8 = 0x81;
pub(super) const MANAGEMENT_KEY: u8 = 0x9b;
const SHORTEST_PIN: usize = 6;

/// What the card expects in the second step of authentication with the management key.
pub(super) enum Challenge {
    /// The client must decrypt the witness to this.
    Witness(Vec<u8>),
    /// The client must encrypt this.
    Plain(Vec<u8>),
}

impl Applet {
    pub(super) fn require_managed(&self) -> Result<(), u16> {
        if self.session.managed { Ok(()) } else { Err(sw::SECURITY_STATUS) }
    }

    pub(super) fn verify(&mut self, command: &Command) -> Answer {
        match (command.p1, command.p2, command.data.len()) {
            (0xff, PIN, 0) => {
                self.session.pin_verified = false;
                self.session.pin_fresh = false;
                Ok(Vec::new())
            }
            (0x00, PIN, 0) if self.session.pin_verified => Ok(Vec::new()),
            (0x00, PIN, 0) => Err(tries(self.state.pin.left)),
            (0x00, PIN, 8) => {
                self.session.pin_verified = false;
                self.session.pin_fresh = false;
                self.check(PIN, &command.data)?;
                self.session.pin_verified = true;
                self.session.pin_fresh = true;
                Ok(Vec::new())
            }
            (0x00, PIN, _) => Err(sw::WRONG_DATA),
            (0x00 | 0xff, _, _) => Err(sw::NO_REFERENCE),
            _ => Err(sw::WRONG_P1_P2),
        }
    }

    pub(super) fn change_reference(&mut self, command: &Command) -> Answer {
        if command.p1 != 0 || !matches!(command.p2, PIN | PUK) {
            return Err(sw::NO_REFERENCE);
        }
        let (old, new) = two_values(&command.data)?;
        self.check(command.p2, old)?;
        self.reference(command.p2).value = new;
        self.stored(Vec::new())
    }

    pub(super) fn reset_retry(&mut self, command: &Command) -> Answer {
        if (command.p1, command.p2) != (0, PIN) {
            return Err(sw::NO_REFERENCE);
        }
        let (puk, new) = two_values(&command.data)?;
        self.check(PUK, puk)?;
        let pin = self.reference(PIN);
        pin.value = new;
        pin.left = pin.most;
        self.stored(Vec::new())
    }

    pub(super) fn set_retries(&mut self, command: &Command) -> Answer {
        self.require_managed()?;
        if !self.session.pin_verified {
            return Err(sw::SECURITY_STATUS);
        }
        if !matches!((command.p1, command.p2), (1..=15, 1..=15)) {
            return Err(sw::WRONG_P1_P2);
        }
        let with = |value, most| Reference { left: most, most, ..Reference::factory(value) };
        self.state.pin = with(FACTORY_PIN, command.p1);
        self.state.puk = with(FACTORY_PUK, command.p2);
        self.session.pin_verified = false;
        self.session.pin_fresh = false;
        self.stored(Vec::new())
    }

    /// RESET: only once PIN and PUK are both blocked. The attestation key and certificate survive.
    pub(super) fn reset_application(&mut self) -> Answer {
        if self.state.pin.left != 0 || self.state.puk.left != 0 {
            return Err(sw::CONDITIONS);
        }
        let mut fresh = State::factory(self.state.serial, self.state.foreign);
        fresh.keys.extend(self.state.keys.remove_entry("f9"));
        fresh.objects.extend(self.state.objects.remove_entry("5fff01"));
        self.state = fresh;
        self.session = Session { selected: self.session.selected, ..Session::new() };
        self.stored(Vec::new())
    }

    pub(super) fn set_management_key(&mut self, command: &Command) -> Answer {
        self.require_managed()?;
        let touch = match (command.p1, command.p2) {
            (0xff, 0xff) => false,
            (0xff, 0xfe) => true,
            _ => return Err(sw::WRONG_P1_P2),
        };
        let [algorithm, MANAGEMENT_KEY, length, key @ ..] = command.data.as_slice() else {
            return Err(sw::WRONG_DATA);
        };
        match management::lengths(*algorithm) {
            Some((_, expected)) if key.len() == expected && usize::from(*length) == expected => {}
            _ => return Err(sw::WRONG_DATA),
        }
        self.state.management = ManagementKey { algorithm: *algorithm, key: key.to_vec(), touch };
        self.stored(Vec::new())
    }

    /// SP 800-73-4, part 2, section 3.2.4: the client answers a challenge (`81`), or both sides prove themselves
    /// (`80`).
    pub(super) fn authenticate_management(&mut self, command: &Command) -> Answer {
        let ManagementKey { algorithm, key, .. } = &self.state.management;
        let (block, _) = management::lengths(*algorithm).ok_or(sw::WRONG_DATA)?;
        if command.p1 != *algorithm && !(command.p1 == 0 && *algorithm == 3) {
            return Err(sw::WRONG_DATA);
        }
        let encrypted = |block: &[u8]| management::encrypt(*algorithm, key, block).ok_or(sw::WRONG_DATA);
        let template = match tlv::split(&command.data) {
            Some((0x7c, inner, [])) => tlv::elements(inner).ok_or(sw::WRONG_DATA)?,
            _ => return Err(sw::WRONG_DATA),
        };
        let element = |tag| template.iter().find(|(found, _)| *found == tag).map(|(_, value)| *value);
        let expected = self.session.challenge.take();

        match (element(0x80), element(0x81), element(0x82), expected) {
            (Some([]), _, _, _) => {
                let witness = random(block)?;
                let answer = template_of(0x80, &encrypted(&witness)?);
                self.session.challenge = Some(Challenge::Witness(witness));
                Ok(answer)
            }
            (None, Some([]), _, _) => {
                let plain = random(block)?;
                let answer = template_of(0x81, &plain);
                self.session.challenge = Some(Challenge::Plain(plain));
                Ok(answer)
            }
            (Some(response), challenge, _, Some(Challenge::Witness(witness))) if response == witness => {
                let answer = match challenge {
                    Some(challenge) => template_of(0x82, &encrypted(challenge)?),
                    None => Vec::new(),
                };
                self.session.managed = true;
                Ok(answer)
            }
            (None, None, Some(response), Some(Challenge::Plain(plain))) if response == encrypted(&plain)? => {
                self.session.managed = true;
                Ok(Vec::new())
            }
            _ => {
                self.session.managed = false;
                Err(sw::SECURITY_STATUS)
            }
        }
    }

    fn reference(&mut self, which: u8) -> &mut Reference {
        if which == PUK { &mut self.state.puk } else { &mut self.state.pin }
    }

    /// Compares, counts, and stores the counter where it changed.
    fn check(&mut self, which: u8, value: &[u8]) -> Result<(), u16> {
        let reference = self.reference(which);
        if reference.left == 0 {
            return Err(sw::BLOCKED);
        }
        if reference.value == value {
            if reference.left != reference.most {
                reference.left = reference.most;
                self.stored(Vec::new())?;
            }
            return Ok(());
        }
        reference.left -= 1;
        let left = reference.left;
        self.stored(Vec::new())?;
        Err(tries(left))
    }
}

fn tries(left: u8) -> u16 {
    if left == 0 { sw::BLOCKED } else { sw::WRONG_PIN | u16::from(left.min(15)) }
}

/// Old and new value of 8 bytes each; the new one at least 6 characters before its padding.
fn two_values(data: &[u8]) -> Result<(&[u8], [u8; 8]), u16> {
    let (old, new) = data.split_at_checked(8).ok_or(sw::WRONG_DATA)?;
    let new: [u8; 8] = new.try_into().map_err(|_| sw::WRONG_DATA)?;
    let length = new.iter().position(|byte| *byte == 0xff).unwrap_or(new.len());
    if length < SHORTEST_PIN || new.iter().skip(length).any(|byte| *byte != 0xff) {
        return Err(sw::WRONG_DATA);
    }
    Ok((old, new))
}

fn template_of(tag: u8, value: &[u8]) -> Vec<u8> {
    tlv::one(&[0x7c], &tlv::one(&[tag], value))
}

fn random(length: usize) -> Result<Vec<u8>, u16> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).map_err(|_| sw::CONDITIONS)?;
    Ok(bytes)
}
