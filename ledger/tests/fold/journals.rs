//! The audit journals of sites: what the chain proves, and which heads the ledger takes (P-13.1 to P-13.3).

use p256::ecdsa::Signature;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use warifu_ledger::dsse::EnvelopeError;
use warifu_ledger::journal::{BrokenAt, HEADS_LIMIT, Position, Row, SignedHead};
use warifu_ledger::key::Base64;
use warifu_ledger::state::{BEGUN_LIMIT, BEGUN_WITHIN_MS, Kind, Rejected};
use warifu_ledger::statement::FactBody;
use warifu_ledger::{Digest, Id};

use crate::fixture::*;

/// The rows of a journal of `main`, one for each file.
pub(crate) fn rows(town: &Town, journal: &Id, files: &[&str]) -> Vec<Row> {
    let mut position = Position::start(&town.organization(), &id("main"), journal);
    files
        .iter()
        .map(|file| {
            let row = Row {
                index: position.size,
                time: T0 + 60 * MINUTE + position.size,
                card: card_id("hanako"),
                member: id("hanako"),
                grant: grant_id("hanako", "tax"),
                unit: id("tax"),
                file: Digest::of(file.as_bytes()),
                previous: position.head,
            };
            position = position.after(&row).unwrap();
            row
        })
        .collect()
}

fn end_of(town: &Town, journal: &Id, rows: &[Row]) -> Position {
    let start = Position::start(&town.organization(), &id("main"), journal);
    rows.iter().try_fold(start, |position, row| position.after(row)).unwrap()
}

/// The head of `main`'s journal after so many rows, signed by `by`.
pub(crate) fn head_by(by: &str, town: &Town, journal: &str, files: &[&str]) -> SignedHead {
    let journal = id(journal);
    let end = end_of(town, &journal, &rows(town, &journal, files));
    let time = T0 + 61 * MINUTE;
    let signature = Base64([0; 64]);
    let mut head = SignedHead { site: id("main"), journal, size: end.size, head: end.head, time, signature };
    let signed: Signature =
        key(&format!("{by} signing")).sign_prehash(head.digest(&town.organization()).as_bytes()).unwrap();
    head.signature = Base64(signed.to_bytes().into());
    head
}

fn head(town: &Town, journal: &str, files: &[&str]) -> SignedHead {
    head_by("main", town, journal, files)
}

fn batch(heads: impl IntoIterator<Item = SignedHead>) -> FactBody {
    FactBody::JournalsBatched { heads: heads.into_iter().collect() }
}

fn commit(town: &mut Town, heads: impl IntoIterator<Item = SignedHead>) {
    town.append(town.fact(batch(heads), &["ca", "kms"])).unwrap();
}

#[test]
fn p_13_1_a_row_that_was_changed_left_out_or_put_in_breaks_the_chain_and_is_named() {
    let (town, journal) = (Town::working(), id("journal"));
    let written = rows(&town, &journal, &["a", "b", "c", "d"]);
    let end = end_of(&town, &journal, &written);
    let read = |rows: &[Row]| {
        let start = Position::start(&town.organization(), &id("main"), &journal);
        rows.iter().try_fold(start, |position, row| position.after(row))
    };
    for change in [
        |row: &mut Row| row.time += 1,
        |row: &mut Row| row.card = card_id("jiro"),
        |row: &mut Row| row.member = id("jiro"),
        |row: &mut Row| row.grant = grant_id("jiro", "tax"),
        |row: &mut Row| row.unit = id("team"),
        |row: &mut Row| row.file = Digest::of(b"another"),
    ] {
        let mut edited = written.clone();
        change(&mut edited[1]);
        assert_eq!(read(&edited).unwrap_err(), BrokenAt { index: 1 });
        // The last row has no other after it: the head tells.
        let mut edited = written.clone();
        change(&mut edited[3]);
        assert_ne!(read(&edited).unwrap(), end);
    }
    let mut without = written.clone();
    without.remove(1);
    assert_eq!(read(&without).unwrap_err(), BrokenAt { index: 1 });
    let mut twice = written.clone();
    twice.insert(1, written[0].clone());
    assert_eq!(read(&twice).unwrap_err(), BrokenAt { index: 1 });
    assert_ne!(read(&written[..3]).unwrap(), end);
    // Rows of another journal, site or organization are none of this one.
    let other = rows(&town, &id("another journal"), &["a", "b"]);
    assert_eq!(read(&other).unwrap_err(), BrokenAt { index: 0 });
}

#[test]
fn p_13_2_a_head_is_the_sites_own() {
    let mut town = Town::working();
    for by in ["branch", "kms", "ca"] {
        let forged = head_by(by, &town, "journal", &["a"]);
        assert_eq!(
            town.fact_refused(batch([forged])),
            Rejected::JournalNotSigned { site: id("main") },
            "{by}"
        );
    }
    let signed = head(&town, "journal", &["a", "b"]);
    for change in [
        |head: &mut SignedHead| head.journal = id("another"),
        |head: &mut SignedHead| head.size += 1,
        |head: &mut SignedHead| head.head = Digest::of(b"another"),
        |head: &mut SignedHead| head.time += 1,
        |head: &mut SignedHead| head.site = id("branch"),
    ] {
        let mut changed = signed.clone();
        change(&mut changed);
        let site = changed.site;
        assert_eq!(town.fact_refused(batch([changed])), Rejected::JournalNotSigned { site });
    }
    let nobody = SignedHead { site: id("nobody"), ..signed };
    let unknown = Rejected::Unknown { kind: Kind::Site, id: id("nobody") };
    assert_eq!(town.fact_refused(batch([nobody])), unknown);
}

#[test]
fn p_13_3_a_journal_only_grows() {
    let mut town = Town::working();
    assert_eq!(town.state.journals(&id("main")), None);
    let empty = head(&town, "journal", &[]);
    let none = Rejected::JournalNotFurther { site: id("main"), size: 0, committed: 0 };
    assert_eq!(town.fact_refused(batch([empty])), none);
    let one = head(&town, "journal", &["a", "b"]);
    commit(&mut town, [one.clone()]);
    let journals = town.state.journals(&id("main")).unwrap();
    assert_eq!((journals.current, journals.head), (id("journal"), one.position()));
    // Once more, rolled back, and rolled back to as many other rows.
    for files in [&["a", "b"][..], &["a"], &["a", "x"]] {
        let back = head(&town, "journal", files);
        let refused =
            Rejected::JournalNotFurther { site: id("main"), size: files.len() as u64, committed: 2 };
        assert_eq!(town.fact_refused(batch([back])), refused);
    }
    let on = head(&town, "journal", &["a", "b", "c"]);
    assert_eq!(
        town.fact_refused(batch([on.clone(), on.clone()])),
        Rejected::JournalNotFurther { site: id("main"), size: 3, committed: 3 }
    );
    commit(&mut town, [on]);
    assert_eq!(town.state.journals(&id("main")).unwrap().head.size, 3);
}

#[test]
fn p_13_3_a_journal_that_was_given_up_is_not_taken_up_again() {
    let mut town = Town::working();
    let first = head(&town, "journal", &["a", "b"]);
    commit(&mut town, [first.clone()]);
    let second = head(&town, "new journal", &["c"]);
    commit(&mut town, [second.clone()]);
    let journals = town.state.journals(&id("main")).unwrap();
    assert_eq!((journals.current, journals.head), (id("new journal"), second.position()));
    assert_eq!(journals.former.get(&id("journal")), Some(&first.position()), "it was begun silently");
    let on = head(&town, "journal", &["a", "b", "c"]);
    let over = Rejected::JournalOver { site: id("main"), journal: id("journal") };
    assert_eq!(town.fact_refused(batch([on])), over);
}

#[test]
fn p_13_3_ca_and_kms_state_it_together_and_what_a_site_that_left_had_written_counts() {
    let mut town = Town::working();
    let body = batch([head(&town, "journal", &["a"])]);
    for (signers, missing) in [(&["kms"][..], "ca"), (&["ca"], "kms"), (&["main"], "ca")] {
        let signer = service_keys(missing).signing.key_id();
        let refused = Rejected::Envelope(EnvelopeError::NotSigned { signer });
        assert_eq!(town.append(town.fact(body.clone(), signers)).unwrap_err(), refused, "{signers:?}");
    }
    town.done([warifu_ledger::statement::Act::SiteRemoved { site: id("main") }], TWO);
    town.append(town.fact(body, &["ca", "kms"])).unwrap();
    assert_eq!(town.state.journals(&id("main")).unwrap().head.size, 1);
}

#[test]
fn p_13_3_a_fact_has_some_heads_and_not_too_many() {
    let mut town = Town::working();
    assert_eq!(town.fact_refused(batch([])), Rejected::JournalHeadsCount { count: 0 });
    let count = HEADS_LIMIT + 1;
    let many = vec![head(&town, "journal", &["a"]); count];
    assert_eq!(town.fact_refused(batch(many)), Rejected::JournalHeadsCount { count });
}

/// P-13.3: who has a site's key fills nobody's memory with journals.
#[test]
fn p_13_3_a_site_begins_some_journals_a_day_and_none_once_it_has_left() {
    let mut town = Town::working();
    let labels: Vec<String> = (0..2 * BEGUN_LIMIT + 2).map(|n| format!("journal {n}")).collect();
    let too_many = Rejected::JournalsTooMany { site: id("main") };
    let limit = usize::try_from(BEGUN_LIMIT).unwrap();
    for label in &labels[..limit] {
        let next = head(&town, label, &["a"]);
        commit(&mut town, [next]);
    }
    let more = head(&town, &labels[limit], &["a"]);
    assert_eq!(town.fact_refused(batch([more.clone()])), too_many);
    // The one that it writes goes on.
    let on = head(&town, &labels[limit - 1], &["a", "b"]);
    commit(&mut town, [on]);
    // A day later, some more.
    town.at += BEGUN_WITHIN_MS;
    town.done([suspend("jiro")], ONE);
    for label in &labels[limit..2 * limit] {
        let next = head(&town, label, &["a"]);
        commit(&mut town, [next]);
    }
    let more = head(&town, &labels[2 * limit], &["a"]);
    assert_eq!(town.fact_refused(batch([more.clone()])), too_many);
    assert_eq!(town.state.journals(&id("main")).unwrap().former.size(), 2 * limit - 1);

    town.at += BEGUN_WITHIN_MS;
    town.done([warifu_ledger::statement::Act::SiteRemoved { site: id("main") }], TWO);
    assert_eq!(town.fact_refused(batch([more])), too_many, "it has left");
    let rest = head(&town, &labels[2 * limit - 1], &["a", "b"]);
    commit(&mut town, [rest]);
}
