//! `warifu-admin`: orders for officers and administrators.

use std::path::Path;
use std::process::ExitCode;

use clap::FromArgMatches as _;
use tokio::runtime::Runtime;
use warifu_texts::help;
use warifu_token_agent::client::AgentClient;

use crate::args::{Cli, Command};
use crate::command::doctor::{self, Service};
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
    let done = match &cli.command {
        Command::Doctor { config, service } => look(&cli, config.as_deref(), *service, &screen),
        _ => run(cli, &screen).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(fault) => {
            screen.fault(&fault);
            ExitCode::from(fault.exit_code())
        }
    }
}

fn pins(cli: &Cli) -> Result<Pins, Fault> {
    if cli.common.pins_stdin { Pins::from_stdin() } else { Ok(Pins::asked()) }
}

fn runtime() -> Result<Runtime, Fault> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Fault::Terminal)
}

fn look(
    cli: &Cli,
    config: Option<&Path>,
    service: Option<Service>,
    screen: &Screen,
) -> Result<ExitCode, Fault> {
    match config {
        Some(config) => doctor::at_a_service(config, service, &cli.common),
        None => {
            let pins = pins(cli)?;
            Ok(runtime()?.block_on(doctor::at_the_desk(&cli.common, pins, screen)))
        }
    }
}

fn run(cli: Cli, screen: &Screen) -> Result<(), Fault> {
    let pins = pins(&cli)?;
    runtime()?.block_on(async {
        let bootstrap = cli.common.agent.clone().unwrap_or_else(AgentClient::default_bootstrap);
        let agent = AgentClient::from_bootstrap(&bootstrap)?;
        let mut desk = Desk::new(agent, screen, pins, cli.common.card);
        command::run(&mut desk, cli).await
    })
}
