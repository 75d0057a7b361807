//! Checkpoints, the ca's cosignatures, and stamps.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use warifu_api::wire::authority::CheckpointAnswer;
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::checkpoint::{Checkpoint, CheckpointError, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Base64;
use warifu_ledger::state::State;
use warifu_ledger::statement::Stamp;
use warifu_ledger::{Digest, Id};

use super::error::AuthorityError;
use super::{Authority, Result, blocking, cached, keep, store, whole};

impl Authority {
    /// The signed checkpoint of this state.
    pub(crate) async fn checkpoint(&self, state: &State) -> Result<String> {
        let size = state.tree().size();
        if let Some(note) = cached(&self.checkpoint, size) {
            return Ok(note);
        }
        let organization = state.organization();
        let checkpoint = Checkpoint { size, root: state.tree().root(size)? };
        let text = checkpoint.text(&organization)?;
        let keys = self.keys.clone();
        let note = blocking(move || {
            let signature = keys.log.sign(&text)?;
            Ok(checkpoint.note(&organization, &Base64(keys.log.public()), signature)?)
        })
        .await?;
        keep(&self.checkpoint, size, note.clone());
        Ok(note)
    }

    /// The newest checkpoint, joined with the ca's signature if it has one.
    pub(crate) async fn newest_checkpoint(&self) -> Result<CheckpointAnswer> {
        let state = self.state()?;
        let note = self.checkpoint(&state).await?;
        let Some((cosigned_size, cosigned)) = self.store.cosignature().await? else {
            return Ok(CheckpointAnswer { note, cosigned_size: 0 });
        };
        let note =
            if cosigned_size == state.tree().size() { Checkpoint::join(&note, &cosigned)? } else { note };
        Ok(CheckpointAnswer { note, cosigned_size })
    }

    /// Keeps the ca's cosignature of a checkpoint of this ledger; an older one than is kept changes nothing.
    pub(crate) async fn cosignature(&self, note: &str) -> Result<()> {
        let state = self.state()?;
        let key = state.ca().log.ok_or(CheckpointError::NotSigned(Signer::Ca))?;
        let checkpoint = Checkpoint::verify(note, &state.organization(), Signer::Ca, &key)?;
        state.check_against(&checkpoint)?;
        self.store.keep_cosignature(checkpoint.size, note).await?;
        self.figures.cosigned(checkpoint.size);
        reached(CrashPoint::KmsCosignatureKept).await;
        self.progressed();
        Ok(())
    }

    /// Answers a service's nonce with the time and the newest checkpoint.
    pub(crate) async fn stamp(self: &Arc<Self>, service: Id, nonce: Digest) -> Result<Envelope> {
        let this = self.clone();
        whole(async move {
            let mut turn = this.replica.turn().await?;
            let state = turn.state().ok_or(AuthorityError::NotFounded)?;
            let time = this.now_in(&mut turn).await?;
            // Before it leaves: after a crash too, no leaf may be older than it (P-5.4), and people must be told how long
            // its lease may run.
            let size = state.tree().size();
            let lease_ms = state.policy().lease_ms;
            store::put_stamp(turn.transaction(), &service, size, time, lease_ms).await?;
            turn.commit().await?;
            reached(CrashPoint::KmsStampKept).await;
            this.stamped.fetch_max(time, Ordering::SeqCst);
            // Sites and ca ask all the time: what has expired is erased though no officer comes.
            this.store.expire_proposals(time).await?;
            let checkpoint = this.checkpoint(&state).await?;
            this.figures.stamped(&service, time);
            let organization = state.organization();
            this.sign(Stamp { organization, site: service, nonce, time, checkpoint }).await
        })
        .await
    }
}
