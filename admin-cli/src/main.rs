//! `warifu-admin`: orders for officers and administrators.

use std::process::ExitCode;

use tokio::runtime::Runtime;
use warifu_texts::help;
use warifu_token_agent::client::AgentClient;
use warifu_token_agent::harden;

use crate::args::{Audit, Cli, Command};
use crate::command::{audit, doctor};
use crate::desk::Desk;
use crate::fault::Fault;
use crate::message::Words;
use crate::pins::Pins;
use crate::screen::{Interrupted, Screen};

mod args;
mod command;
mod day;
mod desk;
mod fault;
mod file;
mod found;
mod message;
mod pins;
mod preview;
mod proposal;
mod register;
mod screen;
mod signing;
mod watch;

/// Memory that is freed is wiped: secrets pass through buffers of HTTP, TLS and JSON, which do not do so themselves.
#[global_allocator]
static MEMORY: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

/// The exit code of a command that was ended with Ctrl-C, as shells know it.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    harden();
    let words = match Words::load(help::language()) {
        Ok(words) => words,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let cli = match help::read::<Cli>(words.admin()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let screen = Screen::new(words, cli.common.json, cli.common.yes);
    let done = match &cli.command {
        Command::Doctor { config: Some(config), service } => {
            doctor::at_a_service(config, *service, cli.common.json).map_err(|fault| (fault, None))
        }
        Command::Audit(Audit::Verify { file, organization, earlier }) => {
            let verified = audit::offline(&screen, file, organization, earlier.as_deref());
            verified.map(|()| ExitCode::SUCCESS).map_err(|fault| (fault, None))
        }
        Command::Audit(Audit::Evidence {
            file: Some(file),
            organization: Some(organization),
            member,
            card_number,
            about,
            out,
        }) => {
            let wanted = audit::wanted(member.clone(), card_number.clone(), about.as_deref());
            let written = wanted.and_then(|of| audit::evidence(&screen, file, organization, &of, out));
            written.map(|()| ExitCode::SUCCESS).map_err(|fault| (fault, None))
        }
        _ => run(cli, &screen),
    };
    match done {
        Ok(code) => code,
        // What there is to say was said.
        Err((Fault::Proposed, _)) => ExitCode::SUCCESS,
        Err((fault, helpdesk)) => {
            screen.fault(&fault, helpdesk.as_deref());
            ExitCode::from(fault.exit_code())
        }
    }
}

/// Whoever does not want to wait any longer says so with Ctrl-C, at a prompt as well.
async fn until_interrupted(words: Interrupted) {
    if tokio::signal::ctrl_c().await.is_ok() {
        words.say();
        // Whatever the command was about to do is not done: it may be at a prompt, which nothing else ends.
        std::process::exit(INTERRUPTED);
    }
}

/// Runs the command; or says what kept it from that, and whom to call about it, if the agent knows.
fn run(cli: Cli, screen: &Screen) -> Result<ExitCode, (Fault, Option<String>)> {
    let runtime = Runtime::new().map_err(|error| (Fault::Terminal(error), None))?;
    runtime.spawn(until_interrupted(screen.interrupted()));
    runtime.block_on(async {
        let bootstrap = cli.common.agent.clone().unwrap_or_else(AgentClient::default_bootstrap);
        let agent = || AgentClient::from_bootstrap(&bootstrap);
        let done = async {
            let pins = if cli.common.pins_stdin { Pins::from_stdin()? } else { Pins::asked() };
            if let Command::Doctor { .. } = cli.command {
                return Ok::<_, Fault>(doctor::at_the_desk(&cli.common, pins, screen).await);
            }
            let mut desk = Desk::new(agent()?, screen, pins, &cli.common);
            command::run(&mut desk, cli).await.map(|()| ExitCode::SUCCESS)
        };
        match done.await {
            Ok(code) => Ok(code),
            Err(fault) => {
                let status = async { agent().ok()?.status().await.ok() };
                Err((fault, status.await.and_then(|status| status.helpdesk)))
            }
        }
    })
}
