//! Routing files without reading them (protocol section 15): what would go where, and then, once the person has agreed, slips
//! under one signature of the card's.
//!
//! The card gives its part of each file, which is sealed to the unit that the file goes to: by the key that the directory proves,
//! never by one that a site names. A file that came to the card's unit by a slip goes further with the part that came with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;
use warifu_api::wire::agent::{
    AgentFault, FileToRoute, Plan, PlanRequest, PlannedFile, PlannedTarget, ROUTES_LIMIT, RouteAnswer,
    RouteOutcome, RouteRequest,
};
use warifu_api::{ErrorCode, wire::UnitEntry};
use warifu_envelope::{TagStanza, UnitRecipient};
use warifu_hardware::card::{KeyRole, LastTry, Pin, PinEntry};
use warifu_ledger::Id;
use warifu_ledger::slip::{LONGEST_SLIP_MS, SlipId};
use warifu_ledger::statement::{Millis, Right, UnitKind};
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;
use warifu_texts::day::Zone;

use crate::agent::Agent;
use crate::opening::keys::{Stray, ask_for_strays};
use crate::opening::{Measured, Meter};
use crate::pending::{Pending, read_headers};
use crate::session::{Session, Usable};
use crate::sources::{STANZAS_LIMIT, Source, ask_again, sources, while_open};
use crate::{fault, forward};

mod batch;
mod sending;

use batch::{Draft, Part, Unsigned, Writer};

/// How many days ahead slips are good where nobody says.
const USUAL_DAYS: i32 = 90;
/// How many parts the card computes before it is told how far it is.
const PARTS_AT_ONCE: usize = 16;

/// A unit that files go to, as the directory proves it.
pub(crate) struct Target {
    pub(crate) unit: Id,
    name: String,
    kind: UnitKind,
    pub(crate) key: Point,
}

/// What would be routed, for the person to agree to.
///
/// # Errors
/// [`AgentFault`] where nothing can be sent at all.
pub(crate) async fn plan(agent: &Arc<Agent>, request: PlanRequest) -> Result<Plan, AgentFault> {
    check(request.files.len(), request.files.iter(), &request.targets)?;
    let mut source = source(agent, request.serial).await?;
    let targets = while_open(&source.ending, targets(agent, &request.targets)).await??;
    let end = Ends::now(agent, &source).of(request.last_day.as_deref())?;
    let files = read_headers(request.files.iter().map(PathBuf::from).collect());
    let files = while_open(&source.ending, files).await?;
    let chosen = choose(agent, &mut source, &files, &targets).await;
    let planned = files.iter().zip(chosen).map(|(file, chosen)| match (file, chosen) {
        (Ok(file), Ok(chosen)) => PlannedFile::Ready { unit: chosen.unit_name(), stanzas: file.digest() },
        (Err(fault), _) => PlannedFile::Failed { fault: fault.clone() },
        (_, Err(fault)) => PlannedFile::Failed { fault },
    });
    Ok(Plan {
        serial: source.session.serial,
        files: planned.collect(),
        targets: targets.into_iter().map(|it| PlannedTarget { unit: it.unit, name: it.name }).collect(),
        last_day: agent.zone().last_day_before(end),
    })
}

/// Routes files, with one signature for all that are of one unit.
///
/// # Errors
/// [`AgentFault`] where nothing was sent at all.
pub(crate) async fn route(agent: &Arc<Agent>, request: RouteRequest) -> Result<RouteAnswer, AgentFault> {
    let slips = request.files.len().saturating_mul(request.targets.len());
    check(slips, request.files.iter().map(|file| &file.path), &request.targets)?;
    let pin = Pin::new(request.pin.0.as_bytes()).map_err(|_| AgentFault::PinMalformed)?;
    let mut source = source(agent, Some(request.serial)).await?;
    let targets = while_open(&source.ending, targets(agent, &request.targets)).await??;
    let end = Ends::now(agent, &source).of(Some(&request.last_day))?;
    let files = while_open(&source.ending, read_agreed(&request.files)).await?;
    let chosen = choose(agent, &mut source, &files, &targets).await;
    let mut outcomes = Outcomes(files.iter().map(|_| vec![None; targets.len()]).collect());
    let drafts = draft(agent, &source, files, chosen, &mut outcomes).await?;

    let organization = agent.profile().ok_or(AgentFault::NoProfile)?.organization;
    let writer = Writer { organization, targets, expires_at: end };
    let written = tokio::task::spawn_blocking(move || writer.write(drafts)).await;
    let unsigned = written.unwrap_or_else(|error| Err(AgentFault::CardFault { why: error.to_string() }))?;
    let last_try = if request.spend_last_try { LastTry::Spend } else { LastTry::Keep };
    let signed = sign(&source, unsigned, pin, last_try).await?;
    for batch in signed {
        let sent = sending::send(agent, &source, &batch.batch).await;
        let last_day = agent.zone().last_day_before(batch.expires_at);
        let slips = batch.batch.slips.digest();
        for (index, (file, target)) in (0..).zip(&batch.slips) {
            outcomes.set(*file, *target, sent.outcome(SlipId { slips, index }, &last_day));
        }
    }
    Ok(outcomes.answer())
}

/// What becomes of each file, for each target.
struct Outcomes(Vec<Vec<Option<RouteOutcome>>>);

impl Outcomes {
    fn set(&mut self, file: usize, target: usize, outcome: RouteOutcome) {
        if let Some(slot) = self.0.get_mut(file).and_then(|targets| targets.get_mut(target)) {
            *slot = Some(outcome);
        }
    }

    fn fail(&mut self, file: usize, fault: &AgentFault) {
        for slot in self.0.get_mut(file).into_iter().flatten() {
            *slot = Some(RouteOutcome::Failed { fault: fault.clone() });
        }
    }

    fn answer(self) -> RouteAnswer {
        let lost = || RouteOutcome::Failed { fault: AgentFault::NotForYou };
        let of_file = |targets: Vec<Option<RouteOutcome>>| {
            targets.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect()
        };
        RouteAnswer { files: self.0.into_iter().map(of_file).collect() }
    }
}

fn check<'a>(
    slips: usize,
    mut paths: impl Iterator<Item = &'a String>,
    targets: &[Id],
) -> Result<(), AgentFault> {
    let malformed = |why: &str| Err(AgentFault::Malformed { why: why.to_owned() });
    let different: std::collections::BTreeSet<&Id> = targets.iter().collect();
    if slips == 0 || slips > ROUTES_LIMIT || different.is_empty() || different.len() != targets.len() {
        return malformed("a request sends 1 to 1024 files, for all targets together, each target once");
    }
    if paths.any(|path| !Path::new(path).is_absolute()) {
        return malformed("paths have to be absolute");
    }
    Ok(())
}

/// The card that sends: the one that was named, or the only one that is unlocked.
async fn source(agent: &Arc<Agent>, serial: Option<u32>) -> Result<Source, AgentFault> {
    let named = serial.map(|serial| agent.session(serial)).transpose()?;
    let mut sources = sources(agent).await?;
    if let Some(session) = named {
        sources.retain(|source| source.session.serial == session.serial);
        return match sources.pop() {
            Some(source) => Ok(source),
            None => Err(session.pin_needed().await),
        };
    }
    match (sources.pop(), sources.is_empty()) {
        (Some(source), true) => Ok(source),
        (last, _) => {
            let all = sources.iter().chain(&last);
            Err(AgentFault::SeveralCards { serials: all.map(|it| it.session.serial.to_string()).collect() })
        }
    }
}

/// The units that files go to, from the directory as far as it can be proved.
async fn targets(agent: &Agent, wanted: &[Id]) -> Result<Vec<Target>, AgentFault> {
    let units = forward::directory(agent).await?.units;
    let found = wanted.iter().map(|id| units.iter().find(|entry| entry.unit == *id).and_then(target));
    let found: Option<Vec<Target>> = found.collect();
    found.ok_or_else(|| AgentFault::Malformed {
        why: "the directory has no such unit, or no key of it".to_owned(),
    })
}

fn target(entry: &UnitEntry) -> Option<Target> {
    let key = UnitRecipient::parse(entry.recipient.as_deref()?).ok()?;
    Some(Target { unit: entry.unit, name: entry.name.clone(), kind: entry.kind, key })
}

/// Until when slips may be good, by the site's time.
struct Ends {
    zone: Zone,
    now: Millis,
}

impl Ends {
    fn now(agent: &Agent, source: &Source) -> Self {
        Self { zone: agent.zone(), now: source.link.site_time() }
    }

    /// The first instant after a day, or after the usual one.
    fn of(&self, last_day: Option<&str>) -> Result<Millis, AgentFault> {
        let latest = self.now.saturating_add(LONGEST_SLIP_MS);
        let impossible = || AgentFault::UntilImpossible { latest: self.latest() };
        let day: Option<Date> = match last_day {
            Some(day) => day.parse().ok(),
            None => self.zone.day_of(self.now).and_then(|today| today.checked_add(USUAL_DAYS.days()).ok()),
        };
        let end = day.and_then(|day| self.zone.end_of(day)).ok_or_else(impossible)?;
        if end > self.now && end <= latest { Ok(end) } else { Err(impossible()) }
    }

    /// The last day that is over in time.
    fn latest(&self) -> String {
        let day = self.zone.day_of(self.now.saturating_add(LONGEST_SLIP_MS));
        day.and_then(|day| day.yesterday().ok()).map(|day| day.to_string()).unwrap_or_default()
    }
}

/// Reads the headers again: what the person agreed to is what goes on.
async fn read_agreed(files: &[FileToRoute]) -> Vec<Result<Pending, AgentFault>> {
    let read = read_headers(files.iter().map(|file| PathBuf::from(&file.path)).collect()).await;
    let agreed = read.into_iter().zip(files).map(|(read, file)| match read {
        Ok(pending) if pending.digest() != file.stanzas => Err(AgentFault::FileChanged),
        read => read,
    });
    agreed.collect()
}

/// How a file goes on.
enum Chosen {
    /// It is addressed to units of the card: for each target, the stanza and the grant.
    Addressed(Vec<(TagStanza, Usable)>),
    /// It may have been routed to a unit of the card.
    Perhaps,
}

impl Chosen {
    fn unit_name(&self) -> Option<String> {
        match self {
            Self::Addressed(ways) => ways.first().map(|(_, usable)| usable.grant.unit_name.clone()),
            Self::Perhaps => None,
        }
    }
}

/// How each file goes on to all the targets, or why it does not. What the site said last may be older than a grant, or than the list
/// of a front desk: it is asked again before anything is refused.
async fn choose(
    agent: &Arc<Agent>,
    source: &mut Source,
    files: &[Result<Pending, AgentFault>],
    targets: &[Target],
) -> Vec<Result<Chosen, AgentFault>> {
    let doubtful = |file: &&Pending| !matches!(choose_one(source, file, targets), Ok(Chosen::Addressed(_)));
    let doubtful: Vec<&[TagStanza]> =
        files.iter().flatten().filter(doubtful).map(|file| &*file.stanzas).collect();
    if !doubtful.is_empty() {
        ask_again(agent, std::slice::from_mut(source), &doubtful).await;
    }
    let chosen = files.iter().map(|file| match file {
        Ok(file) => choose_one(source, file, targets),
        Err(fault) => Err(fault.clone()),
    });
    chosen.collect()
}

/// The card's grants to units that the file is addressed to: those to route first, as that is what they are for.
fn ways(source: &Source, file: &Pending) -> Vec<(TagStanza, Usable)> {
    [Right::Route, Right::Open].iter().flat_map(|right| source.matching(&file.stanzas, *right)).collect()
}

fn choose_one(source: &Source, file: &Pending, targets: &[Target]) -> Result<Chosen, AgentFault> {
    let ways = ways(source, file);
    if ways.is_empty() {
        let opens = source.usable().next().is_some();
        return if opens { Ok(Chosen::Perhaps) } else { Err(AgentFault::NotForYou) };
    }
    let way = |target| ways.iter().find(|(_, usable)| goes_to(usable, target)).cloned();
    let chosen: Option<Vec<_>> = targets.iter().map(way).collect();
    chosen.map(Chosen::Addressed).ok_or(AgentFault::SiteRefused { code: ErrorCode::NotATarget })
}

/// Whether the site will take it, as far as is known: that is for it to decide (P-15.4).
fn goes_to(usable: &Usable, target: &Target) -> bool {
    match usable.grant.right {
        Right::Route => usable.grant.routes_to.contains(&target.unit),
        Right::Open => target.unit != usable.grant.unit && target.kind != UnitKind::FrontDesk,
    }
}

/// The card's parts for all files that can go on, from the card itself, or from the slip by which a file came.
async fn draft(
    agent: &Arc<Agent>,
    source: &Source,
    files: Vec<Result<Pending, AgentFault>>,
    chosen: Vec<Result<Chosen, AgentFault>>,
    outcomes: &mut Outcomes,
) -> Result<Vec<Draft>, AgentFault> {
    let (mut own, mut strays) = (Vec::<Own>::new(), Vec::new());
    for (file, (pending, chosen)) in files.into_iter().zip(chosen).enumerate() {
        match (pending, chosen) {
            (Ok(_), Ok(Chosen::Addressed(ways))) => own.extend(Own::of_file(file, ways)),
            (Ok(pending), Ok(Chosen::Perhaps)) => {
                let stanzas = pending.stanzas.into_iter().take(STANZAS_LIMIT);
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
    let count = outcomes.0.first().map_or(0, Vec::len);
    let draft = |(file, (stanza, part)): (usize, (TagStanza, crate::routed::Opened))| {
        let grant = part.usable.grant;
        let origin = Some((part.sent.id(), part.sent.slips.expires_at));
        let part = Part { card: part.card, stanza, grant: grant.grant, unit: grant.unit, origin };
        Draft { file, targets: (0..count).collect(), part }
    };
    opened.into_iter().map(draft).collect()
}

/// Has the card sign (9C) what was written, with the PIN that was entered for this.
async fn sign(
    source: &Source,
    unsigned: Vec<Unsigned>,
    pin: Pin,
    last_try: LastTry,
) -> Result<Vec<batch::Signed>, AgentFault> {
    let session: &Session = &source.session;
    let key = session.facts().signature.ok_or(AgentFault::ForeignCard)?;
    let digests: Vec<_> = unsigned.iter().map(|batch| batch.envelope.digest()).collect();
    let signing = session.actor.run(move |seat| {
        let entry = PinEntry::with(&pin, last_try);
        let sign =
            |digest: &warifu_ledger::Digest| seat.card()?.sign(KeyRole::Signature, &digest.0, Some(entry));
        digests.iter().map(sign).collect::<Result<Vec<_>, _>>()
    });
    let signatures = while_open(&source.ending, signing).await?.map_err(fault::of_card)?;
    let signed = unsigned.into_iter().zip(signatures);
    Ok(signed.map(|(batch, signature)| batch.signed(&key.into(), signature)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Millis = 24 * 60 * 60 * 1000;

    #[test]
    fn a_day_is_the_organizations_and_neither_over_nor_too_far_ahead() {
        // 2027-03-31 23:30 in Tokyo.
        let now = 1_806_503_400_000;
        let ends = Ends { zone: Zone::named("Asia/Tokyo"), now };
        let day = |text: &str| ends.of(Some(text));
        assert_eq!(day("2027-03-31"), Ok(now + DAY / 48), "today ends with today");
        assert_eq!(ends.of(None), Ok(now + DAY / 48 + 90 * DAY));
        assert_eq!(ends.latest(), "2028-05-03");
        assert!(day("2028-05-03").is_ok_and(|end| end <= now + LONGEST_SLIP_MS));
        for impossible in ["2028-05-04", "2027-03-30", "9999-12-31", "-009999-01-01", "soon", ""] {
            let latest = "2028-05-03".to_owned();
            assert_eq!(day(impossible), Err(AgentFault::UntilImpossible { latest }), "{impossible}");
        }
    }
}
