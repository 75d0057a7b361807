//! Everything a site can fail with.

use std::sync::Arc;

use warifu_api::client::ClientError;
use warifu_api::error::ErrorBody;
use warifu_api::tls::TlsError;
use warifu_console::ConsoleError;
use warifu_hardware::hsm::HsmError;
use warifu_ledger::dsse::EnvelopeError;
use warifu_ledger::state::Rejected;
use warifu_replica::ReplicaError;
use warifu_replica::follow::FollowError;
use warifu_replica::storage::StorageError;

use super::rewrapping::NotRewrapped;
use super::vault::PartFault;

/// Why a site does not start, or cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// Something at the console: a file, the configuration, the token, the address.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// The configuration names no organization.
    #[error("no organization: set `organization` in the configuration to the fingerprint of its founding")]
    NoOrganization,
    /// The configuration does not say how the kms is known.
    #[error("no key of the kms: set `statement` or `tls_key` in the configuration's [kms]")]
    NoKmsKey,
    /// The database cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// A row of the database is not what was written there.
    #[error("the database holds a {what} that is none")]
    Damaged {
        /// What it should be.
        what: &'static str,
    },
    /// The audit journal was not written: nothing is computed.
    #[error("the audit journal was not written")]
    NotRecorded(#[source] Arc<SiteError>),
    /// The HSM failed.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The copy of the ledger failed.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The kms cannot be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The kms did not answer, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A statement could not be written.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A task was ended with its runtime.
    #[error("the site is shutting down")]
    ShuttingDown,
    /// The ledger does not know this site (yet).
    #[error("the organization's ledger does not know this site")]
    NotJoined,
    /// The fold refuses the order.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// A share is not wrapped to another site's key.
    #[error("a share is not wrapped to another site's key")]
    NotRewrapped(#[from] NotRewrapped),
    /// A part of a routed file could not be computed or sealed.
    #[error("a part of a routed file could not be computed")]
    Part(#[from] PartFault),
    /// An order that was marked meanwhile may end what was being done.
    #[error("an order was marked meanwhile")]
    OrderMarked,
    /// A site without a lease does not know who has left.
    #[error("no lease runs here")]
    NoLease,
    /// The token has no transport key.
    #[error("the token has no transport key")]
    NoTransportKey,
    /// What came from the kms stands on leaves that are not here yet.
    #[error("not all of the {size} leaves are here")]
    NotFolded {
        /// How many leaves it stands on.
        size: u64,
    },
    /// The caller is refused, and told why.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
}

impl SiteError {
    /// Whether the HSM found a share to be none, or another.
    pub(super) fn refuses_share(&self) -> bool {
        matches!(self, Self::Hsm(HsmError::ShareRefused { .. }))
    }
}
