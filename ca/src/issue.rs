//! Units, grants and certificates: what the ca does for each, once, from whatever step it was cut off at.

use std::sync::Arc;

use warifu_api::client::{Client, ClientError};
use warifu_api::error::ErrorCode;
use warifu_api::wire::Done;
use warifu_api::wire::audit::JournalBatch;
use warifu_api::wire::authority::{Appended, CertificateKind, HalfRequest, Readiness};
use warifu_api::wire::routing::SlipsBatch;
use warifu_crash_point::{CrashPoint, reached};
use warifu_hardware::hsm::HsmError;
use warifu_ledger::Id;
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::key::PublicKey;
use warifu_ledger::state::Rejected;
use warifu_ledger::statement::{Fact, FactBody};
use warifu_replica::follow::{Follower, Fresh};

use crate::certificates::{CertificateError, Certifier};
use crate::founding::sign;
use crate::keys::Keys;
use crate::standing::{OrderedGrant, OrderedUnit, Standing};
use crate::vault::{Vault, VaultError, blocking};

/// Why a step was not taken. Nothing was signed for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The kms gives no proof of freshness, has forked, or sent what the fold refuses.
    #[error("the lease does not run")]
    NoLease,
    /// The ledger, as far as it is here, names other keys for the ca.
    #[error("the ledger names other keys for the ca than those of this token")]
    OtherKeys,
    /// The ca's own fold has no such order.
    #[error("nobody ordered {id}")]
    NotOrdered {
        /// What the kms asked for.
        id: Id,
    },
    /// The kms did not answer.
    #[error("the kms did not do its part")]
    Kms(#[from] ClientError),
    /// The kms's answer is no fact that it signed.
    #[error("the kms answered with something that is no fact of its own")]
    Answer(#[from] EnvelopeError),
    /// The kms's fact speaks of something else than what was asked.
    #[error("the kms's fact is about something else")]
    OtherFact,
    /// The kms's fact has another half or share than the ca's.
    #[error("the kms's fact does not have the ca's own point")]
    NotOurPoint,
    /// The ca's own fold refuses the fact.
    #[error("the ca's own fold refuses the kms's fact")]
    Rejected(#[from] Rejected),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The HSM gave no signature.
    #[error("the HSM gave no signature")]
    Hsm(#[from] HsmError),
    /// No certificate could be issued.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// How far something has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left to do.
    Done,
    /// All is done that can be for now: the ledger, the sites, or an officer have to move.
    Waiting,
}

/// The ca at work. Cheap to clone.
#[derive(Clone)]
pub struct Issuing {
    follower: Arc<Follower>,
    keys: Arc<Keys>,
    vault: Vault,
    certifier: Certifier,
}

impl Issuing {
    /// Works from what `follower` folds.
    #[must_use]
    pub fn new(follower: Arc<Follower>, keys: Arc<Keys>, vault: Vault, certifier: Certifier) -> Self {
        Self { follower, keys, vault, certifier }
    }

    pub(crate) fn fresh(&self) -> Result<Fresh, IssueError> {
        let fresh = self.follower.fresh().ok_or(IssueError::NoLease)?;
        // A restored ca signs nothing before its ledger says that it is the ca (P-4.16).
        if *fresh.state.ca() == self.keys.service_keys() { Ok(fresh) } else { Err(IssueError::OtherKeys) }
    }

    pub(crate) fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }

    pub(crate) fn certifier(&self) -> &Certifier {
        &self.certifier
    }

    /// Makes the ca's half of a unit and signs the fact, if the unit was ordered (protocol section 6).
    ///
    /// # Errors
    /// [`IssueError`]; calling again takes up where this ended.
    pub async fn create_unit(&self, kms: &Client, unit: Id) -> Result<Progress, IssueError> {
        let ordered = match OrderedUnit::in_fold(&self.fresh()?, unit) {
            Standing::Open(ordered) => ordered,
            Standing::Later => return Ok(Progress::Waiting),
            Standing::Over => return Ok(Progress::Done),
            Standing::NotOrdered => return Err(IssueError::NotOrdered { id: unit }),
        };
        let issuer = self.vault.public_half(&ordered).await?;
        let path = format!("/v1/units/{unit}/half");
        let answer: Envelope = kms.post(&path, &HalfRequest { issuer: issuer.clone() }).await?;
        reached(CrashPoint::CaHalfPosted).await;

        let fresh = self.fresh()?;
        if !matches!(OrderedUnit::in_fold(&fresh, unit), Standing::Open(_)) {
            return Ok(Progress::Waiting);
        }
        let own = |fact: &FactBody| match fact {
            FactBody::UnitCreated { unit: found, issuer: half, .. } if *found == unit => {
                if half.point == issuer.point { Ok(()) } else { Err(IssueError::NotOurPoint) }
            }
            _ => Err(IssueError::OtherFact),
        };
        let fact = self.countersign(&fresh, answer, own).await?;
        reached(CrashPoint::CaUnitSigned).await;
        let Appended { index, .. } = kms.post("/v1/facts", &fact).await?;
        reached(CrashPoint::CaUnitPosted).await;
        tracing::info!(%unit, index, "unit created");
        Ok(Progress::Waiting)
    }

    /// Makes the card's share of a grant and signs the fact, if the grant was ordered and its sites are ready. A share that
    /// is issued, or whose grant is over, is forgotten.
    ///
    /// # Errors
    /// [`IssueError`]; calling again takes up where this ended.
    pub async fn issue_grant(&self, kms: &Client, grant: Id) -> Result<Progress, IssueError> {
        let ordered = match OrderedGrant::in_fold(&self.fresh()?, grant) {
            Standing::Open(ordered) => ordered,
            Standing::Later => return Ok(Progress::Waiting),
            Standing::Over => {
                self.vault.forget_share(grant).await?;
                return Ok(Progress::Done);
            }
            Standing::NotOrdered => return Err(IssueError::NotOrdered { id: grant }),
        };
        match kms.get::<Readiness>(&format!("/v1/grants/{grant}/readiness")).await {
            Ok(readiness) if readiness.waiting_for.is_empty() => {}
            Ok(_) => return Ok(Progress::Waiting),
            // It has not the order yet, or the unit's key.
            Err(error) if error.code() == Some(ErrorCode::NotReady) => return Ok(Progress::Waiting),
            Err(error) => return Err(error.into()),
        }
        // The kms may have kept us waiting, and the grant may be over by now: `d` must not leave then.
        if !matches!(OrderedGrant::in_fold(&self.fresh()?, grant), Standing::Open(_)) {
            return Ok(Progress::Waiting);
        }
        let request = self.vault.share_request(&ordered).await?;
        if self.is_settled(grant) {
            // The leaf that settled it came since it was asked above: what was forgotten then has been drawn anew.
            self.vault.forget_share(grant).await?;
            return Ok(Progress::Waiting);
        }
        reached(CrashPoint::CaShareMade).await;
        let answer: Envelope = kms.post(&format!("/v1/grants/{grant}/share"), &request).await?;
        reached(CrashPoint::CaSharePosted).await;

        let fresh = self.fresh()?;
        if !matches!(OrderedGrant::in_fold(&fresh, grant), Standing::Open(_)) {
            return Ok(Progress::Waiting);
        }
        let own_point = request.card_point;
        // That `B = P - A`, and that the order is the one in the ledger, the fold asks.
        let own = |fact: &FactBody| match fact {
            FactBody::GrantIssued { grant: found, card_point, .. } if *found == grant => {
                if *card_point == own_point { Ok(()) } else { Err(IssueError::NotOurPoint) }
            }
            _ => Err(IssueError::OtherFact),
        };
        let fact = self.countersign(&fresh, answer, own).await?;
        reached(CrashPoint::CaGrantSigned).await;
        let Appended { index, .. } = kms.post("/v1/facts", &fact).await?;
        reached(CrashPoint::CaGrantPosted).await;
        tracing::info!(%grant, index, "grant issued");
        Ok(Progress::Waiting)
    }

    /// Whether the ledger, as far as it is here, says that the grant is issued or over.
    fn is_settled(&self, grant: Id) -> bool {
        let state = self.follower.replica().state();
        let found = state.as_ref().and_then(|state| state.grant(&grant));
        found.is_none_or(|grant| grant.revoked || grant.issued.is_some())
    }

    /// Issues a certificate and gives it to the kms.
    ///
    /// # Errors
    /// [`IssueError`].
    pub async fn certify(&self, kms: &Client, kind: CertificateKind, id: Id) -> Result<Progress, IssueError> {
        let fresh = self.fresh()?;
        let certificate = self.certifier.certificate(&fresh.state, fresh.time, kind, id).await?;
        if let Some(certificate) = certificate {
            let Done {} = kms.put("/v1/certificates", &certificate).await?;
            reached(CrashPoint::CaCertificatePosted).await;
            self.vault.certificate_sent(kind, id).await?;
            reached(CrashPoint::CaCertificateSent).await;
        }
        Ok(Progress::Done)
    }

    /// Signs the heads of audit journals that are due, if the ca's own fold takes them (P-13.3).
    ///
    /// # Errors
    /// [`IssueError`]; calling again takes up where this ended.
    pub async fn commit_journals(&self, kms: &Client) -> Result<(), IssueError> {
        let fresh = self.fresh()?;
        let JournalBatch { fact: Some(answer) } = kms.get("/v1/journals/batch").await? else { return Ok(()) };
        let own = |fact: &FactBody| match fact {
            FactBody::JournalsBatched { .. } => Ok(()),
            _ => Err(IssueError::OtherFact),
        };
        let signed = self.countersign(&fresh, answer, own).await?;
        kms.post::<Appended>("/v1/facts", &signed).await?;
        Ok(())
    }

    /// Signs which slips there are, once that is due (P-15.8).
    ///
    /// # Errors
    /// [`IssueError`]; calling again takes up where this ended.
    pub async fn commit_slips(&self, kms: &Client) -> Result<(), IssueError> {
        let fresh = self.fresh()?;
        let SlipsBatch { fact: Some(answer) } = kms.get("/v1/slips/batch").await? else { return Ok(()) };
        let own = |fact: &FactBody| match fact {
            FactBody::SlipsBatched { .. } => Ok(()),
            _ => Err(IssueError::OtherFact),
        };
        let signed = self.countersign(&fresh, answer, own).await?;
        kms.post::<Appended>("/v1/facts", &signed).await?;
        Ok(())
    }

    /// Adds the ca's signature to a fact, if it is the kms's, says what the ca itself found, and its own fold takes it.
    async fn countersign(
        &self,
        fresh: &Fresh,
        mut answer: Envelope,
        own: impl FnOnce(&FactBody) -> Result<(), IssueError>,
    ) -> Result<Envelope, IssueError> {
        let kms: PublicKey = fresh.state.kms().signing;
        let fact: Fact = answer.verified(&kms)?;
        own(&fact.fact)?;
        fresh.state.check_unsigned_fact(&fact)?;
        let digest = answer.digest();
        answer.signatures.retain(|s| s.keyid == kms.key_id() && s.verifies(&kms, &digest));
        answer.signatures.truncate(1);
        let keys = self.keys.clone();
        let signed = blocking(move || {
            sign(&keys, &mut answer)?;
            Ok::<_, IssueError>(answer)
        })
        .await?;
        fresh.state.check_fact(&signed)?;
        Ok(signed)
    }
}
