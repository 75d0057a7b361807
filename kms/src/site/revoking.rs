//! Acting on orders: what they end is marked, destroyed, cut off, and only then receipted (P-8.1 to P-8.3, invariant I3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::sleep;
use warifu_api::error::{ErrorBody, ErrorCode};
use warifu_api::tls::PeerKey;
use warifu_api::wire::Leaves;
use warifu_api::wire::site::RevocationRequest;
use warifu_crash_point::{CrashPoint, Guard, reached, stands, waiting, within};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::{Rejected, State};
use warifu_ledger::statement::{Act, Order, Receipt};
use warifu_ledger::{Digest, Id};
use warifu_replica::ReplicaError;

use super::ending::Ending;
use super::error::SiteError;
use super::service::Core;
use super::store::ByHand;
use super::vault::Marked;

/// How long an answer that was checked before a shredding may take to be handed to its connection; then the connection ends.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a caller waits for the leaves that are here to have been acted on.
const ACTING: Duration = Duration::from_secs(10);

impl Core {
    /// Acts on an order, whoever brought it, and gives the receipt. `by_hand` is the order itself where the ledger does not
    /// have it yet: the kms is to have it, too (P-8.4). Idempotent: a repetition gives the same receipt.
    ///
    /// The caller sees to it that this is not dropped half-way; if it is, it is finished at the next start.
    pub(super) async fn act_on(
        &self,
        order: Digest,
        acts: &[Act],
        by_hand: Option<&ByHand>,
    ) -> Result<Envelope, SiteError> {
        let _one_after_the_other = waiting(self.revoking.lock()).await;
        let receipt = self.store.receipt(&order).await?;
        if by_hand.is_some()
            && let Some(receipt) = receipt
        {
            return Ok(receipt);
        }
        let state = self.replica.state().ok_or(SiteError::NotJoined)?;
        let site = self.site_id(&state).ok_or(SiteError::NotJoined)?;
        let mut ending = Ending::of(&state, &site, acts);

        // From here on no check passes and no key pair is made for any of it.
        if stands(Guard::Marked) {
            self.dead_mut().add(order, &ending, by_hand.map(|brought| brought.until));
        }
        let mut keys = self.vault.keys().await;
        let here: BTreeSet<Id> = if ending.leaves {
            keys.held().iter().copied().collect()
        } else {
            ending.grants.iter().filter(|grant| keys.held().contains(grant)).copied().collect()
        };
        let destroyed = self.store.mark(order, site, &ending, by_hand, &here).await?;
        reached(CrashPoint::SiteOrderMarked).await;
        if by_hand.is_some() {
            self.courier.notify_one();
        }
        for grant in here.iter().filter(|_| stands(Guard::Destroyed)) {
            keys = keys.destroy(*grant).await?;
            reached(CrashPoint::SiteKeyPairDestroyed).await;
        }
        drop(keys);
        // After the key pairs: a token without room keeps none of them.
        self.vault.mark(Marked { files: ending.files.clone(), slips: ending.slips.clone() }).await?;
        self.store.forget_grants(&ending.grants.union(&destroyed).copied().collect()).await?;
        reached(CrashPoint::SiteRowsForgotten).await;

        if ending.leaves {
            ending.touched.extend(self.gates.seen());
            ending.touched.extend(self.streams.cards());
        }
        self.stop_handing_over().await;
        self.cut_off(&state, site, &ending).await;
        // Only now: a batch that was checked before is kept, or never will be.
        self.destroy_parts(ending.leaves, &ending.slips, &ending.files).await?;
        reached(CrashPoint::SiteConnectionsCut).await;
        if let Some(receipt) = receipt {
            return Ok(receipt);
        }
        self.receipt(order, destroyed).await
    }

    /// Has what is on its way to other sites end; what goes on afterwards is asked anew.
    async fn stop_handing_over(&self) {
        let told = async { self.marked.send_replace(()) };
        // Whoever hands over began to listen before; and whoever begins now waits behind this.
        let both = async { tokio::join!(biased; self.handing_over.write(), told) };
        let (_none_goes, ()) = waiting(both).await;
    }

    async fn destroy_parts(
        &self,
        all: bool,
        slips: &BTreeSet<(Digest, Option<u64>)>,
        files: &BTreeSet<Digest>,
    ) -> Result<(), SiteError> {
        if all {
            return self.store.destroy_all_parts().await;
        }
        self.store.destroy_parts_of_slips(slips).await?;
        self.store.destroy_parts_of_files(files).await
    }

    /// Signs and stores the receipt for an order: everything it says is durable already.
    async fn receipt(&self, order: Digest, destroyed: BTreeSet<Id>) -> Result<Envelope, SiteError> {
        let now = self.now().ok_or(SiteError::NotJoined)?;
        let receipt = Receipt {
            organization: now.state.organization(),
            site: self.site_id(&now.state).ok_or(SiteError::NotJoined)?,
            order,
            time: now.time,
            folded: now.state.tree().size(),
            destroyed,
        };
        let envelope = self.signed(&receipt).await?;
        reached(CrashPoint::SiteReceiptSigned).await;
        self.store.put_receipt(&order, &envelope).await?;
        reached(CrashPoint::SiteReceiptStored).await;
        self.figures.receipts.inc();
        self.post.notify_one();
        Ok(envelope)
    }

    /// Tells the cards, ends their connections, and waits until no answer that was checked before is under way to them.
    pub(super) async fn cut_off(&self, state: &State, site: Id, ending: &Ending) {
        let mut told: BTreeMap<&'static str, (ErrorCode, BTreeSet<Id>)> = BTreeMap::new();
        if let Some(now) = self.now() {
            let dead = self.dead();
            let view = self.view(site, &now, &dead);
            for card in &ending.touched {
                let (name, code) = match view.may_connect(card) {
                    Err(ErrorCode::CardSuspended) => ("suspended", ErrorCode::CardSuspended),
                    Err(ErrorCode::CardNotLive) => ("card", ErrorCode::CardNotLive),
                    Err(ErrorCode::ContractOver) => ("contract", ErrorCode::ContractOver),
                    // The card is live, but not for all that it was.
                    _ => ("grant", ErrorCode::GrantNotLive),
                };
                told.entry(name).or_insert_with(|| (code, BTreeSet::new())).1.insert(*card);
            }
        }
        for (code, cards) in told.values() {
            self.streams.tell(cards, *code).await;
        }
        for card in &ending.touched {
            self.end_connections(state, card).await;
            if stands(Guard::Drained) {
                self.gates.drain(*card).await;
            }
        }
        if !ending.files.is_empty() || !ending.slips.is_empty() {
            // Whoever it was that asked for the file: what is under way leaves, or ends.
            for card in self.gates.seen() {
                if within(sleep(PATIENCE), self.gates.drain(card)).await.is_none() {
                    self.end_connections(state, &card).await;
                    self.gates.drain(card).await;
                }
            }
        }
    }

    async fn end_connections(&self, state: &State, card: &Id) {
        if let Some(found) = state.card(card) {
            self.connections.end(PeerKey(found.card.authentication.0)).await;
        }
    }

    /// After a start: destroys what is dead and still in the HSM (a crash came in between, or the database is an old copy),
    /// and receipts what was begun.
    pub(super) async fn finish_what_was_begun(&self) -> Result<(), SiteError> {
        // First by the orders that end them, so that each receipt says what it destroyed.
        self.act_on_new_leaves().await?;
        let Some(state) = self.replica.state() else { return Ok(()) };
        let mut keys = self.vault.keys().await;
        let over: BTreeSet<Id> = {
            let dead = self.dead();
            keys.held().iter().filter(|grant| dead.is_over(&state, grant)).copied().collect()
        };
        for grant in &over {
            keys = keys.destroy(*grant).await?;
        }
        drop(keys);
        self.store.forget_grants(&over).await?;
        let marked = self.vault.marked().await?;
        let unmarked = {
            let dead = self.dead();
            let files = dead.files.iter().filter(|file| !marked.files.contains(*file)).copied().collect();
            let slips = dead.slips.iter().filter(|slip| !marked.slips.contains(*slip)).copied().collect();
            Marked { files, slips }
        };
        self.vault.mark(unmarked).await?;
        // What came from others while an order was acted on may have been kept just before the end.
        let (left, slips, files) = {
            let dead = self.dead();
            (dead.left, dead.slips.iter().copied().collect(), dead.files.iter().copied().collect())
        };
        self.destroy_parts(left, &slips, &files).await?;
        for begun in self.store.begun().await? {
            self.receipt(begun.order, begun.destroys).await?;
        }
        Ok(())
    }

    /// Takes an order that somebody brought, with the leaves that may be missing here (P-8.1).
    pub(super) async fn take_brought(&self, request: RevocationRequest) -> Result<Envelope, SiteError> {
        let digest = request.order.digest();
        if let Some(receipt) = self.store.receipt(&digest).await? {
            return Ok(receipt);
        }
        let seen = request.order.statement::<Order>().ok().map(|order| order.seen);
        let leaves = match request.leaves {
            Some(leaves) => self.take_leaves(leaves, seen.as_deref()).await,
            None => Ok(()),
        };
        let now = self.now().ok_or(SiteError::NotJoined)?;
        self.site_id(&now.state).ok_or(SiteError::NotJoined)?;
        let at = now.time.unwrap_or(now.state.last_at());
        let order = match now.state.check_order(&request.order, at) {
            Ok(order) => order,
            Err(Rejected::Fork { size }) => {
                // The kms signed what the order's signers saw, and it is not what the kms showed us (P-4.4).
                if stands(Guard::SeenAgainstFold) {
                    self.halt(size).await;
                }
                return Err(Rejected::Fork { size }.into());
            }
            Err(why) => {
                // It may be in the ledger, and about to be acted on from there.
                self.wait_until_acted(now.state.tree().size()).await;
                return match self.store.receipt(&digest).await? {
                    Some(receipt) => Ok(receipt),
                    None => Err(leaves.err().unwrap_or(why.into())),
                };
            }
        };
        if !order.acts.iter().any(Act::calls_for_receipt) {
            let why = "the order revokes nothing";
            return Err(SiteError::Refused(ErrorBody::new(ErrorCode::Rejected, why)));
        }
        let site = self.site_id(&now.state).ok_or(SiteError::NotJoined)?;
        if Ending::of(&now.state, &site, &order.acts).is_empty() {
            let why = "the order ends nothing at this site before the ledger has it";
            return Err(SiteError::Refused(ErrorBody::new(ErrorCode::NotReady, why)));
        }
        let by_hand = ByHand { envelope: request.order, until: order.expires_at };
        self.act_on(digest, &order.acts, Some(&by_hand)).await
    }

    /// Appends leaves that somebody brought, if the kms signed a checkpoint over them: the one that came with them, or the
    /// one that the order's signers saw. With them the kms may have got other keys, and signed with those (P-4.17).
    async fn take_leaves(&self, brought: Leaves, seen: Option<&str>) -> Result<(), SiteError> {
        let leaves = brought
            .leaves
            .into_iter()
            .map(|bytes| Leaf::from_bytes(bytes.0))
            .collect::<Result<Vec<_>, _>>()
            .map_err(ReplicaError::Leaf)?;
        let vouched = self.replica.append_vouched(brought.from, leaves.clone(), &brought.checkpoint).await;
        match (vouched, seen) {
            (Err(ReplicaError::NotCovered { .. }), Some(seen)) => {
                self.replica.append_vouched(brought.from, leaves, seen).await?;
            }
            (Err(ReplicaError::Checkpoint(why)), _) => {
                let succession =
                    self.replica.append_succession(brought.from, leaves, &brought.checkpoint).await;
                if let Err(error) = succession {
                    tracing::debug!(%error, "the leaves that were brought prove no other keys of the kms");
                    return Err(ReplicaError::Checkpoint(why).into());
                }
            }
            (result, _) => drop(result?),
        }
        self.compare().await;
        Ok(())
    }

    async fn wait_until_acted(&self, size: u64) {
        let mut acted = self.acted.subscribe();
        let done = waiting(async { drop(acted.wait_for(|&acted| acted >= size).await) });
        // If it takes longer, the caller is told what is known now, and may ask again.
        let _ = within(sleep(ACTING), done).await;
    }
}
