//! `warifu-kms`: the key management service's program, as authority and as site.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use warifu_console::{ConsoleError, process};
use warifu_kms::authority::{self, AuthorityError};
use warifu_kms::site::{self, SiteError};
use warifu_kms::words::KMS;
use warifu_texts::{Message, Spoken};

/// The key management service of an organization.
#[derive(Parser)]
#[command(name = "warifu-kms")]
struct Program {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    Authority(authority::command::Authority),
    Site(site::command::Site),
}

/// Why the program did not do what it was told.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Site(#[from] SiteError),
}

impl Spoken for Fault {
    fn message(&self) -> Message {
        match self {
            Self::Console(error) => error.message(),
            Self::Authority(error) => error.message(),
            Self::Site(error) => error.message(),
        }
    }
}

/// Memory that is freed is wiped: secrets pass through buffers of HTTP, TLS and JSON, which do not do so themselves.
#[global_allocator]
static MEMORY: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    process::program(KMS, |program: Program| match program.part {
        Part::Authority(command) => Ok::<_, Fault>(authority::command::run(&command)?),
        Part::Site(command) => Ok(site::command::run(&command)?),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use warifu_console::words::CONSOLE;
    use warifu_texts::{Language, Texts, help};

    use super::*;

    #[test]
    fn every_command_and_argument_is_explained_in_both_languages() {
        for language in [Language::Japanese, Language::English] {
            let texts = Texts::load(language, &[CONSOLE, KMS]).unwrap();
            assert_eq!(help::missing(Program::command(), &texts), Vec::<String>::new());
            help::explained(Program::command(), &texts).debug_assert();
        }
    }
}
