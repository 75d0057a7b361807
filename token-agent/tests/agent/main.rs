//! The agent, with virtual readers and cards, and with sites and a kms that speak real TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod command_line;
mod damaged;
mod desk;
mod doctor;
mod door;
mod ending;
mod faults;
mod hostile;
mod modules;
mod new_card;
mod opening;
mod organization;
mod pin;
mod removal;
mod renamed;
mod routing;
mod sandbox;
mod services;
mod sites;
mod slips;
mod texts;
