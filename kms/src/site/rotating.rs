//! The site goes on with other keys of its own (P-4.20). The key pairs of its grants stay what they are. Which keys are in use, its
//! own copy of the ledger says, at each start; until the site has begun anew, the present ones count for nothing.

use warifu_console::keys::{OwnKeys, former};
use warifu_hardware::hsm::{AgreementKey, Hsm};
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, ServiceId, ServiceKeys};

use super::error::SiteError;
use super::service::{Core, LABELS};
use super::store::Store;
use super::vault::blocking;

/// The keys with which a site speaks.
pub(super) struct InUse {
    pub(super) own: OwnKeys,
    /// Those that they took the place of.
    pub(super) former: Vec<ServiceKeys>,
    /// The transport key among these, while parts may be sealed to it (P-15.9).
    pub(super) former_transport: Option<AgreementKey>,
}

/// The keys in this token that the ledger names. Those that they took the place of are destroyed, after all that was said with
/// them and still matters is to be said again: which key pairs wait for shares (P-6.9). The transport key stays for now.
pub(super) async fn keys_in_use(hsm: Hsm, state: Option<State>, store: &Store) -> Result<InUse, SiteError> {
    let own = blocking(move || OwnKeys::ensure(&hsm, &LABELS)).await??;
    let Some(state) = state else {
        return Ok(InUse { own, former: Vec::new(), former_transport: None });
    };
    let (own, former) = blocking(move || {
        let own = own.named(|keys| state.sites().any(|(_, site)| site.keys == *keys))?;
        let keys = own.public();
        let site = state.sites().find(|(_, site)| site.keys == keys).map(|(id, _)| *id);
        let former = site.map(|site| former(&state, ServiceId::Site(site))).unwrap_or_default();
        Ok::<_, SiteError>((own, former))
    })
    .await??;
    let beside = (own.clone(), former.clone());
    if blocking(move || beside.0.has_former(&beside.1)).await?? {
        store.announce_again().await?;
        let beside = (own.clone(), former.clone());
        blocking(move || beside.0.destroy_former_signers(&beside.1)).await??;
    }
    let beside = (own.clone(), former.clone());
    let former_transport = blocking(move || beside.0.former_transport(&beside.1)).await??;
    Ok(InUse { own, former, former_transport })
}

impl Core {
    /// Resolves once the ledger names other keys for this site, if it named these.
    pub(super) async fn replaced(&self) {
        let mut size = self.replica.subscribe();
        let mut named = self.named_at_start;
        loop {
            let is_named = self.replica.state().is_some_and(|state| self.site_id(&state).is_some());
            if named && !is_named {
                return;
            }
            named |= is_named;
            if size.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Whether an act lets a site with our keys join, or gives ours to one that has joined with others.
    pub(super) fn makes_us_a_site(&self, act: &Act) -> bool {
        match act {
            Act::SiteJoined { keys, .. } | Act::KeyRotated { service: ServiceId::Site(_), keys } => {
                self.are_ours(keys)
            }
            _ => false,
        }
    }
}
