//! What an auditor takes away: the ledger, the receipts and the audit journals in one file (`docs/protocol.md` section 14), and its
//! verification, offline, against the organization's founding alone. A file may be evidence of one order instead: without journals.
//!
//! Pure but for `Read` and `Write`. Nobody is believed who is not named by the ledger: not the kms that gave the file out, nor
//! whoever kept it since.

mod file;
mod journals;
mod order;
mod verify;

pub use file::{
    FileError, HEADER_LIMIT, Header, JournalRow, LINE_LIMIT, Line, Reader, Subject, VERSION, write_line,
};
pub use order::OrderReport;
pub use verify::{Finding, Pinned, Report, verify};
