//! The fold, under valid signatures: what reaches it when people, services, or whoever holds their keys, sign anything.

use std::cell::RefCell;
use std::collections::BTreeSet;

use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::{CardStatus, State};
use warifu_ledger::statement::{
    Act, Attestation, Card, FactBody, Millis, Order, Policy, Right, Role, UnitKind,
};
use warifu_ledger::{Digest, Id};
use warifu_split_key::point::Point;

use crate::cursor::Cursor;
use crate::fixture::*;

const CARDS: [&str; 10] =
    ["sakura", "kenji", "midori", "hanako", "taro", "jiro", "sakura:2", "kenji:2", "hanako:2", "saburo"];
const UNITS: [&str; 5] = ["tax", "team", "front", "welfare", "desk"];
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
    let acts: [Act; 19] = [
        roles("jiro", &[Role::Auditor]),
        Act::PolicyChanged { policy: policy() },
        site("east"),
        Act::SiteRemoved { site: id("branch") },
        contract("beta", ACME_ENDS),
        Act::ContractExtended { contract: id("acme"), ends_at: ACME_ENDS + DAY },
        end_contract("acme"),
        unit("welfare"),
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
    ];
    let write = |acts: &[Act]| serde_json::to_vec(acts).unwrap();
    let mut seeds: Vec<_> = acts.iter().map(|act| write(std::slice::from_ref(act))).collect();
    seeds.push(write(&[enrol("saburo"), grant("saburo", "tax"), suspend("saburo"), resume("saburo")]));
    seeds
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
    for unit in 0..5 {
        seeds.push(vec![0, 0, 0, 7, unit, 0, 0, 0, 0, 6, 0, unit, 0]);
        seeds.push(vec![0, 0, 0, 11, 9, unit, 0, 0, 7, 0, 9, unit, 0]);
    }
    seeds
}

/// One leaf. Whether it was accepted.
fn step(town: &mut Town, script: &mut Cursor<'_>) -> bool {
    let kind = script.below(8);
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
const ACTS: u8 = 18;

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
            ][option.min(4)],
        ),
        1 => Act::PolicyChanged {
            policy: Policy {
                lease_ms: [10 * MINUTE, 0, DAY, DAY + 1][option.min(3)],
                unattested_cards: option == 4,
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
        11 => grant_with(
            card_label,
            unit_label,
            if option == 1 { Right::Route } else { Right::Open },
            match option {
                0 | 1 => None,
                _ => Some(ends_at),
            },
        ),
        12 => revoke_grant(card_label, unit_label),
        13 => revoke_card(card_label),
        14 => suspend(card_label),
        15 => revoke_member(member_of(card_label)),
        16 => Act::FileShredded { file: Digest::of(unit_label.as_bytes()) },
        _ => team(unit_label, CONTRACTS[option % 2]),
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

fn officers(state: &State, at: Millis) -> usize {
    let able = state
        .cards()
        .filter(|(id, card)| card.vouched && state.may_connect(id, at).is_ok())
        .map(|(_, card)| card.card.member)
        .filter(|member| state.member(member).is_some_and(|member| member.roles.contains(&Role::Officer)));
    able.collect::<BTreeSet<_>>().len()
}

/// Who signed could (P-4.5, P-4.6, P-4.7), by what was so before.
fn rightly_signed(before: &State, order: &Order, signers: &[&str], at: Millis) {
    let people: BTreeSet<Id> = signers.iter().map(|card| id(member_of(card))).collect();
    let with = |wanted: &[Role]| {
        let able = signers.iter().filter(|card| before.card(&card_id(card)).is_some_and(|card| card.vouched));
        let people: BTreeSet<&str> = able.map(|card| member_of(card)).collect();
        let holds = |member: &&&str| {
            before
                .member(&id(member))
                .is_some_and(|member| wanted.iter().any(|role| member.roles.contains(role)))
        };
        people.iter().filter(holds).count()
    };
    for card in signers {
        assert!(before.may_connect(&card_id(card), at).is_ok(), "{card} signed, and could not");
    }
    let (officer, ender) = (with(&[Role::Officer]), with(&[Role::Officer, Role::Administrator]));
    let has_role = |member: &Id| before.member(member).is_some_and(|member| !member.roles.is_empty());
    let member_of_card = |card: &Id| before.card(card).map(|card| card.card.member);
    let for_himself = |member: &Id| assert!(!people.contains(member), "somebody signed for himself");
    for act in &order.acts {
        let (signed, needed) = match act {
            Act::RoleChanged { member, .. } => {
                for_himself(member);
                (officer, 2)
            }
            Act::PolicyChanged { .. }
            | Act::SiteJoined { .. }
            | Act::SiteRemoved { .. }
            | Act::ContractOpened { .. }
            | Act::ContractExtended { .. }
            | Act::FileShredded { .. } => (officer, 2),
            Act::UnitOrdered { kind: UnitKind::FrontDesk | UnitKind::Contractor, .. } => (officer, 2),
            Act::UnitOrdered { .. } => (officer, 1),
            Act::CardEnrolled(card) => {
                for_himself(&card.member);
                (officer, if has_role(&card.member) { 2 } else { 1 })
            }
            Act::GrantOrdered { card, unit, .. } => {
                if let Some(member) = member_of_card(card) {
                    for_himself(&member);
                }
                let two =
                    before.unit(unit).is_some_and(|unit| unit.two_people || unit.kind == UnitKind::FrontDesk);
                (officer, if two { 2 } else { 1 })
            }
            Act::CardRevoked { card, .. } | Act::CardResumed { card } => {
                let member = member_of_card(card);
                if let (Act::CardResumed { .. }, Some(member)) = (act, &member) {
                    for_himself(member);
                }
                (ender, if member.is_some_and(|member| has_role(&member)) { 2 } else { 1 })
            }
            Act::MemberRevoked { member, .. } => (ender, if has_role(member) { 2 } else { 1 }),
            _ => (ender, 1),
        };
        assert!(signed >= needed, "{act:?} needs {needed}, and {signed} signed");
    }
}

/// What is over stays over (P-4.8), and what was made stays as it was made.
fn nothing_came_back(before: &State, after: &State) {
    for (card, was) in before.cards() {
        let is = after.card(card).expect("a card is never forgotten");
        assert_eq!((&is.card, is.vouched), (&was.card, was.vouched));
        assert!(was.status != CardStatus::Revoked || is.status == CardStatus::Revoked, "a card came back");
    }
    for (member, was) in before.members() {
        assert!(!was.revoked || after.member(member).unwrap().revoked, "a member came back");
    }
    for (contract, was) in before.contracts() {
        let is = after.contract(contract).unwrap();
        let over = was.ended || was.ends_at <= before.last_at();
        assert!(!over || (is.ended || is.ends_at <= before.last_at()), "a contract came back");
    }
    for (site, was) in before.sites() {
        assert!(!was.removed || after.site(site).unwrap().removed, "a site came back");
    }
    for (unit, was) in before.units() {
        let is = after.unit(unit).unwrap();
        assert!(was.key.is_none() || was.key == is.key, "a unit has another key");
        assert_eq!(
            (is.kind, is.contract, is.two_people, &is.sites),
            (was.kind, was.contract, was.two_people, &was.sites)
        );
    }
    for (grant, was) in before.grants() {
        let is = after.grant(grant).unwrap();
        assert!(!was.revoked || is.revoked, "a grant came back");
        assert_eq!(
            (is.card, is.unit, is.right, is.expires_at),
            (was.card, was.unit, was.right, was.expires_at)
        );
        if let Some(issued) = &was.issued {
            let now = is.issued.as_ref().unwrap();
            assert_eq!((now.card_point, now.site_point), (issued.card_point, issued.site_point));
        }
    }
}

/// What a state may say, and what sites answer by it.
fn sound(state: &State, at: Millis) {
    for (_, unit) in state.units() {
        assert_eq!(unit.kind == UnitKind::FrontDesk, !unit.routes_to.is_empty());
        assert_eq!(unit.kind == UnitKind::Contractor, unit.contract.is_some());
    }
    for (grant_id, grant) in state.grants() {
        let unit = state.unit(&grant.unit).unwrap();
        assert_eq!(unit.kind == UnitKind::FrontDesk, grant.right == Right::Route, "a dispatcher could read");
        if let Some(issued) = &grant.issued {
            let (key, _) = unit.key.unwrap();
            assert_eq!(Point::checked_add(&issued.card_point, &issued.site_point).unwrap(), key);
            assert!(!issued.card_point.is_plus_or_minus(&key) && !issued.site_point.is_plus_or_minus(&key));
        }
        let card = state.card(&grant.card).unwrap();
        let member = state.member(&card.card.member).unwrap();
        let dead = grant.revoked
            || card.status != CardStatus::Live
            || member.revoked
            || grant.expires_at.is_some_and(|end| end <= at)
            || [member.contract, unit.contract]
                .into_iter()
                .flatten()
                .any(|contract| state.contract_is_over(&contract, at));
        for site in SITES {
            let answer = state.may_answer(&id(site), &grant.card, grant_id, grant.right, at);
            assert!(!(dead && answer.is_ok()), "a site answers for what is over");
            let gone = state.site(&id(site)).is_none_or(|site| site.removed);
            assert!(!(gone && answer.is_ok()), "a site that has left answers");
            let other = if grant.right == Right::Open { Right::Route } else { Right::Open };
            assert!(state.may_answer(&id(site), &grant.card, grant_id, other, at).is_err());
        }
    }
}

/// No public key, nor its negative, comes twice (P-4.9).
fn no_key_twice(state: &State) {
    let founding = state.founding();
    let services = [&founding.ca, &founding.kms].into_iter().chain(state.sites().map(|(_, site)| &site.keys));
    let mut points: Vec<Point> = services.flat_map(|keys| [keys.signing.0, keys.tls.0]).collect();
    for (_, card) in state.cards() {
        points.extend([card.card.authentication.0, card.card.signature.0, card.card.transport.0]);
    }
    points.extend(state.units().filter_map(|(_, unit)| Some(unit.key?.0)));
    for (_, grant) in state.grants() {
        points.extend(grant.issued.iter().flat_map(|issued| [issued.card_point, issued.site_point]));
    }
    let different: BTreeSet<[u8; 32]> = points.iter().map(Point::x).collect();
    assert_eq!(different.len(), points.len(), "a key comes twice");
}
