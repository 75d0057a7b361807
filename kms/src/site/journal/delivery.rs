//! The journal on its way to the kms, after the fact; and, once after each start, whether it is the journal that the kms and the
//! ledger know (P-13.4).
//!
//! A database that was lost or put back from a copy lacks rows that somebody else has. To go on in the same journal would
//! write other rows in their places; so such a site begins another journal, which everybody sees.

use std::sync::Arc;
use std::time::Duration;

use warifu_api::wire::audit::{JournalRows, JournalTaken, OwnJournals};
use warifu_ledger::Id;
use warifu_ledger::journal::{Position, SignedHead};
use warifu_ledger::key::Base64;
use warifu_ledger::state::State;

use super::CHUNK;
use crate::site::error::SiteError;
use crate::site::service::Core;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Rows come in bunches: one signature is for all of them.
const GATHERING: Duration = Duration::from_secs(1);

impl Core {
    /// Compares the journal, and sends what the kms lacks of it, now and whenever it grows.
    pub(in crate::site) async fn deliver_journal(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        let mut sent = loop {
            match self.compare_journal().await {
                Ok(Some(sent)) => break sent,
                Ok(None) => tracing::debug!("the journal waits for a lease to be compared"),
                Err(error) => tracing::debug!(%error, "the journal waits to be compared"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        self.recorder.compared();
        pause = FIRST_PAUSE;
        loop {
            match self.send_rows(&mut sent).await {
                Ok(true) => pause = FIRST_PAUSE,
                Ok(false) => {
                    pause = FIRST_PAUSE;
                    self.recorder.written.notified().await;
                    tokio::time::sleep(GATHERING).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "rows of the journal wait");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// One try of that, for a simulator; `sent` is none before the journal was compared.
    #[cfg(debug_assertions)]
    pub(in crate::site) async fn deliver_journal_once(
        &self,
        sent: &mut Option<u64>,
    ) -> Result<(), SiteError> {
        if sent.is_none() {
            *sent = self.compare_journal().await?;
        }
        if let Some(sent) = sent {
            self.recorder.compared();
            self.send_rows(sent).await?;
        }
        Ok(())
    }

    /// Whether the journal is the one that the kms and the ledger have the beginning of; if not, begins another one. How many of
    /// its rows the kms has. None without a lease: nothing is answered then; with one, all is folded that could have been
    /// committed before this start.
    async fn compare_journal(&self) -> Result<Option<u64>, SiteError> {
        let Some(now) = self.now().filter(|now| now.time.is_some()) else { return Ok(None) };
        let site = self.site_id(&now.state).ok_or(SiteError::NotJoined)?;
        let here: OwnJournals = self.kms.get("/v1/journal").await?;
        let own = self.journal.id().await?;
        let sent = here.journals.last().filter(|last| last.journal == own).map_or(0, |last| last.size);
        if self.goes_on(&now.state, site, own, &here).await? {
            return Ok(Some(sent));
        }
        tracing::error!(journal = %own, "the database is an older copy, or was changed: another audit journal is begun");
        self.journal.begin_anew().await?;
        Ok(Some(0))
    }

    async fn goes_on(&self, state: &State, site: Id, own: Id, here: &OwnJournals) -> Result<bool, SiteError> {
        let mut known: Vec<(bool, Position)> = Vec::new();
        for (place, journal) in here.journals.iter().enumerate() {
            if journal.journal == own {
                let position = Position { size: journal.size, head: journal.head };
                known.push((place + 1 == here.journals.len(), position));
            }
        }
        if let Some(committed) = state.journals(&site) {
            known.extend((committed.current == own).then_some((true, committed.head)));
            known.extend(committed.former.get(&own).map(|position| (false, *position)));
        }
        for (is_current, position) in known {
            if !is_current || !self.journal.has(position).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends the next rows; whether there were any.
    async fn send_rows(&self, sent: &mut u64) -> Result<bool, SiteError> {
        let stored = self.journal.stored(*sent, CHUNK).await?;
        let Some(last) = stored.last() else { return Ok(false) };
        let end = Position { size: last.row.index.saturating_add(1), head: last.hash };
        let head = self.signed_head(self.journal.id().await?, end).await?;
        let rows = stored.into_iter().map(|stored| stored.row).collect();
        let taken: JournalTaken = self.kms.post("/v1/journal", &JournalRows { rows, head }).await?;
        if let Some(row) = taken.broken_at {
            tracing::error!(
                row,
                "the kms finds a row of the audit journal changed: another journal is begun"
            );
            self.journal.begin_anew().await?;
            *sent = 0;
            return Ok(true);
        }
        // A kms that was restored from a backup has fewer of them than it had.
        let moved = taken.size != *sent;
        *sent = taken.size;
        Ok(moved)
    }

    async fn signed_head(&self, journal: Id, end: Position) -> Result<SignedHead, SiteError> {
        let now = self.now().ok_or(SiteError::NotJoined)?;
        let site = self.site_id(&now.state).ok_or(SiteError::NotJoined)?;
        let time = now.time.unwrap_or(now.state.last_at());
        let signature = Base64([0; 64]);
        let mut head = SignedHead { site, journal, size: end.size, head: end.head, time, signature };
        head.signature = Base64(self.signature(head.digest(&now.state.organization())).await?);
        Ok(head)
    }
}
