//! What every service does at its own console before and while it serves: reads its configuration, makes its token, signs
//! the statement of its keys that people compare, behaves as a process that holds secrets, and says in words what is wrong.

pub mod backup;
pub mod config;
pub mod database;
pub mod doctor;
pub mod file;
pub mod founding;
pub mod keys;
pub mod monitor;
pub mod process;
pub mod token;
pub mod words;

pub use config::{Kms, Settings, plain_address};
pub use database::Database;
pub use token::Token;

use std::io;
use std::path::PathBuf;

use warifu_hardware::hsm::HsmError;
use warifu_ledger::Digest;
use warifu_ledger::dsse::EnvelopeError;
use warifu_replica::storage::StorageError;

/// Why a console cannot do what it is told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsoleError {
    /// A file cannot be read or written.
    #[error("{path} cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Another process serves this data folder.
    #[error("the folder {folder} is in use: stop the service that runs there first")]
    InUse {
        /// The data folder.
        folder: PathBuf,
    },
    /// The configuration is not the TOML it should be.
    #[error("the configuration {path} does not parse")]
    Config {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A file is not the JSON it should be.
    #[error("{path} does not parse")]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// Both `kms.statement` and `kms.tls_key` are given.
    #[error("the configuration names the kms twice: by statement and by tls_key")]
    KmsTwice,
    /// The file is not a kms's statement, signed by the key in it.
    #[error("{path} is not the statement of a kms")]
    NotTheKms {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a founding that all its officers signed.
    #[error("{path} is not a founding that all its officers signed")]
    NotAFounding {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: EnvelopeError,
    },
    /// Nobody is at a terminal to compare the fingerprint.
    #[error("nobody is here to confirm the fingerprint: give it with --fingerprint")]
    NobodyConfirms,
    /// The person at the console did not say yes.
    #[error("not confirmed: nothing was signed")]
    NotConfirmed,
    /// The founding is not the one whose fingerprint was confirmed.
    #[error("the fingerprint of this founding is {found}, not {expected}")]
    OtherFingerprint {
        /// What was confirmed.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The ledger does not name the keys in the token: there is nothing that others could take the place of.
    #[error("the ledger does not name the keys in this token")]
    KeysNotInUse,
    /// A site that has got other keys has not sealed everything to its new transport key yet, as it does while it runs.
    #[error("something may still be sealed to the former transport key")]
    FormerTransportKey,
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// As configured.
        address: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The token refuses.
    #[error("the token cannot be used")]
    Hsm(#[from] HsmError),
    /// The token has refused this PIN before. A program does not show it twice: an HSM that counts would lock itself.
    #[error(
        "the token refused the PIN in {pin_file}, and it has not been changed since: it is not tried again"
    )]
    PinRefusedBefore {
        /// The PIN file.
        pin_file: PathBuf,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] StorageError),
    /// Others than its owner may read the file with a password.
    #[error("{path} is open to others than its owner")]
    OpenToOthers {
        /// The file.
        path: PathBuf,
    },
    /// A statement could not be written.
    #[error("a statement could not be made")]
    Statement(#[from] EnvelopeError),
    /// The texts of this program cannot be used.
    #[error("a fault of this program: its texts cannot be used")]
    Texts(#[from] warifu_texts::TextsError),
    /// The operating system gave no randomness.
    #[error("no randomness")]
    Randomness(#[from] getrandom::Error),
    /// The operating system refused threads, signals, limits or output.
    #[error("the operating system refused")]
    System(#[source] io::Error),
}

#[cfg(test)]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the ledger's own tests use all of it, and a test that cannot go on has failed"
)]
#[path = "../../ledger/tests/fold/fixture.rs"]
mod fixture;
