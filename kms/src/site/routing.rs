//! Routing without reading (protocol section 15): a site takes slips that a card of a front desk has signed, seals its part of each
//! file to the sites of the target, takes what other sites sealed to it, and opens files by slips.
//!
//! Of a file that is routed nobody here has both parts: `x(bR)` is handed to no holder of a grant to route ([`check`] alone decides,
//! the HSM computes for nothing else), and leaves in no other form than sealed to a site that serves the target.

pub(super) mod accepting;
pub(super) mod check;
pub(super) mod inbox;
pub(super) mod outbox;
pub(super) mod releasing;
mod resealing;
