//! `warifu-kms`: the key management service's program, as authority and as site.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use warifu_console::process;
use warifu_kms::{authority, site};

/// The key management service of an organization.
#[derive(Parser)]
#[command(name = "warifu-kms", version, about)]
struct Program {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Keeps the ledger, the register and the keeper halves; one for each organization.
    Authority(authority::command::Authority),
    /// Keeps site shares and answers the cards of its members.
    Site(site::command::Site),
}

fn main() -> ExitCode {
    match run(Program::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("warifu-kms: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: Program) -> anyhow::Result<ExitCode> {
    process::forbid_core_dumps()?;
    process::log_to_stderr();
    match program.part {
        Part::Authority(command) => Ok(authority::command::run(&command)?),
        Part::Site(command) => Ok(site::command::run(&command)?),
    }
}
