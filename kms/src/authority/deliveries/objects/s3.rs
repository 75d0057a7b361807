//! Objects in a bucket of S3, over the crate `object_store`: the one place that knows of it.
//!
//! Requests are signed (AWS Signature Version 4) with the SHA-256 of what is put. Each is tried a few times within a bounded time, and
//! what does not answer by then counts as not done: a part that S3 kept all the same is put once more, or swept.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path as File, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore as _, ObjectStoreExt as _, RetryConfig};
use serde::Deserialize;
use warifu_console::file;
use warifu_ledger::Id;
use zeroize::Zeroizing;

use crate::authority::config::S3Settings;
use crate::authority::deliveries::{NotDelivered, Result};

mod connections;

use connections::{Authorities, Connections, Endpoint};

/// How long S3 may take to answer a request, tries and pauses between them included; and for the bytes of an object once more.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often what failed is tried again, and for how long.
const TRIES_AGAIN: usize = 3;
const TRYING_AGAIN: Duration = Duration::from_secs(10);
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Why S3 does not keep, or give back, an object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum S3Fault {
    /// The endpoint is none, or would be spoken with in the clear.
    #[error("the endpoint is no address of an S3, or none with https")]
    Endpoint,
    /// The prefix is none.
    #[error("the prefix has steps that are empty, or characters that keys are not to have")]
    Prefix,
    /// The credentials file cannot be understood. What is in it is not shown.
    #[error("{path} has no access_key_id and secret_access_key")]
    Credentials {
        /// The file.
        path: PathBuf,
    },
    /// The file of authorities has no certificate.
    #[error("{path} has no certificates in PEM")]
    Authorities {
        /// The file.
        path: PathBuf,
    },
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
    /// The credentials are not known there, or do not allow it.
    #[error("S3 refuses the credentials")]
    Refused {
        /// What it said.
        #[source]
        source: object_store::Error,
    },
    /// The bucket, or what was put there, is not there.
    #[error("S3 does not have it")]
    Missing {
        /// What it said.
        #[source]
        source: object_store::Error,
    },
    /// It cannot be reached, or says something else.
    #[error("S3 does not work")]
    Failed {
        /// What is known of that.
        #[source]
        source: object_store::Error,
    },
    /// It does not answer in time.
    #[error("S3 did not answer within {} s", PATIENCE.as_secs())]
    Silent,
}

impl From<object_store::Error> for S3Fault {
    fn from(source: object_store::Error) -> Self {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        match source {
            PermissionDenied { .. } | Unauthenticated { .. } => Self::Refused { source },
            NotFound { .. } => Self::Missing { source },
            _ => Self::Failed { source },
        }
    }
}

/// Where parts lie: `PREFIX/ID/PART`.
pub(crate) struct Bucket {
    store: AmazonS3,
    prefix: Path,
}

/// The credentials file, in TOML.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    access_key_id: Zeroizing<String>,
    secret_access_key: Zeroizing<String>,
}

impl Credentials {
    fn read(path: &File) -> Result<Self> {
        file::must_be_its_owners(path)?;
        let text = Zeroizing::new(std::fs::read(path).map_err(file::fault(path))?);
        // What the parser says would show a line of it.
        let unusable = || S3Fault::Credentials { path: path.to_owned() };
        let text = std::str::from_utf8(&text).map_err(|_| unusable())?;
        Ok(toml::from_str(text).map_err(|_| unusable())?)
    }
}

impl Bucket {
    pub(super) fn open(settings: &S3Settings) -> Result<Self> {
        let credentials = Credentials::read(&settings.credentials_file)?;
        let endpoint = Endpoint::parse(&settings.endpoint)?;
        let prefix = Path::parse(&settings.prefix).map_err(|_| S3Fault::Prefix)?;
        let authorities = settings.ca_file.as_deref().map(authorities).transpose()?;
        let connections = Connections::new(endpoint, authorities.as_ref())?;
        let (init_backoff, max_backoff) = PAUSES;
        let backoff = BackoffConfig { init_backoff, max_backoff, base: 2.0 };
        let store = AmazonS3Builder::new()
            .with_endpoint(settings.endpoint.trim_end_matches('/'))
            .with_allow_http(true)
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_access_key_id(credentials.access_key_id.as_str())
            .with_secret_access_key(credentials.secret_access_key.as_str())
            .with_retry(RetryConfig { backoff, max_retries: TRIES_AGAIN, retry_timeout: TRYING_AGAIN })
            .with_http_connector(connections)
            .build()
            .map_err(S3Fault::from)?;
        Ok(Self { store, prefix })
    }

    pub(super) async fn put(&self, delivery: &Id, part: u64, bytes: Bytes) -> Result<()> {
        in_time(self.store.put(&self.part(delivery, part), bytes.into())).await?;
        Ok(())
    }

    /// The bytes of a part, if it has so many: no others are taken into memory.
    pub(super) async fn get(&self, delivery: &Id, part: u64, put: u64) -> Result<Bytes> {
        let found = in_time(self.store.get(&self.part(delivery, part))).await?;
        match found.meta.size {
            length if length == put => Ok(in_time(found.bytes()).await?),
            length => Err(NotDelivered::OtherObject { part, length, put }.into()),
        }
    }

    pub(super) async fn delete(&self, delivery: &Id) -> Result<()> {
        let found = self.store.list(Some(&self.of(delivery)));
        let mut deleted = self.store.delete_stream(found.map_ok(|object| object.location).boxed());
        while in_time(deleted.try_next()).await?.is_some() {}
        Ok(())
    }

    pub(super) async fn kept(&self) -> Result<BTreeSet<Id>> {
        let listed = in_time(self.store.list_with_delimiter(Some(&self.prefix))).await?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    fn of(&self, delivery: &Id) -> Path {
        self.prefix.clone().join(delivery.to_string())
    }

    fn part(&self, delivery: &Id, part: u64) -> Path {
        self.of(delivery).join(part.to_string())
    }
}

fn authorities(path: &File) -> Result<Authorities> {
    let pem = std::fs::read(path).map_err(file::fault(path))?;
    Ok(Authorities::of(&pem).ok_or_else(|| S3Fault::Authorities { path: path.to_owned() })?)
}

async fn in_time<T>(asked: impl Future<Output = object_store::Result<T>>) -> std::result::Result<T, S3Fault> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(S3Fault::Silent),
    }
}
