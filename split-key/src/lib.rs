//! The mathematics of the split unit key, free of I/O, clocks and ambient randomness.
//!
//! A unit's private key `x = s1 + s2 (mod n)` on P-256 exists nowhere. The issuing authority holds [`issuer`] secrets,
//! the key management service [`keeper`] secrets, and the two modules know nothing of each other: no function here
//! takes secrets of both, and the only thing that crosses over is a [`issuer::Delta`]. Files open by joining two
//! partial ECDH results ([`partial`]) and decapsulating HPKE from the outcome ([`hpke`]).
//!
//! Points are SEC1 encoded, 33 bytes compressed or 65 uncompressed; scalars and x-coordinates are 32 bytes, big-endian.

pub mod grant;
pub mod half;
pub mod hpke;
pub mod issuer;
pub mod keeper;
pub mod partial;
pub mod point;
pub mod routing;
mod scalar;

pub use grant::{GrantError, check_grant, unit_key};
pub use scalar::ScalarError;
