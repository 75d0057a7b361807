//! The command line, explained in the person's language.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "warifu")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: What,
}

#[derive(Args)]
pub(crate) struct Common {
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) agent: Option<PathBuf>,
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum What {
    Status,
    Doctor,
    Unlock {
        #[command(flatten)]
        pin: PinArgs,
    },
    Lock,
    #[command(subcommand)]
    Pin(Pin),
    Open {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[arg(short, long, value_name = "OUT")]
        out: Option<PathBuf>,
        #[arg(long, requires = "out")]
        overwrite: bool,
        #[command(flatten)]
        pin: PinArgs,
    },
    Route {
        #[arg(long = "to", required = true, value_name = "UNIT", value_delimiter = ',')]
        to: Vec<String>,
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[arg(long, value_name = "DATE")]
        until: Option<String>,
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        pin: PinArgs,
    },
    Units,
    Send {
        #[arg(long = "to", required_unless_present = "resume", value_name = "UNIT", value_delimiter = ',')]
        units: Vec<String>,
        #[arg(required_unless_present = "resume", value_name = "FILE")]
        files: Vec<PathBuf>,
        #[arg(long, required_unless_present = "resume", value_name = "TITLE")]
        title: Option<String>,
        #[arg(long, value_name = "UNIT")]
        reply_to: Option<String>,
        #[arg(long, conflicts_with_all = ["units", "files", "title", "reply_to"])]
        resume: bool,
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        pin: PinArgs,
    },
    Sent {
        #[command(flatten)]
        pin: PinArgs,
    },
    #[command(args_conflicts_with_subcommands = true)]
    Inbox {
        #[command(subcommand)]
        what: Option<Inbox>,
        #[command(flatten)]
        pin: PinArgs,
    },
    Seal {
        #[arg(short, long = "recipient", required = true, value_name = "UNIT", value_delimiter = ',')]
        recipients: Vec<String>,
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[arg(short, long, value_name = "OUT")]
        out: Option<PathBuf>,
        #[arg(long)]
        overwrite: bool,
        #[arg(long)]
        armor: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum Inbox {
    Get {
        #[arg(value_name = "ID")]
        id: String,
        #[arg(short = 'o', long = "out", value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
    Open {
        #[arg(value_name = "ID")]
        id: String,
        #[arg(short, long, value_name = "OUT")]
        out: Option<PathBuf>,
        #[arg(long, requires = "out")]
        overwrite: bool,
        #[command(flatten)]
        pin: PinArgs,
    },
    Route {
        #[arg(value_name = "ID")]
        id: String,
        #[arg(long = "to", required = true, value_name = "UNIT", value_delimiter = ',')]
        to: Vec<String>,
        #[arg(long, value_name = "DATE")]
        until: Option<String>,
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        pin: PinArgs,
    },
    Look {
        #[arg(value_name = "ID")]
        id: String,
    },
    Accept {
        #[arg(value_name = "ID")]
        id: String,
    },
    Return {
        #[arg(value_name = "ID")]
        id: String,
        #[arg(long, value_name = "REASON")]
        reason: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Pin {
    Change {
        #[arg(long, value_name = "SERIAL")]
        serial: Option<u32>,
        #[arg(long)]
        pin_stdin: bool,
    },
}

#[derive(Args)]
pub(crate) struct PinArgs {
    #[arg(long, value_name = "SERIAL")]
    pub(crate) serial: Option<u32>,
    #[arg(long)]
    pub(crate) pin_stdin: bool,
    #[arg(long)]
    pub(crate) spend_last_try: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use warifu_texts::{Language, Texts, help};
    use warifu_token_agent::texts::AGENT;

    use super::*;

    #[test]
    fn every_command_and_argument_is_explained_in_both_languages() {
        for language in [Language::Japanese, Language::English] {
            let texts = Texts::load(language, &[AGENT]).unwrap();
            assert_eq!(help::missing(Cli::command(), &texts), Vec::<String>::new());
            help::explained(Cli::command(), &texts).debug_assert();
        }
    }

    #[test]
    fn help_is_in_the_persons_language() {
        let texts = Texts::load(Language::Japanese, &[AGENT]).unwrap();
        let command = help::explained(Cli::command(), &texts);
        let error = command.try_get_matches_from(["warifu", "open", "--help"]).unwrap_err();
        let help = error.to_string();
        assert!(help.contains("カードを抜くと閉じます"), "{help}");
        assert!(!help.contains("Options"), "{help}");
        assert!(help.contains("終了コード"), "for scripts, with every command: {help}");
    }
}
