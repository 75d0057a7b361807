//! Checked ahead or not, a leaf comes to the same.

use warifu_ledger::ahead::{Ahead, Checked};
use warifu_ledger::checkpoint::Signer;
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::key::Base64;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::{Rejected, State};
use warifu_ledger::statement::{Act, FactBody, HalfHolder, ServiceId};

use crate::fixture::*;
use crate::journals::head_by;

/// The state after one more leaf, folded as it comes, and checked ahead of it: both must say the same.
pub(crate) fn after(before: Option<&State>, leaf: &Leaf) -> Result<State, Rejected> {
    let Some(before) = before else { return State::found(leaf) };
    let plain = before.apply(leaf);
    let checked = Ahead::default().check(Some(before), vec![leaf.clone()]);
    let ahead = before.apply_all(&checked).map_err(|refused| refused.why);
    assert!(plain == ahead, "checked ahead, the fold says {:?}; else {:?}", ahead.err(), plain.err());
    plain
}

/// All that the fold verifies signatures for: people's orders, facts, heads of journals, other keys of services and what is
/// signed with them.
fn town() -> Town {
    let mut town = Town::working();
    town.append(town.fact(batch("main", &town, &["a"]), &["ca", "kms"])).unwrap();
    town.done([enrol("saburo"), grant("saburo", "tax")], TWO);
    town.issue("saburo", "tax");
    town.done([rotated(ServiceId::Site(id("main")), "main 2")], TWO);
    town.append(town.fact(batch("main 2", &town, &["a", "b"]), &["ca", "kms"])).unwrap();
    town.recover_kms("kms 2");
    let seen = town.head();
    let order = town.saw("kms 2", &seen, revoke_member("hanako"), ONE);
    town.append(order).unwrap();
    town
}

pub(crate) fn batch(by: &str, town: &Town, files: &[&str]) -> FactBody {
    FactBody::JournalsBatched { heads: vec![head_by(by, town, "journal", files)] }
}

/// Folds so many leaves at a time, each part checked ahead with a state that is one part behind.
fn fold_by(town: &Town, size: usize) -> State {
    let mut ahead = Ahead::default();
    let mut state = State::found(&town.leaves[0]).unwrap();
    let mut waiting: Vec<Checked> = Vec::new();
    for part in town.leaves[1..].chunks(size) {
        let bytes = part.iter().map(|leaf| leaf.as_bytes().to_vec()).collect();
        let next = ahead.read(Some(&state), bytes).into_iter().collect::<Result<_, _>>().unwrap();
        state = state.apply_all(&waiting).unwrap();
        waiting = next;
    }
    state.apply_all(&waiting).unwrap()
}

#[test]
fn a_ledger_comes_to_the_same_state() {
    let town = town();
    for size in [1, 2, 5, town.leaves.len()] {
        assert!(fold_by(&town, size) == town.state, "by {size}");
    }
}

#[test]
fn whatever_signature_is_broken_the_refusal_is_the_same() {
    let town = town();
    let mut before = State::found(&town.leaves[0]).unwrap();
    for leaf in &town.leaves[1..] {
        for place in 0..leaf.envelope().signatures.len() {
            for byte in [0, 31, 32, 63] {
                let mut envelope = leaf.envelope().clone();
                envelope.signatures[place].sig.0[byte] ^= 1;
                let broken = Leaf::new(leaf.at(), envelope).unwrap();
                let refused = after(Some(&before), &broken).err().unwrap();
                let signature = matches!(
                    refused,
                    Rejected::BadSignature { .. } | Rejected::Envelope(EnvelopeError::NotSigned { .. })
                );
                assert!(signature, "{refused:?}");
            }
        }
        before = after(Some(&before), leaf).unwrap();
    }
}

#[test]
fn a_checkpoint_or_head_that_nobody_signed_is_refused_the_same() {
    let mut town = town();
    let mut order = town.draft([suspend("jiro")]);
    let now = note_with("kms 2", &town.organization(), &town.head(), Signer::Kms);
    // Of the keys that the kms has lost; of a thief's; changed; of the kms, which is the one that counts.
    let thief = note_with("thief", &town.organization(), &town.head(), Signer::Kms);
    for (note, counts) in
        [(town.seen(), false), (thief, false), (now.replace('\n', "\n\n"), false), (now, true)]
    {
        order.seen = note;
        let leaf = Leaf::new(town.at, envelope_by_cards(&order, ONE)).unwrap();
        assert_eq!(after(Some(&town.state), &leaf).is_ok(), counts);
    }
    let mut head = head_by("main 2", &town, "journal", &["a", "b", "c"]);
    head.signature = Base64([7; 64]);
    let fact = town.fact(FactBody::JournalsBatched { heads: vec![head] }, &["ca", "kms 2"]);
    let refused = after(Some(&town.state), &Leaf::new(town.at, fact).unwrap()).err();
    assert_eq!(refused, Some(Rejected::JournalNotSigned { site: id("main") }));
}

/// Keys are looked for in the leaves, too, whoever wrote them. What verifies under such a key verifies under no other.
#[test]
fn a_key_that_a_leaf_claims_counts_for_nothing() {
    let mut town = town();
    let mut claims = |act: Act, fact: Envelope| {
        let claim = Leaf::new(town.at, town.order([act], TWO)).unwrap();
        assert!(after(Some(&town.state), &claim).is_err());
        let leaf = Leaf::new(town.at, fact).unwrap();
        let plain = town.state.apply(&leaf).err().unwrap();
        let checked = Ahead::default().check(Some(&town.state), vec![claim, leaf]);
        let refused = town.state.apply_checked(&checked[1]).err().unwrap();
        assert_eq!(refused, plain);
        refused
    };
    let with = |keys| Act::SiteJoined {
        site: id("main"),
        name: name("main"),
        keys,
        address: "main.example:7443".to_owned(),
    };
    let base = crate::ahead::town();
    let heads = base.fact(batch("thief", &base, &["a", "b", "c"]), &["ca", "kms 2"]);
    assert_eq!(claims(with(service_keys("thief")), heads), Rejected::JournalNotSigned { site: id("main") });
    let fact = base.fact(batch("main 2", &base, &["a", "b", "c"]), &["ca", "thief"]);
    let refused = claims(recovered(HalfHolder::Kms, "thief"), fact);
    assert!(matches!(refused, Rejected::Envelope(EnvelopeError::NotSigned { .. })), "{refused:?}");
}
