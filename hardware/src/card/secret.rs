//! PINs and management keys. They are wiped when dropped, and can be neither printed nor copied.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// Why text is not a PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// Fewer than 6 or more than 8 characters.
    #[error("a PIN has 6 to 8 digits")]
    Length,
    /// A character that is not an ASCII digit.
    #[error("a PIN consists of the digits 0 to 9")]
    NotADigit,
}

/// A PIN: 6 to 8 ASCII digits (SP 800-73-4, part 2, section 2.4.3).
pub struct Pin(Zeroizing<Vec<u8>>);

impl Pin {
    /// Takes the digits over. The caller wipes what it read them from.
    pub fn new(digits: &[u8]) -> Result<Self, PinError> {
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(PinError::NotADigit);
        }
        if !(6..=8).contains(&digits.len()) {
            return Err(PinError::Length);
        }
        Ok(Self(Zeroizing::new(digits.to_vec())))
    }

    /// The PIN that cards come with.
    pub fn factory() -> Self {
        Self(Zeroizing::new(b"123456".to_vec()))
    }

    /// The PUK that cards come with.
    pub fn factory_puk() -> Self {
        Self(Zeroizing::new(b"12345678".to_vec()))
    }

    /// Eight random digits.
    pub fn draw(rng: &mut dyn CryptoRng) -> Self {
        let mut digits = Zeroizing::new(Vec::with_capacity(8));
        while digits.len() < 8 {
            let mut byte = [0];
            rng.fill_bytes(&mut byte);
            // The largest multiple of ten: no digit is likelier than another.
            if let [byte @ 0..250] = byte {
                digits.push(b'0' + byte % 10);
            }
        }
        Self(digits)
    }

    /// Whether the two are the same, in constant time.
    pub fn is(&self, other: &Self) -> bool {
        let different = self.padded().iter().zip(other.padded().iter()).fold(0, |acc, (a, b)| acc | (a ^ b));
        different == 0
    }

    /// The digits. Whoever takes them wipes them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Padded with `ff` to 8 bytes, as cards want it.
    pub(super) fn padded(&self) -> Zeroizing<[u8; 8]> {
        let mut padded = Zeroizing::new([0xff; 8]);
        padded.iter_mut().zip(self.0.iter()).for_each(|(slot, digit)| *slot = *digit);
        padded
    }
}

/// What to do where one try is left. A wrong PIN then blocks the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastTry {
    /// Do not ask the card: fail with [`super::CardError::LastTry`].
    Keep,
    /// The person knows, and insists.
    Spend,
}

/// A PIN that a person has just entered, with what may be risked for it.
#[derive(Clone, Copy)]
pub struct PinEntry<'a> {
    pub(super) pin: &'a Pin,
    pub(super) last_try: LastTry,
}

impl<'a> PinEntry<'a> {
    /// An entry that does not spend the last try.
    pub fn new(pin: &'a Pin) -> Self {
        Self { pin, last_try: LastTry::Keep }
    }

    /// An entry with an explicit choice.
    pub fn with(pin: &'a Pin, last_try: LastTry) -> Self {
        Self { pin, last_try }
    }
}

/// A card's management key: 16, 24 or 32 bytes. The card knows whether it is for 3DES or AES.
pub struct ManagementKey(Zeroizing<Vec<u8>>);

impl ManagementKey {
    /// Takes the bytes over; `None` where the length is not 16, 24 or 32.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        matches!(bytes.len(), 16 | 24 | 32).then(|| Self(Zeroizing::new(bytes.to_vec())))
    }

    /// The one that cards come with: public knowledge, and to be replaced.
    pub fn factory() -> Self {
        Self(Zeroizing::new([1, 2, 3, 4, 5, 6, 7, 8].repeat(3)))
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_six_to_eight_digits_are_a_pin() {
        for bad in ["12345", "123456789", ""] {
            assert_eq!(Pin::new(bad.as_bytes()).err(), Some(PinError::Length), "{bad}");
        }
        for bad in ["12345a", "123 456", "１２３４５６", "12345\u{ff}"] {
            assert_eq!(Pin::new(bad.as_bytes()).err(), Some(PinError::NotADigit), "{bad}");
        }
        assert_eq!(*Pin::new(b"1234567").unwrap().padded(), *b"1234567\xff");
    }

    #[test]
    fn management_keys_have_three_lengths() {
        for length in 0..40 {
            assert_eq!(ManagementKey::new(&vec![1; length]).is_some(), [16, 24, 32].contains(&length));
        }
    }
}
