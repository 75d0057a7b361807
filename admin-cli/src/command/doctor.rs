//! `doctor`: what does not work. At the desk, through the agent; with `--config`, on a service's machine, by that service's own
//! program, which alone knows its token and its database.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use warifu_api::wire::agent::{AgentState, CardInReader, ForwardTo};
use warifu_api::wire::audit::AlarmKind;
use warifu_api::wire::authority::{CheckpointAnswer, Status as Authority};
use warifu_api::wire::site::Status as AtSite;
use warifu_api::wire::trusts::{Trouble, Trusts};
use warifu_ledger::Id;
use warifu_ledger::key::PublicKey;
use warifu_ledger::statement::{Millis, Role};
use warifu_texts::findings::{Findings, Level};
use warifu_texts::help;
use warifu_token_agent::client::AgentClient;

use super::inspect;
use crate::args::Common;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::pins::Pins;
use crate::screen::Screen;

/// The exit code where something does not work.
const EXIT_FAULT: u8 = 6;
/// How far this PC's clock may be off before somebody should look.
const CLOCK_MS: Millis = 5 * 60 * 1000;
/// Contracts that end within this time are told of.
const SOON_MS: Millis = 30 * 24 * 60 * 60 * 1000;
const DAY_MS: Millis = 24 * 60 * 60 * 1000;

/// The services that have a machine of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Service {
    /// The issuing authority.
    Ca,
    /// The key management service, as authority.
    Authority,
    /// A site.
    Site,
}

/// Has a service's own program look at its machine, and passes on what it says.
pub(crate) fn at_a_service(config: &Path, service: Option<Service>, json: bool) -> Result<ExitCode, Fault> {
    let file = |source| Fault::File { path: config.display().to_string(), source };
    let service = match service {
        Some(service) => service,
        None => kind_of(&std::fs::read_to_string(config).map_err(file)?),
    };
    let (program, part): (_, &[&str]) = match service {
        Service::Ca => ("warifu-ca", &[]),
        Service::Authority => ("warifu-kms", &["authority"]),
        Service::Site => ("warifu-kms", &["site"]),
    };
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(program));
    let program = beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(program));
    let mut command = Command::new(&program);
    command.args(part).arg("--config").arg(config).arg("doctor");
    command.args(["--lang", help::language().code()]);
    if json {
        command.arg("--json");
    }
    let source = |source| Fault::File { path: program.display().to_string(), source };
    let status = command.status().map_err(source)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Whose configuration it is: only an authority has a helpdesk, and only a ca listens nowhere.
fn kind_of(text: &str) -> Service {
    // What follows belongs to a table.
    let own = || text.lines().take_while(|line| !line.trim_start().starts_with('['));
    let has = |key: &str| {
        own().any(|line| {
            line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
        })
    };
    if has("helpdesk") {
        Service::Authority
    } else if has("listen") {
        Service::Site
    } else {
        Service::Ca
    }
}

/// Looks at everything that can be seen from the desk.
pub(crate) async fn at_the_desk(common: &Common, pins: Pins, screen: &Screen) -> ExitCode {
    let mut findings = Findings::default();
    let bootstrap = common.agent.clone().unwrap_or_else(AgentClient::default_bootstrap);
    let agent = match AgentClient::from_bootstrap(&bootstrap) {
        Ok(agent) => agent.status().await.map(|status| (agent, status)),
        Err(error) => Err(error),
    };
    let helpdesk = match agent {
        Ok((agent, status)) => {
            findings.ok("agent", "agent", &[]);
            let reads = pins.scripted() || (!common.json && std::io::stdin().is_terminal());
            let mut desk = Desk::new(agent, screen, pins, common);
            if matches!(status.state, AgentState::NoReaderService) {
                findings.add(Level::Fault, "reader-service", "reader-service-bad", &[]);
            }
            look(&mut findings, &mut desk, reads).await;
            status.helpdesk
        }
        Err(error) => {
            findings.add(Level::Fault, "agent", "agent-bad", &[("why", error.to_string().into())]);
            None
        }
    };
    screen.findings(&findings, helpdesk.as_deref());
    if findings.worst() == Level::Fault { ExitCode::from(EXIT_FAULT) } else { ExitCode::SUCCESS }
}

async fn look(findings: &mut Findings, desk: &mut Desk<'_>, reads: bool) {
    let cards = desk.cards().await.unwrap_or_default();
    if cards.iter().all(|card| card.keys.is_none()) && findings.worst() == Level::Ok {
        findings.add(Level::Warning, "card", "card-none", &[]);
    }
    for card in &cards {
        let values = [("serial", card.serial.to_string().into()), ("tries_left", card.tries_left.into())];
        match card.tries_left {
            0 => findings.add(Level::Fault, "pin", "pin-blocked", &values),
            1 => findings.add(Level::Warning, "pin", "pin-last-try", &values),
            _ => true,
        };
    }
    let authority = match desk.get::<Authority>(None, "/v1/status").await {
        Ok(authority) => authority,
        Err(_) => {
            findings.add(Level::Fault, "authority", "authority-bad", &[]);
            sites(findings, desk, None, None).await;
            return;
        }
    };
    findings.ok("authority", "authority", &[("leaves", authority.size.into())]);
    clock(findings, authority.time);
    if let Ok(checkpoint) = desk.get::<CheckpointAnswer>(None, "/v1/checkpoint").await {
        let behind = authority.size.saturating_sub(checkpoint.cosigned_size);
        let (level, id) = if behind > 0 { (Level::Warning, "ca-behind") } else { (Level::Ok, "ca") };
        findings.add(level, "ca", id, &[("behind", behind.into())]);
    }
    let readable = reads && cards.iter().any(|card| card.keys.is_some() && card.tries_left > 1);
    let book = if readable { Some(desk.book().await) } else { None };
    let book = match book {
        Some(Ok(book)) => Some(book),
        Some(Err(fault)) => {
            let why = desk.screen.what(&fault);
            findings.add(Level::Fault, "ledger", "ledger-bad", &[("why", why.into())]);
            None
        }
        None => {
            findings.add(Level::Warning, "ledger", "ledger-not-read", &[]);
            None
        }
    };
    let lags = sites(findings, desk, Some(&authority), book.as_ref()).await;
    if let Some(book) = &book {
        roles(findings, book, &cards);
        for card in &cards {
            inspect::examine(findings, card, book, desk.screen);
        }
        contracts(findings, book, authority.time);
        waiting(findings, book, &lags, desk.screen);
        journals(findings, desk, book).await;
    }
    if let Ok(trusts) = desk.get::<Trusts>(None, "/v1/trusts").await {
        others(findings, &trusts, authority.time, desk.screen);
    }
}

/// Other organizations: whether files can be sent there, and whether somebody stands in for one of them.
fn others(findings: &mut Findings, trusts: &Trusts, now: Millis, screen: &Screen) {
    for entry in &trusts.organizations {
        let named = ("organization", entry.name.clone().into());
        let told = |trouble: &Trouble| screen.text(&format!("trouble-{}", trouble.kind.name()), &[]);
        if let Some(alarm) = &entry.alarm {
            findings.add(Level::Fault, "trust", "trust-alarm", &[named.clone(), ("why", told(alarm).into())]);
        }
        let counts = entry.directory.is_some_and(|found| found.expires_at > now);
        match &entry.trouble {
            Some(trouble) => {
                let values = [named, ("why", told(trouble).into())];
                findings.add(Level::Warning, "trust", "trust-late", &values);
            }
            None if counts => findings.ok("trust", "trust", &[named]),
            None => {
                findings.add(Level::Warning, "trust", "trust-none", &[named]);
            }
        }
    }
}

/// This PC's clock against the organization's time. Orders do not depend on it; the dates that people see do.
fn clock(findings: &mut Findings, time: Millis) {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let wall = Millis::try_from(wall.as_millis()).unwrap_or(Millis::MAX);
    let off = wall.abs_diff(time);
    let (level, id) = match off {
        0..=CLOCK_MS => (Level::Ok, "clock"),
        _ if wall > time => (Level::Warning, "clock-ahead"),
        _ => (Level::Warning, "clock-behind"),
    };
    findings.add(level, "clock", id, &[("minutes", off.div_ceil(60_000).into())]);
}

/// Every site by name; those that do not answer, lag behind, or have no lease are returned.
async fn sites(
    findings: &mut Findings,
    desk: &Desk<'_>,
    authority: Option<&Authority>,
    book: Option<&Book>,
) -> BTreeMap<Id, String> {
    let mut lags = BTreeMap::new();
    let Ok(profile) = desk.agent.profile().await else {
        findings.add(Level::Fault, "profile", "profile-none", &[]);
        return lags;
    };
    // The ledger knows of sites that this PC's profile does not have yet.
    let mut all: BTreeMap<Id, (String, String, PublicKey)> = BTreeMap::new();
    if let Some(book) = book {
        for (id, site) in book.state.sites().filter(|(_, site)| !site.removed) {
            all.insert(*id, (book.name(&site.name), site.address.clone(), site.keys.tls));
        }
    } else {
        all.extend(
            profile.sites.into_iter().map(|site| (site.site, (site.name, site.address, site.keys.tls))),
        );
    }
    for (id, (name, address, key)) in all {
        let to = ForwardTo::Site { address: address.clone(), key };
        let named = [("site", name.clone().into()), ("address", address.into())];
        let Ok(status) = desk.ask::<AtSite>(to, None, "GET", "/v1/status", None::<&()>).await else {
            findings.add(Level::Fault, "site", "site-bad", &named);
            lags.insert(id, name);
            continue;
        };
        let behind = authority.map_or(0, |authority| authority.size.saturating_sub(status.folded));
        let lease = status.lease_left_ms;
        let age = book.map(|book| book.state.policy().lease_ms.saturating_sub(lease));
        let mut values = named.to_vec();
        values.extend([
            ("position", status.folded.into()),
            ("behind", behind.into()),
            ("lease_seconds", (lease / 1000).into()),
        ]);
        values.extend(age.map(|age| ("stamp_age_seconds", (age / 1000).into())));
        let (level, finding) = match (lease, behind) {
            (0, _) => (Level::Fault, "site-no-lease"),
            (_, 0) => (Level::Ok, "site"),
            _ => (Level::Warning, "site-behind"),
        };
        findings.add(level, "site", finding, &values);
        if level > Level::Ok {
            lags.insert(id, name);
        }
    }
    lags
}

/// Whose cards are in the readers.
fn roles(findings: &mut Findings, book: &Book, cards: &[CardInReader]) {
    for card in cards {
        let serial = ("serial", card.serial.to_string().into());
        let Some(keys) = card.keys else { continue };
        let id = book.state.card_of_authentication_key(&keys.authentication.0);
        let member =
            id.and_then(|id| book.state.card(&id)).and_then(|card| book.state.member(&card.card.member));
        let Some(member) = member else {
            findings.add(Level::Warning, "card", "card-foreign", &[serial]);
            continue;
        };
        let values = [serial, ("name", book.name(&member.name.record).into())];
        let may_order = member.roles.iter().any(|role| matches!(role, Role::Officer | Role::Administrator));
        findings.ok("card", if may_order { "card-officer" } else { "card-member" }, &values);
    }
}

/// Contracts that end soon, by the organization's time.
fn contracts(findings: &mut Findings, book: &Book, now: Millis) {
    for (id, contract) in book.state.contracts() {
        let left = contract.ends_at.saturating_sub(now);
        if !book.state.contract_is_over(id, now) && left <= SOON_MS {
            let values = [
                ("label", book.label(&contract.name).into()),
                ("name", book.name(&contract.name).into()),
                ("days", left.div_ceil(DAY_MS).into()),
            ];
            findings.add(Level::Warning, "contract", "contract-ends", &values);
        }
    }
}

/// What is wrong with sites' audit journals, where the card that reads may know.
async fn journals(findings: &mut Findings, desk: &Desk<'_>, book: &Book) {
    let Ok(alarms) = desk.journal_alarms(book).await else { return };
    for alarm in alarms {
        let values = [("site", book.site_name(&alarm.site).into()), ("row", alarm.row.into())];
        let (level, id) = match alarm.kind {
            AlarmKind::Broken => (Level::Fault, "journal-broken"),
            AlarmKind::GivenUp => (Level::Warning, "journal-given-up"),
        };
        findings.add(level, "journals", id, &values);
    }
}

/// What was ordered and is not there yet, and who is waited for.
fn waiting(findings: &mut Findings, book: &Book, lags: &BTreeMap<Id, String>, screen: &Screen) {
    let ca = || screen.text("the-ca", &[]);
    for (_, unit) in book.state.units().filter(|(_, unit)| unit.key.is_none()) {
        let values = [("unit", book.name(&unit.name).into()), ("who", ca().into())];
        findings.add(Level::Warning, "unit", "unit-waits", &values);
    }
    for (_, grant) in book.state.grants().filter(|(_, grant)| !grant.revoked && grant.issued.is_none()) {
        let Some(unit) = book.state.unit(&grant.unit) else { continue };
        let member = book.state.card(&grant.card).and_then(|card| book.state.member(&card.card.member));
        let late: Vec<&str> =
            unit.sites.iter().filter_map(|site| lags.get(site)).map(String::as_str).collect();
        let who = if late.is_empty() { ca() } else { late.join(screen.separator()) };
        let values = [
            ("unit", book.name(&unit.name).into()),
            ("member", member.map(|member| book.name(&member.name.record)).unwrap_or_default().into()),
            ("who", who.into()),
        ];
        findings.add(Level::Warning, "grant", "grant-waits", &values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_its_words_and_whatever_is_not_in_order_its_remedy() {
        let code = include_str!("doctor.rs").split("#[cfg(test)]").next().unwrap();
        let words = crate::message::Words::load(warifu_texts::Language::Japanese).unwrap();
        let found: Vec<&str> = code
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|id| words.admin().has(&format!("doctor-{id}")))
            .collect();
        assert!(found.len() > 20, "{found:?}");
        for id in found {
            let in_order = code.contains(&format!("Level::Ok, \"{id}\""))
                || code.match_indices(".ok(\"").any(|(at, _)| code[at..].split('"').nth(3) == Some(id));
            let remedy = words.admin().attribute(&format!("doctor-{id}"), "remedy", &[]);
            assert_eq!(remedy.is_none(), in_order || ["card-officer", "card-member"].contains(&id), "{id}");
        }
    }

    #[test]
    fn a_configuration_says_whose_it_is() {
        let hsm = "[hsm]\ntoken_label = \"x\"\npin_file = \"pin\"\n";
        for (text, kind) in [
            ("data = \"d\"\n[kms]\naddress = \"listen = helpdesk\"\n", Service::Ca),
            ("data = \"d\"\nlisten = \"a:1\"\naddress = \"a:1\"\n", Service::Site),
            ("listen=\"a:1\"\n  helpdesk = \"x\"\n", Service::Authority),
            ("# listen = \"a:1\"\n", Service::Ca),
            ("data = \"d\"\n[monitor]\nlisten = \"a:1\"\n", Service::Ca),
        ] {
            assert_eq!(kind_of(&format!("{text}{hsm}")), kind, "{text}");
        }
    }
}
