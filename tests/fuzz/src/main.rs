//! One target under libFuzzer: `WARIFU_FUZZ_TARGET=NAME warifu-fuzz [libFuzzer's options] CORPUS`.
//!
//! Without the variable, prints the targets' names and longest inputs. The target's seeds are written to the folder in
//! `WARIFU_FUZZ_SEEDS` first, if it is set. Run by `scripts/fuzz`, which also builds it as it has to be built.

#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers, that stops where it cannot go on"
)]

use std::alloc::System;
use std::path::PathBuf;
use std::sync::OnceLock;

use cap::Cap;
use libfuzzer_sys::{Corpus, fuzz_target};
use warifu_fuzz::{TARGETS, Target};

/// What one input may take, in bytes: so much in any case, and so much more for each of its own.
const ALLOWANCE: usize = 24 << 20;
const ALLOWANCE_PER_BYTE: usize = 256;

/// Fails, and so ends in a finding, where an input takes more memory than its length can justify.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn begin() {
    // A panic is reported with a backtrace, which takes more memory than any input may.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = MEMORY.set_limit(usize::MAX);
        report(panic);
    }));
    let Ok(name) = std::env::var("WARIFU_FUZZ_TARGET") else {
        for target in TARGETS {
            println!("{} {}", target.name, target.longest);
        }
        std::process::exit(0);
    };
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        println!("there is no target {name}");
        std::process::exit(2);
    };
    if let Some(folder) = std::env::var_os("WARIFU_FUZZ_SEEDS") {
        let folder = PathBuf::from(folder);
        for (index, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{index:04}")), seed).unwrap();
        }
    }
    // What targets make once (towns, keys) is not on any one input's account.
    (target.run)(&[]);
    for seed in (target.seeds)() {
        (target.run)(&seed);
    }
    TARGET.set(target).unwrap();
}

fuzz_target!(
    init: begin(),
    |data: &[u8]| -> Corpus {
        let allowed = MEMORY.allocated() + ALLOWANCE + ALLOWANCE_PER_BYTE * data.len();
        MEMORY.set_limit(allowed).unwrap();
        (TARGET.get().unwrap().run)(data);
        MEMORY.set_limit(usize::MAX).unwrap();
        Corpus::Keep
    }
);
