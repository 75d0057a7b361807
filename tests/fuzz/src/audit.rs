//! What auditors take away.

use std::sync::OnceLock;

use p256::ecdsa::Signature;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use warifu_audit::{Header, JournalRow, Line, Pinned, VERSION, verify, write_line};
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::journal::{Position, Row, SignedHead};
use warifu_ledger::key::{Base64, Bytes};
use warifu_ledger::statement::{FactBody, Receipt};

use crate::fixture::*;

struct Genuine {
    town: Town,
    rows: Vec<JournalRow>,
    receipt: Receipt,
    file: Vec<u8>,
}

fn genuine() -> &'static Genuine {
    static GENUINE: OnceLock<Genuine> = OnceLock::new();
    GENUINE.get_or_init(|| {
        let mut town = Town::working();
        let (organization, site, journal) = (town.organization(), id("main"), id("journal"));
        let mut position = Position::start(&organization, &site, &journal);
        let rows: Vec<JournalRow> = (0..3)
            .map(|index| {
                let row = Row {
                    index,
                    time: T0 + index,
                    card: card_id("hanako"),
                    member: id("hanako"),
                    grant: grant_id("hanako", "tax"),
                    unit: id("tax"),
                    file: Digest::of(b"a file"),
                    previous: position.head,
                };
                position = position.after(&row).unwrap();
                JournalRow { site, journal, row }
            })
            .collect();
        let Position { size, head } = position;
        let mut head = SignedHead { site, journal, size, head, time: T0, signature: Base64([0; 64]) };
        let signed: Signature =
            key("main signing").sign_prehash(head.digest(&organization).as_bytes()).unwrap();
        head.signature = Base64(signed.to_bytes().into());
        let heads = vec![head.clone()];
        town.append(town.fact(FactBody::JournalsBatched { heads }, &["ca", "kms"])).unwrap();
        let receipt = Receipt {
            organization,
            site,
            order: Digest::of(b"an order"),
            time: None,
            folded: 3,
            destroyed: ids(&["grant"]),
        };
        let end = town.head();
        let checkpoint =
            Checkpoint::join(&note(&organization, &end, Signer::Kms), &note(&organization, &end, Signer::Ca))
                .unwrap();
        let mut file = Vec::new();
        write_line(&mut file, &Header { version: VERSION, organization, checkpoint, order: None }).unwrap();
        let leaves = town.leaves.iter().map(|leaf| Line::Leaf(Bytes(leaf.as_bytes().to_vec())));
        let others = [
            Line::Receipt(envelope_by_services(&receipt, &["main"])),
            Line::Head(head),
            Line::Record(record("hanako")),
        ];
        for line in leaves.chain(rows.iter().cloned().map(Line::Row)).chain(others) {
            write_line(&mut file, &line).unwrap();
        }
        Genuine { town, rows, receipt, file }
    })
}

/// Where nothing is found, all leaves are those that were signed, and no row and no receipt is another.
pub(crate) fn file(data: &[u8]) -> bool {
    let genuine = genuine();
    let pinned = Pinned { organization: genuine.town.organization(), earlier: None };
    let Ok(report) = verify(data, &pinned, |_| ()) else { return false };
    if !report.findings.is_empty() {
        return false;
    }
    let state = report.state.expect("a sound file has a ledger");
    let (size, end) = (state.tree().size(), genuine.town.head());
    assert_eq!((size, state.tree().root(size).unwrap()), (end.size, end.root), "a forged ledger");
    // Evidence of one order has none.
    assert!(report.order.is_some() || report.rows == genuine.rows, "rows were changed, left out or put in");
    assert!(report.receipts.iter().all(|receipt| *receipt == genuine.receipt), "a forged receipt");
    true
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let file = &genuine().file;
    let without_rows = file.split_inclusive(|b| *b == b'\n').filter(|line| !line.starts_with(b"{\"row\""));
    vec![file.clone(), without_rows.flatten().copied().collect()]
}
