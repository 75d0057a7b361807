//! Directories: what proves that a key is a unit's, under which name, in one's own organization ([`units`]) or in another one that
//! officers have pinned ([`signed`], `docs/protocol.md` section 16).
//!
//! Pure: no I/O, no clock. The kms, agents and desks verify with the same code, and none believes another.

pub mod pinned;
pub mod signed;
pub mod units;
