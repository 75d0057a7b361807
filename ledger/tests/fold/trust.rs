//! Other organizations, as two officers pin them (P-16.4).

use warifu_ledger::Digest;
use warifu_ledger::key::Base64;
use warifu_ledger::state::{LONGEST_ADDRESS, Rejected};
use warifu_ledger::statement::{Act, OrganizationKeys, Role, ServiceKeys};

use crate::fixture::*;

fn other() -> OrganizationKeys {
    OrganizationKeys {
        organization: Digest::of(b"alps"),
        ca: service_keys("ca alps"),
        kms: service_keys("kms alps"),
    }
}

/// `trust.added` with these keys.
pub(crate) fn trust(keys: OrganizationKeys) -> Act {
    Act::trust(keys, record("goro").commitment(), "alps.example:443")
}

/// `trust.added` of another organization.
pub(crate) fn trust_other() -> Act {
    trust(other())
}

pub(crate) fn end_other() -> Act {
    Act::TrustEnded { organization: other().organization }
}

fn addressed(to: &str) -> [Act; 1] {
    [Act::trust(other(), record("goro").commitment(), to)]
}

#[test]
fn p_16_4_two_officers_say_so() {
    let mut town = Town::working();
    let two = Rejected::TwoPeopleNeeded { needed: &[Role::Officer] };
    assert_eq!(town.refused([trust_other()], ONE), two);
    let refused = town.refused([trust_other()], &["hanako", "jiro"]);
    assert_eq!(refused, Rejected::WrongRole { needed: &[Role::Officer] });
    assert_eq!(town.state.trusts().count(), 0);
    let index = town.head().size;
    town.done([trust_other()], TWO);
    let found = town.state.trust(&other().organization).unwrap().clone();
    assert_eq!((found.keys, found.added, found.ended), (other(), index, false));
    assert_eq!(found.name, record("goro").id);
    assert_eq!(town.refused([end_other()], ONE), two);
}

#[test]
fn p_16_4_the_latest_counts_and_what_ended_may_come_again() {
    let mut town = Town::working();
    let unknown = Rejected::NotTrusted { organization: other().organization };
    assert_eq!(town.refused([end_other()], TWO), unknown);
    town.done([trust_other()], TWO);
    let moved = OrganizationKeys { ca: service_keys("ca alps 2"), ..other() };
    town.done([trust(moved.clone())], TWO);
    assert_eq!(town.state.trust(&other().organization).unwrap().keys, moved);
    town.done([end_other()], TWO);
    assert_eq!(town.state.trusts().count(), 0);
    assert!(town.state.trust(&other().organization).unwrap().ended);
    assert_eq!(town.refused([end_other()], TWO), unknown, "it has ended");
    town.done([trust_other()], TWO);
    assert_eq!(town.state.trusts().map(|trust| &trust.keys).collect::<Vec<_>>(), [&other()]);
}

#[test]
fn p_16_4_only_what_can_be_another_organization() {
    let mut town = Town::working();
    let organization = other().organization;
    let malformed = |why| Rejected::TrustMalformed { organization, why };
    let own = OrganizationKeys { organization: town.organization(), ..other() };
    let why = "it is this organization itself";
    let refused = Rejected::TrustMalformed { organization: town.organization(), why };
    assert_eq!(town.refused([trust(own)], TWO), refused);

    let no_log = ServiceKeys { log: None, ..service_keys("kms alps") };
    let transport = ServiceKeys { transport: Some(public_of("x")), ..service_keys("ca alps") };
    let same_log = ServiceKeys { log: service_keys("ca alps").log, ..service_keys("kms alps") };
    let twice = ServiceKeys { tls: public_of("ca alps tls"), ..service_keys("kms alps") };
    let ours = ServiceKeys { signing: public_of("kms signing"), ..service_keys("kms alps") };
    let mut bytes = [0; 32];
    while ed25519_dalek::VerifyingKey::from_bytes(&bytes).is_ok() {
        bytes[0] += 1;
    }
    let no_point = ServiceKeys { log: Some(Base64(bytes)), ..service_keys("kms alps") };
    let log = "a log key is no Ed25519 public key, or both are the same";
    for (kms, why) in [
        (no_log, "a log key is missing"),
        (same_log, log),
        (no_point, log),
        (twice, "one key is there twice"),
        (ours, "its keys are keys of this organization"),
    ] {
        let refused = town.refused([trust(OrganizationKeys { kms, ..other() })], TWO);
        assert_eq!(refused, malformed(why));
    }
    let refused = town.refused([trust(OrganizationKeys { ca: transport, ..other() })], TWO);
    assert_eq!(refused, malformed("a site alone has a transport key"));

    let long = "x".repeat(LONGEST_ADDRESS + 1);
    for address in ["", "alps example:443", "alps.example:443\n", &long] {
        assert_eq!(town.refused(addressed(address), TWO), malformed("its address is none"), "{address:?}");
    }
    town.done(addressed(&long[1..]), TWO);
}

#[test]
fn p_16_3_the_fingerprint_is_of_all_its_keys() {
    let of = |change: &dyn Fn(&mut OrganizationKeys)| {
        let mut keys = other();
        change(&mut keys);
        keys.fingerprint()
    };
    let changes: [&dyn Fn(&mut OrganizationKeys); 7] = [
        &|keys| keys.organization = Digest::of(b"another"),
        &|keys| keys.ca.signing = public_of("x"),
        &|keys| keys.ca.tls = public_of("x"),
        &|keys| keys.ca.log = Some(log_public("x")),
        &|keys| keys.kms.signing = public_of("x"),
        &|keys| keys.kms.tls = public_of("x"),
        &|keys| keys.kms.log = Some(log_public("x")),
    ];
    for change in changes {
        assert_ne!(of(change), other().fingerprint());
    }
    assert_eq!(of(&|_| ()), other().fingerprint());
}
