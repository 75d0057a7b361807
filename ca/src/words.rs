//! What the ca's faults say to the people at its console.

use warifu_console::words;
use warifu_texts::{Message, Sources, Spoken};

use crate::founding::FoundingError;
use crate::service::ServiceError;
use crate::vault::VaultError;

/// The texts of this program, beside those of every service.
pub const CA: Sources =
    Sources { ja: include_str!("../locales/ja/ca.ftl"), en: include_str!("../locales/en/ca.ftl") };

impl Spoken for FoundingError {
    fn message(&self) -> Message {
        match self {
            Self::Console(error) => error.message(),
            Self::Rejected(rejected) => rejected.message(),
            Self::Leaf(error) => words::unexpected(error),
            Self::OtherCa => Message::new("fault-other-ca"),
            Self::FoundedAlready { pinned } => {
                Message::new("fault-founded-already").with("organization", pinned)
            }
            Self::Hsm(error) => words::hsm(error),
            Self::Vault(error) => error.message(),
        }
    }
}

impl Spoken for ServiceError {
    fn message(&self) -> Message {
        match self {
            Self::NotFounded => Message::new("fault-not-founded"),
            Self::OtherKms => Message::new("fault-other-kms"),
            Self::Vault(error) => error.message(),
            Self::Replica(error) => words::replica(error),
            Self::Follow(error) => words::follow(error),
            Self::Client(error) => words::client(error),
            Self::Hsm(error) => words::hsm(error),
            Self::Tls(error) => words::unexpected(error),
        }
    }
}

impl Spoken for VaultError {
    fn message(&self) -> Message {
        match self {
            Self::Storage(error) => words::database(error),
            Self::Hsm(error) => words::hsm(error),
            Self::Scalar(_) | Self::Point(_) | Self::Malformed { .. } | Self::HalfLost { .. } => {
                Message::new("database-damaged")
            }
            Self::Seal(error) => words::unexpected(error),
            Self::Wrap(error) => words::unexpected(error),
            Self::ShuttingDown => Message::new("fault-stopping"),
        }
    }
}
