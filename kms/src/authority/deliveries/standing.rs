//! Whether the cards of senders are live: of this organization by the fold, of another one as that one's kms says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use warifu_api::Client;
use warifu_api::wire::deliveries::StandingRequest;
use warifu_directory::signed::{self, CLOCKS_APART_MS};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::PublicKey;
use warifu_ledger::state::{State, Trust};
use warifu_ledger::statement::{Delivery, Millis, Standing};
use warifu_ledger::{Digest, Id};

use super::{Authority, NotDelivered, Result};
use crate::authority::blocking;
use crate::authority::error::AuthorityError;

/// How long another organization may take to answer: whoever opens an inbox waits for it.
const PATIENCE: Duration = Duration::from_secs(3);
/// The largest answer, in bytes.
const LARGEST_ANSWER: usize = 256 << 10;
/// For how long an answer does for whoever opens an inbox next, in milliseconds.
const FRESH_MS: u64 = 60_000;

/// What other organizations have said of their cards last.
#[derive(Default)]
pub(super) struct Heard(Mutex<BTreeMap<Digest, Answered>>);

#[derive(Clone)]
struct Answered {
    standing: Standing,
    envelope: Envelope,
    at: Millis,
}

impl Heard {
    /// An answer that covers these cards, and is not old.
    fn of(&self, organization: &Digest, cards: &BTreeSet<Id>, now: Millis) -> Option<Answered> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = heard.get(organization)?;
        let fresh = now.saturating_sub(answered.at) < FRESH_MS;
        (fresh && answered.standing.cards.is_superset(cards)).then(|| answered.clone())
    }

    fn keep(&self, answered: &Answered) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.insert(answered.standing.organization, answered.clone());
    }
}

impl Authority {
    /// Which of these cards of this organization are live, signed for who asks.
    pub(crate) async fn standing_of(&self, request: StandingRequest) -> Result<Envelope> {
        let state = self.state()?;
        let turn = self.deliveries.answering.clone().acquire_owned().await;
        let turn = turn.map_err(|_| AuthorityError::Stopping)?;
        let standing = self.stated(&state, request.nonce, request.cards.into_iter().collect());
        let keys = self.keys.clone();
        // The turn is over when the HSM has signed, whether somebody still waits for it or not.
        let signed = blocking(move || {
            let _turn = turn;
            keys.sign(&standing)
        });
        signed.await
    }

    fn stated(&self, state: &State, nonce: Digest, cards: BTreeSet<Id>) -> Standing {
        let at = self.now(state);
        let live = cards.iter().copied().filter(|card| state.may_connect(card, at).is_ok()).collect();
        Standing { organization: state.organization(), nonce, at, cards, live }
    }

    /// What is known of the cards of these senders: one answer of each organization that gives one.
    pub(super) async fn standings(
        &self,
        state: &State,
        senders: BTreeSet<(Digest, Id)>,
    ) -> Result<Vec<Envelope>> {
        let mut by_organization: BTreeMap<Digest, BTreeSet<Id>> = BTreeMap::new();
        for (organization, card) in senders {
            by_organization.entry(organization).or_default().insert(card);
        }
        let own = by_organization.remove(&state.organization());
        let others = by_organization.iter().filter_map(|(organization, cards)| {
            let trust = state.trust(organization).filter(|trust| !trust.ended)?;
            let now = self.now(state);
            Some(async move {
                match self.deliveries.heard.of(organization, cards, now) {
                    Some(answered) => Some(answered),
                    None => self.asked(trust, cards, now).await,
                }
            })
        });
        let answered = join_all(others).await.into_iter().flatten().map(|answered| answered.envelope);
        let mut standings: Vec<Envelope> = answered.collect();
        if let Some(cards) = own {
            standings.push(self.sign(self.stated(state, drawn()?, cards)).await?);
        }
        Ok(standings)
    }

    /// Whether the card that signed a delivery is live, as far as can be known now. Another organization that does not answer keeps
    /// nobody from sending: its answer is asked for again whenever the delivery is shown.
    pub(super) async fn sender_is_live(&self, state: &State, delivery: &Delivery) -> Result<()> {
        let (card, now) = (delivery.card, self.now(state));
        let live = match state.trust(&delivery.organization).filter(|trust| !trust.ended) {
            Some(trust) => {
                let answered = self.asked(trust, &[card].into(), now).await;
                answered.is_none_or(|answered| answered.standing.live.contains(&card))
            }
            None => state.may_connect(&card, now).is_ok(),
        };
        if live { Ok(()) } else { Err(NotDelivered::SenderNotLive { card }.into()) }
    }

    /// Asks another organization; none where it gives no answer that can be believed.
    async fn asked(&self, trust: &Trust, cards: &BTreeSet<Id>, now: Millis) -> Option<Answered> {
        let (organization, key) = (trust.keys.organization, self.kms_key_of(trust).await);
        let request = StandingRequest { nonce: drawn().ok()?, cards: cards.iter().copied().collect() };
        let client = Client::public(&trust.address).ok()?;
        let client = client.with_timeout(PATIENCE).with_largest_answer(LARGEST_ANSWER);
        let envelope: Envelope = match client.post("/v1/standing", &request).await {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::info!(%organization, %error, "whether its cards are live is not known");
                return None;
            }
        };
        let believed = |standing: &Standing| {
            standing.organization == organization
                && standing.nonce == request.nonce
                && standing.cards == *cards
                && standing.at.abs_diff(now) <= CLOCKS_APART_MS
        };
        let Some(standing) = envelope.verified::<Standing>(&key).ok().filter(believed) else {
            tracing::warn!(%organization, "what it says of its cards is not believed");
            return None;
        };
        let answered = Answered { standing, envelope, at: now };
        self.deliveries.heard.keep(&answered);
        Some(answered)
    }

    /// The key with which another organization's kms signs: as its newest directory here proves it, else as it was pinned.
    async fn kms_key_of(&self, trust: &Trust) -> PublicKey {
        let pinned = trust.keys.kms.signing;
        let Ok(Some((kept, directory))) = self.store.kept_directory(&trust.keys.organization).await else {
            return pinned;
        };
        // What is kept was verified before.
        let proved = signed::claimed(&directory).ok().filter(|_| kept.added == trust.added);
        proved.map_or(pinned, |content| content.keys.kms.signing)
    }
}

fn drawn() -> Result<Digest> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)
        .map_err(|_| AuthorityError::NotYet { what: "the system has no randomness" })?;
    Ok(Digest(nonce))
}
