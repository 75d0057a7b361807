//! A token, a founded town whose ca it is, and the parts of a ca that works.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use sqlx::AnyPool;
use tokio::sync::mpsc;
use warifu_api::client::Client;
use warifu_api::tls::Identity;
use warifu_broken_parts::Place;
use warifu_ca::certificates::Certifier;
use warifu_ca::config::{Crls, Publishing};
use warifu_ca::cosign::Cosigner;
use warifu_ca::issue::Issuing;
use warifu_ca::keys::Keys;
use warifu_ca::service::Service;
use warifu_ca::vault::{Pin, Vault, pin};
use warifu_hardware::hsm::{Hsm, HsmConfig, Pin as HsmPin, PinSource};
use warifu_hardware::signer::{DigestSigner, SignerError};
use warifu_ledger::Id;
use warifu_replica::clock::ManualClock;
use warifu_replica::follow::{Follower, Following, Halt};
use warifu_replica::{Replica, storage};
use warifu_split_key::point::Point;

use crate::fixture::{key, public, public_of};
use crate::kms::Kms;

const CHILD: &str = "WARIFU_CA_TEST_FOLDER";
pub(crate) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `body` in a child process: this same test again, told so by its environment.
pub(crate) fn run<F: Future<Output = ()>>(test: &str, place: Place, body: impl FnOnce(PathBuf) -> F) {
    assert!(Path::new(MODULE).exists(), "SoftHSM2 is not installed: {MODULE} is missing");
    if let Some(folder) = std::env::var_os(CHILD) {
        return tokio::runtime::Runtime::new().unwrap().block_on(body(folder.into()));
    }
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let config = folder.path().join("softhsm2.conf");
    std::fs::write(&config, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))
        .unwrap();
    let program = std::env::current_exe().unwrap();
    let output = place
        .command(folder.path(), program)
        .unwrap()
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("SOFTHSM2_CONF", config)
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{test}\n{text}");
}

/// `#[test]` functions that run their async body in a child process.
macro_rules! in_a_process {
    ($($name:ident),* $(,)?) => {
        crate::stage::in_a_process! { in Default::default(); $($name),* }
    };
    (in $place:expr; $($name:ident),* $(,)?) => {
        mod run {
            $(
                #[test]
                fn $name() {
                    let path = concat!(module_path!(), "::", stringify!($name));
                    // The harness knows tests by their path within the binary.
                    crate::stage::run(path.split_once("::").unwrap().1, $place, super::$name);
                }
            )*
        }
    };
}
pub(crate) use in_a_process;

pub(crate) struct SoftKey(pub(crate) SigningKey);

impl DigestSigner for SoftKey {
    fn public_key(&self) -> Point {
        public(&self.0).0
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        let signature: Signature = self.0.sign_prehash(&digest).map_err(SignerError::device)?;
        Ok(signature.to_bytes().into())
    }
}

pub(crate) fn soft_identity(label: &str) -> Identity {
    Identity::self_signed(Arc::new(SoftKey(key(label))), label).unwrap()
}

/// The ca's keys in this folder's token, which is made at the first call.
pub(crate) fn keys(folder: &Path) -> Keys {
    let pin = folder.join("pin");
    if !pin.exists() {
        std::fs::write(&pin, "7531-user").unwrap();
    }
    std::fs::set_permissions(&pin, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let pullable = folder.join("pullable.so");
    let module = if pullable.exists() { pullable } else { MODULE.into() };
    let config = HsmConfig::new(module, "ca", PinSource::File(pin));
    // At the second call it is there.
    let _ = Hsm::init_token(&config, &HsmPin::new("8642-officer".into()));
    Keys::ensure(&Hsm::open(config).unwrap()).unwrap()
}

pub(crate) async fn database(folder: &Path) -> AnyPool {
    let data = folder.join("data");
    let place = if data.exists() { data } else { folder.to_owned() };
    storage::open(&place.join("ca.db"), sqlx::migrate!("./migrations")).await.unwrap()
}

/// The parts of a ca that follows a kms, to be called one by one.
pub(crate) struct Ca {
    pub(crate) follower: Arc<Follower>,
    pub(crate) issuing: Issuing,
    pub(crate) cosigner: Cosigner,
    pub(crate) vault: Vault,
    pub(crate) client: Client,
    _appended: mpsc::Receiver<warifu_replica::Appended>,
}

impl Ca {
    /// A ca that was founded and has a lease.
    pub(crate) async fn ready(folder: &Path, kms: &Kms) -> Self {
        let ca = Self::following(folder, kms).await;
        ca.has_lease().await;
        ca
    }

    pub(crate) async fn following(folder: &Path, kms: &Kms) -> Self {
        let keys = Arc::new(keys(folder));
        let pool = founded(folder, kms).await;
        let (address, kms_tls) = (kms.address(), public_of("kms tls").0);
        let replica = Replica::open(pool.clone(), Some(kms.organization())).await.unwrap();
        let identity = Identity::self_signed(Arc::new(keys.own.tls.clone()), "ca").unwrap();
        let clock = Arc::new(ManualClock::default());
        let following = Following::new(Id([0; 16]), identity.clone(), &*address, kms_tls, clock);
        let (sender, appended) = mpsc::channel(1024);
        let follower = Arc::new(Follower::start(following, replica, sender).unwrap());
        let vault = Vault::new(pool, keys.kek.clone());
        let certifier = Certifier::new(keys.clone(), vault.clone(), &address, publishing());
        Self {
            issuing: Issuing::new(follower.clone(), keys.clone(), vault.clone(), certifier),
            cosigner: Cosigner::new(follower.clone(), keys, vault.clone()),
            follower,
            vault,
            client: Client::new(address, kms_tls, Some(&identity)).unwrap(),
            _appended: appended,
        }
    }

    /// Waits for a lease and for all that the kms has shown.
    pub(crate) async fn has_lease(&self) {
        let mut status = self.follower.status();
        let mut sizes = self.follower.replica().subscribe();
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.follower.fresh().is_none() {
                tokio::select! {
                    changed = status.changed() => changed.unwrap(),
                    changed = sizes.changed() => changed.unwrap(),
                }
            }
        });
        waited.await.expect("no lease came");
    }

    pub(crate) async fn folded(&self, size: u64) {
        let mut sizes = self.follower.replica().subscribe();
        let reached = sizes.wait_for(|&have| have >= size);
        tokio::time::timeout(PATIENCE, reached).await.expect("leaves did not come").unwrap();
    }

    pub(crate) async fn halted(&self) -> Halt {
        let mut status = self.follower.status();
        let halted = status.wait_for(|status| status.halted.is_some());
        let halted = tokio::time::timeout(PATIENCE, halted).await.expect("it did not halt").unwrap();
        halted.halted.clone().unwrap()
    }
}

/// Where this organization's CRLs are.
pub(crate) fn publishing() -> Publishing {
    Crls::default().publishing("kms.example:7443")
}

/// The database of a ca whose organization is pinned.
pub(crate) async fn founded(folder: &Path, kms: &Kms) -> AnyPool {
    let pool = database(folder).await;
    let pinned = Pin { organization: kms.organization(), kms_tls: public_of("kms tls").0 };
    assert_eq!(pin(&pool, pinned).await.unwrap(), pinned);
    pool
}

/// Runs the whole service until `done` resolves.
pub(crate) async fn serve_until(folder: &Path, kms: &Kms, done: impl Future<Output = ()>) {
    let pool = founded(folder, kms).await;
    let clock = Arc::new(ManualClock::default());
    let address = kms.address();
    let service =
        Service::start_with(&address, publishing(), None, keys(folder), pool.clone(), Some(folder), clock);
    let service = service.await.unwrap();
    tokio::time::timeout(PATIENCE, service.run(done)).await.expect("it did not come to pass").unwrap();
    pool.close().await;
}
