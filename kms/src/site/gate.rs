//! One card at a time, and not too often: the lock that spans check and answer (P-7.2), and the limits before anything
//! durable.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use warifu_api::error::ErrorCode;
use warifu_crash_point::waiting;
use warifu_ledger::Id;

/// How often a card may ask.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Requests of one card at once: one is served, the others wait.
    pub in_flight: usize,
    /// Stanzas that a card may ask for at once after a pause.
    pub burst: u64,
    /// Stanzas a second in the long run.
    pub per_second: u64,
}

impl Default for Rate {
    fn default() -> Self {
        Self { in_flight: 4, burst: 4096, per_second: 512 }
    }
}

/// What a request costs beside its stanzas.
const REQUEST_COST: u64 = 4;

/// The gates of all cards.
pub(super) struct Gates {
    rate: Rate,
    cards: Mutex<HashMap<Id, Arc<Gate>>>,
}

struct Gate {
    turn: Arc<tokio::sync::Mutex<()>>,
    in_flight: Arc<Semaphore>,
    bucket: Mutex<Bucket>,
}

/// Thousandths of stanzas that may still be asked for, as of an instant on the boot-time clock.
struct Bucket {
    left: u64,
    at_ms: u64,
}

impl Bucket {
    fn take(&mut self, rate: Rate, cost: u64, now_ms: u64) -> bool {
        let passed = now_ms.saturating_sub(self.at_ms);
        self.left = self
            .left
            .saturating_add(passed.saturating_mul(rate.per_second))
            .min(rate.burst.saturating_mul(1000));
        self.at_ms = now_ms;
        match self.left.checked_sub(cost.saturating_mul(1000)) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// That it is this card's turn. It lasts until the answer is handed to the connection, or the connection is gone.
pub(super) struct Turn {
    card: Id,
    _turn: OwnedMutexGuard<()>,
    _in_flight: OwnedSemaphorePermit,
}

impl Turn {
    pub(super) fn card(&self) -> Id {
        self.card
    }
}

impl Gates {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, cards: Mutex::default() }
    }

    fn cards(&self) -> MutexGuard<'_, HashMap<Id, Arc<Gate>>> {
        self.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self, card: Id) -> Arc<Gate> {
        let new = || {
            Arc::new(Gate {
                turn: Arc::default(),
                in_flight: Arc::new(Semaphore::new(self.rate.in_flight)),
                bucket: Mutex::new(Bucket { left: self.rate.burst.saturating_mul(1000), at_ms: 0 }),
            })
        };
        self.cards().entry(card).or_insert_with(new).clone()
    }

    /// Waits for the card's turn. The caller has found the card in the ledger, so that there are no more gates than cards.
    ///
    /// # Errors
    /// [`ErrorCode::Busy`].
    pub(super) async fn enter(&self, card: Id, items: usize, boot_ms: u64) -> Result<Turn, ErrorCode> {
        let gate = self.gate(card);
        let in_flight = gate.in_flight.clone().try_acquire_owned().map_err(|_| ErrorCode::Busy)?;
        let cost = REQUEST_COST.saturating_add(items as u64);
        if !gate.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(self.rate, cost, boot_ms) {
            return Err(ErrorCode::Busy);
        }
        let turn = waiting(gate.turn.clone().lock_owned()).await;
        Ok(Turn { card, _turn: turn, _in_flight: in_flight })
    }

    /// Resolves once no answer that was checked before this call is under way to the card.
    pub(super) async fn drain(&self, card: Id) {
        let gate = self.cards().get(&card).cloned();
        if let Some(gate) = gate {
            drop(waiting(gate.turn.lock()).await);
        }
    }

    /// The cards that have asked since the start.
    pub(super) fn seen(&self) -> BTreeSet<Id> {
        self.cards().keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_card_waits_for_its_own_turn_only() {
        let gates = Gates::new(Rate { in_flight: 2, burst: 100, per_second: 1 });
        let (one, other) = (Id([1; 16]), Id([2; 16]));
        let turn = gates.enter(one, 1, 0).await.unwrap();
        assert_eq!(turn.card(), one);
        gates.enter(other, 1, 0).await.unwrap();
        let second = gates.enter(one, 1, 0);
        tokio::pin!(second);
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert_eq!(gates.enter(one, 1, 0).await.err(), Some(ErrorCode::Busy));
        drop(turn);
        second.await.unwrap();
    }

    #[tokio::test]
    async fn what_a_card_may_ask_for_comes_back_with_time() {
        let gates = Gates::new(Rate { in_flight: 2, burst: 100, per_second: 10 });
        let card = Id([1; 16]);
        gates.enter(card, 96, 5_000).await.unwrap();
        assert_eq!(gates.enter(card, 1, 5_000).await.err(), Some(ErrorCode::Busy));
        assert_eq!(gates.enter(card, 1, 5_499).await.err(), Some(ErrorCode::Busy));
        gates.enter(card, 1, 5_500).await.unwrap();
    }

    #[tokio::test]
    async fn draining_waits_for_the_answer_under_way() {
        let gates = Gates::new(Rate::default());
        let card = Id([1; 16]);
        gates.drain(card).await;
        let turn = gates.enter(card, 1, 0).await.unwrap();
        let drained = gates.drain(card);
        tokio::pin!(drained);
        assert!(futures_util::poll!(drained.as_mut()).is_pending());
        drop(turn);
        drained.await;
    }
}
