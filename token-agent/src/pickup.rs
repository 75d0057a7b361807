//! What waits for a card at the kms, picked up at a member's own PC once the PIN was entered: shares of units that allow that
//! (`docs/security.md`, custody of `a`). Others wait for the officers' desk.

use std::sync::{Arc, Weak};

use tokio::sync::watch;
use warifu_api::wire::Done;
use warifu_api::wire::agent::AgentFault;
use warifu_api::wire::authority::{Package, PackagedShare};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::statement::Custody;

use crate::agent::Agent;
use crate::session::Session;
use crate::{fault, follow, personalize};

/// Looks once, and says nothing where there is nothing: a member's work does not depend on it.
pub(crate) async fn pick_up(agent: Weak<Agent>, session: Arc<Session>, mut ending: watch::Receiver<bool>) {
    let Some(agent) = agent.upgrade() else { return };
    let done = tokio::select! {
        done = fetch(&agent, &session) => done,
        _ = ending.wait_for(|over| *over) => return,
    };
    // Ending waits for this receiver.
    drop(ending);
    match done {
        Ok(false) => {}
        Ok(true) => follow::ask_again(&session).await,
        Err(fault) => tracing::info!(?fault, "what waits for the card was not picked up"),
    }
}

/// Whether anything came.
async fn fetch(agent: &Agent, session: &Session) -> Result<bool, AgentFault> {
    let organization = agent.profile().ok_or(AgentFault::NoProfile)?.organization;
    let named = session.facts().certificate_says.and_then(|says| says.member_of);
    let Some((_, card)) = named.filter(|(of, _)| *of == organization) else { return Ok(false) };
    let _gate = session.gate.lock().await;
    let client = agent.authority(Some(&session.tls_identity().await?))?;
    let path = format!("/v1/cards/{card}/package");
    let package: Package = client.get(&path).await.map_err(fault::of_authority)?;
    let mut came = false;
    for share in package.shares.into_iter().filter(|share| share.custody == Custody::OwnPc) {
        let PackagedShare { grant, unit, .. } = share;
        if personalize::import(session, organization, share).await? {
            reached(CrashPoint::AgentShareImported).await;
        }
        // Only now, with share and certificate on the card, may the kms forget it (P-6.5).
        let _: Done = client.delete(&format!("{path}/{grant}")).await.map_err(fault::of_authority)?;
        reached(CrashPoint::AgentImportConfirmed).await;
        let site = session.unlocked().and_then(|unlocked| unlocked.sites.current());
        let told = site.and_then(|link| {
            link.me.grants.iter().find(|told| told.grant == grant).map(|told| told.unit_name.clone())
        });
        session.has_brought(told.unwrap_or_else(|| unit.to_string()));
        came = true;
    }
    if came {
        session.reread().await.map_err(fault::of_card)?;
    }
    Ok(came)
}
