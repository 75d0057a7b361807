//! Following a site while a card is unlocked: its events, its lease, its word about the grants, and the PIN's own end.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use warifu_api::wire::agent::AgentFault;
use warifu_api::{ErrorBody, ErrorCode};

use crate::agent::Agent;
use crate::fault;
use crate::platform::boot_time;
use crate::session::{Session, Unlocked};

/// How often the site is asked anew without an event, at most and at least: by half of its lease.
const REFRESH: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// How long after a failure the sites are tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How often the PIN's age is looked at: the PC may have slept.
const TICK: Duration = Duration::from_secs(15);

/// How following ended.
enum Outcome {
    /// The card is out, or was locked.
    Over,
    /// The card is over for the organization.
    Refused(ErrorCode),
    /// The PIN is too old, or could not be restored after another program had reset the card.
    PinOver,
}

/// Follows the site until the unlocking ends, or ends it.
pub(crate) async fn follow(
    agent: Weak<Agent>,
    session: Arc<Session>,
    unlocked: Arc<Unlocked>,
    mut ending: watch::Receiver<bool>,
    ceiling: Duration,
) {
    let deadline = boot_time() + ceiling;
    let outcome = tokio::select! {
        outcome = listen(&agent, &unlocked, &session) => outcome,
        () = aged(deadline) => Outcome::PinOver,
        _ = ending.wait_for(|over| *over) => Outcome::Over,
    };
    // Ending waits for this receiver.
    drop(ending);
    drop(unlocked);
    match outcome {
        Outcome::Over => {}
        Outcome::Refused(code) => match agent.upgrade() {
            Some(agent) => agent.heard(&session, &AgentFault::SiteRefused { code }),
            None => session.end(Some(code)).await,
        },
        Outcome::PinOver => {
            tracing::info!(serial = session.serial, "the PIN entry is over");
            session.end(None).await;
        }
    }
}

async fn aged(deadline: Duration) {
    loop {
        let left = deadline.saturating_sub(boot_time());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(TICK)).await;
    }
}

/// Returns when a site says that the card is over, or the PIN is lost.
async fn listen(agent: &Weak<Agent>, unlocked: &Unlocked, session: &Session) -> Outcome {
    loop {
        if let Some(code) = listen_once(unlocked).await {
            return Outcome::Refused(code);
        }
        // A stream ends every ten minutes, and with the site.
        match unlocked.sites.refresh().await {
            Ok(link) => unlocked.told(link.grants()),
            Err(AgentFault::SiteRefused { code }) if fault::ends_card(code) => return Outcome::Refused(code),
            Err(_) if !session.actor.has_pin() => return Outcome::PinOver,
            Err(_) => {
                let learnt = match agent.upgrade() {
                    Some(agent) => agent.learn_keys(unlocked).await,
                    None => false,
                };
                if !learnt {
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

/// Follows one event stream to its end.
async fn listen_once(unlocked: &Unlocked) -> Option<ErrorCode> {
    let mut link = unlocked.sites.current()?;
    let mut events = match link.client.events("/v1/events").await {
        Ok(events) => events,
        Err(error) => {
            let code = error.code().filter(|code| fault::ends_card(*code));
            if code.is_none() {
                tokio::time::sleep(RETRY).await;
            }
            return code;
        }
    };
    loop {
        let pause = Duration::from_millis(link.lease_left_ms() / 2).clamp(REFRESH.0, REFRESH.1);
        let event = match tokio::time::timeout(pause, events.next()).await {
            Ok(Ok(Some(event))) => Some(event),
            Ok(Ok(None) | Err(_)) => return None,
            Err(_) => None,
        };
        if let Some(event) = event.filter(|event| event.name == "revoked") {
            let body: Option<ErrorBody> = serde_json::from_str(&event.data).ok();
            return Some(
                body.map(|body| body.code)
                    .filter(|code| fault::ends_card(*code))
                    .unwrap_or(ErrorCode::CardNotLive),
            );
        }
        match unlocked.sites.refresh().await {
            Ok(now) => {
                unlocked.told(now.grants());
                if now.site.site != link.site.site {
                    return None;
                }
                link = now;
            }
            Err(AgentFault::SiteRefused { code }) if fault::ends_card(code) => return Some(code),
            Err(_) => return None,
        }
    }
}

/// Asks the site anew which grants the card has.
pub(crate) async fn ask_again(session: &Arc<Session>) {
    let Some(unlocked) = session.unlocked() else { return };
    let mut ending = unlocked.ending();
    let told = tokio::select! {
        told = unlocked.sites.refresh() => told,
        _ = ending.wait_for(|over| *over) => return,
    };
    match told {
        Ok(link) => unlocked.told(link.grants()),
        Err(AgentFault::SiteRefused { code }) if fault::ends_card(code) => {
            drop(ending);
            session.end(Some(code)).await;
        }
        Err(_) => {}
    }
}
