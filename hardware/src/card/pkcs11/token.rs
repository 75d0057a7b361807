//! One token, inside the process that has its module loaded.

use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, CertificateType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use sha2::{Digest, Sha256};
use warifu_split_key::point::Point;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::super::piv::public_key_of;
use super::super::{KeyRole, ShareSlot};
use super::layout::{Layout, Place};
use super::wire::{Answer, Entry, Fault, TokenInSlot};
use crate::hsm::grant::{Leaving, unwrap_once};
use crate::hsm::keys::{P256_PARAMS, ecdh_x, p256_public, signature};
use crate::hsm::{HsmError, WrappedShare};

/// Tries left where the token says nothing of them, and where it says that they have become fewer.
const ALL_TRIES: u8 = 3;
const FEWER_TRIES: u8 = 2;
/// Bytes of `CK_SLOT_INFO.slotDescription`: longer reader names are cut off.
const DESCRIPTION: usize = 64;
/// How long a pulled card may look as if it were there.
const MOMENT: Duration = Duration::from_millis(1500);

/// All initialized tokens of a module.
pub(super) fn tokens(context: &Pkcs11) -> Result<Vec<TokenInSlot>, Fault> {
    let mut found = Vec::new();
    for slot in context.get_slots_with_token()? {
        // A token may be pulled meanwhile, and what the module does not recognize is none of ours.
        let (Ok(place), Ok(info)) = (context.get_slot_info(slot), context.get_token_info(slot)) else {
            continue;
        };
        if info.token_initialized() {
            found.push(TokenInSlot {
                reader: place.slot_description().to_owned(),
                label: info.label().to_owned(),
                serial: info.serial_number().to_owned(),
            });
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a slot's description is that of the reader of this name.
fn describes(description: &str, reader: &str) -> bool {
    description == reader || (description.len() == DESCRIPTION && reader.starts_with(description))
}

pub(super) struct Token {
    context: Pkcs11,
    slot: Slot,
    serial: String,
    session: Session,
    layout: Layout,
    logged_in: bool,
    /// What is known of the tries beyond the flags: some modules read them once, or do not say that they are fewer.
    most_tries: u8,
}

impl Token {
    pub(super) fn open(context: &Pkcs11, reader: &str, label: Option<&str>) -> Result<Self, Fault> {
        let mut fault = Fault::NoReader {};
        // Asked for the slots with a token first: that is when modules look who is there.
        let _ = context.get_slots_with_token()?;
        for slot in context.get_all_slots()? {
            let Ok(place) = context.get_slot_info(slot) else { continue };
            if !describes(place.slot_description(), reader) {
                continue;
            }
            if !place.token_present() {
                fault = Fault::NoCard {};
                continue;
            }
            match context.get_token_info(slot) {
                Ok(info) if info.token_initialized() && label.is_none_or(|label| label == info.label()) => {
                    let session = match context.open_rw_session(slot) {
                        Err(CryptokiError::Pkcs11(RvError::TokenWriteProtected, _)) => {
                            context.open_ro_session(slot)?
                        }
                        session => session?,
                    };
                    let serial = info.serial_number().to_owned();
                    let layout = Layout::of(context.get_library_info()?.manufacturer_id());
                    let context = context.clone();
                    return Ok(Self {
                        context,
                        slot,
                        serial,
                        session,
                        layout,
                        logged_in: false,
                        most_tries: ALL_TRIES,
                    });
                }
                Err(CryptokiError::Pkcs11(RvError::TokenNotPresent | RvError::DeviceRemoved, _)) => {
                    fault = Fault::NoCard {};
                }
                // Another token, one that nobody has initialized, or a card that the module does not know.
                _ => fault = Fault::ForeignCard {},
            }
        }
        Err(fault)
    }

    pub(super) fn describe(&self) -> Result<Answer, Fault> {
        let info = self.context.get_token_info(self.slot)?;
        let version = info.firmware_version();
        let mut serial = info.serial_number().to_owned();
        if serial.chars().all(|c| c == '0') {
            // Middleware makes nothing up for a card that does not tell, such as a PIV card without a CHUID. Its key tells it
            // from other cards.
            let key = self.public_key(KeyRole::Authentication).ok();
            serial = hex::encode(Sha256::digest(key.map(|key| key.to_compressed()).unwrap_or([0; 33])));
            serial.truncate(16);
        }
        Ok(Answer::Opened {
            serial,
            model: info.model().to_owned(),
            firmware: format!("{}.{}", version.major(), version.minor()),
            issues: self.layout.issues() && !info.write_protected(),
        })
    }

    /// Whether the same token is still there.
    pub(super) fn is_present(&self) -> bool {
        let there = self.context.get_slots_with_token().is_ok_and(|slots| slots.contains(&self.slot));
        there && self.context.get_token_info(self.slot).is_ok_and(|info| info.serial_number() == self.serial)
    }

    /// Whether the token has gone. Its reader may take a moment to notice, and its module looks once a second.
    fn has_gone(&self) -> bool {
        let asked = Instant::now();
        while self.is_present() {
            if asked.elapsed() > MOMENT {
                return false;
            }
            std::thread::sleep(MOMENT / 15);
        }
        true
    }

    /// What a fault means: of a token that has gone, everything fails in some way.
    pub(super) fn explain(&mut self, fault: Fault) -> Fault {
        match fault {
            Fault::Refused { .. } | Fault::Malformed {} if self.has_gone() => Fault::Removed {},
            Fault::PinNeeded {} => {
                self.logged_in = false;
                Fault::PinNeeded {}
            }
            fault => fault,
        }
    }

    /// Tries left, as far as the flags tell (PKCS#11 2.40, section 3.2, `CK_TOKEN_INFO`).
    pub(super) fn tries(&self) -> Result<u8, Fault> {
        let info = self.context.get_token_info(self.slot)?;
        let told = if info.user_pin_locked() {
            0
        } else if info.user_pin_final_try() {
            1
        } else if info.user_pin_count_low() {
            FEWER_TRIES
        } else {
            ALL_TRIES
        };
        Ok(told.min(self.most_tries))
    }

    fn may_try(&self, entry: &Entry) -> Result<(), Fault> {
        match self.tries()? {
            0 => Err(Fault::PinBlocked {}),
            1 if !entry.spend_last_try => Err(Fault::LastTry {}),
            _ => Ok(()),
        }
    }

    /// Verifies the PIN, once.
    pub(super) fn verify(&mut self, entry: &Entry) -> Result<(), Fault> {
        self.may_try(entry)?;
        self.log_in(&entry.pin)
    }

    /// One `C_Login`: whoever is logged in already would be let in with any PIN.
    fn log_in(&mut self, pin: &Zeroizing<String>) -> Result<(), Fault> {
        if std::mem::take(&mut self.logged_in) {
            self.session.logout()?;
        }
        let result = self.session.login(UserType::User, Some(&auth_pin(pin)));
        self.judge(result)?;
        self.logged_in = true;
        Ok(())
    }

    /// What came of showing a PIN.
    fn judge(&mut self, result: Result<(), CryptokiError>) -> Result<(), Fault> {
        use RvError as R;
        match result {
            Err(CryptokiError::Pkcs11(R::PinIncorrect | R::PinInvalid | R::PinLenRange, _)) => {
                self.most_tries = self.most_tries.min(FEWER_TRIES);
                Err(match self.tries()? {
                    0 => Fault::PinBlocked {},
                    tries_left => Fault::PinWrong { tries_left },
                })
            }
            Err(CryptokiError::Pkcs11(R::PinLocked, _)) => {
                self.most_tries = 0;
                Err(Fault::PinBlocked {})
            }
            result => {
                result?;
                self.most_tries = ALL_TRIES;
                Ok(())
            }
        }
    }

    pub(super) fn change_pin(&mut self, old: &Entry, new: &Zeroizing<String>) -> Result<(), Fault> {
        self.may_try(old)?;
        let result = self.session.set_pin(&auth_pin(&old.pin), &auth_pin(new));
        self.judge(result)
    }

    fn needs_login(&self) -> Result<(), Fault> {
        if self.logged_in { Ok(()) } else { Err(Fault::PinNeeded {}) }
    }

    /// The objects of a place, of one class.
    fn find(&self, class: ObjectClass, place: Place) -> Result<Vec<ObjectHandle>, Fault> {
        let mut template = self.layout.template(place);
        template.push(Attribute::Class(class));
        Ok(self.session.find_objects(&template)?)
    }

    fn private_key(&self, place: Place) -> Result<ObjectHandle, Fault> {
        match self.find(ObjectClass::PRIVATE_KEY, place)?.as_slice() {
            [key] => self.on_p256(*key).map(|()| *key),
            [] => Err(Fault::KeyMissing {}),
            // Which is meant cannot be told.
            _ => Err(Fault::Malformed {}),
        }
    }

    fn on_p256(&self, key: ObjectHandle) -> Result<(), Fault> {
        let attributes = self.session.get_attributes(key, &[AttributeType::KeyType])?;
        match attributes.as_slice() {
            [Attribute::KeyType(KeyType::EC)] => Ok(()),
            _ => Err(Fault::NotP256 {}),
        }
    }

    pub(super) fn public_key(&self, role: KeyRole) -> Result<Point, Fault> {
        let place = Place::Role(role);
        if let Some(key) = self.find(ObjectClass::PUBLIC_KEY, place)?.first() {
            self.on_p256(*key)?;
            return p256_public(&self.session, *key, "").map_err(|error| match error {
                HsmError::PublicKeyInvalid { .. } | HsmError::AnswerMalformed { .. } => Fault::NotP256 {},
                other => other.into(),
            });
        }
        // Middleware may show the certificate alone.
        let certificate = self.certificate(place)?.ok_or(Fault::KeyMissing {})?;
        public_key_of(&certificate).map_err(|_| Fault::NotP256 {})
    }

    /// Signs a digest: `CKM_ECDSA`, `r ‖ s`.
    ///
    /// A key with `CKA_ALWAYS_AUTHENTICATE` is shown the PIN between the beginning of the operation and its end
    /// (`CKU_CONTEXT_SPECIFIC`, PKCS#11 2.40, section 5.6). For any other the PIN is verified by a login of its own.
    pub(super) fn sign(
        &mut self,
        role: KeyRole,
        digest: &[u8; 32],
        entry: Option<&Entry>,
    ) -> Result<[u8; 64], Fault> {
        let place = Place::Role(role);
        let Some(entry) = entry else {
            self.needs_login()?;
            let key = self.private_key(place)?;
            return Ok(signature(self.session.sign(&Mechanism::Ecdsa, key, digest)?)?);
        };
        self.may_try(entry)?;
        let was_in = self.logged_in;
        if !was_in {
            self.log_in(&entry.pin)?;
        }
        let key = self.private_key(place)?;
        let attributes = self.session.get_attributes(key, &[AttributeType::AlwaysAuthenticate])?;
        if attributes.contains(&Attribute::AlwaysAuthenticate(true)) {
            self.session.sign_init(&Mechanism::Ecdsa, key)?;
            let shown = self.session.login(UserType::ContextSpecific, Some(&auth_pin(&entry.pin)));
            let judged = self.judge(shown);
            self.logged_in = judged.is_ok();
            judged?;
            self.session.sign_update(digest)?;
            return Ok(signature(self.session.sign_final()?)?);
        }
        if was_in {
            self.log_in(&entry.pin)?;
        }
        // Handles of private objects end with a login.
        let key = self.private_key(place)?;
        Ok(signature(self.session.sign(&Mechanism::Ecdsa, key, digest)?)?)
    }

    pub(super) fn agree(&self, place: Place, point: &Point) -> Result<Zeroizing<[u8; 32]>, Fault> {
        self.needs_login()?;
        let key = self.private_key(place)?;
        Ok(Zeroizing::new(*ecdh_x(&self.session, key, point)?.expose()))
    }

    pub(super) fn certificate(&self, place: Place) -> Result<Option<Vec<u8>>, Fault> {
        let found = self.find(ObjectClass::CERTIFICATE, place)?;
        let Some(object) = found.first() else { return Ok(None) };
        let attributes = self.session.get_attributes(*object, &[AttributeType::Value])?;
        Ok(attributes.into_iter().find_map(|attribute| match attribute {
            Attribute::Value(der) => Some(der),
            _ => None,
        }))
    }

    /// The shares, by their certificates: a key without one was not finished and counts as none.
    pub(super) fn shares(&self) -> Result<Vec<(ShareSlot, Vec<u8>)>, Fault> {
        let mut shares: Vec<(ShareSlot, Vec<u8>)> = Vec::new();
        let all = [Attribute::Class(ObjectClass::CERTIFICATE), Attribute::Token(true)];
        for object in self.session.find_objects(&all)? {
            let wanted = [AttributeType::Id, AttributeType::Label, AttributeType::Value];
            let (mut id, mut label, mut der) = (Vec::new(), Vec::new(), Vec::new());
            for attribute in self.session.get_attributes(object, &wanted)? {
                match attribute {
                    Attribute::Id(value) => id = value,
                    Attribute::Label(value) => label = value,
                    Attribute::Value(value) => der = value,
                    _ => {}
                }
            }
            if let Some(Place::Share(slot)) = self.layout.place(&id, &label)
                && shares.iter().all(|(taken, _)| *taken != slot)
            {
                shares.push((slot, der));
            }
        }
        Ok(shares)
    }

    pub(super) fn generate(&self, role: KeyRole) -> Result<Point, Fault> {
        self.may_write()?;
        let place = Place::Role(role);
        self.destroy(place)?;
        let signs = role != KeyRole::Transport;
        let mut private = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(signs),
            Attribute::Derive(!signs),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
        ];
        private.extend(Layout::names(place));
        let mut public = vec![
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(signs),
            Attribute::EcParams(P256_PARAMS.to_vec()),
        ];
        public.extend(Layout::names(place));
        let (public, _) = self.session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
        Ok(p256_public(&self.session, public, "")?)
    }

    pub(super) fn write_certificate(&self, place: Place, der: &[u8]) -> Result<(), Fault> {
        self.may_write()?;
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Fault::CertificateMismatch {})?;
        for old in self.find(ObjectClass::CERTIFICATE, place)? {
            self.session.destroy_object(old)?;
        }
        let mut template = vec![
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::CertificateType(CertificateType::X_509),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Subject(certificate.subject().as_raw().to_vec()),
            Attribute::Issuer(certificate.issuer().as_raw().to_vec()),
            Attribute::Value(der.to_vec()),
        ];
        template.extend(Layout::names(place));
        self.session.create_object(&template)?;
        Ok(())
    }

    pub(super) fn unwrap_share(
        &self,
        slot: ShareSlot,
        share: &WrappedShare,
        expected: &Point,
        certificate: &[u8],
    ) -> Result<(), Fault> {
        self.may_write()?;
        let place = Place::Share(slot);
        if self.certificate(place)?.is_some() {
            return Err(Fault::SlotTaken {});
        }
        // What an interruption has left: without its certificate it counts as nothing.
        self.destroy(place)?;
        let transport = self.private_key(Place::Role(KeyRole::Transport))?;
        let mut on_token = vec![Attribute::Token(true)];
        on_token.extend(Layout::names(place));
        let key =
            unwrap_once(&self.session, transport, share, Leaving::Never, &on_token).map_err(about_share)?;
        let kept = self.keep_share(key, place, expected, certificate);
        if kept.is_err() {
            self.destroy(place)?;
        }
        kept
    }

    /// Checks on the token that the key is the one that was meant, and stores the certificate last.
    fn keep_share(
        &self,
        key: ObjectHandle,
        place: Place,
        expected: &Point,
        certificate: &[u8],
    ) -> Result<(), Fault> {
        let public = ecdh_x(&self.session, key, &Point::generator()).map_err(about_share)?;
        if *public.expose() != expected.x() {
            return Err(Fault::ShareRefused {});
        }
        self.write_certificate(place, certificate)
    }

    /// Destroys whatever lies in a place, the secret first.
    pub(super) fn destroy(&self, place: Place) -> Result<(), Fault> {
        self.may_write()?;
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY, ObjectClass::CERTIFICATE] {
            for object in self.find(class, place)? {
                self.session.destroy_object(object)?;
            }
        }
        Ok(())
    }

    fn may_write(&self) -> Result<(), Fault> {
        if !self.layout.issues() {
            return Err(Fault::IssuingUnsupported {});
        }
        self.needs_login()
    }
}

fn auth_pin(pin: &Zeroizing<String>) -> AuthPin {
    AuthPin::new(pin.as_str().into())
}

/// Modules refuse a wrap in many ways; to us they are one.
fn about_share(error: HsmError) -> Fault {
    match error {
        HsmError::Operation { .. } | HsmError::AnswerMalformed { .. } if !error.is_not_about_data() => {
            Fault::ShareRefused {}
        }
        other => other.into(),
    }
}

impl From<CryptokiError> for Fault {
    fn from(error: CryptokiError) -> Self {
        HsmError::from(error).into()
    }
}

impl From<HsmError> for Fault {
    fn from(error: HsmError) -> Self {
        use RvError as R;
        match error {
            HsmError::CapacityExhausted { .. } => Self::MemoryFull {},
            HsmError::Operation { code, function } => match code {
                R::UserNotLoggedIn => Self::PinNeeded {},
                R::PinLocked => Self::PinBlocked {},
                R::DeviceRemoved
                | R::TokenNotPresent
                | R::SessionHandleInvalid
                | R::SessionClosed
                | R::SlotIdInvalid => Self::Removed {},
                R::MechanismParamInvalid | R::DomainParamsInvalid => Self::InvalidPoint {},
                R::TokenWriteProtected => Self::IssuingUnsupported {},
                code => Self::Refused { function: format!("C_{function:?}"), code: format!("{code:?}") },
            },
            HsmError::ModuleUnusable { .. } => Self::ModuleUnusable {},
            _ => Self::Malformed {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reader_name_is_known_by_what_a_slot_can_hold_of_it() {
        let long = "A reader with a very long name that does not fit into a slot's description 00 00";
        assert!(describes(&long[..DESCRIPTION], long));
        assert!(!describes("A reader", long));
        assert!(describes("A reader", "A reader"));
    }
}
