//! A whole town in one folder: virtual readers and cards, the ca, the kms authority and its sites as real processes with
//! real HSM tokens and databases, an officers' desk and members' PCs.
//!
//! The demonstration and the end-to-end tests play in it.

pub mod fold;
pub mod hands;
pub mod kills;
pub mod made_up;
pub mod practice;
pub mod process;
pub mod relay;
#[path = "../scenarios/mod.rs"]
pub mod scenarios;
pub mod town;
