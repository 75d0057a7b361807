//! The issuing authority: issuer halves, card shares, certificates, cosignatures.
//!
//! It has no listener. It dials out to the kms, folds the ledger itself, and acts only on what people have signed there: a
//! kms that lies gets nothing from it (invariant I8). Of a split key it ever holds `s1`, and a card's `a` on its way to the
//! card; [`warifu_split_key::issuer`] is all it knows of the mathematics (I1).

pub mod certificates;
pub mod config;
pub mod cosign;
pub mod crl;
pub mod doctor;
pub mod founding;
pub mod issue;
pub mod keys;
pub mod profiles;
pub mod revocation;
pub mod service;
pub mod standing;
pub mod vault;
pub mod words;

mod figures;
mod queue;
