//! `warifu open` and `warifu unlock`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use warifu_api::wire::agent::{
    AgentFault, CardInReader, FileOutcome, OpenAnswer, OpenRequest, OpenTarget, Standing, Status, Unlock,
};
use warifu_token_agent::client::{AgentClient, AgentError};
use warifu_token_agent::texts::AgentTexts as _;

use crate::args::PinArgs;
use crate::fault::{Fault, exit_code};
use crate::screen::Screen;

/// How often progress is asked for.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Asks for the PIN of the card that is meant, with the tries left, and enters it.
pub(crate) async fn unlock(
    screen: &Screen,
    agent: &AgentClient,
    args: &PinArgs,
    serial: Option<u32>,
) -> Result<Status, Fault> {
    let cards = agent.cards().await?.cards;
    let Some(card) = card_to_unlock(&cards, serial.or(args.serial))? else {
        let status = agent.status().await?;
        return match status.state.fault() {
            None => Ok(status),
            Some(fault) => Err(fault.into()),
        };
    };
    let (pin, spend_last_try) = screen.pin(args, card)?;
    Ok(agent.unlock(&Unlock { serial: Some(card.serial), pin, spend_last_try }).await?)
}

/// The card whose PIN is to be entered: the one that was named, or the only one that waits for it; none where none does.
pub(crate) fn card_to_unlock(
    cards: &[CardInReader],
    serial: Option<u32>,
) -> Result<Option<&CardInReader>, Fault> {
    let card = match serial {
        Some(serial) => cards.iter().find(|card| card.serial == serial).ok_or(AgentFault::NoCard)?,
        None => match waiting(cards).as_slice() {
            [card] => *card,
            [] => return Ok(None),
            several => {
                let serials = several.iter().map(|card| card.serial.to_string()).collect();
                return Err(AgentFault::SeveralCards { serials }.into());
            }
        },
    };
    if card.tries_left == 0 {
        return Err(AgentFault::PinBlocked.into());
    }
    Ok(Some(card))
}

/// The organization's cards that a PIN can be entered for: those that wait for it, or else those that sites have refused.
fn waiting(cards: &[CardInReader]) -> Vec<&CardInReader> {
    let of = |wanted: fn(&CardInReader) -> bool| cards.iter().filter(|card| wanted(card)).collect::<Vec<_>>();
    let ways: [fn(&CardInReader) -> bool; 3] = [
        |card| matches!(card.standing, Standing::Locked) && card.tries_left > 0,
        |card| matches!(card.standing, Standing::Refused { .. }),
        |card| matches!(card.standing, Standing::Locked),
    ];
    ways.into_iter().map(of).find(|found| !found.is_empty()).unwrap_or_default()
}

/// What people are told of a file.
#[derive(Clone, Copy)]
pub(crate) enum Told {
    /// Its path, as they gave it.
    Path,
    /// Its name: it was taken out of the box, and where it lies is the agent's affair.
    Name,
}

impl Told {
    pub(crate) fn of(self, file: &Path) -> String {
        let told = match self {
            Self::Path => file.as_os_str(),
            Self::Name => file.file_name().unwrap_or_default(),
        };
        told.to_string_lossy().into_owned()
    }
}

/// One call of `warifu open`.
pub(crate) struct Opening<'a> {
    pub(crate) files: &'a [PathBuf],
    pub(crate) told: Told,
    pub(crate) out: Option<&'a Path>,
    pub(crate) overwrite: bool,
    pub(crate) pin: &'a PinArgs,
}

impl Opening<'_> {
    pub(crate) async fn run(&self, screen: &Screen, agent: &AgentClient) -> Result<u8, Fault> {
        let request = self.request()?;
        let mut answer = match with_progress(screen, agent, &request).await {
            Err(Fault::Agent(AgentError::Fault(AgentFault::PinNeeded { .. }))) => {
                let status = unlock(screen, agent, self.pin, None).await?;
                // What a site has just said needs not be asked once more.
                if let Some(refused @ AgentFault::SiteRefused { .. }) = status.state.fault() {
                    return Err(refused.into());
                }
                screen.news(&status.ends);
                with_progress(screen, agent, &request).await?
            }
            done => done?,
        };
        self.with_other_card(screen, agent, &request, &mut answer).await?;
        screen.answer(&answer);
        let mut worst = 0;
        for (file, outcome) in self.files.iter().zip(&answer.files) {
            worst = worst.max(self.report(screen, file, outcome));
        }
        if worst > 0 {
            screen.complain_helpdesk(agent.status().await?.helpdesk.as_deref());
        }
        Ok(worst)
    }

    /// Files that may be for another card, which waits for its PIN, are tried again with it, if the person gives it.
    async fn with_other_card(
        &self,
        screen: &Screen,
        agent: &AgentClient,
        request: &OpenRequest,
        answer: &mut OpenAnswer,
    ) -> Result<(), Fault> {
        let other = answer.files.iter().find_map(|outcome| match outcome {
            FileOutcome::Failed { fault: AgentFault::AnotherCardLocked { serial, .. } } => Some(*serial),
            _ => None,
        });
        let Some(serial) = other.filter(|_| screen.can_ask(self.pin)) else { return Ok(()) };
        match unlock(screen, agent, self.pin, Some(serial)).await {
            Ok(status) => screen.news(&status.ends),
            Err(fault) => {
                // What did open is reported all the same.
                screen.fault(&fault, None);
                return Ok(());
            }
        }
        let is_open = |outcome: &FileOutcome| {
            !matches!(outcome, FileOutcome::Failed { fault: AgentFault::AnotherCardLocked { .. } })
        };
        let again: Vec<String> = request
            .files
            .iter()
            .zip(&answer.files)
            .filter(|(_, outcome)| !is_open(outcome))
            .map(|(file, _)| file.clone())
            .collect();
        let request = OpenRequest { files: again, target: request.target.clone() };
        let mut second = with_progress(screen, agent, &request).await?.files.into_iter();
        for outcome in answer.files.iter_mut().filter(|outcome| !is_open(outcome)) {
            if let Some(better) = second.next() {
                *outcome = better;
            }
        }
        Ok(())
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

    fn report(&self, screen: &Screen, file: &Path, outcome: &FileOutcome) -> u8 {
        let file = self.told.of(file);
        let out = self.out.map(|out| out.to_string_lossy()).unwrap_or_default();
        match outcome {
            FileOutcome::Viewing { unit, routed, .. } => {
                let id = if *routed { "opened-viewing-routed" } else { "opened-viewing" };
                screen.say(id, &[("file", file.into()), ("unit", unit.as_str().into())]);
                0
            }
            FileOutcome::Exported { bytes, unit, routed } => {
                let id = if *routed { "opened-exported-routed" } else { "opened-exported" };
                let values = [
                    ("file", file.into()),
                    ("unit", unit.as_str().into()),
                    ("out", out.into()),
                    ("bytes", bytes.to_string().into()),
                ];
                screen.say(id, &values);
                0
            }
            FileOutcome::Failed { fault } => {
                let explained = screen.texts.fault(fault);
                let values = [("file", file.into()), ("what", explained.what.as_str().into())];
                screen.complain("open-failed", &values);
                screen.complain_remedy(&explained);
                exit_code(fault)
            }
        }
    }
}

/// The agent has another working directory.
pub(crate) fn absolute(path: &Path) -> Result<String, Fault> {
    let absolute = std::path::absolute(path).ok().and_then(|path| path.into_os_string().into_string().ok());
    absolute.ok_or_else(|| AgentFault::FileUnreadable { why: path.to_string_lossy().into_owned() }.into())
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
