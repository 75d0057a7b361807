//! What is in the readers: whose cards, their PINs, certificates and shares. Nothing here needs a PIN; what only a site can
//! tell is told once the PIN was entered.

use jiff::Timestamp;
use warifu_api::ErrorCode;
use warifu_api::wire::agent::{CardCertificate, CardInReader, Forward, ForwardTo, Standing};
use warifu_api::wire::authority::Package;
use warifu_ledger::statement::{Millis, Profile};
use warifu_texts::day::Zone;
use warifu_token_agent::client::AgentClient;

use super::{CARD, Findings, REFUSED, State, UNREACHABLE, Values};
use crate::fault::Fault;

/// How long before its end a certificate is worth a word.
const SOON: Millis = 30 * 24 * 60 * 60 * 1000;

pub(super) async fn look(
    findings: &mut Findings<'_>,
    agent: &AgentClient,
    profile: Option<&Profile>,
) -> Result<(), Fault> {
    if findings
        .list
        .iter()
        .any(|finding| ["reader-service-not-running", "reader-missing"].contains(&finding.finding))
    {
        return Ok(());
    }
    let found = agent.cards().await?;
    for module in &found.modules {
        let finding = if module.hung { "module-hung" } else { "module-unusable" };
        findings.fault("card", finding, CARD, &[("module", module.module.as_str().into())]);
    }
    let (foreign, ours): (Vec<_>, Vec<_>) =
        found.cards.iter().partition(|card| matches!(card.standing, Standing::Foreign));
    if ours.is_empty() {
        let foreign = foreign.into_iter().map(|card| &card.reader);
        match found.unusable.iter().chain(foreign).next() {
            Some(reader) => {
                findings.fault("card", "card-foreign", CARD, &[("reader", reader.as_str().into())]);
            }
            None => findings.fault("card", "card-missing", CARD, &[]),
        }
    }
    for card in ours {
        let serial = card.serial.to_string();
        let values = [("serial", serial.as_str().into()), ("reader", card.reader.as_str().into())];
        standing(findings, card, &values);
        pin(findings, card, &serial);
        certificate(findings, card.certificate.as_ref(), profile, &serial);
        shares(findings, agent, card, &serial).await;
    }
    Ok(())
}

fn standing(findings: &mut Findings<'_>, card: &CardInReader, values: Values<'_, '_>) {
    match &card.standing {
        Standing::Open { .. } => findings.add("card", "card-valid", State::Ok, values),
        Standing::Refused { code } => {
            let finding = match code {
                ErrorCode::CardSuspended => "card-suspended",
                ErrorCode::ContractOver => "card-contract-over",
                _ => "card-revoked",
            };
            findings.fault("card", finding, REFUSED, values);
        }
        Standing::Unanswered => findings.fault("card", "card-unanswered", UNREACHABLE, values),
        // Nobody is asked for the PIN of a blocked card.
        _ if card.tries_left == 0 => {}
        _ => findings.add("card", "card-locked", State::Unknown, values),
    }
}

fn pin(findings: &mut Findings<'_>, card: &CardInReader, serial: &str) {
    let values = [("serial", serial.into()), ("tries_left", card.tries_left.into())];
    match card.tries_left {
        0 => findings.fault("pin", "pin-blocked", CARD, &values),
        1 => findings.add("pin", "pin-last-try", State::Warning, &values),
        _ => findings.add("pin", "pin-fine", State::Ok, &values),
    }
}

/// Sites go by the card's key, so that a certificate that is over keeps no file from opening: other software minds.
fn certificate(
    findings: &mut Findings<'_>,
    certificate: Option<&CardCertificate>,
    profile: Option<&Profile>,
    serial: &str,
) {
    let Some(certificate) = certificate else {
        return findings.add(
            "certificate",
            "certificate-missing",
            State::Warning,
            &[("serial", serial.into())],
        );
    };
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    let zone = Zone::named(profile.map_or("UTC", |profile| &profile.zone));
    let date = |at: Millis| zone.day_of(at).map_or_else(|| at.to_string(), |day| day.to_string());
    let (begins, ends) = (date(certificate.not_before), date(certificate.not_after));
    let values = [("serial", serial.into()), ("begins", begins.into()), ("ends", ends.into())];
    let (finding, state) = if now < certificate.not_before {
        ("certificate-not-yet", State::Warning)
    } else if now > certificate.not_after {
        ("certificate-over", State::Warning)
    } else if certificate.not_after - now < SOON {
        ("certificate-ends-soon", State::Warning)
    } else {
        ("certificate-valid", State::Ok)
    };
    findings.add("certificate", finding, state, &values);
}

async fn shares(findings: &mut Findings<'_>, agent: &AgentClient, card: &CardInReader, serial: &str) {
    let count = card.shares;
    let Standing::Open { units, desks, missing } = &card.standing else {
        let values = [("serial", serial.into()), ("count", count.into())];
        return findings.add("shares", "shares-uncertain", State::Unknown, &values);
    };
    let named = |units: &[String]| {
        let names = units.join(findings.screen.texts.separator());
        [("serial", serial.into()), ("units", names.into())]
    };
    let (opened, routed) = (named(units), named(desks));
    match (units.is_empty(), desks.is_empty()) {
        (false, _) => findings.add("shares", "shares-there", State::Ok, &opened),
        (true, false) => {}
        (true, true) => findings.add("shares", "shares-none", State::Warning, &opened),
    }
    if !desks.is_empty() {
        findings.add("shares", "shares-routing", State::Ok, &routed);
    }
    let waiting = waiting(agent, card).await.max(*missing);
    if waiting > 0 {
        let values = [("serial", serial.into()), ("count", waiting.into())];
        findings.add("shares", "shares-waiting", State::Warning, &values);
    }
}

/// How many shares the kms has for this card that it has not been given.
async fn waiting(agent: &AgentClient, card: &CardInReader) -> usize {
    let Some((_, id)) = card.certificate.as_ref().and_then(|certificate| certificate.member_of) else {
        return 0;
    };
    let request = Forward {
        target: ForwardTo::Authority,
        serial: Some(card.serial),
        method: "GET".to_owned(),
        path: format!("/v1/cards/{id}/package"),
        body: None,
    };
    // That the kms cannot be reached is said elsewhere.
    let Ok(answer) = agent.forward(&request).await else { return 0 };
    match serde_json::from_value::<Package>(answer.body) {
        Ok(package) if answer.status == 200 => package.shares.len() + package.pending.len(),
        _ => 0,
    }
}
