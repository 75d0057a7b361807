//! Facts: two services have to sign, and the public equations have to hold (P-3.2, P-4.9; I8: neither alone creates a
//! right).

use p256::elliptic_curve::sec1::ToSec1Point as _;
use warifu_ledger::Digest;
use warifu_ledger::dsse::EnvelopeError;
use warifu_ledger::key::Base64;
use warifu_ledger::state::{Kind, NotAnswered, Rejected};
use warifu_ledger::statement::{Act, Fact, FactBody, PublicHalf};
use warifu_split_key::half::{HalfContext, HalfRole};
use warifu_split_key::keeper::KeeperHalf;
use warifu_split_key::point::Point;

use crate::fixture::*;

fn generator_times(label: &str) -> Point {
    public_of(label).0
}

fn minus(point: &Point) -> Point {
    let point = p256::PublicKey::from_sec1_bytes(&point.to_compressed()).unwrap().to_projective();
    Point::from_sec1((-point).to_affine().to_sec1_point(true).as_bytes()).unwrap()
}

fn tax_key(town: &Town) -> Point {
    town.state.unit(&id("tax")).unwrap().key.unwrap().0
}

/// `jiro`'s grant to `tax`, ordered and not issued yet.
fn waiting() -> Town {
    let mut town = Town::working();
    town.done([grant("jiro", "tax")], ONE);
    town
}

fn issued_with(town: &Town, a: Point, b: Point) -> FactBody {
    let FactBody::GrantIssued { grant, order, sites, .. } = town.grant_issued("jiro", "tax") else {
        unreachable!()
    };
    FactBody::GrantIssued { grant, order, card_point: a.into(), site_point: b.into(), sites }
}

/// `welfare`, ordered and without a key yet.
fn keyless() -> Town {
    let mut town = Town::working();
    town.done([unit("welfare")], ONE);
    town
}

fn created_with(town: &Town, change: impl FnOnce(&mut PublicHalf, &mut PublicHalf)) -> FactBody {
    let FactBody::UnitCreated { unit, order, mut issuer, mut keeper } = town.unit_created("welfare") else {
        unreachable!()
    };
    change(&mut issuer, &mut keeper);
    FactBody::UnitCreated { unit, order, issuer, keeper }
}

#[test]
fn signed_by_one_service_only() {
    let mut town = waiting();
    town.done([unit("welfare")], ONE);
    for body in [town.grant_issued("jiro", "tax"), town.unit_created("welfare")] {
        for (signers, missing) in [
            (&["ca"][..], "kms"),
            (&["kms"], "ca"),
            (&["kms", "kms"], "ca"),
            (&["kms", "main"], "ca"),
            (&["main", "branch"], "ca"),
            (&[], "ca"),
        ] {
            let envelope = town.fact(body.clone(), signers);
            let expected = Rejected::Envelope(EnvelopeError::NotSigned {
                signer: service_keys(missing).signing.key_id(),
            });
            assert_eq!(town.state.check_fact(&envelope).unwrap_err(), expected, "{signers:?}");
            assert_eq!(town.append(envelope).unwrap_err(), expected, "{signers:?}");
        }
    }
}

#[test]
fn a_service_names_the_other_as_signer() {
    let mut town = waiting();
    let mut envelope = town.fact(town.grant_issued("jiro", "tax"), &["kms", "kms"]);
    envelope.signatures[1].keyid = service_keys("ca").signing.key_id();
    assert!(matches!(
        town.append(envelope).unwrap_err(),
        Rejected::Envelope(EnvelopeError::NotSigned { .. })
    ));
}

#[test]
fn people_sign_no_facts_and_services_no_orders() {
    let mut town = waiting();
    let fact = Fact { organization: town.organization(), fact: town.grant_issued("jiro", "tax") };
    let by_officers = envelope_by_cards(&fact, &["sakura", "kenji", "midori"]);
    assert!(matches!(
        town.append(by_officers).unwrap_err(),
        Rejected::Envelope(EnvelopeError::NotSigned { .. })
    ));
    let order = town.draft([grant("jiro", "team")]);
    let keyid = service_keys("ca").signing.key_id();
    assert_eq!(town.why_not(envelope_by_services(&order, &["ca", "kms"])), Rejected::UnknownSigner { keyid });
}

#[test]
fn both_services_together_without_an_order() {
    let mut town = Town::working();
    let (a, b) = shares("jiro", "tax");
    let invented = FactBody::GrantIssued {
        grant: grant_id("jiro", "tax"),
        order: Digest::of(b"no order"),
        card_point: a.into(),
        site_point: b.into(),
        sites: ids(&["main"]),
    };
    assert_eq!(
        town.fact_refused(invented),
        Rejected::Unknown { kind: Kind::Grant, id: grant_id("jiro", "tax") }
    );
}

#[test]
fn of_another_organization() {
    let mut town = waiting();
    let other = Digest::of(b"hakuba");
    let fact = Fact { organization: other, fact: town.grant_issued("jiro", "tax") };
    let envelope = envelope_by_services(&fact, &["ca", "kms"]);
    assert_eq!(town.append(envelope).unwrap_err(), Rejected::OtherOrganization { found: other });
}

#[test]
fn for_another_order() {
    let mut town = waiting();
    town.done([unit("welfare")], ONE);
    let tax_order = town.state.unit(&id("tax")).unwrap().order;
    let mut issued = town.grant_issued("jiro", "tax");
    let mut created = town.unit_created("welfare");
    match (&mut issued, &mut created) {
        (FactBody::GrantIssued { order: a, .. }, FactBody::UnitCreated { order: b, .. }) => {
            (*a, *b) = (tax_order, tax_order);
        }
        _ => unreachable!(),
    }
    assert_eq!(
        town.fact_refused(issued),
        Rejected::OtherOrder { kind: Kind::Grant, id: grant_id("jiro", "tax") }
    );
    assert_eq!(town.fact_refused(created), Rejected::OtherOrder { kind: Kind::Unit, id: id("welfare") });
}

#[test]
fn a_plus_b_is_not_p() {
    let mut town = waiting();
    let (a, b) = shares("jiro", "tax");
    let wrong = Rejected::SharesDoNotAdd { grant: grant_id("jiro", "tax") };
    for (a, b) in [
        (a, generator_times("some b")),
        (generator_times("some a"), b),
        (minus(&a), b),
        (a, minus(&b)),
        (minus(&a), minus(&b)),
        (a, minus(&a)),
        (a, a),
        shares("jiro", "team"),
    ] {
        let body = issued_with(&town, a, b);
        assert_eq!(town.fact_refused(body), wrong);
    }
}

#[test]
fn a_share_that_is_the_unit_key_or_its_negative() {
    let mut town = waiting();
    let p = tax_key(&town);
    let degenerate = Rejected::DegenerateShare { grant: grant_id("jiro", "tax") };
    let any = generator_times("any");
    let twice = Point::checked_add(&p, &p).unwrap();
    for (a, b) in
        [(p, any), (minus(&p), any), (any, p), (any, minus(&p)), (twice, minus(&p)), (minus(&p), twice)]
    {
        let body = issued_with(&town, a, b);
        assert_eq!(town.fact_refused(body), degenerate);
    }
}

#[test]
fn shares_that_came_before() {
    let mut town = waiting();
    let p = tax_key(&town);
    let (a, b) = shares("hanako", "tax");
    let halves = (issuer_half("tax").public(), keeper_half("tax").public());
    let beside = |a: Point| (a, Point::checked_sub(&p, &a).unwrap());
    for (a, b) in [
        // Another card's shares, either way round, or the unit's own halves.
        (a, b),
        (b, a),
        halves,
        (halves.1, halves.0),
        // A card key, another unit's key; and the negative of another card's share, which answers as the share does.
        beside(card("hanako").transport.0),
        beside(town.state.unit(&id("team")).unwrap().key.unwrap().0),
        beside(minus(&a)),
        beside(minus(&b)),
        (beside(minus(&a)).1, minus(&a)),
    ] {
        let body = issued_with(&town, a, b);
        assert_eq!(town.fact_refused(body), Rejected::RepeatedPoint);
    }
}

#[test]
fn both_shares_the_same() {
    // Half the unit key on each side: `A = B = P/2`.
    let mut town = waiting();
    let x = town.state.unit(&id("tax")).unwrap().key.unwrap().0;
    let half = (p256::Scalar::from(2_u64)).invert().unwrap();
    let p = p256::PublicKey::from_sec1_bytes(&x.to_compressed()).unwrap().to_projective();
    let half_p = Point::from_sec1((p * half).to_affine().to_sec1_point(true).as_bytes()).unwrap();
    let body = issued_with(&town, half_p, half_p);
    assert_eq!(town.fact_refused(body), Rejected::RepeatedPoint);
}

#[test]
fn a_half_that_is_not_proved() {
    let mut town = keyless();
    let not_proved = Rejected::HalfNotProved { unit: id("welfare") };
    let context = town.half_context("welfare", HalfRole::Issuer);
    let (issuer, keeper) = (issuer_half("welfare"), keeper_half("welfare"));
    let wrong_contexts = [
        HalfContext { order: Digest::of(b"another order").0, ..context },
        HalfContext { unit: id("tax").0, ..context },
        HalfContext { organization: Digest::of(b"hakuba").0, ..context },
    ];
    for wrong in wrong_contexts {
        let body = created_with(&town, |half, _| half.proof = Base64(issuer.prove(&wrong).0));
        assert_eq!(town.fact_refused(body), not_proved);
        let body = created_with(&town, |_, half| half.proof = Base64(keeper.prove(&wrong).0));
        assert_eq!(town.fact_refused(body), not_proved);
    }
    for broken in [[0; 64], [0xff; 64], [1; 64]] {
        let body = created_with(&town, |half, _| half.proof = Base64(broken));
        assert_eq!(town.fact_refused(body), not_proved);
        let body = created_with(&town, |_, half| half.proof = Base64(broken));
        assert_eq!(town.fact_refused(body), not_proved);
    }
    // In the other's role: a proof of an issuer half is none of a keeper half.
    let body = created_with(&town, std::mem::swap);
    assert_eq!(town.fact_refused(body), not_proved);
    // The other's point with one's own proof, and the rogue key `tG - S1`.
    let body = created_with(&town, |issuer, keeper| keeper.point = issuer.point);
    assert_eq!(town.fact_refused(body), not_proved);
    let rogue = Point::checked_sub(&generator_times("t"), &issuer.public()).unwrap();
    let body = created_with(&town, |_, keeper| keeper.point = rogue.into());
    assert_eq!(town.fact_refused(body), not_proved);
}

#[test]
fn halves_that_cancel() {
    let mut town = keyless();
    let s1 = p256::NonZeroScalar::try_from(Digest::of(b"welfare s1").0.as_slice()).unwrap();
    let minus_s1 = KeeperHalf::from_bytes(&(-*s1).to_bytes().into()).unwrap();
    let proof = Base64(minus_s1.prove(&town.half_context("welfare", HalfRole::Keeper)).0);
    let body = created_with(&town, |_, keeper| {
        *keeper = PublicHalf { point: minus_s1.public().into(), proof };
    });
    assert_eq!(town.fact_refused(body), Rejected::HalvesCancel { unit: id("welfare") });
}

#[test]
fn halves_that_came_before() {
    let mut town = keyless();
    // Another unit's half, honestly proved for this one.
    let context = town.half_context("welfare", HalfRole::Issuer);
    let reused = issuer_half("tax");
    let body = created_with(&town, |issuer, _| {
        *issuer = PublicHalf { point: reused.public().into(), proof: Base64(reused.prove(&context).0) };
    });
    assert_eq!(town.fact_refused(body), Rejected::RepeatedPoint);

    // The same half at both.
    let same = KeeperHalf::from_bytes(&issuer_half("welfare").expose_bytes()).unwrap();
    let body = created_with(&town, |_, keeper| {
        *keeper = PublicHalf { point: same.public().into(), proof: Base64(same.prove(&context).0) };
    });
    assert_eq!(town.fact_refused(body), Rejected::RepeatedPoint);
}

#[test]
fn twice() {
    let mut town = Town::working();
    let issued = town.grant_issued("hanako", "tax");
    assert_eq!(
        town.fact_refused(issued),
        Rejected::Exists { kind: Kind::Grant, id: grant_id("hanako", "tax") }
    );
    let created = town.unit_created("tax");
    assert_eq!(town.fact_refused(created), Rejected::Exists { kind: Kind::Unit, id: id("tax") });
}

#[test]
fn of_a_unit_that_nobody_ordered() {
    let mut town = keyless();
    let FactBody::UnitCreated { order, issuer, keeper, .. } = town.unit_created("welfare") else {
        unreachable!()
    };
    let invented = FactBody::UnitCreated { unit: id("library"), order, issuer, keeper };
    assert_eq!(town.fact_refused(invented), Rejected::Unknown { kind: Kind::Unit, id: id("library") });
}

#[test]
fn for_a_unit_without_a_key() {
    let mut town = keyless();
    town.done([grant("jiro", "welfare")], ONE);
    let body = town.grant_issued("jiro", "welfare");
    assert_eq!(town.fact_refused(body.clone()), Rejected::UnitWithoutKey { unit: id("welfare") });
    town.create("welfare");
    town.append(town.fact(body, &["ca", "kms"])).unwrap();
}

#[test]
fn after_the_grant_was_revoked() {
    for revocation in [revoke_grant("jiro", "tax"), revoke_card("jiro"), revoke_member("jiro")] {
        let mut town = waiting();
        let body = town.grant_issued("jiro", "tax");
        town.done([revocation.clone()], ONE);
        assert_eq!(
            town.fact_refused(body),
            Rejected::Over { kind: Kind::Grant, id: grant_id("jiro", "tax") },
            "{revocation:?}"
        );
        assert!(town.answers("main", "jiro", "tax").is_err());
    }
    let mut town = waiting();
    town.done([grant("jiro", "team")], ONE);
    let body = town.grant_issued("jiro", "team");
    town.done([end_contract("acme")], ONE);
    assert_eq!(town.fact_refused(body), Rejected::Over { kind: Kind::Grant, id: grant_id("jiro", "team") });
}

#[test]
fn wrapped_to_other_sites() {
    let mut town = waiting();
    town.done([site("dmz")], TWO);
    let other_sites = Rejected::OtherSites { grant: grant_id("jiro", "tax") };
    let to = |town: &Town, labels: &[&str]| {
        let mut body = town.grant_issued("jiro", "tax");
        if let FactBody::GrantIssued { sites, .. } = &mut body {
            *sites = ids(labels);
        }
        body
    };
    for labels in [&[][..], &["dmz"], &["main", "dmz"], &["nowhere"]] {
        let body = to(&town, labels);
        assert_eq!(town.fact_refused(body), other_sites, "{labels:?}");
    }
    town.done([Act::SiteRemoved { site: id("branch") }], TWO);
    let body = to(&town, &["main", "branch"]);
    assert_eq!(town.fact_refused(body), other_sites, "a site that has left");
    // Fewer than the unit's sites is right: one may be offline. Which of them answer is the unit's to say from then on.
    town.done([serve_at("tax", &["main", "dmz"])], TWO);
    let body = to(&town, &["main"]);
    town.append(town.fact(body, &["ca", "kms"])).unwrap();
    assert_eq!(town.answers("main", "jiro", "tax"), Ok(()));
    assert_eq!(town.answers("dmz", "jiro", "tax"), Ok(()), "it gets the share from main");
    assert_eq!(town.answers("branch", "jiro", "tax"), Err(NotAnswered::NotServedHere));
}
