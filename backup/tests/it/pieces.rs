//! Who opens a backup, and who does not (P-10.2 to P-10.6).

use warifu_backup::file::{BackupError, Manifest, Subject, begin, open};
use warifu_backup::pieces::{BackupKey, PieceError, Place, SealedPiece};
use warifu_backup::restore::{Request, RestoredPiece, RestoredPieces};
use warifu_ledger::Digest;
use warifu_ledger::statement::{Backup, HalfHolder};

use crate::fixture::*;
use crate::stage::*;

/// Whether a key is that of the file.
fn opens(manifest: &Manifest, key: &BackupKey) -> bool {
    let (_, right) = made();
    let (file, _) = written(manifest, &right);
    let mut input = file.as_slice();
    Manifest::read(&mut input).unwrap();
    open(input, key).is_ok()
}

#[test]
fn one_custodian_is_not_enough_and_any_two_are() {
    let (manifest, _) = made();
    let request = request(&manifest);
    for label in CUSTODIANS {
        let alone = brought(&manifest, &request, &[label]);
        let refused = joined(&manifest, &request, &alone).err().unwrap();
        assert!(matches!(refused, BackupError::TooFew { have: 1, needed: 2 }), "{refused}");
        // Nor if he comes twice.
        let twice = brought(&manifest, &request, &[label, label]);
        let refused = joined(&manifest, &request, &twice).err().unwrap();
        assert!(matches!(refused, BackupError::TooFew { have: 1, needed: 2 }), "{refused}");
    }
    for pair in [["sakura", "hanako"], ["jiro", "sakura"], ["hanako", "jiro"]] {
        let pieces = brought(&manifest, &request, &pair);
        assert!(opens(&manifest, &joined(&manifest, &request, &pieces).unwrap()));
    }
    let all = brought(&manifest, &request, &CUSTODIANS);
    assert!(opens(&manifest, &joined(&manifest, &request, &all).unwrap()));
}

/// Fewer than the threshold are not only refused: they make no key of this file.
#[test]
fn pieces_below_the_threshold_make_no_key() {
    let (mut three, key) = begin(&Subject { threshold: 3, ..subject() }, &mut Numbered("backup", 0)).unwrap();
    // A manifest that claims that two are enough.
    three.threshold = 2;
    let manifest = signed(&three);
    let request = request(&manifest);
    let pieces = brought(&manifest, &request, &["sakura", "hanako"]);
    let wrong = joined(&manifest, &request, &pieces).unwrap();
    let (file, _) = written(&manifest, &key);
    let mut input = file.as_slice();
    Manifest::read(&mut input).unwrap();
    assert!(matches!(open(input, &wrong), Err(BackupError::Open(_))));
    assert!(open(input, &key).is_ok());
}

#[test]
fn a_key_is_split_as_the_custodians_are() {
    for (threshold, custodians) in [(1, 3), (4, 3), (0, 3)] {
        let mut wrong = subject();
        wrong.threshold = threshold;
        wrong.custodians.truncate(custodians);
        let refused = begin(&wrong, &mut Numbered("backup", 0)).err().unwrap();
        assert!(matches!(refused, BackupError::Piece(PieceError::Unsplittable { .. })), "{refused}");
    }
}

#[test]
fn a_piece_opens_for_its_card_in_its_place_alone() {
    let (manifest, _) = made();
    let (place, piece) = manifest.piece(&card_id("hanako")).unwrap();
    let card = card_id("hanako");
    let read = |place| SealedPiece::read(place, &piece.sealed).unwrap();
    let sealed = read(place);
    let x = agree("hanako 9D", &sealed.encapsulated());
    sealed.open_with_card(&x, piece).unwrap();

    let another = agree("jiro 9D", &sealed.encapsulated());
    let closed = |result: Result<_, PieceError>| result.err().unwrap() == PieceError::DoesNotOpen { card };
    assert!(closed(sealed.open_with_card(&another, piece)));
    for wrong in [
        Place { organization: Digest::of(b"another"), ..place },
        Place { service: HalfHolder::Kms, ..place },
        Place { backup: id("another backup"), ..place },
    ] {
        assert!(closed(read(wrong).open_with_card(&x, piece)));
    }
    let elsewhere = Place { card: card_id("jiro"), ..place };
    let refused = read(elsewhere).open_with_card(&x, piece).err().unwrap();
    assert_eq!(refused, PieceError::DoesNotOpen { card: card_id("jiro") });
    // As a piece for a service it does not open either.
    let transport = piece.transport.0;
    assert!(closed(sealed.open_with_token(&x, &transport, &Digest::of(b"request"), piece)));
}

#[test]
fn a_piece_that_was_changed_is_named() {
    let (manifest, _) = made();
    let request = request(&manifest);
    let card = card_id("hanako");
    let (place, piece) = manifest.piece(&card).unwrap();
    for at in 0..piece.sealed.0.len() {
        let refused = SealedPiece::read(place, &bent(&piece.sealed, at)).and_then(|sealed| {
            let x = agree("hanako 9D", &sealed.encapsulated());
            sealed.open_with_card(&x, piece)
        });
        let named = [PieceError::Malformed { card }, PieceError::DoesNotOpen { card }];
        assert!(named.contains(&refused.err().unwrap()), "byte {at}");
    }
    for length in [0, 65, piece.sealed.0.len() - 1] {
        let short = warifu_ledger::key::Bytes(piece.sealed.0[..length].to_vec());
        assert!(matches!(SealedPiece::read(place, &short), Err(PieceError::Malformed { .. })));
    }
    // On its second way as well.
    let mut brought = brought(&manifest, &request, &["sakura", "hanako"]);
    brought.pieces[1].sealed = bent(&brought.pieces[1].sealed, 70);
    let refused = joined(&manifest, &request, &brought).err().unwrap();
    assert!(matches!(refused, BackupError::Piece(PieceError::DoesNotOpen { card: named }) if named == card));
}

/// Anybody can seal anything to a card: the commitment tells whether it is what the service gave.
#[test]
fn a_piece_of_another_key_is_named() {
    let (manifest, _) = made();
    let (other, _) = begin(&subject(), &mut Numbered("another backup", 0)).unwrap();
    // The same place, another key: the commitment of the first, the seal of the second.
    let mut backup: Backup = manifest.backup().clone();
    let forged = Backup { id: other.id, ..backup.clone() };
    backup = Backup { pieces: other.pieces.clone(), ..forged };
    backup.pieces[1].commitment = manifest.backup().pieces[1].commitment;
    let mixed = signed(&backup);
    let card = card_id("hanako");
    let refused = given(&mixed, &request(&mixed), "hanako").err().unwrap();
    assert!(matches!(refused, BackupError::Piece(PieceError::Wrong { card: named }) if named == card));
}

#[test]
fn pieces_are_for_one_request() {
    let (manifest, _) = made();
    let first = request(&manifest);
    let mut pieces = brought(&manifest, &first, &["sakura", "hanako"]);
    let mut again = first.request().clone();
    again.keys = service_keys("newer ca");
    let second = Request::read(&envelope_by_services(&again, &["newer ca"]), &manifest).unwrap();
    let refused = joined(&manifest, &second, &pieces).err().unwrap();
    assert!(matches!(refused, BackupError::OtherRequest));
    // Nor if they say that they are for the second: the seal says otherwise.
    pieces.request = second.fingerprint();
    let refused = joined(&manifest, &second, &pieces).err().unwrap();
    assert!(matches!(refused, BackupError::Piece(PieceError::DoesNotOpen { .. })));
}

#[test]
fn a_request_is_for_one_backup_and_signed_by_its_own_key() {
    let (manifest, _) = made();
    let (other, _) = begin(&subject(), &mut Numbered("another backup", 0)).unwrap();
    let envelope = request_envelope(&manifest);
    Request::read(&envelope, &manifest).unwrap();
    assert!(matches!(Request::read(&envelope, &signed(&other)), Err(BackupError::OtherBackup)));
    let mut unsigned = envelope;
    unsigned.signatures.clear();
    assert!(matches!(Request::read(&unsigned, &manifest), Err(BackupError::Manifest(_))));
}

#[test]
fn whoever_has_no_piece_brings_none() {
    let (manifest, _) = made();
    let request = request(&manifest);
    let mut pieces = brought(&manifest, &request, &["sakura", "hanako"]);
    pieces.pieces[0] = RestoredPiece { card: card_id("taro"), ..pieces.pieces[0].clone() };
    let refused = joined(&manifest, &request, &pieces).err().unwrap();
    assert!(matches!(refused, BackupError::NoCustodian { card } if card == card_id("taro")));
    let nobody = RestoredPieces { request: request.fingerprint(), pieces: Vec::new() };
    let refused = joined(&manifest, &request, &nobody).err().unwrap();
    assert!(matches!(refused, BackupError::TooFew { have: 0, needed: 2 }));
}
