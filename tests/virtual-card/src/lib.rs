//! **Test equipment, not a security product**: a PIV card on a virtual PC/SC reader.
//!
//! A [`VirtualCard`] can be inserted, removed (also in the middle of a command) and blocked; it imports P-256 keys and
//! attests like a YubiKey 5 of firmware 5.4.3, under a test root of its own. It speaks the protocol of vsmartcard's
//! vpcd to a virtual reader of a real `pcscd`, so real PC/SC clients (the `yubikey` crate, OpenSC, yubico-piv-tool)
//! use it as they use the real thing. Its keys lie in a file in the clear: **never use it to protect anything**.
//!
//! [`readers`] starts such a pcscd, and gives each test a place of its own to run one in.

mod apdu;
mod applet;
mod attestation;
mod card;
mod management;
pub mod readers;
mod service;
mod state;
mod tlv;

pub use apdu::ins;
pub use attestation::{AttestationError, TestRoot};
pub use card::{VirtualCard, VirtualCardError};
pub use service::Inserted;
