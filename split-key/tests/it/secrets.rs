//! No secret can be printed, copied or serialized. A violation does not compile.

use std::fmt::{Debug, Display};

use serde::Serialize;
use static_assertions::assert_not_impl_any;
use warifu_split_key::issuer::{CardShare, Delta, IssuerHalf};
use warifu_split_key::keeper::{KeeperHalf, SiteShare};
use warifu_split_key::partial::{Candidate, PartialX};

assert_not_impl_any!(IssuerHalf: Debug, Display, Clone, Copy, Serialize);
assert_not_impl_any!(KeeperHalf: Debug, Display, Clone, Copy, Serialize);
assert_not_impl_any!(CardShare: Debug, Display, Clone, Copy, Serialize);
assert_not_impl_any!(SiteShare: Debug, Display, Clone, Copy, Serialize);
assert_not_impl_any!(Delta: Debug, Display, Clone, Copy, Serialize);
assert_not_impl_any!(PartialX: Debug, Display, Clone, Copy, Serialize);
assert_not_impl_any!(Candidate: Debug, Display, Clone, Copy, Serialize);
