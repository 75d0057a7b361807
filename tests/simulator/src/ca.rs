//! The ca, as far as it is here: its copy of the ledger, its lease, and its cosignatures.

use std::sync::Arc;

use tokio::sync::mpsc;
use warifu_api::Client;
use warifu_api::tls::{Identity, Pin};
use warifu_ca::cosign::{CosignError, Cosigned, Cosigner};
use warifu_ca::keys::Keys;
use warifu_ca::vault::Vault;
use warifu_hardware::hsm::Hsm;
use warifu_ledger::Id;
use warifu_replica::Replica;
use warifu_replica::clock::Clock;
use warifu_replica::follow::{Follower, Following};

/// The steps of the ca.
#[derive(Clone)]
pub(crate) struct CaSteps {
    pub(crate) follower: Arc<Follower>,
    cosigner: Cosigner,
    kms: Client,
}

impl CaSteps {
    pub(crate) fn open(
        hsm: &Hsm,
        replica: Replica,
        kms: Client,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let keys = Arc::new(Keys::ensure(hsm)?);
        let identity = Identity::self_signed(Arc::new(keys.own.tls.clone()), "warifu-ca")?;
        let pin = Pin::from(crate::keys::public("kms tls"));
        let following =
            Following { brings_leaves: true, ..Following::new(Id([0; 16]), identity, "kms", pin, clock) };
        let (appended, _) = mpsc::channel(1);
        let vault = Vault::new(replica.pool().clone(), keys.kek.clone());
        let follower = Arc::new(Follower::idle(following, replica, appended)?);
        let cosigner = Cosigner::new(follower.clone(), keys, vault);
        Ok(Self { follower, cosigner, kms })
    }

    pub(crate) async fn ask(&self) {
        self.follower.ask(&self.kms).await;
    }

    pub(crate) async fn cosign(&self) -> Result<Cosigned, CosignError> {
        self.cosigner.cosign(&self.kms).await
    }
}
