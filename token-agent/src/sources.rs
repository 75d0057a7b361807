//! The cards that are unlocked, each with the site that answers for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use warifu_api::wire::agent::AgentFault;
use warifu_envelope::TagStanza;
use warifu_ledger::Id;
use warifu_ledger::statement::Right;

use crate::agent::Agent;
use crate::session::{Phase, Session, Unlocked, Usable};
use crate::site::Link;

/// Before a file is said to be for nobody here, a site's word that is older than this is asked for again.
const STALE: Duration = Duration::from_secs(2);
/// The most stanzas of one file that are asked for: a file with thousands that bear the card's tag is an attack.
pub(crate) const STANZAS_LIMIT: usize = 8;

/// A card that can be used now, with the site that answers for it.
pub(crate) struct Source {
    pub(crate) session: Arc<Session>,
    pub(crate) unlocked: Arc<Unlocked>,
    pub(crate) link: Arc<Link>,
    /// Its grants, to open and to route, whose shares it has.
    pub(crate) held: Vec<Usable>,
    pub(crate) ending: watch::Receiver<bool>,
}

impl Source {
    /// The grants with which it opens files.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Usable> {
        self.held.iter().filter(|held| held.grant.right == Right::Open)
    }

    /// The stanzas that bear the tag of a unit that the card has a grant to, each with that grant.
    pub(crate) fn matching(&self, stanzas: &[TagStanza], right: Right) -> Vec<(TagStanza, Usable)> {
        let held = || self.held.iter().filter(move |held| held.grant.right == right);
        let found = stanzas.iter().flat_map(|stanza| {
            held()
                .filter(|held| stanza.matches(&held.grant.unit_key.0))
                .map(|held| (stanza.clone(), held.clone()))
        });
        found.take(STANZAS_LIMIT).collect()
    }

    /// Whose word it goes by, and what that is.
    fn word(&self) -> (Id, Vec<Id>) {
        (self.link.site.site, self.held.iter().map(|held| held.grant.grant).collect())
    }

    fn listen_to(&mut self, link: Arc<Link>) {
        self.unlocked.told(link.grants());
        self.held = self.session.held(&link.me.grants);
        self.link = link;
    }
}

/// Waits for something, but not beyond the end of what the card has opened.
pub(crate) async fn while_open<T>(
    ending: &watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Result<T, AgentFault> {
    let mut ending = ending.clone();
    tokio::select! {
        // What is over already does not begin.
        biased;
        _ = ending.wait_for(|over| *over) => Err(AgentFault::CardRemoved),
        done = work => Ok(done),
    }
}

/// The unlocked cards with a site, or why there is none.
pub(crate) async fn sources(agent: &Arc<Agent>) -> Result<Vec<Source>, AgentFault> {
    let mut sources = Vec::new();
    let mut why = None;
    for session in agent.sessions() {
        let Some(unlocked) = session.unlocked() else { continue };
        match source_of(agent, session, unlocked).await {
            Ok(source) => sources.push(source),
            Err(fault) => why = Some(fault),
        }
    }
    match (sources.is_empty(), why) {
        (false, _) => Ok(sources),
        (true, Some(fault)) => Err(fault),
        (true, None) => Err(agent.why_not_open().await),
    }
}

/// The card that was named, or the only one that is unlocked.
pub(crate) async fn the_source(agent: &Arc<Agent>, serial: Option<u32>) -> Result<Source, AgentFault> {
    if let Some(serial) = serial {
        let session = agent.session(serial)?;
        return match session.phase() {
            Phase::Open(unlocked) => source_of(agent, session, unlocked).await,
            Phase::Refused(code) => Err(AgentFault::SiteRefused { code }),
            Phase::Locked => Err(session.pin_needed().await),
        };
    }
    let mut sources = sources(agent).await?;
    match (sources.pop(), sources.is_empty()) {
        (Some(source), true) => Ok(source),
        (last, _) => {
            let all = sources.iter().chain(&last);
            Err(AgentFault::SeveralCards { serials: all.map(|it| it.session.serial.to_string()).collect() })
        }
    }
}

async fn source_of(
    agent: &Arc<Agent>,
    session: Arc<Session>,
    unlocked: Arc<Unlocked>,
) -> Result<Source, AgentFault> {
    let ending = unlocked.ending();
    let link = match unlocked.sites.current() {
        Some(link) => Ok(link),
        None => while_open(&ending, connect(agent, &unlocked)).await.flatten(),
    };
    match link {
        Ok(link) => {
            let held = session.held(&link.me.grants);
            Ok(Source { session, unlocked, link, held, ending })
        }
        Err(fault) => {
            drop(ending);
            agent.heard(&session, &fault);
            Err(fault)
        }
    }
}

/// The first site that answers; one that shows another key than before may have got it.
async fn connect(agent: &Agent, unlocked: &Unlocked) -> Result<Arc<Link>, AgentFault> {
    match unlocked.sites.connect(None).await {
        Err(AgentFault::SiteUnreachable) if agent.learn_keys(unlocked).await => {
            unlocked.sites.connect(None).await
        }
        connected => connected,
    }
}

/// Asks sites again about files that nobody here could open: a grant may be newer than what they said last, and some units are
/// served by some sites only. Those of the sources that may know more now.
pub(crate) async fn ask_again(
    agent: &Arc<Agent>,
    sources: &mut [Source],
    unserved: &[&[TagStanza]],
) -> Vec<bool> {
    let before: Vec<_> = sources.iter().map(Source::word).collect();
    refresh(agent, sources).await;
    look_elsewhere(sources, unserved).await;
    sources.iter().zip(before).map(|(source, before)| source.word() != before).collect()
}

/// Asks again what the cards may open.
async fn refresh(agent: &Arc<Agent>, sources: &mut [Source]) {
    for source in sources {
        if source.link.age() < STALE {
            continue;
        }
        match while_open(&source.ending, source.unlocked.sites.refresh()).await.flatten() {
            Ok(link) => source.listen_to(link),
            Err(fault) => agent.heard(&source.session, &fault),
        }
    }
}

/// Asks other sites where a card has shares that its site does not tell of.
async fn look_elsewhere(sources: &mut [Source], unserved: &[&[TagStanza]]) {
    for index in 0..sources.len() {
        let matched = |stanzas: &&&[TagStanza]| {
            sources.iter().all(|source| source.matching(stanzas, Right::Open).is_empty())
        };
        let unserved: Vec<&[TagStanza]> = unserved.iter().filter(matched).copied().collect();
        let Some(source) = sources.get_mut(index) else { return };
        if unserved.is_empty() || source.session.facts().shares.len() <= source.held.len() {
            continue;
        }
        let is_new = |usable: &Usable| source.held.iter().all(|held| held.grant.grant != usable.grant.grant);
        let addressed = |usable: &Usable| {
            unserved.iter().flat_map(|stanzas| *stanzas).any(|it| it.matches(&usable.grant.unit_key.0))
        };
        // To open or to route: which of the two, whoever asked looks.
        let told = |link: &Link| source.session.held(&link.me.grants);
        let find = async {
            match source.unlocked.sites.find(|link| told(link).iter().any(addressed)).await {
                // To a unit that only another site serves, a file may have been routed.
                None => source.unlocked.sites.find(|link| told(link).iter().any(is_new)).await,
                found => found,
            }
        };
        if let Ok(Some(link)) = while_open(&source.ending, find).await {
            source.listen_to(link);
        }
    }
}
