//! The audit journals of sites: collected, checked, committed into the ledger, and shown to those who audit.
//!
//! A site's rows are taken only where they follow those that are here and end in the head that the site signed; so what is here
//! is, row by row, what sites have signed. What does not follow is kept as an alarm, with the row.

use std::sync::Arc;

use warifu_api::wire::audit::{
    ALARMS_LIMIT, AlarmKind, CollectedJournal, JOURNALS_LIMIT, JournalAlarm, JournalAlarms, JournalBatch,
    JournalRows, JournalTaken, Journals, KeptReceipts, OPENINGS_LIMIT, Openings, OwnJournal, OwnJournals,
    RECEIPTS_LIMIT, ROWS_LIMIT, Rows,
};
use warifu_ledger::journal::{BrokenAt, HEADS_LIMIT, Position, Row, SignedHead};
use warifu_ledger::state::{BEGUN_LIMIT, LONGEST_LEASE_MS, Rejected, State};
use warifu_ledger::statement::{Fact, FactBody};
use warifu_ledger::{Digest, Id};

use super::error::AuthorityError;
use super::role::OfReporter;
use super::store::KeptRows;
use super::{Authority, Result};

impl Authority {
    /// What is here of a site's own journals.
    pub(crate) async fn own_journals(&self, site: Id) -> Result<OwnJournals> {
        let journals = self.store.journals(&site).await?.into_iter().map(|journal| {
            let SignedHead { journal, size, head, .. } = journal.head;
            OwnJournal { journal, size, head }
        });
        Ok(OwnJournals { journals: journals.collect() })
    }

    /// Takes rows that follow what is here, of the journal that the site wrote last or of a new one.
    pub(crate) async fn journal_rows(
        &self,
        reporter: OfReporter,
        JournalRows { rows, head }: JournalRows,
    ) -> Result<JournalTaken> {
        let state = self.state()?;
        let (site, organization) = (reporter.site, state.organization());
        let keys = &state.site(&site).ok_or(AuthorityError::NotFound { what: "site" })?.keys;
        if head.site != site || !head.is_signed(&organization, &keys.signing) {
            return Err(AuthorityError::NotOneself);
        }
        let first = rows.first().ok_or(AuthorityError::Malformed { why: "no rows".to_owned() })?.index;
        let own = self.store.journals(&site).await?;
        let known = own.iter().position(|journal| journal.head.journal == head.journal);
        if known.is_some_and(|place| place + 1 < own.len()) {
            return Err(AuthorityError::JournalGivenUp);
        }
        if known.is_none() {
            may_begin(&state, &reporter, &own)?;
        }
        let before = match known.and_then(|place| own.get(place)) {
            Some(journal) => journal.head.position(),
            None => Position::start(&organization, &site, &head.journal),
        };
        if first != before.size {
            return Ok(JournalTaken { size: before.size, broken_at: None });
        }
        let now = self.now(&state);
        // No site's time is further ahead than its lease.
        let latest = now.saturating_add(LONGEST_LEASE_MS);
        if rows.iter().map(|row| row.time).chain([head.time]).any(|time| time > latest) {
            return Err(AuthorityError::Malformed { why: "a row of a time that is to come".to_owned() });
        }
        if let Err(BrokenAt { index }) = follows(before, &rows, &head) {
            tracing::error!(%site, journal = %head.journal, row = index, "ALARM: rows of an audit journal were changed");
            let (journal, kind) = (head.journal, AlarmKind::Broken);
            self.store.raise(&JournalAlarm { site, journal, kind, row: index, at: now }).await?;
            return Ok(JournalTaken { size: before.size, broken_at: Some(index) });
        }
        if known.is_none() && !own.is_empty() {
            tracing::error!(%site, journal = %head.journal, "ALARM: a site has begun another audit journal");
        }
        let kept = self.store.keep_rows(before, &KeptRows { rows: &rows, head: &head, now }).await?;
        Ok(JournalTaken { size: if kept { head.size } else { before.size }, broken_at: None })
    }

    /// The fact that commits the heads that wait, once the first of them has waited for long enough. Asked again, it has the
    /// newest ones.
    pub(crate) async fn journal_batch(self: &Arc<Self>) -> Result<JournalBatch> {
        let state = self.state()?;
        let now = self.now(&state);
        let waiting = self.store.waiting_heads().await?;
        let due = |since: u64| since.saturating_add(self.journal_ms) <= now;
        if !waiting.first().is_some_and(|(since, ..)| due(*since)) {
            return Ok(JournalBatch { fact: None });
        }
        let organization = state.organization();
        let fact = |heads| Fact { organization, fact: FactBody::JournalsBatched { heads } };
        let mut heads = Vec::new();
        let mut in_the_ledger = Vec::new();
        for (_, place, head) in waiting.into_iter().take(HEADS_LIMIT) {
            let committed = state.journals(&head.site).filter(|journals| journals.current == head.journal);
            if let Some(journals) = committed.filter(|journals| journals.head.size >= head.size) {
                // A crash came between the leaf and the note of it.
                in_the_ledger.push((head.site, head.journal, journals.head.size));
                continue;
            }
            match state.check_unsigned_fact(&fact(vec![head.clone()])) {
                Ok(()) => heads.push((place, head)),
                // The site has another key since: with its next rows it signs the journal anew.
                // Or it has begun so many journals that this one waits for another day.
                Err(Rejected::JournalNotSigned { .. } | Rejected::JournalsTooMany { .. }) => {}
                // Of a journal that was given up meanwhile.
                Err(_) => in_the_ledger.push((head.site, head.journal, head.size)),
            }
        }
        self.store.heads_committed(in_the_ledger, now).await?;
        if heads.is_empty() {
            return Ok(JournalBatch { fact: None });
        }
        // A site may have begun another journal within the hour: that comes after the one before. What of a site does not go together
        // goes one after the other, and keeps no other site waiting.
        heads.sort_by_key(|(place, head)| (head.site, *place));
        let heads: Vec<SignedHead> = heads.into_iter().map(|(_, head)| head).collect();
        let together = heads.chunk_by(|one, next| one.site == next.site).flat_map(|of_site| {
            let sound = state.check_unsigned_fact(&fact(of_site.to_vec())).is_ok();
            if sound { of_site } else { of_site.get(..1).unwrap_or_default() }
        });
        let fact = fact(together.cloned().collect());
        state.check_unsigned_fact(&fact)?;
        Ok(JournalBatch { fact: Some(self.sign(fact).await?) })
    }

    /// The heads, or the slips, of a fact that was appended wait no more.
    pub(super) async fn note_committed(&self, fact: &FactBody) {
        let Ok(state) = self.state() else { return };
        let noted = match fact {
            FactBody::JournalsBatched { heads } => {
                let heads = heads.iter().map(|head| (head.site, head.journal, head.size)).collect();
                self.store.heads_committed(heads, self.now(&state)).await
            }
            FactBody::SlipsBatched { slips } => self.store.slips_committed(slips).await,
            _ => Ok(()),
        };
        if let Err(error) = noted {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "what is in the ledger of journals or slips could not be noted");
        }
    }

    // For those who audit.

    pub(crate) async fn journals(&self, from: u64) -> Result<Journals> {
        let (journals, next) = page(self.store.all_journals(from, JOURNALS_LIMIT + 1).await?, JOURNALS_LIMIT);
        Ok(Journals { journals, next })
    }

    pub(crate) async fn journal_alarms(&self, from: u64) -> Result<JournalAlarms> {
        let (alarms, next) = page(self.store.journal_alarms(from, ALARMS_LIMIT + 1).await?, ALARMS_LIMIT);
        Ok(JournalAlarms { alarms, next })
    }

    pub(crate) async fn rows(&self, site: Id, journal: Id, from: u64) -> Result<Rows> {
        Ok(Rows { rows: self.store.journal_rows(&site, &journal, from, ROWS_LIMIT).await? })
    }

    pub(crate) async fn openings(&self, file: Digest) -> Result<Openings> {
        Ok(Openings { openings: self.store.openings(&file, OPENINGS_LIMIT).await? })
    }

    pub(crate) async fn all_receipts(&self, from: u64) -> Result<KeptReceipts> {
        let (receipts, next) = page(self.store.all_receipts(from, RECEIPTS_LIMIT + 1).await?, RECEIPTS_LIMIT);
        Ok(KeptReceipts { receipts, next })
    }
}

/// The first `limit` of what was found, and the place of what comes after them.
fn page<T>(mut found: Vec<(u64, T)>, limit: usize) -> (Vec<T>, Option<u64>) {
    let next = found.get(limit).map(|(place, _)| *place);
    found.truncate(limit);
    (found.into_iter().map(|(_, item)| item).collect(), next)
}

/// Whether a site may begin another journal: it waits for those that it began before to come into the ledger, which takes some a
/// day, and one that has left begins none (P-13.3).
fn may_begin(state: &State, reporter: &OfReporter, own: &[CollectedJournal]) -> Result<()> {
    let committed = |journal: &Id| {
        let all = state.journals(&reporter.site);
        all.is_some_and(|all| all.current == *journal || all.former.contains_key(journal))
    };
    let waiting = own.iter().filter(|journal| !committed(&journal.head.journal)).count();
    let may = if reporter.removed { own.is_empty() } else { waiting < BEGUN_LIMIT as usize };
    if may { Ok(()) } else { Err(AuthorityError::JournalsTooMany) }
}

/// Whether the rows follow what is here, one the other, and end in the head.
fn follows(before: Position, rows: &[Row], head: &SignedHead) -> std::result::Result<(), BrokenAt> {
    let end = rows.iter().try_fold(before, |position, row| position.after(row))?;
    if end == head.position() { Ok(()) } else { Err(BrokenAt { index: end.size.saturating_sub(1) }) }
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn a_page_says_where_the_next_one_begins() {
        let found = |places: &[u64]| places.iter().map(|place| (*place, *place)).collect::<Vec<_>>();
        assert_eq!(page(found(&[2, 5, 9]), 2), (vec![2, 5], Some(9)));
        assert_eq!(page(found(&[2, 5]), 2), (vec![2, 5], None));
        assert_eq!(page(found(&[]), 2), (vec![], None));
    }
}
