//! A site's shares: one key pair for each grant, the shares wrapped to it, and the end of both.
//!
//! A share rests as a [`WrappedShare`] outside the token. It is unwrapped *inside*: `CKM_ECDH1_DERIVE` makes an AES-256
//! session key, `CKM_AES_KEY_WRAP_PAD` unwraps the share into an EC session object, and neither can be read. Each
//! session keeps some of those objects. Destroying the key pair makes every copy of the blob useless; but an object
//! that is unwrapped already goes on answering, so [`Hsm`](super::Hsm)`::grant_key_destroy` destroys those in every session as well,
//! and waits for what is under way (P-8.2).
//!
//! A share reaches a site that comes later by `rewrap`: the same wrap again, made inside the token as well, so that
//! it is in no process's memory on its way from one token to the other.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{PoisonError, RwLock};

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use sha2::{Digest, Sha256};
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;

use super::error::HsmError;
use super::keys::{
    KeyKind, check_protected, ecdh_x, find_pair, generate_ephemeral, generate_pair, p256_public,
    private_keys_of, with_key, with_session_object,
};
use super::link::{Link, ShareKey, Worker};
use super::wrap::WrappedShare;
use super::{Pkcs11Token, STRIPES, keys};

impl Pkcs11Token {
    /// Makes the key pair for a grant, or finds the one there is, and returns its public key, to which the share is to
    /// be wrapped. Idempotent as long as it is not destroyed.
    ///
    /// A pair of which only one half is there was never reported to anyone, and is replaced.
    ///
    /// # Errors
    ///
    /// [`HsmError::CapacityExhausted`] where the configured number of grant keys is reached or the token is full.
    pub(super) fn grant_key_generate(&self, label: &str) -> Result<Point, HsmError> {
        let _alone = self.grant_lock(label).write().unwrap_or_else(PoisonError::into_inner);
        self.with_link(|link| {
            let worker = link.worker();
            let session = &worker.session;
            let pair = find_pair(session, &KeyKind::Grant.full_label(label))?;
            match (pair.private.as_slice(), pair.public.as_slice()) {
                ([private], [public]) => {
                    check_protected(session, *private, label)?;
                    return p256_public(session, *public, label);
                }
                (private, public) if private.len() > 1 || public.len() > 1 => {
                    let count = private.len().max(public.len());
                    return Err(HsmError::KeyAmbiguous { label: label.to_owned(), count });
                }
                _ => destroy_pair(link, session, label)?,
            }
            link.reserve_grant_key(self.0.config.max_grant_keys)?;
            let (public, private) =
                generate_pair(session, KeyKind::Grant, label).inspect_err(|_| link.release_grant_key())?;
            link.remember(&KeyKind::Grant.full_label(label), private);
            p256_public(session, public, label)
        })
    }

    /// The labels of all grants that have a key in the token, in no particular order. A site compares them with its
    /// fold when it starts.
    pub(super) fn grant_keys(&self) -> Result<Vec<String>, HsmError> {
        self.with_link(|link| {
            let found = private_keys_of(&link.worker().session, KeyKind::Grant)?;
            Ok(found.into_iter().map(|(label, _)| label).collect())
        })
    }

    /// Destroys a grant's key pair, then every share unwrapped with it, in every session; operations of that grant
    /// that are under way end first. When this returns `Ok`, nothing in this process or the token answers for the
    /// grant, and [`Self::partial`] fails with [`HsmError::GrantKeyMissing`] until a new key is made, to which a share
    /// must be wrapped anew. Idempotent: a grant without a key is fine.
    ///
    /// After an error it must be called again; a revocation is not done before it returned `Ok`.
    pub(super) fn grant_key_destroy(&self, label: &str) -> Result<(), HsmError> {
        let _alone = self.grant_lock(label).write().unwrap_or_else(PoisonError::into_inner);
        let destroy = || {
            self.with_link(|link| {
                destroy_pair(link, &link.worker().session, label)?;
                for mut worker in link.each_worker() {
                    while let Some(object) = worker.shares.remove_where(|key| key.grant == label) {
                        worker.destroy(object)?;
                    }
                }
                Ok(())
            })
        };
        match destroy() {
            // The old sessions are closed, and their objects with them; what is left is the pair in the token.
            Err(error) if error.is_link_lost() => destroy(),
            result => result,
        }
    }

    /// Unwraps a share inside the token and checks, inside, that it is `b` with `x(bG) = x(B)`. A site acknowledges no
    /// share before this. (`-b` passes too: it gives the same partials.)
    ///
    /// # Errors
    ///
    /// [`HsmError::ShareRefused`] where it does not unwrap under this grant's key or is another share;
    /// [`HsmError::GrantKeyMissing`].
    pub(super) fn unwrap_check(
        &self,
        label: &str,
        share: &WrappedShare,
        expected_b: &Point,
    ) -> Result<(), HsmError> {
        self.with_share(label, share, |link, worker, key| {
            let public = share_ecdh(link, worker, key, share, &Point::generator())?;
            if *public.expose() == expected_b.x() {
                return Ok(());
            }
            if let Some(object) = worker.shares.remove(key) {
                worker.destroy(object)?;
            }
            Err(HsmError::ShareRefused { label: label.to_owned() })
        })
    }

    /// The site's half of an opening: `x(bR)`, 32 bytes big-endian.
    ///
    /// The caller has checked everything that P-7.2 lists, and the audit record is durable.
    ///
    /// # Errors
    ///
    /// [`HsmError::GrantKeyMissing`] where the grant's key was destroyed or never made, [`HsmError::ShareRefused`]
    /// where the share does not unwrap under it.
    pub(super) fn partial(&self, label: &str, share: &WrappedShare, r: &Point) -> Result<PartialX, HsmError> {
        self.with_share(label, share, |link, worker, key| share_ecdh(link, worker, key, share, r))
    }

    /// The same share, wrapped to another site's key for the same grant (P-6.4), for a site that comes later. All of it
    /// happens inside the token: the share is unwrapped once more into a session object of its own that may be wrapped, and
    /// that is destroyed before this returns; the ephemeral key and the wrapping key are session objects, too.
    ///
    /// The caller must have verified the other site's signature over `site_grant_key`, and that the ledger has it serve the
    /// grant: whoever owns that key learns the share.
    ///
    /// # Errors
    ///
    /// As for [`Self::partial`]. A token that wraps nothing says so with [`HsmError::Operation`].
    pub(super) fn rewrap(
        &self,
        label: &str,
        share: &WrappedShare,
        site_grant_key: &Point,
    ) -> Result<WrappedShare, HsmError> {
        self.with_share(label, share, |link, worker, _| {
            with_key(link, worker, KeyKind::Grant, label, |worker, private| {
                let extractable = unwrap_share(worker, private, label, share, Leaving::Wrapped)?;
                with_session_object(&worker.session, extractable, |object| {
                    wrap_object(&worker.session, object, site_grant_key)
                })
            })
        })
    }

    fn with_share<T>(
        &self,
        label: &str,
        share: &WrappedShare,
        call: impl FnOnce(&Link, &mut Worker, &ShareKey) -> Result<T, HsmError>,
    ) -> Result<T, HsmError> {
        let digest = Sha256::digest(share.to_bytes()).into();
        let key = ShareKey { grant: label.to_owned(), digest };
        // Held to the end, so that a destruction comes entirely before or entirely after.
        let _with_others = self.grant_lock(label).read().unwrap_or_else(PoisonError::into_inner);
        self.with_link(|link| call(link, &mut link.worker_for(label), &key))
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "the index is taken modulo the array's length, which is not 0"
    )]
    fn grant_lock(&self, label: &str) -> &RwLock<()> {
        let mut hasher = DefaultHasher::new();
        label.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or_default();
        &self.0.grants[index % STRIPES]
    }
}

/// Every object of the token under that grant's label.
fn destroy_pair(link: &Link, session: &Session, label: &str) -> Result<(), HsmError> {
    keys::destroy_pair(link, session, &KeyKind::Grant.full_label(label), || link.release_grant_key())
}

/// ECDH with a share: by the object that this session keeps, or after unwrapping it.
fn share_ecdh(
    link: &Link,
    worker: &mut Worker,
    key: &ShareKey,
    share: &WrappedShare,
    point: &Point,
) -> Result<PartialX, HsmError> {
    if let Some(object) = worker.shares.get(key) {
        match ecdh_x(&worker.session, object, point) {
            Err(error) if error.is_handle_stale() => {
                worker.shares.remove(key);
            }
            result => return result,
        }
    }
    let object = with_key(link, worker, KeyKind::Grant, &key.grant, |worker, private| {
        unwrap_share(worker, private, &key.grant, share, Leaving::Never)
    })?;
    match ecdh_x(&worker.session, object, point) {
        Ok(x) => {
            if let Some(given_up) = worker.shares.insert(key.clone(), object) {
                worker.destroy(given_up)?;
            }
            Ok(x)
        }
        // SoftHSM unwraps a scalar of zero, too, and fails only here. What gave no answer is not kept.
        Err(error) => {
            worker.destroy(object)?;
            Err(about_share(error, &key.grant))
        }
    }
}

/// Whether an unwrapped share may leave the token again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    Never,
    /// Wrapped to another site, and in no other way: it stays sensitive.
    Wrapped,
}

/// What an agreed key is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kek {
    Wraps,
    Unwraps,
}

/// Unwraps, giving up older session objects where the token has no room for another.
fn unwrap_share(
    worker: &mut Worker,
    private: ObjectHandle,
    grant: &str,
    share: &WrappedShare,
    leaving: Leaving,
) -> Result<ObjectHandle, HsmError> {
    loop {
        match unwrap_once(&worker.session, private, share, leaving, &[Attribute::Token(false)]) {
            Err(HsmError::CapacityExhausted { limit }) => match worker.shares.pop_oldest() {
                Some(oldest) => worker.destroy(oldest)?,
                None => return Err(HsmError::CapacityExhausted { limit }),
            },
            result => return result.map_err(|error| about_share(error, grant)),
        }
    }
}

/// Unwraps a share inside the token (P-6.4, P-6.3b): ephemeral ECDH to an AES key that never leaves, KWP to an EC key that
/// does nothing but ECDH and cannot be read out in the clear. `place` says where it goes: for a session, or as an object of the
/// token.
pub(crate) fn unwrap_once(
    session: &Session,
    private: ObjectHandle,
    share: &WrappedShare,
    leaving: Leaving,
    place: &[Attribute],
) -> Result<ObjectHandle, HsmError> {
    let unwrapping_key = agreed_kek(session, private, share.ephemeral(), Kek::Unwraps)?;
    with_session_object(session, unwrapping_key, |unwrapping_key| {
        let mut template = vec![
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(leaving == Leaving::Wrapped),
            Attribute::Sign(false),
            Attribute::Derive(true),
        ];
        template.extend_from_slice(place);
        Ok(session.unwrap_key(&Mechanism::AesKeyWrapPad, unwrapping_key, share.blob(), &template)?)
    })
}

/// KWP of an unwrapped share under the key agreed between a new ephemeral key and `recipient`.
fn wrap_object(session: &Session, object: ObjectHandle, recipient: &Point) -> Result<WrappedShare, HsmError> {
    let (public, private) = generate_ephemeral(session)?;
    with_session_object(session, private, |private| {
        let ephemeral =
            with_session_object(session, public, |public| p256_public(session, public, "ephemeral"))?;
        let wrapping_key = agreed_kek(session, private, recipient, Kek::Wraps)?;
        let blob = with_session_object(session, wrapping_key, |wrapping_key| {
            Ok(session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping_key, object)?)
        })?;
        let length = blob.len();
        WrappedShare::from_parts(ephemeral, blob)
            .map_err(|_| HsmError::AnswerMalformed { function: "C_WrapKey", length })
    })
}

/// The AES-256 session key whose bytes are the x-coordinate that `private` and `peer` agree on, for one use alone. It
/// cannot be read.
fn agreed_kek(
    session: &Session,
    private: ObjectHandle,
    peer: &Point,
    kek: Kek,
) -> Result<ObjectHandle, HsmError> {
    let peer = peer.to_uncompressed();
    Ok(session.derive_key(
        &Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), &peer)),
        private,
        &[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen(32.into()),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(false),
            Attribute::Decrypt(false),
            Attribute::Wrap(kek == Kek::Wraps),
            Attribute::Unwrap(kek == Kek::Unwraps),
        ],
    )?)
}

/// A module says in many ways that it does not like a blob; to us they are one.
fn about_share(error: HsmError, grant: &str) -> HsmError {
    match error {
        HsmError::Operation { .. } | HsmError::AnswerMalformed { .. } if !error.is_not_about_data() => {
            HsmError::ShareRefused { label: grant.to_owned() }
        }
        error => error,
    }
}
