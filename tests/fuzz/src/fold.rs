//! The fold, under valid signatures: what reaches it when people, services, or whoever holds their keys, sign anything.

use std::cell::RefCell;
use std::collections::BTreeSet;

use p256::ecdsa::Signature;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use warifu_ledger::Digest;
use warifu_ledger::ahead::Ahead;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::SignedHead;
use warifu_ledger::key::Base64;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::{Journals, State};
use warifu_ledger::statement::{
    Act, Attestation, Card, Custody, FactBody, HalfHolder, Millis, Order, OrganizationKeys, Policy, Right,
    Role, ServiceId, UnitKind,
};

use crate::cursor::Cursor;
use crate::fixture::*;

mod judge;

use judge::{no_key_twice, nothing_came_back, officers, rightly_signed, sound};

const CARDS: [&str; 10] =
    ["sakura", "kenji", "midori", "hanako", "taro", "jiro", "sakura:2", "kenji:2", "hanako:2", "saburo"];
const UNITS: [&str; 6] = ["tax", "team", "front", "welfare", "desk", "tax 2"];
const SITES: [&str; 3] = ["main", "branch", "east"];
const CONTRACTS: [&str; 2] = ["acme", "beta"];
const STEPS: usize = 10;

/// The working town, to be changed and put back.
struct Stage {
    town: Town,
    begin: (State, Millis),
}

impl Stage {
    fn with<T>(play: impl FnOnce(&mut Town) -> T) -> T {
        thread_local! {
            static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
        }
        STAGE.with_borrow_mut(|stage| {
            let stage = stage.get_or_insert_with(|| {
                let mut town = Town::working();
                // Two more shapes for orders to meet: a front desk, and a unit that demands two people.
                town.done([front_desk("front", &["tax"])], TWO);
                town.create("front");
                // And another department, for the two to become one.
                town.done([unit("welfare")], ONE);
                town.create("welfare");
                let begin = (town.state.clone(), town.at);
                Stage { town, begin }
            });
            (stage.town.state, stage.town.at) = stage.begin.clone();
            stage.town.leaves.clear();
            play(&mut stage.town)
        })
    }
}

/// Acts in JSON, ordered by two officers: whatever they are, the fold refuses them or stays sound.
pub(crate) fn acts(data: &[u8]) -> bool {
    let Ok(acts) = serde_json::from_slice::<Vec<Act>>(data) else { return false };
    // One leaf's work is bounded by its size; the fuzzer's patience is not.
    if acts.len() > 16 {
        return false;
    }
    Stage::with(|town| {
        let order = order(town, acts.clone(), DAY, 0);
        apply(town, envelope_by_cards(&order, TWO), TWO, Some(&order), 1000)
    })
}

pub(crate) fn acts_seeds() -> Vec<Vec<u8>> {
    let acts: [Act; 36] = [
        roles("jiro", &[Role::Auditor]),
        Act::PolicyChanged { policy: policy() },
        site("east"),
        Act::SiteRemoved { site: id("branch") },
        contract("beta", ACME_ENDS),
        Act::ContractExtended { contract: id("acme"), ends_at: ACME_ENDS + DAY },
        end_contract("acme"),
        unit("library"),
        front_desk("desk", &["tax", "team"]),
        enrol("saburo"),
        enrol_under("jiro:2", "acme"),
        grant("jiro", "tax"),
        grant_with("jiro", "front", Right::Route, Some(T0 + 40 * DAY)),
        revoke_grant("hanako", "tax"),
        revoke_card("taro"),
        suspend("hanako"),
        resume("hanako"),
        revoke_member("hanako"),
        Act::FileShredded { file: Digest::of(b"file") },
        enrol_member("saburo", None, &["tax"]),
        place("hanako", &["tax"], Some(T0 + 40 * DAY)),
        grant_between("later", "jiro", "tax", Some(T0 + 20 * DAY), Some(T0 + 40 * DAY)),
        revoke_grant_at("hanako", "tax", T0 + 40 * DAY),
        revoke_member_at("hanako", T0 + 40 * DAY),
        rename("tax", "revenue"),
        serve_at("tax", &["main"]),
        allow_own_pcs("tax", true),
        close("tax", Some(T0 + 40 * DAY)),
        merge("tax", "welfare", None),
        rekey("tax", "tax 2"),
        custodians(HalfHolder::Ca, 2, &["sakura", "kenji", "hanako"]),
        recovered(HalfHolder::Ca, "ca 2"),
        rotated(ServiceId::Site(id("main")), "main 2"),
        Act::SlipRevoked { slips: Digest::of(b"slips"), index: Some(1) },
        trust("alps"),
        Act::TrustEnded { organization: Digest::of(b"alps") },
    ];
    let write = |acts: &[Act]| serde_json::to_vec(acts).unwrap();
    let mut seeds: Vec<_> = acts.iter().map(|act| write(std::slice::from_ref(act))).collect();
    seeds.push(write(&[enrol("saburo"), grant("saburo", "tax"), suspend("saburo"), resume("saburo")]));
    seeds
}

/// Another organization is pinned, whose keys are made of this label.
fn trust(label: &str) -> Act {
    let keys = OrganizationKeys {
        organization: Digest::of(label.as_bytes()),
        ca: service_keys(&format!("ca {label}")),
        kms: service_keys(&format!("kms {label}")),
    };
    Act::trust(keys, record("goro").commitment(), "alps.example:443")
}

/// What a service reads of its own file, behind its own signature: a state all the same, or none.
pub(crate) fn snapshot(data: &[u8]) -> bool {
    let Ok(state) = State::from_snapshot(data) else { return false };
    let again = State::from_snapshot(&state.to_snapshot()).unwrap();
    assert!(again == state, "written and read, it is another");
    let _ = state.tree().root(state.tree().size());
    true
}

pub(crate) fn snapshot_seeds() -> Vec<Vec<u8>> {
    vec![Town::founded().state.to_snapshot(), Stage::with(|town| town.state.to_snapshot())]
}

/// A story of orders and facts, by anyone, at any time, told twice, late, or under broken signatures.
pub(crate) fn orders(data: &[u8]) -> bool {
    let mut script = Cursor::new(data);
    Stage::with(|town| {
        let (begin, began_at) = (town.state.clone(), town.at);
        let mut accepted = 0;
        for _ in 0..STEPS {
            if script.is_empty() {
                break;
            }
            accepted += usize::from(step(town, &mut script));
        }
        no_key_twice(&town.state);
        if town.head().root.0[0].is_multiple_of(4) {
            refolds(begin, began_at, town);
        }
        accepted > 0
    })
}

/// Whoever folds the same bytes comes to the same.
fn refolds(begin: State, began_at: Millis, town: &Town) {
    let mut again = begin;
    let mut last = began_at;
    for leaf in &town.leaves {
        assert!(leaf.at() >= last);
        last = leaf.at();
        again = again.apply(&Leaf::from_bytes(leaf.as_bytes().to_vec()).unwrap()).unwrap();
    }
    assert_eq!(again.tree().size(), town.head().size);
    assert_eq!(again.tree().root(town.head().size), Ok(town.head().root));
    assert_eq!(format!("{:?}", all(&again)), format!("{:?}", all(&town.state)));
}

fn all(state: &State) -> impl std::fmt::Debug {
    let cards: Vec<_> = state.cards().map(|(id, card)| (*id, format!("{card:?}"))).collect();
    let grants: Vec<_> = state.grants().map(|(id, grant)| (*id, format!("{grant:?}"))).collect();
    let members: Vec<_> = state.members().map(|(id, member)| (*id, format!("{member:?}"))).collect();
    let units: Vec<_> = state.units().map(|(id, unit)| (*id, format!("{unit:?}"))).collect();
    (cards, grants, members, units, state.last_at())
}

pub(crate) fn orders_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for act in 0..ACTS {
        for label in 0..10 {
            // One act, all else as it should be; then the same again.
            seeds.push(vec![0, 0, 0, act, label, label, 0, 0, 0, 0, 0, 0, 1, 0]);
        }
    }
    for site in 0..3 {
        // A head; then more rows of the same journal; then another journal.
        seeds.push(vec![8, 0, 1, site, 1, 0, 1, 7, 8, 0, 1, site, 1, 0, 2, 8, 8, 0, 1, site, 1, 1, 1, 9]);
    }
    for unit in 0..6 {
        seeds.push(vec![0, 0, 0, 7, unit, 0, 0, 0, 0, 6, 0, unit, 0]);
        seeds.push(vec![0, 0, 0, 11, 9, unit, 0, 0, 7, 0, 9, unit, 0]);
    }
    seeds
}

/// One leaf. Whether it was accepted.
fn step(town: &mut Town, script: &mut Cursor<'_>) -> bool {
    let kind = script.below(9);
    let plain = script.byte() == 0;
    match kind {
        6 => {
            let label = *script.pick(&UNITS);
            let twist = script.below(8);
            if town.state.unit(&id(label)).is_none() {
                return false;
            }
            let body = twisted_unit(town, label, twist);
            fact(town, body, plain, script)
        }
        7 => {
            let (card, unit) = (*script.pick(&CARDS), *script.pick(&UNITS));
            let twist = script.below(8);
            if town.state.grant(&grant_id(card, unit)).is_none() {
                return false;
            }
            let body = twisted_grant(town, card, unit, twist);
            fact(town, body, plain, script)
        }
        8 => journals(town, plain, script),
        _ => {
            let signers = if plain { TWO.to_vec() } else { subset(script, &CARDS) };
            let later = if plain { 1000 } else { *script.pick(&[1000, 0, 61_000, DAY, 8 * DAY, 29 * DAY]) };
            let expires = if plain { DAY } else { *script.pick(&[DAY, 0, 8 * DAY, 7 * DAY, u64::MAX / 2]) };
            let (seen, twist) = if plain { (0, 0) } else { (script.below(5), script.below(8)) };
            let acts = (0..=script.below(3)).map(|_| act(script, town.at)).collect();
            town_order(town, acts, &signers, (later, expires), seen, twist)
        }
    }
}

fn subset<'t>(script: &mut Cursor<'_>, from: &[&'t str]) -> Vec<&'t str> {
    let mask = usize::from(script.byte()) | usize::from(script.byte()) << 8;
    from.iter()
        .enumerate()
        .filter(|(index, _)| mask >> index & 1 == 1)
        .map(|(_, label)| *label)
        .take(4)
        .collect()
}

fn order(town: &Town, acts: Vec<Act>, expires: u64, seen: usize) -> Order {
    let head = town.head();
    let checkpoint = match seen {
        1 => Checkpoint { size: 1, root: town.state.tree().root(1).unwrap() },
        2 => Checkpoint { size: head.size + 1, ..head },
        3 => Checkpoint { root: Digest::of(b"fork"), ..head },
        _ => head,
    };
    Order {
        organization: if seen == 4 { Digest::of(b"another") } else { town.organization() },
        id: id(&format!("order {}", head.size)),
        expires_at: town.at.saturating_add(expires),
        seen: note(&town.organization(), &checkpoint, Signer::Kms),
        acts,
    }
}

fn town_order(
    town: &mut Town,
    acts: Vec<Act>,
    signers: &[&str],
    (later, expires): (u64, u64),
    seen: usize,
    twist: usize,
) -> bool {
    let order = order(town, acts, expires, seen);
    let mut envelope = envelope_by_cards(&order, signers);
    match twist {
        1 => {
            // After signing.
            let middle = envelope.payload.0.len() / 2;
            envelope.payload.0[middle] ^= 1;
        }
        2 => envelope.signatures.extend(envelope.signatures.first().cloned()),
        3 => {
            if let Some(signature) = envelope.signatures.first_mut() {
                signature.sig.0[40] ^= 4;
            }
        }
        4 => add_signature(&mut envelope, &key("a stranger")),
        _ => {}
    }
    let accepted = apply(town, envelope, signers, Some(&order), later);
    assert!(!accepted || !(1..=4).contains(&twist), "a broken signature was accepted");
    assert!(!accepted || !(2..=4).contains(&seen), "a false checkpoint, or another's order, was accepted");
    accepted
}

fn fact(town: &mut Town, body: FactBody, plain: bool, script: &mut Cursor<'_>) -> bool {
    const BY: [&[&str]; 4] = [&["ca", "kms"], &["ca"], &["kms"], &["ca", "main"]];
    let services = if plain { BY[0] } else { BY[script.below(4)] };
    let envelope = town.fact(body, services);
    let accepted = apply(town, envelope, &[], None, 0);
    assert!(!accepted || services == ["ca", "kms"], "a fact of one service was accepted");
    accepted
}

/// Heads of audit journals, of any site and signed by any.
fn journals(town: &mut Town, plain: bool, script: &mut Cursor<'_>) -> bool {
    let before = town.state.clone();
    let mut rightly = true;
    let heads: Vec<SignedHead> = (0..script.below(4))
        .map(|_| {
            let site = *script.pick(&SITES);
            let by = if script.below(4) == 0 { *script.pick(&SITES) } else { site };
            rightly &= by == site && before.site(&id(site)).is_some();
            let (journal, size) = (id(&format!("journal {}", script.below(3))), script.below(4) as u64);
            let mut head = SignedHead {
                site: id(site),
                journal,
                size,
                head: Digest::of(&[script.byte()]),
                time: town.at,
                signature: Base64([0; 64]),
            };
            let digest = head.digest(&town.organization());
            let signed: Signature = key(&format!("{by} signing")).sign_prehash(digest.as_bytes()).unwrap();
            head.signature = Base64(signed.to_bytes().into());
            head
        })
        .collect();
    let accepted = fact(town, FactBody::JournalsBatched { heads: heads.clone() }, plain, script);
    assert!(!accepted || rightly, "a head that its site did not sign was accepted");
    for head in heads.iter().filter(|_| accepted) {
        let after = town.state.journals(&head.site).expect("it has a head in the ledger");
        let known = before.journals(&head.site);
        assert!(!known.is_some_and(|known| known.former.contains_key(&head.journal)), "a journal came back");
        if let Some(known) = known.filter(|known| known.current == head.journal) {
            assert!(head.size > known.head.size, "a journal lost rows");
        }
        let kept = |known: &Journals| known.former.keys().all(|journal| after.former.contains_key(journal));
        assert!(known.is_none_or(kept), "a journal that was given up is forgotten");
    }
    accepted
}

fn twisted_unit(town: &Town, label: &str, twist: usize) -> FactBody {
    let body = town.unit_created(label);
    let FactBody::UnitCreated { unit, order, issuer, keeper } = body else { return body };
    match twist {
        1 => FactBody::UnitCreated { unit, order, issuer: keeper, keeper: issuer },
        2 => FactBody::UnitCreated { unit, order, issuer: issuer.clone(), keeper: issuer },
        3 => FactBody::UnitCreated { unit, order: Digest::of(b"another"), issuer, keeper },
        4 => FactBody::UnitCreated { unit: id("tax"), order, issuer, keeper },
        _ => FactBody::UnitCreated { unit, order, issuer, keeper },
    }
}

fn twisted_grant(town: &Town, card: &str, unit: &str, twist: usize) -> FactBody {
    let body = town.grant_issued(card, unit);
    let FactBody::GrantIssued { grant, order, card_point, site_point, sites } = body else { return body };
    let unit_point =
        town.state.unit(&id(unit)).and_then(|unit| unit.key).map_or(card_point, |(key, _)| key.into());
    let (card_point, site_point) = match twist {
        1 => (site_point, card_point),
        2 => (unit_point, site_point),
        3 => (card_point, card_point),
        _ => (card_point, site_point),
    };
    let sites = match twist {
        4 => BTreeSet::new(),
        5 => ids(&["east"]),
        6 => ids(&["main"]),
        _ => sites,
    };
    FactBody::GrantIssued { grant, order, card_point, site_point, sites }
}

/// How many kinds of act there are below.
const ACTS: u8 = 29;

fn act(script: &mut Cursor<'_>, at: Millis) -> Act {
    let kind = script.below(usize::from(ACTS));
    let card_label = *script.pick(&CARDS);
    let unit_label = *script.pick(&UNITS);
    let option = script.below(8);
    let ends_at = [at + 30 * DAY, at + DAY, at, 0, Millis::MAX][option.min(4)];
    match kind {
        0 => roles(
            member_of(card_label),
            [
                &[][..],
                &[Role::Officer],
                &[Role::Auditor],
                &[Role::Administrator],
                &[Role::Officer, Role::Auditor],
                &[Role::Officer, Role::Administrator],
            ][option.min(5)],
        ),
        1 => Act::PolicyChanged {
            policy: Policy {
                lease_ms: [10 * MINUTE, 0, DAY, DAY + 1][option.min(3)],
                unattested_cards: option == 4,
                separate_roles: option >= 6,
                ..policy()
            },
        },
        2 => site(SITES[option % 3]),
        3 => Act::SiteRemoved { site: id(SITES[option % 3]) },
        4 => contract(CONTRACTS[usize::from(unit_label > "tax")], ends_at),
        5 => Act::ContractExtended { contract: id(CONTRACTS[usize::from(unit_label > "tax")]), ends_at },
        6 => end_contract(CONTRACTS[option % 2]),
        7 => unit_order(unit_label, option),
        8 => front_desk(unit_label, [&["tax"][..], &["team"], &[], &["nowhere"]][option % 4]),
        9 => Act::CardEnrolled(card_with(card_label, option)),
        10 => resume(card_label),
        11 => grant_from(
            card_label,
            unit_label,
            if option == 1 { Right::Route } else { Right::Open },
            match option {
                0 | 1 => None,
                _ => Some(ends_at),
            },
            (option == 5).then_some(at + DAY),
        ),
        12 => revoke_grant(card_label, unit_label),
        13 => revoke_card(card_label),
        14 => suspend(card_label),
        15 => revoke_member(member_of(card_label)),
        16 => Act::FileShredded { file: Digest::of(unit_label.as_bytes()) },
        17 => enrol_member(member_of(card_label), (option == 1).then_some("acme"), &[unit_label]),
        18 => place(member_of(card_label), &[unit_label], dated(option, ends_at)),
        19 => revoke_grant_at(card_label, unit_label, ends_at),
        20 => revoke_member_at(member_of(card_label), ends_at),
        21 => unit_change(unit_label, option),
        22 => close(unit_label, dated(option, ends_at)),
        23 => merge(unit_label, UNITS[option % 6], dated(option, ends_at)),
        24 => rekey(unit_label, UNITS[5 - option % 2]),
        26 => recovered(
            [HalfHolder::Ca, HalfHolder::Kms][option % 2],
            ["ca", "kms", "ca 2", "kms 2"][option / 2],
        ),
        27 => rotated(
            [ServiceId::Ca, ServiceId::Kms, ServiceId::Site(id("main"))][option % 3],
            ["kms", "main", "kms 2"][option / 3],
        ),
        25 => custodians(
            [HalfHolder::Ca, HalfHolder::Kms][option % 2],
            [2, 2, 3, 1][option / 2],
            &[card_label, ["sakura", "kenji", "jiro"][option % 3]],
        ),
        _ => team(unit_label, CONTRACTS[option % 2]),
    }
}

/// At once, or at an instant.
fn dated(option: usize, at: Millis) -> Option<Millis> {
    (option < 5).then_some(at)
}

fn unit_change(label: &str, option: usize) -> Act {
    match option {
        0 => rename(label, "another name"),
        1 => serve_at(label, &["main"]),
        2 => serve_at(label, &["main", "branch", "east"]),
        3 => serve_at(label, &[]),
        4 => route_to(label, &["welfare"]),
        5 => demand_two_people(label, true),
        6 => allow_own_pcs(label, true),
        _ => no_change(label),
    }
}

fn unit_order(label: &str, option: usize) -> Act {
    let mut ordered = unit_of(label, UnitKind::Department, None, &[]);
    if let Act::UnitOrdered { sites, two_people, kind, .. } = &mut ordered {
        match option {
            1 => *two_people = true,
            2 => sites.clear(),
            3 => *sites = ids(&["east"]),
            4 => *kind = UnitKind::Person,
            5 => *kind = UnitKind::Contractor,
            _ => {}
        }
    }
    ordered
}

/// As [`grant_with`], from an instant on.
fn grant_from(
    card: &str,
    unit: &str,
    allows: Right,
    expires_at: Option<Millis>,
    begins: Option<Millis>,
) -> Act {
    let mut ordered = grant_with(card, unit, allows, expires_at);
    if let Act::GrantOrdered { starts_at, custody, .. } = &mut ordered {
        *starts_at = begins;
        if begins.is_some() {
            *custody = Custody::OwnPc;
        }
    }
    ordered
}

fn card_with(label: &str, option: usize) -> Card {
    let made = card(label);
    match option {
        1 => Card { attestation: Attestation::None, ..made },
        2 => Card { contract: Some(id("acme")), ..made },
        3 => Card { signature: public_of("sakura 9C"), ..made },
        4 => Card { transport: made.signature, ..made },
        5 => Card { name: name("somebody else"), ..made },
        6 => Card { card: id("another card"), ..made },
        _ => made,
    }
}

/// Puts a leaf to the fold, and judges what became of it. Whether it was accepted.
fn apply(town: &mut Town, envelope: Envelope, signers: &[&str], order: Option<&Order>, later: u64) -> bool {
    let before = town.state.clone();
    let leaf = Leaf::new(town.at + later, envelope).unwrap();
    let after = before.apply(&leaf);
    let checked = Ahead::default().check(Some(&before), vec![leaf.clone()]);
    assert!(
        after == before.apply_all(&checked).map_err(|refused| refused.why),
        "checked ahead, it is another"
    );
    // Signatures take nearly all the time: what verifies them once more is asked of some leaves, by their digest.
    let ask = leaf.envelope().digest().0[0].is_multiple_of(4);
    if ask && order.is_some() {
        let asked = before.check_order(leaf.envelope(), leaf.at());
        assert_eq!(asked.as_ref().err(), after.as_ref().err(), "the question and the fold disagree");
    } else if ask {
        assert_eq!(before.check_fact(leaf.envelope()).err(), after.as_ref().err().cloned());
    }
    let Ok(after) = after else { return false };
    assert_eq!((after.tree().size(), after.last_at()), (before.tree().size() + 1, leaf.at()));
    assert!(!ask || after.apply(&leaf).is_err(), "a leaf that comes twice");
    if let Some(order) = order {
        rightly_signed(&before, order, signers, leaf.at());
        let (had, left) = (officers(&before, leaf.at()), officers(&after, leaf.at()));
        let brake = order.acts.iter().all(|act| matches!(act, Act::CardSuspended { .. }));
        assert!(left >= 2 || left >= had || brake, "the organization is locked out");
    }
    nothing_came_back(&before, &after);
    sound(&after, leaf.at());
    town.state = after;
    town.at = leaf.at();
    town.leaves.push(leaf);
    true
}
