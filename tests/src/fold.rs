//! The ledger as it lies in a service's database, folded by somebody who takes nobody's word for it.

use std::path::Path;

use anyhow::{Context as _, Result};
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Executor as _, Row as _};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Order, Statement as _};
use warifu_replica::storage;

/// A service's database, to be read while the service runs.
pub async fn open(path: &Path) -> Result<AnyPool> {
    let pool = AnyPoolOptions::new().max_connections(1).after_connect(|connection, _| {
        Box::pin(async move { connection.execute("PRAGMA busy_timeout = 10000").await.map(drop) })
    });
    Ok(pool.connect_with(storage::options(path, "rw")?).await?)
}

/// The leaves in a service's database, in their order.
pub async fn leaves(pool: &AnyPool) -> sqlx::Result<Vec<Vec<u8>>> {
    let rows = sqlx::query("SELECT bytes FROM ledger_leaf ORDER BY idx").fetch_all(pool).await?;
    Ok(rows.iter().map(|row| row.get::<Vec<u8>, _>(0)).collect())
}

/// What they come to.
pub fn fold(leaves: &[Vec<u8>]) -> Result<State> {
    let mut state: Option<State> = None;
    for bytes in leaves {
        let leaf = Leaf::from_bytes(bytes.clone())?;
        state = Some(match &state {
            None => State::found(&leaf)?,
            Some(state) => state.apply(&leaf)?,
        });
    }
    state.context("an empty ledger")
}

/// What the ledger in one database of a service comes to.
pub fn of_database(path: &Path) -> Result<State> {
    fold(&leaves_in(path)?)
}

/// How many orders are in it. Facts come by themselves: the heads of audit journals, every hour.
pub fn orders_in(path: &Path) -> Result<usize> {
    let leaves = leaves_in(path)?.into_iter().map(Leaf::from_bytes).collect::<Result<Vec<_>, _>>()?;
    Ok(leaves.iter().filter(|leaf| leaf.envelope().payload_type == Order::PAYLOAD_TYPE).count())
}

fn leaves_in(path: &Path) -> Result<Vec<Vec<u8>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let read = async {
        let pool = open(path).await.with_context(|| path.display().to_string())?;
        let leaves = leaves(&pool).await?;
        pool.close().await;
        anyhow::Ok(leaves)
    };
    runtime.block_on(read)
}
