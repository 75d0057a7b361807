//! Routing files without reading them (protocol section 15): what would go where, and then, once the person has agreed, slips
//! under one signature of the card's.
//!
//! The card gives its part of each file, which is sealed to the unit that the file goes to: by the key that the directory proves,
//! never by one that a site names. A file that came to the card's unit by a slip goes further with the part that came with it.

use std::path::Path;
use std::sync::Arc;

use warifu_api::wire::UnitEntry;
use warifu_api::wire::agent::{
    AgentFault, FileToRoute, ROUTES_LIMIT, RouteAnswer, RouteOutcome, RouteRequest,
};
use warifu_envelope::UnitRecipient;
use warifu_ledger::Id;
use warifu_ledger::slip::SlipId;
use warifu_ledger::statement::UnitKind;
use warifu_split_key::point::Point;

use crate::agent::Agent;
use crate::pending::{Stanzas, read_stanzas};
use crate::signing::Verified;
use crate::sources::{Source, the_source, while_open};
use crate::{forward, signing};

mod batch;
mod choosing;
mod ends;
mod parts;
mod planning;
mod sending;

use batch::{Unsigned, Writer};
use choosing::choose;
use ends::Ends;
pub(crate) use planning::plan;

/// The units as the directory proves them.
struct Units(Vec<UnitEntry>);

/// A unit that files go to, as the directory proves it.
pub(crate) struct Target {
    pub(crate) unit: Id,
    name: String,
    kind: UnitKind,
    pub(crate) key: Point,
}

impl Units {
    async fn read(agent: &Agent) -> Result<Self, AgentFault> {
        Ok(Self(forward::directory(agent).await?.units))
    }

    fn entry(&self, unit: &Id) -> Option<&UnitEntry> {
        self.0.iter().find(|entry| entry.unit == *unit)
    }

    /// Those that files go to.
    fn targets(&self, wanted: &[Id]) -> Result<Vec<Target>, AgentFault> {
        let found: Option<Vec<Target>> = wanted.iter().map(|id| self.entry(id).and_then(target)).collect();
        found.ok_or_else(|| AgentFault::Malformed {
            why: "the directory has no such unit, or no key of it".to_owned(),
        })
    }
}

/// The unit's key, once it has one.
fn key_of(entry: &UnitEntry) -> Option<Point> {
    UnitRecipient::parse(entry.recipient.as_deref()?).ok()
}

fn target(entry: &UnitEntry) -> Option<Target> {
    Some(Target { unit: entry.unit, name: entry.name.clone(), kind: entry.kind, key: key_of(entry)? })
}

/// Routes files, with one signature for all that are of one unit. Before the PIN is verified that the person has entered for this, the
/// card computes nothing, and no site is asked.
///
/// # Errors
/// [`AgentFault`] where nothing was sent at all.
pub(crate) async fn route(agent: &Arc<Agent>, request: RouteRequest) -> Result<RouteAnswer, AgentFault> {
    let slips = request.files.len().saturating_mul(request.targets.len());
    check(slips, request.files.iter().map(|file| &file.path), &request.targets)?;
    let mut source = the_source(agent, Some(request.serial)).await?;
    let pin = signing::verify(&source.session, &source.ending, &request.pin, request.spend_last_try).await?;
    let units = while_open(&source.ending, Units::read(agent)).await??;
    let targets = units.targets(&request.targets)?;
    let end = Ends::now(agent, &source).of(Some(&request.last_day))?;
    let files = while_open(&source.ending, read_agreed(&request.files)).await?;
    let chosen = choose(agent, &mut source, &units, &files, &targets).await;
    let mut outcomes = Outcomes(files.iter().map(|_| vec![None; targets.len()]).collect());
    let drafts = parts::draft(agent, &source, files, chosen, &mut outcomes).await?;

    let organization = agent.profile().ok_or(AgentFault::NoProfile)?.organization;
    let writer = Writer { organization, targets, expires_at: end };
    let written = tokio::task::spawn_blocking(move || writer.write(drafts)).await;
    let unsigned = written.unwrap_or_else(|error| Err(AgentFault::CardFault { why: error.to_string() }))?;
    for batch in sign(&source, unsigned, pin).await? {
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

    /// How many targets each file has.
    fn targets(&self) -> usize {
        self.0.first().map_or(0, Vec::len)
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

/// Reads the headers again: what the person agreed to is what goes on.
async fn read_agreed(files: &[FileToRoute]) -> Vec<Result<Stanzas, AgentFault>> {
    let read = read_stanzas(files.iter().map(|file| file.path.clone().into()).collect()).await;
    let agreed = read.into_iter().zip(files).map(|(read, file)| match read {
        Ok(stanzas) if stanzas.digest() != file.stanzas => Err(AgentFault::FileChanged),
        read => read,
    });
    agreed.collect()
}

/// Has the card sign what was written.
async fn sign(
    source: &Source,
    unsigned: Vec<Unsigned>,
    pin: Verified,
) -> Result<Vec<batch::Signed>, AgentFault> {
    let digests = unsigned.iter().map(|batch| batch.envelope.digest()).collect();
    let (key, signatures) = signing::sign(&source.session, &source.ending, pin, digests).await?;
    let signed = unsigned.into_iter().zip(signatures);
    Ok(signed.map(|(batch, signature)| batch.signed(&key, signature)).collect())
}
