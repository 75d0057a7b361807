//! Where a contract runs: a backend, a folder, and a process of its own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use warifu_hardware::hsm::wrap::wrap_share;
use warifu_hardware::hsm::{Hsm, HsmConfig, Pin, PinSource, WrappedShare};
use warifu_split_key::keeper::SiteShare;
use warifu_split_key::point::Point;

const CHILD: &str = "WARIFU_HSM_CONTRACT_FOLDER";
pub(crate) const USER_PIN: &str = "7531-user";
pub(crate) const SO_PIN: &str = "8642-officer";

/// A PKCS#11 module that is to fulfil the contract.
pub(crate) trait Backend {
    fn name() -> &'static str;
    fn module() -> PathBuf;
    /// Prepares the folder and says what the module wants in its environment.
    fn environment(folder: &Path) -> Vec<(&'static str, OsString)>;
}

pub(crate) struct SoftHsm;

impl Backend for SoftHsm {
    fn name() -> &'static str {
        "SoftHSM2"
    }

    fn module() -> PathBuf {
        "/usr/lib/softhsm/libsofthsm2.so".into()
    }

    fn environment(folder: &Path) -> Vec<(&'static str, OsString)> {
        let tokens = folder.join("tokens");
        fs::create_dir(&tokens).unwrap();
        let file = folder.join("softhsm2.conf");
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
        fs::write(&file, text).unwrap();
        vec![("SOFTHSM2_CONF", file.into())]
    }
}

/// The folder of this test, and the tokens in it.
pub(crate) struct Stage {
    pub(crate) folder: PathBuf,
    pub(crate) module: PathBuf,
}

/// Runs `body` in a child process: this same test again, told so by its environment.
pub(crate) fn run<B: Backend>(test: &str, body: fn(&Stage)) {
    assert!(B::module().exists(), "{} is not installed: {} is missing", B::name(), B::module().display());
    if let Some(folder) = std::env::var_os(CHILD) {
        return body(&Stage { folder: folder.into(), module: B::module() });
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .envs(B::environment(folder.path()))
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{}: {test}\n{text}", B::name());
}

impl Stage {
    pub(crate) fn pin_file(&self, name: &str, pin: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, format!("{pin}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The configuration of a token that may not exist yet.
    pub(crate) fn config(&self, label: &str) -> HsmConfig {
        let pin = self.pin_file(&format!("{label}.pin"), USER_PIN);
        HsmConfig::new(&self.module, label, PinSource::File(pin))
    }

    pub(crate) fn init(&self, config: &HsmConfig) {
        Hsm::init_token(config, &Pin::new(SO_PIN.into())).unwrap();
    }

    /// A new token, open.
    pub(crate) fn hsm(&self, label: &str) -> Hsm {
        let config = self.config(label);
        self.init(&config);
        Hsm::open(config).unwrap()
    }

    /// The module as someone else in this process would use it.
    pub(crate) fn pkcs11(&self) -> Pkcs11 {
        Pkcs11::new(&self.module).unwrap()
    }

    /// A session beside those of the [`Hsm`], which must be open and logged in.
    pub(crate) fn session(&self, label: &str) -> Session {
        let context = self.pkcs11();
        let slot = context
            .get_slots_with_token()
            .unwrap()
            .into_iter()
            .find(|slot| context.get_token_info(*slot).unwrap().label() == label)
            .unwrap();
        context.open_rw_session(slot).unwrap()
    }

    /// Ends all sessions in this process, as a module does that lost its device.
    pub(crate) fn lose_sessions(&self) {
        self.pkcs11().finalize().unwrap();
        self.pkcs11().initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    }
}

pub(crate) fn user_login(session: &Session) {
    session.login(UserType::User, Some(&AuthPin::new(USER_PIN.into()))).unwrap();
}

pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// A share that is easy to recognize: the scalar `n`.
pub(crate) fn share(n: u8) -> SiteShare {
    let mut bytes = [0; 32];
    bytes[31] = n;
    bytes[7] = 0x5a;
    SiteShare::from_bytes(&bytes).unwrap()
}

pub(crate) fn wrap(key: &Point, share: &SiteShare) -> WrappedShare {
    wrap_share(&mut rng(), key, &share.to_pkcs8_der()).unwrap()
}

/// Any point, with a scalar that is known.
pub(crate) fn ephemeral(n: u8) -> (p256::SecretKey, Point) {
    let mut bytes = [0x11; 32];
    bytes[31] = n;
    let secret = p256::SecretKey::from_slice(&bytes).unwrap();
    (secret.clone(), point(&secret.public_key()))
}

pub(crate) fn point(key: &p256::PublicKey) -> Point {
    Point::from_sec1(&key.to_sec1_bytes()).unwrap()
}

/// `x(secret · point)` in software.
pub(crate) fn ecdh(secret: &p256::SecretKey, point: &Point) -> [u8; 32] {
    let peer = p256::PublicKey::from_sec1_bytes(&point.to_uncompressed()).unwrap();
    (*p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), peer.as_affine()).raw_secret_bytes()).into()
}
