//! A card as its tests hold it: in the hand, not in a reader.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::apdu::ins;
use crate::applet::{Applet, draw_secret};
use crate::attestation::{AttestationError, TestRoot};
use crate::service::Inserted;
use crate::state::{Key, Reference, State, Store, create_private};
use crate::tlv;

/// Why a virtual card could not be made, read or inserted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VirtualCardError {
    /// The card's file could not be read or written, or is not one.
    #[error("the card's file {path} cannot be used")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system or the parser said.
        #[source]
        source: io::Error,
    },
    /// The attestation certificate could not be made.
    #[error("the card's attestation key could not be certified")]
    Attestation(#[from] AttestationError),
    /// The operating system gave no randomness.
    #[error("no randomness for the card's keys")]
    Randomness,
    /// The card is in a reader already.
    #[error("the card is in a reader already")]
    AlreadyInserted,
    /// No virtual reader listens on the port.
    #[error("no virtual reader listens on port {port}")]
    NoReader {
        /// The TCP port on the loopback interface.
        port: u16,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// A card that vanishes in the middle of a command.
struct Fault {
    at: At,
    left: u32,
    /// The command takes effect, and its answer is lost.
    done: bool,
}

/// The commands that are counted for a [`Fault`].
#[derive(Clone, Copy)]
enum At {
    /// Those of one instruction byte.
    Instruction(u8),
    /// Those that change what the card remembers.
    Change,
}

impl At {
    fn is(self, apdu: &[u8]) -> bool {
        let (chained, instruction) = match apdu {
            [class, instruction, ..] => (class & 0x10 != 0, *instruction),
            _ => return false,
        };
        match self {
            Self::Instruction(wanted) => wanted == instruction,
            // A chained command takes effect with its last part.
            Self::Change => {
                let changes = [
                    ins::CHANGE_REFERENCE,
                    ins::RESET_RETRY,
                    ins::GENERATE,
                    ins::PUT_DATA,
                    ins::SET_RETRIES,
                    ins::RESET,
                    ins::IMPORT,
                    ins::SET_MANAGEMENT_KEY,
                ];
                !chained && changes.contains(&instruction)
            }
        }
    }
}

/// What the card and the reader it is in share.
pub(crate) struct Shared {
    applet: Mutex<Applet>,
    seen: [AtomicU64; 256],
    pins: AtomicU64,
    agreements: AtomicU64,
    signatures: AtomicU64,
    changes: AtomicU64,
    fault: Mutex<Option<Fault>>,
    garbled: Mutex<Option<(u8, Vec<u8>)>>,
    pub(crate) inserted: Mutex<bool>,
}

impl Shared {
    /// A poisoned lock is another test thread's panic, and says nothing about the card.
    fn applet(&self) -> MutexGuard<'_, Applet> {
        self.applet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reset(&self) {
        self.applet().reset();
    }

    /// The answer to an APDU, or `None` where the card has just been pulled out.
    pub(crate) fn answer(&self, apdu: &[u8]) -> Option<Vec<u8>> {
        let instruction = apdu.get(1).copied().unwrap_or_default();
        if let Some(count) = self.seen.get(usize::from(instruction)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // VERIFY without data only asks for the tries.
        if matches!(apdu.get(1..5), Some([0x20, 0, 0x80, 8])) {
            self.pins.fetch_add(1, Ordering::Relaxed);
        }
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lost = false;
        if let Some(armed) = fault.as_mut().filter(|armed| armed.at.is(apdu)) {
            armed.left = armed.left.saturating_sub(1);
            if armed.left == 0 {
                lost = armed.done;
                *fault = None;
                if !lost {
                    return None;
                }
            }
        }
        drop(fault);
        let (answer, outcome) = self.applet().answer(apdu);
        self.changes.fetch_add(u64::from(At::Change.is(apdu)), Ordering::Relaxed);
        if lost {
            return None;
        }
        self.agreements.fetch_add(u64::from(outcome.agreed), Ordering::Relaxed);
        self.signatures.fetch_add(u64::from(outcome.signed), Ordering::Relaxed);
        match self.garbled.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some((garbled, nonsense)) if *garbled == instruction => Some(nonsense.clone()),
            _ => Some(answer),
        }
    }
}

/// A virtual card. Its state survives removal and the end of the process; PIN and management state do not survive
/// removal, reset, or the selection of another application.
///
/// From the factory: PIN `123456`, PUK `12345678`, three tries each, management key `01…08` three times (3DES).
pub struct VirtualCard {
    shared: Arc<Shared>,
    path: PathBuf,
}

impl VirtualCard {
    /// Makes a new card in a new file, its attestation key certified by `root`.
    pub fn create(path: &Path, serial: u32, root: &TestRoot) -> Result<Self, VirtualCardError> {
        let secret = draw_secret().map_err(|_| VirtualCardError::Randomness)?;
        let certificate = root.certify(&secret)?;
        let mut state = State::factory(serial, false);
        let key =
            Key { scalar: secret.to_bytes().to_vec(), generated: false, pin_policy: 1, touch_policy: 1 };
        state.keys.insert("f9".to_owned(), key);
        let mut object = tlv::one(&[0x70], &certificate);
        tlv::put(&mut object, &[0x71], &[0]);
        tlv::put(&mut object, &[0xfe], &[]);
        state.objects.insert("5fff01".to_owned(), hex::encode(object));
        Self::create_from(path, &state)
    }

    /// Makes a card of some other kind, which answers `6A82` to every SELECT.
    pub fn create_foreign(path: &Path) -> Result<Self, VirtualCardError> {
        Self::create_from(path, &State::factory(0, true))
    }

    fn create_from(path: &Path, state: &State) -> Result<Self, VirtualCardError> {
        let file_error = |source| VirtualCardError::File { path: path.to_path_buf(), source };
        let json = serde_json::to_vec_pretty(state).map_err(|error| file_error(error.into()))?;
        create_private(path, &json).map_err(file_error)?;
        Self::open(path)
    }

    /// Takes an existing card in the hand.
    pub fn open(path: &Path) -> Result<Self, VirtualCardError> {
        let applet = Applet::load(Store::new(path))
            .map_err(|source| VirtualCardError::File { path: path.to_path_buf(), source })?;
        let shared = Shared {
            applet: Mutex::new(applet),
            seen: std::array::from_fn(|_| AtomicU64::new(0)),
            pins: AtomicU64::new(0),
            agreements: AtomicU64::new(0),
            signatures: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            fault: Mutex::new(None),
            garbled: Mutex::new(None),
            inserted: Mutex::new(false),
        };
        Ok(Self { shared: Arc::new(shared), path: path.to_path_buf() })
    }

    /// Puts the card into the virtual reader that listens on `port` of the loopback interface. pcscd notices within
    /// half a second. Waits where another card left that reader less than 0.8 seconds ago: no hand is faster, and
    /// pcscd would not see the swap. Where pcscd ends and starts again, the card is in the reader again.
    pub fn insert(&self, port: u16) -> Result<Inserted, VirtualCardError> {
        Inserted::start(Arc::clone(&self.shared), port)
    }

    /// The card's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The serial number that GET SERIAL answers.
    pub fn serial(&self) -> u32 {
        self.shared.applet().serial()
    }

    /// Gives the card another PIN, of 6 to 8 digits, as at a personalization desk. It must not be in a reader.
    pub fn set_pin(&mut self, pin: &str) -> Result<(), VirtualCardError> {
        let file_error = |source| VirtualCardError::File { path: self.path.clone(), source };
        let store = Store::new(&self.path);
        let mut state = store.load().map_err(file_error)?;
        state.pin = Reference::factory(pin.as_bytes());
        store.save(&state).map_err(file_error)?;
        *self = Self::open(&self.path)?;
        Ok(())
    }

    /// Leaves no tries for the PIN, as if it had been entered wrongly too often.
    pub fn block_pin(&self) -> Result<(), VirtualCardError> {
        self.shared
            .applet()
            .block_pin()
            .map_err(|source| VirtualCardError::File { path: self.path.clone(), source })
    }

    /// Pulls the card out of its reader when the `nth` command from now (1 is the next) with this instruction byte
    /// ([`crate::ins`]) has arrived, before it is answered or has any effect.
    pub fn pull_at(&self, instruction: u8, nth: u32) {
        self.arm(Fault { at: At::Instruction(instruction), left: nth.max(1), done: false });
    }

    /// The same at the `nth` command from now that changes what the card remembers; where `done`, it has taken effect, and its
    /// answer is lost.
    pub fn pull_at_change(&self, nth: u32, done: bool) {
        self.arm(Fault { at: At::Change, left: nth.max(1), done });
    }

    fn arm(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// Whether a fault that was armed has not come yet; it does not come any more.
    pub fn disarm(&self) -> bool {
        self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// How many commands have changed what the card remembers.
    pub fn changes(&self) -> u64 {
        self.shared.changes.load(Ordering::Relaxed)
    }

    /// From now on answers commands with this instruction byte ([`crate::ins`]) with `answer`, status word included,
    /// after doing what they ask for.
    pub fn answer_with(&self, instruction: u8, answer: &[u8]) {
        let garbled = Some((instruction, answer.to_vec()));
        *self.shared.garbled.lock().unwrap_or_else(PoisonError::into_inner) = garbled;
    }

    /// Ends [`VirtualCard::answer_with`].
    pub fn answer_truly(&self) {
        *self.shared.garbled.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Gives the card another management key: algorithm 3 for 3DES, 8, 10, 12 for AES-128, -192, -256, and the key in
    /// the length it wants.
    pub fn set_management_key(&self, algorithm: u8, key: &[u8]) -> Result<(), VirtualCardError> {
        self.shared
            .applet()
            .replace_management_key(algorithm, key)
            .map_err(|source| VirtualCardError::File { path: self.path.clone(), source })
    }

    /// How many commands with this instruction byte ([`crate::ins`]) have arrived, parts of chained ones included.
    pub fn seen(&self, instruction: u8) -> u64 {
        self.shared.seen.get(usize::from(instruction)).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// How many PINs were shown to the card by VERIFY, right or wrong.
    pub fn pins_shown(&self) -> u64 {
        self.shared.pins.load(Ordering::Relaxed)
    }

    /// How many ECDH results the card has given.
    pub fn agreements(&self) -> u64 {
        self.shared.agreements.load(Ordering::Relaxed)
    }

    /// How many signatures the card has given.
    pub fn signatures(&self) -> u64 {
        self.shared.signatures.load(Ordering::Relaxed)
    }
}
