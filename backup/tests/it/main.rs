//! What a backup refuses first, then that it opens.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed; clippy.toml spares test functions, not what they share"
)]

#[path = "../../../ledger/tests/fold/fixture.rs"]
#[allow(dead_code, reason = "shared with the ledger's own tests, which use all of it")]
mod fixture;

mod file;
mod pieces;
mod secrets;
mod stage;
mod vectors;
