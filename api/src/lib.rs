//! What the programs say to each other: wire types, error codes, mutual TLS with pinned keys, and the client and server
//! that carry them.
//!
//! Bodies are JSON. Binary fields are padded standard base64, ids and digests lowercase hexadecimal, instants milliseconds
//! since the Unix epoch (`docs/protocol.md`).

pub mod body;
pub mod client;
pub mod crl;
pub mod error;
pub mod events;
pub mod http;
pub mod server;
pub mod tls;
pub mod wire;

pub use client::{Client, ClientError};
pub use error::{ErrorBody, ErrorCode};
