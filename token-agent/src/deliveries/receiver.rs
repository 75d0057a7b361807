//! Whoever takes deliveries for an organization: one's own kms, or the public listener of another one. On the road to that stands
//! whoever carries the bytes: nothing that is answered there counts but what the organization's kms has signed (P-17.13).

use std::time::Duration;

use warifu_api::Client;
use warifu_api::wire::agent::AgentFault;
use warifu_api::wire::deliveries::Delivered;
use warifu_ledger::Digest;
use warifu_ledger::delivery::{NotReceived, received};
use warifu_ledger::key::PublicKey;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{Act, Order, Received};

use super::outbox::Outgoing;
use super::{Holder, PATIENCE};
use crate::agent::Agent;
use crate::{fault, others};

/// How long an answer may take that is about no more than what there is of a delivery.
const ANSWER: Duration = Duration::from_secs(30);
/// The largest of these answers, in bytes: the numbers of all parts are in it.
const LARGEST_ANSWER: usize = 1 << 20;

/// A box, and with which key its organization's kms signs.
pub(super) struct Receiver {
    /// For questions.
    pub(super) client: Client,
    /// For parts, over the same connection.
    pub(super) bringing: Client,
    pub(super) kms: Option<PublicKey>,
}

/// Why what a box answers does not count.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotProved {
    /// It shows nothing that anybody has signed.
    #[error("the answer is signed by nobody")]
    Unsigned,
    /// There is no directory that proves with which key the kms signs.
    #[error("no directory proves the key of the organization's kms")]
    NoKey,
    /// What it shows proves nothing.
    #[error(transparent)]
    NotReceived(#[from] NotReceived),
}

impl Receiver {
    /// The box of another organization, or of one's own.
    pub(super) async fn of(
        agent: &Agent,
        holder: &Holder,
        organization: Option<Digest>,
    ) -> Result<Self, AgentFault> {
        let (client, kms) = match organization {
            None => (holder.kms.clone(), agent.profile().map(|profile| profile.kms.signing)),
            Some(organization) => {
                let all = others::all_pinned(agent).await?;
                let pinned = all.iter().find(|pinned| pinned.entry.organization == organization);
                let ended =
                    || AgentFault::Malformed { why: "the organization is not trusted any more".to_owned() };
                let pinned = pinned.ok_or_else(ended)?;
                let address = address_of(pinned).ok_or_else(ended)?;
                let keys = others::speaking(agent, pinned).await;
                (Client::public(address).map_err(fault::of_authority)?, keys.map(|keys| keys.kms.signing))
            }
        };
        let client = client.with_largest_answer(LARGEST_ANSWER);
        Ok(Self { bringing: client.clone().with_timeout(PATIENCE), client: client.with_timeout(ANSWER), kms })
    }

    /// What has become of it, as the organization that it is for has signed it.
    pub(super) fn proved(&self, outgoing: &Outgoing, answer: &Delivered) -> Result<Received, NotProved> {
        let signed = answer.received.as_ref().ok_or(NotProved::Unsigned)?;
        let kms = self.kms.as_ref().ok_or(NotProved::NoKey)?;
        Ok(received(signed, &outgoing.offer.delivery, kms)?)
    }
}

/// Where the organization's public listener is, by the order that pins it.
fn address_of(pinned: &others::Pinned) -> Option<String> {
    let leaf = Leaf::from_bytes(pinned.entry.pinned.as_ref()?.leaf.0.clone()).ok()?;
    let order: Order = leaf.envelope().statement().ok()?;
    order.acts.into_iter().rev().find_map(|act| match act {
        Act::TrustAdded { organization, address, .. } if organization == pinned.entry.organization => {
            Some(address)
        }
        _ => None,
    })
}
