//! Why the authority refuses, or cannot answer.

use std::path::PathBuf;

use warifu_api::crl::CrlError;
use warifu_api::tls::TlsError;
use warifu_api::wire::authority::ProposalStanding;
use warifu_api::{ErrorBody, ErrorCode};
use warifu_console::ConsoleError;
use warifu_console::backup::BackupFault;
use warifu_hardware::hsm::HsmError;
use warifu_hardware::hsm::wrap::WrapError;
use warifu_ledger::checkpoint::CheckpointError;
use warifu_ledger::dsse::EnvelopeError;
use warifu_ledger::leaf::LeafError;
use warifu_ledger::state::{NotAnswered, NotRouted, Rejected};
use warifu_ledger::tree::BeyondTree;
use warifu_ledger::{Digest, Id};
use warifu_replica::ReplicaError;
use warifu_replica::storage::StorageError;
use warifu_split_key::ScalarError;
use warifu_split_key::half::HalfError;

use super::deliveries::{NotDelivered, S3Fault};

/// Everything that keeps the authority from doing what it is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// There is no organization yet.
    #[error("no organization has been founded here")]
    NotFounded,
    /// There is an organization already.
    #[error("the organization {organization} is founded here already")]
    FoundedAlready {
        /// Its name.
        organization: Digest,
    },
    /// The founding names other keys for the kms than this token's.
    #[error("the founding names other keys for the kms than those of this token")]
    OtherKeys,
    /// The order gives the kms keys that do not wait in its token.
    #[error("the order gives the kms keys that are not in its token")]
    KeysNotHere,
    /// The ledger names other keys for the kms than this token's: it was restored, and officers have not said yet that it is
    /// the kms, or another one has taken its place.
    #[error("the ledger names other keys for the kms than those of this token")]
    NotTheKms,
    /// Only a kms that was restored from a backup lacks leaves.
    #[error("this kms was not restored from a backup, and needs no leaves")]
    NothingToBring,
    /// The caller's key does not allow this.
    #[error("only {allowed} may do this")]
    NotAllowed {
        /// Who may.
        allowed: &'static str,
    },
    /// The caller's card does not count any more.
    #[error(transparent)]
    Card(#[from] NotAnswered),
    /// The request cannot be read.
    #[error("the request does not parse: {why}")]
    Malformed {
        /// What the parser said.
        why: String,
    },
    /// The request is larger than allowed.
    #[error("the request is too large")]
    TooLarge,
    /// No such thing.
    #[error("no such {what}")]
    NotFound {
        /// What was asked for.
        what: &'static str,
    },
    /// It depends on something that has not happened yet.
    #[error("not yet: {what}")]
    NotYet {
        /// What has to happen.
        what: &'static str,
    },
    /// The envelope cannot be read or lacks a signature.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The fold refuses it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Slips do not count, or do not go on from where their files came.
    #[error(transparent)]
    Slips(#[from] NotRouted),
    /// A delivery is not taken in, not handed out, or not handled.
    #[error(transparent)]
    Delivery(#[from] NotDelivered),
    /// Parts are sealed to another key than the ledger has of their site.
    #[error("the parts are sealed to another key than the ledger has of their site")]
    OtherTransportKey,
    /// A register record is missing that a commitment points to.
    #[error("the record {record} is missing or another one")]
    RecordMismatch {
        /// The record's id.
        record: Id,
    },
    /// A register record that no commitment points to.
    #[error("nothing points to the record {record}")]
    RecordSuperfluous {
        /// The record's id.
        record: Id,
    },
    /// Another record has this id.
    #[error("the record {record} exists with another text")]
    RecordTaken {
        /// The record's id.
        record: Id,
    },
    /// An order that is brought to wait for a second person needs none.
    #[error("the order needs no further signature")]
    NoSecondNeeded,
    /// A proposal does not wait any more.
    #[error("the proposal was {over}")]
    ProposalOver {
        /// What became of it.
        over: ProposalStanding,
    },
    /// More proposals of one person than may wait.
    #[error("at most {most} orders of one person wait for a second one, or they are too large together")]
    TooManyProposals {
        /// How many may.
        most: usize,
    },
    /// A statement speaks for somebody else than the caller.
    #[error("the statement is not the caller's own")]
    NotOneself,
    /// The ca's half is not proved.
    #[error("the half is not proved")]
    Half(#[from] HalfError),
    /// `d` does not belong to `A`: `dG ≠ S1 - A`, or `bG ≠ P - A`, or a share would be degenerate.
    #[error("d and A do not fit the unit's key")]
    ShareMismatch,
    /// The grant's shares are in the ledger, and other ones.
    #[error("the grant was issued with other shares")]
    IssuedOtherwise,
    /// A fact states other shares than those that this kms wrapped.
    #[error("these are not the shares that were wrapped to the sites")]
    OtherShares,
    /// The site has given another key for this grant.
    #[error("the site has given another key for this grant")]
    KeyTaken,
    /// The certificate is over another key than the ledger names.
    #[error("the certificate is over another key than the ledger names")]
    CertificateMismatch,
    /// It is no CRL of the ca's.
    #[error("this is no CRL of the organization's: {0}")]
    Crl(#[from] CrlError),
    /// The CRL's number is not new.
    #[error("there is another CRL with the number {number}, or a later one")]
    CrlOlder {
        /// Its number.
        number: u64,
    },
    /// Rows of a journal after which the site has begun another one.
    #[error("the site has begun another audit journal since")]
    JournalGivenUp,
    /// More journals than a site may begin, or than wait to be committed.
    #[error("the site has begun too many audit journals")]
    JournalsTooMany,
    /// The checkpoint does not count.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It took too long.
    #[error("it took too long")]
    TimedOut,
    /// Others are bringing large orders.
    #[error("others are bringing orders: try again")]
    Busy,
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
    /// Something at the console: a file, the configuration, the token, the address.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// The HSM failed.
    #[error("the HSM failed")]
    Hsm(#[from] HsmError),
    /// A backup could not be made or restored.
    #[error(transparent)]
    Backup(#[from] BackupFault),
    /// A share could not be wrapped.
    #[error("a share could not be wrapped")]
    Wrap(#[from] WrapError),
    /// A sealed half is not a scalar.
    #[error("a keeper half is damaged")]
    HalfDamaged(#[from] ScalarError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The database cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// PostgreSQL is configured, and there is a database in the data folder as well.
    #[error("{file} is there, and another database is configured")]
    TwoDatabases {
        /// The file.
        file: PathBuf,
    },
    /// The database was moved to PostgreSQL, which is not configured.
    #[error("the database was moved, and {file} is what is left of it")]
    DatabaseMoved {
        /// The file that was kept.
        file: PathBuf,
    },
    /// There is no other database to move to or from.
    #[error("no other database is configured")]
    NoServer,
    /// There is no database in the data folder.
    #[error("{file} is not there")]
    NothingToMove {
        /// The file.
        file: PathBuf,
    },
    /// A file has the name that another is to get.
    #[error("{file} is in the way")]
    InTheWay {
        /// The file.
        file: PathBuf,
    },
    /// What is to be moved would come to lie on something else.
    #[error("{database} holds something else")]
    DatabaseNotEmpty {
        /// The database.
        database: PathBuf,
    },
    /// The ledger failed.
    #[error(transparent)]
    Replica(ReplicaError),
    /// What is in the database is not what was written there.
    #[error("the database holds a {what} that makes no sense")]
    Damaged {
        /// What.
        what: &'static str,
    },
    /// A leaf could not be made.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The tree is not what the state says.
    #[error(transparent)]
    Tree(#[from] BeyondTree),
    /// `[public]` has a certificate without its key, or a key without its certificate.
    #[error("the public listener has one of certificate and key, and not the other")]
    PublicCertificateAlone,
    /// A file of the public listener's certificate or key is none, or the two do not belong together.
    #[error("{path} is no certificate, or no key of it, in PEM")]
    PublicCertificate {
        /// The file.
        path: PathBuf,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Something has no JSON form.
    #[error("something could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl From<S3Fault> for AuthorityError {
    fn from(fault: S3Fault) -> Self {
        Self::Delivery(NotDelivered::S3(fault))
    }
}

impl From<ReplicaError> for AuthorityError {
    fn from(error: ReplicaError) -> Self {
        match error {
            ReplicaError::Rejected(rejected) => Self::Rejected(rejected),
            ReplicaError::Storage(source) => Self::Database(source),
            ReplicaError::Leaf(source) => Self::Leaf(source),
            ReplicaError::ShuttingDown => Self::Stopping,
            other => Self::Replica(other),
        }
    }
}

impl AuthorityError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFounded => ErrorCode::NotFounded,
            Self::NotTheKms => ErrorCode::NotRecovered,
            Self::NotAllowed { .. } => ErrorCode::Forbidden,
            Self::Card(reason) => match reason {
                NotAnswered::CardSuspended => ErrorCode::CardSuspended,
                NotAnswered::ContractOver => ErrorCode::ContractOver,
                NotAnswered::GrantNotLive | NotAnswered::WrongRight => ErrorCode::GrantNotLive,
                NotAnswered::GrantExpired => ErrorCode::GrantExpired,
                NotAnswered::GrantNotStarted { .. } => ErrorCode::GrantNotStarted,
                NotAnswered::UnitClosed => ErrorCode::UnitClosed,
                NotAnswered::NotServedHere => ErrorCode::NotServedHere,
                NotAnswered::NotIssued => ErrorCode::NotReady,
                _ => ErrorCode::CardNotLive,
            },
            Self::Malformed { .. } => ErrorCode::Malformed,
            Self::TooLarge | Self::Leaf(LeafError::TooLarge) => ErrorCode::TooLarge,
            Self::Envelope(error) | Self::Rejected(Rejected::Envelope(error)) => match error {
                EnvelopeError::TooLarge => ErrorCode::TooLarge,
                EnvelopeError::NotSigned { .. } => ErrorCode::Rejected,
                _ => ErrorCode::Malformed,
            },
            Self::TooManyProposals { .. } => ErrorCode::TooManyProposals,
            Self::Delivery(error) => error.code(),
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::NotYet { .. } => ErrorCode::NotReady,
            Self::Rejected(Rejected::Fork { .. }) => ErrorCode::Fork,
            Self::Rejected(_)
            | Self::FoundedAlready { .. }
            | Self::OtherKeys
            | Self::KeysNotHere
            | Self::RecordMismatch { .. }
            | Self::RecordSuperfluous { .. }
            | Self::RecordTaken { .. }
            | Self::NoSecondNeeded
            | Self::ProposalOver { .. }
            | Self::NotOneself
            | Self::NothingToBring
            | Self::Half(_)
            | Self::ShareMismatch
            | Self::IssuedOtherwise
            | Self::OtherShares
            | Self::KeyTaken
            | Self::CertificateMismatch
            | Self::Crl(_)
            | Self::CrlOlder { .. }
            | Self::JournalGivenUp
            | Self::JournalsTooMany
            | Self::Checkpoint(_)
            | Self::Slips(_)
            | Self::OtherTransportKey => ErrorCode::Rejected,
            Self::TimedOut | Self::Busy => ErrorCode::Busy,
            Self::Hsm(_) => ErrorCode::HsmUnavailable,
            Self::Database(_) | Self::Storage(_) | Self::Replica(_) | Self::Damaged { .. } => {
                ErrorCode::StorageUnavailable
            }
            Self::Stopping
            | Self::TwoDatabases { .. }
            | Self::DatabaseMoved { .. }
            | Self::NoServer
            | Self::NothingToMove { .. }
            | Self::InTheWay { .. }
            | Self::DatabaseNotEmpty { .. }
            | Self::PublicCertificateAlone
            | Self::PublicCertificate { .. }
            | Self::Console(_)
            | Self::Backup(_)
            | Self::Wrap(_)
            | Self::HalfDamaged(_)
            | Self::Leaf(_)
            | Self::Tree(_)
            | Self::Tls(_)
            | Self::Json(_) => ErrorCode::Internal,
        }
    }

    /// What leaves for the caller. Faults inside are told by their code alone; the log has the rest.
    pub(crate) fn into_body(self) -> ErrorBody {
        let code = self.code();
        let inside =
            matches!(code, ErrorCode::Internal | ErrorCode::HsmUnavailable | ErrorCode::StorageUnavailable);
        if inside {
            let error: &dyn std::error::Error = &self;
            tracing::error!(error, "a request failed inside");
            let message = match code {
                ErrorCode::HsmUnavailable => "the HSM does not work; the authority's log says more",
                ErrorCode::StorageUnavailable if matches!(self, Self::Delivery(_)) => {
                    "the box's files cannot be reached; the authority's log says more"
                }
                ErrorCode::StorageUnavailable => "the database does not work; the authority's log says more",
                _ => "something failed inside; the authority's log says more",
            };
            return ErrorBody::new(code, message);
        }
        ErrorBody::new(code, self.to_string())
    }
}
