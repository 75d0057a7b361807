//! Members' cards: one interface, whatever the token.
//!
//! A card has three keys of its own ([`KeyRole`]) and room for twenty card shares ([`ShareSlot`]), each with a certificate
//! beside it. Callers name roles, never a token's own slot numbers.
//!
//! Nothing here tries a PIN twice, and nothing spends the last try unless it is told to ([`LastTry`]). **No APDU may be
//! logged**: the `log` crate is built without its trace level, which is where the `yubikey` crate would print them.

pub mod attestation;
mod error;
mod piv;
pub mod pkcs11;
pub mod readers;
mod secret;

use rand_core::CryptoRng;
use warifu_split_key::issuer::CardShare;
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;

use crate::hsm::WrappedShare;

pub use error::CardError;
pub use piv::{Conversation, PivCard, Transmit};
pub use pkcs11::{Interrupt, ModuleCard};
pub use secret::{LastTry, ManagementKey, Pin, PinEntry, PinError};

/// A key that is made on the card and never leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyRole {
    /// Client authentication in TLS: PIV slot 9A, PIN once.
    Authentication,
    /// Signatures on orders: PIV slot 9C, PIN for every signature.
    Signature,
    /// What shares and seals are sent to: PIV slot 9D, PIN once.
    Transport,
}

impl KeyRole {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Authentication, Self::Signature, Self::Transport];
}

/// A place for one card share, `0..20`: the retired key management slots 82–95 of PIV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShareSlot(u8);

impl ShareSlot {
    /// How many there are on a card.
    pub const COUNT: u8 = 20;

    /// The slot with this index, if it is below [`ShareSlot::COUNT`].
    pub fn new(index: u8) -> Option<Self> {
        (index < Self::COUNT).then_some(Self(index))
    }

    /// The index, `0..20`.
    pub fn index(self) -> u8 {
        self.0
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }
}

/// The key an ECDH is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgreementKey {
    /// The card's own transport key.
    Transport,
    /// A card share.
    Share(ShareSlot),
}

/// What a card says it is. Nothing of it is proven; see [`attestation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The serial number, as printed on the card.
    pub serial: String,
    /// The product, such as `YubiKey`.
    pub model: String,
    /// The firmware version, such as `5.4.3`.
    pub firmware: String,
}

/// A share on a card, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredShare {
    /// Where it lies.
    pub slot: ShareSlot,
    /// The certificate beside it, DER.
    pub certificate: Vec<u8>,
}

/// How a share comes onto a card, and who could see it on the way (design section 3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Custody {
    /// In the clear through this PC's memory: [`Card::import_share`].
    HostMemory,
    /// Wrapped to the card's transport key, and unwrapped inside: [`Card::unwrap_share`].
    TokenUnwrap,
}

/// Which of a card's own secrets are still those that every card of its kind comes with, as far as the card tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secrets {
    /// The PIN is the factory's, and more than one try is left for it.
    pub factory_pin: bool,
    /// The PUK is the factory's, and more than one try is left for it.
    pub factory_puk: bool,
    /// Who knows the management key.
    pub management: Management,
}

/// Who knows a card's management key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Management {
    /// Everybody: it is the factory's.
    Factory,
    /// Whoever has the card and its PIN: it lies on the card, behind the PIN.
    Protected,
    /// Whoever has set it.
    Unknown,
}

/// One card in one reader, from insertion to removal.
///
/// Once a method has answered [`CardError::Removed`], all do: a card that is inserted again, perhaps another one, is
/// opened again.
pub trait Card: Send {
    /// Serial number, product and firmware.
    fn identity(&self) -> Identity;

    /// Whether the card is still in the reader, as far as the reader service has noticed.
    fn is_present(&mut self) -> bool;

    /// Tries left for the PIN. Neither spends one nor disturbs a PIN that is verified.
    fn tries_left(&mut self) -> Result<u8, CardError>;

    /// Verifies the PIN, once. It then holds for [`KeyRole::Authentication`], [`KeyRole::Transport`] and the shares
    /// until the card is removed, reset, or this value is dropped.
    ///
    /// # Errors
    /// [`CardError::PinWrong`] with the tries left, [`CardError::PinBlocked`]; [`CardError::LastTry`] without having
    /// asked the card where only one is left and it was not to be spent.
    fn verify_pin(&mut self, entry: PinEntry<'_>) -> Result<(), CardError>;

    /// Replaces the PIN. A wrong old one counts like in [`Card::verify_pin`], with the same errors.
    fn change_pin(&mut self, old: PinEntry<'_>, new: &Pin) -> Result<(), CardError>;

    /// Tries left for the PUK, where the card tells. Spends none.
    fn puk_tries_left(&mut self) -> Result<Option<u8>, CardError>;

    /// Sets a new PIN with the PUK, and its tries back (RESET RETRY COUNTER, SP 800-73-4, part 2, section 3.2.3). A PUK is
    /// 6 to 8 digits here, as a PIN is; a card whose PUK is blocked can never be unblocked again.
    ///
    /// # Errors
    /// [`CardError::PukWrong`], [`CardError::PukBlocked`]; [`CardError::LastTry`] without having asked the card where one
    /// try is left for the PUK, or the card does not tell how many, and the last was not to be spent.
    fn unblock_pin(&mut self, puk: PinEntry<'_>, new: &Pin) -> Result<(), CardError>;

    /// Replaces the PUK. A wrong old one counts like in [`Card::unblock_pin`], with the same errors.
    fn change_puk(&mut self, old: PinEntry<'_>, new: &Pin) -> Result<(), CardError>;

    /// Which secrets are still the factory's. Needs no PIN, and spends no try.
    fn secrets(&mut self) -> Result<Secrets, CardError>;

    /// The public key of a role.
    ///
    /// # Errors
    /// [`CardError::KeyMissing`]; [`CardError::NotP256`] where somebody else has used the slot.
    fn public_key(&mut self, role: KeyRole) -> Result<Point, CardError>;

    /// Signs a SHA-256 digest with ECDSA: `r ‖ s`, 32 bytes each, big-endian.
    ///
    /// With a PIN, it is verified first, and nobody else comes between. [`KeyRole::Signature`] always needs one.
    ///
    /// # Errors
    /// [`CardError::PinNeeded`], [`CardError::KeyMissing`], [`CardError::WrongRole`] for [`KeyRole::Transport`], and
    /// those of [`Card::verify_pin`].
    fn sign(
        &mut self,
        role: KeyRole,
        digest: &[u8; 32],
        pin: Option<PinEntry<'_>>,
    ) -> Result<[u8; 64], CardError>;

    /// The x-coordinate of the ECDH of `key` and `point`.
    ///
    /// # Errors
    /// [`CardError::PinNeeded`], [`CardError::KeyMissing`], [`CardError::InvalidPoint`].
    fn agree(&mut self, key: AgreementKey, point: &Point) -> Result<PartialX, CardError>;

    /// A DER certificate by the card's maker that the key of a role was made on this card, followed by the
    /// certificate that signed it. [`attestation::verify`] judges it.
    ///
    /// # Errors
    /// [`CardError::NotAttested`] where the key is not from this card or the card cannot attest.
    fn attestation(&mut self, role: KeyRole) -> Result<Vec<Vec<u8>>, CardError>;

    /// The certificate stored beside the key of a role, DER.
    fn certificate(&mut self, role: KeyRole) -> Result<Option<Vec<u8>>, CardError>;

    /// The shares on the card, by slot.
    fn shares(&mut self) -> Result<Vec<StoredShare>, CardError>;

    /// Opens the card for what follows, until it is removed, reset, or this value is dropped.
    ///
    /// # Errors
    /// [`CardError::ManagementKeyWrong`].
    fn authenticate_management(&mut self, key: &ManagementKey) -> Result<(), CardError>;

    /// The same with the key that is found: the factory's where the card still has it, else the one that lies behind the PIN,
    /// which must have been verified.
    ///
    /// # Errors
    /// [`CardError::PinNeeded`], [`CardError::ManagementKeyUnknown`].
    fn open_management(&mut self) -> Result<(), CardError>;

    /// Gives the card a management key that nobody knows, kept behind its PIN, which must have been verified. The key is
    /// kept before it holds, so that a card that is pulled in between is not lost: calling again goes on. A card that has
    /// such a key keeps it.
    ///
    /// # Errors
    /// Those of [`Card::open_management`].
    fn protect_management(&mut self, rng: &mut dyn CryptoRng) -> Result<(), CardError>;

    /// Makes a new key on the card for a role, destroying an earlier one. Needs the management key.
    fn generate(&mut self, role: KeyRole) -> Result<Point, CardError>;

    /// Stores a certificate (DER) beside the key of a role. Needs the management key.
    ///
    /// # Errors
    /// [`CardError::CertificateMismatch`] where it is not for that key.
    fn write_certificate(&mut self, role: KeyRole, certificate: &[u8]) -> Result<(), CardError>;

    /// Imports a share with its certificate (DER). Needs the management key.
    ///
    /// # Errors
    /// [`CardError::SlotTaken`], and [`CardError::CertificateMismatch`] where the certificate is not for this share;
    /// then nothing is changed.
    fn import_share(
        &mut self,
        slot: ShareSlot,
        share: &CardShare,
        certificate: &[u8],
    ) -> Result<(), CardError>;

    /// How shares come onto this card.
    fn custody(&self) -> Custody {
        Custody::HostMemory
    }

    /// Has the card unwrap a share with its transport key (P-6.3b), checks on the card that the share is the one that the
    /// certificate (DER) is for, and stores the certificate beside it. Needs the PIN.
    ///
    /// # Errors
    /// [`CardError::SlotTaken`], [`CardError::ShareRefused`] where it does not unwrap or is another share,
    /// [`CardError::CertificateMismatch`]: then the slot is as free as before. [`CardError::IssuingUnsupported`] for a card
    /// of the other [`Custody`].
    fn unwrap_share(
        &mut self,
        slot: ShareSlot,
        share: &WrappedShare,
        certificate: &[u8],
    ) -> Result<(), CardError> {
        let _ = (slot, share, certificate);
        Err(CardError::IssuingUnsupported)
    }

    /// Ends what the card is busy with, from another thread, where a process of its own does it.
    fn interrupt(&self) -> Option<Interrupt> {
        None
    }

    /// Destroys the share in a slot and its certificate; an empty slot is no error. Needs the management key.
    fn delete_share(&mut self, slot: ShareSlot) -> Result<(), CardError>;

    /// The first slot that holds no share.
    ///
    /// # Errors
    /// [`CardError::SharesFull`].
    fn free_share_slot(&mut self) -> Result<ShareSlot, CardError> {
        let taken = self.shares()?;
        ShareSlot::all()
            .find(|slot| taken.iter().all(|share| share.slot != *slot))
            .ok_or(CardError::SharesFull)
    }
}
