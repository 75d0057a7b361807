//! A service's own keys in its token: those with which it speaks, and those that wait beside them until officers have ordered
//! that it goes on with them (protocol P-4.20).
//!
//! There are two places for them in a token. Which one is in use is nowhere written but in the ledger: it names the public
//! keys. So there is no step between order and switch that could be lost.

use std::path::{Path, PathBuf};

use warifu_crash_point::{CrashPoint, reached_blocking};
use warifu_hardware::hsm::{AgreementKey, Ed25519Key, Hsm, HsmError, SigningKey};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, PublicKey};
use warifu_ledger::state::State;
use warifu_ledger::statement::{ServiceId, ServiceKeys, ServiceKind, ServiceStatement};

use crate::{ConsoleError, file, token};

/// The statement of keys that wait to be used, in the data folder.
const ROTATION: &str = "rotation.json";

/// The names of a service's own keys in its token.
#[derive(Debug, Clone, Copy)]
pub struct Labels {
    /// The TLS key.
    pub tls: &'static str,
    /// The key that signs statements.
    pub signing: &'static str,
    /// The key that signs checkpoints; a site has none.
    pub log: Option<&'static str>,
    /// The key to which parts of routed files are sealed; a site alone has one.
    pub transport: Option<&'static str>,
}

/// One of the two places that a token has for a service's own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Second,
}

impl Place {
    const BOTH: [Self; 2] = [Self::First, Self::Second];

    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn label(self, name: &str) -> String {
        match self {
            Self::First => name.to_owned(),
            Self::Second => format!("{name}-2"),
        }
    }
}

/// The key with which a service signs snapshots of the ledger for itself, and nothing else; made if it is not there. Nobody but the
/// service ever asks for its public half, so the ledger does not have it, and it stays what it is when the others are rotated. Blocks.
///
/// # Errors
/// [`HsmError`].
pub fn snapshot_key(hsm: &Hsm) -> Result<SigningKey, HsmError> {
    hsm.ensure_signing_key("snapshots")
}

/// A service's own keys. Cheap to clone.
#[derive(Clone)]
pub struct OwnKeys {
    /// TLS, as server and as client.
    pub tls: SigningKey,
    /// Statements.
    pub signing: SigningKey,
    /// Checkpoints.
    pub log: Option<Ed25519Key>,
    /// What is sealed to this service.
    pub transport: Option<AgreementKey>,
    hsm: Hsm,
    labels: &'static Labels,
    place: Place,
}

impl OwnKeys {
    /// Finds keys in the token, or makes those that are not there. Which are in use, if others wait beside them, the ledger alone
    /// says ([`OwnKeys::named`]). Blocks.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn ensure(hsm: &Hsm, labels: &'static Labels) -> Result<Self, HsmError> {
        for place in Place::BOTH {
            if public_at(hsm, labels, place)?.is_some() {
                return Self::at(hsm, labels, place);
            }
        }
        Self::at(hsm, labels, Place::First)
    }

    fn at(hsm: &Hsm, labels: &'static Labels, place: Place) -> Result<Self, HsmError> {
        Ok(Self {
            tls: hsm.ensure_signing_key(&place.label(labels.tls))?,
            signing: hsm.ensure_signing_key(&place.label(labels.signing))?,
            log: labels.log.map(|log| hsm.ensure_ed25519_key(&place.label(log))).transpose()?,
            transport: labels.transport.map(|key| hsm.ensure_agreement_key(&place.label(key))).transpose()?,
            hsm: hsm.clone(),
            labels,
            place,
        })
    }

    /// The keys in this token that `name` is true of; these, if it is of none. Blocks.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn named(&self, name: impl Fn(&ServiceKeys) -> bool) -> Result<Self, HsmError> {
        if !name(&self.public())
            && let Some(beside) = self.beside()?
            && name(&beside)
        {
            return Self::at(&self.hsm, self.labels, self.place.other());
        }
        Ok(self.clone())
    }

    /// [`snapshot_key`] of the same token. Blocks.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn snapshot_key(&self) -> Result<SigningKey, HsmError> {
        snapshot_key(&self.hsm)
    }

    /// The public halves.
    #[must_use]
    pub fn public(&self) -> ServiceKeys {
        ServiceKeys {
            signing: PublicKey(self.signing.public_key()),
            tls: PublicKey(self.tls.public_key()),
            log: self.log.as_ref().map(|log| Base64(log.public())),
            transport: self.transport.as_ref().map(|key| PublicKey(key.public_key())),
        }
    }

    /// Adds the signature of the key for statements. Blocks.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn sign(&self, envelope: &mut Envelope) -> Result<(), HsmError> {
        let signature = self.signing.sign_digest(envelope.digest().0)?;
        envelope.add_signature(&PublicKey(self.signing.public_key()), signature);
        Ok(())
    }

    /// The keys in the other place, if all are there: those that wait. Blocks.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn beside(&self) -> Result<Option<ServiceKeys>, HsmError> {
        public_at(&self.hsm, self.labels, self.place.other())
    }

    /// Whether one of the keys in the other place is a former one. Blocks.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn has_former(&self, former: &[ServiceKeys]) -> Result<bool, HsmError> {
        Ok(!self.former_beside(former)?.is_empty())
    }

    /// Destroys what is in the other place and is, by the ledger, a `former` key of the service: what it signed stays, and nothing
    /// needs the private half any more. Keys that wait are left alone. Blocks.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn destroy_former(&self, former: &[ServiceKeys]) -> Result<(), HsmError> {
        self.destroy_beside(former, |_| true)
    }

    /// As [`OwnKeys::destroy_former`], but for the transport key: what is sealed to that has to be sealed anew first. Blocks.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn destroy_former_signers(&self, former: &[ServiceKeys]) -> Result<(), HsmError> {
        self.destroy_beside(former, |key| !matches!(key, Beside::Transport(_)))
    }

    /// The former transport key, as long as it is there. Blocks.
    ///
    /// # Errors
    /// [`HsmError`].
    pub fn former_transport(&self, former: &[ServiceKeys]) -> Result<Option<AgreementKey>, HsmError> {
        let beside = self.former_beside(former)?.into_iter().find_map(|key| match key {
            Beside::Transport(label) => Some(label),
            _ => None,
        });
        beside.map(|label| self.hsm.ensure_agreement_key(&label)).transpose()
    }

    fn destroy_beside(
        &self,
        former: &[ServiceKeys],
        which: impl Fn(&Beside) -> bool,
    ) -> Result<(), HsmError> {
        for key in self.former_beside(former)?.into_iter().filter(which) {
            match key {
                Beside::Signing(label) => self.hsm.signing_key_destroy(&label)?,
                Beside::Log(label) => self.hsm.ed25519_key_destroy(&label)?,
                Beside::Transport(label) => self.hsm.agreement_key_destroy(&label)?,
            }
            reached_blocking(CrashPoint::FormerKeyDestroyed);
        }
        Ok(())
    }

    fn former_beside(&self, former: &[ServiceKeys]) -> Result<Vec<Beside>, HsmError> {
        let place = self.place.other();
        let mut found = Vec::new();
        for name in [self.labels.tls, self.labels.signing] {
            let label = place.label(name);
            if let Some(key) = there(self.hsm.signing_key_there(&label))?
                && former.iter().any(|keys| [keys.tls.0, keys.signing.0].contains(&key))
            {
                found.push(Beside::Signing(label));
            }
        }
        if let Some(label) = self.labels.log.map(|log| place.label(log))
            && let Some(key) = there(self.hsm.ed25519_key_there(&label))?
            && former.iter().any(|keys| keys.log == Some(Base64(key)))
        {
            found.push(Beside::Log(label));
        }
        if let Some(label) = self.labels.transport.map(|key| place.label(key))
            && let Some(key) = there(self.hsm.agreement_key_there(&label))?
            && former.iter().any(|keys| keys.transport == Some(PublicKey(key)))
        {
            found.push(Beside::Transport(label));
        }
        Ok(found)
    }

    /// Makes new keys beside these, which the ledger has to name as those of a service of this `kind`, and writes the statement of
    /// the new ones, signed with both, to `rotation.json` in the data folder. Nothing else changes; again, it makes no others.
    /// Answers where the statement is, and the statement. Blocks.
    ///
    /// # Errors
    /// [`ConsoleError::KeysNotInUse`] if the ledger names no keys in this token; [`ConsoleError::FormerTransportKey`] if something
    /// may still be sealed to the transport key that these have taken the place of.
    pub fn rotate(
        &self,
        kind: ServiceKind,
        state: Option<&State>,
        data: &Path,
    ) -> Result<(PathBuf, Envelope), ConsoleError> {
        let state = state.ok_or(ConsoleError::KeysNotInUse)?;
        let present = self.named(|keys| service_of(state, kind, keys).is_some())?;
        let service = service_of(state, kind, &present.public()).ok_or(ConsoleError::KeysNotInUse)?;
        let former = former(state, service);
        if present.former_transport(&former)?.is_some() {
            return Err(ConsoleError::FormerTransportKey);
        }
        present.destroy_former(&former)?;
        let next = Self::at(&self.hsm, self.labels, present.place.other())?;
        // The service stays where it is: officers order keys, and nothing else.
        let statement = ServiceStatement { service: kind, keys: next.public(), address: None };
        let mut envelope = Envelope::unsigned(&statement)?;
        next.sign(&mut envelope)?;
        present.sign(&mut envelope)?;
        let path = data.join(ROTATION);
        file::write_json(&path, &envelope)?;
        Ok((path, envelope))
    }

    /// Writes the statement of a service's keys anew if it is of others. Blocks.
    ///
    /// # Errors
    /// [`ConsoleError::Hsm`], [`ConsoleError::Statement`], [`ConsoleError::File`].
    pub fn state_anew(
        &self,
        statement: &Path,
        kind: ServiceKind,
        address: Option<String>,
    ) -> Result<(), ConsoleError> {
        let stated = file::read_json::<Envelope>(statement)
            .ok()
            .and_then(|envelope| envelope.statement::<ServiceStatement>().ok());
        if stated.is_some_and(|stated| stated.keys == self.public()) {
            return Ok(());
        }
        let envelope = token::statement(kind, self.public(), address, &self.signing)?;
        file::write_json(statement, &envelope)
    }
}

/// A key in the place that is not in use, by its label.
enum Beside {
    Signing(String),
    Log(String),
    Transport(String),
}

/// A key, if it is there.
fn there<T>(found: Result<T, HsmError>) -> Result<Option<T>, HsmError> {
    match found {
        Ok(key) => Ok(Some(key)),
        Err(HsmError::KeyMissing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The public keys in a place, if all are there.
fn public_at(hsm: &Hsm, labels: &Labels, place: Place) -> Result<Option<ServiceKeys>, HsmError> {
    let key = |name: &str| there(hsm.signing_key_there(&place.label(name)));
    let (Some(tls), Some(signing)) = (key(labels.tls)?, key(labels.signing)?) else { return Ok(None) };
    let log = labels.log.map(|name| there(hsm.ed25519_key_there(&place.label(name)))).transpose()?;
    let transport =
        labels.transport.map(|name| there(hsm.agreement_key_there(&place.label(name)))).transpose()?;
    if log == Some(None) || transport == Some(None) {
        return Ok(None);
    }
    Ok(Some(ServiceKeys {
        signing: PublicKey(signing),
        tls: PublicKey(tls),
        log: log.flatten().map(Base64),
        transport: transport.flatten().map(PublicKey),
    }))
}

/// Whether a token has these keys, in either place. Blocks.
///
/// # Errors
/// [`HsmError::KeyMissing`] if neither place has all that it should have; any other.
pub(crate) fn has(hsm: &Hsm, labels: &Labels, keys: &ServiceKeys) -> Result<bool, HsmError> {
    let mut complete = false;
    for place in Place::BOTH {
        if let Some(found) = public_at(hsm, labels, place)? {
            complete = true;
            if found == *keys {
                return Ok(true);
            }
        }
    }
    if complete { Ok(false) } else { Err(HsmError::KeyMissing { label: labels.signing.to_owned() }) }
}

/// The keys that a service had before, as the ledger has them.
#[must_use]
pub fn former(state: &State, service: impl Into<ServiceId>) -> Vec<ServiceKeys> {
    state.former_keys(service).map(|(_, keys)| keys.clone()).collect()
}

/// The service that speaks with these keys, by the ledger.
fn service_of(state: &State, kind: ServiceKind, keys: &ServiceKeys) -> Option<ServiceId> {
    match kind {
        ServiceKind::Ca => (state.ca() == keys).then_some(ServiceId::Ca),
        ServiceKind::Kms => (state.kms() == keys).then_some(ServiceId::Kms),
        ServiceKind::Site => {
            let ours = state.sites().find(|(_, site)| site.keys == *keys && !site.removed);
            ours.map(|(id, _)| ServiceId::Site(*id))
        }
    }
}
