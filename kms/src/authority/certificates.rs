//! What the ca issued, for others to fetch. The ledger says whose keys are whose; a certificate over another key than it
//! names is refused.

use rustls::pki_types::CertificateDer;
use warifu_api::tls::{key_of_certificate, key_of_der};
use warifu_api::wire::authority::{Certificate, CertificateKind};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::Id;
use warifu_ledger::key::Bytes;
use warifu_ledger::state::State;
use warifu_split_key::point::Point;

use super::error::AuthorityError;
use super::{Authority, Result, blocking};

/// The id under which the organization's own certificates and that of the kms are kept.
pub(super) const NOBODY: Id = Id([0; 16]);
/// The most certificates in a chain.
const CHAIN_LIMIT: usize = 8;

fn to_der(chain: &[Bytes]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|der| CertificateDer::from(der.0.clone())).collect()
}

impl Authority {
    /// Keeps a certificate; one of the same kind and id gives way to it. The kms shows its own from now on.
    pub(crate) async fn keep_certificate(&self, certificate: Certificate) -> Result<()> {
        let Certificate { kind, id, chain } = certificate;
        if chain.len() > CHAIN_LIMIT {
            return Err(AuthorityError::TooLarge);
        }
        let der = to_der(&chain);
        let malformed = |why: &str| AuthorityError::Malformed { why: why.to_owned() };
        let first = der.first().ok_or_else(|| malformed("a chain without certificates"))?;
        let key = key_of_certificate(first).map_err(|_| malformed("not a certificate over a P-256 key"))?;
        let state = self.state()?;
        if self.key_named(&state, kind, &id).await?.is_some_and(|named| named != key) {
            return Err(AuthorityError::CertificateMismatch);
        }
        self.store.keep_certificate(kind, &id, &chain).await?;
        reached(CrashPoint::KmsCertificateKept).await;
        if kind == CertificateKind::Authority {
            self.publication.show_authority(&chain);
        }
        if kind == CertificateKind::Service && id == NOBODY {
            self.show(der).await?;
        }
        Ok(())
    }

    /// The key that the ledger names for such a certificate; none where it names none.
    async fn key_named(&self, state: &State, kind: CertificateKind, id: &Id) -> Result<Option<Point>> {
        let unknown = AuthorityError::NotFound { what: "owner of this certificate" };
        let key = match kind {
            CertificateKind::Authority if *id == NOBODY => return Ok(None),
            CertificateKind::Authority => None,
            CertificateKind::Service if *id == NOBODY => Some(state.kms().tls.0),
            CertificateKind::Service => state.site(id).map(|site| site.keys.tls.0),
            CertificateKind::CardAuthentication => state.card(id).map(|c| c.card.authentication.0),
            CertificateKind::CardSignature => state.card(id).map(|c| c.card.signature.0),
            CertificateKind::Unit => state.unit(id).and_then(|unit| unit.key).map(|(key, _)| key),
            CertificateKind::CardShare => match state.grant(id).ok_or(unknown)?.issued.as_ref() {
                Some(issued) => return Ok(Some(issued.card_point)),
                None => {
                    let share = self.store.card_share(id).await?;
                    let share = share.ok_or(AuthorityError::NotYet { what: "the grant has no shares" })?;
                    return Ok(Some(share.card_point));
                }
            },
        };
        key.map(Some).ok_or(AuthorityError::NotFound { what: "owner of this certificate" })
    }

    pub(crate) async fn certificate(&self, kind: CertificateKind, id: Id) -> Result<Certificate> {
        let chain = self.store.certificate(kind, &id).await?;
        let chain = chain.ok_or(AuthorityError::NotFound { what: "certificate" })?;
        Ok(Certificate { kind, id, chain })
    }

    /// Shows the certificate that the ca issued for this kms, if it has. What was restored from a backup is of a key that is lost.
    pub(crate) async fn show_issued_certificate(&self) -> Result<()> {
        let own = self.public_keys().tls.0;
        match self.store.certificate(CertificateKind::Service, &NOBODY).await? {
            Some(chain) if chain.first().and_then(|der| key_of_der(&der.0)) == Some(own) => {
                self.show(to_der(&chain)).await
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn show(&self, chain: Vec<CertificateDer<'static>>) -> Result<()> {
        let identity = self.identity.clone();
        blocking(move || Ok(identity.replace_chain(chain)?)).await
    }
}
