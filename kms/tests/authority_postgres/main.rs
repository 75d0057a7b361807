//! The authority on PostgreSQL: all that is tested of it on SQLite (`tests/authority`), and what only a server can do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed; clippy.toml spares test functions, not what they share"
)]

#[path = "../authority/away.rs"]
mod away;
#[path = "../authority/moving.rs"]
mod moving;
#[path = "../authority/together.rs"]
mod together;

#[path = "../authority/appending.rs"]
mod appending;
#[path = "../authority/crls.rs"]
mod crls;
#[path = "../authority/deliveries.rs"]
mod deliveries;
#[path = "../authority/directory.rs"]
mod directory;
#[path = "../authority/faults.rs"]
mod faults;
#[path = "../authority/following.rs"]
mod following;
#[path = "../authority/founding.rs"]
mod founding;
#[path = "../authority/grants.rs"]
mod grants;
#[path = "../authority/hostile.rs"]
mod hostile;
#[path = "../authority/issuing.rs"]
mod issuing;
#[path = "../authority/journals.rs"]
mod journals;
#[path = "../authority/program.rs"]
mod program;
#[path = "../authority/proposals.rs"]
mod proposals;
#[path = "../authority/puks.rs"]
mod puks;
#[path = "../authority/receipts.rs"]
mod receipts;
#[path = "../authority/recovering.rs"]
mod recovering;
#[path = "../authority/rewraps.rs"]
mod rewraps;
#[path = "../authority/roles.rs"]
mod roles;
#[path = "../authority/rotating.rs"]
mod rotating;
#[path = "../authority/s3.rs"]
mod s3;
#[path = "../authority/slips.rs"]
mod slips;
#[path = "../authority/stage.rs"]
mod stage;
#[path = "../authority/tiles.rs"]
mod tiles;
#[path = "../authority/town.rs"]
mod town;
#[path = "../authority/trusts.rs"]
mod trusts;
#[path = "../authority/units.rs"]
mod units;

#[allow(dead_code, reason = "the ledger's own tests use all of it")]
#[path = "../../../ledger/tests/fold/fixture.rs"]
mod fixture;
