//! `warifu doctor`: what does not work, each finding with its one remedy.

mod cards;
mod services;

use std::path::Path;

use fluent_bundle::FluentValue;
use serde::Serialize;
use warifu_api::wire::agent::AgentState;
use warifu_ledger::statement::Profile;
use warifu_texts::table::pad;
use warifu_token_agent::client::AgentClient;
use warifu_token_agent::{SandboxCheck, check_platform, default_profile, profile};

use crate::fault::Fault;
use crate::screen::Screen;

/// Exit codes, as `--help` lists them.
const REFUSED: u8 = 2;
const CARD: u8 = 3;
const UNREACHABLE: u8 = 4;
const SETUP: u8 = 6;

/// How many columns the longest mark takes, brackets included.
const MARK: usize = 6;

/// How things are, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// In order.
    Ok,
    /// It cannot be told yet.
    Unknown,
    /// It works, but something ought to be done.
    Warning,
    /// It keeps files from opening.
    Fault,
}

impl State {
    fn mark(self) -> &'static str {
        match self {
            Self::Ok => "mark-ok",
            Self::Unknown => "mark-unknown",
            Self::Warning => "mark-warning",
            Self::Fault => "mark-fault",
        }
    }
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    /// What was found: the name of its message.
    finding: &'static str,
    state: State,
    message: String,
    remedy: String,
    /// The exit code that a fault stands for.
    #[serde(skip)]
    code: u8,
}

struct Findings<'a> {
    screen: &'a Screen,
    list: Vec<Finding>,
}

type Values<'a, 'b> = &'a [(&'a str, FluentValue<'b>)];

impl Findings<'_> {
    /// `finding` begins with the name of the check.
    fn add(&mut self, check: &'static str, finding: &'static str, state: State, values: Values<'_, '_>) {
        let explained = self.screen.texts.explained(&format!("doctor-{finding}"), values);
        self.list.push(Finding {
            check,
            finding,
            state,
            message: explained.what,
            remedy: explained.remedy,
            code: 0,
        });
    }

    fn fault(&mut self, check: &'static str, finding: &'static str, code: u8, values: Values<'_, '_>) {
        self.add(check, finding, State::Fault, values);
        if let Some(last) = self.list.last_mut() {
            last.code = code;
        }
    }

    /// In order, or a fault.
    fn either(&mut self, good: bool, check: &'static str, findings: [&'static str; 2], code: u8) {
        let [fine, bad] = findings;
        match good {
            true => self.add(check, fine, State::Ok, &[]),
            false => self.fault(check, bad, code, &[]),
        }
    }
}

/// Looks at everything and prints it; the exit code of the first fault.
pub(crate) async fn run(screen: &Screen, agent: Result<AgentClient, Fault>) -> u8 {
    let mut findings = Findings { screen, list: Vec::new() };
    let answering = match agent {
        Ok(agent) => agent.status().await.map(|status| (agent, status)).map_err(Fault::from),
        Err(fault) => Err(fault),
    };
    findings.either(answering.is_ok(), "agent", ["agent-running", "agent-not-running"], UNREACHABLE);
    let profile = match &answering {
        Ok((agent, _)) => agent.profile().await.ok(),
        Err(_) => None,
    };
    let profile = profile_of(&mut findings, profile, &default_profile());
    if let Ok((agent, status)) = &answering {
        readers(&mut findings, &status.state);
        if let Err(fault) = cards::look(&mut findings, agent, profile.as_ref()).await {
            let why = fault.explained(&screen.texts).what;
            findings.fault("agent", "agent-failed", UNREACHABLE, &[("why", why.into())]);
        }
        if let Some(profile) = &profile {
            services::look(&mut findings, agent, profile).await;
        }
    }
    let platform = check_platform();
    match platform.sandbox {
        SandboxCheck::Works => findings.add("sandbox", "sandbox-works", State::Ok, &[]),
        SandboxCheck::Refused => findings.fault("sandbox", "sandbox-refused", SETUP, &[]),
        SandboxCheck::Missing => findings.fault("sandbox", "sandbox-missing", SETUP, &[]),
    }
    match platform.swap {
        false => findings.add("swap", "swap-off", State::Ok, &[]),
        true => findings.add("swap", "swap-on", State::Warning, &[]),
    }
    print(screen, &findings.list, profile.as_ref())
}

fn print(screen: &Screen, findings: &[Finding], profile: Option<&Profile>) -> u8 {
    let code = findings.iter().map(|finding| finding.code).find(|code| *code != 0).unwrap_or_default();
    screen.answer(&findings);
    for finding in findings {
        let mark = pad(&format!("[{}]", screen.texts.get(finding.state.mark())), MARK);
        screen.line(&format!("{mark} {}", finding.message));
        if !finding.remedy.is_empty() {
            let remedy = screen.texts.with("remedy", &[("remedy", finding.remedy.as_str().into())]);
            screen.line(&format!("{} {remedy}", " ".repeat(MARK)));
        }
    }
    let worst = findings.iter().map(|finding| finding.state).max();
    screen.say(if worst == Some(State::Fault) { "diagnosis-faulty" } else { "diagnosis-fine" }, &[]);
    if worst >= Some(State::Warning) {
        screen.helpdesk(profile.map(|profile| profile.helpdesk.as_str()));
    }
    code
}

/// The profile that the agent uses, or where no agent runs, the one in its usual place.
fn profile_of(findings: &mut Findings<'_>, used: Option<Profile>, path: &Path) -> Option<Profile> {
    let found = match used {
        Some(profile) => Ok(profile),
        None => profile::read(path),
    };
    match found {
        Ok(profile) => {
            findings.add("profile", "profile-there", State::Ok, &[("name", profile.name.as_str().into())]);
            Some(profile)
        }
        Err(profile::ProfileError::NotTrustworthy { why }) => {
            let values = [("path", path.to_string_lossy().into()), ("why", why.into())];
            findings.fault("profile", "profile-damaged", SETUP, &values);
            None
        }
        Err(_) => {
            findings.fault("profile", "profile-missing", SETUP, &[]);
            None
        }
    }
}

fn readers(findings: &mut Findings<'_>, state: &AgentState) {
    let service = !matches!(state, AgentState::NoReaderService);
    let names = ["reader-service-running", "reader-service-not-running"];
    findings.either(service, "reader-service", names, CARD);
    if service {
        let reader = !matches!(state, AgentState::NoReader);
        findings.either(reader, "reader", ["reader-there", "reader-missing"], CARD);
    }
}
