//! Fuzz targets: one for everything that parses what others send.
//!
//! [`TARGETS`] is the one list. `scripts/fuzz` runs it under libFuzzer; `cargo test` replays every target's seeds and every
//! input that ever found something (`regressions/TARGET/`), and checks that no type that is read from outside is
//! forgotten. A target does more than not to panic: it states what holds for any input, and panics where it does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a target reports what it finds by panicking"
)]

mod audit;
mod backup;
mod card;
mod certificates;
mod config;
mod crl;
mod cursor;
mod files;
mod fold;
mod lines;
mod log;
mod module;
mod packages;
mod statements;
mod strict;
mod table;
pub mod wire;

#[path = "../../../ledger/tests/fold/fixture.rs"]
#[allow(dead_code, reason = "shared with the ledger's own tests, which use all of it")]
mod fixture;

pub use statements::payload_types;

/// One fuzz target.
#[derive(Debug)]
pub struct Target {
    /// Its name on the command line, and its folder's.
    pub name: &'static str,
    /// The longest input, in bytes.
    pub longest: usize,
    /// Runs one input. Whether it got through all parsing, as opposed to being refused; panics at a finding.
    pub run: fn(&[u8]) -> bool,
    /// What fuzzing starts from. At least one of the seeds is accepted.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const KIB: usize = 1024;

/// Every target.
pub const TARGETS: &[Target] = &[
    // what senders send
    Target { name: "age-header", longest: 16 * KIB, run: files::header, seeds: files::header_seeds },
    Target { name: "age-armor", longest: 16 * KIB, run: files::armor, seeds: files::armor_seeds },
    Target { name: "age-stanza", longest: KIB, run: files::stanza, seeds: files::stanza_seeds },
    Target { name: "age-file", longest: 256, run: files::whole, seeds: files::whole_seeds },
    Target { name: "recipient", longest: 256, run: files::recipient, seeds: files::recipient_seeds },
    Target { name: "partials", longest: 64, run: files::partials, seeds: files::partials_seeds },
    // the ledger
    Target {
        name: "envelope",
        longest: 16 * KIB,
        run: statements::envelope,
        seeds: statements::envelope_seeds,
    },
    Target {
        name: "statement",
        longest: 8 * KIB,
        run: statements::statement,
        seeds: statements::statement_seeds,
    },
    Target { name: "leaf", longest: 16 * KIB, run: statements::leaf, seeds: statements::leaf_seeds },
    Target { name: "acts", longest: 4 * KIB, run: fold::acts, seeds: fold::acts_seeds },
    Target { name: "fold", longest: 512, run: fold::orders, seeds: fold::orders_seeds },
    Target { name: "snapshot", longest: 32 * KIB, run: fold::snapshot, seeds: fold::snapshot_seeds },
    Target { name: "checkpoint", longest: 2 * KIB, run: log::checkpoint, seeds: log::checkpoint_seeds },
    Target { name: "tree", longest: 4 * KIB, run: log::tree, seeds: log::tree_seeds },
    Target { name: "tile", longest: 64, run: log::tile, seeds: log::tile_seeds },
    Target { name: "page", longest: 64 * KIB, run: log::page, seeds: log::page_seeds },
    Target { name: "record", longest: KIB, run: lines::record, seeds: lines::record_seeds },
    // what auditors take away
    Target { name: "audit-file", longest: 128 * KIB, run: audit::file, seeds: audit::seeds },
    // backups
    Target { name: "backup", longest: 16 * KIB, run: backup::file, seeds: backup::file_seeds },
    Target { name: "backup-content", longest: KIB, run: backup::content, seeds: backup::content_seeds },
    Target { name: "backup-pieces", longest: 4 * KIB, run: backup::pieces, seeds: backup::pieces_seeds },
    // between the programs
    Target { name: "wire", longest: 8 * KIB, run: wire::any, seeds: wire::seeds },
    Target { name: "events", longest: 16 * KIB, run: lines::events, seeds: lines::events_seeds },
    // cards and certificates
    Target { name: "card-answers", longest: 4 * KIB, run: card::answers, seeds: card::seeds },
    Target { name: "module-answers", longest: 4 * KIB, run: module::answers, seeds: module::seeds },
    Target {
        name: "certificate",
        longest: 4 * KIB,
        run: certificates::certificate,
        seeds: certificates::certificate_seeds,
    },
    Target {
        name: "attestation",
        longest: 4 * KIB,
        run: certificates::attestation,
        seeds: certificates::attestation_seeds,
    },
    Target { name: "crl", longest: 4 * KIB, run: crl::crl, seeds: crl::seeds },
    // what is on the disk
    Target { name: "table", longest: 4 * KIB, run: table::table, seeds: table::table_seeds },
    Target { name: "config", longest: 4 * KIB, run: config::service, seeds: config::service_seeds },
    Target { name: "profile", longest: 8 * KIB, run: config::profile, seeds: config::profile_seeds },
];
