//! A service that lost its token gets new keys (P-4.15). What holds of any new keys is in `rotated.rs`.

use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, CheckpointError, Signer};
use warifu_ledger::dsse::EnvelopeError;
use warifu_ledger::state::Rejected;
use warifu_ledger::statement::HalfHolder::{Ca, Kms};
use warifu_ledger::statement::{Role, ServiceId};

use crate::fixture::*;

#[test]
fn two_officers_say_so() {
    let mut town = Town::working();
    let wanted = || [recovered(Ca, "ca 2")];
    assert_eq!(town.refused(wanted(), ONE), Rejected::TwoPeopleNeeded { needed: &[Role::Officer] });
    assert_eq!(town.refused(wanted(), &["hanako", "jiro"]), Rejected::WrongRole { needed: &[Role::Officer] });
    let head = town.head();
    let alone = town.saw("kms 2", &head, recovered(Kms, "kms 2"), ONE);
    assert_eq!(town.why_not(alone), Rejected::TwoPeopleNeeded { needed: &[Role::Officer] });
    assert_eq!(town.state.ca(), &service_keys("ca"));
    town.done(wanted(), TWO);
    assert_eq!(town.state.ca().signing, service_keys("ca 2").signing);
    assert_eq!(town.state.kms(), &service_keys("kms"));
    assert_eq!(town.state.founding().ca, service_keys("ca"), "entry 0 is what it was");
}

/// The lost kms could still sign; it has no say in who takes its place, and neither has the other one.
#[test]
fn the_new_kms_says_where_it_goes_on() {
    let mut town = Town::working();
    let not_signed = Rejected::Seen(CheckpointError::NotSigned(Signer::Kms));
    assert_eq!(town.refused([recovered(Kms, "kms 2")], TWO), not_signed);
    let head = town.head();
    let other = town.saw("kms 3", &head, recovered(Kms, "kms 2"), TWO);
    assert_eq!(town.why_not(other), not_signed);
    // Nor has it a say in anything before it is what it says.
    let early = town.saw("kms 2", &head, suspend("hanako"), ONE);
    assert_eq!(town.why_not(early), not_signed);
}

#[test]
fn a_kms_goes_on_at_the_head_and_nowhere_else() {
    let mut town = Town::working();
    let before = town.head();
    town.done([suspend("hanako")], ONE);
    let here = town.head();
    let refused = |town: &mut Town, seen| {
        let order = town.saw("kms 2", &seen, recovered(Kms, "kms 2"), TWO);
        town.why_not(order)
    };
    // Leaves that it has not would be lost.
    assert_eq!(refused(&mut town, before), Rejected::NotTheHead { size: before.size, here: here.size });
    let fork = Checkpoint { root: Digest::of(b"another ledger"), ..here };
    assert_eq!(refused(&mut town, fork), Rejected::Fork { size: here.size });
    let ahead = Checkpoint { size: here.size + 1, ..here };
    assert_eq!(refused(&mut town, ahead), Rejected::SeenAhead { seen: here.size + 1, size: here.size });
    town.recover_kms("kms 2");
    assert_eq!(town.state.kms().tls, service_keys("kms 2").tls);
}

/// Nothing else is signed on the word of a kms that is none yet.
#[test]
fn it_is_all_that_the_order_does() {
    let mut town = Town::working();
    let head = town.head();
    let mut order = town.draft([recovered(Kms, "kms 2"), suspend("hanako")]);
    order.seen = note_with("kms 2", &town.organization(), &head, Signer::Kms);
    let why = "an order that gives the kms new keys does nothing else";
    let refused = town.why_not(envelope_by_cards(&order, TWO));
    assert_eq!(refused, Rejected::KeysMalformed { service: ServiceId::Kms, why });
}

/// Whoever finds the lost token speaks for nobody.
#[test]
fn facts_need_the_new_keys() {
    let mut town = Town::working();
    town.done([unit("welfare")], TWO);
    town.done([recovered(Ca, "ca 2")], TWO);
    let created = town.unit_created("welfare");
    let by_the_lost_one = town.fact(created.clone(), &["ca", "kms"]);
    let refused = town.state.check_fact(&by_the_lost_one).unwrap_err();
    let signer = service_keys("ca 2").signing.key_id();
    assert_eq!(refused, Rejected::Envelope(EnvelopeError::NotSigned { signer }));
    town.recover_kms("kms 2");
    let by_the_lost_one = town.fact(created.clone(), &["ca 2", "kms"]);
    let refused = town.state.check_fact(&by_the_lost_one).unwrap_err();
    let signer = service_keys("kms 2").signing.key_id();
    assert_eq!(refused, Rejected::Envelope(EnvelopeError::NotSigned { signer }));
    town.append(town.fact(created, &["ca 2", "kms 2"])).unwrap();
}

/// What people signed before the kms was lost, they need not sign again: a revocation may be among it. But the lost kms's
/// word counts for no leaf after it, and proves no fork.
#[test]
fn checkpoints_of_the_lost_kms_count_for_what_it_appended() {
    let mut town = Town::working();
    let before = town.head();
    let on_its_way = town.order([suspend("hanako")], ONE);
    town.recover_kms("kms 2");
    let not_signed = Rejected::Seen(CheckpointError::NotSigned(Signer::Kms));
    assert_eq!(town.refused([suspend("hanako")], ONE), not_signed, "the lost one saw the leaf after it");
    let fork = Checkpoint { root: Digest::of(b"another ledger"), ..before };
    let forked = town.saw("kms", &fork, suspend("hanako"), ONE);
    assert_eq!(town.why_not(forked), not_signed);
    town.append(on_its_way).unwrap();
    let head = town.head();
    let order = town.saw("kms 2", &head, resume("hanako"), TWO);
    town.append(order).unwrap();
}

#[test]
fn who_spoke_for_which_ledger_is_remembered() {
    let mut town = Town::working();
    let first = town.head().size;
    town.done([recovered(Ca, "ca 2")], TWO);
    town.recover_kms("kms 2");
    town.recover_kms("kms 3");
    let state = &town.state;
    let signing = |service, size| state.keys_at(service, size).signing;
    assert_eq!(signing(Ca, 0), service_keys("ca").signing);
    assert_eq!(signing(Ca, first), service_keys("ca").signing);
    assert_eq!(signing(Ca, first + 1), service_keys("ca 2").signing);
    assert_eq!(signing(Kms, first + 1), service_keys("kms").signing);
    assert_eq!(signing(Kms, first + 2), service_keys("kms 2").signing);
    assert_eq!(signing(Kms, first + 3), service_keys("kms 3").signing);
    assert_eq!(signing(Kms, u64::MAX), service_keys("kms 3").signing);
    let until: Vec<_> = state.former_keys(Kms).map(|(until, _)| until).collect();
    assert_eq!(until, [first + 1, first + 2]);
}
