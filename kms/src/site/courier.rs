//! What goes to the kms and comes from it beside the ledger: receipts, orders that were brought here by hand, the names of
//! what is served here, the certificate.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use warifu_api::wire::Done;
use warifu_api::wire::authority::{Appended, Certificate, OrderRequest, Register};
use warifu_api::{ClientError, ErrorCode};
use warifu_crash_point::{CrashPoint, reached};

use super::error::SiteError;
use super::service::Core;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long whoever brought an order here has to bring it to the kms as well, with its records: only then does every site.
const COURTESY: Duration = Duration::from_secs(1);
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
    pub(super) async fn deliver_once(&self) -> Result<(), SiteError> {
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

    /// Sends orders that were brought by hand to the kms, until the ledger has them or the kms refuses them for good (P-8.4).
    pub(super) async fn courier_orders(self: Arc<Self>) {
        let mut size = self.replica.subscribe();
        let mut pause = FIRST_PAUSE;
        loop {
            size.mark_unchanged();
            match self.courier_once().await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    self.courier.notified().await;
                    tokio::time::sleep(COURTESY).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "an order that was brought by hand waits");
                    tokio::select! {
                        // The kms is there again: what people ordered first is to be there before what they order next.
                        _ = size.changed() => {}
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                    }
                }
            }
        }
    }

    /// One try for each; the last failure, if there was one.
    pub(super) async fn courier_once(&self) -> Result<(), SiteError> {
        let mut result = Ok(());
        for (order, envelope) in self.store.to_courier().await? {
            let request = OrderRequest { envelope, records: Vec::new() };
            match self.kms.post::<Appended>("/v1/orders", &request).await {
                Ok(Appended { index, .. }) => {
                    tracing::info!(%order, index, "an order that was brought here is in the ledger");
                }
                Err(error) if is_last_word(&error) => {
                    tracing::warn!(%order, %error, "the kms refuses an order that was brought here");
                }
                Err(error) => {
                    result = Err(error.into());
                    continue;
                }
            }
            reached(CrashPoint::SiteOrderCouriered).await;
            self.store.couriered(&order).await?;
            reached(CrashPoint::SiteOrderSettled).await;
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

/// Whether asking again cannot change the kms's answer to an order: expired, executed, against what the ledger says.
fn is_last_word(error: &ClientError) -> bool {
    matches!(
        error.code(),
        Some(ErrorCode::Rejected | ErrorCode::Fork | ErrorCode::Malformed | ErrorCode::TooLarge)
    )
}
