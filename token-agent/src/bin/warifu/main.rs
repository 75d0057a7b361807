//! `warifu`: the member's command.

mod args;
mod doctor;
mod entering;
mod fault;
mod inbox;
mod open;
mod pin;
mod route;
mod screen;
mod seal;
mod send;
mod units;

use std::process::ExitCode;

use warifu_api::wire::agent::AgentState;
use warifu_texts::{Texts, help};
use warifu_token_agent::client::AgentClient;
use warifu_token_agent::harden;
use warifu_token_agent::texts::AGENT;
use warifu_token_agent::{default_profile, profile};

use crate::args::{Cli, Common, What};
use crate::fault::Fault;
use crate::screen::Screen;

/// Memory that is freed is wiped: secrets pass through buffers of HTTP, TLS and JSON, which do not do so themselves.
#[global_allocator]
static MEMORY: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> anyhow::Result<ExitCode> {
    harden();
    let texts = Texts::load(help::language(), &[AGENT])?;
    let cli = match help::read::<Cli>(&texts) {
        Ok(cli) => cli,
        Err(code) => return Ok(code),
    };
    let screen = Screen { texts, json: cli.common.json };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    Ok(runtime.block_on(run(cli, screen)))
}

async fn run(cli: Cli, screen: Screen) -> ExitCode {
    let done = match &cli.command {
        What::Doctor => return ExitCode::from(doctor::run(&screen, agent(&cli.common)).await),
        What::Seal { recipients, files, out, overwrite, armor } => {
            let sealing = seal::Sealing {
                recipients,
                files,
                out: out.as_deref(),
                overwrite: *overwrite,
                armor: *armor,
            };
            sealing.run(&screen, || agent(&cli.common)).await.map(|()| 0)
        }
        command => with_agent(&screen, &cli.common, command).await,
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            screen.fault(&fault, helpdesk(&cli.common).await.as_deref());
            ExitCode::from(fault.exit_code())
        }
    }
}

fn agent(common: &Common) -> Result<AgentClient, Fault> {
    let path = common.agent.clone().unwrap_or_else(AgentClient::default_bootstrap);
    Ok(AgentClient::from_bootstrap(&path)?)
}

/// Whom to call: by the profile that the agent uses, or where none runs, the one in its usual place.
async fn helpdesk(common: &Common) -> Option<String> {
    if let Ok(agent) = agent(common)
        && let Ok(status) = agent.status().await
    {
        return status.helpdesk;
    }
    profile::read(&default_profile()).ok().map(|profile| profile.helpdesk)
}

async fn with_agent(screen: &Screen, common: &Common, command: &What) -> Result<u8, Fault> {
    let agent = agent(common)?;
    match command {
        What::Status => {
            screen.status(&agent.status().await?);
            Ok(0)
        }
        What::Unlock { pin } => {
            let status = open::unlock(screen, &agent, pin, None).await?;
            screen.status(&status);
            Ok(match status.state {
                AgentState::Refused { code: Some(_), .. } => 2,
                AgentState::Refused { code: None, .. } => 4,
                _ => 0,
            })
        }
        What::Pin(args::Pin::Change { serial, pin_stdin }) => {
            pin::change(screen, &agent, *serial, *pin_stdin).await?;
            Ok(0)
        }
        What::Lock => {
            let done = agent.lock().await?;
            screen.answer(&done);
            screen.say("locked", &[]);
            Ok(0)
        }
        What::Open { files, out, overwrite, pin } => {
            let (out, told) = (out.as_deref(), open::Told::Path);
            open::Opening { files, told, out, overwrite: *overwrite, pin }.run(screen, &agent).await
        }
        What::Route { to, files, until, yes, pin } => {
            let (until, told) = (until.as_deref(), open::Told::Path);
            route::Routing { files, told, targets: to, until, agreed: *yes, pin }.run(screen, &agent).await
        }
        What::Send { resume: true, pin, .. } => send::resume(screen, &agent, pin).await,
        What::Send { units, files, title, reply_to, yes, pin, .. } => {
            let (title, reply_to) = (title.as_deref().unwrap_or_default(), reply_to.as_deref());
            let sending = send::Sending { files, units, title, reply_to, agreed: *yes, pin };
            sending.run(screen, &agent).await
        }
        What::Sent { pin } => send::list(screen, &agent, pin).await,
        What::Inbox { what, pin } => inbox::run(screen, &agent, what.as_ref(), pin).await,
        What::Units => {
            units::list(screen, &agent).await?;
            Ok(0)
        }
        // Handled before an agent is needed.
        What::Doctor | What::Seal { .. } => Ok(0),
    }
}
