//! How each file goes on: by which stanza and grant, or by the slip by which it came.

use std::sync::Arc;

use warifu_api::ErrorCode;
use warifu_api::wire::agent::AgentFault;
use warifu_envelope::TagStanza;
use warifu_ledger::statement::{Right, UnitKind};

use super::{Target, Units, key_of};
use crate::agent::Agent;
use crate::pending::Stanzas;
use crate::session::Usable;
use crate::sources::{Source, ask_again};

/// How a file goes on.
pub(super) enum Chosen {
    /// It is addressed to units of the card: for each target, the stanza and the grant.
    Addressed(Vec<(TagStanza, Usable)>),
    /// It may have been routed to a unit of the card.
    Perhaps,
}

impl Chosen {
    /// The unit that the file is addressed to: by the directory's name for it, and by the site's where it is not listed any more.
    pub(super) fn unit_name(&self, units: &Units) -> Option<String> {
        let Self::Addressed(ways) = self else { return None };
        let (_, usable) = ways.first()?;
        let listed = units.entry(&usable.grant.unit).map(|entry| entry.name.clone());
        Some(listed.unwrap_or_else(|| usable.grant.unit_name.clone()))
    }
}

/// How each file goes on to all the targets, or why it does not. What the site said last may be older than a grant, or than the list
/// of a front desk: it is asked again before anything is refused.
pub(super) async fn choose(
    agent: &Arc<Agent>,
    source: &mut Source,
    units: &Units,
    files: &[Result<Stanzas, AgentFault>],
    targets: &[Target],
) -> Vec<Result<Chosen, AgentFault>> {
    let doubtful = |file: &&Stanzas| {
        let chosen = choose_one(source, units, file, targets);
        !matches!(chosen, Ok(Chosen::Addressed(_)) | Err(AgentFault::NotTrustworthy { .. }))
    };
    let doubtful: Vec<&[TagStanza]> = files.iter().flatten().filter(doubtful).map(|file| &*file.0).collect();
    if !doubtful.is_empty() {
        ask_again(agent, std::slice::from_mut(source), &doubtful).await;
    }
    let chosen = files.iter().map(|file| match file {
        Ok(file) => choose_one(source, units, file, targets),
        Err(fault) => Err(fault.clone()),
    });
    chosen.collect()
}

fn choose_one(
    source: &Source,
    units: &Units,
    file: &Stanzas,
    targets: &[Target],
) -> Result<Chosen, AgentFault> {
    let ways = ways(source, file);
    if ways.is_empty() {
        // Without a stanza of this kind it is nobody's here, and was routed to nobody.
        let perhaps = !file.0.is_empty() && source.usable().next().is_some();
        return if perhaps { Ok(Chosen::Perhaps) } else { Err(AgentFault::NotForYou) };
    }
    ways.iter().try_for_each(|(_, usable)| is_as_listed(usable, units))?;
    let way = |target| ways.iter().find(|(_, usable)| goes_to(usable, target)).cloned();
    let chosen: Option<Vec<_>> = targets.iter().map(way).collect();
    chosen.map(Chosen::Addressed).ok_or(AgentFault::SiteRefused { code: ErrorCode::NotATarget })
}

/// The card's grants to units that the file is addressed to: those to route first, as that is what they are for.
fn ways(source: &Source, file: &Stanzas) -> Vec<(TagStanza, Usable)> {
    [Right::Route, Right::Open].iter().flat_map(|right| source.matching(&file.0, *right)).collect()
}

/// The unit and the grant to it are what the card signs: a site that tells one unit's grant under another unit's id is not believed.
/// A unit that is not listed any more, such as one that has got another key, has only the site's word; what is signed there is
/// judged by those who fold the ledger.
fn is_as_listed(usable: &Usable, units: &Units) -> Result<(), AgentFault> {
    match units.entry(&usable.grant.unit).and_then(key_of) {
        Some(key) if key != usable.grant.unit_key.0 => {
            let why = "the site names another key of the unit than the directory proves".to_owned();
            Err(AgentFault::NotTrustworthy { why })
        }
        _ => Ok(()),
    }
}

/// Whether the site will take it, as far as is known: that is for it to decide (P-15.4).
fn goes_to(usable: &Usable, target: &Target) -> bool {
    match usable.grant.right {
        Right::Route => usable.grant.routes_to.contains(&target.unit),
        Right::Open => target.unit != usable.grant.unit && target.kind != UnitKind::FrontDesk,
    }
}
