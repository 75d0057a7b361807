//! Sites, their leases, the key server, and this PC's clock against theirs.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use warifu_api::wire::agent::{Forward, ForwardTo};
use warifu_api::wire::{authority, site};
use warifu_ledger::statement::{Millis, Profile};
use warifu_token_agent::client::AgentClient;

use super::{Findings, State, UNREACHABLE};

/// How far this PC's clock may be off, in milliseconds: orders and the dates of files go by it, sites do not.
const CLOCK_OFF: Millis = 5 * 60 * 1000;

pub(super) async fn look(findings: &mut Findings<'_>, agent: &AgentClient, profile: &Profile) {
    let mut answers: Vec<(&str, Option<site::Status>)> = Vec::new();
    for site in &profile.sites {
        let target = ForwardTo::Site { address: site.address.clone(), key: site.keys.tls };
        answers.push((&site.name, status(agent, target).await));
    }
    // Files open as long as one site answers.
    let any =
        answers.iter().any(|(_, status)| status.as_ref().is_some_and(|status| status.lease_left_ms > 0));
    let trouble = |findings: &mut Findings<'_>, finding, name: &str| {
        let values = [("site", name.into())];
        match any {
            true => findings.add("site", finding, State::Warning, &values),
            false => findings.fault("site", finding, UNREACHABLE, &values),
        }
    };
    for (name, status) in &answers {
        match status {
            None => trouble(findings, "site-unreachable", name),
            Some(status) if status.lease_left_ms == 0 => trouble(findings, "site-lease-over", name),
            Some(status) => {
                let minutes = status.lease_left_ms.div_ceil(60_000);
                let values = [("site", (*name).into()), ("lease_minutes", minutes.into())];
                findings.add("site", "site-answers", State::Ok, &values);
            }
        }
    }
    let kms: Option<authority::Status> = status(agent, ForwardTo::Authority).await;
    match &kms {
        Some(_) => findings.add("authority", "authority-answers", State::Ok, &[]),
        None => findings.add("authority", "authority-unreachable", State::Warning, &[]),
    }
    let site_time = answers.into_iter().find_map(|(_, status)| status?.time);
    clock(findings, site_time.or(kms.map(|kms| kms.time)));
}

fn clock(findings: &mut Findings<'_>, theirs: Option<Millis>) {
    let Some(theirs) = theirs else {
        return findings.add("clock", "clock-uncertain", State::Unknown, &[]);
    };
    let ours = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    let minutes = [("minutes", ours.abs_diff(theirs).div_ceil(60_000).to_string().into())];
    let (finding, state) = if ours > theirs.saturating_add(CLOCK_OFF) {
        ("clock-fast", State::Warning)
    } else if ours.saturating_add(CLOCK_OFF) < theirs {
        ("clock-slow", State::Warning)
    } else {
        ("clock-right", State::Ok)
    };
    findings.add("clock", finding, state, &minutes);
}

/// What a service says of itself, if it answers.
async fn status<S: DeserializeOwned>(agent: &AgentClient, target: ForwardTo) -> Option<S> {
    let request =
        Forward { target, serial: None, method: "GET".to_owned(), path: "/v1/status".to_owned(), body: None };
    let answer = agent.forward(&request).await.ok().filter(|answer| answer.status == 200)?;
    serde_json::from_value(answer.body).ok()
}
