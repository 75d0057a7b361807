//! PIN, PUK and management key of a card from the factory, and what takes their place (P-6.7).

use std::process::Command;

use warifu_hardware::card::{Card, CardError, KeyRole, Management, ManagementKey, Pin, PinEntry};
use warifu_virtual_card::ins;

use super::desk::{Desk, pin, verify};

fn rng() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

fn tool(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("yubico-piv-tool").args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

pub(crate) fn a_new_card_says_so_and_a_used_one_does_not(desk: &mut Desk) {
    let mut card = desk.open();
    let new = card.secrets().unwrap();
    assert!(new.factory_pin && new.factory_puk && new.management == Management::Factory);

    // The card's own word is no guess, but the last try is kept all the same.
    verify(&mut *card, "999999").unwrap_err();
    assert!(card.secrets().unwrap().factory_pin);
    verify(&mut *card, "999999").unwrap_err();
    assert!(!card.secrets().unwrap().factory_pin);
    card.unblock_pin(PinEntry::new(&Pin::factory_puk()), &Pin::factory()).unwrap();
    card.change_pin(PinEntry::new(&Pin::factory()), &pin("246810")).unwrap();
    card.change_puk(PinEntry::new(&Pin::factory_puk()), &pin("87654321")).unwrap();
    let used = card.secrets().unwrap();
    assert!(!used.factory_pin && !used.factory_puk);
    assert_eq!(used.management, Management::Factory);
    verify(&mut *card, "246810").unwrap();
    card.unblock_pin(PinEntry::new(&pin("87654321")), &pin("135790")).unwrap();
    verify(&mut *card, "135790").unwrap();
}

pub(crate) fn the_management_key_lies_behind_the_pin_where_others_look_for_it(desk: &mut Desk) {
    let mut card = desk.open();
    // Before it is asked for the PIN, nothing is changed.
    assert!(matches!(card.protect_management(&mut rng()), Err(CardError::PinNeeded)));
    assert_eq!(desk.card.seen(ins::SET_MANAGEMENT_KEY), 0);
    verify(&mut *card, "123456").unwrap();
    card.protect_management(&mut rng()).unwrap();
    assert_eq!(card.secrets().unwrap().management, Management::Protected);
    let factory = card.authenticate_management(&ManagementKey::factory());
    assert!(matches!(factory, Err(CardError::ManagementKeyWrong)));
    card.open_management().unwrap();
    card.generate(KeyRole::Authentication).unwrap();
    // It is kept, and not drawn anew.
    card.protect_management(&mut rng()).unwrap();
    assert_eq!(desk.card.seen(ins::SET_MANAGEMENT_KEY), 1);
    drop(card);

    desk.remove();
    desk.insert();
    let mut card = desk.open();
    assert!(matches!(card.open_management(), Err(CardError::PinNeeded)), "readable without the PIN");
    verify(&mut *card, "123456").unwrap();
    card.open_management().unwrap();
    drop(card);

    let (_, refused) = tool(&["-a", "generate", "-s", "9a", "-A", "ECCP256"]);
    assert!(refused.contains("authentication"), "{refused}");
    // A foreign program finds the key where it looks for it, given the PIN, and opens the card with it.
    let read =
        |object: &str| tool(&["-a", "verify-pin", "-P", "123456", "-a", "read-object", "--id", object]);
    let hex = |text: &str| {
        let line = text.lines().find(|line| line.len() > 8 && line.bytes().all(|b| b.is_ascii_hexdigit()));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let kept = hex(&read("0x5fc109").1);
    assert!(kept.starts_with("881a8918"), "{kept}");
    let key = &kept[8..56];
    let (opened, text) = tool(&[&format!("--key={key}"), "-a", "generate", "-s", "9a", "-A", "ECCP256"]);
    assert!(opened, "{text}");
    assert_eq!(hex(&read("0x5fff00").1), "8003810102");
}

pub(crate) fn every_kind_of_management_key_is_protected(desk: &mut Desk) {
    for (algorithm, length) in [(3_u8, 24), (8, 16), (10, 24), (12, 32)] {
        // As a card of firmware 5.7 has it: AES-192, with the same bytes.
        let old = vec![0x5a; length];
        desk.card.set_management_key(algorithm, &old).unwrap();
        let mut card = desk.open();
        verify(&mut *card, "123456").unwrap();
        // Not the factory's, and not behind the PIN.
        if algorithm == 3 {
            assert!(matches!(card.protect_management(&mut rng()), Err(CardError::ManagementKeyUnknown)));
        }
        drop(card);
    }
    desk.card.set_management_key(10, &[1, 2, 3, 4, 5, 6, 7, 8].repeat(3)).unwrap();
    let mut card = desk.open();
    verify(&mut *card, "123456").unwrap();
    assert_eq!(card.secrets().unwrap().management, Management::Factory);
    card.protect_management(&mut rng()).unwrap();
    card.open_management().unwrap();
    card.generate(KeyRole::Transport).unwrap();
    assert_eq!(card.secrets().unwrap().management, Management::Protected);
}

pub(crate) fn a_management_key_of_somebody_elses_is_left_alone(desk: &mut Desk) {
    desk.card.set_management_key(3, &[0x5a; 24]).unwrap();
    let mut card = desk.open();
    verify(&mut *card, "123456").unwrap();
    assert_eq!(card.secrets().unwrap().management, Management::Unknown);
    assert!(matches!(card.open_management(), Err(CardError::ManagementKeyUnknown)));
    assert!(matches!(card.protect_management(&mut rng()), Err(CardError::ManagementKeyUnknown)));
    assert_eq!(desk.card.seen(ins::SET_MANAGEMENT_KEY) + desk.card.seen(ins::PUT_DATA), 0);
    card.authenticate_management(&ManagementKey::new(&[0x5a; 24]).unwrap()).unwrap();
}

pub(crate) fn a_management_key_that_another_program_replaced_is_left_alone(desk: &mut Desk) {
    let mut card = desk.open();
    verify(&mut *card, "123456").unwrap();
    card.protect_management(&mut rng()).unwrap();
    // What lies behind the PIN is not what holds any more.
    desk.card.set_management_key(3, &[0x5a; 24]).unwrap();
    let written = || desk.card.seen(ins::SET_MANAGEMENT_KEY) + desk.card.seen(ins::PUT_DATA);
    let before = written();
    assert!(matches!(card.open_management(), Err(CardError::ManagementKeyUnknown)));
    assert!(matches!(card.protect_management(&mut rng()), Err(CardError::ManagementKeyUnknown)));
    assert_eq!(written(), before);
}

pub(crate) fn a_wrong_old_puk_changes_nothing(desk: &mut Desk) {
    let mut card = desk.open();
    let (wrong, new) = (pin("11111111"), pin("87654321"));
    let wrong = PinEntry::new(&wrong);
    assert!(matches!(card.change_puk(wrong, &new), Err(CardError::PukWrong { tries_left: 2 })));
    assert!(matches!(card.change_puk(wrong, &new), Err(CardError::PukWrong { tries_left: 1 })));
    let asked = desk.card.seen(ins::CHANGE_REFERENCE);
    assert!(matches!(card.change_puk(wrong, &new), Err(CardError::LastTry)));
    assert_eq!(desk.card.seen(ins::CHANGE_REFERENCE), asked, "the last try was spent");
    let factory = Pin::factory_puk();
    let spent = PinEntry::with(&factory, warifu_hardware::card::LastTry::Spend);
    card.change_puk(spent, &new).unwrap();
    card.unblock_pin(PinEntry::new(&new), &pin("246810")).unwrap();
}

/// What a desk does with a new card, as far as secrets go. Begins anew whatever was done before.
fn personalize(card: &mut dyn Card) -> Result<(), CardError> {
    let member = pin("246810");
    if card.secrets()?.factory_pin {
        card.change_pin(PinEntry::new(&Pin::factory()), &member)?;
    }
    card.verify_pin(PinEntry::new(&member))?;
    card.protect_management(&mut rng())
}

pub(crate) fn a_card_that_is_pulled_while_its_secrets_change_goes_on(desk: &mut Desk) {
    let mut rounds = 0;
    for done in [false, true] {
        for nth in 1.. {
            let name = format!("card-{done}-{nth}.json");
            let path = desk.folder.path().join(name);
            desk.remove();
            desk.card = warifu_virtual_card::VirtualCard::create(&path, 7_000 + nth, &desk.root).unwrap();
            desk.insert();
            let mut card = desk.open();
            desk.card.pull_at_change(nth, done);
            let first = personalize(&mut *card);
            if desk.card.disarm() {
                first.unwrap();
                break;
            }
            assert!(matches!(first, Err(CardError::Removed)), "{nth}: {first:?}");
            rounds += 1;
            drop(card);
            desk.remove();
            desk.insert();
            let mut card = desk.open();
            personalize(&mut *card).unwrap_or_else(|error| panic!("pulled at change {nth}: {error}"));
            assert_eq!(card.secrets().unwrap().management, Management::Protected, "{nth}");
            card.open_management().unwrap();
            card.generate(KeyRole::Signature).unwrap();
        }
    }
    // PIN, the kept key, the key, and the note about it.
    assert_eq!(rounds, 2 * 4);
}
