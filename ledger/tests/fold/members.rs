//! Members without cards, and where members work (P-4.12).

use warifu_ledger::state::{Kind, NotAnswered, Rejected};
use warifu_ledger::statement::{Act, Card, Role};

use crate::fixture::*;

const OFFICER: Rejected = Rejected::WrongRole { needed: &[Role::Officer] };

#[test]
fn a_member_without_a_card_yet() {
    let mut town = Town::working();
    town.done([enrol_member("saburo", None, &["tax"])], ONE);
    let member = town.state.member(&id("saburo")).unwrap();
    assert_eq!((member.name, member.contract), (name("saburo"), None));
    assert_eq!(town.state.cards_of_member(id("saburo")).count(), 0);
    assert_eq!(town.state.units_of_member(&id("saburo"), town.at), ids(&["tax"]));
    assert_eq!(town.state.units_of_member(&id("saburo"), 0), ids(&["tax"]));

    // The card comes later, and has no right by itself.
    town.done([enrol("saburo")], ONE);
    assert_eq!(town.state.may_connect(&card_id("saburo"), town.at), Ok(()));
    assert_eq!(town.answers("main", "saburo", "tax"), Err(NotAnswered::GrantNotLive));
}

#[test]
fn a_card_that_says_otherwise_than_the_enrolment() {
    let mut town = Town::working();
    town.done([enrol_member("saburo", None, &[]), enrol_member("shiro", Some("acme"), &[])], ONE);
    let mismatch = |member: &str| Rejected::MemberMismatch { member: id(member) };
    let renamed = Act::CardEnrolled(Card { name: name("somebody else"), ..card("saburo") });
    assert_eq!(town.refused([renamed], ONE), mismatch("saburo"));
    assert_eq!(town.refused([enrol_under("saburo", "acme")], ONE), mismatch("saburo"));
    assert_eq!(town.refused([enrol("shiro")], ONE), mismatch("shiro"));
    town.done([enrol("saburo"), enrol_under("shiro", "acme")], ONE);
}

#[test]
fn a_contractors_member_without_a_card_is_the_contracts() {
    let mut town = Town::working();
    town.done([enrol_member("shiro", Some("acme"), &["team"])], ONE);
    assert_eq!(town.state.members_of_contract(id("acme")).filter(|m| *m == id("shiro")).count(), 1);
    let refused = town.refused([roles("shiro", &[Role::Dispatcher])], TWO);
    assert_eq!(refused, Rejected::RoleUnderContract { member: id("shiro") });
    town.done([end_contract("acme")], ONE);
    let over = Rejected::Over { kind: Kind::Contract, id: id("acme") };
    assert_eq!(town.refused([enrol_member("goro", Some("acme"), &[])], ONE), over);
    assert_eq!(town.refused([enrol_under("shiro", "acme")], ONE), over);
}

#[test]
fn who_is_not_enrolled() {
    let mut town = Town::working();
    let no_contract = Rejected::Unknown { kind: Kind::Contract, id: id("nothing") };
    let no_unit = Rejected::Unknown { kind: Kind::Unit, id: id("nothing") };
    let again = Rejected::Exists { kind: Kind::Member, id: id("hanako") };
    assert_eq!(town.refused([enrol_member("saburo", Some("nothing"), &[])], ONE), no_contract);
    assert_eq!(town.refused([enrol_member("saburo", None, &["tax", "nothing"])], ONE), no_unit);
    assert_eq!(town.refused([enrol_member("hanako", None, &[])], ONE), again);
    assert_eq!(town.refused([enrol_member("saburo", None, &[])], &["jiro"]), OFFICER);
    town.done([roles("jiro", &[Role::Administrator])], TWO);
    assert_eq!(town.refused([enrol_member("saburo", None, &[])], &["jiro"]), OFFICER);
    town.done([close("tax", None)], TWO);
    let closed = Rejected::Over { kind: Kind::Unit, id: id("tax") };
    assert_eq!(town.refused([enrol_member("saburo", None, &["tax"])], ONE), closed);
}

#[test]
fn whoever_left_before_the_first_card_gets_none() {
    let mut town = Town::working();
    town.done([enrol_member("saburo", None, &[])], ONE);
    town.done([revoke_member("saburo")], ONE);
    assert_eq!(town.refused([enrol("saburo")], ONE), Rejected::Over { kind: Kind::Member, id: id("saburo") });
}

#[test]
fn the_card_of_a_role_holder_who_had_none_takes_two() {
    let mut town = Town::working();
    town.done([enrol_member("saburo", None, &[])], ONE);
    town.done([roles("saburo", &[Role::Officer])], TWO);
    let two = Rejected::TwoPeopleNeeded { needed: &[Role::Officer] };
    assert_eq!(town.refused([enrol("saburo")], ONE), two);
    // Until there is a card, the member is no officer who could sign.
    town.done([revoke_member("midori")], TWO);
    assert_eq!(town.refused([revoke_member("kenji")], &["sakura", "kenji"]), Rejected::LockOut);
}

#[test]
fn where_a_member_works_from_which_day() {
    let mut town = Town::working();
    town.done([unit("welfare"), unit("library")], ONE);
    let hanako = id("hanako");
    assert_eq!(town.state.units_of_member(&hanako, town.at), ids(&[]));
    town.done([place("hanako", &["tax"], None)], ONE);
    let april = town.at + 10 * DAY;
    town.done([place("hanako", &["welfare", "library"], Some(april))], ONE);
    assert_eq!(town.state.units_of_member(&hanako, town.at), ids(&["tax"]));
    assert_eq!(town.state.units_of_member(&hanako, april - 1), ids(&["tax"]));
    assert_eq!(town.state.units_of_member(&hanako, april), ids(&["welfare", "library"]));
    // It gives no right.
    assert_eq!(town.answers_at("main", "hanako", "welfare", april), Err(NotAnswered::GrantNotLive));
    // The latest word holds from its instant on, whatever was planned for later.
    town.done([place("hanako", &["library"], Some(april - DAY))], ONE);
    assert_eq!(town.state.units_of_member(&hanako, april - DAY), ids(&["library"]));
    assert_eq!(town.state.units_of_member(&hanako, april), ids(&["library"]));
    assert_eq!(town.state.units_of_member(&id("nobody"), april), ids(&[]));
}

#[test]
fn who_is_not_placed() {
    let mut town = Town::working();
    let end = town.at + 10 * DAY;
    let over = Rejected::Over { kind: Kind::Member, id: id("jiro") };
    let unknown = |kind, label| Rejected::Unknown { kind, id: id(label) };
    assert_eq!(
        town.refused([place("sakura", &["tax"], None)], TWO),
        Rejected::ForOneself { member: id("sakura") }
    );
    assert_eq!(town.refused([place("nobody", &["tax"], None)], ONE), unknown(Kind::Member, "nobody"));
    assert_eq!(town.refused([place("jiro", &["nothing"], None)], ONE), unknown(Kind::Unit, "nothing"));
    assert_eq!(town.refused([place("jiro", &["tax"], None)], &["hanako"]), OFFICER);
    town.done([revoke_member_at("jiro", end)], ONE);
    town.done([place("jiro", &["tax"], Some(end - 1))], ONE);
    assert_eq!(town.refused([place("jiro", &["tax"], Some(end))], ONE), over, "nobody works there then");
    town.done([close("tax", Some(end - DAY))], TWO);
    let closed = Rejected::Over { kind: Kind::Unit, id: id("tax") };
    assert_eq!(town.refused([place("jiro", &["tax"], Some(end - DAY))], ONE), closed);
    town.done([place("jiro", &["tax"], None)], ONE);
}
