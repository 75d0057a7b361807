//! What each act demands of what it names (P-4.7, P-4.8).

use warifu_ledger::state::{Kind, Rejected};
use warifu_ledger::statement::{Act, Attestation, Card, Policy, Right, Role, UnitKind};

use crate::fixture::*;

fn unknown(kind: Kind, label: &str) -> Rejected {
    Rejected::Unknown { kind, id: id(label) }
}

fn over(kind: Kind, label: &str) -> Rejected {
    Rejected::Over { kind, id: id(label) }
}

fn exists(kind: Kind, label: &str) -> Rejected {
    Rejected::Exists { kind, id: id(label) }
}

fn malformed(unit: &str, why: &'static str) -> Rejected {
    Rejected::UnitMalformed { unit: id(unit), why }
}

#[test]
fn granting_to_oneself() {
    let mut town = Town::working();
    let for_oneself = Rejected::ForOneself { member: id("sakura") };
    assert_eq!(town.refused([grant("sakura", "tax")], ONE), for_oneself);
    // Not with another's signature beside one's own either.
    assert_eq!(town.refused([grant("sakura", "tax")], TWO), for_oneself);
    town.done([grant("sakura", "tax")], &["kenji"]);
}

#[test]
fn enrolling_ones_own_second_card() {
    let mut town = Town::working();
    assert_eq!(town.refused([enrol("sakura:spare")], TWO), Rejected::ForOneself { member: id("sakura") });
    // A signer without any role counts as well.
    assert_eq!(
        town.refused([enrol("hanako:spare")], &["sakura", "hanako"]),
        Rejected::ForOneself { member: id("hanako") }
    );
    town.done([enrol("sakura:spare")], &["kenji", "midori"]);
}

#[test]
fn resuming_ones_own_card() {
    let mut town = Town::working();
    town.done([enrol("sakura:spare")], &["kenji", "midori"]);
    town.done([suspend("sakura:spare")], &["kenji"]);
    assert_eq!(town.refused([resume("sakura:spare")], TWO), Rejected::ForOneself { member: id("sakura") });
    town.done([resume("sakura:spare")], &["kenji", "midori"]);
}

#[test]
fn changing_ones_own_roles() {
    let mut town = Town::working();
    assert_eq!(
        town.refused([roles("kenji", &[Role::Officer, Role::Auditor])], TWO),
        Rejected::ForOneself { member: id("kenji") }
    );
}

#[test]
fn what_the_ledger_does_not_know() {
    let mut town = Town::working();
    let nobodys_card = Rejected::Unknown { kind: Kind::Card, id: card_id("nobody") };
    let no_grant = Rejected::Unknown { kind: Kind::Grant, id: grant_id("jiro", "tax") };
    let elsewhere = Act::UnitOrdered {
        unit: id("library"),
        name: name("library"),
        kind: UnitKind::Department,
        contract: None,
        sites: ids(&["main", "nowhere"]),
        routes_to: ids(&[]),
        two_people: false,
        own_pcs: false,
    };
    for (act, expected) in [
        (grant("nobody", "tax"), nobodys_card.clone()),
        (grant("jiro", "nothing"), unknown(Kind::Unit, "nothing")),
        (front_desk("front", &["nothing"]), unknown(Kind::Unit, "nothing")),
        (front_desk("front", &["front"]), unknown(Kind::Unit, "front")),
        (elsewhere, unknown(Kind::Site, "nowhere")),
        (team("team 2", "no contract"), unknown(Kind::Contract, "no contract")),
        (enrol_under("saburo", "no contract"), unknown(Kind::Contract, "no contract")),
        (end_contract("no contract"), unknown(Kind::Contract, "no contract")),
        (
            Act::ContractExtended { contract: id("no contract"), ends_at: ACME_ENDS },
            unknown(Kind::Contract, "no contract"),
        ),
        (Act::SiteRemoved { site: id("nowhere") }, unknown(Kind::Site, "nowhere")),
        (roles("nobody", &[Role::Auditor]), unknown(Kind::Member, "nobody")),
        (revoke_member("nobody"), unknown(Kind::Member, "nobody")),
        (revoke_card("nobody"), nobodys_card.clone()),
        (suspend("nobody"), nobodys_card.clone()),
        (resume("nobody"), nobodys_card),
        (revoke_grant("jiro", "tax"), no_grant),
    ] {
        assert_eq!(town.refused([act.clone()], TWO), expected, "{act:?}");
    }
}

#[test]
fn what_exists_already() {
    let mut town = Town::working();
    let card_again = Card { card: card_id("jiro"), ..card("saburo") };
    let grant_again = Act::GrantOrdered {
        grant: grant_id("hanako", "tax"),
        card: card_id("jiro"),
        unit: id("tax"),
        right: Right::Open,
        custody: warifu_ledger::statement::Custody::Scp11b,
        starts_at: None,
        expires_at: None,
    };
    for (act, expected) in [
        (unit("tax"), exists(Kind::Unit, "tax")),
        (contract("acme", ACME_ENDS), exists(Kind::Contract, "acme")),
        (site("main"), exists(Kind::Site, "main")),
        (Act::CardEnrolled(card_again), Rejected::Exists { kind: Kind::Card, id: card_id("jiro") }),
        (grant_again, Rejected::Exists { kind: Kind::Grant, id: grant_id("hanako", "tax") }),
    ] {
        assert_eq!(town.refused([act.clone()], TWO), expected, "{act:?}");
    }
    // Within one order too.
    assert_eq!(town.refused([unit("welfare"), unit("welfare")], ONE), exists(Kind::Unit, "welfare"));
    // And what is over still exists: its id never names anything else.
    town.done([end_contract("acme"), revoke_grant("hanako", "tax")], ONE);
    town.done([Act::SiteRemoved { site: id("branch") }], TWO);
    assert_eq!(town.refused([contract("acme", ACME_ENDS)], TWO), exists(Kind::Contract, "acme"));
    assert_eq!(town.refused([site("branch")], TWO), exists(Kind::Site, "branch"));
    assert_eq!(
        town.refused([grant("hanako", "tax")], ONE),
        Rejected::Exists { kind: Kind::Grant, id: grant_id("hanako", "tax") }
    );
}

fn nothing_new_under_acme(town: &mut Town) {
    let over = over(Kind::Contract, "acme");
    for act in [
        grant("jiro", "team"),
        grant("taro", "tax"),
        team("second team", "acme"),
        Act::ContractExtended { contract: id("acme"), ends_at: ACME_ENDS + 300 * DAY },
        enrol_under("shiro", "acme"),
        enrol_under("taro:2", "acme"),
    ] {
        assert_eq!(town.refused([act.clone()], TWO), over, "{act:?}");
    }
}

#[test]
fn a_contract_that_somebody_ended() {
    let mut town = Town::working();
    town.done([end_contract("acme")], ONE);
    nothing_new_under_acme(&mut town);
    // Once more does no harm.
    town.done([end_contract("acme")], ONE);
}

#[test]
fn a_contract_that_ended_by_its_date() {
    let mut town = Town::working();
    town.at = ACME_ENDS - 2000;
    town.done([Act::ContractExtended { contract: id("acme"), ends_at: ACME_ENDS }], TWO);
    nothing_new_under_acme(&mut town);
}

#[test]
fn a_contract_that_was_ended_says_when() {
    let mut town = Town::working();
    town.done([Act::ContractEnded { contract: id("acme"), reason: None }], TWO);
    assert_eq!(
        town.state.contract(&id("acme")).map(|found| (found.ended, found.ends_at)),
        Some((true, town.at))
    );
    // Again, years later: it is when it was.
    let ended = town.at;
    town.at = ACME_ENDS + DAY;
    town.done([Act::ContractEnded { contract: id("acme"), reason: None }], TWO);
    assert_eq!(town.state.contract(&id("acme")).map(|found| found.ends_at), Some(ended));
}

#[test]
fn a_contract_extended_in_time() {
    let mut town = Town::working();
    let ends_at = ACME_ENDS + 365 * DAY;
    town.done([Act::ContractExtended { contract: id("acme"), ends_at }], TWO);
    assert_eq!(town.answers_at("main", "taro", "team", ends_at - 1), Ok(()));
}

#[test]
fn ends_that_are_not_in_the_future() {
    let mut town = Town::working();
    let at = town.at + 1000;
    let in_past = Rejected::EndsInPast { ends_at: at, at };
    for act in [
        contract("beta", at),
        Act::ContractExtended { contract: id("acme"), ends_at: at },
        grant_with("jiro", "tax", Right::Open, Some(at)),
    ] {
        assert_eq!(town.refused([act.clone()], TWO), in_past, "{act:?}");
    }
}

#[test]
fn a_front_desk_routes_and_does_not_open() {
    let mut town = Town::working();
    town.done([front_desk("front", &["tax"])], TWO);
    let wrong = Rejected::WrongRight { unit: id("front") };
    assert_eq!(town.refused([grant("jiro", "front")], TWO), wrong);
    let route = |unit| grant_with("jiro", unit, Right::Route, None);
    assert_eq!(town.refused([route("tax")], TWO), Rejected::WrongRight { unit: id("tax") });
    assert_eq!(town.refused([route("team")], TWO), Rejected::WrongRight { unit: id("team") });
    assert_eq!(town.refused([route("front")], ONE), Rejected::TwoPeopleNeeded { needed: &[Role::Officer] });
    town.done([route("front")], TWO);
}

#[test]
fn a_unit_that_wishes_for_two_people() {
    let mut town = Town::working();
    let mut careful = unit("welfare");
    if let Act::UnitOrdered { two_people, .. } = &mut careful {
        *two_people = true;
    }
    town.done([careful], ONE);
    let two_officers = Rejected::TwoPeopleNeeded { needed: &[Role::Officer] };
    assert_eq!(town.refused([grant("jiro", "welfare")], ONE), two_officers);
    assert_eq!(town.refused([grant("jiro", "welfare")], &["sakura", "jiro"]), two_officers);
    town.done([grant("jiro", "welfare")], TWO);
    town.done([revoke_grant("jiro", "welfare")], ONE);
}

#[test]
fn one_card_one_live_grant_to_a_unit() {
    let mut town = Town::working();
    let again = Act::GrantOrdered {
        grant: id("again"),
        card: card_id("hanako"),
        unit: id("tax"),
        right: Right::Open,
        custody: warifu_ledger::statement::Custody::HostMemory,
        starts_at: None,
        expires_at: None,
    };
    assert_eq!(
        town.refused([again.clone()], ONE),
        Rejected::GrantExists { card: card_id("hanako"), unit: id("tax") }
    );
    town.done([revoke_grant("hanako", "tax"), again], ONE);

    // One that has expired is not in the way.
    let until = town.at + 60_000;
    town.done([grant_with("jiro", "tax", Right::Open, Some(until))], ONE);
    let renewed = Act::GrantOrdered {
        grant: id("renewed"),
        card: card_id("jiro"),
        unit: id("tax"),
        right: Right::Open,
        custody: warifu_ledger::statement::Custody::HostMemory,
        starts_at: None,
        expires_at: None,
    };
    assert_eq!(
        town.refused([renewed.clone()], ONE),
        Rejected::GrantExists { card: card_id("jiro"), unit: id("tax") }
    );
    town.at = until;
    town.done([renewed], ONE);
}

#[test]
fn a_card_that_gets_no_grant() {
    let mut town = Town::working();
    town.done([unit("welfare"), suspend("jiro")], ONE);
    assert_eq!(town.refused([grant("jiro", "tax")], ONE), Rejected::CardSuspended { card: card_id("jiro") });
    town.done([revoke_card("jiro")], ONE);
    assert_eq!(
        town.refused([grant("jiro", "tax")], ONE),
        Rejected::Over { kind: Kind::Card, id: card_id("jiro") }
    );
    town.done([revoke_member("hanako")], ONE);
    assert_eq!(
        town.refused([grant("hanako", "welfare")], ONE),
        Rejected::Over { kind: Kind::Card, id: card_id("hanako") }
    );
}

#[test]
fn a_member_who_left_stays_away() {
    let mut town = Town::working();
    town.done([revoke_member("jiro")], ONE);
    assert_eq!(town.refused([enrol("jiro:2")], ONE), over(Kind::Member, "jiro"));
    assert_eq!(town.refused([roles("jiro", &[Role::Auditor])], TWO), over(Kind::Member, "jiro"));
}

#[test]
fn what_cannot_be_resumed_or_suspended() {
    let mut town = Town::working();
    let dead = Rejected::Over { kind: Kind::Card, id: card_id("jiro") };
    assert_eq!(town.refused([resume("jiro")], ONE), Rejected::NotSuspended { card: card_id("jiro") });
    town.done([suspend("jiro"), revoke_card("jiro")], ONE);
    assert_eq!(town.refused([resume("jiro")], ONE), dead);
    assert_eq!(town.refused([suspend("jiro")], ONE), dead);
}

#[test]
fn a_second_card_that_says_otherwise_than_the_first() {
    let mut town = Town::working();
    let mismatch = Rejected::MemberMismatch { member: id("jiro") };
    let renamed = Card { name: name("somebody else"), ..card("jiro:2") };
    assert_eq!(town.refused([Act::CardEnrolled(renamed)], ONE), mismatch);
    // The same record with another content.
    let mut reworded = card("jiro:2");
    reworded.name.digest = name("somebody else").digest;
    assert_eq!(town.refused([Act::CardEnrolled(reworded)], ONE), mismatch);
    assert_eq!(town.refused([enrol_under("jiro:2", "acme")], ONE), mismatch);
    assert_eq!(town.refused([enrol("taro:2")], ONE), Rejected::MemberMismatch { member: id("taro") });
    town.done([enrol("jiro:2"), enrol_under("taro:2", "acme")], ONE);
}

#[test]
fn an_unattested_card() {
    let mut town = Town::working();
    let unattested = Act::CardEnrolled(Card { attestation: Attestation::None, ..card("saburo") });
    assert_eq!(town.refused([unattested.clone()], TWO), Rejected::NotAttested);
    let lax = Policy { unattested_cards: true, ..policy() };
    town.done([Act::PolicyChanged { policy: lax }], TWO);
    town.done([unattested], ONE);
}

#[test]
fn a_policy_out_of_bounds() {
    let mut town = Town::working();
    let lease = "a lease lasts from one second to 24 hours";
    let pin = "a PIN entry lasts for up to 24 hours";
    for (changed, why) in [
        (Policy { lease_ms: 999, ..policy() }, lease),
        (Policy { lease_ms: DAY + 1, ..policy() }, lease),
        (Policy { lease_ms: u64::MAX, ..policy() }, lease),
        (Policy { pin_ceiling_ms: 0, ..policy() }, pin),
        (Policy { pin_ceiling_ms: DAY + 1, ..policy() }, pin),
    ] {
        assert_eq!(
            town.refused([Act::PolicyChanged { policy: changed }], TWO),
            Rejected::PolicyOutOfBounds { why }
        );
    }
    let strict = Policy { lease_ms: 1000, ..policy() };
    town.done([Act::PolicyChanged { policy: strict.clone() }], TWO);
    assert_eq!(town.state.policy(), &strict);
}

#[test]
fn a_unit_that_is_not_well_formed() {
    let mut town = Town::working();
    let team_only = "a contractor's team, and only that, belongs to a contract";
    let desk_only = "a front desk, and only that, routes to units";
    let nowhere = Act::UnitOrdered {
        unit: id("welfare"),
        name: name("welfare"),
        kind: UnitKind::Department,
        contract: None,
        sites: ids(&[]),
        routes_to: ids(&[]),
        two_people: false,
        own_pcs: false,
    };
    for (act, why) in [
        (nowhere, "no site serves it"),
        (unit_of("welfare", UnitKind::Contractor, None, &[]), team_only),
        (unit_of("welfare", UnitKind::Department, Some("acme"), &[]), team_only),
        (unit_of("welfare", UnitKind::Person, Some("acme"), &[]), team_only),
        (unit_of("welfare", UnitKind::FrontDesk, Some("acme"), &["tax"]), team_only),
        (unit_of("welfare", UnitKind::FrontDesk, None, &[]), desk_only),
        (unit_of("welfare", UnitKind::Department, None, &["tax"]), desk_only),
    ] {
        assert_eq!(town.refused([act], TWO), malformed("welfare", why));
    }
    town.done([Act::SiteRemoved { site: id("branch") }], TWO);
    assert_eq!(town.refused([unit("welfare")], ONE), over(Kind::Site, "branch"));
    assert_eq!(town.refused([Act::SiteRemoved { site: id("branch") }], TWO), over(Kind::Site, "branch"));
}
