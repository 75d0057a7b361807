//! The lease: how long after its last proof of freshness a site may answer, and the only time a site knows
//! (protocol section 5, invariant I4).
//!
//! Pure: boot-clock readings come as parameters, and no wall clock is ever consulted.

use warifu_crash_point::{Guard, stands};
use warifu_ledger::checkpoint::{Checkpoint, CheckpointError, Signer};
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::state::{Rejected, State};
use warifu_ledger::statement::{Millis, Stamp};
use warifu_ledger::{Digest, Id};

/// Why a stamp does not count. The lease stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StampError {
    /// Not a stamp, or not signed by the kms.
    #[error("not a stamp of the kms")]
    Envelope(#[from] EnvelopeError),
    /// Of another organization.
    #[error("a stamp of another organization ({found})")]
    OtherOrganization {
        /// The organization it names.
        found: Digest,
    },
    /// For another site.
    #[error("a stamp for another site ({found})")]
    OtherSite {
        /// The site it names.
        found: Id,
    },
    /// It does not answer the newest nonce sent: a replay, or an answer that came too late.
    #[error("the stamp does not answer the newest nonce")]
    WrongNonce,
    /// Its time lies before that of an earlier stamp.
    #[error("the stamp's time {time} lies before {earlier}, that of an earlier one")]
    WentBack {
        /// Its time.
        time: Millis,
        /// The earlier stamp's.
        earlier: Millis,
    },
    /// Its checkpoint cannot be read or is not signed by the kms.
    #[error("the stamp's checkpoint does not count")]
    Checkpoint(#[from] CheckpointError),
    /// Its checkpoint is smaller than that of an earlier stamp.
    #[error("the stamp's checkpoint has {size} leaves, an earlier one had {earlier}")]
    Shrunk {
        /// Leaves in its checkpoint.
        size: u64,
        /// Leaves in the earlier one.
        earlier: u64,
    },
    /// Its checkpoint contradicts the ledger: proof of a fork.
    #[error("FORK: the kms signed two different ledgers of {size} leaves")]
    Fork {
        /// The size at which they differ.
        size: u64,
    },
}

/// A stamp that counted.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Boot-clock reading when its nonce was sent.
    sent_ms: u64,
    time: Millis,
    checkpoint: Checkpoint,
}

/// A site's lease. A new one has none: after every start the site refuses everything until a stamp came (P-5.2).
#[derive(Debug, Clone)]
pub struct Lease {
    lease_ms: u64,
    nonce: Option<(Digest, u64)>,
    held: Option<Held>,
    /// Leaves and time of the last stamp that counted, whatever became of the lease.
    earlier: Option<(u64, Millis)>,
    /// The latest time that was given out. A stamp that was longer on its way puts the clock ahead of the next one's.
    given: Millis,
}

impl Lease {
    /// A lease of `lease_ms` milliseconds that does not run yet.
    #[must_use]
    pub fn new(lease_ms: u64) -> Self {
        Self { lease_ms, nonce: None, held: None, earlier: None, given: 0 }
    }

    /// The same lease after a restart: no stamp counts that goes back behind the last one before it, of so many leaves and
    /// that time. Else a restart would be the moment to let an ended contract run again.
    #[must_use]
    pub fn after(mut self, last_stamp: Option<(u64, Millis)>) -> Self {
        self.earlier = last_stamp.filter(|_| stands(Guard::StampsOutliveRestarts));
        self
    }

    /// The same lease, whose time is never before this one: what was written down with it before a restart.
    #[must_use]
    pub fn not_before(mut self, time: Millis) -> Self {
        self.given = time;
        self
    }

    /// Another length, in milliseconds; it counts for a lease that runs, too.
    pub fn set_lease_ms(&mut self, lease_ms: u64) {
        self.lease_ms = lease_ms;
    }

    /// The length, in milliseconds.
    #[must_use]
    pub fn lease_ms(&self) -> u64 {
        self.lease_ms
    }

    /// Remembers the nonce that is about to be sent, and forgets those before it. `boot_ms` is read *before* it leaves.
    pub fn nonce_sent(&mut self, nonce: Digest, boot_ms: u64) {
        self.nonce = Some((nonce, boot_ms));
    }

    /// Takes the kms's answer to `site`'s newest nonce. The lease then runs from the moment the nonce was sent (P-5.1). A
    /// checkpoint ahead of `state` is accepted, but nothing may be answered before it is folded (P-5.2).
    ///
    /// # Errors
    /// [`StampError`] for every demand of P-5.3.
    pub fn answered(&mut self, envelope: &Envelope, site: &Id, state: &State) -> Result<(), StampError> {
        let kms = state.kms();
        let stamp: Stamp = envelope.verified(&kms.signing)?;
        if stamp.organization != state.organization() {
            return Err(StampError::OtherOrganization { found: stamp.organization });
        }
        if stamp.site != *site {
            return Err(StampError::OtherSite { found: stamp.site });
        }
        let newest = |(nonce, _): &(Digest, u64)| *nonce == stamp.nonce || !stands(Guard::NewestNonce);
        let Some((_, sent_ms)) = self.nonce.filter(newest) else {
            return Err(StampError::WrongNonce);
        };
        let log = kms.log.ok_or(CheckpointError::NotSigned(Signer::Kms))?;
        let checkpoint = Checkpoint::verify(&stamp.checkpoint, &state.organization(), Signer::Kms, &log)?;
        if let Some((size, time)) = self.earlier {
            if stamp.time < time && stands(Guard::TimeGoesOn) {
                return Err(StampError::WentBack { time: stamp.time, earlier: time });
            }
            if checkpoint.size < size && stands(Guard::LedgerGrows) {
                return Err(StampError::Shrunk { size: checkpoint.size, earlier: size });
            }
        }
        // What was folded since the last stamp may contradict that one.
        if let Some(size) = self.contradicted_by(state) {
            return Err(StampError::Fork { size });
        }
        if let Some(size) = contradiction(&checkpoint, state) {
            return Err(StampError::Fork { size });
        }
        self.nonce = None;
        self.held = Some(Held { sent_ms, time: stamp.time, checkpoint });
        self.earlier = Some((checkpoint.size, stamp.time));
        Ok(())
    }

    /// The time, if the lease runs and everything that its stamp's checkpoint contains is folded into `state`.
    ///
    /// It is never behind the last leaf, whatever the stamp says: an authority's slow clock gives nobody more time. And it never
    /// goes back (P-5.5): it stands until the stamp's time has come so far.
    #[must_use]
    pub fn site_time(&mut self, boot_ms: u64, state: &State) -> Option<Millis> {
        let (held, elapsed, _) = self.running(boot_ms, state)?;
        self.given = held.time.saturating_add(elapsed).max(state.last_at()).max(self.given);
        Some(self.given)
    }

    /// How long the site may still answer without news, in milliseconds; 0 if it may not answer now.
    #[must_use]
    pub fn left_ms(&self, boot_ms: u64, state: &State) -> u64 {
        self.running(boot_ms, state).map_or(0, |(_, _, left)| left)
    }

    /// The size of the ledger that the newest stamp speaks of, and its time.
    #[must_use]
    pub fn stamped(&self) -> Option<(u64, Millis)> {
        self.held.map(|held| (held.checkpoint.size, held.time))
    }

    /// The size at which `state` contradicts the stamp's checkpoint, now that it is folded: proof of a fork.
    #[must_use]
    pub fn contradicted_by(&self, state: &State) -> Option<u64> {
        let held = self.held.filter(|_| stands(Guard::FoldAgainstStamps))?;
        contradiction(&held.checkpoint, state)
    }

    /// Ends the lease; only another stamp brings it back, and one on its way does not.
    pub fn end(&mut self) {
        self.nonce = None;
        self.held = None;
    }

    fn running(&self, boot_ms: u64, state: &State) -> Option<(Held, u64, u64)> {
        let held = self.held?;
        // A boot clock that went back is no clock.
        let elapsed = boot_ms.checked_sub(held.sent_ms)?;
        // The shorter one: a policy that was just folded bites before anybody passes it on.
        let left = self.lease_ms.min(state.policy().lease_ms).saturating_sub(elapsed);
        if left == 0 && stands(Guard::LeaseEnds) {
            return None;
        }
        if state.check_against(&held.checkpoint).is_err() && stands(Guard::FoldedFirst) {
            return None;
        }
        Some((held, elapsed, left))
    }
}

/// The size at which they differ, if the checkpoint is within the fold.
fn contradiction(checkpoint: &Checkpoint, state: &State) -> Option<u64> {
    match state.check_against(checkpoint) {
        Ok(()) | Err(Rejected::SeenAhead { .. }) => None,
        Err(_) => Some(checkpoint.size),
    }
}
