//! Deliveries (protocol section 17): sealed files that a card signs and the agent brings to a box, and those that lie in the box of
//! one's own organization.
//!
//! Who has sent something, the agent proves for itself; the kms is believed in nothing but what its members have done with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use warifu_api::Client;
use warifu_api::wire::agent::AgentFault;
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use crate::agent::{Agent, Config};
use crate::fault;
use crate::session::{Phase, Session, Unlocked};

mod carrying;
mod fetching;
mod inbox;
#[cfg(test)]
mod made_up;
pub(crate) mod outbox;
mod receiver;
mod sealing;
mod sending;
mod sent;

pub(crate) use fetching::fetch;
pub(crate) use inbox::{handle, inbox};
pub(crate) use sending::{resume, send};
pub(crate) use sent::sent;

/// How long a part may be on its way: lines are slow.
const PATIENCE: Duration = Duration::from_secs(600);

/// Whose turn it is to bring a delivery: each is brought by one at a time, and none waits for another one's box.
#[derive(Default)]
pub(crate) struct Turns(Mutex<BTreeMap<Id, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, delivery: &Id) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds are over.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(*delivery).or_default().clone()
    }
}

/// A card whose PIN was entered, and the kms as it answers to it.
struct Holder {
    session: Arc<Session>,
    ending: watch::Receiver<bool>,
    card: Id,
    organization: Digest,
    kms: Client,
}

impl Holder {
    fn of(agent: &Agent, session: Arc<Session>, unlocked: Arc<Unlocked>) -> Result<Self, AgentFault> {
        let organization = agent.profile().ok_or(AgentFault::NoProfile)?.organization;
        let named = session.facts().certificate_says.and_then(|says| says.member_of);
        let (_, card) = named.filter(|(of, _)| *of == organization).ok_or(AgentFault::ForeignCard)?;
        let (address, key) = agent.authority_address()?;
        // On a connection of its own: others do not wait for a part.
        let kms = Client::new(address, key, Some(&unlocked.identity)).map_err(fault::of_authority)?;
        let ending = unlocked.ending();
        Ok(Self { session, ending, card, organization, kms: kms.with_timeout(PATIENCE) })
    }

    /// The card that was named.
    async fn named(agent: &Agent, serial: u32) -> Result<Self, AgentFault> {
        let session = agent.session(serial)?;
        match session.phase() {
            Phase::Open(unlocked) => Self::of(agent, session, unlocked),
            Phase::Refused(code) => Err(AgentFault::SiteRefused { code }),
            Phase::Locked => Err(session.pin_needed().await),
        }
    }

    /// Every card whose PIN was entered, or why there is none.
    async fn all(agent: &Agent) -> Result<Vec<Self>, AgentFault> {
        let open = agent.sessions().into_iter().filter_map(|session| {
            let unlocked = session.unlocked()?;
            Some(Self::of(agent, session, unlocked))
        });
        let all: Vec<Self> = open.collect::<Result<_, _>>()?;
        if all.is_empty() { Err(agent.why_not_open().await) } else { Ok(all) }
    }
}

/// Where files are put that are taken out of the box to be opened or routed at once.
fn fetched(config: &Config) -> PathBuf {
    config.deliveries.join("inbox")
}

/// Removes what was taken out and is not in use any more, since the agent was not running.
pub(crate) fn forget_fetched(config: &Config) {
    if let Err(error) = std::fs::remove_dir_all(fetched(config))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "files that were taken out of the box could not be removed");
    }
}

/// The wall clock, for what people read: nothing is decided by it.
fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}
