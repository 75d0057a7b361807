//! The plain PIV commands, over PC/SC: everything that takes no management key.
//!
//! What a card answers is not trusted: every answer is bounded, and read here into what it has to be.
//!
//! This is not left to the `yubikey` crate because it keeps an unwiped copy of the PIN, cannot verify the PIN and sign
//! in one transaction, selects the application anew (which forgets the PIN) to count tries, and turns most status
//! words into one error.

use std::ffi::CStr;

use p256::ecdsa::Signature;
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use super::super::CardError;
use super::super::secret::{LastTry, Pin, PinEntry};
use super::tlv;

const SELECT: u8 = 0xa4;
const VERIFY: u8 = 0x20;
const CHANGE_REFERENCE: u8 = 0x24;
const RESET_RETRY_COUNTER: u8 = 0x2c;
const AUTHENTICATE: u8 = 0x87;
const GET_RESPONSE: u8 = 0xc0;
const GET_DATA: u8 = 0xcb;
const METADATA: u8 = 0xf7;
const ATTEST: u8 = 0xf9;

const PIV: &[u8] = &[0xa0, 0, 0, 3, 8];
const PIN: u8 = Reference::Pin as u8;
const MANAGEMENT_KEY: u8 = 0x9b;
const P256: u8 = 0x11;
const THREE_DES: u8 = 0x03;

pub(super) const OK: u16 = 0x9000;
pub(super) const SECURITY_STATUS: u16 = 0x6982;
const BLOCKED: u16 = 0x6983;
const WRONG_DATA: u16 = 0x6a80;
const NOT_FOUND: u16 = 0x6a82;
const NO_REFERENCE: u16 = 0x6a88;
const WRONG_INS: u16 = 0x6d00;

const LARGEST_ANSWER: usize = 16 * 1024;
const SIGN: &str = "ECDSA";
const AGREE: &str = "ECDH";

/// Whatever carries one APDU to a card and its answer back.
pub trait Transmit {
    /// Sends `apdu` and puts the answer, data and status word, into `buffer`.
    ///
    /// # Errors
    /// Those of the reader and its driver.
    fn transmit<'buffer>(&self, apdu: &[u8], buffer: &'buffer mut [u8]) -> Result<&'buffer [u8], CardError>;
}

impl Transmit for pcsc::Transaction<'_> {
    fn transmit<'buffer>(&self, apdu: &[u8], buffer: &'buffer mut [u8]) -> Result<&'buffer [u8], CardError> {
        Ok(pcsc::Card::transmit(self, apdu, buffer)?)
    }
}

/// What the card counts tries for, by its key reference (SP 800-73-4, part 1, table 4b).
#[derive(Clone, Copy)]
pub(super) enum Reference {
    Pin = 0x80,
    Puk = 0x81,
}

/// A connection to the card of its own, beside the `yubikey` crate's: the card's state (what is verified) is common.
pub(super) struct Channel {
    card: pcsc::Card,
    /// Tries left when last counted without a verified PIN: all that cards without GET METADATA tell.
    counted: Option<u8>,
}

/// Another program has reset the card since: nothing was sent, what was verified is forgotten.
pub(super) struct WasReset;

impl Channel {
    pub(super) fn open(context: &pcsc::Context, reader: &CStr) -> Result<Self, pcsc::Error> {
        let card = context.connect(reader, pcsc::ShareMode::Shared, pcsc::Protocols::ANY)?;
        Ok(Self { card, counted: None })
    }

    /// Closes the connection without the reset that dropping it brings.
    pub(super) fn leave(self) {
        // A card that has gone cannot be disturbed either.
        let _ = self.card.disconnect(pcsc::Disposition::LeaveCard);
    }

    pub(super) fn is_present(&self) -> bool {
        self.card.status2_owned().is_ok()
    }

    /// Has the card for itself until the result is dropped.
    pub(super) fn begin(&mut self) -> Result<Result<OverPcsc<'_>, WasReset>, CardError> {
        let Self { card, counted } = self;
        match card.transaction() {
            Ok(transaction) => Ok(Ok(Conversation::new(transaction, counted))),
            Err(pcsc::Error::ResetCard) => Ok(Err(WasReset)),
            Err(error) => Err(error.into()),
        }
    }
}

/// A PC/SC transaction: no other program's command comes between.
pub(super) type OverPcsc<'card> = Conversation<'card, pcsc::Transaction<'card>>;

/// Commands to the PIV application of one card, and its answers. Slots and objects have PIV's own numbers (SP 800-73-4,
/// part 1, tables 3 and 4b).
pub struct Conversation<'card, T> {
    transport: T,
    counted: &'card mut Option<u8>,
}

pub(super) struct Reply {
    pub(super) data: Zeroizing<Vec<u8>>,
    pub(super) status: u16,
}

impl Reply {
    /// The data where the card agreed.
    fn accepted(self, command: &'static str) -> Result<Zeroizing<Vec<u8>>, CardError> {
        match self.status {
            OK => Ok(self.data),
            SECURITY_STATUS => Err(CardError::PinNeeded),
            BLOCKED => Err(CardError::PinBlocked),
            status => Err(CardError::Refused { command, status }),
        }
    }
}

impl<'card, T: Transmit> Conversation<'card, T> {
    /// Talks over `transport`. `counted` keeps the tries left that were counted last, from one conversation to the next.
    pub fn new(transport: T, counted: &'card mut Option<u8>) -> Self {
        Self { transport, counted }
    }

    /// One command, in as many parts as it takes, and the whole answer.
    pub(super) fn exchange(
        &self,
        header: [u8; 3],
        data: &[u8],
        command: &'static str,
    ) -> Result<Reply, CardError> {
        let mut parts = data.chunks(255).peekable();
        let mut reply = loop {
            let part = parts.next().unwrap_or_default();
            let last = parts.peek().is_none();
            let reply = self.transmit(if last { 0x00 } else { 0x10 }, header, part, command)?;
            if last || reply.status != OK {
                break reply;
            }
        };
        while reply.status >> 8 == 0x61 {
            let more = self.transmit(0x00, [GET_RESPONSE, 0, 0], &[], command)?;
            reply.data.extend_from_slice(&more.data);
            reply.status = more.status;
            if more.data.is_empty() || reply.data.len() > LARGEST_ANSWER {
                return Err(CardError::Malformed { command });
            }
        }
        Ok(reply)
    }

    fn transmit(
        &self,
        cla: u8,
        header: [u8; 3],
        data: &[u8],
        command: &'static str,
    ) -> Result<Reply, CardError> {
        // Never grows, so no copy of a PIN is left behind.
        let mut apdu = Zeroizing::new(Vec::with_capacity(5 + data.len() + 1));
        apdu.push(cla);
        apdu.extend_from_slice(&header);
        let length = u8::try_from(data.len()).map_err(|_| CardError::Malformed { command })?;
        if length > 0 {
            apdu.push(length);
            apdu.extend_from_slice(data);
        }
        apdu.push(0);
        let mut buffer = Zeroizing::new([0; 300]);
        let answer = self.transport.transmit(&apdu, buffer.as_mut_slice())?;
        match answer.split_last_chunk::<2>() {
            Some((data, status)) => {
                Ok(Reply { data: Zeroizing::new(data.to_vec()), status: u16::from_be_bytes(*status) })
            }
            // A driver's way to say that the card fell silent, which it does when it is pulled.
            None => Err(CardError::Removed),
        }
    }

    /// Selects the PIV application.
    ///
    /// # Errors
    /// [`CardError::ForeignCard`] where there is none.
    pub fn select(&self) -> Result<(), CardError> {
        match self.exchange([SELECT, 4, 0], PIV, "SELECT")?.status {
            OK => Ok(()),
            _ => Err(CardError::ForeignCard),
        }
    }

    /// Tries left, without spending one. GET METADATA leaves a verified PIN alone, and tells.
    ///
    /// # Errors
    /// [`CardError::Malformed`], [`CardError::Refused`].
    pub fn tries_left(&mut self) -> Result<u8, CardError> {
        if let Some(left) = self.told_tries(Reference::Pin)? {
            return Ok(left);
        }
        match self.exchange([VERIFY, 0, PIN], &[], "VERIFY")?.status {
            // Verified, so it cannot be counted: the last number, or the cautious one.
            OK => Ok(self.counted.unwrap_or(1)),
            BLOCKED => Ok(0),
            status if status & 0xfff0 == 0x63c0 => {
                let left = u8::try_from(status & 0x0f).unwrap_or(0);
                *self.counted = Some(left);
                Ok(left)
            }
            status => Err(CardError::Refused { command: "VERIFY", status }),
        }
    }

    /// Tries left by GET METADATA, which cards of firmware 5.3 and later have.
    pub(super) fn told_tries(&self, reference: Reference) -> Result<Option<u8>, CardError> {
        let Some(data) = self.metadata(reference as u8)? else { return Ok(None) };
        match tlv::find(&data, 0x06) {
            Some(&[_, left]) => Ok(Some(left)),
            _ => Err(CardError::Malformed { command: "GET METADATA" }),
        }
    }

    /// What GET METADATA says about a reference; `None` for cards without it.
    pub(super) fn metadata(&self, reference: u8) -> Result<Option<Zeroizing<Vec<u8>>>, CardError> {
        let reply = self.exchange([METADATA, 0, reference], &[], "GET METADATA")?;
        Ok((reply.status == OK).then_some(reply.data))
    }

    /// Verifies the PIN, once.
    ///
    /// # Errors
    /// As for [`Card::verify_pin`](super::super::Card::verify_pin).
    pub fn verify(&mut self, entry: PinEntry<'_>) -> Result<(), CardError> {
        self.may_try(entry.last_try)?;
        let padded = entry.pin.padded();
        judge(self.exchange([VERIFY, 0, PIN], padded.as_slice(), "VERIFY")?.status, "VERIFY")
    }

    /// Replaces the PIN.
    ///
    /// # Errors
    /// As for [`Card::change_pin`](super::super::Card::change_pin).
    pub fn change_pin(&mut self, old: PinEntry<'_>, new: &Pin) -> Result<(), CardError> {
        self.may_try(old.last_try)?;
        let both = both(old.pin, new);
        let command = "CHANGE REFERENCE DATA";
        judge(self.exchange([CHANGE_REFERENCE, 0, PIN], both.as_slice(), command)?.status, command)
    }

    /// Sets a new PIN with the PUK.
    ///
    /// # Errors
    /// As for [`Card::unblock_pin`](super::super::Card::unblock_pin).
    pub fn unblock_pin(&mut self, puk: PinEntry<'_>, new: &Pin) -> Result<(), CardError> {
        self.may_try_puk(puk.last_try)?;
        let both = both(puk.pin, new);
        let command = "RESET RETRY COUNTER";
        let reply = self.exchange([RESET_RETRY_COUNTER, 0, PIN], both.as_slice(), command)?;
        judge(reply.status, command).map_err(CardError::of_puk)?;
        *self.counted = None;
        Ok(())
    }

    fn may_try(&mut self, last_try: LastTry) -> Result<(), CardError> {
        match (self.tries_left()?, last_try) {
            (0, _) => Err(CardError::PinBlocked),
            (1, LastTry::Keep) => Err(CardError::LastTry),
            _ => Ok(()),
        }
    }

    pub(super) fn may_try_puk(&self, last_try: LastTry) -> Result<(), CardError> {
        match (self.told_tries(Reference::Puk)?, last_try) {
            (Some(0), _) => Err(CardError::PukBlocked),
            // Firmware before 5.3 does not tell: then it may be the last one.
            (Some(1) | None, LastTry::Keep) => Err(CardError::LastTry),
            _ => Ok(()),
        }
    }

    /// Signs a SHA-256 digest with ECDSA: `r ‖ s`, 32 bytes each, big-endian.
    ///
    /// # Errors
    /// As for [`Card::sign`](super::super::Card::sign).
    pub fn sign(&self, slot: u8, digest: &[u8; 32]) -> Result<[u8; 64], CardError> {
        let signature = self.use_key(slot, 0x81, digest, SIGN)?;
        let signature =
            Signature::from_der(&signature).map_err(|_| CardError::Malformed { command: SIGN })?;
        Ok(signature.to_bytes().into())
    }

    /// The x-coordinate of the ECDH of the key in `slot` and `point`.
    ///
    /// # Errors
    /// As for [`Card::agree`](super::super::Card::agree).
    pub fn agree(&self, slot: u8, point: &Point) -> Result<PartialX, CardError> {
        let x = self.use_key(slot, 0x85, &point.to_uncompressed(), AGREE)?;
        let x: &[u8; 32] = x.as_slice().try_into().map_err(|_| CardError::Malformed { command: AGREE })?;
        Ok(PartialX::from_bytes(x))
    }

    /// ECDSA (tag 81): the DER signature. ECDH (tag 85): the x-coordinate.
    fn use_key(
        &self,
        slot: u8,
        tag: u8,
        input: &[u8],
        command: &'static str,
    ) -> Result<Zeroizing<Vec<u8>>, CardError> {
        let mut inner = vec![0x82, 0];
        tlv::put(&mut inner, tag, input);
        let mut template = Vec::new();
        tlv::put(&mut template, 0x7c, &inner);
        let reply = self.exchange([AUTHENTICATE, P256, slot], &template, command)?;
        if matches!(reply.status, WRONG_DATA | NO_REFERENCE) {
            // Cards say "wrong data" for an empty slot, too.
            return Err(match self.public_key(slot) {
                Err(error) => error,
                Ok(_) if tag == 0x85 => CardError::InvalidPoint,
                Ok(_) => CardError::Refused { command, status: reply.status },
            });
        }
        if reply.status == WRONG_INS {
            // Another program has selected another application, and the PIN is forgotten.
            self.select()?;
            return Err(CardError::PinNeeded);
        }
        let data = reply.accepted(command)?;
        let result = tlv::find(&data, 0x7c).and_then(|inner| tlv::find(inner, 0x82));
        result.map(|value| Zeroizing::new(value.to_vec())).ok_or(CardError::Malformed { command })
    }

    /// The public key in a slot.
    ///
    /// # Errors
    /// [`CardError::KeyMissing`], [`CardError::NotP256`].
    pub fn public_key(&self, slot: u8) -> Result<Point, CardError> {
        const COMMAND: &str = "GET METADATA";
        let reply = self.exchange([METADATA, 0, slot], &[], COMMAND)?;
        if matches!(reply.status, NO_REFERENCE | NOT_FOUND) {
            return Err(CardError::KeyMissing);
        }
        let data = reply.accepted(COMMAND)?;
        if tlv::find(&data, 0x01).is_some_and(|algorithm| algorithm != [P256]) {
            return Err(CardError::NotP256);
        }
        let point = tlv::find(&data, 0x04).and_then(|key| tlv::find(key, 0x86));
        point.and_then(|point| Point::from_sec1(point).ok()).ok_or(CardError::Malformed { command: COMMAND })
    }

    /// The algorithm of the management key (SP 800-78-4, table 6-2); 3DES for cards that do not tell.
    ///
    /// # Errors
    /// [`CardError::Malformed`].
    pub fn management_algorithm(&self) -> Result<u8, CardError> {
        let Some(data) = self.metadata(MANAGEMENT_KEY)? else { return Ok(THREE_DES) };
        match tlv::find(&data, 0x01) {
            Some(&[algorithm]) => Ok(algorithm),
            _ => Err(CardError::Malformed { command: "GET METADATA" }),
        }
    }

    /// The certificate by which the card attests that it made the key in a slot, DER.
    ///
    /// # Errors
    /// [`CardError::NotAttested`].
    pub fn attest(&self, slot: u8) -> Result<Vec<u8>, CardError> {
        let reply = self.exchange([ATTEST, slot, 0], &[], "ATTEST")?;
        match reply.status {
            OK => Ok(reply.data.to_vec()),
            WRONG_DATA | NO_REFERENCE | NOT_FOUND | WRONG_INS => Err(CardError::NotAttested),
            status => Err(CardError::Refused { command: "ATTEST", status }),
        }
    }

    /// The certificate (SP 800-73-4, part 1, appendix A, table 10) in an object; `None` where there is none.
    ///
    /// # Errors
    /// [`CardError::Malformed`] for an object that is not a certificate, or a compressed one.
    pub fn certificate(&self, object: u32) -> Result<Option<Vec<u8>>, CardError> {
        let Some(object) = self.object(object)? else { return Ok(None) };
        match (tlv::find(&object, 0x70), tlv::find(&object, 0x71)) {
            (Some(certificate), None | Some([0])) => Ok(Some(certificate.to_vec())),
            _ => Err(CardError::Malformed { command: "GET DATA" }),
        }
    }

    /// What is in an object; `None` where there is none, or nothing in it.
    pub(super) fn object(&self, object: u32) -> Result<Option<Zeroizing<Vec<u8>>>, CardError> {
        const COMMAND: &str = "GET DATA";
        let [_, a, b, c] = object.to_be_bytes();
        let reply = self.exchange([GET_DATA, 0x3f, 0xff], &[0x5c, 3, a, b, c], COMMAND)?;
        if reply.status == NOT_FOUND {
            return Ok(None);
        }
        let data = reply.accepted(COMMAND)?;
        let object = tlv::find(&data, 0x53).ok_or(CardError::Malformed { command: COMMAND })?;
        Ok((!object.is_empty()).then(|| Zeroizing::new(object.to_vec())))
    }
}

/// An old value and the new one, as the commands that replace a PIN take them.
pub(super) fn both(old: &Pin, new: &Pin) -> Zeroizing<[u8; 16]> {
    let mut both = Zeroizing::new([0; 16]);
    both.iter_mut().zip(old.padded().iter().chain(new.padded().iter())).for_each(|(to, from)| *to = *from);
    both
}

pub(super) fn judge(status: u16, command: &'static str) -> Result<(), CardError> {
    match status {
        OK => Ok(()),
        BLOCKED | 0x63c0 => Err(CardError::PinBlocked),
        status if status & 0xfff0 == 0x63c0 => {
            Err(CardError::PinWrong { tries_left: u8::try_from(status & 0x0f).unwrap_or(0) })
        }
        status => Err(CardError::Refused { command, status }),
    }
}
