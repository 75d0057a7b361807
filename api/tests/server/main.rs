//! The server and the client against each other, and against peers that mean no good.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod connections;
mod hostile;
mod http2;
mod stage;
mod stopping;
