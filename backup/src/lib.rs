//! Backups of the two services that hold halves (`docs/protocol.md`, section 10).
//!
//! A backup is one file: the service's signed [`Backup`](warifu_ledger::statement::Backup) as its first line, then an age
//! file with the halves and the database, for a key that was drawn for it. That key exists nowhere afterwards; it is split k of
//! n among people's cards ([`pieces`]). On a new machine the pieces come together again inside the service ([`restore`]),
//! each on its way there sealed to a key in that machine's token.
//!
//! Pure: no disk, no clock, no ambient randomness but what the `age` crate draws for a file's own key.

pub mod file;
pub mod pieces;
pub mod restore;

/// A half of a unit key, which is in the clear between a token and the sealed file alone: 32 bytes, big-endian.
pub type HalfBytes = zeroize::Zeroizing<[u8; 32]>;
