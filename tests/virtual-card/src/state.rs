//! What a card remembers without power, and the file it is kept in.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// PIN and PUK of a card from the factory.
pub(crate) const FACTORY_PIN: &[u8] = b"123456";
pub(crate) const FACTORY_PUK: &[u8] = b"12345678";
/// The management key of a card from the factory, 3DES (SP 800-78-4) before firmware 5.7.
pub(crate) const FACTORY_MANAGEMENT_KEY: [u8; 24] =
    [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];
pub(crate) const FACTORY_TRIES: u8 = 3;

/// PIN or PUK, padded with `ff` to 8 bytes as on the wire, and its counter.
#[derive(Serialize, Deserialize)]
pub(crate) struct Reference {
    #[serde(with = "hex")]
    pub(crate) value: [u8; 8],
    pub(crate) left: u8,
    pub(crate) most: u8,
}

impl Reference {
    pub(crate) fn factory(value: &[u8]) -> Self {
        let mut padded = [0xff; 8];
        padded.iter_mut().zip(value).for_each(|(slot, byte)| *slot = *byte);
        Self { value: padded, left: FACTORY_TRIES, most: FACTORY_TRIES }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ManagementKey {
    /// 3 for 3DES, 8, 10, 12 for AES-128, -192, -256.
    pub(crate) algorithm: u8,
    #[serde(with = "hex")]
    pub(crate) key: Vec<u8>,
    pub(crate) touch: bool,
}

/// A private key. This is test equipment: it lies in a file in the clear.
#[derive(Serialize, Deserialize)]
pub(crate) struct Key {
    #[serde(with = "hex")]
    pub(crate) scalar: Vec<u8>,
    pub(crate) generated: bool,
    /// 1 never, 2 once, 3 always.
    pub(crate) pin_policy: u8,
    /// 1 never, 2 always, 3 cached. Recorded and attested; nobody has to touch anything.
    pub(crate) touch_policy: u8,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) serial: u32,
    /// A card of some other kind: it has no PIV application.
    pub(crate) foreign: bool,
    pub(crate) pin: Reference,
    pub(crate) puk: Reference,
    pub(crate) management: ManagementKey,
    /// By slot, in hexadecimal.
    pub(crate) keys: BTreeMap<String, Key>,
    /// By tag, in hexadecimal; the values without the enclosing `53`.
    pub(crate) objects: BTreeMap<String, String>,
}

impl State {
    pub(crate) fn factory(serial: u32, foreign: bool) -> Self {
        Self {
            serial,
            foreign,
            pin: Reference::factory(FACTORY_PIN),
            puk: Reference::factory(FACTORY_PUK),
            management: ManagementKey { algorithm: 3, key: FACTORY_MANAGEMENT_KEY.to_vec(), touch: false },
            keys: BTreeMap::new(),
            objects: BTreeMap::new(),
        }
    }

    pub(crate) fn key(&self, slot: u8) -> Option<&Key> {
        self.keys.get(&hex::encode([slot]))
    }

    pub(crate) fn object(&self, tag: &[u8]) -> Option<Vec<u8>> {
        hex::decode(self.objects.get(&hex::encode(tag))?).ok()
    }
}

/// Where a card's state lies: one JSON file, mode 0600, replaced atomically at every change.
pub(crate) struct Store {
    path: PathBuf,
}

impl Store {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    pub(crate) fn load(&self) -> io::Result<State> {
        serde_json::from_slice(&fs::read(&self.path)?).map_err(io::Error::from)
    }

    /// No `fsync`: the state must outlive the process that plays the card, not a power cut.
    pub(crate) fn save(&self, state: &State) -> io::Result<()> {
        write_private(&self.path, &serde_json::to_vec_pretty(state).map_err(io::Error::from)?)
    }
}

/// Writes a file, mode 0600, whole or not at all.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(contents)?;
    file.persist(path)?;
    Ok(())
}

/// Writes a file, mode 0600, unless it is there already.
pub(crate) fn create_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(contents)?;
    file.persist_noclobber(path)?;
    Ok(())
}

/// Writes a file that everybody may read.
pub(crate) fn write_public(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.write_all(contents)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}
