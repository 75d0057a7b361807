//! The PKCS#11 module of this process, its slots, and the making of a token.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use super::error::HsmError;
use super::{HsmConfig, Pin};

/// `C_Initialize` counts per process and module (PKCS#11 2.40, section 5.4), so there is one context for each; it is
/// never finalized, because that would end the sessions of every other handle.
static CONTEXTS: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// One initialization at a time: two could pick the same free slot.
static INITIALIZING: Mutex<()> = Mutex::new(());

/// The context of a module, loaded and initialized at the first call.
pub(crate) fn context(path: &Path) -> Result<Pkcs11, HsmError> {
    let mut contexts = CONTEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(context) = contexts.get(path) {
        return Ok(context.clone());
    }
    let unusable = |source| HsmError::ModuleUnusable { path: path.to_owned(), source };
    let context = Pkcs11::new(path).map_err(unusable)?;
    initialize(&context).map_err(unusable)?;
    contexts.insert(path.to_owned(), context.clone());
    Ok(context)
}

/// `C_Initialize`, also after someone else in the process did it, or ended it.
pub(super) fn initialize(context: &Pkcs11) -> Result<(), CryptokiError> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(CryptokiError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        result => result,
    }
}

/// The slot of the token with that label. Slots are renumbered when a token is made, so numbers are never kept.
pub(super) fn find_slot(context: &Pkcs11, label: &str) -> Result<Option<Slot>, HsmError> {
    for slot in context.get_slots_with_token()? {
        let info = match context.get_token_info(slot) {
            // A token may be pulled between the list and the question.
            Err(CryptokiError::Pkcs11(RvError::TokenNotPresent | RvError::TokenNotRecognized, _)) => continue,
            info => info?,
        };
        if info.token_initialized() && info.label() == label {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

/// Makes the token of `config`: label, security officer's PIN, then the user's PIN from its source.
pub(super) fn init_token(config: &HsmConfig, so_pin: &Pin) -> Result<(), HsmError> {
    let label = config.token_label.as_str();
    if !(1..=32).contains(&label.len()) {
        return Err(HsmError::TokenLabelLength { length: label.len() });
    }
    let user_pin = config.pin_source.read()?;
    let so_pin = so_pin.to_auth_pin();
    let context = context(&config.module)?;

    let _one_at_a_time = INITIALIZING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = find_slot(&context, label)? {
        // Ending an initialization that was interrupted before the user's PIN was set touches nothing: no one could
        // have logged in, so no key can be there.
        if context.get_token_info(slot)?.user_pin_initialized() {
            return Err(HsmError::TokenExists { label: label.to_owned() });
        }
        return set_user_pin(&context, slot, label, &so_pin, &user_pin.to_auth_pin());
    }
    let mut free = None;
    for slot in context.get_slots_with_token()? {
        let info = context.get_token_info(slot)?;
        if !info.token_initialized() && !info.write_protected() {
            free = Some(slot);
            break;
        }
    }
    context.init_token(free.ok_or(HsmError::NoFreeSlot)?, &so_pin, label)?;
    let slot =
        find_slot(&context, label)?.ok_or_else(|| HsmError::TokenMissing { label: label.to_owned() })?;
    set_user_pin(&context, slot, label, &so_pin, &user_pin.to_auth_pin())
}

fn set_user_pin(
    context: &Pkcs11,
    slot: Slot,
    label: &str,
    so_pin: &AuthPin,
    user_pin: &AuthPin,
) -> Result<(), HsmError> {
    let session = context.open_rw_session(slot)?;
    session.login(UserType::So, Some(so_pin)).map_err(|error| pin_error(error, label))?;
    session.init_pin(user_pin)?;
    session.logout()?;
    Ok(())
}

/// The faults of `C_Login` that have a name of their own.
pub(super) fn pin_error(error: CryptokiError, label: &str) -> HsmError {
    let label = label.to_owned();
    match error {
        CryptokiError::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::ArgumentsBad,
            _,
        ) => HsmError::PinWrong { label },
        CryptokiError::Pkcs11(
            RvError::PinLocked | RvError::PinExpired | RvError::UserPinNotInitialized,
            _,
        ) => HsmError::PinUnusable { label },
        error => error.into(),
    }
}
