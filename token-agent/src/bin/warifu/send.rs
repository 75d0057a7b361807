//! `warifu send` and `warifu sent`: files go to the box of a unit's organization, signed by the card.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::HumanBytes;
use warifu_api::wire::agent::{
    AgentFault, AgentState, Became, SEND_LIMIT, SendAnswer, SendOutcome, SendRequest, SentDelivery, SentFile,
};
use warifu_api::wire::deliveries::{DeliveryState, Handling};
use warifu_texts::one_line;
use warifu_token_agent::addressing::{Addressed, resolve};
use warifu_token_agent::client::{AgentClient, AgentError};
use warifu_token_agent::texts::AgentTexts as _;

use crate::args::PinArgs;
use crate::entering::{Entered, enter, unlock};
use crate::fault::{Fault, exit_code};
use crate::open::{absolute, bar};
use crate::screen::Screen;

/// How often progress is asked for.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// The exit code where something is not proved, as [`AgentFault::NotTrustworthy`] has it.
const UNPROVED: u8 = 2;
/// How much of a delivery's id people see and type.
pub(crate) const SHORT: usize = 8;

/// One call of `warifu send`.
pub(crate) struct Sending<'a> {
    pub(crate) files: &'a [PathBuf],
    pub(crate) units: &'a [String],
    pub(crate) title: &'a str,
    pub(crate) reply_to: Option<&'a str>,
    pub(crate) agreed: bool,
    pub(crate) pin: &'a PinArgs,
}

impl Sending<'_> {
    pub(crate) async fn run(&self, screen: &Screen, agent: &AgentClient) -> Result<u8, Fault> {
        if self.files.len() > SEND_LIMIT {
            return Err(Fault::TooManyToSend { most: SEND_LIMIT });
        }
        let to = each_once(resolve(agent, self.units).await?);
        let organization = to.first().and_then(|unit| unit.organization);
        if to.iter().any(|unit| unit.organization != organization) {
            return Err(Fault::SeveralOrganizations);
        }
        let reply_to = match self.reply_to {
            Some(unit) => Some(own_unit(agent, unit).await?),
            None => None,
        };
        let files = self.files.iter().map(|file| absolute(file)).collect::<Result<Vec<_>, _>>()?;
        let entered = self.entered_before(screen, agent).await?;
        self.show(screen, &to)?;
        if !self.agreed && !screen.agrees("send-agree", self.pin)? {
            return Err(Fault::NotSent);
        }
        let entered = match entered {
            Ok(entered) => entered,
            Err(serial) => enter(screen, agent, self.pin, serial).await?,
        };
        let request = SendRequest {
            serial: entered.serial,
            pin: entered.pin(),
            spend_last_try: entered.spend_last_try,
            files,
            organization,
            to: to.iter().map(|unit| unit.unit).collect(),
            title: self.title.to_owned(),
            reply_to,
        };
        let answer = with_progress(screen, agent, "sending", agent.send(&request)).await?;
        report(screen, agent, &answer).await
    }

    /// The PIN where it has to be entered first; otherwise the card that is unlocked, and the PIN is asked for when it is known for
    /// what.
    async fn entered_before(
        &self,
        screen: &Screen,
        agent: &AgentClient,
    ) -> Result<Result<Entered, u32>, Fault> {
        let status = agent.status().await?;
        let named = |serial: &u32| self.pin.serial.is_none_or(|wanted| wanted == *serial);
        let open = std::iter::once(&status.state).chain(&status.others).find_map(|state| match state {
            AgentState::Open { serial, .. } if named(serial) => Some(*serial),
            _ => None,
        });
        match open {
            Some(serial) => Ok(Err(serial)),
            None => Ok(Ok(unlock(screen, agent, self.pin).await?)),
        }
    }

    /// What the card signs, before the person agrees.
    fn show(&self, screen: &Screen, to: &[Addressed]) -> Result<(), Fault> {
        let names: Vec<String> = to.iter().map(|unit| one_line(&unit.name)).collect();
        let values = [
            ("units", names.join(screen.texts.separator()).into()),
            ("title", one_line(self.title).into()),
            ("count", self.files.len().into()),
        ];
        screen.say("send-plan", &values);
        for file in self.files {
            let found = std::fs::metadata(file)
                .map_err(|error| Fault::from(AgentFault::FileUnreadable { why: error.to_string() }))?;
            let values = [
                ("file", one_line(&file.to_string_lossy()).into()),
                ("size", HumanBytes(found.len()).to_string().into()),
            ];
            screen.say("send-plan-file", &values);
        }
        Ok(())
    }
}

fn each_once(units: Vec<Addressed>) -> Vec<Addressed> {
    let mut once: Vec<Addressed> = Vec::new();
    for unit in units {
        // Another organization may have given one of its units the number of ours.
        if once.iter().all(|known| (known.organization, known.unit) != (unit.organization, unit.unit)) {
            once.push(unit);
        }
    }
    once
}

async fn own_unit(agent: &AgentClient, unit: &str) -> Result<warifu_ledger::Id, Fault> {
    let found = resolve(agent, std::slice::from_ref(&unit.to_owned())).await?;
    let own = found.into_iter().find(|found| found.organization.is_none());
    own.map(|unit| unit.unit).ok_or_else(|| Fault::UnitUnknown { unit: unit.to_owned() })
}

/// Brings what has not arrived.
pub(crate) async fn resume(screen: &Screen, agent: &AgentClient, pin: &PinArgs) -> Result<u8, Fault> {
    unlocked(screen, agent, pin).await?;
    let answer = with_progress(screen, agent, "sending", agent.resume_sending()).await?;
    report(screen, agent, &answer).await
}

/// Makes sure that a card is unlocked.
pub(crate) async fn unlocked(screen: &Screen, agent: &AgentClient, pin: &PinArgs) -> Result<(), Fault> {
    if let Some(AgentFault::PinNeeded { .. }) = agent.status().await?.state.fault() {
        unlock(screen, agent, pin).await?;
    }
    Ok(())
}

async fn report(screen: &Screen, agent: &AgentClient, answer: &SendAnswer) -> Result<u8, Fault> {
    screen.answer(answer);
    let mut worst = 0;
    for SentFile { file, outcome } in &answer.files {
        let file = one_line(file);
        match outcome {
            SendOutcome::Arrived { id } => {
                screen.say("sent-arrived", &[("file", file.into()), ("id", short(&id.to_string()).into())]);
            }
            SendOutcome::Unproved { .. } => {
                let values = [("file", file.into())];
                screen.complain("sent-unproved", &values);
                screen.complain_remedy(&screen.texts.explained("sent-unproved", &values));
                worst = worst.max(UNPROVED);
            }
            SendOutcome::Kept { fault, .. } => {
                let what = screen.texts.fault(fault).what;
                let values = [("file", file.into()), ("what", what.into())];
                let explained = screen.texts.explained("sent-kept", &values);
                screen.complain("sent-kept", &values);
                screen.complain_remedy(&explained);
                worst = worst.max(exit_code(fault));
            }
            SendOutcome::Failed { fault } => {
                let explained = screen.texts.fault(fault);
                let values = [("file", file.into()), ("what", explained.what.as_str().into())];
                screen.complain("send-failed", &values);
                screen.complain_remedy(&explained);
                worst = worst.max(exit_code(fault));
            }
        }
    }
    if worst > 0 {
        screen.complain_helpdesk(agent.status().await?.helpdesk.as_deref());
    }
    Ok(worst)
}

/// `warifu sent`: what was sent from this PC, and what has become of it.
pub(crate) async fn list(screen: &Screen, agent: &AgentClient, pin: &PinArgs) -> Result<u8, Fault> {
    unlocked(screen, agent, pin).await?;
    let sent = agent.sent().await?;
    screen.answer(&sent);
    if sent.deliveries.is_empty() {
        screen.say("sent-nothing", &[]);
    }
    for delivery in &sent.deliveries {
        tell(screen, delivery);
    }
    Ok(0)
}

fn tell(screen: &Screen, sent: &SentDelivery) {
    let to: Vec<String> = sent.to.iter().map(|unit| one_line(&unit.name)).collect();
    let values = [
        ("id", short(&sent.id.to_string()).into()),
        ("at", sent.sent_at.as_str().into()),
        ("units", to.join(screen.texts.separator()).into()),
        ("title", one_line(&sent.title).into()),
        ("file", one_line(&sent.name).into()),
        ("size", HumanBytes(sent.size).to_string().into()),
    ];
    screen.say("sent-line", &values);
    match &sent.became {
        Became::Unknown if sent.here => screen.say("sent-state-here", &[]),
        Became::Unknown => screen.say("sent-state-unknown", &[]),
        Became::Unproved => screen.say("sent-state-unproved", &[]),
        Became::Arriving => screen.say("delivery-arriving", &[]),
        Became::Received { state: so_far, units } => {
            screen.say(state(so_far), &[]);
            for addressee in units {
                let known = sent.to.iter().find(|unit| unit.unit == addressee.unit);
                let unit = known.map_or_else(|| addressee.unit.to_string(), |unit| one_line(&unit.name));
                handling(screen, &unit, &addressee.handling);
            }
        }
    }
}

/// The message for how far a delivery's file has come.
pub(crate) fn state(state: &DeliveryState) -> &'static str {
    match state {
        DeliveryState::Arriving { .. } | DeliveryState::Checking { .. } => "delivery-arriving",
        DeliveryState::Quarantined { .. } => "delivery-quarantined",
        DeliveryState::Arrived { .. } => "delivery-arrived",
        DeliveryState::Deleted { .. } => "delivery-deleted",
    }
}

/// What a unit has done with a delivery, if anything.
pub(crate) fn handling(screen: &Screen, unit: &str, handling: &Handling) {
    let unit = ("unit", unit.into());
    match handling {
        Handling::Waiting => {}
        Handling::Accepted { .. } => screen.say("delivery-accepted", &[unit]),
        Handling::Returned { reason, .. } => {
            screen.say("delivery-returned", &[unit, ("reason", one_line(reason).into())]);
        }
        Handling::PassedOn { .. } => screen.say("delivery-passed-on", &[unit]),
    }
}

/// The beginning of an id, as people see it.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

/// Waits for the agent, with a bar for people where it takes long.
pub(crate) async fn with_progress<T>(
    screen: &Screen,
    agent: &AgentClient,
    what: &str,
    work: impl Future<Output = Result<T, AgentError>>,
) -> Result<T, Fault> {
    if screen.json || !std::io::stderr().is_terminal() {
        return Ok(work.await?);
    }
    let show = async {
        let bar = bar(screen.texts.get(what));
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            if let Ok(progress) = agent.deliveries_progress().await {
                bar.set_length(progress.total);
                bar.set_position(progress.done);
            }
        }
    };
    tokio::select! {
        done = work => Ok(done?),
        () = show => Err(Fault::NotSent),
    }
}
