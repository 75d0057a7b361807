//! PIV cards (SP 800-73-4) with Yubico's extensions, on PC/SC readers.

mod channel;
mod secrets;
mod tlv;

use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand_core::CryptoRng;
use warifu_crash_point::{CrashPoint, reached_blocking};
use warifu_split_key::issuer::CardShare;
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;
use x509_parser::prelude::{FromDer, X509Certificate};
use yubikey::piv::{AlgorithmId, RetiredSlotId, SlotId};
use yubikey::{MgmAlgorithmId, MgmKey, PinPolicy, TouchPolicy, YubiKey};

use self::channel::{Channel, OverPcsc, Reference};
pub use self::channel::{Conversation, Transmit};
use super::secret::{ManagementKey, Pin, PinEntry};
use super::{AgreementKey, Card, CardError, Identity, KeyRole, Management, Secrets, ShareSlot, StoredShare};

// The yubikey crate prints whole APDUs, management key and shares included, at trace level.
const _: () = assert!((log::STATIC_MAX_LEVEL as usize) < (log::LevelFilter::Trace as usize));

const KEY_HISTORY: u32 = 0x005f_c10c;
const FIRST_RETIRED_CERTIFICATE: u32 = 0x005f_c10d;
const ATTESTATION_CERTIFICATE: u32 = 0x005f_ff01;
const FIRST_RETIRED_SLOT: u8 = 0x82;

/// A PIV card in a reader. Two connections to it are open: one of our own for all that needs no management key, and the
/// `yubikey` crate's for what does.
pub struct PivCard {
    reader: String,
    identity: Identity,
    /// `None` once the card was removed, for good.
    session: Option<Session>,
}

/// In order of dropping: the last connection to close resets the card, which forgets PIN and management key.
struct Session {
    channel: Channel,
    yubikey: YubiKey,
}

impl PivCard {
    /// Opens the card in the reader of this name.
    ///
    /// # Errors
    /// [`CardError::NoReaderService`], [`CardError::NoReader`], [`CardError::NoCard`], [`CardError::ForeignCard`].
    pub fn open(reader: &str) -> Result<Self, CardError> {
        let session = Session::open(reader)?;
        let identity = session.identity();
        Ok(Self { reader: reader.to_owned(), identity, session: Some(session) })
    }

    /// The name of the reader.
    pub fn reader(&self) -> &str {
        &self.reader
    }

    /// Runs one transaction. Where another program has reset the card, opens it again first; what was verified is
    /// then forgotten, and the card will say so.
    fn converse<T>(
        &mut self,
        mut talk: impl FnMut(&mut OverPcsc<'_>) -> Result<T, CardError>,
    ) -> Result<T, CardError> {
        let result = self.try_converse(&mut talk);
        let result = match result {
            Ok(Some(value)) => Ok(value),
            Ok(None) => self
                .reopen()
                .and_then(|()| self.try_converse(&mut talk))
                .and_then(|value| value.ok_or(CardError::InUse)),
            Err(error) => Err(error),
        };
        self.note(result)
    }

    /// `None` where the card was reset, and nothing was sent.
    fn try_converse<T>(
        &mut self,
        talk: &mut impl FnMut(&mut OverPcsc<'_>) -> Result<T, CardError>,
    ) -> Result<Option<T>, CardError> {
        let session = self.session.as_mut().ok_or(CardError::Removed)?;
        match session.channel.begin()? {
            Ok(mut conversation) => talk(&mut conversation).map(Some),
            Err(channel::WasReset) => Ok(None),
        }
    }

    fn reopen(&mut self) -> Result<(), CardError> {
        // The old connections first: closing them resets the card.
        self.session = None;
        let session = Session::open(&self.reader).map_err(|error| match error {
            CardError::NoCard | CardError::ForeignCard | CardError::NoReader { .. } => CardError::Removed,
            other => other,
        })?;
        if session.identity() != self.identity {
            return Err(CardError::Removed);
        }
        self.session = Some(session);
        Ok(())
    }

    /// What needs the management key, through the `yubikey` crate, which panics at some malformed answers and has
    /// one error for most refusals.
    fn administer<T>(
        &mut self,
        command: &'static str,
        mut work: impl FnMut(&mut YubiKey) -> yubikey::Result<T>,
    ) -> Result<T, CardError> {
        // Also notices a reset, after which the crate's connection would fail.
        self.converse(|_| Ok(()))?;
        let session = self.session.as_mut().ok_or(CardError::Removed)?;
        let yubikey = &mut session.yubikey;
        let error = match catch_unwind(AssertUnwindSafe(|| work(yubikey))) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(yubikey::Error::PcscError { inner: Some(error) })) => error.into(),
            Ok(Err(yubikey::Error::AuthenticationError)) => CardError::ManagementKeyNeeded,
            Ok(Err(source)) => CardError::Failed { command, source },
            Err(_) => CardError::Malformed { command },
        };
        // A card pulled in the middle looks like any other failure; asked anything else, it is seen to be gone.
        let present = self.converse(|conversation| conversation.tries_left());
        self.note(match present {
            Err(CardError::Removed) => Err(CardError::Removed),
            _ => Err(error),
        })
    }

    /// A card that was removed stays removed for this value.
    fn note<T>(&mut self, result: Result<T, CardError>) -> Result<T, CardError> {
        if matches!(result, Err(CardError::Removed | CardError::NoReaderService)) {
            self.session = None;
        }
        result
    }

    fn put_object(&mut self, object: u32, mut contents: Vec<u8>) -> Result<(), CardError> {
        self.administer("PUT DATA", |yubikey| yubikey.save_object(object, &mut contents))
    }

    fn put_certificate(&mut self, object: u32, certificate: &[u8]) -> Result<(), CardError> {
        let mut contents = Vec::with_capacity(certificate.len() + 9);
        tlv::put(&mut contents, 0x70, certificate);
        tlv::put(&mut contents, 0x71, &[0]);
        tlv::put(&mut contents, 0xfe, &[]);
        self.put_object(object, contents)
    }

    /// The Key History object (SP 800-73-4, part 1, section 3.3.3), without which OpenSC looks for no retired keys.
    ///
    /// It counts certificates from the first slot on, so a gap counts as well.
    fn write_key_history(&mut self) -> Result<(), CardError> {
        let last = self.shares()?.into_iter().map(|share| share.slot.index() + 1).max();
        let mut contents = Vec::new();
        tlv::put(&mut contents, 0xc1, &[last.unwrap_or(0)]);
        tlv::put(&mut contents, 0xc2, &[0]);
        tlv::put(&mut contents, 0xfe, &[]);
        self.put_object(KEY_HISTORY, contents)
    }
}

impl Session {
    fn open(reader: &str) -> Result<Self, CardError> {
        let no_reader = || CardError::NoReader { reader: reader.to_owned() };
        let name = CString::new(reader).map_err(|_| no_reader())?;
        let at_opening = |error| match error {
            pcsc::Error::UnknownReader | pcsc::Error::NoReadersAvailable | pcsc::Error::ReaderUnavailable => {
                no_reader()
            }
            pcsc::Error::NoSmartcard | pcsc::Error::RemovedCard => CardError::NoCard,
            // In the reader, but not on speaking terms.
            pcsc::Error::UnresponsiveCard | pcsc::Error::UnpoweredCard | pcsc::Error::ProtoMismatch => {
                CardError::ForeignCard
            }
            other => other.into(),
        };

        let context = pcsc::Context::establish(pcsc::Scope::User).map_err(at_opening)?;
        let mut channel = Channel::open(&context, &name).map_err(at_opening)?;
        let selected = match channel.begin()? {
            Ok(conversation) => conversation.select(),
            Err(channel::WasReset) => Err(CardError::InUse),
        };
        if let Err(error) = selected {
            // Another program may be talking to this card: go without resetting it.
            channel.leave();
            return Err(error);
        }
        let opened = catch_unwind(|| {
            let mut context = yubikey::Context::open()?;
            let mut readers = context.iter()?;
            readers.find(|found| found.name() == reader).map(|found| found.open()).transpose()
        });
        let yubikey = match opened {
            Ok(Ok(Some(yubikey))) => yubikey,
            Ok(Ok(None)) => return Err(no_reader()),
            Ok(Err(yubikey::Error::PcscError { inner: Some(error) })) => return Err(at_opening(error)),
            // Neither serial number nor version in Yubico's way, or nonsense.
            Ok(Err(_)) | Err(_) => return Err(CardError::ForeignCard),
        };
        Ok(Self { channel, yubikey })
    }

    fn identity(&self) -> Identity {
        Identity {
            serial: self.yubikey.serial().to_string(),
            model: "YubiKey".to_owned(),
            firmware: self.yubikey.version().to_string(),
        }
    }
}

impl Card for PivCard {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn is_present(&mut self) -> bool {
        let present = self.session.as_ref().is_some_and(|session| session.channel.is_present());
        if !present {
            self.session = None;
        }
        present
    }

    fn tries_left(&mut self) -> Result<u8, CardError> {
        self.converse(|conversation| conversation.tries_left())
    }

    fn verify_pin(&mut self, entry: PinEntry<'_>) -> Result<(), CardError> {
        self.converse(|conversation| conversation.verify(entry))
    }

    fn change_pin(&mut self, old: PinEntry<'_>, new: &Pin) -> Result<(), CardError> {
        self.converse(|conversation| conversation.change_pin(old, new))
    }

    fn puk_tries_left(&mut self) -> Result<Option<u8>, CardError> {
        self.converse(|conversation| conversation.told_tries(Reference::Puk))
    }

    fn unblock_pin(&mut self, puk: PinEntry<'_>, new: &Pin) -> Result<(), CardError> {
        self.converse(|conversation| conversation.unblock_pin(puk, new))
    }

    fn change_puk(&mut self, old: PinEntry<'_>, new: &Pin) -> Result<(), CardError> {
        self.converse(|conversation| conversation.change_puk(old, new))
    }

    fn secrets(&mut self) -> Result<Secrets, CardError> {
        self.converse(|conversation| {
            let management = match conversation.is_factory_management()? {
                Some(true) => Management::Factory,
                _ if conversation.says_protected()? => Management::Protected,
                _ => Management::Unknown,
            };
            Ok(Secrets {
                factory_pin: conversation.is_factory_new(Reference::Pin)?,
                factory_puk: conversation.is_factory_new(Reference::Puk)?,
                management,
            })
        })
    }

    fn public_key(&mut self, role: KeyRole) -> Result<Point, CardError> {
        self.converse(|conversation| conversation.public_key(slot_of(role).into()))
    }

    fn sign(
        &mut self,
        role: KeyRole,
        digest: &[u8; 32],
        pin: Option<PinEntry<'_>>,
    ) -> Result<[u8; 64], CardError> {
        match (role, pin) {
            (KeyRole::Transport, _) => return Err(CardError::WrongRole),
            (KeyRole::Signature, None) => return Err(CardError::PinNeeded),
            _ => {}
        }
        self.converse(|conversation| {
            if let Some(entry) = pin {
                conversation.verify(entry)?;
            }
            conversation.sign(slot_of(role).into(), digest)
        })
    }

    fn agree(&mut self, key: AgreementKey, point: &Point) -> Result<PartialX, CardError> {
        let slot = match key {
            AgreementKey::Transport => slot_of(KeyRole::Transport).into(),
            AgreementKey::Share(slot) => retired(slot),
        };
        self.converse(|conversation| conversation.agree(slot, point))
    }

    fn attestation(&mut self, role: KeyRole) -> Result<Vec<Vec<u8>>, CardError> {
        self.converse(|conversation| {
            let leaf = conversation.attest(slot_of(role).into())?;
            let issuer = conversation.certificate(ATTESTATION_CERTIFICATE)?;
            Ok(vec![leaf, issuer.ok_or(CardError::NotAttested)?])
        })
    }

    fn certificate(&mut self, role: KeyRole) -> Result<Option<Vec<u8>>, CardError> {
        self.converse(|conversation| conversation.certificate(object_of(role)))
    }

    fn shares(&mut self) -> Result<Vec<StoredShare>, CardError> {
        self.converse(|conversation| {
            let mut shares = Vec::new();
            for slot in ShareSlot::all() {
                if let Some(certificate) = conversation.certificate(share_object(slot))? {
                    shares.push(StoredShare { slot, certificate });
                }
            }
            Ok(shares)
        })
    }

    fn authenticate_management(&mut self, key: &ManagementKey) -> Result<(), CardError> {
        let algorithm = self.converse(|conversation| conversation.management_algorithm())?;
        let algorithm = MgmAlgorithmId::try_from(algorithm)
            .map_err(|source| CardError::Failed { command: "GET METADATA", source })?;
        let key =
            MgmKey::from_bytes(key.expose(), Some(algorithm)).map_err(|_| CardError::ManagementKeyWrong)?;
        self.administer("GENERAL AUTHENTICATE", |yubikey| yubikey.authenticate(&key)).map_err(|error| {
            match error {
                CardError::ManagementKeyNeeded => CardError::ManagementKeyWrong,
                other => other,
            }
        })
    }

    fn open_management(&mut self) -> Result<(), CardError> {
        self.open_management_with().map(|_| ())
    }

    fn protect_management(&mut self, rng: &mut dyn CryptoRng) -> Result<(), CardError> {
        // Nothing is written before the PIN was entered, without which nobody could read the key back.
        self.converse(|conversation| conversation.protected_management_key())?;
        // A key that lies behind the PIN may be one that was never set: what opened the card counts.
        if self.open_management_with()? == ManagementOpened::Factory {
            let algorithm = self.converse(|conversation| conversation.management_algorithm())?;
            let key = self.draw_management_key(algorithm, rng)?;
            self.converse(|conversation| conversation.keep_management_key(&key))?;
            reached_blocking(CrashPoint::AgentManagementKeyKept);
            self.converse(|conversation| conversation.set_management_key(algorithm, &key))?;
            reached_blocking(CrashPoint::AgentManagementKeySet);
            // Whatever was open under the old key, what follows is done under the new one.
            self.authenticate_management(&key)?;
        }
        self.converse(
            |conversation| {
                if conversation.says_protected()? { Ok(()) } else { conversation.say_protected() }
            },
        )
    }

    fn generate(&mut self, role: KeyRole) -> Result<Point, CardError> {
        let policy = match role {
            KeyRole::Signature => PinPolicy::Always,
            KeyRole::Authentication | KeyRole::Transport => PinPolicy::Once,
        };
        self.generate_in(slot_of(role), policy)
    }

    fn write_certificate(&mut self, role: KeyRole, certificate: &[u8]) -> Result<(), CardError> {
        if public_key_of(certificate)? != self.public_key(role)? {
            return Err(CardError::CertificateMismatch);
        }
        self.put_certificate(object_of(role), certificate)
    }

    fn import_share(
        &mut self,
        slot: ShareSlot,
        share: &CardShare,
        certificate: &[u8],
    ) -> Result<(), CardError> {
        if public_key_of(certificate)? != share.public() {
            return Err(CardError::CertificateMismatch);
        }
        let taken = self.converse(|conversation| conversation.certificate(share_object(slot)))?;
        if taken.is_some() {
            return Err(CardError::SlotTaken);
        }
        let piv_slot = slot_id(slot)?;
        let scalar = share.expose_bytes();
        self.administer("IMPORT ASYMMETRIC KEY", |yubikey| {
            let (touch, pin) = (TouchPolicy::Default, PinPolicy::Once);
            yubikey::piv::import_ecc_key(yubikey, piv_slot, AlgorithmId::EccP256, &*scalar, touch, pin)
        })?;
        reached_blocking(CrashPoint::AgentShareKeyImported);
        // Last: a key without a certificate counts as no share, so an interruption leaves the slot free.
        self.put_certificate(share_object(slot), certificate)?;
        self.write_key_history()
    }

    fn delete_share(&mut self, slot: ShareSlot) -> Result<(), CardError> {
        // Firmware before 5.7 cannot delete a key, but all can overwrite it.
        self.generate_in(slot_id(slot)?, PinPolicy::Once)?;
        self.put_object(share_object(slot), Vec::new())?;
        self.write_key_history()
    }
}

/// Which management key opened a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ManagementOpened {
    /// The factory's, which everybody knows.
    Factory,
    /// The one behind the PIN.
    Protected,
}

impl PivCard {
    fn open_management_with(&mut self) -> Result<ManagementOpened, CardError> {
        let factory = self.converse(|conversation| conversation.is_factory_management())?;
        if factory != Some(false) {
            match self.authenticate_management(&ManagementKey::factory()) {
                // A card that does not tell may have any key.
                Err(CardError::ManagementKeyWrong) if factory.is_none() => {}
                done => return done.map(|()| ManagementOpened::Factory),
            }
        }
        let kept = self.converse(|conversation| conversation.protected_management_key())?;
        let opened = self.authenticate_management(&kept.ok_or(CardError::ManagementKeyUnknown)?);
        opened.map(|()| ManagementOpened::Protected).map_err(|error| match error {
            // What lies there is not what holds.
            CardError::ManagementKeyWrong => CardError::ManagementKeyUnknown,
            other => other,
        })
    }

    /// One that the `yubikey` crate takes: it refuses weak 3DES keys, which are drawn next to never.
    fn draw_management_key(
        &self,
        algorithm: u8,
        rng: &mut dyn CryptoRng,
    ) -> Result<ManagementKey, CardError> {
        const COMMAND: &str = "GET METADATA";
        let known = MgmAlgorithmId::try_from(algorithm)
            .map_err(|source| CardError::Failed { command: COMMAND, source })?;
        loop {
            let key = secrets::draw_management_key(algorithm, rng)
                .ok_or(CardError::Malformed { command: COMMAND })?;
            if MgmKey::from_bytes(key.expose(), Some(known)).is_ok() {
                return Ok(key);
            }
        }
    }

    fn generate_in(&mut self, slot: SlotId, policy: PinPolicy) -> Result<Point, CardError> {
        const COMMAND: &str = "GENERATE ASYMMETRIC KEY PAIR";
        let key = self.administer(COMMAND, |yubikey| {
            yubikey::piv::generate(yubikey, slot, AlgorithmId::EccP256, policy, TouchPolicy::Default)
        })?;
        Point::from_sec1(key.subject_public_key.raw_bytes())
            .map_err(|_| CardError::Malformed { command: COMMAND })
    }
}

fn slot_of(role: KeyRole) -> SlotId {
    match role {
        KeyRole::Authentication => SlotId::Authentication,
        KeyRole::Signature => SlotId::Signature,
        KeyRole::Transport => SlotId::KeyManagement,
    }
}

/// The certificate objects of SP 800-73-4, part 1, table 3.
fn object_of(role: KeyRole) -> u32 {
    match role {
        KeyRole::Authentication => 0x005f_c105,
        KeyRole::Signature => 0x005f_c10a,
        KeyRole::Transport => 0x005f_c10b,
    }
}

fn retired(slot: ShareSlot) -> u8 {
    FIRST_RETIRED_SLOT + slot.index()
}

fn slot_id(slot: ShareSlot) -> Result<SlotId, CardError> {
    RetiredSlotId::try_from(retired(slot)).map(SlotId::Retired).map_err(|_| CardError::KeyMissing)
}

fn share_object(slot: ShareSlot) -> u32 {
    FIRST_RETIRED_CERTIFICATE + u32::from(slot.index())
}

/// The P-256 key a certificate is for.
pub(super) fn public_key_of(certificate: &[u8]) -> Result<Point, CardError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], certificate)) => Point::from_sec1(&certificate.public_key().subject_public_key.data)
            .map_err(|_| CardError::CertificateMismatch),
        _ => Err(CardError::CertificateMismatch),
    }
}
