//! An authority without a network, for a simulator. In debug builds alone.

use std::sync::Arc;

use axum::Router;
use sqlx::AnyPool;
use warifu_console::file;
use warifu_hardware::hsm::Hsm;
use warifu_replica::Replica;
use warifu_replica::clock::Clock;

use super::{Authority, Config, Keys, Result, http};

impl Authority {
    /// The database of an authority, which it opens in the end with [`Authority::open_idle`].
    ///
    /// # Errors
    /// [`super::AuthorityError::Storage`].
    pub async fn open_database(config: &Config) -> Result<AnyPool> {
        Self::database(config).await
    }

    /// As [`Authority::open`], with any token, and the ledger opened before.
    ///
    /// # Errors
    /// [`super::AuthorityError`].
    pub async fn open_idle(
        config: &Config,
        hsm: &Hsm,
        replica: Replica,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>> {
        let lock = Arc::new(file::lock_folder(&config.data)?);
        let keys = Keys::ensure(hsm, replica.state().as_ref())?;
        Self::open_with(config, lock, (hsm.clone(), keys), replica, clock).await
    }

    /// Its interface, as it serves it.
    pub fn router(self: &Arc<Self>) -> Router {
        http::router(self.clone())
    }
}
