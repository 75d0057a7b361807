//! What somebody wants to send: whether it may come.

use warifu_api::wire::deliveries::{Delivered, Offer, Offered, OutsideOffer, Terms};
use warifu_directory::signed::CLOCKS_APART_MS;
use warifu_ledger::delivery::{NotSent, Unfit, is_file_name, is_line, sent_by};
use warifu_ledger::dsse::EnvelopeError;
use warifu_ledger::key::Base64;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Delivery, Millis};
use warifu_ledger::{Digest, Id};

use super::{Authority, NotDelivered, Result};
use crate::authority::store::deliveries::{Held, Kept, NewDelivery, counted};
use crate::authority::{blocking, cached, keep};

/// Deliveries of one organization that are arriving at once.
const UNSETTLED: u64 = 1024;
/// Deliveries of one card that are arriving at once.
const OF_CARD: u64 = 32;
/// Deliveries that are arriving for one unit, or that nobody there has done anything with.
const WAITING: u64 = 4096;
/// The part of a unit's room that another organization may take, or what comes without a card's signature: none shuts it for all others.
const SHARE: u64 = 2;
/// How long it is known which units take deliveries without a card's signature, in milliseconds, if the ledger stays as it is.
const TERMS_MS: u64 = 60_000;
/// Deliveries without a card's signature that are arriving, or that nobody has looked at.
const UNSETTLED_OUTSIDE: u64 = 64;

impl Authority {
    /// What this box takes.
    pub(crate) async fn terms(&self) -> Result<Terms> {
        let state = self.state()?;
        let (settings, now) = (&self.deliveries.settings, self.now(&state));
        let size = state.tree().size();
        if let Some((since, terms)) = cached(&self.deliveries.terms, size)
            && now.abs_diff(since) < TERMS_MS
        {
            return Ok(terms);
        }
        let mut outside = Vec::new();
        let listed = |(id, _): &(&Id, _)| !settings.outside.is_empty() && state.unit_is_listed(id, now);
        for (id, unit) in state.units().filter(listed) {
            if unit.key.is_some() && settings.outside.contains(&self.name(&unit.name).await?.label) {
                outside.push(*id);
            }
        }
        let terms = Terms {
            organization: state.organization(),
            largest: settings.largest(),
            largest_outside: settings.largest_outside(),
            outside,
            keep_ms: settings.keep_ms(),
        };
        keep(&self.deliveries.terms, size, (now, terms.clone()));
        Ok(terms)
    }

    /// Takes a delivery in, its parts to come, if its sender is proved and there is room. The same again is answered with what there is.
    pub(crate) async fn offer(&self, offer: Offer) -> Result<Delivered> {
        let state = self.state()?;
        let now = self.now(&state);
        let (offer, delivery) = self.sent(&state, offer).await?;
        if delivery.to.organization != state.organization() {
            return Err(NotDelivered::ForAnother { organization: delivery.to.organization }.into());
        }
        if delivery.is_over(now) {
            return Err(NotDelivered::Over { expires_at: delivery.expires_at }.into());
        }
        if delivery.sent_at > now.saturating_add(CLOCKS_APART_MS) {
            return Err(NotDelivered::Unfit(Unfit::Dates).into());
        }
        let most = self.deliveries.settings.largest();
        let keep_ms = self.deliveries.settings.keep_ms();
        let new = NewDelivery {
            id: delivery.id,
            digest: offer.delivery.digest(),
            organization: Some(delivery.organization),
            card: Some(delivery.card),
            units: delivery.to.units,
            size: delivery.size,
            file: Some(delivery.digest),
            kept_until: now.saturating_add(keep_ms).min(delivery.expires_at),
            expires_at: delivery.expires_at,
            offered: Offered::Signed { offer },
        };
        self.begin(&state, new, most, now).await
    }

    /// The same from somebody without a card, for a unit that takes such.
    pub(crate) async fn offer_from_outside(&self, offer: OutsideOffer) -> Result<Delivered> {
        let state = self.state()?;
        let now = self.now(&state);
        fits(&offer).map_err(NotDelivered::Unfit)?;
        if !self.terms().await?.outside.contains(&offer.unit) {
            return Err(NotDelivered::NotFromOutside { unit: offer.unit }.into());
        }
        let most = self.deliveries.settings.largest_outside();
        let kept_until = now.saturating_add(self.deliveries.settings.keep_ms());
        let new = NewDelivery {
            id: offer.id,
            digest: Digest::of(&serde_json::to_vec(&offer)?),
            organization: None,
            card: None,
            units: [offer.unit].into(),
            size: offer.size,
            file: None,
            kept_until,
            expires_at: kept_until,
            offered: Offered::Outside { offer, digest: None },
        };
        self.begin(&state, new, most, now).await
    }

    async fn begin(&self, state: &State, new: NewDelivery, most: u64, now: Millis) -> Result<Delivered> {
        if new.size > most {
            return Err(NotDelivered::TooLarge { size: new.size, most }.into());
        }
        for unit in &new.units {
            let has_key = state.unit(unit).is_some_and(|unit| unit.key.is_some());
            if !has_key || !state.unit_is_listed(unit, now) {
                return Err(NotDelivered::NotAddressable { unit: *unit }.into());
            }
        }
        if let Some(there) = self.store.delivery(&new.id).await? {
            return self.there_already(&new, &there).await;
        }
        self.make_room(now).await?;
        let begun = {
            // Nobody else takes what is found to be free here.
            let _turn = self.deliveries.offering.lock().await;
            self.has_room(&new, &self.store.held(&new).await?, state)?;
            self.store.begin_delivery(&new, now).await?
        };
        match begun {
            None => tracing::info!(delivery = %new.id, bytes = new.size, "delivery begun"),
            Some(there) => return self.there_already(&new, &there).await,
        }
        self.delivered(&new.id).await
    }

    async fn there_already(&self, new: &NewDelivery, there: &Kept) -> Result<Delivered> {
        if there.digest == new.digest {
            self.delivered(&new.id).await
        } else {
            Err(NotDelivered::OtherDelivery.into())
        }
    }

    /// Whether there is room for it beside what there is.
    fn has_room(
        &self,
        new: &NewDelivery,
        held: &Held,
        state: &State,
    ) -> std::result::Result<(), NotDelivered> {
        let settings = &self.deliveries.settings;
        let beside = |held: u64| held.saturating_add(counted(new.size));
        let unsettled = if new.organization.is_some() { UNSETTLED } else { UNSETTLED_OUTSIDE };
        let on_disk = beside(held.promised).saturating_add(settings.spare());
        let share = if new.organization == Some(state.organization()) { 1 } else { SHARE };
        let (unit, of_sender) = (&held.for_unit, &held.for_unit_from_sender);
        let full = [
            (held.unsettled >= unsettled, "for further deliveries of this sender at once"),
            (held.of_card >= OF_CARD, "for further deliveries of this card at once"),
            (beside(held.from_sender) > settings.of_organization(), "for what this sender sends"),
            (beside(unit.bytes) > settings.of_unit(), "for this unit"),
            (unit.waiting >= WAITING, "for further deliveries at this unit"),
            (beside(of_sender.bytes) > settings.of_unit() / share, "for what this sender sends to this unit"),
            (of_sender.waiting >= WAITING / share, "for further deliveries of this sender at this unit"),
            (on_disk > self.deliveries.objects.free(), "on the disk"),
        ];
        match full.into_iter().find(|(is_full, _)| *is_full) {
            Some((_, of)) => Err(NotDelivered::Full { of }),
            None => Ok(()),
        }
    }

    /// What was signed, its sender proved and, as far as is known, live.
    async fn sent(&self, state: &State, offer: Offer) -> Result<(Offer, Delivery)> {
        let unread: Delivery = offer.delivery.statement()?;
        let (organization, ca) = Self::sender_keys(state, &unread.organization)?;
        let is_own = organization == state.organization();
        let proved = blocking(move || {
            let sent = sent_by(&offer.delivery, &offer.sender, &organization, &ca).map_err(|why| match why {
                why @ (NotSent::Envelope(EnvelopeError::TooLarge) | NotSent::Unfit(_)) => {
                    NotDelivered::NotSent(why)
                }
                why if is_own => NotDelivered::NotSent(why),
                // Who proves nothing does not learn whom officers here have pinned.
                why => {
                    tracing::info!(%organization, %why, "nobody there is proved to have sent it");
                    NotDelivered::NotTrusted { organization }
                }
            });
            Ok((sent?.delivery, offer))
        });
        let (delivery, offer) = proved.await?;
        self.sender_is_live(state, &delivery).await?;
        Ok((offer, delivery))
    }

    /// The key with which the ca of an organization cosigns: of this one by the fold, of another as officers have pinned it.
    fn sender_keys(state: &State, organization: &Digest) -> Result<(Digest, Base64<32>)> {
        let ca = match state.trust(organization).filter(|trust| !trust.ended) {
            Some(trust) => Some(&trust.keys.ca),
            None => (*organization == state.organization()).then(|| state.ca()),
        };
        let not_trusted = NotDelivered::NotTrusted { organization: *organization };
        let log = ca.and_then(|ca| ca.log).ok_or(not_trusted)?;
        Ok((*organization, log))
    }
}

/// As [`Delivery::fits`], of what nobody signed.
fn fits(offer: &OutsideOffer) -> std::result::Result<(), Unfit> {
    if !is_line(&offer.title) || !is_line(&offer.from) {
        return Err(Unfit::Title);
    }
    if !is_file_name(&offer.name) {
        return Err(Unfit::FileName);
    }
    if offer.size == 0 {
        return Err(Unfit::Size { size: offer.size });
    }
    Ok(())
}
