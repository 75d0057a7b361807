//! Role-holders: two people for all that touches them, but one can pull the brake; and never a town without officers
//! (P-4.5, P-4.6, P-4.8).

use warifu_ledger::state::{CardStatus, Rejected};
use warifu_ledger::statement::{Act, Founding, Policy, Role};

use crate::fixture::*;

const ENDING: Rejected = Rejected::TwoPeopleNeeded { needed: &[Role::Officer, Role::Administrator] };

#[test]
fn one_person_ends_no_role_holder() {
    let mut town = Town::working();
    town.done([roles("hanako", &[Role::Auditor])], TWO);
    assert_eq!(town.refused([revoke_card("hanako")], ONE), ENDING);
    assert_eq!(town.refused([revoke_member("hanako")], ONE), ENDING);
    // The member is not somebody who helps with it.
    assert_eq!(town.refused([revoke_card("hanako")], &["sakura", "jiro"]), ENDING);
    town.done([revoke_card("hanako")], TWO);
}

#[test]
fn one_person_ends_everybody_else() {
    let mut town = Town::working();
    town.done([revoke_card("jiro")], ONE);
    town.done([revoke_member("hanako")], ONE);
    town.done([end_contract("acme")], ONE);
}

#[test]
fn one_person_suspends_a_role_holder_and_two_resume_him() {
    let mut town = Town::working();
    town.done([suspend("midori")], ONE);
    assert_eq!(town.state.card(&card_id("midori")).unwrap().status, CardStatus::Suspended);
    assert_eq!(town.refused([resume("midori")], ONE), ENDING);
    town.done([resume("midori")], TWO);
    assert_eq!(town.state.card(&card_id("midori")).unwrap().status, CardStatus::Live);
}

#[test]
fn one_person_enrols_no_role_holders_card() {
    let mut town = Town::working();
    assert_eq!(
        town.refused([enrol("midori:2")], ONE),
        Rejected::TwoPeopleNeeded { needed: &[Role::Officer] }
    );
    town.done([enrol("midori:2")], TWO);
}

#[test]
fn a_contractor_becomes_neither_officer_nor_administrator() {
    let mut town = Town::working();
    let refused = Rejected::RoleUnderContract { member: id("taro") };
    assert_eq!(town.refused([roles("taro", &[Role::Officer])], TWO), refused);
    assert_eq!(town.refused([roles("taro", &[Role::Administrator, Role::Auditor])], TWO), refused);
    town.done([roles("taro", &[Role::Auditor])], TWO);
    town.done([end_contract("acme")], ONE);
    assert_eq!(town.refused([unit("welfare")], &["taro"]), Rejected::SignerNotLive { card: card_id("taro") });
}

#[test]
fn a_role_goes_with_its_member() {
    let mut town = Town::working();
    town.done([roles("hanako", &[Role::Officer])], TWO);
    town.done([revoke_member("hanako")], TWO);
    assert!(town.state.member(&id("hanako")).unwrap().roles.is_empty());
    // Nothing of his needs two people any more.
    town.done([revoke_card("hanako")], ONE);
}

#[test]
fn a_card_that_one_officer_enrolled_carries_no_role() {
    let mut town = Town::working();
    // One officer enrols a card for somebody, keeps it, and waits for the promotion.
    town.done([enrol("goro")], ONE);
    town.done([roles("goro", &[Role::Officer])], TWO);
    let alone = &[ONE[0], "goro"];
    assert!(matches!(town.refused([contract("beta", ACME_ENDS)], alone), Rejected::TwoPeopleNeeded { .. }));
    assert!(matches!(town.refused([unit("welfare")], &["goro"]), Rejected::WrongRole { .. }));
    // Nor does he count as an officer who is left.
    town.done([revoke_member("midori")], TWO);
    assert_eq!(town.refused([revoke_member("kenji")], TWO), Rejected::LockOut);
}

#[test]
fn fewer_than_two_officers_are_a_lock_out() {
    let mut town = Town::working();
    town.done([revoke_member("midori")], TWO);
    assert_eq!(town.refused([revoke_member("kenji")], TWO), Rejected::LockOut);
    assert_eq!(town.refused([revoke_card("kenji")], TWO), Rejected::LockOut);
    // With a successor in the same order it is none.
    town.done([roles("hanako", &[Role::Officer])], TWO);
    town.done([revoke_member("kenji")], TWO);
    assert_eq!(
        town.refused([roles("kenji", &[])], &["sakura", "hanako"]),
        Rejected::Over { kind: warifu_ledger::state::Kind::Member, id: id("kenji") }
    );
}

#[test]
fn taking_roles_away_can_lock_out_too() {
    let mut town = Town::working();
    town.done([roles("midori", &[Role::Administrator])], TWO);
    town.done([roles("hanako", &[Role::Officer])], TWO);
    assert_eq!(
        town.refused([roles("hanako", &[]), roles("midori", &[]), revoke_card("kenji")], TWO),
        Rejected::LockOut
    );
}

#[test]
fn a_suspended_officer_does_not_count_as_one_who_is_left() {
    let mut town = Town::working();
    town.done([suspend("midori")], ONE);
    assert_eq!(town.refused([revoke_member("kenji")], TWO), Rejected::LockOut);
    assert_eq!(town.refused([suspend("jiro"), revoke_card("kenji")], TWO), Rejected::LockOut);
    // Whoever is suspended may go: he was not one of the two.
    town.done([revoke_member("midori")], TWO);
}

#[test]
fn the_brake_works_against_every_thief() {
    let mut town = Town::working();
    town.done([suspend("midori")], ONE);
    town.done([suspend("kenji")], ONE);
    town.done([suspend("sakura")], ONE);
    assert_eq!(town.refused([unit("welfare")], ONE), Rejected::SignerNotLive { card: card_id("sakura") });
    // What members have is untouched.
    assert_eq!(town.answers("main", "hanako", "tax"), Ok(()));
}

fn separate(separate_roles: bool) -> Act {
    Act::PolicyChanged { policy: Policy { separate_roles, ..policy() } }
}

/// The officers of the working town, but for sakura, are officers and nothing else.
fn officers_only(town: &mut Town) {
    town.done([roles("kenji", &[Role::Officer])], &["sakura", "midori"]);
    town.done([roles("midori", &[Role::Officer])], &["sakura", "kenji"]);
}

#[test]
fn p_4_19_roles_are_not_kept_apart_while_somebody_holds_them_together() {
    let mut town = Town::working();
    officers_only(&mut town);
    let together = Rejected::RolesNotSeparate { member: id("sakura") };
    assert_eq!(town.refused([separate(true)], TWO), together);
    assert_eq!(town.state.with_roles_together().collect::<Vec<_>>(), [id("sakura")]);
    // Nor within one order in the wrong turn; in the right one it is whole.
    let apart = || roles("sakura", &[Role::Officer]);
    let others = &["kenji", "midori"];
    assert_eq!(town.refused([separate(true), apart()], others), together);
    town.done([apart(), separate(true)], others);
    assert!(town.state.policy().separate_roles);
    assert_eq!(town.state.with_roles_together().count(), 0);
}

#[test]
fn p_4_19_where_roles_are_kept_apart_an_officer_is_nothing_beside() {
    let mut town = Town::working();
    // Without the policy, one person may be all of it.
    town.done([roles("hanako", &[Role::Officer, Role::Administrator, Role::Auditor])], TWO);
    town.done([roles("hanako", &[])], TWO);
    officers_only(&mut town);
    town.done([roles("sakura", &[Role::Officer]), separate(true)], &["kenji", "midori"]);
    let together = Rejected::RolesNotSeparate { member: id("hanako") };
    for beside in [Role::Administrator, Role::Auditor] {
        assert_eq!(town.refused([roles("hanako", &[Role::Officer, beside])], TWO), together);
    }
    town.done([roles("hanako", &[Role::Administrator, Role::Auditor, Role::Dispatcher])], TWO);
    town.done([roles("hanako", &[Role::Officer, Role::Dispatcher])], TWO);
    // Whoever was given a role keeps it when roles are not kept apart any more, and may get the other.
    town.done([separate(false), roles("hanako", &[Role::Officer, Role::Auditor])], TWO);
    assert_eq!(town.refused([separate(true)], TWO), together);
    // Who has left holds nothing.
    town.done([revoke_member("hanako")], TWO);
    town.done([separate(true)], TWO);
}

#[test]
fn p_4_19_founded_with_roles_apart_the_officers_are_officers_alone() {
    let apart = Founding { policy: Policy { separate_roles: true, ..policy() }, ..founding() };
    let state = found(&apart, &["sakura", "kenji", "midori"]).unwrap();
    for officer in ["sakura", "kenji", "midori"] {
        assert_eq!(state.member(&id(officer)).unwrap().roles, [Role::Officer].into());
    }
}
