//! The audit journals of sites: how the kms authority collects them, and how auditors read them (`docs/protocol.md` section 13).
//!
//! | method and path | who | request → answer |
//! |---|---|---|
//! | `GET /v1/journal` | site, also one that has left | → [`OwnJournals`]: what of its own journals is here |
//! | `POST /v1/journal` | site, also one that has left | [`JournalRows`] → [`JournalTaken`] |
//! | `GET /v1/journals/batch` | ca | → [`JournalBatch`]: the fact that commits heads, signed by the kms, once it is due |
//! | `GET /v1/audit/journals?from=N` | an auditor's or officer's card | → [`Journals`], at most 500 |
//! | `GET /v1/audit/alarms?from=N` | an auditor's or officer's card | → [`JournalAlarms`], at most 500 |
//! | `GET /v1/audit/journals/{site}/{journal}?from=N` | an auditor's or officer's card | → [`Rows`], at most 2,000 |
//! | `GET /v1/audit/files/{file}` | an auditor's or officer's card | → [`Openings`]: every partial for that file, the first 10,000 |
//! | `GET /v1/audit/receipts?from=N` | an auditor's or officer's card | → [`KeptReceipts`], at most 500 |
//!
//! Nothing here has a name: those are in the register.

use serde::{Deserialize, Serialize};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::{Row, SignedHead};
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use super::at_most;

/// The most rows in one [`JournalRows`] or [`Rows`].
pub const ROWS_LIMIT: usize = 2_000;
/// The most openings in one [`Openings`].
pub const OPENINGS_LIMIT: usize = 10_000;
/// The most journals in one [`Journals`].
pub const JOURNALS_LIMIT: usize = 500;
/// The most alarms in one [`JournalAlarms`].
pub const ALARMS_LIMIT: usize = 500;
/// The most receipts in one [`KeptReceipts`].
pub const RECEIPTS_LIMIT: usize = 500;

/// What the kms has of a site's journals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnJournals {
    /// In the order in which they were begun; the last one is the one that grows.
    pub journals: Vec<OwnJournal>,
}

/// How much of one journal the kms has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnJournal {
    /// The journal.
    pub journal: Id,
    /// Rows.
    pub size: u64,
    /// The hash of the last one.
    pub head: Digest,
}

/// Consecutive rows of a journal, and the site's signature over the journal up to the last of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalRows {
    /// The rows, at least one.
    #[serde(deserialize_with = "at_most::<_, _, ROWS_LIMIT>")]
    pub rows: Vec<Row>,
    /// The head after them.
    pub head: SignedHead,
}

/// What became of [`JournalRows`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalTaken {
    /// How many rows of the journal the kms has now: those that come next begin there.
    pub size: u64,
    /// The first row that cannot be what was written, if the rows do not follow what is here or do not end in the head. None of
    /// them was taken, and none ever is: the site begins another journal (P-13.4).
    pub broken_at: Option<u64>,
}

/// Heads that are to be committed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalBatch {
    /// `Envelope` of a `Fact`, signed by the kms; none while nothing is due.
    pub fact: Option<Envelope>,
}

/// Journals that are here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journals {
    /// In the order in which they were begun.
    #[serde(deserialize_with = "at_most::<_, _, JOURNALS_LIMIT>")]
    pub journals: Vec<CollectedJournal>,
    /// Where to read on; none after the last.
    pub next: Option<u64>,
}

/// What was found wrong with journals.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalAlarms {
    /// In the order in which they were found.
    #[serde(deserialize_with = "at_most::<_, _, ALARMS_LIMIT>")]
    pub alarms: Vec<JournalAlarm>,
    /// Where to read on; none after the last.
    pub next: Option<u64>,
}

/// A journal as it is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectedJournal {
    /// Whose it is.
    pub site: Id,
    /// Its newest head.
    pub head: SignedHead,
    /// When the last rows came.
    pub received_at: Millis,
}

/// Something that no honest journal does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalAlarm {
    /// Whose journal.
    pub site: Id,
    /// The journal.
    pub journal: Id,
    /// What it is.
    pub kind: AlarmKind,
    /// The row: the first that is not what was written, or the number of rows of the journal that was given up.
    pub row: u64,
    /// When it was found, by the kms's time.
    pub at: Millis,
}

/// What can be wrong with a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// Rows do not follow those that came before, or do not end in the head that the site signed: one was changed.
    Broken,
    /// The site has begun another journal after this one: it lost its database, has an older copy of it, or its rows broke.
    GivenUp,
}

impl AlarmKind {
    /// As it is written on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::GivenUp => "given-up",
        }
    }
}

/// A piece of a journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// Consecutive rows.
    #[serde(deserialize_with = "at_most::<_, _, ROWS_LIMIT>")]
    pub rows: Vec<Row>,
}

/// Every partial that was given for a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Openings {
    /// By time.
    #[serde(deserialize_with = "at_most::<_, _, OPENINGS_LIMIT>")]
    pub openings: Vec<Opening>,
}

/// One partial.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The site that gave it.
    pub site: Id,
    /// In which of its journals the row stands.
    pub journal: Id,
    /// The row.
    pub row: Row,
}

/// Receipts that are here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptReceipts {
    /// `Envelope`s of `Receipt`, in the order in which they came.
    #[serde(deserialize_with = "at_most::<_, _, RECEIPTS_LIMIT>")]
    pub receipts: Vec<Envelope>,
    /// Where to read on; none after the last.
    pub next: Option<u64>,
}
