//! What the tests share: stamps, a database in a temporary folder, TLS identities with software keys.

use std::path::Path;
use std::sync::Arc;

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use sqlx::AnyPool;
use sqlx::migrate::Migrator;
use warifu_api::tls::Identity;
use warifu_hardware::signer::{DigestSigner, SignerError};
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Millis, Stamp};
use warifu_ledger::{Digest, Id};
use warifu_replica::storage;
use warifu_split_key::point::Point;

use crate::fixture::{envelope_by_services, id, key, note, public};

pub(crate) struct SoftKey(SigningKey);

impl DigestSigner for SoftKey {
    fn public_key(&self) -> Point {
        public(&self.0).0
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        let signature: Signature = self.0.sign_prehash(&digest).map_err(SignerError::device)?;
        Ok(signature.to_bytes().into())
    }
}

pub(crate) fn soft_key(label: &str) -> Arc<dyn DigestSigner> {
    Arc::new(SoftKey(key(label)))
}

pub(crate) fn identity(label: &str) -> Identity {
    Identity::self_signed(soft_key(label), label).unwrap()
}

pub(crate) async fn database(folder: &Path) -> AnyPool {
    storage::open(&folder.join("service.db"), Migrator::DEFAULT).await.unwrap()
}

pub(crate) fn nonce(label: &str) -> Digest {
    Digest::of(label.as_bytes())
}

pub(crate) fn head_of(state: &State) -> Checkpoint {
    let size = state.tree().size();
    Checkpoint { size, root: state.tree().root(size).unwrap() }
}

pub(crate) fn draft_stamp(state: &State, site: Id, nonce: Digest, time: Millis) -> Stamp {
    let checkpoint = note(&state.organization(), &head_of(state), Signer::Kms);
    Stamp { organization: state.organization(), site, nonce, time, checkpoint }
}

pub(crate) fn sign_stamp(stamp: &Stamp) -> Envelope {
    envelope_by_services(stamp, &["kms"])
}

/// What an honest kms answers to the site `main`.
pub(crate) fn stamp(state: &State, nonce: Digest, time: Millis) -> Envelope {
    sign_stamp(&draft_stamp(state, id("main"), nonce, time))
}
