//! Taking a delivery's file out of the box: it appears whole, and as it was sent, or not at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use warifu_api::wire::agent::{AgentFault, FetchRequest, Fetched};
use warifu_api::wire::deliveries::{DeliveryState, part_length, parts_of};
use warifu_envelope::{Overwrite, WholeError, write_whole};
use warifu_ledger::delivery::{SUFFIX, is_file_name};
use warifu_ledger::{Digest, Id};

use super::carrying::may_pass;
use super::inbox::{Lying, all, shown};
use super::{Holder, fetched};
use crate::agent::Agent;
use crate::fault;
use crate::opening::Measured;
use crate::platform::private_folder;
use crate::sources::while_open;

/// How often a part is asked for again where the connection breaks, and how long after.
const TRIES: usize = 12;
const PAUSE: Duration = Duration::from_secs(1);

/// Takes a file out: of a delivery whose sender is proved, or that came without a card's signature and was admitted.
pub(crate) async fn fetch(agent: &Arc<Agent>, request: FetchRequest) -> Result<Fetched, AgentFault> {
    if request.to.as_deref().is_some_and(|path| !Path::new(path).is_absolute()) {
        return Err(AgentFault::Malformed { why: "paths have to be absolute".to_owned() });
    }
    let holders = Holder::all(agent).await?;
    let lying = all(agent, &holders).await?;
    let found = shown(lying, &request.id, &request.said, None)?;
    if let DeliveryState::Quarantined { .. } = found.told.state {
        return Err(AgentFault::NotLookedAt);
    }
    let holder = holders.get(found.holder).ok_or(AgentFault::CardRemoved)?;
    let path = place(agent, &request, &found)?;
    let overwrite = if request.to.is_some() { Overwrite::Refuse } else { Overwrite::Replace };
    let digest = found.digest.ok_or(AgentFault::NoSuchDelivery)?;
    let taking = Taking { id: found.told.id, size: found.told.size, digest };
    while_open(&holder.ending, taking.take(agent, holder, path.clone(), overwrite)).await??;
    Ok(Fetched { path: path.to_string_lossy().into_owned(), bytes: found.told.size })
}

/// Where it is written to. What its sender calls it is a name in that folder and no path, or it is not used.
fn place(agent: &Agent, request: &FetchRequest, found: &Lying) -> Result<PathBuf, AgentFault> {
    let name = written_as(&found.told.name)?;
    let folder = match &request.to {
        Some(folder) => PathBuf::from(folder),
        None => {
            let folder = fetched(&agent.config).join(found.told.said.to_string());
            private_folder(&folder)
                .map_err(|error| AgentFault::OutputUnwritable { why: error.to_string() })?;
            folder
        }
    };
    Ok(folder.join(name))
}

/// What a file is written as that its sender calls so; whatever a kms lets through.
fn written_as(name: &str) -> Result<String, AgentFault> {
    if !is_file_name(name) {
        return Err(AgentFault::FileNameUnfit);
    }
    Ok(if name.ends_with(SUFFIX) { name.to_owned() } else { format!("{name}{SUFFIX}") })
}

/// A file on its way out of the box.
struct Taking {
    id: Id,
    size: u64,
    digest: Digest,
}

/// What goes to the thread that writes.
enum Piece {
    Bytes(Bytes),
    /// All of it was sent.
    End,
}

/// Why it was not written.
#[derive(Debug, thiserror::Error)]
enum NotWritten {
    #[error(transparent)]
    Whole(#[from] WholeError),
    #[error("the file cannot be written")]
    Write(#[from] std::io::Error),
    #[error("the file did not come whole")]
    Torn,
    #[error("the file that came is another one than was sent")]
    OtherFile,
}

impl Taking {
    async fn take(
        &self,
        agent: &Arc<Agent>,
        holder: &Holder,
        path: PathBuf,
        overwrite: Overwrite,
    ) -> Result<(), AgentFault> {
        let (pieces, arriving) = mpsc::channel(2);
        let digest = self.digest;
        let writing = tokio::task::spawn_blocking(move || write(&path, overwrite, digest, arriving));
        let mut measured = Measured::new(&agent.carrying, self.size);
        let sent = self.parts(holder, &pieces, &mut measured).await;
        if sent.is_ok() {
            let _ = pieces.send(Piece::End).await;
        }
        drop(pieces);
        let written = writing.await.unwrap_or(Err(NotWritten::Torn));
        // What went wrong at the box says more than that nothing was written.
        sent?;
        written.map_err(|error| match error {
            NotWritten::Whole(WholeError::Exists { .. }) => AgentFault::OutputExists,
            NotWritten::OtherFile => AgentFault::NotTrustworthy { why: error.to_string() },
            other => AgentFault::OutputUnwritable { why: fault::chain(&other) },
        })
    }

    async fn parts(
        &self,
        holder: &Holder,
        pieces: &mpsc::Sender<Piece>,
        measured: &mut Measured<'_>,
    ) -> Result<(), AgentFault> {
        for part in 0..parts_of(self.size) {
            let bytes = self.part(holder, part).await?;
            measured.add(bytes.len() as u64);
            if pieces.send(Piece::Bytes(bytes)).await.is_err() {
                // Whoever writes says why.
                break;
            }
        }
        Ok(())
    }

    async fn part(&self, holder: &Holder, part: u64) -> Result<Bytes, AgentFault> {
        let path = format!("/v1/deliveries/{}/parts/{part}", self.id);
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match holder.kms.get_bytes(&path).await {
                Ok(bytes) if part_length(self.size, part) == Some(bytes.len() as u64) => return Ok(bytes),
                Ok(_) => {
                    let why = "a part has another length".to_owned();
                    return Err(AgentFault::NotTrustworthy { why });
                }
                Err(error) => error,
            };
            let passes = error.code().is_none_or(may_pass);
            if !passes || tries >= TRIES {
                return Err(fault::of_authority(error));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn write(
    path: &Path,
    overwrite: Overwrite,
    digest: Digest,
    mut arriving: mpsc::Receiver<Piece>,
) -> Result<(), NotWritten> {
    write_whole(path, overwrite, |output| {
        let mut found = Sha256::new();
        loop {
            match arriving.blocking_recv() {
                Some(Piece::Bytes(bytes)) => {
                    found.update(&bytes);
                    output.write_all(&bytes)?;
                }
                Some(Piece::End) => break,
                None => return Err(NotWritten::Torn),
            }
        }
        if Digest(found.finalize().into()) == digest { Ok(()) } else { Err(NotWritten::OtherFile) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it was written, and what is in the folder then.
    fn written(pieces: Vec<Piece>, digest: Digest, before: Option<&[u8]>) -> (Result<(), String>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("名簿.csv.age");
        before.iter().for_each(|bytes| std::fs::write(&path, bytes).unwrap());
        let (sender, arriving) = mpsc::channel(8);
        pieces.into_iter().for_each(|piece| sender.try_send(piece).map_err(drop).unwrap());
        drop(sender);
        let done = write(&path, Overwrite::Refuse, digest, arriving).map_err(|error| error.to_string());
        assert!(std::fs::read_dir(folder.path()).unwrap().count() <= 1, "nothing else is left behind");
        (done, std::fs::read(&path).unwrap_or_default())
    }

    fn bytes(text: &'static str) -> Piece {
        Piece::Bytes(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn p_17_1_a_file_is_written_whole_and_as_it_was_signed_or_not_at_all() {
        let digest = Digest::of(b"abcd");
        let whole = written(vec![bytes("ab"), bytes("cd"), Piece::End], digest, None);
        assert_eq!(whole, (Ok(()), b"abcd".to_vec()));
        for pieces in [
            vec![bytes("ab"), bytes("ce"), Piece::End],
            vec![bytes("ab"), Piece::End],
            vec![bytes("ab"), bytes("cd")],
            vec![],
        ] {
            let (done, left) = written(pieces, digest, None);
            assert!(done.is_err() && left.is_empty(), "{done:?}");
        }
        let (done, left) = written(vec![bytes("ab"), bytes("cd"), Piece::End], digest, Some(b"mine"));
        assert!(done.is_err());
        assert_eq!(left, b"mine", "what was there stays");
    }

    #[test]
    fn what_is_more_than_a_name_is_written_nowhere() {
        for (name, written) in
            [("名簿.csv.age", "名簿.csv.age"), ("名簿.csv", "名簿.csv.age"), ("-rf", "-rf.age")]
        {
            assert_eq!(written_as(name), Ok(written.to_owned()));
        }
        let too_long = "a".repeat(4096);
        for name in
            ["../x.age", "/etc/passwd", "..", "a/b.age", "a\\b.age", "a\n.age", "a\u{1b}[2J", "", &too_long]
        {
            assert_eq!(written_as(name), Err(AgentFault::FileNameUnfit), "{name:?}");
        }
    }
}
