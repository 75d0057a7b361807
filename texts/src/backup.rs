//! Why there is no backup, or why it does not open, in words.

use warifu_backup::file::BackupError;
use warifu_backup::pieces::PieceError;

use crate::message::{Message, Spoken, system};

impl Spoken for BackupError {
    fn message(&self) -> Message {
        let said = Message::new;
        match self {
            Self::Io(error) => said("backup-io").with_message("why", system(error)),
            Self::NoManifest => said("backup-none"),
            Self::Manifest(_) | Self::Senseless { .. } | Self::Open(_) | Self::NoKey | Self::Seal(_) => {
                said("backup-unsound").with("why", self)
            }
            Self::OtherBackup => said("backup-other"),
            Self::OtherRequest => said("backup-other-request"),
            Self::TooFew { have, needed } => said("backup-too-few").with("have", have).with("needed", needed),
            Self::NoCustodian { card } => said("backup-no-custodian").with("card", card),
            Self::Piece(
                PieceError::Malformed { card }
                | PieceError::DoesNotOpen { card }
                | PieceError::Wrong { card },
            ) => said("backup-piece").with("card", card),
            other => said("backup-unsound").with("why", other),
        }
    }
}
