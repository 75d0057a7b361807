//! What `warifu-admin` reads that others have written: apart from the program, so that it is fuzzed.

pub mod sheet;
