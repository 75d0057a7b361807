//! A file whose header has been read, and nothing that depends on a key.

use std::fs::File;
use std::path::PathBuf;

use warifu_api::wire::agent::AgentFault;
use warifu_envelope::{Sealed, TagStanza};
use warifu_ledger::Digest;

use crate::fault;
use crate::platform::open_regular;

/// A file whose header has been read.
pub(crate) struct Pending {
    pub(crate) sealed: Sealed<File>,
    pub(crate) stanzas: Vec<TagStanza>,
    pub(crate) length: u64,
}

impl Pending {
    /// SHA-256 over the digests of its stanzas: what of the file a person agrees to route.
    pub(crate) fn digest(&self) -> Digest {
        let digests: Vec<u8> = self.stanzas.iter().flat_map(TagStanza::digest).collect();
        Digest::of(&digests)
    }
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
