//! An HSM of the simulation: keys in memory. It outlives crashes, and what it has destroyed is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aes_kw::{KeyInit as _, KwpAes256};
use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey as _;
use p256::{PublicKey, SecretKey};
use warifu_hardware::hsm::wrap::wrap_share;
use warifu_hardware::hsm::{HsmError, Mechanisms, Token, WrappedShare};
use warifu_ledger::Digest;
use warifu_split_key::issuer::CardShare;
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use crate::{fixture, keys};

/// The pairs of grants, by label, and the marks.
#[derive(Clone, Default)]
pub(crate) struct Pairs {
    keys: BTreeMap<String, SecretKey>,
    made: u64,
    marks: BTreeSet<String>,
    /// What was unwrapped, by the digest of the wrap: only saves time.
    unwrapped: BTreeMap<Digest, SecretKey>,
}

impl Pairs {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.keys.len()
    }
}

pub(crate) struct MemoryToken {
    label: String,
    pairs: Mutex<Pairs>,
}

const SEAL: usize = 32;
/// How the names of keys that wait end (`warifu_console::keys`).
const SECOND_PLACE: &str = "-2";

impl MemoryToken {
    pub(crate) fn new(label: &str, pairs: Pairs) -> Arc<Self> {
        Arc::new(Self { label: label.to_owned(), pairs: Mutex::new(pairs) })
    }

    fn pairs(&self) -> MutexGuard<'_, Pairs> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in it now.
    pub(crate) fn contents(&self) -> Pairs {
        self.pairs().clone()
    }

    pub(crate) fn holds(&self, label: &str) -> bool {
        self.pairs().keys.contains_key(label)
    }

    /// The keys are those that the ledger's fixture names.
    fn name(&self, label: &str) -> String {
        let label = match label {
            "statements" => "signing",
            other => other,
        };
        format!("{} {label}", self.label)
    }

    fn key(&self, label: &str) -> SigningKey {
        keys::secret(&self.name(label))
    }

    fn seal_of(&self, label: &str, plaintext: &[u8], aad: &[u8]) -> Digest {
        Digest::of(&[self.name(label).as_bytes(), aad, plaintext].concat())
    }

    fn share(&self, label: &str, share: &WrappedShare) -> Result<SecretKey, HsmError> {
        let mut pairs = self.pairs();
        let missing = || HsmError::GrantKeyMissing { label: label.to_owned() };
        let refused = || HsmError::ShareRefused { label: label.to_owned() };
        let key = pairs.keys.get(label).ok_or_else(missing)?.clone();
        let digest = Digest::of(&[&key.to_bytes()[..], &share.to_bytes()].concat());
        if let Some(found) = pairs.unwrapped.get(&digest) {
            return Ok(found.clone());
        }
        let shared = agree(&key, share.ephemeral()).ok_or_else(refused)?;
        let mut pkcs8 = vec![0; share.blob().len()];
        let kwp = KwpAes256::new(&shared.into());
        let pkcs8 = kwp.unwrap_key(share.blob(), &mut pkcs8).map_err(|_| refused())?;
        let secret = SecretKey::from_pkcs8_der(pkcs8).map_err(|_| refused())?;
        pairs.unwrapped.insert(digest, secret.clone());
        Ok(secret)
    }
}

fn agree(secret: &SecretKey, point: &Point) -> Option<[u8; 32]> {
    let other = PublicKey::from_sec1_bytes(&point.to_uncompressed()).ok()?;
    let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), other.as_affine());
    Some((*shared.raw_secret_bytes()).into())
}

fn public(secret: &SecretKey) -> Result<Point, HsmError> {
    Point::from_sec1(&secret.public_key().to_sec1_bytes()).map_err(|_| malformed())
}

fn malformed() -> HsmError {
    HsmError::AnswerMalformed { function: "in memory", length: 0 }
}

impl Token for MemoryToken {
    fn token_label(&self) -> &str {
        &self.label
    }

    fn failures(&self) -> u64 {
        0
    }

    fn probe(&self) -> Result<Mechanisms, HsmError> {
        Ok(Mechanisms {
            manufacturer: "the simulation".to_owned(),
            model: "memory".to_owned(),
            present: Vec::new(),
            free_private_memory: None,
            grant_keys: self.pairs().keys.len(),
            max_grant_keys: None,
        })
    }

    fn signing_key_there(&self, label: &str) -> Result<Point, HsmError> {
        match label.strip_suffix(SECOND_PLACE) {
            // No keys wait beside those in use.
            Some(_) => Err(HsmError::KeyMissing { label: label.to_owned() }),
            None => self.signing_key(label),
        }
    }

    fn ed25519_key_there(&self, label: &str) -> Result<[u8; 32], HsmError> {
        match label.strip_suffix(SECOND_PLACE) {
            Some(_) => Err(HsmError::KeyMissing { label: label.to_owned() }),
            None => self.ed25519_key(label),
        }
    }

    fn agreement_key_there(&self, label: &str) -> Result<Point, HsmError> {
        self.signing_key_there(label)
    }

    fn signing_key_destroy(&self, _: &str) -> Result<(), HsmError> {
        Ok(())
    }

    fn ed25519_key_destroy(&self, _: &str) -> Result<(), HsmError> {
        Ok(())
    }

    fn agreement_key_destroy(&self, _: &str) -> Result<(), HsmError> {
        Ok(())
    }

    fn signing_key(&self, label: &str) -> Result<Point, HsmError> {
        Ok(keys::public(&self.name(label)))
    }

    fn sign_digest(&self, label: &str, digest: &[u8; 32]) -> Result<[u8; 64], HsmError> {
        let signature: Signature = self.key(label).sign_prehash(digest).map_err(|_| malformed())?;
        Ok(signature.to_bytes().into())
    }

    fn ed25519_key(&self, _: &str) -> Result<[u8; 32], HsmError> {
        Ok(fixture::log_public(&self.label).0)
    }

    fn sign_ed25519(&self, _: &str, message: &[u8]) -> Result<[u8; 64], HsmError> {
        Ok(fixture::log_key(&self.label).sign(message).to_bytes())
    }

    fn agreement_key(&self, label: &str) -> Result<Point, HsmError> {
        self.signing_key(label)
    }

    fn agree(&self, label: &str, peer: &Point) -> Result<PartialX, HsmError> {
        let secret = SecretKey::from(self.key(label).as_nonzero_scalar());
        agree(&secret, peer).map(|x| PartialX::from_bytes(&x)).ok_or_else(malformed)
    }

    fn kek(&self, _: &str) -> Result<(), HsmError> {
        Ok(())
    }

    fn seal(&self, label: &str, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, HsmError> {
        Ok([&self.seal_of(label, plaintext, aad).0[..], plaintext].concat())
    }

    fn unseal(&self, label: &str, sealed: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        let (seal, plaintext) = sealed.split_at_checked(SEAL).ok_or(HsmError::SealBroken)?;
        if self.seal_of(label, plaintext, aad).0[..] != *seal {
            return Err(HsmError::SealBroken);
        }
        Ok(Zeroizing::new(plaintext.to_vec()))
    }

    fn grant_key_generate(&self, label: &str) -> Result<Point, HsmError> {
        let mut pairs = self.pairs();
        if let Some(key) = pairs.keys.get(label) {
            return public(key);
        }
        pairs.made += 1;
        // Another one each time.
        let key = fixture::key(&format!("{} {label} {}", self.label, pairs.made));
        let key = SecretKey::from(key.as_nonzero_scalar());
        pairs.keys.insert(label.to_owned(), key.clone());
        public(&key)
    }

    fn grant_keys(&self) -> Result<Vec<String>, HsmError> {
        Ok(self.pairs().keys.keys().cloned().collect())
    }

    fn grant_key_destroy(&self, label: &str) -> Result<(), HsmError> {
        self.pairs().keys.remove(label);
        Ok(())
    }

    fn mark(&self, label: &str) -> Result<(), HsmError> {
        self.pairs().marks.insert(label.to_owned());
        Ok(())
    }

    fn marks(&self) -> Result<Vec<String>, HsmError> {
        Ok(self.pairs().marks.iter().cloned().collect())
    }

    fn unwrap_check(&self, label: &str, share: &WrappedShare, expected_b: &Point) -> Result<(), HsmError> {
        if public(&self.share(label, share)?)?.x() == expected_b.x() {
            return Ok(());
        }
        Err(HsmError::ShareRefused { label: label.to_owned() })
    }

    fn partial(&self, label: &str, share: &WrappedShare, r: &Point) -> Result<PartialX, HsmError> {
        let share = self.share(label, share)?;
        agree(&share, r).map(|x| PartialX::from_bytes(&x)).ok_or_else(malformed)
    }

    fn rewrap(&self, label: &str, share: &WrappedShare, key: &Point) -> Result<WrappedShare, HsmError> {
        let secret = self.share(label, share)?.to_bytes().into();
        // Of any scalar: this is how a token writes one.
        let secret = CardShare::from_bytes(&secret).map_err(|_| malformed())?.to_pkcs8_der();
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        wrap_share(&mut rng, key, &secret).map_err(|_| malformed())
    }
}
