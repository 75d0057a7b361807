//! The file keys of a batch: card and sites are asked at the same time, in one round trip, for the files of the card's units and
//! for those that may have been routed to one of them.

use std::sync::Arc;

use warifu_api::wire::agent::AgentFault;
use warifu_api::wire::routing::{ROUTED_LIMIT, RoutedItem, RoutedOutcome};
use warifu_api::wire::site::{ITEMS_LIMIT, PartialItem, PartialOutcome, PartialsAnswer};
use warifu_api::{ClientError, ErrorCode};
use warifu_envelope::{FileKey, TagStanza};
use warifu_ledger::Digest;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::Right;
use warifu_split_key::partial::{PartialX, join};
use warifu_texts::day::Zone;

use crate::agent::Agent;
use crate::fault;
use crate::pending::Pending;
use crate::routed::{Opened, Released};
use crate::session::Usable;
use crate::sources::{STANZAS_LIMIT, Source, ask_again, while_open};

/// A file that has its key, and who gave it.
pub(crate) struct Keyed {
    pub(crate) key: FileKey,
    /// Which of the sources.
    pub(crate) source: usize,
    pub(crate) usable: Usable,
    /// Whether the file was routed to that grant's unit.
    pub(crate) routed: bool,
}

type Keys = Vec<Result<Keyed, AgentFault>>;

/// A stanza to be opened by one source's grant.
struct Item {
    file: usize,
    stanza: TagStanza,
    usable: Usable,
}

/// A stanza that is for none of the source's units, and may have been routed to one.
pub(crate) struct Stray {
    pub(crate) file: usize,
    pub(crate) stanza: TagStanza,
}

/// What one source is asked for.
#[derive(Default)]
struct Questions {
    items: Vec<Item>,
    strays: Vec<Stray>,
}

impl Questions {
    /// As many as one request takes; none once there are no more.
    fn next(&mut self) -> Option<Self> {
        let rest = |left: &usize, limit| (*left).min(limit);
        let items = self.items.split_off(rest(&self.items.len(), ITEMS_LIMIT));
        let strays = self.strays.split_off(rest(&self.strays.len(), ROUTED_LIMIT));
        let next = std::mem::replace(self, Self { items, strays });
        (!next.items.is_empty() || !next.strays.is_empty()).then_some(next)
    }
}

/// The file keys, or why there is none.
pub(crate) async fn keys(
    agent: &Arc<Agent>,
    sources: &mut [Source],
    files: &[Result<Pending, AgentFault>],
) -> Keys {
    let mut keys: Keys = files.iter().map(|_| Err(AgentFault::NotForYou)).collect();
    ask_all(agent, sources, files, &mut keys, &vec![true; sources.len()]).await;
    let unserved: Vec<&[TagStanza]> = without_key(files, &keys).map(|(_, file)| &*file.stanzas).collect();
    if !unserved.is_empty() {
        let news = ask_again(agent, sources, &unserved).await;
        if news.contains(&true) {
            ask_all(agent, sources, files, &mut keys, &news).await;
        }
    }
    for (key, file) in keys.iter_mut().zip(files) {
        if let (Err(fault @ AgentFault::NotForYou), Ok(file)) = (key, file)
            && let Some((_, usable)) =
                sources.iter().find_map(|source| source.matching(&file.stanzas, Right::Route).pop())
        {
            *fault = AgentFault::ForRouting { unit: usable.grant.unit_name };
        }
    }
    keys
}

/// The files that nobody here could open yet.
fn without_key<'a>(
    files: &'a [Result<Pending, AgentFault>],
    keys: &'a Keys,
) -> impl Iterator<Item = (usize, &'a Pending)> {
    let files = files.iter().zip(keys).enumerate();
    files.filter_map(|(index, (file, key))| match (file, key) {
        (Ok(file), Err(AgentFault::NotForYou)) => Some((index, file)),
        _ => None,
    })
}

/// Asks those of the sources that are `wanted` for what has no key yet: one request for the whole batch, unless it is too large.
async fn ask_all(
    agent: &Arc<Agent>,
    sources: &[Source],
    files: &[Result<Pending, AgentFault>],
    keys: &mut Keys,
    wanted: &[bool],
) {
    let mut asked: Vec<Questions> = sources.iter().map(|_| Questions::default()).collect();
    for (file, pending) in without_key(files, keys) {
        let found: Vec<_> =
            sources.iter().map(|source| source.matching(&pending.stanzas, Right::Open)).collect();
        let is_stray = found.iter().all(Vec::is_empty);
        for ((questions, source), found) in asked.iter_mut().zip(sources).zip(found) {
            if is_stray && source.usable().next().is_some() {
                let stanzas = pending.stanzas.iter().take(STANZAS_LIMIT).cloned();
                questions.strays.extend(stanzas.map(|stanza| Stray { file, stanza }));
            }
            let items = found.into_iter().map(|(stanza, usable)| Item { file, stanza, usable });
            questions.items.extend(items);
        }
    }
    let asked = sources.iter().zip(asked).zip(wanted).enumerate().filter(|(_, (_, wanted))| **wanted);
    for (index, ((source, mut questions), _)) in asked {
        while let Some(chunk) = questions.next() {
            for (file, answer) in ask(agent, source, index, chunk).await {
                // That it is for nobody here is said only where nothing else can be.
                if let Some(slot) = keys.get_mut(file).filter(|slot| slot.is_err())
                    && !matches!(answer, Err(AgentFault::NotForYou))
                {
                    *slot = answer;
                }
            }
        }
    }
}

/// Card and site at the same time, then the joining.
async fn ask(
    agent: &Arc<Agent>,
    source: &Source,
    index: usize,
    questions: Questions,
) -> Vec<(usize, Result<Keyed, AgentFault>)> {
    let Questions { items, strays } = questions;
    let asked: Vec<usize> =
        items.iter().map(|item| item.file).chain(strays.iter().map(|stray| stray.file)).collect();
    let all = |fault: AgentFault| asked.iter().map(|file| (*file, Err(fault.clone()))).collect();

    let points = items.iter().map(|item| (item.usable.slot, item.stanza.enc)).collect();
    let both =
        async { tokio::join!(source.session.partials(points), ask_site(source, wire(&items), &strays)) };
    let (card, site) = match while_open(&source.ending, both).await {
        Ok(both) => both,
        Err(fault) => return all(fault),
    };
    let card = match card {
        Ok(card) => card,
        Err(error) => return all(agent.card_failed(&source.session, error).await),
    };
    let site = match site {
        Ok(site) => site,
        Err(fault) => {
            agent.heard(&source.session, &fault);
            return all(fault);
        }
    };
    for answer in &site.items {
        if let PartialOutcome::Refused { code } = answer {
            agent.heard_of_grant(&source.session, *code);
        }
    }
    let zone = agent.zone();
    let joined = items.into_iter().zip(card).zip(site.items).map(|((item, card), site)| {
        let opened = open_stanza(&item, &card, site, &zone);
        (item.file, opened.map(|key| Keyed { key, source: index, usable: item.usable, routed: false }))
    });
    let mut answers: Vec<_> = joined.collect();
    let opened = open_released(agent, source, &strays, site.routed).await;
    answers.extend(strays.iter().zip(opened).map(|(stray, opened)| {
        let keyed =
            |opened: Opened| Keyed { key: opened.key, source: index, usable: opened.usable, routed: true };
        (stray.file, opened.map(keyed))
    }));
    answers
}

fn wire(items: &[Item]) -> Vec<PartialItem> {
    let item = |item: &Item| PartialItem {
        grant: item.usable.grant.grant,
        encapsulated: Bytes(item.stanza.enc.to_uncompressed().to_vec()),
    };
    items.iter().map(item).collect()
}

/// Asks the site for what it released of files that were routed, and opens that.
pub(crate) async fn ask_for_strays(
    agent: &Arc<Agent>,
    source: &Source,
    mut strays: Vec<Stray>,
) -> Vec<(Stray, Result<Opened, AgentFault>)> {
    let mut answers = Vec::new();
    while !strays.is_empty() {
        let rest = strays.split_off(strays.len().min(ROUTED_LIMIT));
        let chunk = std::mem::replace(&mut strays, rest);
        let asked = while_open(&source.ending, ask_site(source, Vec::new(), &chunk)).await.flatten();
        let opened = match asked {
            Ok(site) => open_released(agent, source, &chunk, site.routed).await,
            Err(fault) => {
                agent.heard(&source.session, &fault);
                chunk.iter().map(|_| Err(fault.clone())).collect()
            }
        };
        answers.extend(chunk.into_iter().zip(opened));
    }
    answers
}

/// Asks the site, and where it cannot answer for now, the next one.
async fn ask_site(
    source: &Source,
    items: Vec<PartialItem>,
    strays: &[Stray],
) -> Result<PartialsAnswer, AgentFault> {
    let routed = |stray: &Stray| RoutedItem {
        encapsulated: Bytes(stray.stanza.enc.to_uncompressed().to_vec()),
        stanza: Digest(stray.stanza.digest()),
    };
    let routed: Vec<RoutedItem> = strays.iter().map(routed).collect();
    let link = source.unlocked.sites.current().unwrap_or_else(|| source.link.clone());
    let first = match link.partials(items.clone(), routed.clone()).await {
        Ok(answer) if cannot_answer(&answer) => Ok(answer),
        Ok(answer) => return Ok(answer),
        Err(ClientError::Refused { body, .. }) if !fault::concerns_site(body.code) => {
            return Err(AgentFault::SiteRefused { code: body.code });
        }
        Err(error) => Err(fault::of_site(error)),
    };
    match source.unlocked.sites.connect(Some(link.site.site)).await {
        Ok(next) => next.partials(items, routed).await.map_err(fault::of_site),
        // The first one's reason says more than that no other could be reached.
        Err(AgentFault::SiteUnreachable) => first,
        Err(other) => Err(other),
    }
}

/// Whether the site cannot answer something, and another one might.
fn cannot_answer(answer: &PartialsAnswer) -> bool {
    let item = |outcome: &PartialOutcome| matches!(outcome, PartialOutcome::Refused { code } if fault::concerns_site(*code));
    let routed = |outcome: &RoutedOutcome| matches!(outcome, RoutedOutcome::Refused { code } if fault::concerns_site(*code));
    answer.items.iter().any(item) || answer.routed.iter().any(routed)
}

fn open_stanza(
    item: &Item,
    card: &PartialX,
    site: PartialOutcome,
    zone: &Zone,
) -> Result<FileKey, AgentFault> {
    let site = match site {
        PartialOutcome::Partial { x } => PartialX::from_bytes(&x.0),
        PartialOutcome::Refused { code: ErrorCode::InvalidPoint } => return Err(AgentFault::FileDamaged),
        PartialOutcome::Refused { code } => {
            let begins = item.usable.grant.starts_at.filter(|_| code == ErrorCode::GrantNotStarted);
            let from = begins.map(|at| zone.minute(at));
            return Err(from.map_or(AgentFault::SiteRefused { code }, |from| AgentFault::NotBegun { from }));
        }
    };
    // One error for everything: what exactly did not fit is nobody's business.
    let candidates = join(card, &site).map_err(|_| AgentFault::FileDamaged)?;
    item.stanza.open(&candidates, &item.usable.grant.unit_key.0).map_err(|_| AgentFault::FileDamaged)
}

/// Has the card open what the site has released, one answer a stray. Of several parts the first that opens counts, and of these the one
/// whose slip is good for longest.
async fn open_released(
    agent: &Arc<Agent>,
    source: &Source,
    strays: &[Stray],
    outcomes: Vec<RoutedOutcome>,
) -> Vec<Result<Opened, AgentFault>> {
    let fitting = strays.iter().zip(outcomes).map(|(stray, outcome)| fitting(agent, source, stray, outcome));
    let fitting: Vec<Result<Vec<Released>, AgentFault>> = fitting.collect();
    let questions: Vec<_> = fitting.iter().flatten().flatten().map(Released::question).collect();
    if questions.is_empty() {
        return fitting
            .into_iter()
            .map(|parts| Err(parts.err().unwrap_or(AgentFault::SlipDoesNotOpen)))
            .collect();
    }
    let answered = match while_open(&source.ending, source.session.partials(questions)).await {
        Ok(Ok(answers)) => Ok(answers),
        Ok(Err(error)) => Err(agent.card_failed(&source.session, error).await),
        Err(fault) => Err(fault),
    };
    let mut answers = match answered {
        Ok(answers) => answers.into_iter(),
        Err(fault) => return strays.iter().map(|_| Err(fault.clone())).collect(),
    };
    let opened = strays.iter().zip(fitting).map(|(stray, parts)| {
        let mut opened = Err(AgentFault::SlipDoesNotOpen);
        for (part, answer) in parts?.into_iter().zip(&mut answers) {
            match part.open(&answer, &stray.stanza) {
                Ok(part) if opened.is_err() => opened = Ok(part),
                Ok(_) => {}
                Err(why) => tracing::info!(%why, "a part of a file that was routed"),
            }
        }
        opened
    });
    opened.collect()
}

/// The released parts that fit, those first whose slips are good for longest.
fn fitting(
    agent: &Agent,
    source: &Source,
    stray: &Stray,
    outcome: RoutedOutcome,
) -> Result<Vec<Released>, AgentFault> {
    let parts = match outcome {
        RoutedOutcome::Refused { code: ErrorCode::NotFound } => return Err(AgentFault::NotForYou),
        RoutedOutcome::Refused { code } => {
            agent.heard_of_grant(&source.session, code);
            return Err(AgentFault::SiteRefused { code });
        }
        RoutedOutcome::Released { parts } => parts,
    };
    let organization = agent.profile().ok_or(AgentFault::NoProfile)?.organization;
    let mut fitting = Vec::new();
    for part in parts {
        match Released::check(part, &stray.stanza, organization, &source.held) {
            Ok(part) => fitting.push(part),
            Err(why) => tracing::warn!(%why, "the site shows a slip that does not fit"),
        }
    }
    fitting.sort_by_key(|part| std::cmp::Reverse(part.expires_at()));
    Ok(fitting)
}
