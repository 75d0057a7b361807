//! What can be wrong with a card, named for what a person can do about it.

use std::path::PathBuf;
use std::time::Duration;

/// Why a card did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// The reader service (`pcscd`) does not run, has gone, or does not serve this user, which look the same.
    #[error("the smart card service is not running")]
    NoReaderService,
    /// There is no reader of that name.
    #[error("there is no reader {reader}")]
    NoReader {
        /// The name asked for.
        reader: String,
    },
    /// The reader is empty.
    #[error("there is no card in the reader")]
    NoCard,
    /// The card in the reader has no PIV application, or is not a product that is supported.
    #[error("the card in the reader is of a kind that cannot be used")]
    ForeignCard,
    /// Another program has the card for itself.
    #[error("another program is using the card")]
    InUse,
    /// The card was pulled out. All further calls answer the same.
    #[error("the card was removed")]
    Removed,
    /// The key wants the PIN first.
    #[error("the card needs its PIN")]
    PinNeeded,
    /// The PIN was wrong.
    #[error("the PIN was wrong; tries left: {tries_left}")]
    PinWrong {
        /// Tries left, at least 1.
        tries_left: u8,
    },
    /// No tries are left.
    #[error("the PIN is blocked")]
    PinBlocked,
    /// One try is left, and was not to be spent. The card was not asked.
    #[error("one try is left for the PIN, and it was not spent")]
    LastTry,
    /// The PUK was wrong.
    #[error("the PUK was wrong; tries left: {tries_left}")]
    PukWrong {
        /// Tries left, at least 1.
        tries_left: u8,
    },
    /// No tries are left for the PUK: a blocked PIN stays blocked.
    #[error("the PUK is blocked")]
    PukBlocked,
    /// The management key was wrong.
    #[error("the card's management key was wrong")]
    ManagementKeyWrong,
    /// The management key is neither the factory's nor behind the PIN: another program has set it.
    #[error("the card's management key is not known")]
    ManagementKeyUnknown,
    /// The operation needs the management key first.
    #[error("the card needs its management key")]
    ManagementKeyNeeded,
    /// The card has no such key.
    #[error("the card has no such key")]
    KeyMissing,
    /// The key is not on P-256: somebody else made it.
    #[error("the card's key is not a P-256 key")]
    NotP256,
    /// The key does not do that: the transport key does not sign.
    #[error("the card's key is not for this use")]
    WrongRole,
    /// The card refused a point, which was valid: it has a fault, or has been tampered with.
    #[error("the card refused a valid point")]
    InvalidPoint,
    /// There is no attestation for the key: it was imported, or the card does not attest.
    #[error("the card does not attest this key")]
    NotAttested,
    /// The certificate is not for the key it was to lie beside, or not a certificate.
    #[error("the certificate does not fit the key")]
    CertificateMismatch,
    /// The slot holds a share already.
    #[error("the slot holds a share already")]
    SlotTaken,
    /// All twenty slots hold shares.
    #[error("the card has no room for another share")]
    SharesFull,
    /// The card has no room for an object.
    #[error("the card's memory is full")]
    MemoryFull,
    /// The module that speaks with this card only uses what is on it.
    #[error("cards cannot be issued through this module")]
    IssuingUnsupported,
    /// A blocked PIN cannot be set anew through this module.
    #[error("a blocked PIN cannot be unblocked through this module")]
    UnblockingUnsupported,
    /// A wrapped share does not unwrap on this card, or is not the share that its certificate is for. Which is not told.
    #[error("the card refuses the wrapped share")]
    ShareRefused,
    /// The program that modules run in cannot be started.
    #[error("the program {program} for card modules cannot be started")]
    NoModuleProgram {
        /// Its file.
        program: PathBuf,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The PKCS#11 module does not load or does not initialize.
    #[error("the card module {module} cannot be used")]
    ModuleUnusable {
        /// The module's file.
        module: PathBuf,
    },
    /// The PKCS#11 module did not answer in time. Its process was ended; all further calls answer [`CardError::Removed`].
    #[error("the card module {module} did not answer {command} within {limit:?}")]
    ModuleHung {
        /// The module's file.
        module: PathBuf,
        /// What was asked.
        command: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// A PKCS#11 function failed in a way that has no better name here.
    #[error("the card module failed at {command}: {function} answered CKR {code}")]
    ModuleRefused {
        /// What was asked.
        command: &'static str,
        /// The PKCS#11 function.
        function: String,
        /// The return code's name.
        code: String,
    },
    /// The card's answer made no sense.
    #[error("the card's answer to {command} is malformed")]
    Malformed {
        /// What was asked.
        command: &'static str,
    },
    /// The card refused.
    #[error("the card refused {command} with status {status:04x}")]
    Refused {
        /// What was asked.
        command: &'static str,
        /// The status word (ISO 7816-4, section 5.1.3).
        status: u16,
    },
    /// The `yubikey` crate failed in a way that has no better name here.
    #[error("the card failed at {command}")]
    Failed {
        /// What was asked.
        command: &'static str,
        /// What the crate said.
        #[source]
        source: yubikey::Error,
    },
    /// The reader or its driver failed in a way that has no better name here.
    #[error("the card reader failed")]
    Reader(#[source] pcsc::Error),
}

impl CardError {
    /// The same about the PUK: status words do not tell the two apart.
    pub(super) fn of_puk(self) -> Self {
        match self {
            Self::PinWrong { tries_left } => Self::PukWrong { tries_left },
            Self::PinBlocked => Self::PukBlocked,
            other => other,
        }
    }
}

impl From<pcsc::Error> for CardError {
    fn from(error: pcsc::Error) -> Self {
        use pcsc::Error as E;
        match error {
            // pcsc-lite calls it a security violation when the service closes the connection.
            E::NoService | E::ServiceStopped | E::CommError | E::InvalidHandle | E::SecurityViolation => {
                Self::NoReaderService
            }
            // Some drivers report a card that was pulled during a command as "not transacted".
            E::RemovedCard
            | E::NoSmartcard
            | E::ReaderUnavailable
            | E::UnknownReader
            | E::NoReadersAvailable
            | E::UnpoweredCard
            | E::UnresponsiveCard
            | E::NotTransacted => Self::Removed,
            E::SharingViolation => Self::InUse,
            other => Self::Reader(other),
        }
    }
}
