//! Units that change, close, merge and get new keys (P-4.6, P-4.13, P-4.14).

use std::collections::BTreeSet;

use warifu_ledger::state::{Kind, NotAnswered, Rejected};
use warifu_ledger::statement::{Act, Custody, Right, Role, UnitKind};

use crate::fixture::*;

const TWO_OFFICERS: Rejected = Rejected::TwoPeopleNeeded { needed: &[Role::Officer] };

/// The working town with a second department, `welfare`, and the front desk `front`, which routes to `tax`.
fn busy() -> Town {
    let mut town = Town::working();
    town.done([unit("welfare"), front_desk("front", &["tax"])], TWO);
    town.create("welfare");
    town.create("front");
    town
}

fn over(unit: &str) -> Rejected {
    Rejected::Over { kind: Kind::Unit, id: id(unit) }
}

#[test]
fn one_officer_renames_a_department_and_nothing_else() {
    let mut town = busy();
    town.done([rename("tax", "Revenue")], ONE);
    let renamed = town.state.unit(&id("tax")).unwrap();
    assert_eq!((renamed.name, renamed.renamed), (name("Revenue").record, Some(town.head().size - 1)));
    for act in [
        rename("front", "Reception"),
        rename("team", "Another team"),
        serve_at("tax", &["main"]),
        route_to("front", &["welfare"]),
        demand_two_people("tax", true),
        allow_own_pcs("tax", true),
    ] {
        assert_eq!(town.refused([act.clone()], ONE), TWO_OFFICERS, "{act:?}");
        assert_eq!(town.refused([act.clone()], &["sakura", "hanako"]), TWO_OFFICERS, "{act:?}");
        town.done([act], TWO);
    }
    town.done([roles("hanako", &[Role::Administrator])], TWO);
    let officer = Rejected::WrongRole { needed: &[Role::Officer] };
    assert_eq!(town.refused([rename("tax", "X")], &["hanako"]), officer);
}

#[test]
fn each_change_takes_the_place_of_what_was() {
    let mut town = busy();
    town.done([serve_at("tax", &["main"]), demand_two_people("tax", true)], TWO);
    let tax = town.state.unit(&id("tax")).unwrap();
    assert_eq!((&tax.sites, tax.two_people, tax.own_pcs), (&ids(&["main"]), true, false));
    assert_eq!(tax.name, name("tax").record, "the rest stays");
    assert_eq!(town.refused([grant("jiro", "tax")], ONE), TWO_OFFICERS);
    town.done([demand_two_people("tax", false)], TWO);
    town.done([grant("jiro", "tax")], ONE);
    town.done([route_to("front", &["welfare", "team"])], TWO);
    assert_eq!(town.state.unit(&id("front")).unwrap().routes_to, ids(&["welfare", "team"]));
}

#[test]
fn changes_that_are_none_or_do_not_fit() {
    let mut town = busy();
    let malformed = |unit: &str, why| Rejected::UnitMalformed { unit: id(unit), why };
    let desk_only = "a front desk, and only that, routes to units";
    assert_eq!(town.refused([no_change("tax")], TWO), Rejected::Empty);
    assert_eq!(
        town.refused([rename("nothing", "X")], TWO),
        Rejected::Unknown { kind: Kind::Unit, id: id("nothing") }
    );
    assert_eq!(town.refused([serve_at("tax", &[])], TWO), malformed("tax", "no site serves it"));
    assert_eq!(
        town.refused([serve_at("tax", &["main", "nowhere"])], TWO),
        Rejected::Unknown { kind: Kind::Site, id: id("nowhere") }
    );
    assert_eq!(town.refused([route_to("tax", &["welfare"])], TWO), malformed("tax", desk_only));
    assert_eq!(
        town.refused([route_to("tax", &[])], TWO),
        Rejected::UnitMalformed { unit: id("tax"), why: desk_only }
    );
    assert_eq!(town.refused([route_to("front", &[])], TWO), malformed("front", desk_only));
    assert_eq!(
        town.refused([route_to("front", &["nothing"])], TWO),
        Rejected::Unknown { kind: Kind::Unit, id: id("nothing") }
    );
    town.done([close("welfare", None)], TWO);
    assert_eq!(town.refused([route_to("front", &["welfare"])], TWO), over("welfare"));
    assert_eq!(town.refused([front_desk("desk", &["welfare"])], TWO), over("welfare"));
    town.done([Act::SiteRemoved { site: id("branch") }], TWO);
    assert_eq!(
        town.refused([serve_at("tax", &["branch"])], TWO),
        Rejected::Over { kind: Kind::Site, id: id("branch") }
    );
}

#[test]
fn a_site_answers_while_it_serves_the_unit() {
    let mut town = busy();
    assert_eq!(town.state.serving_sites(&id("tax")), ids(&["main", "branch"]));
    town.done([serve_at("tax", &["main"])], TWO);
    assert_eq!(town.state.serving_sites(&id("tax")), ids(&["main"]));
    assert_eq!(town.answers("branch", "hanako", "tax"), Err(NotAnswered::NotServedHere));
    assert_eq!(town.answers("main", "hanako", "tax"), Ok(()));
    // What was wrapped first is no right to answer, and none to be wrapped to again.
    town.done([grant("jiro", "tax")], ONE);
    let body = town.grant_issued("jiro", "tax");
    assert_eq!(town.fact_refused(body), Rejected::OtherSites { grant: grant_id("jiro", "tax") });
    town.done([site("east"), serve_at("tax", &["branch", "east"])], TWO);
    assert_eq!(town.answers("main", "hanako", "tax"), Err(NotAnswered::NotServedHere));
    assert_eq!(town.answers("east", "hanako", "tax"), Ok(()));
    assert!(!town.state.serves(&id("main"), &id("tax")));
    town.done([Act::SiteRemoved { site: id("east") }], TWO);
    assert_eq!(town.state.serving_sites(&id("tax")), ids(&["branch"]));
    assert_eq!(town.answers("east", "hanako", "tax"), Err(NotAnswered::NotServedHere));
}

#[test]
fn import_on_the_members_own_pc() {
    let mut town = busy();
    let mut act = grant("jiro", "tax");
    if let Act::GrantOrdered { custody, .. } = &mut act {
        *custody = Custody::OwnPc;
    }
    assert_eq!(town.refused([act.clone()], TWO), Rejected::OwnPcNotAllowed { unit: id("tax") });
    town.done([allow_own_pcs("tax", true)], TWO);
    town.done([act], ONE);
}

#[test]
fn two_officers_close_merge_and_rekey() {
    let mut town = busy();
    for act in [close("tax", None), merge("tax", "welfare", None), rekey("tax", "tax 2")] {
        assert_eq!(town.refused([act.clone()], ONE), TWO_OFFICERS, "{act:?}");
        let officer = Rejected::WrongRole { needed: &[Role::Officer] };
        assert_eq!(town.refused([act.clone()], &["hanako"]), officer, "{act:?}");
    }
    for act in [
        close("nothing", None),
        merge("nothing", "tax", None),
        merge("tax", "nothing", None),
        rekey("nothing", "x"),
    ] {
        let unknown = Rejected::Unknown { kind: Kind::Unit, id: id("nothing") };
        assert_eq!(town.refused([act.clone()], TWO), unknown, "{act:?}");
    }
}

#[test]
fn a_closed_unit_is_over_with_all_its_grants() {
    let mut town = busy();
    let act = close("tax", None);
    let expected = BTreeSet::from([grant_id("hanako", "tax")]);
    assert_eq!(town.state.ended_by(&act), expected);
    town.done([grant("jiro", "tax")], ONE);
    town.done([act.clone()], TWO);
    assert_eq!(town.state.ended_by(&act).len(), 2, "asked again, it hears the same");
    assert_eq!(town.answers("main", "hanako", "tax"), Err(NotAnswered::UnitClosed));
    assert!(!town.state.unit_is_listed(&id("tax"), town.at));
    assert!(town.state.unit_is_closed(&id("tax"), 0), "at once, whatever a clock says");
    for act in [
        grant_between("g", "sakura", "tax", None, None),
        rename("tax", "Revenue"),
        close("tax", Some(town.at + DAY)),
        merge("tax", "welfare", None),
        merge("welfare", "tax", None),
        rekey("tax", "tax 2"),
    ] {
        assert_eq!(town.refused([act.clone()], &["kenji", "midori"]), over("tax"), "{act:?}");
    }
    let body = town.grant_issued("jiro", "tax");
    assert_eq!(town.fact_refused(body), Rejected::Over { kind: Kind::Grant, id: grant_id("jiro", "tax") });
    town.done([act], TWO);
    assert_eq!(town.refused([unit("tax")], ONE), Rejected::Exists { kind: Kind::Unit, id: id("tax") });
}

#[test]
fn a_unit_closed_before_it_has_its_key_gets_none() {
    let mut town = busy();
    town.done([unit("library")], ONE);
    town.done([close("library", None)], TWO);
    let body = town.unit_created("library");
    assert_eq!(town.fact_refused(body), over("library"));
}

#[test]
fn a_unit_closes_at_its_instant_without_any_message() {
    let mut town = busy();
    let end = town.at + 10 * DAY;
    let act = close("tax", Some(end));
    town.done([act.clone()], TWO);
    assert_eq!(town.state.ended_by(&act), BTreeSet::new(), "nothing is destroyed early");
    town.done([grant("jiro", "tax")], ONE);
    assert_eq!(town.answers_at("main", "hanako", "tax", end - 1), Ok(()));
    assert_eq!(town.answers_at("main", "hanako", "tax", end), Err(NotAnswered::UnitClosed));
    assert!(town.state.unit_is_listed(&id("tax"), end - 1));
    assert!(!town.state.unit_is_listed(&id("tax"), end));
    assert_eq!(town.state.routes_of(&id("front"), end - 1), ids(&["tax"]));
    assert_eq!(town.state.routes_of(&id("front"), end), ids(&[]));
    let earlier = Rejected::EndsEarlier { kind: Kind::Unit, id: id("tax"), ends_at: end };
    assert_eq!(town.refused([close("tax", Some(end + 1))], TWO), earlier);
    town.done([close("tax", Some(end - 1))], TWO);
    assert!(!town.state.unit_is_listed(&id("tax"), end - 1));
    town.at = end;
    assert_eq!(town.refused([grant("sakura", "tax")], &["kenji"]), over("tax"));
}

#[test]
fn a_merged_department_leaves_the_directory_and_keeps_its_key() {
    let mut town = busy();
    let april = town.at + 10 * DAY;
    let key = town.state.unit(&id("tax")).unwrap().key;
    town.done([merge("tax", "welfare", Some(april))], TWO);
    assert!(town.state.unit_is_listed(&id("tax"), april - 1));
    assert!(!town.state.unit_is_listed(&id("tax"), april));
    assert_eq!(town.state.unit(&id("tax")).unwrap().key, key);
    assert_eq!(town.answers_at("main", "hanako", "tax", april), Ok(()), "grants go on");
    // The successor's members get grants to it.
    town.at = april;
    town.done([grant("jiro", "tax")], ONE);
    town.issue("jiro", "tax");
    assert_eq!(town.answers("main", "jiro", "tax"), Ok(()));
    // The front desk follows.
    assert_eq!(town.state.routes_of(&id("front"), april - 1), ids(&["tax"]));
    assert_eq!(town.state.routes_of(&id("front"), april), ids(&["tax", "welfare"]));
}

#[test]
fn what_cannot_be_merged() {
    let mut town = busy();
    town.done([unit("library"), unit_of("mayor", UnitKind::Person, None, &[])], ONE);
    let not_mergeable = |unit: &str| Rejected::NotMergeable { unit: id(unit) };
    for (unit, into, wrong) in
        [("tax", "tax", "tax"), ("tax", "front", "front"), ("team", "tax", "team"), ("tax", "mayor", "mayor")]
    {
        assert_eq!(town.refused([merge(unit, into, None)], TWO), not_mergeable(wrong));
    }
    let no_key = Rejected::UnitWithoutKey { unit: id("library") };
    assert_eq!(town.refused([merge("library", "tax", None)], TWO), no_key);
    assert_eq!(town.refused([merge("tax", "library", None)], TWO), no_key);
    town.create("library");
    town.done([merge("tax", "welfare", Some(town.at + DAY))], TWO);
    let replaced = Rejected::UnitReplaced { unit: id("tax") };
    assert_eq!(town.refused([merge("tax", "library", None)], TWO), replaced);
    assert_eq!(town.refused([merge("welfare", "tax", None)], TWO), replaced, "no ring");
    assert_eq!(town.refused([rekey("tax", "tax 2")], TWO), replaced);
    town.done([merge("welfare", "library", None)], TWO);
}

#[test]
fn a_successor_is_all_that_the_unit_was_but_its_key() {
    let mut town = busy();
    town.done([demand_two_people("tax", true), allow_own_pcs("tax", true), rename("tax", "Revenue")], TWO);
    let order = town.done([rekey("tax", "tax 2")], TWO);
    let (old, new) = (town.state.unit(&id("tax")).unwrap(), town.state.unit(&id("tax 2")).unwrap());
    assert_eq!((new.name, new.kind, new.contract), (old.name, old.kind, old.contract));
    assert_eq!((&new.sites, &new.routes_to), (&old.sites, &old.routes_to));
    assert_eq!((new.two_people, new.own_pcs), (true, true));
    assert_eq!((new.order, new.key), (order, None));
    assert_eq!((new.replaces, new.renamed), (Some(id("tax")), old.renamed));

    // Files go to the old one until the new one has its key.
    let listed = |town: &Town, unit: &str| town.state.unit_is_listed(&id(unit), town.at);
    assert!(listed(&town, "tax"));
    assert!(!listed(&town, "tax 2"), "two of one name");
    assert_eq!(town.state.routes_of(&id("front"), town.at), ids(&["tax"]));
    town.create("tax 2");
    assert!(!listed(&town, "tax"));
    assert!(listed(&town, "tax 2"));
    assert_eq!(town.state.routes_of(&id("front"), town.at), ids(&["tax", "tax 2"]));

    // Old grants go on, and lost cards are replaced, until the old unit is closed.
    assert_eq!(town.answers("main", "hanako", "tax"), Ok(()));
    town.done([grant("jiro", "tax"), grant("hanako", "tax 2")], TWO);
    town.issue("hanako", "tax 2");
    town.done([close("tax", None)], TWO);
    assert_eq!(town.answers("main", "hanako", "tax"), Err(NotAnswered::UnitClosed));
    assert_eq!(town.answers("main", "hanako", "tax 2"), Ok(()));
    assert_eq!(town.state.routes_of(&id("front"), town.at), ids(&["tax 2"]));
    // Once more, from the new one.
    town.done([rekey("tax 2", "tax 3")], TWO);
    town.create("tax 3");
    assert_eq!(town.state.routes_of(&id("front"), town.at), ids(&["tax 2", "tax 3"]));
}

#[test]
fn what_cannot_be_rekeyed() {
    let mut town = busy();
    town.done([unit("library")], ONE);
    assert_eq!(
        town.refused([rekey("library", "library 2")], TWO),
        Rejected::UnitWithoutKey { unit: id("library") }
    );
    assert_eq!(
        town.refused([rekey("tax", "welfare")], TWO),
        Rejected::Exists { kind: Kind::Unit, id: id("welfare") }
    );
    assert_eq!(
        town.refused([rekey("tax", "tax")], TWO),
        Rejected::Exists { kind: Kind::Unit, id: id("tax") }
    );
    town.done([rekey("tax", "tax 2")], TWO);
    let replaced = Rejected::UnitReplaced { unit: id("tax") };
    assert_eq!(town.refused([rekey("tax", "tax 3")], TWO), replaced);
    assert_eq!(town.refused([merge("tax", "welfare", None)], TWO), replaced);
    assert_eq!(town.refused([merge("welfare", "tax", None)], TWO), replaced);
    town.done([end_contract("acme")], ONE);
    assert_eq!(
        town.refused([rekey("team", "team 2")], TWO),
        Rejected::Over { kind: Kind::Contract, id: id("acme") }
    );
}

#[test]
fn a_successor_belongs_to_the_contract_and_ends_with_it() {
    let mut town = busy();
    town.done([rekey("team", "team 2")], TWO);
    town.create("team 2");
    town.done([grant("jiro", "team 2")], ONE);
    town.issue("jiro", "team 2");
    let act = end_contract("acme");
    assert!(town.state.ended_by(&act).contains(&grant_id("jiro", "team 2")));
    assert_eq!(town.answers("main", "jiro", "team 2"), Ok(()));
    assert_eq!(town.answers_at("main", "jiro", "team 2", ACME_ENDS), Err(NotAnswered::ContractOver));
    assert!(!town.state.unit_is_listed(&id("team 2"), ACME_ENDS));
}

#[test]
fn the_successor_of_a_unit_whose_site_has_left() {
    let mut town = busy();
    town.done([Act::SiteRemoved { site: id("branch") }, rekey("tax", "tax 2")], TWO);
    assert_eq!(town.state.unit(&id("tax 2")).unwrap().sites, ids(&["main"]));
    town.create("tax 2");
    town.done([Act::SiteRemoved { site: id("main") }], TWO);
    let nowhere = Rejected::UnitMalformed { unit: id("tax 3"), why: "no site serves it" };
    assert_eq!(town.refused([rekey("tax 2", "tax 3")], TWO), nowhere);
}

#[test]
fn a_dispatcher_is_a_role_holder_and_signs_nothing_by_it() {
    let mut town = busy();
    let two = [roles("jiro", &[Role::Dispatcher])];
    assert_eq!(town.refused(two.clone(), ONE), TWO_OFFICERS);
    town.done(two, TWO);
    let ending = Rejected::TwoPeopleNeeded { needed: &[Role::Officer, Role::Administrator] };
    assert_eq!(town.refused([revoke_card("jiro")], ONE), ending);
    assert_eq!(
        town.refused([grant_with("hanako", "front", Right::Route, None)], &["jiro"]),
        Rejected::WrongRole { needed: &[Role::Officer] }
    );
    assert_eq!(
        town.refused([roles("taro", &[Role::Dispatcher])], TWO),
        Rejected::RoleUnderContract { member: id("taro") }
    );
}
