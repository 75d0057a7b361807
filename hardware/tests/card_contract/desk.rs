//! A desk with readers, a card and what goes with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use p256::elliptic_curve::sec1::FromSec1Point;
use p256::pkcs8::EncodePublicKey;
use rcgen::{CertificateParams, Issuer, KeyPair, SubjectPublicKeyInfo};
use warifu_broken_parts::PullableHsm;
use warifu_hardware::card::pkcs11::{ModuleConfig, ModuleEvent, ModuleWatcher};
use warifu_hardware::card::{
    Card, CardError, Custody, KeyRole, ManagementKey, ModuleCard, Pin, PinEntry, PivCard, ShareSlot,
};
use warifu_hardware::hsm::wrap::wrap_share;
use warifu_split_key::issuer::CardShare;
use warifu_split_key::point::Point;
use warifu_virtual_card::readers::Readers;
use warifu_virtual_card::{Inserted, TestRoot, VirtualCard};

const DEADLINE: Duration = Duration::from_secs(10);
/// How long a module may take for one request in these tests. On a machine with much else to do they take a second.
pub(crate) const LIMIT: Duration = Duration::from_secs(3);
pub(crate) const SOFTHSM_PIN: &str = "123456";

/// What is behind the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The virtual PIV card, over PC/SC.
    Piv,
    /// The same behind OpenSC.
    OpenSc,
    /// The same behind Yubico's module.
    Ykcs11,
    /// A token of SoftHSM, which stands for a vendor's.
    SoftHsm,
}

impl Backend {
    fn library(names: &[&str]) -> PathBuf {
        let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
        let mut paths =
            folders.iter().flat_map(|folder| names.iter().map(move |name| Path::new(folder).join(name)));
        paths.find(|path| path.exists()).unwrap_or_else(|| panic!("{names:?} is not installed"))
    }
}

/// The place on this desk where a token lies.
pub(crate) struct Desk {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) root: TestRoot,
    pub(crate) card: VirtualCard,
    pub(crate) inserted: Option<Inserted>,
    pub(crate) readers: Readers,
    pub(crate) backend: Backend,
    pub(crate) vendor: Option<Vendor>,
}

/// A vendor's module with one token.
pub(crate) struct Vendor {
    pub(crate) module: PullableHsm,
    pub(crate) config: ModuleConfig,
    pub(crate) reader: String,
}

impl Vendor {
    fn new(folder: &Path) -> Self {
        let module = PullableHsm::build(folder).unwrap();
        let tokens = folder.join("tokens");
        fs::create_dir(&tokens).unwrap();
        let file = folder.join("softhsm2.conf");
        fs::write(&file, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))
            .unwrap();
        let made = Command::new("softhsm2-util")
            .args([
                "--init-token",
                "--free",
                "--label",
                "hanako",
                "--so-pin",
                "87654321",
                "--pin",
                SOFTHSM_PIN,
            ])
            .env("SOFTHSM2_CONF", &file)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        // The module's own settings are not the agent's business.
        let program = folder.join("card-module");
        let text = format!(
            "#!/bin/sh\nSOFTHSM2_CONF='{}' exec '{}'\n",
            file.display(),
            env!("CARGO_BIN_EXE_warifu-card-module")
        );
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let config = ModuleConfig { limit: LIMIT, ..ModuleConfig::new(program, module.module()) };
        let reader = first_token(&config);
        Self { module, config, reader }
    }
}

/// The slot of the first token that is there, or comes.
pub(crate) fn first_token(config: &ModuleConfig) -> String {
    let (events, inbox) = channel();
    let _watcher = ModuleWatcher::start(config.clone(), move |event| drop(events.send(event)));
    loop {
        if let ModuleEvent::TokenInserted { reader } = inbox.recv_timeout(DEADLINE).unwrap() {
            return reader;
        }
    }
}

impl Desk {
    /// With a factory-new card in the first reader, or a new token.
    pub(crate) fn new(readers: Readers, backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = TestRoot::open(folder.path()).unwrap();
        let card = VirtualCard::create(&folder.path().join("card.json"), 1_234_567, &root).unwrap();
        let vendor = (backend == Backend::SoftHsm).then(|| Vendor::new(folder.path()));
        let mut desk = Self { folder, root, card, inserted: None, readers, backend, vendor };
        if desk.vendor.is_none() {
            desk.insert();
        }
        desk
    }

    pub(crate) fn module(&self) -> ModuleConfig {
        let of = |library: PathBuf| ModuleConfig {
            limit: LIMIT,
            ..ModuleConfig::new(env!("CARGO_BIN_EXE_warifu-card-module"), library)
        };
        match self.backend {
            Backend::Piv => panic!("no module is between"),
            Backend::OpenSc => of(Backend::library(&["opensc-pkcs11.so"])),
            Backend::Ykcs11 => of(Backend::library(&["libykcs11.so", "libykcs11.so.2"])),
            Backend::SoftHsm => self.vendor.as_ref().unwrap().config.clone(),
        }
    }

    /// One attempt to open what is in a reader.
    pub(crate) fn try_open(&self, reader: &str) -> Result<Box<dyn Card>, CardError> {
        match self.backend {
            Backend::Piv => PivCard::open(reader).map(|card| Box::new(card) as Box<dyn Card>),
            _ => ModuleCard::open(&self.module(), reader).map(|card| Box::new(card) as Box<dyn Card>),
        }
    }

    /// Opens the card in a reader, as soon as it is seen there.
    pub(crate) fn open_in(&self, reader: usize) -> Box<dyn Card> {
        let name = match &self.vendor {
            Some(vendor) => vendor.reader.clone(),
            None => self.readers.name(reader),
        };
        self.open_patiently(&name, &mut 0)
    }

    /// As [`open_in`](Self::open_in), as the agent does it: modules hang at a card that is just coming in as well (ykcs11 in about one of
    /// thirty insertions, waiting for the reader service for ever), and are tried again in a new process. Counts how often.
    pub(crate) fn open_patiently(&self, name: &str, hung: &mut u32) -> Box<dyn Card> {
        for _ in 0..3 {
            let opened = until(|| match self.try_open(name) {
                Err(CardError::NoCard) => None,
                Err(CardError::Removed) if self.backend != Backend::Piv => None,
                other => Some(other),
            });
            match opened {
                Err(CardError::ModuleHung { .. }) => *hung += 1,
                other => return other.unwrap(),
            }
        }
        panic!("the card was not opened in three attempts");
    }

    pub(crate) fn open(&self) -> Box<dyn Card> {
        self.open_in(0)
    }

    /// Opens the card for issuing: with its management key, or its PIN where that is all it takes. A PIV card behind
    /// middleware is issued without it.
    pub(crate) fn open_managed(&self) -> Box<dyn Card> {
        if self.backend == Backend::SoftHsm {
            let mut card = self.open();
            verify(&mut *card, SOFTHSM_PIN).unwrap();
            return card;
        }
        self.open_managed_in(0)
    }

    /// A PIV card, with its management key.
    pub(crate) fn open_managed_in(&self, reader: usize) -> Box<dyn Card> {
        let name = self.readers.name(reader);
        let mut card = until(|| match PivCard::open(&name) {
            Err(CardError::NoCard) => None,
            other => Some(other.unwrap()),
        });
        card.authenticate_management(&ManagementKey::factory()).unwrap();
        Box::new(card)
    }

    /// Makes the keys of some roles, and opens the card for use; no PIN has been entered.
    pub(crate) fn with_keys<const N: usize>(&self, roles: [KeyRole; N]) -> (Box<dyn Card>, [Point; N]) {
        let mut card = self.open_managed();
        let points = roles.map(|role| {
            let point = card.generate(role).unwrap();
            if matches!(self.backend, Backend::OpenSc | Backend::Ykcs11) {
                // Middleware shows a key only with a certificate.
                card.write_certificate(role, &certificate_for(&point)).unwrap();
            }
            point
        });
        drop(card);
        (self.open(), points)
    }

    pub(crate) fn remove(&mut self) {
        match &self.vendor {
            Some(vendor) => vendor.module.pull().unwrap(),
            None => self.inserted.take().unwrap().remove(),
        }
    }

    pub(crate) fn insert(&mut self) {
        match &self.vendor {
            Some(vendor) => vendor.module.put_back().unwrap(),
            None => self.inserted = Some(self.card.insert(self.readers.port(0)).unwrap()),
        }
    }

    /// How often a PIN was shown to the card so far.
    pub(crate) fn pins_shown(&self) -> u64 {
        match &self.vendor {
            Some(vendor) => vendor.module.logins(),
            None => self.card.pins_shown(),
        }
    }
}

/// Brings a share onto a card in the way that it takes them.
pub(crate) fn put_share(
    card: &mut dyn Card,
    slot: ShareSlot,
    share: &CardShare,
    certificate: &[u8],
) -> Result<(), CardError> {
    match card.custody() {
        Custody::HostMemory => card.import_share(slot, share, certificate),
        Custody::TokenUnwrap => {
            let transport = card.public_key(KeyRole::Transport)?;
            let wrapped = wrap_share(&mut rng(), &transport, &share.to_pkcs8_der()).unwrap();
            card.unwrap_share(slot, &wrapped, certificate)
        }
    }
}

pub(crate) fn rng() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// Polls until there is a result.
pub(crate) fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn pin(digits: &str) -> Pin {
    Pin::new(digits.as_bytes()).unwrap()
}

pub(crate) fn verify(card: &mut dyn Card, digits: &str) -> Result<(), CardError> {
    card.verify_pin(PinEntry::new(&pin(digits)))
}

pub(crate) fn draw_share() -> CardShare {
    CardShare::draw(&mut rng())
}

/// Some authority's certificate for a point, DER.
pub(crate) fn certificate_for(point: &Point) -> Vec<u8> {
    let key = p256::PublicKey::from_sec1_bytes(&point.to_uncompressed()).unwrap();
    let spki = SubjectPublicKeyInfo::from_der(key.to_public_key_der().unwrap().as_bytes()).unwrap();
    let issuer = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    CertificateParams::default().signed_by(&spki, &issuer).unwrap().der().to_vec()
}

/// A scalar and its point, in software.
pub(crate) fn software_key() -> (p256::SecretKey, Point) {
    let share = draw_share();
    (p256::SecretKey::from_slice(&*share.expose_bytes()).unwrap(), share.public())
}

/// The x-coordinate of the ECDH in software.
pub(crate) fn software_ecdh(secret: &p256::SecretKey, point: &Point) -> Vec<u8> {
    let point = p256::Sec1Point::from_bytes(point.to_uncompressed()).unwrap();
    let point = p256::PublicKey::from_sec1_point(&point).unwrap();
    p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), point.as_affine()).raw_secret_bytes().to_vec()
}
