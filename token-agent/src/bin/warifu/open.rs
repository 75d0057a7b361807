//! `warifu open` and `warifu unlock`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use warifu_api::wire::agent::{
    AgentFault, AgentState, FileOutcome, OpenAnswer, OpenRequest, OpenTarget, Status, Unlock,
};
use warifu_token_agent::client::{AgentClient, AgentError};
use warifu_token_agent::texts::AgentTexts as _;

use crate::args::PinArgs;
use crate::fault::{Fault, exit_code};
use crate::screen::Screen;

/// How often progress is asked for.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Asks for the PIN, with the tries left, and enters it.
pub(crate) async fn unlock(
    screen: &Screen,
    agent: &AgentClient,
    args: &PinArgs,
    serial: Option<u32>,
    tries_left: Option<u8>,
) -> Result<Status, Fault> {
    let tries_left = match tries_left {
        Some(tries_left) => tries_left,
        None => match (serial, agent.status().await?.state) {
            (Some(serial), _) => {
                let cards = agent.cards().await?.cards;
                let card = cards.iter().find(|card| card.serial == serial);
                card.ok_or(AgentError::Fault(AgentFault::NoCard))?.tries_left
            }
            (None, AgentState::PinNeeded { tries_left, .. }) => tries_left,
            (None, AgentState::Open { .. }) => return Ok(agent.status().await?),
            // The agent says why not, or knows another card that is meant.
            (None, _) => {
                agent.cards().await?.cards.iter().map(|card| card.tries_left).min().unwrap_or_default()
            }
        },
    };
    if tries_left == 0 {
        let fault = match agent.status().await?.state {
            AgentState::NoReaderService => AgentFault::NoReaderService,
            AgentState::NoReader => AgentFault::NoReader,
            AgentState::NoCard => AgentFault::NoCard,
            AgentState::ForeignCard { .. } => AgentFault::ForeignCard,
            _ => AgentFault::PinBlocked,
        };
        return Err(AgentError::Fault(fault).into());
    }
    let (pin, spend_last_try) = screen.pin(args, tries_left)?;
    Ok(agent.unlock(&Unlock { serial, pin, spend_last_try }).await?)
}

/// One call of `warifu open`.
pub(crate) struct Opening<'a> {
    pub(crate) files: &'a [PathBuf],
    pub(crate) out: Option<&'a Path>,
    pub(crate) overwrite: bool,
    pub(crate) pin: &'a PinArgs,
}

impl Opening<'_> {
    pub(crate) async fn run(&self, screen: &Screen, agent: &AgentClient) -> Result<u8, Fault> {
        let request = self.request()?;
        let answer = match with_progress(screen, agent, &request).await {
            Err(Fault::Agent(AgentError::Fault(AgentFault::PinNeeded { tries_left }))) => {
                unlock(screen, agent, self.pin, None, Some(tries_left)).await?;
                with_progress(screen, agent, &request).await?
            }
            done => done?,
        };
        screen.answer(&answer);
        let failed = answer.files.iter().any(|outcome| matches!(outcome, FileOutcome::Failed { .. }));
        let helpdesk = if failed { agent.status().await?.helpdesk } else { None };
        let mut worst = 0;
        for (file, outcome) in self.files.iter().zip(&answer.files) {
            worst = worst.max(self.report(screen, file, outcome, helpdesk.as_deref()));
        }
        Ok(worst)
    }

    fn request(&self) -> Result<OpenRequest, Fault> {
        let target = match self.out {
            None => OpenTarget::View,
            Some(_) if self.files.len() != 1 => return Err(Fault::OneOutput),
            Some(out) => OpenTarget::Export { path: absolute(out)?, overwrite: self.overwrite },
        };
        let files = self.files.iter().map(|file| absolute(file)).collect::<Result<_, _>>()?;
        Ok(OpenRequest { files, target })
    }

    fn report(&self, screen: &Screen, file: &Path, outcome: &FileOutcome, helpdesk: Option<&str>) -> u8 {
        let file = file.to_string_lossy();
        let out = self.out.map(|out| out.to_string_lossy()).unwrap_or_default();
        match outcome {
            FileOutcome::Viewing { unit, .. } => {
                screen.say("opened-viewing", &[("file", file.into()), ("unit", unit.as_str().into())]);
                0
            }
            FileOutcome::Exported { bytes, unit } => {
                let values = [
                    ("file", file.into()),
                    ("unit", unit.as_str().into()),
                    ("out", out.into()),
                    ("bytes", bytes.to_string().into()),
                ];
                screen.say("opened-exported", &values);
                0
            }
            FileOutcome::Failed { fault } => {
                let explained = screen.texts.fault(fault);
                let values = [("file", file.into()), ("what", explained.what.as_str().into())];
                screen.complain("open-failed", &values);
                screen.complain_remedy(&explained, helpdesk);
                exit_code(fault)
            }
        }
    }
}

/// The agent has another working directory.
fn absolute(path: &Path) -> Result<String, Fault> {
    let absolute = std::path::absolute(path).ok().and_then(|path| path.into_os_string().into_string().ok());
    absolute.ok_or_else(|| {
        Fault::Agent(AgentError::Fault(AgentFault::FileUnreadable {
            why: path.to_string_lossy().into_owned(),
        }))
    })
}

/// Opens, with a bar for people where it takes long.
async fn with_progress(
    screen: &Screen,
    agent: &AgentClient,
    request: &OpenRequest,
) -> Result<OpenAnswer, Fault> {
    let open = agent.open(request);
    if screen.json || !std::io::stderr().is_terminal() {
        return Ok(open.await?);
    }
    let show = async {
        let bar = bar(screen.texts.get("opening"));
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            if let Ok(progress) = agent.progress().await {
                bar.set_length(progress.total);
                bar.set_position(progress.done);
            }
        }
    };
    tokio::select! {
        answer = open => Ok(answer?),
        () = show => Err(Fault::PinNotEntered),
    }
}

/// A bar that disappears when it is dropped.
pub(crate) fn bar(message: String) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(message);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
