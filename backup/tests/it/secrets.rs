//! Keys and pieces are neither shown nor copied.

use static_assertions::assert_not_impl_any;
use warifu_backup::pieces::{BackupKey, Piece};

assert_not_impl_any!(BackupKey: std::fmt::Debug, Clone, serde::Serialize);
assert_not_impl_any!(Piece: std::fmt::Debug, Clone, serde::Serialize);
