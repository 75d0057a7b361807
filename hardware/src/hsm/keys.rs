//! The keys of a token: finding them by label, making them, and the service keys.

use std::sync::PoisonError;

use cryptoki::error::Error as CryptokiError;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use sha2::{Digest, Sha256};
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use super::error::HsmError;
use super::link::{Link, Worker, destroy_session_object};
use super::{Hsm, Pkcs11Token};
use crate::signer::{DigestSigner, SignerError};

/// `secp256r1`, 1.2.840.10045.3.1.7, as DER (RFC 5480, section 2.1.1.1).
pub(crate) const P256_PARAMS: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `id-Ed25519`, 1.3.101.112, as DER (RFC 8410, section 3).
const ED25519_OID: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];
/// `PrintableString "edwards25519"` (PKCS#11 3.0, section 2.3.5), which some modules want instead of the OID.
const ED25519_NAME: [u8; 14] =
    [0x13, 0x0c, b'e', b'd', b'w', b'a', b'r', b'd', b's', b'2', b'5', b'5', b'1', b'9'];

/// What a key is for; part of its label in the token, so that one name may be used for keys of several kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Sign,
    Ed25519,
    Agree,
    Kek,
    Grant,
}

impl KeyKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Sign => "warifu/sign/",
            Self::Ed25519 => "warifu/ed25519/",
            Self::Agree => "warifu/agree/",
            Self::Kek => "warifu/kek/",
            Self::Grant => "warifu/grant/",
        }
    }

    pub(super) fn full_label(self, label: &str) -> String {
        format!("{}{label}", self.prefix())
    }

    fn key_type(self) -> KeyType {
        match self {
            Self::Ed25519 => KeyType::EC_EDWARDS,
            Self::Kek => KeyType::AES,
            Self::Sign | Self::Agree | Self::Grant => KeyType::EC,
        }
    }

    fn secret_class(self) -> ObjectClass {
        match self {
            Self::Kek => ObjectClass::SECRET_KEY,
            _ => ObjectClass::PRIVATE_KEY,
        }
    }
}

/// The two halves of a key pair as objects of the token. More than one of a kind is a fault, but one to be seen.
pub(super) struct PairObjects {
    pub(super) private: Vec<ObjectHandle>,
    pub(super) public: Vec<ObjectHandle>,
}

/// Both halves under one label. One search, since each is linear in the number of objects.
pub(super) fn find_pair(session: &Session, full_label: &str) -> Result<PairObjects, HsmError> {
    let mut pair = PairObjects { private: Vec::new(), public: Vec::new() };
    let template = [Attribute::Token(true), Attribute::Label(full_label.as_bytes().to_vec())];
    for handle in session.find_objects(&template)? {
        for attribute in session.get_attributes(handle, &[AttributeType::Class])? {
            match attribute {
                Attribute::Class(ObjectClass::PRIVATE_KEY) => pair.private.push(handle),
                Attribute::Class(ObjectClass::PUBLIC_KEY) => pair.public.push(handle),
                _ => {}
            }
        }
    }
    Ok(pair)
}

/// The secret or private keys of that kind and label.
pub(super) fn find_secret(
    session: &Session,
    kind: KeyKind,
    label: &str,
) -> Result<Vec<ObjectHandle>, HsmError> {
    Ok(session.find_objects(&[
        Attribute::Token(true),
        Attribute::Class(kind.secret_class()),
        Attribute::KeyType(kind.key_type()),
        Attribute::Label(kind.full_label(label).into_bytes()),
    ])?)
}

/// Labels and handles of all private keys of one kind.
pub(super) fn private_keys_of(
    session: &Session,
    kind: KeyKind,
) -> Result<Vec<(String, ObjectHandle)>, HsmError> {
    let template =
        [Attribute::Token(true), Attribute::Class(kind.secret_class()), Attribute::KeyType(kind.key_type())];
    let mut found = Vec::new();
    for handle in session.find_objects(&template)? {
        for attribute in session.get_attributes(handle, &[AttributeType::Label])? {
            let Attribute::Label(bytes) = attribute else { continue };
            // Other software's keys may share the token, under labels that are no UTF-8.
            let Ok(full) = String::from_utf8(bytes) else { continue };
            if let Some(label) = full.strip_prefix(kind.prefix()) {
                found.push((label.to_owned(), handle));
            }
        }
    }
    Ok(found)
}

/// A key that could be read out is not the key we made, whatever its label says.
pub(crate) fn check_protected(session: &Session, handle: ObjectHandle, label: &str) -> Result<(), HsmError> {
    let wanted = [AttributeType::Sensitive, AttributeType::Extractable, AttributeType::NeverExtractable];
    let found = session.get_attributes(handle, &wanted)?;
    let protected = found.len() == wanted.len()
        && found.iter().all(|attribute| {
            matches!(
                attribute,
                Attribute::Sensitive(true)
                    | Attribute::Extractable(false)
                    | Attribute::NeverExtractable(true)
            )
        });
    if protected { Ok(()) } else { Err(HsmError::KeyExposed { label: label.to_owned() }) }
}

pub(super) fn generate_pair(
    session: &Session,
    kind: KeyKind,
    label: &str,
) -> Result<(ObjectHandle, ObjectHandle), HsmError> {
    let full_label = kind.full_label(label).into_bytes();
    // PKCS#11 2.40, section 4.7: the same CKA_ID on both halves.
    let id = Sha256::digest(&full_label).iter().take(16).copied().collect::<Vec<u8>>();
    let signs = matches!(kind, KeyKind::Sign | KeyKind::Ed25519);
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(signs),
        Attribute::Derive(!signs),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Label(full_label.clone()),
        Attribute::Id(id.clone()),
    ];
    let public = |params: &[u8]| {
        vec![
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(signs),
            Attribute::EcParams(params.to_vec()),
            Attribute::Label(full_label.clone()),
            Attribute::Id(id.clone()),
        ]
    };
    if kind != KeyKind::Ed25519 {
        return Ok(session.generate_key_pair(&Mechanism::EccKeyPairGen, &public(&P256_PARAMS), &private)?);
    }
    match session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public(&ED25519_OID), &private) {
        Ok(pair) => Ok(pair),
        // Which refusal it is differs by module; the second spelling's error is the one to report.
        Err(CryptokiError::Pkcs11(..)) => Ok(session.generate_key_pair(
            &Mechanism::EccEdwardsKeyPairGen,
            &public(&ED25519_NAME),
            &private,
        )?),
        Err(error) => Err(error.into()),
    }
}

/// A P-256 pair for one key agreement, public half first: session objects both, which the caller destroys.
pub(super) fn generate_ephemeral(session: &Session) -> Result<(ObjectHandle, ObjectHandle), HsmError> {
    let public = [
        Attribute::Token(false),
        Attribute::Private(false),
        Attribute::Verify(false),
        Attribute::EcParams(P256_PARAMS.to_vec()),
    ];
    let private = [
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(false),
        Attribute::Derive(true),
    ];
    Ok(session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?)
}

/// `CKA_EC_POINT` of a public key object: a DER OCTET STRING by the standard (PKCS#11 2.40, section 2.3.3), the bare
/// bytes on some tokens.
fn ec_point(session: &Session, public: ObjectHandle, length: usize) -> Result<Vec<u8>, HsmError> {
    let mut bytes = Vec::new();
    for attribute in session.get_attributes(public, &[AttributeType::EcPoint])? {
        if let Attribute::EcPoint(value) = attribute {
            bytes = value;
        }
    }
    if bytes.len() == length + 2 && bytes.starts_with(&[0x04, u8::try_from(length).unwrap_or_default()]) {
        bytes.drain(..2);
    }
    if bytes.len() != length {
        return Err(HsmError::AnswerMalformed { function: "C_GetAttributeValue", length: bytes.len() });
    }
    Ok(bytes)
}

pub(crate) fn p256_public(session: &Session, public: ObjectHandle, label: &str) -> Result<Point, HsmError> {
    let bytes = ec_point(session, public, 65)?;
    Point::from_sec1(&bytes).map_err(|source| HsmError::PublicKeyInvalid { label: label.to_owned(), source })
}

fn ed25519_public(session: &Session, public: ObjectHandle) -> Result<[u8; 32], HsmError> {
    let bytes = ec_point(session, public, 32)?;
    bytes.try_into().map_err(|bytes: Vec<u8>| HsmError::AnswerMalformed {
        function: "C_GetAttributeValue",
        length: bytes.len(),
    })
}

/// Destroys every object of the token under that label, private halves first: a crash in between must not leave the half
/// that answers. `gone` is told of each private half.
pub(super) fn destroy_pair(
    link: &Link,
    session: &Session,
    full_label: &str,
    gone: impl Fn(),
) -> Result<(), HsmError> {
    link.forget(full_label);
    let pair = find_pair(session, full_label)?;
    for private in pair.private {
        session.destroy_object(private)?;
        gone();
    }
    for public in pair.public {
        session.destroy_object(public)?;
    }
    Ok(())
}

/// Runs a call on a session object and destroys the object, whatever came of the call.
pub(super) fn with_session_object<T>(
    session: &Session,
    object: ObjectHandle,
    call: impl FnOnce(ObjectHandle) -> Result<T, HsmError>,
) -> Result<T, HsmError> {
    let result = call(object);
    destroy_session_object(session, object)?;
    result
}

/// The x-coordinate of `point` multiplied by a private key: `CKM_ECDH1_DERIVE` with `CKD_NULL` (PKCS#11 2.40,
/// section 2.3.8), by way of a session object that is read and destroyed.
pub(crate) fn ecdh_x(session: &Session, private: ObjectHandle, point: &Point) -> Result<PartialX, HsmError> {
    let peer = point.to_uncompressed();
    let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), &peer));
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::ValueLen(32.into()),
        Attribute::Token(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ];
    let shared = session.derive_key(&mechanism, private, &template)?;
    with_session_object(session, shared, |shared| {
        let mut x = Zeroizing::new(Vec::new());
        for attribute in session.get_attributes(shared, &[AttributeType::Value])? {
            if let Attribute::Value(value) = attribute {
                x = Zeroizing::new(value);
            }
        }
        let x: &[u8; 32] = x
            .as_slice()
            .try_into()
            .map_err(|_| HsmError::AnswerMalformed { function: "C_DeriveKey", length: x.len() })?;
        Ok(PartialX::from_bytes(x))
    })
}

/// Runs a call with the handle of a token key, remembered or searched for. Where the remembered handle turns out to
/// name nothing any more, it is searched for once.
pub(super) fn with_key<T>(
    link: &Link,
    worker: &mut Worker,
    kind: KeyKind,
    label: &str,
    mut call: impl FnMut(&mut Worker, ObjectHandle) -> Result<T, HsmError>,
) -> Result<T, HsmError> {
    let full_label = kind.full_label(label);
    if let Some(handle) = link.remembered(&full_label) {
        match call(worker, handle) {
            Err(error) if error.is_handle_stale() => link.forget(&full_label),
            result => return result,
        }
    }
    let handle = match find_secret(&worker.session, kind, label)?.as_slice() {
        [handle] => *handle,
        [] if kind == KeyKind::Grant => {
            return Err(HsmError::GrantKeyMissing { label: label.to_owned() });
        }
        [] => return Err(HsmError::KeyMissing { label: label.to_owned() }),
        several => {
            return Err(HsmError::KeyAmbiguous { label: label.to_owned(), count: several.len() });
        }
    };
    link.remember(&full_label, handle);
    call(worker, handle)
}

impl Pkcs11Token {
    /// Finds or makes a service key pair and reads its public half with `read`.
    fn ensure_pair<T>(
        &self,
        kind: KeyKind,
        label: &str,
        read: impl FnOnce(&Session, ObjectHandle) -> Result<T, HsmError>,
    ) -> Result<T, HsmError> {
        let _one_at_a_time = self.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.with_link(|link| {
            let worker = link.worker();
            let session = &worker.session;
            let full_label = kind.full_label(label);
            let pair = find_pair(session, &full_label)?;
            let (public, private) = match (pair.public.as_slice(), pair.private.as_slice()) {
                ([public], [private]) => {
                    check_protected(session, *private, label)?;
                    (*public, *private)
                }
                (leftover, []) => {
                    // A pair whose making was cut off; without its private half it was never of use.
                    for public in leftover {
                        session.destroy_object(*public)?;
                    }
                    generate_pair(session, kind, label)?
                }
                ([], [_]) => return Err(HsmError::KeyIncomplete { label: label.to_owned() }),
                (public, private) => {
                    let count = public.len().max(private.len());
                    return Err(HsmError::KeyAmbiguous { label: label.to_owned(), count });
                }
            };
            link.remember(&full_label, private);
            read(session, public)
        })
    }

    fn with_service_key<T>(
        &self,
        kind: KeyKind,
        label: &str,
        mut call: impl FnMut(&Session, ObjectHandle) -> Result<T, HsmError>,
    ) -> Result<T, HsmError> {
        self.with_link(|link| {
            with_key(link, &mut link.worker(), kind, label, |worker, handle| call(&worker.session, handle))
        })
    }

    pub(super) fn signing_key_there(&self, label: &str) -> Result<Point, HsmError> {
        self.pair_there(KeyKind::Sign, label, |session, public| p256_public(session, public, label))
    }

    pub(super) fn ed25519_key_there(&self, label: &str) -> Result<[u8; 32], HsmError> {
        self.pair_there(KeyKind::Ed25519, label, ed25519_public)
    }

    pub(super) fn agreement_key_there(&self, label: &str) -> Result<Point, HsmError> {
        self.pair_there(KeyKind::Agree, label, |session, public| p256_public(session, public, label))
    }

    fn pair_there<T>(
        &self,
        kind: KeyKind,
        label: &str,
        read: impl FnOnce(&Session, ObjectHandle) -> Result<T, HsmError>,
    ) -> Result<T, HsmError> {
        self.with_link(|link| {
            let worker = link.worker();
            let pair = find_pair(&worker.session, &kind.full_label(label))?;
            match (pair.public.as_slice(), pair.private.as_slice()) {
                ([public], [private]) => {
                    check_protected(&worker.session, *private, label)?;
                    read(&worker.session, *public)
                }
                (_, []) => Err(HsmError::KeyMissing { label: label.to_owned() }),
                ([], _) => Err(HsmError::KeyIncomplete { label: label.to_owned() }),
                (public, private) => {
                    let count = public.len().max(private.len());
                    Err(HsmError::KeyAmbiguous { label: label.to_owned(), count })
                }
            }
        })
    }

    pub(super) fn signing_key_destroy(&self, label: &str) -> Result<(), HsmError> {
        self.destroy_service_pair(KeyKind::Sign, label)
    }

    pub(super) fn ed25519_key_destroy(&self, label: &str) -> Result<(), HsmError> {
        self.destroy_service_pair(KeyKind::Ed25519, label)
    }

    pub(super) fn agreement_key_destroy(&self, label: &str) -> Result<(), HsmError> {
        self.destroy_service_pair(KeyKind::Agree, label)
    }

    fn destroy_service_pair(&self, kind: KeyKind, label: &str) -> Result<(), HsmError> {
        let _one_at_a_time = self.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.with_link(|link| destroy_pair(link, &link.worker().session, &kind.full_label(label), || ()))
    }

    pub(super) fn signing_key(&self, label: &str) -> Result<Point, HsmError> {
        self.ensure_pair(KeyKind::Sign, label, |session, public| p256_public(session, public, label))
    }

    pub(super) fn sign_digest(&self, label: &str, digest: &[u8; 32]) -> Result<[u8; 64], HsmError> {
        self.with_service_key(KeyKind::Sign, label, |session, handle| {
            signature(session.sign(&Mechanism::Ecdsa, handle, digest)?)
        })
    }

    pub(super) fn ed25519_key(&self, label: &str) -> Result<[u8; 32], HsmError> {
        self.ensure_pair(KeyKind::Ed25519, label, ed25519_public)
    }

    pub(super) fn sign_ed25519(&self, label: &str, message: &[u8]) -> Result<[u8; 64], HsmError> {
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        self.with_service_key(KeyKind::Ed25519, label, |session, handle| {
            signature(session.sign(&mechanism, handle, message)?)
        })
    }

    pub(super) fn agreement_key(&self, label: &str) -> Result<Point, HsmError> {
        self.ensure_pair(KeyKind::Agree, label, |session, public| p256_public(session, public, label))
    }

    pub(super) fn agree(&self, label: &str, peer: &Point) -> Result<PartialX, HsmError> {
        self.with_service_key(KeyKind::Agree, label, |session, handle| ecdh_x(session, handle, peer))
    }
}

impl Hsm {
    /// The P-256 signing key of that name, made inside the token if it is not there. Idempotent.
    ///
    /// # Errors
    ///
    /// [`HsmError::KeyIncomplete`] where only the private half is there, [`HsmError::KeyExposed`] where the key found
    /// is extractable, [`HsmError::KeyAmbiguous`] where there are several.
    pub fn ensure_signing_key(&self, label: &str) -> Result<SigningKey, HsmError> {
        let public = self.signing_key(label)?;
        Ok(SigningKey { hsm: self.clone(), label: label.to_owned(), public, sec1: public.to_uncompressed() })
    }

    /// The Ed25519 key of that name, made inside the token if it is not there. Idempotent; errors as for
    /// [`Self::ensure_signing_key`].
    pub fn ensure_ed25519_key(&self, label: &str) -> Result<Ed25519Key, HsmError> {
        Ok(Ed25519Key { hsm: self.clone(), label: label.to_owned(), public: self.ed25519_key(label)? })
    }

    /// The P-256 key agreement key of that name, made inside the token if it is not there. Idempotent; errors as for
    /// [`Self::ensure_signing_key`].
    pub fn ensure_agreement_key(&self, label: &str) -> Result<AgreementKey, HsmError> {
        Ok(AgreementKey { hsm: self.clone(), label: label.to_owned(), public: self.agreement_key(label)? })
    }
}

/// A P-256 ECDSA key in the token.
///
/// It signs X.509 through `rcgen`, and TLS through [`crate::signer::tls_key`].
#[derive(Clone)]
pub struct SigningKey {
    hsm: Hsm,
    label: String,
    public: Point,
    pub(super) sec1: [u8; 65],
}

impl SigningKey {
    /// The public key.
    pub fn public_key(&self) -> Point {
        self.public
    }

    /// Signs a SHA-256 digest: `r ‖ s`, 32 bytes each, big-endian. The hash is ours (`CKM_ECDSA`): SoftHSM has no
    /// `CKM_ECDSA_SHA256`.
    pub fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], HsmError> {
        self.hsm.sign_digest(&self.label, &digest)
    }

    /// Signs the SHA-256 digest of a message, as ES256 (RFC 7518, section 3.4) does: `r ‖ s`.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], HsmError> {
        self.sign_digest(Sha256::digest(message).into())
    }
}

impl DigestSigner for SigningKey {
    fn public_key(&self) -> Point {
        self.public
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        Self::sign_digest(self, digest).map_err(SignerError::device)
    }
}

/// An Ed25519 key in the token.
#[derive(Clone)]
pub struct Ed25519Key {
    hsm: Hsm,
    label: String,
    public: [u8; 32],
}

impl Ed25519Key {
    /// The public key (RFC 8032, section 5.1.5).
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Signs the message itself (pure Ed25519, RFC 8032, section 5.1.6).
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], HsmError> {
        self.hsm.sign_ed25519(&self.label, message)
    }
}

pub(crate) fn signature(bytes: Vec<u8>) -> Result<[u8; 64], HsmError> {
    bytes
        .try_into()
        .map_err(|bytes: Vec<u8>| HsmError::AnswerMalformed { function: "C_Sign", length: bytes.len() })
}

/// A P-256 key for ECDH in the token.
#[derive(Clone)]
pub struct AgreementKey {
    hsm: Hsm,
    label: String,
    public: Point,
}

impl AgreementKey {
    /// The public key.
    pub fn public_key(&self) -> Point {
        self.public
    }

    /// The x-coordinate of the peer's point multiplied by this key: the raw ECDH result (SP 800-56A, 5.7.1.2), to be
    /// put through a key derivation before use.
    pub fn agree(&self, peer: &Point) -> Result<PartialX, HsmError> {
        self.hsm.agree(&self.label, peer)
    }
}
