//! CRLs: one by the issuing CA, one by the root, signed in the HSM and given to the kms, which serves them (RFC 5280,
//! section 5). Made anew whenever something changes, and well before they run out.
//!
//! A CRL has no issuing distribution point: each is the whole of its issuer's, which is what its absence says.

use std::time::Duration;

use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, RevokedCertParams, SerialNumber};
use warifu_api::client::Client;
use warifu_api::error::ErrorCode;
use warifu_api::wire::Done;
use warifu_api::wire::authority::{CertificateKind, Crl, CrlIssuer};
use warifu_crash_point::{CrashPoint, reached};
use warifu_hardware::hsm::SigningKey;
use warifu_hardware::signer::CertKey;
use warifu_ledger::Digest;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::Millis;
use warifu_replica::follow::Fresh;

use crate::certificates::{CertificateError, NONE, instant};
use crate::issue::{IssueError, Issuing, Progress};
use crate::revocation::cause;
use crate::vault::{Issued, Published, Revoked, Vault, VaultError, blocking};

/// Other software's clocks may be behind.
const BEFORE_MS: Millis = 5 * 60 * 1000;
/// A revoked certificate is listed for that long after it has run out: until it has been on a CRL that was made after that
/// (RFC 5280, section 3.3). Longer than any CRL of the issuing CA is good for.
const LISTED_AFTER_END_MS: Millis = 14 * 24 * 60 * 60 * 1000;

impl Issuing {
    /// Gives the kms the newest CRL of this issuer; a new one, if it has something else to say than the last or that has run
    /// for half its time.
    ///
    /// # Errors
    /// [`IssueError`]; calling again takes up where this ended.
    pub async fn publish_crl(&self, kms: &Client, issuer: CrlIssuer) -> Result<Progress, IssueError> {
        let fresh = self.fresh()?;
        let authority = self.certifier().authority(fresh.state.organization(), fresh.time).await?;
        let revoked = match issuer {
            CrlIssuer::Issuing => standing(self.vault(), &fresh).await?,
            // It has issued the issuing CA alone, which ends with the organization.
            CrlIssuer::Root => Vec::new(),
        };
        let newest = self.newest_crl(issuer, &fresh, authority, revoked).await?;
        let posted = Crl { issuer, der: newest.der };
        match kms.put("/v1/crls", &posted).await {
            Ok(Done {}) => {}
            // It cannot tell whose it is before it has the certificates; one that was restored may have those of an older root.
            Err(error) if matches!(error.code(), Some(ErrorCode::NotReady | ErrorCode::Rejected)) => {
                self.certify(kms, CertificateKind::Authority, NONE).await?;
                let Done {} = kms.put("/v1/crls", &posted).await?;
            }
            Err(error) => return Err(error.into()),
        }
        reached(CrashPoint::CaCrlPosted).await;
        Ok(Progress::Done)
    }

    async fn newest_crl(
        &self,
        issuer: CrlIssuer,
        fresh: &Fresh,
        authority: Issued,
        revoked: Vec<Revoked>,
    ) -> Result<Published, IssueError> {
        let lifetime = self.certifier().publishing().lifetime(issuer);
        let covers = digest(&revoked);
        let last = self.vault().crl(issuer).await?;
        let half = fresh.time.saturating_add(millis(lifetime) / 2);
        if let Some(last) = last.as_ref().filter(|last| last.covers == covers && last.next_update > half) {
            return Ok(last.clone());
        }
        // Larger than any before, even if this database is one that was restored.
        let number = last.map_or(0, |last| last.number.saturating_add(1)).max(fresh.time / 1000);
        let (keys, time, count) = (self.keys().clone(), fresh.time, revoked.len());
        let made = blocking(move || {
            let (key, certificate) = match issuer {
                CrlIssuer::Issuing => (&keys.issuing, authority.chain.first()),
                CrlIssuer::Root => (&keys.root, authority.chain.last()),
            };
            let certificate = certificate.ok_or(CertificateError::NoAuthority)?;
            sign(key, certificate, &revoked, number, time, lifetime)
        })
        .await?;
        let kept = self.vault().keep_crl(issuer, &made).await?;
        tracing::info!(issuer = issuer.name(), number = kept.number, revoked = count, "CRL made");
        Ok(kept)
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

/// Compares what was issued with the fold, makes durable what changed, and answers all that does not count.
async fn standing(vault: &Vault, fresh: &Fresh) -> Result<Vec<Revoked>, VaultError> {
    let issued = vault.certificates_after(fresh.time.saturating_sub(LISTED_AFTER_END_MS)).await?;
    let (mut changed, mut all) = (Vec::new(), Vec::new());
    for mut standing in issued {
        // What is over by site time only may yet be extended, and this is said for good.
        let now = cause(&fresh.state, fresh.settled, standing.kind, &standing.id);
        let before = standing.revoked;
        standing.revoked = match before {
            // What is held and then revoked was not to be relied on from the first of the two on.
            Some((said, at)) => said.followed_by(now).map(|cause| (cause, at)),
            None => now.map(|cause| (cause, fresh.time)),
        };
        if standing.revoked != before {
            changed.push(standing);
        }
        all.extend(standing.revoked.map(|(cause, at)| Revoked { serial: standing.serial, at, cause }));
    }
    if !changed.is_empty() {
        vault.remember_revoked(&changed).await?;
        reached(CrashPoint::CaRevocationKept).await;
    }
    Ok(all)
}

/// What a CRL says, as one digest.
fn digest(revoked: &[Revoked]) -> Digest {
    let said: Vec<u8> = revoked
        .iter()
        .flat_map(|revoked| {
            let name = revoked.cause.name().as_bytes();
            [&revoked.serial[..], &revoked.at.to_be_bytes(), name, &[0]].concat()
        })
        .collect();
    Digest::of(&said)
}

fn sign(
    key: &SigningKey,
    certificate: &Bytes,
    revoked: &[Revoked],
    number: u64,
    time: Millis,
    lifetime: Duration,
) -> Result<Published, CertificateError> {
    let certificate = certificate.0.as_slice().into();
    let issuer = Issuer::from_ca_cert_der(&certificate, CertKey::new(std::sync::Arc::new(key.clone())))?;
    instant(time)?;
    let next_update = time.saturating_add(millis(lifetime));
    let revoked_certs = revoked
        .iter()
        .map(|revoked| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&revoked.serial),
                revocation_time: instant(revoked.at)?,
                reason_code: revoked.cause.reason(),
                invalidity_date: None,
            })
        })
        .collect::<Result<_, CertificateError>>()?;
    let params = CertificateRevocationListParams {
        this_update: instant(time.saturating_sub(BEFORE_MS))?,
        next_update: instant(next_update)?,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs,
        // As in the certificates: the two have to agree.
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let der = Bytes(params.signed_by(&issuer)?.der().to_vec());
    Ok(Published { number, this_update: time, next_update, covers: digest(revoked), der })
}
