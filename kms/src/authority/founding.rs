//! What happens at the console before there is an organization: `init` and `found`.

use std::path::Path;
use std::sync::Arc;

use warifu_console::founding::Confirmed;
use warifu_console::{Settings as _, file, token};
use warifu_crash_point::{CrashPoint, reached};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::Record;
use warifu_ledger::state::State;
use warifu_ledger::statement::ServiceKind;
use warifu_replica::clock::Clock;

use super::error::AuthorityError;
use super::store::{self, Entry};
use super::{Authority, Config, Keys, Result, blocking, records};

/// Makes the token and its keys, where they are not there yet, and writes the signed statement of the keys to
/// [`warifu_console::Settings::statement`]. Of two sets of keys it takes the one that the ledger names, if there is a ledger
/// already. Blocks. The statement's digest is the fingerprint that people compare.
///
/// # Errors
/// [`AuthorityError::Console`], [`AuthorityError::Hsm`].
pub fn init(config: &Config, so_pin_file: Option<&Path>, state: Option<&State>) -> Result<Envelope> {
    file::make_folder(&config.data)?;
    let hsm = config.hsm.init(so_pin_file)?;
    let keys = Keys::ensure(&hsm, state)?;
    let address = Some(config.address.clone());
    let envelope = token::statement(ServiceKind::Kms, keys.public(), address, &keys.own.signing)?;
    file::write_json(&config.statement(), &envelope)?;
    Ok(envelope)
}

/// Founds the organization: checks that the ca has signed the founding, too, and that it names this token's keys; signs it,
/// and makes it entry 0. Answers the completed envelope.
///
/// The same founding again gets the same answer.
///
/// # Errors
/// [`AuthorityError`]; nothing is written then.
pub async fn found(
    config: &Config,
    clock: Arc<dyn Clock>,
    confirmed: Confirmed,
    records: Vec<Record>,
) -> Result<Envelope> {
    let fingerprint = confirmed.fingerprint();
    let authority = Authority::open(config, clock).await?;
    if let Some(state) = authority.replica.state() {
        if state.organization() != fingerprint {
            return Err(AuthorityError::FoundedAlready { organization: state.organization() });
        }
        return authority.founding_entry().await;
    }
    let founding = confirmed.founding().clone();
    let envelope = confirmed.into_envelope();
    if founding.kms != authority.public_keys() {
        return Err(AuthorityError::OtherKeys);
    }
    envelope.verify(&founding.ca.signing)?;
    let records = records::check(&authority.store, &founding.commitments(), &[], records).await?;

    let keys = authority.keys.clone();
    let envelope = blocking(move || {
        let mut envelope = envelope;
        if envelope.verify(&founding.kms.signing).is_err() {
            keys.add_signature(&mut envelope)?;
        }
        Ok(envelope)
    })
    .await?;
    let at = authority.clock.wall_ms();
    let leaf = Leaf::new(at, envelope.clone())?;
    let lease_ms = State::found(&leaf)?.policy().lease_ms;
    let entry = Entry { digest: fingerprint, position: 0, at, is_order: false, lease_ms };
    reached(CrashPoint::KmsFoundingChecked).await;
    let mut turn = authority.replica.turn().await?;
    store::put_entry(turn.transaction(), &entry, &records).await?;
    turn.append(leaf).await?;
    reached(CrashPoint::KmsFoundingAppended).await;
    Ok(envelope)
}

impl Authority {
    async fn founding_entry(&self) -> Result<Envelope> {
        let bytes = self.replica.leaves(0, 1).await?.pop();
        let bytes = bytes.ok_or(AuthorityError::Damaged { what: "ledger" })?;
        Ok(Leaf::from_bytes(bytes)?.envelope().clone())
    }
}
