//! Sealing a file that is to be delivered, as a stream: its plaintext is read once and written nowhere.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use warifu_api::wire::agent::AgentFault;
use warifu_envelope::{SealError, seal};
use warifu_ledger::Digest;
use warifu_split_key::point::Point;

use crate::fault;
use crate::opening::Measured;
use crate::platform::open_regular;

/// What a card signs of a sealed file.
pub(super) struct Sealed {
    /// The ciphertext's length, in bytes.
    pub(super) size: u64,
    /// Its SHA-256.
    pub(super) digest: Digest,
}

/// Seals a file to keys, and ends early where the card goes meanwhile. What was written until then is of no use.
pub(super) fn seal_file(
    path: &Path,
    keys: &[Point],
    output: File,
    ending: &watch::Receiver<bool>,
    measured: &mut Measured<'_>,
) -> Result<Sealed, AgentFault> {
    let unreadable = |error: io::Error| AgentFault::FileUnreadable { why: error.to_string() };
    let unwritable =
        |error: &dyn std::error::Error| AgentFault::OutputUnwritable { why: fault::chain(error) };
    let input = Stoppable { input: open_regular(path).map_err(unreadable)?, ending, measured };
    let mut output = Digested { output, digest: Sha256::new(), size: 0 };
    match seal(keys, false, input, &mut output) {
        Ok(_) => {}
        Err(_) if *ending.borrow() => return Err(AgentFault::CardRemoved),
        Err(SealError::Read(error)) => return Err(unreadable(error)),
        Err(error) => return Err(unwritable(&error)),
    }
    output.output.sync_all().map_err(|error| unwritable(&error))?;
    Ok(Sealed { size: output.size, digest: Digest(output.digest.finalize().into()) })
}

struct Stoppable<'a, 'b> {
    input: File,
    ending: &'a watch::Receiver<bool>,
    measured: &'a mut Measured<'b>,
}

impl Read for Stoppable<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if *self.ending.borrow() {
            return Err(io::Error::other("the card is gone"));
        }
        let count = self.input.read(buffer)?;
        self.measured.add(count as u64);
        Ok(count)
    }
}

struct Digested {
    output: File,
    digest: Sha256,
    size: u64,
}

impl Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.digest.update(bytes.get(..count).unwrap_or_default());
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
