//! Bringing slips to a site. Where the connection breaks they may be there or not; the same ones again do no harm (P-15.10).

use std::sync::Arc;

use warifu_api::wire::agent::{AgentFault, RouteOutcome};
use warifu_api::wire::routing::{Batch, RefusedSlip};
use warifu_api::{ClientError, ErrorCode};
use warifu_ledger::Id;
use warifu_ledger::slip::SlipId;

use crate::agent::Agent;
use crate::fault;
use crate::site::Link;
use crate::sources::{Source, while_open};

/// How often the same slips are brought, to one site or to others, before it is said that nobody knows.
const TRIES: usize = 3;

/// What became of a batch.
pub(super) enum Sent {
    /// It was taken, but for these.
    Taken(Vec<RefusedSlip>),
    /// Nobody here knows whether it was.
    Uncertain,
    /// It was not.
    Failed(AgentFault),
}

impl Sent {
    /// What became of one slip.
    pub(super) fn outcome(&self, slip: SlipId, last_day: &str) -> RouteOutcome {
        let refused = match self {
            Self::Failed(fault) => return RouteOutcome::Failed { fault: fault.clone() },
            // With its number: what may be on its way can be revoked.
            Self::Uncertain => return RouteOutcome::Uncertain { last_day: last_day.to_owned(), slip },
            Self::Taken(refused) => refused.iter().find(|refused| refused.index == slip.index),
        };
        match refused.map(|refused| refused.code) {
            None => RouteOutcome::Sent { last_day: last_day.to_owned(), slip },
            // The slip by which it came is not there, or is over.
            Some(ErrorCode::NotFound) => RouteOutcome::Failed { fault: AgentFault::NotForYou },
            Some(code) => RouteOutcome::Failed { fault: AgentFault::SiteRefused { code } },
        }
    }
}

/// Brings slips to the card's site; where that fails, again, there or at the next one.
pub(super) async fn send(agent: &Arc<Agent>, source: &Source, batch: &Batch) -> Sent {
    let mut bringing = Bringing { source, batch, uncertain: false };
    let sent = match while_open(&source.ending, bringing.bring()).await.flatten() {
        Ok(refused) => return Sent::Taken(refused),
        Err(fault) => fault,
    };
    agent.heard(&source.session, &sent);
    if bringing.uncertain { Sent::Uncertain } else { Sent::Failed(sent) }
}

struct Bringing<'a> {
    source: &'a Source,
    batch: &'a Batch,
    /// Whether it may have been taken without anybody here hearing of it.
    uncertain: bool,
}

impl Bringing<'_> {
    async fn bring(&mut self) -> Result<Vec<RefusedSlip>, AgentFault> {
        let sites = &self.source.unlocked.sites;
        let mut link = sites.current().unwrap_or_else(|| self.source.link.clone());
        let mut fault = AgentFault::SiteUnreachable;
        for again in (0..TRIES).rev() {
            let except = match self.once(&link).await {
                Ok(refused) => return Ok(refused),
                Err(NotTaken::Refused(refused)) => return Err(refused),
                Err(NotTaken::ByThisSite(why)) => {
                    fault = why;
                    Some(link.site.site)
                }
                Err(NotTaken::Broken(why)) => {
                    fault = why;
                    None
                }
            };
            if again > 0 {
                link = self.next(except, &link).await.map_err(|_| fault.clone())?;
            }
        }
        Err(fault)
    }

    async fn next(&self, except: Option<Id>, link: &Link) -> Result<Arc<Link>, AgentFault> {
        let sites = &self.source.unlocked.sites;
        match sites.connect(except).await {
            Err(AgentFault::SiteUnreachable) if except.is_none() => sites.connect(Some(link.site.site)).await,
            connected => connected,
        }
    }

    async fn once(&mut self, link: &Link) -> Result<Vec<RefusedSlip>, NotTaken> {
        let before = std::mem::replace(&mut self.uncertain, true);
        let error = match link.route(self.batch).await {
            Ok(routed) => {
                self.uncertain = false;
                return Ok(routed.refused);
            }
            Err(error) => error,
        };
        match error {
            ClientError::Refused { body, .. } => {
                self.uncertain = before || may_have_taken(body.code);
                let refused = AgentFault::SiteRefused { code: body.code };
                Err(match fault::concerns_site(body.code) {
                    true => NotTaken::ByThisSite(refused),
                    false => NotTaken::Refused(refused),
                })
            }
            error @ (ClientError::Unreachable { .. } | ClientError::NotTrusted { .. }) => {
                self.uncertain = before;
                Err(NotTaken::ByThisSite(fault::of_site(error)))
            }
            error => Err(NotTaken::Broken(fault::of_site(error))),
        }
    }
}

/// Whether something failed at the site that may have been after it had taken them.
fn may_have_taken(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Internal | ErrorCode::StorageUnavailable)
}

/// Why a site did not take a batch.
enum NotTaken {
    /// No site will.
    Refused(AgentFault),
    /// This one cannot, another one might.
    ByThisSite(AgentFault),
    /// It may have: the connection broke, or what it answered makes no sense.
    Broken(AgentFault),
}
