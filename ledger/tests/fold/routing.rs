//! Routing without reading: which slips a site takes, where they may go, and who may open by them (P-15.1 to P-15.8, I6).

use warifu_ledger::Digest;
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::journal::Row;
use warifu_ledger::key::Base64;
use warifu_ledger::slip::{
    BATCHES_LIMIT, LONGEST_SLIP_MS, ProvedSlip, REVOKED_LIMIT, SLIPS_LIMIT, Sent, Slip, SlipId, WAY_LIMIT,
    is_way,
};
use warifu_ledger::state::{NotAnswered, NotRouted, Rejected, Told};
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
    town.state.may_send(grant, &[sent(town, card, unit, slip(0, "file", target))], town.at)
}

/// One slip, signed alone.
fn sent(town: &Town, card: &str, unit: &str, slip: Slip) -> Sent {
    let slips = slips(town, card, unit, std::slice::from_ref(&slip));
    Sent { batch: by(card, &slips).digest(), slips, slip }
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
            |p| p.slip.origin = Some(SlipId { slips: Digest([0; 32]), index: 0 }),
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
fn i6_a_dispatcher_is_told_the_units_that_he_may_send_to_and_no_others() {
    let mut town = town();
    let told = |town: &Town, card: &str, unit: &str| {
        town.state.targets_of(town.state.grant(&grant_id(card, unit)).unwrap(), town.at)
    };
    assert_eq!(told(&town, "michi", "front"), [id("tax"), id("welfare")].into());
    assert_eq!(told(&town, "hanako", "tax"), [].into(), "to any");
    town.done([grant("michi", "welfare")], ONE);
    assert_eq!(told(&town, "michi", "front"), [id("tax")].into());
    town.done([close("tax", None)], TWO);
    assert_eq!(told(&town, "michi", "front"), [].into());
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
fn p_15_4_nothing_is_routed_to_a_unit_that_has_another_key_now() {
    let mut town = town();
    town.done([rekey("tax", "tax 2")], TWO);
    assert_eq!(may_go(&town, "michi", "front", "tax"), Ok(()), "until the new key is there");
    town.create("tax 2");
    assert_eq!(may_go(&town, "michi", "front", "tax"), Err(NotRouted::NoTarget { target: id("tax") }));
    assert_eq!(may_go(&town, "michi", "front", "tax 2"), Ok(()));
}

/// Whether the card may have the site's part for the first slip of the way.
fn released(town: &Town, card: &str, unit: &str, way: &[Sent], at: u64) -> Result<(), NotRouted> {
    town.state.may_release(&id("main"), &card_id(card), &grant_id(card, unit), way, at).map(|_| ())
}

fn revoke(sent: &Sent, index: Option<u64>) -> [Act; 1] {
    [Act::SlipRevoked { slips: sent.batch, index }]
}

#[test]
fn p_15_6_it_is_released_to_those_who_may_open_the_target_while_the_slip_lives() {
    let mut town = town();
    let came = sent(&town, "michi", "front", slip(0, "file", "tax"));
    let way = std::slice::from_ref(&came);
    let at = town.at;
    assert_eq!(released(&town, "hanako", "tax", way, at), Ok(()));
    assert_eq!(released(&town, "hanako", "tax", &[], at), Err(NotRouted::OtherOrigin));
    assert_eq!(released(&town, "taro", "team", way, at), Err(NotRouted::OtherTarget));
    assert_eq!(released(&town, "michi", "front", way, at), Err(NotAnswered::WrongRight.into()));
    assert_eq!(released(&town, "jiro", "tax", way, at), Err(NotAnswered::GrantNotLive.into()));
    let over = came.slips.expires_at;
    assert_eq!(released(&town, "hanako", "tax", way, over), Err(NotRouted::Over { expires_at: over }));
    assert_eq!(released(&town, "hanako", "tax", way, over - 1), Ok(()));

    // Whoever routed it may have left.
    town.done([revoke_member("michi")], TWO);
    assert_eq!(released(&town, "hanako", "tax", way, at), Ok(()));
    town.done(revoke(&came, Some(1)), ONE);
    assert_eq!(released(&town, "hanako", "tax", way, at), Ok(()));
    town.done(revoke(&came, Some(0)), ONE);
    assert_eq!(released(&town, "hanako", "tax", way, at), Err(NotRouted::Revoked));
    assert!(matches!(town.refused(revoke(&came, None), &["hanako"]), Rejected::WrongRole { .. }));
    // Again, by somebody who did not know: what else the order says must not fail for it.
    town.done(revoke(&came, Some(0)), ONE);
    // Each stays in the token of every site.
    let many = |count: usize| (0..count as u64).map(|index| revoke(&came, Some(index))[0].clone());
    let refused = town.refused(many(REVOKED_LIMIT + 1), ONE);
    assert_eq!(refused, Rejected::SlipsCount { count: REVOKED_LIMIT + 1 });
    town.done(many(REVOKED_LIMIT), ONE);
}

#[test]
fn p_15_8_all_slips_of_a_batch_are_revoked_at_once_and_no_others() {
    let mut town = town();
    let came = sent(&town, "michi", "front", slip(0, "file", "tax"));
    let other = sent(&town, "michi", "front", slip(0, "another", "tax"));
    assert_eq!(came.slips.id, other.slips.id, "ids are the signer's to choose");
    town.done(revoke(&came, None), ONE);
    assert_eq!(released(&town, "hanako", "tax", &[came], town.at), Err(NotRouted::Revoked));
    assert_eq!(released(&town, "hanako", "tax", &[other], town.at), Ok(()));
}

#[test]
fn i6_a_dispatcher_does_not_open_what_he_routed_whatever_he_is_granted_later() {
    let mut town = town();
    let came = sent(&town, "michi", "front", slip(0, "file", "tax"));
    town.done([grant("michi", "tax"), grant("yuki", "tax")], ONE);
    town.issue("michi", "tax");
    town.issue("yuki", "tax");
    let way = std::slice::from_ref(&came);
    assert_eq!(released(&town, "yuki", "tax", way, town.at), Ok(()));
    let own = Err(NotRouted::OwnTarget { target: id("tax") });
    assert_eq!(released(&town, "michi", "tax", way, town.at), own);
    // Nor does he send it further, to a unit that is not on his front desk's list.
    let on = |card: &str| {
        let on = Slip { origin: Some(came.id()), ..slip(0, "file", "library") };
        let slips = Slips {
            expires_at: came.slips.expires_at,
            ..slips(&town, card, "tax", std::slice::from_ref(&on))
        };
        let way = [Sent { batch: by(card, &slips).digest(), slips, slip: on }, came.clone()];
        town.state.may_send(town.state.grant(&grant_id(card, "tax")).unwrap(), &way, town.at)
    };
    assert_eq!(on("yuki"), Ok(()));
    assert_eq!(on("michi"), Err(NotRouted::OwnTarget { target: id("tax") }));
}

#[test]
fn p_15_6_nothing_shredded_is_released_or_routed() {
    let mut town = town();
    let came = sent(&town, "michi", "front", slip(0, "file", "tax"));
    town.done([Act::FileShredded { file: came.slip.file() }], TWO);
    assert_eq!(released(&town, "hanako", "tax", &[came], town.at), Err(NotRouted::Shredded));
    assert_eq!(may_go(&town, "michi", "front", "tax"), Err(NotRouted::Shredded));
}

#[test]
fn p_15_7_what_goes_further_is_the_file_that_came_and_for_no_longer() {
    let mut town = town();
    town.done([grant("jiro", "library")], ONE);
    town.issue("jiro", "library");
    let came = sent(&town, "michi", "front", slip(0, "file", "tax"));
    let on = |change: &dyn Fn(&mut Slip), and: &dyn Fn(&mut Slips)| {
        let mut on = Slip { origin: Some(came.id()), ..slip(0, "file", "library") };
        change(&mut on);
        let mut slips = slips(&town, "hanako", "tax", std::slice::from_ref(&on));
        slips.expires_at = came.slips.expires_at;
        and(&mut slips);
        [Sent { batch: by("hanako", &slips).digest(), slips, slip: on }, came.clone()]
    };
    let asks = |way: &[Sent]| {
        let grant = town.state.grant(&grant_id("hanako", "tax")).unwrap();
        let sends = town.state.may_send(grant, way, town.at);
        assert_eq!(released(&town, "jiro", "library", way, town.at), sends);
        sends
    };
    let way = on(&|_| (), &|_| ());
    assert_eq!(asks(&way), Ok(()));
    let other = Err(NotRouted::OtherOrigin);
    assert_eq!(asks(&way[..1]), other, "the way is shown from its beginning");
    let slips_as_they_are: &dyn Fn(&mut Slips) = &|_| ();
    let changes: [&dyn Fn(&mut Slip); 5] = [
        &|on| on.origin = None,
        &|on| on.origin = Some(SlipId { index: 1, ..came.id() }),
        &|on| on.origin = Some(SlipId { slips: Digest([0; 32]), index: 0 }),
        &|on| on.ephemeral = public_of("another"),
        &|on| on.stanza = Digest([0; 32]),
    ];
    for change in changes {
        assert_eq!(asks(&on(change, slips_as_they_are)), other);
    }
    let changes: [&dyn Fn(&mut Slips); 3] =
        [&|slips| slips.unit = id("welfare"), &|slips| slips.organization = Digest([0; 32]), &|slips| {
            slips.expires_at += 1
        }];
    for change in changes {
        assert_eq!(asks(&on(&|_| (), change)), other);
    }
    // With the first slip ends what went on from it.
    let first = revoke(&came, None);
    town.done(first, ONE);
    assert_eq!(released(&town, "jiro", "library", &way, town.at), Err(NotRouted::Revoked));
    let grant = town.state.grant(&grant_id("hanako", "tax")).unwrap();
    assert_eq!(town.state.may_send(grant, &way, town.at), Err(NotRouted::Revoked));
}

#[test]
fn p_15_14_a_file_comes_by_eight_slips_at_most() {
    let town = town();
    let mut way: Vec<Sent> = Vec::new();
    for hop in 0..=WAY_LIMIT {
        let before = way.first();
        let slip = Slip {
            origin: before.map(Sent::id),
            ..slip(0, "file", if hop % 2 == 0 { "tax" } else { "welfare" })
        };
        let unit = before.map_or(id("front"), |before| before.slip.target);
        let slips = Slips { unit, ..slips(&town, "hanako", "tax", std::slice::from_ref(&slip)) };
        way.insert(0, Sent { batch: by("hanako", &slips).digest(), slips, slip });
        assert_eq!(is_way(&way), hop < WAY_LIMIT, "{hop}");
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

#[test]
fn p_13_1_a_row_tells_routing_from_opening() {
    let town = town();
    let told = |grant, unit: &str| {
        let (card, member, file, previous) = (id("card"), id("member"), Digest([0; 32]), Digest([0; 32]));
        let row = Row { index: 0, time: 0, card, member, grant, unit: id(unit), file, previous };
        town.state.told_by(&row)
    };
    let (desk, tax) = (grant_id("michi", "front"), grant_id("hanako", "tax"));
    assert_eq!(told(desk, "tax"), (id("front"), Told::Routed { to: id("tax") }));
    assert_eq!(told(tax, "tax"), (id("tax"), Told::Opened));
    assert_eq!(told(tax, "front"), (id("tax"), Told::OpenedBySlip { from: id("front") }));
    assert_eq!(told(id("nobody's"), "front"), (id("front"), Told::Opened));
}
