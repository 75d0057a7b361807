//! `warifu doctor`: what does not work, each finding with its one remedy.

use fluent_bundle::FluentValue;
use serde::Serialize;
use warifu_api::wire::agent::{AgentState, Forward, ForwardTo};
use warifu_api::wire::site;
use warifu_ledger::statement::ProfileSite;
use warifu_token_agent::check_platform;
use warifu_token_agent::client::AgentClient;

use crate::fault::Fault;
use crate::screen::Screen;

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    check: String,
    ok: bool,
    message: String,
    remedy: String,
    /// The exit code that it stands for, if it is not in order.
    #[serde(skip)]
    code: u8,
}

struct Findings<'a> {
    screen: &'a Screen,
    list: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, check: &str, ok: bool, code: u8, values: &[(&str, FluentValue<'_>)]) {
        let id = format!("doctor-{check}-{}", if ok { "ok" } else { "bad" });
        self.put(check, &id, ok, code, values);
    }

    fn put(&mut self, check: &str, id: &str, ok: bool, code: u8, values: &[(&str, FluentValue<'_>)]) {
        let texts = &self.screen.texts;
        let message = texts.with(id, values);
        let remedy = texts.attribute(id, "remedy", values).unwrap_or_default();
        self.list.push(Finding {
            check: check.to_owned(),
            ok,
            message,
            remedy,
            code: if ok { 0 } else { code },
        });
    }
}

/// Looks at everything and prints it; the exit code of the first thing that is not in order.
pub(crate) async fn run(screen: &Screen, agent: Result<AgentClient, Fault>) -> u8 {
    let mut findings = Findings { screen, list: Vec::new() };
    let platform = check_platform();
    findings.add("sandbox", platform.sandbox, 6, &[]);
    // Not a fault of what is asked for, so it does not change the exit code.
    findings.add("swap", !platform.swap, 0, &[]);
    let helpdesk = match agent {
        Ok(agent) => ask(&mut findings, &agent).await,
        Err(fault) => Err(fault),
    };
    if helpdesk.is_err() {
        findings.add("agent", false, 4, &[]);
    }
    let code = findings.list.iter().map(|finding| finding.code).find(|code| *code != 0).unwrap_or_default();
    screen.answer(&findings.list);
    for finding in &findings.list {
        let mark = screen.texts.get(if finding.ok { "mark-ok" } else { "mark-bad" });
        screen.explain(&warifu_texts::Explained {
            what: format!("[{mark}] {}", finding.message),
            remedy: finding.remedy.clone(),
        });
    }
    if code != 0 {
        screen.helpdesk(helpdesk.ok().flatten().as_deref());
    }
    code
}

async fn ask(findings: &mut Findings<'_>, agent: &AgentClient) -> Result<Option<String>, Fault> {
    let status = agent.status().await?;
    findings.add("agent", true, 0, &[]);
    let profile = agent.profile().await.ok();
    let name = profile.as_ref().map(|profile| profile.name.clone()).unwrap_or_default();
    findings.add("profile", profile.is_some(), 6, &[("name", name.into())]);
    readers(findings, agent, &status.state).await?;
    if let Some(profile) = profile {
        let kms = forward(agent, ForwardTo::Authority).await.is_some();
        findings.add("authority", kms, 4, &[]);
        for site in &profile.sites {
            look_at_site(findings, agent, site).await;
        }
    }
    Ok(status.helpdesk)
}

async fn readers(findings: &mut Findings<'_>, agent: &AgentClient, state: &AgentState) -> Result<(), Fault> {
    let service = !matches!(state, AgentState::NoReaderService);
    findings.add("reader-service", service, 3, &[]);
    if !service {
        return Ok(());
    }
    let reader = !matches!(state, AgentState::NoReader);
    findings.add("reader", reader, 3, &[]);
    if !reader {
        return Ok(());
    }
    let serial = match state {
        AgentState::PinNeeded { serial, .. }
        | AgentState::PinBlocked { serial, .. }
        | AgentState::Open { serial, .. }
        | AgentState::Refused { serial, .. } => *serial,
        _ => {
            findings.add("card", false, 3, &[]);
            return Ok(());
        }
    };
    let cards = agent.cards().await?.cards;
    if let Some(card) = cards.iter().find(|card| card.serial == serial) {
        let serial = serial.to_string();
        let values = [
            ("serial", serial.into()),
            ("reader", card.reader.as_str().into()),
            ("tries_left", card.tries_left.into()),
        ];
        findings.add("card", true, 0, &values);
        findings.add("pin", card.tries_left > 1, 3, &values);
    }
    Ok(())
}

async fn look_at_site(findings: &mut Findings<'_>, agent: &AgentClient, site: &ProfileSite) {
    let answer = forward(agent, ForwardTo::Site { address: site.address.clone(), key: site.keys.tls }).await;
    let status: Option<site::Status> = answer.and_then(|body| serde_json::from_value(body).ok());
    let lease = status.map(|status| status.lease_left_ms);
    let minutes = lease.unwrap_or_default().div_ceil(60_000);
    let values = [("site", site.name.as_str().into()), ("lease_minutes", minutes.into())];
    match lease {
        Some(0) => findings.put("site", "doctor-lease-bad", false, 4, &values),
        lease => findings.add("site", lease.is_some(), 4, &values),
    }
}

/// What a service says of itself, if it answers.
async fn forward(agent: &AgentClient, target: ForwardTo) -> Option<serde_json::Value> {
    let request =
        Forward { target, serial: None, method: "GET".to_owned(), path: "/v1/status".to_owned(), body: None };
    let answer = agent.forward(&request).await.ok()?;
    (answer.status == 200).then_some(answer.body)
}
