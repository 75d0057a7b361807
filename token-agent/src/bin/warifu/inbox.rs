//! `warifu inbox`: what lies in the box, who sent it, and what its unit does with it.

use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use warifu_api::wire::agent::{
    AgentFault, DeliveredFrom, FetchRequest, Fetched, Handle, HandleRequest, ReceivedDelivery, SenderStanding,
};
use warifu_api::wire::deliveries::{DeliveryState, Handling};
use warifu_texts::one_line;
use warifu_token_agent::addressing::find;
use warifu_token_agent::client::AgentClient;

use crate::args::{Inbox, PinArgs};
use crate::fault::Fault;
use crate::open::{Opening, Told, absolute};
use crate::route::Routing;
use crate::screen::Screen;
use crate::send::{handling, short, state, unlocked, with_progress};

/// One call of `warifu inbox`.
pub(crate) async fn run(
    screen: &Screen,
    agent: &AgentClient,
    what: Option<&Inbox>,
    pin: &PinArgs,
) -> Result<u8, Fault> {
    let pin = match what {
        Some(Inbox::Open { pin, .. } | Inbox::Route { pin, .. }) => pin,
        _ => pin,
    };
    unlocked(screen, agent, pin).await?;
    let Some(what) = what else { return list(screen, agent).await };
    match what {
        Inbox::Get { id, folder } => {
            let found = one(agent, id).await?;
            let folder = absolute(folder.as_deref().unwrap_or(Path::new(".")))?;
            let fetched = fetch(screen, agent, &found, Some(folder)).await?;
            screen.answer(&fetched);
            screen.say("inbox-got", &[("path", one_line(&fetched.path).into())]);
            Ok(0)
        }
        Inbox::Open { id, out, overwrite, pin } => {
            let found = one(agent, id).await?;
            from_whom(screen, &found);
            let fetched = fetch(screen, agent, &found, None).await?;
            let files = [PathBuf::from(fetched.path)];
            let (told, out) = (Told::Name, out.as_deref());
            Opening { files: &files, told, out, overwrite: *overwrite, pin }.run(screen, agent).await
        }
        Inbox::Route { id, to, until, yes, pin } => {
            let found = one(agent, id).await?;
            from_whom(screen, &found);
            let fetched = fetch(screen, agent, &found, None).await?;
            let files = [PathBuf::from(fetched.path)];
            let (told, until) = (Told::Name, until.as_deref());
            let routing = Routing { files: &files, told, targets: to, until, agreed: *yes, pin };
            let code = routing.run(screen, agent).await?;
            if code == 0 {
                let units = agent.directory().await?.units;
                for unit in to {
                    let to = find(&units, unit)?.unit;
                    tell(agent, &found, Handle::PassOn { to }).await?;
                }
            }
            Ok(code)
        }
        Inbox::Look { id } => done(screen, agent, id, Handle::Admit, "inbox-admitted").await,
        Inbox::Accept { id } => done(screen, agent, id, Handle::Accept, "inbox-accepted").await,
        Inbox::Return { id, reason } => {
            let reason = reason.clone();
            done(screen, agent, id, Handle::Return { reason }, "inbox-returned").await
        }
    }
}

async fn list(screen: &Screen, agent: &AgentClient) -> Result<u8, Fault> {
    let received = agent.inbox().await?;
    screen.answer(&received);
    if received.deliveries.is_empty() {
        screen.say("inbox-empty", &[]);
    }
    for delivery in &received.deliveries {
        show(screen, delivery);
    }
    Ok(0)
}

fn show(screen: &Screen, delivery: &ReceivedDelivery) {
    let values = [
        ("id", short(&delivery.id.to_string()).into()),
        ("unit", one_line(&delivery.at.name).into()),
        ("title", one_line(&delivery.title).into()),
        ("file", one_line(&delivery.name).into()),
        ("size", HumanBytes(delivery.size).to_string().into()),
    ];
    let proved = !matches!(delivery.from, DeliveredFrom::Unproved { .. });
    screen.say(if proved { "inbox-line" } else { "inbox-line-unproved" }, &values);
    from_whom(screen, delivery);
    if let Some(unit) = &delivery.passed_by {
        screen.say("inbox-passed-by", &[("unit", one_line(&unit.name).into())]);
    }
    // That it is here is what the list is about.
    if !matches!(delivery.state, DeliveryState::Arrived { .. }) {
        screen.say(state(&delivery.state), &[]);
    }
    handling(screen, &one_line(&delivery.at.name), &delivery.handling);
}

/// Who sent it, as far as this PC could prove it.
fn from_whom(screen: &Screen, delivery: &ReceivedDelivery) {
    match &delivery.from {
        DeliveredFrom::Member { organization_name, name, standing, card, .. } => {
            let name = name.clone().unwrap_or_else(|| card.to_string());
            let values = [
                ("organization", one_line(organization_name).into()),
                ("name", one_line(&name).into()),
                ("at", delivery.sent_at.clone().unwrap_or_default().into()),
            ];
            screen.say("inbox-from", &values);
            match standing {
                SenderStanding::Live => {}
                SenderStanding::NotLive => screen.say("inbox-from-not-live", &[]),
                SenderStanding::Unknown => screen.say("inbox-from-unknown", &[]),
            }
        }
        DeliveredFrom::Outside { says } => {
            screen.say("inbox-from-outside", &[("says", one_line(says).into())])
        }
        DeliveredFrom::Unproved { why } => {
            screen.say("inbox-from-unproved", &[("why", one_line(why).into())])
        }
    }
}

/// The delivery whose id begins so: where it lies at several units, where it still waits.
async fn one(agent: &AgentClient, id: &str) -> Result<ReceivedDelivery, Fault> {
    let mut found = agent.inbox().await?.deliveries;
    found.retain(|delivery| !id.is_empty() && delivery.id.to_string().starts_with(&id.to_lowercase()));
    let which = |delivery: &ReceivedDelivery| (delivery.id, delivery.said);
    let first = found.first().map(which).ok_or(AgentFault::NoSuchDelivery)?;
    if found.iter().any(|delivery| which(delivery) != first) {
        return Err(Fault::SeveralDeliveries { id: id.to_owned() });
    }
    let waiting = found.iter().position(|delivery| matches!(delivery.handling, Handling::Waiting));
    Ok(found.swap_remove(waiting.unwrap_or_default()))
}

async fn fetch(
    screen: &Screen,
    agent: &AgentClient,
    found: &ReceivedDelivery,
    to: Option<String>,
) -> Result<Fetched, Fault> {
    let request = FetchRequest { id: found.id, said: found.said, to };
    with_progress(screen, agent, "fetching", agent.fetch(&request)).await
}

async fn tell(agent: &AgentClient, found: &ReceivedDelivery, what: Handle) -> Result<(), Fault> {
    agent.handle(&HandleRequest { id: found.id, said: found.said, unit: found.at.unit, what }).await?;
    Ok(())
}

async fn done(screen: &Screen, agent: &AgentClient, id: &str, what: Handle, said: &str) -> Result<u8, Fault> {
    let found = one(agent, id).await?;
    tell(agent, &found, what).await?;
    screen.answer(&found);
    screen.say(said, &[("file", one_line(&found.name).into()), ("unit", one_line(&found.at.name).into())]);
    Ok(0)
}
