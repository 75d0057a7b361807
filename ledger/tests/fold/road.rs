//! The whole road: founding, sites, units, cards, grants, answers; and whoever folds the same leaves agrees.

use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::{NotAnswered, State};
use warifu_ledger::statement::Right;
use warifu_split_key::point::Point;

use crate::fixture::*;

#[test]
fn from_the_founding_to_an_answer() {
    let mut town = Town::founded();
    town.done([site("main"), site("branch")], TWO);
    assert_eq!(town.state.site(&id("branch")).unwrap().address, "branch.example:8443");

    let unit_order = town.done([unit("tax")], ONE);
    let tax = town.state.unit(&id("tax")).unwrap();
    assert_eq!((tax.order, tax.key), (unit_order, None));
    town.create("tax");
    let (key, leaf) = town.state.unit(&id("tax")).unwrap().key.unwrap();
    let sum = Point::checked_add(&issuer_half("tax").public(), &keeper_half("tax").public()).unwrap();
    assert_eq!((key, leaf), (sum, 3));

    town.done([enrol("hanako")], ONE);
    assert_eq!(town.state.may_connect(&card_id("hanako"), town.at), Ok(()));
    let grant_order = town.done([grant("hanako", "tax")], ONE);
    assert_eq!(town.answers("main", "hanako", "tax"), Err(NotAnswered::NotIssued));
    town.issue("hanako", "tax");

    let (state, at) = (&town.state, town.at);
    let opens = grant_id("hanako", "tax");
    let answered = state.may_answer(&id("branch"), &card_id("hanako"), &opens, Right::Open, at).unwrap();
    let issued = answered.issued.as_ref().unwrap();
    assert_eq!(answered.order, grant_order);
    assert_eq!(Point::checked_add(&issued.card_point, &issued.site_point).unwrap(), key);
    assert_eq!(state.grants_of_card(card_id("hanako")).map(|(id, _)| id).collect::<Vec<_>>(), [opens]);
}

#[test]
fn a_front_desk_gets_the_right_to_route() {
    let mut town = Town::working();
    town.done([front_desk("front", &["tax", "team"])], TWO);
    town.create("front");
    town.done([grant_with("jiro", "front", Right::Route, None)], TWO);
    town.issue("jiro", "front");
    let asks = |right| {
        let grant = grant_id("jiro", "front");
        town.state.may_answer(&id("main"), &card_id("jiro"), &grant, right, town.at).map(|_| ())
    };
    assert_eq!(asks(Right::Route), Ok(()));
    assert_eq!(asks(Right::Open), Err(NotAnswered::WrongRight));
}

#[test]
fn a_lost_card_is_replaced_and_the_old_one_is_dead() {
    let mut town = Town::working();
    town.done([enrol("hanako:2"), revoke_card("hanako"), grant("hanako:2", "tax")], ONE);
    town.issue("hanako:2", "tax");
    assert_eq!(town.answers("main", "hanako:2", "tax"), Ok(()));
    assert_eq!(town.answers("main", "hanako", "tax"), Err(NotAnswered::CardNotLive));
}

#[test]
fn whoever_folds_the_same_bytes_comes_to_the_same_state() {
    let mut town = Town::working();
    town.done([end_contract("acme")], ONE);
    let mut leaves = town.leaves.iter().map(|leaf| Leaf::from_bytes(leaf.as_bytes().to_vec()).unwrap());
    let mut state = State::found(&leaves.next().unwrap()).unwrap();
    for leaf in leaves {
        state = state.apply(&leaf).unwrap();
    }
    assert_eq!(state.tree().root(state.tree().size()), Ok(town.head().root));
    assert_eq!(state.last_at(), town.at);
    assert_eq!(
        format!("{:?}", state.grants().collect::<Vec<_>>()),
        format!("{:?}", town.state.grants().collect::<Vec<_>>())
    );
    assert_eq!(
        format!("{:?}", state.cards().collect::<Vec<_>>()),
        format!("{:?}", town.state.cards().collect::<Vec<_>>())
    );
}

#[test]
fn an_older_state_is_still_a_state() {
    let mut town = Town::working();
    let before = town.state.clone();
    town.done([revoke_member("hanako")], ONE);
    let answer = |state: &State| {
        let grant = grant_id("hanako", "tax");
        state.may_answer(&id("main"), &card_id("hanako"), &grant, Right::Open, town.at).map(|_| ())
    };
    assert_eq!(answer(&before), Ok(()));
    assert_eq!(answer(&town.state), Err(NotAnswered::CardNotLive));
}
