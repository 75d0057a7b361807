//! What was sent from this PC, and what has become of it as far as that is proved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};
use warifu_api::wire::agent::AgentFault;
use warifu_api::wire::agent::{Became, SentDeliveries};
use warifu_api::wire::deliveries::{Delivered, DeliveryState};
use warifu_ledger::statement::{Delivery, Received, ReceivedState};
use warifu_ledger::{Digest, Id};

use super::outbox::Outgoing;
use super::receiver::Receiver;
use super::{Holder, now};
use crate::agent::Agent;
use crate::fault;
use crate::sources::while_open;

/// How many organizations are asked at once.
pub(super) const AT_ONCE: usize = 8;
/// How long one organization's box may take to answer for all that was sent to it.
const PATIENCE: Duration = Duration::from_secs(20);

type Kept = (Delivery, Outgoing);

/// What was sent from this PC, and what has become of it.
pub(crate) async fn sent(agent: &Arc<Agent>) -> Result<SentDeliveries, AgentFault> {
    let holders = Holder::all(agent).await?;
    let Some(holder) = holders.first() else { return Err(agent.why_not_open().await) };
    let kept = agent.outbox.all(now());
    let asking: Vec<_> = by_organization(kept.clone())
        .into_iter()
        .map(|(organization, kept)| asked(agent, holder, organization, kept))
        .collect();
    let asking = futures_util::stream::iter(asking).buffer_unordered(AT_ONCE).concat();
    let mut became: BTreeMap<Id, Became> = while_open(&holder.ending, asking).await?.into_iter().collect();
    let told = kept.iter().map(|(delivery, outgoing)| {
        let became = became.remove(&delivery.id).unwrap_or(Became::Unknown);
        agent.outbox.told(delivery, outgoing, became, &agent.zone())
    });
    Ok(SentDeliveries { deliveries: told.collect() })
}

/// What was sent to each organization's box.
pub(super) fn by_organization(kept: Vec<Kept>) -> BTreeMap<Option<Digest>, Vec<Kept>> {
    let mut found: BTreeMap<Option<Digest>, Vec<Kept>> = BTreeMap::new();
    for delivery in kept {
        found.entry(delivery.1.organization).or_default().push(delivery);
    }
    found
}

/// Asks one box, one after the other; whatever it has not answered in time is not known.
async fn asked(
    agent: &Agent,
    holder: &Holder,
    organization: Option<Digest>,
    kept: Vec<Kept>,
) -> Vec<(Id, Became)> {
    let until = Instant::now() + PATIENCE;
    let receiver = match timeout_at(until, Receiver::of(agent, holder, organization)).await {
        Ok(Ok(receiver)) => receiver,
        Ok(Err(fault)) => {
            tracing::info!(?organization, ?fault, "what became of deliveries is not known");
            return Vec::new();
        }
        Err(_) => return Vec::new(),
    };
    let mut answers = Vec::new();
    for (delivery, outgoing) in &kept {
        let path = format!("/v1/deliveries/{}", delivery.id);
        let answer = match timeout_at(until, receiver.client.get(&path)).await {
            Ok(answer) => answer.map_err(fault::of_authority),
            Err(_) => break,
        };
        let became = match answer {
            Ok(answer) => became(&receiver, outgoing, &answer, agent.outbox.is_here(&delivery.id)),
            Err(fault) => {
                tracing::info!(delivery = %delivery.id, ?fault, "what became of a delivery is not known");
                Became::Unknown
            }
        };
        answers.push((delivery.id, became));
    }
    answers
}

fn became(receiver: &Receiver, outgoing: &Outgoing, answer: &Delivered, is_here: bool) -> Became {
    let arriving = matches!(answer.state, DeliveryState::Arriving { .. } | DeliveryState::Checking { .. });
    match receiver.proved(outgoing, answer) {
        Ok(Received { arrived_at, state, units, .. }) => {
            let state = match state {
                ReceivedState::Arrived { kept_until } => DeliveryState::Arrived { arrived_at, kept_until },
                ReceivedState::Deleted { at } => DeliveryState::Deleted { at },
            };
            Became::Received { state, units }
        }
        // Nobody would say so falsely of what lies here as well.
        Err(_) if arriving && is_here => Became::Arriving,
        Err(why) => {
            tracing::error!(delivery = %answer.id, %why, "what a box says of a delivery is not proved");
            Became::Unproved
        }
    }
}
