//! The ledger as C2SP `tlog-tiles`, for whoever may read it: P-4.23.

use std::sync::Arc;

use axum::body::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use warifu_ledger::tile::{Tile, bundled};

use super::error::AuthorityError;
use super::{Authority, Result};

/// How many leaves are in memory at a time. One may have megabytes.
const CHUNK: u64 = 8;

/// What a tile is answered with.
pub(crate) enum TileBody<S> {
    Hashes(Vec<u8>),
    Entries(S),
}

impl Authority {
    /// The tile of this path, as in `0/x001/234.p/12`, if the ledger has come so far.
    pub(crate) fn tile(
        self: &Arc<Self>,
        tile: &Tile,
    ) -> Result<TileBody<impl Stream<Item = Result<Bytes>> + use<>>> {
        let no_such = || AuthorityError::NotFound { what: "tile" };
        let state = self.state()?;
        if let Some(hashes) = tile.hashes(state.tree()).map_err(|_| no_such())? {
            return Ok(TileBody::Hashes(hashes));
        }
        let (first, count) = tile.entries().ok_or_else(no_such)?;
        let end = first.checked_add(count).filter(|end| *end <= state.tree().size()).ok_or_else(no_such)?;
        let authority = self.clone();
        Ok(TileBody::Entries(try_unfold(first, move |next| {
            let authority = authority.clone();
            async move { authority.bundle(next, end).await }
        })))
    }

    /// Some entries from `next` on, and where it goes on; none at the end.
    async fn bundle(&self, next: u64, end: u64) -> Result<Option<(Bytes, u64)>> {
        let limit = u32::try_from(end.saturating_sub(next).min(CHUNK)).unwrap_or_default();
        if limit == 0 {
            return Ok(None);
        }
        let leaves = self.replica.leaves(next, limit).await?;
        if leaves.is_empty() {
            return Err(AuthorityError::Damaged { what: "ledger" });
        }
        let bundle: Vec<u8> = leaves.iter().flat_map(|leaf| bundled(leaf)).collect();
        Ok(Some((bundle.into(), next + leaves.len() as u64)))
    }
}
