//! What lies in the box for the cards of this PC, each with its sender as far as that can be proved here.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use warifu_api::wire::Done;
use warifu_api::wire::agent::{
    AgentFault, DeliveredFrom, Handle, HandleRequest, NamedUnit, Received, ReceivedDelivery, SenderStanding,
};
use warifu_api::wire::deliveries::{
    AtUnit, DeliveryState, Inbox, InboxEntry, Offer, Offered, OutsideOffer, PassOn, Return,
};
use warifu_directory::signed::CLOCKS_APART_MS;
use warifu_ledger::delivery::{self, NotSent, Unfit, is_file_name, is_line};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, PublicKey};
use warifu_ledger::statement::{Delivery, Millis, Standing};
use warifu_ledger::{Digest, Id};
use warifu_texts::day::Zone;

use super::Holder;
use crate::agent::Agent;
use crate::sources::while_open;
use crate::{fault, forward, others};

/// How many answers of a kms are read for one list.
const ANSWERS_LIMIT: usize = 64;
/// How old a kms's word may be that a card is live, in milliseconds: two clocks that are apart, and a minute in which the box need
/// not ask again.
const STANDING_FRESH_MS: u64 = CLOCKS_APART_MS + 60_000;

/// An organization whose members may have sent something, with what proves that.
struct Known {
    /// With which its ca cosigns.
    log: Option<Base64<32>>,
    /// With which its kms signs now; none where that is not proved.
    kms: Option<PublicKey>,
    name: String,
}

/// What is known to judge deliveries by.
struct Knowledge {
    own: Digest,
    organizations: BTreeMap<Digest, Known>,
    /// What units are called.
    units: BTreeMap<Id, String>,
}

impl Knowledge {
    async fn gather(agent: &Agent) -> Result<Self, AgentFault> {
        let profile = agent.profile().ok_or(AgentFault::NoProfile)?;
        let units = forward::directory(agent).await?.units;
        let mut organizations: BTreeMap<Digest, Known> = BTreeMap::new();
        // Without them, what their members sent is not proved, and said to be so.
        for pinned in others::all_pinned(agent).await.unwrap_or_default() {
            let kms = others::speaking(agent, &pinned).await.map(|keys| keys.kms.signing);
            let known = Known { log: pinned.pin.keys.ca.log, kms, name: pinned.entry.name };
            organizations.insert(pinned.entry.organization, known);
        }
        let (log, kms) = (profile.ca.log, Some(profile.kms.signing));
        let own = Known { log, kms, name: profile.name.clone() };
        organizations.insert(profile.organization, own);
        let units = units.into_iter().map(|unit| (unit.unit, unit.name)).collect();
        Ok(Self { own: profile.organization, organizations, units })
    }

    fn unit(&self, unit: Id) -> NamedUnit {
        let name = self.units.get(&unit).cloned().unwrap_or_else(|| unit.to_string());
        NamedUnit { unit, name }
    }

    /// Who sent it, and what was signed, of what shall lie at this unit, passed on there or not.
    fn prove(
        &self,
        offer: &Offer,
        unit: &Id,
        is_passed_on: bool,
        now: Millis,
    ) -> Result<(delivery::Sent, &Known), NotProved> {
        let claimed: Delivery = offer.delivery.statement().map_err(NotSent::from)?;
        let known = self.organizations.get(&claimed.organization);
        let known = known.ok_or(NotProved::Stranger { organization: claimed.organization })?;
        let log: &Base64<32> = known.log.as_ref().ok_or(NotProved::NoLog)?;
        let sent = delivery::sent_by(&offer.delivery, &offer.sender, &claimed.organization, log)?;
        if sent.delivery.to.organization != self.own {
            return Err(NotProved::ForAnother);
        }
        if !is_passed_on && !sent.delivery.to.units.contains(unit) {
            return Err(NotProved::ForAnotherUnit);
        }
        if sent.delivery.is_over(now) {
            return Err(NotProved::Over);
        }
        Ok((sent, known))
    }

    /// What the sender's kms has said last of the card: an answer that is old says nothing, whoever shows it.
    fn standing(
        &self,
        standings: &[Envelope],
        organization: Digest,
        card: Id,
        now: Millis,
    ) -> SenderStanding {
        let Some(kms) = self.organizations.get(&organization).and_then(|known| known.kms) else {
            return SenderStanding::Unknown;
        };
        let said = standings.iter().filter_map(|envelope| {
            let standing = envelope.verified::<Standing>(&kms).ok()?;
            let counts = standing.organization == organization
                && standing.cards.contains(&card)
                && standing.at.abs_diff(now) <= STANDING_FRESH_MS;
            counts.then_some(standing)
        });
        match said.max_by_key(|standing| standing.at) {
            Some(standing) if standing.live.contains(&card) => SenderStanding::Live,
            Some(_) => SenderStanding::NotLive,
            None => SenderStanding::Unknown,
        }
    }
}

/// Why nobody here believes who has sent something.
#[derive(Debug, thiserror::Error)]
enum NotProved {
    #[error(transparent)]
    NotSent(#[from] NotSent),
    #[error("the organization {organization} is not trusted here")]
    Stranger { organization: Digest },
    #[error("the key with which the sender's ca cosigns is not known")]
    NoLog,
    #[error("it is for another organization")]
    ForAnother,
    #[error("it was sent to another unit, and nobody has passed it on")]
    ForAnotherUnit,
    #[error("it is over: no box has it any more")]
    Over,
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// A delivery, with the card that sees it.
pub(super) struct Lying {
    pub(super) holder: usize,
    pub(super) told: ReceivedDelivery,
    /// SHA-256 of the file, by what was signed, or said where nothing was; none before it is there.
    pub(super) digest: Option<Digest>,
}

/// What lies in the box.
pub(crate) async fn inbox(agent: &Arc<Agent>) -> Result<Received, AgentFault> {
    let holders = Holder::all(agent).await?;
    let lying = all(agent, &holders).await?;
    Ok(Received { deliveries: lying.into_iter().map(|lying| lying.told).collect() })
}

/// What lies at the units of these cards, each delivery once a unit.
pub(super) async fn all(agent: &Arc<Agent>, holders: &[Holder]) -> Result<Vec<Lying>, AgentFault> {
    let mut found: BTreeMap<(u64, Id, Id), Lying> = BTreeMap::new();
    for (index, holder) in holders.iter().enumerate() {
        let asked = async {
            let knowledge = Knowledge::gather(agent).await?;
            Ok::<_, AgentFault>((knowledge, pages(holder).await?))
        };
        let (knowledge, pages) = while_open(&holder.ending, asked).await??;
        for page in pages {
            for entry in page.entries {
                let place = entry.place;
                let lying = lying(&agent.zone(), &knowledge, &page.standings, index, entry);
                found.entry((place, lying.told.id, lying.told.at.unit)).or_insert(lying);
            }
        }
    }
    Ok(found.into_values().collect())
}

async fn pages(holder: &Holder) -> Result<Vec<Inbox>, AgentFault> {
    let (mut pages, mut after) = (Vec::new(), 0);
    for _ in 0..ANSWERS_LIMIT {
        let page: Inbox =
            holder.kms.get(&format!("/v1/inbox?after={after}")).await.map_err(fault::of_authority)?;
        let last = page.entries.iter().map(|entry| entry.place).max();
        let more = page.more;
        pages.push(page);
        match last.filter(|last| more && *last > after) {
            Some(last) => after = last,
            None => break,
        }
    }
    Ok(pages)
}

fn lying(
    zone: &Zone,
    knowledge: &Knowledge,
    standings: &[Envelope],
    holder: usize,
    entry: InboxEntry,
) -> Lying {
    let at = knowledge.unit(entry.unit);
    let passed_by = entry.passed_by.map(|unit| knowledge.unit(unit));
    let said = entry.offered.said();
    // Nothing of what it says is repeated: nobody may have said it.
    let unproved = |id, why: &NotProved| {
        tracing::error!(%why, "the kms shows a delivery of which it is not proved who sent it");
        let from = DeliveredFrom::Unproved { why: fault::chain(why) };
        (id, from, String::new(), String::new(), 0, None, None)
    };
    let (id, from, title, name, size, sent_at, digest) = match entry.offered {
        Offered::Outside { offer, digest } => match fits(&offer) {
            Ok(()) => {
                let from = DeliveredFrom::Outside { says: offer.from };
                (offer.id, from, offer.title, offer.name, offer.size, None, digest)
            }
            Err(unfit) => unproved(offer.id, &unfit.into()),
        },
        Offered::Signed { offer } => {
            match knowledge.prove(&offer, &entry.unit, entry.passed_by.is_some(), others::now()) {
                Ok((delivery::Sent { delivery, name, .. }, known)) => {
                    let organization = delivery.organization;
                    let standing = knowledge.standing(standings, organization, delivery.card, others::now());
                    let from = DeliveredFrom::Member {
                        organization,
                        organization_name: known.name.clone(),
                        card: delivery.card,
                        name: name.map(|name| name.name),
                        standing,
                    };
                    let sent_at = Some(zone.minute(delivery.sent_at));
                    let Delivery { id, title, name, size, digest, .. } = delivery;
                    (id, from, title, name, size, sent_at, Some(digest))
                }
                Err(why) => {
                    let claimed = offer.delivery.statement::<Delivery>();
                    unproved(claimed.map_or(Id([0; 16]), |claimed| claimed.id), &why)
                }
            }
        }
    };
    let told = ReceivedDelivery {
        id,
        said,
        at,
        from,
        title,
        name,
        size,
        sent_at,
        state: entry.state,
        handling: entry.handling,
        passed_by,
    };
    Lying { holder, told, digest }
}

/// Whether what nobody has signed shows what it is: the kms that says so is not believed.
fn fits(offer: &OutsideOffer) -> Result<(), Unfit> {
    if !is_line(&offer.from) || !is_line(&offer.title) {
        return Err(Unfit::Title);
    }
    if is_file_name(&offer.name) { Ok(()) } else { Err(Unfit::FileName) }
}

/// The one that was shown: a number alone is not a delivery (P-17.11).
pub(super) fn shown(
    lying: Vec<Lying>,
    id: &Id,
    said: &Digest,
    unit: Option<&Id>,
) -> Result<Lying, AgentFault> {
    let is_meant = |it: &Lying| {
        it.told.id == *id && it.told.said == *said && unit.is_none_or(|unit| it.told.at.unit == *unit)
    };
    let found = lying.into_iter().find(is_meant).ok_or(AgentFault::NoSuchDelivery)?;
    match &found.told.from {
        DeliveredFrom::Unproved { why } => Err(AgentFault::NotTrustworthy { why: why.clone() }),
        _ => Ok(found),
    }
}

/// Tells the kms what a unit has done with a delivery.
pub(crate) async fn handle(agent: &Arc<Agent>, request: HandleRequest) -> Result<Done, AgentFault> {
    let holders = Holder::all(agent).await?;
    let lying = all(agent, &holders).await?;
    let found = shown(lying, &request.id, &request.said, Some(&request.unit))?;
    let looks = matches!(request.what, Handle::Admit | Handle::Return { .. });
    if matches!(found.told.state, DeliveryState::Quarantined { .. }) && !looks {
        return Err(AgentFault::NotLookedAt);
    }
    let holder = holders.get(found.holder).ok_or(AgentFault::CardRemoved)?;
    let (unit, path) = (request.unit, |what: &str| format!("/v1/deliveries/{}/{what}", request.id));
    let kms = &holder.kms;
    let telling = async {
        match request.what {
            Handle::Admit => kms.post(&path("admitted"), &AtUnit { unit }).await,
            Handle::Accept => kms.post(&path("accepted"), &AtUnit { unit }).await,
            Handle::Return { reason } => kms.post(&path("returned"), &Return { unit, reason }).await,
            Handle::PassOn { to } => kms.post(&path("routed"), &PassOn { unit, to }).await,
        }
    };
    while_open(&holder.ending, telling).await?.map_err(fault::of_authority)
}
