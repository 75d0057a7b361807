//! The files of the box: each part of a delivery an object of its own, in a folder or in a bucket of S3. What is in them is sealed.
//!
//! An object is whole or not there, and durable once it is acknowledged.

use std::collections::BTreeSet;

use axum::body::Bytes;
use getrandom::SysRng;
use rand_core::{Rng as _, UnwrapErr};
use warifu_ledger::Id;

use super::{NotDelivered, Result};
use crate::authority::Config;

mod folder;
mod s3;

use folder::Folder;
use s3::Bucket;

pub use s3::S3Fault;

/// How many bytes are put to see whether they come back.
const PROBE: usize = 64;

/// Where parts lie.
pub(crate) enum Objects {
    Folder(Folder),
    Bucket(Bucket),
}

impl Objects {
    /// What is configured. A folder that is not there is made; nobody asks S3 yet.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        match (&config.deliveries.folder, &config.deliveries.s3) {
            (Some(_), Some(_)) => Err(NotDelivered::TwoPlaces.into()),
            (None, Some(settings)) => Ok(Self::Bucket(Bucket::open(settings)?)),
            (_, None) => Ok(Self::Folder(Folder::open(config.box_folder())?)),
        }
    }

    /// What is free, in bytes; all that can be, where nobody says.
    pub(crate) fn free(&self) -> u64 {
        match self {
            Self::Folder(folder) => folder.free(),
            Self::Bucket(_) => u64::MAX,
        }
    }

    /// Keeps a part in the place of what was kept of it before.
    pub(crate) async fn put(&self, delivery: &Id, part: u64, bytes: Bytes) -> Result<()> {
        match self {
            Self::Folder(folder) => folder.put(delivery, part, bytes).await,
            Self::Bucket(bucket) => bucket.put(delivery, part, bytes).await,
        }
    }

    /// The bytes of a part, which has so many.
    pub(crate) async fn get(&self, delivery: &Id, part: u64, length: u64) -> Result<Bytes> {
        let bytes = match self {
            Self::Folder(folder) => folder.get(delivery, part).await?,
            Self::Bucket(bucket) => bucket.get(delivery, part, length).await?,
        };
        match bytes.len() as u64 {
            there if there == length => Ok(bytes),
            there => Err(NotDelivered::OtherObject { part, length: there, put: length }.into()),
        }
    }

    /// Deletes all that is kept of a delivery. Once more changes nothing.
    pub(crate) async fn delete(&self, delivery: &Id) -> Result<()> {
        match self {
            Self::Folder(folder) => folder.delete(delivery).await,
            Self::Bucket(bucket) => bucket.delete(delivery).await,
        }
    }

    /// The deliveries of which anything is kept.
    pub(crate) async fn kept(&self) -> Result<BTreeSet<Id>> {
        match self {
            Self::Folder(folder) => folder.kept().await,
            Self::Bucket(bucket) => bucket.kept().await,
        }
    }

    /// Whether what is put here comes back, and can be deleted. What a crash leaves of it, the next sweep deletes: it is part of no
    /// delivery.
    pub(crate) async fn prove(&self) -> Result<()> {
        let (probe, mut drawn) = (Id::draw(&mut UnwrapErr(SysRng)), [0; PROBE]);
        UnwrapErr(SysRng).fill_bytes(&mut drawn);
        self.put(&probe, 0, Bytes::copy_from_slice(&drawn)).await?;
        let back = self.get(&probe, 0, PROBE as u64).await;
        self.delete(&probe).await?;
        if *back? == drawn { Ok(()) } else { Err(NotDelivered::OtherBytes.into()) }
    }
}
