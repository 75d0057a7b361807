//! A service goes on with new keys in the place of those that it has (P-4.20), and what holds of any new keys (P-4.15).

use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, CheckpointError, Signer};
use warifu_ledger::dsse::EnvelopeError;
use warifu_ledger::key::Base64;
use warifu_ledger::state::{Kind, Rejected};
use warifu_ledger::statement::ServiceId::{Ca, Kms, Site};
use warifu_ledger::statement::{Act, HalfHolder, Role, ServiceId, ServiceKeys};

use crate::fixture::*;

fn main_site() -> ServiceId {
    Site(id("main"))
}

/// Each kind of service, with the label of its keys.
fn services() -> [(ServiceId, &'static str); 3] {
    [(Ca, "ca"), (Kms, "kms"), (main_site(), "main")]
}

#[test]
fn p_4_20_two_officers_say_so() {
    for (service, label) in services() {
        let mut town = Town::working();
        let wanted = || [rotated(service, "new")];
        assert_eq!(town.refused(wanted(), ONE), Rejected::TwoPeopleNeeded { needed: &[Role::Officer] });
        let not_officers = &["hanako", "jiro"];
        assert_eq!(town.refused(wanted(), not_officers), Rejected::WrongRole { needed: &[Role::Officer] });
        assert_eq!(town.state.keys_of_service(service), Some(&service_keys(label)));
        town.done(wanted(), TWO);
        assert_eq!(town.state.keys_of_service(service).unwrap().signing, service_keys("new").signing);
        for (other, label) in services().into_iter().filter(|(other, _)| *other != service) {
            assert_eq!(town.state.keys_of_service(other), Some(&service_keys(label)));
        }
    }
}

/// The kms lives: the order names what it saw of it, as any other, and may do more.
#[test]
fn p_4_20_the_present_kms_vouches_for_what_was_seen() {
    let mut town = Town::working();
    let head = town.head();
    let not_signed = Rejected::Seen(CheckpointError::NotSigned(Signer::Kms));
    let by_the_next = town.saw("kms 2", &head, rotated(Kms, "kms 2"), TWO);
    assert_eq!(town.why_not(by_the_next), not_signed);
    let before = town.head();
    town.done([suspend("hanako")], ONE);
    let order = town.saw("kms", &before, rotated(Kms, "kms 2"), TWO);
    town.append(order).unwrap();
    assert_eq!(town.state.kms().tls, service_keys("kms 2").tls);

    // Signed on the word of the former kms for what it spoke for, but for nothing after it.
    let resumed = town.saw("kms", &before, resume("hanako"), TWO);
    town.append(resumed).unwrap();
    let head = town.head();
    let after_it = town.saw("kms", &head, suspend("hanako"), ONE);
    assert_eq!(town.why_not(after_it), not_signed);
    let fork = Checkpoint { root: Digest::of(b"another ledger"), ..before };
    let forked = town.saw("kms", &fork, suspend("hanako"), ONE);
    assert_eq!(town.why_not(forked), not_signed, "it proves nothing any more");
    let order = town.saw("kms 2", &head, suspend("hanako"), ONE);
    town.append(order).unwrap();
}

#[test]
fn p_4_20_new_keys_were_never_used_before() {
    let changed = |service: ServiceId, change: &dyn Fn(&mut ServiceKeys)| {
        let mut act = rotated(service, "new");
        if let Act::KeyRotated { keys, .. } = &mut act {
            change(keys);
        }
        [act]
    };
    let changes: [&dyn Fn(&mut ServiceKeys); 5] = [
        &|keys| keys.signing = public_of("kms signing"),
        &|keys| keys.tls = public_of("ca tls"),
        &|keys| keys.tls = keys.signing,
        &|keys| keys.tls = public_of("hanako 9A"),
        &|keys| keys.signing = public_of("main tls"),
    ];
    for (service, _) in services() {
        let mut town = Town::working();
        for change in changes {
            assert_eq!(town.refused(changed(service, change), TWO), Rejected::RepeatedPoint);
        }
        town.done([rotated(service, "new")], TWO);
        // Nor may the former ones come back, here or elsewhere.
        for (other, label) in services() {
            let mut act = rotated(other, "fresh");
            if let Act::KeyRotated { keys, .. } = &mut act {
                keys.signing = service_keys(label).signing;
            }
            let head = town.head();
            let kms = if service == Kms { "new" } else { "kms" };
            let order = town.saw(kms, &head, act, TWO);
            assert_eq!(town.why_not(order), Rejected::RepeatedPoint);
        }
    }
}

#[test]
fn p_4_20_log_keys_are_those_of_ca_and_kms() {
    let with = |service: ServiceId, log: Option<Base64<32>>| {
        [Act::KeyRotated { service, keys: ServiceKeys { log, ..service_keys("new") } }]
    };
    let is_key = |bytes: &[u8; 32]| ed25519_dalek::VerifyingKey::from_bytes(bytes).is_ok();
    let mut bytes = [0; 32];
    while is_key(&bytes) {
        bytes[0] += 1;
    }
    let mut town = Town::working();
    for service in [Ca, Kms] {
        let malformed = |why| Rejected::KeysMalformed { service, why };
        let no_log = malformed("the log key is missing, or is no Ed25519 public key");
        assert_eq!(town.refused(with(service, None), TWO), no_log);
        assert_eq!(town.refused(with(service, Some(Base64(bytes))), TWO), no_log);
        let used = malformed("the log key was used before");
        for other in ["ca", "kms"] {
            assert_eq!(town.refused(with(service, Some(log_public(other))), TWO), used);
        }
    }
    let why = "a site signs no checkpoints";
    let refused = town.refused(with(main_site(), Some(log_public("new"))), TWO);
    assert_eq!(refused, Rejected::KeysMalformed { service: main_site(), why });
    town.done([rotated(Ca, "ca 2")], TWO);
    let used = Rejected::KeysMalformed { service: Kms, why: "the log key was used before" };
    assert_eq!(town.refused(with(Kms, Some(log_public("ca 2"))), TWO), used);
    let former = Rejected::KeysMalformed { service: Ca, why: "the log key was used before" };
    assert_eq!(town.refused(with(Ca, Some(log_public("ca"))), TWO), former);
    assert_eq!(town.refused([recovered(HalfHolder::Ca, "ca")], TWO), former, "by neither act");
}

#[test]
fn p_4_20_a_site_has_joined_and_not_left() {
    let mut town = Town::working();
    let unknown = Site(id("nowhere"));
    let refused = town.refused([rotated(unknown, "new")], TWO);
    assert_eq!(refused, Rejected::Unknown { kind: Kind::Site, id: id("nowhere") });
    town.done([Act::SiteRemoved { site: id("main") }], TWO);
    let refused = town.refused([rotated(main_site(), "new")], TWO);
    assert_eq!(refused, Rejected::Over { kind: Kind::Site, id: id("main") });
}

/// The keys that spoke until then would be forgotten for others that never spoke.
#[test]
fn a_site_is_found_by_its_tls_key_of_now() {
    let mut town = Town::working();
    let found = |town: &Town, label: &str| {
        let key = service_keys(label).tls.0;
        town.state.site_of_tls_key(&key).map(|(site, found)| (site, found.removed))
    };
    let main = id("main");
    assert_eq!(found(&town, "main"), Some((main, false)));
    assert_eq!(found(&town, "kms"), None);
    town.done([rotated(main_site(), "new")], TWO);
    assert_eq!(found(&town, "main"), None);
    assert_eq!(found(&town, "new"), Some((main, false)));
    town.done([Act::SiteRemoved { site: main }], TWO);
    assert_eq!(found(&town, "new"), Some((main, true)), "it still owes receipts");
}

#[test]
fn p_4_20_an_order_gives_a_service_other_keys_once() {
    let mut town = Town::working();
    let why = "an order gives a service other keys once";
    for (service, _) in services() {
        let twice = [rotated(service, "new"), rotated(service, "newer")];
        assert_eq!(town.refused(twice, TWO), Rejected::KeysMalformed { service, why });
    }
    let twice = [recovered(HalfHolder::Ca, "new"), rotated(Ca, "newer")];
    assert_eq!(town.refused(twice, TWO), Rejected::KeysMalformed { service: Ca, why });
    // But to each of them.
    town.done(services().map(|(service, label)| rotated(service, &format!("{label} 2"))), TWO);
}

/// From the next leaf on.
#[test]
fn p_4_20_facts_need_the_new_keys() {
    let mut town = Town::working();
    town.done([unit("welfare")], TWO);
    town.done([rotated(Ca, "ca 2"), rotated(Kms, "kms 2")], TWO);
    let created = town.unit_created("welfare");
    for (signers, missing) in [(["ca", "kms 2"], "ca 2"), (["ca 2", "kms"], "kms 2")] {
        let refused = town.state.check_fact(&town.fact(created.clone(), &signers)).unwrap_err();
        let signer = service_keys(missing).signing.key_id();
        assert_eq!(refused, Rejected::Envelope(EnvelopeError::NotSigned { signer }));
    }
    town.append(town.fact(created, &["ca 2", "kms 2"])).unwrap();
}

#[test]
fn p_4_20_who_spoke_for_which_ledger_is_remembered() {
    let mut town = Town::working();
    let until = town.head().size;
    town.done([rotated(Ca, "ca 2"), rotated(main_site(), "main 2")], TWO);
    town.done([rotated(main_site(), "main 3")], TWO);
    town.recover_kms("kms 2");
    let state = &town.state;
    assert_eq!(state.keys_at(HalfHolder::Ca, until).signing, service_keys("ca").signing);
    assert_eq!(state.keys_at(HalfHolder::Ca, until + 1).signing, service_keys("ca 2").signing);
    let of_site = |size| state.site_keys_at(&id("main"), size).unwrap().signing;
    assert_eq!(of_site(0), service_keys("main").signing);
    assert_eq!(of_site(until), service_keys("main").signing);
    assert_eq!(of_site(until + 1), service_keys("main 2").signing);
    assert_eq!(of_site(until + 2), service_keys("main 3").signing);
    assert_eq!(of_site(u64::MAX), service_keys("main 3").signing);
    assert_eq!(state.site_keys_at(&id("branch"), 0), Some(&service_keys("branch")));
    assert_eq!(state.site_keys_at(&id("nowhere"), 0), None);
    let told: Vec<_> = state.former_signers().into_iter().map(|keys| (keys.service, keys.until)).collect();
    assert_eq!(told, [(HalfHolder::Ca, until), (HalfHolder::Kms, until + 2)], "of sites nobody asks");
}
