//! The kms goes on with other keys (P-4.20): two officers have ordered those that wait in its token. There is no step in which it
//! switches: which keys are in use, its own ledger says, at each start. Until it has begun anew, the present ones count for
//! nothing, and it answers as a kms that is none (P-4.16).

use warifu_console::Settings as _;
use warifu_console::keys::former;
use warifu_hardware::hsm::Hsm;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, HalfHolder, Order, ServiceId, ServiceKind};

use super::error::AuthorityError;
use super::{Authority, Config, Keys, Result, blocking};

impl Authority {
    /// The authority's token, and the keys in it that the ledger names. Those that they took the place of are destroyed, and the statement
    /// of the kms's keys is of these.
    pub(super) async fn keys_in_use(config: &Config, hsm: Hsm, state: Option<State>) -> Result<(Hsm, Keys)> {
        let config = config.clone();
        blocking(move || {
            let keys = Keys::ensure(&hsm, state.as_ref())?;
            if let Some(state) = state.filter(|state| *state.kms() == keys.public()) {
                let address = Some(config.address.clone());
                keys.own.state_anew(&config.statement(), ServiceKind::Kms, address)?;
                keys.own.destroy_former(&former(&state, HalfHolder::Kms))?;
            }
            Ok((hsm, keys))
        })
        .await
    }

    /// Resolves once the ledger names other keys for the kms, if it named these.
    pub(super) async fn replaced(&self) {
        if !self.state().is_ok_and(|state| self.is_the_kms(&state)) {
            return std::future::pending().await;
        }
        let mut size = self.replica.subscribe();
        while self.state().is_ok_and(|state| self.is_the_kms(&state)) {
            if size.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// An order that gives the kms keys which are not in its token would leave the organization without one.
    pub(super) async fn has_the_keys_of(&self, order: &Order) -> Result<()> {
        let mut acts = order.acts.iter();
        let ordered = acts.find_map(|act| match act {
            Act::KeyRotated { service: ServiceId::Kms, keys } => Some(keys.clone()),
            _ => None,
        });
        let Some(ordered) = ordered else { return Ok(()) };
        let own = self.keys.own.clone();
        let waiting = blocking(move || Ok(own.beside()?)).await?;
        if waiting == Some(ordered) { Ok(()) } else { Err(AuthorityError::KeysNotHere) }
    }
}
