//! Appending: orders and facts, each once.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::AnyConnection;
use warifu_api::wire::authority::{Appended, OrderRequest};
use warifu_crash_point::{CrashPoint, Guard, reached, stands};
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::Record;
use warifu_ledger::state::Rejected;
use warifu_ledger::statement::{Act, Fact, FactBody, Order};

use super::error::AuthorityError;
use super::role::Caller;
use super::store::{self, Entry};
use super::{Authority, Result, blocking, records, whole};

impl Authority {
    /// Appends an order, after the fold and the register agree to it. The same order again gets the same answer, and may
    /// bring the records that were missing when a site brought it (P-8.4).
    pub(crate) async fn order(self: &Arc<Self>, request: OrderRequest, caller: Caller) -> Result<Appended> {
        let state = self.state()?;
        let OrderRequest { envelope, records } = request;
        self.may_append(&state, &envelope)?;
        if let Some(done) = self.appended(&envelope.digest()).await? {
            self.add_records(&envelope, records).await?;
            return Ok(done);
        }
        // Whoever is not allowed to order anything is turned away before he holds up others.
        let at = self.now(&state);
        let (envelope, checked) = blocking(move || {
            let checked = state.check_order(&envelope, at);
            Ok((envelope, checked))
        })
        .await?;
        let order = match checked {
            Ok(order) => order,
            // The same order may have come twice at once.
            Err(Rejected::Replayed { id }) => {
                let done = self.appended(&envelope.digest()).await?;
                let done = done.ok_or(AuthorityError::Rejected(Rejected::Replayed { id }))?;
                self.add_records(&envelope, records).await?;
                return Ok(done);
            }
            Err(rejected) => return Err(rejected.into()),
        };
        self.has_the_keys_of(&order).await?;
        let names: Vec<_> = order.acts.iter().filter_map(Act::name).collect();
        let reasons: Vec<_> = order.acts.iter().filter_map(Act::reason).collect();
        // Sites have no records. A right ends with its reason or without; somebody new needs a name.
        let (required, optional) = match caller {
            Caller::Site(_) => (names, reasons),
            _ => (order.commitments(), Vec::new()),
        };
        let records = records::check(&self.store, &required, &optional, records).await?;
        let appended = self.append(envelope, records, true).await?;
        tracing::info!(order = %appended.digest, index = appended.index, acts = order.acts.len(), "order appended");
        Ok(appended)
    }

    /// Adds what the register lacks of an order in the ledger. Not once the order has expired: what is missing then was
    /// erased, or never came.
    async fn add_records(&self, envelope: &Envelope, records: Vec<Record>) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let order: Order = envelope.statement()?;
        let records = records::check(&self.store, &[], &order.commitments(), records).await?;
        if order.expires_at < self.now(&self.state()?) {
            return Ok(());
        }
        self.store.add_records(&records).await
    }

    /// Appends a fact that ca and kms have signed. The same fact again gets the same answer.
    pub(crate) async fn fact(self: &Arc<Self>, envelope: Envelope) -> Result<Appended> {
        let state = self.state()?;
        if let Some(done) = self.appended(&envelope.digest()).await? {
            return Ok(done);
        }
        let envelope = blocking(move || {
            state.check_fact(&envelope)?;
            Ok(envelope)
        })
        .await?;
        let appended = self.append(envelope, Vec::new(), false).await?;
        tracing::info!(fact = %appended.digest, index = appended.index, "fact appended");
        Ok(appended)
    }

    /// This kms may have signed several facts for one grant, if the ca asked so; only the last one's shares are kept.
    async fn check_own_shares(&self, transaction: &mut AnyConnection, envelope: &Envelope) -> Result<()> {
        let fact: Fact = envelope.statement()?;
        let FactBody::GrantIssued { grant, card_point, site_point, sites, .. } = &fact.fact else {
            return Ok(());
        };
        let kept = store::card_share(&mut *transaction, grant).await?;
        let same = kept.is_some_and(|s| s.card_point == card_point.0 && s.site_point == site_point.0);
        if !same || store::wrapped_to(&mut *transaction, grant).await? != *sites {
            return Err(AuthorityError::OtherShares);
        }
        Ok(())
    }

    /// Where a statement stands, if it is in the ledger.
    pub(crate) async fn entry(&self, digest: &Digest) -> Result<Option<Entry>> {
        let entry = self.store.entry(digest).await?;
        // Only what is published: a leaf is not the ledger's before its state is.
        Ok(entry.filter(|entry| entry.position < self.replica.size()))
    }

    async fn appended(&self, digest: &Digest) -> Result<Option<Appended>> {
        Ok(self.entry(digest).await?.map(answer))
    }

    async fn append(
        self: &Arc<Self>,
        envelope: Envelope,
        records: Vec<Record>,
        is_order: bool,
    ) -> Result<Appended> {
        let this = self.clone();
        whole(async move {
            let _serialized = this.in_turn().await;
            let too_early = match stands(Guard::StampsInTurn) {
                true => None,
                false => Some(this.now(&this.state()?)),
            };
            reached(if is_order { CrashPoint::KmsOrderChecked } else { CrashPoint::KmsFactChecked }).await;
            let mut turn = this.replica.turn().await?;
            let digest = envelope.digest();
            if let Some(done) = store::entry(turn.transaction(), &digest).await? {
                drop(turn);
                // A site may have brought it just before, without them.
                this.store.add_records(&records).await?;
                return Ok(answer(done));
            }
            if !is_order {
                this.check_own_shares(turn.transaction(), &envelope).await?;
            }
            let state = turn.state().ok_or(AuthorityError::NotFounded)?;
            this.may_append(&state, &envelope)?;
            // P-5.4: no leaf is older than a stamp given before it, by this process or another.
            let at = match too_early {
                Some(at) => at,
                None => this.now_in(&mut turn).await?,
            };
            let leaf = Leaf::new(at, envelope)?;
            let position = state.tree().size();
            let entry = Entry { digest, position, at, is_order, lease_ms: state.policy().lease_ms };
            store::put_entry(turn.transaction(), &entry, &records).await?;
            let appended = turn.append(leaf).await?;
            reached(if is_order { CrashPoint::KmsOrderAppended } else { CrashPoint::KmsFactAppended }).await;
            this.forget_what_ended(&appended).await;
            if let Ok(Fact { fact, .. }) = appended.leaf.envelope().statement() {
                this.note_committed(&fact).await;
            }
            if is_order {
                this.forget_proposal_of(&digest).await;
            }
            this.progressed();
            if is_order {
                this.part_from_the_ended();
                reached(CrashPoint::KmsOrderDone).await;
            }
            Ok(Appended { index: appended.index, digest, at })
        })
        .await
    }

    /// What waits for a card or a site under a grant that this leaf ends is of no more use to anybody.
    pub(super) async fn forget_what_ended(&self, appended: &warifu_replica::Appended) {
        let Some(before) = &appended.before else { return };
        let Ok(order) = appended.leaf.envelope().statement::<Order>() else { return };
        self.forget_revoked_slips(&order).await;
        if order.acts.iter().any(|act| matches!(act, Act::CardRevoked { .. } | Act::MemberRevoked { .. }))
            && let Err(error) = self.forget_ended_puks().await
        {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "the PUKs of cards that are over could not be deleted");
        }
        let ended: BTreeSet<_> = order.acts.iter().flat_map(|act| before.ended_by(act)).collect();
        let moved = order.acts.iter().any(|act| matches!(act, Act::UnitChanged { sites: Some(_), .. }));
        // The order is in the ledger whatever happens here, and nothing is handed out for a grant that is over. The next
        // start tries again.
        let forgotten = async {
            if !ended.is_empty() {
                self.store.forget_grants(&ended).await?;
            }
            if moved { self.forget_former_sites().await } else { Ok(()) }
        };
        if let Err(error) = forgotten.await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "what waits under ended grants could not be deleted");
        }
    }

    /// Deletes what is kept of sites for grants that they do not serve any more: if they ever do again, they have to ask
    /// for their shares anew (P-6.10).
    async fn forget_former_sites(&self) -> Result<()> {
        let Some(state) = self.replica.state() else { return Ok(()) };
        let mut kept = self.store.grants_and_sites().await?;
        kept.retain(|(grant, site)| state.grant(grant).is_none_or(|grant| !state.serves(site, &grant.unit)));
        self.store.forget_sites(&kept).await
    }

    /// Deletes what a crash left of grants that are over, and of sites that do not serve them any more.
    pub(crate) async fn forget_ended_grants(&self) -> Result<()> {
        let Some(state) = self.replica.state() else { return Ok(()) };
        self.forget_former_sites().await?;
        let mut ended = self.store.grants_under_way().await?;
        let now = self.now(&state);
        ended.retain(|grant| state.live_grant(grant, now).is_err());
        if ended.is_empty() { Ok(()) } else { self.store.forget_grants(&ended).await }
    }
}

fn answer(entry: Entry) -> Appended {
    Appended { index: entry.position, digest: entry.digest, at: entry.at }
}
