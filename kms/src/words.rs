//! What the faults of authority and site say to the people at their consoles.

use std::error::Error;

use warifu_console::words;
use warifu_texts::{Message, Sources, Spoken};

use crate::authority::{AuthorityError, NotDelivered, S3Fault};
use crate::site::SiteError;

/// The texts of this program, beside those of every service.
pub const KMS: Sources =
    Sources { ja: include_str!("../locales/ja/kms.ftl"), en: include_str!("../locales/en/kms.ftl") };

impl Spoken for AuthorityError {
    fn message(&self) -> Message {
        match self {
            Self::NotFounded => Message::new("fault-not-founded"),
            Self::FoundedAlready { organization } => {
                Message::new("fault-founded-already").with("organization", organization)
            }
            Self::OtherKeys => Message::new("fault-other-keys"),
            Self::RecordMismatch { .. } | Self::RecordSuperfluous { .. } | Self::RecordTaken { .. } => {
                Message::new("fault-records")
            }
            Self::Rejected(rejected) => rejected.message(),
            Self::TwoDatabases { file } => Message::new("fault-two-databases").with("file", file.display()),
            Self::DatabaseMoved { file } => Message::new("fault-database-moved").with("file", file.display()),
            Self::NoServer => Message::new("fault-no-server"),
            Self::NothingToMove { file } => {
                Message::new("fault-nothing-to-move").with("file", file.display())
            }
            Self::InTheWay { file } => Message::new("fault-in-the-way").with("file", file.display()),
            Self::DatabaseNotEmpty { database } => {
                Message::new("fault-database-not-empty").with("database", database.display())
            }
            Self::PublicCertificateAlone => Message::new("fault-public-certificate-alone"),
            Self::PublicCertificate { path } => {
                Message::new("fault-public-certificate").with("path", path.display())
            }
            Self::Stopping => Message::new("fault-stopping"),
            Self::TimedOut => Message::new("fault-timed-out"),
            Self::Delivery(NotDelivered::Folder { folder, source }) => {
                Message::new("fault-box-folder").with("folder", folder.display()).with("why", source)
            }
            Self::Delivery(NotDelivered::TwoPlaces) => Message::new("fault-box-two-places"),
            Self::Delivery(NotDelivered::S3(S3Fault::Endpoint)) => Message::new("fault-box-s3-endpoint"),
            Self::Delivery(NotDelivered::S3(S3Fault::Prefix)) => Message::new("fault-box-s3-prefix"),
            Self::Delivery(NotDelivered::S3(S3Fault::Credentials { path })) => {
                Message::new("fault-box-s3-credentials").with("path", path.display())
            }
            Self::Delivery(NotDelivered::S3(S3Fault::Authorities { path })) => {
                Message::new("fault-box-s3-authorities").with("path", path.display())
            }
            Self::Console(error) => error.message(),
            Self::Backup(error) => error.message(),
            Self::Hsm(error) => words::hsm(error),
            Self::Database(error) => words::database(error),
            Self::Storage(error) => words::storage(error),
            Self::Replica(error) => words::replica(error),
            Self::Damaged { .. } | Self::HalfDamaged(_) | Self::Tree(_) => Message::new("database-damaged"),
            // Answers to requests; none of them ends a program.
            Self::Busy
            | Self::NotAllowed { .. }
            | Self::Card(_)
            | Self::Malformed { .. }
            | Self::TooLarge
            | Self::NotFound { .. }
            | Self::NotYet { .. }
            | Self::Envelope(_)
            | Self::Slips(_)
            | Self::Delivery(_)
            | Self::OtherTransportKey
            | Self::NoSecondNeeded
            | Self::ProposalOver { .. }
            | Self::TooManyProposals { .. }
            | Self::NotOneself
            | Self::NotTheKms
            | Self::KeysNotHere
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
            | Self::Wrap(_)
            | Self::Leaf(_)
            | Self::Tls(_)
            | Self::Json(_) => words::unexpected(self as &dyn Error),
        }
    }
}

impl Spoken for SiteError {
    fn message(&self) -> Message {
        match self {
            Self::Console(error) => error.message(),
            Self::NoOrganization => Message::new("fault-no-organization"),
            Self::NoKmsKey => Message::new("fault-no-kms-key"),
            Self::Storage(error) => words::storage(error),
            Self::Database(error) => words::database(error),
            Self::NotRecorded(error) => error.message(),
            Self::Damaged { .. } => Message::new("database-damaged"),
            Self::Hsm(error) => words::hsm(error),
            Self::Replica(error) => words::replica(error),
            Self::Follow(error) => words::follow(error),
            Self::Client(error) => words::client(error),
            Self::ShuttingDown => Message::new("fault-stopping"),
            Self::NotJoined => Message::new("fault-not-joined"),
            Self::Rejected(rejected) => rejected.message(),
            Self::Tls(_)
            | Self::Envelope(_)
            | Self::NotRewrapped(_)
            | Self::Part(_)
            | Self::OrderMarked
            | Self::NoLease
            | Self::NoTransportKey
            | Self::NotFolded { .. }
            | Self::Refused(_) => words::unexpected(self as &dyn Error),
        }
    }
}
