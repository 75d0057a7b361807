//! What goes to the kms and comes from it beside the ledger: receipts, the names of what is served here, the certificate.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use warifu_api::wire::Done;
use warifu_api::wire::authority::{Certificate, Register};
use warifu_crash_point::{CrashPoint, reached};

use super::error::SiteError;
use super::service::Core;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often names and certificate are asked for without a reason.
const ERRANDS: Duration = Duration::from_secs(600);

impl Core {
    /// Sends each receipt until the kms has accepted it.
    pub(super) async fn deliver_receipts(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.deliver_once().await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    self.post.notified().await;
                }
                Err(error) => {
                    tracing::debug!(%error, "a receipt waits");
                    tokio::select! {
                        () = self.post.notified() => pause = FIRST_PAUSE,
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                    }
                }
            }
        }
    }

    /// One try for each; the last failure, if there was one.
    async fn deliver_once(&self) -> Result<(), SiteError> {
        let mut result = Ok(());
        for (order, receipt) in self.store.unaccepted().await? {
            match self.kms.post::<Done>("/v1/receipts", &receipt).await {
                Ok(Done {}) => {
                    reached(CrashPoint::SiteReceiptDelivered).await;
                    self.store.accepted(&order).await?;
                    reached(CrashPoint::SiteReceiptSettled).await;
                }
                // Of an order that the kms does not have yet, perhaps: the others may go all the same.
                Err(error) => result = Err(error.into()),
            }
        }
        result
    }

    /// Fetches names and certificate, whenever the ledger has grown and now and then. Nothing depends on them.
    pub(super) async fn run_errands(self: Arc<Self>) {
        let mut size = self.replica.subscribe();
        let mut certificate = None;
        let mut pause = FIRST_PAUSE;
        loop {
            size.mark_unchanged();
            let names = self.fetch_names().await;
            let adopted = self.fetch_certificate(&mut certificate).await;
            let wait = if let Err(error) = names.and(adopted) {
                tracing::debug!(%error, "an errand waits");
                let wait = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                wait
            } else {
                pause = FIRST_PAUSE;
                ERRANDS
            };
            tokio::select! {
                changed = size.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Leaves come in bunches.
                    tokio::time::sleep(FIRST_PAUSE).await;
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn fetch_names(&self) -> Result<(), SiteError> {
        let register: Register = self.kms.get("/v1/register/served").await?;
        if *self.names() != register.records {
            self.store.set_names(&register.records).await?;
            self.set_names(register.records);
        }
        Ok(())
    }

    /// Shows the certificate that the ca issued, as soon as there is one: for software that does not read the ledger.
    async fn fetch_certificate(&self, shown: &mut Option<Vec<Vec<u8>>>) -> Result<(), SiteError> {
        let Some(site) = self.replica.state().and_then(|state| self.site_id(&state)) else {
            return Err(SiteError::NotJoined);
        };
        let certificate: Certificate = self.kms.get(&format!("/v1/certificates/service/{site}")).await?;
        let chain: Vec<Vec<u8>> = certificate.chain.into_iter().map(|one| one.0).collect();
        if shown.as_ref() != Some(&chain) {
            self.identity.replace_chain(chain.iter().cloned().map(CertificateDer::from).collect())?;
            *shown = Some(chain);
        }
        Ok(())
    }
}
