//! A site over a real SoftHSM token, a real SQLite file and real TLS, following a small authority that can lie, lag and
//! fall silent. Clocks are moved by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests, which clippy does not know as such"
)]

mod courier;
mod dates;
mod faults;
mod hostile;
mod journal;
mod kms;
mod lease;
mod people;
mod preconditions;
mod reviving;
mod revocation;
mod rewrapping;
mod rotating;
mod routing;
mod stage;
mod town;
