//! Routing without reading: which slips a site takes, where they may go, and who may open by them (P-15.1 to P-15.8, I6).

use warifu_ledger::Digest;
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::key::Base64;
use warifu_ledger::slip::{BATCHES_LIMIT, LONGEST_SLIP_MS, ProvedSlip, SLIPS_LIMIT, Slip, SlipId};
use warifu_ledger::state::{Kind, NotAnswered, NotRouted, Rejected};
use warifu_ledger::statement::{Act, FactBody, Right, ServiceId, ServiceKeys, Slips};

use crate::fixture::*;

/// The front desk `front`, which may route to `tax` and `welfare`; `michi` routes there, `hanako` opens `tax`.
pub(crate) fn town() -> Town {
    let mut town = Town::working();
    town.done([unit("welfare"), unit("library")], ONE);
    town.done([front_desk("front", &["tax", "welfare"])], TWO);
    for unit in ["welfare", "library", "front"] {
        town.create(unit);
    }
    town.done([enrol("michi"), enrol("yuki")], TWO);
    town.done([grant_with("michi", "front", Right::Route, None)], TWO);
    town.issue("michi", "front");
    town
}

/// A slip for the file of this label.
pub(crate) fn slip(index: u64, file: &str, target: &str) -> Slip {
    Slip {
        index,
        ephemeral: public_of(file),
        stanza: Digest::of(format!("{file} stanza").as_bytes()),
        target: id(target),
        origin: None,
        seal: Base64([7; 113]),
    }
}

/// What `card` signs over them under its grant to `unit`.
pub(crate) fn slips(town: &Town, card: &str, unit: &str, of: &[Slip]) -> Slips {
    let slips = Slips {
        organization: town.organization(),
        id: id("slips"),
        unit: id(unit),
        grant: grant_id(card, unit),
        expires_at: town.at + 30 * DAY,
        count: 0,
        root: Digest([0; 32]),
    };
    slips.over(of).unwrap()
}

fn by(card: &str, slips: &Slips) -> Envelope {
    envelope_by_cards(slips, &[card])
}

fn routed(town: &Town, card: &str, envelope: &Envelope) -> Result<Slips, NotRouted> {
    town.state.may_route(&id("main"), &card_id(card), envelope, town.at).map(|(slips, _)| slips)
}

fn may_go(town: &Town, card: &str, unit: &str, target: &str) -> Result<(), NotRouted> {
    let grant = town.state.grant(&grant_id(card, unit)).unwrap();
    town.state.may_route_to(grant, &id(target), town.at)
}

#[test]
fn p_15_2_every_slip_is_proved_and_no_other_is() {
    let town = town();
    let all: Vec<Slip> = (0..5).map(|n| slip(n, &format!("file {n}"), "tax")).collect();
    let slips = slips(&town, "michi", "front", &all);
    assert_eq!(slips.count, 5);
    assert!(slips.are(&all) && !slips.are(&all[..4]));
    let mut swapped = all.clone();
    swapped.swap(1, 2);
    assert!(!slips.are(&swapped));
    for proved in slips.prove(all).unwrap() {
        assert!(slips.has(&proved));
        let changes: [fn(&mut ProvedSlip); 7] = [
            |p| p.slip.index = (p.slip.index + 1) % 5,
            |p| p.slip.ephemeral = public_of("another"),
            |p| p.slip.stanza = Digest([0; 32]),
            |p| p.slip.target = id("welfare"),
            |p| p.slip.origin = Some(SlipId { slips: id("slips"), index: 0 }),
            |p| p.slip.seal.0[112] ^= 1,
            |p| p.proof.clear(),
        ];
        for change in changes {
            let mut altered = proved.clone();
            change(&mut altered);
            assert!(!slips.has(&altered), "{altered:?}");
        }
        for other in [
            Slips { expires_at: slips.expires_at + 1, ..slips.clone() },
            Slips { unit: id("tax"), ..slips.clone() },
            Slips { id: id("other"), ..slips.clone() },
        ] {
            assert!(!other.has(&proved));
        }
    }
}

#[test]
fn p_15_4_slips_count_if_the_card_of_the_grant_signed_them_here_and_now() {
    let mut town = town();
    let good = slips(&town, "michi", "front", &[slip(0, "file", "tax")]);
    assert_eq!(routed(&town, "michi", &by("michi", &good)), Ok(good.clone()));

    let refused = |town: &Town, slips: Slips| routed(town, "michi", &by("michi", &slips)).unwrap_err();
    let found = Digest([1; 32]);
    let other = Slips { organization: found, ..good.clone() };
    assert_eq!(refused(&town, other), NotRouted::OtherOrganization { found });
    let other = Slips { unit: id("tax"), ..good.clone() };
    assert_eq!(refused(&town, other), NotRouted::OtherUnit { unit: id("tax") });
    let nobodys = Slips { grant: id("nobody's"), ..good.clone() };
    assert_eq!(refused(&town, nobodys), NotAnswered::GrantNotLive.into());
    for count in [0, SLIPS_LIMIT + 1] {
        assert_eq!(refused(&town, Slips { count, ..good.clone() }), NotRouted::Count { count });
    }
    let over = Slips { expires_at: town.at, ..good.clone() };
    assert_eq!(refused(&town, over), NotRouted::Over { expires_at: town.at });
    let expires_at = town.at + LONGEST_SLIP_MS + 1;
    assert_eq!(refused(&town, Slips { expires_at, ..good.clone() }), NotRouted::TooFarAhead { expires_at });

    let forged = routed(&town, "michi", &by("hanako", &good));
    assert!(matches!(forged, Err(NotRouted::Envelope(EnvelopeError::NotSigned { .. }))), "{forged:?}");
    let unsigned = Envelope::unsigned(&good).unwrap();
    assert!(matches!(routed(&town, "michi", &unsigned), Err(NotRouted::Envelope(_))));
    assert_eq!(routed(&town, "hanako", &by("michi", &good)), Err(NotAnswered::GrantNotLive.into()));
    let elsewhere = town.state.may_route(&id("nowhere"), &card_id("michi"), &by("michi", &good), town.at);
    assert!(matches!(elsewhere, Err(NotRouted::NotAnswered(NotAnswered::NotServedHere))));

    town.done([suspend("michi")], ONE);
    assert_eq!(refused(&town, good.clone()), NotAnswered::CardSuspended.into());
    town.done([revoke_member("michi")], TWO);
    assert_eq!(refused(&town, good.clone()), NotAnswered::CardNotLive.into());
    // What was signed before is still read by whoever it went to.
    assert_eq!(town.state.read_slips(&by("michi", &good)), Ok(good));
}

#[test]
fn i6_a_front_desk_routes_to_its_list_and_to_nothing_that_its_dispatcher_could_open() {
    let mut town = town();
    for target in ["tax", "welfare"] {
        assert_eq!(may_go(&town, "michi", "front", target), Ok(()));
    }
    for target in ["library", "team", "front", "another organization's"] {
        let refused = NotRouted::NotOnTheList { target: id(target) };
        assert_eq!(may_go(&town, "michi", "front", target), Err(refused));
    }
    // By another card of hers, not begun, not issued: it would open it all the same one day.
    town.done([enrol("michi:spare")], TWO);
    let later = town.at + 40 * DAY;
    town.done([grant_between("later", "michi:spare", "welfare", Some(later), None)], ONE);
    let own = NotRouted::OwnTarget { target: id("welfare") };
    assert_eq!(may_go(&town, "michi", "front", "welfare"), Err(own));
    assert_eq!(may_go(&town, "michi", "front", "tax"), Ok(()));
    town.done([Act::GrantRevoked { grant: id("later"), effective_at: None, reason: None }], ONE);
    assert_eq!(may_go(&town, "michi", "front", "welfare"), Ok(()));
}

#[test]
fn p_15_4_nothing_goes_where_nobody_could_open_it() {
    let mut town = town();
    let no = |target: &str| Err(NotRouted::NoTarget { target: id(target) });
    town.done([unit("new")], ONE);
    town.done([front_desk("second", &["tax"]), route_to("front", &["tax", "new", "second", "team"])], TWO);
    town.create("second");
    for target in ["new", "second"] {
        assert_eq!(may_go(&town, "michi", "front", target), no(target));
    }
    assert_eq!(may_go(&town, "michi", "front", "team"), Ok(()));
    town.done([end_contract("acme")], ONE);
    assert_eq!(may_go(&town, "michi", "front", "team"), no("team"));
    town.done([close("tax", None)], TWO);
    assert_eq!(may_go(&town, "michi", "front", "tax"), Err(NotRouted::NotOnTheList { target: id("tax") }));
}

#[test]
fn p_15_4_who_can_open_sends_on_to_any_unit_but_his_own() {
    let town = town();
    for target in ["welfare", "library", "team"] {
        assert_eq!(may_go(&town, "hanako", "tax", target), Ok(()));
    }
    for target in ["tax", "front", "another organization's"] {
        assert_eq!(may_go(&town, "hanako", "tax", target), Err(NotRouted::NoTarget { target: id(target) }));
    }
}

#[test]
fn p_15_6_it_is_released_to_those_who_may_open_the_target_while_the_slip_lives() {
    let mut town = town();
    let one = slip(3, "file", "tax");
    let slips = slips(&town, "michi", "front", std::slice::from_ref(&one));
    let ask = |town: &Town, card: &str, unit: &str, at| {
        let grant = grant_id(card, unit);
        town.state.may_release(&id("main"), &card_id(card), &grant, (&slips, &one), at).map(|_| ())
    };
    let at = town.at;
    assert_eq!(ask(&town, "hanako", "tax", at), Ok(()));
    assert_eq!(ask(&town, "taro", "team", at), Err(NotRouted::OtherTarget));
    assert_eq!(ask(&town, "michi", "front", at), Err(NotAnswered::WrongRight.into()));
    assert_eq!(ask(&town, "jiro", "tax", at), Err(NotAnswered::GrantNotLive.into()));
    let over = slips.expires_at;
    assert_eq!(ask(&town, "hanako", "tax", over), Err(NotRouted::Over { expires_at: over }));
    assert_eq!(ask(&town, "hanako", "tax", over - 1), Ok(()));

    // Whoever routed it may have left.
    town.done([revoke_member("michi")], TWO);
    assert_eq!(ask(&town, "hanako", "tax", at), Ok(()));

    let revoke = |index| Act::SlipRevoked { slips: id("slips"), index };
    town.done([revoke(Some(2))], ONE);
    assert_eq!(ask(&town, "hanako", "tax", at), Ok(()));
    town.done([revoke(Some(3))], ONE);
    assert_eq!(ask(&town, "hanako", "tax", at), Err(NotRouted::Revoked));
    assert!(!town.state.slip_is_revoked(&id("slips"), 4));
    town.done([revoke(None)], ONE);
    assert!(town.state.slip_is_revoked(&id("slips"), 4) && !town.state.slip_is_revoked(&id("other"), 4));
    let again = Rejected::Over { kind: Kind::Slip, id: id("slips") };
    assert_eq!(town.refused([revoke(Some(5))], ONE), again);
    assert!(matches!(town.refused([revoke(None)], &["hanako"]), Rejected::WrongRole { .. }));
}

#[test]
fn p_15_6_nothing_shredded_is_released() {
    let mut town = town();
    let one = slip(0, "file", "tax");
    let slips = slips(&town, "michi", "front", std::slice::from_ref(&one));
    town.done([Act::FileShredded { file: one.file() }], TWO);
    let grant = grant_id("hanako", "tax");
    let refused =
        town.state.may_release(&id("main"), &card_id("hanako"), &grant, (&slips, &one), town.at).map(|_| ());
    assert_eq!(refused, Err(NotRouted::Shredded));
}

#[test]
fn p_15_7_what_goes_further_is_the_file_that_came_and_for_no_longer() {
    let town = town();
    let came = slip(3, "file", "tax");
    let before = slips(&town, "michi", "front", std::slice::from_ref(&came));
    let origin = Some(SlipId { slips: before.id, index: 3 });
    let on = Slip { origin, ..slip(0, "file", "library") };
    let after = Slips { id: id("further"), ..slips(&town, "hanako", "tax", std::slice::from_ref(&on)) };
    assert_eq!(on.goes_on_from(&after, (&before, &came)), Ok(()));

    let refused = Err(NotRouted::OtherOrigin);
    for other in [
        Slip { origin: None, ..on.clone() },
        Slip { origin: Some(SlipId { slips: before.id, index: 2 }), ..on.clone() },
        Slip { origin: Some(SlipId { slips: id("other"), index: 3 }), ..on.clone() },
        Slip { ephemeral: public_of("another"), ..on.clone() },
        Slip { stanza: Digest([0; 32]), ..on.clone() },
    ] {
        assert_eq!(other.goes_on_from(&after, (&before, &came)), refused);
    }
    for other in [
        Slips { unit: id("welfare"), ..after.clone() },
        Slips { organization: Digest([0; 32]), ..after.clone() },
        Slips { expires_at: before.expires_at + 1, ..after.clone() },
    ] {
        assert_eq!(on.goes_on_from(&other, (&before, &came)), refused);
    }
}

#[test]
fn p_15_8_a_fact_has_slips_and_not_too_many() {
    let mut town = town();
    let digests = |count: usize| (0..count).map(|n| Digest::of(&n.to_be_bytes())).collect();
    for count in [0, BATCHES_LIMIT + 1] {
        let refused = town.fact_refused(FactBody::SlipsBatched { slips: digests(count) });
        assert_eq!(refused, Rejected::SlipsCount { count });
    }
    town.append(town.fact(FactBody::SlipsBatched { slips: digests(BATCHES_LIMIT) }, &["ca", "kms"])).unwrap();
}

#[test]
fn p_15_3_sites_and_they_alone_have_a_transport_key_which_was_never_used() {
    let mut town = Town::working();
    let joined = |keys: ServiceKeys| {
        let Act::SiteJoined { name, address, .. } = site("new") else { unreachable!() };
        [Act::SiteJoined { site: id("new"), name, keys, address }]
    };
    let malformed = |service, why| Rejected::KeysMalformed { service, why };
    let new = ServiceId::Site(id("new"));
    let none = ServiceKeys { transport: None, ..service_keys("new") };
    assert_eq!(town.refused(joined(none.clone()), TWO), malformed(new, "a site has a transport key"));
    let used = ServiceKeys { transport: Some(public_of("hanako 9D")), ..service_keys("new") };
    assert_eq!(town.refused(joined(used), TWO), Rejected::RepeatedPoint);

    let main = ServiceId::Site(id("main"));
    let rotated_to = |service, keys| [Act::KeyRotated { service, keys }];
    let refused = town.refused(rotated_to(main, none), TWO);
    assert_eq!(refused, malformed(main, "a site has a transport key"));
    let Act::KeyRotated { keys, .. } = rotated(ServiceId::Kms, "kms 2") else { unreachable!() };
    let too_many = ServiceKeys { transport: Some(public_of("fresh")), ..keys };
    let refused = town.refused(rotated_to(ServiceId::Kms, too_many), TWO);
    assert_eq!(refused, malformed(ServiceId::Kms, "a site alone has a transport key"));

    let mut founding = founding();
    founding.ca.transport = Some(public_of("fresh"));
    let refused = found(&founding, &["sakura", "kenji", "midori"]).err();
    assert_eq!(refused, Some(Rejected::NotFounding { why: "a site alone has a transport key" }));
}

#[test]
fn a_file_is_known_by_its_ephemeral_key() {
    let one = slip(0, "file", "tax");
    assert_eq!(one.file(), Digest::of(&public_of("file").0.x()));
}
