//! Counts, sizes and keys that come once (P-2.3, P-4.9).

use p256::elliptic_curve::sec1::ToSec1Point as _;
use warifu_ledger::dsse::{EnvelopeError, PAYLOAD_LIMIT, SIGNATURE_LIMIT};
use warifu_ledger::key::{Bytes, PublicKey};
use warifu_ledger::leaf::{LEAF_LIMIT, Leaf, LeafError};
use warifu_ledger::state::{GRANTS_PER_CARD, Rejected};
use warifu_ledger::statement::{Act, Card};
use warifu_split_key::point::Point;

use crate::fixture::*;

/// `-S`: another key, whose ECDH answers are those of `S`.
fn negated(key: &PublicKey) -> PublicKey {
    let point = p256::PublicKey::from_sec1_bytes(&key.0.to_compressed()).unwrap().to_projective();
    PublicKey(Point::from_sec1((-point).to_affine().to_sec1_point(true).as_bytes()).unwrap())
}

#[test]
fn the_twenty_first_grant() {
    let mut town = Town::working();
    let labels: Vec<String> = (0..=GRANTS_PER_CARD).map(|n| format!("unit {n}")).collect();
    town.done(labels.iter().map(|label| unit(label)), ONE);
    let full = Rejected::CardFull { card: card_id("jiro") };
    // All at once, or one by one.
    assert_eq!(town.refused(labels.iter().map(|label| grant("jiro", label)), ONE), full);
    town.done(labels[1..].iter().map(|label| grant("jiro", label)), ONE);
    assert_eq!(town.state.grants_of_card(card_id("jiro")).count(), 20);
    assert_eq!(town.refused([grant("jiro", "unit 0")], ONE), full);
    // A dead one gives its slot back.
    town.done([revoke_grant("jiro", "unit 1"), grant("jiro", "unit 0")], ONE);
}

#[test]
fn a_card_key_that_came_before() {
    let mut town = Town::working();
    let fresh = card("saburo");
    let known = card("hanako");
    for repeated in [
        Card { authentication: known.authentication, ..fresh.clone() },
        Card { signature: known.signature, ..fresh.clone() },
        Card { transport: known.transport, ..fresh.clone() },
        // In another slot.
        Card { transport: known.signature, ..fresh.clone() },
        // Twice on one card.
        Card { authentication: fresh.signature, ..fresh.clone() },
        Card { transport: fresh.authentication, ..fresh.clone() },
        // The key of a service, of a site, of a unit, of a half, of a share.
        Card { authentication: service_keys("kms").tls, ..fresh.clone() },
        Card { signature: service_keys("main").signing, ..fresh.clone() },
        Card { transport: town.state.unit(&id("tax")).unwrap().key.unwrap().0.into(), ..fresh.clone() },
        Card { transport: issuer_half("tax").public().into(), ..fresh.clone() },
        Card { transport: shares("hanako", "tax").0.into(), ..fresh.clone() },
        Card { transport: shares("hanako", "tax").1.into(), ..fresh.clone() },
        // The negative of one.
        Card { transport: negated(&known.transport), ..fresh.clone() },
        Card { authentication: negated(&known.authentication), ..fresh.clone() },
    ] {
        assert_eq!(town.refused([Act::CardEnrolled(repeated)], TWO), Rejected::RepeatedPoint);
    }
    town.done([Act::CardEnrolled(fresh)], ONE);
}

#[test]
fn a_dead_cards_keys_do_not_come_back() {
    let mut town = Town::working();
    town.done([revoke_card("jiro")], ONE);
    let reborn = Card { card: id("reborn"), ..card("jiro") };
    assert_eq!(town.refused([Act::CardEnrolled(reborn)], ONE), Rejected::RepeatedPoint);
}

#[test]
fn a_site_key_that_came_before() {
    let mut town = Town::working();
    let Act::SiteJoined { site: dmz, name, keys, address } = site("dmz") else { unreachable!() };
    let mut stolen = keys.clone();
    stolen.signing = service_keys("ca").signing;
    let mut doubled = keys;
    doubled.tls = doubled.signing;
    for keys in [stolen, doubled] {
        let act = Act::SiteJoined { site: dmz, name, keys, address: address.clone() };
        assert_eq!(town.refused([act], TWO), Rejected::RepeatedPoint);
    }
}

#[test]
fn too_many_signatures() {
    let mut town = Town::working();
    let too_large = Rejected::Envelope(EnvelopeError::TooLarge);
    let order = town.order([unit("welfare")], &["sakura"; SIGNATURE_LIMIT + 1]);
    assert_eq!(town.why_not(order), too_large);

    let mut fact = town.fact(town.unit_created("tax"), &["ca", "kms"]);
    fact.signatures.resize(SIGNATURE_LIMIT + 1, fact.signatures[0].clone());
    assert_eq!(town.append(fact.clone()).unwrap_err(), too_large);
    assert_eq!(fact.verify(&service_keys("ca").signing), Err(EnvelopeError::TooLarge));
}

#[test]
fn too_large_a_payload() {
    let mut town = Town::working();
    let mut order = town.order([unit("welfare")], ONE);
    order.payload = Bytes(vec![b' '; PAYLOAD_LIMIT + 1]);
    assert_eq!(town.why_not(order), Rejected::Envelope(EnvelopeError::TooLarge));
    assert_eq!(Leaf::from_bytes(vec![b' '; LEAF_LIMIT + 1]), Err(LeafError::TooLarge));

    let mut order = town.order([unit("welfare")], ONE);
    order.payload = Bytes(vec![b' '; LEAF_LIMIT]);
    assert_eq!(Leaf::new(town.at, order), Err(LeafError::TooLarge));
}

#[test]
fn the_largest_payload_fits_in_a_leaf() {
    let mut town = Town::working();
    let mut order = town.order([unit("welfare")], &["sakura"; SIGNATURE_LIMIT]);
    order.payload = Bytes(vec![b' '; PAYLOAD_LIMIT]);
    let leaf = Leaf::new(u64::MAX, order).unwrap();
    assert_eq!(Leaf::from_bytes(leaf.as_bytes().to_vec()).unwrap(), leaf);
}

#[test]
fn deep_nesting_is_an_error() {
    let mut town = Town::working();
    let brackets = "[".repeat(1_000_000);
    assert!(matches!(Leaf::from_bytes(brackets.clone().into_bytes()), Err(LeafError::Malformed { .. })));

    // Where a tagged act is buffered before it is understood.
    let mut order = town.order([unit("welfare")], ONE);
    let text = String::from_utf8(order.payload.0).unwrap();
    order.payload =
        Bytes(text.replacen("\"acts\":[", &format!("\"acts\":[{{\"x\":{brackets}"), 1).into_bytes());
    assert!(matches!(town.why_not(order), Rejected::Envelope(EnvelopeError::Malformed { .. })));
}

#[test]
fn a_complaint_does_not_repeat_the_whole_input() {
    let mut town = Town::working();
    let mut order = town.order([unit("welfare")], ONE);
    let text = String::from_utf8(order.payload.0).unwrap();
    let field = "名".repeat(100_000);
    order.payload = Bytes(text.replacen('{', &format!("{{\"{field}\":1,"), 1).into_bytes());
    let Rejected::Envelope(EnvelopeError::Malformed { why }) = town.why_not(order) else { unreachable!() };
    assert!(why.contains("unknown field") && why.chars().count() <= 200, "{why}");
}
