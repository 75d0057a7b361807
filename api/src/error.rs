//! Error codes: the same few for every service, each with one remedy on the other side.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a service refuses. Stable: programs and messages for people depend on these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The request is not well formed.
    Malformed,
    /// The request is larger than allowed.
    TooLarge,
    /// Too many requests at once from this card or connection.
    Busy,
    /// As many orders of this person as may wait for a second one do so already.
    TooManyProposals,
    /// No such thing.
    NotFound,
    /// The caller's key does not allow this.
    Forbidden,
    /// The fold refuses the order or fact; the message says why.
    Rejected,
    /// The service has no organization yet.
    NotFounded,
    /// The kms was restored from a backup, and officers have not ordered its new keys into the ledger yet.
    NotRecovered,
    /// It depends on something that has not happened yet: ask again.
    NotReady,
    /// The site has had no news from the authority for longer than its lease.
    LeaseExpired,
    /// The card is unknown, revoked, or its member has left.
    CardNotLive,
    /// The card is suspended.
    CardSuspended,
    /// The contract of the member or unit is over.
    ContractOver,
    /// The card has no such grant (any more).
    GrantNotLive,
    /// The grant has expired.
    GrantExpired,
    /// The grant has not begun.
    GrantNotStarted,
    /// The unit is closed.
    UnitClosed,
    /// The site holds no share for this grant.
    NotServedHere,
    /// The file was shredded.
    Shredded,
    /// The file may not go to that unit: the front desk does not send there, nobody could open it there, or its dispatcher could.
    NotATarget,
    /// The delivery's sender is of an organization that this one does not trust.
    NotTrusted,
    /// The unit has accepted the delivery, given it back or passed it on.
    Handled,
    /// The delivery lies at that unit already.
    LiesThere,
    /// There is no room left for deliveries: of this organization, to this unit, or at all.
    BoxFull,
    /// The encapsulated key is no point of P-256.
    InvalidPoint,
    /// The kms signed two different ledgers: everything halts.
    Fork,
    /// The HSM does not work.
    HsmUnavailable,
    /// The database does not work.
    StorageUnavailable,
    /// Something else failed inside; the service's log says what.
    Internal,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// For programs.
    pub code: ErrorCode,
    /// For people who operate services, in English. What members and officers read is made from the code.
    pub message: String,
}

impl ErrorBody {
    /// An error with the message that people who operate services read.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
