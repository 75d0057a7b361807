//! PIN and management key.

use warifu_hardware::card::{CardError, KeyRole, LastTry, ManagementKey, PinEntry, ShareSlot};
use warifu_virtual_card::ins;

use super::desk::{Backend, Desk, certificate_for, draw_share, pin, put_share, verify};

pub(crate) fn a_wrong_pin_is_reported_with_the_tries_left_and_never_retried(desk: &mut Desk) {
    let mut card = desk.open();
    assert_eq!(card.tries_left().unwrap(), 3);
    let before = desk.pins_shown();
    assert!(matches!(verify(&mut *card, "999999"), Err(CardError::PinWrong { tries_left: 2 })));
    assert_eq!(desk.pins_shown(), before + 1);
    assert_eq!(card.tries_left().unwrap(), 2);
    verify(&mut *card, "123456").unwrap();
    assert_eq!(card.tries_left().unwrap(), 3);
}

pub(crate) fn the_last_try_is_not_spent_silently(desk: &mut Desk) {
    let (mut card, _) = desk.with_keys([KeyRole::Signature]);
    for left in [2, 1] {
        assert!(
            matches!(verify(&mut *card, "999999"), Err(CardError::PinWrong { tries_left }) if tries_left == left)
        );
    }
    let before = desk.pins_shown();
    let (right, wrong) = (pin("123456"), pin("999999"));
    assert!(matches!(card.verify_pin(PinEntry::new(&right)), Err(CardError::LastTry)));
    assert!(matches!(card.change_pin(PinEntry::new(&right), &wrong), Err(CardError::LastTry)));
    let signed = card.sign(KeyRole::Signature, &[7; 32], Some(PinEntry::new(&right)));
    assert!(matches!(signed, Err(CardError::LastTry)));
    assert_eq!(card.tries_left().unwrap(), 1);
    assert_eq!((desk.pins_shown(), desk.card.seen(ins::CHANGE_REFERENCE)), (before, 0));

    card.verify_pin(PinEntry::with(&right, LastTry::Spend)).unwrap();
    if desk.backend == Backend::OpenSc {
        // It goes on saying that one try is left until the card is opened again: the cautious answer.
        assert_eq!(card.tries_left().unwrap(), 1);
        drop(card);
        card = desk.open();
    }
    assert_eq!(card.tries_left().unwrap(), 3);
    for _ in 0..2 {
        assert!(matches!(verify(&mut *card, "999999"), Err(CardError::PinWrong { .. })));
    }
    let spent = card.verify_pin(PinEntry::with(&wrong, LastTry::Spend));
    assert!(matches!(spent, Err(CardError::PinBlocked)));
}

pub(crate) fn a_blocked_pin_is_reported_without_asking(desk: &mut Desk) {
    let mut card = desk.open();
    desk.card.block_pin().unwrap();
    let entry = pin("123456");
    for last_try in [LastTry::Keep, LastTry::Spend] {
        let verified = card.verify_pin(PinEntry::with(&entry, last_try));
        assert!(matches!(verified, Err(CardError::PinBlocked)));
    }
    assert_eq!(card.tries_left().unwrap(), 0);
    if desk.backend != Backend::Ykcs11 {
        // That module reads the tries once, and has to ask. A PIN that is blocked loses nothing by it.
        assert_eq!(desk.pins_shown(), 0);
    }
}

pub(crate) fn a_wrong_old_pin_changes_nothing(desk: &mut Desk) {
    let mut card = desk.open();
    let (old, wrong, new) = (pin("123456"), pin("999999"), pin("87654321"));
    let changed = card.change_pin(PinEntry::new(&wrong), &new);
    assert!(matches!(changed, Err(CardError::PinWrong { tries_left: 2 })), "{changed:?}");
    card.verify_pin(PinEntry::new(&old)).unwrap();
    card.change_pin(PinEntry::new(&old), &new).unwrap();
    assert!(matches!(card.verify_pin(PinEntry::new(&old)), Err(CardError::PinWrong { .. })));
    card.verify_pin(PinEntry::new(&new)).unwrap();
}

pub(crate) fn the_puk_unblocks_and_is_never_retried(desk: &mut Desk) {
    let mut card = desk.open();
    desk.card.block_pin().unwrap();
    let (puk, wrong, new) = (pin("12345678"), pin("00000000"), pin("135790"));
    assert_eq!(card.puk_tries_left().unwrap(), Some(3));
    let unblocked = card.unblock_pin(PinEntry::new(&wrong), &new);
    assert!(matches!(unblocked, Err(CardError::PukWrong { tries_left: 2 })));
    assert_eq!(desk.card.seen(ins::RESET_RETRY), 1);
    assert_eq!((card.puk_tries_left().unwrap(), card.tries_left().unwrap()), (Some(2), 0));

    card.unblock_pin(PinEntry::new(&puk), &new).unwrap();
    assert_eq!((card.puk_tries_left().unwrap(), card.tries_left().unwrap()), (Some(3), 3));
    assert!(matches!(verify(&mut *card, "123456"), Err(CardError::PinWrong { tries_left: 2 })));
    verify(&mut *card, "135790").unwrap();
}

pub(crate) fn the_last_try_of_the_puk_is_not_spent_silently(desk: &mut Desk) {
    let mut card = desk.open();
    desk.card.block_pin().unwrap();
    let (puk, wrong, new) = (pin("12345678"), pin("00000000"), pin("135790"));
    for left in [2, 1] {
        let unblocked = card.unblock_pin(PinEntry::new(&wrong), &new);
        assert!(matches!(unblocked, Err(CardError::PukWrong { tries_left }) if tries_left == left));
    }
    let before = desk.card.seen(ins::RESET_RETRY);
    assert!(matches!(card.unblock_pin(PinEntry::new(&puk), &new), Err(CardError::LastTry)));
    assert_eq!(desk.card.seen(ins::RESET_RETRY), before);
    let spent = card.unblock_pin(PinEntry::with(&wrong, LastTry::Spend), &new);
    assert!(matches!(spent, Err(CardError::PukBlocked)));
    let before = desk.card.seen(ins::RESET_RETRY);
    let blocked = card.unblock_pin(PinEntry::with(&puk, LastTry::Spend), &new);
    assert!(matches!(blocked, Err(CardError::PukBlocked)));
    assert_eq!(desk.card.seen(ins::RESET_RETRY), before);
}

pub(crate) fn a_puk_whose_tries_are_not_told_may_be_at_its_last(desk: &mut Desk) {
    let mut card = desk.open();
    desk.card.block_pin().unwrap();
    let (puk, new) = (pin("12345678"), pin("135790"));
    let before = desk.card.seen(ins::RESET_RETRY);
    desk.card.answer_with(ins::METADATA, &[0x6d, 0x00]);
    assert!(matches!(card.unblock_pin(PinEntry::new(&puk), &new), Err(CardError::LastTry)));
    assert_eq!(desk.card.seen(ins::RESET_RETRY), before);
    let asked = desk.card.seen(ins::CHANGE_REFERENCE);
    desk.card.answer_with(ins::METADATA, &[0x6d, 0x00]);
    assert!(matches!(card.change_puk(PinEntry::new(&puk), &new), Err(CardError::LastTry)));
    assert_eq!(desk.card.seen(ins::CHANGE_REFERENCE), asked);
    desk.card.answer_with(ins::METADATA, &[0x6d, 0x00]);
    card.unblock_pin(PinEntry::with(&puk, LastTry::Spend), &new).unwrap();
    verify(&mut *card, "135790").unwrap();
}

pub(crate) fn counting_tries_does_not_forget_the_pin(desk: &mut Desk) {
    let mut card = desk.open_managed();
    card.generate(KeyRole::Authentication).unwrap();
    verify(&mut *card, "123456").unwrap();
    assert_eq!(card.tries_left().unwrap(), 3);
    card.sign(KeyRole::Authentication, &[7; 32], None).unwrap();
    assert!(card.is_present());
    card.shares().unwrap();
    card.sign(KeyRole::Authentication, &[8; 32], None).unwrap();

    // Older cards do not describe their PIN, and tell the tries only while it is not verified.
    desk.card.answer_with(ins::METADATA, &[0x6d, 0x00]);
    assert_eq!(card.tries_left().unwrap(), 1, "the cautious answer");
    card.sign(KeyRole::Authentication, &[9; 32], None).unwrap();
    drop(card);
    let mut card = desk.open();
    assert_eq!(card.tries_left().unwrap(), 3);
    verify(&mut *card, "123456").unwrap();
    assert_eq!(card.tries_left().unwrap(), 3);
}

pub(crate) fn a_wrong_management_key_is_reported(desk: &mut Desk) {
    let mut card = desk.open();
    for bytes in [vec![0x42; 24], vec![0x42; 16], vec![0x42; 32]] {
        let key = ManagementKey::new(&bytes).unwrap();
        assert!(matches!(card.authenticate_management(&key), Err(CardError::ManagementKeyWrong)));
    }
    assert!(matches!(card.generate(KeyRole::Authentication), Err(CardError::ManagementKeyNeeded)));
    card.authenticate_management(&ManagementKey::factory()).unwrap();
    card.generate(KeyRole::Authentication).unwrap();
}

pub(crate) fn nothing_is_written_without_the_management_key(desk: &mut Desk) {
    let point = desk.open_managed().generate(KeyRole::Authentication).unwrap();
    // Closing the card forgot the management key.
    let mut card = desk.open();
    let needed =
        |result: Result<(), CardError>| assert!(matches!(result, Err(CardError::ManagementKeyNeeded)));
    let slot = ShareSlot::new(0).unwrap();
    let share = draw_share();
    needed(card.generate(KeyRole::Authentication).map(drop));
    needed(card.write_certificate(KeyRole::Authentication, &certificate_for(&point)));
    needed(card.import_share(slot, &share, &certificate_for(&share.public())));
    needed(card.delete_share(slot));
    assert_eq!(card.public_key(KeyRole::Authentication).unwrap(), point);
    assert_eq!(card.certificate(KeyRole::Authentication).unwrap(), None);
    assert!(card.shares().unwrap().is_empty());
}

pub(crate) fn every_kind_of_management_key_works(desk: &mut Desk) {
    for (algorithm, length) in [(3, 24), (8, 16), (10, 24), (12, 32)] {
        let bytes: Vec<u8> = (0..length).map(|byte| 3 * byte + algorithm).collect();
        desk.card.set_management_key(algorithm, &bytes).unwrap();
        let mut card = desk.open();
        assert!(matches!(
            card.authenticate_management(&ManagementKey::factory()),
            Err(CardError::ManagementKeyWrong)
        ));
        card.authenticate_management(&ManagementKey::new(&bytes).unwrap()).unwrap();
        card.generate(KeyRole::Transport).unwrap();
    }
}

pub(crate) fn a_reset_by_another_program_costs_the_pin_and_nothing_else(desk: &mut Desk) {
    let mut card = desk.open_managed();
    card.generate(KeyRole::Authentication).unwrap();
    verify(&mut *card, "123456").unwrap();
    card.sign(KeyRole::Authentication, &[7; 32], None).unwrap();

    drop(desk.open());
    assert!(matches!(card.generate(KeyRole::Transport), Err(CardError::ManagementKeyNeeded)));
    assert!(matches!(card.sign(KeyRole::Authentication, &[7; 32], None), Err(CardError::PinNeeded)));
    assert!(matches!(card.generate(KeyRole::Transport), Err(CardError::ManagementKeyNeeded)));
    verify(&mut *card, "123456").unwrap();
    card.sign(KeyRole::Authentication, &[7; 32], None).unwrap();

    // A program that only selects another application takes the PIN with it, too.
    select_another_application(desk);
    assert!(matches!(card.sign(KeyRole::Authentication, &[7; 32], None), Err(CardError::PinNeeded)));
    verify(&mut *card, "123456").unwrap();
    card.sign(KeyRole::Authentication, &[7; 32], None).unwrap();
}

fn select_another_application(desk: &Desk) {
    let context = pcsc::Context::establish(pcsc::Scope::User).unwrap();
    let name = std::ffi::CString::new(desk.readers.name(0)).unwrap();
    let other = context.connect(&name, pcsc::ShareMode::Shared, pcsc::Protocols::ANY).unwrap();
    let select = [0, 0xa4, 4, 0, 8, 0xa0, 0, 0, 5, 0x27, 0x47, 0x11, 0x17];
    assert!(other.transmit(&select, &mut [0; 300]).unwrap().ends_with(&[0x90, 0x00]));
    other.disconnect(pcsc::Disposition::LeaveCard).map_err(|(_, error)| error).unwrap();
}

/// The same where the PIN is what opens a token for writing.
pub(crate) fn nothing_is_written_without_the_pin(desk: &mut Desk) {
    let (mut card, [point]) = desk.with_keys([KeyRole::Transport]);
    let needed = |result: Result<(), CardError>| {
        assert!(matches!(result, Err(CardError::PinNeeded)), "{result:?}");
    };
    let slot = ShareSlot::new(0).unwrap();
    let share = draw_share();
    needed(card.generate(KeyRole::Transport).map(drop));
    needed(card.write_certificate(KeyRole::Transport, &certificate_for(&point)));
    needed(put_share(&mut *card, slot, &share, &certificate_for(&share.public())));
    needed(card.delete_share(slot));
    assert_eq!(card.public_key(KeyRole::Transport).unwrap(), point);
    assert_eq!(card.certificate(KeyRole::Transport).unwrap(), None);
    assert!(card.shares().unwrap().is_empty());
}

/// Another process's login, or none, is not this card's.
pub(crate) fn a_card_that_is_opened_again_wants_its_pin(desk: &mut Desk) {
    let (mut card, _) = desk.with_keys([KeyRole::Authentication]);
    verify(&mut *card, "123456").unwrap();
    card.sign(KeyRole::Authentication, &[7; 32], None).unwrap();
    drop(card);
    let mut card = desk.open();
    assert!(matches!(card.sign(KeyRole::Authentication, &[7; 32], None), Err(CardError::PinNeeded)));
    if desk.backend != Backend::SoftHsm {
        // SoftHSM is not reset by anything; it only forgets with its process.
        assert_eq!(card.tries_left().unwrap(), 3);
    }
}
