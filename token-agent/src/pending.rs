//! A file whose header has been read, and nothing that depends on a key.

use std::fs::File;
use std::path::{Path, PathBuf};

use warifu_api::wire::agent::AgentFault;
use warifu_envelope::{Sealed, TagStanza, read_header as header_of};
use warifu_ledger::Digest;

use crate::fault;
use crate::platform::open_regular;

/// The most stanzas of files that are routed together, so that headers made for it neither fill the memory nor keep the processor busy.
const STANZAS_AT_ONCE: usize = 1 << 16;

/// A file whose header has been read.
pub(crate) struct Pending {
    pub(crate) sealed: Sealed<File>,
    pub(crate) stanzas: Vec<TagStanza>,
    pub(crate) length: u64,
}

/// Reads the headers of files, in their order.
pub(crate) async fn read_headers(paths: Vec<PathBuf>) -> Vec<Result<Pending, AgentFault>> {
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        files.push(read_header(path).await);
    }
    files
}

async fn read_header(path: PathBuf) -> Result<Pending, AgentFault> {
    let read = tokio::task::spawn_blocking(move || {
        let unreadable = |error: std::io::Error| AgentFault::FileUnreadable { why: error.to_string() };
        let file = open_regular(&path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let sealed = Sealed::read(file).map_err(fault::of_header)?;
        let stanzas = sealed.header().tag_stanzas().map_err(fault::of_header)?;
        Ok(Pending { sealed, stanzas, length })
    });
    read.await.unwrap_or_else(|error| Err(AgentFault::FileUnreadable { why: error.to_string() }))
}

/// The stanzas of a file that bear the tag of a unit's key: all that routing needs of it. The file is not kept open.
pub(crate) struct Stanzas(pub(crate) Vec<TagStanza>);

impl Stanzas {
    /// SHA-256 over the digests of the stanzas: what of the file a person agrees to route.
    pub(crate) fn digest(&self) -> Digest {
        let digests: Vec<u8> = self.0.iter().flat_map(TagStanza::digest).collect();
        Digest::of(&digests)
    }
}

/// Reads the stanzas of files, in their order.
pub(crate) async fn read_stanzas(paths: Vec<PathBuf>) -> Vec<Result<Stanzas, AgentFault>> {
    let mut room = STANZAS_AT_ONCE;
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let read = tokio::task::spawn_blocking(move || stanzas_of(&path)).await;
        let read = read.unwrap_or_else(|error| Err(AgentFault::FileUnreadable { why: error.to_string() }));
        files.push(read.and_then(|stanzas| {
            room = room.checked_sub(stanzas.0.len()).ok_or(AgentFault::TooManyRecipients)?;
            Ok(stanzas)
        }));
    }
    files
}

fn stanzas_of(path: &Path) -> Result<Stanzas, AgentFault> {
    let file = open_regular(path).map_err(|error| AgentFault::FileUnreadable { why: error.to_string() })?;
    header_of(file).and_then(|header| header.tag_stanzas()).map(Stanzas).map_err(fault::of_header)
}
