//! Evidence of one order (P-14.4), and receipts and heads by keys that a site had before: first what was forged.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed; clippy.toml spares test functions, not what they share"
)]

#[allow(dead_code, reason = "the ledger's own tests use all of it")]
#[path = "../../ledger/tests/fold/fixture.rs"]
mod fixture;

use p256::ecdsa::Signature;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use warifu_audit::{
    FileError, Finding, Header, JournalRow, Line, Pinned, Report, Subject, VERSION, verify, write_line,
};
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::{Position, Row, SignedHead};
use warifu_ledger::key::{Base64, Bytes};
use warifu_ledger::statement::{Act, Policy, Receipt, ServiceId};

use fixture::*;

struct Kept {
    town: Town,
    checkpoint: String,
    subject: Option<Subject>,
    receipts: Vec<Envelope>,
    more: Vec<Line>,
}

fn joined(town: &Town) -> String {
    let (organization, head) = (town.organization(), town.head());
    Checkpoint::join(&note(&organization, &head, Signer::Kms), &note(&organization, &head, Signer::Ca))
        .unwrap()
}

fn receipt(town: &Town, site: &str, order: Digest, folded: u64) -> Receipt {
    let (organization, time) = (town.organization(), Some(town.at));
    Receipt { organization, site: id(site), order, time, folded, destroyed: [].into() }
}

impl Kept {
    /// A card was revoked; `main` has confirmed, `branch` has not.
    fn new() -> (Self, Digest) {
        let mut town = Town::working();
        let order = town.done([revoke_card("hanako")], ONE);
        let said = receipt(&town, "main", order, town.head().size);
        let receipts = vec![envelope_by_services(&said, &["main"])];
        let subject = Some(Subject { order, confirmed: [id("main")].into() });
        (Self { checkpoint: joined(&town), town, subject, receipts, more: vec![] }, order)
    }

    fn file(&self) -> Vec<u8> {
        let (organization, checkpoint) = (self.town.organization(), self.checkpoint.clone());
        let mut file = Vec::new();
        let header = Header { version: VERSION, organization, checkpoint, order: self.subject.clone() };
        write_line(&mut file, &header).unwrap();
        let leaves = self.town.leaves.iter().map(|leaf| Line::Leaf(Bytes(leaf.as_bytes().to_vec())));
        let receipts = self.receipts.iter().cloned().map(Line::Receipt);
        for line in leaves.chain(receipts).chain(self.more.clone()) {
            write_line(&mut file, &line).unwrap();
        }
        file
    }

    fn report(&self) -> Report {
        let pinned = Pinned { organization: self.town.organization(), earlier: None };
        verify(self.file().as_slice(), &pinned, |_| ()).unwrap()
    }

    fn findings(&self) -> Vec<Finding> {
        self.report().findings
    }
}

#[test]
fn p_14_4_whatever_was_changed_in_the_evidence_of_an_order_is_named() {
    let main = id("main");
    // Another order: one of this ledger, and one of none.
    let (mut kept, order) = Kept::new();
    let other = kept.town.done([suspend("jiro")], ONE);
    kept.checkpoint = joined(&kept.town);
    kept.subject = Some(Subject { order: other, confirmed: [main].into() });
    let of_other = Finding::ReceiptOfOtherOrder { site: main, order };
    assert_eq!(kept.findings(), [of_other.clone(), Finding::ReceiptMissing { site: main }]);
    let none = Digest::of(b"none");
    kept.subject = Some(Subject { order: none, confirmed: [].into() });
    assert_eq!(kept.findings(), [of_other, Finding::OrderMissing { order: none }]);
    // One that ends nothing calls for no receipt.
    let (mut kept, _) = Kept::new();
    let ends_nothing = kept.town.done([enrol("sakura:second")], &["kenji", "midori"]);
    kept.checkpoint = joined(&kept.town);
    kept.receipts.clear();
    kept.subject = Some(Subject { order: ends_nothing, confirmed: [].into() });
    assert_eq!(kept.findings(), [Finding::OrderMissing { order: ends_nothing }]);

    // A receipt with another site's key, or another time.
    let (mut kept, order) = Kept::new();
    let said: Receipt = kept.receipts[0].statement().unwrap();
    let forged = Finding::ReceiptForged { site: Some(main), order: Some(order) };
    kept.receipts[0] = envelope_by_services(&said, &["branch"]);
    assert_eq!(kept.findings(), vec![forged.clone()]);
    let (mut kept, _) = Kept::new();
    let earlier = Receipt { time: Some(said.time.unwrap() - 60_000), ..said };
    kept.receipts[0].payload = envelope_by_services(&earlier, &["main"]).payload;
    assert_eq!(kept.findings(), vec![forged]);
    // Taken out.
    kept.receipts.clear();
    assert_eq!(kept.findings(), [Finding::ReceiptMissing { site: main }]);

    // No cosignature; and a leaf too few for the order.
    let (mut kept, _) = Kept::new();
    kept.checkpoint = kept.town.seen();
    assert_eq!(kept.findings(), [Finding::CheckpointNotSigned { signer: "ca" }]);
    let (mut kept, order) = Kept::new();
    let have = kept.town.head().size - 1;
    kept.town.leaves.pop();
    let missing = Finding::LeavesMissing { have, size: have + 1 };
    assert_eq!(kept.findings(), [missing, Finding::OrderMissing { order }]);
}

#[test]
fn p_14_4_evidence_of_an_order_has_no_journals() {
    let (mut kept, _) = Kept::new();
    let row = Row {
        index: 0,
        time: T0,
        card: card_id("hanako"),
        member: id("hanako"),
        grant: grant_id("hanako", "tax"),
        unit: id("tax"),
        file: Digest::of(b"file"),
        previous: Digest::of(b"none"),
    };
    kept.more = vec![Line::Row(JournalRow { site: id("main"), journal: id("journal"), row })];
    let pinned = Pinned { organization: kept.town.organization(), earlier: None };
    let refused = verify(kept.file().as_slice(), &pinned, |_| ()).err().unwrap();
    assert!(matches!(refused, FileError::Line { line } if line == kept.town.leaves.len() as u64 + 3));
    // Of a file with everything, it is a row that nobody signed.
    kept.subject = None;
    assert!(!kept.findings().is_empty());
}

#[test]
fn p_14_4_evidence_says_who_has_not_confirmed_and_by_when_their_leases_are_over() {
    let (kept, order) = Kept::new();
    let report = kept.report();
    assert_eq!(report.findings, []);
    let shown = report.order.unwrap();
    let lease = kept.town.state.policy().lease_ms;
    let head = kept.town.head();
    assert_eq!((shown.index, shown.at, shown.envelope.digest()), (head.size - 1, kept.town.at, order));
    assert_eq!(shown.leases_end, kept.town.at + lease);
    assert!(!shown.outstanding.contains(&id("main")));
    assert!(shown.outstanding.contains(&id("branch")));

    // A longer lease of before may run on, where nobody has heard of the shorter one.
    let mut town = Town::working();
    let policy = |lease_ms| Act::PolicyChanged { policy: policy_with(&town, lease_ms) };
    let (longer, shorter) = (policy(DAY), policy(10 * MINUTE));
    town.done([longer], TWO);
    town.done([shorter], TWO);
    let changed = town.at;
    let order = town.done([revoke_card("hanako")], ONE);
    let subject = Some(Subject { order, confirmed: [].into() });
    let kept = Kept { checkpoint: joined(&town), town, subject, receipts: vec![], more: vec![] };
    let report = kept.report();
    assert_eq!(report.findings, []);
    assert_eq!(report.order.unwrap().leases_end, changed + DAY);
}

fn policy_with(town: &Town, lease_ms: u64) -> Policy {
    let mut policy = town.state.policy().clone();
    policy.lease_ms = lease_ms;
    policy
}

/// P-8.6: a former key of a site signs no receipt for an order that stands on more of the ledger than it was the site's key for.
#[test]
fn p_8_6_a_former_key_of_a_site_makes_no_receipts_for_later_orders() {
    let mut town = Town::working();
    let until = town.head().size;
    town.done([rotated(ServiceId::Site(id("main")), "main 2")], TWO);
    let order = town.done([revoke_card("hanako")], ONE);
    let kept = |town: &Town, by: &str, folded: u64| Kept {
        receipts: vec![envelope_by_services(&receipt(town, "main", order, folded), &[by])],
        checkpoint: joined(town),
        town: replayed(town),
        subject: None,
        more: vec![],
    };
    let outdated = Finding::ReceiptOutdated { site: id("main"), order };
    let forged = Finding::ReceiptForged { site: Some(id("main")), order: Some(order) };
    assert_eq!(kept(&town, "main", until).findings(), [outdated]);
    assert_eq!(kept(&town, "main", until + 1).findings(), [forged]);
    assert_eq!(kept(&town, "main 2", until + 1).findings(), []);
}

/// A head that is not in the ledger yet, by a key that the site had before: not of a time at which it had another one.
#[test]
fn p_14_2_a_former_key_of_a_site_signs_no_later_heads() {
    let mut town = Town::working();
    town.done([rotated(ServiceId::Site(id("main")), "main 2")], TWO);
    let replaced_at = town.at;
    let journal = id("journal");
    let start = Position::start(&town.organization(), &id("main"), &journal);
    let row = Row {
        index: 0,
        time: T0,
        card: card_id("hanako"),
        member: id("hanako"),
        grant: grant_id("hanako", "tax"),
        unit: id("tax"),
        file: Digest::of(b"file"),
        previous: start.head,
    };
    let head = |by: &str, time: u64| {
        let (size, signature) = (1, Base64([0; 64]));
        let mut head = SignedHead { site: id("main"), journal, size, head: row.hash(), time, signature };
        let digest = head.digest(&town.organization());
        let signed: Signature = key(&format!("{by} signing")).sign_prehash(digest.as_bytes()).unwrap();
        head.signature = Base64(signed.to_bytes().into());
        head
    };
    let findings = |head: SignedHead| {
        let row = JournalRow { site: id("main"), journal, row: row.clone() };
        let more = vec![Line::Head(head), Line::Row(row)];
        let (checkpoint, town) = (joined(&town), replayed(&town));
        Kept { town, checkpoint, subject: None, receipts: vec![], more }.findings()
    };
    assert_eq!(findings(head("main", replaced_at - 1)), []);
    assert_eq!(findings(head("main 2", replaced_at + 1)), []);
    let forged = findings(head("main", replaced_at));
    assert_eq!(forged[0], Finding::HeadForged { site: id("main") });
}

fn replayed(town: &Town) -> Town {
    let mut again = Town::founded();
    for leaf in &town.leaves[1..] {
        again.state = again.state.apply(leaf).unwrap();
        again.leaves.push(leaf.clone());
    }
    again.at = town.at;
    again
}

#[test]
fn p_14_4_a_site_that_has_just_left_may_not_know_it() {
    for (later, outstanding) in [(0, true), (9 * MINUTE, true), (10 * MINUTE, false)] {
        let mut town = Town::working();
        town.done([Act::SiteRemoved { site: id("branch") }], TWO);
        town.at += later;
        let order = town.done([revoke_card("hanako")], ONE);
        let said = receipt(&town, "main", order, town.head().size);
        let receipts = vec![envelope_by_services(&said, &["main"])];
        let subject = Some(Subject { order, confirmed: [id("main")].into() });
        let kept = Kept { checkpoint: joined(&town), town, subject, receipts, more: vec![] };
        let found = kept.report().order.unwrap();
        assert_eq!(found.outstanding.contains(&id("branch")), outstanding, "{later} ms later");
    }
}
