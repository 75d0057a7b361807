//! The journals in a file, against the heads that sites signed and the ledger has.

use std::collections::BTreeMap;

use warifu_ledger::journal::{Position, SignedHead};
use warifu_ledger::{Digest, Id};

use crate::file::JournalRow;
use crate::verify::Finding;

/// The journals of all sites, read row by row.
#[derive(Default)]
pub(crate) struct Journals(BTreeMap<(Id, Id), Journal>);

#[derive(Default)]
struct Journal {
    /// Rows to which signed heads come: from the ledger, or brought along by the site.
    heads: BTreeMap<u64, Vec<Digest>>,
    here: Option<Position>,
    /// It was found broken, and nothing more is said of it.
    broken: bool,
    /// Rows up to which all is as it was signed.
    proved: u64,
}

impl Journals {
    /// A head that counts: in the ledger, or with the site's signature.
    pub(crate) fn head(&mut self, head: &SignedHead) {
        let journal = self.0.entry((head.site, head.journal)).or_default();
        journal.heads.entry(head.size).or_default().push(head.head);
    }

    /// The next row.
    pub(crate) fn row(&mut self, organization: &Digest, line: &JournalRow, findings: &mut Vec<Finding>) {
        let JournalRow { site, journal, row } = line;
        let found = self.0.entry((*site, *journal)).or_default();
        if found.broken {
            return;
        }
        let here = found.here.unwrap_or(Position::start(organization, site, journal));
        let (site, journal) = (*site, *journal);
        let next = match here.after(row) {
            Ok(next) => next,
            Err(_) if row.index > here.size => {
                findings.push(Finding::RowsMissing { site, journal, from: here.size, to: row.index });
                found.broken = true;
                return;
            }
            Err(broken) => {
                findings.push(Finding::RowChanged { site, journal, first: broken.index, last: broken.index });
                found.broken = true;
                return;
            }
        };
        found.here = Some(next);
        let Some(heads) = found.heads.get(&next.size) else { return };
        if heads.iter().any(|head| *head != next.head) {
            // The chain was made to fit: the change is behind the last head that fits.
            findings.push(Finding::RowChanged { site, journal, first: found.proved, last: row.index });
            found.broken = true;
        } else {
            found.proved = next.size;
        }
    }

    /// What is missing at the end, or has no head.
    pub(crate) fn finish(&self, findings: &mut Vec<Finding>) {
        for ((site, journal), found) in self.0.iter().filter(|(_, found)| !found.broken) {
            let (site, journal) = (*site, *journal);
            let have = found.here.map_or(0, |here| here.size);
            // Whatever the site has signed, in the ledger or not yet.
            let wanted = found.heads.keys().max().copied().unwrap_or_default();
            if have < wanted {
                findings.push(Finding::RowsMissing { site, journal, from: have, to: wanted });
            } else if have > found.proved {
                findings.push(Finding::RowsUnsigned { site, journal, from: found.proved, to: have });
            }
        }
    }
}
