//! What is said between this program and the process of a module: frames of JSON, each behind its length.
//!
//! The module's process has a vendor's code in it, so what it answers is read like anything from outside: bounded, and
//! into types that hold no more than they may.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use super::super::secret::LastTry;
use super::super::{AgreementKey, KeyRole, Pin, PinEntry, ShareSlot};
use super::layout::Place;

/// The largest frame: twenty certificates in hexadecimal, with room to spare.
const LONGEST: u32 = 512 * 1024;

/// Reads a frame: its length in 4 bytes, big-endian, then that many. `None` where the other side has closed.
pub(super) fn read_frame(from: &mut impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        done => done?,
    }
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    let mut frame = Zeroizing::new(vec![0; usize::try_from(length).unwrap_or_default()]);
    from.read_exact(&mut frame)?;
    Ok(Some(frame))
}

/// Writes a frame, and sends it on.
pub(super) fn write_frame(to: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long"))?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(frame)?;
    to.flush()
}

/// What is asked for. Nothing of it is ever on a command line or in the environment.
#[derive(Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Request {
    /// Load the module; the first request of all.
    Load { module: PathBuf },
    /// The tokens that are there.
    Tokens {},
    /// Choose the token in the slot of this description, if it has this label.
    Open { reader: String, label: Option<String> },
    /// Whether it is there.
    Present {},
    /// Tries left for the PIN.
    Tries {},
    /// Log in.
    Verify { entry: Entry },
    /// Replace the PIN.
    ChangePin { old: Entry, new: Zeroizing<String> },
    /// A public key.
    PublicKey { role: Role },
    /// ECDSA over a digest.
    Sign { role: Role, digest: [u8; 32], entry: Option<Entry> },
    /// ECDH.
    Agree {
        key: Key,
        #[serde(with = "point")]
        point: Point,
    },
    /// The certificate beside a role's key.
    Certificate { role: Role },
    /// All shares.
    Shares {},
    /// Make a key.
    Generate { role: Role },
    /// Store a certificate beside a role's key.
    WriteCertificate {
        role: Role,
        #[serde(with = "hex::serde")]
        certificate: Vec<u8>,
    },
    /// Unwrap a share, check that it is that of `expected`, and store its certificate.
    UnwrapShare {
        slot: u8,
        #[serde(with = "hex::serde")]
        wrapped: Vec<u8>,
        #[serde(with = "point")]
        expected: Point,
        #[serde(with = "hex::serde")]
        certificate: Vec<u8>,
    },
    /// Destroy a share.
    DeleteShare { slot: u8 },
}

/// A PIN with what may be risked for it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) pin: Zeroizing<String>,
    pub(super) spend_last_try: bool,
}

impl Entry {
    pub(super) fn new(entry: PinEntry<'_>) -> Self {
        Self { pin: digits(entry.pin), spend_last_try: entry.last_try == LastTry::Spend }
    }
}

/// A PIN's digits.
pub(super) fn digits(pin: &Pin) -> Zeroizing<String> {
    // With its whole capacity from the start, so that no copy is left behind.
    let mut digits = Zeroizing::new(String::with_capacity(8));
    digits.extend(pin.expose().iter().map(|digit| char::from(*digit)));
    digits
}

/// [`KeyRole`] on the wire.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Role {
    Authentication,
    Signature,
    Transport,
}

impl From<KeyRole> for Role {
    fn from(role: KeyRole) -> Self {
        match role {
            KeyRole::Authentication => Self::Authentication,
            KeyRole::Signature => Self::Signature,
            KeyRole::Transport => Self::Transport,
        }
    }
}

impl From<Role> for KeyRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Authentication => Self::Authentication,
            Role::Signature => Self::Signature,
            Role::Transport => Self::Transport,
        }
    }
}

/// [`AgreementKey`] on the wire.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Key {
    Transport,
    Share(u8),
}

impl From<AgreementKey> for Key {
    fn from(key: AgreementKey) -> Self {
        match key {
            AgreementKey::Transport => Self::Transport,
            AgreementKey::Share(slot) => Self::Share(slot.index()),
        }
    }
}

impl Key {
    pub(super) fn place(self) -> Option<Place> {
        match self {
            Self::Transport => Some(Place::Role(KeyRole::Transport)),
            Self::Share(slot) => ShareSlot::new(slot).map(Place::Share),
        }
    }
}

/// What is answered.
#[derive(Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Answer {
    Done {},
    Tokens {
        tokens: Vec<TokenInSlot>,
    },
    Opened {
        serial: String,
        model: String,
        firmware: String,
        /// Whether cards can be issued.
        issues: bool,
    },
    Present {
        present: bool,
    },
    Tries {
        left: u8,
    },
    Point {
        #[serde(with = "point")]
        point: Point,
    },
    Signature {
        #[serde(with = "hex::serde")]
        signature: [u8; 64],
    },
    Agreed {
        x: Zeroizing<[u8; 32]>,
    },
    Certificate {
        certificate: Option<Der>,
    },
    Shares {
        shares: Vec<ShareInSlot>,
    },
    Fault {
        fault: Fault,
    },
}

/// A token, as its module shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenInSlot {
    /// `CK_SLOT_INFO.slotDescription`: for readers on PC/SC, usually the reader's name.
    pub(super) reader: String,
    /// `CK_TOKEN_INFO.label`.
    pub(super) label: String,
    /// `CK_TOKEN_INFO.serialNumber`.
    pub(super) serial: String,
}

/// A certificate in DER.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Der(#[serde(with = "hex::serde")] pub(super) Vec<u8>);

/// A share by its certificate.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShareInSlot {
    pub(super) slot: u8,
    pub(super) certificate: Der,
}

/// Why it was not done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Fault {
    ModuleUnusable {},
    NoReader {},
    NoCard {},
    ForeignCard {},
    Removed {},
    PinNeeded {},
    PinWrong { tries_left: u8 },
    PinBlocked {},
    LastTry {},
    KeyMissing {},
    NotP256 {},
    InvalidPoint {},
    CertificateMismatch {},
    SlotTaken {},
    ShareRefused {},
    MemoryFull {},
    IssuingUnsupported {},
    Malformed {},
    Refused { function: String, code: String },
}

/// Writes a message into memory that is wiped, and never grows: no copy of a PIN is left behind.
pub(super) fn to_frame(message: &impl Serialize) -> io::Result<Zeroizing<Vec<u8>>> {
    struct Bounded(Zeroizing<Vec<u8>>);
    impl Write for Bounded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() + bytes.len() > self.0.capacity() {
                // Only certificates are long, and nothing secret is beside them.
                let room = self.0.len() + bytes.len() + 4096;
                let mut larger = Zeroizing::new(Vec::with_capacity(room));
                larger.extend_from_slice(&self.0);
                self.0 = larger;
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut frame = Bounded(Zeroizing::new(Vec::with_capacity(4096)));
    serde_json::to_writer(&mut frame, message)?;
    Ok(frame.0)
}

/// Reads an answer.
pub(super) fn read_answer(frame: &[u8]) -> Option<Answer> {
    serde_json::from_slice(frame).ok()
}

/// Reads a request.
pub(super) fn read_request(frame: &[u8]) -> Option<Request> {
    serde_json::from_slice(frame).ok()
}

/// A point as SEC1, compressed, in hexadecimal; off the curve it is none.
mod point {
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};
    use warifu_split_key::point::Point;

    pub(super) fn serialize<S: Serializer>(point: &Point, to: S) -> Result<S::Ok, S::Error> {
        hex::serde::serialize(point.to_compressed(), to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Point, D::Error> {
        let bytes: [u8; 33] = hex::serde::deserialize(from)?;
        Point::from_sec1(&bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_is_too_long_or_cut_off_is_none() {
        let mut too_long: &[u8] = &[0xff; 8];
        assert!(read_frame(&mut too_long).is_err());
        let mut cut_off: &[u8] = &[0, 0, 0, 5, b'{'];
        assert!(read_frame(&mut cut_off).is_err());
        let mut ended: &[u8] = &[];
        assert!(read_frame(&mut ended).unwrap().is_none());
        assert!(write_frame(&mut Vec::new(), &vec![0; LONGEST as usize + 1]).is_err());
    }

    #[test]
    fn answers_hold_no_more_than_they_may() {
        for bad in [
            r#"{"answer":"done","more":1}"#,
            r#"{"answer":"signature","signature":"00"}"#,
            r#"{"answer":"agreed","x":[1,2]}"#,
            r#"{"answer":"tries","left":256}"#,
            r#"{"answer":"point","point":"020000000000000000000000000000000000000000000000000000000000000001"}"#,
            r#"{"answer":"unheard-of"}"#,
            r#"{"answer":"done"}{"answer":"done"}"#,
        ] {
            assert!(read_answer(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(matches!(read_answer(br#"{"answer":"done"}"#), Some(Answer::Done {})));
    }
}
