//! The card's parts of files: it computes them, or they came with the files.

use std::collections::BTreeMap;
use std::sync::Arc;

use warifu_api::wire::agent::AgentFault;
use warifu_envelope::TagStanza;
use warifu_split_key::partial::PartialX;

use super::Outcomes;
use super::batch::{Draft, Part};
use super::choosing::Chosen;
use crate::agent::Agent;
use crate::opening::keys::{Stray, ask_for_strays};
use crate::opening::{Measured, Meter};
use crate::pending::Stanzas;
use crate::session::Usable;
use crate::sources::{STANZAS_LIMIT, Source, while_open};

/// How many parts the card computes before it is told how far it is.
const PARTS_AT_ONCE: usize = 16;

/// The card's parts for all files that can go on, from the card itself, or from the slip by which a file came.
pub(super) async fn draft(
    agent: &Arc<Agent>,
    source: &Source,
    files: Vec<Result<Stanzas, AgentFault>>,
    chosen: Vec<Result<Chosen, AgentFault>>,
    outcomes: &mut Outcomes,
) -> Result<Vec<Draft>, AgentFault> {
    let (mut own, mut strays) = (Vec::<Own>::new(), Vec::new());
    for (file, (stanzas, chosen)) in files.into_iter().zip(chosen).enumerate() {
        match (stanzas, chosen) {
            (Ok(_), Ok(Chosen::Addressed(ways))) => own.extend(Own::of_file(file, ways)),
            (Ok(Stanzas(stanzas)), Ok(Chosen::Perhaps)) => {
                let stanzas = stanzas.into_iter().take(STANZAS_LIMIT);
                strays.extend(stanzas.map(|stanza| Stray { file, stanza }));
            }
            (Err(fault), _) | (_, Err(fault)) => outcomes.fail(file, &fault),
        }
    }
    let mut drafts = came_by_slips(agent, source, strays, outcomes).await;
    drafts.extend(compute(agent, source, own).await?);
    Ok(drafts)
}

/// A part that the card computes, and where it goes.
struct Own {
    file: usize,
    stanza: TagStanza,
    usable: Usable,
    targets: Vec<usize>,
}

impl Own {
    /// One for each stanza and grant that serve one target or more.
    fn of_file(file: usize, ways: Vec<(TagStanza, Usable)>) -> Vec<Self> {
        let mut own: Vec<Self> = Vec::new();
        for (target, (stanza, usable)) in ways.into_iter().enumerate() {
            let is_it =
                |own: &&mut Self| own.stanza == stanza && own.usable.grant.grant == usable.grant.grant;
            match own.iter_mut().find(is_it) {
                Some(same) => same.targets.push(target),
                None => own.push(Self { file, stanza, usable, targets: vec![target] }),
            }
        }
        own
    }
}

/// Has the card compute its parts, some at a time, so that somebody can see how far it is.
async fn compute(agent: &Agent, source: &Source, own: Vec<Own>) -> Result<Vec<Draft>, AgentFault> {
    let count = |own: &[Own]| u64::try_from(own.len()).unwrap_or(u64::MAX);
    let meter: &Meter = &agent.routing;
    let mut measured = Measured::new(meter, count(&own));
    let mut parts: Vec<PartialX> = Vec::with_capacity(own.len());
    for some in own.chunks(PARTS_AT_ONCE) {
        let points = some.iter().map(|own| (own.usable.slot, own.stanza.enc)).collect();
        match while_open(&source.ending, source.session.partials(points)).await? {
            Ok(computed) => parts.extend(computed),
            Err(error) => return Err(agent.card_failed(&source.session, error).await),
        }
        measured.add(count(some));
    }
    let draft = |(own, card): (Own, PartialX)| Draft {
        file: own.file,
        targets: own.targets,
        part: Part {
            card,
            stanza: own.stanza,
            grant: own.usable.grant.grant,
            unit: own.usable.grant.unit,
            origin: None,
        },
    };
    Ok(own.into_iter().zip(parts).map(draft).collect())
}

/// Opens what came with files that were routed to units of the card: they go further with that (P-15.7).
async fn came_by_slips(
    agent: &Arc<Agent>,
    source: &Source,
    strays: Vec<Stray>,
    outcomes: &mut Outcomes,
) -> Vec<Draft> {
    let mut opened = BTreeMap::new();
    let mut faults = BTreeMap::new();
    for (stray, answer) in ask_for_strays(agent, source, strays).await {
        match answer {
            Ok(part) => drop(opened.entry(stray.file).or_insert((stray.stanza, part))),
            Err(AgentFault::NotForYou) => drop(faults.entry(stray.file).or_insert(AgentFault::NotForYou)),
            Err(fault) => drop(faults.insert(stray.file, fault)),
        }
    }
    for (file, fault) in faults.iter().filter(|(file, _)| !opened.contains_key(*file)) {
        outcomes.fail(*file, fault);
    }
    let count = outcomes.targets();
    let draft = |(file, (stanza, part)): (usize, (TagStanza, crate::routed::Opened))| {
        let grant = part.usable.grant;
        let origin = Some((part.sent.id(), part.sent.slips.expires_at));
        let part = Part { card: part.card, stanza, grant: grant.grant, unit: grant.unit, origin };
        Draft { file, targets: (0..count).collect(), part }
    };
    opened.into_iter().map(draft).collect()
}
