//! The kms authority as ca, sites, cards and strangers meet it: a real SoftHSM token, real TLS on loopback, a real database.
//! Cards, ca and sites are software here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed; clippy.toml spares test functions, not what they share"
)]

mod appending;
mod crls;
mod deliveries;
mod directory;
mod faults;
mod following;
mod founding;
mod full_disk;
mod grants;
mod hostile;
mod issuing;
mod journals;
mod program;
mod proposals;
mod public;
mod puks;
mod receipts;
mod recovering;
mod rewraps;
mod roles;
mod rotating;
mod s3;
mod slips;
mod stage;
mod tiles;
mod town;
mod trusts;
mod units;

#[allow(dead_code, reason = "the ledger's own tests use all of it")]
#[path = "../../../ledger/tests/fold/fixture.rs"]
mod fixture;
