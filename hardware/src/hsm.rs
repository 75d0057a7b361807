//! The HSM of a service, over PKCS#11 (2.40 and later), with SoftHSM2 as embedded default.
//!
//! Every service has a token of its own. Its keys are made inside, are sensitive and non-extractable, and are known by
//! their labels. Three kinds of work are done here:
//!
//! - **service keys** — [`Hsm::ensure_signing_key`] (certificates, TLS, statements), [`Hsm::ensure_ed25519_key`]
//!   (checkpoints), [`Hsm::ensure_agreement_key`] (transport);
//! - **secrets at rest** — [`Hsm::ensure_kek`], under which an authority seals its halves;
//! - **site shares** — one key pair for each grant, to which the key management service wraps the share
//!   ([`wrap::wrap_share`]), [`Hsm::partial`], and [`Hsm::grant_key_destroy`], which is what revocation *is*; and marks, for what
//!   is over without a key that could be destroyed.
//!
//! Only x-coordinates leave by `CKM_ECDH1_DERIVE` with `CKD_NULL`, the one derivation that every module offers.
//!
//! # Threads
//!
//! [`Hsm`] is a handle that is cheap to clone; all handles of one process to one token share a small pool of sessions.
//! Calls block for the time of the operation: milliseconds on SoftHSM, more on a network HSM.
//!
//! # One process for each token
//!
//! Session objects belong to the process that made them, so a site's token must be served by one process: destruction
//! of a grant's key reaches every session of this process, and no other process.

mod error;
pub(crate) mod grant;
mod kek;
pub(crate) mod keys;
mod link;
mod lru;
mod mark;
pub(crate) mod module;
mod token;
pub mod wrap;
mod x509;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::MechanismType;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

pub use error::HsmError;
pub use kek::Kek;
pub use keys::{AgreementKey, Ed25519Key, SigningKey};
pub use token::Token;
pub use wrap::WrappedShare;

use link::Link;

/// Where the module is, which token is meant, and how much of it to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmConfig {
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The token's label, 1 to 32 bytes of UTF-8.
    pub token_label: String,
    /// Where the user's PIN comes from.
    pub pin_source: PinSource,
    /// How many sessions to open, at least one. Each runs one operation at a time.
    pub sessions: usize,
    /// How many unwrapped shares each session keeps as session objects; 0 unwraps for every partial.
    pub shares_per_session: usize,
    /// How many object handles are remembered: finding an object takes time linear in their number.
    pub handles: usize,
    /// How many grant keys the token may hold, where it does not know its own limit; `None` for no limit but its own.
    pub max_grant_keys: Option<usize>,
}

impl HsmConfig {
    /// Two sessions, 512 unwrapped shares in each, 16,384 handles, and the token's own limit of grant keys.
    pub fn new(module: impl Into<PathBuf>, token_label: impl Into<String>, pin_source: PinSource) -> Self {
        Self {
            module: module.into(),
            token_label: token_label.into(),
            pin_source,
            sessions: 2,
            shares_per_session: 512,
            handles: 16_384,
            max_grant_keys: None,
        }
    }
}

/// Where a PIN comes from. It is read when it is needed and not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinSource {
    /// A UTF-8 file holding the PIN; a line break at the end is not part of it. On Unix it is refused if others than
    /// owner and group may use it.
    File(PathBuf),
}

impl PinSource {
    fn read(&self) -> Result<Pin, HsmError> {
        let Self::File(path) = self;
        let unreadable = |source| HsmError::PinUnreadable { path: path.clone(), source };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
            if mode & 0o007 != 0 {
                return Err(HsmError::PinExposed { path: path.clone(), mode });
            }
        }
        std::fs::read_to_string(path).map(Pin::new).map_err(unreadable)
    }
}

/// A PIN, overwritten when dropped.
pub struct Pin(Zeroizing<String>);

impl Pin {
    /// Takes the PIN, without a line break that may end it.
    pub fn new(pin: String) -> Self {
        let mut pin = Zeroizing::new(pin);
        let length = pin.trim_end_matches(['\r', '\n']).len();
        pin.truncate(length);
        Self(pin)
    }

    fn to_auth_pin(&self) -> AuthPin {
        AuthPin::new(self.0.as_str().into())
    }
}

/// What a token is and offers, as [`Hsm::probe`] found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mechanisms {
    /// The token's manufacturer.
    pub manufacturer: String,
    /// The token's model.
    pub model: String,
    /// The PKCS#11 names of the mechanisms we need, all of which are there.
    pub present: Vec<&'static str>,
    /// Bytes left for private objects, where the token tells.
    pub free_private_memory: Option<usize>,
    /// Grant keys in the token.
    pub grant_keys: usize,
    /// How many of those the configuration allows.
    pub max_grant_keys: Option<usize>,
}

const REQUIRED: [(MechanismType, &str); 8] = [
    (MechanismType::ECC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN"),
    (MechanismType::ECDSA, "CKM_ECDSA"),
    (MechanismType::ECDH1_DERIVE, "CKM_ECDH1_DERIVE"),
    (MechanismType::ECC_EDWARDS_KEY_PAIR_GEN, "CKM_EC_EDWARDS_KEY_PAIR_GEN"),
    (MechanismType::EDDSA, "CKM_EDDSA"),
    (MechanismType::AES_KEY_GEN, "CKM_AES_KEY_GEN"),
    (MechanismType::AES_GCM, "CKM_AES_GCM"),
    (MechanismType::AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD"),
];

/// A number of locks that grants share by the hash of their labels; two grants on one lock wait for each other at
/// worst.
const STRIPES: usize = 64;

struct Inner {
    config: HsmConfig,
    context: Pkcs11,
    /// The open sessions, or `None` until the first use and after they were lost. Operations hold it for reading, so
    /// that no session is opened anew while an operation on lost ones is still under way: a module may give out the
    /// same handle numbers again.
    link: RwLock<Option<Link>>,
    links_made: AtomicU64,
    /// Operations that have failed.
    failures: AtomicU64,
    /// The token has refused our PIN; it is not shown again.
    pin_refused: AtomicBool,
    /// Held while a service key is looked up or made.
    making: Mutex<()>,
    /// Reading: an operation with that grant's key. Writing: making or destroying it.
    grants: [RwLock<()>; STRIPES],
}

/// A token over PKCS#11.
#[derive(Clone)]
pub(crate) struct Pkcs11Token(Arc<Inner>);

/// A service's token. See the [module's documentation](self); what it does is in [`Token`].
#[derive(Clone)]
pub struct Hsm(Arc<dyn Token>);

impl std::ops::Deref for Hsm {
    type Target = dyn Token;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl std::fmt::Debug for Hsm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hsm").field("token_label", &self.token_label()).finish_non_exhaustive()
    }
}

/// The tokens this process has open. Destroying a grant's key must reach every session of the process, so a token is
/// never opened twice.
static OPEN: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

impl Hsm {
    /// Opens the token, logs in and opens the sessions; or gives another handle to it where this process has it open.
    ///
    /// # Errors
    ///
    /// [`HsmError::ModuleUnusable`], [`HsmError::TokenMissing`], [`HsmError::PinWrong`] (after one try),
    /// [`HsmError::PinUnusable`], [`HsmError::PinUnreadable`], [`HsmError::PinExposed`], and
    /// [`HsmError::AlreadyOpen`] where this process has the token open with another configuration.
    pub fn open(config: HsmConfig) -> Result<Self, HsmError> {
        let context = module::context(&config.module)?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|inner| inner.strong_count() > 0);
        let same_token = |inner: &Arc<Inner>| {
            inner.config.module == config.module && inner.config.token_label == config.token_label
        };
        if let Some(inner) = open.iter().filter_map(Weak::upgrade).find(same_token) {
            if inner.config != config {
                return Err(HsmError::AlreadyOpen { label: config.token_label });
            }
            return Ok(Self(Arc::new(Pkcs11Token(inner))));
        }
        let token = Pkcs11Token(Arc::new(Inner {
            config,
            context,
            link: RwLock::new(None),
            links_made: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            pin_refused: AtomicBool::new(false),
            making: Mutex::new(()),
            grants: [const { RwLock::new(()) }; STRIPES],
        }));
        token.with_link(|_| Ok(()))?;
        open.push(Arc::downgrade(&token.0));
        Ok(Self(Arc::new(token)))
    }

    /// Makes the token of `config` in a free slot: its label, the security officer's PIN, and the user's PIN, which is
    /// read from its source. A service's `init` command calls this once.
    ///
    /// # Errors
    ///
    /// [`HsmError::TokenExists`] where a token has that label: it is not touched. [`HsmError::NoFreeSlot`] where the
    /// module has no uninitialized token. An initialization that was interrupted between its two steps is completed.
    pub fn init_token(config: &HsmConfig, so_pin: &Pin) -> Result<(), HsmError> {
        module::init_token(config, so_pin)
    }

    /// A token that is not reached over PKCS#11: a simulator's, which lives in its own memory.
    pub fn of(token: Arc<dyn Token>) -> Self {
        Self(token)
    }
}

impl Pkcs11Token {
    fn probe(&self) -> Result<Mechanisms, HsmError> {
        self.with_link(|link| {
            let offered = self.0.context.get_mechanism_list(link.slot())?;
            for (mechanism, name) in REQUIRED {
                if !offered.contains(&mechanism) {
                    return Err(HsmError::MechanismMissing { name });
                }
            }
            let info = self.0.context.get_token_info(link.slot())?;
            Ok(Mechanisms {
                manufacturer: info.manufacturer_id().to_owned(),
                model: info.model().to_owned(),
                present: REQUIRED.iter().map(|(_, name)| *name).collect(),
                free_private_memory: info.free_private_memory(),
                grant_keys: link.grant_keys(),
                max_grant_keys: self.0.config.max_grant_keys,
            })
        })
    }

    fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    fn token_label(&self) -> &str {
        &self.0.config.token_label
    }
}
