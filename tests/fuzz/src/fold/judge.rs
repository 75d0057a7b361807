//! What must hold of the fold whatever it was given: told by what its state says, not by how it came to it.

use std::collections::BTreeSet;

use warifu_ledger::Id;
use warifu_ledger::state::{CardStatus, State};
use warifu_ledger::statement::{Act, HalfHolder, Millis, Order, Right, Role, ServiceId, UnitKind};
use warifu_split_key::point::Point;

use super::SITES;
use crate::fixture::*;

/// How many officers could sign.
pub(super) fn officers(state: &State, at: Millis) -> usize {
    let able = state
        .cards()
        .filter(|(id, card)| card.vouched && state.may_connect(id, at).is_ok())
        .map(|(_, card)| card.card.member)
        .filter(|member| state.member(member).is_some_and(|member| member.roles.contains(&Role::Officer)));
    able.collect::<BTreeSet<_>>().len()
}

/// Who signed could (P-4.5, P-4.6, P-4.7), by what was so before.
pub(super) fn rightly_signed(before: &State, order: &Order, signers: &[&str], at: Millis) {
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
            | Act::CustodiansChanged { .. }
            | Act::AuthorityRecovered { .. }
            | Act::KeyRotated { .. }
            | Act::TrustAdded { .. }
            | Act::TrustEnded { .. }
            | Act::FileShredded { .. } => (officer, 2),
            Act::UnitOrdered { kind: UnitKind::FrontDesk | UnitKind::Contractor, .. } => (officer, 2),
            Act::UnitOrdered { .. } | Act::MemberEnrolled { .. } => (officer, 1),
            Act::UnitClosed { .. } | Act::UnitMerged { .. } | Act::UnitRekeyed { .. } => (officer, 2),
            Act::UnitChanged { unit, sites, routes_to, two_people, own_pcs, .. } => {
                let more =
                    sites.is_some() || routes_to.is_some() || two_people.is_some() || own_pcs.is_some();
                let outsiders = before
                    .unit(unit)
                    .is_some_and(|unit| matches!(unit.kind, UnitKind::FrontDesk | UnitKind::Contractor));
                (officer, if more || outsiders { 2 } else { 1 })
            }
            Act::MemberPlaced { member, .. } => {
                for_himself(member);
                (officer, 1)
            }
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
            Act::MemberRevoked { member, effective_at, .. } => {
                assert!(effective_at.is_none() || !has_role(member), "a role ends by a date");
                (ender, if has_role(member) { 2 } else { 1 })
            }
            _ => (ender, 1),
        };
        assert!(signed >= needed, "{act:?} needs {needed}, and {signed} signed");
    }
}

/// What is over stays over (P-4.8), and what was made stays as it was made.
pub(super) fn nothing_came_back(before: &State, after: &State) {
    for (card, was) in before.cards() {
        let is = after.card(card).expect("a card is never forgotten");
        assert_eq!((&is.card, is.vouched), (&was.card, was.vouched));
        assert!(was.status != CardStatus::Revoked || is.status == CardStatus::Revoked, "a card came back");
    }
    for (member, was) in before.members() {
        let is = after.member(member).unwrap();
        assert!(!was.revoked || is.revoked, "a member came back");
        assert!(nearer(was.ends_at, is.ends_at), "a member's end was put off");
        assert!(is.ends_at.is_none() || is.roles.is_empty(), "a role ends by a date");
        let beside = [Role::Administrator, Role::Auditor].iter().any(|role| is.roles.contains(role));
        let together = is.roles.contains(&Role::Officer) && beside;
        assert!(!(after.policy().separate_roles && together), "roles that the policy keeps apart");
        assert_eq!((is.name, is.contract), (was.name, was.contract));
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
        assert_eq!((is.kind, is.contract, is.order), (was.kind, was.contract, was.order));
        assert!(!was.closed || is.closed, "a unit came back");
        assert!(nearer(was.closes_at, is.closes_at), "a unit's end was put off");
        assert!(was.merged.is_none() || was.merged == is.merged, "a merger was undone");
        assert!(was.successor.is_none() || was.successor == is.successor, "another successor");
    }
    for (grant, was) in before.grants() {
        let is = after.grant(grant).unwrap();
        assert!(!was.revoked || is.revoked, "a grant came back");
        assert!(nearer(was.expires_at, is.expires_at), "a grant's end was put off");
        assert_eq!(
            (is.card, is.unit, is.right, is.starts_at),
            (was.card, was.unit, was.right, was.starts_at)
        );
        if let Some(issued) = &was.issued {
            let now = is.issued.as_ref().unwrap();
            assert_eq!((now.card_point, now.site_point), (issued.card_point, issued.site_point));
        }
    }
}

/// An end comes nearer only.
fn nearer(was: Option<Millis>, is: Option<Millis>) -> bool {
    was.is_none_or(|was| is.is_some_and(|is| is <= was))
}

/// What a state may say, and what sites answer by it.
pub(super) fn sound(state: &State, at: Millis) {
    for (_, unit) in state.units() {
        assert_eq!(unit.kind == UnitKind::FrontDesk, !unit.routes_to.is_empty());
        assert_eq!(unit.kind == UnitKind::Contractor, unit.contract.is_some());
        assert!(!unit.sites.is_empty(), "nobody could serve it");
        if let Some((into, _)) = unit.merged {
            assert!(unit.kind == UnitKind::Department && state.unit(&into).unwrap().kind == unit.kind);
        }
    }
    one_grant_at_a_time(state, at);
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
        let past = |end: Option<Millis>| end.is_some_and(|end| end <= at);
        let over = grant.revoked
            || card.status == CardStatus::Revoked
            || member.revoked
            || unit.closed
            || [grant.expires_at, member.ends_at, unit.closes_at].into_iter().any(past)
            || [member.contract, unit.contract]
                .into_iter()
                .flatten()
                .any(|contract| state.contract_is_over(&contract, at));
        assert_eq!(state.live_grant(grant_id, at).is_err(), over, "what is over");
        let begins = grant.starts_at.is_some_and(|start| start > at);
        let dead = over || begins || card.status != CardStatus::Live;
        for site in SITES {
            let answer = state.may_answer(&id(site), &grant.card, grant_id, grant.right, at);
            assert!(!(dead && answer.is_ok()), "a site answers for what is over");
            let gone = state.site(&id(site)).is_none_or(|site| site.removed);
            assert!(!(gone && answer.is_ok()), "a site that has left answers");
            assert!(unit.sites.contains(&id(site)) || answer.is_err(), "a site that does not serve answers");
            let other = if grant.right == Right::Open { Right::Route } else { Right::Open };
            assert!(state.may_answer(&id(site), &grant.card, grant_id, other, at).is_err());
        }
    }
}

/// A card has one grant to a unit at a time, now and in what is planned.
fn one_grant_at_a_time(state: &State, at: Millis) {
    for (card, _) in state.cards() {
        let live: Vec<_> = state
            .grants_of_card(*card)
            .filter(|(id, _)| state.live_grant(id, at).is_ok())
            .map(|(_, grant)| {
                let span = grant.starts_at.unwrap_or(0)..grant.expires_at.unwrap_or(Millis::MAX);
                (grant.unit, span)
            })
            .collect();
        for (index, (unit, span)) in live.iter().enumerate() {
            let overlaps = live[index + 1..]
                .iter()
                .any(|(other, its)| other == unit && its.start.max(span.start) < its.end.min(span.end));
            assert!(!overlaps, "two grants of one card to one unit at a time");
        }
    }
}

/// No public key, nor its negative, comes twice (P-4.9).
pub(super) fn no_key_twice(state: &State) {
    let both = [HalfHolder::Ca, HalfHolder::Kms];
    let sites = state.sites().map(|(id, _)| ServiceId::Site(*id));
    let all = both.into_iter().map(ServiceId::from).chain(sites);
    let former = all.flat_map(|service| state.former_keys(service)).map(|(_, keys)| keys);
    let now = both.into_iter().map(|service| state.keys_of(service));
    let services = now.chain(former).chain(state.sites().map(|(_, site)| &site.keys));
    let mut points: Vec<Point> = services.flat_map(|keys| keys.points()).collect();
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
