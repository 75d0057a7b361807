//! What has become of a delivery, signed for who has sent it (P-17.13): he asks over a road on which he believes nobody.
//!
//! Who knows a delivery's number may ask as often as he likes. The HSM signs only when there is something else to say than the last time.

use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::PublicKey;
use warifu_ledger::statement::{Addressee, Received, ReceivedState};

use super::{Authority, NO_DELIVERY, Result};
use crate::authority::blocking;
use crate::authority::error::AuthorityError;
use crate::authority::store::deliveries::{Kept, Stage};

impl Authority {
    /// What there is to say of a delivery that a card has signed and that has come whole; none of others.
    pub(super) async fn received(&self, kept: &Kept, units: &[Addressee]) -> Result<Option<Envelope>> {
        let Some(arrived_at) = kept.arrived_at.filter(|_| kept.is_signed) else { return Ok(None) };
        let state = self.state()?;
        let said = Received {
            organization: state.organization(),
            id: kept.id,
            delivery: kept.digest,
            arrived_at,
            state: match kept.stage {
                Stage::Deleted => ReceivedState::Deleted { at: kept.kept_until },
                _ => ReceivedState::Arrived { kept_until: kept.kept_until },
            },
            units: units.to_vec(),
            at: self.now(&state),
        };
        let key = state.kms().signing;
        if let Some(signed) = signed_before(kept, &said, &key) {
            return Ok(Some(signed));
        }
        let turn = self.deliveries.answering.clone().acquire_owned().await;
        let turn = turn.map_err(|_| AuthorityError::Stopping)?;
        // Whoever was before has signed the same.
        let kept = self.store.delivery(&kept.id).await?.ok_or(NO_DELIVERY)?;
        if let Some(signed) = signed_before(&kept, &said, &key) {
            return Ok(Some(signed));
        }
        let keys = self.keys.clone();
        // The turn is over when the HSM has signed, whether somebody still waits for it or not.
        let signed = blocking(move || {
            let _turn = turn;
            keys.sign(&said)
        });
        let signed = signed.await?;
        self.store.keep_received(&kept.id, &signed).await?;
        Ok(Some(signed))
    }
}

/// What was signed last, if it says the same, with the key of now.
fn signed_before(kept: &Kept, said: &Received, key: &PublicKey) -> Option<Envelope> {
    let signed = kept.received.as_ref()?;
    let before: Received = signed.verified(key).ok()?;
    (Received { at: said.at, ..before } == *said).then(|| signed.clone())
}
