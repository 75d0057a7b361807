//! Answering cards: `POST /v1/partials` in P-7.2's order, and what a card may open here.

use std::collections::BTreeSet;
use std::sync::Arc;

use warifu_api::error::{ErrorBody, ErrorCode};
use warifu_api::tls::PeerKey;
use warifu_api::wire::SecretBytes;
use warifu_api::wire::site::{
    ITEMS_LIMIT, Me, MyGrant, PartialOutcome, PartialsAnswer, PartialsRequest, Status,
};
use warifu_crash_point::{CrashPoint, Guard, reached, stands};
use warifu_ledger::Id;
use warifu_ledger::register::Name;
use warifu_ledger::state::NotAnswered;
use warifu_ledger::statement::Right;
use zeroize::Zeroizing;

use super::check::may_answer;
use super::error::SiteError;
use super::events::Subscription;
use super::gate::Turn;
use super::refusal;
use super::service::{Core, Now};

/// What a file that may have been routed counts for, beside one that is the card's to open.
const ROUTED_COST: usize = 8;

/// An answer, and the turn that ends when it has been handed to the connection.
pub(super) struct Answer {
    pub(super) body: PartialsAnswer,
    pub(super) turn: Arc<Turn>,
}

pub(super) fn refused(code: ErrorCode, message: &str) -> SiteError {
    SiteError::Refused(ErrorBody::new(code, message))
}

impl Core {
    pub(super) fn status(&self) -> Result<Status, SiteError> {
        let now = self.now().ok_or(SiteError::NotJoined)?;
        let site = self.site_id(&now.state).ok_or(SiteError::NotJoined)?;
        Ok(Status {
            site,
            organization: now.state.organization(),
            folded: now.state.tree().size(),
            time: now.time,
            lease_left_ms: now.left_ms,
        })
    }

    /// The card at the other end, by its officer-signed key and nothing else (P-7.1).
    pub(super) fn card_of(&self, peer: Option<PeerKey>) -> Result<(Now, Id, Id), SiteError> {
        let now = self.now().ok_or(SiteError::NotJoined)?;
        let site = self.site_id(&now.state).ok_or(SiteError::NotJoined)?;
        let peer = peer.ok_or(refused(ErrorCode::CardNotLive, "no card has shown itself"))?;
        let card = now
            .state
            .card_of_authentication_key(&peer.0)
            .ok_or(refused(ErrorCode::CardNotLive, "no card with this key is enrolled"))?;
        Ok((now, site, card))
    }

    /// Answers a batch. Every item of a known card gets an outcome of its own.
    pub(super) async fn partials(
        &self,
        peer: Option<PeerKey>,
        request: PartialsRequest,
    ) -> Result<Answer, SiteError> {
        if request.items.len() > ITEMS_LIMIT {
            return Err(refused(ErrorCode::TooLarge, "at most 256 items"));
        }
        let (before, site, card) = self.card_of(peer)?;
        let cost = request.items.len().saturating_add(request.routed.len().saturating_mul(ROUTED_COST));
        let turn = self
            .gates
            .enter(card, cost, self.clock.boot_ms())
            .await
            .map_err(|code| refused(code, "too many requests of this card"))?;
        let turn = Arc::new(turn);

        let mut grants: BTreeSet<Id> = request.items.iter().map(|item| item.grant).collect();
        let mut found = Vec::new();
        if !request.routed.is_empty() {
            let to_open = Self::grants_to_open(&before, card);
            grants.extend(to_open.values().flatten());
            found = self.slips_for(&request.routed, &to_open.into_keys().collect()).await?;
        }
        let shares = self.store.shares(grants).await?;
        // Only now, under the card's lock: whatever ended before is seen here, and whatever ends later waits for the turn.
        let now = self.now().ok_or(SiteError::NotJoined)?;
        let mut outcomes = Vec::with_capacity(request.items.len());
        let mut answers = Vec::new();
        {
            let dead = self.dead();
            let view = self.view(site, &now, &dead);
            for item in &request.items {
                match may_answer(&turn, &view, &shares, item) {
                    Ok(answer) => {
                        answers.push(answer);
                        outcomes.push(Ok(()));
                    }
                    Err(code) => outcomes.push(Err(code)),
                }
            }
        }
        let recorded = self.recorder.record(now.state.organization(), site, turn.clone(), answers).await?;
        reached(CrashPoint::SiteJournalRecorded).await;
        let computed = self.vault.answer(recorded).await?;
        reached(CrashPoint::SitePartialComputed).await;
        // The machine may have slept in between, and woken to another lease: what ends by its date may be over.
        let later = self.now().ok_or(SiteError::NotJoined)?;
        let still = |grant: &Id| match stands(Guard::SleptInBetween) {
            true => is_still_answered(&later, site, card, grant),
            false => Ok(()),
        };
        let mut computed = computed.into_iter();
        let items = outcomes
            .into_iter()
            .zip(&request.items)
            .map(|(outcome, item)| {
                let code = match outcome.map(|()| (computed.next(), still(&item.grant))) {
                    Err(code) | Ok((_, Err(code))) => code,
                    Ok((computed, Ok(()))) => match computed {
                        Some(Ok(x)) => {
                            return PartialOutcome::Partial { x: SecretBytes(Zeroizing::new(*x.expose())) };
                        }
                        Some(Err(error)) => {
                            tracing::error!(%error, "the HSM did not compute a partial");
                            refusal::of_hsm(&error)
                        }
                        None => ErrorCode::Internal,
                    },
                };
                PartialOutcome::Refused { code }
            })
            .collect();
        let routed = self.release(site, &turn, &shares, found).await?;
        Ok(Answer { body: PartialsAnswer { items, routed }, turn })
    }

    /// What the card may open here.
    pub(super) async fn me(&self, peer: Option<PeerKey>) -> Result<Me, SiteError> {
        let (now, site, card) = self.card_of(peer)?;
        let not_now = |code| refused(code, "this card is not answered");
        let (time, allowed) = {
            let dead = self.dead();
            let time = self.view(site, &now, &dead).may_connect(&card).map_err(not_now)?;
            let allowed: BTreeSet<Id> = now
                .state
                .grants_of_card(card)
                .filter(|(id, grant)| {
                    let answer = now.state.may_answer(&site, &card, id, grant.right, time).map(|_| ());
                    matches!(answer, Ok(()) | Err(NotAnswered::GrantNotStarted { .. }))
                        && dead.refuses_grant(&now.state, id, grant).is_none()
                })
                .map(|(id, _)| id)
                .collect();
            (time, allowed)
        };
        let shares = self.store.shares(allowed).await?;
        let names = self.names().clone();
        let name = |record: &Id| names.get(record).map(|text| spoken(text));
        let grants = shares
            .into_keys()
            .filter_map(|id| {
                let grant = now.state.grant(&id)?;
                let unit = now.state.unit(&grant.unit)?;
                Some(MyGrant {
                    grant: id,
                    unit: grant.unit,
                    unit_name: name(&unit.name).unwrap_or_else(|| grant.unit.to_string()),
                    right: grant.right,
                    unit_key: unit.key?.0.into(),
                    card_point: grant.issued.as_ref()?.card_point.into(),
                    starts_at: grant.starts_at.filter(|start| *start > time),
                    routes_to: now.state.targets_of(grant, time),
                })
            })
            .collect();
        let member = now.state.card(&card).map(|found| found.card.member);
        let member = member.ok_or_else(|| not_now(ErrorCode::CardNotLive))?;
        let found = now.state.member(&member);
        let contract = found.and_then(|found| now.state.contract(&found.contract?));
        Ok(Me {
            site,
            card,
            member,
            member_name: found.and_then(|found| name(&found.name.record)),
            grants,
            contract_ends_at: contract.map(|contract| contract.ends_at),
            member_ends_at: found.and_then(|found| found.ends_at),
            time,
            lease_left_ms: now.left_ms,
        })
    }

    /// Opens an event stream for a card that may be here, lease or no lease.
    pub(super) fn subscribe(&self, peer: Option<PeerKey>) -> Result<Subscription, SiteError> {
        let (_, site, card) = self.card_of(peer)?;
        let refuse = |code| refused(code, "this card gets no events");
        let subscription = self.streams.subscribe(card).map_err(refuse)?;
        let now = self.now().ok_or(SiteError::NotJoined)?;
        let dead = self.dead();
        match self.view(site, &now, &dead).may_connect(&card) {
            Ok(_) | Err(ErrorCode::LeaseExpired) => Ok(subscription),
            Err(code) => Err(refuse(code)),
        }
    }
}

/// The questions of [`may_answer`] that time alone can answer otherwise.
fn is_still_answered(later: &Now, site: Id, card: Id, grant: &Id) -> Result<(), ErrorCode> {
    let time = later.time.ok_or(ErrorCode::LeaseExpired)?;
    let answer = later.state.may_answer(&site, &card, grant, Right::Open, time);
    answer.map(drop).map_err(refusal::of_not_answered)
}

/// A register record as people say it.
fn spoken(text: &str) -> String {
    Name::parse(text).map_or_else(|_| text.to_owned(), |name| name.name)
}
