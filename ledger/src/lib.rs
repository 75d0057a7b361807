//! The ledger: an organization's append-only Merkle log of orders and facts, and the fold over it that is all authority.
//!
//! Pure: no I/O, no clock, randomness as a parameter. The ca, the kms and every site run [`state::State::apply`] over
//! the same leaves and come to the same state; authorization lives here and nowhere else.
//!
//! What the fold promises, each with a test that tries to break it:
//! - Signers count as they were before the order: no act of an order makes, promotes or resumes a signer of that order.
//! - Rights come from people's cards alone. A fact needs the ca *and* the kms, and fits exactly one order.
//! - An order is known by its digest, which covers no signature, and executes once. Orders are forgotten when they have
//!   expired, so the cost of a leaf grows with what it touches (a card's own grants, a contract's members) and with the
//!   logarithm of the history, not with the history.
//! - Whatever ends (a card, a member, a contract, a grant, a site) never comes back, nor does its id or any of its keys.
//! - Input is bounded before it is hashed, verified or parsed ([`dsse::PAYLOAD_LIMIT`], [`dsse::SIGNATURE_LIMIT`],
//!   [`leaf::LEAF_LIMIT`]); a refused leaf is an error and leaves no trace.
//!
//! What it cannot promise is time: a leaf's instant is the appender's word, held to it by the stamps it has given.

pub mod ahead;
pub mod checkpoint;
pub mod delivery;
pub mod dsse;
mod id;
pub mod journal;
pub mod key;
pub mod leaf;
pub mod register;
pub mod slip;
pub mod state;
pub mod statement;
pub mod tile;
pub mod tree;

pub use id::{Digest, Id, NotHex};
