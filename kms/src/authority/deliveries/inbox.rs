//! What lies at the units of a card.

use std::collections::BTreeSet;

use warifu_api::wire::deliveries::{INBOX_LIMIT, Inbox, InboxEntry, Offered};
use warifu_ledger::Id;
use warifu_ledger::delivery::{STANDING_LIMIT, Sender};
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::Delivery;

use super::handling::units_of;
use super::{Authority, Result};
use crate::authority::error::AuthorityError;
use crate::authority::store::deliveries::{Place, Stage};

/// No further entry is put into an answer that has this many bytes.
const ENOUGH_BYTES: usize = 1 << 20;

impl Authority {
    /// What lies at the units of a card, after a place.
    pub(crate) async fn inbox(&self, card: Id, after: u64) -> Result<Inbox> {
        let state = self.state()?;
        let mut places = Vec::new();
        for unit in units_of(&state, &card, self.now(&state)).keys() {
            places.extend(self.store.places_at(unit, after, INBOX_LIMIT + 1).await?);
        }
        places.sort_by_key(|place| place.place);
        let mut more = places.len() > INBOX_LIMIT;
        places.truncate(INBOX_LIMIT);
        let (mut entries, mut bytes, mut senders) = (Vec::new(), 0, BTreeSet::new());
        for place in places {
            if bytes >= ENOUGH_BYTES || senders.len() >= STANDING_LIMIT {
                more = true;
                break;
            }
            if let Some(entry) = self.inbox_entry(place).await? {
                bytes += serde_json::to_vec(&entry)?.len();
                if let Offered::Signed { offer } = &entry.offered {
                    let delivery: Delivery = offer.delivery.statement()?;
                    senders.insert((delivery.organization, delivery.card));
                }
                entries.push(entry);
            }
        }
        let standings = self.standings(&state, senders).await?;
        Ok(Inbox { entries, more, standings })
    }

    async fn inbox_entry(&self, place: Place) -> Result<Option<InboxEntry>> {
        let kept = match self.kept(&place.delivery).await {
            // It ended meanwhile.
            Err(AuthorityError::NotFound { .. }) => return Ok(None),
            kept => kept?,
        };
        let offered = match kept.offered.clone().filter(|_| kept.stage != Stage::Deleted) {
            None => return Ok(None),
            Some(Offered::Outside { offer, .. }) => Offered::Outside { offer, digest: kept.file },
            Some(signed) => signed,
        };
        let Place { place, unit, passed_by, handling, card, .. } = place;
        let state = self.delivery_state(&kept).await?;
        Ok(Some(InboxEntry { place, offered, unit, passed_by, state, handling, handled_by: card }))
    }

    /// Proof of who a card's holder is, to travel with what it signs.
    pub(crate) async fn sender(&self, card: Id) -> Result<Sender> {
        let state = self.state()?;
        let found = state.card(&card).ok_or(AuthorityError::NotFound { what: "card" })?;
        let index = found.enrolled;
        let cosigned = self.store.cosignature().await?.filter(|(size, _)| index < *size);
        let what = "the ca has to cosign the enrolment of this card";
        let (size, checkpoint) = cosigned.ok_or(AuthorityError::NotYet { what })?;
        let leaf = Bytes(self.leaf(index).await?.as_bytes().to_vec());
        let proof = state.tree().inclusion(index, size)?;
        let name = self.store.record(&found.card.name.record).await?;
        Ok(Sender { index, leaf, proof, checkpoint, name })
    }
}
