//! The fold's tests: what it refuses first, then what it accepts.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed; clippy.toml spares test functions, not what they share"
)]

mod acts;
mod ahead;
mod custodians;
mod dates;
mod deliveries;
mod ecdsa;
mod facts;
mod fixture;
mod founding;
mod journals;
mod limits;
mod log;
mod members;
mod mutation;
mod recovered;
mod revocation;
mod road;
mod roles;
mod rotated;
mod routing;
mod signing;
mod snapshot;
mod tiles;
mod trust;
mod units;
mod vectors;
mod wire;
