//! Cards and HSMs: the hardware that holds the shares of split keys.

pub mod card;
pub mod hsm;
pub mod signer;
