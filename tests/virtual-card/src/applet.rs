//! The card application: PIV (SP 800-73-4, part 2) with Yubico's extensions, as firmware 5.4.3 has them, for P-256.
//!
//! Pure but for the state file: bytes in, bytes out. Only P-256 keys exist; every other algorithm gets `6A80`.

mod access;
mod keys;

use std::io;

pub(crate) use keys::draw as draw_secret;

use crate::apdu::{Command, ins, sw};
use crate::state::{ManagementKey, State, Store};
use crate::tlv;

/// Firmware that the card claims: the last line whose factory management key is 3DES, which older clients need.
pub(crate) const FIRMWARE: [u8; 3] = [5, 4, 3];

const PIV: &[u8] = &[0xa0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0];
const PIV_SHORTEST: usize = 5;
const YUBIKEY_MANAGEMENT: &[u8] = &[0xa0, 0, 0, 5, 0x27, 0x47, 0x11, 0x17];
const SELECTED: &[u8] =
    &[0x61, 0x11, 0x4f, 0x06, 0, 0, 0x10, 0, 1, 0, 0x79, 0x07, 0x4f, 0x05, 0xa0, 0, 0, 3, 8];
const DISCOVERY: &[u8] =
    &[0x7e, 0x12, 0x4f, 0x0b, 0xa0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0, 0x5f, 0x2f, 0x02, 0x40, 0];
const PRINTED_INFORMATION: &[u8] = &[0x5f, 0xc1, 0x09];
const LONGEST_OBJECT: usize = 3_063;
const LONGEST_COMMAND: usize = 4_096;

/// What the card did for whom it is played to; see [`crate::VirtualCard::seen`].
#[derive(Default)]
pub(crate) struct Outcome {
    /// An ECDH was computed.
    pub(crate) agreed: bool,
    /// A signature was made.
    pub(crate) signed: bool,
}

/// The answer's data, or the status word that refuses.
type Answer = Result<Vec<u8>, u16>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Selected {
    Nothing,
    Piv,
    Management,
}

/// What a card forgets when the power goes.
struct Session {
    selected: Selected,
    pin_verified: bool,
    /// The PIN was verified and no private key used since: what PIN policy "always" asks for.
    pin_fresh: bool,
    managed: bool,
    challenge: Option<access::Challenge>,
    /// The command whose parts are being collected: instruction, P1, P2, data.
    chain: Option<([u8; 3], Vec<u8>)>,
    /// What GET RESPONSE will fetch.
    rest: Vec<u8>,
}

impl Session {
    fn new() -> Self {
        Self {
            selected: Selected::Nothing,
            pin_verified: false,
            pin_fresh: false,
            managed: false,
            challenge: None,
            chain: None,
            rest: Vec::new(),
        }
    }
}

pub(crate) struct Applet {
    state: State,
    store: Store,
    session: Session,
}

impl Applet {
    pub(crate) fn load(store: Store) -> io::Result<Self> {
        Ok(Self { state: store.load()?, store, session: Session::new() })
    }

    /// Power on, power off and reset leave the same nothing behind.
    pub(crate) fn reset(&mut self) {
        self.session = Session::new();
    }

    pub(crate) fn serial(&self) -> u32 {
        self.state.serial
    }

    pub(crate) fn block_pin(&mut self) -> io::Result<()> {
        self.state.pin.left = 0;
        self.session.pin_verified = false;
        self.session.pin_fresh = false;
        self.store.save(&self.state)
    }

    pub(crate) fn replace_management_key(&mut self, algorithm: u8, key: &[u8]) -> io::Result<()> {
        self.state.management = ManagementKey { algorithm, key: key.to_vec(), touch: false };
        self.session.managed = false;
        self.store.save(&self.state)
    }

    /// Answers one command APDU with data and status word.
    pub(crate) fn answer(&mut self, bytes: &[u8]) -> (Vec<u8>, Outcome) {
        let mut outcome = Outcome::default();
        let command = match Command::parse(bytes) {
            Ok(command) => command,
            Err(status) => return (status.to_be_bytes().to_vec(), outcome),
        };
        let result = self.collect(&command).and_then(|data| match data {
            Some(data) => self.dispatch(&Command { data, ..command }, &mut outcome),
            None => Ok(Vec::new()),
        });
        match result {
            Ok(data) => (self.first_part(data, command.max_answer), outcome),
            Err(status) => {
                self.session.rest.clear();
                (status.to_be_bytes().to_vec(), outcome)
            }
        }
    }

    /// Command chaining (ISO 7816-4, section 5.1.1.1): the whole data once the last part is there.
    fn collect(&mut self, command: &Command) -> Result<Option<Vec<u8>>, u16> {
        let header = [command.ins, command.p1, command.p2];
        let mut data = match self.session.chain.take() {
            Some((earlier, data)) if earlier == header => data,
            _ => Vec::new(),
        };
        data.extend_from_slice(&command.data);
        if data.len() > LONGEST_COMMAND {
            return Err(sw::WRONG_LENGTH);
        }
        match command.cla {
            0x00 => Ok(Some(data)),
            0x10 => {
                self.session.chain = Some((header, data));
                Ok(None)
            }
            _ => Err(sw::WRONG_CLASS),
        }
    }

    /// As much of an answer as may be sent at once; the rest waits for GET RESPONSE (`61xx`).
    fn first_part(&mut self, mut data: Vec<u8>, most: usize) -> Vec<u8> {
        self.session.rest = if data.len() > most { data.split_off(most) } else { Vec::new() };
        let status = match self.session.rest.len() {
            0 => sw::OK,
            left => sw::MORE | u16::try_from(left).unwrap_or(u16::MAX).min(0xff),
        };
        data.extend_from_slice(&status.to_be_bytes());
        data
    }

    fn dispatch(&mut self, command: &Command, outcome: &mut Outcome) -> Answer {
        match (command.ins, self.session.selected) {
            (ins::SELECT, _) => self.select(command),
            (ins::GET_RESPONSE, _) => Ok(std::mem::take(&mut self.session.rest)),
            (_, Selected::Nothing | Selected::Management) => Err(sw::WRONG_INS),
            (ins::VERSION, _) => Ok(FIRMWARE.to_vec()),
            (ins::SERIAL, _) => Ok(self.state.serial.to_be_bytes().to_vec()),
            (ins::VERIFY, _) => self.verify(command),
            (ins::CHANGE_REFERENCE, _) => self.change_reference(command),
            (ins::RESET_RETRY, _) => self.reset_retry(command),
            (ins::SET_RETRIES, _) => self.set_retries(command),
            (ins::RESET, _) => self.reset_application(),
            (ins::SET_MANAGEMENT_KEY, _) => self.set_management_key(command),
            (ins::GET_DATA, _) => self.get_data(command),
            (ins::PUT_DATA, _) => self.put_data(command),
            (ins::METADATA, _) => self.metadata(command),
            (ins::GENERATE, _) => self.generate(command),
            (ins::IMPORT, _) => self.import(command),
            (ins::ATTEST, _) => self.attest(command),
            (ins::AUTHENTICATE, _) if command.p2 == access::MANAGEMENT_KEY => {
                self.authenticate_management(command)
            }
            (ins::AUTHENTICATE, _) => self.use_key(command, outcome),
            _ => Err(sw::WRONG_INS),
        }
    }

    fn select(&mut self, command: &Command) -> Answer {
        if command.p1 != 0x04 {
            return Err(sw::WRONG_P1_P2);
        }
        let aid = command.data.as_slice();
        let (selected, answer) = if self.state.foreign {
            return Err(sw::NOT_FOUND);
        } else if aid.len() >= PIV_SHORTEST && PIV.starts_with(aid) {
            (Selected::Piv, SELECTED)
        } else if aid == YUBIKEY_MANAGEMENT {
            (Selected::Management, b"Virtual mgr - FW version 5.4.3".as_slice())
        } else {
            // The application that was selected stays (ISO 7816-4, section 7.1.1).
            return Err(sw::NOT_FOUND);
        };
        self.session = Session { selected, ..Session::new() };
        Ok(answer.to_vec())
    }

    fn get_data(&self, command: &Command) -> Answer {
        let tag = object_tag(command)?.0;
        if tag == [0x7e] {
            return Ok(DISCOVERY.to_vec());
        }
        if tag == PRINTED_INFORMATION && !self.session.pin_verified {
            return Err(sw::SECURITY_STATUS);
        }
        self.state.object(tag).map(|value| tlv::one(&[0x53], &value)).ok_or(sw::NOT_FOUND)
    }

    fn put_data(&mut self, command: &Command) -> Answer {
        self.require_managed()?;
        let (tag, rest) = object_tag(command)?;
        let value = match tlv::split(rest) {
            Some((0x53, value, [])) => value,
            _ => return Err(sw::WRONG_DATA),
        };
        if value.len() > LONGEST_OBJECT {
            return Err(sw::NO_SPACE);
        }
        let tag = hex::encode(tag);
        if value.is_empty() {
            self.state.objects.remove(&tag);
        } else {
            self.state.objects.insert(tag, hex::encode(value));
        }
        self.stored(Vec::new())
    }

    /// The answer, once the state is in its file.
    fn stored(&self, answer: Vec<u8>) -> Answer {
        self.store.save(&self.state).map_err(|_| sw::NOT_STORED)?;
        Ok(answer)
    }
}

/// The `5C` element that GET DATA and PUT DATA begin with, and what follows it.
fn object_tag(command: &Command) -> Result<(&[u8], &[u8]), u16> {
    if (command.p1, command.p2) != (0x3f, 0xff) {
        return Err(sw::WRONG_P1_P2);
    }
    match tlv::split(&command.data) {
        Some((0x5c, tag, rest)) if matches!(tag.len(), 1..=3) => Ok((tag, rest)),
        _ => Err(sw::WRONG_DATA),
    }
}
