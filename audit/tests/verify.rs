//! What is not as it was signed is named; first each forgery, then what is sound (P-14.1 to P-14.3).
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
    FileError, Finding, Header, JournalRow, Line, Pinned, Report, VERSION, verify, write_line,
};
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::{Position, Row, SignedHead};
use warifu_ledger::key::{Base64, Bytes};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{FactBody, Receipt};

use fixture::*;

/// An organization's history, and what of it goes into a file.
struct Kept {
    town: Town,
    checkpoint: String,
    leaves: Vec<Leaf>,
    receipts: Vec<Envelope>,
    rows: Vec<Row>,
    heads: Vec<SignedHead>,
}

fn head(town: &Town, rows: &[Row]) -> SignedHead {
    let (journal, last) = (id("journal"), rows.last().unwrap());
    let signature = Base64([0; 64]);
    let size = last.index + 1;
    let mut head = SignedHead { site: id("main"), journal, size, head: last.hash(), time: T0, signature };
    let signed: Signature =
        key("main signing").sign_prehash(head.digest(&town.organization()).as_bytes()).unwrap();
    head.signature = Base64(signed.to_bytes().into());
    head
}

fn joined(town: &Town) -> String {
    let (organization, head) = (town.organization(), town.head());
    Checkpoint::join(&note(&organization, &head, Signer::Kms), &note(&organization, &head, Signer::Ca))
        .unwrap()
}

/// Rows of `main`: four are in the ledger, at two heads, and one has a head that is not there yet.
fn rows(town: &Town) -> Vec<Row> {
    let mut position = Position::start(&town.organization(), &id("main"), &id("journal"));
    (0..5)
        .map(|index| {
            let row = Row {
                index,
                time: T0 + index,
                card: card_id("hanako"),
                member: id("hanako"),
                grant: grant_id("hanako", "tax"),
                unit: id("tax"),
                file: Digest::of(&[u8::try_from(index).unwrap()]),
                previous: position.head,
            };
            position = position.after(&row).unwrap();
            row
        })
        .collect()
}

impl Kept {
    fn new() -> Self {
        let mut town = Town::working();
        let rows = rows(&town);
        for size in [2, 4] {
            let heads = vec![head(&town, &rows[..size])];
            town.append(town.fact(FactBody::JournalsBatched { heads }, &["ca", "kms"])).unwrap();
        }
        let order = town.done([revoke_card("hanako")], ONE);
        let receipts =
            ["main", "branch"].map(|site| envelope_by_services(&receipt(&town, site, order), &[site]));
        let heads = vec![head(&town, &rows)];
        let (checkpoint, leaves) = (joined(&town), town.leaves.clone());
        Self { town, checkpoint, leaves, receipts: receipts.to_vec(), rows, heads }
    }

    fn file(&self) -> Vec<u8> {
        let organization = self.town.organization();
        let header =
            Header { version: VERSION, organization, checkpoint: self.checkpoint.clone(), order: None };
        let mut file = Vec::new();
        write_line(&mut file, &header).unwrap();
        let leaves = self.leaves.iter().map(|leaf| Line::Leaf(Bytes(leaf.as_bytes().to_vec())));
        let receipts = self.receipts.iter().cloned().map(Line::Receipt);
        let heads = self.heads.iter().cloned().map(Line::Head);
        let rows = self
            .rows
            .iter()
            .cloned()
            .map(|row| Line::Row(JournalRow { site: id("main"), journal: id("journal"), row }));
        let record = std::iter::once(Line::Record(record("hanako")));
        for line in rows.chain(leaves).chain(receipts).chain(heads).chain(record) {
            write_line(&mut file, &line).unwrap();
        }
        file
    }

    fn pinned(&self) -> Pinned {
        Pinned { organization: self.town.organization(), earlier: None }
    }

    fn report(&self) -> Report {
        verify(self.file().as_slice(), &self.pinned(), |_| ()).unwrap()
    }

    fn findings(&self) -> Vec<Finding> {
        self.report().findings
    }

    fn after(&self, earlier: String) -> Vec<Finding> {
        let pinned = Pinned { earlier: Some(earlier), ..self.pinned() };
        verify(self.file().as_slice(), &pinned, |_| ()).unwrap().findings
    }
}

fn receipt(town: &Town, site: &str, order: Digest) -> Receipt {
    Receipt {
        organization: town.organization(),
        site: id(site),
        order,
        time: Some(town.at),
        folded: town.head().size,
        destroyed: [grant_id("hanako", "tax")].into(),
    }
}

fn changed(first: u64, last: u64) -> Finding {
    Finding::RowChanged { site: id("main"), journal: id("journal"), first, last }
}

#[test]
fn p_14_2_a_forked_ledger_is_named() {
    let mut kept = Kept::new();
    let size = kept.town.head().size;
    // Another last leaf, under the checkpoint of the first one.
    let mut other = Kept::new();
    let mut forked = Town::working();
    for leaf in &kept.leaves[forked.leaves.len()..kept.leaves.len() - 1] {
        forked.append(leaf.envelope().clone()).unwrap();
    }
    forked.done([revoke_card("jiro")], ONE);
    kept.leaves = forked.leaves.clone();
    assert_eq!(kept.findings(), [Finding::Forked { size }]);
    // Signed anew by both, it is sound by itself; whoever kept a checkpoint knows better.
    let earlier = std::mem::replace(&mut kept.checkpoint, joined(&forked));
    assert_eq!(kept.findings(), []);
    assert_eq!(kept.after(earlier), [Finding::Forked { size }]);
    // Signed by the kms alone, it is the kms's own.
    other.checkpoint = note(&other.town.organization(), &other.town.head(), Signer::Kms);
    assert_eq!(other.findings(), [Finding::CheckpointNotSigned { signer: "ca" }]);
    other.checkpoint = note(&other.town.organization(), &other.town.head(), Signer::Ca);
    assert_eq!(other.findings(), [Finding::CheckpointNotSigned { signer: "kms" }]);
}

#[test]
fn p_14_2_a_ledger_that_was_rolled_back_is_named() {
    let mut kept = Kept::new();
    let (size, earlier) = (kept.town.head().size, kept.checkpoint.clone());
    kept.leaves.pop();
    let have = size - 1;
    assert_eq!(kept.findings(), [Finding::LeavesMissing { have, size }]);
    let mut shorter = Town::working();
    for leaf in &kept.leaves[shorter.leaves.len()..] {
        shorter.append(leaf.envelope().clone()).unwrap();
    }
    kept.checkpoint = joined(&shorter);
    assert_eq!(kept.findings(), []);
    assert_eq!(kept.after(earlier), [Finding::RolledBack { have, earlier: size }]);
    assert_eq!(kept.after("nothing".to_owned()), [Finding::EarlierNotSigned]);
    let forged = note_with("mallory", &kept.town.organization(), &kept.town.head(), Signer::Kms);
    assert_eq!(kept.after(forged), [Finding::EarlierNotSigned]);
    // A leaf too many: nobody signed for it.
    let mut longer = Kept::new();
    longer.town.done([revoke_card("jiro")], ONE);
    longer.leaves = longer.town.leaves.clone();
    assert_eq!(longer.findings(), [Finding::LeavesUncovered { have: size + 1, size }]);
}

#[test]
fn p_14_2_a_leaf_that_the_fold_refuses_is_named() {
    let mut kept = Kept::new();
    let at = kept.leaves.len() - 2;
    kept.leaves.remove(at);
    let findings = kept.findings();
    assert!(
        matches!(findings[0], Finding::LeavesMissing { .. } | Finding::LedgerRefused { .. }),
        "{findings:?}"
    );
    let mut kept = Kept::new();
    let index = kept.leaves.len() - 1;
    let mut envelope = kept.leaves[index].envelope().clone();
    envelope.signatures[0].sig.0[9] ^= 1;
    kept.leaves[index] = Leaf::new(kept.leaves[index].at(), envelope).unwrap();
    let findings = kept.findings();
    let refused = |finding: &Finding| matches!(finding, Finding::LedgerRefused { index: at, why: Some(_) } if *at == index as u64);
    assert!(findings.iter().any(refused), "{findings:?}");
}

#[test]
fn p_14_2_a_file_of_another_organization_is_named() {
    let kept = Kept::new();
    let pinned = Pinned { organization: Digest::of(b"another"), earlier: None };
    let report = verify(kept.file().as_slice(), &pinned, |_| ()).unwrap();
    let found = kept.town.organization();
    assert_eq!(report.findings, [Finding::OtherOrganization { found }, Finding::OtherOrganization { found }]);
}

#[test]
fn p_14_2_a_forged_receipt_is_named() {
    let mut kept = Kept::new();
    let said: Receipt = kept.receipts[0].statement().unwrap();
    let forged = Finding::ReceiptForged { site: Some(id("main")), order: Some(said.order) };
    kept.receipts[0] = envelope_by_services(&said, &["branch"]);
    assert_eq!(kept.findings(), vec![forged.clone()]);
    kept.receipts[0].payload.0.push(b' ');
    assert_eq!(kept.findings(), vec![forged.clone()]);
    let other = Receipt { organization: Digest::of(b"another"), ..said.clone() };
    kept.receipts[0] = envelope_by_services(&other, &["main"]);
    assert_eq!(kept.findings(), [forged]);
    kept.receipts[0] = envelope_by_services(&Receipt { site: id("nobody"), ..said.clone() }, &["main"]);
    let nobody = Finding::ReceiptForged { site: Some(id("nobody")), order: Some(said.order) };
    assert_eq!(kept.findings(), [nobody]);
    assert_eq!(kept.report().receipts.len(), 1);
}

#[test]
fn p_14_2_a_changed_row_is_named() {
    // As it lies there.
    for row in 0..5 {
        let mut kept = Kept::new();
        kept.rows[row].card = card_id("jiro");
        let found = kept.findings();
        let at = row as u64;
        assert!(
            matches!(found[..], [Finding::RowChanged { first, last, .. }] if first <= at && at <= last),
            "{found:?}"
        );
        if [0, 2].contains(&row) {
            assert_eq!(found, [changed(at, at)]);
        }
    }
    // With the chain made to fit, it lies between two heads.
    let mut kept = Kept::new();
    kept.rows[2].card = card_id("jiro");
    kept.rows[3].previous = kept.rows[2].hash();
    kept.rows[4].previous = kept.rows[3].hash();
    assert_eq!(kept.findings(), [changed(2, 3)]);
    // A row of another time put in.
    let mut kept = Kept::new();
    let row = kept.rows[0].clone();
    kept.rows.insert(1, row);
    assert_eq!(kept.findings(), [changed(1, 1)]);
}

#[test]
fn p_14_2_missing_rows_are_named() {
    let missing = |from, to| Finding::RowsMissing { site: id("main"), journal: id("journal"), from, to };
    let mut kept = Kept::new();
    kept.rows.remove(1);
    assert_eq!(kept.findings(), [missing(1, 2)]);
    let mut kept = Kept::new();
    // The last one is not in the ledger yet, and the site has signed it.
    kept.rows.truncate(4);
    assert_eq!(kept.findings(), [missing(4, 5)]);
    kept.rows.truncate(3);
    assert_eq!(kept.findings(), [missing(3, 5)]);
    kept.rows.clear();
    assert_eq!(kept.findings(), [missing(0, 5)]);
    // What came after the last head in the ledger has the site's own signature, or is nobody's.
    let mut kept = Kept::new();
    kept.heads.clear();
    let unsigned = Finding::RowsUnsigned { site: id("main"), journal: id("journal"), from: 4, to: 5 };
    assert_eq!(kept.findings(), vec![unsigned.clone()]);
    kept.heads = vec![SignedHead { time: 7, ..head(&kept.town, &kept.rows) }];
    assert_eq!(kept.findings(), [Finding::HeadForged { site: id("main") }, unsigned]);
}

#[test]
fn p_14_1_what_is_no_such_file_is_refused_with_its_line() {
    let kept = Kept::new();
    let refused = |bytes: &[u8]| verify(bytes, &kept.pinned(), |_| ()).err().unwrap();
    for bytes in [&b""[..], b"{}\n", b"[]\n", b"\xff\n", b"{\"warifu-audit\":1}\n"] {
        assert!(matches!(refused(bytes), FileError::NotOne), "{bytes:?}");
    }
    assert!(matches!(refused(b"{\"warifu-audit\":2}\n"), FileError::Version { version: 2 }));
    let file = kept.file();
    // Cut off in the middle.
    assert!(matches!(refused(&file[..file.len() - 1]), FileError::Line { .. }));
    for line in ["{\"leaf\":\"\",\"row\":1}", "{\"more\":1}", "{}", "{\"leaf\":\"!\"}", "nonsense", ""] {
        let first = file.iter().position(|b| *b == b'\n').unwrap() + 1;
        let bytes = [&file[..first], line.as_bytes(), b"\n"].concat();
        assert!(matches!(refused(&bytes), FileError::Line { line: 2 }), "{line}");
    }
}

#[test]
fn p_14_3_what_everybody_signed_is_sound() {
    let kept = Kept::new();
    let report = kept.report();
    assert_eq!(report.findings, []);
    assert_eq!((report.rows.len(), report.receipts.len(), report.records.len()), (5, 2, 1));
    assert_eq!(report.state.unwrap().tree().size(), kept.town.head().size);
    assert_eq!(report.given_up, []);
    let mut leaves = 0;
    let earlier = note(
        &kept.town.organization(),
        &Checkpoint { size: 3, root: kept.town.state.tree().root(3).unwrap() },
        Signer::Kms,
    );
    let pinned = Pinned { earlier: Some(earlier), ..kept.pinned() };
    let report = verify(kept.file().as_slice(), &pinned, |_| leaves += 1).unwrap();
    assert_eq!((report.findings, leaves), (vec![], kept.leaves.len()));
}
