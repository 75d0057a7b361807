//! The ca with a real token, against a kms that is honest, or lies.
//!
//! SoftHSM takes its configuration from the environment, so each test runs itself again in a process and folder of its own.

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

mod betrayal;
mod certificates;
mod cosigning;
mod crls;
mod foreign;
mod founding;
mod full_disk;
mod journals;
mod kms;
mod pulled;
mod restart;
mod stage;
