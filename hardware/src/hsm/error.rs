//! What can go wrong between a service and its HSM.

use std::path::PathBuf;

use cryptoki::context::Function;
use cryptoki::error::{Error as CryptokiError, RvError};
use warifu_split_key::point::PointError;

/// Everything an [`Hsm`](super::Hsm) can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HsmError {
    /// The PKCS#11 module does not load or does not initialize.
    #[error("the PKCS#11 module {path} cannot be used")]
    ModuleUnusable {
        /// The module's file, from the configuration.
        path: PathBuf,
        /// The loader's or the module's reason.
        #[source]
        source: CryptokiError,
    },
    /// No slot holds an initialized token of that label.
    #[error("the module shows no token labelled {label:?}")]
    TokenMissing {
        /// The token's label, from the configuration.
        label: String,
    },
    /// Initialization was asked for a label that a token already has. Nothing was changed.
    #[error("a token labelled {label:?} already exists and is left untouched")]
    TokenExists {
        /// The token's label.
        label: String,
    },
    /// Initialization found no slot with an uninitialized token.
    #[error("the module offers no uninitialized token")]
    NoFreeSlot,
    /// A token label is 1 to 32 bytes of UTF-8 (PKCS#11 2.40, section 3.2, `CK_TOKEN_INFO`).
    #[error("a token label has 1 to 32 bytes, not {length}")]
    TokenLabelLength {
        /// The given length in bytes.
        length: usize,
    },
    /// This process has the token open with another configuration.
    #[error("the token {label:?} is already open in this process with another configuration")]
    AlreadyOpen {
        /// The token's label.
        label: String,
    },
    /// The token refused the PIN. It is not tried again by this handle.
    #[error("the token {label:?} refused the PIN")]
    PinWrong {
        /// The token's label.
        label: String,
    },
    /// The token's PIN is locked, or was never set.
    #[error("the PIN of token {label:?} is locked or not set")]
    PinUnusable {
        /// The token's label.
        label: String,
    },
    /// The PIN file cannot be read.
    #[error("the PIN file {path} cannot be read")]
    PinUnreadable {
        /// The file, from the configuration.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Everyone on the machine may read or write the PIN file.
    #[error("the PIN file {path} has mode {mode:03o}: others than its owner and group may use it")]
    PinExposed {
        /// The file, from the configuration.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The token lacks a mechanism that we cannot do without.
    #[error("the token does not offer {name}")]
    MechanismMissing {
        /// The mechanism's PKCS#11 name.
        name: &'static str,
    },
    /// The token, or its configured share, holds no more keys.
    #[error("the token holds no more keys (limit: {})", .limit.map_or("its own".to_owned(), |n| n.to_string()))]
    CapacityExhausted {
        /// The configured number of grant keys, or `None` where the token itself said so.
        limit: Option<usize>,
    },
    /// There is no key pair for that grant: never made, or destroyed.
    #[error("there is no key for grant {label:?}")]
    GrantKeyMissing {
        /// The grant's label.
        label: String,
    },
    /// A service key that was there is gone from the token.
    #[error("the key {label:?} is not in the token")]
    KeyMissing {
        /// The key's label.
        label: String,
    },
    /// A service key's public half is gone from the token; it is not replaced by a new key on its own.
    #[error("the public half of key {label:?} is not in the token")]
    KeyIncomplete {
        /// The key's label.
        label: String,
    },
    /// Several keys bear one label, so which is meant cannot be told.
    #[error("{count} keys in the token are labelled {label:?}")]
    KeyAmbiguous {
        /// The key's label.
        label: String,
        /// How many there are.
        count: usize,
    },
    /// A key found in the token could be, or once could have been, read out of it.
    #[error("the key {label:?} is extractable, or once was")]
    KeyExposed {
        /// The key's label.
        label: String,
    },
    /// The wrapped share does not unwrap under this grant's key, or is not the share of the expected point. Which of
    /// the two is not told.
    #[error("the wrapped share for grant {label:?} is refused")]
    ShareRefused {
        /// The grant's label.
        label: String,
    },
    /// The sealed bytes, their context or their key are not those of the seal. Which is not told.
    #[error("the sealed secret does not open")]
    SealBroken,
    /// The module answered something that cannot be right.
    #[error("the module's answer to {function} has {length} bytes, which cannot be right")]
    AnswerMalformed {
        /// The PKCS#11 function.
        function: &'static str,
        /// The length of the answer in bytes.
        length: usize,
    },
    /// The module gave a public key that is no P-256 point.
    #[error("the module's public key for {label:?} is not a P-256 point")]
    PublicKeyInvalid {
        /// The key's label.
        label: String,
        /// What is wrong with it.
        #[source]
        source: PointError,
    },
    /// A session object could not be destroyed; all sessions are closed, which destroys it.
    #[error(
        "a session object could not be destroyed (C_DestroyObject: CKR {code:?}); all sessions are closed"
    )]
    SessionObjectStuck {
        /// The return code.
        code: RvError,
    },
    /// A PKCS#11 function failed.
    #[error("C_{function:?} failed: CKR {code:?}")]
    Operation {
        /// The function, without its prefix `C_`.
        function: Function,
        /// The return code.
        code: RvError,
    },
    /// The binding to the module failed outside a PKCS#11 function: a missing symbol, an unreadable attribute.
    #[error("the PKCS#11 binding failed")]
    Binding {
        /// The binding's reason.
        #[source]
        source: CryptokiError,
    },
}

impl HsmError {
    /// After these the sessions are of no more use; they are closed, and reopened by the next operation.
    pub(super) fn is_link_lost(&self) -> bool {
        match self {
            Self::SessionObjectStuck { .. } => true,
            Self::Operation { code, .. } => matches!(
                code,
                RvError::SessionHandleInvalid
                    | RvError::SessionClosed
                    | RvError::DeviceRemoved
                    | RvError::DeviceError
                    | RvError::TokenNotPresent
                    | RvError::TokenNotRecognized
                    | RvError::SlotIdInvalid
                    | RvError::UserNotLoggedIn
                    | RvError::CryptokiNotInitialized
            ),
            _ => false,
        }
    }

    /// The handle that was used names no object any more.
    pub(super) fn is_handle_stale(&self) -> bool {
        matches!(self, Self::Operation { code: RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid, .. })
    }

    /// Something is wrong with the HSM or the way to it, as opposed to an answer that it gave.
    pub(super) fn is_failure(&self) -> bool {
        !self.is_handle_stale()
            && !matches!(
                self,
                Self::GrantKeyMissing { .. }
                    | Self::KeyMissing { .. }
                    | Self::ShareRefused { .. }
                    | Self::SealBroken
                    | Self::TokenExists { .. }
            )
    }

    /// Faults of the link or the token, as opposed to a refusal of the data that were given.
    pub(crate) fn is_not_about_data(&self) -> bool {
        self.is_link_lost()
            || self.is_handle_stale()
            || matches!(self, Self::CapacityExhausted { .. })
            || matches!(self, Self::Operation { code: RvError::HostMemory, .. })
    }
}

impl From<CryptokiError> for HsmError {
    fn from(source: CryptokiError) -> Self {
        match source {
            CryptokiError::Pkcs11(RvError::DeviceMemory, _) => Self::CapacityExhausted { limit: None },
            CryptokiError::Pkcs11(code, function) => Self::Operation { function, code },
            source => Self::Binding { source },
        }
    }
}
