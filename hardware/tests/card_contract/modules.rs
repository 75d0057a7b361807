//! What concerns cards behind a PKCS#11 module alone: modules that hang, cannot be loaded, or cannot issue.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use warifu_broken_parts::Call;
use warifu_hardware::card::pkcs11::{ModuleConfig, ModuleEvent, ModuleWatcher};
use warifu_hardware::card::{
    AgreementKey, CardError, Custody, KeyRole, LastTry, ManagementKey, ModuleCard, PinEntry, ShareSlot,
};
use warifu_hardware::hsm::wrap::wrap_share;
use warifu_virtual_card::ins;

use super::desk::{
    Desk, LIMIT, certificate_for, draw_share, pin, put_share, rng, software_ecdh, software_key, until, verify,
};

/// What an answer may take beyond the limit, on a machine with much else to do.
const SLACK: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(20);
/// An instruction that no card gets.
const UNUSED: u8 = 0xfe;

pub(crate) fn cards_are_used_and_not_issued(desk: &mut Desk) {
    let (mut card, [transport]) = desk.with_keys([KeyRole::Transport]);
    verify(&mut *card, "123456").unwrap();
    let (share, slot) = (draw_share(), ShareSlot::new(0).unwrap());
    let certificate = certificate_for(&share.public());
    let unsupported = |result: Result<(), CardError>| {
        assert!(matches!(result, Err(CardError::IssuingUnsupported)), "{result:?}");
    };
    unsupported(card.authenticate_management(&ManagementKey::factory()));
    unsupported(card.generate(KeyRole::Transport).map(drop));
    unsupported(card.write_certificate(KeyRole::Transport, &certificate_for(&transport)));
    unsupported(put_share(&mut *card, slot, &share, &certificate));
    unsupported(card.import_share(slot, &share, &certificate));
    unsupported(card.delete_share(slot));
    let (puk, new) = (pin("12345678"), pin("654321"));
    let unblocked = card.unblock_pin(PinEntry::new(&puk), &new);
    assert!(matches!(unblocked, Err(CardError::UnblockingUnsupported)));
    assert_eq!(card.public_key(KeyRole::Transport).unwrap(), transport);
}

/// Shares that were brought onto a PIV card without the module are found and used through it.
pub(crate) fn shares_of_a_piv_card_are_used(desk: &mut Desk) {
    let mut card = desk.open_managed();
    let shares: Vec<_> = (0..3).map(|_| draw_share()).collect();
    for (slot, share) in ShareSlot::all().zip(&shares) {
        card.import_share(slot, share, &certificate_for(&share.public())).unwrap();
    }
    drop(card);
    let mut card = desk.open();
    let found = card.shares().unwrap();
    assert_eq!(found.len(), shares.len());
    let (secret, point) = software_key();
    let first = AgreementKey::Share(found[0].slot);
    assert!(matches!(card.agree(first, &point), Err(CardError::PinNeeded)));
    verify(&mut *card, "123456").unwrap();
    for (stored, share) in found.iter().zip(&shares) {
        let x = card.agree(AgreementKey::Share(stored.slot), &point).unwrap();
        assert_eq!(x.expose().as_slice(), software_ecdh(&secret, &share.public()));
    }
}

pub(crate) fn a_share_that_is_not_the_certificates_is_refused(desk: &mut Desk) {
    let mut card = desk.open_managed();
    let transport = card.generate(KeyRole::Transport).unwrap();
    assert_eq!(card.custody(), Custody::TokenUnwrap);
    let (share, other, slot) = (draw_share(), draw_share(), ShareSlot::new(0).unwrap());
    let certificate = certificate_for(&share.public());
    let wrapped = wrap_share(&mut rng(), &transport, &share.to_pkcs8_der()).unwrap();
    let another = wrap_share(&mut rng(), &transport, &other.to_pkcs8_der()).unwrap();
    let for_another = wrap_share(&mut rng(), &software_key().1, &share.to_pkcs8_der()).unwrap();
    let no_key = wrap_share(&mut rng(), &transport, &[0x30; 67]).unwrap();
    for bad in [another, for_another, no_key] {
        let unwrapped = card.unwrap_share(slot, &bad, &certificate);
        assert!(matches!(unwrapped, Err(CardError::ShareRefused)), "{unwrapped:?}");
        assert!(card.shares().unwrap().is_empty());
        let left = card.agree(AgreementKey::Share(slot), &software_key().1);
        assert!(matches!(left, Err(CardError::KeyMissing)));
    }
    let mismatched = card.unwrap_share(slot, &wrapped, b"nonsense");
    assert!(matches!(mismatched, Err(CardError::CertificateMismatch)));
    let clear = card.import_share(slot, &share, &certificate);
    assert!(matches!(clear, Err(CardError::IssuingUnsupported)), "a share in the clear is not taken");
    card.unwrap_share(slot, &wrapped, &certificate).unwrap();
    let (secret, point) = software_key();
    let x = card.agree(AgreementKey::Share(slot), &point).unwrap();
    assert_eq!(x.expose().as_slice(), software_ecdh(&secret, &share.public()));
}

/// A token without a lock never has a last try; its module's word is all there is.
pub(crate) fn fewer_tries_are_shown(desk: &mut Desk) {
    let mut card = desk.open();
    assert_eq!(card.tries_left().unwrap(), 3);
    for _ in 0..4 {
        assert!(matches!(verify(&mut *card, "999999"), Err(CardError::PinWrong { tries_left: 2 })));
    }
    card.verify_pin(PinEntry::with(&pin("123456"), LastTry::Keep)).unwrap();
    assert_eq!(card.tries_left().unwrap(), 3);
}

pub(crate) fn a_module_that_cannot_be_used_is_named(desk: &mut Desk) {
    let good = desk.module();
    let text = desk.folder.path().join("text");
    std::fs::write(&text, "no module").unwrap();
    for bad in [text, desk.folder.path().join("missing.so"), "/bin/true".into()] {
        let opened = ModuleCard::open(&ModuleConfig { module: bad.clone(), ..good.clone() }, "a reader");
        assert!(matches!(opened.err(), Some(CardError::ModuleUnusable { module }) if module == bad));
    }
    let missing = ModuleConfig { program: desk.folder.path().join("missing"), ..good.clone() };
    assert!(matches!(ModuleCard::open(&missing, "a reader").err(), Some(CardError::NoModuleProgram { .. })));
    let other = ModuleConfig { label: Some("another label".to_owned()), ..good };
    let reader = desk.vendor.as_ref().unwrap().reader.clone();
    assert!(matches!(ModuleCard::open(&other, &reader).err(), Some(CardError::ForeignCard)));
}

/// The process of a hung module is killed in time; the card counts as removed, and is opened again.
pub(crate) fn a_module_that_hangs_is_killed(desk: &mut Desk) {
    let (mut card, _) = desk.with_keys([KeyRole::Transport]);
    let (_, point) = software_key();
    for call in [Call::Login, Call::DeriveKey] {
        if call == Call::DeriveKey {
            verify(&mut *card, "123456").unwrap();
        }
        desk.vendor.as_ref().unwrap().module.hang_at(call).unwrap();
        let asked = Instant::now();
        let result = match call {
            Call::Login => verify(&mut *card, "123456"),
            _ => card.agree(AgreementKey::Transport, &point).map(drop),
        };
        assert!(matches!(result, Err(CardError::ModuleHung { limit, .. }) if limit == LIMIT), "{result:?}");
        assert!(asked.elapsed() < LIMIT + SLACK, "{:?}", asked.elapsed());
        let again = Instant::now();
        assert!(matches!(card.tries_left(), Err(CardError::Removed)));
        assert!(!card.is_present());
        assert!(again.elapsed() < SLACK);
        desk.vendor.as_ref().unwrap().module.let_go().unwrap();
        card = desk.open();
        assert_eq!(card.tries_left().unwrap(), 3);
    }
}

/// Another thread ends what the card is busy with.
pub(crate) fn a_hung_module_is_interrupted(desk: &mut Desk) {
    let mut card = desk.open();
    let interrupt = card.interrupt().unwrap();
    let module = &desk.vendor.as_ref().unwrap().module;
    module.hang_at(Call::Login).unwrap();
    let asked = Instant::now();
    let busy = std::thread::spawn(move || verify(&mut *card, "123456"));
    interrupt.kill();
    let result = busy.join().unwrap();
    assert!(matches!(result, Err(CardError::Removed)), "{result:?}");
    assert!(asked.elapsed() < LIMIT, "{:?}", asked.elapsed());
    module.let_go().unwrap();
    desk.open().tries_left().unwrap();
}

/// A token that goes, and a module that stops answering, are seen within a second.
pub(crate) fn tokens_that_come_and_go_are_seen(desk: &mut Desk) {
    let (events, inbox) = channel();
    let watcher = ModuleWatcher::start(desk.module(), move |event| drop(events.send(event)));
    let next = || inbox.recv_timeout(DEADLINE).unwrap();
    let vendor = desk.vendor.as_ref().unwrap();
    let reader = vendor.reader.clone();
    assert_eq!(next(), ModuleEvent::Up);
    assert_eq!(next(), ModuleEvent::TokenInserted { reader: reader.clone() });
    let pulled = Instant::now();
    vendor.module.pull().unwrap();
    assert_eq!(next(), ModuleEvent::TokenRemoved { reader: reader.clone() });
    assert!(pulled.elapsed() < Duration::from_secs(1), "{:?}", pulled.elapsed());
    vendor.module.put_back().unwrap();
    assert_eq!(next(), ModuleEvent::TokenInserted { reader: reader.clone() });

    let hung = Instant::now();
    vendor.module.hang_at(Call::GetSlotList).unwrap();
    assert_eq!(next(), ModuleEvent::TokenRemoved { reader: reader.clone() });
    assert!(hung.elapsed() < Duration::from_secs(1), "{:?}", hung.elapsed());
    assert_eq!(next(), ModuleEvent::Down { hung: true });
    vendor.module.let_go().unwrap();
    assert_eq!(next(), ModuleEvent::Up);
    assert_eq!(next(), ModuleEvent::TokenInserted { reader });
    vendor.module.hang_at(Call::GetSlotList).unwrap();
    let stopping = Instant::now();
    drop(watcher);
    assert!(stopping.elapsed() < Duration::from_secs(1), "{:?}", stopping.elapsed());
}

/// A token that cannot be read at one look has not gone: SoftHSM's cannot while another process writes to them.
pub(crate) fn a_token_that_is_not_seen_once_stays(desk: &mut Desk) {
    let (events, inbox) = channel();
    let watcher = ModuleWatcher::start(desk.module(), move |event| drop(events.send(event)));
    let next = || inbox.recv_timeout(DEADLINE).unwrap();
    let vendor = desk.vendor.as_ref().unwrap();
    assert_eq!(next(), ModuleEvent::Up);
    assert_eq!(next(), ModuleEvent::TokenInserted { reader: vendor.reader.clone() });
    vendor.module.refuse_once(Call::GetTokenInfo).unwrap();
    until(|| vendor.module.was_refused_once().then_some(()));
    // Nothing is told for longer than it takes to look again.
    assert_eq!(inbox.recv_timeout(Duration::from_secs(1)).ok(), None);
    drop(watcher);
}

/// However often a card is pulled while its module speaks with it: an answer in time, and the next insertion works.
pub(crate) fn a_card_pulled_twenty_times_never_keeps_anybody_waiting(desk: &mut Desk) {
    let (card, _) = desk.with_keys(KeyRole::ALL);
    drop(card);
    let (mut hung, mut slowest) = (0, Duration::ZERO);
    let reader = desk.readers.name(0);
    for round in 0..20 {
        let mut card = desk.open_patiently(&reader, &mut hung);
        verify(&mut *card, "123456").unwrap();
        let (instruction, nth) =
            [(ins::AUTHENTICATE, 1), (ins::VERIFY, 1), (ins::GET_DATA, 1), (ins::AUTHENTICATE, 1)][round % 4];
        desk.card.pull_at(instruction, nth);
        let asked = Instant::now();
        let entry = pin("123456");
        let result = match round % 4 {
            0 => card.agree(AgreementKey::Transport, &software_key().1).map(drop),
            1 => verify(&mut *card, "123456"),
            2 => card.shares().map(drop).and_then(|()| card.tries_left().map(drop)),
            _ => card.sign(KeyRole::Signature, &[7; 32], Some(PinEntry::new(&entry))).map(drop),
        };
        let waited = asked.elapsed();
        slowest = slowest.max(waited);
        assert!(waited < LIMIT + SLACK, "{round}: {waited:?}");
        match &result {
            Err(CardError::ModuleHung { .. }) => hung += 1,
            Err(CardError::Removed) | Ok(()) => {}
            Err(other) => panic!("{round}: {other:?}"),
        }
        if result.is_ok() {
            // The module answered from what it remembers.
            desk.remove();
            until(|| (!card.is_present()).then_some(()));
        }
        assert!(matches!(card.tries_left(), Err(CardError::Removed)), "{round}");
        // What was not met is not to be met at the next insertion.
        desk.card.pull_at(UNUSED, 1);
        desk.inserted = None;
        desk.insert();
    }
    println!("pulled 20 times: the module hung {hung} times, the longest wait was {slowest:?}");
    let mut card = desk.open_patiently(&reader, &mut hung);
    verify(&mut *card, "123456").unwrap();
}
