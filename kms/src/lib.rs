//! The key management service: the [`authority`], which keeps the ledger and the keeper halves, and the [`site`], which
//! keeps site shares and answers the cards of its members.

pub mod authority;
pub mod site;
pub mod words;
