//! The parts of a delivery come, in any order and as often as it takes; once all are here, the digest decides.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use warifu_api::server::Seat;
use warifu_api::wire::deliveries::{
    Addressee, Delivered, DeliveryState, Handling, Offered, part_length, parts_of,
};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::{Digest, Id};

use super::{Arrival, Authority, Checking, NO_DELIVERY, NO_PART, NotDelivered, Result};
use crate::authority::error::AuthorityError;
use crate::authority::store::deliveries::{Kept, Place, Stage};
use crate::authority::{LONG_POLL, blocking, whole};

/// A part that may come.
pub(crate) struct ComingPart {
    /// Its length, in bytes.
    pub(crate) length: u64,
    /// Whether a card has signed the delivery.
    pub(crate) signed: bool,
}

impl Authority {
    /// A delivery that is not over.
    pub(super) async fn kept(&self, delivery: &Id) -> Result<Kept> {
        let now = self.now(&self.state()?);
        let mut kept = self.store.delivery(delivery).await?.ok_or(NO_DELIVERY)?;
        if kept.expires_at <= now {
            return Err(NO_DELIVERY);
        }
        // Whatever still lies in the box: it is over, and deleted in a moment.
        if kept.kept_until <= now {
            kept.stage = Stage::Deleted;
        }
        Ok(kept)
    }

    /// What there is of a delivery, for who sends it.
    pub(crate) async fn delivered(&self, delivery: &Id) -> Result<Delivered> {
        let kept = self.kept(delivery).await?;
        let state = self.delivery_state(&kept).await?;
        let places = self.store.places(delivery).await?;
        let units = self.store.delivery_units(delivery).await?;
        let units = units.into_iter().map(|unit| Addressee { unit, handling: answer_of(&unit, &places) });
        let units: Vec<Addressee> = units.collect();
        let received = self.received(&kept, &units).await?;
        Ok(Delivered { id: kept.id, state, units, received })
    }

    pub(super) async fn delivery_state(&self, kept: &Kept) -> Result<DeliveryState> {
        Ok(match kept.stage {
            Stage::Quarantined { arrived_at } => DeliveryState::Quarantined { arrived_at },
            Stage::Arrived { arrived_at } => {
                DeliveryState::Arrived { arrived_at, kept_until: kept.kept_until }
            }
            Stage::Deleted => DeliveryState::Deleted { at: kept.kept_until },
            Stage::Arriving { other_file } => match self.deliveries.arrivals.digested(&kept.id) {
                Some(done) => DeliveryState::Checking { done },
                None => {
                    let here = self.store.parts(&kept.id).await?;
                    let missing = (0..parts_of(kept.size)).filter(|part| !here.contains(part)).collect();
                    DeliveryState::Arriving { missing, other_file }
                }
            },
        })
    }

    /// What a part is that may come now.
    pub(crate) async fn part_to_come(&self, delivery: &Id, part: u64) -> Result<ComingPart> {
        let kept = self.kept(delivery).await?;
        if !matches!(kept.stage, Stage::Arriving { .. }) {
            return Err(NotDelivered::Complete.into());
        }
        let length = part_length(kept.size, part).ok_or(NO_PART)?;
        Ok(ComingPart { length, signed: matches!(kept.offered, Some(Offered::Signed { .. })) })
    }

    /// Keeps a part, durably, in the place of what came of it before. The seat of who has brought it is free when its bytes are not in
    /// memory any more, whether he still waits for an answer or not.
    pub(crate) async fn keep_part(
        self: &Arc<Self>,
        delivery: Id,
        part: u64,
        bytes: Bytes,
        seat: Seat,
    ) -> Result<()> {
        let this = self.clone();
        whole(async move {
            let _seat = seat;
            let arrival = this.deliveries.arrivals.of(&delivery);
            let _writing = arrival.parts.try_read().map_err(|_| NotDelivered::Checking)?;
            // Nobody completes it from here on.
            let ComingPart { length, .. } = this.part_to_come(&delivery, part).await?;
            if bytes.len() as u64 != length {
                return Err(NotDelivered::OtherLength { length }.into());
            }
            this.deliveries.objects.put(&delivery, part, bytes).await?;
            reached(CrashPoint::KmsPartWritten).await;
            this.store.keep_part(&delivery, part).await?;
            this.figures.part_came(length);
            Ok(())
        })
        .await
    }

    /// Whether all of a delivery is here, and is the file of this digest: then it lies at its units. Waits for that to be computed, but
    /// not for long.
    pub(crate) async fn complete(self: &Arc<Self>, delivery: Id, said: Digest) -> Result<Delivered> {
        if self.kept(&delivery).await?.file.is_some_and(|signed| signed != said) {
            return Err(NotDelivered::OtherDigest.into());
        }
        if let DeliveryState::Arriving { missing, .. } = self.delivered(&delivery).await?.state
            && missing.is_empty()
            && let Some(checking) = Checking::begin(self.deliveries.arrivals.of(&delivery))
        {
            let this = self.clone();
            let checking = tokio::spawn(async move { this.check_delivery(&delivery, &said, checking).await });
            if let Ok(checked) = timeout(LONG_POLL, checking).await {
                checked.map_err(|_| AuthorityError::Stopping)??;
            }
        }
        self.delivered(&delivery).await
    }

    async fn check_delivery(&self, delivery: &Id, said: &Digest, checking: Checking) -> Result<()> {
        let _turn = self.deliveries.digesting.acquire().await.map_err(|_| AuthorityError::Stopping)?;
        let arrival = &checking.0;
        // Whoever is writing a part goes first.
        let _alone = arrival.parts.write().await;
        let kept = self.kept(delivery).await?;
        let is_here = self.store.parts(delivery).await?.len() as u64 == parts_of(kept.size);
        if !is_here || !matches!(kept.stage, Stage::Arriving { .. }) {
            return Ok(());
        }
        let file = match self.digest_of(&kept, arrival).await {
            // Whoever keeps the parts has cut one short.
            Err(AuthorityError::Delivery(NotDelivered::OtherObject { .. })) => None,
            digested => Some(digested?),
        };
        if file != Some(*said) {
            tracing::warn!(delivery = %delivery, "what came is another file than the one that was sent");
            return self.store.throw_away_parts(delivery).await;
        }
        self.store.delivery_arrived(delivery, said, self.now(&self.state()?)).await?;
        reached(CrashPoint::KmsDeliveryArrived).await;
        let signed = matches!(kept.offered, Some(Offered::Signed { .. }));
        self.figures.delivery_arrived(signed);
        tracing::info!(delivery = %delivery, bytes = kept.size, signed, "delivery arrived");
        Ok(())
    }

    /// SHA-256 over all parts, of which one is in memory at a time.
    async fn digest_of(&self, kept: &Kept, arrival: &Arrival) -> Result<Digest> {
        let mut digest = Sha256::new();
        for part in 0..parts_of(kept.size) {
            let length = part_length(kept.size, part).ok_or(NO_PART)?;
            let bytes = self.deliveries.objects.get(&kept.id, part, length).await?;
            digest = blocking(move || Ok(digest.chain_update(&bytes))).await?;
            arrival.digested.fetch_add(length, Ordering::Relaxed);
        }
        Ok(Digest(digest.finalize().into()))
    }
}

/// What became of it at a unit, or wherever that one passed it on to: taken, if anybody has taken it; else nothing yet, if anybody
/// still may; else given back.
fn answer_of(addressee: &Id, places: &[Place]) -> Handling {
    let of_addressee = || places.iter().filter(|place| place.addressee == *addressee).map(|it| &it.handling);
    let last = |wanted: fn(&Handling) -> bool| of_addressee().rev().find(|it| wanted(it)).cloned();
    last(|it| matches!(it, Handling::Accepted { .. }))
        .or_else(|| last(|it| *it == Handling::Waiting))
        .or_else(|| last(|it| matches!(it, Handling::Returned { .. })))
        .unwrap_or(Handling::Waiting)
}
