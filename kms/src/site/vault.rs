//! The site's HSM: one key pair for each grant. A partial is computed for an [`AuditRecorded`], a share wrapped to another
//! site for a [`MayRewrap`], and either for nothing else.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};
use warifu_crash_point::waiting;
use warifu_hardware::hsm::{Hsm, HsmError, WrappedShare};
use warifu_ledger::{Digest, Id};
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;

use super::check::MayAnswer;
use super::error::SiteError;
use super::journal::AuditRecorded;
use super::rewrapping::MayRewrap;

/// How the marks of shredded files begin; the file's id follows (P-7.3).
const SHREDDED: &str = "shredded/";
/// How the marks of revoked slips begin; the digest of the batch follows, and the slip's place, if it is not all of them.
const SLIP: &str = "slip/";

/// What is over whatever the database says, by marks in the token.
#[derive(Debug, Default)]
pub(super) struct Marked {
    pub(super) files: BTreeSet<Digest>,
    pub(super) slips: BTreeSet<(Digest, Option<u64>)>,
}

fn slip_of(mark: &str) -> Option<(Digest, Option<u64>)> {
    match mark.split_once('/') {
        None => Some((mark.parse().ok()?, None)),
        Some((batch, index)) => Some((batch.parse().ok()?, Some(index.parse().ok()?))),
    }
}

mod parts;

pub use parts::PartFault;
pub(super) use parts::TransportKeys;

/// The HSM, with the grants that have a key pair in it.
pub(super) struct Vault {
    hsm: Hsm,
    /// What parts of routed files are sealed to.
    transport: TransportKeys,
    held: Arc<Mutex<HashSet<Id>>>,
}

impl Vault {
    /// Asks the HSM what it holds: the database is not believed, it may be a restored copy.
    pub(super) async fn open(hsm: Hsm, transport: TransportKeys) -> Result<Self, SiteError> {
        let listing = hsm.clone();
        let labels = blocking(move || listing.grant_keys()).await??;
        let held: HashSet<Id> = labels.iter().filter_map(|label| label.parse().ok()).collect();
        Ok(Self { hsm, transport, held: Arc::new(Mutex::new(held)) })
    }

    /// What the token says is over: as with key pairs, the database may be a restored copy.
    pub(super) async fn marked(&self) -> Result<Marked, SiteError> {
        let hsm = self.hsm.clone();
        let marks = blocking(move || hsm.marks()).await??;
        let files = marks.iter().filter_map(|mark| mark.strip_prefix(SHREDDED)?.parse().ok()).collect();
        let slips = marks.iter().filter_map(|mark| slip_of(mark.strip_prefix(SLIP)?)).collect();
        Ok(Marked { files, slips })
    }

    /// Has the token keep that all this is over, for ever. Idempotent.
    pub(super) async fn mark(&self, marked: Marked) -> Result<(), SiteError> {
        let hsm = self.hsm.clone();
        let marks = move || {
            marked.files.iter().try_for_each(|file| hsm.mark(&format!("{SHREDDED}{file}")))?;
            marked.slips.iter().try_for_each(|(batch, index)| {
                let index = index.map(|index| format!("/{index}")).unwrap_or_default();
                hsm.mark(&format!("{SLIP}{batch}{index}"))
            })
        };
        Ok(blocking(marks).await??)
    }

    /// Operations that the HSM has failed since the start.
    pub(super) fn failures(&self) -> u64 {
        self.hsm.failures()
    }

    /// The right to make and destroy key pairs. Whoever makes one has asked whether the grant is dead while holding it;
    /// whoever destroys one has marked the grant as dead before asking for it: so none is made after its destruction.
    pub(super) async fn keys(&self) -> Keys {
        Keys { hsm: self.hsm.clone(), held: waiting(self.held.clone().lock_owned()).await }
    }

    /// Computes `x(bR)` for each, in order. The HSM's time is spent on a thread of its own.
    pub(super) async fn answer(
        &self,
        recorded: Vec<AuditRecorded<MayAnswer>>,
    ) -> Result<Vec<Result<PartialX, HsmError>>, SiteError> {
        let hsm = self.hsm.clone();
        let answers = move || recorded.into_iter().map(|one| partial(&hsm, one)).collect();
        blocking(answers).await
    }
}

fn partial(hsm: &Hsm, recorded: AuditRecorded<MayAnswer>) -> Result<PartialX, HsmError> {
    answer(hsm, &recorded.spend())
}

fn answer(hsm: &Hsm, answer: &MayAnswer) -> Result<PartialX, HsmError> {
    hsm.partial(&answer.grant().to_string(), answer.share(), answer.encapsulated())
}

/// See [`Vault::keys`].
pub(super) struct Keys {
    hsm: Hsm,
    held: OwnedMutexGuard<HashSet<Id>>,
}

impl Keys {
    pub(super) fn held(&self) -> &HashSet<Id> {
        &self.held
    }

    /// Makes the grant's key pair, or finds it.
    pub(super) async fn generate(self, grant: Id) -> Result<(Self, Point), SiteError> {
        // The lock goes along: whoever waits for this may go away, and the pair is made all the same.
        blocking(move || {
            let mut this = self;
            let key = this.hsm.grant_key_generate(&grant.to_string())?;
            this.held.insert(grant);
            Ok((this, key))
        })
        .await?
    }

    /// Checks inside the HSM that the share is `b` (`docs/protocol.md` section 6).
    pub(super) async fn check_share(
        self,
        grant: Id,
        share: WrappedShare,
        site_point: Point,
    ) -> Result<Self, SiteError> {
        blocking(move || {
            self.hsm.unwrap_check(&grant.to_string(), &share, &site_point)?;
            Ok(self)
        })
        .await?
    }

    /// Wraps the grant's share to another site's key, inside the HSM.
    pub(super) async fn rewrap(
        self,
        may: MayRewrap,
        share: WrappedShare,
    ) -> Result<(Self, WrappedShare), SiteError> {
        blocking(move || {
            let rewrapped = self.hsm.rewrap(&may.grant().to_string(), &share, may.key())?;
            Ok((self, rewrapped))
        })
        .await?
    }

    /// Destroys the grant's key pair and every session object made from it. Idempotent.
    pub(super) async fn destroy(self, grant: Id) -> Result<Self, SiteError> {
        blocking(move || {
            let mut this = self;
            this.hsm.grant_key_destroy(&grant.to_string())?;
            this.held.remove(&grant);
            Ok(this)
        })
        .await?
    }
}

/// Runs what blocks (an HSM's work) where it keeps nobody waiting.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SiteError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SiteError::ShuttingDown)
}
