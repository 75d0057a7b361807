//! Verifying a file: every leaf folded, both signatures of the checkpoint, receipts and journals by the keys that the ledger names.

use std::io::BufRead;

use warifu_ledger::ahead::{self, Ahead, Checked};
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::SignedHead;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::Record;
use warifu_ledger::state::{Refused, Rejected, State};
use warifu_ledger::statement::{Fact, FactBody, HalfHolder, Millis, Receipt, ServiceId};
use warifu_ledger::{Digest, Id};

use crate::file::{FileError, JournalRow, Line, Reader};
use crate::journals::Journals;
use crate::order::{OrderReport, Orders};

/// How many leaves are checked at once.
const AT_ONCE: usize = 1000;

/// What is known beforehand, and not from the file.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// The digest of the founding, as it was written down.
    pub organization: Digest,
    /// A checkpoint note that was kept from before, if there is one: what it covers has to be in the file unchanged.
    pub earlier: Option<String>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The file is of another organization.
    OtherOrganization {
        /// Which.
        found: Digest,
    },
    /// A leaf that the fold refuses: nothing behind it counts.
    LedgerRefused {
        /// Its index.
        index: u64,
        /// Why; none if it cannot be read as a leaf.
        why: Option<Rejected>,
    },
    /// The checkpoint is not signed by the kms, or not by the ca, that the ledger names.
    CheckpointNotSigned {
        /// Whose signature is missing or wrong.
        signer: &'static str,
    },
    /// Checkpoint and leaves are two different ledgers, both of which somebody signed or keeps: a fork.
    Forked {
        /// Leaves of the checkpoint that the leaves contradict.
        size: u64,
    },
    /// Leaves are missing that the checkpoint covers.
    LeavesMissing {
        /// Leaves in the file.
        have: u64,
        /// Leaves under the checkpoint.
        size: u64,
    },
    /// Leaves that the checkpoint does not cover.
    LeavesUncovered {
        /// Leaves in the file.
        have: u64,
        /// Leaves under the checkpoint.
        size: u64,
    },
    /// The ledger has fewer leaves than it had: it was rolled back.
    RolledBack {
        /// Leaves in the file.
        have: u64,
        /// Leaves under the earlier checkpoint.
        earlier: u64,
    },
    /// The earlier checkpoint is none of this organization.
    EarlierNotSigned,
    /// A receipt that the site did not sign.
    ReceiptForged {
        /// The site that it names; none if it cannot be read.
        site: Option<Id>,
        /// The order that it names.
        order: Option<Digest>,
    },
    /// A receipt by a key that was not the site's any more where the order stands in the ledger.
    ReceiptOutdated {
        /// The site that it names.
        site: Id,
        /// The order that it names.
        order: Digest,
    },
    /// The file is evidence of an order that is not in its ledger, or that no site confirms.
    OrderMissing {
        /// The order.
        order: Digest,
    },
    /// The file is evidence of one order, and this receipt is for another one.
    ReceiptOfOtherOrder {
        /// The site.
        site: Id,
        /// The order that it is for.
        order: Digest,
    },
    /// The file says that it has this site's receipt, and has it not.
    ReceiptMissing {
        /// The site.
        site: Id,
    },
    /// A head of a journal that the site did not sign.
    HeadForged {
        /// The site that it names.
        site: Id,
    },
    /// A row of a journal was changed: one of these.
    RowChanged {
        /// The site.
        site: Id,
        /// Its journal.
        journal: Id,
        /// The first that it may be.
        first: u64,
        /// The last that it may be.
        last: u64,
    },
    /// Rows of a journal are missing.
    RowsMissing {
        /// The site.
        site: Id,
        /// Its journal.
        journal: Id,
        /// The first of them.
        from: u64,
        /// The first after them.
        to: u64,
    },
    /// Rows of a journal that no signed head covers.
    RowsUnsigned {
        /// The site.
        site: Id,
        /// Its journal.
        journal: Id,
        /// The first of them.
        from: u64,
        /// The first after them.
        to: u64,
    },
}

/// What a file shows.
pub struct Report {
    /// What is not as it should be; if there is nothing, the file is what the organization's ca, kms and sites have signed.
    pub findings: Vec<Finding>,
    /// What the ledger comes to, as far as it can be folded.
    pub state: Option<State>,
    /// Receipts that their sites signed.
    pub receipts: Vec<Receipt>,
    /// All rows, whether they are proved or not.
    pub rows: Vec<JournalRow>,
    /// Sites that have begun another journal, with the one that they gave up and its rows in the ledger: seen by everybody, and to
    /// be explained.
    pub given_up: Vec<(Id, Id, u64)>,
    /// When the last leaf was appended.
    pub until: Millis,
    /// What it shows of the order that it is evidence of; none of a file with everything.
    pub order: Option<OrderReport>,
    /// The records of the register, which name nothing until they were held against their commitments.
    pub records: Vec<Record>,
}

/// Verifies a file against what is pinned. `seen` is given every leaf that folds.
///
/// # Errors
/// [`FileError`] where it is no such file; whatever else is wrong is a finding.
pub fn verify(
    input: impl BufRead,
    pinned: &Pinned,
    mut seen: impl FnMut(&Leaf),
) -> Result<Report, FileError> {
    let mut file = Reader::open(input)?;
    let header = file.header().clone();
    let mut read = Read { orders: Orders::of(header.order.clone()), ..Read::default() };
    if header.organization != pinned.organization {
        read.findings.push(Finding::OtherOrganization { found: header.organization });
    }
    while let Some(line) = file.next_line()? {
        match line {
            Line::Leaf(bytes) => {
                read.leaves.push(bytes.0);
                if read.leaves.len() >= AT_ONCE {
                    read.fold(pinned, &mut seen);
                }
            }
            Line::Receipt(envelope) => read.receipts.push(envelope),
            Line::Row(row) => read.rows.push(row),
            Line::Head(head) => read.heads.push(head),
            Line::Record(record) => read.records.push(record),
        }
    }
    read.fold(pinned, &mut seen);
    Ok(read.report(&header.checkpoint, pinned))
}

#[derive(Default)]
struct Read {
    findings: Vec<Finding>,
    state: Option<State>,
    /// Leaves that are not folded yet.
    leaves: Vec<Vec<u8>>,
    folded: u64,
    ahead: Ahead,
    /// When each leaf was appended.
    times: Vec<Millis>,
    refused: bool,
    journals: Journals,
    orders: Orders,
    receipts: Vec<Envelope>,
    rows: Vec<JournalRow>,
    heads: Vec<SignedHead>,
    records: Vec<Record>,
}

impl Read {
    /// Folds the leaves that were read, up to the first that is refused.
    fn fold(&mut self, pinned: &Pinned, seen: &mut impl FnMut(&Leaf)) {
        let leaves = std::mem::take(&mut self.leaves);
        if self.refused {
            return;
        }
        let mut refused = None;
        let mut checked = Vec::with_capacity(leaves.len());
        for leaf in self.ahead.read(self.state.as_ref(), leaves) {
            match leaf {
                Ok(leaf) => checked.push(leaf),
                Err(_) => {
                    refused = Some(None);
                    break;
                }
            }
        }
        let before = self.state.take();
        let mut folded = ahead::fold(before.as_ref(), &checked);
        if let Err(Refused { place, why }) = folded {
            refused = Some(Some(why));
            checked.truncate(place);
            folded = ahead::fold(before.as_ref(), &checked);
        }
        self.state = folded.unwrap_or(before);
        if let Some(state) = &self.state
            && self.folded == 0
            && state.organization() != pinned.organization
        {
            self.findings.push(Finding::OtherOrganization { found: state.organization() });
        }
        for leaf in checked.iter().map(Checked::leaf) {
            if let Ok(Fact { fact: FactBody::JournalsBatched { heads }, .. }) = leaf.envelope().statement() {
                heads.iter().for_each(|head| self.journals.head(head));
            }
            seen(leaf);
            self.times.push(leaf.at());
            self.orders.leaf(leaf, self.folded);
            self.folded += 1;
        }
        if let Some(why) = refused {
            self.findings.push(Finding::LedgerRefused { index: self.folded, why });
            self.refused = true;
        }
    }

    fn report(mut self, checkpoint: &str, pinned: &Pinned) -> Report {
        let Some(state) = self.state.take() else {
            if !self.refused {
                self.findings.push(Finding::LeavesMissing { have: 0, size: 1 });
            }
            let Self { findings, rows, records, .. } = self;
            let (receipts, given_up) = (Vec::new(), Vec::new());
            return Report {
                findings,
                state: None,
                receipts,
                rows,
                given_up,
                until: 0,
                order: None,
                records,
            };
        };
        if !self.refused {
            self.check_checkpoint(&state, checkpoint);
        }
        if let Some(earlier) = &pinned.earlier {
            self.check_earlier(&state, earlier);
        }
        let receipts = self.check_receipts(&state);
        if !self.orders.is_of_one() {
            self.check_journals(&state);
        }
        let order = std::mem::take(&mut self.orders).report(&receipts, &mut self.findings);
        let given_up = state
            .sites()
            .filter_map(|(site, _)| Some((site, state.journals(site)?)))
            .flat_map(|(site, journals)| {
                journals.former.iter().map(|(journal, end)| (*site, *journal, end.size))
            })
            .collect();
        let Self { findings, rows, records, .. } = self;
        let until = state.last_at();
        Report { findings, until, state: Some(state), receipts, rows, given_up, order, records }
    }

    /// Signed by both, and of exactly these leaves.
    fn check_checkpoint(&mut self, state: &State, note: &str) {
        let organization = state.organization();
        let signers =
            [(Signer::Kms, HalfHolder::Kms), (Signer::Ca, HalfHolder::Ca)].map(|(signer, service)| {
                let key = state.keys_of(service).log;
                let read = key.and_then(|key| Checkpoint::verify(note, &organization, signer, &key).ok());
                (service.name(), read)
            });
        for (signer, read) in signers {
            let Some(checkpoint) = read else {
                self.findings.push(Finding::CheckpointNotSigned { signer });
                continue;
            };
            let (have, size) = (state.tree().size(), checkpoint.size);
            let finding = match state.tree().root(size) {
                Err(_) => Finding::LeavesMissing { have, size },
                Ok(root) if root != checkpoint.root => Finding::Forked { size },
                Ok(_) if size < have => Finding::LeavesUncovered { have, size },
                Ok(_) => continue,
            };
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
    }

    /// Signed by one of both, by whatever key it ever had, and of a beginning of these leaves.
    fn check_earlier(&mut self, state: &State, note: &str) {
        let organization = state.organization();
        let read = [(Signer::Kms, HalfHolder::Kms), (Signer::Ca, HalfHolder::Ca)].into_iter().find_map(
            |(signer, service)| {
                let former = state.former_keys(service).map(|(_, keys)| keys);
                former
                    .chain([state.keys_of(service)])
                    .filter_map(|keys| keys.log)
                    .find_map(|key| Checkpoint::verify(note, &organization, signer, &key).ok())
            },
        );
        let Some(earlier) = read else { return self.findings.push(Finding::EarlierNotSigned) };
        match state.tree().root(earlier.size) {
            Err(_) => {
                let have = state.tree().size();
                self.findings.push(Finding::RolledBack { have, earlier: earlier.size });
            }
            Ok(root) if root != earlier.root => self.findings.push(Finding::Forked { size: earlier.size }),
            Ok(_) => {}
        }
    }

    fn check_receipts(&mut self, state: &State) -> Vec<Receipt> {
        let mut sound = Vec::new();
        for envelope in std::mem::take(&mut self.receipts) {
            let said = envelope.statement::<Receipt>().ok();
            // The key that the site had when it had folded so much.
            let keys = said.as_ref().and_then(|said| state.site_keys_at(&said.site, said.folded));
            let key = keys.map(|keys| keys.signing);
            let receipt = key.and_then(|key| envelope.verified::<Receipt>(&key).ok());
            match receipt.filter(|receipt| receipt.organization == state.organization()) {
                Some(receipt) if !self.orders.has_read_enough(&receipt) => {
                    let Receipt { site, order, .. } = receipt;
                    self.findings.push(Finding::ReceiptOutdated { site, order });
                }
                Some(receipt) => sound.push(receipt),
                None => self.findings.push(Finding::ReceiptForged {
                    site: said.as_ref().map(|said| said.site),
                    order: said.map(|said| said.order),
                }),
            }
        }
        sound
    }

    fn check_journals(&mut self, state: &State) {
        let organization = state.organization();
        for head in std::mem::take(&mut self.heads) {
            // A former key signs nothing after the leaf that put another one in its place.
            let replaced_at = |leaf: u64| usize::try_from(leaf).ok().and_then(|leaf| self.times.get(leaf));
            let former = state
                .former_keys(ServiceId::Site(head.site))
                .filter(|(until, _)| replaced_at(*until).is_some_and(|at| head.time < *at))
                .map(|(_, keys)| keys.signing);
            let now = state.site(&head.site).map(|site| site.keys.signing);
            if former.chain(now).any(|key| head.is_signed(&organization, &key)) {
                self.journals.head(&head);
            } else {
                self.findings.push(Finding::HeadForged { site: head.site });
            }
        }
        for row in &self.rows {
            self.journals.row(&organization, row, &mut self.findings);
        }
        self.journals.finish(&mut self.findings);
    }
}
