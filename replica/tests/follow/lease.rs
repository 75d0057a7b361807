//! P-5.1 to P-5.4, and I4: without news for longer than the lease, nothing is answered, whatever any clock does.

use warifu_ledger::checkpoint::{CheckpointError, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::state::State;
use warifu_replica::clock::{Clock, ManualClock};
use warifu_replica::lease::{Lease, StampError};

use crate::fixture::{DAY, MINUTE, ONE, TWO, Town, enrol, envelope_by_services, id, note, site};
use crate::stage::{draft_stamp, head_of, nonce, sign_stamp, stamp};

const LEASE: u64 = 10 * MINUTE;

/// Asks at `boot_ms`, and takes an honest answer with the time `time`.
fn renew(lease: &mut Lease, state: &State, label: &str, boot_ms: u64, time: u64) {
    lease.nonce_sent(nonce(label), boot_ms);
    lease.answered(&stamp(state, nonce(label), time), &id("main"), state).unwrap();
}

fn refused(lease: &mut Lease, envelope: &Envelope, state: &State) -> StampError {
    let before = (lease.site_time(1_000, state), lease.left_ms(1_000, state));
    let error = lease.answered(envelope, &id("main"), state).unwrap_err();
    assert_eq!(
        (lease.site_time(1_000, state), lease.left_ms(1_000, state)),
        before,
        "a refused stamp counted"
    );
    error
}

#[test]
fn nothing_is_answered_before_the_first_stamp_nor_after_a_restart() {
    let town = Town::working();
    let mut lease = Lease::new(LEASE);
    assert_eq!(lease.site_time(0, &town.state), None);
    assert_eq!(lease.left_ms(0, &town.state), 0);
    renew(&mut lease, &town.state, "first", 500, town.at);
    assert!(lease.site_time(500, &town.state).is_some());
    // What a restart leaves: nothing of the lease is stored anywhere.
    assert_eq!(Lease::new(LEASE).site_time(500, &town.state), None);
}

#[test]
fn i4_the_lease_ends_whatever_the_wall_clock_says() {
    let town = Town::working();
    let clock = ManualClock::new(5_000, town.at);
    let mut lease = Lease::new(LEASE);
    renew(&mut lease, &town.state, "n", clock.boot_ms(), town.at + 7);
    let time = lease.site_time(clock.boot_ms(), &town.state);
    for wall in [0, town.at - 365 * DAY, town.at + 365 * DAY, u64::MAX] {
        clock.set_wall_ms(wall);
        assert_eq!(lease.site_time(clock.boot_ms(), &town.state), time);
    }
    clock.set_wall_ms(0);
    clock.set_boot_ms(5_000 + LEASE - 1);
    assert_eq!(lease.site_time(clock.boot_ms(), &town.state), Some(town.at + 7 + LEASE - 1));
    assert_eq!(lease.left_ms(clock.boot_ms(), &town.state), 1);
    clock.set_boot_ms(5_000 + LEASE);
    assert_eq!(lease.site_time(clock.boot_ms(), &town.state), None);
    assert_eq!(lease.left_ms(clock.boot_ms(), &town.state), 0);
}

#[test]
fn a_machine_that_slept_wakes_without_a_lease() {
    let town = Town::working();
    let mut lease = Lease::new(LEASE);
    renew(&mut lease, &town.state, "n", 1_000, town.at);
    assert_eq!(lease.site_time(1_000 + 3 * DAY, &town.state), None);
}

#[test]
fn a_boot_clock_that_went_back_gives_nothing() {
    let town = Town::working();
    let mut lease = Lease::new(LEASE);
    renew(&mut lease, &town.state, "n", 10_000, town.at);
    assert_eq!(lease.site_time(9_999, &town.state), None);
}

#[test]
fn p_5_1_the_lease_runs_from_the_sending_of_the_nonce_not_from_the_arrival_of_the_stamp() {
    let town = Town::working();
    let mut lease = Lease::new(LEASE);
    lease.nonce_sent(nonce("slow"), 1_000);
    // The answer lay about for longer than the lease.
    lease.answered(&stamp(&town.state, nonce("slow"), town.at), &id("main"), &town.state).unwrap();
    assert_eq!(lease.site_time(1_000 + LEASE, &town.state), None);
    assert_eq!(lease.site_time(1_000 + LEASE - 1, &town.state), Some(town.at + LEASE - 1));
}

#[test]
fn p_5_2_nothing_is_answered_before_all_that_the_stamp_contains_is_folded() {
    let mut town = Town::working();
    let behind = town.state.clone();
    town.done([enrol("saburo")], ONE);
    let mut lease = Lease::new(LEASE);
    lease.nonce_sent(nonce("n"), 0);
    lease.answered(&stamp(&town.state, nonce("n"), town.at), &id("main"), &behind).unwrap();
    assert_eq!(lease.site_time(1, &behind), None);
    assert_eq!(lease.left_ms(1, &behind), 0);
    assert!(lease.site_time(1, &town.state).is_some());
}

#[test]
fn i5_a_stamp_that_was_contradicted_by_what_came_is_not_forgotten_for_a_better_one() {
    let (mut mine, mut other) = (Town::working(), Town::working());
    let behind = mine.state.clone();
    mine.done([enrol("saburo")], ONE);
    other.done([enrol("shiro")], ONE);
    let mut lease = Lease::new(LEASE);
    lease.nonce_sent(nonce("n"), 0);
    lease.answered(&stamp(&other.state, nonce("n"), other.at), &id("main"), &behind).unwrap();
    assert_eq!(lease.site_time(1, &mine.state), None);
    lease.nonce_sent(nonce("next"), 2);
    let better = stamp(&mine.state, nonce("next"), mine.at);
    let size = mine.leaves.len() as u64;
    assert_eq!(refused(&mut lease, &better, &mine.state), StampError::Fork { size });
}

#[test]
fn p_5_3_only_the_newest_nonce_counts_and_once_only() {
    let town = Town::working();
    let mut lease = Lease::new(LEASE);
    let unasked = stamp(&town.state, nonce("guess"), town.at);
    assert_eq!(refused(&mut lease, &unasked, &town.state), StampError::WrongNonce);

    lease.nonce_sent(nonce("old"), 0);
    lease.nonce_sent(nonce("new"), 900);
    let old = stamp(&town.state, nonce("old"), town.at);
    assert_eq!(refused(&mut lease, &old, &town.state), StampError::WrongNonce);
    let new = stamp(&town.state, nonce("new"), town.at);
    lease.answered(&new, &id("main"), &town.state).unwrap();
    assert_eq!(refused(&mut lease, &new, &town.state), StampError::WrongNonce, "a replay counted");
}

#[test]
fn p_5_3_a_stamp_for_somebody_else_does_not_count() {
    let town = Town::working();
    let mut lease = Lease::new(LEASE);
    lease.nonce_sent(nonce("n"), 0);
    let honest = draft_stamp(&town.state, id("main"), nonce("n"), town.at);

    let mut other = honest.clone();
    other.site = id("branch");
    assert_eq!(
        refused(&mut lease, &sign_stamp(&other), &town.state),
        StampError::OtherSite { found: id("branch") }
    );
    let mut other = honest.clone();
    other.organization = nonce("another town");
    assert!(matches!(
        refused(&mut lease, &sign_stamp(&other), &town.state),
        StampError::OtherOrganization { .. }
    ));
    let forged = envelope_by_services(&honest, &["ca"]);
    assert!(matches!(refused(&mut lease, &forged, &town.state), StampError::Envelope(_)));
    let mut unsigned_checkpoint = honest.clone();
    unsigned_checkpoint.checkpoint = note(&town.organization(), &town.head(), Signer::Ca);
    assert_eq!(
        refused(&mut lease, &sign_stamp(&unsigned_checkpoint), &town.state),
        StampError::Checkpoint(CheckpointError::NotSigned(Signer::Kms))
    );
    lease.answered(&sign_stamp(&honest), &id("main"), &town.state).unwrap();
}

#[test]
fn p_5_3_time_and_ledger_do_not_go_back() {
    let mut town = Town::working();
    let small = town.state.clone();
    town.done([enrol("saburo")], ONE);
    let mut lease = Lease::new(LEASE);
    renew(&mut lease, &town.state, "first", 0, town.at + 1_000);

    lease.nonce_sent(nonce("second"), 10);
    let earlier = stamp(&town.state, nonce("second"), town.at + 999);
    assert_eq!(
        refused(&mut lease, &earlier, &town.state),
        StampError::WentBack { time: town.at + 999, earlier: town.at + 1_000 }
    );
    let (size, earlier) = (small.tree().size(), town.state.tree().size());
    let smaller = stamp(&small, nonce("second"), town.at + 1_000);
    assert_eq!(refused(&mut lease, &smaller, &town.state), StampError::Shrunk { size, earlier });
}

#[test]
fn p_5_3_a_restart_is_no_way_back_either() {
    let mut town = Town::working();
    let small = town.state.clone();
    town.done([enrol("saburo")], ONE);
    let (size, time) = (town.state.tree().size(), town.at + 1_000);
    let mut lease = Lease::new(LEASE).after(Some((size, time)));
    assert_eq!(lease.site_time(0, &town.state), None, "what was stamped before the start gives no lease");
    lease.nonce_sent(nonce("n"), 0);
    let back = stamp(&town.state, nonce("n"), time - 1);
    let error = StampError::WentBack { time: time - 1, earlier: time };
    assert_eq!(refused(&mut lease, &back, &town.state), error);
    let shrunk = stamp(&small, nonce("n"), time);
    let error = StampError::Shrunk { size: size - 1, earlier: size };
    assert_eq!(refused(&mut lease, &shrunk, &town.state), error);
    lease.answered(&stamp(&town.state, nonce("n"), time), &id("main"), &town.state).unwrap();
}

#[test]
fn site_time_is_never_behind_the_last_leaf() {
    let town = Town::working();
    let mut lease = Lease::new(LEASE);
    renew(&mut lease, &town.state, "n", 0, town.at - 30 * DAY);
    assert_eq!(lease.site_time(5, &town.state), Some(town.at));
}

/// Two towns with the same beginning, which then part.
fn parted() -> (Town, Town) {
    let (mut one, mut other) = (Town::working(), Town::working());
    one.done([enrol("saburo")], ONE);
    other.done([enrol("shiro")], ONE);
    (one, other)
}

#[test]
fn i5_a_stamp_over_another_ledger_is_proof_of_a_fork() {
    let (mine, other) = parted();
    let mut lease = Lease::new(LEASE);
    lease.nonce_sent(nonce("n"), 0);
    let contradiction = stamp(&other.state, nonce("n"), mine.at);
    let size = mine.state.tree().size();
    assert_eq!(refused(&mut lease, &contradiction, &mine.state), StampError::Fork { size });
}

#[test]
fn i5_a_fork_that_lay_ahead_is_seen_when_it_is_folded() {
    let (mut mine, other) = parted();
    let behind = Town::working();
    let mut lease = Lease::new(LEASE);
    lease.nonce_sent(nonce("n"), 0);
    lease.answered(&stamp(&other.state, nonce("n"), mine.at), &id("main"), &behind.state).unwrap();
    assert_eq!(lease.contradicted_by(&behind.state), None);
    assert_eq!(lease.contradicted_by(&mine.state), Some(head_of(&other.state).size));
    assert_eq!(lease.site_time(1, &mine.state), None, "a forked ledger was answered from");
    mine.done([site("annex")], TWO);
    assert_eq!(lease.site_time(1, &mine.state), None);
}

#[test]
fn a_shorter_lease_bites_at_once() {
    let town = Town::working();
    let mut lease = Lease::new(LEASE);
    renew(&mut lease, &town.state, "n", 0, town.at);
    assert!(lease.site_time(60_000, &town.state).is_some());
    lease.set_lease_ms(30_000);
    assert_eq!(lease.site_time(60_000, &town.state), None);
    // No follower gives itself more than the policy.
    lease.set_lease_ms(DAY);
    assert_eq!(lease.site_time(LEASE, &town.state), None);
    lease.end();
    lease.set_lease_ms(LEASE);
    assert_eq!(lease.site_time(1, &town.state), None);
}

/// P-5.5: a stamp that was long on its way puts the site's time ahead; the next one does not put it back.
#[test]
fn p_5_5_site_time_never_goes_back() {
    let town = Town::working();
    let mut lease = Lease::new(LEASE);
    // The nonce took 5 s to the kms.
    renew(&mut lease, &town.state, "slow", 0, town.at + 5_000);
    assert_eq!(lease.site_time(10_000, &town.state), Some(town.at + 15_000));
    renew(&mut lease, &town.state, "fast", 10_000, town.at + 10_000);
    assert_eq!(lease.site_time(10_000, &town.state), Some(town.at + 15_000), "it stands");
    assert_eq!(lease.site_time(14_999, &town.state), Some(town.at + 15_000));
    assert_eq!(lease.site_time(15_001, &town.state), Some(town.at + 15_001), "and goes on");
    // Nor does a restart: what was written down with a time is not undone.
    let mut again = Lease::new(LEASE).not_before(town.at + 15_000);
    assert_eq!(again.site_time(0, &town.state), None, "it is no lease");
    renew(&mut again, &town.state, "again", 20, town.at + 11_000);
    assert_eq!(again.site_time(20, &town.state), Some(town.at + 15_000));
}
