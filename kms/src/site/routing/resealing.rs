//! A site that got another transport key seals what is sealed to the former one anew, and destroys that once nothing of it is on its
//! way any more (P-15.9).

use std::sync::Arc;
use std::time::Duration;

use crate::site::error::SiteError;
use crate::site::service::Core;
use crate::site::store::PartKey;
use crate::site::vault::blocking;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Parts that are read at a time.
const CHUNK: u32 = 256;

impl Core {
    /// Until the former transport key is gone, if it is there.
    pub(in crate::site) async fn retire_transport_key(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        while self.vault.has_former_transport() {
            match self.retire_once().await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "parts are sealed to a former transport key still"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn retire_once(&self) -> Result<(), SiteError> {
        self.reseal_parts().await?;
        // The kms answers the present TLS key, so it has the leaf that names the present transport key, and takes nothing more that
        // is sealed to the former one. All that it took before comes now.
        while self.fetch_slips_once().await? {}
        self.reseal_parts().await?;
        let (own, former) = (self.own.clone(), self.former.clone());
        blocking(move || own.destroy_former(&former)).await??;
        tracing::info!("nothing is sealed to the former transport key any more");
        Ok(())
    }

    async fn reseal_parts(&self) -> Result<(), SiteError> {
        let state = self.replica.state().ok_or(SiteError::NotJoined)?;
        let site = self.site_id(&state).ok_or(SiteError::NotJoined)?;
        let mut after: Option<PartKey> = None;
        loop {
            let parts = self.store.parts_after(after.as_ref(), CHUNK).await?;
            let Some((last, ..)) = parts.last() else { return Ok(()) };
            after = Some(*last);
            let (mut keys, mut sealed) = (Vec::new(), Vec::new());
            for (key, shown, part) in parts {
                // What was signed by nobody is released to nobody.
                let Ok(slips) = state.read_slips(&shown.slips) else { continue };
                sealed.push((shown.slip.slip.routed_file(&slips), part));
                keys.push(key);
            }
            for (key, resealed) in keys.into_iter().zip(self.vault.reseal(site, sealed).await?) {
                if let Some(part) = resealed {
                    self.store.put_resealed(&key, &part).await?;
                }
            }
        }
    }
}
