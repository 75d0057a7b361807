//! A state as bytes and back.

use std::collections::BTreeSet;

use serde_json::Value;
use warifu_ledger::Digest;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::{FORMAT, NotASnapshot, State};
use warifu_ledger::statement::{Act, FactBody, HalfHolder, Right, Role, ServiceId};

use crate::ahead::batch;
use crate::fixture::*;
use crate::trust::trust_other;

/// A ledger in which there is an act and a fact of every kind, each at work: a test sees to it.
fn everything() -> Town {
    let mut town = Town::working();
    let later = T0 + 20 * DAY;
    let lax = warifu_ledger::statement::Policy { unattested_cards: true, ..policy() };
    town.done([Act::PolicyChanged { policy: lax }, roles("hanako", &[Role::Dispatcher])], TWO);
    town.done([front_desk("front", &["tax"]), unit("welfare"), unit("library")], TWO);
    ["front", "welfare", "library"].iter().for_each(|unit| town.create(unit));
    town.done([grant_with("jiro", "front", Right::Route, Some(later))], TWO);
    town.issue("jiro", "front");
    town.done([enrol_member("saburo", None, &["tax"]), place("hanako", &["welfare"], Some(later))], ONE);
    town.done([enrol("saburo"), enrol("shiro"), grant("shiro", "tax"), grant("shiro", "welfare")], TWO);
    town.issue("shiro", "tax");
    let pinned = [rename("welfare", "revenue"), serve_at("library", &["main"]), allow_own_pcs("tax", true)];
    town.done(pinned, TWO);
    town.done([rekey("tax", "tax 2"), merge("library", "welfare", Some(later))], TWO);
    town.done([custodians(HalfHolder::Ca, 2, &["sakura", "kenji", "midori"])], TWO);
    town.append(town.fact(batch("main", &town, &["a"]), &["ca", "kms"])).unwrap();
    let slips = BTreeSet::from([Digest::of(b"slips")]);
    town.append(town.fact(FactBody::SlipsBatched { slips }, &["ca", "kms"])).unwrap();
    town.done([Act::SlipRevoked { slips: Digest::of(b"slips"), index: Some(1) }], TWO);
    town.done([Act::SlipRevoked { slips: Digest::of(b"others"), index: None }], TWO);
    town.done([Act::FileShredded { file: Digest::of(b"file") }], TWO);
    town.done([suspend("hanako"), suspend("saburo")], ONE);
    town.done([resume("hanako"), revoke_grant("shiro", "tax"), revoke_card("saburo")], TWO);
    town.done([Act::ContractExtended { contract: id("acme"), ends_at: ACME_ENDS + DAY }], TWO);
    town.done([contract("beta", ACME_ENDS), end_contract("acme"), close("front", None)], TWO);
    town.done([revoke_member("shiro"), revoke_member_at("jiro", later)], TWO);
    town.done([rotated(ServiceId::Site(id("main")), "main 2")], TWO);
    town.append(town.fact(batch("main 2", &town, &["a", "b"]), &["ca", "kms"])).unwrap();
    town.done([trust_other(), Act::SiteRemoved { site: id("branch") }], TWO);
    let other = town.state.trusts().next().unwrap().keys.organization;
    town.done([Act::TrustEnded { organization: other }], TWO);
    town.done([trust_other()], TWO);
    town.recover_kms("kms 2");
    let seen = town.head();
    let order = town.saw("kms 2", &seen, revoke_member("hanako"), TWO);
    town.append(order).unwrap();
    town
}

/// The kinds of act and fact in a ledger, as JSON names them.
fn kinds(town: &Town) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    for leaf in &town.leaves {
        let said: Value = serde_json::from_slice(&leaf.envelope().payload.0).unwrap();
        let acts = said.get("acts").and_then(Value::as_array).cloned().unwrap_or_default();
        for act in acts.iter().chain(said.get("fact")) {
            kinds.insert(act["type"].as_str().unwrap().to_owned());
        }
    }
    kinds
}

/// Those that the code knows.
fn known() -> BTreeSet<String> {
    let acts = include_str!("../../src/statement/act.rs");
    let facts = include_str!("../../src/statement.rs");
    let renamed = |line: &str| {
        let name = line.trim().strip_prefix("#[serde(rename = \"")?.strip_suffix("\")]")?;
        name.contains('.').then(|| name.to_owned())
    };
    acts.lines().chain(facts.lines()).filter_map(renamed).collect()
}

#[test]
fn nothing_is_forgotten() {
    let town = everything();
    assert_eq!(kinds(&town), known(), "there is something new: it belongs into this ledger");
    let mut state = State::found(&town.leaves[0]).unwrap();
    // Each state comes back, and goes on as it would: from where it came back last, and from bytes that were just written.
    let mut going_on = state.clone();
    for leaf in &town.leaves[1..] {
        let bytes = state.to_snapshot();
        let again = State::from_snapshot(&bytes).unwrap();
        assert!(again == state);
        assert!(again.to_snapshot() == bytes);
        assert!(going_on.to_snapshot() == bytes, "written from what lies over a run");
        state = state.apply(leaf).unwrap();
        let leaf = Leaf::from_bytes(leaf.as_bytes().to_vec()).unwrap();
        assert!(again.apply(&leaf).unwrap() == state);
        going_on = going_on.apply(&leaf).unwrap();
        assert!(going_on == state);
        if state.tree().size().is_multiple_of(5) {
            going_on = again.apply(&leaf).unwrap();
        }
    }
    assert!(State::from_snapshot(&state.to_snapshot()).unwrap() == town.state);
}

#[test]
fn what_was_refused_stays_refused() {
    let mut town = everything();
    let refused = |town: &mut Town| {
        let head = town.head();
        let acts = [
            resume("saburo"),
            enrol_under("taro:2", "acme"),
            Act::SlipRevoked { slips: Digest::of(b"slips"), index: Some(1) },
            enrol("shiro"),
            custodians(HalfHolder::Kms, 2, &["sakura", "kenji", "midori"]),
        ];
        acts.map(|act| {
            let order = town.saw("kms 2", &head, act, TWO);
            town.state.check_order(&order, town.at + 1000).err()
        })
    };
    let before = refused(&mut town);
    assert!(before.iter().flatten().count() >= 4, "{before:?}");
    town.state = State::from_snapshot(&town.state.to_snapshot()).unwrap();
    let mut again = everything();
    again.state = town.state.clone();
    assert_eq!(refused(&mut again), before);
    // An order executes once, whoever has forgotten what.
    let last = town.leaves.last().unwrap().envelope().clone();
    assert!(town.append(last).is_err());
}

#[test]
fn bytes_that_are_no_snapshot_are_refused() {
    let state = everything().state;
    let bytes = state.to_snapshot();
    for end in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        assert_eq!(State::from_snapshot(&bytes[..end]).err(), Some(NotASnapshot), "{end}");
    }
    assert!(State::from_snapshot(&[bytes.as_slice(), &[0]].concat()).is_err());
    // A number of what follows that nothing follows.
    assert!(State::from_snapshot(&[0xff; 4096]).is_err());
    // Off the curve: the ca's key is the first such point after founding.
    let key = state.ca().signing.0.to_uncompressed();
    let place = bytes.windows(65).position(|window| window == key).unwrap();
    let mut off = bytes;
    off[place + 64] ^= 1;
    assert_eq!(State::from_snapshot(&off).err(), Some(NotASnapshot));
}

/// If this fails, the fold comes to other states or writes them otherwise: give [`FORMAT`] the next number, and this the digest
/// of it, or services go on from states that the fold of today would not come to.
#[test]
fn the_format_has_the_number_of_these_bytes() {
    let pinned = "7d8507d9c831714e525a4707801146d9b09b896d1dca57eb2b31006e3e7e9637";
    assert_eq!((FORMAT, Digest::of(&everything().state.to_snapshot()).to_string().as_str()), (1, pinned));
}
