//! The PIN: tries are shown, never wasted, never kept longer than allowed.

use warifu_api::wire::agent::{AgentFault, AgentState, PinText, Unblock};
use warifu_hardware::card::PivCard;
use warifu_token_agent::client::AgentError;
use warifu_virtual_card::{ins, readers};

use crate::desk::{Desk, PIN, until};
use crate::organization::Unit;

#[test]
fn a_wrong_pin_shows_the_tries_left_and_the_last_is_not_spent() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let member = desk.member(&[]);
        desk.start_agent();
        desk.insert(member.index);
        desk.until_pin_needed();
        let card = |desk: &Desk| desk.cards[0].0.seen(ins::VERIFY);
        for bad in ["12345", "123456789", "12345a", "１２３４５６", ""] {
            assert_eq!(desk.unlock(None, bad).unwrap_err(), AgentFault::PinMalformed, "{bad}");
        }
        assert_eq!(card(&desk), 0);
        assert_eq!(desk.unlock(None, "000000").unwrap_err(), AgentFault::PinWrong { tries_left: 2 });
        assert!(matches!(desk.status().state, AgentState::PinNeeded { tries_left: 2, .. }));
        assert_eq!(desk.unlock(None, "000000").unwrap_err(), AgentFault::PinWrong { tries_left: 1 });
        let before = card(&desk);
        assert_eq!(desk.unlock(None, "000000").unwrap_err(), AgentFault::LastTry);
        assert_eq!(desk.unlock(None, PIN).unwrap_err(), AgentFault::LastTry);
        assert_eq!(card(&desk), before);
        assert_eq!(desk.unlock_with(None, "000000", true).unwrap_err(), AgentFault::PinBlocked);
        assert!(matches!(desk.status().state, AgentState::PinBlocked { .. }));
        assert_eq!(desk.unlock(None, PIN).unwrap_err(), AgentFault::PinBlocked);
        assert_eq!(desk.view(&desk.path("any")), Err(AgentFault::PinBlocked));
    });
}

#[test]
fn a_blocked_card_gets_a_new_pin_by_its_puk() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent_with(&["true"]);
        desk.insert(member.index);
        desk.until_pin_needed();
        desk.cards[0].0.block_pin().unwrap();
        assert_eq!(desk.unlock(None, PIN).unwrap_err(), AgentFault::PinBlocked);
        let serial = desk.cards[0].0.serial();
        let unblock = |desk: &Desk, puk: &str, pin: &str| {
            let text = |digits: &str| PinText(digits.to_owned().into());
            let request = Unblock { serial, puk: text(puk), pin: text(pin), spend_last_try: false };
            match desk.runtime.block_on(desk.client().unblock(&request)) {
                Ok(_) => None,
                Err(AgentError::Fault(fault)) => Some(fault),
                Err(other) => panic!("{other}"),
            }
        };
        for (puk, pin) in [("1234567x", "135790"), ("12345678", "13579"), ("", "135790")] {
            assert_eq!(unblock(&desk, puk, pin), Some(AgentFault::PinMalformed));
        }
        assert_eq!(desk.cards[0].0.seen(ins::RESET_RETRY), 0);
        assert_eq!(unblock(&desk, "00000000", "135790"), Some(AgentFault::PukWrong { tries_left: 2 }));
        assert_eq!(desk.unlock(None, PIN).unwrap_err(), AgentFault::PinBlocked);

        assert_eq!(unblock(&desk, "12345678", "135790"), None);
        desk.until_pin_needed();
        assert_eq!(desk.unlock(None, PIN).unwrap_err(), AgentFault::PinWrong { tries_left: 2 });
        desk.unlock(None, "135790").unwrap();
        let file = desk.sealed("a.age", &unit.key, b"x");
        desk.view(&file).unwrap();
    });
}

#[test]
fn the_pin_survives_another_programs_reset_and_not_a_removal_or_lock() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent_with(&["true"]);
        desk.insert_and_unlock(member.index);
        let file = desk.sealed("a.age", &unit.key, b"x");
        // Until then the agent uses the card for a second handshake.
        until("the agent listens", || desk.sites[0].has_listeners().then_some(()));
        let before = desk.cards[0].0.seen(ins::VERIFY);
        // Another program uses the card and resets it when it is done.
        drop(PivCard::open(&desk.readers.name(0)).unwrap());
        desk.view(&file).unwrap();
        assert_eq!(desk.cards[0].0.seen(ins::VERIFY), before + 1);

        desk.remove(0);
        desk.until_state("the card is out", |state| matches!(state, AgentState::NoCard));
        desk.insert(0);
        desk.until_pin_needed();
        assert_eq!(desk.view(&file), Err(AgentFault::PinNeeded { tries_left: 3 }));
        desk.unlock(None, PIN).unwrap();
        desk.view(&file).unwrap();

        desk.runtime.block_on(desk.client().lock()).unwrap();
        assert!(matches!(desk.status().state, AgentState::PinNeeded { .. }));
        assert_eq!(desk.view(&file), Err(AgentFault::PinNeeded { tries_left: 3 }));
    });
}

#[test]
fn the_organizations_ceiling_ends_a_pin_entry() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        let profile = desk.profile();
        desk.write_profile(profile.kms_address, profile.sites, 1_000);
        desk.start_agent();
        desk.insert(member.index);
        desk.until_pin_needed();
        desk.unlock(None, PIN).unwrap();
        desk.until_pin_needed();
    });
}
