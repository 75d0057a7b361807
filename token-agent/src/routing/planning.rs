//! What would be routed, for the person to agree to.

use std::path::PathBuf;
use std::sync::Arc;

use warifu_api::wire::agent::{AgentFault, Plan, PlanRequest, PlannedFile, PlannedTarget};

use super::choosing::choose;
use super::ends::Ends;
use super::{Units, check};
use crate::agent::Agent;
use crate::pending::read_stanzas;
use crate::sources::{the_source, while_open};

/// What would be routed. Nothing is sent, signed or computed.
///
/// # Errors
/// [`AgentFault`] where nothing can be sent at all.
pub(crate) async fn plan(agent: &Arc<Agent>, request: PlanRequest) -> Result<Plan, AgentFault> {
    check(request.files.len(), request.files.iter(), &request.targets)?;
    let mut source = the_source(agent, request.serial).await?;
    let units = while_open(&source.ending, Units::read(agent)).await??;
    let targets = units.targets(&request.targets)?;
    let end = Ends::now(agent, &source).of(request.last_day.as_deref())?;
    let files = read_stanzas(request.files.iter().map(PathBuf::from).collect());
    let files = while_open(&source.ending, files).await?;
    let chosen = choose(agent, &mut source, &units, &files, &targets).await;
    let planned = files.iter().zip(chosen).map(|(file, chosen)| match (file, chosen) {
        (Ok(file), Ok(chosen)) => {
            PlannedFile::Ready { unit: chosen.unit_name(&units), stanzas: file.digest() }
        }
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
