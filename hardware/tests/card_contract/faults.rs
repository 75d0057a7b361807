//! Cards that are pulled, wrong, or talk nonsense, and readers that vanish.

use warifu_hardware::card::{AgreementKey, Card, CardError, KeyRole, ManagementKey, PinEntry, ShareSlot};
use warifu_virtual_card::{VirtualCard, ins};

use super::desk::{Backend, Desk, certificate_for, draw_share, pin, software_key, until, verify};

pub(crate) fn a_removed_card_is_removed_for_good(desk: &mut Desk) {
    let mut card = desk.open();
    verify(&mut *card, "123456").unwrap();
    assert!(card.is_present());
    desk.remove();
    until(|| (!card.is_present()).then_some(()));
    assert!(matches!(card.tries_left(), Err(CardError::Removed)));
    desk.insert();
    let mut again = desk.open();
    assert!(again.is_present());
    assert!(!card.is_present());
    assert!(matches!(verify(&mut *card, "123456"), Err(CardError::Removed)));
}

pub(crate) fn a_card_pulled_in_the_middle_is_removed(desk: &mut Desk) {
    type Attempt = fn(&mut dyn Card) -> Result<(), CardError>;
    let attempts: [(u8, Attempt); 6] = [
        (ins::AUTHENTICATE, |card| card.agree(AgreementKey::Transport, &software_key().1).map(drop)),
        (ins::VERIFY, |card| verify(card, "123456")),
        (ins::AUTHENTICATE, |card| {
            card.sign(KeyRole::Signature, &[7; 32], Some(PinEntry::new(&pin("123456")))).map(drop)
        }),
        (ins::IMPORT, |card| {
            let share = draw_share();
            card.import_share(ShareSlot::new(0).unwrap(), &share, &certificate_for(&share.public()))
        }),
        (ins::AUTHENTICATE, |card| card.authenticate_management(&ManagementKey::factory())),
        (ins::GENERATE, |card| card.generate(KeyRole::Transport).map(drop)),
    ];
    for role in [KeyRole::Transport, KeyRole::Signature] {
        desk.open_managed().generate(role).unwrap();
    }
    for (index, (instruction, attempt)) in attempts.into_iter().enumerate() {
        let mut card = desk.open_managed();
        verify(&mut *card, "123456").unwrap();
        desk.card.pull_at(instruction, 1);
        let result = attempt(&mut *card);
        assert!(matches!(result, Err(CardError::Removed)), "{index}: {result:?}");
        assert!(matches!(card.tries_left(), Err(CardError::Removed)), "{index}");
        desk.inserted = None;
        desk.insert();
        assert!(desk.open().shares().unwrap().is_empty(), "nothing half imported");
    }
}

pub(crate) fn a_foreign_card_an_empty_reader_and_no_reader_are_told_apart(desk: &mut Desk) {
    let foreign = VirtualCard::create_foreign(&desk.folder.path().join("foreign.json")).unwrap();
    assert!(matches!(desk.try_open(&desk.readers.name(1)), Err(CardError::NoCard)));
    assert!(matches!(desk.try_open("no such reader"), Err(CardError::NoReader { .. })));
    assert!(matches!(desk.try_open("nul\0byte"), Err(CardError::NoReader { .. })));
    let _inserted = foreign.insert(desk.readers.port(1)).unwrap();
    let error = until(|| match desk.try_open(&desk.readers.name(1)) {
        Err(CardError::NoCard) => None,
        other => other.err(),
    });
    assert!(matches!(error, CardError::ForeignCard), "{error:?}");
    desk.open().tries_left().unwrap();
}

pub(crate) fn a_reader_service_that_dies_is_reported(desk: &mut Desk) {
    let mut card = desk.open();
    desk.readers.kill();
    let tries = card.tries_left();
    assert!(matches!(tries, Err(CardError::NoReaderService)), "{tries:?}");
    assert!(!card.is_present());
    let opened = desk.try_open(&desk.readers.name(0)).err();
    assert!(matches!(opened, Some(CardError::NoReaderService)), "{opened:?}");
    desk.readers.restart().unwrap();
    desk.open().tries_left().unwrap();
}

pub(crate) fn nonsense_from_the_card_is_an_error_and_no_panic(desk: &mut Desk) {
    let mut card = desk.open_managed();
    for role in KeyRole::ALL {
        card.generate(role).unwrap();
    }
    verify(&mut *card, "123456").unwrap();
    let factory = ManagementKey::factory();
    let (_, point) = software_key();
    let endless = [[0x55; 256].as_slice(), &[0x61, 0xff]].concat();
    let nonsense: [&[u8]; 7] = [
        &[0x90, 0x00],
        &[0x7c, 0x90, 0x00],
        &[0x30, 0x82, 0xff, 0xff, 0x90, 0x00],
        &[0x7c, 0x83, 1, 2, 3, 4, 5, 0x90, 0x00],
        &[0x7c, 0x04, 0x82, 0x02, 1, 1, 0x90, 0x00],
        &[0x6f, 0x00],
        &endless,
    ];
    for answer in nonsense {
        for instruction in [ins::METADATA, ins::AUTHENTICATE, ins::GET_DATA, ins::ATTEST, ins::GENERATE] {
            desk.card.answer_with(instruction, answer);
            if answer.len() > 256 {
                // The rest of a long answer is nonsense without an end.
                desk.card.answer_with(ins::GET_RESPONSE, answer);
            }
            let _ = card.tries_left();
            let _ = card.public_key(KeyRole::Transport);
            let _ = card.shares();
            let _ = card.certificate(KeyRole::Authentication);
            let _ = card.attestation(KeyRole::Authentication);
            let _ = card.agree(AgreementKey::Transport, &point);
            let _ = card.authenticate_management(&factory);
            let _ = card.generate(KeyRole::Transport);
        }
        for instruction in [ins::SELECT, ins::VERSION, ins::SERIAL] {
            desk.card.answer_with(instruction, answer);
            let _ = desk.try_open(&desk.readers.name(0));
        }
        desk.card.answer_truly();
        drop(card);
        card = desk.open_managed();
        verify(&mut *card, "123456").unwrap();
    }
    desk.card.answer_with(ins::AUTHENTICATE, &[0x7c, 0x04, 0x82, 0x02, 1, 1, 0x90, 0x00]);
    assert!(matches!(card.agree(AgreementKey::Transport, &point), Err(CardError::Malformed { .. })));
    desk.card.answer_with(ins::GENERATE, &[0x90, 0x00]);
    assert!(matches!(card.generate(KeyRole::Transport), Err(CardError::Malformed { .. })));
}

pub(crate) fn two_cards_are_told_apart_by_reader(desk: &mut Desk) {
    let other = VirtualCard::create(&desk.folder.path().join("other.json"), 7_654_321, &desk.root).unwrap();
    let inserted = other.insert(desk.readers.port(1)).unwrap();
    for reader in [0, 1] {
        let mut card = desk.open_managed_in(reader);
        let point = card.generate(KeyRole::Authentication).unwrap();
        card.write_certificate(KeyRole::Authentication, &certificate_for(&point)).unwrap();
    }
    let (mut first, mut second) = (desk.open_in(0), desk.open_in(1));
    assert_ne!(first.identity().serial, second.identity().serial);
    if desk.backend == Backend::Piv {
        assert_eq!(first.identity().serial, "1234567");
        assert_eq!(second.identity().serial, "7654321");
        assert_eq!(second.identity().firmware, "5.4.3");
    }
    assert!(matches!(verify(&mut *first, "999999"), Err(CardError::PinWrong { .. })));
    assert_eq!((first.tries_left().unwrap(), second.tries_left().unwrap()), (2, 3));
    inserted.remove();
    until(|| (!second.is_present()).then_some(()));
    verify(&mut *first, "123456").unwrap();
    assert!(matches!(second.tries_left(), Err(CardError::Removed)));
}
