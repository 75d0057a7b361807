//! The card's own secrets (PIN, PUK, management key): which of them are still the factory's, and how they are replaced.
//!
//! The management key is kept where Yubico's own tools keep it, so that they find it: behind the PIN, in the Printed
//! Information object as `88 { 89 key }`, with bit 1 of the flags (`80 { 81 flags }`) in the object 5FFF00.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::super::CardError;
use super::super::secret::{ManagementKey, Pin, PinEntry};
use super::channel::{Conversation, OK, Reference, SECURITY_STATUS, Transmit, both, judge};
use super::tlv;

const CHANGE_REFERENCE: u8 = 0x24;
const PUT_DATA: u8 = 0xdb;
const SET_MANAGEMENT_KEY: u8 = 0xff;
const MANAGEMENT_KEY: u8 = 0x9b;
const NO_SPACE: u16 = 0x6a84;

/// Printed Information (SP 800-73-4, part 1, table 3): readable only after the PIN.
const PROTECTED: u32 = 0x005f_c109;
/// Yubico's administrative data, readable by everybody.
const ADMINISTRATIVE: u32 = 0x005f_ff00;
const STORED_BEHIND_PIN: u8 = 0x02;

impl<T: Transmit> Conversation<'_, T> {
    /// Whether a secret is the factory's, and more than one try is left for it; no for cards that do not tell.
    pub(super) fn is_factory_new(&self, reference: Reference) -> Result<bool, CardError> {
        let Some(data) = self.metadata(reference as u8)? else { return Ok(false) };
        let may_be_used = matches!(tlv::find(&data, 0x06), Some(&[_, left]) if left > 1);
        Ok(may_be_used && tlv::find(&data, 0x05) == Some(&[1]))
    }

    /// Whether the management key is the factory's; nothing for cards that do not tell.
    pub(super) fn is_factory_management(&self) -> Result<Option<bool>, CardError> {
        let Some(data) = self.metadata(MANAGEMENT_KEY)? else { return Ok(None) };
        Ok(tlv::find(&data, 0x05).map(|flag| flag == [1]))
    }

    /// Replaces the PUK.
    ///
    /// # Errors
    /// As for [`Card::change_puk`](super::super::Card::change_puk).
    pub fn change_puk(&mut self, old: PinEntry<'_>, new: &Pin) -> Result<(), CardError> {
        self.may_try_puk(old.last_try)?;
        let both = both(old.pin, new);
        let command = "CHANGE REFERENCE DATA";
        let reply = self.exchange([CHANGE_REFERENCE, 0, Reference::Puk as u8], both.as_slice(), command)?;
        judge(reply.status, command).map_err(CardError::of_puk)
    }

    /// Whether the card says that its management key lies behind its PIN.
    ///
    /// # Errors
    /// [`CardError::Malformed`].
    pub fn says_protected(&self) -> Result<bool, CardError> {
        Ok(self.flags()?.is_some_and(|flags| flags & STORED_BEHIND_PIN != 0))
    }

    fn flags(&self) -> Result<Option<u8>, CardError> {
        let Some(object) = self.object(ADMINISTRATIVE)? else { return Ok(None) };
        match tlv::find(&object, 0x80).and_then(|inside| tlv::find(inside, 0x81)) {
            Some(&[flags]) => Ok(Some(flags)),
            _ => Ok(None),
        }
    }

    /// The management key that lies behind the PIN.
    ///
    /// # Errors
    /// [`CardError::PinNeeded`].
    pub fn protected_management_key(&self) -> Result<Option<ManagementKey>, CardError> {
        let Some(object) = self.object(PROTECTED)? else { return Ok(None) };
        let key = tlv::find(&object, 0x88).and_then(|inside| tlv::find(inside, 0x89));
        Ok(key.and_then(ManagementKey::new))
    }

    /// Puts a management key behind the PIN. Needs the management key that holds now.
    pub(super) fn keep_management_key(&self, key: &ManagementKey) -> Result<(), CardError> {
        let mut inside = Zeroizing::new(Vec::with_capacity(40));
        tlv::put(&mut inside, 0x89, key.expose());
        let mut object = Zeroizing::new(Vec::with_capacity(44));
        tlv::put(&mut object, 0x88, &inside);
        self.put(PROTECTED, &object)
    }

    /// Replaces the management key, without a touch.
    pub(super) fn set_management_key(&self, algorithm: u8, key: &ManagementKey) -> Result<(), CardError> {
        let command = "SET MANAGEMENT KEY";
        let mut data = Zeroizing::new(Vec::with_capacity(40));
        tlv::put(&mut data, MANAGEMENT_KEY, key.expose());
        data.insert(0, algorithm);
        let reply = self.exchange([SET_MANAGEMENT_KEY, 0xff, 0xff], &data, command)?;
        managed(reply.status, command)
    }

    /// Says that the management key lies behind the PIN; what else is said there stays, but for the salt of a key that was
    /// derived from the PIN.
    pub(super) fn say_protected(&self) -> Result<(), CardError> {
        let old = self.object(ADMINISTRATIVE)?;
        let old = old.as_ref().and_then(|object| tlv::find(object, 0x80));
        let flags = match old.and_then(|old| tlv::find(old, 0x81)) {
            Some(&[flags]) => flags,
            _ => 0,
        };
        let mut inside = Vec::new();
        tlv::put(&mut inside, 0x81, &[flags | STORED_BEHIND_PIN]);
        if let Some(changed_at) = old.and_then(|old| tlv::find(old, 0x83)) {
            tlv::put(&mut inside, 0x83, changed_at);
        }
        let mut object = Vec::new();
        tlv::put(&mut object, 0x80, &inside);
        self.put(ADMINISTRATIVE, &object)
    }

    fn put(&self, object: u32, contents: &[u8]) -> Result<(), CardError> {
        let command = "PUT DATA";
        let [_, a, b, c] = object.to_be_bytes();
        let mut data = Zeroizing::new(Vec::with_capacity(contents.len() + 9));
        data.extend_from_slice(&[0x5c, 3, a, b, c]);
        tlv::put(&mut data, 0x53, contents);
        let reply = self.exchange([PUT_DATA, 0x3f, 0xff], &data, command)?;
        managed(reply.status, command)
    }
}

fn managed(status: u16, command: &'static str) -> Result<(), CardError> {
    match status {
        OK => Ok(()),
        SECURITY_STATUS => Err(CardError::ManagementKeyNeeded),
        NO_SPACE => Err(CardError::MemoryFull),
        status => Err(CardError::Refused { command, status }),
    }
}

/// A random management key of the length that an algorithm (SP 800-78-4, table 6-2) wants; `None` for an algorithm that is not
/// known.
pub(super) fn draw_management_key(algorithm: u8, rng: &mut dyn CryptoRng) -> Option<ManagementKey> {
    let length = match algorithm {
        0x03 | 0x0a => 24,
        0x08 => 16,
        0x0c => 32,
        _ => return None,
    };
    let mut bytes = Zeroizing::new([0; 32]);
    rng.fill_bytes(bytes.as_mut_slice());
    bytes.get(..length).and_then(ManagementKey::new)
}
