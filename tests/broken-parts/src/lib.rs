//! Test equipment: real parts that fail when they are told to.
//!
//! - [`PullableHsm`]: SoftHSM behind a PKCS#11 module that can be pulled and put back, at any call;
//! - [`disk`]: a small disk of one's own that can be filled, emptied and made read-only.

pub mod disk;
mod hsm;

pub use hsm::{Call, PullableHsm};
