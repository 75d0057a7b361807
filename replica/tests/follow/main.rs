//! The replica against a town of software keys: the durable ledger, the lease, and a kms that may lie.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "the town is shared with the ledger's own tests")]

#[allow(dead_code, reason = "the ledger's own tests use the rest of it")]
#[path = "../../../ledger/tests/fold/fixture.rs"]
mod fixture;

mod follower;
mod lease;
mod ledger;
mod snapshot;
mod stage;
mod storage;
