//! A site: it keeps site shares in its HSM, follows the ledger, answers the cards of its members, and destroys what orders
//! end.
//!
//! What holds it together (P-7.2, P-8.1 to P-8.4):
//!
//! - **A missing check does not compile.** A partial is computed for an `AuditRecorded`, which only the journal makes, of a
//!   `MayAnswer`, which only the check makes, under the `Turn` of the card (I2).
//! - **Dead stays dead.** Whatever an order ends is marked, durably, before anything is destroyed; no key pair is made for
//!   what is marked; and every answer that was checked before the mark has left, or never will, before the receipt is
//!   signed (I3).
//! - **Time comes from the lease alone** (I4).

mod answering;
mod check;
pub mod command;
pub mod config;
mod courier;
mod dead;
mod doctor;
mod ending;
mod error;
mod events;
mod figures;
mod gate;
mod http;
pub mod journal;
mod leaves;
mod provisioning;
mod refusal;
mod revoking;
mod rewrapping;
mod rotating;
mod routing;
mod service;
#[cfg(debug_assertions)]
pub mod steps;
mod store;
mod sweep;
mod vault;

pub use error::SiteError;
pub use gate::Rate;
pub use rewrapping::NotRewrapped;
pub use routing::inbox::NotTaken;
pub use service::{Settings, Site};
pub use vault::PartFault;
