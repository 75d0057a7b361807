//! Keys under which an authority seals the halves it keeps.

use std::sync::PoisonError;

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::Attribute;
use cryptoki::types::Ulong;
use zeroize::Zeroizing;

use super::error::HsmError;
use super::keys::{KeyKind, check_protected, find_secret, with_key};
use super::{Hsm, Pkcs11Token};

const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;
const TAG_BITS: Ulong = Ulong::new(128);

/// An AES-256 key in the token that seals small secrets by AES-GCM (SP 800-38D), computed inside.
///
/// A seal is 12 bytes of random IV, the ciphertext, and 16 bytes of tag. The IV is drawn anew for each seal, so one
/// key may make 2^32 seals (SP 800-38D, section 8.3).
#[derive(Clone)]
pub struct Kek {
    hsm: Hsm,
    label: String,
}

impl Hsm {
    /// The key-encryption key of that name, made inside the token if it is not there. Idempotent.
    ///
    /// # Errors
    ///
    /// [`HsmError::KeyExposed`] where the key found is extractable, [`HsmError::KeyAmbiguous`] where there are several.
    pub fn ensure_kek(&self, label: &str) -> Result<Kek, HsmError> {
        self.kek(label)?;
        Ok(Kek { hsm: self.clone(), label: label.to_owned() })
    }
}

impl Kek {
    /// Seals a secret. `aad` must name what it is and whose (organization, unit, role), so that one seal cannot take
    /// another's place; it is not stored, and the same bytes open it.
    pub fn seal(&self, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, HsmError> {
        self.hsm.seal(&self.label, plaintext, aad)
    }

    /// Opens what [`Self::seal`] made with the same `aad`.
    ///
    /// # Errors
    ///
    /// [`HsmError::SealBroken`] for another `aad`, another key, changed, lengthened or shortened bytes: all alike.
    pub fn open(&self, sealed: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        self.hsm.unseal(&self.label, sealed, aad)
    }
}

impl Pkcs11Token {
    pub(super) fn kek(&self, label: &str) -> Result<(), HsmError> {
        let _one_at_a_time = self.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.with_link(|link| {
            let worker = link.worker();
            let session = &worker.session;
            match find_secret(session, KeyKind::Kek, label)?.as_slice() {
                [] => {
                    let full_label = KeyKind::Kek.full_label(label);
                    let handle = session.generate_key(
                        &Mechanism::AesKeyGen,
                        &[
                            Attribute::Token(true),
                            Attribute::Private(true),
                            Attribute::Sensitive(true),
                            Attribute::Extractable(false),
                            Attribute::Encrypt(true),
                            Attribute::Decrypt(true),
                            Attribute::Wrap(false),
                            Attribute::Unwrap(false),
                            Attribute::Derive(false),
                            Attribute::ValueLen(32.into()),
                            Attribute::Label(full_label.clone().into_bytes()),
                        ],
                    )?;
                    link.remember(&full_label, handle);
                    Ok(())
                }
                [handle] => check_protected(session, *handle, label),
                several => Err(HsmError::KeyAmbiguous { label: label.to_owned(), count: several.len() }),
            }
        })
    }

    pub(super) fn seal(&self, label: &str, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, HsmError> {
        self.with_link(|link| {
            with_key(link, &mut link.worker(), KeyKind::Kek, label, |worker, key| {
                let mut iv = [0; IV_LEN];
                worker.session.generate_random_slice(&mut iv)?;
                let mut sealed = iv.to_vec();
                let mechanism = Mechanism::AesGcm(GcmParams::new(&mut iv, aad, TAG_BITS)?);
                let ciphertext = worker.session.encrypt(&mechanism, key, plaintext)?;
                if ciphertext.len() != plaintext.len() + TAG_LEN {
                    return Err(HsmError::AnswerMalformed {
                        function: "C_Encrypt",
                        length: ciphertext.len(),
                    });
                }
                sealed.extend_from_slice(&ciphertext);
                Ok(sealed)
            })
        })
    }

    pub(super) fn unseal(
        &self,
        label: &str,
        sealed: &[u8],
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        let (iv, ciphertext) = sealed.split_first_chunk::<IV_LEN>().ok_or(HsmError::SealBroken)?;
        if ciphertext.len() < TAG_LEN {
            return Err(HsmError::SealBroken);
        }
        self.with_link(|link| {
            with_key(link, &mut link.worker(), KeyKind::Kek, label, |worker, key| {
                let mut iv = *iv;
                let mechanism = Mechanism::AesGcm(GcmParams::new(&mut iv, aad, TAG_BITS)?);
                match worker.session.decrypt(&mechanism, key, ciphertext) {
                    Ok(plaintext) => Ok(Zeroizing::new(plaintext)),
                    Err(error) => {
                        let error = HsmError::from(error);
                        Err(if error.is_not_about_data() { error } else { HsmError::SealBroken })
                    }
                }
            })
        })
    }
}
