//! Entry 0 (P-4.1).

use warifu_ledger::dsse::EnvelopeError;
use warifu_ledger::key::Base64;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::{Rejected, State};
use warifu_ledger::statement::{Attestation, Card, Founding, Policy, Role};

use crate::fixture::*;

const OFFICERS: &[&str] = &["sakura", "kenji", "midori"];

fn with_officers(cards: &[&str]) -> Result<State, Rejected> {
    found(&Founding { officers: cards.iter().map(|c| card(c)).collect(), ..founding() }, cards)
}

fn refused(founding: &Founding) -> Rejected {
    found(founding, OFFICERS).err().unwrap()
}

fn not_signed(keyid: warifu_ledger::Digest) -> Rejected {
    Rejected::Envelope(EnvelopeError::NotSigned { signer: keyid })
}

#[test]
fn an_officer_who_did_not_sign_is_no_founder() {
    let missing = found(&founding(), &["sakura", "kenji"]).err().unwrap();
    assert_eq!(missing, not_signed(card("midori").signature.key_id()));
}

#[test]
fn an_officers_other_keys_do_not_sign() {
    let mut envelope = founding_envelope(&founding(), &["sakura", "kenji"]);
    add_signature(&mut envelope, &card_key("midori", "9A"));
    let leaf = Leaf::new(T0, envelope).unwrap();
    assert_eq!(State::found(&leaf).err().unwrap(), not_signed(card("midori").signature.key_id()));
}

#[test]
fn a_service_that_did_not_sign_is_not_part_of_it() {
    for (present, missing) in [("ca", "kms"), ("kms", "ca")] {
        let mut envelope = envelope_by_cards(&founding(), OFFICERS);
        add_signature(&mut envelope, &key(&format!("{present} signing")));
        let leaf = Leaf::new(T0, envelope).unwrap();
        let expected = not_signed(service_keys(missing).signing.key_id());
        assert_eq!(State::found(&leaf).err().unwrap(), expected);
    }
}

#[test]
fn nobody_and_one_person_found_nothing() {
    let alone = Rejected::NotFounding { why: "two different people are needed" };
    assert_eq!(with_officers(&[]).err().unwrap(), alone);
    assert_eq!(with_officers(&["sakura", "sakura:2", "sakura:3"]).err().unwrap(), alone);
}

#[test]
fn losing_one_card_must_not_lock_the_town_out() {
    let why = "three people, or a spare card for each of two, are needed";
    assert_eq!(with_officers(&["sakura", "kenji"]).err().unwrap(), Rejected::NotFounding { why });
    assert_eq!(with_officers(&["sakura", "sakura:2", "kenji"]).err().unwrap(), Rejected::NotFounding { why });
    assert!(with_officers(&["sakura", "sakura:2", "kenji", "kenji:2"]).is_ok());
}

#[test]
fn more_officers_than_can_sign() {
    let labels: Vec<String> = (0..15).map(|n| format!("officer{n}")).collect();
    let cards: Vec<&str> = labels.iter().map(String::as_str).collect();
    let officers = cards.iter().map(|c| card(c)).collect();
    let envelope = envelope_by_cards(&Founding { officers, ..founding() }, &cards);
    let why = "more officers' cards than can sign";
    assert_eq!(State::found(&Leaf::new(T0, envelope).unwrap()).err().unwrap(), Rejected::NotFounding { why });
    assert!(with_officers(&cards[..14]).is_ok());
}

#[test]
fn an_officer_under_a_contract() {
    let mut founding = founding();
    founding.officers[2].contract = Some(id("acme"));
    assert_eq!(refused(&founding), Rejected::NotFounding { why: "an officer works under a contract" });
}

#[test]
fn log_keys_are_there_different_and_keys() {
    let mut missing = founding();
    missing.ca.log = None;
    assert_eq!(refused(&missing), Rejected::NotFounding { why: "ca and kms need a log key" });

    let mut shared = founding();
    shared.ca.log = shared.kms.log;
    assert_eq!(refused(&shared), Rejected::NotFounding { why: "ca and kms share a log key" });

    let no_point = (0..=255).map(|first| {
        let mut bytes = [0; 32];
        bytes[0] = first;
        bytes
    });
    let no_key =
        no_point.into_iter().find(|bytes| ed25519_dalek::VerifyingKey::from_bytes(bytes).is_err()).unwrap();
    let mut broken = founding();
    broken.kms.log = Some(Base64(no_key));
    assert_eq!(refused(&broken), Rejected::NotFounding { why: "a log key is no Ed25519 public key" });
}

#[test]
fn a_policy_out_of_bounds() {
    let mut founding = founding();
    founding.policy = Policy { lease_ms: DAY + 1, ..policy() };
    let why = "a lease lasts from one second to 24 hours";
    assert_eq!(refused(&founding), Rejected::PolicyOutOfBounds { why });
}

#[test]
fn an_unattested_card_where_the_policy_demands_attestation() {
    let mut founding = founding();
    founding.officers[0].attestation = Attestation::None;
    assert_eq!(refused(&founding), Rejected::NotAttested);
    founding.policy.unattested_cards = true;
    assert!(found(&founding, OFFICERS).is_ok());
}

#[test]
fn one_key_in_two_places() {
    let mut services = founding();
    services.kms.tls = services.ca.tls;
    assert_eq!(refused(&services), Rejected::RepeatedPoint);

    let mut cards = founding();
    cards.officers[1] = Card { authentication: cards.officers[0].authentication, ..card("kenji") };
    assert_eq!(refused(&cards), Rejected::RepeatedPoint);

    let mut officer_is_service = founding();
    officer_is_service.officers[0].transport = officer_is_service.ca.tls;
    assert_eq!(refused(&officer_is_service), Rejected::RepeatedPoint);
}

#[test]
fn entry_0_is_a_founding_and_no_later_one_is() {
    let mut town = Town::founded();
    let order = town.order([unit("tax")], ONE);
    let leaf = Leaf::new(T0, order).unwrap();
    assert!(matches!(
        State::found(&leaf),
        Err(Rejected::Envelope(EnvelopeError::WrongType {
            expected: "application/vnd.warifu.founding.v1+json",
            ..
        }))
    ));

    let again = Founding { id: id("coup"), ..founding() };
    let envelope = founding_envelope(&again, OFFICERS);
    let why = "it is founded already";
    assert_eq!(town.append(envelope).unwrap_err(), Rejected::NotFounding { why });
    let first = town.leaves[0].envelope().clone();
    assert_eq!(town.append(first).unwrap_err(), Rejected::NotFounding { why });
}

#[test]
fn the_founders_are_officers_and_administrators_of_an_organization_named_by_the_digest() {
    let town = Town::founded();
    assert_eq!(town.organization(), town.leaves[0].envelope().digest());
    assert_eq!(town.state.tree().size(), 1);
    assert_eq!(town.state.last_at(), T0);
    assert_eq!(town.state.members().count(), 3);
    for officer in OFFICERS {
        let member = town.state.member(&id(officer)).unwrap();
        assert_eq!(member.roles, [Role::Officer, Role::Administrator].into());
        let authentication = card(officer).authentication.0;
        assert_eq!(town.state.card_of_authentication_key(&authentication), Some(card_id(officer)));
        assert_eq!(town.state.may_sign(card(officer).signature.key_id(), T0), Ok(card_id(officer)));
    }
}
