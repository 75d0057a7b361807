//! Backups: the file that an operator brings, and the pieces that come from the desk.

use std::sync::OnceLock;

use serde_json::Value;
use warifu_backup::file::{BackupError, Content, Manifest, open};
use warifu_backup::pieces::{BackupKey, PieceError};
use warifu_backup::restore::{Request, RestoredPieces, join};
use warifu_ledger::dsse::Envelope;
use warifu_split_key::partial::PartialX;

use crate::files::Numbered;
use crate::strict;

/// `docs/vectors/backup.json`.
fn vector() -> &'static Value {
    static VECTOR: OnceLock<Value> = OnceLock::new();
    VECTOR.get_or_init(|| serde_json::from_str(include_str!("../../../docs/vectors/backup.json")).unwrap())
}

fn envelope(of: &str) -> Envelope {
    serde_json::from_value(vector()[of]["envelope"].clone()).unwrap()
}

/// The first line: what is read is what people compare, and its pieces are found by their cards. Nobody has its key.
pub(crate) fn file(data: &[u8]) -> bool {
    let mut input = data;
    let Ok(manifest) = Manifest::read(&mut input) else { return false };
    assert_eq!(manifest.fingerprint(), manifest.envelope().digest());
    let backup = manifest.backup();
    assert!((2..=backup.pieces.len()).contains(&usize::from(backup.threshold)));
    for piece in &backup.pieces {
        assert_eq!(manifest.piece(&piece.card).unwrap().1, piece);
    }
    let key = BackupKey::draw(&mut Numbered(7));
    assert!(open(input, &key).is_err(), "it opens with a key that was drawn just now");
    true
}

pub(crate) fn file_seeds() -> Vec<Vec<u8>> {
    let mut line = serde_json::to_vec(&envelope("manifest")).unwrap();
    line.extend_from_slice(b"\nage-encryption.org/v1\n");
    vec![line]
}

/// What a key opens: every byte is part of a half or of the database, or is missed.
pub(crate) fn content(data: &[u8]) -> bool {
    let Ok(mut content) = Content::begin(data) else { return false };
    let mut halves = 0;
    loop {
        match content.next_half() {
            Ok(Some(_)) => halves += 1,
            Ok(None) => break,
            Err(BackupError::Io(_)) => return false,
            Err(other) => panic!("{other}"),
        }
    }
    let mut database = Vec::new();
    let digest = content.database(&mut database, |_| {}).unwrap();
    assert_eq!(digest, warifu_ledger::Digest::of(data));
    assert_eq!(4 + 48 * halves + database.len(), data.len());
    true
}

pub(crate) fn content_seeds() -> Vec<Vec<u8>> {
    vec![[&[0, 0, 0, 1][..], &[7; 48], b"SQLite format 3\0"].concat(), vec![0; 4], vec![0xff; 60]]
}

/// Pieces for a request: only those of its custodians, each once, and none of another key.
pub(crate) fn pieces(data: &[u8]) -> bool {
    let Ok(brought) = serde_json::from_slice::<RestoredPieces>(data) else { return false };
    assert!(strict::reads::<RestoredPieces>(data, &[]));
    let manifest = Manifest::try_from(envelope("manifest")).unwrap();
    let request = Request::read(&envelope("request"), &manifest).unwrap();
    // A token of somebody else.
    let joined = join::<BackupError>(&manifest, &request, &brought, |_| Ok(PartialX::from_bytes(&[7; 32])));
    match joined.map(|_| ()).unwrap_err() {
        BackupError::OtherRequest => assert_ne!(brought.request, request.fingerprint()),
        BackupError::TooFew { have, .. } => assert_eq!(have, 0),
        BackupError::NoCustodian { card } => assert!(manifest.piece(&card).is_none()),
        BackupError::Piece(PieceError::Malformed { card } | PieceError::DoesNotOpen { card }) => {
            assert!(manifest.piece(&card).is_some());
        }
        other => panic!("{other}"),
    }
    true
}

pub(crate) fn pieces_seeds() -> Vec<Vec<u8>> {
    vec![vector()["pieces"].to_string().into_bytes()]
}
