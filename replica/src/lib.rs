//! A durable, verified copy of the ledger that follows the kms: fold, stamps, lease, site time.
//!
//! The ca, the kms authority and every site keep the ledger in their own database ([`storage`], [`Replica`]) and fold every
//! leaf themselves; nobody takes another's word for what it says. The ca and the sites receive it by a
//! [`follow::Follower`], and may act only while their [`lease::Lease`] runs.

pub mod clock;
pub mod follow;
pub mod lease;
mod replica;
pub mod storage;

pub use replica::{Appended, Replica, ReplicaError, Snapshots, Turn};
