//! Revocation: which shares it destroys, and who is answered no more (P-4.8).

use std::collections::BTreeSet;

use warifu_ledger::Id;
use warifu_ledger::state::{CardStatus, NotAnswered};
use warifu_ledger::statement::{Act, Right};

use crate::fixture::*;

/// Hanako with two cards, taro (of acme) with grants inside and outside acme's team, jiro with a grant to the team.
fn busy() -> Town {
    let mut town = Town::working();
    town.done([unit("welfare"), enrol("hanako:2")], ONE);
    town.create("welfare");
    town.done(
        [
            grant("hanako", "welfare"),
            grant("hanako:2", "tax"),
            grant("taro", "welfare"),
            grant("jiro", "team"),
            grant("jiro", "tax"),
        ],
        ONE,
    );
    for (card, unit) in
        [("hanako", "welfare"), ("hanako:2", "tax"), ("taro", "welfare"), ("jiro", "team"), ("jiro", "tax")]
    {
        town.issue(card, unit);
    }
    town
}

const ALL: &[(&str, &str)] = &[
    ("hanako", "tax"),
    ("hanako", "welfare"),
    ("hanako:2", "tax"),
    ("taro", "team"),
    ("taro", "welfare"),
    ("jiro", "team"),
    ("jiro", "tax"),
];

fn ends(act: Act, expected: &[(&str, &str)], why: NotAnswered) {
    let mut town = busy();
    let expected_ids: BTreeSet<Id> = expected.iter().map(|(card, unit)| grant_id(card, unit)).collect();
    assert_eq!(town.state.ended_by(&act), expected_ids);
    for (card, unit) in ALL {
        assert_eq!(town.answers("main", card, unit), Ok(()));
    }
    town.done([act.clone()], ONE);
    // A site that crashed in the middle asks again afterwards, and hears the same.
    assert_eq!(town.state.ended_by(&act), expected_ids);
    for (card, unit) in ALL {
        for site in ["main", "branch"] {
            let answer = if expected.contains(&(card, unit)) { Err(why) } else { Ok(()) };
            assert_eq!(town.answers(site, card, unit), answer, "{card} {unit}");
        }
        assert_eq!(
            town.state.grant(&grant_id(card, unit)).unwrap().revoked,
            expected.contains(&(card, unit))
        );
    }
    // Twice is as once.
    town.done([act], ONE);
}

#[test]
fn of_a_grant() {
    ends(revoke_grant("hanako", "tax"), &[("hanako", "tax")], NotAnswered::GrantNotLive);
}

#[test]
fn of_a_card() {
    ends(revoke_card("hanako"), &[("hanako", "tax"), ("hanako", "welfare")], NotAnswered::CardNotLive);
}

#[test]
fn of_a_member() {
    ends(
        revoke_member("hanako"),
        &[("hanako", "tax"), ("hanako", "welfare"), ("hanako:2", "tax")],
        NotAnswered::CardNotLive,
    );
}

#[test]
fn of_a_contract() {
    let mut town = busy();
    let act = end_contract("acme");
    let expected = [("taro", "team"), ("taro", "welfare"), ("jiro", "team")];
    assert_eq!(town.state.ended_by(&act), expected.iter().map(|(card, unit)| grant_id(card, unit)).collect());
    town.done([act], ONE);
    assert_eq!(town.answers("main", "taro", "team"), Err(NotAnswered::ContractOver));
    assert_eq!(town.answers("main", "taro", "welfare"), Err(NotAnswered::ContractOver));
    // Jiro is the town's own: he only loses the team's files.
    assert_eq!(town.answers("main", "jiro", "team"), Err(NotAnswered::GrantNotLive));
    assert_eq!(town.answers("main", "jiro", "tax"), Ok(()));
    assert_eq!(town.state.may_connect(&card_id("taro"), town.at), Err(NotAnswered::ContractOver));
}

#[test]
fn of_a_contract_by_its_date_without_any_message() {
    let town = busy();
    for site in ["main", "branch"] {
        for (card, unit) in [("taro", "team"), ("taro", "welfare"), ("jiro", "team")] {
            assert_eq!(town.answers_at(site, card, unit, ACME_ENDS - 1), Ok(()));
            assert_eq!(town.answers_at(site, card, unit, ACME_ENDS), Err(NotAnswered::ContractOver));
            assert_eq!(town.answers_at(site, card, unit, u64::MAX), Err(NotAnswered::ContractOver));
        }
        assert_eq!(town.answers_at(site, "jiro", "tax", ACME_ENDS), Ok(()));
    }
}

#[test]
fn of_a_grant_by_its_date_without_any_message() {
    let mut town = Town::working();
    let until = town.at + DAY;
    town.done([grant_with("jiro", "tax", Right::Open, Some(until))], ONE);
    town.issue("jiro", "tax");
    assert_eq!(town.answers_at("main", "jiro", "tax", until - 1), Ok(()));
    assert_eq!(town.answers_at("main", "jiro", "tax", until), Err(NotAnswered::GrantExpired));
}

#[test]
fn of_somebody_who_has_no_grant_yet() {
    let mut town = Town::working();
    town.done([grant("jiro", "tax")], ONE);
    let act = revoke_card("jiro");
    assert_eq!(town.state.ended_by(&act), BTreeSet::from([grant_id("jiro", "tax")]), "its key pairs exist");
    town.done([act], ONE);
    assert_eq!(town.state.card(&card_id("jiro")).unwrap().status, CardStatus::Revoked);
}

#[test]
fn suspension_ends_nothing_and_stops_everything() {
    let mut town = busy();
    assert!(town.state.ended_by(&suspend("hanako")).is_empty());
    town.done([suspend("hanako")], ONE);
    town.done([suspend("hanako")], ONE);
    assert_eq!(town.answers("main", "hanako", "tax"), Err(NotAnswered::CardSuspended));
    assert_eq!(town.answers("main", "hanako:2", "tax"), Ok(()), "the other card goes on");
    town.done([resume("hanako")], ONE);
    assert_eq!(town.answers("main", "hanako", "tax"), Ok(()));
}

#[test]
fn a_suspended_card_that_is_revoked_stays_dead() {
    let mut town = busy();
    town.done([suspend("hanako")], ONE);
    let late_resume = town.order([resume("hanako")], ONE);
    town.done([revoke_card("hanako")], ONE);
    assert!(town.append(late_resume).is_err());
    assert_eq!(town.answers("main", "hanako", "tax"), Err(NotAnswered::CardNotLive));
}

#[test]
fn a_suspended_contractors_card_is_not_resumed_into_an_ended_contract() {
    let mut town = busy();
    town.done([suspend("taro"), end_contract("acme")], ONE);
    town.done([resume("taro")], ONE);
    assert_eq!(town.answers("main", "taro", "team"), Err(NotAnswered::ContractOver));
    assert_eq!(town.state.may_connect(&card_id("taro"), town.at), Err(NotAnswered::ContractOver));
}

#[test]
fn of_a_site() {
    let mut town = busy();
    let act = Act::SiteRemoved { site: id("branch") };
    assert!(town.state.ended_by(&act).is_empty());
    town.done([act], TWO);
    assert_eq!(town.answers("branch", "hanako", "tax"), Err(NotAnswered::NotServedHere));
    assert_eq!(town.answers("main", "hanako", "tax"), Ok(()));
}

#[test]
fn who_is_never_answered() {
    let mut town = busy();
    town.done([unit("library"), front_desk("front", &["tax"])], TWO);
    town.done([grant("hanako", "library")], ONE);
    let state = &town.state;
    let asks = |site: &str, card: &str, grant: Id, right| {
        state.may_answer(&id(site), &card_id(card), &grant, right, town.at).map(|_| ()).unwrap_err()
    };
    let tax = grant_id("hanako", "tax");
    assert_eq!(asks("main", "nobody", tax, Right::Open), NotAnswered::CardNotLive);
    assert_eq!(asks("main", "jiro", tax, Right::Open), NotAnswered::GrantNotLive, "another card's grant");
    assert_eq!(asks("main", "hanako:2", tax, Right::Open), NotAnswered::GrantNotLive);
    assert_eq!(asks("main", "hanako", id("no grant"), Right::Open), NotAnswered::GrantNotLive);
    assert_eq!(asks("main", "hanako", tax, Right::Route), NotAnswered::WrongRight);
    assert_eq!(asks("nowhere", "hanako", tax, Right::Open), NotAnswered::NotServedHere);
    let waiting = grant_id("hanako", "library");
    assert_eq!(asks("main", "hanako", waiting, Right::Open), NotAnswered::NotIssued);
}

#[test]
fn a_file_is_shredded_for_ever() {
    let mut town = busy();
    let file = warifu_ledger::Digest::of(b"x(R)");
    assert!(!town.state.is_shredded(&file));
    town.done([Act::FileShredded { file }], TWO);
    assert!(town.state.is_shredded(&file));
}
