//! `warifu-admin`: orders for officers and administrators.

use std::process::ExitCode;

use clap::FromArgMatches as _;
use warifu_texts::help;
use warifu_token_agent::client::AgentClient;

use crate::args::Cli;
use crate::desk::Desk;
use crate::fault::Fault;
use crate::message::Words;
use crate::pins::Pins;
use crate::screen::Screen;

mod args;
mod command;
mod desk;
mod fault;
mod found;
mod message;
mod pins;
mod preview;
mod register;
mod screen;
mod watch;

fn main() -> ExitCode {
    let words = match Words::load(help::language()) {
        Ok(words) => words,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let parsed =
        args::command(words.admin()).try_get_matches().and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let screen = Screen::new(words, cli.common.json, cli.common.yes);
    match run(cli, &screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            screen.fault(&fault);
            ExitCode::from(fault.exit_code())
        }
    }
}

fn run(cli: Cli, screen: &Screen) -> Result<(), Fault> {
    let pins = if cli.common.pins_stdin { Pins::from_stdin()? } else { Pins::asked() };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Fault::Terminal)?;
    runtime.block_on(async {
        let bootstrap = cli.common.agent.clone().unwrap_or_else(AgentClient::default_bootstrap);
        let agent = AgentClient::from_bootstrap(&bootstrap)?;
        let mut desk = Desk::new(agent, screen, pins, cli.common.card);
        command::run(&mut desk, cli).await
    })
}
