//! Cards behind any vendor's PKCS#11 module (2.40 and later).
//!
//! The module is loaded in a process of its own, `warifu-card-module`, because modules hang: OpenSC did in 5 of 8 tries when a
//! card was pulled during an operation. Every request has a time limit; a process that misses it is killed, and its card
//! counts as removed, to be opened again. What the process answers is not trusted beyond what a card's answers are.
//!
//! Two kinds of token are known by the module's maker (`C_GetInfo`). A *PIV card* behind OpenSC or ykcs11 is used as it
//! is: its keys are found by the ids that this middleware gives to PIV slots. Any other token is *ours*: keys by our labels,
//! made on it, and shares unwrapped inside it (P-6.3b).
//!
//! A PKCS#11 token does not count its tries; it says that they have become fewer, that one is left, or none. That is shown as
//! 3, 2, 1 and 0.

mod layout;
mod process;
mod served;
mod token;
mod watch;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use p256::ecdsa::Signature;
use rand_core::CryptoRng;
use warifu_split_key::issuer::CardShare;
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;

use super::piv::public_key_of;
use super::{
    AgreementKey, Card, CardError, Custody, Identity, KeyRole, Management, ManagementKey, Pin, PinEntry,
    Secrets, ShareSlot, StoredShare,
};
use crate::hsm::WrappedShare;
pub use process::{Interrupt, Late, Line, Process, beside_this_program};
pub use served::serve;
pub use watch::{ModuleEvent, ModuleWatcher};
use wire::{Answer, Entry, Fault, Request, digits, read_answer, to_frame};

/// What the longer requests get for each [`ModuleConfig::limit`].
const LONGER: u32 = 4;
/// The longest texts that a token has (`CK_SLOT_INFO`, `CK_TOKEN_INFO`), with room for UTF-8.
const LONGEST_TEXT: usize = 256;

/// A module, and which of its tokens are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleConfig {
    /// The program `warifu-card-module`.
    pub program: PathBuf,
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// Only tokens of this label; all if there is none.
    pub label: Option<String>,
    /// How long a request may take. Loading the module, reading a card for the first time, and making a key may take four
    /// times as long.
    pub limit: Duration,
}

impl ModuleConfig {
    /// All tokens of a module, with 5 s for each request.
    pub fn new(program: impl Into<PathBuf>, module: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), module: module.into(), label: None, limit: Duration::from_secs(5) }
    }

    fn longer(&self) -> Duration {
        self.limit.saturating_mul(LONGER)
    }
}

/// A token of a PKCS#11 module, from insertion to removal.
///
/// PINs are verified by `C_Login`, keys used by `CKM_ECDSA` and by `CKM_ECDH1_DERIVE` with `CKD_NULL`. There is no management
/// key: whoever has the PIN may write. Dropping it kills the module's process.
pub struct ModuleCard<L: Line = Process> {
    /// `None` once the token was removed, for good.
    line: Option<L>,
    module: PathBuf,
    limit: Duration,
    identity: Identity,
    issues: bool,
}

impl ModuleCard {
    /// Opens the token in the slot with this description, which for readers on PC/SC usually is the reader's name.
    ///
    /// # Errors
    /// [`CardError::NoModuleProgram`], [`CardError::ModuleUnusable`], [`CardError::ModuleHung`], [`CardError::NoCard`],
    /// [`CardError::ForeignCard`].
    pub fn open(config: &ModuleConfig, reader: &str) -> Result<Self, CardError> {
        let process = Process::start(&config.program)?;
        Self::over(process, config, reader)
    }
}

/// Loads the module at the other end of a line.
fn load(line: &mut impl Line, config: &ModuleConfig) -> Result<(), CardError> {
    match ask(
        line,
        config,
        "C_Initialize",
        &Request::Load { module: config.module.clone() },
        config.longer(),
    )? {
        Answer::Done {} => Ok(()),
        _ => Err(CardError::Malformed { command: "C_Initialize" }),
    }
}

fn ask(
    line: &mut impl Line,
    config: &ModuleConfig,
    command: &'static str,
    request: &Request,
    limit: Duration,
) -> Result<Answer, CardError> {
    let frame = to_frame(request).map_err(|_| CardError::Malformed { command })?;
    match line.exchange(&frame, limit) {
        Ok(Some(answer)) => match read_answer(&answer).ok_or(CardError::Malformed { command })? {
            Answer::Fault { fault } => Err(fault.into_error(&config.module, command)),
            answer => Ok(answer),
        },
        // The process has ended by itself, as modules make them end.
        Ok(None) => Err(CardError::Removed),
        Err(Late) => Err(CardError::ModuleHung { module: config.module.clone(), command, limit }),
    }
}

impl Fault {
    fn into_error(self, module: &std::path::Path, command: &'static str) -> CardError {
        match self {
            Self::ModuleUnusable {} => CardError::ModuleUnusable { module: module.to_owned() },
            Self::NoReader {} => CardError::NoReader { reader: String::new() },
            Self::NoCard {} => CardError::NoCard,
            Self::ForeignCard {} => CardError::ForeignCard,
            Self::Removed {} => CardError::Removed,
            Self::PinNeeded {} => CardError::PinNeeded,
            // No tries left would be another answer.
            Self::PinWrong { tries_left } => CardError::PinWrong { tries_left: tries_left.max(1) },
            Self::PinBlocked {} => CardError::PinBlocked,
            Self::LastTry {} => CardError::LastTry,
            Self::KeyMissing {} => CardError::KeyMissing,
            Self::NotP256 {} => CardError::NotP256,
            Self::InvalidPoint {} => CardError::InvalidPoint,
            Self::CertificateMismatch {} => CardError::CertificateMismatch,
            Self::SlotTaken {} => CardError::SlotTaken,
            Self::ShareRefused {} => CardError::ShareRefused,
            Self::MemoryFull {} => CardError::MemoryFull,
            Self::IssuingUnsupported {} => CardError::IssuingUnsupported,
            Self::Malformed {} => CardError::Malformed { command },
            Self::Refused { function, code } => {
                CardError::ModuleRefused { command, function: shown(&function), code: shown(&code) }
            }
        }
    }
}

/// A module's text, as far as it may be shown: no control characters, and not too long.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect::<String>().trim().to_owned()
}

impl<L: Line> ModuleCard<L> {
    /// The same over any line.
    ///
    /// # Errors
    /// As for [`ModuleCard::open`].
    pub fn over(mut line: L, config: &ModuleConfig, reader: &str) -> Result<Self, CardError> {
        const COMMAND: &str = "C_OpenSession";
        load(&mut line, config)?;
        let request = Request::Open { reader: reader.to_owned(), label: config.label.clone() };
        let opened =
            ask(&mut line, config, COMMAND, &request, config.longer()).map_err(|error| match error {
                // Nobody else may name the reader.
                CardError::NoReader { .. } => CardError::NoReader { reader: reader.to_owned() },
                other => other,
            })?;
        let Answer::Opened { serial, model, firmware, issues } = opened else {
            return Err(CardError::Malformed { command: COMMAND });
        };
        let identity = Identity { serial: shown(&serial), model: shown(&model), firmware: shown(&firmware) };
        Ok(Self { line: Some(line), module: config.module.clone(), limit: config.limit, identity, issues })
    }

    fn ask(&mut self, command: &'static str, request: &Request) -> Result<Answer, CardError> {
        self.ask_within(command, request, self.limit)
    }

    fn ask_within(
        &mut self,
        command: &'static str,
        request: &Request,
        limit: Duration,
    ) -> Result<Answer, CardError> {
        let line = self.line.as_mut().ok_or(CardError::Removed)?;
        let config =
            ModuleConfig { program: PathBuf::new(), module: self.module.clone(), label: None, limit };
        let result = ask(line, &config, command, request, limit);
        // After what cannot be read, the next answer could be that to this request.
        let over = matches!(
            result,
            Err(CardError::Removed | CardError::ModuleHung { .. } | CardError::Malformed { .. })
        );
        if over {
            self.line = None;
        }
        result
    }

    fn done(&mut self, command: &'static str, request: &Request) -> Result<(), CardError> {
        match self.ask(command, request)? {
            Answer::Done {} => Ok(()),
            _ => Err(self.malformed(command)),
        }
    }

    /// What was answered is no answer to this: it may be one to something else.
    fn malformed(&mut self, command: &'static str) -> CardError {
        self.line = None;
        CardError::Malformed { command }
    }

    fn may_issue(&self) -> Result<(), CardError> {
        if self.issues { Ok(()) } else { Err(CardError::IssuingUnsupported) }
    }
}

impl<L: Line> Card for ModuleCard<L> {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn is_present(&mut self) -> bool {
        let present =
            matches!(self.ask("C_GetSlotList", &Request::Present {}), Ok(Answer::Present { present: true }));
        if !present {
            self.line = None;
        }
        present
    }

    fn tries_left(&mut self) -> Result<u8, CardError> {
        const COMMAND: &str = "C_GetTokenInfo";
        match self.ask(COMMAND, &Request::Tries {})? {
            Answer::Tries { left } => Ok(left),
            _ => Err(self.malformed(COMMAND)),
        }
    }

    fn verify_pin(&mut self, entry: PinEntry<'_>) -> Result<(), CardError> {
        self.done("C_Login", &Request::Verify { entry: Entry::new(entry) })
    }

    fn change_pin(&mut self, old: PinEntry<'_>, new: &Pin) -> Result<(), CardError> {
        self.done("C_SetPIN", &Request::ChangePin { old: Entry::new(old), new: digits(new) })
    }

    fn puk_tries_left(&mut self) -> Result<Option<u8>, CardError> {
        Ok(None)
    }

    /// What a PUK would be is the security officer's PIN, which such tokens keep elsewhere.
    ///
    /// # Errors
    /// [`CardError::UnblockingUnsupported`].
    fn unblock_pin(&mut self, _puk: PinEntry<'_>, _new: &Pin) -> Result<(), CardError> {
        Err(CardError::UnblockingUnsupported)
    }

    /// # Errors
    /// [`CardError::UnblockingUnsupported`].
    fn change_puk(&mut self, _old: PinEntry<'_>, _new: &Pin) -> Result<(), CardError> {
        Err(CardError::UnblockingUnsupported)
    }

    /// Whoever initialized the token chose its PIN, and nothing else opens it.
    fn secrets(&mut self) -> Result<Secrets, CardError> {
        Ok(Secrets { factory_pin: false, factory_puk: false, management: Management::Protected })
    }

    fn public_key(&mut self, role: KeyRole) -> Result<Point, CardError> {
        const COMMAND: &str = "C_GetAttributeValue";
        match self.ask(COMMAND, &Request::PublicKey { role: role.into() })? {
            Answer::Point { point } => Ok(point),
            _ => Err(self.malformed(COMMAND)),
        }
    }

    fn sign(
        &mut self,
        role: KeyRole,
        digest: &[u8; 32],
        pin: Option<PinEntry<'_>>,
    ) -> Result<[u8; 64], CardError> {
        const COMMAND: &str = "C_Sign";
        match (role, pin) {
            (KeyRole::Transport, _) => return Err(CardError::WrongRole),
            (KeyRole::Signature, None) => return Err(CardError::PinNeeded),
            _ => {}
        }
        let request = Request::Sign { role: role.into(), digest: *digest, entry: pin.map(Entry::new) };
        match self.ask(COMMAND, &request)? {
            Answer::Signature { signature } if Signature::from_slice(&signature).is_ok() => Ok(signature),
            _ => Err(self.malformed(COMMAND)),
        }
    }

    fn agree(&mut self, key: AgreementKey, point: &Point) -> Result<PartialX, CardError> {
        const COMMAND: &str = "C_DeriveKey";
        match self.ask(COMMAND, &Request::Agree { key: key.into(), point: *point })? {
            Answer::Agreed { x } => Ok(PartialX::from_bytes(&x)),
            _ => Err(self.malformed(COMMAND)),
        }
    }

    /// PKCS#11 has no attestation.
    ///
    /// # Errors
    /// [`CardError::NotAttested`].
    fn attestation(&mut self, _role: KeyRole) -> Result<Vec<Vec<u8>>, CardError> {
        Err(CardError::NotAttested)
    }

    fn certificate(&mut self, role: KeyRole) -> Result<Option<Vec<u8>>, CardError> {
        const COMMAND: &str = "C_GetAttributeValue";
        match self.ask(COMMAND, &Request::Certificate { role: role.into() })? {
            Answer::Certificate { certificate } => Ok(certificate.map(|der| der.0)),
            _ => Err(self.malformed(COMMAND)),
        }
    }

    fn shares(&mut self) -> Result<Vec<StoredShare>, CardError> {
        const COMMAND: &str = "C_FindObjects";
        let Answer::Shares { shares: told } = self.ask(COMMAND, &Request::Shares {})? else {
            return Err(self.malformed(COMMAND));
        };
        let mut shares: Vec<StoredShare> = Vec::new();
        for share in told {
            let slot = ShareSlot::new(share.slot).filter(|slot| shares.iter().all(|s| s.slot != *slot));
            let Some(slot) = slot else { return Err(self.malformed(COMMAND)) };
            shares.push(StoredShare { slot, certificate: share.certificate.0 });
        }
        shares.sort_by_key(|share| share.slot);
        Ok(shares)
    }

    /// There is no management key: the PIN opens the token for writing, too.
    ///
    /// # Errors
    /// [`CardError::IssuingUnsupported`].
    fn authenticate_management(&mut self, _key: &ManagementKey) -> Result<(), CardError> {
        self.may_issue()
    }

    fn open_management(&mut self) -> Result<(), CardError> {
        self.may_issue()
    }

    fn protect_management(&mut self, _rng: &mut dyn CryptoRng) -> Result<(), CardError> {
        self.may_issue()
    }

    fn generate(&mut self, role: KeyRole) -> Result<Point, CardError> {
        const COMMAND: &str = "C_GenerateKeyPair";
        self.may_issue()?;
        let limit = self.limit.saturating_mul(LONGER);
        match self.ask_within(COMMAND, &Request::Generate { role: role.into() }, limit)? {
            Answer::Point { point } => Ok(point),
            _ => Err(self.malformed(COMMAND)),
        }
    }

    fn write_certificate(&mut self, role: KeyRole, certificate: &[u8]) -> Result<(), CardError> {
        self.may_issue()?;
        if public_key_of(certificate)? != self.public_key(role)? {
            return Err(CardError::CertificateMismatch);
        }
        let request = Request::WriteCertificate { role: role.into(), certificate: certificate.to_vec() };
        self.done("C_CreateObject", &request)
    }

    /// A share in the clear is not for a token that unwraps.
    ///
    /// # Errors
    /// [`CardError::IssuingUnsupported`].
    fn import_share(
        &mut self,
        _slot: ShareSlot,
        _share: &CardShare,
        _certificate: &[u8],
    ) -> Result<(), CardError> {
        Err(CardError::IssuingUnsupported)
    }

    fn custody(&self) -> Custody {
        Custody::TokenUnwrap
    }

    fn unwrap_share(
        &mut self,
        slot: ShareSlot,
        share: &WrappedShare,
        certificate: &[u8],
    ) -> Result<(), CardError> {
        self.may_issue()?;
        let request = Request::UnwrapShare {
            slot: slot.index(),
            wrapped: share.to_bytes(),
            expected: public_key_of(certificate)?,
            certificate: certificate.to_vec(),
        };
        self.done("C_UnwrapKey", &request)
    }

    fn interrupt(&self) -> Option<Interrupt> {
        self.line.as_ref().and_then(Line::interrupt)
    }

    fn delete_share(&mut self, slot: ShareSlot) -> Result<(), CardError> {
        self.may_issue()?;
        self.done("C_DestroyObject", &Request::DeleteShare { slot: slot.index() })
    }
}
