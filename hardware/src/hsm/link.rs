//! The open sessions of a token, and what is remembered with them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;

use super::error::HsmError;
use super::keys::{self, KeyKind};
use super::lru::Lru;
use super::{Pkcs11Token, module};

/// One session and the unwrapped shares that live in it.
pub(super) struct Worker {
    pub(super) session: Session,
    pub(super) shares: Lru<ShareKey, ObjectHandle>,
}

/// Which wrapped share a session object was made from. The digest is in it so that another blob for the same grant is
/// never answered by the first one's object.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ShareKey {
    pub(super) grant: String,
    pub(super) digest: [u8; 32],
}

impl Worker {
    /// Destroys a session object. One that cannot be destroyed would go on answering, so that ends all sessions.
    pub(super) fn destroy(&self, object: ObjectHandle) -> Result<(), HsmError> {
        destroy_session_object(&self.session, object)
    }
}

pub(super) fn destroy_session_object(session: &Session, object: ObjectHandle) -> Result<(), HsmError> {
    match session.destroy_object(object) {
        Ok(()) | Err(CryptokiError::Pkcs11(RvError::ObjectHandleInvalid, _)) => Ok(()),
        Err(CryptokiError::Pkcs11(code, _)) => Err(HsmError::SessionObjectStuck { code }),
        Err(source) => Err(source.into()),
    }
}

/// The sessions of one connection to the token.
pub(super) struct Link {
    number: u64,
    slot: Slot,
    workers: Vec<Mutex<Worker>>,
    next: AtomicUsize,
    /// Handles of token objects, by full label.
    objects: Mutex<Lru<String, ObjectHandle>>,
    grant_keys: AtomicUsize,
}

impl Link {
    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    /// A session that is free, or the next one when it becomes free.
    pub(super) fn worker(&self) -> MutexGuard<'_, Worker> {
        self.worker_from(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Preferably the session that served this grant before, since the unwrapped share is in it.
    pub(super) fn worker_for(&self, grant: &str) -> MutexGuard<'_, Worker> {
        let mut hasher = DefaultHasher::new();
        grant.hash(&mut hasher);
        self.worker_from(usize::try_from(hasher.finish() % (1 << 16)).unwrap_or_default())
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "the index is taken modulo the length, and a link has a session"
    )]
    fn worker_from(&self, preferred: usize) -> MutexGuard<'_, Worker> {
        let count = self.workers.len();
        for offset in 0..count {
            if let Ok(worker) = self.workers[preferred.wrapping_add(offset) % count].try_lock() {
                return worker;
            }
        }
        lock(&self.workers[preferred % count])
    }

    /// Every session, one after the other, each when it becomes free.
    pub(super) fn each_worker(&self) -> impl Iterator<Item = MutexGuard<'_, Worker>> {
        self.workers.iter().map(lock)
    }

    pub(super) fn remembered(&self, full_label: &str) -> Option<ObjectHandle> {
        lock(&self.objects).get(&full_label.to_owned())
    }

    pub(super) fn remember(&self, full_label: &str, handle: ObjectHandle) {
        // What is given up is only a number: the object stays in the token.
        let _given_up = lock(&self.objects).insert(full_label.to_owned(), handle);
    }

    pub(super) fn forget(&self, full_label: &str) {
        lock(&self.objects).remove(&full_label.to_owned());
    }

    pub(super) fn grant_keys(&self) -> usize {
        self.grant_keys.load(Ordering::Relaxed)
    }

    /// Takes a place for one more grant key, which [`Self::release_grant_key`] gives back.
    pub(super) fn reserve_grant_key(&self, limit: Option<usize>) -> Result<(), HsmError> {
        self.grant_keys
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                limit.is_none_or(|limit| count < limit).then_some(count + 1)
            })
            .map(drop)
            .map_err(|_| HsmError::CapacityExhausted { limit })
    }

    pub(super) fn release_grant_key(&self) {
        // Never below zero, whatever else removed keys from the token.
        let _ = self
            .grant_keys
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_sub(1)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves no half-made state here: each structure is changed in one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pkcs11Token {
    /// Runs an operation on the open sessions, opening them first where they are not. If the operation finds that
    /// they are lost, all are closed, and the next operation opens new ones.
    pub(super) fn with_link<T>(
        &self,
        operation: impl FnOnce(&Link) -> Result<T, HsmError>,
    ) -> Result<T, HsmError> {
        let result = self.on_link(operation);
        if result.as_ref().is_err_and(HsmError::is_failure) {
            self.0.failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn on_link<T>(&self, operation: impl FnOnce(&Link) -> Result<T, HsmError>) -> Result<T, HsmError> {
        loop {
            let guard = self.0.link.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(link) = guard.as_ref() {
                let result = operation(link);
                let number = link.number;
                drop(guard);
                if result.as_ref().is_err_and(HsmError::is_link_lost) {
                    self.disconnect(number);
                }
                return result;
            }
            drop(guard);
            let mut guard = self.0.link.write().unwrap_or_else(PoisonError::into_inner);
            if guard.is_none() {
                *guard = Some(self.connect()?);
            }
        }
    }

    /// Closes the sessions of that connection, and with them their objects.
    fn disconnect(&self, number: u64) {
        let mut guard = self.0.link.write().unwrap_or_else(PoisonError::into_inner);
        if guard.as_ref().is_some_and(|link| link.number == number) {
            *guard = None;
        }
    }

    fn connect(&self) -> Result<Link, HsmError> {
        let config = &self.0.config;
        let label = config.token_label.as_str();
        if self.0.pin_refused.load(Ordering::Relaxed) {
            return Err(HsmError::PinWrong { label: label.to_owned() });
        }
        module::initialize(&self.0.context)
            .map_err(|source| HsmError::ModuleUnusable { path: config.module.clone(), source })?;
        let slot = module::find_slot(&self.0.context, label)?
            .ok_or_else(|| HsmError::TokenMissing { label: label.to_owned() })?;

        let first = self.0.context.open_rw_session(slot)?;
        self.login(&first)?;
        let mut workers = Vec::with_capacity(config.sessions.max(1));
        let new_worker =
            |session| Mutex::new(Worker { session, shares: Lru::new(config.shares_per_session) });
        workers.push(new_worker(first));
        while workers.len() < config.sessions {
            match self.0.context.open_rw_session(slot) {
                // A token may allow fewer sessions than we would like; one is enough to work.
                Err(CryptokiError::Pkcs11(RvError::SessionCount, _)) => break,
                session => workers.push(new_worker(session?)),
            }
        }

        let link = Link {
            number: self.0.links_made.fetch_add(1, Ordering::Relaxed),
            slot,
            workers,
            next: AtomicUsize::new(0),
            objects: Mutex::new(Lru::new(config.handles)),
            grant_keys: AtomicUsize::new(0),
        };
        // One walk over the token instead of a linear search for each grant later.
        let grants = keys::private_keys_of(&link.worker().session, KeyKind::Grant)?;
        link.grant_keys.store(grants.len(), Ordering::Relaxed);
        for (label, handle) in grants {
            link.remember(&KeyKind::Grant.full_label(&label), handle);
        }
        Ok(link)
    }

    /// All sessions of a process share one login. A refused PIN is not shown a second time: on a token that counts,
    /// a service restarting its sessions would lock it.
    fn login(&self, session: &Session) -> Result<(), HsmError> {
        let pin = self.0.config.pin_source.read()?;
        match session.login(UserType::User, Some(&pin.to_auth_pin())) {
            Ok(()) | Err(CryptokiError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let error = module::pin_error(error, &self.0.config.token_label);
                if matches!(error, HsmError::PinWrong { .. }) {
                    self.0.pin_refused.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }
}
