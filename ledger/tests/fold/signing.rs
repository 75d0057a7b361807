//! Who signed an order, whether they may, and once only (P-4.4, P-4.5, P-4.6, P-4.10).

use p256::ecdsa::Signature;
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, CheckpointError, Signer};
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::key::Base64;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::Rejected;
use warifu_ledger::statement::{Act, Order, Receipt, Role};

use crate::fixture::*;

fn seen(town: &mut Town, note: String) -> Rejected {
    let order = Order { seen: note, ..town.draft([unit("welfare")]) };
    town.why_not(envelope_by_cards(&order, ONE))
}

/// The other signature that the same key makes of the same message: `n - s`.
fn flip_s(envelope: &mut Envelope) {
    let signature = Signature::from_slice(&envelope.signatures[0].sig.0).unwrap();
    let (r, s) = signature.split_scalars();
    let flipped = Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    assert_ne!(flipped, signature);
    envelope.signatures[0].sig = Base64(flipped.to_bytes().into());
}

#[test]
fn unsigned() {
    assert_eq!(Town::working().refused([unit("welfare")], &[]), Rejected::Unsigned);
}

#[test]
fn signed_without_the_role() {
    let mut town = Town::working();
    let needed: &[Role] = &[Role::Officer];
    assert_eq!(town.refused([unit("welfare")], &["hanako"]), Rejected::WrongRole { needed });
    assert_eq!(town.refused([unit("welfare")], &["hanako", "jiro"]), Rejected::WrongRole { needed });
    // An administrator ends access and gives none; an auditor does neither.
    town.done([roles("hanako", &[Role::Administrator]), roles("jiro", &[Role::Auditor])], TWO);
    assert_eq!(town.refused([grant("jiro", "tax")], &["hanako"]), Rejected::WrongRole { needed });
    let needed: &[Role] = &[Role::Officer, Role::Administrator];
    assert_eq!(town.refused([end_contract("acme")], &["jiro"]), Rejected::WrongRole { needed });
    town.done([end_contract("acme")], &["hanako"]);
}

/// What the fold would say if these cards signed, asked without their signatures and with them.
fn asked_before(town: &mut Town, acts: &[Act], cards: &[&str]) -> Result<(), Rejected> {
    let order = town.draft(acts.to_vec());
    let before =
        town.state.check_unsigned(&order, &cards.iter().map(|card| card_id(card)).collect(), town.at);
    let after = town.state.check_order(&envelope_by_cards(&order, cards), town.at).map(drop);
    assert_eq!(before, after);
    before
}

#[test]
fn what_will_be_said_is_known_before_anybody_signs() {
    let mut town = Town::working();
    let two = Err(Rejected::TwoPeopleNeeded { needed: &[Role::Officer] });
    assert_eq!(asked_before(&mut town, &[unit("welfare")], &["sakura"]), Ok(()));
    assert_eq!(asked_before(&mut town, &[contract("beta", ACME_ENDS)], &["sakura"]), two);
    assert_eq!(asked_before(&mut town, &[contract("beta", ACME_ENDS)], TWO), Ok(()));
    let wrong = Err(Rejected::WrongRole { needed: &[Role::Officer] });
    assert_eq!(asked_before(&mut town, &[unit("welfare")], &["hanako"]), wrong);
    town.done([suspend("kenji")], ONE);
    let card = card_id("kenji");
    assert_eq!(
        asked_before(&mut town, &[unit("welfare")], &["kenji"]),
        Err(Rejected::SignerNotLive { card })
    );
}

/// What may wait for a second person is what one more signature would make good, and nothing else.
#[test]
fn an_order_awaits_a_second_person_only_if_one_can_make_it_good() {
    let mut town = Town::working();
    let awaits = |town: &mut Town, acts: &[Act], cards: &[&str]| {
        let envelope = town.order(acts.to_vec(), cards);
        town.state.check_awaiting(&envelope, town.at).map(drop)
    };
    let beta = contract("beta", ACME_ENDS);
    assert_eq!(awaits(&mut town, std::slice::from_ref(&beta), ONE), Ok(()));
    // Not what is wrong whoever signs: in another act, or behind the one that needs two.
    let exists = Rejected::Exists { kind: warifu_ledger::state::Kind::Unit, id: id("tax") };
    assert_eq!(awaits(&mut town, &[beta.clone(), unit("tax")], ONE), Err(exists.clone()));
    assert_eq!(awaits(&mut town, &[unit("tax"), beta.clone()], ONE), Err(exists));
    // Not what its first signer may not do, or what does not bear his signature.
    let wrong = Rejected::WrongRole { needed: &[Role::Officer] };
    assert_eq!(awaits(&mut town, std::slice::from_ref(&beta), &["hanako"]), Err(wrong));
    let mut forged = town.order([beta.clone()], ONE);
    forged.signatures[0].sig = Base64([1; 64]);
    let bad = Rejected::BadSignature { card: card_id("sakura") };
    assert_eq!(town.state.check_awaiting(&forged, town.at).map(drop), Err(bad));
    // For the third officer the two others can sign; for the second one, only the third.
    assert_eq!(awaits(&mut town, &[roles("kenji", &[Role::Officer])], ONE), Ok(()));
    town.done([suspend("midori")], ONE);
    let two = Rejected::TwoPeopleNeeded { needed: &[Role::Officer] };
    assert_eq!(awaits(&mut town, &[roles("kenji", &[Role::Officer])], ONE), Err(two));
}

#[test]
fn one_signature_where_two_are_needed() {
    let mut town = Town::working();
    let two_officers = Rejected::TwoPeopleNeeded { needed: &[Role::Officer] };
    for act in [
        contract("beta", ACME_ENDS),
        Act::ContractExtended { contract: id("acme"), ends_at: ACME_ENDS + DAY },
        site("dmz"),
        front_desk("front", &["tax"]),
        team("second team", "acme"),
        roles("hanako", &[Role::Auditor]),
        Act::PolicyChanged { policy: policy() },
        Act::FileShredded { file: Digest::of(b"x(R)") },
        Act::SiteRemoved { site: id("branch") },
    ] {
        assert_eq!(town.refused([act.clone()], ONE), two_officers, "{act:?}");
        // The second signature is that of somebody without the role.
        assert_eq!(town.refused([act.clone()], &["sakura", "hanako"]), two_officers, "{act:?}");
        town.done([act], TWO);
    }
}

#[test]
fn two_cards_of_the_same_person() {
    let mut town = Town::working();
    town.done([enrol("sakura:spare")], &["kenji", "midori"]);
    let refused = town.refused([contract("beta", ACME_ENDS)], &["sakura", "sakura:spare"]);
    assert_eq!(refused, Rejected::TwoPeopleNeeded { needed: &[Role::Officer] });
}

#[test]
fn the_same_card_twice() {
    let refused = Town::working().refused([contract("beta", ACME_ENDS)], &["sakura", "sakura"]);
    assert_eq!(refused, Rejected::SignedTwice { card: card_id("sakura") });
}

#[test]
fn an_unknown_signer() {
    let mut town = Town::working();
    let keyid = card("stranger").signature.key_id();
    assert_eq!(town.refused([unit("welfare")], &["stranger"]), Rejected::UnknownSigner { keyid });
    // Not even beside enough known ones: who reads the ledger should not wonder.
    assert_eq!(
        town.refused([contract("beta", ACME_ENDS)], &["sakura", "kenji", "stranger"]),
        Rejected::UnknownSigner { keyid }
    );
}

#[test]
fn a_cards_other_keys_and_the_services_keys_sign_no_order() {
    let mut town = Town::working();
    for key in [
        card_key("sakura", "9A"),
        card_key("sakura", "9D"),
        key("ca signing"),
        key("kms signing"),
        key("main signing"),
    ] {
        let mut envelope = town.order([unit("welfare")], &[]);
        add_signature(&mut envelope, &key);
        assert_eq!(town.why_not(envelope), Rejected::UnknownSigner { keyid: public(&key).key_id() });
    }
}

#[test]
fn a_bad_signature() {
    let mut town = Town::working();
    let bad = Rejected::BadSignature { card: card_id("sakura") };

    let other = town.order([unit("library")], ONE);
    let mut moved = town.order([unit("welfare")], &[]);
    moved.signatures = other.signatures;
    assert_eq!(town.why_not(moved), bad);

    let mut borrowed = town.order([unit("welfare")], &["hanako"]);
    borrowed.signatures[0].keyid = card("sakura").signature.key_id();
    assert_eq!(town.why_not(borrowed), bad);

    for broken in [[0; 64], [0xff; 64]] {
        let mut envelope = town.order([unit("welfare")], ONE);
        envelope.signatures[0].sig = Base64(broken);
        assert_eq!(town.why_not(envelope), bad);
    }

    // One good signature does not carry a bad one.
    let mut second_bad = town.order([unit("welfare")], &["kenji", "sakura"]);
    second_bad.signatures[1].sig = second_bad.signatures[0].sig;
    assert_eq!(town.why_not(second_bad), bad);
}

#[test]
fn replayed() {
    let mut town = Town::working();
    let order = town.draft([suspend("hanako")]);
    let envelope = envelope_by_cards(&order, ONE);
    town.append(envelope.clone()).unwrap();
    town.done([resume("hanako")], ONE);
    let replayed = Rejected::Replayed { id: order.id };
    assert_eq!(town.why_not(envelope.clone()), replayed);
    // Neither another signer nor another signature makes it a new order.
    assert_eq!(town.why_not(envelope_by_cards(&order, &["kenji"])), replayed);
    assert_eq!(town.why_not(envelope_by_cards(&order, &["sakura", "kenji"])), replayed);
    // Up to and including the last instant at which it might be appended.
    town.at = order.expires_at - 1000;
    assert_eq!(town.why_not(envelope), replayed);
}

#[test]
fn the_other_s_of_a_signature_is_the_same_order() {
    let mut town = Town::working();
    let order = town.draft([unit("welfare")]);
    let first = envelope_by_cards(&order, ONE);
    let mut second = first.clone();
    flip_s(&mut second);
    assert_eq!(first.digest(), second.digest());
    assert_eq!(second.verify(&card("sakura").signature), Ok(()), "ECDSA takes either");
    town.append(first).unwrap();
    assert_eq!(town.why_not(second), Rejected::Replayed { id: order.id });
}

#[test]
fn a_clock_behind_the_ledger_revives_no_executed_order() {
    let mut town = Town::working();
    let order = town.draft([suspend("hanako")]);
    let envelope = envelope_by_cards(&order, ONE);
    town.append(envelope.clone()).unwrap();
    town.at = order.expires_at + 1;
    town.done([resume("hanako")], ONE);
    let refused = town.state.check_order(&envelope, order.expires_at - 1).unwrap_err();
    assert_eq!(refused, Rejected::Expired { expires_at: order.expires_at, at: town.at });
}

#[test]
fn expired() {
    let mut town = Town::working();
    let appended = town.at + 1000;
    let late = Order { expires_at: appended - 1, ..town.draft([unit("welfare")]) };
    assert_eq!(
        town.why_not(envelope_by_cards(&late, ONE)),
        Rejected::Expired { expires_at: appended - 1, at: appended }
    );
    let just = Order { expires_at: appended, ..late };
    town.append(envelope_by_cards(&just, ONE)).unwrap();
}

#[test]
fn an_expiry_too_far_ahead() {
    let mut town = Town::working();
    let latest = town.at + 1000 + 7 * DAY;
    for expires_at in [latest + 1, u64::MAX] {
        let far = Order { expires_at, ..town.draft([unit("welfare")]) };
        assert_eq!(town.why_not(envelope_by_cards(&far, ONE)), Rejected::ExpiryTooFar);
    }
    let just = Order { expires_at: latest, ..town.draft([unit("welfare")]) };
    town.append(envelope_by_cards(&just, ONE)).unwrap();
}

#[test]
fn from_another_organization() {
    let mut town = Town::working();
    let other = Digest::of(b"hakuba");
    let order = Order { organization: other, ..town.draft([unit("welfare")]) };
    assert_eq!(town.why_not(envelope_by_cards(&order, ONE)), Rejected::OtherOrganization { found: other });
}

#[test]
fn the_seen_checkpoint_is_missing() {
    let mut town = Town::working();
    let malformed = Rejected::Seen(CheckpointError::Malformed);
    assert_eq!(seen(&mut town, String::new()), malformed);
    assert_eq!(seen(&mut town, "誰も見ていない".to_owned()), malformed);
}

#[test]
fn the_seen_checkpoint_is_not_signed_by_the_kms() {
    let mut town = Town::working();
    let not_signed = Rejected::Seen(CheckpointError::NotSigned(Signer::Kms));
    let text = String::from_utf8(town.head().text(&town.organization()).unwrap()).unwrap();
    assert_eq!(seen(&mut town, format!("{text}\n")), Rejected::Seen(CheckpointError::Malformed));
    let by_ca = note(&town.organization(), &town.head(), Signer::Ca);
    assert_eq!(seen(&mut town, by_ca), not_signed);
    // The kms's name and key id over a signature of somebody else's.
    let forged = town.head().note(&town.organization(), &log_public("kms"), [7; 64]).unwrap();
    assert_eq!(seen(&mut town, forged), not_signed);
}

#[test]
fn the_seen_checkpoint_is_of_another_organization() {
    let mut town = Town::working();
    let other = Digest::of(b"hakuba");
    let named_otherwise = note(&other, &town.head(), Signer::Kms);
    assert_eq!(seen(&mut town, named_otherwise), Rejected::Seen(CheckpointError::NotSigned(Signer::Kms)));

    // Another log's head under our kms's key and name.
    use ed25519_dalek::Signer as _;
    let text = town.head().text(&other).unwrap();
    let signature = log_key("kms").sign(&text).to_bytes().to_vec();
    let name = format!("warifu/{}", town.organization());
    let typed: Vec<u8> = [1].into_iter().chain(log_public("kms").0).collect();
    let id = signed_note::key_id(&name, &typed);
    let signature = signed_note::Signature::new(name, id, signature).unwrap();
    let foreign = signed_note::Note::new(&text, &[signature]).unwrap().to_bytes();
    assert_eq!(
        seen(&mut town, String::from_utf8(foreign).unwrap()),
        Rejected::Seen(CheckpointError::OtherOrganization)
    );
}

#[test]
fn the_seen_checkpoint_contradicts_the_ledger() {
    let mut town = Town::working();
    for size in [0, 1, town.head().size] {
        let forked = Checkpoint { size, root: Digest::of(b"another history") };
        let forked = note(&town.organization(), &forked, Signer::Kms);
        assert_eq!(seen(&mut town, forked), Rejected::Fork { size });
    }
}

#[test]
fn a_fork_is_proved_only_by_an_order_that_people_signed() {
    let mut town = Town::working();
    let forked = Checkpoint { size: 1, root: Digest::of(b"another history") };
    let forked = note(&town.organization(), &forked, Signer::Kms);
    let order = Order { seen: forked, ..town.draft([unit("welfare")]) };
    assert_eq!(town.why_not(envelope_by_cards(&order, &[])), Rejected::Unsigned);
}

#[test]
fn the_seen_checkpoint_is_ahead_or_behind() {
    let mut town = Town::working();
    let head = town.head();
    let ahead = Checkpoint { size: head.size + 1, root: head.root };
    let ahead = note(&town.organization(), &ahead, Signer::Kms);
    let size = head.size;
    assert_eq!(seen(&mut town, ahead), Rejected::SeenAhead { seen: size + 1, size });

    let behind = town.seen();
    town.done([unit("library")], ONE);
    let order = Order { seen: behind, ..town.draft([unit("welfare")]) };
    town.append(envelope_by_cards(&order, ONE)).unwrap();
}

#[test]
fn a_signer_who_may_not_any_more() {
    let mut town = Town::working();
    let not_live = Rejected::SignerNotLive { card: card_id("hanako") };
    let keyid = card("hanako").signature.key_id();
    town.done([roles("hanako", &[Role::Officer])], TWO);
    let signed_before = town.order([unit("welfare")], &["hanako"]);

    town.done([suspend("hanako")], ONE);
    assert_eq!(town.why_not(signed_before.clone()), not_live);
    assert_eq!(town.state.may_sign(keyid, town.at), Err(not_live.clone()));
    town.done([resume("hanako")], TWO);
    town.append(signed_before).unwrap();

    town.done([revoke_card("hanako")], TWO);
    assert_eq!(town.refused([unit("library")], &["hanako"]), not_live);
    // Not even beside enough others.
    assert_eq!(town.refused([unit("library")], &["hanako", "kenji"]), not_live);
    town.done([enrol("hanako:2")], TWO);
    town.done([unit("library")], &["hanako:2"]);
    town.done([revoke_member("hanako")], TWO);
    assert_eq!(
        town.refused([unit("museum")], &["hanako:2"]),
        Rejected::SignerNotLive { card: card_id("hanako:2") }
    );
}

#[test]
fn signers_count_as_they_were_before_the_order() {
    let mut town = Town::working();
    // A role that the order itself would give.
    assert_eq!(
        town.refused([roles("jiro", &[Role::Officer]), contract("beta", ACME_ENDS)], &["sakura", "hanako"]),
        Rejected::TwoPeopleNeeded { needed: &[Role::Officer] }
    );
    // A card that the order itself would enrol.
    let keyid = card("kenji:2").signature.key_id();
    assert_eq!(
        town.refused([enrol("kenji:2"), contract("beta", ACME_ENDS)], &["sakura", "kenji:2"]),
        Rejected::UnknownSigner { keyid }
    );
    // A card that the order itself would resume.
    town.done([suspend("midori")], ONE);
    assert_eq!(
        town.refused([resume("midori"), contract("beta", ACME_ENDS)], &["sakura", "kenji", "midori"]),
        Rejected::SignerNotLive { card: card_id("midori") }
    );
    // A need that an earlier act of the order would lower: the role goes, then one would do.
    assert_eq!(
        town.refused([roles("midori", &[]), revoke_card("midori")], ONE),
        Rejected::TwoPeopleNeeded { needed: &[Role::Officer] }
    );
    // Unattested cards that the order itself would allow need the two people that the policy needs.
    let unattested = warifu_ledger::statement::Card {
        attestation: warifu_ledger::statement::Attestation::None,
        ..card("saburo")
    };
    let lax = warifu_ledger::statement::Policy { unattested_cards: true, ..policy() };
    assert_eq!(
        town.refused([Act::PolicyChanged { policy: lax }, Act::CardEnrolled(unattested)], ONE),
        Rejected::TwoPeopleNeeded { needed: &[Role::Officer] }
    );
}

#[test]
fn an_order_without_acts() {
    assert_eq!(Town::working().refused([], ONE), Rejected::Empty);
}

#[test]
fn one_bad_act_and_nothing_is_applied() {
    let mut town = Town::working();
    let unknown = grant("nobody", "tax");
    let refused = town.refused([unit("welfare"), end_contract("acme"), unknown], ONE);
    assert!(matches!(refused, Rejected::Unknown { .. }), "{refused:?}");
    assert!(town.state.unit(&id("welfare")).is_none());
    assert!(!town.state.contract_is_over(&id("acme"), town.at));
    assert_eq!(town.answers("main", "taro", "team"), Ok(()));
    // And nothing is remembered of it: without the bad act it goes through.
    town.done([unit("welfare"), end_contract("acme")], ONE);
}

#[test]
fn time_goes_back() {
    let mut town = Town::working();
    let envelope = town.order([unit("welfare")], ONE);
    let last = town.at;
    let refused = town.state.apply(&Leaf::new(last - 1, envelope.clone()).unwrap()).err().unwrap();
    assert_eq!(refused, Rejected::TimeWentBack { at: last - 1, last });
    assert!(town.state.apply(&Leaf::new(last, envelope).unwrap()).is_ok(), "two leaves may share an instant");
}

#[test]
fn a_statement_that_is_no_entry() {
    let mut town = Town::working();
    let receipt = Receipt {
        organization: town.organization(),
        site: id("main"),
        order: Digest::of(b"order"),
        time: None,
        folded: 3,
        destroyed: [].into(),
    };
    let envelope = envelope_by_cards(&receipt, TWO);
    let refused = town.append(envelope).unwrap_err();
    assert!(matches!(refused, Rejected::Envelope(EnvelopeError::WrongType { .. })), "{refused:?}");
    // An order's bytes under a fact's type are no fact, and the signatures cover the type.
    let mut disguised = town.order([unit("welfare")], TWO);
    disguised.payload_type = "application/vnd.warifu.fact.v1+json".to_owned();
    let refused = town.append(disguised).unwrap_err();
    assert!(matches!(refused, Rejected::Envelope(EnvelopeError::NotSigned { .. })), "{refused:?}");
}
