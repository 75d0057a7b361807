//! Who may hold the pieces of backups (P-10.1).

use warifu_ledger::state::{CUSTODIANS_LIMIT, Kind, Rejected};
use warifu_ledger::statement::HalfHolder::{Ca, Kms};
use warifu_ledger::statement::Role;

use crate::fixture::*;

fn malformed(why: &'static str) -> Rejected {
    Rejected::CustodiansMalformed { service: Ca, why }
}

#[test]
fn two_officers_name_them() {
    let mut town = Town::working();
    let wanted = || [custodians(Ca, 2, &["sakura", "hanako", "jiro"])];
    assert_eq!(town.refused(wanted(), ONE), Rejected::TwoPeopleNeeded { needed: &[Role::Officer] });
    assert_eq!(town.refused(wanted(), &["hanako", "jiro"]), Rejected::WrongRole { needed: &[Role::Officer] });
    assert!(town.state.custodians(Ca).is_none());
    town.done(wanted(), TWO);
    let found = town.state.custodians(Ca).unwrap();
    assert_eq!(found.threshold, 2);
    assert_eq!(found.cards, ["sakura", "hanako", "jiro"].map(card_id).into());
    assert!(town.state.custodians(Kms).is_none());
}

#[test]
fn no_single_person_opens_a_backup() {
    let mut town = Town::working();
    let alone = malformed("one person alone would open a backup");
    for threshold in [0, 1] {
        assert_eq!(town.refused([custodians(Ca, threshold, &["hanako", "jiro"])], TWO), alone);
    }
    town.done([enrol("hanako:spare")], TWO);
    let twice = malformed("one person is among them with two cards");
    assert_eq!(town.refused([custodians(Ca, 2, &["hanako", "hanako:spare", "jiro"])], TWO), twice);
}

#[test]
fn they_are_enough_and_not_too_many() {
    let mut town = Town::working();
    let few = malformed("they are fewer than have to come together");
    assert_eq!(town.refused([custodians(Ca, 3, &["hanako", "jiro"])], TWO), few);
    assert_eq!(town.refused([custodians(Ca, 2, &[])], TWO), few);
    let labels: Vec<String> = (0..=CUSTODIANS_LIMIT).map(|n| format!("member {n}")).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    town.done(labels.iter().map(|label| enrol(label)), TWO);
    assert_eq!(town.refused([custodians(Ca, 2, &labels)], TWO), malformed("they are more than sixteen"));
    town.done([custodians(Ca, 16, &labels[1..])], TWO);
}

#[test]
fn their_cards_are_alive_and_known() {
    let mut town = Town::working();
    let ca = |card| [custodians(Ca, 2, &["sakura", card])];
    let unknown = Rejected::Unknown { kind: Kind::Card, id: card_id("nobody") };
    assert_eq!(town.refused(ca("nobody"), TWO), unknown);
    town.done([suspend("hanako")], ONE);
    assert_eq!(town.refused(ca("hanako"), TWO), Rejected::CardSuspended { card: card_id("hanako") });
    town.done([revoke_card("hanako")], ONE);
    let over = |card| Rejected::Over { kind: Kind::Card, id: card_id(card) };
    assert_eq!(town.refused(ca("hanako"), TWO), over("hanako"));
    town.done([revoke_member("jiro")], ONE);
    assert_eq!(town.refused(ca("jiro"), TWO), over("jiro"));
}

#[test]
fn they_are_people_of_the_organization_whom_two_officers_enrolled() {
    let mut town = Town::working();
    let contract = malformed("somebody among them works under a contract");
    assert_eq!(town.refused([custodians(Ca, 2, &["sakura", "taro"])], TWO), contract);
    town.done([enrol("saburo")], ONE);
    let alone = malformed("one officer alone enrolled a card of theirs");
    assert_eq!(town.refused([custodians(Ca, 2, &["sakura", "saburo"])], TWO), alone);
}

#[test]
fn nobody_ever_opens_both() {
    let mut town = Town::working();
    town.done([custodians(Ca, 2, &["sakura", "hanako"])], TWO);
    let both = |member| Rejected::CustodianOfBoth { member: id(member) };
    assert_eq!(town.refused([custodians(Kms, 2, &["hanako", "kenji"])], TWO), both("hanako"));
    // Nor with another card.
    town.done([enrol("hanako:spare")], TWO);
    assert_eq!(town.refused([custodians(Kms, 2, &["hanako:spare", "kenji"])], TWO), both("hanako"));
    // Nor once somebody else has taken the place: older backups are still there.
    town.done([custodians(Ca, 2, &["sakura", "jiro"])], TWO);
    assert_eq!(town.refused([custodians(Kms, 2, &["hanako", "kenji"])], TWO), both("hanako"));
    // Nor in one order.
    let swap = [custodians(Kms, 2, &["kenji", "midori"]), custodians(Ca, 2, &["sakura", "midori"])];
    assert_eq!(town.refused(swap, TWO), both("midori"));
    town.done([custodians(Kms, 2, &["kenji", "midori"])], TWO);
    // The same people again, or others.
    town.done([custodians(Ca, 2, &["sakura", "hanako", "jiro"])], TWO);
}
