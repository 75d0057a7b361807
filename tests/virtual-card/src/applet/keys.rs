//! Keys: generating, importing, describing, attesting and using them.

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};

use super::access::{MANAGEMENT_KEY, PIN, PUK};
use super::{Answer, Applet, FIRMWARE, Outcome};
use crate::apdu::{Command, sw};
use crate::state::{FACTORY_MANAGEMENT_KEY, FACTORY_PIN, FACTORY_PUK, Key, Reference};
use crate::{attestation, tlv};

const P256: u8 = 0x11;
pub(crate) const ATTESTATION: u8 = 0xf9;
const NEVER: u8 = 1;
const ONCE: u8 = 2;
const ALWAYS: u8 = 3;

impl Applet {
    pub(super) fn generate(&mut self, command: &Command) -> Answer {
        self.require_managed()?;
        require_slot(command.p2)?;
        let template = match tlv::split(&command.data) {
            Some((0xac, inner, [])) => tlv::elements(inner).ok_or(sw::WRONG_DATA)?,
            _ => return Err(sw::WRONG_DATA),
        };
        if !template.contains(&(0x80, &[P256])) {
            return Err(sw::WRONG_DATA);
        }
        let secret = draw()?;
        let point = secret.public_key().to_uncompressed_point();
        self.keep(command.p2, &secret, true, &template)?;
        self.stored(tlv::one(&[0x7f, 0x49], &tlv::one(&[0x86], &point)))
    }

    pub(super) fn import(&mut self, command: &Command) -> Answer {
        self.require_managed()?;
        require_slot(command.p2)?;
        if command.p1 != P256 {
            return Err(sw::WRONG_DATA);
        }
        let template = tlv::elements(&command.data).ok_or(sw::WRONG_DATA)?;
        let (_, scalar) = template.iter().find(|(tag, _)| *tag == 0x06).ok_or(sw::WRONG_DATA)?;
        let secret = SecretKey::from_slice(scalar).map_err(|_| sw::WRONG_DATA)?;
        self.keep(command.p2, &secret, false, &template)?;
        self.stored(Vec::new())
    }

    fn keep(
        &mut self,
        slot: u8,
        secret: &SecretKey,
        generated: bool,
        template: &[(u8, &[u8])],
    ) -> Result<(), u16> {
        let policy = |tag, default| match template.iter().find(|(found, _)| *found == tag) {
            None | Some((_, [0])) => Ok(default),
            Some((_, [policy @ 1..=3])) => Ok(*policy),
            Some(_) => Err(sw::WRONG_DATA),
        };
        let default_pin = match slot {
            0x9c => ALWAYS,
            0x9e | ATTESTATION => NEVER,
            _ => ONCE,
        };
        let key = Key {
            scalar: secret.to_bytes().to_vec(),
            generated,
            pin_policy: policy(0xaa, default_pin)?,
            touch_policy: policy(0xab, NEVER)?,
        };
        self.state.keys.insert(hex::encode([slot]), key);
        Ok(())
    }

    pub(super) fn metadata(&mut self, command: &Command) -> Answer {
        let mut out = Vec::new();
        let of_reference = |out: &mut Vec<u8>, reference: &Reference, factory| {
            tlv::put(out, &[1], &[0xff]);
            tlv::put(out, &[5], &[u8::from(reference.value == Reference::factory(factory).value)]);
            tlv::put(out, &[6], &[reference.most, reference.left]);
        };
        match command.p2 {
            PIN => of_reference(&mut out, &self.state.pin, FACTORY_PIN),
            PUK => of_reference(&mut out, &self.state.puk, FACTORY_PUK),
            MANAGEMENT_KEY => {
                let management = &self.state.management;
                // From firmware 5.7 on the same bytes are an AES-192 key.
                let factory =
                    matches!(management.algorithm, 3 | 10) && management.key == FACTORY_MANAGEMENT_KEY;
                tlv::put(&mut out, &[1], &[management.algorithm]);
                tlv::put(&mut out, &[2], &[0, if management.touch { 2 } else { NEVER }]);
                tlv::put(&mut out, &[5], &[u8::from(factory)]);
            }
            slot => {
                let key = self.state.key(slot).ok_or(sw::NO_REFERENCE)?;
                let point = secret_of(key)?.public_key().to_uncompressed_point();
                tlv::put(&mut out, &[1], &[P256]);
                tlv::put(&mut out, &[2], &[key.pin_policy, key.touch_policy]);
                tlv::put(&mut out, &[3], &[if key.generated { 1 } else { 2 }]);
                tlv::put(&mut out, &[4], &tlv::one(&[0x86], &point));
            }
        }
        Ok(out)
    }

    /// A certificate for a key that was generated here, signed by this card's attestation key.
    pub(super) fn attest(&mut self, command: &Command) -> Answer {
        let slot = command.p1;
        let key = self.state.key(slot).ok_or(sw::NO_REFERENCE)?;
        if !key.generated || slot == ATTESTATION {
            return Err(sw::WRONG_DATA);
        }
        let issuer = self.state.key(ATTESTATION).ok_or(sw::NO_REFERENCE)?;
        let object = self.state.object(&[0x5f, 0xff, 0x01]).ok_or(sw::NOT_FOUND)?;
        let (_, issuer_certificate, _) =
            tlv::split(&object).filter(|(tag, _, _)| *tag == 0x70).ok_or(sw::NOT_FOUND)?;
        let statement = attestation::Statement {
            slot,
            serial: self.state.serial,
            firmware: FIRMWARE,
            pin_policy: key.pin_policy,
            touch_policy: key.touch_policy,
            public: secret_of(key)?.public_key(),
        };
        statement.signed(&secret_of(issuer)?, issuer_certificate).map_err(|_| sw::CONDITIONS)
    }

    /// GENERAL AUTHENTICATE with a private key: ECDSA over a hash (`81`), or ECDH with a point (`85`).
    pub(super) fn use_key(&mut self, command: &Command, outcome: &mut Outcome) -> Answer {
        if command.p1 != P256 || !is_slot(command.p2) {
            return Err(sw::WRONG_DATA);
        }
        // A YubiKey, too, says "wrong data" where the slot is empty.
        let key = self.state.key(command.p2).ok_or(sw::WRONG_DATA)?;
        let allowed = match key.pin_policy {
            NEVER => true,
            ALWAYS => self.session.pin_fresh,
            _ => self.session.pin_verified,
        };
        self.session.pin_fresh = false;
        if !allowed {
            return Err(sw::SECURITY_STATUS);
        }
        let template = match tlv::split(&command.data) {
            Some((0x7c, inner, [])) => tlv::elements(inner).ok_or(sw::WRONG_DATA)?,
            _ => return Err(sw::WRONG_DATA),
        };
        let element = |tag| template.iter().find(|(found, _)| *found == tag).map(|(_, value)| *value);
        let secret = secret_of(key)?;
        let answer = match (element(0x81), element(0x85)) {
            (Some(digest), None) => {
                let signature = sign(&secret, digest)?;
                outcome.signed = true;
                signature
            }
            (None, Some(point)) => {
                let x = agree(&secret, point)?;
                outcome.agreed = true;
                x
            }
            _ => return Err(sw::WRONG_DATA),
        };
        Ok(tlv::one(&[0x7c], &tlv::one(&[0x82], &answer)))
    }
}

/// The DER signature of a digest of at most 32 bytes, padded on the left.
fn sign(secret: &SecretKey, digest: &[u8]) -> Answer {
    let mut padded = [0; 32];
    let start = padded.len().checked_sub(digest.len()).ok_or(sw::WRONG_DATA)?;
    padded.iter_mut().skip(start).zip(digest).for_each(|(slot, byte)| *slot = *byte);
    let signature: DerSignature =
        SigningKey::from(secret).sign_prehash(&padded).map_err(|_| sw::WRONG_DATA)?;
    Ok(signature.as_bytes().to_vec())
}

/// The raw x-coordinate, 32 bytes. Points must be uncompressed, on the curve, not the identity.
fn agree(secret: &SecretKey, point: &[u8]) -> Answer {
    if point.len() != 65 {
        return Err(sw::WRONG_DATA);
    }
    let point = PublicKey::from_sec1_bytes(point).map_err(|_| sw::WRONG_DATA)?;
    let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), point.as_affine());
    Ok(shared.raw_secret_bytes().to_vec())
}

fn secret_of(key: &Key) -> Result<SecretKey, u16> {
    SecretKey::from_slice(&key.scalar).map_err(|_| sw::CONDITIONS)
}

/// Draws until the bytes are a scalar in `1..n`, nearly always at once.
pub(crate) fn draw() -> Result<SecretKey, u16> {
    loop {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| sw::CONDITIONS)?;
        if let Ok(secret) = SecretKey::from_slice(&bytes) {
            return Ok(secret);
        }
    }
}

fn is_slot(slot: u8) -> bool {
    matches!(slot, 0x9a | 0x9c..=0x9e | 0x82..=0x95 | ATTESTATION)
}

fn require_slot(slot: u8) -> Result<(), u16> {
    if is_slot(slot) { Ok(()) } else { Err(sw::WRONG_SLOT) }
}
