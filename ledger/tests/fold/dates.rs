//! What is ordered ahead: it begins and ends with no further message, and an end comes nearer only (P-4.11).

use std::collections::BTreeSet;

use warifu_ledger::state::{Kind, NotAnswered, Rejected};
use warifu_ledger::statement::{Act, Right, Role};

use crate::fixture::*;

/// Whether `main` answers hanako for the grant of this label at an instant.
fn answers(town: &Town, label: &str, at: u64) -> Result<(), NotAnswered> {
    town.state.may_answer(&id("main"), &card_id("hanako"), &id(label), Right::Open, at).map(|_| ())
}

#[test]
fn a_grant_begins_at_its_instant() {
    let mut town = Town::working();
    let starts_at = town.at + 10 * DAY;
    town.done([unit("welfare")], ONE);
    town.create("welfare");
    let grant = Act::GrantOrdered {
        grant: grant_id("hanako", "welfare"),
        card: card_id("hanako"),
        unit: id("welfare"),
        right: Right::Open,
        custody: warifu_ledger::statement::Custody::HostMemory,
        starts_at: Some(starts_at),
        expires_at: None,
    };
    town.done([grant], ONE);
    // Its shares are made at once, and it is not over.
    town.issue("hanako", "welfare");
    assert!(town.state.live_grant(&grant_id("hanako", "welfare"), town.at).is_ok());
    let not_yet = Err(NotAnswered::GrantNotStarted { starts_at });
    assert_eq!(town.answers_at("main", "hanako", "welfare", town.at), not_yet);
    assert_eq!(town.answers_at("main", "hanako", "welfare", starts_at - 1), not_yet);
    assert_eq!(town.answers_at("main", "hanako", "welfare", starts_at), Ok(()));
}

#[test]
fn a_grant_that_would_end_before_it_begins() {
    let mut town = Town::working();
    let day = town.at + DAY;
    for (starts_at, ends_at) in [(day, day), (day + 1, day), (u64::MAX, day)] {
        assert_eq!(
            town.refused([grant_between("g", "jiro", "tax", Some(starts_at), Some(ends_at))], ONE),
            Rejected::StartsAfterEnd { starts_at, ends_at }
        );
    }
    town.done([grant_between("g", "jiro", "tax", Some(day - 1), Some(day))], ONE);
}

#[test]
fn a_move_ordered_in_march() {
    let mut town = Town::working();
    town.done([unit("welfare")], ONE);
    town.create("welfare");
    let april = town.at + 20 * DAY;
    let exists = Rejected::GrantExists { card: card_id("hanako"), unit: id("tax") };
    // Without an end of the one before, or a moment too early, there would be two at a time.
    assert_eq!(town.refused([grant_between("g", "hanako", "tax", Some(april), None)], ONE), exists);
    let overlapping =
        [revoke_grant_at("hanako", "tax", april), grant_between("g", "hanako", "tax", Some(april - 1), None)];
    assert_eq!(town.refused(overlapping, ONE), exists);
    town.done(
        [revoke_grant_at("hanako", "tax", april), grant_between("g", "hanako", "tax", Some(april), None)],
        ONE,
    );
    // And nothing before the one that waits, unless it ends in time.
    town.done([revoke_grant("hanako", "tax")], ONE);
    assert_eq!(town.refused([grant_between("h", "hanako", "tax", None, None)], ONE), exists);
    assert_eq!(town.refused([grant_between("h", "hanako", "tax", None, Some(april + 1))], ONE), exists);
    town.done([grant_between("h", "hanako", "tax", None, Some(april))], ONE);
}

#[test]
fn a_grant_that_waits_has_its_slot() {
    let mut town = Town::working();
    let units: Vec<String> = (0..20).map(|n| format!("unit {n}")).collect();
    town.done(units.iter().map(|label| unit(label)), ONE);
    let later = Some(town.at + DAY);
    town.done(units.iter().map(|unit| grant_between(&format!("to {unit}"), "jiro", unit, later, None)), ONE);
    let full = Rejected::CardFull { card: card_id("jiro") };
    assert_eq!(town.refused([grant("jiro", "tax")], ONE), full);
    // A closed unit's grant is over, and its slot is free.
    town.done([close("unit 7", None)], TWO);
    town.done([grant("jiro", "tax")], ONE);
}

#[test]
fn a_grant_ends_at_its_instant_without_any_message() {
    let mut town = Town::working();
    let end = town.at + 5 * DAY;
    let act = revoke_grant_at("hanako", "tax", end);
    assert_eq!(town.state.ended_by(&act), BTreeSet::new(), "nothing is destroyed early");
    town.done([act.clone()], ONE);
    assert_eq!(town.state.ended_by(&act), BTreeSet::new());
    assert_eq!(town.answers_at("main", "hanako", "tax", end - 1), Ok(()));
    assert_eq!(town.answers_at("main", "hanako", "tax", end), Err(NotAnswered::GrantExpired));
    assert!(town.state.live_grant(&grant_id("hanako", "tax"), end).is_err());
    // Twice is as once; nearer is right; later is not.
    town.done([act], ONE);
    town.done([revoke_grant_at("hanako", "tax", end - DAY)], ONE);
    assert_eq!(town.answers_at("main", "hanako", "tax", end - DAY), Err(NotAnswered::GrantExpired));
    let earlier =
        Rejected::EndsEarlier { kind: Kind::Grant, id: grant_id("hanako", "tax"), ends_at: end - DAY };
    assert_eq!(town.refused([revoke_grant_at("hanako", "tax", end - DAY + 1)], ONE), earlier);
    // An order that takes effect at once wins.
    town.done([revoke_grant("hanako", "tax")], ONE);
    assert_eq!(town.answers("main", "hanako", "tax"), Err(NotAnswered::GrantNotLive));
    assert_eq!(
        town.refused([revoke_grant_at("hanako", "tax", town.at + DAY / 2)], ONE),
        Rejected::Over { kind: Kind::Grant, id: grant_id("hanako", "tax") }
    );
}

#[test]
fn a_date_does_not_put_off_the_end_that_a_grant_has() {
    let mut town = Town::working();
    let ends_at = town.at + DAY;
    town.done([grant_with("jiro", "tax", Right::Open, Some(ends_at))], ONE);
    let earlier = Rejected::EndsEarlier { kind: Kind::Grant, id: grant_id("jiro", "tax"), ends_at };
    assert_eq!(town.refused([revoke_grant_at("jiro", "tax", ends_at + 1)], ONE), earlier);
}

#[test]
fn dates_that_are_not_in_the_future() {
    let mut town = Town::working();
    let at = town.at + 1000;
    town.done([unit("welfare")], ONE);
    town.create("welfare");
    let at = at + 2000;
    for act in [
        revoke_grant_at("hanako", "tax", at),
        revoke_member_at("hanako", at),
        place("hanako", &["tax"], Some(at)),
        close("tax", Some(at)),
        merge("tax", "welfare", Some(at)),
    ] {
        assert_eq!(town.refused([act.clone()], TWO), Rejected::EndsInPast { ends_at: at, at }, "{act:?}");
    }
}

#[test]
fn a_member_leaves_at_the_instant_without_any_message() {
    let mut town = Town::working();
    let end = town.at + 5 * DAY;
    let act = revoke_member_at("hanako", end);
    town.done([act.clone()], ONE);
    assert_eq!(town.state.ended_by(&act), BTreeSet::new(), "nothing is destroyed early");
    let card = card_id("hanako");
    assert_eq!(town.answers_at("main", "hanako", "tax", end - 1), Ok(()));
    assert_eq!(town.answers_at("main", "hanako", "tax", end), Err(NotAnswered::MemberGone));
    assert_eq!(town.state.may_connect(&card, end - 1), Ok(()));
    assert_eq!(town.state.may_connect(&card, end), Err(NotAnswered::MemberGone));
    let gone = town.state.live_grant(&grant_id("hanako", "tax"), end).map(|_| ());
    assert_eq!(gone, Err(NotAnswered::MemberGone));
    let member_ends = |ends_at| Rejected::EndsEarlier { kind: Kind::Member, id: id("hanako"), ends_at };
    assert_eq!(town.refused([revoke_member_at("hanako", end + 1)], ONE), member_ends(end));
    // From then on there is nothing for the member any more.
    let mut later = Town::working();
    later.done([revoke_member_at("hanako", end)], ONE);
    later.at = end;
    let over = Rejected::Over { kind: Kind::Member, id: id("hanako") };
    for act in [enrol("hanako:2"), place("hanako", &[], None), revoke_member_at("hanako", end + DAY)] {
        assert_eq!(later.refused([act.clone()], TWO), over, "{act:?}");
    }
    assert_eq!(later.refused([roles("hanako", &[Role::Auditor])], TWO), over);
    assert_eq!(later.refused([grant_between("g", "hanako", "tax", None, None)], ONE), over);
    // At once wins.
    town.done([revoke_member("hanako")], ONE);
    assert_eq!(town.answers("main", "hanako", "tax"), Err(NotAnswered::CardNotLive));
}

#[test]
fn a_member_who_has_left_by_the_date_signs_nothing() {
    let mut town = Town::working();
    let end = town.at + DAY;
    town.done([revoke_member_at("jiro", end)], ONE);
    let order = |town: &mut Town| town.refused([unit("welfare")], &["jiro"]);
    assert!(matches!(order(&mut town), Rejected::WrongRole { .. }), "until then it is the role that lacks");
    town.at = end;
    assert_eq!(order(&mut town), Rejected::SignerNotLive { card: card_id("jiro") });
}

#[test]
fn no_end_of_a_role_holder_is_ordered_ahead() {
    let mut town = Town::working();
    let end = town.at + DAY;
    let dated = |member: &str| Rejected::DatedEndOfRole { member: id(member) };
    // Two of three officers at once would lock the town out; with a date, nobody would notice.
    assert_eq!(town.refused([revoke_member_at("midori", end)], TWO), dated("midori"));
    town.done([roles("hanako", &[Role::Dispatcher])], TWO);
    assert_eq!(town.refused([revoke_member_at("hanako", end)], TWO), dated("hanako"));
    // Nor the other way round.
    town.done([revoke_member_at("jiro", end)], ONE);
    assert_eq!(town.refused([roles("jiro", &[Role::Officer])], TWO), dated("jiro"));
    town.done([roles("jiro", &[])], TWO);
    town.done([roles("hanako", &[])], TWO);
    town.done([revoke_member_at("hanako", end)], ONE);
}

#[test]
fn one_person_orders_an_end_ahead_and_nobody_without_a_role() {
    let mut town = Town::working();
    let end = town.at + DAY;
    for act in [revoke_grant_at("hanako", "tax", end), revoke_member_at("hanako", end)] {
        let refused = town.refused([act.clone()], &["jiro"]);
        assert_eq!(refused, Rejected::WrongRole { needed: &[Role::Officer, Role::Administrator] });
        town.done([act], ONE);
    }
}

#[test]
fn a_grant_ends_with_the_first_of_its_ends() {
    let mut town = Town::working();
    let (first, second, third) = (town.at + DAY, town.at + 2 * DAY, town.at + 3 * DAY);
    town.done([revoke_grant_at("hanako", "tax", third), revoke_member_at("hanako", second)], ONE);
    town.done([close("tax", Some(first))], TWO);
    let at = |at| town.answers_at("main", "hanako", "tax", at);
    assert_eq!(at(first - 1), Ok(()));
    assert_eq!(at(first), Err(NotAnswered::UnitClosed));
    let town = {
        let mut town = Town::working();
        let order = [revoke_grant_at("hanako", "tax", third), revoke_member_at("hanako", second)];
        town.done(order, ONE);
        town
    };
    assert_eq!(town.answers_at("main", "hanako", "tax", second - 1), Ok(()));
    assert_eq!(town.answers_at("main", "hanako", "tax", second), Err(NotAnswered::MemberGone));
    assert_eq!(answers(&town, "no such grant", town.at), Err(NotAnswered::GrantNotLive));
}
