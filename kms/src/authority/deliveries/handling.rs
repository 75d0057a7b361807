//! What the members of a unit do with a delivery that lies there.

use std::collections::BTreeMap;

use axum::body::Bytes;
use warifu_api::wire::deliveries::{Handling, PassOn, Return, part_length};
use warifu_ledger::Id;
use warifu_ledger::delivery::is_line;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Millis, Right};

use super::{Authority, NO_DELIVERY, NO_PART, NotDelivered, Result};
use crate::authority::store::deliveries::{Kept, Place, Stage};

/// The units to which a card holds a grant that is live and has begun, each with what it allows.
pub(super) fn units_of(state: &State, card: &Id, now: Millis) -> BTreeMap<Id, Right> {
    let live = |(id, _): &(Id, _)| state.live_grant(id, now).is_ok();
    let begun = |starts_at: Option<Millis>| starts_at.is_none_or(|start| start <= now);
    let grants = state.grants_of_card(*card).filter(live).filter(|(_, grant)| begun(grant.starts_at));
    grants.map(|(_, grant)| (grant.unit, grant.right)).collect()
}

/// A delivery that lies at a unit of the card that asks.
struct AtHand {
    kept: Kept,
    place: Place,
}

impl Authority {
    /// Where a delivery lies, of the places that this card may see: of these, the one at `unit`, if one is asked for.
    async fn at_hand(&self, card: &Id, delivery: &Id, unit: Option<&Id>) -> Result<AtHand> {
        let state = self.state()?;
        let now = self.now(&state);
        let kept = self.kept(delivery).await?;
        let units = units_of(&state, card, now);
        let mut places = self.store.places(delivery).await?.into_iter();
        let place =
            places.find(|it| units.contains_key(&it.unit) && unit.is_none_or(|unit| it.unit == *unit));
        let place = place.ok_or(NO_DELIVERY)?;
        match kept.stage {
            Stage::Quarantined { .. } | Stage::Arrived { .. } => Ok(AtHand { kept, place }),
            Stage::Arriving { .. } | Stage::Deleted => Err(NO_DELIVERY),
        }
    }

    /// A part, for who may take it.
    pub(crate) async fn part(&self, card: Id, delivery: Id, part: u64) -> Result<Bytes> {
        let AtHand { kept, .. } = self.at_hand(&card, &delivery, None).await?;
        let Stage::Arrived { .. } = kept.stage else { return Err(NotDelivered::NotLookedAt.into()) };
        let length = part_length(kept.size, part).ok_or(NO_PART)?;
        let bytes = self.deliveries.objects.get(&delivery, part, length).await?;
        self.figures.part_left(length);
        Ok(bytes)
    }

    /// Somebody of the unit has looked at what came without a card's signature. Once more changes nothing.
    pub(crate) async fn admit(&self, card: Id, delivery: Id, unit: Id) -> Result<()> {
        self.at_hand(&card, &delivery, Some(&unit)).await?;
        self.store.delivery_admitted(&delivery).await?;
        tracing::info!(delivery = %delivery, card = %card, "delivery admitted");
        Ok(())
    }

    /// The unit takes it. Once more changes nothing.
    pub(crate) async fn accept(&self, card: Id, delivery: Id, unit: Id) -> Result<()> {
        let at = self.now(&self.state()?);
        let AtHand { kept, place } = self.at_hand(&card, &delivery, Some(&unit)).await?;
        let Stage::Arrived { .. } = kept.stage else { return Err(NotDelivered::NotLookedAt.into()) };
        if matches!(place.handling, Handling::Accepted { .. }) {
            return Ok(());
        }
        self.handle(&place, card, Handling::Accepted { at }).await
    }

    /// The unit gives it back; who sent it sees why. Once more changes nothing.
    pub(crate) async fn give_back(&self, card: Id, delivery: Id, request: Return) -> Result<()> {
        let at = self.now(&self.state()?);
        let Return { unit, reason } = request;
        if !is_line(&reason) {
            return Err(NotDelivered::ReasonUnfit.into());
        }
        let AtHand { place, .. } = self.at_hand(&card, &delivery, Some(&unit)).await?;
        if matches!(&place.handling, Handling::Returned { reason: given, .. } if *given == reason) {
            return Ok(());
        }
        self.handle(&place, card, Handling::Returned { at, reason }).await
    }

    async fn handle(&self, place: &Place, card: Id, handling: Handling) -> Result<()> {
        let then = self.now(&self.state()?).saturating_add(self.deliveries.settings.keep_handled_ms());
        let at = (&place.delivery, &place.unit);
        if !self.store.handle_delivery(at, &card, &handling, then).await? {
            return Err(NotDelivered::Handled.into());
        }
        let accepted = matches!(handling, Handling::Accepted { .. });
        tracing::info!(delivery = %place.delivery, unit = %place.unit, card = %card, accepted, "delivery handled");
        Ok(())
    }

    /// The file was routed to another unit, and lies there as well. Once more changes nothing.
    pub(crate) async fn pass_on(&self, card: Id, delivery: Id, request: PassOn) -> Result<()> {
        let state = self.state()?;
        let now = self.now(&state);
        let PassOn { unit, to } = request;
        let AtHand { kept, place } = self.at_hand(&card, &delivery, Some(&unit)).await?;
        let Stage::Arrived { .. } = kept.stage else { return Err(NotDelivered::NotLookedAt.into()) };
        let opens = units_of(&state, &card, now).get(&unit) == Some(&Right::Open);
        let may =
            if opens { state.unit_is_listed(&to, now) } else { state.routes_of(&unit, now).contains(&to) };
        if !may {
            return Err(NotDelivered::NotAddressable { unit: to }.into());
        }
        let places = self.store.places(&delivery).await?;
        match places.iter().find(|place| place.unit == to) {
            Some(there) if there.passed_by == Some(unit) => return Ok(()),
            Some(_) => return Err(NotDelivered::LiesThere.into()),
            None => {}
        }
        if !matches!(place.handling, Handling::Waiting | Handling::PassedOn { .. }) {
            return Err(NotDelivered::Handled.into());
        }
        let keep_ms = self.deliveries.settings.keep_ms();
        if !self.store.pass_on_delivery(&place, &to, &card, now, keep_ms).await? {
            return Err(NotDelivered::Handled.into());
        }
        tracing::info!(delivery = %delivery, unit = %unit, to = %to, card = %card, "delivery passed on");
        Ok(())
    }
}
