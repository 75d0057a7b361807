//! Objects as files. Each is written beside its place, and takes that at once.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use warifu_ledger::Id;

use crate::authority::blocking;
use crate::authority::deliveries::{NotDelivered, Result};

/// Where parts lie: `ID/PART`.
pub(crate) struct Folder {
    folder: PathBuf,
}

impl Folder {
    /// Opens the folder, making it if it is not there.
    pub(super) fn open(folder: PathBuf) -> Result<Self> {
        match fs::create_dir_all(&folder) {
            Ok(()) => Ok(Self { folder }),
            Err(source) => Err(NotDelivered::Folder { folder, source }.into()),
        }
    }

    /// What is free on the disk, in bytes; all that can be, where the system does not say.
    pub(super) fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.folder);
        disk.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    pub(super) async fn put(&self, delivery: &Id, part: u64, bytes: Bytes) -> Result<()> {
        let (of, path) = (self.of(delivery), self.part(delivery, part));
        self.work(path, move |path| {
            fs::create_dir_all(&of)?;
            // Somebody else may be writing the same part.
            let unfinished = path.with_extension(format!("{:016x}", getrandom::u64().unwrap_or_default()));
            let written = File::create(&unfinished).and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_all()?;
                fs::rename(&unfinished, path)
            });
            if written.is_err() {
                // A full disk is not to be filled by what failed on it; if it cannot be deleted, what failed is what counts.
                let _ = fs::remove_file(&unfinished);
            }
            written?;
            sync(&of)?;
            of.parent().map_or(Ok(()), sync)
        })
        .await
    }

    pub(super) async fn get(&self, delivery: &Id, part: u64) -> Result<Bytes> {
        self.work(self.part(delivery, part), |path| fs::read(path).map(Bytes::from)).await
    }

    pub(super) async fn delete(&self, delivery: &Id) -> Result<()> {
        self.work(self.of(delivery), |of| match fs::remove_dir_all(of) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    pub(super) async fn kept(&self) -> Result<BTreeSet<Id>> {
        self.work(self.folder.clone(), |folder| {
            let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
            Ok(entries.iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
        })
        .await
    }

    fn of(&self, delivery: &Id) -> PathBuf {
        self.folder.join(delivery.to_string())
    }

    fn part(&self, delivery: &Id, part: u64) -> PathBuf {
        self.of(delivery).join(part.to_string())
    }

    async fn work<T: Send + 'static>(
        &self,
        path: PathBuf,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        blocking(move || Ok(work(&path).map_err(|source| NotDelivered::File { path, source })?)).await
    }
}

/// What is in a folder is there after a power cut.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
